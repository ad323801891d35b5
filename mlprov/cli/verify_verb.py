"""``mlprov verify``: check a bundle or proof, and a model or data against it."""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

import mlprov
from mlprov.cli import output
from mlprov.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("evidence", metavar="BUNDLE|PROOF", help="NAME.mlprov, or a proof file")
    parser.add_argument(
        "--model", metavar="FILE|DIR", help="the model to hold against the recorded weights"
    )
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="[ROLE=]PATH",
        help="data to hold against the recorded samples; without ROLE= where the run has one role",
    )
    parser.add_argument(
        "--tensor", action="append", default=[], metavar="NAME", help="a single tensor to check"
    )
    parser.add_argument(
        "--epoch", type=int, metavar="N", help="compare with the weights of epoch N, not the last"
    )
    parser.add_argument(
        "--key", action="append", metavar="VKEY|FILE", help="the signer's key: no other counts then"
    )
    parser.add_argument(
        "--allow-unpinned", action="store_true", help="accept a signer whose key nobody pinned"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print every check and the result; the exit code says it too."""
    verdict = mlprov.verify(
        arguments.evidence,
        model=None if arguments.model is None else pathlib.Path(arguments.model),
        data=_data(arguments.data),
        tensors=arguments.tensor,
        epoch=arguments.epoch,
        keys=arguments.key,
        allow_unpinned=arguments.allow_unpinned,
    )
    if arguments.json:
        output.emit_json(
            {
                "checks": [vars(check) for check in verdict.checks],
                "facts": verdict.facts,
                "result": verdict.result,
                "subject": verdict.subject,
            }
        )
    elif not arguments.quiet:
        _print(verdict)
    return verdict.exit_code


def _data(given: list[str]) -> Any:
    """By role, or one path alone."""
    by_role: dict[str, pathlib.Path] = {}
    for text in given:
        role, equals, path = text.partition("=")
        if not equals or not role or "/" in role:  # ./a=b is a path
            if len(given) > 1:
                raise ConfigError(f"cannot tell of which role {text} is; write --data ROLE={text}")
            return pathlib.Path(text)
        if role in by_role:
            raise ConfigError(f"cannot compare two data sets of the role {role}; name one")
        by_role[role] = pathlib.Path(path)
    return by_role or None


def _print(verdict: mlprov.Verdict) -> None:
    output.table([(check.state, check.name, check.detail) for check in verdict.checks])
    name = verdict.facts.get("name")
    shown = f"{verdict.subject} ({name})" if name else verdict.subject
    failing = ", ".join(check.name for check in verdict.failing)
    output.text(f"{shown}: {verdict.result}{f' ({failing})' if failing else ''}")

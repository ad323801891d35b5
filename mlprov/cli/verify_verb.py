"""``mlprov verify``: check a bundle or proof, and a model or data against it."""

from __future__ import annotations

import argparse
import pathlib

import mlprov
from mlprov.cli import output


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
        help="data to hold against the recorded samples",
    )
    parser.add_argument(
        "--tensor", action="append", default=[], metavar="NAME", help="a single tensor to check"
    )
    parser.add_argument(
        "--epoch", type=int, metavar="N", help="compare with the weights of epoch N, not the last"
    )
    parser.add_argument(
        "--key",
        action="append",
        metavar="VKEY|FILE",
        help="the signer's key; with it no other counts",
    )
    parser.add_argument(
        "--allow-unpinned", action="store_true", help="accept a signer whose key nobody pinned"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print every check and the result; the exit code says it too."""
    data = dict(_role(text) for text in arguments.data)
    verdict = mlprov.verify(
        arguments.evidence,
        model=pathlib.Path(arguments.model) if arguments.model else None,
        data=data or None,
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


def _role(text: str) -> tuple[str, pathlib.Path]:
    role, equals, path = text.partition("=")
    return (role, pathlib.Path(path)) if equals else ("data", pathlib.Path(text))


def _print(verdict: mlprov.Verdict) -> None:
    width = max(len(check.name) for check in verdict.checks)
    for check in verdict.checks:
        print(
            f"{check.state:<9}  {output.escape(check.name):<{width}}  {output.escape(check.detail)}"
        )
    name = verdict.facts.get("name")
    what = f"{verdict.subject}{f' ({name})' if name else ''}"
    print(f"{output.escape(what)}: {verdict.result}")

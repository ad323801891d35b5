"""``mlprov verify``: check a bundle or proof, and a model or data against it."""

from __future__ import annotations

import argparse
import os
import pathlib
from typing import Any

import mlprov
from mlprov import stores
from mlprov.chain_nodes import own_node
from mlprov.cli import output
from mlprov.errors import ConfigError, Error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "Check a bundle or proof, and a model or data against it. Every check is printed: it "
        "holds, fails or is unchecked, and the last line is the result. It takes no store, and no "
        "network but for --online."
    )
    parser.add_argument("evidence", metavar="BUNDLE|PROOF", help="NAME.mlprov, or a proof file")
    parser.add_argument(
        "--model", metavar="FILE|DIR", help="the model to hold against the recorded weights"
    )
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="[ROLE=]PATH",
        help="data to hold against the recorded samples: .npy, .safetensors, a file or a "
        "directory; ROLE is what stands before the first '=', and may be left out where the run "
        "has one role (then write ./PATH if there is a '=' in it); repeat it for several roles",
    )
    parser.add_argument(
        "--tensor",
        action="append",
        default=[],
        metavar="NAME",
        help="a tensor that must be among the recorded weights; repeat it for several",
    )
    parser.add_argument(
        "--epoch", type=int, metavar="N", help="compare with the weights of epoch N, not the last"
    )
    parser.add_argument(
        "--step", type=int, metavar="N", help="compare with the weights after optimizer step N"
    )
    parser.add_argument(
        "--key",
        action="append",
        metavar="VKEY|FILE",
        help="the signer's key, as 'mlprov keys' prints it there: no other counts then (default: "
        "your own key, and those pinned with 'mlprov trust')",
    )
    parser.add_argument(
        "--allow-unpinned", action="store_true", help="accept a signer whose key nobody pinned"
    )
    blocks = parser.add_argument_group(
        "which blocks of Ethereum you trust",
        "An Ethereum anchor holds relative to its block's hash. That this block is one of the "
        "chain that everybody means, and so what its time is worth, has to come from you; whoever "
        "says it asks for the check 'time'.",
    )
    blocks.add_argument(
        "--trusted-block",
        action="append",
        default=[],
        metavar="CHAIN:HASH",
        help="a block that you trust, such as 1:0x and 64 digits; repeat it for several",
    )
    blocks.add_argument(
        "--headers",
        metavar="FILE",
        help='blocks that you trust: a JSON list of {"chain_id":"1","hash":"0x…"}, or with '
        "the header (its RLP) in place of the hash",
    )
    blocks.add_argument(
        "--online",
        metavar="URL",
        help="ask a node of your own whether it has the anchor's block, and calls it final; "
        "'configured' is the one in your configuration or MLPROV_ETHEREUM_URL, which keeps a URL "
        "with a credential out of the list of processes",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print every check and the result; the exit code says it too."""
    _refuse_what_is_no_file(arguments.evidence, arguments.store)
    verdict = mlprov.verify(
        arguments.evidence,
        model=None if arguments.model is None else pathlib.Path(arguments.model),
        data=_data(arguments.data),
        tensors=arguments.tensor,
        epoch=arguments.epoch,
        step=arguments.step,
        keys=arguments.key,
        allow_unpinned=arguments.allow_unpinned,
        trusted_blocks=arguments.trusted_block,
        headers=arguments.headers,
        online=own_node() if arguments.online == "configured" else arguments.online,
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


def _refuse_what_is_no_file(evidence: str, store_path: str | None) -> None:
    """A run is verified as the file that it is exported to: say so where its name was given."""
    if os.path.lexists(evidence):
        return
    attempt = f"cannot verify {evidence}: there is no such file"
    if pathlib.Path(f"{evidence}.mlprov").is_file():
        raise ConfigError(f"{attempt}", f"did you mean {evidence}.mlprov?")
    try:
        with stores.open_store(store_path, read_only=True) as store:
            run_id = stores.find_run(store, evidence).id
    except Error:
        return
    raise ConfigError(
        f"{attempt}, but a run of that name",
        f"'mlprov export {run_id}' writes it as a file, which can be verified",
    )


def _data(given: list[str]) -> Any:
    """By role, or one path alone."""
    by_role: dict[str, pathlib.Path] = {}
    for text in given:
        role, equals, path = text.partition("=")
        if not equals or not role or "/" in role:  # ./a=b is a path
            if len(given) > 1:
                raise ConfigError(
                    f"cannot tell of which role {text} is", f"write --data ROLE={text}"
                )
            return pathlib.Path(text)
        if role in by_role:
            raise ConfigError(f"cannot compare two data sets of the role {role}", "name one")
        by_role[role] = pathlib.Path(path)
    return by_role or None


def _print(verdict: mlprov.Verdict) -> None:
    output.table([(check.state, check.name, check.detail) for check in verdict.checks])
    output.text(verdict.summary)

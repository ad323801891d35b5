"""``mlprov diff``: what changed between two runs, epochs or models."""

from __future__ import annotations

import argparse
import re

import mlprov
from mlprov.cli import output

_MARKS = {"added": "+", "removed": "-", "changed": "~"}
_NOUNS = {
    "tensor": "tensor",
    "data": "data set",
    "setting": "setting",
    "code": "code file",
    "package": "package",
    "environment": "environment value",
    "metric": "metric",
}
_HEX = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "Show what changed between two runs, epochs or models: added (+), removed (-) and changed "
        "(~) tensors, data, settings, code, packages, metrics. Exit code 1 where something differs."
    )
    side = "a run or RUN:EPOCH, a bundle or BUNDLE:EPOCH, a safetensors file or directory"
    parser.add_argument("left", metavar="A", help=side)
    parser.add_argument("right", metavar="B", help="the same")


def run(arguments: argparse.Namespace) -> int:
    """Show changes by kind; exit code 1 where there are any."""
    found = mlprov.diff(arguments.left, arguments.right, store=arguments.store)
    if arguments.json:
        output.emit_json(
            {
                "changes": [vars(change) for change in found.changes],
                "left": found.left,
                "right": found.right,
                "same": found.same,
                "tied": found.tied,
                "unknown": found.unknown,
            }
        )
    elif not arguments.quiet:
        _print(found)
    return 1 if found else 0


def _print(found: mlprov.Difference) -> None:
    if not found.changes:
        output.text("nothing differs")
    output.table(
        [(_MARKS[c.change], c.kind, c.name, _values(c.before, c.after)) for c in found.changes]
    )
    if found.tied:
        pairs = ", ".join(f"{name} = {alias}" for name, alias in found.tied.items())
        output.text(f"tied, and one copy is enough: {pairs}")
    same = [output.plural(count, _NOUNS[kind]) for kind, count in found.same.items() if count]
    output.text(f"the same: {', '.join(same) or 'nothing'}")
    reasons: dict[str, list[str]] = {}
    for kind, reason in found.unknown.items():
        reasons.setdefault(reason, []).append(kind)
    for reason, kinds in reasons.items():
        output.text(f"not compared: {', '.join(kinds)} ({reason})")


def _values(before: str | None, after: str | None) -> str:
    """Both values, without the part of a tensor's type that they share, digests cut short."""
    if before is None or after is None:
        return _short(after or before or "")
    type_before, _, digest_before = before.rpartition(" ")
    type_after, _, digest_after = after.rpartition(" ")
    if type_before and type_before == type_after:
        return f"{_short(type_before)} {_short(digest_before)} → {_short(digest_after)}"
    return f"{_short(before)} → {_short(after)}"


def _short(value: str) -> str:
    return output.brief(_HEX.sub(r"\1…", value), 72)

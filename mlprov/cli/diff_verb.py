"""``mlprov diff``: what changed between two runs, epochs or models."""

from __future__ import annotations

import argparse

import mlprov
from mlprov.cli import output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    side = "a run, RUN:EPOCH, a bundle, or safetensors (file or directory)"
    parser.add_argument("left", metavar="A", help=side)
    parser.add_argument("right", metavar="B", help=side)


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
                "unknown": found.unknown,
            }
        )
    elif not arguments.quiet:
        _print(found)
    return 1 if found else 0


def _print(found: mlprov.Difference) -> None:
    marks = {"added": "+", "removed": "-", "changed": "~"}
    for change in found.changes:
        before, after = (_shorten(text) for text in (change.before, change.after))
        print(
            f"{marks[change.change]} {change.kind:<11} {output.escape(change.name)}  {output.escape(_arrow(before, after))}"
        )
    same = ", ".join(f"{count} {kind}" for kind, count in found.same.items() if count)
    print(f"same: {same or 'nothing'}")
    for kind, reason in found.unknown.items():
        print(f"not compared: {kind} ({output.escape(reason)})")


def _arrow(before: str | None, after: str | None) -> str:
    return after or "" if before is None else before if after is None else f"{before} → {after}"


def _shorten(text: str | None) -> str | None:
    return text if text is None or len(text) <= 72 else f"{text[:69]}…"

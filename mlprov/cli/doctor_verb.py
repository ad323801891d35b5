"""``mlprov doctor``: is everything here as recording needs it?"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from mlprov import diagnosis
from mlprov.cli import output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""


def run(arguments: argparse.Namespace) -> int:
    """Print each finding; exit code 2 where something would keep mlprov from recording."""
    findings = diagnosis.diagnose(arguments.store)
    if arguments.json:
        output.emit_json({"findings": [vars(finding) for finding in findings]})
    else:
        _print(findings, output.table, arguments.quiet)
    return 2 if any(finding.state == "wrong" for finding in findings) else 0


def _print(findings: list[diagnosis.Finding], table: Callable[..., None], quiet: bool) -> None:
    shown = [f for f in findings if not quiet or f.state == "wrong"]
    table([(f.state, f.what, f.detail) for f in shown])
    for finding in shown:
        if finding.remedy:
            print(f"{finding.what}: {output.escape(finding.remedy)}")

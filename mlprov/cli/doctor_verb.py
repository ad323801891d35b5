"""``mlprov doctor``: is everything here as recording needs it?"""

from __future__ import annotations

import argparse

from mlprov import diagnosis
from mlprov.cli import output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments: it has none of its own."""
    parser.description = (
        "Check this installation, the store, the key and, where anchors are configured, their "
        "server, account, contract and clock; nothing is changed. Each line is ok, a note (worth "
        "knowing) or wrong (keeps mlprov from recording or anchoring, or a run in the store is not "
        "what its head signed: exit code 2). Most of the time it takes goes into loading torch."
    )


def run(arguments: argparse.Namespace) -> int:
    """Print each finding; exit code 2 where something is wrong."""
    findings = diagnosis.diagnose(arguments.store)
    wrong = [finding for finding in findings if finding.state == "wrong"]
    if arguments.json:
        output.emit_json({"findings": [vars(finding) for finding in findings]})
    else:
        shown = wrong if arguments.quiet else findings
        output.table([(f.state, f.what, f.detail) for f in shown])
        for finding in shown:
            if finding.remedy:
                output.text(f"to do ({finding.what}): {finding.remedy}")
    return 2 if wrong else 0

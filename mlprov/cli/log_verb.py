"""``mlprov log``: every record of a run, one a line."""

from __future__ import annotations

import argparse
import sys

from mlprov import stored_runs, stores
from mlprov.cli import arguments as shared
from mlprov.cli import output
from mlprov.cli.show_verb import describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "Show the records of a run, oldest first, one a line: number, time (as the writer claims "
        "it), type, and what it says in short."
    )
    shared.add_run(parser)
    parser.add_argument("--raw", action="store_true", help="the records' exact bytes, one a line")
    parser.add_argument("--type", metavar="TYPE", help="only records of this type, such as epoch")


def run(arguments: argparse.Namespace) -> int:
    """List records, oldest first."""
    with stores.open_store(arguments.store, read_only=True) as store:
        run = stored_runs.read_run(store, stores.find_run(store, arguments.run).id)
    records = run.records
    chosen = [
        (line, record)
        for line, record in zip(run.lines, records, strict=True)
        if arguments.type in (None, record["type"])
    ]
    if arguments.json:
        output.emit_json({"records": [record for _, record in chosen], "run": run.row.id})
    elif arguments.raw:
        for line, _ in chosen:
            sys.stdout.buffer.write(line + b"\n")
    elif chosen or arguments.quiet:
        output.table([(r["seq"], r["time"], r["type"], describe(r)) for _, r in chosen])
    else:
        types = ", ".join(sorted({str(record["type"]) for record in records}))
        output.text(f"no records of the type {arguments.type}; this run has: {types or 'none'}")
    return 0

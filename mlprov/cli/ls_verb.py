"""``mlprov ls``: the runs of a store."""

from __future__ import annotations

import argparse

from mlprov import stores
from mlprov.cli import output
from mlprov.errors import ConfigError

_HEADER = ("RUN", "NAME", "PROJECT", "STATUS", "RECORDS", "STARTED (UTC)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("-n", type=int, metavar="N", help="the newest N only")
    parser.add_argument("--project", metavar="TEXT", help="only runs of this project")


def run(arguments: argparse.Namespace) -> int:
    """List runs, newest first."""
    if arguments.n is not None and arguments.n < 0:
        raise ConfigError(f"cannot list the newest {arguments.n} runs", "name a number from 0")
    with stores.open_store(arguments.store, read_only=True) as store:
        rows = [r for r in stores.read_runs(store) if arguments.project in (None, r.project)]
        rows = rows[: arguments.n]
        sizes = stores.head_sizes(store)
        path = store.path
    if arguments.json:
        runs = [
            {**vars(row), "imported": row.imported, "records": sizes.get(row.id, 0)} for row in rows
        ]
        output.emit_json({"runs": runs, "store": path})
    elif arguments.quiet:
        for row in rows:
            output.text(row.id)
    elif rows:
        output.table([_cells(row, sizes.get(row.id, 0)) for row in rows], header=_HEADER)
    else:
        of_project = "" if arguments.project is None else f" of the project {arguments.project}"
        output.text(f"no runs{of_project} in {path}")
    return 0


def _cells(row: stores.RunRow, records: int) -> tuple[object, ...]:
    status = f"{row.status} (imported)" if row.imported else row.status
    started = row.created[:19].replace("T", " ")
    name = output.brief(row.name, 40)
    return row.id, name, output.brief(row.project or "-", 24), status, records, started

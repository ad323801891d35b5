"""``mlprov ls``: the runs of a store."""

from __future__ import annotations

import argparse

from mlprov import stores
from mlprov.cli import output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("-n", type=int, metavar="N", help="the newest N only")
    parser.add_argument("--project", metavar="TEXT", help="only runs of this project")


def run(arguments: argparse.Namespace) -> int:
    """List runs, newest first."""
    with stores.open_store(arguments.store, read_only=True) as store:
        rows = [r for r in stores.read_runs(store) if arguments.project in (None, r.project)]
        rows = rows[: arguments.n] if arguments.n is not None and arguments.n >= 0 else rows
        sizes = stores.head_sizes(store)
        path = store.path
    if arguments.json:
        output.emit_json(
            {
                "runs": [{**vars(row), "records": sizes.get(row.id, 0)} for row in rows],
                "store": path,
            }
        )
        return 0
    if not rows and not arguments.quiet:
        print(f"no runs in {output.escape(path)}")
    output.table(
        [
            (
                r.id,
                r.name,
                r.project or "-",
                r.status + (" (imported)" if r.imported else ""),
                sizes.get(r.id, 0),
                r.created[:19],
            )
            for r in rows
        ],
        header=None
        if arguments.quiet or not rows
        else ("RUN", "NAME", "PROJECT", "STATUS", "RECORDS", "STARTED"),
    )
    return 0

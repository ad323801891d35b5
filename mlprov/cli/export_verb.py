"""``mlprov export``: a run as one file."""

from __future__ import annotations

import argparse
import pathlib

from mlprov import bundles, stores
from mlprov.cli import output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "run",
        nargs="?",
        default="@",
        metavar="RUN",
        help="id, unique prefix, name, or @ (the newest)",
    )
    parser.add_argument(
        "path", nargs="?", metavar="NAME.mlprov", help="default: the run's name, here"
    )
    parser.add_argument(
        "--disclose",
        action="append",
        default=[],
        choices=bundles.DISCLOSABLE,
        help="include these leaves too",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the bundle."""
    with stores.open_store(arguments.store) as store:
        if not store.read_only:
            store.integrate()
        row = stores.find_run(store, arguments.run)
        safe = (
            "".join(c if c.isalnum() or c in "-_." else "-" for c in row.name).strip(".") or row.id
        )
        path = pathlib.Path(arguments.path or f"{safe}.mlprov")
        bundles.export_run(store, row.id, path, disclose=arguments.disclose)
    size = path.stat().st_size
    if arguments.json:
        output.emit_json({"path": path, "run": row.id, "size": size})
    elif not arguments.quiet:
        print(
            f"wrote {output.escape(path)} ({size} bytes); check it with: mlprov verify {output.escape(path)}"
        )
    return 0

"""``mlprov export``: a run as one file."""

from __future__ import annotations

import argparse
import pathlib

from mlprov import bundles, stores
from mlprov.cli import arguments as shared
from mlprov.cli import output

_LONGEST_NAME = 100  # characters of a run's name that its bundle is called by


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    shared.add_run(parser)
    parser.add_argument(
        "path", nargs="?", metavar="NAME.mlprov", help="default: the run's name, here"
    )
    parser.add_argument(
        "--disclose",
        action="append",
        default=[],
        choices=bundles.DISCLOSABLE,
        help="include these leaves too: anybody who has the bundle can then check them",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the bundle."""
    with stores.open_with_log(arguments.store) as store:
        row = stores.find_run(store, arguments.run)
        path = pathlib.Path(arguments.path or _default_name(row))
        bundles.export_run(store, row.id, path, disclose=arguments.disclose)
    size = path.stat().st_size
    if arguments.json:
        output.emit_json({"path": path, "run": row.id, "size": size})
    elif not arguments.quiet:
        output.text(f"wrote {path} ({size} bytes)")
        output.text(f"check it with: mlprov verify {path}")
    return 0


def _default_name(row: stores.RunRow) -> str:
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in row.name)
    return f"{safe.strip('-.')[:_LONGEST_NAME] or row.id}.mlprov"

"""``mlprov export``: a run as one file."""

from __future__ import annotations

import argparse
import pathlib
import shlex

from mlprov import bundles, stores
from mlprov.cli import arguments as shared
from mlprov.cli import output

_LONGEST_NAME = 100  # characters of a run's name that its bundle is called by


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "Write a run as one file, a bundle, which anybody can verify without this store. It is "
        "signed by the owner key that began the run."
    )
    shared.add_run(parser)
    parser.add_argument(
        "path",
        nargs="?",
        metavar="NAME.mlprov",
        help="the file to write (default: the run's name, here)",
    )
    shared.add_force(parser)
    parser.add_argument(
        "--revise",
        action="store_true",
        help="make a new revision of the bundle that is there, with what arrived since (anchors): "
        "it names the older one; nothing is written where nothing did",
    )
    parser.add_argument(
        "--disclose",
        action="append",
        default=[],
        choices=bundles.DISCLOSABLE,
        help="include these leaves too, which anybody who has the bundle can then check; repeat it "
        "for several",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the bundle."""
    with stores.open_with_log(arguments.store) as store:
        row = stores.find_run(store, arguments.run)
        path = pathlib.Path(arguments.path or _default_name(row))
        before = _identity(path)
        bundles.export_run(
            store,
            row.id,
            path,
            disclose=arguments.disclose,
            replace=arguments.force,
            revise=arguments.revise,
        )
    size = path.stat().st_size
    written = _identity(path) != before
    if arguments.json:
        facts = {
            "path": path,
            "run": row.id,
            "size": size,
            "status": row.status,
            **({"written": written} if arguments.revise else {}),
        }
        output.emit_json(facts)
    elif not arguments.quiet:
        size_text = output.plural(size, "byte")
        if written:
            output.text(f"wrote {path} ({size_text})")
        else:
            output.text(f"{path} has all that there is ({size_text}): nothing was written")
        if row.status == "running":
            output.text("the run has not ended: export it again when it has")
        output.text(f"check it with: mlprov verify {shlex.quote(str(path))}")
    return 0


def _identity(path: pathlib.Path) -> tuple[int, int] | None:
    """What is another one when the file is written: it is always a new file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _default_name(row: stores.RunRow) -> str:
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in row.name)
    return f"{safe.strip('-.')[:_LONGEST_NAME] or row.id}.mlprov"

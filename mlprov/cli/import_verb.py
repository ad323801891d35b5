"""``mlprov import``: take a run from a bundle into the store."""

from __future__ import annotations

import argparse
import pathlib

from mlprov import bundles, stores
from mlprov.cli import output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "Take a run from a bundle into the store, to show it, compare it and prove from it. The "
        "bundle is verified first: what does not hold is not imported."
    )
    parser.add_argument(
        "bundle", metavar="NAME.mlprov", help="the bundle, as its owner exported it"
    )
    parser.add_argument(
        "--key",
        action="append",
        metavar="VKEY|FILE",
        help="the signer's key, for this import alone: no other counts then ('mlprov trust' pins "
        "one for good)",
    )
    parser.add_argument(
        "--allow-unpinned", action="store_true", help="accept a signer whose key nobody pinned"
    )


def run(arguments: argparse.Namespace) -> int:
    """Verify the bundle and enter its run; what does not hold is not imported."""
    bundle = pathlib.Path(arguments.bundle)
    bundles.read_run(bundle)  # no store is made for a bundle that is not there
    with stores.open_store(arguments.store, create=True) as store:
        run_id = bundles.import_bundle(
            store, bundle, keys=arguments.key, allow_unpinned=arguments.allow_unpinned
        )
        path = store.path
    if arguments.json:
        output.emit_json({"run": run_id, "store": path})
    elif not arguments.quiet:
        output.text(f"imported the run {run_id} into {path}")
        output.text(f"look at it with: mlprov show {run_id}")
    return 0

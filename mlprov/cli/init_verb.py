"""``mlprov init``: make a store."""

from __future__ import annotations

import argparse
import pathlib

from mlprov import keys, stores
from mlprov.cli import output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments: it has none of its own."""
    parser.description = (
        "Make a store in this directory, and the owner key if you have none. A training script "
        "does both itself when it first starts a run."
    )


def run(arguments: argparse.Namespace) -> int:
    """Make ``.mlprov`` here (or at --store), and the owner key if this user has none."""
    path = pathlib.Path(arguments.store or stores.STORE_NAME).absolute()
    existed = (path / "store.db").exists()
    with stores.open_store(path, create=True) as store:
        owner = keys.owner_key()
        facts = {
            "existed": existed,
            "log": store.log_vkey,
            "owner": owner.vkey,
            "store": store.path,
        }
    if arguments.json:
        output.emit_json(facts)
    elif not arguments.quiet:
        output.text(f"{'found' if existed else 'made'} the store {facts['store']}")
        output.text(f"your key is {owner.vkey}")
        output.text(f"in {keys.owner_key_path()}: keep a copy, and give others the line above")
    return 0

"""``mlprov init``: make a store."""

from __future__ import annotations

import argparse
import pathlib

from mlprov import keys, stores
from mlprov.cli import output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""


def run(arguments: argparse.Namespace) -> int:
    """Make ``.mlprov`` here (or at --store), and the owner key if this user has none."""
    path = (
        pathlib.Path(arguments.store) if arguments.store else pathlib.Path.cwd() / stores.STORE_NAME
    )
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
        print(f"{'found' if existed else 'made'} the store {output.escape(facts['store'])}")
        print(f"owner key {owner.vkey}")
        print(
            f"          in {output.escape(keys.owner_key_path())}: keep a copy of it, others pin it with 'mlprov trust'"
        )
    return 0

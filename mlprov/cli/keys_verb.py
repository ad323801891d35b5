"""``mlprov keys``: the owner key of this user."""

from __future__ import annotations

import argparse
import os

from mlprov import keys
from mlprov.cli import output
from mlprov.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "action",
        nargs="?",
        default="show",
        choices=("show", "new"),
        help="show it (default), or make one",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the verifier key that others pin; ``new`` makes the key file where there is none."""
    path = keys.owner_key_path()
    if arguments.action == "new":
        if os.path.lexists(path):
            raise ConfigError(
                f"cannot make an owner key: there is one at {path}; move it away first"
            )
        vkey: str | None = keys.owner_key().vkey
    else:
        vkey = keys.owner_vkey()
    trusted = keys.trusted_keys()
    if arguments.json:
        output.emit_json({"owner": vkey, "path": path, "trusted": [vars(key) for key in trusted]})
        return 0
    if vkey is None:
        raise ConfigError(
            f"cannot show the owner key: there is none at {path}; 'mlprov keys new' makes one"
        )
    print(vkey)
    if not arguments.quiet:
        print(f"in {output.escape(path)}; others pin it with: mlprov trust '{vkey}'")
    return 0

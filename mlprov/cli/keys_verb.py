"""``mlprov keys``: the owner key of this user."""

from __future__ import annotations

import argparse
import os

from mlprov import keys
from mlprov.cli import output
from mlprov.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "Show or make the owner key, which signs your runs. What is printed is its verifier key: "
        "public, for those who are to accept your runs. The first run makes the key where there is "
        "none."
    )
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
                f"cannot make an owner key: there is one at {path}", "move it away first"
            )
        vkey: str | None = keys.owner_key().vkey
    else:
        vkey = keys.owner_vkey()
    if arguments.json:
        trusted = [vars(key) for key in keys.trusted_keys()]
        output.emit_json({"owner": vkey, "path": path, "trusted": trusted})
    elif vkey is None:
        raise ConfigError(
            f"cannot show the owner key: there is none at {path}", "'mlprov keys new' makes one"
        )
    else:
        output.text(vkey)
        if not arguments.quiet:
            output.text(f"from {path}; others pin it with: mlprov trust '{vkey}' --label NAME")
    return 0

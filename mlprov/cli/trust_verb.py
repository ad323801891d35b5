"""``mlprov trust``: pin the keys of others."""

from __future__ import annotations

import argparse

from mlprov import keys
from mlprov.cli import output
from mlprov.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "key", nargs="?", metavar="VKEY|FILE", help="the key to pin, as its owner gave it to you"
    )
    parser.add_argument("--label", default="", help="what to call it")
    parser.add_argument("--remove", action="store_true", help="unpin it (by key, file or label)")
    parser.add_argument("--list", action="store_true", help="list the pinned keys")


def run(arguments: argparse.Namespace) -> int:
    """Pin, unpin or list."""
    if arguments.list or arguments.key is None:
        trusted = keys.trusted_keys()
        if arguments.json:
            output.emit_json({"trusted": [vars(key) for key in trusted]})
        elif trusted:
            output.table([(key.vkey, key.label) for key in trusted])
        elif not arguments.quiet:
            print("no pinned keys; pin one with: mlprov trust VKEY --label NAME")
        return 0
    if arguments.remove and arguments.label:
        raise ConfigError(
            "cannot unpin with --label; name the key, its file or its label as the argument"
        )
    changed = (
        keys.untrust(arguments.key)
        if arguments.remove
        else keys.trust(arguments.key, arguments.label)
    )
    if arguments.json:
        output.emit_json({"key": vars(changed), "pinned": not arguments.remove})
    elif not arguments.quiet:
        print(
            f"{'unpinned' if arguments.remove else 'pinned'} {output.escape(changed.vkey)} {output.escape(changed.label)}".rstrip()
        )
    return 0

"""``mlprov trust``: pin the keys of others."""

from __future__ import annotations

import argparse

from mlprov import keys
from mlprov.cli import output
from mlprov.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "Pin the key of somebody whose runs you accept: the check 'signer' then holds for what it "
        "signs. Without a key, list the pinned ones."
    )
    parser.add_argument(
        "key",
        nargs="?",
        metavar="VKEY|FILE",
        help="the key to pin, as 'mlprov keys' printed it for its owner, or a file with it; "
        "without one the pinned keys are listed",
    )
    parser.add_argument("--label", default="", help="what to call it")
    parser.add_argument("--remove", action="store_true", help="unpin it (by key, file or label)")
    parser.add_argument("--list", action="store_true", help="list the pinned keys")


def run(arguments: argparse.Namespace) -> int:
    """Pin, unpin or list."""
    if arguments.remove and (arguments.label or arguments.list):
        raise ConfigError(
            "cannot unpin with --label or --list", "name the key, its file or its label alone"
        )
    if arguments.key is None:
        if arguments.remove or arguments.label:
            raise ConfigError(
                "cannot pin or unpin no key", "name a verifier key or a file with one"
            )
        return _list(arguments)
    if arguments.list:
        raise ConfigError("cannot pin and list at once", "leave --list or the key out")
    if arguments.remove:
        changed = keys.untrust(arguments.key)
    else:
        changed = keys.trust(arguments.key, arguments.label)
    if arguments.json:
        output.emit_json({"key": vars(changed), "pinned": not arguments.remove})
    elif not arguments.quiet:
        done = "unpinned" if arguments.remove else "pinned"
        output.text(f"{done} {changed.vkey} {changed.label}".rstrip())
    return 0


def _list(arguments: argparse.Namespace) -> int:
    trusted = keys.trusted_keys()
    if arguments.json:
        output.emit_json({"trusted": [vars(key) for key in trusted]})
    elif trusted:
        output.table([(key.vkey, key.label) for key in trusted])
    elif not arguments.quiet:
        output.text("no pinned keys; pin one with: mlprov trust VKEY --label NAME")
    return 0

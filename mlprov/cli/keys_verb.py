"""``mlprov keys``: the owner key of this user, and the keys of Ethereum accounts."""

from __future__ import annotations

import argparse
import os
import pathlib

from mlprov import anchor_servers, ethereum_keys, keys
from mlprov.cli import output
from mlprov.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "Show or make the owner key, which signs your runs. What is printed is its verifier key: "
        "public, for those who are to accept your runs. The first run makes the key where there is "
        "none. 'mlprov keys new --ethereum' makes the key of an Ethereum account that pays for "
        "anchors, in an encrypted file that other Ethereum tools open too."
    )
    parser.add_argument(
        "action",
        nargs="?",
        default="show",
        choices=("show", "new", "ls"),
        help="show it (default), make one, or list all with their files",
    )
    parser.add_argument(
        "--ethereum",
        nargs="?",
        const="",
        metavar="FILE",
        help="with new: an Ethereum account's key, in FILE (default: ethereum.json beside the "
        "owner key)",
    )
    parser.add_argument(
        "--passphrase-fd",
        type=int,
        metavar="N",
        help="read the new key's passphrase from this file descriptor (default: "
        f"{ethereum_keys.PASSPHRASE_FD}, or ask)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the verifier key that others pin; ``new`` makes the key file where there is none."""
    if arguments.ethereum is not None:
        if arguments.action != "new":
            raise ConfigError(
                "cannot show an Ethereum key alone", "'mlprov keys ls' lists them with the others"
            )
        return _new_ethereum(arguments)
    if arguments.action == "ls":
        return _list(arguments)
    return _owner(arguments)


def _new_ethereum(arguments: argparse.Namespace) -> int:
    named = arguments.ethereum
    path = pathlib.Path(named) if named else ethereum_keys.default_path()
    made = ethereum_keys.create(path, arguments.passphrase_fd)
    if arguments.json:
        output.emit_json({"address": made.address, "path": made.path})
    elif arguments.quiet:
        output.text(made.address)
    else:
        output.text(f"{made.address} in {made.path}")
        output.text(
            "keep a copy of the file and of its passphrase: without both its ether is lost; send "
            "the account some, then put into "
            f"{keys.home() / 'config.toml'}, [anchor.ethereum]: keystore = "
            f'"{made.path.absolute()}"'
        )
    return 0


def _list(arguments: argparse.Namespace) -> int:
    vkey, owner = keys.owner_vkey(), keys.owner_key_path()
    named = anchor_servers.named_keystore()
    files = ethereum_keys.key_files(*([] if named is None else [named]))
    if arguments.json:
        listed = [vars(file) for file in files]
        output.emit_json({"ethereum": listed, "owner": vkey, "path": owner})
        return 0
    rows = [] if vkey is None else [("owner", vkey, owner)]
    rows += [("ethereum", file.address, file.path) for file in files]
    if not rows:
        output.text(f"no keys in {keys.home()}; 'mlprov keys new' makes one")
    else:
        output.table(rows, header=("KIND", "KEY OR ADDRESS", "FILE"))
    return 0


def _owner(arguments: argparse.Namespace) -> int:
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

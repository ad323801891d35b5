"""Key files of Ethereum accounts: made, listed, and the passphrases that open them.

The files are Web3 secret storage, version 3, as geth, clef and others read and write it.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import pathlib
import sys
from dataclasses import dataclass

from mlprov import keys
from mlprov._core import EthereumKey, ethereum_address
from mlprov.errors import ConfigError

__all__ = [
    "PASSPHRASE_FD", "KeyFile", "address_in", "create", "default_path", "key_files", "passphrase",
]  # fmt: skip

PASSPHRASE_FD = "MLPROV_ETHEREUM_PASSPHRASE_FD"  # noqa: S105 - a variable's name
_PASSPHRASE_MAX = 1024  # bytes, csrc/sign/web3_keystore.h
_FILE_MAX = 65536  # bytes; a key file has about 500


@dataclass(frozen=True)
class KeyFile:
    """A key file and the account that it says it is of; only opening it shows whether it is."""

    address: str
    path: pathlib.Path


def default_path() -> pathlib.Path:
    """Where a new key goes: ``ethereum.json`` beside the owner key."""
    return keys.home() / "ethereum.json"


def create(path: pathlib.Path, descriptor: int | None = None) -> KeyFile:
    """Make a key file (0600) for a new account.

    Args:
        path: of the file; there must be none.
        descriptor: that the passphrase is read from; None: as :func:`passphrase`.

    Raises:
        ConfigError: the file is there already, or there is no passphrase.
        StoreError: it cannot be written.
    """
    if os.path.lexists(path):
        raise ConfigError(
            f"cannot make an Ethereum key: there is a file at {path}, which may hold ether",
            "name another file",
        )
    secret = passphrase(path, descriptor, is_new=True)
    if not secret:
        raise ConfigError(
            f"cannot make the Ethereum key {path}: the passphrase is empty", "give one"
        )
    keys.private_directory(path.absolute().parent)
    return KeyFile(EthereumKey.create(os.fsencode(path), secret).address, path)


def address_in(path: str | os.PathLike[str]) -> str | None:
    """The account that a key file says it is of, with 0x; None where it is no key file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    try:
        with pathlib.Path(path).open(encoding="utf-8") as file:
            named = json.loads(file.read(_FILE_MAX)).get("address")
    except FileNotFoundError:
        raise
    except (OSError, ValueError, AttributeError):
        return None  # opening it says what is wrong
    # Written without 0x; some tools leave it out.
    return f"0x{named.removeprefix('0x')}" if isinstance(named, str) else None


def key_files(*others: pathlib.Path) -> list[KeyFile]:
    """The key files in the user's own directory (:func:`mlprov.keys.home`), and others."""
    found = []
    for path in sorted({*keys.home().glob("*.json"), *others}):
        # Of something else, or not there.
        with contextlib.suppress(ValueError, FileNotFoundError):
            address = address_in(path)
            if address is not None:
                found.append(KeyFile(ethereum_address(address), path))
    return found


# ---- passphrases ----


def passphrase(
    path: str | os.PathLike[str], descriptor: int | None = None, *, is_new: bool = False
) -> bytes:
    """Read the passphrase of a key file.

    Args:
        path: of the file.
        descriptor: to read its first line from; None: the one that
            ``MLPROV_ETHEREUM_PASSPHRASE_FD`` names, or a terminal is asked.
        is_new: a terminal is asked twice.

    Raises:
        ConfigError: there is nobody to ask, or what was given twice differs.
    """
    name = os.fspath(path)
    number = os.environ.get(PASSPHRASE_FD) if descriptor is None else str(descriptor)
    if number is not None:
        return _from_descriptor(name, number)
    if sys.stdin is None or not sys.stdin.isatty():
        raise ConfigError(
            f"cannot open the Ethereum key file {name}: nobody gives its passphrase",
            f"set {PASSPHRASE_FD} to a file descriptor that it can be read from",
        )
    given = getpass.getpass(f"Passphrase of {name}: ")
    if is_new and getpass.getpass("Once more: ") != given:
        raise ConfigError(f"cannot make {name}: the two passphrases differ", "try again")
    return given.encode()


def _from_descriptor(name: str, number: str) -> bytes:
    try:
        return _read_line(int(number))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read the passphrase of {name} from the file descriptor {number} "
            f"({PASSPHRASE_FD}): {error}",
            "open it for this process, as in 3< file",
        ) from error


def _read_line(descriptor: int) -> bytes:
    """Up to the first line end; what follows is left where it is."""
    read = b""
    while len(read) <= _PASSPHRASE_MAX and (byte := os.read(descriptor, 1)) not in (b"", b"\n"):
        read += byte
    return read.removesuffix(b"\r")

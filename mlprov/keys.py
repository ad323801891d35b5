"""Whose key: the owner key of this user and the keys that he trusts.

Both live in the user's own directory, never in a project: ``$MLPROV_HOME``, else
``$XDG_CONFIG_HOME/mlprov``, else ``~/.config/mlprov``. A key that travels in a bundle proves
nothing about who signed; only a key pinned here, or named by the caller, makes the check "signer"
hold.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from mlprov import _core
from mlprov._core import SigningKey
from mlprov.errors import ConfigError, EvidenceError, StoreError
from mlprov.records import json_text
from mlprov.whole_files import write_whole_file
from mlprov.wording import brief, plural

__all__ = [
    "TrustedKey", "home", "owner_key", "owner_key_path", "owner_vkey", "pinned_keys",
    "private_directory", "read_vkey", "trust", "trusted_keys", "untrust",
]  # fmt: skip

_LONG_KEY = 120  # characters of what was given as a key, in messages; a verifier key has 84
_ASK_FOR_A_KEY = "give the line that its owner's 'mlprov keys' prints, in quotes, or a file with it"


def home() -> pathlib.Path:
    """The user's own mlprov directory (owner key, trusted keys, configuration)."""
    if explicit := os.environ.get("MLPROV_HOME"):
        return pathlib.Path(explicit)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (pathlib.Path(base) if base else pathlib.Path.home() / ".config") / "mlprov"


def owner_key_path() -> pathlib.Path:
    """Where the owner key is: ``$MLPROV_OWNER_KEY``, else ``owner.pem`` in :func:`home`."""
    explicit = os.environ.get("MLPROV_OWNER_KEY")
    return pathlib.Path(explicit) if explicit else home() / "owner.pem"


def _passphrase() -> bytes | None:
    text = os.environ.get("MLPROV_OWNER_PASSPHRASE")
    return None if text is None else text.encode()


def private_directory(path: pathlib.Path) -> None:
    """Make a directory for keys (0700) where there is none."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make the directory {path} for keys: {error.strerror}",
            "make it writable or set MLPROV_HOME",
        ) from error


def owner_key(*, create: bool = True) -> SigningKey:
    """The owner key of this user, made at first use.

    Raises:
        ConfigError: the key file is missing (``create=False``), readable by others, a link, of
            another kind, encrypted with another passphrase, or its directory cannot be written.
    """
    path = owner_key_path()
    if not create or os.path.lexists(path):
        return SigningKey.load(os.fsencode(path), None, passphrase=_passphrase())
    private_directory(path.parent)
    # Made under a name of its own and linked: of two processes that start together one wins whole.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        key = SigningKey.create(os.fsencode(temporary), None, passphrase=_passphrase())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return SigningKey.load(os.fsencode(path), None, passphrase=_passphrase())
        except OSError:  # a file system without hard links
            return SigningKey.create(os.fsencode(path), None, passphrase=_passphrase())
        return key
    except StoreError as error:
        raise ConfigError(
            f"cannot make the owner key {path}: {error.what}", error.remedy
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def owner_vkey() -> str | None:
    """The verifier key (public, C2SP text) of this user's owner key; None while there is none."""
    return owner_key(create=False).vkey if os.path.lexists(owner_key_path()) else None


# ---- keys of others ----


@dataclass(frozen=True)
class TrustedKey:
    """A key that this user pinned, and what he called it."""

    vkey: str
    label: str = ""

    @property
    def public_key(self) -> bytes:
        """The 32-byte Ed25519 public key (RFC 8032)."""
        return _core.parse_vkey(self.vkey)[1]


def _trusted_path() -> pathlib.Path:
    return home() / "trusted"


def trusted_keys() -> tuple[TrustedKey, ...]:
    """The keys pinned by ``mlprov trust``: lines ``<vkey> [label]`` of the file ``trusted``."""
    try:
        text = _trusted_path().read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot read the trusted keys {_trusted_path()}: {reason}") from error
    keys = []
    for number, line in enumerate(text.split("\n"), start=1):
        vkey, _, label = line.strip().partition(" ")
        if not vkey or vkey.startswith("#"):
            continue
        try:
            _core.parse_vkey(vkey)
        except EvidenceError as error:
            raise ConfigError(
                f"cannot read {_trusted_path()}, line {number}: {error.what}", error.remedy
            ) from error
        keys.append(TrustedKey(vkey, label.strip()))
    return tuple(keys)


def _write_trusted(keys: Iterable[TrustedKey]) -> None:
    path = _trusted_path()
    private_directory(path.parent)
    text = "".join(f"{key.vkey} {key.label}".rstrip() + "\n" for key in keys)
    try:
        write_whole_file(path, text.encode(), mode=0o600)
    except OSError as error:
        raise ConfigError(f"cannot write the trusted keys {path}: {error.strerror}") from error


def trust(key: str | os.PathLike[str], label: str = "") -> TrustedKey:
    """Pin a key: a vkey text or a file that holds one. Pinning it again renames it."""
    if not label.isprintable():
        raise ConfigError(
            "cannot trust a key under a label with control characters", "use plain text"
        )
    added = TrustedKey(read_vkey(key), label)
    others = [k for k in trusted_keys() if k.public_key != added.public_key]
    _write_trusted([*others, added])
    return added


def untrust(key: str | os.PathLike[str]) -> TrustedKey:
    """Remove a pinned key, named by its vkey, its file or its label."""
    keys = trusted_keys()
    found = [k for k in keys if k.label == str(key)]
    if not found and not _looks_like_a_key(os.fspath(key)):
        raise ConfigError(
            f"cannot remove the trusted key {brief(os.fspath(key), _LONG_KEY)!r}: none of "
            f"{plural(len(keys), 'pinned key')} has that label, and it is neither a key nor a "
            "file",
            "'mlprov trust --list' shows the pinned ones",
        )
    if not found:
        public = _core.parse_vkey(read_vkey(key))[1]
        found = [k for k in keys if k.public_key == public]
    if len(found) != 1:
        raise ConfigError(
            f"cannot remove the trusted key {os.fspath(key)!r}: {len(found)} of "
            f"{plural(len(keys), 'pinned key')} match",
            "'mlprov trust --list' shows them",
        )
    _write_trusted(k for k in keys if k is not found[0])
    return found[0]


def _looks_like_a_key(text: str) -> bool:
    return "+" in text or os.path.lexists(text)


def read_vkey(key: str | os.PathLike[str]) -> str:
    """A vkey from its text or from a file whose first line it is.

    Raises:
        ConfigError: neither a vkey nor a readable file with one.
    """
    text = os.fspath(key)
    if not isinstance(json_text(text), str):
        raise ConfigError(
            f"cannot use {brief(repr(text), _LONG_KEY)} as a key: it is no valid Unicode",
            _ASK_FOR_A_KEY,
        )
    try:
        _core.parse_vkey(text)
        return text
    except EvidenceError as not_a_vkey:
        try:
            with pathlib.Path(text).open(encoding="utf-8") as lines:
                first = lines.readline(4096).strip()
        except UnicodeError:
            raise ConfigError(
                f"cannot use the file {text} as a key: it holds no text", _ASK_FOR_A_KEY
            ) from not_a_vkey
        except (OSError, ValueError) as error:
            seen = f": {not_a_vkey.what}" if "+" in text else ""
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigError(
                f"cannot use {brief(text, _LONG_KEY)!r} as a key: it is neither a verifier key "
                f"(<name>+<8 hex>+<base64>{seen}) nor a readable file that holds one ({reason})",
                _ASK_FOR_A_KEY,
            ) from not_a_vkey
    try:
        _core.parse_vkey(first)
    except EvidenceError as error:
        secret = "PRIVATE KEY" in first
        seen = (
            "it holds a private key, which stays with its owner"
            if secret
            else (f"its first line is no verifier key: {error.what}")
        )
        raise ConfigError(f"cannot use the file {text} as a key: {seen}", _ASK_FOR_A_KEY) from error
    return first


def pinned_keys() -> dict[bytes, str]:
    """Public keys that count without being named, his own and trusted ones → what each is."""
    pinned = {key.public_key: key.label or "trusted" for key in trusted_keys()}
    own = owner_vkey()
    if own is not None:
        pinned[_core.parse_vkey(own)[1]] = "this user's own key"
    return pinned

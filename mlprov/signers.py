"""Whose signature counts (docs/format.md section 10, check ``signer``)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from mlprov import _core, keys
from mlprov.errors import ConfigError
from mlprov.record_values import plain
from mlprov.verdicts import Mismatch, Unchecked

__all__ = ["Keys", "Signers"]

Keys: TypeAlias = Sequence[str | os.PathLike[str]] | str | os.PathLike[str]
"""Verifier keys as a caller names them: texts or files, several or one."""


_MOST_LISTED = 5  # keys in a message


@dataclass(frozen=True)
class Signers:
    """The public keys that count as signer.

    Attributes:
        named: those that the caller named, each with its vkey; None where he named none.
        pinned: this user's own and those he trusts, each with what to call it; they count where
            none was named.
    """

    named: Mapping[bytes, str] | None = None
    pinned: Mapping[bytes, str] = field(default_factory=dict)

    @staticmethod
    def read(named: Keys | None) -> Signers:
        """The keys that a caller named, else the pinned ones.

        Raises:
            ConfigError: a key that is none, a key file that cannot be read, or an empty list.
            TypeError: a key that is neither text nor path.
        """
        if named is None:
            return Signers(pinned=keys.pinned_keys())
        listed = [named] if isinstance(named, (str, os.PathLike)) else list(named)
        if not listed:
            raise ConfigError(
                "cannot verify with no keys: none would count", "leave keys out, or name one"
            )
        found = {}
        for key in listed:
            if not isinstance(key, (str, os.PathLike)):
                raise TypeError(f"keys: expected verifier keys or files, not {type(key).__name__}")
            vkey = keys.read_vkey(key)
            found[_core.parse_vkey(vkey)[1]] = vkey
        return Signers(named=found)

    def check(self, vkey: str) -> str:
        """Whether a key counts; public keys are compared, not names.

        Args:
            vkey: the signer's, of the form that a vkey has.

        Raises:
            Mismatch: keys were named, and it is none of them.
            Unchecked: none was named, and it is not pinned.
        """
        public = _core.parse_vkey(vkey)[1]
        if self.named is not None:
            if public in self.named:
                return f"signed by the named key {_core.parse_vkey(self.named[public])[0]}"
            seen, expected = plain(vkey), _list(list(self.named.values()))
            raise Mismatch(
                f"it is signed by {seen}, none of the keys that were named: {expected}",
                seen=seen,
                expected=expected,
            )
        if public in self.pinned:
            return f"signed by {self.pinned[public]}"
        raise Unchecked(
            "the signer's key is not pinned; name it with --key, or pin it with 'mlprov trust'"
        )


def _list(vkeys: Sequence[str]) -> str:
    more = len(vkeys) - _MOST_LISTED
    return ", ".join(map(plain, vkeys[:_MOST_LISTED])) + (f" and {more} more" if more > 0 else "")

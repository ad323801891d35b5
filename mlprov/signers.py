"""Whose signature counts (docs/format.md section 10, check ``signer``)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from mlprov import _core, keys
from mlprov.errors import ConfigError, VerificationError
from mlprov.verdicts import Unchecked

__all__ = ["Keys", "Signers"]

Keys: TypeAlias = Sequence[str | os.PathLike[str]] | str | os.PathLike[str]
"""Verifier keys as a caller names them: texts or files, several or one."""


@dataclass(frozen=True)
class Signers:
    """The public keys that count as signer, each with what to call it.

    Attributes:
        named: those that the caller named; None where he named none.
        pinned: this user's own and those he trusts; they count where none was named.
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
                "cannot verify with no keys: none would count; leave keys out, or name one"
            )
        found = {}
        for key in listed:
            if not isinstance(key, (str, os.PathLike)):
                raise TypeError(f"keys: expected verifier keys or files, not {type(key).__name__}")
            name, public = _core.parse_vkey(keys.read_vkey(key))
            found[public] = f"the named key {name}"
        return Signers(named=found)

    def check(self, public: bytes) -> str:
        """Whether the key counts.

        Raises:
            VerificationError: keys were named, and it is none of them.
            Unchecked: none was named, and it is not pinned.
        """
        if self.named is not None:
            if public in self.named:
                return f"signed by {self.named[public]}"
            raise VerificationError("the signer is none of the keys that were named")
        if public in self.pinned:
            return f"signed by {self.pinned[public]}"
        raise Unchecked(
            "the signer's key is not pinned; name it with --key, or pin it with 'mlprov trust'"
        )

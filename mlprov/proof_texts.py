"""Small proofs as JSON: what inclusion, consistency and slice proofs have in common."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from mlprov import _core
from mlprov.errors import EvidenceError
from mlprov.records import Json, canonical

if TYPE_CHECKING:
    from typing_extensions import Buffer

VERSION: Final = 1

_PATH_MAX = 128  # two hashes for each level of a tree of 2^63 leaves are more than any path has


def encode_path(path: Sequence[bytes]) -> list[Json]:
    """Hashes as a list of base64 texts."""
    return [base64.b64encode(item).decode("ascii") for item in path]


def decode_path(path: object) -> tuple[bytes, ...]:
    """What :func:`encode_path` wrote; EvidenceError for anything else."""
    if not isinstance(path, list) or len(path) > _PATH_MAX:
        raise EvidenceError(f"cannot read the proof: path is no list of at most {_PATH_MAX} hashes")
    return tuple(decode_base64(item, length=32) for item in path)


def decode_base64(text: object, *, length: int | None = None) -> bytes:
    """Strict base64: the one spelling that RFC 4648 section 4 gives the bytes."""
    try:
        value = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        value = None
    if value is None or base64.b64encode(value).decode("ascii") != text:
        raise EvidenceError(f"cannot read the proof: {text!r:.60} is not base64")
    if length is not None and len(value) != length:
        raise EvidenceError(f"cannot read the proof: a hash has {len(value)} bytes, not {length}")
    return value


def read_count(members: dict[str, Any], name: str) -> int:
    """A member that is an integer from 0 on; EvidenceError for anything else."""
    value = members[name]
    if type(value) is not int or value < 0:
        raise EvidenceError(f"cannot read the proof: {name} is {value!r:.40}, not a count")
    return value


def decode_proof(data: Buffer, kind: str, names: Sequence[str]) -> dict[str, Any]:
    """The members of a proof's one canonical JCS text, ``names`` beside format and version.

    Raises:
        EvidenceError: malformed, of another format or version, or in another spelling.
    """
    members = _core.json_decode(data)
    if not isinstance(members, dict) or members.get("format") != kind:
        raise EvidenceError(f"cannot read the proof: it is no object of format {kind}")
    version = members.get("version")
    if type(version) is not int or version != VERSION:
        raise EvidenceError(
            f"cannot read the proof: its version is {version!r:.40}; this mlprov knows {VERSION}"
        )
    if set(members) != {"format", "version", *names}:
        raise EvidenceError(f"cannot read the proof: its members are not those of {kind}")
    if canonical(members) != bytes(data):
        raise EvidenceError("cannot read the proof: it is not in canonical form (RFC 8785)")
    return members

"""The other direction of mlprov_verify.py: makes evidence, for tests and worked examples.

An auditor needs mlprov_verify.py alone, which never imports this. Here are the functions that sign,
write and prove, from docs/format.md again ("section" below), and consistency proofs (section 3),
which no bundle of version 1 holds.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mlprov_verify import (
    EMPTY_ROOT,
    Buffer,
    Key,
    archive_chunks,
    crc32c,
    merkle_root,
    node_hash,
    split_point,
)


def inclusion_proof(index: int, leaves: Sequence[Buffer]) -> list[bytes]:
    """PATH(index, leaves) of RFC 6962 section 2.1.1."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} of a tree of {len(leaves)} leaves")
    if len(leaves) == 1:
        return []
    k = split_point(len(leaves))
    if index < k:
        return [*inclusion_proof(index, leaves[:k]), merkle_root(leaves[k:])]
    return [*inclusion_proof(index - k, leaves[k:]), merkle_root(leaves[:k])]


def consistency_proof(old_size: int, leaves: Sequence[Buffer]) -> list[bytes]:
    """PROOF(old_size, leaves) of RFC 6962 section 2.1.2; empty where the trees are equal."""
    if not 0 < old_size <= len(leaves):
        raise IndexError(f"no consistency proof from {old_size} to {len(leaves)} leaves")
    return _subproof(old_size, leaves, whole=True)


def _subproof(old_size: int, leaves: Sequence[Buffer], *, whole: bool) -> list[bytes]:
    if old_size == len(leaves):
        return [] if whole else [merkle_root(leaves)]
    k = split_point(len(leaves))
    if old_size <= k:
        return [*_subproof(old_size, leaves[:k], whole=whole), merkle_root(leaves[k:])]
    return [*_subproof(old_size - k, leaves[k:], whole=False), merkle_root(leaves[:k])]


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes]
) -> bool:
    """Whether the tree (new_root, new_size) extends the tree (old_root, old_size).

    Every tree extends the empty one, with an empty path; a tree extends itself likewise.
    """
    if not 0 <= old_size <= new_size:
        return False
    if any(len(item) != 32 for item in (old_root, new_root, *path)):
        return False
    if old_size == 0:
        return not path and old_root == EMPTY_ROOT
    left = list(path)
    roots = _rebuild(old_size, new_size, old_root, left, whole=True)
    return roots == (old_root, new_root) and not left


def _rebuild(
    old_size: int, new_size: int, old_root: bytes, path: list[bytes], *, whole: bool
) -> tuple[bytes, bytes] | None:
    """The two roots that a consistency path leads to; takes its hashes from the end of ``path``."""
    if old_size == new_size:
        if whole:
            return old_root, old_root
        return (path[-1], path.pop()) if path else None
    if not path:
        return None
    k = split_point(new_size)
    sibling = path.pop()
    if old_size <= k:
        below = _rebuild(old_size, k, old_root, path, whole=whole)
        return None if below is None else (below[0], node_hash(below[1], sibling))
    below = _rebuild(old_size - k, new_size - k, old_root, path, whole=False)
    if below is None:
        return None
    return node_hash(sibling, below[0]), node_hash(sibling, below[1])


def write_leaves(leaves: Iterable[bytes]) -> bytes:
    """The leaves file of these leaves."""
    parts = []
    for leaf in leaves:
        framed = struct.pack(">I", len(leaf)) + leaf
        parts.append(framed + struct.pack(">I", crc32c(framed)))
    return b"".join(parts)


def public_key(seed: bytes) -> bytes:
    """The public key of a 32-byte Ed25519 seed."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def sign_note(text: bytes, name: str, seed: bytes) -> bytes:
    """A note with one signature, by the Ed25519 key of a 32-byte seed."""
    key = Key(name, public_key(seed))
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(text)
    encoded = base64.b64encode(key.key_id + signature)
    return text + b"\n\xe2\x80\x94 " + name.encode() + b" " + encoded + b"\n"


def checkpoint_text(origin: str, size: int, root: bytes) -> bytes:
    """Origin, size and root, a line each."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode('ascii')}\n".encode()


def write_archive(entries: dict[str, Buffer]) -> bytes:
    """The archive of these entries."""
    return b"".join(archive_chunks(entries))

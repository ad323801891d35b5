"""Merkle trees of RFC 6962 and their proofs (docs/format.md section 3)."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from mlprov import _core
from mlprov.digests import Digest
from mlprov.errors import EvidenceError, VerificationError
from mlprov.proof_texts import (
    VERSION,
    decode_base64,
    decode_path,
    decode_proof,
    encode_path,
    read_count,
)
from mlprov.records import Json, canonical

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "ConsistencyProof",
    "InclusionProof",
    "MerkleTree",
    "Root",
    "verify_consistency",
    "verify_inclusion",
]

Root: TypeAlias = Digest | bytes | str
"""A tree's root: a ``Digest``, its 32 raw bytes, or its text ``sha256:…``."""

_INCLUSION = "mlprov-inclusion-proof"
_CONSISTENCY = "mlprov-consistency-proof"


def _root_bytes(root: Root) -> bytes:
    if isinstance(root, str):
        root = Digest.parse(root)
    if isinstance(root, Digest):
        if root.algorithm != "sha256":
            raise EvidenceError(f"a tree's root is a sha256 digest, not {root.algorithm}")
        return root.value
    if len(root) != 32:
        raise EvidenceError(f"a tree's root is 32 bytes, not {len(root)}")
    return bytes(root)


def verify_inclusion(
    leaf: Buffer, index: int, size: int, path: Sequence[bytes], root: Root
) -> None:
    """Check that ``leaf`` is leaf ``index`` of the tree of ``size`` leaves under ``root``.

    RFC 6962 section 2.1.1; bounds are checked first, and the exact length of the path is demanded.

    Raises:
        VerificationError: the path leads to another root.
        EvidenceError: ``index`` is not below ``size``, or the path has another length.

    >>> tree = MerkleTree(); tree.extend([b"a", b"b", b"c"])
    >>> proof = tree.prove_inclusion(2)
    >>> verify_inclusion(b"c", 2, 3, proof.path, tree.root())
    """
    _core.merkle_verify_inclusion(
        _root_bytes(root), _core.merkle_leaf_hash(leaf), index, size, list(path)
    )


def verify_consistency(
    old_size: int, old_root: Root, new_size: int, new_root: Root, path: Sequence[bytes]
) -> None:
    """Check that the newer tree begins with all leaves of the older one.

    RFC 6962 section 2.1.2. The empty tree is consistent with every tree, by an empty path.

    Raises:
        VerificationError: the path does not join the two roots.
        EvidenceError: ``old_size`` is above ``new_size``, or the path has another length.

    >>> tree = MerkleTree(); tree.extend([b"a", b"b", b"c"])
    >>> proof = tree.prove_consistency(2)
    >>> verify_consistency(2, tree.root(2), 3, tree.root(), proof.path)
    """
    _core.merkle_verify_consistency(
        _root_bytes(old_root), old_size, _root_bytes(new_root), new_size, list(path)
    )


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That one leaf stands at one place of one tree.

    Attributes:
        index: position of the leaf.
        size: leaves of the tree.
        path: the hashes of RFC 6962 section 2.1.1, innermost first, 32 bytes each.
        leaf: the leaf itself where the prover had it: the proof then verifies from its own bytes
            and the root alone.

    >>> tree = MerkleTree(); tree.extend([b"a", b"b", b"c"])
    >>> proof = tree.prove_inclusion(1)
    >>> proof.index, proof.size, len(proof.path), proof.verify(b"b", root=tree.root())
    (1, 3, 2, True)
    """

    index: int
    size: int
    path: tuple[bytes, ...]
    leaf: bytes | None = None

    def verify(self, leaf: Buffer | None = None, *, root: Root) -> bool:
        """Whether the leaf is in the tree under ``root``, at the proof's index.

        Args:
            leaf: the leaf's bytes; the proof's own by default.
            root: the tree's root.

        Raises:
            EvidenceError: the proof is malformed (an index outside the tree, a path of another
                length), or there is no leaf.

        >>> tree = MerkleTree(); tree.extend([b"a", b"b", b"c"])
        >>> tree.prove_inclusion(2).verify(b"c", root=tree.root())
        True
        >>> tree.prove_inclusion(2).verify(b"b", root=tree.root())
        False
        """
        if leaf is None:
            if self.leaf is None:
                raise EvidenceError("this proof does not carry its leaf: pass the leaf's bytes")
            leaf = self.leaf
        try:
            verify_inclusion(leaf, self.index, self.size, self.path, root)
        except VerificationError:
            return False
        return True

    def to_bytes(self) -> bytes:
        """The proof as one JCS object (docs/format.md section 3).

        >>> tree = MerkleTree(); tree.extend([b"a", b"b"])
        >>> tree.prove_inclusion(0).to_bytes()
        b'{"format":"mlprov-inclusion-proof","index":0,"leaf":null,"path":["V+s1...="],"size":2,...}'
        """
        return canonical(
            {
                "format": _INCLUSION,
                "index": self.index,
                "leaf": None if self.leaf is None else _leaf_json(self.leaf),
                "path": encode_path(self.path),
                "size": self.size,
                "version": VERSION,
            }
        )

    @classmethod
    def from_bytes(cls, data: Buffer) -> InclusionProof:
        """Read what :meth:`to_bytes` wrote; no other spelling of it is accepted.

        Raises:
            EvidenceError: malformed, or of an unknown version.

        >>> tree = MerkleTree(); tree.extend([b"a", b"b"])
        >>> proof = tree.prove_inclusion(0)
        >>> InclusionProof.from_bytes(proof.to_bytes()) == proof
        True
        """
        members = decode_proof(data, _INCLUSION, ("index", "leaf", "path", "size"))
        index, size = read_count(members, "index"), read_count(members, "size")
        return cls(index, size, decode_path(members["path"]), _leaf_bytes(members["leaf"]))


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """That a newer tree begins with all leaves of an older one.

    Attributes:
        old_size: leaves of the older tree.
        new_size: leaves of the newer tree.
        path: the hashes of RFC 6962 section 2.1.2, 32 bytes each.

    >>> tree = MerkleTree(); tree.extend([b"a", b"b", b"c"])
    >>> proof = tree.prove_consistency(2)
    >>> proof.verify(old_root=tree.root(2), new_root=tree.root())
    True
    """

    old_size: int
    new_size: int
    path: tuple[bytes, ...]

    def verify(self, *, old_root: Root, new_root: Root) -> bool:
        """Whether the path joins the two roots.

        Raises:
            EvidenceError: the proof is malformed (sizes in the wrong order, a path of another
                length).

        >>> tree = MerkleTree(); tree.extend([b"a", b"b", b"c"])
        >>> tree.prove_consistency(1).verify(old_root=tree.root(1), new_root=tree.root())
        True
        >>> tree.prove_consistency(1).verify(old_root=tree.root(2), new_root=tree.root())
        False
        """
        try:
            verify_consistency(self.old_size, old_root, self.new_size, new_root, self.path)
        except VerificationError:
            return False
        return True

    def to_bytes(self) -> bytes:
        """The proof as one JCS object (docs/format.md section 3)."""
        return canonical(
            {
                "format": _CONSISTENCY,
                "new_size": self.new_size,
                "old_size": self.old_size,
                "path": encode_path(self.path),
                "version": VERSION,
            }
        )

    @classmethod
    def from_bytes(cls, data: Buffer) -> ConsistencyProof:
        """Read what :meth:`to_bytes` wrote; no other spelling of it is accepted.

        Raises:
            EvidenceError: malformed, or of an unknown version.

        >>> tree = MerkleTree(); tree.extend([b"a", b"b", b"c"])
        >>> proof = tree.prove_consistency(2)
        >>> ConsistencyProof.from_bytes(proof.to_bytes()) == proof
        True
        """
        members = decode_proof(data, _CONSISTENCY, ("new_size", "old_size", "path"))
        old_size, new_size = read_count(members, "old_size"), read_count(members, "new_size")
        return cls(old_size, new_size, decode_path(members["path"]))


class MerkleTree:
    """An append-only tree of RFC 6962 over SHA-256 that can prove what it holds.

    Keeps a hash of 32 bytes for each leaf, not the leaves. Use from one thread at a time.

    Args:
        leaves: the first leaves.

    >>> tree = MerkleTree([b"a", b"b"])
    >>> tree.append(b"c"), len(tree)
    (2, 3)
    >>> str(MerkleTree().root())
    'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    """

    def __init__(self, leaves: Iterable[Buffer] = ()) -> None:
        self._tree = _core.MerkleTree(leaves)

    def __len__(self) -> int:
        return len(self._tree)

    def __repr__(self) -> str:
        return f"<mlprov.MerkleTree of {len(self)} leaves, {self.root()}>"

    def append(self, leaf: Buffer) -> int:
        """Add a leaf; returns its index."""
        return self._tree.append(leaf)

    def extend(self, leaves: Iterable[Buffer]) -> None:
        """Add leaves in order."""
        self._tree.extend(leaves)

    def root(self, size: int | None = None) -> Digest:
        """The root of the first ``size`` leaves; of all by default.

        Raises:
            IndexError: ``size`` is above ``len(self)``.
        """
        return Digest("sha256", self._tree.root(size))

    def prove_inclusion(self, index: int, *, size: int | None = None) -> InclusionProof:
        """Prove that the leaf at ``index`` is in the tree of the first ``size`` leaves.

        The proof is RFC 6962 section 2.1.1: ``ceil(log2(size))`` SHA-256 hashes at most, 32 bytes
        each.

        Args:
            index: position of the leaf, ``0 <= index < size``.
            size: number of leaves of the tree to prove against; all leaves by default.

        Raises:
            IndexError: ``index`` is not below ``size``, or ``size`` is above ``len(self)``.

        >>> tree = MerkleTree(); tree.extend([b"a", b"b", b"c"])
        >>> tree.prove_inclusion(2).verify(b"c", root=tree.root())
        True
        """
        size = len(self) if size is None else size
        return InclusionProof(index, size, tuple(self._tree.prove_inclusion(index, size)))

    def prove_consistency(self, old: int, new: int | None = None) -> ConsistencyProof:
        """Prove that the first ``new`` leaves begin with the first ``old`` ones.

        Args:
            old: leaves of the older tree, ``0 <= old <= new``.
            new: leaves of the newer tree; all by default.

        Raises:
            IndexError: ``old`` is above ``new``, or ``new`` above ``len(self)``.
        """
        new = len(self) if new is None else new
        return ConsistencyProof(old, new, tuple(self._tree.prove_consistency(old, new)))


def _leaf_json(leaf: bytes) -> Json:
    try:
        return leaf.decode("utf-8")
    except UnicodeDecodeError:
        return {"bytes": base64.b64encode(leaf).decode("ascii")}


def _leaf_bytes(leaf: object) -> bytes | None:
    if leaf is None:
        return None
    if isinstance(leaf, str):
        return leaf.encode("utf-8")
    if isinstance(leaf, dict) and set(leaf) == {"bytes"}:
        value = decode_base64(leaf["bytes"])
        if isinstance(_leaf_json(value), dict):
            return value
    raise EvidenceError("cannot read the proof: its leaf is neither text nor other bytes")

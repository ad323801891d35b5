"""Slices of an input against its BLAKE3 digest (docs/format.md section 13).

A tensor's digest is kept with the chaining values of its groups of 16 KiB, 0.2 % of its size. From
these and a few KiB around the slice, any range of its bytes can later be proved against the digest.

>>> weights = bytes(range(256)) * 1000
>>> grouped = digest_with_groups(weights)
>>> proof = grouped.prove(weights, 70_000, 100)
>>> proof.verify(weights[70_000:70_100], digest=grouped.digest, size=grouped.size)
True
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
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
from mlprov.records import canonical

if TYPE_CHECKING:
    from typing_extensions import Buffer

    Reader: TypeAlias = Callable[[int, int], Buffer]
    """``read(offset, length)``: so many bytes of the input from there on."""

__all__ = ["GroupedDigest", "SliceProof", "digest_with_groups", "verify"]

_FORMAT = "mlprov-slice-proof"


@dataclass(frozen=True, slots=True)
class GroupedDigest:
    """A digest and what proofs of slices are made from.

    Attributes:
        digest: BLAKE3, the same as :func:`mlprov.digest` gives.
        size: bytes of the input.
        groups: the chaining value of each group of 16 KiB, 32 bytes each; empty where the input has
            at most 16 KiB.
    """

    digest: Digest
    size: int
    groups: bytes = field(repr=False)

    def prove(self, source: object | Reader, start: int, length: int) -> SliceProof:
        """Prove ``length`` bytes from ``start`` on, both counted in canonical bytes.

        Args:
            source: the input that was hashed, or ``read(offset, length)``, which is asked for less
                than 34 KiB of it in pieces of at most 8 KiB.
            start: where the slice begins, ``0 <= start <= size``.
            length: its bytes. An empty slice at the end proves the size alone.

        Raises:
            IndexError: the slice reaches beyond the end.
            ValueError: the input or the groups are of another size.
            UnsupportedTensorError: as :func:`digest_with_groups`.
            EvidenceError: ``read`` gave more or fewer bytes than it was asked for.

        An input that has changed since gives a proof that does not hold.

        >>> grouped = digest_with_groups(b"abc")
        >>> grouped.prove(b"abc", 1, 1)
        SliceProof(start=1, length=1, size=3, head=b'a', path=(), tail=b'c')
        """
        head, path, tail = _core.slice_prove(source, self.size, start, length, self.groups)
        return SliceProof(start, length, self.size, head, tuple(path), tail)


def digest_with_groups(data: object, *, threads: int | None = None) -> GroupedDigest:
    """The digest of a tensor, array or buffer, with its groups, in one pass over it.

    Args:
        data: what :func:`mlprov.digest` takes, except paths; its canonical bytes lie in host memory
            in one piece. Of a file, pass ``mmap.mmap``.
        threads: how many threads may hash; the setting by default.

    Raises:
        UnsupportedTensorError: the values are on a device, or strided: take
            ``tensor.cpu().contiguous()``, whose digest is the same.
        ConfigError: ``threads`` is no number of threads.

    >>> digest_with_groups(b"abc").digest
    Digest('blake3:6437b3ac...')
    >>> len(digest_with_groups(bytes(1_000_000)).groups) // 32
    62
    """
    value, groups, size = _core.blake3_groups(data, threads=threads)
    return GroupedDigest(Digest("blake3", value), size, groups)


@dataclass(frozen=True, slots=True)
class SliceProof:
    """That some bytes stand at one place of an input.

    Attributes:
        start: where the slice begins, in bytes.
        length: bytes of the slice.
        size: bytes of the input.
        head: the input's bytes before the slice that are in its first chunk (of 1,024 bytes).
        path: chaining values of the subtrees before and after these chunks, in order.
        tail: the input's bytes after the slice that are in its last chunk.
    """

    start: int
    length: int
    size: int
    head: bytes
    path: tuple[bytes, ...]
    tail: bytes

    def verify(self, data: Buffer, *, digest: Digest | bytes | str, size: int) -> bool:
        """Whether ``data`` is the slice, as :func:`verify` says.

        Raises:
            EvidenceError: the proof is malformed, or ``digest`` is no BLAKE3 digest.

        >>> grouped = digest_with_groups(b"abc")
        >>> grouped.prove(b"abc", 1, 1).verify(b"x", digest=grouped.digest, size=3)
        False
        """
        try:
            verify(data, self, digest=digest, size=size)
        except VerificationError:
            return False
        return True

    def to_bytes(self) -> bytes:
        """The proof as one JCS object.

        >>> digest_with_groups(b"abc").prove(b"abc", 1, 1).to_bytes()
        b'{"format":"mlprov-slice-proof","head":"YQ==","length":1,"path":[],"size":3,"start":1,...}'
        """
        return canonical(
            {
                "format": _FORMAT,
                "head": base64.b64encode(self.head).decode("ascii"),
                "length": self.length,
                "path": encode_path(self.path),
                "size": self.size,
                "start": self.start,
                "tail": base64.b64encode(self.tail).decode("ascii"),
                "version": VERSION,
            }
        )

    @classmethod
    def from_bytes(cls, data: Buffer) -> SliceProof:
        """Read what :meth:`to_bytes` wrote; no other spelling of it is accepted.

        Raises:
            EvidenceError: malformed, or of an unknown version. Whether head, path and tail fit the
                numbers is seen when the proof is verified.

        >>> proof = digest_with_groups(b"abc").prove(b"abc", 1, 1)
        >>> SliceProof.from_bytes(proof.to_bytes()) == proof
        True
        """
        members = decode_proof(data, _FORMAT, ("head", "length", "path", "size", "start", "tail"))
        return cls(
            start=read_count(members, "start"),
            length=read_count(members, "length"),
            size=read_count(members, "size"),
            head=decode_base64(members["head"]),
            path=decode_path(members["path"]),
            tail=decode_base64(members["tail"]),
        )


def _digest_bytes(digest: Digest | bytes | str) -> bytes:
    if isinstance(digest, str):
        digest = Digest.parse(digest)
    if isinstance(digest, Digest):
        if digest.algorithm != "blake3":
            raise EvidenceError(
                f"slices are proved against a blake3 digest, not {digest.algorithm}"
            )
        return digest.value
    return bytes(digest)


def verify(data: Buffer, proof: SliceProof, *, digest: Digest | bytes | str, size: int) -> None:
    """Check that ``data`` stands at ``proof.start`` of the input with that digest.

    Args:
        data: the slice.
        proof: from whoever has the input.
        digest: of the whole input, with ``size`` from a source that is trusted: a tensor leaf has
            both (``digest`` and ``len``).
        size: bytes of the whole input. The digest binds it where the slice reaches the end or is
            empty at the end; elsewhere the tree's shape bounds it only roughly.

    Raises:
        VerificationError: the bytes, or their number, place or input, are others.
        EvidenceError: the proof is malformed (a slice beyond the end, or parts of another length
            than its numbers demand), or ``digest`` is no BLAKE3 digest.

    >>> grouped = digest_with_groups(b"abc")
    >>> verify(b"b", grouped.prove(b"abc", 1, 1), digest=grouped.digest, size=3)
    """
    expected = _digest_bytes(digest)
    if proof.size != size:
        raise VerificationError(
            f"the proof is of an input of {proof.size} bytes, not of {size} bytes"
        )
    with memoryview(data) as view:
        if view.nbytes != proof.length:
            raise VerificationError(
                f"the slice has {view.nbytes} bytes; the proof is of {proof.length}"
            )
    _core.slice_verify(expected, size, proof.start, data, proof.head, list(proof.path), proof.tail)

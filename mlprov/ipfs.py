"""Content identifiers of IPFS, computed here: of bytes, of values, of files of any size.

A CID names content, so that whoever holds it can check what a server gives. It says nothing about
time, and nothing about who keeps the content: IPFS is storage. How a file is cut into blocks is no
part of its CID; the default here is the profile that IPIP-499 names ``unixfs-v1-2025``.
"""

from __future__ import annotations

import os
import pathlib
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from mlprov import _core
from mlprov.errors import ConfigError, EvidenceError
from mlprov.file_digests import Progress
from mlprov.threads import check_threads
from mlprov.whole_files import replacing

__all__ = [
    "CID",
    "UNIXFS_V0",
    "UNIXFS_V1_2025",
    "Car",
    "Unixfs",
    "cid_of_bytes",
    "cid_of_file",
    "cid_of_value",
    "export_car",
    "import_car",
    "read_car",
]

Codec: TypeAlias = Literal["raw", "dag-pb", "dag-cbor"]
Base: TypeAlias = Literal["base16", "base32", "base36", "base58"]

_BASES = {"base16": "f", "base32": "b", "base36": "k", "base58": "z"}
_CODECS = {0x55: "raw", 0x70: "dag-pb", 0x71: "dag-cbor"}


@dataclass(frozen=True)
class CID:
    r"""A content identifier of version 1 whose hash is SHA-256.

    Attributes:
        binary: 36 bytes: version, codec, multihash (github.com/multiformats/cid).

    >>> str(cid_of_bytes(b"hello world\n"))
    'bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4'
    """

    binary: bytes

    def __post_init__(self) -> None:
        if len(self.binary) != 36 or _core.cid_from_bytes(self.binary) != self.binary:
            raise EvidenceError("these bytes are no CID of version 1", "read them with CID.parse")

    @classmethod
    def parse(cls, given: str | bytes) -> CID:
        """Read a CID: text in base16, base32, base36 or base58, or bytes; version 0 or 1.

        Version 0 becomes the CID of version 1 that it stands for.

        Raises:
            EvidenceError: it is none, or its hash is not SHA-256.

        >>> CID.parse("QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH").codec
        'dag-pb'
        """
        read = _core.cid_from_text(given) if isinstance(given, str) else _core.cid_from_bytes(given)
        return cls(read)

    @property
    def codec(self) -> str:
        """What the content is: ``"raw"``, ``"dag-pb"``, ``"dag-cbor"``, or a number as text."""
        return _CODECS.get(self.binary[1], hex(self.binary[1]))

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the block, 32 bytes."""
        return self.binary[4:]

    def text(self, base: Base = "base32") -> str:
        """The CID as text; gateways take base32 in paths and base36 in host names.

        Raises:
            ValueError: another base.
        """
        if base not in _BASES:
            raise ValueError(f"base is {base!r}: known are {', '.join(_BASES)}")
        return _core.cid_text(self.binary, _BASES[base])

    def v0(self) -> str:
        """The text of version 0, ``Qm…``.

        Raises:
            ValueError: its codec is not dag-pb, which is all that version 0 knows.
        """
        return _core.cid_text(self.binary, "Q")

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"CID.parse({str(self)!r})"


@dataclass(frozen=True)
class Unixfs:
    """How a file is cut: whoever compares two CIDs has to know that both files were cut alike.

    Attributes:
        chunk_size: bytes of a leaf, 1 to 1,048,576; the last may be shorter.
        width: links of a node, 2 to 8,192.
        raw_leaves: whether chunks are blocks as they are, rather than nodes too.
        version: of the CIDs by which nodes name nodes, 0 or 1.
    """

    chunk_size: int = 1_048_576
    width: int = 1_024
    raw_leaves: bool = True
    version: int = 1

    def for_core(self) -> tuple[int, int, bool, int]:
        """As the core takes it."""
        return self.chunk_size, self.width, self.raw_leaves, self.version


UNIXFS_V1_2025 = Unixfs()
"""IPIP-499 ``unixfs-v1-2025``: 1 MiB, 1,024 links, raw leaves."""

UNIXFS_V0 = Unixfs(262_144, 174, raw_leaves=False, version=0)
"""What ``ipfs add`` has done for most files there are: 256 KiB, 174 links, ``Qm…``."""


def cid_of_bytes(data: bytes, *, codec: Codec = "raw") -> CID:
    """The CID of one block.

    Args:
        data: the block, of any length; nodes of IPFS take no blocks above 2 MiB.
        codec: what the block is.
    """
    return CID(_core.cid_of_block(data, codec))


def cid_of_value(value: Any) -> CID:
    """The CID of a value as DAG-CBOR, which has one encoding for each (ipld.io/specs/codecs).

    Args:
        value: None, bool, int of 64 bits, finite float, str, bytes, :class:`CID`, and lists and
            dicts (of str keys) of these.

    Raises:
        TypeError: something else.
        ValueError: a number that does not fit.

    >>> str(cid_of_value({"hello": "world"}))
    'bafyreidykglsfhoixmivffc5uwhcgshx4j465xwqntbmu43nb2dzqwfvae'
    """
    return cid_of_bytes(encode_value(value), codec="dag-cbor")


def encode_value(value: Any) -> bytes:
    """The DAG-CBOR of a value; as :func:`cid_of_value`."""
    return _core.dag_cbor_encode(value, CID)


def cid_of_file(
    path: str | os.PathLike[str],
    *,
    unixfs: Unixfs = UNIXFS_V1_2025,
    threads: int | None = None,
    progress: Progress | None = None,
) -> CID:
    """The CID of a file, cut as ``unixfs`` says; nothing is sent, and memory is bounded.

    Args:
        path: a regular file of any length.
        unixfs: how it is cut.
        threads: how many hash at once; None: the setting (:func:`mlprov.set_threads`).
        progress: called on this thread, some times a second, with 0 and how many bytes are done.

    Raises:
        OSError: the file cannot be read.
        EvidenceError: it was written to meanwhile.
        ConfigError: it is no regular file; ``threads`` is no number of threads.
        ValueError: ``unixfs`` cannot be used.
    """
    check_threads(threads)
    made, _, _ = _core.cid_of_file(path, unixfs.for_core(), threads=threads, progress=progress)
    return CID(made)


@dataclass(frozen=True)
class Car:
    """What is in a CAR, every block of which has the hash that its CID names.

    Attributes:
        roots: the CIDs that it is about; each is among its blocks.
        blocks: how many there are.
        size: bytes of all blocks.
    """

    roots: tuple[CID, ...]
    blocks: int
    size: int


def _refuse_existing(path: pathlib.Path, replace: bool) -> None:
    if not replace and os.path.lexists(path):
        raise ConfigError(f"cannot write {path}: it exists", "name another, or replace it")


def export_car(
    path: str | os.PathLike[str],
    car: str | os.PathLike[str],
    *,
    unixfs: Unixfs = UNIXFS_V1_2025,
    replace: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> CID:
    """Write a file as a CAR of version 1, which any IPFS node can import and anybody can check.

    The same file gives the same bytes: one root, the file's CID, and the blocks in the order in
    which they are made. The CAR appears whole or not at all.

    Args:
        path: a regular file: a bundle, a model.
        car: where to.
        unixfs: how the file is cut; those who import it get the CID that this gives.
        replace: whether a file may be there.
        threads: as :func:`cid_of_file`.
        progress: as :func:`cid_of_file`; the file is read twice.

    Returns:
        the file's CID.

    Raises:
        ConfigError: ``car`` exists; ``path`` is no regular file.
        OSError, EvidenceError, ValueError: as :func:`cid_of_file`.
    """
    check_threads(threads)
    target = pathlib.Path(car)
    _refuse_existing(target, replace)
    with replacing(target) as temporary, temporary.open("wb") as file:
        made, _ = _core.car_write(
            path, file.fileno(), target, unixfs.for_core(), threads=threads, progress=progress
        )
    return CID(made)


def read_car(path: str | os.PathLike[str], *, progress: Progress | None = None) -> Car:
    """Check every block of a CAR of version 1.

    Raises:
        EvidenceError: it is none, is cut off, or lacks a root that it names.
        VerificationError: a block is not what its CID names.
        OSError: it cannot be read.
    """
    roots, blocks, size = _core.car_read(path, progress=progress)
    return Car(tuple(map(CID, roots)), blocks, size)


def import_car(
    car: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    cid: CID | None = None,
    max_size: int | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> CID:
    """Take a file out of a CAR: every block is checked, and ``path`` is whole or not there.

    Args:
        car: a CAR of version 1.
        path: the file to write.
        cid: which file, if the CAR has not one root; with it, that the root is no other is checked
            by the way.
        max_size: bytes of the file at most; by default as many as all blocks have: a small CAR can
            stand for a file without end, since blocks may be named more than once.
        replace: whether a file may be there.
        progress: as :func:`cid_of_file`.

    Returns:
        the CID of the file that was taken.

    Raises:
        EvidenceError, VerificationError, OSError: as :func:`read_car`; what is named is no file.
        StoreError: a block of the file is not in the CAR.
        IndexError: the file is longer than ``max_size``.
        ConfigError: ``path`` exists.
    """
    target = pathlib.Path(path)
    _refuse_existing(target, replace)
    with replacing(target) as temporary, temporary.open("wb") as file:
        wanted = None if cid is None else cid.binary
        taken, _ = _core.car_extract(
            car, file.fileno(), target, cid=wanted, max_size=max_size, progress=progress
        )
    return CID(taken)

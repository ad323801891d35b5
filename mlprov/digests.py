"""Digests of tensors, buffers and files (docs/format.md section 2)."""

from __future__ import annotations

import hmac
import os
import pathlib
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from mlprov import _core
from mlprov.errors import ConfigError, EvidenceError, UnsupportedTensorError
from mlprov.file_digests import hash_files, hash_one
from mlprov.records import Json, canonical
from mlprov.threads import check_threads

__all__ = [
    "Composite",
    "Digest",
    "Hasher",
    "Row",
    "TensorDigest",
    "digest",
    "digest_many",
    "hash_tensors",
]

Hasher = _core.Hasher

# Examples of what is written in C; doctest reads them here.
__test__ = {
    "Hasher": """
    >>> hasher = Hasher(b"a")
    >>> hasher.update(b"bc")
    >>> hasher.hexdigest() == digest(b"abc").hex()
    True
    >>> Hasher(b"abc", algorithm="sha256").hexdigest()[:8]
    'ba7816bf'
    """,
}

Row: TypeAlias = tuple[bytes, str, tuple[int, ...], int]
"""What the core says of one tensor: digest, dtype name, shape, canonical bytes."""

_LENGTHS: Final = {"blake3": 32, "sha256": 32, "sha384": 48, "sha512": 64}
_PLAIN_LAYOUTS: Final = frozenset({"dtensor", "mkldnn"})  # the leaf is that of their one part
_DIGEST = re.compile(r"([a-z0-9]+):((?:[0-9a-f]{2})+)")


def check_options(algorithm: str, threads: int | None = None) -> None:
    """Refuse an unknown algorithm, and a number of threads that is none.

    Raises:
        ConfigError: naming the argument.
    """
    if algorithm not in _LENGTHS:
        raise ConfigError(f"unknown algorithm {algorithm!r}; known are {', '.join(_LENGTHS)}")
    check_threads(threads)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Digest:
    """A digest and the algorithm that made it.

    Two digests are compared in constant time; ``bytes(digest)`` are the raw bytes.

    Attributes:
        algorithm: ``"blake3"``, ``"sha256"``, ``"sha384"`` or ``"sha512"``.
        value: the digest, as long as the algorithm says.

    Raises:
        ConfigError: an unknown algorithm, or a value of another length.

    >>> empty = digest(b"", algorithm="sha256")
    >>> empty.algorithm, empty.hex()[:8], len(bytes(empty))
    ('sha256', 'e3b0c442', 32)
    >>> Digest.parse(str(empty)) == empty
    True
    """

    algorithm: str
    value: bytes

    def __post_init__(self) -> None:
        length = _LENGTHS.get(self.algorithm)
        if length is None:
            raise ConfigError(
                f"unknown digest algorithm {self.algorithm!r}; known are {', '.join(_LENGTHS)}"
            )
        if type(self.value) is not bytes or len(self.value) != length:
            raise ConfigError(
                f"a {self.algorithm} digest is {length} bytes, not {self.value!r:.80}"
            )

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read ``algorithm:lower-case hex``; no other spelling is accepted.

        Raises:
            EvidenceError: the text is anything else.

        >>> Digest.parse("AF13")
        Traceback (most recent call last):
        mlprov.errors.EvidenceError: not a digest: 'AF13'; expected <algorithm>:<lower-case hex>
        """
        match = _DIGEST.fullmatch(text)
        if match is None:
            raise EvidenceError(
                f"not a digest: {text!r:.100}; expected <algorithm>:<lower-case hex>"
            )
        algorithm, value = match[1], bytes.fromhex(match[2])
        if _LENGTHS.get(algorithm) != len(value):
            known = ", ".join(f"{name} ({length} bytes)" for name, length in _LENGTHS.items())
            raise EvidenceError(f"not a digest: {text!r:.100}; known are {known}")
        return cls(algorithm, value)

    def hex(self) -> str:
        """The digest in lower-case hex, without the algorithm."""
        return self.value.hex()

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value.hex()}"

    def __repr__(self) -> str:
        return f"Digest({str(self)!r})"

    def __bytes__(self) -> bytes:
        return self.value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Digest):
            return NotImplemented
        same = hmac.compare_digest(self.value, other.value)
        return same and self.algorithm == other.algorithm

    def __hash__(self) -> int:
        return hash((self.algorithm, self.value))


@dataclass(frozen=True, slots=True)
class Composite:
    """A sparse, quantised or nested tensor: named parts under one digest.

    Attributes:
        layout: such as ``"sparse_coo"`` (the table in docs/format.md section 2).
        shape: logical shape; None where a dimension has no single size.
        parts: for each part its row.
        fields: the layout's further members, such as ``coalesced``.
        algorithm: that of every digest in it.
    """

    layout: str
    shape: tuple[int | None, ...]
    parts: Mapping[str, Row]
    fields: Mapping[str, Json]
    algorithm: str

    def json(self) -> dict[str, Json]:
        """The parts leaf without ``name`` (docs/format.md section 4)."""
        return {
            **self.fields,
            "layout": self.layout,
            "parts": {name: row_json(row, self.algorithm) for name, row in self.parts.items()},
            "shape": list(self.shape),
        }

    def text(self) -> bytes:
        """JCS of :meth:`json`: the bytes whose hash is the composite's digest."""
        return canonical(self.json())

    @property
    def len(self) -> int:
        """Canonical bytes of all parts together."""
        return sum(row[3] for row in self.parts.values())


def row_json(row: Row, algorithm: str) -> dict[str, Json]:
    """A row as leaves write it: digest, dtype, len, shape."""
    value, dtype, shape, length = row
    return {
        "digest": f"{algorithm}:{value.hex()}",
        "dtype": dtype,
        "len": length,
        "shape": list(shape),
    }


@dataclass(frozen=True, slots=True)
class TensorDigest:
    """A tensor's name, type and digest: what one leaf of a model tree says.

    Attributes:
        name: name in the persistent state dict.
        dtype: element type as safetensors spells it (``"F32"``); of a composite its layout.
        shape: as the leaf writes it; None for a dimension without one size (nested tensors).
        len: canonical bytes.
        digest: of the canonical bytes; of a composite, of its parts leaf without the name.
        composite: the parts, or None for an ordinary tensor.

    >>> TensorDigest("b", "U8", (3,), 3, digest(b"abc")).leaf()
    b'{"digest":"blake3:6437b3ac...","dtype":"U8","len":3,"name":"b","shape":[3]}'
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    len: int
    digest: Digest
    composite: Composite | None = field(default=None, compare=False, repr=False)

    @classmethod
    def from_row(cls, name: str, row: Row | Composite, algorithm: str) -> TensorDigest:
        """Of what :func:`hash_tensors` returned."""
        if isinstance(row, Composite):
            value = _core.hash_bytes(row.text(), algorithm)
            return cls(name, row.layout, row.shape, row.len, Digest(algorithm, value), row)
        return cls(name, row[1], row[2], row[3], Digest(algorithm, row[0]))

    def leaf(self) -> bytes:
        """The exact bytes of the tensor leaf or parts leaf (docs/format.md section 4)."""
        if self.composite is not None:
            return canonical({**self.composite.json(), "name": self.name})
        shape: Any = self.shape
        row = (self.digest.value, self.dtype, shape, self.len)
        return _core.tensor_leaf(self.name, row, self.digest.algorithm)


def is_numpy_array(value: object) -> bool:
    """Whether a value is a NumPy array; NumPy is not imported for the question."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def is_torch_tensor(value: object) -> bool:
    """Whether the value is a torch tensor; torch is not imported for it."""
    torch = sys.modules.get("torch")
    tensor = getattr(torch, "Tensor", None)  # None also while torch is still being imported
    return tensor is not None and isinstance(value, tensor)


def _split(tensor: object) -> tuple[str, dict[str, Any], dict[str, Json]] | None:
    if not is_torch_tensor(tensor):
        return None
    from mlprov import _parts

    return _parts.split(tensor)


def hash_tensors(
    tensors: Sequence[object],
    algorithm: str,
    describe: Callable[[int], str],
    threads: int | None = None,
) -> list[Row | Composite]:
    """Digests of tensors of any layout, with at most two calls of the core.

    Args:
        tensors: what the core can view, and torch tensors that have parts.
        algorithm: one for all.
        describe: the words for tensor ``index`` in an error, such as ``tensor "fc1.weight"``.
        threads: how many hash at once; None for the setting of :mod:`mlprov.threads`.

    Raises:
        UnsupportedTensorError: a tensor without values, named by ``describe``.
    """
    try:
        return list(_core.tensor_digests(tensors, algorithm, threads=threads))
    except UnsupportedTensorError as error:
        if not any(is_torch_tensor(tensor) for tensor in tensors):
            raise named_error(error, describe) from error
    return _hash_with_parts(tensors, algorithm, describe, threads)


def _hash_with_parts(
    tensors: Sequence[object],
    algorithm: str,
    describe: Callable[[int], str],
    threads: int | None,
) -> list[Row | Composite]:
    flat: list[object] = []
    owners: list[int] = []
    splits = [split_tensor(tensor, index, describe) for index, tensor in enumerate(tensors)]
    for index, (tensor, split) in enumerate(zip(tensors, splits, strict=True)):
        values = [tensor] if split is None else list(split[1].values())
        flat += values
        owners += [index] * len(values)
    try:
        rows = iter(_core.tensor_digests(flat, algorithm, threads=threads))
    except UnsupportedTensorError as error:
        if 0 <= error.index < len(owners):
            error.index = owners[error.index]
        raise named_error(error, describe) from error
    result: list[Row | Composite] = []
    for tensor, split in zip(tensors, splits, strict=True):
        if split is None or split[0] in _PLAIN_LAYOUTS:
            result.append(next(rows))
            continue
        layout, parts, fields = split
        fields = dict(fields)
        listed: Any = fields.pop("shape", None)
        shape = tuple(listed) if listed is not None else tuple(getattr(tensor, "shape", ()))
        result.append(
            Composite(layout, shape, {name: next(rows) for name in parts}, fields, algorithm)
        )
    return result


def split_tensor(
    tensor: object, index: int, describe: Callable[[int], str]
) -> tuple[str, dict[str, Any], dict[str, Json]] | None:
    """The parts of a composite tensor (layout, parts, fields), or None of an ordinary one."""
    try:
        return _split(tensor)
    except UnsupportedTensorError as error:
        error.index = index
        raise named_error(error, describe) from error


def named_error(
    error: UnsupportedTensorError, describe: Callable[[int], str]
) -> UnsupportedTensorError:
    """The same error, saying first which tensor it is about."""
    if error.index < 0:
        return error
    named = UnsupportedTensorError(f"cannot hash {describe(error.index)}: {error}")
    named.index = error.index
    named.status = error.status
    named.retryable = error.retryable
    return named


def _hash_paths(
    paths: Sequence[pathlib.Path], algorithm: str, threads: int | None
) -> Iterator[Digest]:
    """In order; the first that cannot be hashed is raised."""
    regular = [stat.S_ISREG(_not_directory(path).st_mode) for path in paths]
    names = [
        os.fsencode(path) for path, is_regular in zip(paths, regular, strict=True) if is_regular
    ]
    outcomes = hash_files(names, algorithm, threads=threads)
    for path, is_regular in zip(paths, regular, strict=True):
        outcome, _ = (
            next(outcomes)
            if is_regular
            else hash_one(os.fsencode(path), algorithm, threads=threads)
        )
        if isinstance(outcome, Exception):
            raise outcome
        yield Digest(algorithm, outcome)


def _not_directory(path: pathlib.Path) -> os.stat_result:
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise ConfigError(
            f"cannot digest {path}: it is a directory; use mlprov.digest_model() for the shards of"
            " a model, Run.track_data() for a data set, or digest_many() of its files"
        )
    return found


def _refuse(obj: object) -> None:
    """Say what to call for what is no single value."""
    if isinstance(obj, str):
        raise TypeError("could be text or a path: pass text.encode() or pathlib.Path(text)")
    kind = getattr(sys.modules.get("torch.nn"), "Module", None)
    if isinstance(obj, Mapping) or (kind is not None and isinstance(obj, kind)):
        raise TypeError(
            f"cannot digest a {type(obj).__name__} as one value: it holds many tensors, by name;"
            " mlprov.digest_model() gives the digest of a model or a state dict"
        )


def digest(obj: object, *, algorithm: str = "blake3", threads: int | None = None) -> Digest:
    """The digest of a tensor's values, of bytes, or of a file's content.

    A tensor's is that of its canonical bytes: row-major, little-endian, whatever its strides and
    device (docs/format.md section 2). It is computed in place and equals ``b3sum`` of these bytes.
    Memory that another thread frees or shrinks meanwhile (a storage resized, the file behind a
    ``memmap`` cut short) ends the process, as it would with any other reader of that memory.

    Args:
        obj: a tensor or array (torch, NumPy, anything with ``__dlpack__`` or the buffer protocol),
            ``bytes``, or a :class:`pathlib.Path` to a file. Text is refused: it could be either.
        algorithm: ``"blake3"``, ``"sha256"``, ``"sha384"`` or ``"sha512"``.
        threads: how many threads may hash at once, 1 to 1024; None for what
            :func:`mlprov.set_threads` says. SHA-2 of one file is hashed by one thread.

    Raises:
        TypeError: text, a model or state dict (:func:`mlprov.digest_model` is for these), or an
            object that holds no values.
        UnsupportedTensorError: a tensor without values (meta, fake) or of objects.
        ConfigError: a directory, an unknown algorithm, ``threads`` that is none.
        EvidenceError: the file changed while it was read.

    >>> str(digest(b"abc"))
    'blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85'
    >>> digest(memoryview(b"abc"), algorithm="sha256").hex()[:8]
    'ba7816bf'
    >>> digest("abc")
    Traceback (most recent call last):
    TypeError: could be text or a path: pass text.encode() or pathlib.Path(text)
    """
    return digest_many((obj,), algorithm=algorithm, threads=threads)[0]


def digest_many(
    objs: Iterable[object], *, algorithm: str = "blake3", threads: int | None = None
) -> list[Digest]:
    """The digests of many objects, as :func:`digest` gives them, in one call of the core.

    Small files share the threads, each large one has them all; then everything else is hashed
    together.

    Args:
        objs: what :func:`digest` takes; not one tensor, whose rows these would be.
        algorithm: one for all.
        threads: as for :func:`digest`.

    Raises:
        UnsupportedTensorError: with the position of the object in its text and ``index``.

    >>> [d.hex()[:8] for d in digest_many([b"abc", b""])]
    ['6437b3ac', 'af1349b9']
    """
    check_options(algorithm, threads)
    _refuse(objs)
    items = list(objs)
    digests: dict[int, Digest] = {}
    paths = {}
    for index, obj in enumerate(items):
        _refuse(obj)
        if isinstance(obj, pathlib.PurePath):
            paths[index] = pathlib.Path(obj)
    hashed = _hash_paths(list(paths.values()), algorithm, threads)
    digests.update(zip(paths, hashed, strict=True))
    others = [index for index in range(len(items)) if index not in digests]
    rows = hash_tensors(
        [items[index] for index in others],
        algorithm,
        lambda index: f"object {others[index]}",
        threads,
    )
    for index, row in zip(others, rows, strict=True):
        if isinstance(row, Composite):
            digests[index] = Digest(algorithm, _core.hash_bytes(row.text(), algorithm))
        else:
            digests[index] = Digest(algorithm, row[0])
    return [digests[index] for index in range(len(items))]

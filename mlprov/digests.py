"""Digests of tensors, buffers and files (docs/format.md section 2)."""

from __future__ import annotations

import hmac
import itertools
import json
import os
import pathlib
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, overload

from mlprov import _core
from mlprov.composites import Composite, hash_composites, naming, split_refused
from mlprov.errors import ConfigError, EvidenceError, UnsupportedTensorError
from mlprov.file_digests import hash_files, hash_one
from mlprov.records import canonical
from mlprov.threads import check_threads
from mlprov.wording import brief

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Digest", "Hasher", "TensorDigest", "blake3", "digest", "digest_many"]

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

_LENGTHS: Final = {"blake3": 32, "sha256": 32, "sha384": 48, "sha512": 64}
_MOST_ALGORITHMS: Final = _core.MOST_ALGORITHMS
_LONG_VALUE = 200  # characters of a wrong argument in a message
_DIGEST = re.compile(r"([a-z0-9]+):((?:[0-9a-f]{2})+)")


def check_options(algorithm: str, threads: int | None = None) -> None:
    """Refuse an unknown algorithm, and a number of threads that is none.

    Raises:
        ConfigError: naming the argument.
    """
    if not isinstance(algorithm, str) or algorithm not in _LENGTHS:
        raise ConfigError(f"unknown algorithm {algorithm!r}", f"known are {', '.join(_LENGTHS)}")
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
                f"unknown digest algorithm {self.algorithm!r}", f"known are {', '.join(_LENGTHS)}"
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
            TypeError: it is no text.

        >>> Digest.parse("AF13")
        Traceback (most recent call last):
        mlprov.errors.EvidenceError: not a digest: 'AF13'; expected <algorithm>:<lower-case hex>
        """
        if not isinstance(text, str):
            raise TypeError(f"expected the text of a digest, not {type(text).__name__}")
        match = _DIGEST.fullmatch(text)
        if match is None:
            raise EvidenceError(
                f"not a digest: {text!r:.100}", "expected <algorithm>:<lower-case hex>"
            )
        algorithm, value = match[1], bytes.fromhex(match[2])
        if _LENGTHS.get(algorithm) != len(value):
            known = ", ".join(f"{name} ({length} bytes)" for name, length in _LENGTHS.items())
            raise EvidenceError(f"not a digest: {text!r:.100}", f"known are {known}")
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


# Past the frozen class's own __setattr__, for _make_digests.
_new_object: Callable[[type[Digest]], Digest] = object.__new__
_set_algorithm: Callable[[Digest, str], None] = Digest.__dict__["algorithm"].__set__
_set_value: Callable[[Digest, bytes], None] = Digest.__dict__["value"].__set__


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
    def from_leaf(cls, leaf: bytes) -> TensorDigest:
        """Read a tensor leaf or parts leaf that mlprov wrote; it is not checked.

        >>> one = TensorDigest("b", "U8", (3,), 3, digest(b"abc"))
        >>> TensorDigest.from_leaf(one.leaf()) == one
        True
        """
        found = json.loads(leaf)
        name = found.pop("name")
        if "layout" in found:
            parts = Composite.from_json(found)
            whole = Digest(parts.algorithm, _core.hash_bytes(parts.text(), parts.algorithm))
            return cls(name, parts.layout, parts.shape, parts.len, whole, parts)
        digest = Digest.parse(found["digest"])
        return cls(name, found["dtype"], tuple(found["shape"]), found["len"], digest)

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


def _hash_paths(
    paths: Sequence[pathlib.Path], algorithms: Sequence[str], threads: int | None
) -> Iterator[list[bytes]]:
    """A digest by each algorithm, path by path; the first that cannot be hashed is raised."""
    regular = [stat.S_ISREG(_not_directory(path).st_mode) for path in paths]
    names = [os.fsencode(path) for path in paths]
    if len(algorithms) > 1:
        for name in names:
            yield _core.hash_file(name, algorithms, threads=threads)[0]
        return
    (algorithm,) = algorithms
    batch = [name for name, is_regular in zip(names, regular, strict=True) if is_regular]
    outcomes = hash_files(batch, algorithm, threads=threads)
    for name, is_regular in zip(names, regular, strict=True):
        outcome, _ = next(outcomes) if is_regular else hash_one(name, algorithm, threads=threads)
        if isinstance(outcome, Exception):
            raise outcome
        yield [outcome]


def _not_directory(path: pathlib.Path) -> os.stat_result:
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise ConfigError(
            f"cannot digest {path}: it is a directory",
            "use mlprov.digest_model() for the shards of"
            " a model, Run.track_data() for a data set, or digest_many() of its files",
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


@overload
def digest(obj: object, *, algorithm: str = "blake3", threads: int | None = None) -> Digest: ...
@overload
def digest(
    obj: object, *, algorithms: Sequence[str], threads: int | None = None
) -> tuple[Digest, ...]: ...
def digest(
    obj: object,
    *,
    algorithm: str = "blake3",
    algorithms: Sequence[str] | None = None,
    threads: int | None = None,
) -> Digest | tuple[Digest, ...]:
    """The digest of a tensor's values, of bytes, or of a file's content.

    A tensor's is that of its canonical bytes: row-major, little-endian, whatever its strides and
    device (docs/format.md section 2). It is computed in place and equals ``b3sum`` of these bytes.
    Memory that another thread frees or shrinks meanwhile (a storage resized, the file behind a
    ``memmap`` cut short) ends the process, as it would with any other reader of that memory.

    Args:
        obj: a tensor or array (torch, NumPy, anything with ``__dlpack__`` or the buffer protocol),
            ``bytes``, or a :class:`pathlib.Path` to a file. Text is refused: it could be either.
        algorithm: ``"blake3"``, ``"sha256"``, ``"sha384"`` or ``"sha512"``.
        algorithms: several of these, instead of one, as a list or tuple: a tuple of digests in this
            order. With two threads SHA-256 runs beside BLAKE3; a file or a device is read once for
            all, a tensor with strides once for each.
        threads: how many threads may hash at once, 1 to 1024; None for what
            :func:`mlprov.set_threads` says. SHA-2 of one file is hashed by one thread.

    Raises:
        TypeError: text, a model or state dict (:func:`mlprov.digest_model` is for these), or an
            object that holds no values.
        UnsupportedTensorError: a tensor without values (meta, fake) or of objects.
        ConfigError: a directory, an unknown algorithm, ``threads`` that is none.
        OSError: the file is not there or cannot be read, as ``open`` raises it
            (``FileNotFoundError``, ``PermissionError`` …).
        EvidenceError: the file changed while it was read.

    >>> str(digest(b"abc"))
    'blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85'
    >>> digest(memoryview(b"abc"), algorithm="sha256").hex()[:8]
    'ba7816bf'
    >>> [str(one)[:15] for one in digest(b"abc", algorithms=("blake3", "sha256"))]
    ['blake3:6437b3ac', 'sha256:ba7816bf']
    >>> digest("abc")
    Traceback (most recent call last):
    TypeError: could be text or a path: pass text.encode() or pathlib.Path(text)
    """
    if algorithms is None:
        return digest_many((obj,), algorithm=algorithm, threads=threads)[0]
    names = _check_algorithms(algorithm, algorithms)
    return digest_many((obj,), algorithms=names, threads=threads)[0]


@overload
def digest_many(
    objs: Iterable[object], *, algorithm: str = "blake3", threads: int | None = None
) -> list[Digest]: ...
@overload
def digest_many(
    objs: Iterable[object], *, algorithms: Sequence[str], threads: int | None = None
) -> list[tuple[Digest, ...]]: ...
def digest_many(
    objs: Iterable[object],
    *,
    algorithm: str = "blake3",
    algorithms: Sequence[str] | None = None,
    threads: int | None = None,
) -> list[Digest] | list[tuple[Digest, ...]]:
    """The digests of many objects, as :func:`digest` gives them, in one call of the core.

    Small files share the threads, each large one has them all; then everything else is hashed
    together.

    Args:
        objs: what :func:`digest` takes; not one tensor, whose rows these would be.
        algorithm: one for all.
        algorithms: several for each, as :func:`digest` takes them.
        threads: as for :func:`digest`.

    Raises:
        TypeError: ``objs`` is no collection of objects.
        UnsupportedTensorError: with the position of the object in its text and ``index``.
        Exception: as :func:`digest`; of several files the first that cannot be hashed.

    >>> [d.hex()[:8] for d in digest_many([b"abc", b""])]
    ['6437b3ac', 'af1349b9']
    >>> [len(pair) for pair in digest_many([b"abc", b""], algorithms=("blake3", "sha256"))]
    [2, 2]
    """
    check_options(algorithm, threads)
    names = (algorithm,) if algorithms is None else _check_algorithms(algorithm, algorithms)
    _refuse(objs)
    items = _list_objects(objs)
    columns = [
        _make_digests(name, values)
        for name, values in zip(names, _hash_objects(items, names, threads), strict=True)
    ]
    return columns[0] if algorithms is None else list(zip(*columns, strict=True))


def _list_objects(objs: Iterable[object]) -> list[object]:
    try:
        iterator = iter(objs)
    except TypeError as error:
        raise TypeError(
            f"digest_many: expected a list or another collection of objects, not"
            f" {type(objs).__name__}; mlprov.digest() takes one"
        ) from error
    return list(iterator)


def _make_digests(algorithm: str, values: Sequence[bytes]) -> list[Digest]:
    """Of values that the core made, which need no check."""
    digests = list(map(_new_object, itertools.repeat(Digest, len(values))))
    for made, value in zip(digests, values, strict=True):
        _set_algorithm(made, algorithm)
        _set_value(made, value)
    return digests


def _check_algorithms(algorithm: str, algorithms: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(algorithms, (list, tuple)) or not 1 <= len(algorithms) <= _MOST_ALGORITHMS:
        raise ConfigError(
            f"algorithms is {brief(repr(algorithms), _LONG_VALUE)}",
            f'expected 1 to {_MOST_ALGORITHMS} names such as ("blake3", "sha256")',
        )
    if algorithm != "blake3":
        raise ConfigError("give algorithm or algorithms, not both")
    for name in algorithms:
        check_options(name)
    return tuple(algorithms)


def _hash_objects(
    items: list[object], algorithms: Sequence[str], threads: int | None
) -> list[list[bytes]]:
    """The raw digests of objects: a list for each algorithm."""
    try:
        return _core.digest_values(items, algorithms, threads=threads)
    except (TypeError, UnsupportedTensorError):
        return _hash_by_kind(items, algorithms, threads)


def _hash_by_kind(
    items: list[object], algorithms: Sequence[str], threads: int | None
) -> list[list[bytes]]:
    """The same where files or composite tensors are among them, or something is wrong."""
    rows: dict[int, list[bytes]] = {}  # place → a digest by each algorithm
    values = list(items)
    paths: dict[int, pathlib.Path] = {}
    for place, obj in enumerate(items):
        _refuse(obj)
        if isinstance(obj, pathlib.PurePath):
            paths[place] = pathlib.Path(obj)
            values[place] = b""  # keeps the place
        else:
            _require_values(obj, place, len(items))
    hashed = _hash_paths(list(paths.values()), algorithms, threads)
    rows.update(zip(paths, hashed, strict=True))
    values, splits = split_refused(values, _describe)
    for algorithm in algorithms:
        composites = hash_composites(items, splits, algorithm, _describe, threads)
        for place, composite in composites.items():
            values[place] = b""
            value = _core.hash_bytes(composite.text(), algorithm)
            rows.setdefault(place, []).append(value)
    with naming(range(len(values)), _describe):
        columns = _core.digest_values(values, algorithms, threads=threads)
    for place, row in rows.items():
        for column, value in zip(columns, row, strict=True):
            column[place] = value
    return columns


def _describe(place: int) -> str:
    return f"object {place}"


def _require_values(obj: object, place: int, count: int) -> None:
    try:
        _core.tensors_without_view([obj])
    except TypeError as error:
        if count == 1:
            raise
        raise TypeError(f"object {place} of {count}: {error}") from error


def blake3(
    data: Buffer = b"",
    *,
    key: bytes | None = None,
    derive_key_context: str | None = None,
    usedforsecurity: bool = True,  # noqa: ARG001  # hashlib's constructors have it
) -> Hasher:
    """A BLAKE3 hasher with the signature of hashlib's constructors.

    What it returns has their methods and attributes, so it serves wherever they do:
    :func:`hashlib.file_digest`, :func:`hmac.new`, or any ``hasher=hashlib.sha256`` argument. Use
    ``key`` rather than HMAC where the other side does so too: it is BLAKE3's own, and faster.

    Args:
        data: the first bytes.
        key: 32 bytes, for BLAKE3's keyed mode.
        derive_key_context: hard-coded, globally unique text, for its key derivation mode.
        usedforsecurity: accepted and ignored, as hashlib does for what no policy forbids.

    Raises:
        ValueError: a key of another length, or both a key and a context.

    >>> import hashlib, hmac, io
    >>> blake3(b"abc").hexdigest() == digest(b"abc").hex()
    True
    >>> hashlib.file_digest(io.BytesIO(b"abc"), blake3).hexdigest()[:8]
    '6437b3ac'
    >>> len(hmac.digest(b"key", b"message", blake3))
    32
    """
    return Hasher(data, key=key, context=derive_key_context)

"""Reading a file of samples as a ``data`` record has them (docs/format.md section 10, **Data**)."""

from __future__ import annotations

import contextlib
import os
import pathlib
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from mlprov import _core, datasets, records
from mlprov.errors import Error, VerificationError
from mlprov.samples import SampleLeaves
from mlprov.tree_references import TreeReference, is_count
from mlprov.verdicts import Unchecked

__all__ = ["Samples", "read_samples"]


class Samples(NamedTuple):
    """The two trees that a data set's samples make."""

    tree: TreeReference
    sorted: TreeReference

    @staticmethod
    def of(root: bytes, sorted_root: bytes, size: int) -> Samples:
        """From roots and the one size."""
        return Samples(TreeReference(root, size), TreeReference(sorted_root, size))


_Column = tuple[str, tuple[int, ...], memoryview]  # element type, shape, canonical bytes


def read_samples(data: Any, record: Mapping[str, Any], algorithm: str) -> Samples:
    """The sample trees of what the caller has: arrays at hand, or a path.

    Raises:
        Unchecked: it is of another form than the record, or cannot be read.
    """
    kind = record.get("kind")
    if kind not in ("arrays", "files", "file"):
        raise Unchecked(
            f"record {record['seq']} is of the kind {kind!r}, whose samples no file stands for"
        )
    if kind == "arrays":
        _check_fields(record.get("fields"), f"record {record['seq']}")
    try:
        if isinstance(data, (str, os.PathLike)):
            path = pathlib.Path(data)
            if kind == "arrays":
                return _read_arrays(path, record.get("fields"), algorithm)
            data = path
        capture = datasets.capture_dataset(data, algorithm=algorithm)
    except VerificationError:
        raise
    except (Error, OSError) as error:
        raise Unchecked(
            f"the data cannot be read as record {record['seq']} has it: {error}"
        ) from error
    return Samples.of(capture.root, capture.sorted_root, capture.size)


def _check_fields(fields: Any, where: str) -> None:
    """Whether ``fields`` is a nesting of ``{"dtype": text, "shape": [integers]}``.

    Raises:
        VerificationError: it is not.
        Unchecked: it holds something that a batch leaf writes with a ``$``, such as pairs.
    """
    if isinstance(fields, dict) and not _is_end(fields):
        if any(key.startswith("$") and not key.startswith("$$") for key in fields):
            raise Unchecked(f"{where} has samples of a form that no file has; pass them in Python")
        fields = list(fields.values())
    if isinstance(fields, list) and fields:
        for item in fields:
            _check_fields(item, where)
        return
    shape = fields.get("shape") if isinstance(fields, dict) else None
    if not isinstance(shape, list) or not all(is_count(n) for n in shape) or len(fields) != 2:
        raise VerificationError(f"{where} has fields that describe no sample")


def _read_arrays(path: pathlib.Path, fields: Any, algorithm: str) -> Samples:
    if path.suffix == ".npy":
        if not _is_end(fields):
            raise Unchecked(f"{path} holds one array; a recorded sample has several")
        capture = datasets.capture_dataset(_read_npy(path), algorithm=algorithm)
        return Samples.of(capture.root, capture.sorted_root, capture.size)
    if path.suffix == ".safetensors":
        return _tree_of(_read_columns(path), fields, path, algorithm)
    raise Unchecked(
        f"{path} is neither .npy nor .safetensors; pass the arrays themselves in Python"
    )


def _read_npy(path: pathlib.Path) -> Any:
    try:
        import numpy
    except ImportError as error:
        raise Unchecked(f"{path} cannot be read: NumPy is missing; pip install numpy") from error
    try:
        with _open_regular(path) as file:
            array = numpy.lib.format.read_array(file, allow_pickle=False)
            if file.read(1):
                raise Unchecked(f"{path} has bytes after its array")
            return array
    except (Unchecked, OSError):
        raise
    except Exception as error:  # whatever a hostile header makes of NumPy's parser
        raise Unchecked(f"{path} cannot be read as a .npy file: {type(error).__name__}") from error


@contextlib.contextmanager
def _open_regular(path: pathlib.Path) -> Iterator[BinaryIO]:
    """A regular file to read, never mapped: one that is cut short meanwhile must not be SIGBUS.

    Raises:
        Unchecked: it is something else, or changed while it was open.
    """
    # Without blocking: a FIFO of that name must not hang the verifier.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise Unchecked(f"{path} is not a regular file")
        yield file
        if any(
            _identity(after) != _identity(before) for after in (os.fstat(descriptor), path.stat())
        ):
            raise Unchecked(f"{path} changed while it was read")


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _read_columns(path: pathlib.Path) -> dict[str, _Column]:
    with _open_regular(path) as file:
        entries, _, _ = _core.safetensors_entries(os.fsencode(path))
        content = memoryview(file.read())
    return {name: (dtype, shape, content[begin:end]) for name, dtype, shape, begin, end in entries}


def _is_end(fields: Any) -> bool:
    return isinstance(fields, dict) and isinstance(fields.get("dtype"), str)


def _ends(fields: Any, place: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The key paths to the arrays of a sample."""
    if _is_end(fields):
        return [place]
    if isinstance(fields, list):
        members = [(str(position), item) for position, item in enumerate(fields)]
    elif isinstance(fields, dict):
        members = [(key[1:] if key.startswith("$$") else key, item) for key, item in fields.items()]
    else:
        raise Unchecked("the record's fields name no arrays")
    return [end for key, item in members for end in _ends(item, (*place, key))]


def _tree_of(
    columns: Mapping[str, _Column], fields: Any, path: pathlib.Path, algorithm: str
) -> Samples:
    wanted = {".".join(end) for end in _ends(fields)}
    if _is_end(fields) and len(columns) == 1:
        columns = {"": next(iter(columns.values()))}
    if set(columns) != wanted:
        raise VerificationError(
            f"{path} holds {sorted(columns)}; a recorded sample has {sorted(wanted)}"
        )
    if not all(shape for _, shape, _ in columns.values()):
        raise Unchecked(f"{path} holds an array without dimensions, so without samples")
    counts = {shape[0] for _, shape, _ in columns.values()}
    if len(counts) != 1:
        raise VerificationError(
            f"{path} holds arrays of {sorted(counts)} rows; a data set has as many of each"
        )
    count = counts.pop()
    rows = {name: _rows(column, count) for name, column in columns.items()}
    digests = {name: _core.hash_many(parts, algorithm) for name, parts in rows.items()}
    if _is_end(fields):
        length = len(rows[""][0]) if count else 0
        leaves = SampleLeaves(algorithm, digests[""], length)
    else:
        texts = [
            records.canonical(_items(fields, (), index, columns, digests, rows, algorithm))
            for index in range(count)
        ]
        leaves = SampleLeaves(
            algorithm, _core.hash_many(texts, algorithm), [len(text) for text in texts]
        )
    return Samples.of(_core.merkle_root(leaves), _core.merkle_root(leaves.sorted_digests()), count)


def _rows(column: _Column, count: int) -> list[memoryview]:
    size = len(column[2]) // count if count else 0
    return [column[2][index * size : (index + 1) * size] for index in range(count)]


def _items(
    fields: Any,
    place: tuple[str, ...],
    index: int,
    columns: Mapping[str, _Column],
    digests: Mapping[str, Sequence[bytes]],
    rows: Mapping[str, Sequence[memoryview]],
    algorithm: str,
) -> Any:
    """The items of one sample, as a batch leaf writes them."""
    if _is_end(fields):
        name = ".".join(place)
        dtype, shape, _ = columns[name]
        digest = f"{algorithm}:{digests[name][index].hex()}"
        return {
            "$tensor": {
                "digest": digest,
                "dtype": dtype,
                "len": len(rows[name][index]),
                "shape": list(shape[1:]),
            }
        }
    if isinstance(fields, list):
        return [
            _items(item, (*place, str(at)), index, columns, digests, rows, algorithm)
            for at, item in enumerate(fields)
        ]
    return {
        key: _items(
            item,
            (*place, key[1:] if key.startswith("$$") else key),
            index,
            columns,
            digests,
            rows,
            algorithm,
        )
        for key, item in fields.items()
    }

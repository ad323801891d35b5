"""Reading a file of samples as a ``data`` record has them (docs/format.md section 10, **Data**)."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mlprov import _core, datasets, npy_files, records
from mlprov.errors import Error, EvidenceError, VerificationError
from mlprov.record_values import is_count, shown
from mlprov.records import Json
from mlprov.regular_files import open_regular
from mlprov.samples import SampleLeaves
from mlprov.tree_references import TreeReference
from mlprov.verdicts import Mismatch, Unchecked

__all__ = ["Samples", "read_samples"]


class Samples(NamedTuple):
    """The leaves of a data set's samples, and the two trees that they make."""

    leaves: SampleLeaves
    tree: TreeReference
    sorted: TreeReference

    @staticmethod
    def of(leaves: SampleLeaves, root: bytes, sorted_root: bytes) -> Samples:
        """From the leaves and the roots over them."""
        size = len(leaves)
        return Samples(leaves, TreeReference(root, size), TreeReference(sorted_root, size))


_Column = tuple[str, tuple[int, ...], memoryview]  # element type, shape, canonical bytes


class _Rows(NamedTuple):
    """A column cut into samples along its first dimension."""

    dtype: str
    shape: list[int]  # of one sample
    rows: list[memoryview]
    digests: Sequence[bytes]

    @staticmethod
    def cut(column: _Column, count: int, algorithm: str) -> _Rows:
        dtype, shape, content = column
        size = len(content) // count if count else 0
        rows = [content[index * size : (index + 1) * size] for index in range(count)]
        return _Rows(dtype, list(shape[1:]), rows, _core.hash_many(rows, algorithm))

    def item(self, index: int, algorithm: str) -> dict[str, Json]:
        """One sample of it, as a batch leaf writes a tensor."""
        tensor: dict[str, Json] = {
            "digest": f"{algorithm}:{self.digests[index].hex()}",
            "dtype": self.dtype,
            "len": len(self.rows[index]),
            "shape": [*self.shape],
        }
        return {"$tensor": tensor}


def read_samples(data: Any, record: Mapping[str, Any], algorithm: str) -> Samples:
    """The sample trees of what the caller has: arrays at hand, or a path.

    Raises:
        VerificationError: the record's ``fields`` describe no sample, or other samples than these.
        Unchecked: it is of another form than the record, or cannot be read.
    """
    kind, fields = record.get("kind"), record.get("fields")
    where = f"record {record['seq']}"
    if kind not in ("arrays", "files", "file"):
        raise Unchecked(f"{where} is of the kind {shown(kind)}, whose samples no file stands for")
    if kind == "arrays":
        _check_fields(fields, where)
        if not _ends(fields):
            raise VerificationError(f"{where} has fields that describe no sample")
    try:
        if isinstance(data, (str, os.PathLike)):
            path = pathlib.Path(data)
            if kind == "arrays":
                return _read_arrays(path, fields, where, algorithm)
            data = path
        capture = datasets.capture_dataset(data, algorithm=algorithm)
    except VerificationError:
        raise
    except (Error, OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise Unchecked(f"the data cannot be read as {where} has it: {error}") from error
    if kind == "arrays":
        _compare_fields(capture.fields, fields, where)
    return Samples.of(capture.leaves, capture.root, capture.sorted_root)


def _check_fields(fields: Any, where: str) -> None:
    """Whether ``fields`` is a nesting of ``{"dtype": text, "shape": [integers]}``.

    Raises:
        VerificationError: it is not.
        Unchecked: it holds something that a batch leaf writes with a ``$``, such as pairs.
    """
    if isinstance(fields, dict) and not _is_end(fields):
        if any(key.startswith("$") and not key.startswith("$$") for key in fields):
            raise Unchecked(f"{where} has samples of another form than lists and objects of arrays")
        fields = [fields[key] for key in sorted(fields)]
    if isinstance(fields, list):
        for item in fields:
            _check_fields(item, where)
        return
    shape = fields.get("shape") if isinstance(fields, dict) else None
    if not isinstance(shape, list) or not all(is_count(n) for n in shape) or len(fields) != 2:
        raise VerificationError(f"{where} has fields that describe no sample")


def _compare_fields(seen: Any, expected: Any, where: str) -> None:
    """The digests cover bytes alone: element type and shape are compared by themselves."""
    if seen != expected:
        raise Mismatch(
            f"the samples given are {shown(seen)}; {where} says {shown(expected)}",
            seen=shown(seen),
            expected=shown(expected),
        )


def _read_arrays(path: pathlib.Path, fields: Any, where: str, algorithm: str) -> Samples:
    with open_regular(path) as file:
        if file.read(len(npy_files.MAGIC)) != npy_files.MAGIC:
            return _tree_of(_read_columns(path), fields, path, algorithm)
        if not _is_end(fields):
            raise Unchecked(f"{path} holds one array; a recorded sample is none")
        file.seek(0)
        capture = datasets.capture_dataset(npy_files.read_array(file, path), algorithm=algorithm)
    _compare_fields(capture.fields, fields, where)
    return Samples.of(capture.leaves, capture.root, capture.sorted_root)


def _read_columns(path: pathlib.Path) -> dict[str, _Column]:
    with open_regular(path) as file:
        try:
            entries, _, _ = _core.safetensors_entries(os.fsencode(path))
        except EvidenceError as error:
            raise Unchecked(f"{path} is neither .npy nor safetensors: {error}") from error
        content = memoryview(file.read())
    return {name: (dtype, shape, content[begin:end]) for name, dtype, shape, begin, end in entries}


def _is_end(fields: Any) -> bool:
    return isinstance(fields, dict) and isinstance(fields.get("dtype"), str)


def _name_of(key: str) -> str:
    """A key of ``fields`` as the user wrote it: a batch leaf doubles a ``$`` in front."""
    return key[1:] if key.startswith("$$") else key


def _ends(fields: Any, place: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """The arrays of a sample: the keys that lead to each, and what is recorded of it."""
    if _is_end(fields):
        return [(place, fields)]
    if isinstance(fields, list):
        members = [(str(position), item) for position, item in enumerate(fields)]
    else:
        members = [(_name_of(key), item) for key, item in fields.items()]
    return [end for key, item in members for end in _ends(item, (*place, key))]


def _tree_of(
    columns: dict[str, _Column], fields: Any, path: pathlib.Path, algorithm: str
) -> Samples:
    columns = _named_columns(columns, fields, path)
    count = _common_rows(columns, path)
    rows = {name: _Rows.cut(column, count, algorithm) for name, column in columns.items()}
    if _is_end(fields):
        length = len(rows[""].rows[0]) if count else 0
        leaves = SampleLeaves(algorithm, rows[""].digests, length)
    else:
        texts = [
            records.canonical(_items(fields, (), index, rows, algorithm)) for index in range(count)
        ]
        leaves = SampleLeaves(
            algorithm, _core.hash_many(texts, algorithm), [len(text) for text in texts]
        )
    sorted_root = _core.merkle_root(leaves.sorted_digests())
    return Samples.of(leaves, _core.merkle_root(leaves), sorted_root)


def _named_columns(
    columns: dict[str, _Column], fields: Any, path: pathlib.Path
) -> dict[str, _Column]:
    """The columns by the names that the ends of ``fields`` have, each of the form recorded."""
    ends = _ends(fields)
    wanted = {".".join(place): end for place, end in ends}
    if len(wanted) != len(ends):
        raise Unchecked("two arrays of a recorded sample would have one name in a file")
    if _is_end(fields) and len(columns) == 1:
        columns = {"": next(iter(columns.values()))}
    if set(columns) != set(wanted):
        raise VerificationError(
            f"{path} holds {shown(sorted(columns))}; a recorded sample has {shown(sorted(wanted))}"
        )
    if not all(shape for _, shape, _ in columns.values()):
        raise Unchecked(f"{path} holds an array without dimensions, so without samples")
    if any(shape[0] and len(content) % shape[0] for _, shape, content in columns.values()):
        raise Unchecked(f"{path} holds samples that are not whole bytes")
    for name in sorted(wanted):
        dtype, shape, _ = columns[name]
        seen = {"dtype": dtype, "shape": [*shape[1:]]}
        _compare_fields(seen, wanted[name], f"the record's array {shown(name)}")
    return columns


def _common_rows(columns: Mapping[str, _Column], path: pathlib.Path) -> int:
    counts = {shape[0] for _, shape, _ in columns.values()}
    if len(counts) != 1:
        raise VerificationError(
            f"{path} holds arrays of {sorted(counts)} rows; a data set has as many of each"
        )
    return counts.pop()


def _items(
    fields: Any, place: tuple[str, ...], index: int, rows: Mapping[str, _Rows], algorithm: str
) -> Any:
    """The items of one sample, as a batch leaf writes them."""
    if _is_end(fields):
        return rows[".".join(place)].item(index, algorithm)
    if isinstance(fields, list):
        return [
            _items(item, (*place, str(at)), index, rows, algorithm)
            for at, item in enumerate(fields)
        ]
    return {
        key: _items(item, (*place, _name_of(key)), index, rows, algorithm)
        for key, item in fields.items()
    }

"""Data sets by the digest of every sample (docs/format.md section 4, "Sample leaf").

The source is hashed, where it lies: rows of arrays, files. ``__getitem__`` of a data set is never
called, because it may be random, slow and counts as a use of the random generators.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from mlprov import _core
from mlprov.digests import check_options, is_numpy_array, is_torch_tensor
from mlprov.errors import ConfigError, UnsupportedTensorError
from mlprov.file_sets import FileEntry, check_file_name, dvc_digests, hash_entries, list_files
from mlprov.items import Items, class_name, tensor_tail
from mlprov.records import Json, json_text
from mlprov.rows import Column, HashRows, SampleType, row_hasher, sample_type
from mlprov.samples import SampleLeaves

__all__ = ["DatasetCapture", "capture_dataset", "check_dataset_kind"]

_CHUNK: Final = 4096  # rows that are handed to the core at once
_SUPPORTED: Final = (
    "a NumPy array or a tensor (samples are rows), a tuple, list or dict of them with equal first"
    " dimensions, a torch TensorDataset, a Subset of one, or a pathlib.Path to a file or directory"
)
_Raw: TypeAlias = bytes


@dataclass(frozen=True, slots=True)
class DatasetCapture:
    """What a ``data`` record says of a data set, and the leaves behind it.

    Attributes:
        kind: ``"arrays"``, ``"file"`` or ``"files"``.
        leaves: the sample leaves in order, written when they are asked for.
        root: root of the tree over them, 32 bytes.
        size: how many samples.
        sorted_root: root of the tree over the sorted raw digests, 32 bytes.
        bytes: the sum of the leaves' ``len``.
        fields: of arrays the nesting of ``{"dtype", "shape"}`` of one sample; else None.
        source: class name, or text of the path.
        weak: foreign digests, such as the MD5 in a ``.dvc`` file.
    """

    kind: str
    leaves: SampleLeaves
    root: _Raw
    size: int
    sorted_root: _Raw
    bytes: int
    fields: Json
    source: Json
    weak: list[Json]

    @property
    def sorted_digests(self) -> list[_Raw]:
        """The leaves of the sorted sample tree."""
        return self.leaves.sorted_digests()


def capture_dataset(
    data: object, *, algorithm: str = "blake3", store: pathlib.Path | None = None
) -> DatasetCapture:
    """Hash every sample of a data set, in place.

    Args:
        data: a NumPy array or a tensor, whose rows are the samples; a tuple, list or dict (of any
            nesting) of them with equal first dimensions: sample i is their i-th rows; a torch
            ``TensorDataset``; a ``Subset`` of these, whose sample i is sample ``indices[i]`` of
            what it is a part of; a :class:`pathlib.Path` to a file (one sample), or to a directory
            (one sample for each file; folders called ``.git`` or ``.mlprov`` are left out).
        algorithm: the run's.
        store: where evidence is written to meanwhile, which is no data.

    Raises:
        ConfigError: something else, arrays of unequal length, a link or special file in a
            directory, a directory that holds the store under another name than ``.mlprov``.
        UnsupportedTensorError: arrays without plain values (meta, of objects).
        TypeError: text, which could be a path.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pathlib.Path(folder, "a.txt").write_bytes(b"abc")
    ...     capture = capture_dataset(pathlib.Path(folder))
    >>> capture.kind, capture.size, capture.bytes
    ('files', 1, 3)
    >>> capture.leaves[0]
    b'{"digest":"blake3:6437b3ac...","len":3,"path":"a.txt"}'
    """
    check_options(algorithm)
    if isinstance(data, str):
        raise TypeError("could be text or a path: pass pathlib.Path(text)")
    if isinstance(data, os.PathLike):
        return _capture_path(pathlib.Path(os.fspath(data)), algorithm, store)
    return _capture_arrays(data, algorithm)


def check_dataset_kind(data: object) -> None:
    """Whether a data set that a caller gave is of a kind that can be recorded; nothing is read.

    Raises:
        ConfigError: it is not.
        UnsupportedTensorError: a tensor without rows of memory: sparse, nested.

    >>> check_dataset_kind(5)
    Traceback (most recent call last):
    mlprov.errors.ConfigError: cannot record the data set: seen builtins.int; expected ...
    """
    if not isinstance(data, (str, os.PathLike)):
        arrays, _ = _unwrap(data)
        _common_length(list(_columns(arrays, "")))


# ---- arrays ----


def _is_torch_data(data: object, name: str) -> bool:
    kind = getattr(sys.modules.get("torch.utils.data"), name, None)
    return isinstance(kind, type) and isinstance(data, kind)


def _unwrap(data: Any) -> tuple[Any, Sequence[int] | None]:
    """The arrays of a data set, and which of their rows it has (None: all, in order)."""
    rows: list[int] | None = None
    level = 0
    while _is_torch_data(data, "Subset"):
        level += 1
        if level > 100:
            raise ConfigError("cannot record a Subset of more than 100 levels")
        indices = [_index(index) for index in data.indices]
        rows = indices if rows is None else _select(indices, rows)
        data = data.dataset
    if _is_torch_data(data, "TensorDataset"):
        data = list(data.tensors)
    return data, rows


def _index(index: Any) -> int:
    try:
        return int(index.__index__())
    except (AttributeError, TypeError) as error:
        raise ConfigError(
            f"cannot record a Subset: its index {index!r:.60} is no integer"
        ) from error


def _select(indices: list[int], rows: list[int]) -> list[int]:
    return [indices[row] for row in _bounded(rows, len(indices))]


def _bounded(rows: Sequence[int], count: int) -> list[int]:
    """Rows counted from the start, as Python counts negative ones from the end."""
    for row in rows:
        if not -count <= row < count:
            raise ConfigError(f"cannot record a Subset: its index {row} is outside {count} samples")
    return [row % count for row in rows]


def _columns(data: Any, place: str, level: int = 0) -> Iterator[Column]:
    """The arrays of a data set, each with the way to it."""
    if _is_rows(data):
        yield place, data
    elif isinstance(data, Mapping) and level < 50:
        for key, item in data.items():
            yield from _columns(item, f"{place}[{key!r}]", level + 1)
    elif isinstance(data, (list, tuple)) and level < 50:
        for index, item in enumerate(data):
            yield from _columns(item, f"{place}[{index}]", level + 1)
    else:
        where = f"{place} is {class_name(data)}" if place else f"seen {class_name(data)}"
        raise ConfigError(
            f"cannot record the data set: {where}",
            f"expected {_SUPPORTED}. Of other data sets pass"
            " the source: the arrays, or the directory of files, that they read",
        )


def _is_rows(value: Any) -> bool:
    if is_torch_tensor(value) or is_numpy_array(value):
        return True
    return hasattr(type(value), "__dlpack__") and hasattr(value, "shape")


def _capture_arrays(data: Any, algorithm: str) -> DatasetCapture:
    arrays, rows = _unwrap(data)
    columns = list(_columns(arrays, ""))
    count = _common_length(columns)
    if rows is not None:
        rows = _bounded(rows, count)
        count = len(rows)
    samples = [sample_type(column, algorithm) for column in columns]
    hashers = [row_hasher(column, algorithm) for column in columns]
    if _is_rows(arrays):
        length = samples[0][2]
        leaves = SampleLeaves(algorithm, _hash_chunks(hashers[0], rows, count), length)
    else:
        leaves, length = _structured(arrays, columns, samples, hashers, rows, count, algorithm)
    text, _ = _nesting(
        arrays,
        columns,
        lambda index: json.dumps({"dtype": samples[index][0], "shape": samples[index][1]}),
    )
    return _capture("arrays", leaves, count * length, json.loads(text), class_name(data), [])


def _capture(
    kind: str, leaves: SampleLeaves, total: int, fields: Json, source: Json, weak: list[Json]
) -> DatasetCapture:
    root, sorted_root = _core.merkle_root(leaves), _core.merkle_root(leaves.sorted_digests())
    return DatasetCapture(kind, leaves, root, len(leaves), sorted_root, total, fields, source, weak)


def _check_dense(place: str, array: Any) -> None:
    if not is_torch_tensor(array):
        return
    layout = "nested" if array.is_nested else str(array.layout).removeprefix("torch.")
    if layout != "strided":
        raise UnsupportedTensorError(
            f"cannot record the data set: {place or 'the tensor'} is {layout}, so its samples are "
            "no rows of memory",
            "pass a dense tensor, as .to_dense() gives of most",
        )


def _common_length(columns: Sequence[Column]) -> int:
    if not columns:
        raise ConfigError("cannot record the data set: it holds no array", f"expected {_SUPPORTED}")
    for place, array in columns:
        _check_dense(place, array)
        if len(array.shape) == 0:
            raise ConfigError(
                f"cannot record the data set: {place or 'the array'} has no dimensions, so no rows"
            )
    lengths = [int(array.shape[0]) for _, array in columns]
    if len(set(lengths)) > 1:
        seen = ", ".join(
            f"{place} has {length}" for (place, _), length in zip(columns, lengths, strict=True)
        )
        raise ConfigError(f"cannot record the data set: its arrays have unequal lengths: {seen}")
    return lengths[0]


def _replace(data: Any, arrays: Iterator[Any]) -> Any:
    """The same nesting with other arrays, in the order of :func:`_columns`."""
    if _is_rows(data):
        return next(arrays)
    if isinstance(data, Mapping):
        return {key: _replace(item, arrays) for key, item in data.items()}
    return [_replace(item, arrays) for item in data]


def _nesting(
    arrays: Any, columns: Sequence[Column], describe: Callable[[int], str]
) -> tuple[str, list[int]]:
    """The JSON text of a sample's nesting, as batch items write it, and the order of columns in it.

    Args:
        arrays: the data set's arrays, nested.
        columns: the same, flat.
        describe: the text that stands for column ``index``.
    """
    stand_ins = [array[:0] for _, array in columns]
    items = Items(_replace(arrays, iter(stand_ins)), depth=1)
    order = []
    for gap, source in zip(items.gaps, items.sources, strict=True):
        index = next(index for index, one in enumerate(stand_ins) if one is source)
        order.append(index)
        items.pieces[gap] = describe(index)
    return items.text(), order


def _hash_chunks(hash_rows: HashRows, rows: Sequence[int] | None, count: int) -> Iterator[bytes]:
    for start in range(0, count, _CHUNK):
        chunk = range(start, min(start + _CHUNK, count))
        yield from hash_rows(chunk if rows is None else [rows[index] for index in chunk])


def _structured(
    arrays: Any,
    columns: Sequence[Column],
    samples: Sequence[SampleType],
    hashers: Sequence[HashRows],
    rows: Sequence[int] | None,
    count: int,
    algorithm: str,
) -> tuple[SampleLeaves, int]:
    """Samples of several arrays, and the length of each: of the JCS text of its items."""
    text, order = _nesting(
        arrays,
        columns,
        lambda index: '{"$tensor":{"digest":"' + algorithm + ":\0" + tensor_tail(samples[index]),
    )
    template = text.replace("%", "%%").replace("\0", "%s")
    width = 2 * len(_core.hash_bytes(b"", algorithm))  # of a digest in hex

    def hash_rows(chunk: Sequence[int]) -> list[bytes]:
        digests = [hashers[column](chunk) for column in order]
        texts = [
            (template % tuple(map(bytes.hex, row))).encode() for row in zip(*digests, strict=True)
        ]
        return _core.hash_many(texts, algorithm)

    length = len(text.encode()) + len(order) * (width - 1)
    return SampleLeaves(algorithm, _hash_chunks(hash_rows, rows, count), length), length


# ---- files ----


def _capture_path(path: pathlib.Path, algorithm: str, store: pathlib.Path | None) -> DatasetCapture:
    if path.is_dir():
        kind, entries = "files", list_files(path, store)
    elif path.is_file():
        place = path.resolve()
        kind, entries = "file", [FileEntry(check_file_name(path), place, place.lstat())]
    else:
        raise ConfigError(f"cannot record {path}: there is no such file or directory")
    hashed = list(hash_entries(entries, algorithm))
    lengths = [length for _, length in hashed]
    paths = [entry.path for entry in entries]
    leaves = SampleLeaves(algorithm, (digest for digest, _ in hashed), lengths, paths)
    weak = _weak_digests(path, entries)
    return _capture(kind, leaves, sum(lengths), None, json_text(str(path)), weak)


def _weak_digests(path: pathlib.Path, entries: Sequence[FileEntry]) -> list[Json]:
    """What DVC says: the file beside the path, and those within a directory."""
    beside = path.with_name(path.name + ".dvc") if path.name else path / ".dvc"
    weak = dvc_digests(beside) if beside.is_file() else []
    for entry in entries:
        if entry.path.endswith(".dvc"):
            weak += dvc_digests(entry.location, entry.path.rpartition("/")[0])
    return weak

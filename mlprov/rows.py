"""Rows of arrays, hashed where they lie (docs/format.md section 4, "Sample leaf")."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from mlprov import _core
from mlprov.composites import Row
from mlprov.digests import is_torch_tensor
from mlprov.errors import UnsupportedTensorError

__all__ = ["Column", "HashRows", "SampleType", "row_hasher", "sample_type"]

Column: TypeAlias = tuple[str, Any]
"""Where an array stands in its data set, such as ``[0]``, and the array."""

SampleType: TypeAlias = tuple[str, tuple[int, ...], int]
"""dtype, shape and canonical bytes of one row."""

HashRows: TypeAlias = Callable[[Sequence[int]], list[bytes]]
"""The digests of the rows of these indices."""


def sample_type(column: Column, algorithm: str) -> SampleType:
    """What each row of an array is; of an empty array, without its length in bytes (0)."""
    _, array = column
    _, dtype, shape, _ = _hash_values(column, [array[:0]], algorithm)[0]
    if int(array.shape[0]) == 0:
        return dtype, shape[1:], 0
    return _hash_values(column, [array[0, ...]], algorithm)[0][1:]


def _hash_values(column: Column, values: list[Any], algorithm: str) -> list[Row]:
    try:
        return _core.tensor_digests(values, algorithm)
    except UnsupportedTensorError as error:
        place = column[0] or "the array"
        raise UnsupportedTensorError(
            f"cannot record the data set: the rows of {place} cannot be hashed: {error}"
        ) from error


def row_hasher(column: Column, algorithm: str) -> HashRows:
    """How the rows of an array are hashed: as slices of its memory where they lie densely."""
    _, array = column
    memory = _dense_memory(array)
    if memory is None:

        def hash_views(rows: Sequence[int]) -> list[bytes]:
            # With the ellipsis a row of NumPy text is an array still, of the column's own width.
            values = [array[index, ...] for index in rows]
            return [row[0] for row in _hash_values(column, values, algorithm)]

        return hash_views
    width = memory.nbytes // max(1, int(array.shape[0]))

    def hash_slices(rows: Sequence[int]) -> list[bytes]:
        slices = [memory[index * width : (index + 1) * width] for index in rows]
        return _core.hash_many(slices, algorithm)

    return hash_slices


# Element types whose canonical bytes are their bytes in memory, on a little-endian machine.
_PLAIN_NUMPY: Final = frozenset("bBhHiIlLqQefdFD")
_PLAIN_TORCH: Final = frozenset(
    f"torch.{name}"
    for name in (
        *("float64", "float32", "float16", "bfloat16", "complex64", "complex128"),
        *("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64"),
    )
)


def _dense_memory(array: Any) -> memoryview | None:
    """The bytes of an array whose rows lie one after the other as they are hashed; else None."""
    numpy = sys.modules.get("numpy")
    if numpy is None or sys.byteorder != "little" or 0 in array.shape:
        return None
    if is_torch_tensor(array):
        torch = sys.modules["torch"]
        if (
            type(array) not in (torch.Tensor, torch.nn.Parameter)
            or str(array.dtype) not in _PLAIN_TORCH
            or array.device.type != "cpu"
            or array.layout is not torch.strided
            or array.is_conj()
            or array.is_neg()
            or not array.is_contiguous()
        ):
            return None
        return memoryview(array.detach().reshape(-1).view(torch.uint8).numpy())
    if (
        type(array) not in (numpy.ndarray, numpy.memmap)
        or array.dtype.char not in _PLAIN_NUMPY
        or not array.dtype.isnative
        or not array.flags.c_contiguous
    ):
        return None
    return memoryview(array.reshape(-1).view(numpy.uint8))

"""What the tests of tensors share: layouts, random values, and bytes as the frameworks give them.

Nothing here computes with mlprov, except that names of dtypes are asked of the core.
"""

from __future__ import annotations

from typing import Any

import blake3
import numpy as np
import pytest
from hypothesis import strategies as st

from mlprov import _core

torch = pytest.importorskip("torch")

# torch says so of complex32, quantised, sparse and nested tensors, once a process.
TORCH_WARNINGS = pytest.mark.filterwarnings("ignore::UserWarning")

QUANTIZED = {"qint8", "quint8", "qint32", "quint4x2", "quint2x4"}
TORCH_DTYPES = sorted(
    {
        dtype
        for dtype in vars(torch).values()
        if isinstance(dtype, torch.dtype) and str(dtype).removeprefix("torch.") not in QUANTIZED
    },
    key=str,
)
INTEGER_OF_WIDTH = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def blake3_of(data: bytes) -> bytes:
    return blake3.blake3(data).digest()


def raw_bytes(tensor: Any) -> bytes:
    """Bytes of a contiguous copy of a torch tensor, as stored."""
    integer = INTEGER_OF_WIDTH.get(tensor.element_size())
    if integer is not None:
        tensor = tensor.view(integer)  # operators for copying do not exist for every dtype
    return tensor.contiguous().numpy().tobytes()


def names_of_torch_dtypes() -> dict[str, str]:
    return {
        str(dtype).removeprefix("torch."): _core.tensor_digests([torch.empty(0, dtype=dtype)])[0][1]
        for dtype in TORCH_DTYPES
    }


# ---- layouts: what indexing, transposing and expanding can make ----


@st.composite
def layouts(draw: st.DrawFn) -> tuple[tuple[int, ...], list[tuple[Any, ...]]]:
    """A dense shape and operations on it that copy nothing."""
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
    operations: list[tuple[Any, ...]] = []
    dimensions = len(shape)
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["permute", "slice", "select", "new", "expand", "flip"]))
        if kind == "permute":
            operations.append((kind, draw(st.permutations(range(dimensions)))))
        elif kind == "new":
            operations.append((kind, draw(st.integers(0, dimensions))))
            dimensions += 1
        elif kind == "expand":
            operations.append((kind, draw(st.integers(2, 4))))
            dimensions += 1
        elif dimensions > 0:
            where = draw(st.integers(0, dimensions - 1))
            numbers = draw(st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(1, 3)))
            operations.append((kind, where, *numbers))
            dimensions -= kind == "select"
    return shape, operations


def rearrange(values: Any, operations: list[tuple[Any, ...]]) -> Any:
    """Apply operations to a torch tensor or a NumPy array; flip is NumPy's alone."""
    is_torch = isinstance(values, torch.Tensor)
    for kind, *rest in operations:
        if kind == "permute":
            values = values.permute(rest[0]) if is_torch else values.transpose(rest[0])
        elif kind == "new":
            values = values[(slice(None),) * rest[0] + (None,)]
        elif kind == "expand" and is_torch:
            values = values.expand(rest[0], *values.shape)
        elif kind == "expand":
            values = np.broadcast_to(values, (rest[0], *values.shape))
        elif kind == "select" and values.shape[rest[0]] > 0:
            index = rest[1] % values.shape[rest[0]]
            values = values[(slice(None),) * rest[0] + (slice(index, index + 1),)].squeeze(rest[0])
        elif kind == "slice":
            values = values[(slice(None),) * rest[0] + (slice(rest[1], rest[2], rest[3]),)]
        elif kind == "flip" and not is_torch:
            values = values[(slice(None),) * rest[0] + (slice(None, None, -rest[3]),)]
        elif kind == "select":
            return values  # an empty dimension: the rest counts on one fewer
    return values


def random_tensor(dtype: Any, shape: tuple[int, ...], seed: int) -> Any:
    """Random bits, NaNs with payloads among them, as ``dtype``."""
    generator = torch.Generator().manual_seed(seed)
    top = 2 if dtype == torch.bool else 256
    count = dtype.itemsize * int(np.prod(shape, dtype=int))
    raw = torch.randint(0, top, (count,), dtype=torch.uint8, generator=generator)
    return raw.view(dtype).view(shape)


seeds = st.integers(0, 2**31)


class Exporter:
    """An object of which nothing is known but that it speaks DLPack."""

    def __init__(self, values: Any, device: int = 1, versioned: bool = True) -> None:
        self.values = values
        self.device = device
        self.versioned = versioned

    def __dlpack_device__(self) -> tuple[int, int]:
        return (self.device, 0)

    def __dlpack__(self, **options: Any) -> Any:
        if options and not self.versioned:
            raise TypeError("__dlpack__() got an unexpected keyword argument")
        return self.values.__dlpack__(**options)

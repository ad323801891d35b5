"""The ways to a tensor's memory: buffers, DLPack, the bridge; many tensors, threads, references."""

from __future__ import annotations

import array
import concurrent.futures
import ctypes
import functools
import gc
import io
import json
import mmap
import pathlib
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest
from tensors_for_tests import (
    TORCH_WARNINGS,
    Exporter,
    blake3_of,
    raw_bytes,
)

import mlprov
from mlprov import UnsupportedTensorError, _core

torch = pytest.importorskip("torch")
pytestmark = TORCH_WARNINGS


# ---- buffers ----


@pytest.mark.parametrize(
    "data",
    [
        b"abc",
        bytearray(b"xyz"),
        memoryview(b"abcdef")[::-2],
        memoryview(bytes(range(24))).cast("B", (2, 3, 4)),
        array.array("d", [1.0, -0.0]),
        (ctypes.c_int * 3)(1, 2, 3),
        io.BytesIO(b"hello").getbuffer(),
        b"",
    ],
    ids=lambda data: type(data).__name__,
)
def test_anything_with_a_buffer_has_the_digest_of_its_bytes(data: Any) -> None:
    assert bytes(mlprov.digest(data)) == blake3_of(memoryview(data).tobytes())


def test_a_mapped_file_has_the_digest_of_its_bytes(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"mapped" * 1000)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert bytes(mlprov.digest(mapped)) == blake3_of(path.read_bytes())
    assert mapped.closed  # the buffer was given back: otherwise closing raises BufferError


@pytest.mark.parametrize("value", ["text", 3, None, object()])
def test_what_has_no_values_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError):
        mlprov.digest(value)


def test_structures_are_refused() -> None:
    class Pair(ctypes.Structure):
        _fields_ = (("a", ctypes.c_int), ("b", ctypes.c_double))

    with pytest.raises(UnsupportedTensorError, match="format"):
        mlprov.digest((Pair * 2)())


# ---- DLPack ----


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize("name", ["?", "i1", "u2", "i8", "f2", "f4", "f8", "c8", "c16"])
def test_dlpack_objects_have_the_digest_of_their_values(name: str, versioned: bool) -> None:
    values = np.arange(24).astype(name).reshape(4, 6)
    for view in (values, values.T, values[::2, 1::2], values[:0], values[:, ::-1]):
        row = _core.tensor_digests([Exporter(view, versioned=versioned)])[0]
        assert row == _core.tensor_digests([view])[0]


@pytest.mark.parametrize("versioned", [True, False])
def test_a_dlpack_tensor_is_given_back(versioned: bool) -> None:
    values = np.zeros(100)
    alive = weakref.ref(values)
    exporter = Exporter(values, versioned=versioned)
    mlprov.digest(exporter)
    del exporter, values
    gc.collect()
    assert alive() is None


def test_a_dlpack_tensor_on_a_device_is_refused() -> None:
    with pytest.raises(UnsupportedTensorError, match="host"):
        mlprov.digest(Exporter(np.zeros(3), device=2))


def test_what_a_framework_refuses_is_told_in_its_words() -> None:
    with pytest.raises(UnsupportedTensorError, match="longdouble"):
        mlprov.digest(Exporter(np.zeros(3, np.longdouble)))


def test_a_capsule_that_is_no_dlpack_tensor_is_refused() -> None:
    class Impostor(Exporter):
        def __dlpack__(self, **options: Any) -> Any:
            return object()

    with pytest.raises(UnsupportedTensorError, match="PyCapsule"):
        mlprov.digest(Impostor(None))


def test_an_interrupt_inside_a_framework_passes_through() -> None:
    class Interrupted(Exporter):
        def __dlpack__(self, **options: Any) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mlprov.digest(Interrupted(None))


# ---- with and without the bridge ----

WITHOUT_BRIDGE = """
import json, sys
{hide}
import torch
{after}
import warnings; warnings.simplefilter("ignore")
from mlprov import _core
torch.manual_seed(0)
tensors = [torch.randn(5, 7), torch.randn(5, 7).t(), torch.randn(3, 4, 5)[::2, :, 1:],
           torch.nn.Parameter(torch.randn(3)), torch.randn(4, dtype=torch.complex64).conj(),
           torch.randn(4, dtype=torch.complex128).conj().imag, torch.randn(3).bfloat16(),
           torch.arange(6, dtype=torch.uint8).view(torch.float8_e4m3fn),
           torch.arange(6, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
           torch.arange(6, dtype=torch.uint8).view(torch.uint3), torch.ones(3, dtype=torch.bool),
           torch.zeros(0, 3), torch.tensor(1.5), torch.zeros(2, 1).expand(2, 5)]
rows = [[row[0].hex(), *row[1:]] for row in _core.tensor_digests(tensors)]
refused = []
for bad in (torch.zeros(3, device="meta"), torch.eye(3).to_sparse(),
            torch.zeros(100)):
    if bad.numel() == 100: bad.untyped_storage().resize_(40)
    try: _core.tensor_digests([bad])
    except Exception as error: refused.append(str(error))
print(json.dumps([_core.torch_bridge(), _core.describe_torch_bridge(), rows, refused]))
"""


@functools.cache
def _in_another_process(hide: str = "", after: str = "") -> Any:
    code = WITHOUT_BRIDGE.format(hide=hide, after=after)
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_torch_tensors_have_the_same_rows_without_the_bridge() -> None:
    release, _, rows, refused = _in_another_process()
    blocked = _in_another_process(hide='sys.modules["mlprov._torch"] = None')
    assert release == torch.__version__
    assert blocked[0] is None
    assert "DLPack" in blocked[1]
    assert blocked[2] == rows
    assert len(refused) == len(blocked[3]) == 3


def test_the_bridge_steps_aside_under_another_torch_release() -> None:
    release, description, rows, _ = _in_another_process(after='torch.__version__ = "9.9.9"')
    assert release is None
    assert "9.9.9" in description
    assert torch.__version__ in description
    assert "pip install" in description
    assert rows == _in_another_process()[2]


def test_digests_need_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; import mlprov; mlprov.digest(b'abc'); mlprov.digest(memoryview(b'abc'));"
        "assert not {'torch', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- many, threads, references ----


def test_many_objects_have_the_digests_of_each() -> None:
    things: list[Any] = [
        torch.randn(10, 10).t(),
        b"bytes",
        np.arange(10)[::-1],
        torch.eye(3).to_sparse(),
        torch.randn(100_000),
        Exporter(np.ones(4)),
        np.float64(2),
        bytearray(5000),
    ]
    assert mlprov.digest_many(things) == [mlprov.digest(thing) for thing in things]
    with pytest.raises(UnsupportedTensorError, match="object 1") as caught:
        mlprov.digest_many([b"fine", torch.zeros(1, device="meta")])
    assert caught.value.index == 1


def test_threads_hash_one_tensor_at_once() -> None:
    tensor = torch.randn(2000, 300).t()
    expected = mlprov.digest(tensor)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: mlprov.digest(tensor), range(16)))
    assert results == [expected] * 16


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.randn(30),
        lambda: np.zeros(30),
        lambda: np.zeros(30, "M8[ns]"),
        lambda: bytearray(30),
        lambda: Exporter(np.zeros(30)),
    ],
    ids=["torch", "numpy", "array interface", "buffer", "DLPack"],
)
def test_hashing_leaves_no_reference_behind(make: Any) -> None:
    thing = make()
    mlprov.digest(thing)
    before = sys.getrefcount(thing)
    for _ in range(10):
        mlprov.digest(thing)
    if isinstance(thing, torch.Tensor):
        _core.tensor_digest_staged(thing)
    assert sys.getrefcount(thing) == before


def test_only_torch_tensors_can_be_staged() -> None:
    with pytest.raises(UnsupportedTensorError, match="staged"):
        _core.tensor_digest_staged(np.zeros(3))


@pytest.mark.parametrize("layout", ["contiguous", "transposed", "strided"])
def test_one_buffer_serves_every_block_of_a_staged_tensor(layout: str) -> None:
    """As torch's profiler sees it: one allocation, many copies of a MiB each at most."""
    tensor = {
        "contiguous": torch.randn(2048, 2048),
        "transposed": torch.randn(2048, 2048).T,
        "strided": torch.randn(5, 999_999)[:, ::2],
    }[layout]
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        value, _, _, length = _core.tensor_digest_staged(tensor)
    assert value == blake3_of(raw_bytes(tensor))
    events = [(event.name, event.cpu_memory_usage) for event in profile.events()]
    taken = [size for _, size in events if size > 0]
    assert taken == [1 << 20]
    copies = [name for name, _ in events if name == "aten::copy_"]
    assert len(copies) >= length >> 20 > 8


def test_views_of_one_memory_are_told_apart_by_identity() -> None:
    tensor = torch.randn(4, 4)
    same, turned, part, empty = tensor.view(4, 4), tensor.t(), tensor[:2], tensor[:0]
    first, again, other, less, none = _core.tensor_identities([tensor, same, turned, part, empty])
    assert first == again
    assert len({first, other, less}) == 3
    assert none is None

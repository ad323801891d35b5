"""Digests of torch tensors and NumPy arrays against a slow reference, over dtype, shape, strides.

What torch and NumPy themselves say of a tensor's values is the reference: a contiguous copy's bytes
under PyPI's blake3.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from tensors_for_tests import (
    INTEGER_OF_WIDTH,
    TORCH_DTYPES,
    TORCH_WARNINGS,
    blake3_of,
    layouts,
    names_of_torch_dtypes,
    random_tensor,
    raw_bytes,
    rearrange,
    seeds,
)

import mlprov
from mlprov import UnsupportedTensorError, _core

torch = pytest.importorskip("torch")
pytestmark = TORCH_WARNINGS
safetensors_torch = pytest.importorskip("safetensors.torch")

NUMPY_DTYPES = [
    *("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "l", "q", "Q"),
    *("f2", "f4", "f8", "g", "c8", "c16", "G"),
    *(">i2", ">u4", ">i8", ">f2", ">f4", ">f8", ">g", ">c8", ">c16", ">G"),
    *("M8[ns]", "M8[25s]", "M8", ">M8[D]", "m8[us]", "S1", "S5", "U1", "U3", ">U3", "V4", "V0"),
]

# For each kernel of the build. The kernel stays the same over the examples of a test.
EVERY_LAYOUT = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# ---- torch ----


@pytest.mark.parametrize("dtype", TORCH_DTYPES, ids=str)
@given(layout=layouts(), seed=seeds)
@EVERY_LAYOUT
def test_every_torch_dtype_in_any_layout_has_the_digest_of_its_contiguous_copy(
    kernel: str, dtype: Any, layout: Any, seed: int
) -> None:
    assert _core.hash_kernel() == kernel
    shape, operations = layout
    plain = INTEGER_OF_WIDTH.get(dtype.itemsize, dtype)
    tensor = rearrange(random_tensor(dtype, shape, seed).view(plain), operations).view(dtype)
    expected = blake3_of(raw_bytes(tensor))
    assert bytes(mlprov.digest(tensor)) == expected
    value, _, _, length = _core.tensor_digest_staged(tensor)
    assert value == expected
    assert length == tensor.numel() * tensor.element_size()


def test_every_torch_dtype_has_a_name_of_its_own() -> None:
    names = names_of_torch_dtypes()
    assert len(set(names.values())) == len(names)
    assert names["float32"] == "F32"
    assert names["complex128"] == "C128"
    assert names["uint4"] == "U4_SHELL"
    assert set(names.values()) <= {row[0] for row in _core.dtypes()}


@pytest.mark.parametrize("dtype", sorted(safetensors_torch._SIZE, key=str), ids=str)
def test_dtype_shape_and_digest_are_those_of_the_safetensors_file(
    dtype: Any, tmp_path: pathlib.Path
) -> None:
    tensor = random_tensor(dtype, (3, 4), 1)
    path = tmp_path / "one.safetensors"
    safetensors_torch.save_file({"t": tensor}, path)
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["t"]
    value, name, shape, length = _core.tensor_digests([tensor])[0]
    begin, end = header["data_offsets"]
    assert (name, list(shape), length) == (header["dtype"], header["shape"], end - begin)
    assert value == blake3_of(data[len(data) - end + begin :])
    assert mlprov.digest_model(path).root == mlprov.digest_model({"t": tensor}).root


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
@given(layout=layouts(), seed=seeds)
@EVERY_LAYOUT
def test_pending_conjugation_and_negation_are_resolved_bit_by_bit(
    kernel: str, dtype: Any, layout: Any, seed: int
) -> None:
    shape, operations = layout
    tensor = random_tensor(dtype, shape, seed)
    part = np.dtype("u4" if dtype == torch.complex64 else "u8")
    sign = part.type(1) << part.type(part.itemsize * 8 - 1)
    parts = np.frombuffer(bytearray(raw_bytes(tensor)), part).reshape(*shape, 2)
    parts[..., 1] ^= sign

    conjugate = rearrange(tensor.conj(), operations)
    assert conjugate.is_conj()
    moved = [rearrange(torch.from_numpy(parts)[..., i], operations).numpy() for i in (0, 1)]
    expected = np.stack(moved, axis=-1)
    for value in (mlprov.digest(conjugate).value, _core.tensor_digest_staged(conjugate)[0]):
        assert value == blake3_of(expected.tobytes())

    negative = rearrange(tensor.conj().imag, operations)
    assert negative.is_neg()
    for value in (mlprov.digest(negative).value, _core.tensor_digest_staged(negative)[0]):
        assert value == blake3_of(np.ascontiguousarray(expected[..., 1]).tobytes())


@pytest.mark.parametrize(
    "shape", [(1000, 777), (3, 100_000), (100_000, 3), (1 << 17,), (65, 33, 17)]
)
def test_tensors_of_many_blocks_in_any_order_of_dimensions(
    kernel: str, shape: tuple[int, ...]
) -> None:
    tensor = torch.randn(shape)
    views = [tensor, tensor.T if tensor.dim() == 2 else tensor.movedim(0, -1), tensor[..., 1::3]]
    expected = [blake3_of(raw_bytes(view)) for view in views]
    assert [bytes(digest) for digest in mlprov.digest_many(views)] == expected
    assert [_core.tensor_digest_staged(view)[0] for view in views] == expected


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_other_algorithms_hash_the_same_bytes(algorithm: str) -> None:
    tensor = torch.randn(300, 200).T
    expected = hashlib.new(algorithm, raw_bytes(tensor)).hexdigest()
    assert str(mlprov.digest(tensor, algorithm=algorithm)) == f"{algorithm}:{expected}"


def test_a_digest_equals_b3sum_of_the_same_bytes() -> None:
    b3sum = shutil.which("b3sum")
    if b3sum is None:
        pytest.skip("b3sum is not installed")
    tensor = torch.randn(123, 45).bfloat16().T
    seen = subprocess.run([b3sum], input=raw_bytes(tensor), capture_output=True, check=True).stdout
    assert mlprov.digest(tensor).hex() == seen.split()[0].decode()


def test_bool_bytes_other_than_0_are_hashed_as_1() -> None:
    for values in ([0, 1, 2, 255], [0, 1, 1, 0] * 100_000 + [2]):
        raw = torch.tensor(values, dtype=torch.uint8)
        expected = blake3_of(bytes(int(value != 0) for value in values))
        assert bytes(mlprov.digest(raw.view(torch.bool))) == expected
        assert bytes(mlprov.digest(raw.numpy().view("?"))) == expected


def test_parameters_inference_tensors_and_subclasses_are_hashed_by_their_values() -> None:
    class Named(torch.Tensor):
        pass

    values = torch.randn(3, 4)
    with torch.inference_mode():
        inference = values.clone()
    subclass = torch.Tensor._make_subclass(Named, values)
    expected = blake3_of(raw_bytes(values))
    for tensor in (torch.nn.Parameter(values), inference, subclass, values.requires_grad_()):
        assert bytes(mlprov.digest(tensor)) == expected


def test_every_flipped_bit_changes_the_digest() -> None:
    tensor = torch.randn(5, 3).T
    before = mlprov.digest(tensor)
    bits = tensor.T.view(torch.int32).flatten()
    for index in range(bits.numel()):
        for bit in (0, 15, 31):
            mask = -(1 << 31) if bit == 31 else 1 << bit
            bits[index] ^= mask
            assert mlprov.digest(tensor) != before
            bits[index] ^= mask
    assert mlprov.digest(tensor) == before


def test_a_zero_tensor_without_storage_is_hashed_as_zeros() -> None:
    tensor = torch._efficientzerotensor((3, 2))
    assert bytes(mlprov.digest(tensor)) == blake3_of(bytes(24))
    assert _core.tensor_digest_staged(tensor)[0] == blake3_of(bytes(24))


def test_a_copy_on_write_tensor_stays_one() -> None:
    tensor = torch.randn(100)
    lazy = tensor._lazy_clone()
    assert mlprov.digest(lazy) is not None
    assert torch._C._is_cow_tensor(lazy)
    assert torch._C._is_cow_tensor(tensor)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self")
@pytest.mark.skipif(
    os.environ.get("MLPROV_BUILD_VARIANT") == "sanitize",
    reason="AddressSanitizer keeps freed memory for a while",
)
def test_hashing_a_transposed_tensor_makes_no_copy() -> None:
    tensor = torch.randn(4096, 8192).T  # 128 MiB
    status = pathlib.Path("/proc/self/status")

    def peak() -> int:
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024

    mlprov.digest(tensor[:8])
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    except OSError:
        pytest.skip("/proc/self/clear_refs is not writable")
    before = peak()
    mlprov.digest(tensor)
    assert peak() - before < 16 << 20


# ---- NumPy ----


def little_endian_bytes(values: Any) -> bytes:
    """NumPy's own conversion; the padding of long doubles cleared."""
    dtype = values.dtype
    data = np.array(values, dtype=dtype.newbyteorder("<"), order="C").tobytes()
    if dtype.char in "gG" and np.finfo(np.longdouble).nmant == 63:
        data = b"".join(data[i : i + 10] + bytes(6) for i in range(0, len(data), 16))
    return data


@pytest.mark.parametrize("name", NUMPY_DTYPES)
@given(layout=layouts(), seed=seeds)
@EVERY_LAYOUT
def test_every_numpy_dtype_in_any_layout_has_the_digest_of_its_contiguous_copy(
    kernel: str, name: str, layout: Any, seed: int
) -> None:
    shape, operations = layout
    dtype = np.dtype(name)
    values = np.zeros(shape, dtype)
    if values.nbytes > 0:
        flat = np.random.default_rng(seed).integers(0, 256, values.nbytes, dtype=np.uint8)
        flat = flat % 2 if dtype.kind == "b" else flat % 128 if dtype.kind == "U" else flat
        values = flat.view(dtype).reshape(shape)
    values = rearrange(values, operations)
    assert bytes(mlprov.digest(values)) == blake3_of(little_endian_bytes(values))


def test_names_of_numpy_dtypes_say_unit_and_length() -> None:
    expected = {
        "M8[25s]": "DATETIME64[25s]",
        "m8": "TIMEDELTA64[generic]",
        "S5": "S5",
        ">U3": "U3_UCS4",
        "V4": "V4",
        ">f4": "F32",
    }
    rows = _core.tensor_digests([np.zeros(2, name) for name in expected])
    assert [row[1] for row in rows] == list(expected.values())


def test_numpy_scalars_are_arrays_of_no_dimension() -> None:
    for scalar in (np.float32(1.5), np.datetime64("2020-01-01"), np.bool_(True), np.int64(-1)):
        assert bytes(mlprov.digest(scalar)) == blake3_of(np.asarray(scalar).tobytes())


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros(2, "O"), "dtype object"),
        (np.zeros(2, [("a", "i4")]), "structured"),
        (np.zeros(2, np.dtypes.StringDType()), "StringDType"),
        (np.ma.masked_array([1, 2], [0, 1]), "masked"),
    ],
    ids=["object", "structured", "variable-width text", "masked"],
)
def test_arrays_without_one_meaning_are_refused(values: Any, reason: str) -> None:
    with pytest.raises(UnsupportedTensorError, match=reason):
        mlprov.digest(values)


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e4m3", "float8_e5m2"])
def test_ml_dtypes_arrays_have_the_digest_of_their_bytes(name: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    dtype = np.dtype(getattr(ml_dtypes, name))
    values = np.arange(64 * dtype.itemsize, dtype="u1").view(dtype).reshape(8, 8).T
    assert bytes(mlprov.digest(values)) == blake3_of(np.ascontiguousarray(values).tobytes())
    assert bytes(mlprov.digest(values)) == bytes(mlprov.digest(values.view(f"u{dtype.itemsize}")))


def test_unpacked_sub_byte_arrays_are_refused() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    with pytest.raises(UnsupportedTensorError, match="int4"):
        mlprov.digest(np.zeros(3, ml_dtypes.int4))

"""Files that mlprov writes: bytes against the safetensors package, digests against the bytes."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import blake3
import numpy as np
import pytest

import mlprov
from mlprov import ConfigError, StoreError, UnsupportedTensorError

torch = pytest.importorskip("torch")
peer = pytest.importorskip("safetensors.torch")
peer_numpy = pytest.importorskip("safetensors.numpy")

DTYPES = [
    "bool", "uint8", "int8", "float8_e5m2", "float8_e4m3fn", "float8_e8m0fnu", "float8_e4m3fnuz",
    "float8_e5m2fnuz", "int16", "uint16", "float16", "bfloat16", "int32", "uint32", "float32",
    "complex64", "float64", "int64", "uint64", "float4_e2m1fn_x2",
]  # fmt: skip


def random_tensor(dtype: Any, *shape: int) -> Any:
    if dtype == torch.bool:
        return torch.rand(shape) > 0.5
    last = (*shape[:-1], shape[-1] * dtype.itemsize) if shape else (dtype.itemsize,)
    values = torch.randint(0, 256, last, dtype=torch.uint8).view(dtype)
    return values if shape else values.reshape(())


def check_digests(saved: mlprov.SavedFile, path: Path) -> None:
    """Each digest against the bytes that are there, by other programs' hashes."""
    content = path.read_bytes()
    assert saved.len == len(content)
    assert saved.blake3.hex() == blake3.blake3(content).hexdigest()
    assert saved.sha256.hex() == hashlib.sha256(content).hexdigest()
    read = mlprov.digest_model(path)
    assert saved.tensors == read.tensors
    assert saved.root == read.root


def saved_as_the_peer(tensors: dict[str, Any], tmp_path: Path, **options: Any) -> None:
    saved = mlprov.save_file(tensors, tmp_path / "ours", **options)
    options.pop("threads", None)
    dense = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    peer.save_file(dense, tmp_path / "theirs", **options)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    check_digests(saved, tmp_path / "ours")


# ---- the same bytes ----


def test_every_type_is_written_where_the_peer_writes_it(tmp_path: Path) -> None:
    tensors = {
        f"{place}.{name}": random_tensor(getattr(torch, name), 2, 4)
        for place in "ba"
        for name in DTYPES
    }
    saved_as_the_peer(tensors, tmp_path)


@pytest.mark.parametrize("length", range(1, 18))
def test_the_data_begin_where_the_peer_lets_them_begin(length: int, tmp_path: Path) -> None:
    saved_as_the_peer({"n" * length: torch.arange(3, dtype=torch.uint8)}, tmp_path)


def test_empty_tensors_scalars_and_strange_names_are_written_alike(tmp_path: Path) -> None:
    names = ['"', "\\", "\n\t\r\b\f\x01\x1f\x7f", "é\u2028\U0001f600", "", "a/b", "__metadata", "ﬀ"]
    tensors: dict[str, Any] = {name: torch.zeros(()) for name in names}
    tensors |= {"empty": torch.zeros(0, 3), "also": torch.zeros(3, 0, dtype=torch.int64)}
    saved_as_the_peer(tensors, tmp_path)
    saved_as_the_peer({}, tmp_path)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"é\n": '"\\\x00'}])
def test_metadata_are_written_alike(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    saved_as_the_peer({"a": torch.ones(1)}, tmp_path, metadata=metadata)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_large_and_small_tensors_are_written_alike_on_any_number_of_threads(
    threads: int, tmp_path: Path
) -> None:
    lengths = [1, 63, 64, 65, 4095, 4096, 65537, (4 << 20) - 3, 4 << 20, (9 << 20) + 5]
    tensors = {
        f"{place}.{length}": torch.randint(0, 256, (length,), dtype=torch.uint8)
        for place, length in enumerate(lengths)
    }
    saved_as_the_peer(tensors | {"x": torch.randn(300_001)}, tmp_path, threads=threads)


@pytest.mark.parametrize("threads", [1, 2])
def test_strided_tensors_are_written_dense(threads: int, tmp_path: Path) -> None:
    base = torch.randn(1501, 907)
    tensors = {
        "t": base.t(),
        "step": base[::3, 1::2],
        "flip": torch.randn(64, 33).bfloat16().t(),
        "wide": torch.randn(5).expand(7, 5),
        "deep": torch.randn(4, 5, 6, 7).permute(3, 1, 0, 2),
        "f8": random_tensor(torch.float8_e5m2, 31, 17).t(),
        "i64": torch.arange(60).reshape(3, 4, 5).transpose(0, 2),
    }
    saved_as_the_peer(tensors, tmp_path, threads=threads)


def test_what_is_pending_on_values_is_resolved(tmp_path: Path) -> None:
    values = torch.randn(9, 5, dtype=torch.complex64)
    saved = mlprov.save_file({"c": values.conj().t(), "n": values.conj().imag}, tmp_path / "ours")
    read = peer.load_file(tmp_path / "ours")
    assert torch.equal(read["c"], values.conj().t().resolve_conj())
    assert torch.equal(read["n"], -values.imag)
    check_digests(saved, tmp_path / "ours")


def test_tied_tensors_and_views_of_one_memory_are_written_under_each_name(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    tensors = {"a": base, "tied": base, "head": base[:5], "grid": base.reshape(3, 4).t()}
    saved_as_the_peer(tensors, tmp_path)


def test_parameters_that_require_grad_are_written(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    saved = mlprov.save_file(dict(module.named_parameters()), tmp_path / "ours")
    assert saved.root == mlprov.digest_model(module).root


def test_arrays_are_written_as_the_peer_writes_them(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    generator = np.random.default_rng(0)
    arrays = {
        name: generator.integers(0, 2, (3, 8)).astype(name)
        for name in ("bool", "uint8", "int16", "uint32", "int64", "float16", "float32", "float64")
    } | {"c": np.ones(3, np.complex64), "s": np.array(2.5), "b": np.ones(7, ml_dtypes.bfloat16)}
    peer_numpy.save_file(arrays, tmp_path / "theirs", metadata={"k": "v"})
    saved = mlprov.save_file(arrays, tmp_path / "ours", {"k": "v"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    check_digests(saved, tmp_path / "ours")


def test_arrays_of_any_layout_and_byte_order_are_written(tmp_path: Path) -> None:
    array = np.arange(24, dtype=">f4").reshape(4, 6)
    arrays = {"big": array, "f": np.asfortranarray(array), "back": array[::-1, ::2]}
    mlprov.save_file(arrays, tmp_path / "ours")
    read = peer_numpy.load_file(tmp_path / "ours")
    assert all(np.array_equal(read[name], value) for name, value in arrays.items())


def test_booleans_of_another_byte_are_written_as_one(tmp_path: Path) -> None:
    array = np.array([0, 1, 2, 255], dtype=np.uint8).view(bool)
    saved = mlprov.save_file({"b": array}, tmp_path / "ours")
    assert (tmp_path / "ours").read_bytes()[-4:] == bytes([0, 1, 1, 1])
    check_digests(saved, tmp_path / "ours")


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_tensors_have_the_digests_that_were_asked_for(algorithm: str, tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4).t(), "b": torch.zeros(0)}
    saved = mlprov.save_file(tensors, tmp_path / "ours", algorithm=algorithm)
    assert saved.tensors == mlprov.digest_model(tensors, algorithm=algorithm).tensors


def test_what_is_hashed_is_what_is_written_even_where_a_tensor_changes(tmp_path: Path) -> None:
    """Somebody writes to a tensor all the time: the digests are of the bytes in the file."""
    values = torch.zeros(6 << 20)
    stop = threading.Event()

    def scribble() -> None:
        while not stop.is_set():
            values.add_(1)

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        for _ in range(3):
            check_digests(mlprov.save_file({"v": values}, tmp_path / "ours"), tmp_path / "ours")
    finally:
        stop.set()
        writer.join()


# ---- what cannot be written ----


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (object(), ConfigError, "'bad' is builtins.object, expected tensors or arrays"),
        ([1.0], ConfigError, "'bad' is builtins.list, expected tensors or arrays"),
        (torch.ones(2, dtype=torch.complex128), ConfigError, '"bad" is of type C128, which safet'),
        (np.array(["x"]), ConfigError, '"bad" is of type U, which safetensors does not have'),
        (torch.eye(2).to_sparse(), ConfigError, "'bad' is of layout sparse_coo"),
        (torch.ones(2, device="meta"), UnsupportedTensorError, "'bad'.* no values"),
    ],
)
def test_what_safetensors_has_no_place_for_is_named_and_nothing_is_written(
    value: Any, error: type[Exception], said: str, tmp_path: Path
) -> None:
    (tmp_path / "m").write_bytes(b"before")
    with pytest.raises(error, match=said):
        mlprov.save_file({"good": torch.ones(1), "bad": value}, tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert (tmp_path / "m").read_bytes() == b"before"


@pytest.mark.parametrize("name", ["__metadata__", "a\0b", "\udc80", 3])
def test_names_that_no_file_can_have_are_refused(name: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        mlprov.save_file({name: torch.ones(1)}, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_metadata_are_text(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="metadata: expected text, not int"):
        mlprov.save_file({}, tmp_path / "m", {"step": 3})  # type: ignore[dict-item]


def test_a_module_is_no_dict_of_tensors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pass the state_dict\(\) of a module"):
        mlprov.save_file(torch.nn.Linear(1, 1), tmp_path / "m")


def test_a_place_where_nothing_can_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot write .*missing/m: No such file"):
        mlprov.save_file({}, tmp_path / "missing" / "m")
    with pytest.raises(StoreError, match=r"cannot write .*: Is a directory"):
        mlprov.save_file({}, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_the_error_of_the_write() -> None:
    from mlprov import _core

    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(StoreError, match="No space left"):
            _core.save_safetensors(full, "m", ["a"], [np.ones(1)])
    finally:
        os.close(full)

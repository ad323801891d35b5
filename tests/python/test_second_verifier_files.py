"""The second verifier on models (docs/format.md section 10, "Model")."""

from __future__ import annotations

import json
import os
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
from bundles_for_tests import (
    FLOATS,
    OPAQUE,
    BundleBuilder,
    Tensors,
    check,
    failing,
    saved,
    standard_run,
    v,
    verify,
    weights,
    without,
    write_safetensors,
)
from vectors_for_tests import vectors_folder


@pytest.fixture(scope="module")
def bundle() -> bytes:
    return standard_run().build()


# -- models that equal the record


@pytest.mark.parametrize("left_out", [(), ("head.weight",), ("embed.weight",)])
def test_a_model_holds_with_either_name_of_a_tied_tensor(
    bundle: bytes, tmp_path: Path, left_out: tuple[str, ...]
) -> None:
    path = saved(tmp_path, without(weights(2), *left_out))
    assert verify(bundle, model=path).result == "holds"


def test_a_model_is_compared_with_the_epoch_that_was_named(bundle: bytes, tmp_path: Path) -> None:
    path = saved(tmp_path, weights(1))
    assert failing(verify(bundle, model=path)) == ["model"]
    assert verify(bundle, model=path, epoch=0).result == "holds"
    assert verify(bundle, model=path, epoch=7).result == "could not check"


def test_a_directory_of_shards_holds_and_other_files_in_it_are_let_be(
    bundle: bytes, tmp_path: Path
) -> None:
    tensors = weights(2)
    saved(tmp_path, without(tensors, "bias", "scale"), "model-1.safetensors")
    second = saved(tmp_path, {n: tensors[n] for n in ("bias", "scale")}, "model-2.safetensors")
    verdict = verify(bundle, model=tmp_path)
    assert verdict.result == "holds"
    assert "other files" not in check(verdict, "model").detail
    (tmp_path / "deeper").mkdir()
    for other in ("config.json", "deeper/model.safetensors"):
        (tmp_path / other).write_text("{}")
    verdict = verify(bundle, model=tmp_path)
    assert verdict.result == "holds"
    assert check(verdict, "model").detail.endswith(
        "2 other files in the directory were not compared"
    )
    second.unlink()
    assert check(verify(bundle, model=tmp_path), "model").detail == "tensor bias is missing"
    saved(tmp_path, tensors, "model-2.safetensors")
    assert "in two files" in check(verify(bundle, model=tmp_path), "model").detail


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_model_is_hashed_with_the_runs_algorithm(tmp_path: Path, algorithm: str) -> None:
    path = saved(tmp_path, weights(2))
    builder = standard_run(algorithm=algorithm)
    request = v.Request(keys=[builder.owner_key], model=path)
    assert v.verify_bytes(builder.build(), request).result == "holds"


# -- models that do not

DIFFERENT: dict[str, Tensors] = {
    "tensor bias differs": {"bias": (struct.pack("<2f", 2, -2.5), "F32", [2])},
    "tensor bias differs in dtype": {"bias": (bytes(8), "I32", [2])},
    "tensor bias differs in shape": {"bias": (struct.pack("<2f", 2, -2), "F32", [1, 2])},
    "tensor aaa is extra": {"aaa": (b"\0", "U8", [1])},
    "tensor head.weight differs": {"head.weight": (FLOATS[::-1], "F32", [2, 2])},
}


@pytest.mark.parametrize("detail", DIFFERENT)
def test_a_model_that_differs_fails_by_the_name_of_the_tensor(
    bundle: bytes, tmp_path: Path, detail: str
) -> None:
    verdict = verify(bundle, model=saved(tmp_path, weights(2) | DIFFERENT[detail]))
    assert failing(verdict) == ["model"]
    assert verdict.result == "does not hold"
    assert check(verdict, "model").detail.startswith(detail)


def test_the_first_difference_by_order_of_name_is_named(bundle: bytes, tmp_path: Path) -> None:
    tensors = without(weights(1), "counter")
    verdict = verify(bundle, model=saved(tmp_path, tensors))
    assert check(verdict, "model").detail == "tensor bias differs"


def test_a_tensor_that_is_missing_without_alias_fails(bundle: bytes, tmp_path: Path) -> None:
    for left_out in (["scale"], ["embed.weight", "head.weight"]):
        verdict = verify(bundle, model=saved(tmp_path, without(weights(2), *left_out)))
        assert check(verdict, "model").detail == f"tensor {left_out[0]} is missing"


def test_an_alias_of_other_content_stands_for_nothing(tmp_path: Path) -> None:
    builder = standard_run()
    for record in builder.records:
        if "aliases" in record:
            record["aliases"] = [["bias", "scale"]]
    path = saved(tmp_path, without(weights(2), "scale"))
    assert failing(verify(builder.build(), model=path)) == ["model"]


def test_every_flipped_bit_of_a_model_file_is_noticed(bundle: bytes, tmp_path: Path) -> None:
    original = write_safetensors(weights(2))
    path = tmp_path / "model.safetensors"
    for at in range(8, len(original), 5):
        changed = bytearray(original)
        changed[at] ^= 1
        path.write_bytes(changed)
        assert verify(bundle, model=path).result == "does not hold", at


def test_weights_that_are_not_disclosed_leave_the_model_unchecked(tmp_path: Path) -> None:
    builder = standard_run()
    del builder.trees[builder.records[6]["weights"]["root"][7:]]
    bundle = builder.build()
    for asked in ({"model": saved(tmp_path, weights(2))}, {"tensors": ["bias"]}):
        verdict = verify(bundle, **asked)
        assert verdict.result == "could not check"
        assert failing(verdict) == []


def test_a_model_that_cannot_be_read_is_unchecked(bundle: bytes, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "absent", tmp_path / "pipe"):
        assert verify(bundle, model=path).result == "could not check"


# -- files that are not safetensors


def test_an_opaque_file_is_compared_as_bytes(bundle: bytes, tmp_path: Path) -> None:
    path = tmp_path / "renamed.bin"
    path.write_bytes(OPAQUE)
    verdict = verify(bundle, model=path)
    assert verdict.result == "holds"
    expected = "bytes, not tensors, equal the files of record 7 (checkpoint, epoch 1)"
    assert check(verdict, "model").detail == expected
    path.write_bytes(OPAQUE + b"\n")
    assert failing(verify(bundle, model=path)) == ["model"]


def test_an_opaque_directory_is_compared_path_by_path(bundle: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(OPAQUE)
    assert verify(bundle, model=tmp_path).result == "holds"
    (tmp_path / "more").write_bytes(b"")
    assert failing(verify(bundle, model=tmp_path)) == ["model"]


def test_an_opaque_file_without_checkpoint_records_is_unchecked(tmp_path: Path) -> None:
    builder = standard_run()
    builder.records[7]["type"] = "metrics"
    path = tmp_path / "model.pt"
    path.write_bytes(OPAQUE)
    assert verify(builder.build(), model=path).result == "could not check"


def test_an_opaque_file_is_of_the_epoch_that_was_named(bundle: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(OPAQUE)
    assert verify(bundle, model=path, epoch=1).result == "holds"
    assert verify(bundle, model=path, epoch=0).result == "could not check"
    builder = standard_run()
    builder.records[7]["epoch"] = True
    assert verify(builder.build(), model=path, epoch=1).result == "could not check"


@pytest.mark.parametrize("listed", [None, []])
def test_an_empty_directory_is_unchecked(tmp_path: Path, listed: Any) -> None:
    builder = standard_run()
    builder.records[7]["files"] = listed
    (tmp_path / "deeper").mkdir()
    assert verify(builder.build(), model=tmp_path).result == "could not check"


# -- single tensors


def test_a_named_tensor_is_looked_up_and_held_against_the_file(
    bundle: bytes, tmp_path: Path
) -> None:
    assert verify(bundle, tensors=["bias", "scale"]).result == "holds"
    assert failing(verify(bundle, tensors=["bias", "absent"])) == ["tensor:absent"]
    tied = saved(tmp_path, without(weights(2), "head.weight"))
    assert verify(bundle, model=tied, tensors=["head.weight"]).result == "holds"
    old = saved(tmp_path, weights(1))
    verdict = verify(bundle, model=old, tensors=["bias", "embed.weight"])
    assert failing(verdict) == ["model", "tensor:bias"]
    gone = saved(tmp_path, without(weights(2), "scale"))
    assert failing(verify(bundle, model=gone, tensors=["scale"])) == ["model", "tensor:scale"]


# -- the safetensors reader


def test_the_files_of_the_safetensors_library_are_read_or_refused() -> None:
    folder = vectors_folder("safetensors-files")
    for name, expected in json.loads((folder / "expect.json").read_text())["files"].items():
        with v.Source(folder / f"{name}.safetensors") as source:
            try:
                v.read_safetensors(source)
                valid = True
            except v.RefusedError:
                valid = False
        assert valid is expected["valid"], name


def test_every_element_type_of_the_safetensors_library_is_known() -> None:
    safetensors = pytest.importorskip("safetensors", reason="safetensors is not installed")
    library = next(Path(safetensors.__file__).parent.glob("*.so")).read_bytes()
    for name in v.SAFETENSORS_BITS:
        assert name.encode() in library, name


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "x": 1}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [1, 5]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F4", "shape": [1], "data_offsets": [0, 1]}},
        {"a": {"dtype": "U8", "shape": [4]}},
        {"a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}},
        {n: {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]} for n in "ab"},
        {"__metadata__": {"a": 1}},
        {"__metadata__": []},
        [],
    ],
    ids=str,
)
def test_a_header_that_does_not_describe_the_file_is_refused(tmp_path: Path, header: Any) -> None:
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0\0\0\0")
    with v.Source(path) as source, pytest.raises(v.RefusedError):
        v.read_safetensors(source)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 10**12, v.MAX_SAFETENSORS_HEADER + 1, 3])
def test_a_huge_declared_header_is_refused_before_it_is_read(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}")
    with v.Source(path) as source, pytest.raises(v.RefusedError):
        v.read_safetensors(source)


def test_a_header_of_deep_brackets_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 100_000) + b"[" * 100_000)
    with v.Source(path) as source, pytest.raises(v.RefusedError):
        v.read_safetensors(source)


def test_a_file_that_shrinks_while_it_is_read_is_an_error_not_a_signal(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    path.write_bytes(write_safetensors({"a": (bytes(1 << 20), "U8", [1 << 20])}))
    with v.Source(path) as source:
        tensors = v.read_safetensors(source)
        os.truncate(path, 1000)
        with pytest.raises(v.UncheckableError, match="sooner"):
            tensors["a"].digest("blake3")


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path, weights(2))
    with v.Source(path) as source:
        tensors = v.read_safetensors(source)
        data = path.read_bytes()
        path.write_bytes(data[:-1] + b"\0")
        with pytest.raises(v.UncheckableError, match="changed"):
            tensors["scale"].digest("blake3")


def test_a_file_swapped_again_and_again_never_holds_wrongly(bundle: bytes, tmp_path: Path) -> None:
    path = saved(tmp_path, weights(2))
    bad, done = write_safetensors(weights(1)), threading.Event()
    verdicts = []

    def swap() -> None:
        while not done.is_set():
            os.truncate(path, 10)
            path.write_bytes(bad)

    path.write_bytes(bad)
    thread = threading.Thread(target=swap)
    thread.start()
    try:
        # Each look sees another moment, so this verifier alone is asked.
        request = v.Request(keys=[BundleBuilder().owner_key], model=path)
        verdicts = [v.BundleVerifier(bundle, request).verify().result for _ in range(10)]
    finally:
        done.set()
        thread.join()
    assert "holds" not in verdicts

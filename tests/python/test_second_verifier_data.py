"""The second verifier on data sets (docs/format.md section 10, "Data")."""

from __future__ import annotations

import os
import struct
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from bundles_for_tests import (
    FILES,
    LABELS,
    PAIRS,
    SAMPLES,
    Tensors,
    arrays_file,
    check,
    check_states,
    failing,
    standard_run,
    v,
    verify,
    write_npy,
)


@pytest.fixture(scope="module")
def bundle() -> bytes:
    return standard_run().build()


def test_pairs_of_arrays_are_recomputed_from_safetensors(bundle: bytes, tmp_path: Path) -> None:
    path = arrays_file(tmp_path, PAIRS)
    verdict = verify(bundle, data={"train": path})
    assert verdict.result == "holds"
    assert check(verdict, "data:train").detail == "3 samples equal record 1 (data, role train)"


def test_a_sample_that_differs_is_named(bundle: bytes, tmp_path: Path) -> None:
    labels = LABELS[:16] + struct.pack("<q", 10)
    path = arrays_file(tmp_path, PAIRS | {"1": (labels, "I64", [3])})
    verdict = verify(bundle, data={"train": path})
    assert failing(verdict) == ["data:train"]
    assert check(verdict, "data:train").detail == "sample 2 differs from the record's"


def test_a_difference_is_seen_where_no_leaves_are_disclosed(tmp_path: Path) -> None:
    builder = standard_run()
    del builder.trees[builder.records[1]["tree"]["root"][7:]]
    short = {
        name: (data[: len(data) // 3], dtype, [1, *shape[1:]])
        for name, (data, dtype, shape) in PAIRS.items()
    }
    verdict = verify(builder.build(), data={"train": arrays_file(tmp_path, short)})
    assert failing(verdict) == ["data:train"]
    told = check(verdict, "data:train")
    assert told.detail == "sample tree (its leaves are not disclosed, so no sample can be named)"
    assert told.expected == str(v.tree_reference(builder.records[1]["tree"]))
    assert told.seen not in (None, told.expected)


@pytest.mark.parametrize(
    "tensors",
    [
        {"0": PAIRS["0"]},
        PAIRS | {"2": PAIRS["0"]},
        PAIRS | {"0": (SAMPLES, "I32", [3, 2])},
        PAIRS | {"0": (SAMPLES, "F32", [3, 1, 2])},
        PAIRS | {"1": (LABELS[:16], "I64", [2])},
    ],
    ids=["one is missing", "one is extra", "other dtype", "other shape", "other count"],
)
def test_arrays_of_another_form_fail(bundle: bytes, tmp_path: Path, tensors: Tensors) -> None:
    assert failing(verify(bundle, data={"train": arrays_file(tmp_path, tensors)})) == ["data:train"]


def test_objects_of_arrays_are_found_by_their_keys(tmp_path: Path) -> None:
    builder = standard_run()
    row = {"digest": v.digest_text(SAMPLES), "dtype": "F32", "len": 24, "shape": [6]}
    items = {"$$x": {"$tensor": row}, "inner": [{"$tensor": row}]}
    text = v.canonical_json(items)
    end = {"dtype": "F32", "shape": [6]}
    builder.records[1]["fields"] = {"$$x": end, "inner": [end]}
    builder.records[1] |= {"count": 1, "sorted": None}
    builder.trees = {}
    leaf = {"digest": v.digest_text(text), "index": 0, "len": len(text)}
    builder.records[1]["tree"] = builder.tree([leaf])
    array = (SAMPLES, "F32", [1, 6])
    path = arrays_file(tmp_path, {"$x": array, "inner.0": array})
    assert verify(builder.build(), data={"train": path}).result == "holds"


def test_a_bare_array_is_recomputed_from_npy_and_safetensors(bundle: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(write_npy(SAMPLES, "<f4", (3, 2)))
    assert verify(bundle, data={"bare": path}).result == "holds"
    any_name = arrays_file(tmp_path, {"whatever": (SAMPLES, "F32", [3, 2])})
    assert verify(bundle, data={"bare": any_name}).result == "holds"


def test_big_endian_and_fortran_arrays_are_the_same_data(bundle: bytes, tmp_path: Path) -> None:
    values = struct.unpack("<6f", SAMPLES)
    path = tmp_path / "x.npy"
    path.write_bytes(write_npy(struct.pack(">6f", *values), ">f4", (3, 2)))
    assert verify(bundle, data={"bare": path}).result == "holds"
    columns = struct.pack("<6f", *values[::2], *values[1::2])
    path.write_bytes(write_npy(columns, "<f4", (3, 2), fortran=True))
    assert verify(bundle, data={"bare": path}).result == "holds"


def npy_cases() -> list[Any]:
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    base = np.arange(24).reshape(2, 3, 4)
    arrays = [base.astype(kind) for kind in ("<i2", ">i8", "u1", "<f8", ">f2", "<c8", ">c16", "?")]
    arrays += [np.asfortranarray(base.astype(">i4")), base.transpose(2, 0, 1).copy(order="F")]
    arrays += [np.array(["ab", "cdé"]), np.array(["ab", "c"], dtype=">U2"), np.array([b"x", b"yz"])]
    arrays += [np.array([1, 2], dtype=">M8[25s]"), np.array([1], dtype="m8"), np.zeros((0, 3))]
    return [*arrays, np.array([b"\0\1"], dtype="V2")]


@pytest.mark.parametrize("number", range(17))
def test_npy_files_of_numpy_give_numpys_values(tmp_path: Path, number: int) -> None:
    import numpy as np

    array = npy_cases()[number]
    np.save(tmp_path / "x.npy", array)
    with v.Source(tmp_path / "x.npy") as source:
        rows = v.read_npy(source)
        little = array.astype(array.dtype.newbyteorder("<"))
        assert rows.shape == list(array.shape)
        for index in range(len(array)):
            assert rows.row(index) == little[index : index + 1].tobytes()


def test_npy_names_are_those_of_section_2(tmp_path: Path) -> None:
    expected = ["I16", "I64", "U8", "F64", "F16", "C64", "C128", "BOOL", "I32", "I64", "U3_UCS4"]
    expected += ["U2_UCS4", "S2", "DATETIME64[25s]", "TIMEDELTA64[generic]", "F64", "V2"]
    import numpy as np

    for array, name in zip(npy_cases(), expected, strict=True):
        np.save(tmp_path / "x.npy", array)
        with v.Source(tmp_path / "x.npy") as source:
            assert v.read_npy(source).dtype == name


@pytest.mark.parametrize("number", range(17))
def test_npy_files_of_numpy_are_checked_alike_by_both(tmp_path: Path, number: int) -> None:
    import numpy as np

    path = tmp_path / "x.npy"
    np.save(path, npy_cases()[number])
    with v.Source(path) as source:
        rows = v.read_npy(source)
        samples = [rows.row(index) for index in range(rows.shape[0])]
    builder = standard_run()
    leaves = [
        {"digest": v.digest_text(row), "index": index, "len": len(row)}
        for index, row in enumerate(samples)
    ]
    builder.retree(2, "tree", leaves)
    fields = {"dtype": rows.dtype, "shape": rows.shape[1:]}
    builder.records[2] |= {"fields": fields, "count": len(samples)}
    assert verify(builder.build(), data={"bare": path}).result == "holds"
    fields["dtype"] = "BF16"
    assert failing(verify(builder.build(), data={"bare": path})) == ["data:bare"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY\x01\x00\xff\xff",
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(20),
        b"\x93NUMPY\x09\x00" + bytes(20),
        write_npy(b"\x80\x04.", "|O", (1,)),
        write_npy(SAMPLES, "<f4", (3, 3)),
        write_npy(SAMPLES + b"\0", "<f4", (3, 2)),
        write_npy(SAMPLES, "<f4", (10**15, 10**15)),
        write_npy(SAMPLES[:4], "<f4", ()),
        write_npy(SAMPLES, "<f4", (3, 2)).replace(b"False", b"[[[[["),
    ],
)
def test_an_npy_file_of_another_form_is_unchecked(
    bundle: bytes, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    verdict = verify(bundle, data={"bare": path})
    assert (verdict.result, failing(verdict)) == ("could not check", [])


def test_a_npy_file_cannot_be_a_data_set_of_pairs(bundle: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(write_npy(SAMPLES, "<f4", (3, 2)))
    assert verify(bundle, data={"train": path}).result == "could not check"


@pytest.fixture
def file_set(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_set_of_files_is_recomputed(bundle: bytes, file_set: Path) -> None:
    assert verify(bundle, data={"files": file_set}).result == "holds"


@pytest.mark.parametrize("change", ["content", "name", "extra", "hidden", "missing"])
def test_a_set_of_files_that_differs_fails(bundle: bytes, file_set: Path, change: str) -> None:
    if change == "content":
        (file_set / "a.txt").write_bytes(b"First\n")
    elif change == "name":
        (file_set / "a.txt").rename(file_set / "A.txt")
    elif change == "missing":
        (file_set / "a.txt").unlink()
    else:
        (file_set / {"extra": "z", "hidden": ".z"}[change]).write_bytes(b"")
    assert failing(verify(bundle, data={"files": file_set})) == ["data:files"]


@pytest.mark.parametrize("kind", ["link", "cycle", "fifo", "not utf-8", "nfd twin"])
def test_a_set_of_files_with_something_else_in_it_is_unchecked(
    bundle: bytes, file_set: Path, kind: str
) -> None:
    if kind == "link":
        (file_set / "link").symlink_to("a.txt")
    elif kind == "cycle":
        (file_set / "b" / "up").symlink_to("..")
    elif kind == "fifo":
        os.mkfifo(file_set / "pipe")
    elif kind == "not utf-8":
        os.close(os.open(os.fsencode(file_set) + b"/\xff", os.O_CREAT | os.O_WRONLY))
    else:
        (file_set / "b" / unicodedata.normalize("NFD", "ü.txt")).write_bytes(b"")
    verdict = verify(bundle, data={"files": file_set})
    assert (verdict.result, failing(verdict)) == ("could not check", [])


def test_one_file_is_a_set_of_its_base_name(tmp_path: Path) -> None:
    builder = standard_run()
    builder.records[3] |= {"kind": "file", "count": 1}
    leaf = {"digest": v.digest_text(b"abc"), "len": 3, "path": "corpus.txt"}
    builder.retree(3, "tree", [leaf])
    path = tmp_path / "corpus.txt"
    path.write_bytes(b"abc")
    assert verify(builder.build(), data={"files": path}).result == "holds"
    other = path.rename(tmp_path / "other.txt")
    assert failing(verify(builder.build(), data={"files": other})) == ["data:files"]


def test_data_that_no_record_can_be_compared_with_is_unchecked(tmp_path: Path) -> None:
    builder = standard_run()
    builder.records[2] |= {"kind": "stream", "role": "stream"}
    builder.records[3] |= {"tree": None}
    builder.trees = {}
    bundle = builder.build()
    for role in ("absent", "stream", "files"):
        verdict = verify(bundle, data={role: tmp_path})
        assert check_states(verdict)[f"data:{role}"] == "unchecked"
        assert verdict.result == "could not check"


def test_the_last_record_of_a_role_counts(tmp_path: Path) -> None:
    builder = standard_run()
    builder.records[2]["role"] = "train"
    path = tmp_path / "x.npy"
    path.write_bytes(write_npy(SAMPLES, "<f4", (3, 2)))
    assert verify(builder.build(), data={"train": path}).result == "holds"

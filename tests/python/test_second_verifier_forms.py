"""The second verifier on the forms that arrays have in files (docs/format.md section 10)."""

from __future__ import annotations

import functools
import struct
import warnings
from pathlib import Path
from typing import Any

import pytest
from bundles_for_tests import (
    PAIRS,
    SAMPLES,
    BundleBuilder,
    Tensors,
    check,
    check_states,
    failing,
    saved,
    standard_run,
    v,
    verify,
    write_npy,
)

HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }"


def npy(header: str, data: bytes = SAMPLES, version: bytes = b"\1\0") -> bytes:
    """A .npy file of version 1 with this header, padded as NumPy pads it."""
    text = header + " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text.encode() + data


@functools.cache
def standard() -> bytes:
    return standard_run().build()


def state(run: BundleBuilder | bytes, path: Path, role: str = "bare") -> str:
    """The state of a data check; no warning is let out."""
    bundle = run if isinstance(run, bytes) else run.build()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return check_states(verify(bundle, data={role: path}))[f"data:{role}"]


def with_rows(rows: list[bytes], fields: Any) -> BundleBuilder:
    """The standard run, with these rows as its bare array."""
    builder = standard_run()
    leaves = [
        {"digest": v.digest_text(row), "index": index, "len": len(row)}
        for index, row in enumerate(rows)
    ]
    builder.retree(2, "tree", leaves)
    builder.records[2] |= {"fields": fields, "count": len(rows)}
    return builder


# -- one bare array: its digests cover bytes alone


@pytest.mark.parametrize(
    ("descr", "shape"),
    [
        ("<i4", (3, 2)),
        ("|u1", (3, 8)),
        ("<c8", (3,)),
        ("|V8", (3,)),
        ("|S8", (3,)),
        ("<f8", (3,)),
        ("<f4", (3, 2, 1)),
        ("<f4", (3, 1, 2, 1)),
        (">f4", (3, 2)),
    ],
)
def test_a_npy_file_of_another_type_or_shape_fails_though_its_bytes_are_the_same(
    tmp_path: Path, descr: str, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(write_npy(SAMPLES, descr, shape))
    verdict = verify(standard(), data={"bare": path})
    assert failing(verdict) == ["data:bare"]
    path.write_bytes(write_npy(SAMPLES, "<f4", (3, 2)))
    assert verify(standard(), data={"bare": path}).result == "holds"


@pytest.mark.parametrize(
    ("dtype", "shape"), [("I32", [3, 2]), ("U8", [3, 8]), ("C64", [3]), ("F32", [3, 2, 1])]
)
def test_a_tensor_of_another_type_or_shape_fails_though_its_bytes_are_the_same(
    tmp_path: Path, dtype: str, shape: list[int]
) -> None:
    path = saved(tmp_path, {"x": (SAMPLES, dtype, shape)})
    verdict = verify(standard(), data={"bare": path})
    assert failing(verdict) == ["data:bare"]
    shown = check(verdict, "data:bare")
    assert dtype in str(shown.seen)
    assert "F32" in str(shown.expected)


# -- .npy files in the one form that NumPy writes


@pytest.mark.parametrize(
    "header",
    [
        "{'shape': (3, 2), 'fortran_order': False, 'descr': '<f4'}",
        "{'descr':'<f4','fortran_order':False,'shape':(3,2)}",
        HEADER.replace(", }", "}"),
        HEADER.replace("<f4", "f4"),
        HEADER.replace("<f4", "=f4"),
        HEADER.replace("<f4", "|f4"),
        HEADER.replace("<f4", "<f04"),
        HEADER.replace("<f4", "float32"),
        HEADER.replace("'", '"'),
        HEADER.replace("3, 2", "3L, 2L"),
        HEADER.replace("3, 2", "03, 2"),
        HEADER.replace("3, 2", "0x3, 2"),
        HEADER.replace("3, 2", "3, 2,"),
        HEADER.replace("3, 2", "3,2"),
        HEADER.replace("3, 2", "+3, 2"),
        HEADER.replace("False", "0"),
        HEADER.replace("(3, 2)", "[3, 2]"),
        HEADER.replace("{", "{ "),
        HEADER + "\n",
        HEADER + "\t",
        HEADER + " " * 9990,
    ],
)
def test_a_npy_header_in_another_spelling_is_unchecked(tmp_path: Path, header: str) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(npy(header))
    assert state(standard(), path) == "unchecked"
    path.write_bytes(npy(HEADER))
    assert state(standard(), path) == "holds"


@pytest.mark.parametrize("version", [b"\0\0", b"\1\1", b"\4\0"])
def test_a_npy_file_of_an_unknown_version_is_unchecked(tmp_path: Path, version: bytes) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(npy(HEADER, version=version))
    assert state(standard(), path) == "unchecked"


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("[s]", "holds"),
        ("[1s]", "unchecked"),
        ("[s/10]", "unchecked"),
        ("[02s]", "unchecked"),
        ("[generic]", "unchecked"),
        ("[60s]", "fails"),
        ("", "fails"),
        ("[as]", "fails"),
    ],
)
def test_times_are_of_the_unit_as_numpy_writes_it(tmp_path: Path, unit: str, expected: str) -> None:
    rows = [struct.pack("<q", value) for value in range(3)]
    builder = with_rows(rows, {"dtype": "DATETIME64[s]", "shape": []})
    path = tmp_path / "x.npy"
    path.write_bytes(
        npy(f"{{'descr': '<M8{unit}', 'fortran_order': False, 'shape': (3,), }}", b"".join(rows))
    )
    assert state(builder, path) == expected


@pytest.mark.parametrize("descr", ["<f16", "<c32", "|S0", "<U0", "|V0", "<i1", "|O", "<i16"])
def test_element_types_that_a_npy_file_cannot_tell_are_unchecked(
    tmp_path: Path, descr: str
) -> None:
    builder = with_rows([bytes(16)], {"dtype": "F80", "shape": []})
    path = tmp_path / "x.npy"
    path.write_bytes(write_npy(bytes(16), descr, (1,)))
    assert state(builder, path) == "unchecked"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((0, 3), "holds"),
        ((0, 10**15, 10**15), "unchecked"),
        ((10**15, 10**15, 0), "unchecked"),
        ((0, 10**16), "unchecked"),
        ((1,) * 32, "fails"),
        ((1,) * 33, "unchecked"),
    ],
)
def test_shapes_that_no_array_has_are_unchecked(
    tmp_path: Path, shape: tuple[int, ...], expected: str
) -> None:
    builder = with_rows([], {"dtype": "F32", "shape": [3]})
    path = tmp_path / "x.npy"
    path.write_bytes(write_npy(b"" if 0 in shape else bytes(4), "<f4", shape))
    assert state(builder, path) == expected


# -- the content says what a file is


@pytest.mark.parametrize("name", ["pairs.bin", "pairs", "pairs.npy"])
def test_a_safetensors_file_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    assert state(standard(), saved(tmp_path, PAIRS, name), "train") == "holds"


@pytest.mark.parametrize("name", [".npy", "x", "x.safetensors"])
def test_a_npy_file_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(npy(HEADER))
    assert state(standard(), tmp_path / name) == "holds"


@pytest.mark.parametrize("content", [b"", b"\x93NUMP", b"\x93NUMPY", b"1,2\n3,4\n", bytes(100)])
def test_a_file_that_is_neither_is_unchecked(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    assert state(standard(), tmp_path / "x.npy") == "unchecked"


# -- nestings


def test_a_list_of_one_array_is_no_bare_array(tmp_path: Path) -> None:
    builder = standard_run()
    builder.records[2]["fields"] = [builder.records[2]["fields"]]
    (tmp_path / "x.npy").write_bytes(npy(HEADER))
    assert state(builder, tmp_path / "x.npy") == "unchecked"


def test_an_empty_list_beside_an_array_describes_a_sample(tmp_path: Path) -> None:
    items = [
        [],
        {"$tensor": {"digest": v.digest_text(SAMPLES[:8]), "dtype": "F32", "len": 8, "shape": [2]}},
    ]
    text = v.canonical_json(items)
    builder = with_rows([text], [[], {"dtype": "F32", "shape": [2]}])
    path = saved(tmp_path, {"1": (SAMPLES[:8], "F32", [1, 2])})
    assert state(builder, path) == "holds"
    for empty in ([], {}, [[], {}]):
        builder.records[2]["fields"] = empty
        assert state(builder, path) == "fails"


def test_two_arrays_of_one_name_are_unchecked(tmp_path: Path) -> None:
    end = {"dtype": "F32", "shape": [2]}
    builder = with_rows([SAMPLES[:8]], {"a": {"b": end}, "a.b": end})
    path = saved(tmp_path, {"a.b": (SAMPLES[:8], "F32", [1, 2])})
    assert state(builder, path) == "unchecked"


def test_names_are_judged_before_dimensions_and_these_before_types(tmp_path: Path) -> None:
    scalar: Tensors = {"x": (SAMPLES[:4], "F32", [])}
    assert state(standard(), saved(tmp_path, scalar), "train") == "fails"
    named = {"0": scalar["x"], "1": PAIRS["1"]}
    assert state(standard(), saved(tmp_path, named), "train") == "unchecked"
    halves: Tensors = {"0": (bytes(3), "F4", [6]), "1": PAIRS["1"]}
    assert state(standard(), saved(tmp_path, halves), "train") == "unchecked"


def test_a_malformed_sorted_tree_fails_before_the_file_is_read(tmp_path: Path) -> None:
    builder = standard_run()
    builder.records[2]["sorted"] = 5
    assert state(builder, tmp_path / "absent") == "fails"


# -- shapes in safetensors files


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ([1] * 64, "holds"),
        ([1] * 65, "does not hold"),
        ([2**53 - 1, 2**53 - 1, 0], "does not hold"),
        ([0, 2**53 - 1, 2**53 - 1], "holds"),
        ([2**53 - 1, 0], "holds"),
        ([2**32, 2**32, 0], "does not hold"),
        ([2**32, 2**31, 0], "holds"),
    ],
    ids=["64 dimensions", "65", "overflow, 0", "0, overflow", "large, 0", "2^64, 0", "2^63, 0"],
)
def test_a_shape_has_64_dimensions_and_products_below_2_to_64(
    tmp_path: Path, shape: list[int], expected: str
) -> None:
    tensors: Tensors = {"x": (b"" if 0 in shape else bytes(4), "F32", shape)}
    builder = standard_run()
    builder.records[6]["aliases"] = []
    builder.trees.pop(builder.records[6]["weights"]["root"][7:])
    builder.records[6]["weights"] = builder.named(tensors)
    assert verify(builder.build(), model=saved(tmp_path, tensors)).result == expected

"""Data sets of files against a slow reference written from docs/format.md section 4."""

from __future__ import annotations

import os
import pathlib
import socket

import blake3
import pytest
import rfc8785

import mlprov
from mlprov import _core
from mlprov.datasets import capture_dataset
from mlprov.errors import ConfigError, EvidenceError


def file_leaf(data: bytes, path: str) -> bytes:
    digest = f"blake3:{blake3.blake3(data).hexdigest()}"
    return rfc8785.dumps({"digest": digest, "len": len(data), "path": path})


def write(root: pathlib.Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def test_the_files_of_a_directory_are_sorted_by_their_utf_8_path(tmp_path):
    files = {
        "b.txt": b"b",
        "a/z": b"",
        "a/b/c": b"abc",
        "a.txt": b"1",
        "a-": b"2",
        ".hidden": b"h",
        "a/.git": b"a file, as worktrees have it",
        "\uffff": b"3",
        "\U0001f600": b"4",
        'q"\\\n': b"5",
    }
    write(tmp_path, files)
    write(tmp_path, {".git/config": b"x", "b/.git/x": b"x", ".mlprov/store.db": b"x"})
    capture = capture_dataset(tmp_path)
    ordered = sorted(files, key=str.encode)
    assert list(capture.leaves) == [file_leaf(files[path], path) for path in ordered]
    assert capture.root == _core.merkle_root(list(capture.leaves))
    assert capture.kind == "files"
    assert (capture.size, capture.bytes) == (len(files), sum(map(len, files.values())))
    assert capture.source == str(tmp_path)
    assert capture.fields is None
    expected = sorted(blake3.blake3(data).digest() for data in files.values())
    assert capture.sorted_root == _core.merkle_root(expected)


def test_a_file_is_one_sample_under_its_own_name(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(b"1,2\n")
    capture = capture_dataset(path)
    assert list(capture.leaves) == [file_leaf(b"1,2\n", "data.csv")]
    assert (capture.kind, capture.size, capture.bytes) == ("file", 1, 4)
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    assert list(capture_dataset(link).leaves) == [file_leaf(b"1,2\n", "link.csv")]


def test_an_empty_directory_is_an_empty_set(tmp_path):
    capture = capture_dataset(tmp_path)
    assert (capture.size, capture.bytes, list(capture.leaves)) == (0, 0, [])


def test_the_run_s_store_under_another_name_is_no_data_and_refused_by_name(tmp_path):
    """Leaving it out would make a set that its own directory does not verify against."""
    write(tmp_path, {"a": b"a", "sub/evidence/store.db": b"x", ".mlprov/store.db": b"x"})
    evidence = tmp_path / "sub" / "evidence"
    for root in (tmp_path, evidence):
        with pytest.raises(ConfigError, match=r"evidence is the store .* MLPROV_STORE"):
            capture_dataset(root, store=evidence)
    assert capture_dataset(tmp_path, store=tmp_path / ".mlprov").size == 2
    assert capture_dataset(tmp_path, store=tmp_path / "none").size == 2


def test_a_run_says_that_its_store_lies_within_its_data(tmp_path):
    write(tmp_path / "set", {"a": b"a"})
    with mlprov.start("inside", store=tmp_path / "set" / "evidence") as run:
        with pytest.warns(mlprov.RecordingWarning, match="evidence is the store"):
            run.track_data(train=tmp_path / "set")
        run.track_data(train=tmp_path / "set" / "a")
    types = [record["type"] for record in run.records]
    assert types == ["run.start", "gap", "data", "run.end"]


@pytest.mark.parametrize("target", ["a/inside", "../outside", "a", ".", "missing"])
def test_links_are_refused_wherever_they_lead(tmp_path, target):
    root = tmp_path / "set"
    write(root, {"a/inside": b"x"})
    (tmp_path / "outside").write_bytes(b"x")
    (root / "link").symlink_to(target)
    with pytest.raises(ConfigError, match="link: it is a symbolic link"):
        capture_dataset(root)


def test_special_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="pipe: it is no regular file"):
        capture_dataset(tmp_path)
    (tmp_path / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket"))
        with pytest.raises(ConfigError, match="socket: it is no regular file"):
            capture_dataset(tmp_path)
    with pytest.raises(ConfigError, match="there is no such file"):
        capture_dataset(tmp_path / "missing")


def test_a_name_that_is_not_utf_8_is_refused_by_name(tmp_path):
    path = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff"))
    path.write_bytes(b"x")
    for data in (tmp_path, path):
        with pytest.raises(ConfigError, match=r"a\udcff.*not UTF-8"):
            capture_dataset(data)


def test_two_names_that_are_one_in_normal_form_are_refused_by_both(tmp_path):
    write(tmp_path, {"\u00e9": b"1", "e\u0301": b"2"})
    with pytest.raises(ConfigError, match=r"'e\\u0301' and '\\xe9'"):
        capture_dataset(tmp_path)


def test_a_file_that_changes_between_listing_and_reading_is_noticed(tmp_path, monkeypatch):
    write(tmp_path, {"a": b"abc", "b": b"abc"})
    real = _core.hash_files

    def swap(paths, algorithm, **options):
        result = real(paths, algorithm, **options)
        (tmp_path / "b").replace(tmp_path / "a")
        return result

    monkeypatch.setattr(_core, "hash_files", swap)
    with pytest.raises(EvidenceError, match="changed while it was read"):
        capture_dataset(tmp_path)


def test_another_file_of_the_same_size_and_time_is_noticed(tmp_path, monkeypatch):
    write(tmp_path, {"a": b"abc", "b": b"xyz"})
    for name in ("a", "b"):
        os.utime(tmp_path / name, ns=(10**18, 10**18))
    real = _core.hash_files

    def swap(paths, algorithm, **options):
        (tmp_path / "b").replace(tmp_path / "a")
        return real(paths, algorithm, **options)

    monkeypatch.setattr(_core, "hash_files", swap)
    with pytest.raises(EvidenceError, match="changed while it was read"):
        capture_dataset(tmp_path)


MD5 = "900150983cd24fb0d6963f7d28e17f72"


def test_the_digests_of_dvc_are_listed_as_weak(tmp_path):
    root = tmp_path / "data"
    write(root, {"sub/a.csv": b"abc"})
    sidecar = f"outs:\n- md5: {MD5}\n  size: 3\n  hash: md5\n  path: a.csv\n"
    write(root, {"sub/a.csv.dvc": sidecar.encode()})
    beside = f"outs:\n- md5: {MD5}.dir\n  nfiles: 1\n  path: 'data'\n"
    write(tmp_path, {"data.dvc": beside.encode()})
    capture = capture_dataset(root)
    assert capture.size == 2
    assert capture.weak == [
        {"algorithm": "md5", "digest": f"{MD5}.dir", "path": "data"},
        {"algorithm": "md5", "digest": MD5, "path": "sub/a.csv"},
    ]
    only = capture_dataset(root / "sub/a.csv")
    assert only.weak == [{"algorithm": "md5", "digest": MD5, "path": "a.csv"}]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"outs:\n- path: a\n",
        b"outs:\n- md5: nothex\n  path: a\n",
        b"md5: " + MD5.encode() + b"\npath: a\n",
        b"outs:\n- md5: " + MD5.encode() + b"\n- path: a\n",
    ],
)
def test_a_dvc_file_of_another_form_says_nothing(tmp_path, text):
    write(tmp_path, {"a": b"abc", "a.dvc": text})
    assert capture_dataset(tmp_path).weak == []

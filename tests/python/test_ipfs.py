"""CIDs: equal to the published ones, to three other programs' and to a slow reference."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import ipfs_reference as reference
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors_for_tests import vectors_folder

import mlprov
from mlprov import _core, ipfs
from mlprov.errors import ConfigError, EvidenceError

JS = ROOT / "tests" / "nodes" / "ipfs"

# One chunk; a whole node; one more; two whole levels; one more (nodes of 174 links).
COUNTS = (1, 2, 3, 173, 174, 175, 30_276, 30_277)
CUTS = [(raw, version) for raw in (True, False) for version in (0, 1)]


def run_js(script: str, *arguments: str) -> list[str]:
    """The lines that one of the scripts beside js-ipfs prints."""
    if shutil.which("node") is None or not (JS / "node_modules").is_dir():
        pytest.skip("there is no js-ipfs here: 'make ipfs-node' installs it (3 minutes)")
    command = ["node", "--require", "./polyfill.cjs", script, *arguments]
    done = subprocess.run(command, cwd=JS, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def content_of(chunks: int, chunk_size: int = 1024) -> bytes:
    """That many chunks, no two alike, the last one short."""
    counted = b"".join(i.to_bytes(8, "big") * (chunk_size // 8) for i in range(chunks))
    return counted[:-3]


# Published ones


def test_blocks_have_the_published_cids() -> None:
    vectors = json.loads((vectors_folder("unixfs") / "unixfs_cids.json").read_text())
    for block in vectors["raw_block"]:
        data = block["utf8"].encode() if "utf8" in block else bytes.fromhex(block["hex"])
        expected = block.get("cid") or block["cid_hex"]
        assert ipfs.cid_of_bytes(data) == ipfs.CID.parse(expected)
        assert expected in (str(ipfs.cid_of_bytes(data)), ipfs.cid_of_bytes(data).text("base16"))


def test_files_have_the_published_cids(tmp_path: Path) -> None:
    vectors = json.loads((vectors_folder("unixfs") / "unixfs_cids.json").read_text())
    (tmp_path / "empty").touch()
    empty = ipfs.cid_of_file(tmp_path / "empty", unixfs=ipfs.UNIXFS_V0)
    assert empty.v0() == vectors["empty_file_dagpb"]["v0"]
    assert str(empty) == vectors["empty_file_dagpb"]["v1"]
    (tmp_path / "bytes").write_bytes(b"\0\1\2")
    raw = ipfs.cid_of_file(tmp_path / "bytes")
    assert raw.text("base58") == vectors["add_bytes_000102_v1_rawleaves"]
    wrapped = ipfs.cid_of_file(tmp_path / "bytes", unixfs=ipfs.Unixfs(raw_leaves=False))
    assert wrapped.text("base58") == vectors["add_bytes_000102_v1_norawleaves"]


def test_a_cid_with_its_content_in_it_is_refused() -> None:
    vectors = json.loads((vectors_folder("unixfs") / "unixfs_cids.json").read_text())
    with pytest.raises(EvidenceError):
        ipfs.CID.parse(vectors["identity_129_must_reject"])


def test_the_hello_world_of_dag_cbor_has_its_published_cid() -> None:
    # ipld.io/docs/data-model and the README of @ipld/dag-cbor.
    published = "bafyreidykglsfhoixmivffc5uwhcgshx4j465xwqntbmu43nb2dzqwfvae"
    assert str(ipfs.cid_of_value({"hello": "world"})) == published


# Trees


@pytest.mark.parametrize("chunks", COUNTS)
@pytest.mark.parametrize(("raw", "version"), CUTS)
def test_a_tree_of_many_chunks_is_that_of_the_reference(
    chunks: int, raw: bool, version: int, tmp_path: Path
) -> None:
    content = content_of(chunks)
    (tmp_path / "file").write_bytes(content)
    made = ipfs.cid_of_file(tmp_path / "file", unixfs=ipfs.Unixfs(1024, 174, raw, version))
    expected = reference.file_tree(content, 1024, 174, raw=raw, version=version)
    assert made.binary == expected.cid


@pytest.mark.parametrize("chunks", COUNTS)
def test_a_tree_of_many_chunks_is_that_of_js_ipfs(chunks: int, tmp_path: Path) -> None:
    cuts: list[tuple[int, int, bool, int]] = [
        (1024, 174, True, 1), (1024, 174, False, 0), (1024, 174, False, 1), (1024, 1024, True, 1),
    ]  # fmt: skip
    (tmp_path / "file").write_bytes(content_of(chunks))
    said = run_js("cids.mjs", str(tmp_path / "file"), json.dumps(cuts))
    ours = [str(ipfs.cid_of_file(tmp_path / "file", unixfs=ipfs.Unixfs(*cut))) for cut in cuts]
    assert ours == said


def test_the_profiles_are_those_of_js_ipfs(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content_of(3, 1 << 20))
    profiles = (ipfs.UNIXFS_V1_2025, ipfs.UNIXFS_V0)
    cuts = json.dumps([profile.for_core() for profile in profiles])
    said = run_js("cids.mjs", str(tmp_path / "file"), cuts)
    assert said == [str(ipfs.cid_of_file(tmp_path / "file", unixfs=each)) for each in profiles]


@pytest.mark.parametrize("length", [0, 1, 262_144, 262_145, 700_000])
def test_the_old_profile_is_that_of_debians_ipfs_cid(length: int, tmp_path: Path) -> None:
    if shutil.which("ipfs_cid") is None:
        pytest.skip("there is no ipfs_cid here: Debian's package ipfs-cid has it")
    (tmp_path / "file").write_bytes(os.urandom(length))
    said = subprocess.run(
        ["ipfs_cid", str(tmp_path / "file")], capture_output=True, text=True, check=True
    )
    cid = json.loads(said.stdout.splitlines()[-1])["CIDv0"]
    assert ipfs.cid_of_file(tmp_path / "file", unixfs=ipfs.UNIXFS_V0).v0() == cid


@settings(max_examples=60, deadline=None)
@given(
    data=st.binary(max_size=3000), chunk=st.integers(1, 300), width=st.integers(2, 9),
    raw=st.booleans(), version=st.integers(0, 1),
)  # fmt: skip
def test_any_cut_of_any_file_is_that_of_the_reference(
    tmp_path_factory: pytest.TempPathFactory,
    data: bytes, chunk: int, width: int, raw: bool, version: int,
) -> None:  # fmt: skip
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(data)
    made = ipfs.cid_of_file(path, unixfs=ipfs.Unixfs(chunk, width, raw, version))
    assert made.binary == reference.file_tree(data, chunk, width, raw=raw, version=version).cid


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_the_cid_of_a_file_does_not_depend_on_threads(threads: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content_of(5, 1 << 20))
    seen: list[int] = []
    made = ipfs.cid_of_file(
        tmp_path / "file", threads=threads, progress=lambda _, done: seen.append(done)
    )
    assert made == ipfs.cid_of_file(tmp_path / "file")
    assert seen == sorted(seen)


# Texts


@given(digest=st.binary(min_size=32, max_size=32), codec=st.sampled_from([0x55, 0x70, 0x71]))
def test_every_text_of_a_cid_reads_back(digest: bytes, codec: int) -> None:
    cid = ipfs.CID(bytes([1, codec, 0x12, 32]) + digest)
    for base in ("base16", "base32", "base36", "base58"):
        assert ipfs.CID.parse(cid.text(base)) == cid  # type: ignore[arg-type]
    assert str(cid) == "b" + base64.b32encode(cid.binary).decode().rstrip("=").lower()
    assert cid.text("base16") == "f" + cid.binary.hex()
    number = int(cid.text("base36")[1:], 36)
    assert number == int.from_bytes(cid.binary, "big")
    if cid.codec == "dag-pb":
        assert ipfs.CID.parse(cid.v0()) == cid == ipfs.CID.parse(cid.binary[2:])
    else:
        with pytest.raises(ValueError, match="version 0"):
            cid.v0()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "Qm",
        "bafkq",
        "zzzz",
        "B" + "A" * 58,
        "kkkk",
        "f0155",
        "b" * 59,
        "Q" * 46,
        "\0" * 46,
    ],
)
def test_what_is_no_cid_is_refused(text: str) -> None:
    with pytest.raises(EvidenceError, match="no CID"):
        ipfs.CID.parse(text)


def test_a_cid_with_a_wrong_character_is_another_cid_or_none() -> None:
    cid = ipfs.cid_of_bytes(b"content")
    for text in (str(cid), cid.text("base36"), cid.text("base58"), cid.text("base16")):
        for at in range(1, len(text)):
            for character in "a2Z":
                changed = text[:at] + character + text[at + 1 :]
                if changed == text:
                    continue
                with contextlib.suppress(EvidenceError):
                    assert ipfs.CID.parse(changed) != cid, changed


# DAG-CBOR

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=300)
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=60,
)  # fmt: skip


@settings(deadline=None)
@given(VALUES)
def test_a_value_has_the_encoding_of_the_reference(value: Any) -> None:
    encoded = ipfs.encode_value(value)
    assert encoded == reference.cbor(value)
    _core.dag_cbor_check(encoded)


def test_js_ipfs_reads_and_writes_the_same_dag_cbor() -> None:
    cid = ipfs.cid_of_bytes(b"linked")
    values: list[Any] = [
        None, True, False, 0, 23, 24, 255, 256, 65_535, 65_536, 2**32, 2**53 - 1, -1, -24, -25,
        -(2**53) + 1, 1.5, -1e300, "", "grüße", b"", bytes(300), [], [1, [2, [3]]], {},
        {"b": 1, "a": 2, "aa": 3, "ü": 4, "": 5}, cid, {"link": cid, "links": [cid, cid]},
    ]  # fmt: skip
    ours = [ipfs.encode_value(value).hex() for value in values]
    assert run_js("cbor.mjs", json.dumps(ours)) == ours


@pytest.mark.parametrize(
    "value", [2**64, float("inf"), float("nan"), {1: 2}, object(), {"a": {1}}, "\ud800"]
)
def test_what_dag_cbor_does_not_have_is_refused(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        ipfs.encode_value(value)


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="deeper"):
        ipfs.encode_value(value)


@pytest.mark.parametrize(
    ("reason", "data"),
    [
        ("a longer form of 1", "1801"),
        ("a longer form of 256", "1a00000100"),
        ("an indefinite list", "9fff"),
        ("a float of 32 bits", "fa3fc00000"),
        ("not a number", "fb7ff8000000000000"),
        ("undefined", "f7"),
        ("a simple value of its own", "e0"),
        ("another tag", "c101"),
        ("a tag on text", "d82a6161"),
        ("keys out of order", "a2616200616100"),
        ("a longer key first", "a262616100616100"),
        ("a key twice", "a2616100616100"),
        ("a key that is a number", "a10000"),
        ("text that is no UTF-8", "61ff"),
        ("more behind it", "0000"),
        ("nothing", ""),
        ("cut off", "19"),
        ("a string longer than the rest", "5b7fffffffffffffff"),
        ("a list longer than the rest", "9b7fffffffffffffff"),
        ("too deep", "81" * 200 + "00"),
    ],
)
def test_another_encoding_is_refused(reason: str, data: str) -> None:
    with pytest.raises(EvidenceError):
        _core.dag_cbor_check(bytes.fromhex(data))


# Errors


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError):
        ipfs.cid_of_file(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        ipfs.cid_of_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        ipfs.cid_of_file(tmp_path / "none")
    with pytest.raises(ConfigError, match="does not say how long it is"):
        ipfs.cid_of_file("/proc/self/status")


@pytest.mark.parametrize(
    "cut", [(0, 174), (1_048_577, 174), (1024, 1), (1024, 8193), (1024, 174, True, 2)]
)
def test_a_cut_that_nodes_do_not_take_is_refused(cut: tuple[Any, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    with pytest.raises(ValueError, match="cannot be cut"):
        ipfs.cid_of_file(tmp_path / "file", unixfs=ipfs.Unixfs(*cut))


def test_what_progress_raises_ends_the_call(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.seek(1 << 31)
        file.write(b"end")

    def stop(*_: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        ipfs.cid_of_file(tmp_path / "file", progress=stop)


def test_a_cid_is_of_version_1_and_sha_256() -> None:
    assert ipfs.CID.parse(ipfs.cid_of_bytes(b"a").binary).digest == bytes(
        mlprov.digest(b"a", algorithm="sha256")
    )
    for wrong in (b"", bytes(36), b"\x01\x55\x1e\x20" + bytes(32), b"\x12\x20" + bytes(32)):
        with pytest.raises(EvidenceError):
            ipfs.CID(wrong)

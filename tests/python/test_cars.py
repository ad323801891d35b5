"""CARs: the bytes of other programs, and what the reader refuses."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import ipfs_reference as reference
import pytest
from cli_for_tests import run_command
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors_for_tests import vectors_folder

from mlprov import ipfs
from mlprov.errors import ConfigError, Error, EvidenceError, StoreError, VerificationError

SMALL = ipfs.Unixfs(1024, 3)


def framed(*blocks: tuple[bytes, bytes], roots: tuple[bytes, ...] = ()) -> bytes:
    """A CAR of these blocks, whatever they are."""
    header = b"\xa2\x65roots" + bytes([0x80 + len(roots)])
    header += b"".join(b"\xd8\x2a\x58\x25\x00" + cid for cid in roots) + b"\x67version\x01"
    frames = [reference.varint(len(header)) + header]
    frames += [reference.varint(len(cid + data)) + cid + data for cid, data in blocks]
    return b"".join(frames)


def node_of(*children: reference.Block) -> reference.Block:
    return reference.node(list(children), 1)


# What others made


def test_a_file_is_the_car_that_ipfs_car_makes_of_it(tmp_path: Path) -> None:
    folder = vectors_folder("ipfs-car")
    cid = ipfs.export_car(folder / "comic" / "pinpie.jpg", tmp_path / "made.car")
    assert (tmp_path / "made.car").read_bytes() == (folder / "pinpie.car").read_bytes()
    assert ipfs.import_car(folder / "pinpie.car", tmp_path / "pinpie.jpg") == cid
    taken = (tmp_path / "pinpie.jpg").read_bytes()
    assert taken == (folder / "comic" / "pinpie.jpg").read_bytes()


def test_a_car_of_a_directory_is_checked_and_gives_its_files_by_cid(tmp_path: Path) -> None:
    folder = vectors_folder("ipfs-car")
    for name in ("comic.car", "comic-no-roots.car"):
        read = ipfs.read_car(folder / name)
        assert (read.blocks, len(read.roots)) == (3, int(name == "comic.car"))
        for picture in ("pinpie.jpg", "youareanonsense.jpg"):
            cid = ipfs.cid_of_file(folder / "comic" / picture)
            ipfs.import_car(folder / name, tmp_path / picture, cid=cid, replace=True)
            expected = (folder / "comic" / picture).read_bytes()
            assert (tmp_path / picture).read_bytes() == expected
    with pytest.raises(EvidenceError, match="directory"):
        ipfs.import_car(folder / "comic.car", tmp_path / "comic")
    with pytest.raises(EvidenceError, match="0 roots"):
        ipfs.import_car(folder / "comic-no-roots.car", tmp_path / "comic")
    assert not (tmp_path / "comic").exists()


@pytest.mark.parametrize("name", ["missing-root-block.car", "multi-root.car"])
def test_a_car_without_a_root_that_it_names_is_refused(name: str) -> None:
    with pytest.raises(EvidenceError, match="names the root"):
        ipfs.read_car(vectors_folder("ipfs-car") / name)


# Round trips


@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=9000), chunk=st.integers(64, 3000), width=st.integers(2, 5))
def test_a_car_has_the_bytes_of_the_reference_and_gives_the_file_back(
    data: bytes, chunk: int, width: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "file").write_bytes(data)
        cid = ipfs.export_car(folder / "file", folder / "car", unixfs=ipfs.Unixfs(chunk, width))
        expected = reference.file_tree(data, chunk, width, raw=True, version=1)
        assert (folder / "car").read_bytes() == reference.car(expected)
        assert ipfs.import_car(folder / "car", folder / "back") == cid
        assert (folder / "back").read_bytes() == data
        assert ipfs.read_car(folder / "car").roots == (cid,)


@pytest.mark.parametrize("unixfs", [ipfs.UNIXFS_V1_2025, ipfs.UNIXFS_V0])
def test_a_file_of_many_chunks_comes_back(unixfs: ipfs.Unixfs, tmp_path: Path) -> None:
    content = os.urandom((9 << 20) + 17)
    (tmp_path / "file").write_bytes(content)
    cid = ipfs.export_car(tmp_path / "file", tmp_path / "car", unixfs=unixfs)
    assert cid == ipfs.cid_of_file(tmp_path / "file", unixfs=unixfs)
    ipfs.import_car(tmp_path / "car", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


# Refusals


@pytest.fixture
def car(tmp_path: Path) -> Path:
    """A small CAR with two levels of nodes."""
    (tmp_path / "file").write_bytes(os.urandom(5000))
    ipfs.export_car(tmp_path / "file", tmp_path / "car", unixfs=SMALL)
    return tmp_path / "car"


def test_any_changed_byte_is_refused(car: Path, tmp_path: Path) -> None:
    whole = bytearray(car.read_bytes())
    for at in range(0, len(whole), 7):
        whole[at] ^= 0x55
        car.write_bytes(whole)
        with pytest.raises(Error):
            ipfs.import_car(car, tmp_path / "back")
        whole[at] ^= 0x55
    assert not (tmp_path / "back").exists()


def test_a_car_that_is_cut_off_anywhere_is_refused(car: Path, tmp_path: Path) -> None:
    whole = car.read_bytes()
    for at in range(0, len(whole), 13):
        car.write_bytes(whole[:at])
        with pytest.raises(Error):
            ipfs.import_car(car, tmp_path / "back")


def test_a_block_that_is_not_what_its_cid_names_is_said_where_it_is(tmp_path: Path) -> None:
    good = reference.leaf(b"good", raw=True)
    (tmp_path / "car").write_bytes(framed((good.cid, b"evil"), roots=(good.cid,)))
    with pytest.raises(VerificationError, match="byte 9"):
        ipfs.read_car(tmp_path / "car")


def test_a_block_that_is_missing_is_named(tmp_path: Path) -> None:
    leaves = [reference.leaf(bytes([i]), raw=True) for i in range(3)]
    root = node_of(*leaves)
    blocks = [(block.cid, block.data) for block in (leaves[0], leaves[2], root)]
    (tmp_path / "car").write_bytes(framed(*blocks, roots=(root.cid,)))
    with pytest.raises(StoreError, match=str(ipfs.CID(leaves[1].cid))):
        ipfs.import_car(tmp_path / "car", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_small_car_does_not_become_a_file_without_end(tmp_path: Path) -> None:
    block = reference.leaf(bytes(1000), raw=True)
    blocks = [block]
    for _ in range(7):  # each names the one before a hundred times
        block = node_of(*[block] * 100)
        blocks.append(block)
    frames = [(each.cid, each.data) for each in blocks]
    (tmp_path / "car").write_bytes(framed(*frames, roots=(block.cid,)))
    with pytest.raises(IndexError, match="at most"):
        ipfs.import_car(tmp_path / "car", tmp_path / "back")
    cid = ipfs.CID(blocks[1].cid)
    with pytest.raises(IndexError):
        ipfs.import_car(tmp_path / "car", tmp_path / "back", cid=cid, max_size=99_999)
    ipfs.import_car(tmp_path / "car", tmp_path / "back", cid=cid, max_size=100_000)
    assert (tmp_path / "back").read_bytes() == bytes(100_000)


def test_parts_of_no_bytes_and_wrong_lengths_are_refused(tmp_path: Path) -> None:
    empty, full = reference.leaf(b"", raw=True), reference.leaf(b"full", raw=True)
    lying = reference.Block(full.cid, full.data, 5, full.blocks_size)
    deep = full
    for _ in range(20):
        deep = node_of(deep)
    for root in (node_of(empty, full), node_of(lying), deep):
        blocks = {block.cid: block.data for block in [*root.all_blocks(), empty, full]}
        (tmp_path / "car").write_bytes(framed(*blocks.items(), roots=(root.cid,)))
        with pytest.raises(EvidenceError):
            ipfs.import_car(tmp_path / "car", tmp_path / "back")


@pytest.mark.parametrize(
    ("reason", "data"),
    [
        ("nothing", b""),
        ("no length", b"\x80"),
        ("an empty header", b"\x00"),
        ("a header without end", b"\xff\xff\xff\xff\x7f"),
        ("a longer form of a length", b"\x92\x00" + framed()[1:]),
        ("version 2", b"\x0a\xa1\x67version\x02" + bytes(40)),
        ("version 1 without roots", b"\x0a\xa1\x67version\x01"),
        ("version 3 with roots", b"\x11\xa2\x65roots\x80\x67version\x03"),
        ("another order of keys", b"\x11\xa2\x67version\x01\x65roots\x80"),
        ("an empty block", framed() + b"\x00"),
        ("a block without end", framed() + b"\xff\xff\xff\x7f"),
        ("a block of more than 2 MiB", framed((reference.cid_of(0x55, b"a"), bytes(2**21 + 1)))),
        ("a hash that is not SHA-256", framed((b"\x01\x55\x1e\x20" + bytes(32), b"a"))),
        ("content in its name", framed((b"\x01\x55\x00\x01a", b""))),
        ("JSON", b'{"roots":[]}'),
    ],
)
def test_what_is_no_car_is_refused(reason: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / "car").write_bytes(data)
    with pytest.raises(EvidenceError):
        ipfs.read_car(tmp_path / "car")


def test_a_file_that_is_there_is_not_replaced_unasked(car: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exists"):
        ipfs.import_car(car, tmp_path / "file")
    with pytest.raises(ConfigError, match="exists"):
        ipfs.export_car(tmp_path / "file", car)
    ipfs.export_car(tmp_path / "file", car, replace=True)


# The command


def test_the_command_prints_cids_and_goes_through_a_car_and_back(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello world\n")
    (tmp_path / "other").write_bytes(b"")
    done = run_command("ipfs", "cid", tmp_path / "file", tmp_path / "other")
    hello = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"
    assert done.code == 0
    assert done.out.splitlines()[0] == f"{hello}  {tmp_path / 'file'}"
    car = tmp_path / "file.car"
    made = run_command("ipfs", "export", tmp_path / "file", car, "--json")
    assert made.json["cid"] == hello
    assert run_command("ipfs", "import", car, tmp_path / "back").code == 0
    assert (tmp_path / "back").read_bytes() == b"hello world\n"
    again = run_command("ipfs", "import", car, tmp_path / "back")
    assert again.code == 2
    assert "exists" in again.err
    assert run_command("ipfs", "import", car, tmp_path / "back", "--force").code == 0
    assert run_command("ipfs", "import", car).code == 2
    shutil.copy(car, tmp_path / "broken")
    with (tmp_path / "broken").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    assert run_command("ipfs", "import", tmp_path / "broken", tmp_path / "new").code == 1

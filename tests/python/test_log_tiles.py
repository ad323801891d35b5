"""A store's log as any client of C2SP tlog-tiles reads it: SHA-256 and the files, nothing else.

The client below takes nothing from mlprov but the text of the log's key. Notes and checkpoints are
read by the second verifier, which is written from docs/format.md alone; paths of tiles, hashes of
nodes and proofs are written here from https://c2sp.org/tlog-tiles and RFC 6962 section 2.1.
"""

from __future__ import annotations

import copy
import hashlib
import shutil
import sqlite3
from pathlib import Path

import pytest
from bundles_for_tests import v
from stores_for_tests import RUN

from mlprov import _core

WIDTH = 256  # hashes of a full tile, entries of a full bundle
SIZES = (1, 2, 255, 256, 257, 513, 600)


# ---- the client ----


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def tile_path(level: int | str, number: int, width: int) -> str:
    """``tile/<L>/<N>[.p/<W>]``: N in groups of three digits, all but the last with an ``x``."""
    groups = [f"{number % 1000:03}"]
    while number >= 1000:
        number //= 1000
        groups.insert(0, f"x{number % 1000:03}")
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(groups)}{partial}"


class Client:
    """What somebody knows of a log who has its directory and its key."""

    def __init__(self, directory: Path, key: str) -> None:
        self.directory = directory
        note = (directory / "checkpoint").read_bytes()
        self.checkpoint = v.open_checkpoint(note, v.parse_vkey(key))
        self.size = self.checkpoint.size

    def tile(self, level: int, number: int) -> list[bytes]:
        """The hashes of one tile, as wide as the tree of the checkpoint makes it."""
        width = min(WIDTH, (self.size >> 8 * level) - number * WIDTH)
        data = (self.directory / tile_path(level, number, width)).read_bytes()
        assert len(data) == 32 * width
        return [data[i : i + 32] for i in range(0, len(data), 32)]

    def node(self, height: int, index: int) -> bytes:
        """Root of the complete subtree over leaves [index * 2^height, (index + 1) * 2^height)."""
        level, above = divmod(height, 8)
        first = index << above
        hashes = self.tile(level, first // WIDTH)[first % WIDTH :][: 1 << above]
        while len(hashes) > 1:
            hashes = [node(a, b) for a, b in zip(hashes[::2], hashes[1::2], strict=True)]
        return hashes[0]

    def range_root(self, begin: int, end: int) -> bytes:
        """MTH(D[begin:end]) of RFC 6962; a complete subtree is one node of the tiles."""
        count = end - begin
        if count & (count - 1) == 0:
            return self.node(count.bit_length() - 1, begin // count)
        middle = begin + (1 << (count - 1).bit_length() - 1)
        return node(self.range_root(begin, middle), self.range_root(middle, end))

    def root(self) -> bytes:
        return self.range_root(0, self.size)

    def path(self, index: int) -> list[bytes]:
        """PATH(index, D[size]) of RFC 6962 section 2.1.1, innermost first."""
        begin, end, path = 0, self.size, []
        while end - begin > 1:
            middle = begin + (1 << (end - begin - 1).bit_length() - 1)
            if index < middle:
                path.append(self.range_root(middle, end))
                end = middle
            else:
                path.append(self.range_root(begin, middle))
                begin = middle
        return path[::-1]

    def entries(self) -> list[bytes]:
        """Every entry, out of its bundle: a big-endian uint16 length before each."""
        found: list[bytes] = []
        while len(found) < self.size:
            width = min(WIDTH, self.size - len(found))
            path = tile_path("entries", len(found) // WIDTH, width)
            data, at = (self.directory / path).read_bytes(), 0
            while at < len(data):
                length = int.from_bytes(data[at : at + 2], "big")
                found.append(data[at + 2 : at + 2 + length])
                assert len(found[-1]) == length
                at += 2 + length
        return found


def check_log(client: Client) -> list[bytes]:
    """Root and every entry's inclusion, from the files alone; returns the entries."""
    assert client.root() == client.checkpoint.root
    entries = client.entries()
    assert len(entries) == client.size
    for index, entry in enumerate(entries):
        path = client.path(index)
        assert v.verify_inclusion(entry, index, client.size, client.checkpoint.root, path), index
    return entries


# ---- logs that a store wrote ----


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Client]:
    """Clients of one log that grew head by head, each with a copy of the log at one of SIZES."""
    base = tmp_path_factory.mktemp("tiles")
    store = _core.Store(base / "store", create=True)
    run = store.create_run(RUN, "name", None)
    found = {}
    for size in range(1, max(SIZES) + 1):
        time = f"2026-11-21T09:{size // 60:02}:{size % 60:02}.000Z"
        run.append(b"{}", seq=size - 1, type="epoch", time=time)
        run.commit()
        if size in SIZES:
            assert store.integrate() == size
            grown = shutil.copytree(base / "store" / "log", base / str(size))
            found[size] = Client(grown, store.log_vkey)
    store.close()
    return found


@pytest.mark.parametrize("size", SIZES)
def test_root_and_every_inclusion_follow_from_the_files_of_the_log(
    clients: dict[int, Client], size: int
) -> None:
    client = clients[size]
    assert client.size == size
    entries = check_log(client)
    heads = [v.parse_checkpoint(v.parse_note(entry).text) for entry in entries]
    assert [head.size for head in heads] == list(range(1, size + 1))
    assert {head.origin for head in heads} == {f"mlprov/run/{RUN}"}


def test_a_log_that_grew_begins_with_what_it_was(clients: dict[int, Client]) -> None:
    newest = clients[SIZES[-1]]
    for size in SIZES:
        assert newest.range_root(0, size) == clients[size].checkpoint.root


def test_full_and_partial_tiles_lie_where_the_specification_says(
    clients: dict[int, Client],
) -> None:
    files = {p.relative_to(clients[600].directory).as_posix() for p in files_of(clients[600])}
    assert {
        "checkpoint",
        "tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2",
        "tile/entries/000", "tile/entries/001", "tile/entries/002.p/88",
    } <= files  # fmt: skip
    assert "tile/0/000" not in {
        p.relative_to(clients[255].directory).as_posix() for p in files_of(clients[255])
    }
    for path in files_of(clients[600]):
        place = path.relative_to(clients[600].directory).as_posix()
        if place.startswith("tile/") and not place.startswith("tile/entries/"):
            width = int(place.rpartition("/")[2]) if ".p/" in place else WIDTH
            assert path.stat().st_size == 32 * width, place


def files_of(client: Client) -> list[Path]:
    return [path for path in client.directory.rglob("*") if path.is_file()]


@pytest.mark.parametrize("file", ["tile/0/001", "tile/0/002.p/88", "tile/entries/002.p/88"])
def test_the_client_sees_one_wrong_byte(
    clients: dict[int, Client], file: str, tmp_path: Path
) -> None:
    """What the tests above assert can fail."""
    directory = shutil.copytree(clients[600].directory, tmp_path / "log")
    client = copy.copy(clients[600])
    client.directory = directory
    data = bytearray((directory / file).read_bytes())
    data[-1] ^= 1
    (directory / file).write_bytes(data)
    with pytest.raises(AssertionError):
        check_log(client)


@pytest.mark.slow
def test_tiles_beyond_the_thousandth_lie_under_an_x(tmp_path: Path) -> None:
    """A log of 256,300 entries: what stands for the notes of heads is short here."""
    path, size = tmp_path / "store", 1001 * WIDTH + 44
    with _core.Store(path, create=True) as store:
        store.create_run(RUN, "name", None).close()
    with sqlite3.connect(path / "store.db") as database:
        database.executemany(
            "INSERT INTO heads(run, size, root, note) VALUES(?, ?, zeroblob(32), ?)",
            ((RUN, number + 1, b"%d" % number) for number in range(size)),
        )
    database.close()
    with _core.Store(path) as store:
        assert store.integrate() == size
        client = Client(path / "log", store.log_vkey)
    files = {p.relative_to(client.directory).as_posix() for p in files_of(client)}
    assert {"tile/0/999", "tile/0/x001/000", "tile/0/x001/001.p/44"} <= files
    assert {"tile/entries/x001/000", "tile/entries/x001/001.p/44", "tile/2/000.p/3"} <= files
    assert client.root() == client.checkpoint.root
    entries = client.entries()
    assert entries == [b"%d" % number for number in range(size)]
    for index in (0, 255, 256, 65_535, 65_536, 255_999, 256_000, size - 1):
        inside = v.verify_inclusion(
            entries[index], index, size, client.checkpoint.root, client.path(index)
        )
        assert inside, index

"""Kept leaves and leaf streams through the binding."""

from __future__ import annotations

from pathlib import Path

import pytest
from stores_for_tests import RUN

from mlprov import _core
from mlprov.errors import StoreError


def test_kept_leaves_come_back_and_damage_is_noticed(store: _core.Store, store_path: Path) -> None:
    leaves = [b"a", b"", bytes(70_000)]
    root = store.put_leaves(leaves)
    assert (
        root == _core.merkle_root(leaves) == store.put_leaves([bytearray(leaf) for leaf in leaves])
    )
    assert store.has_leaves(root)
    assert store.get_leaves(root) == leaves
    assert not store.has_leaves(bytes(32))
    with pytest.raises(StoreError) as missing:
        store.get_leaves(bytes(32))
    assert missing.value.status == "NOT_FOUND"
    path = store_path / "trees" / f"{root.hex()}.leaves"
    assert path.read_bytes() == _core.encode_leaves(leaves)
    path.write_bytes(_core.encode_leaves([b"other"]))
    with pytest.raises(StoreError) as corrupt:
        store.get_leaves(root)
    assert corrupt.value.status == "CORRUPT"


def test_a_stream_becomes_a_leaves_file(store: _core.Store, store_path: Path) -> None:
    stream = store.open_stream(RUN, "train")
    leaves = [b"leaf %d" % number for number in range(100)]
    for number, leaf in enumerate(leaves):
        assert stream.append(leaf) == number
    assert (stream.size, stream.root) == (100, _core.merkle_root(leaves))
    stream.sync()
    with pytest.raises(StoreError) as busy:
        store.open_stream(RUN, "train")
    assert busy.value.status == "BUSY"
    root = stream.close()
    assert store.get_leaves(root) == leaves
    assert (stream.size, stream.root) == (100, root)
    for call in (lambda: stream.append(b""), stream.sync, stream.close):
        with pytest.raises(StoreError) as seen:
            call()
        assert seen.value.status == "CLOSED"
    stream.abandon()
    assert store.has_leaves(root)


def test_an_abandoned_stream_leaves_nothing(store: _core.Store, store_path: Path) -> None:
    stream = store.open_stream(RUN, "train")
    stream.append(b"leaf")
    stream.sync()
    stream.abandon()
    assert [entry.name for entry in (store_path / "trees").iterdir()] == []


def test_a_stream_that_was_lost_goes_on_where_it_was(store: _core.Store) -> None:
    stream = store.open_stream(RUN, "train")
    stream.append(b"one")
    del stream
    again = store.open_stream(RUN, "train")
    assert again.size == 1
    again.append(b"two")
    assert store.get_leaves(again.close()) == [b"one", b"two"]


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b", "a\0b", "x" * 101])
def test_stream_names_that_could_leave_the_directory_are_refused(
    store: _core.Store, name: str
) -> None:
    with pytest.raises(ValueError):
        store.open_stream(RUN, name)

"""Plain batches: the leaf that one call of the core writes is the one of the longer way."""

from __future__ import annotations

import collections
import gc
import json
import math
import os
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from stores_for_tests import RUN

import mlprov
from mlprov import RecordingWarning, _core, streams
from mlprov.batches import capture_batch
from mlprov.errors import StoreError
from mlprov.index_orders import index_leaf

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")

pytestmark = pytest.mark.skipif(
    _core.torch_bridge() is None, reason="mlprov._torch was not built for this torch"
)

_core.tensor_digests([np.ones(1)])  # what NumPy's arrays are is known once one was hashed

LIMIT = 1 << 40
SAFE = 2**53 - 1

arrays = st.builds(
    lambda shape, name: np.arange(math.prod(shape), dtype=name).reshape(shape),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from(["float32", "float64", "int64", "uint8"]),
)
keys = st.one_of(
    st.text(st.characters(exclude_categories=[]), max_size=4),
    st.sampled_from(["$tensor", "$", "", "a", "A", "ab", '"', "\\", "\x00", "\x7f", "\x80"]),
    st.integers(),
)
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(2**53 - 3, 2**53 + 3),
        st.integers(-(2**53) - 3, -(2**53) + 3),
        st.floats(),
        st.text(st.characters(exclude_categories=[]), max_size=5),
        st.binary(max_size=9),
        arrays,
        arrays.map(torch.from_numpy),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def twins(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[_core.LeafStream, _core.MerkleTree]:
    """A stream, and a tree that the leaves of the longer way are appended to."""
    store = _core.Store(tmp_path_factory.mktemp("plain") / "s", create=True)
    return store.open_stream(RUN, "0"), _core.MerkleTree()


@given(values)
@example([torch.ones(2, 3), {"b": 1, "a": [True, None, -5, "é\n"]}])
@example({"x": torch.ones(2), "y": np.ones((2, 2))})
@example([torch.ones(2), SAFE, -SAFE])
@example([torch.ones(2), SAFE + 1])
@example([torch.ones(2), torch.ones(3)])
def test_a_plain_batch_has_the_leaf_of_the_longer_way(
    twins: tuple[_core.LeafStream, _core.MerkleTree], value: Any
) -> None:
    stream, tree = twins
    number = stream.size
    taken = stream.append_batch(value, "blake3", LIMIT)
    if taken is not None:
        capture = capture_batch(number, value)
        tree.append(capture.leaf)
        assert taken == (capture.samples, capture.bytes)
        assert not capture.opaque
    assert stream.root == tree.root()


@pytest.mark.parametrize("algorithm", ["blake3", "sha256", "sha384", "sha512"])
def test_usual_batches_are_plain(store: _core.Store, algorithm: str) -> None:
    batches: list[Any] = [
        (torch.randn(32, 64), torch.zeros(32, dtype=torch.int64)),
        {"input_ids": torch.ones(8, 128, dtype=torch.int64), "mask": torch.ones(8, 128).bool()},
        torch.eye(3),
        [torch.ones(4, requires_grad=True) * 2, torch.eye(4)[:, 1]],
        [np.ones((4, 2)), ["a", "b", "c", "d"], {"id": [1, 2, 3, 4], "ok": True}],
        (torch.ones(64, 1000), torch.nn.Parameter(torch.ones(64))),
        [torch.ones(3, dtype=torch.bfloat16), torch.tensor(1.0)],
    ]
    stream = store.open_stream(RUN, "usual")
    for batch in batches:
        assert stream.append_batch(batch, algorithm, LIMIT) is not None, batch
    assert store.get_leaves(stream.close()) == [
        capture_batch(number, batch, algorithm).leaf for number, batch in enumerate(batches)
    ]


class Mine(list):  # type: ignore[type-arg]
    """A subclass may iterate as it likes."""


OTHERS: dict[str, Any] = {
    "no tensor": ["a", 1],
    "another first dimension": (torch.ones(2), torch.ones(3)),
    "subclass": Mine([torch.ones(2)]),
    "ordered": collections.OrderedDict(x=torch.ones(2)),
    "float": [torch.ones(2), 0.5],
    "bytes": [torch.ones(2), b"x"],
    "large integer": [torch.ones(2), 2**53],
    "sparse": [torch.ones(2, 2).to_sparse()],
    "meta": torch.ones(2, device="meta"),
    "objects": np.array([None, 1]),
    "masked": np.ma.MaskedArray([1, 2], [0, 1]),
    "NumPy scalar": [torch.ones(2), np.float32(1)],
    "lone surrogate": [torch.ones(2), "\ud800"],
    "dollar": {"$x": torch.ones(2)},
    "not ASCII": {"é": torch.ones(2)},
    "NUL": {"a\0": torch.ones(2)},
    "number as key": {1: torch.ones(2)},
    "many": [torch.ones(2)] * 65,
    "opaque": [torch.ones(2), object()],
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_plain_is_left_alone(store: _core.Store, name: str) -> None:
    stream = store.open_stream(RUN, "others")
    assert stream.append_batch(OTHERS[name], "blake3", LIMIT) is None
    assert stream.size == 0


def test_nesting_and_text_are_bounded(store: _core.Store) -> None:
    deep: Any = torch.ones(2)
    for _ in range(100_000):
        deep = [deep]
    loop: list[Any] = [torch.ones(2)]
    loop.append(loop)
    stream = store.open_stream(RUN, "bounds")
    long = "x" * (17 << 20)  # more than a leaf may have, in one text
    for batch in (deep, loop, [torch.ones(2), ["text" * 100] * 10_000], [torch.ones(2), long]):
        assert stream.append_batch(batch, "blake3", LIMIT) is None
    assert not stream.append_indices([long])
    assert stream.size == 0


def test_a_batch_with_a_text_that_no_leaf_holds_is_a_gap_and_the_others_stay(
    tmp_path: Path,
) -> None:
    batches = [[torch.ones(2, 3), "a"] for _ in range(6)]
    batches[3][1] = "x" * (17 << 20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        with mlprov.start("long", store=tmp_path / "s") as run:
            list(run.track(batches))
    (gap,) = [record for record in run.records if record["type"] == "gap"]
    assert gap["what"] == "batch"
    (stream,) = next(record for record in run.records if record["type"] == "batches")["streams"]
    assert stream["batches"] == stream["tree"]["size"] == 6


def test_more_bytes_than_asked_for_are_left_alone(store: _core.Store) -> None:
    stream = store.open_stream(RUN, "most")
    batch = [torch.ones(16), torch.ones(16)]
    assert stream.append_batch(batch, "blake3", 127) is None
    assert stream.append_batch(batch, "blake3", 128) == (16, 128)


def test_indices_have_the_leaf_of_the_longer_way(store: _core.Store) -> None:
    stream = store.open_stream(RUN, "indices")
    lists: list[Any] = [[], [0], [5, -3, SAFE], ["a", "b"], [[1, 2], (3, 4)], [True, None]]
    for indices in lists:
        assert stream.append_indices(indices)
    for indices in ([2**53], (1, 2), range(3), [0.5], [np.int64(1)], 5, None, torch.ones(2)):
        assert not stream.append_indices(indices)
    assert store.get_leaves(stream.close()) == [
        index_leaf(number, indices, "blake3") for number, indices in enumerate(lists)
    ]


def test_a_closed_stream_takes_neither(store: _core.Store) -> None:
    stream = store.open_stream(RUN, "closed")
    stream.close()
    for call in (
        lambda: stream.append_batch(torch.ones(2), "blake3", LIMIT),
        lambda: stream.append_indices([1]),
    ):
        with pytest.raises(StoreError) as seen:
            call()
        assert seen.value.status == "CLOSED"


def test_an_error_is_made_once_the_stream_may_be_used_again(
    store: _core.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = store.open_stream(RUN, "error")
    stream.close()
    sizes: list[int] = []
    make = StoreError.__init__

    def make_as_a_signal_handler_runs(self: StoreError, *arguments: Any) -> None:
        sizes.append(stream.size)
        make(self, *arguments)

    monkeypatch.setattr(StoreError, "__init__", make_as_a_signal_handler_runs)
    for call in (
        lambda: stream.append_batch(torch.ones(2), "blake3", LIMIT),
        lambda: stream.append_indices([1]),
        lambda: stream.append(b"leaf"),
        stream.sync,
    ):
        with pytest.raises(StoreError):
            call()
    assert sizes == [0] * 4


def test_a_batch_is_kept_while_a_finalizer_empties_it(store: _core.Store) -> None:
    class Empties:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            batch.clear()

    stream = store.open_stream(RUN, "finalizer")
    seen: list[Any] = []
    expected: list[bytes] = []
    threshold = gc.get_threshold()
    for allocations in range(12):  # after so many the collector runs
        batch = [torch.full((3, 4), 2.0).t(), {"a": [{"b": "strided"}]}]
        whole = capture_batch(len(expected), list(batch)).leaf
        gc.collect()
        gc.disable()
        Empties()
        gc.set_threshold(gc.get_count()[0] + allocations)
        gc.enable()
        seen.append(stream.append_batch(batch, "blake3", LIMIT))
        gc.set_threshold(*threshold)
        if seen[-1] is not None:
            expected.append(whole)
    assert (4, 48) in seen
    assert store.get_leaves(stream.close()) == expected


def test_no_reference_is_kept_and_none_is_lost(store: _core.Store, tmp_path: Path) -> None:
    import sys

    stream = store.open_stream(RUN, "references")
    key, text, tensor, array = "k" * 5, "t" * 9, torch.ones(2, 2), np.ones((2, 2))
    batch = {key: [tensor, array, text, 2**40], "other": ({"a": tensor},)}
    before = [sys.getrefcount(one) for one in (key, text, tensor, array, batch)]
    for _ in range(100):
        assert stream.append_batch(batch, "blake3", LIMIT) is not None
        assert stream.append_batch([tensor, object()], "blake3", LIMIT) is None
        assert stream.append_indices([2**40, text])
    assert [sys.getrefcount(one) for one in (key, text, tensor, array, batch)] == before
    assert json.loads(store.get_leaves(stream.close())[0])["batch"] == 0


# ---- batches that wait to be hashed together ----


def test_a_batch_that_waits_is_what_it_was_when_it_was_given(store: _core.Store) -> None:
    stream = store.open_stream(RUN, "waits")
    batch = [torch.ones(4), np.ones(4)]
    expected = [capture_batch(number, batch).leaf for number in range(2)]
    for _ in expected:
        assert stream.append_batch(batch, "blake3", LIMIT)
    batch[0].mul_(2)
    batch[1] += 1
    assert store.get_leaves(stream.close()) == expected


def test_leaves_stand_in_the_order_of_the_calls(store: _core.Store) -> None:
    stream = store.open_stream(RUN, "order")
    source = torch.Generator().manual_seed(3)
    expected: list[bytes] = []
    for number in range(300):
        rows = int(torch.randint(1, 200, (1,), generator=source))
        batch: Any = (torch.randn(rows, 100, generator=source), torch.arange(rows))
        if number % 7 == 3:
            batch = [batch[0].t(), "strided"]
        assert stream.size == number
        if number % 11 == 5:  # as the longer way does
            expected.append(capture_batch(number, [0.5, number]).leaf)
            stream.append(expected[-1])
            continue
        expected.append(capture_batch(number, batch, "blake3").leaf)
        assert stream.append_batch(batch, "blake3", LIMIT)
        assert stream.append_batch([batch, 0.5], "blake3", LIMIT) is None
        if number % 97 == 0:
            assert stream.root
    assert store.get_leaves(stream.close()) == expected


def test_one_stream_may_have_batches_of_two_algorithms(store: _core.Store) -> None:
    stream = store.open_stream(RUN, "algorithms")
    names = ["blake3", "sha256", "sha256", "blake3"]
    for name in names:
        assert stream.append_batch(torch.ones(3), name, LIMIT)
    assert store.get_leaves(stream.close()) == [
        capture_batch(number, torch.ones(3), name).leaf for number, name in enumerate(names)
    ]


def test_what_waits_is_written_by_sync_and_by_letting_go(
    store: _core.Store, tmp_path: Path
) -> None:
    for name, end in (("sync", lambda stream: stream.sync()), ("free", lambda _: None)):
        stream = store.open_stream(RUN, name)
        for _ in range(5):
            stream.append_batch(torch.ones(3), "blake3", LIMIT)
        end(stream)
        if name == "free":
            del stream
        (path,) = tmp_path.rglob(f"{RUN}-{name}.open")
        assert path.read_bytes().count(b'"batch":') == 5


@pytest.mark.slow
def test_the_clock_of_what_waits_begins_again_with_the_batch_that_had_the_rest_synced(
    store: _core.Store, tmp_path: Path
) -> None:
    stream = store.open_stream(RUN, "clock")
    (path,) = tmp_path.rglob(f"{RUN}-clock.open")
    began = time.monotonic()
    stream.append_batch(torch.ones(3), "blake3", LIMIT)
    stream.sync_older(10_000_000)
    assert path.stat().st_size == 0
    while time.monotonic() < began + 5.1:  # csrc/store/stream.h, MLP_STREAM_SYNC_MS
        time.sleep(0.1)
    for count in (1, 2):
        stream.append_batch(torch.ones(3), "blake3", LIMIT)
        assert path.read_bytes().count(b'"batch":') == count - (count == 2)
    stream.sync_older(0)
    assert path.read_bytes().count(b'"batch":') == 3


def test_what_an_older_stream_has_is_written_while_another_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_SYNC_AFTER", 0.0)
    monkeypatch.setattr(streams, "_LOOK_EVERY", 0.0)

    def written(stream: str) -> int:
        (path,) = tmp_path.rglob(f"*-{stream}.open")
        return path.read_bytes().count(b'"batch":')

    loader = torch.utils.data.DataLoader(torch.arange(6.0), batch_size=2)
    with mlprov.start("t", store=tmp_path / "s", on_error="raise") as run:
        for _ in run.epochs(1):
            for number, _batch in enumerate(run.track(loader)):
                assert written("0-0-train") == number  # those before
                if number == 1:
                    list(run.track([torch.ones(2)], role="validation"))
                else:
                    run.log(loss=0.5)
                assert written("0-0-train") == number + 1
                assert written("indices.0-0-train") == number + 1


def test_a_child_writes_nothing_of_what_waits(store: _core.Store, tmp_path: Path) -> None:
    stream = store.open_stream(RUN, "fork")
    stream.append_batch(torch.ones(3), "blake3", LIMIT)
    (path,) = tmp_path.rglob(f"{RUN}-fork.open")
    child = os.fork()
    if child == 0:
        try:
            with pytest.raises(StoreError, match="forked"):
                stream.append_batch(torch.ones(3), "blake3", LIMIT)
            del stream
            os._exit(path.stat().st_size != 0)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert store.get_leaves(stream.close()) == [capture_batch(0, torch.ones(3)).leaf]

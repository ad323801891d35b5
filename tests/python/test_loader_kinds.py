"""Loaders of every kind: each batch is recorded as what it is, and handed on as it came."""

from __future__ import annotations

import collections
import dataclasses
import json
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from training_for_tests import assert_log_holds, of_type, run_script, stored, the

import mlprov
from mlprov import RecordingWarning, stores
from mlprov.batches import capture_batch
from mlprov.index_orders import IndexOrder
from mlprov.integrations.recording import Feed

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
data = pytest.importorskip("torch.utils.data")

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

WIDTH = 5000  # of float32: a batch of eight has 160 kB, which a worker hashes


class Rows(data.Dataset):  # type: ignore[misc, name-defined]
    """Rows that are large together, and their numbers."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> Any:
        return torch.full((WIDTH,), float(index)), index


class Stream(data.IterableDataset):  # type: ignore[misc, name-defined]
    """The same without indices; each worker has its share."""

    def __iter__(self) -> Iterator[Any]:
        worker = data.get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        return (Rows()[index] for index in range(first, 24, step))


@dataclasses.dataclass
class Sample:
    """What a collate function may make."""

    inputs: Any
    notes: dict[str, Any]
    words: list[str]


def collate(rows: list[Any]) -> Any:
    """Nested dicts, text, a dataclass, a named tuple."""
    inputs = torch.stack([row for row, _ in rows])
    numbers = [number for _, number in rows]
    Pair = collections.namedtuple("Pair", "left right")
    return {
        "sample": Sample(inputs, {"numbers": {"list": numbers}}, [f"row {n}" for n in numbers]),
        "pair": Pair(np.array(numbers), 0.5),
    }


def leaves_of(run: mlprov.Run, stream: dict[str, Any], member: str = "tree") -> list[Any]:
    """The batch leaves of a stream, or its index leaves, as the store kept them."""
    root = bytes.fromhex(stream[member]["root"].removeprefix("sha256:"))
    with stores.open_store(run.store_path, read_only=True) as store:
        return [json.loads(leaf) for leaf in store.get_leaves(root)]


KINDS: dict[str, Callable[[], Any]] = {
    "DataLoader": lambda: data.DataLoader(Rows(), batch_size=8),
    "workers": lambda: data.DataLoader(Rows(), batch_size=8, num_workers=2),
    "8 workers": lambda: data.DataLoader(Rows(), batch_size=3, num_workers=8),
    "persistent workers": lambda: data.DataLoader(
        Rows(), batch_size=8, num_workers=2, persistent_workers=True
    ),
    "IterableDataset": lambda: data.DataLoader(Stream(), batch_size=8),
    "IterableDataset, workers": lambda: data.DataLoader(Stream(), batch_size=4, num_workers=2),
    "collate": lambda: data.DataLoader(Rows(), batch_size=8, collate_fn=collate),
    "no batches": lambda: data.DataLoader(Rows(), batch_size=None),
    "list": lambda: [Rows()[n] for n in range(4)],
    "generator": lambda: (collate([Rows()[n]]) for n in range(4)),
    "zip": lambda: zip(range(3), map(torch.ones, range(3)), strict=True),
    "NumPy": lambda: np.arange(6 * 20_000, dtype=np.float32).reshape(3, 2, 20_000),
    "mappings": lambda: [collections.OrderedDict(x=torch.ones(30_000))] * 3,
    "sparse": lambda: [torch.eye(200).to_sparse()] * 3,
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_loader_is_recorded_batch_by_batch(kind: str, tmp_path: Path) -> None:
    loader = KINDS[kind]()
    seen: list[list[Any]] = []
    with mlprov.start("kinds", store=tmp_path / "s", on_error="raise") as run:
        for _ in run.epochs(2):
            seen.append(list(run.track(loader, role="validation")))
    streams = [stream for epoch in of_type(stored(run), "epoch") for stream in epoch["streams"]]
    assert len(seen[0]) > 0
    for stream, batches in zip(streams, seen, strict=True):
        assert (stream["role"], stream["batches"]) == ("validation", len(batches))
        assert leaves_of(run, stream) == [
            json.loads(capture_batch(number, batch).leaf) for number, batch in enumerate(batches)
        ]
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_pinned_batches_are_recorded(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("pinned memory needs a GPU")
    loader = data.DataLoader(Rows(), batch_size=8, pin_memory=True)
    with mlprov.start("pinned", store=tmp_path / "s", on_error="raise") as run:
        batches = list(run.track(loader))
    (stream,) = the(stored(run), "batches")["streams"]
    assert batches[0][0].is_pinned()
    assert leaves_of(run, stream) == [
        json.loads(capture_batch(number, batch).leaf) for number, batch in enumerate(batches)
    ]


def test_arrays_of_jax_are_recorded_by_their_values(tmp_path: Path) -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    batches = [{"x": jax.numpy.full((40, 1000), float(n)), "y": np.arange(40)} for n in range(3)]
    with mlprov.start("jax", store=tmp_path / "s", on_error="raise") as run:
        for batch in run.track(batches):
            jax.numpy.sum(batch["x"])
    (stream,) = the(stored(run), "batches")["streams"]
    arrays = [{"x": np.asarray(batch["x"]), "y": batch["y"]} for batch in batches]
    assert leaves_of(run, stream) == [
        json.loads(capture_batch(number, batch).leaf) for number, batch in enumerate(arrays)
    ]


@pytest.mark.parametrize(
    "method",
    ["spawn", "forkserver", pytest.param("fork", marks=pytest.mark.forks_beside_threads)],
)
def test_workers_started_in_each_way_neither_hang_nor_record(method: str, tmp_path: Path) -> None:
    code = """
import sys, torch, mlprov
from torch.utils.data import DataLoader, TensorDataset
if __name__ == "__main__":
    samples = torch.arange(24.0 * 5000).reshape(24, 5000)
    loader = DataLoader(TensorDataset(samples), batch_size=8, num_workers=2,
                        multiprocessing_context=sys.argv[2], persistent_workers=True)
    with mlprov.start("workers", store=sys.argv[1], on_error="raise") as run:
        for _ in run.epochs(2):
            for (batch,) in run.track(loader):
                batch.sum()
    streams = [s for r in run.records if r["type"] == "epoch" for s in r["streams"]]
    print(len(run.records), *(s["tree"] == streams[0]["tree"] for s in streams),
          *(s["indices"]["size"] for s in streams))
"""
    script = tmp_path / "train.py"
    script.write_text(code)
    runner = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], None, '__main__')"
    )
    done = run_script(runner, script, tmp_path / "s", method, OMP_NUM_THREADS="1")
    assert done.stdout.split() == ["4", "True", "True", "3", "3"]


class WithInnerLoader(data.Dataset):  # type: ignore[misc, name-defined]
    """Each sample is made by a loader of its own."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        inner = data.DataLoader(data.TensorDataset(torch.arange(6.0) + index), batch_size=2)
        return torch.cat([one for (one,) in inner])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_set_with_a_loader_inside_is_recorded_as_its_own(
    workers: int, tmp_path: Path
) -> None:
    loader = data.DataLoader(WithInnerLoader(), batch_size=2, num_workers=workers)
    with mlprov.start("nested", store=tmp_path / "s", on_error="raise") as run:
        batches = list(run.track(loader))
    (stream,) = the(stored(run), "batches")["streams"]
    assert (stream["batches"], stream["indices"]["size"]) == (2, 2)
    assert leaves_of(run, stream) == [
        json.loads(capture_batch(number, batch).leaf) for number, batch in enumerate(batches)
    ]


class Failing(Rows):
    """One sample cannot be had."""

    def __getitem__(self, index: int) -> Any:
        if index == 17:
            raise ZeroDivisionError("sample 17")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_in_the_data_set_passes_and_the_batches_before_it_are_recorded(
    workers: int, tmp_path: Path
) -> None:
    loader = data.DataLoader(Failing(), batch_size=8, num_workers=workers)
    with mlprov.start("failing", store=tmp_path / "s", on_error="raise") as run:
        for _ in run.epochs(1):
            with pytest.raises(ZeroDivisionError, match="sample 17"):
                list(run.track(loader))
    (stream,) = the(stored(run), "epoch")["streams"]
    assert stream["batches"] == stream["tree"]["size"] == stream["indices"]["size"] == 2
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


class Corrupt(data.Dataset):  # type: ignore[misc, name-defined]
    """Sample i is the number i; the fourth cannot be read."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        if index == 3:
            raise ZeroDivisionError("a corrupt sample")
        return torch.tensor(index)


def skip_corrupt(batches: Iterator[Any]) -> Iterator[Any]:
    """What a loop gets that goes on behind a batch which could not be read."""
    while True:
        try:
            yield next(batches).tolist()
        except StopIteration:
            return
        except ZeroDivisionError:
            yield "skipped"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loop_that_skips_a_corrupt_sample_gets_the_rest_and_it_is_recorded(
    workers: int, tmp_path: Path
) -> None:
    loader = data.DataLoader(Corrupt(), batch_size=2, num_workers=workers)
    with mlprov.start("corrupt", store=tmp_path / "s", on_error="raise") as run:
        for _ in run.epochs(1):
            seen = list(skip_corrupt(iter(run.track(loader))))
    assert seen == [[0, 1], "skipped", [4, 5], [6, 7]] == list(skip_corrupt(iter(loader)))
    (stream,) = the(stored(run), "epoch")["streams"]
    assert [leaf["indices"] for leaf in leaves_of(run, stream, "indices")] == [
        [0, 1],
        [4, 5],
        [6, 7],
    ]
    assert stream["batches"] == stream["tree"]["size"] == 3
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_waiting_in_vain_for_workers_loses_no_indices() -> None:
    class Waiting:
        """An iterator whose workers have been asked for three batches and gave one."""

        _rcvd_idx = 1

    order = IndexOrder()
    for number in range(3):
        order.note([number])
    assert order.take() == [0]
    order.skip_failed(Waiting())
    assert order.take() == [1]


def test_a_batch_that_was_handed_out_is_not_kept(tmp_path: Path) -> None:
    with mlprov.start("kept", store=tmp_path / "s", on_error="raise") as run:
        batches = iter(run.track(torch.ones(2, 3) for _ in range(3)))
        feed = Feed(run, "validation")
        for _ in range(2):  # the first is watched until the second comes
            last = weakref.ref(next(batches))
            pushed = torch.ones(2, 3)
            feed.push(pushed)
            fed = weakref.ref(pushed)
            del pushed
        assert (last(), fed()) == (None, None)


class Opaque:
    """Nothing that could be hashed."""


def test_what_cannot_be_hashed_is_named_once_and_the_rest_is_recorded(tmp_path: Path) -> None:
    batches = [{"x": torch.full((WIDTH * 8,), float(n)), "what": Opaque()} for n in range(4)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with mlprov.start("opaque", store=tmp_path / "s") as run:
            list(run.track(batches))
    said = [str(w.message) for w in caught if issubclass(w.category, RecordingWarning)]
    assert len(said) == 1
    assert "objects of type test_loader_kinds.Opaque" in said[0]
    (stream,) = the(stored(run), "batches")["streams"]
    for number, leaf in enumerate(leaves_of(run, stream)):
        assert leaf["items"]["what"] == {"$opaque": "test_loader_kinds.Opaque"}
        expected = capture_batch(number, batches[number])
        assert leaf == json.loads(expected.leaf)
    assert of_type(stored(run), "gap") == []


def test_a_tensor_without_values_is_a_gap_and_the_batches_behind_it_keep_their_numbers(
    tmp_path: Path,
) -> None:
    batches = [torch.ones(3), torch.ones(3), torch.ones(3, device="meta"), torch.ones(3)]
    with (
        pytest.warns(RecordingWarning, match="meta"),
        mlprov.start("meta", store=tmp_path / "s") as run,
    ):
        list(run.track(batches))
    (stream,) = the(stored(run), "batches")["streams"]
    leaves = leaves_of(run, stream)
    assert [leaf["batch"] for leaf in leaves] == [0, 1, 2, 3]
    assert leaves[2]["items"] == {"$opaque": "torch.Tensor"}
    assert (the(stored(run), "gap")["what"], stream["batches"]) == ("batch", 4)

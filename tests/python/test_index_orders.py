"""The order of indices: what the sampler named, batch by batch, and the loader undisturbed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from runs_for_tests import ask_both
from training_for_tests import assert_log_holds, of_type, stored, the

import mlprov
from mlprov import ConfigError, RecordingWarning, archives, keys, stores
from mlprov.index_orders import iterate_noted

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
data = pytest.importorskip("torch.utils.data")


class Numbers(data.Dataset):  # type: ignore[misc, name-defined]
    """Sample i is the number i."""

    def __len__(self) -> int:
        return 23

    def __getitem__(self, index: Any) -> Any:
        return torch.as_tensor(index)


class EagerSampler(data.Sampler):  # type: ignore[misc, name-defined]
    """Draws random numbers as soon as it is asked for an iterator."""

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(23).tolist())

    def __len__(self) -> int:
        return 23


class OneListSampler(data.Sampler):  # type: ignore[misc, name-defined]
    """Gives one list again and again, filled anew."""

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for start in range(0, 20, 5):
            batch[:] = range(start, start + 5)
            yield batch

    def __len__(self) -> int:
        return 4


class ArraySampler(data.Sampler):  # type: ignore[misc, name-defined]
    """Batches as NumPy arrays, as lists of NumPy integers, as tuples of tensors."""

    def __iter__(self) -> Iterator[Any]:
        yield np.array([3, 1])
        yield [np.int64(4), np.int32(2)]
        yield (torch.tensor(0), torch.tensor(5))

    def __len__(self) -> int:
        return 3


LOADERS: dict[str, Callable[[], Any]] = {
    "in order": lambda: data.DataLoader(Numbers(), batch_size=4),
    "shuffled": lambda: data.DataLoader(Numbers(), batch_size=4, shuffle=True),
    "drop_last": lambda: data.DataLoader(Numbers(), batch_size=4, shuffle=True, drop_last=True),
    "generator": lambda: data.DataLoader(
        Numbers(), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(3)
    ),
    "eager sampler": lambda: data.DataLoader(Numbers(), batch_size=4, sampler=EagerSampler()),
    "weighted": lambda: data.DataLoader(
        Numbers(), batch_size=4, sampler=data.WeightedRandomSampler(torch.ones(23), 23)
    ),
    "batch sampler": lambda: data.DataLoader(Numbers(), batch_sampler=OneListSampler()),
    "arrays": lambda: data.DataLoader(Numbers(), batch_sampler=ArraySampler()),
    "no batches": lambda: data.DataLoader(Numbers(), batch_size=None, shuffle=True),
    "2 workers": lambda: data.DataLoader(Numbers(), batch_size=4, shuffle=True, num_workers=2),
    "8 workers": lambda: data.DataLoader(Numbers(), batch_size=2, shuffle=True, num_workers=8),
    "persistent": lambda: data.DataLoader(
        Numbers(), batch_size=4, shuffle=True, num_workers=2, persistent_workers=True
    ),
    "eager, workers": lambda: data.DataLoader(
        Numbers(), batch_size=4, sampler=EagerSampler(), num_workers=2
    ),
}


def streams(run: mlprov.Run) -> list[dict[str, Any]]:
    """The streams of all epochs."""
    return [stream for epoch in of_type(stored(run), "epoch") for stream in epoch["streams"]]


def index_leaves(run: mlprov.Run, stream: dict[str, Any]) -> list[Any]:
    """The index leaves of a stream, as the store kept them."""
    root = bytes.fromhex(stream["indices"]["root"].removeprefix("sha256:"))
    with stores.open_store(run.store_path, read_only=True) as store:
        return [json.loads(leaf) for leaf in store.get_leaves(root)]


@pytest.mark.parametrize("name", LOADERS)
def test_the_indices_are_those_of_the_batches_and_the_loader_is_undisturbed(
    name: str, tmp_path: Path
) -> None:
    loader, other = LOADERS[name](), LOADERS[name]()
    before = {**vars(loader)}
    torch.manual_seed(1)
    with mlprov.start("t", store=tmp_path / "s", on_error="raise") as run:
        passes = [list(run.track(loader)) for _ in run.epochs(3)]
        after = torch.random.get_rng_state()
    torch.manual_seed(1)
    expected = [list(other) for _ in range(3)]
    for batches, unrecorded in zip(passes, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batches, unrecorded, strict=True))
    assert torch.equal(after, torch.random.get_rng_state())
    assert {key: vars(loader)[key] for key in before if key != "_iterator"} == {
        key: value for key, value in before.items() if key != "_iterator"
    }
    for batches, stream in zip(passes, streams(run), strict=True):
        assert index_leaves(run, stream) == [
            {"batch": number, "indices": batch.reshape(-1).tolist()}
            for number, batch in enumerate(batches)
        ]
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_a_pass_that_is_left_early_has_the_indices_of_its_batches(tmp_path: Path) -> None:
    loader = data.DataLoader(Numbers(), batch_size=4, num_workers=2, persistent_workers=True)
    with mlprov.start("t", store=tmp_path / "s", on_error="raise") as run:
        for _ in run.epochs(2):
            for number, _batch in enumerate(run.track(loader)):
                if number == 1:
                    break
    for stream in streams(run):
        assert index_leaves(run, stream) == [
            {"batch": 0, "indices": [0, 1, 2, 3]},
            {"batch": 1, "indices": [4, 5, 6, 7]},
        ]


class Endless(data.IterableDataset):  # type: ignore[misc, name-defined]
    """A data set without indices."""

    def __iter__(self) -> Iterator[Any]:
        return iter(torch.arange(6))


class OwnWay(data.DataLoader):  # type: ignore[misc, name-defined]
    """A loader that leaves batches out."""

    def __iter__(self) -> Any:
        return (batch for number, batch in enumerate(super().__iter__()) if number % 2)


class IteratingSampler(OneListSampler):
    """Gives what can be read once."""

    def __iter__(self) -> Iterator[Any]:
        return map(iter, super().__iter__())


WITHOUT: dict[str, Callable[[], Any]] = {
    "list": lambda: [torch.zeros(1)] * 3,
    "iterable": lambda: data.DataLoader(Endless(), batch_size=2),
    "own way": lambda: OwnWay(Numbers(), batch_size=4),
    "out of order": lambda: data.DataLoader(Numbers(), batch_size=4, num_workers=2, in_order=False),
    "empty generator": lambda: iter(()),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_a_loader_without_an_order_has_none_recorded(name: str, tmp_path: Path) -> None:
    with mlprov.start("t", store=tmp_path / "s", on_error="raise") as run:
        for _ in run.epochs(1):
            list(run.track(WITHOUT[name]()))
    (stream,) = streams(run)
    assert stream["indices"] is None
    assert stream["tree"]["size"] == stream["batches"]


def test_indices_that_can_be_read_once_are_a_gap_and_the_loader_is_undisturbed(
    tmp_path: Path,
) -> None:
    loader = data.DataLoader(Numbers(), batch_sampler=IteratingSampler())
    with (  # noqa: PT031
        pytest.warns(RecordingWarning, match="read once"),
        mlprov.start("t", store=tmp_path / "s") as run,
    ):
        for _ in run.epochs(1):
            batches = list(run.track(loader))
    assert [batch.tolist() for batch in batches] == [list(range(n, n + 5)) for n in range(0, 20, 5)]
    (stream,) = streams(run)
    assert (stream["indices"], stream["tree"]["size"]) == (None, 4)
    gap = the(stored(run), "gap")
    assert (gap["what"], gap["count"]) == ("indices", 1)
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_a_batch_that_no_sampler_asked_for_is_noticed() -> None:
    iterator, order = iterate_noted(data.DataLoader(Numbers(), batch_size=4))
    assert order is not None
    next(iterator)
    assert order.take() == [0, 1, 2, 3]
    with pytest.raises(LookupError):
        order.take()


def test_nested_loaders_keep_their_orders_apart(tmp_path: Path) -> None:
    outer = data.DataLoader(Numbers(), batch_size=12)
    inner = data.DataLoader(Numbers(), batch_size=23, num_workers=1)
    with mlprov.start("t", store=tmp_path / "s", on_error="raise") as run:
        for _ in run.epochs(1):
            for _batch in run.track(outer):
                list(run.track(inner, role="validation"))
    orders = {
        (stream["role"], len(index_leaves(run, stream)[0]["indices"])) for stream in streams(run)
    }
    assert orders == {("train", 12), ("validation", 23)}
    assert len(streams(run)) == 3
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_one_loader_iterated_twice_at_once_keeps_both_orders(tmp_path: Path) -> None:
    loader = data.DataLoader(Numbers(), batch_size=8)
    with mlprov.start("t", store=tmp_path / "s", on_error="raise") as run:
        for _ in run.epochs(1):
            pairs = list(zip(run.track(loader), run.track(loader), strict=True))
    assert len(pairs) == 3
    expected = [list(range(8)), list(range(8, 16)), list(range(16, 23))]
    for stream in streams(run):
        assert [leaf["indices"] for leaf in index_leaves(run, stream)] == expected


# ---- hash="index" ----


def test_with_hash_index_the_order_alone_is_recorded(tmp_path: Path) -> None:
    samples = torch.arange(46).reshape(23, 2)
    loader = data.DataLoader(data.TensorDataset(samples), batch_size=4, shuffle=True)
    with mlprov.start("t", store=tmp_path / "s", on_error="raise") as run:
        run.track_data(train=samples)
        for _ in run.epochs(2):
            passed = list(run.track(loader, hash="index"))
    for stream in streams(run):
        assert (stream["hash"], stream["tree"], stream["bytes"]) == ("index", None, 0)
        assert (stream["batches"], stream["samples"], stream["guard"]) == (6, 23, "inline")
    leaves = index_leaves(run, streams(run)[-1])
    for leaf, (batch,) in zip(leaves, passed, strict=True):
        assert torch.equal(samples[leaf["indices"]], batch)
    assert the(stored(run), "run.end")["batches"] == 12
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_with_hash_index_a_loader_without_an_order_is_hashed_and_it_is_said(
    tmp_path: Path,
) -> None:
    with (  # noqa: PT031
        pytest.warns(RecordingWarning, match="no order of indices: its batches are hashed"),
        mlprov.start("t", store=tmp_path / "s") as run,
    ):
        for _ in run.epochs(1):
            list(run.track([b"a"], hash="index"))
    (stream,) = streams(run)
    assert (stream["hash"], stream["tree"]["size"]) == ("content", 1)


def test_another_hash_is_refused(tmp_path: Path) -> None:
    with (
        mlprov.start("t", store=tmp_path / "s") as run,
        pytest.raises(ConfigError, match="hash='sha256'"),
    ):
        run.track([], hash="sha256")


def test_both_verifiers_take_a_bundle_that_discloses_the_orders(tmp_path: Path) -> None:
    loader = data.DataLoader(Numbers(), batch_size=4, shuffle=True)
    with mlprov.start("t", store=tmp_path / "s", on_error="raise") as run:
        run.track_data(train=torch.arange(23))
        for _ in run.epochs(2):
            list(run.track(loader))
            list(run.track(loader, role="again", hash="index"))
    owner = keys.owner_vkey()
    assert owner is not None
    bundle = run.export(tmp_path / "t.mlprov", disclose=["batches"])
    assert bundle is not None
    verdict = ask_both(bundle, keys=[owner])
    assert verdict.ok, str(verdict)
    assert {check.name: check.state for check in verdict.checks}["complete"] == "holds"
    entries = archives.read_archive(bundle.read_bytes()).entries
    for stream in streams(run):
        root = stream["indices"]["root"].removeprefix("sha256:")
        assert f"trees/{root}.leaves" in entries

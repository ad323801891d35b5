"""What an epoch records is enough to train it again, to the same bits."""

from __future__ import annotations

import base64
import copy
import random
import struct
from pathlib import Path
from typing import Any

import pytest
from training_for_tests import of_type, stored, the

import mlprov
from mlprov import generators

torch: Any = pytest.importorskip("torch")
numpy: Any = pytest.importorskip("numpy")


class Noisy(torch.utils.data.Dataset):  # type: ignore[misc,unused-ignore]
    """Draws from three generators for each sample, as augmentation does."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Any:
        return torch.full((4,), float(index)) + torch.rand(4) + random.random()


def seed_numpy(worker: int) -> None:
    numpy.random.seed(worker)


def make(workers: int) -> tuple[Any, Any, Any]:
    torch.manual_seed(5)
    random.seed(5)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(), torch.nn.Linear(8, 1))
    loader = torch.utils.data.DataLoader(
        Noisy(), batch_size=4, shuffle=True, num_workers=workers, worker_init_fn=seed_numpy
    )
    return model, torch.optim.AdamW(model.parameters()), loader


def train_epoch(model: Any, optimizer: Any, batches: Any) -> None:
    for batch in batches:
        optimizer.zero_grad()
        (model(batch).square().mean() + random.random()).backward()
        optimizer.step()


def restore(states: dict[str, str]) -> None:
    """Put the generators into recorded states."""
    raw = {name: base64.b64decode(text) for name, text in states.items()}
    words = struct.unpack("<625I", raw["python"])
    random.setstate((3, words, None))
    torch.set_rng_state(torch.tensor(list(raw["torch"]), dtype=torch.uint8))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_is_trained_again_to_the_recorded_weights(workers: int, tmp_path: Path) -> None:
    model, optimizer, loader = make(workers)
    kept: Any = None
    with mlprov.start(
        "replay", model=model, optimizer=optimizer, store=tmp_path / "s", seeds="values"
    ) as run:
        for epoch in run.epochs(3):
            train_epoch(model, optimizer, run.track(loader))
            if epoch.index == 0:
                kept = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    epochs = of_type(stored(run), "epoch")
    (stream,) = epochs[1]["streams"]
    assert stream["loader"]["rng_values"] == epochs[0]["rng_values"]

    model, optimizer, loader = make(workers)
    model.load_state_dict(kept[0])
    optimizer.load_state_dict(kept[1])
    random.seed(99)  # whatever was drawn since
    torch.manual_seed(99)
    restore(stream["loader"]["rng_values"])
    train_epoch(model, optimizer, loader)
    again = mlprov.digest_model(model)
    assert str(again.root) == epochs[1]["weights"]["root"]
    digests = generators.capture_generators()
    assert {name: digests[name] for name in ("python", "torch")} == {
        name: epochs[1]["rng"][name] for name in ("python", "torch")
    }


def test_states_stay_out_of_the_record_unless_they_are_asked_for(tmp_path: Path) -> None:
    for seeds, kinds in ((True, (str, type(None))), (False, (type(None), type(None)))):
        model, _, loader = make(0)
        with mlprov.start("t", model=model, store=tmp_path / str(seeds), seeds=seeds) as run:
            for _ in run.epochs(1):
                list(run.track(loader))
        epoch = the(stored(run), "epoch")
        facts = epoch["streams"][0]["loader"]
        assert epoch["rng_values"] is None
        assert "rng_values" not in facts
        assert isinstance(facts["base_seed"], kinds[0])
        assert isinstance(facts.get("generator"), kinds[1])
        assert ("rng" in facts) is seeds


def test_a_loader_says_how_it_draws(tmp_path: Path) -> None:
    own = torch.Generator().manual_seed(3)
    loader = torch.utils.data.DataLoader(
        Noisy(), batch_size=5, shuffle=True, drop_last=True, generator=own
    )
    before = generators.state_of(own, values=False)
    with mlprov.start("t", store=tmp_path / "s") as run:
        for _ in run.epochs(1):
            list(run.track(loader))
            list(run.track([1, 2]))
    drawn, plain = the(stored(run), "epoch")["streams"]
    assert plain["loader"] is None
    facts = drawn["loader"]
    assert facts["sampler"] == "torch.utils.data.sampler.RandomSampler"
    assert (facts["batch_size"], facts["drop_last"], facts["workers"]) == (5, True, 0)
    assert (facts["worker_init"], facts["start_method"]) == (None, None)
    assert facts["generator"] == before
    assert facts["base_seed"].isdecimal()


def test_flags_and_modes_are_those_of_the_epoch(tmp_path: Path) -> None:
    model, _, _ = make(0)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        with mlprov.start("t", model=model, store=tmp_path / "s") as run:
            for epoch in run.epochs(2):
                torch.use_deterministic_algorithms(epoch.index == 1)
                torch.set_num_threads(1 + epoch.index)
                model[1].train(epoch.index == 0)
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.set_num_threads(threads)
    first, second = of_type(stored(run), "epoch")
    for name, values in (("deterministic_algorithms", (False, True)), ("threads", (1, 2))):
        assert (first["flags"][name], second["flags"][name]) == values
    assert first["modes"] == {"others": [], "training": True}
    assert second["modes"] == {"others": ["1"], "training": True}


def test_a_normal_number_that_is_kept_for_the_next_call_is_part_of_the_state() -> None:
    random.seed(1)
    numpy.random.seed(1)
    assert "python_gauss" not in generators.capture_generators()
    random.gauss(0, 1)
    numpy.random.randn()
    names = generators.capture_generators()
    assert {"python_gauss", "numpy_gauss"} <= set(names)
    kept = random.getstate()[2]
    value = base64.b64decode(str(generators.capture_values()["python_gauss"]))
    assert struct.unpack("<d", value) == (kept,)

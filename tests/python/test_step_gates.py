"""StepGate: which steps are only counted, and which are told of."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
from training_for_tests import loader, network, train_step

import mlprov
from mlprov._core import StepGate


class Optimizer:
    """Anything that can be referred to weakly and has attributes."""


class Calls:
    """A gate, and what it was told of."""

    def __init__(self) -> None:
        self.before: list[Any] = []
        self.after: list[Any] = []
        self.gate = StepGate(
            lambda optimizer, *_: self.before.append(optimizer),
            lambda optimizer, *_: self.after.append(optimizer),
        )

    def step(self, optimizer: Any) -> None:
        self.gate.before(optimizer, (), {})
        self.gate.after(optimizer, (), {})


def test_a_new_gate_tells_of_every_step() -> None:
    calls, optimizer = Calls(), Optimizer()
    calls.step(optimizer)
    assert calls.before == calls.after == [optimizer]
    assert calls.gate.take() is None


def test_quiet_steps_of_one_optimizer_are_counted_and_no_others() -> None:
    calls, optimizer, other = Calls(), Optimizer(), Optimizer()
    calls.gate.busy = False
    assert calls.gate.arm(optimizer, 2, False, "note")
    calls.step(optimizer)
    calls.step(other)
    calls.step(optimizer)
    assert calls.after == [other]
    calls.step(optimizer)  # the third is one too many
    assert calls.after == [other, optimizer]
    assert not calls.before
    assert calls.gate.take() == (optimizer, 2, "note")
    assert calls.gate.take() is None


def test_what_was_counted_is_not_counted_for_somebody_else() -> None:
    calls, optimizer, other = Calls(), Optimizer(), Optimizer()
    assert calls.gate.arm(optimizer, 9, False, 1)
    calls.step(optimizer)
    assert not calls.gate.arm(other, 9, False, 2)
    assert calls.gate.take() == (optimizer, 1, 1)
    assert calls.gate.arm(other, 9, False, 2)


def test_a_step_with_a_flag_of_scaling_is_told_of_where_that_may_be() -> None:
    for may_skip in (True, False):
        calls, optimizer = Calls(), Optimizer()
        calls.gate.arm(optimizer, 9, may_skip, None)
        calls.step(optimizer)
        optimizer.found_inf = 0.0  # type: ignore[attr-defined]
        calls.step(optimizer)
        assert calls.after == [optimizer] * may_skip


def test_an_optimizer_is_not_kept_and_its_steps_are() -> None:
    calls, optimizer = Calls(), Optimizer()
    calls.gate.busy = False
    calls.gate.arm(optimizer, 9, False, None)
    calls.step(optimizer)
    seen = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert seen() is None
    assert calls.gate.take() == (None, 1, None)


def test_what_a_hook_raises_passes_on() -> None:
    def fail(*_: Any) -> None:
        raise LookupError("told")

    gate = StepGate(fail, fail)
    for hook in (gate.before, gate.after):
        with pytest.raises(LookupError, match="told"):
            hook(Optimizer(), (), {})


def test_the_count_is_right_whenever_it_is_asked_for(tmp_path: Path) -> None:
    model, optimizer = network()
    runs = []
    with mlprov.start("a", model=model, optimizer=optimizer, store=tmp_path / "a") as run:
        runs.append(run)
        for number, batch in enumerate(loader(9), 1):
            train_step(model, optimizer, batch)
            if number == 3:
                late = mlprov.start(
                    "b", model=model, optimizer=optimizer, store=tmp_path / "b", every=4
                )
            if number % 2:
                assert run.barrier.watch.steps == number
        assert late.barrier.watch.steps == 6
        late.finish()
        train_step(model, optimizer, loader(1)[0])
        assert run.barrier.watch.steps == 10
        assert late.barrier.watch.steps == 6
    assert [record["step"] for record in late.records if record["type"] == "step"] == [4]

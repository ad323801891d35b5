"""Capture beside training: every optimizer gives the evidence that inline capture gives."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from overlap_for_tests import NEEDS_A_WORKER, Sparse, Training, dense_model, guards, state

from mlprov.barriers import Barrier

torch = pytest.importorskip("torch")

pytestmark = NEEDS_A_WORKER

OPTIMIZERS = sorted(
    name
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind)
    and issubclass(kind, torch.optim.Optimizer)
    and kind is not torch.optim.Optimizer
)


def variants() -> Iterator[Any]:
    """Every optimizer of torch in every implementation that it has, with a closure and without."""
    for name in OPTIMIZERS:
        accepted = inspect.signature(getattr(torch.optim, name)).parameters
        for how in ("plain", "foreach", "fused"):
            if how != "plain" and how not in accepted:
                continue
            options = {"plain": {"foreach": False} if "foreach" in accepted else {}}.get(
                how, {how: True}
            )
            for closure in (False, True):
                if closure or name != "LBFGS":
                    yield pytest.param(
                        name, options, closure, id=f"{name}-{how}{'-closure' * closure}"
                    )


@pytest.mark.parametrize(("name", "options", "closure"), list(variants()))
def test_every_optimizer_gives_the_evidence_of_inline_capture(
    name: str, options: dict[str, Any], closure: bool, tmp_path: Path
) -> None:
    kind = getattr(torch.optim, name)
    training = Training(
        Sparse if name == "SparseAdam" else dense_model,
        lambda model: kind(model.parameters(), **options),
        closure,
    )
    inline = training.run(tmp_path / "inline", snapshot="inline")
    overlap = training.run(tmp_path / "overlap", on_error="raise")
    assert state(overlap) == state(inline)
    assert guards(inline) == ["inline"] * 3
    assert guards(overlap) == ["hook"] * 3


def test_torch_has_the_optimizers_that_these_tests_know() -> None:
    assert {"Adam", "AdamW", "SGD", "Adagrad", "LBFGS", "SparseAdam", "RMSprop"} <= set(OPTIMIZERS)
    fused = {str(param.id) for param in variants()}
    assert {f"{name}-fused" for name in ("SGD", "Adam", "AdamW", "Adagrad")} <= fused


def test_without_the_barrier_the_evidence_would_be_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(
        dense_model, lambda model: torch.optim.SGD(model.parameters(), lr=1, fused=True)
    )
    training.run(tmp_path / "first")  # torch loads a lot at its first step
    inline = training.run(tmp_path / "inline", snapshot="inline")
    monkeypatch.setattr(Barrier, "must_wait", lambda _: False)
    assert state(training.run(tmp_path / "broken")) != state(inline)

"""Each way in which optimizers step is waited for, and counted as it is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from overlap_for_tests import (
    NEEDS_A_WORKER,
    WIDTH,
    Training,
    dense_model,
    guards,
    hold_up,
    of_type,
    one_worker,
    sgd,
    state,
    steps_and_skipped,
    train_step,
)

import mlprov
from mlprov.recorder import RecordingWarning

torch = pytest.importorskip("torch")

pytestmark = NEEDS_A_WORKER


def test_a_class_of_ones_own_is_waited_for_before_its_step(tmp_path: Path) -> None:
    class WritesBeforeItsClosure(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            with torch.no_grad():
                for group in self.param_groups:
                    for parameter in group["params"]:
                        parameter.data.mul_(0.9)
            return super().step(closure)

    training = Training(
        dense_model, lambda model: WritesBeforeItsClosure(model.parameters(), lr=0.1), closure=True
    )
    inline = training.run(tmp_path / "inline", snapshot="inline")
    overlap = training.run(tmp_path / "overlap")
    assert state(overlap) == state(inline)
    assert guards(overlap) == ["hook"] * 3
    # torch calls the hooks for super().step() too
    assert [record["steps"] for record in of_type(overlap, "epoch")] == [2] * 3


def test_a_step_in_a_closure_by_keyword_returns_its_loss(tmp_path: Path) -> None:
    model = dense_model()
    optimizer = sgd(model)
    losses = []
    with (
        one_worker(),
        mlprov.start("t", model=model, optimizer=optimizer, store=tmp_path / "s") as run,
    ):
        for _ in run.epochs(3):
            slow = hold_up()
            losses.append(optimizer.step(closure=lambda: torch.tensor(2.5)))
    assert slow is not None
    assert losses == [2.5] * 3
    assert of_type(run, "epoch")[1]["steps"] == 1


def backward_optimizers(model: Any) -> list[Any]:
    """One optimizer for each parameter, which steps in backward."""
    optimizers = {one: torch.optim.SGD([one], lr=0.1) for one in model.parameters()}

    def step(parameter: Any) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    return list(optimizers.values())


def test_optimizers_that_step_in_backward_make_one_step_together(tmp_path: Path) -> None:
    roots: list[Any] = []
    for snapshot in ("inline", "overlap"):
        torch.manual_seed(1)
        model = dense_model()
        optimizers = backward_optimizers(model)
        with (
            one_worker(),
            mlprov.start("t", model=model, store=tmp_path / snapshot, snapshot=snapshot, every=2)
            as run,
        ):  # fmt: skip
            slow = []
            for _ in run.epochs(3):
                for batch in run.track([torch.rand(8, WIDTH) for _ in range(3)]):
                    model(batch).square().mean().backward()
                slow.append(hold_up())
        assert optimizers
        assert [record["steps"] for record in of_type(run, "epoch")] == [3] * 3
        steps = of_type(run, "step")
        assert [record["step"] for record in steps] == [2, 4, 6, 8]
        roots.append((state(run), [record["weights"] for record in steps]))
    assert roots[0] == roots[1]


def test_a_generator_and_a_discriminator_make_one_step_together(tmp_path: Path) -> None:
    model = torch.nn.ModuleDict(
        {name: torch.nn.Linear(WIDTH, WIDTH) for name in ("generator", "discriminator")}
    )
    both = [torch.optim.Adam(part.parameters()) for part in model.values()]
    expected = []
    with mlprov.start("gan", model=model, store=tmp_path / "s", every=1) as run:
        for _ in run.epochs(2):
            for batch in run.track([torch.rand(8, WIDTH) for _ in range(2)]):
                for part, optimizer in zip(model.values(), both, strict=True):
                    optimizer.zero_grad()
                    part(batch).square().mean().backward()
                    optimizer.step()
                expected.append(str(mlprov.digest_model(model).root))
    assert [record["steps"] for record in of_type(run, "epoch")] == [2, 2]
    assert [record["weights"]["root"] for record in of_type(run, "step")] == expected


def test_accumulated_batches_belong_to_the_step_that_used_them(tmp_path: Path) -> None:
    model = dense_model()
    optimizer = sgd(model)
    with mlprov.start("t", model=model, optimizer=optimizer, store=tmp_path / "s", every=1) as run:
        for _ in run.epochs(2):
            for number, batch in enumerate(run.track([torch.rand(8, WIDTH) for _ in range(4)])):
                model(batch).square().mean().backward()
                if number % 2:
                    optimizer.step()
                    optimizer.zero_grad()
    assert [record["steps"] for record in of_type(run, "epoch")] == [2, 2]
    assert [record["batches"] for record in of_type(run, "step")] == [2, 4, 6, 8]


def test_more_steps_than_tracked_batches_are_said(tmp_path: Path) -> None:
    model = dense_model()
    optimizer = sgd(model)

    def train(run: mlprov.Run) -> None:
        for _ in run.epochs(2):
            for _ in run.track([torch.rand(8, WIDTH) for _ in range(2)]):
                train_step(model, optimizer)
            train_step(model, optimizer)

    run = mlprov.start("t", model=model, optimizer=optimizer, store=tmp_path / "s")
    with run, pytest.warns(RecordingWarning, match="3 optimizer steps and 2 tracked batches"):
        train(run)
    assert [record["steps"] for record in of_type(run, "epoch")] == [3, 3]


def test_a_step_that_gradient_scaling_skips_is_said_to_be_skipped(tmp_path: Path) -> None:
    model = dense_model()
    optimizer = sgd(model, fused=True)
    scaler = torch.amp.GradScaler("cpu")
    with mlprov.start("t", model=model, optimizer=optimizer, store=tmp_path / "s") as run:
        for _ in run.epochs(2):
            for factor in (1.0, float("inf"), 1.0):
                optimizer.zero_grad()
                loss = model(torch.rand(8, WIDTH)).square().mean() * factor
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
    assert steps_and_skipped(run) == [(3, 1)] * 2


def test_a_compiled_step_has_its_barrier(tmp_path: Path) -> None:
    roots = []
    for snapshot in ("inline", "overlap"):
        torch.manual_seed(1)
        model = dense_model()
        optimizer = sgd(model)
        compiled = torch.compile(optimizer.step, backend="eager")
        with (
            one_worker(),
            mlprov.start(
                "t", model=model, optimizer=optimizer, store=tmp_path / snapshot, snapshot=snapshot
            ) as run,
        ):
            slow = []
            for _ in run.epochs(3):
                optimizer.zero_grad()
                model(torch.rand(8, WIDTH)).square().mean().backward()
                compiled()
                slow.append(hold_up(512))
        assert [record["steps"] for record in of_type(run, "epoch")] == [1] * 3
        roots.append(state(run))
    assert roots[0] == roots[1]
    torch.compiler.reset()


def test_an_optimizer_of_another_model_is_not_counted(tmp_path: Path) -> None:
    model, other = dense_model(), dense_model()
    optimizer, another = sgd(model), sgd(other)
    with mlprov.start("t", model=model, optimizer=optimizer, store=tmp_path / "s") as run:
        for _ in run.epochs(2):
            train_step(model, optimizer)
            for _ in range(3):
                train_step(other, another)
    assert [record["steps"] for record in of_type(run, "epoch")] == [1, 1]


def test_an_optimizer_that_replaces_another_is_counted_from_its_first_step(tmp_path: Path) -> None:
    body, head = torch.nn.Linear(WIDTH, WIDTH), torch.nn.Linear(WIDTH, WIDTH)
    model = torch.nn.Sequential(body, head)
    kept = []
    with mlprov.start("t", model=model, store=tmp_path / "s", every=4) as run:
        for epoch in run.epochs(4):
            kept.append(sgd(head if epoch.index < 2 else model))  # phases: the head, then all of it
            for _ in range(3 + epoch.index % 2 * 3):
                train_step(model, kept[-1])
            assert run.barrier.watch.steps == [3, 9, 12, 18][epoch.index]
    assert [record["steps"] for record in of_type(run, "epoch")] == [3, 6, 3, 6]
    assert [record["step"] for record in of_type(run, "step")] == [4, 8, 12, 16]


def test_an_optimizer_that_begins_within_an_epoch_steps_with_the_others(tmp_path: Path) -> None:
    model = torch.nn.ModuleDict(
        {name: torch.nn.Linear(WIDTH, WIDTH) for name in ("generator", "discriminator")}
    )
    both: list[Any] = []
    with mlprov.start("gan", model=model, store=tmp_path / "s", every=2) as run:
        for _ in run.epochs(3):
            both.clear()
            for _ in range(3):
                for place, part in enumerate(model.values()):
                    if place == len(both):
                        both.append(sgd(part))
                    train_step(part, both[place])
    assert [record["steps"] for record in of_type(run, "epoch")] == [3] * 3
    assert [record["step"] for record in of_type(run, "step")] == [2, 4, 6, 8]


class Checkpointed(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Computes its activations again in backward, while its weights are hashed."""

    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.inner = dense_model()
        self.reentrant = reentrant

    def forward(self, batch: Any) -> Any:
        part, batch = torch.utils.checkpoint.checkpoint, batch.requires_grad_()
        return part(self.inner, batch, use_reentrant=self.reentrant)


def compiled_in_place() -> Any:
    model = dense_model()
    model.compile(backend="eager")
    return model


MODELS: dict[str, Callable[[], Any]] = {
    "checkpointing": lambda: Checkpointed(reentrant=False),
    "reentrant checkpointing": lambda: Checkpointed(reentrant=True),
    "compiled": lambda: torch.compile(dense_model(), backend="eager"),
    "compiled in place": compiled_in_place,
}


def assert_overlap_is_inline(training: Training, tmp_path: Path) -> None:
    """Capture beside training gives the evidence of inline capture, of every step and epoch."""
    found = []
    for snapshot in ("inline", "overlap"):
        run = training.run(tmp_path / snapshot, snapshot=snapshot, every=1)
        assert steps_and_skipped(run) == [(2, 0)] * 3
        steps = of_type(run, "step")
        assert [record["step"] for record in steps] == [1, 2, 3, 4, 5, 6]
        assert not of_type(run, "gap")
        found.append((state(run), [record["weights"] for record in steps]))
    assert guards(run) == ["hook"] * 3
    assert found[0] == found[1]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_computes_in_its_own_way_has_the_evidence_of_inline_capture(
    name: str, tmp_path: Path
) -> None:
    assert_overlap_is_inline(Training(MODELS[name], sgd), tmp_path)
    torch.compiler.reset()


@pytest.mark.parametrize("to_none", [True, False])
def test_gradients_that_are_kept_or_dropped_make_no_difference(
    to_none: bool, tmp_path: Path
) -> None:
    def optimizer(model: Any) -> Any:
        made = sgd(model, momentum=0.9)
        made.zero_grad = functools.partial(made.zero_grad, set_to_none=to_none)
        return made

    assert_overlap_is_inline(Training(dense_model, optimizer), tmp_path)

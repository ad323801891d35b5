"""Capture beside training in the loops that people write, and in those that nobody should."""

from __future__ import annotations

import subprocess
import sys
import threading
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
from runs_for_tests import ask_both
from test_core_forks import in_child
from training_for_tests import run_script

import mlprov
from mlprov import keys
from mlprov.recorder import RecordingWarning

torch = pytest.importorskip("torch")

pytestmark = [NEEDS_A_WORKER, pytest.mark.usefixtures("no_hooks_of_others")]


# ---- records ----


def test_a_run_with_all_kinds_of_records_holds_for_both_verifiers(tmp_path: Path) -> None:
    run = Training(dense_model, sgd).run(tmp_path / "s", every=2, check="twice")
    bundle = run.export(tmp_path / "t.mlprov")
    verdict = ask_both(bundle, keys=[str(keys.owner_vkey())])
    assert verdict.result == "holds", verdict
    assert [record["type"] for record in run.records] == [
        "run.start", "model", *("step", "epoch") * 3, "run.end",
    ]  # fmt: skip
    assert run.records[0]["settings"] == {
        "check": "twice", "every": 2, "on_error": "warn", "snapshot": "overlap",
        "trust_version": False,
    }  # fmt: skip
    for number, record in enumerate(of_type(run, "step"), start=1):
        assert (record["step"], record["batches"], record["epoch"]) == (
            2 * number, 2 * number, number - 1,
        )  # fmt: skip
        assert record["guard"] == "hook"
        assert record["weights"] == of_type(run, "epoch")[number - 1]["weights"]
    assert steps_and_skipped(run) == [(2, 0)] * 3


def test_the_record_is_written_by_the_next_step_or_by_whatever_is_recorded_next(
    tmp_path: Path,
) -> None:
    model = dense_model()
    optimizer = sgd(model)
    with (
        one_worker(),
        mlprov.start("t", model=model, optimizer=optimizer, store=tmp_path / "s") as run,
    ):
        slow = []
        epochs = run.epochs(6)
        for epoch in epochs:
            size = run.head[0] if run.head else 0
            assert size == {0: 2, 1: 2, 2: 3, 3: 4, 4: 5, 5: 7}[epoch.index]  # without the last
            if epoch.index == 3:
                run.log(lr=0.1)
            elif epoch.index == 4:
                assert len(of_type(run, "epoch")) == 4
            elif epoch.index == 5:
                run.export(tmp_path / "open.mlprov")
            train_step(model, optimizer)
            assert len(of_type(run, "epoch")) == epoch.index
            slow.append(hold_up(512))
    kinds = [record["type"] for record in run.records]
    assert kinds == [
        "run.start", "model", "epoch", "epoch", "epoch", "metrics", "epoch", "epoch", "epoch",
        "run.end",
    ]  # fmt: skip
    assert len(guards(run)) == 6


def test_the_last_epoch_is_waited_for_also_where_the_loop_fails(tmp_path: Path) -> None:
    model = dense_model()
    optimizer = sgd(model)
    slow = []

    def train(run: mlprov.Run) -> None:
        with run:
            for epoch in run.epochs(3):
                train_step(model, optimizer)
                slow.append(hold_up())
                if epoch.index == 1:
                    raise ZeroDivisionError

    run = mlprov.start("t", model=model, optimizer=optimizer, store=tmp_path / "s")
    with one_worker(), pytest.raises(ZeroDivisionError):
        train(run)
    records = of_type(run, "epoch")
    assert [record["interrupted"] for record in records] == [False, True]
    assert all(record["weights"] for record in records)
    assert run.records[-1]["status"] == "failed"


END_OF_A_SCRIPT = """
import torch, mlprov
from overlap_for_tests import *
model = dense_model()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
run = mlprov.start("t", model=model, optimizer=optimizer)
for epoch in run.epochs(2):
    optimizer.zero_grad()
    model(torch.rand(8, WIDTH)).square().mean().backward()
    optimizer.step()
    slow = hold_up(256)
"""


def test_a_script_that_just_ends_has_its_last_epoch(tmp_path: Path) -> None:
    done = run_script(END_OF_A_SCRIPT, MLPROV_STORE=str(tmp_path / "s"))
    assert done.stderr == ""
    shown = subprocess.run(
        [sys.executable, "-m", "mlprov", "show", "--store", str(tmp_path / "s")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.count("\nepoch") == 2
    assert "finished" in shown


def test_only_what_has_a_barrier_is_hashed_beside(tmp_path: Path) -> None:
    model = dense_model()
    frozen = model[0].weight.requires_grad_(False)
    optimizer = torch.optim.Adam([model[2].weight], lr=0.1)
    run = mlprov.start("t", model=model, optimizer=optimizer, store=tmp_path / "s", seeds=False)
    with one_worker(), run:
        slow = []
        for epoch in run.epochs(3):
            if epoch.index:
                frozen.data.add_(1)  # after the capture: it is not in it
                model(torch.rand(8, WIDTH))  # running statistics are another now
            train_step(model, optimizer)
            expected = mlprov.digest_model(model)
            slow.append(hold_up())
    assert guards(run) == ["hook"] * 3
    assert of_type(run, "epoch")[-1]["weights"]["root"] == str(expected.root)
    assert run.recorder.gaps == 0


def test_without_hooks_everything_is_hashed_inline(tmp_path: Path) -> None:
    model = dense_model()
    with mlprov.start("t", model=model, store=tmp_path / "s") as run:
        for _ in run.epochs(2):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(1)
    assert guards(run) == ["inline"] * 2
    assert [record["steps"] for record in of_type(run, "epoch")] == [None] * 2


# ---- writes that nobody expects ----


def surgery(model: Any) -> None:
    with torch.no_grad():
        model[0].weight.clamp_(-0.01, 0.01)


def other_memory(model: Any) -> None:
    model[0].weight.data = torch.rand(WIDTH, WIDTH)


def emptied_storage(model: Any) -> None:
    storage = model[0].weight.untyped_storage()
    length = storage.nbytes()
    storage.resize_(0)
    storage.resize_(length)
    with torch.no_grad():
        model[0].weight.zero_()


@pytest.mark.parametrize("write", [surgery, other_memory, emptied_storage])
def test_what_changed_under_capture_is_a_gap_and_the_run_goes_on_inline(
    write: Any, tmp_path: Path
) -> None:
    training = Training(dense_model, sgd, between=write)
    inline = training.run(tmp_path / "inline", snapshot="inline")
    with pytest.warns(RecordingWarning, match="'0.weight' changed under capture"):
        overlap = training.run(tmp_path / "overlap")
    gaps = of_type(overlap, "gap")
    assert [(gap["what"], gap["epoch"], gap["error"]) for gap in gaps] == [
        ("weights", 0, "EvidenceError CHANGED")
    ]
    assert "tensor '0.weight' changed under capture" in gaps[0]["reason"]
    assert state(overlap)[0][0] is None
    assert state(overlap)[1:] == state(inline)[1:]
    assert guards(overlap) == ["hook", "inline", "inline"]
    verdict = ask_both(overlap.export(tmp_path / "t.mlprov"), keys=[str(keys.owner_vkey())])
    assert verdict.result == "holds"
    assert "complete" in {check.name for check in verdict.checks if check.state == "unchecked"}


def quiet_surgery(model: Any) -> None:
    model[0].weight.data.clamp_(-0.01, 0.01)


@pytest.mark.parametrize("write", [surgery, other_memory, emptied_storage, quiet_surgery])
def test_copies_are_not_what_is_written_later(write: Any, tmp_path: Path) -> None:
    training = Training(dense_model, sgd, between=write)
    inline = training.run(tmp_path / "inline", snapshot="inline")
    copied = training.run(tmp_path / "copy", snapshot="copy", on_error="raise")
    assert state(copied) == state(inline)
    assert guards(copied) == ["copy"] * 3
    assert "copies of" in str(copied)


def test_quiet_writes_of_another_thread_are_noticed_by_hashing_twice(tmp_path: Path) -> None:
    model = torch.nn.Linear(4096, 4096, bias=False)  # it takes a while to hash
    optimizer = sgd(model)
    stop = threading.Event()

    def write_on_and_on() -> None:
        while not stop.is_set():
            model.weight.data.add_(1)

    def train(run: mlprov.Run) -> None:
        for _ in run.epochs(4):
            optimizer.zero_grad()
            model(torch.rand(2, 4096)).sum().backward()
            optimizer.step()

    writer = threading.Thread(target=write_on_and_on)
    run = mlprov.start("t", model=model, optimizer=optimizer, store=tmp_path / "s", check="twice")
    writer.start()
    try:
        with run, pytest.warns(RecordingWarning, match="'weight' changed under capture"):
            train(run)
    finally:
        stop.set()
        writer.join()
    (gap,) = of_type(run, "gap")
    noticed = gap["epoch"] + 1
    assert guards(run) == ["hook"] * noticed + ["inline"] * (4 - noticed)


# ---- hooks, threads, processes ----


def registered() -> tuple[int, int]:
    from torch.optim import optimizer as hooks

    return len(hooks._global_optimizer_pre_hooks), len(hooks._global_optimizer_post_hooks)


def test_hooks_are_registered_once_and_go_with_the_last_run(tmp_path: Path) -> None:
    model = dense_model()
    optimizer = sgd(model)
    before = registered()
    first = mlprov.start("one", model=model, optimizer=optimizer, store=tmp_path / "s")
    second = mlprov.start("two", model=model, optimizer=optimizer, store=tmp_path / "s")
    once = registered()
    assert once == (before[0] + 1, before[1] + 1)
    for epochs in zip(first.epochs(3), second.epochs(3), strict=True):
        assert len(epochs) == 2
        train_step(model, optimizer)
    first.finish()
    assert registered() == once
    second.finish()
    second.finish()
    assert registered() == before
    assert guards(first) == guards(second) == ["hook"] * 3
    assert state(first) == state(second)


def test_a_disabled_run_has_no_hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPROV_DISABLED", "1")
    model = dense_model()
    optimizer = sgd(model)
    before = registered()
    with mlprov.start("t", model=model, optimizer=optimizer, store=tmp_path / "s") as run:
        for _ in run.epochs(2):
            for _ in run.track([1, 2]):
                train_step(model, optimizer)
        assert registered() == before


def test_a_forked_child_may_step_while_its_parent_hashes(tmp_path: Path) -> None:
    model = dense_model()
    optimizer = sgd(model)
    torch.set_num_threads(1)
    with (
        one_worker(),
        mlprov.start("t", model=model, optimizer=optimizer, store=tmp_path / "s") as run,
    ):
        slow = []
        for epoch in run.epochs(3):
            if epoch.index:
                answer = in_child(lambda: str(train_step(model, optimizer)))
                assert answer == "None"
            train_step(model, optimizer)
            expected = mlprov.digest_model(model)
            slow.append(hold_up())
    assert guards(run) == ["hook"] * 3
    assert of_type(run, "epoch")[-1]["weights"]["root"] == str(expected.root)
    assert [record["steps"] for record in of_type(run, "epoch")] == [1, 1, 1]


def test_a_step_on_another_thread_waits_too(tmp_path: Path) -> None:
    roots = []
    for snapshot in ("inline", "overlap"):
        torch.manual_seed(3)
        model = dense_model()
        optimizer = sgd(model)
        with (
            one_worker(),
            mlprov.start(
                "t", model=model, optimizer=optimizer, store=tmp_path / snapshot, snapshot=snapshot
            ) as run,
        ):
            slow = []
            for _ in run.epochs(3):
                thread = threading.Thread(target=train_step, args=(model, optimizer))
                thread.start()
                thread.join()
                slow.append(hold_up())
        roots.append([one[0]["size"] for one in state(run)])
        assert run.recorder.gaps == 0
    assert roots[0] == roots[1]


def test_waiting_at_the_barrier_is_part_of_the_cost(tmp_path: Path) -> None:
    model = torch.nn.Linear(4096, 4096, bias=False)
    optimizer = sgd(model)
    with (
        one_worker(),
        mlprov.start("t", model=model, optimizer=optimizer, store=tmp_path / "s") as run,
    ):
        for epoch in run.epochs(2):
            optimizer.zero_grad()
            model(torch.rand(2, 4096)).sum().backward()
            before = run.recorder.seconds
            optimizer.step()
            if epoch.index:
                assert run.recorder.seconds - before > 0.001  # 64 MiB were hashed here
            slow = hold_up(512)
    assert slow is not None
    assert 0 < run.overhead["seconds"] < run.overhead["seconds"] / run.overhead["share"]

"""Faults in the middle of a training: it goes on as if nothing recorded it, or ends cleanly."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults_for_tests import losses
from training_for_tests import (
    ROOT,
    assert_log_holds,
    loader,
    network,
    of_type,
    run_script,
    stored,
    the,
    train_step,
)

import mlprov
from mlprov import RecordingWarning, optimizer_steps, stored_runs, stores

torch: Any = pytest.importorskip("torch")


# ---- a store that cannot be written any more ----

READ_ONLY = """
import os, pathlib, sys, warnings
from faults_for_tests import losses
import mlprov
store = pathlib.Path(sys.argv[1])
bare = losses()
losses(store=store.parent / "first")  # everything is imported that a run needs
mlprov.verify
os.chown(os.environ["MLPROV_OWNER_KEY"], 65534, 65534)
os.setegid(65534)
os.seteuid(65534)

def forbid(epoch):
    if epoch == 1:
        for folder in (store, store / "trees", store / "log"):
            folder.chmod(0o500)
    if epoch == 3:
        for folder in (store, store / "trees", store / "log"):
            folder.chmod(0o700)

with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    recorded = losses(during=forbid, store=store)
print(recorded == bare, *(w.message for w in warned))
"""

pytestmark = pytest.mark.usefixtures("no_hooks_of_others")


def test_a_store_that_is_made_read_only_during_a_run_costs_records_and_no_bit_of_the_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody whom permissions bind")
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        home = Path(folder, "home")
        home.mkdir(mode=0o777)
        home.chmod(0o777)
        done = run_script(
            READ_ONLY,
            Path(folder, "store"),
            MLPROV_HOME=str(home),
            MLPROV_OWNER_KEY=str(home / "o"),
        )
        assert done.stdout.startswith("True mlprov: "), done.stdout + done.stderr
        for path in (Path(folder, "store"), *Path(folder, "store").rglob("*")):
            os.chown(path, 0, 0)  # ours again, to be read
        with stores.open_store(Path(folder, "store"), read_only=True) as store:
            (row,) = stores.read_runs(store)
            gaps = [r for r in stored_runs.read_run(store, row.id).records if r["type"] == "gap"]
        assert row.status == "finished"
        assert gaps
        os.chown(home / "o", 0, 0)
        monkeypatch.setenv("MLPROV_OWNER_KEY", str(home / "o"))
        assert_log_holds(Path(folder, "store"), row.id, tmp_path)


# ---- signals ----


def test_ctrl_c_within_a_step_ends_the_run_and_the_next_one_has_its_hooks_once(
    tmp_path: Path,
) -> None:
    model, optimizer = network()

    def interrupt(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    run = mlprov.start("first", model=model, optimizer=optimizer, store=tmp_path / "s")
    with pytest.raises(KeyboardInterrupt), run:  # noqa: PT012
        for epoch in run.epochs(3):
            handle = None
            if epoch.index == 1:
                handle = optimizer.register_step_pre_hook(interrupt)
            try:
                for batch in run.track(loader()):
                    train_step(model, optimizer, batch)
            finally:
                if handle is not None:
                    handle.remove()
    end = the(stored(run), "run.end")
    assert (end["status"], end["exception"]) == ("failed", "builtins.KeyboardInterrupt")
    assert_log_holds(tmp_path / "s", run.id, tmp_path)
    assert not optimizer_steps._watches

    with mlprov.start("second", model=model, optimizer=optimizer, store=tmp_path / "s") as again:
        for _ in again.epochs(2):
            for batch in again.track(loader()):
                train_step(model, optimizer, batch)
    assert [epoch["steps"] for epoch in of_type(stored(again), "epoch")] == [3, 3]


ALARMS = """
import signal, sys
import torch
import mlprov
from mlprov import optimizer_steps
from training_for_tests import loader, network

def ring(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, ring)
for number in range(12):
    # An alarm may leave torch without gradients, and an optimizer with half of its state.
    torch.set_grad_enabled(True)
    model, optimizer = network()
    wide = torch.nn.Linear(600, 600)  # more than is hashed at once
    model.add_module("wide", wide)
    optimizer.add_param_group({"params": wide.parameters()})
    run = mlprov.start("alarm", model=model, optimizer=optimizer, store=sys.argv[1])
    signal.setitimer(signal.ITIMER_REAL, 0.002 + 0.003 * number)
    try:
        with run:
            while True:
                for _ in run.epochs(1):
                    for batch in run.track(loader()):
                        loss = model[:3](batch[0]).sum() + wide.weight.sum()
                        optimizer.zero_grad()
                        loss.backward()
                        optimizer.step()
    except KeyboardInterrupt:
        print(run.status)
    assert not optimizer_steps._watches
"""


def test_ctrl_c_at_any_moment_of_a_training_leaves_a_log_that_holds(tmp_path: Path) -> None:
    done = run_script(ALARMS, tmp_path / "s")
    assert done.stdout.split() == ["failed"] * 12
    with stores.open_store(tmp_path / "s", read_only=True) as store:
        rows = stores.read_runs(store)
    assert len(rows) == 12
    for row in rows:
        assert_log_holds(tmp_path / "s", row.id, tmp_path)


# ---- the end of the interpreter ----

QUEUED = """
import atexit, sys, time
import torch
atexit.register(lambda: print(time.monotonic() - left, flush=True))  # behind mlprov's own
import mlprov
model = torch.nn.Linear(8192, 8192, bias=False)  # 256 MiB, and as much optimizer state again
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
run = mlprov.start("queued", model=model, optimizer=optimizer, store=sys.argv[1])
for _ in run.epochs(2):
    model(torch.ones(1, 8192)).sum().backward()
    optimizer.step()
if len(sys.argv) > 2:
    sys.stdout.write("hold\\n")
    sys.stdout.flush()
    sys.stdin.readline()
left = time.monotonic()
"""


@pytest.mark.timing
@pytest.mark.parametrize("held", [False, True])
def test_an_interpreter_with_work_queued_ends_within_two_seconds(
    held: bool, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", QUEUED, tmp_path / "s", *(["held"] if held else [])],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "MLPROV_THREADS": "2"},
    )  # fmt: skip
    holder: Any = None
    if held:
        import sqlite3

        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "hold\n"
        holder = sqlite3.connect(tmp_path / "s" / "store.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        process.stdin.write("go\n")
        process.stdin.flush()
    output, errors = process.communicate(timeout=60)
    took = float(output.split()[-1])
    if holder is not None:
        holder.execute("ROLLBACK")
        holder.close()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert took < 2
    with stores.open_store(tmp_path / "s") as store:
        (row,) = stores.read_runs(store)
    assert_log_holds(tmp_path / "s", row.id, tmp_path)


# ---- models and metrics ----


def test_a_model_that_another_thread_writes_to_all_the_time_never_stops_the_training(
    tmp_path: Path,
) -> None:
    model = torch.nn.Linear(600, 600)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            with torch.no_grad():
                model.weight.add_(0.001)

    thread = threading.Thread(target=write)
    with warnings_ignored(), mlprov.start("w", model=model, store=tmp_path / "s") as run:
        thread.start()
        try:
            for _ in run.epochs(4):
                for _ in range(3):
                    optimizer.zero_grad()
                    model(torch.ones(1, 600)).sum().backward()
                    optimizer.step()
        finally:
            ended.set()
            thread.join()
    records = stored(run)
    assert len(of_type(records, "epoch")) == 4
    assert the(records, "run.end")["gaps"] == len(of_type(records, "gap"))
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


@contextlib.contextmanager
def warnings_ignored() -> Iterator[None]:
    """Gaps are counted here, not warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        yield


def test_a_parameter_that_is_resized_and_freed_between_epochs_is_a_gap_at_most(
    tmp_path: Path,
) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(600, 600), torch.nn.Linear(600, 4))
    optimizer = torch.optim.Adam(model.parameters())
    with warnings_ignored(), mlprov.start("r", model=model, store=tmp_path / "s") as run:
        for epoch in run.epochs(4):
            optimizer.zero_grad(set_to_none=True)
            model(torch.ones(1, 600)).sum().backward()
            optimizer.step()
            if epoch.index == 2:
                kept = model[0].weight.detach().clone()
        # What is queued now is of the last epoch: take its memory away.
        storage = model[0].weight.untyped_storage()
        storage.resize_(0)
        storage.resize_(kept.numel() * 4)
        model[0].weight.data.copy_(kept)
        del model[0].bias
        gc.collect()
    records = stored(run)
    assert len(of_type(records, "epoch")) == 4
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_a_metric_on_its_graph_is_recorded_by_value_and_keeps_no_graph(tmp_path: Path) -> None:
    model, _ = network()
    inputs, targets = loader(1)[0]
    with mlprov.start("graph", store=tmp_path / "s") as run:
        for epoch in run.epochs(1):
            loss = torch.nn.functional.cross_entropy(model(inputs), targets)
            node = weakref.ref(loss)
            epoch.log(loss=loss, worst=loss * float("nan"), most=loss / 0)
            run.log(step=1, loss=loss)
            value = float(loss.detach())
            loss.backward()  # the graph is whole
            del loss
            assert node() is None
    epoch_record, metrics = the(stored(run), "epoch"), the(stored(run), "metrics")
    assert epoch_record["metrics"] == {"loss": value, "worst": "NaN", "most": "Infinity"}
    assert metrics["metrics"] == {"loss": value}


def test_two_models_of_one_run_are_recorded_together(tmp_path: Path) -> None:
    generator, discriminator = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)
    both = torch.nn.ModuleDict({"generator": generator, "discriminator": discriminator})
    optimizers = [torch.optim.Adam(one.parameters()) for one in (generator, discriminator)]
    with mlprov.start("gan", model=both, store=tmp_path / "s", every=1) as run:
        for _ in run.epochs(1):
            for batch in run.track([torch.ones(1, 2)] * 3):
                both.zero_grad()
                discriminator(generator(batch)).sum().backward()
                for optimizer in optimizers:
                    optimizer.step()
    records = stored(run)
    assert the(records, "epoch")["steps"] == 3
    assert len(of_type(records, "step")) == 3
    assert str(mlprov.digest_model(both).root) == the(records, "epoch")["weights"]["root"]
    proof = run.prove(tensor="generator.weight", step=2)
    assert proof is not None
    assert proof.leaf["shape"] == [2, 2]


def test_two_runs_that_record_one_model_at_once_agree(tmp_path: Path) -> None:
    model, optimizer = network()
    first = mlprov.start("a", model=model, optimizer=optimizer, store=tmp_path / "a")
    second = mlprov.start("b", model=model, optimizer=optimizer, store=tmp_path / "b")
    for ours, theirs in zip(first.epochs(2), second.epochs(2), strict=True):
        for batch in loader():
            train_step(model, optimizer, batch)
        ours.log(loss=0)
        theirs.log(loss=0)
    first.finish()
    second.finish()
    roots = [
        [e["weights"]["root"] for e in of_type(stored(run), "epoch")] for run in (first, second)
    ]
    assert roots[0] == roots[1]
    assert len(roots[0]) == 2


def test_the_curve_is_the_same_with_every_way_of_recording(tmp_path: Path) -> None:
    bare = losses()
    for number, options in enumerate(
        ({}, {"snapshot": "copy"}, {"every": 1}, {"check": "twice"}, {"seeds": "values"})
    ):
        assert losses(store=tmp_path / str(number), **options) == bare


# ---- what a run says and writes at its end ----


def test_an_end_that_nobody_can_be_told_of_is_an_end(tmp_path: Path) -> None:
    code = """
import os, sys, mlprov
sys.stderr = open("/dev/full", "w", buffering=1)
with mlprov.start("full", store=sys.argv[1]) as run:
    run.log(bad=object())
print(run.status)
"""
    done = run_script(code, tmp_path / "s", check=False)  # Python itself ends with 120 then
    assert done.stdout == "finished\n"


def test_a_run_that_has_ended_leaves_the_file_alone_that_it_is_to_save(tmp_path: Path) -> None:
    model, _ = network()
    with mlprov.start("ended", store=tmp_path / "s", model=model) as run:
        pass
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"abc")
    with pytest.raises(mlprov.StoreError, match="this run has ended"):
        run.save(path)
    assert path.read_bytes() == b"abc"


def test_steps_are_seen_where_the_optimizer_comes_after_the_run(tmp_path: Path) -> None:
    code = """
import sys, torch, mlprov
model = torch.nn.Linear(4, 2)
with mlprov.start("late", store=sys.argv[1], model=model, every=2) as run:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        model(torch.ones(3, 4)).sum().backward()
        optimizer.step()
print([record["step"] for record in run.records if record["type"] == "step"])
"""
    assert run_script(code, tmp_path / "s").stdout == "[2, 4]\n"

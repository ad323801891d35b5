"""Forked children: refused with a clear error, and harmless."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_for_tests import (
    assert_log_holds,
    of_type,
    run_script,
    state,
    stored,
)

import mlprov
from mlprov import stored_runs, stores

# ---- forks ----


def in_child(action: Callable[[], Any]) -> Any:
    """What an action returned, or the text of what it raised, in a forked child."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = action()
        except BaseException as error:  # noqa: BLE001
            answer = {
                "raised": type(error).__name__,
                "text": str(error),
                "trace": traceback.format_exc(),
            }
        os.write(writer, json.dumps(answer, default=str).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        text = file.read()
    os.waitpid(child, 0)
    return json.loads(text)


FORK_WHILE_LOADING = """
import importlib.abc, os, select, sys, threading
import mlprov

loading, about_to_fork, forked = threading.Event(), threading.Event(), threading.Event()

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == "mlprov.digests":
            loading.set()
            about_to_fork.wait()
            forked.wait(1)  # never, where the fork waits for this import

sys.meta_path.insert(0, Slow())
os.register_at_fork(before=about_to_fork.set, after_in_parent=forked.set)
thread = threading.Thread(target=lambda: mlprov.digest(b""))
thread.start()
loading.wait()
child = os.fork()
if child == 0:
    os._exit(mlprov.digest(b"abc").hex()[:2] != "64")
thread.join()
if not select.select([os.pidfd_open(child)], [], [], 20)[0]:
    os.kill(child, 9)
    sys.exit("the child hangs")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_forked_while_another_thread_loads_a_name_can_use_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK_WHILE_LOADING], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_a_forked_child_is_refused_with_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    with mlprov.start("fork", model=state(), store=tmp_path / "s") as run:
        for epoch in run.epochs(1):
            calls: list[Callable[[], Any]] = [
                lambda: run.log(a=1),
                lambda epoch=epoch: epoch.log(a=1),  # type: ignore[misc]
                lambda: list(run.track([b"x"])),
                lambda: run.track_data(train=[b"x"]),
                lambda: run.checkpoint(tmp_path / "f"),
                lambda: list(run.epochs(1)),
                lambda: run.export(tmp_path / "x.mlprov"),
                run.wait,
            ]
            for call in calls:
                answer = in_child(call)
                assert answer["raised"] == "StoreError", answer
                assert "child" in answer["text"]
                assert "\n" not in answer["text"]
    assert [record["type"] for record in stored(run)] == ["run.start", "model", "epoch", "run.end"]
    assert not (tmp_path / "x.mlprov").exists()


def test_a_child_that_leaves_the_block_ends_nothing(tmp_path: Path) -> None:
    def leave() -> str:
        run.__exit__(None, None, None)
        run.finish()
        return run.status

    with mlprov.start("fork", store=tmp_path / "s") as run:
        for epoch in run.epochs(2):
            if epoch.index == 0:
                assert in_child(leave) == "running"
    records = stored(run)
    assert [record["type"] for record in records] == ["run.start", "epoch", "epoch", "run.end"]
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_a_child_that_goes_on_with_the_loop_writes_nothing(tmp_path: Path) -> None:
    code = """
import os, sys, mlprov
with mlprov.start("fork", store=sys.argv[1]) as run:
    for epoch in run.epochs(3):
        if epoch.index == 0:
            child = os.fork()
        for _ in run.track([b"x"]) if child else [1]:
            pass
if child:
    print(run.id, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = run_script(code, tmp_path / "s")
    run_id, exit_code = done.stdout.split()
    assert exit_code == "1"
    assert "cannot record from a forked child" in done.stderr
    with stores.open_store(tmp_path / "s") as store:
        records = stored_runs.read_run(store, run_id).records
    assert [record["type"] for record in records] == [
        "run.start",
        "epoch",
        "epoch",
        "epoch",
        "run.end",
    ]
    assert_log_holds(tmp_path / "s", run_id, tmp_path)


def test_a_child_may_record_a_run_of_its_own(tmp_path: Path) -> None:
    def record() -> str:
        with mlprov.start("child", store=tmp_path / "s") as own:
            for epoch in own.epochs(2):
                epoch.log(loss=1)
        return own.id

    with mlprov.start("parent", store=tmp_path / "s") as run:
        for _ in run.epochs(1):
            children = [in_child(record) for _ in range(2)]
    for run_id in (run.id, *children):
        assert_log_holds(tmp_path / "s", run_id, tmp_path)
    with stores.open_store(tmp_path / "s") as store:
        assert {row.id for row in stores.read_runs(store)} == {run.id, *children}


@pytest.mark.forks_beside_threads
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_multiprocessing_do_no_harm(method: str, tmp_path: Path) -> None:
    code = """
import multiprocessing, sys, mlprov
def work(n):
    return n * 2
if __name__ == "__main__":
    with mlprov.start("pool", store=sys.argv[1]) as run:
        for _ in run.epochs(2):
            with multiprocessing.get_context(sys.argv[2]).Pool(3) as pool:
                assert pool.map(work, range(8)) == [n * 2 for n in range(8)]
    print(run.id, [r["type"] for r in run.records])
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "s", method],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.split(" ", 1)[1].strip() == "['run.start', 'epoch', 'epoch', 'run.end']"
    assert done.stderr == ""


@pytest.mark.forks_beside_threads
def test_forked_loader_workers_neither_hang_nor_record(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.arange(64.0).reshape(32, 2))

    def batches(run: Any) -> list[list[float]]:
        own = torch.utils.data.DataLoader(
            data, batch_size=4, num_workers=4, multiprocessing_context="fork"
        )
        return [batch.flatten().tolist() for (batch,) in (run.track(own) if run else own)]

    with mlprov.start("workers", store=tmp_path / "s") as run:
        for _ in run.epochs(2):
            assert batches(run) == batches(None)
    records = stored(run)
    assert [e["streams"][0]["batches"] for e in of_type(records, "epoch")] == [8, 8]
    assert of_type(records, "gap") == []
    assert_log_holds(tmp_path / "s", run.id, tmp_path)

"""How a run ends, what it says of itself, and a run that is switched off."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from training_for_tests import (
    ROOT,
    assert_log_holds,
    network,
    of_type,
    run_script,
    state,
    stored,
    the,
)

import mlprov
from mlprov import ConfigError, RecordingWarning, StoreError, _core

# ---- several runs, ends ----


def test_two_runs_in_one_process_do_not_mix(tmp_path: Path) -> None:
    first = mlprov.start("first", store=tmp_path / "s")
    second = mlprov.start("second", store=tmp_path / "s")
    for a, b in zip(first.epochs(2), second.epochs(2), strict=True):
        a.log(who=1)
        b.log(who=2)
    second.finish()
    first.log(after=True)
    first.finish()
    for run, who in ((first, 1), (second, 2)):
        assert [e["metrics"] for e in of_type(stored(run), "epoch")] == [{"who": who}] * 2
        assert_log_holds(tmp_path / "s", run.id, tmp_path)
    assert len({anchor["index"] for run in (first, second) for anchor in run.anchors}) == len(
        first.anchors
    ) + len(second.anchors)


def test_after_the_end_every_recording_call_says_so(tmp_path: Path) -> None:
    run = mlprov.start("over", model=state(), store=tmp_path / "s")
    epoch = next(iter(run.epochs(1)))
    run.finish()
    before = stored(run)
    (tmp_path / "f").write_bytes(b"x")
    for call in (
        lambda: run.log(a=1),
        lambda: epoch.log(a=1),
        lambda: run.track_data(train=[b"x"]),
        lambda: run.checkpoint(tmp_path / "f"),
        lambda: list(run.track([b"x"])),
        lambda: list(run.epochs(1)),
        run.wait,
    ):
        with pytest.raises(StoreError, match="has ended"):
            call()
    assert stored(run) == before
    assert run.records == before
    assert [anchor["head"] for anchor in run.anchors] == [2, 3, 4]


def test_finish_may_be_called_again_and_inside_the_block(tmp_path: Path) -> None:
    with mlprov.start("twice", store=tmp_path / "s") as run:
        run.finish()
        run.finish(status="failed")
    run.finish()
    assert the(stored(run), "run.end")["status"] == "finished"
    assert run.status == "finished"


def test_a_status_of_ones_own_is_refused(tmp_path: Path) -> None:
    run = mlprov.start("status", store=tmp_path / "s")
    with pytest.raises(ConfigError, match="excellent"):
        run.finish(status="excellent")
    run.finish(status="failed")
    assert (run.status, the(stored(run), "run.end")["exception"]) == ("failed", None)


def test_waiting_puts_every_head_into_the_log(tmp_path: Path) -> None:
    with mlprov.start("wait", store=tmp_path / "s") as run:
        assert run.anchors == []
        assert run.wait(1) is True
        assert [anchor["head"] for anchor in run.anchors] == [1]


def test_a_running_run_can_be_exported_and_proved(tmp_path: Path) -> None:
    with mlprov.start("open", model=state(), store=tmp_path / "s") as run:
        for epoch in run.epochs(1):
            epoch.log(loss=1)
        run.export(tmp_path / "open.mlprov")
        verdict = mlprov.verify(tmp_path / "open.mlprov")
        assert verdict.ok, str(verdict)
        proof = run.prove(record=0)
        assert proof is not None
        assert proof.verify().ok
    run.export(tmp_path / "open.mlprov")
    assert mlprov.verify(tmp_path / "open.mlprov").ok


@pytest.mark.parametrize(
    ("end", "status", "exception"),
    [
        ("", "finished", None),
        ("raise ValueError('hunter2')", "failed", "builtins.ValueError"),
        ("import sys; sys.exit(0)", "finished", None),
    ],
)
def test_a_script_that_never_calls_finish_ends_its_run_at_exit(
    end: str, status: str, exception: str | None, tmp_path: Path
) -> None:
    code = (
        f"import sys, mlprov\nrun = mlprov.start('exit', store=sys.argv[1])\nprint(run.id)\n{end}\n"
    )
    done = run_script(code, tmp_path / "s", check=False)
    from mlprov import stored_runs, stores

    with stores.open_store(tmp_path / "s") as store:
        last = stored_runs.read_run(store, done.stdout.strip()).records[-1]
    assert (last["type"], last["status"], last["exception"]) == ("run.end", status, exception)


def test_an_old_failure_of_the_session_is_not_the_runs(tmp_path: Path) -> None:
    code = (
        "import sys, mlprov\nsys.last_value = ValueError('old')\n"
        "run = mlprov.start('exit', store=sys.argv[1])\nprint(run.id)\n"
    )
    done = run_script(code, tmp_path / "s")
    from mlprov import stored_runs, stores

    with stores.open_store(tmp_path / "s") as store:
        assert stored_runs.read_run(store, done.stdout.strip()).records[-1]["status"] == "finished"


@contextlib.contextmanager
def held_by_another_process(store: Path, what: str) -> Iterator[None]:
    """Another process holds the database, or the lock of the store log, for the whole block."""
    hold = {
        "database": """
import sqlite3
held = sqlite3.connect(store + "/store.db", isolation_level=None)
held.execute("BEGIN IMMEDIATE")
""",
        "log": """
import fcntl, struct
held = open(store + "/log/.lock", "r+b")
whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
fcntl.fcntl(held, getattr(fcntl, "F_OFD_SETLK", 37), whole)
""",
    }[what]
    code = f"import sys\nstore = sys.argv[1]\n{hold}\nprint('held', flush=True)\nsys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, store], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        yield
    finally:
        holder.communicate(timeout=30)


@pytest.mark.parametrize("what", ["database", "log"])
def test_finish_waits_for_another_process_no_longer_than_it_was_told(
    what: str, tmp_path: Path
) -> None:
    run = mlprov.start("patience", model=state(), store=tmp_path / "s")
    for _ in run.epochs(1):
        pass
    run.wait()
    run.log(loss=1)
    with held_by_another_process(tmp_path / "s", what):
        started = time.monotonic()
        with pytest.warns(RecordingWarning, match="another process"):
            run.finish(timeout=0.5)
        assert time.monotonic() - started < 10  # of the 30 s that a store waits otherwise
    if what == "database":
        assert run.status == "incomplete"
    else:
        assert the(stored(run), "run.end")["status"] == "finished"
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_wait_is_bounded_too_and_a_later_one_puts_the_heads_into_the_log(tmp_path: Path) -> None:
    with mlprov.start("patience", model=state(), store=tmp_path / "s") as run:
        assert run.wait()
        for _ in run.epochs(1):
            pass
        with held_by_another_process(tmp_path / "s", "log"):
            started = time.monotonic()
            with pytest.warns(RecordingWarning, match="another process"):
                assert not run.wait(timeout=0)
            assert time.monotonic() - started < 10
        assert run.wait(timeout=5)
        assert [anchor["head"] for anchor in run.anchors] == [2, 3]


# ---- what a run says of itself ----


def test_a_run_prints_five_lines(tmp_path: Path) -> None:
    run = mlprov.start("print", model=state(), store=tmp_path / "s")
    lines = str(run).splitlines()
    assert [line.split()[0] for line in lines] == ["run", "head", "recorded", "cost", "verify"]
    assert run.id in lines[0]
    assert "running" in lines[0]
    assert run.head is not None
    assert run.head[1] in lines[1]
    assert f"mlprov export {run.id}" in lines[4]
    (tmp_path / "m.bin").write_bytes(b"x")
    run.checkpoint(tmp_path / "m.bin")
    run.finish()
    run.export(tmp_path / "b.mlprov")
    assert str(run).splitlines()[4].split(maxsplit=1)[1] == (
        f"mlprov verify {tmp_path / 'b.mlprov'} --model {tmp_path / 'm.bin'}"
    )
    assert "finished" in str(run)
    assert repr(run) == f"<mlprov.Run {run.id} 'print' finished>"


def test_the_line_to_type_next_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that a shell would take apart, a file that save() wrote and one recorded after it."""
    np = pytest.importorskip("numpy")
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLPROV_STORE", raising=False)
    with mlprov.start("paste", model={"w": np.ones(2)}, store="my store") as run:
        run.save("-it's a $model.safetensors")
        Path("log.txt").write_text("x")
        run.checkpoint("log.txt")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = str(run).splitlines()[4].removeprefix("verify ").strip()
    assert "log.txt" not in command
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 tensors" in done.stdout or "1 tensor" in done.stdout
    run.export("a bundle.mlprov")
    line = str(run).splitlines()[4]
    assert line.endswith(
        """mlprov verify 'a bundle.mlprov' --model './-it'"'"'s a $model.safetensors'"""
    )


def test_the_overhead_is_what_recording_took(tmp_path: Path) -> None:
    run = mlprov.start("overhead", model=state(), store=tmp_path / "s")
    before = run.overhead["seconds"]
    time.sleep(0.2)
    assert run.overhead["seconds"] == before
    started = time.perf_counter()
    for _ in run.epochs(3):
        list(run.track([b"x"] * 10))
    spent = time.perf_counter() - started
    assert before < run.overhead["seconds"] <= before + spent
    run.finish()
    final = run.overhead
    assert 0 < final["share"] < 1
    time.sleep(0.05)
    assert run.overhead == final


@pytest.mark.parametrize("name", ["", "  ", "a\0b", "\ud800", 3, None])
def test_a_run_has_a_name_that_can_be_written(name: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name"):
        mlprov.start(name, store=tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "name", ["naïve 実験", "a/b", "../..", "x" * 1000, "\x1b[31m", "'; DROP TABLE runs; --"]
)
def test_any_text_is_a_name(name: str, tmp_path: Path) -> None:
    with mlprov.start(name, store=tmp_path / "s", project=name) as run:
        pass
    start = the(stored(run), "run.start")
    assert (start["name"], start["project"]) == (name, name)
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


@pytest.mark.parametrize("algorithm", ["blake3", "sha256", "sha384", "sha512"])
def test_every_algorithm_is_used_for_tensors_and_batches(algorithm: str, tmp_path: Path) -> None:
    with mlprov.start("digests", model=state(), store=tmp_path / "s", algorithm=algorithm) as run:
        for _ in run.epochs(1):
            list(run.track([b"abc"]))
    records = stored(run)
    epoch = the(records, "epoch")
    with _core.Store(tmp_path / "s", read_only=True) as store:
        for tree in (epoch["weights"], epoch["streams"][0]["tree"]):
            leaf = store.get_leaves(bytes.fromhex(tree["root"][7:]))[0]
            assert f'"{algorithm}:'.encode() in leaf
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_seeds_are_left_out_when_they_are_not_wanted(tmp_path: Path) -> None:
    with mlprov.start("unseeded", store=tmp_path / "s", seeds=False) as run:
        for _ in run.epochs(1):
            pass
    records = stored(run)
    assert the(records, "run.start")["seeds"] is None
    assert the(records, "epoch")["rng"] == {}


# ---- switched off ----


def test_a_disabled_run_keeps_every_call_working_and_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPROV_DISABLED", "1")
    monkeypatch.chdir(tmp_path)
    batches = [object(), b"x"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with mlprov.start(
            "off", model=object(), optimizer=object(), config=object(), algorithm="md5"
        ) as run:
            run.track_data(train=object())
            for epoch in run.epochs(3):
                assert list(run.track(batches, role="train")) == batches
                epoch.log(loss=object())
            run.log(step=1, x=object())
            run.checkpoint("missing")
            assert run.wait(1) is False
            assert run.prove(tensor="x") is None
            assert run.export("x.mlprov") is None
            assert (run.head, run.records, run.anchors) == (None, [], [])
        run.finish()
        run.log(after=1)
        assert run.status == "disabled"
        assert "disabled" in str(run)
        assert run.overhead["seconds"] == 0
    assert list(tmp_path.iterdir()) == []


def test_a_disabled_run_still_writes_the_model_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("safetensors")
    monkeypatch.setenv("MLPROV_DISABLED", "1")
    model, _ = network()
    with mlprov.start("off", model=model) as run:
        run.save(tmp_path / "m.safetensors")
    assert mlprov.digest_model(tmp_path / "m.safetensors").root == mlprov.digest_model(model).root


@pytest.mark.timing
def test_a_disabled_run_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPROV_DISABLED", "1")
    batches = list(range(100_000))

    def plain() -> float:
        started = time.perf_counter()
        for _ in batches:
            pass
        return time.perf_counter() - started

    def disabled() -> float:
        run = mlprov.start("off")
        tracked = run.track(batches)
        started = time.perf_counter()
        for _ in tracked:
            pass
        return time.perf_counter() - started

    assert min(disabled() for _ in range(7)) < 2 * min(plain() for _ in range(7)) + 0.001
    started = time.perf_counter()
    for _ in range(100):
        mlprov.start("off").finish()
    assert time.perf_counter() - started < 0.5


@pytest.mark.timing
def test_a_run_starts_in_a_moment(tmp_path: Path) -> None:
    def start(number: int) -> float:
        started = time.perf_counter()
        run = mlprov.start("fast", model=state(), store=tmp_path / "s")
        spent = time.perf_counter() - started
        run.finish()
        return spent

    assert min(start(number) for number in range(8)) < 0.15

"""A run that was killed goes on in the same log, and both verifiers accept and show it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bundles_for_tests import BundleBuilder, check, standard_run, v, verify
from cli_for_tests import run_command
from resume_for_tests import MOMENTS, TRAINING, resumes, train
from runs_for_tests import ask_both
from training_for_tests import of_type, run_script, the

import mlprov
from mlprov import ConfigError, StoreError, bundles, keys, processes, stored_runs, stores
from mlprov.recorder import Recorder
from mlprov.run_records import RunRecords


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where the store will be."""
    return tmp_path / "store"


def rows(store: Path) -> list[stores.RunRow]:
    with stores.open_store(store, read_only=True) as opened:
        return stores.read_runs(opened)


def records_of(store: Path, run_id: str) -> list[dict[str, Any]]:
    with stores.open_store(store, read_only=True) as opened:
        return stored_runs.read_run(opened, run_id).records


def part(verdict: Any, name: str) -> Any:
    """One check of a verdict of mlprov."""
    return next(check for check in verdict.checks if check.name == name)


def verdict_of(store: Path, run_id: str) -> Any:
    """Both verifiers' verdict on the exported run."""
    path = store.parent / f"{run_id}.mlprov"
    with stores.open_store(store) as opened:
        opened.integrate()
        bundles.export_run(opened, run_id, path, disclose=["batches"])
    vkey = keys.owner_vkey()
    assert vkey is not None
    return ask_both(path, keys=[vkey])


@pytest.mark.parametrize(
    ("moment", "end"),
    [
        *((moment, "kill") for moment in MOMENTS),
        *(("batch", end) for end in ("term", "exit", "raise")),
    ],
)
def test_a_run_that_was_ended_at_any_moment_goes_on_in_the_same_log(
    moment: str, end: str, store: Path
) -> None:
    run_id, resumed, _, _ = train(store, f"{moment} {end}", resume="auto")
    assert resumed == "False"
    before = records_of(store, run_id)
    again, resumed, last, errors = train(store, resume="auto")

    assert (again, resumed, errors) == (run_id, "True", "")
    assert last == {"start": "None", "batch": "0", "step": "0", "last": "2"}[moment]
    records = records_of(store, run_id)
    assert records[: len(before)] == before
    assert resumes(records) == [(True, None)]
    assert [e["epoch"] for e in of_type(records, "epoch") if not e["interrupted"]] == [0, 1, 2]
    assert the(records, "run.end")["status"] == "finished"
    assert [row.status for row in rows(store)] == ["finished"]
    assert [key.name for key in (store / "keys").iterdir()] == ["log.pem"]
    assert not list((store / "trees").glob("*.open"))
    verdict = verdict_of(store, run_id)
    assert verdict.result == "holds"
    assert part(verdict, "complete").state == "holds", str(verdict)
    assert "loaded weights equal, as recorded" in part(verdict, "heads").detail


def test_a_killed_epoch_keeps_its_batches_up_to_what_had_reached_the_disk(store: Path) -> None:
    run_id = train(store, "batch kill", resume="auto")[0]
    train(store, resume="auto")
    records = records_of(store, run_id)
    (left,) = of_type(records, "batches")
    (stream,) = left["streams"]
    assert (stream["epoch"], stream["role"], stream["stopped"]) == (1, "train", True)
    assert 500 < stream["batches"] == stream["tree"]["size"] <= 1400
    assert (stream["bytes"], stream["samples"]) == (None, None)
    whole = sum(s["batches"] for e in of_type(records, "epoch") for s in e["streams"])
    assert the(records, "run.end")["batches"] == whole + stream["batches"]
    with stores.open_store(store) as opened:
        opened.integrate()
        proof = mlprov.proofs.prove(opened, run_id, batch=3)
    vkey = keys.owner_vkey()
    assert vkey is not None
    assert ask_both(bytes(proof), keys=[vkey]).result == "holds"
    assert "left open: train" in run_command("log", run_id, "--store", str(store)).out


def test_a_run_may_be_killed_and_resumed_again_and_again(store: Path) -> None:
    first = train(store, "batch kill", resume="auto")[0]
    for how in ("batch kill", "start kill", "batch exit"):
        assert train(store, how, resume="must")[:2] == [first, "True"]
    assert train(store, resume="must")[:2] == [first, "True"]
    records = records_of(store, first)
    assert len(of_type(records, "resume")) == 4
    streams = [s for r in of_type(records, "batches") for s in r["streams"]]
    assert len(streams) == 3
    assert part(verdict_of(store, first), "complete").state == "holds"


# ---- weights ----


def test_other_weights_than_the_last_recorded_are_said_to_be_others(store: Path) -> None:
    run_id = train(store, "last kill", resume="auto")[0]
    (store.parent / "saved.bin").write_bytes(b"\x02" + bytes(63))  # those of the epoch before
    errors = train(store, resume="auto")[3]
    assert "the loaded weights are not those that the run recorded last" in errors
    records = records_of(store, run_id)
    (resume,) = of_type(records, "resume")
    assert (resume["equal"], resume["differing"]) == (False, 1)
    same = records[resume["same"]]
    assert (same["type"], same["epoch"], same["weights"]) == ("epoch", 1, resume["weights"])
    verdict = verdict_of(store, run_id)
    assert "loaded weights not equal, as recorded" in part(verdict, "heads").detail
    assert part(verdict, "complete").state == "holds"  # epoch 2 once more, behind the resume
    shown = run_command("show", run_id, "--store", str(store)).out
    assert f"do not equal those of record {resume['last']}" in shown
    assert f"but equal those of record {resume['same']}" in shown


@pytest.mark.parametrize("model", [None, {"w": object()}])
def test_weights_that_cannot_be_compared_are_said_to_be_so(model: Any, store: Path) -> None:
    run_id = train(store, "batch kill", resume="auto")[0]
    if model is None:
        run = mlprov.start("t", store=store, resume="must")
    else:
        with pytest.warns(mlprov.RecordingWarning, match="weights"):
            run = mlprov.start("t", model=model, store=store, resume="must")
    run.finish()
    records = records_of(store, run_id)
    assert resumes(records) == [(None, None)]
    assert the(records, "run.end")["gaps"] == len(of_type(records, "gap")) == (model is not None)
    assert "not compared" in part(verdict_of(store, run_id), "heads").detail


# ---- which run ----


def test_without_an_unfinished_run_auto_begins_one_and_must_refuses(store: Path) -> None:
    with pytest.raises(StoreError, match=r"no unfinished run of that name .*seen none"):
        mlprov.start("t", store=store, resume="must")
    run_id, resumed, _, _ = train(store, resume="auto")
    assert resumed == "False"
    with pytest.raises(StoreError, match=rf"{run_id} \(finished\)"):
        mlprov.start("t", store=store, resume="must")
    assert train(store, "start kill", resume="auto")[0] != run_id


def test_a_run_of_another_name_or_project_is_left_alone(store: Path) -> None:
    killed = train(store, "batch kill", resume="auto")[0]
    for options in ({"name": "other"}, {"name": "t", "project": "thesis"}):
        with mlprov.start(store=store, resume="auto", **options) as run:  # type: ignore[arg-type]
            assert not run.resumed
    with pytest.raises(ConfigError, match="is called 't', not 'other'"):
        mlprov.start("other", store=store, resume="must", run_id=killed)
    with pytest.raises(ConfigError, match="algorithm='blake3'"):
        mlprov.start("t", store=store, resume="must", algorithm="sha256")


def test_a_run_whose_process_lives_is_not_taken(store: Path) -> None:
    with mlprov.start("t", store=store, resume="auto") as living:
        with mlprov.start("t", store=store, resume="auto") as other:
            assert not other.resumed
        with pytest.raises(StoreError, match="still records it"):
            mlprov.start("t", store=store, resume="must", run_id=living.id)
        assert living.status == "running"


OF_ANOTHER = "from mlprov import processes\nprocesses._host = lambda: 'blake3:' + '0' * 64\n"


def test_a_run_of_another_machine_is_resumed_by_its_id_alone(store: Path) -> None:
    done = run_script(OF_ANOTHER + TRAINING, store, "batch kill", "resume=auto", check=False)
    run_id = done.stdout.split()[0]
    with pytest.raises(StoreError, match="run_id="):
        mlprov.start("t", store=store, resume="must")
    with pytest.raises(ConfigError, match="resume='must'"):
        mlprov.start("t", store=store, resume="auto", run_id=run_id)
    assert train(store, resume="auto")[0] != run_id
    (store.parent / "saved.bin").unlink()
    assert train(store, resume="must", run_id=run_id)[:2] == [run_id, "True"]


def test_a_process_is_known_by_more_than_its_number() -> None:
    own = processes.describe_process()
    assert processes.is_gone(own) is False
    assert processes.is_gone({**own, "started": "1"}) is True  # the number was used again
    assert processes.is_gone({**own, "boot": "another"}) is True
    assert processes.is_gone({**own, "host": "another"}) is None
    assert processes.is_gone(None) is processes.is_gone({}) is None
    ended = subprocess.Popen([sys.executable, "-c", ""])
    described = {**own, "pid": ended.pid, "started": None}
    ended.wait()
    assert processes.is_gone(described) is True


RACER = """
import sys, mlprov
print("ready", flush=True)
sys.stdin.readline()
try:
    model = {"w": memoryview(bytes(64))}
    with mlprov.start("t", model=model, store=sys.argv[1], resume="must") as run:
        print("has it", flush=True)
        sys.stdin.readline()
except mlprov.StoreError as error:
    print("refused", error, flush=True)
"""


def test_of_processes_that_resume_a_run_at_once_exactly_one_gets_it(store: Path) -> None:
    run_id = train(store, "batch kill", resume="auto")[0]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, store],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = [racer.stdout.readline() for racer in racers if racer.stdout is not None]
    ends = [racer.communicate("end\n", timeout=60) for racer in racers]
    assert sorted(line.split()[0] for line in said) == ["has", "refused", "refused", "refused"]
    assert not any("Traceback" in errors for _, errors in ends), ends
    records = records_of(store, run_id)
    assert len(of_type(records, "resume")) == 1
    assert len(of_type(records, "batches")) == 1
    assert part(verdict_of(store, run_id), "complete").state == "holds"


def test_a_run_of_another_owner_goes_on_and_says_who_may_export_it(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = train(store, "batch kill", resume="auto")[0]
    vkey = keys.owner_vkey()
    monkeypatch.setenv("MLPROV_HOME", str(tmp_path / "somebody"))
    with pytest.warns(mlprov.RecordingWarning, match="owner key") as warned:
        mlprov.start("t", store=store, resume="must").finish()
    assert str(vkey) in str(warned[0].message)
    assert records_of(store, run_id)[-1]["status"] == "finished"
    with pytest.raises(ConfigError):
        mlprov.bundles.export_run(stores.open_store(store), run_id, tmp_path / "x.mlprov")


# ---- places and times ----


def test_a_store_that_was_moved_is_resumed_where_it_is(store: Path, tmp_path: Path) -> None:
    run_id = train(store, "batch kill", resume="auto")[0]
    moved = tmp_path / "elsewhere" / "store"
    moved.parent.mkdir()
    shutil.move(store, moved)
    shutil.move(tmp_path / "saved.bin", moved.parent)
    assert train(moved, resume="must")[:2] == [run_id, "True"]
    assert part(verdict_of(moved, run_id), "complete").state == "holds"


AN_HOUR_AGO = """
import time
now = time.time_ns
time.time_ns = lambda: now() - 3600 * 10**9
"""


def test_a_clock_that_went_back_is_recorded_and_times_still_ascend(store: Path) -> None:
    run_id = train(store, "batch kill", resume="auto")[0]
    run_script(AN_HOUR_AGO + TRAINING, store, "whole", "resume=must")
    records = records_of(store, run_id)
    times = [record["time"] for record in records]
    assert times == sorted(set(times))
    (resume,) = of_type(records, "resume")
    assert resume["clock"] < resume["time"]
    assert "the clock went back" in run_command("log", run_id, "--store", str(store)).out
    assert verdict_of(store, run_id).result == "holds"


def test_an_exception_leaves_a_run_unfinished_where_it_may_be_resumed(store: Path) -> None:
    run_id = train(store, "batch raise", resume="auto")[0]
    assert [row.status for row in rows(store)] == ["interrupted"]
    laid_down = records_of(store, run_id)[-1]
    assert laid_down["type"] == "interruption"
    assert laid_down["exception"] == "builtins.RuntimeError"
    assert "4711" not in str(records_of(store, run_id))
    assert part(verdict_of(store, run_id), "complete").state == "unchecked"


def test_a_run_that_was_not_to_be_resumed_ends_in_an_exception(store: Path) -> None:
    run_id = train(store, "batch raise")[0]
    assert records_of(store, run_id)[-1]["status"] == "failed"
    with pytest.raises(StoreError, match=r"has ended \(failed\)"):
        mlprov.start("t", store=store, resume="must", run_id=run_id)


def test_a_run_without_its_key_is_not_resumed_and_another_is_begun(store: Path) -> None:
    run_id = train(store, "batch kill", resume="auto")[0]
    (store / "keys" / f"{run_id}.pem").unlink()
    with pytest.raises(mlprov.Error, match=r"its key .* is missing"):
        mlprov.start("t", store=store, resume="must")
    other, resumed, _, errors = train(store, resume="auto")
    assert (other != run_id, resumed) == (True, "False")
    assert "not resumed, a new run is begun" in errors


def test_a_foreign_error_while_resuming_begins_another_run(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = train(store, "batch kill", resume="auto")[0]

    def fail(records: Any, *_: Any) -> None:
        records._recorder.gaps += 3
        raise RuntimeError("weights on a device that is gone")

    monkeypatch.setattr(RunRecords, "resume", fail)
    with (
        pytest.warns(mlprov.RecordingWarning, match="a new run is begun"),
        mlprov.start("t", store=store, resume="auto") as run,
    ):
        assert (run.id != run_id, run.resumed, run.recorder.gaps) == (True, False, 0)
    assert run.status == "finished"


def test_a_named_run_that_another_process_took_first_is_said_to_be_taken(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = train(store, "batch kill", resume="auto")[0]
    monkeypatch.setattr(Recorder, "reopen", lambda *_: False)
    with pytest.raises(StoreError, match="another process went on with it first"):
        mlprov.start("t", store=store, resume="must", run_id=run_id)


# ---- evidence that lies ----


def resumed_run(**changes: Any) -> BundleBuilder:
    """The standard run, with a resume between its two epochs."""
    builder = standard_run()
    place = next(r["seq"] for r in builder.records if r.get("epoch") == 0) + 1
    lines = builder.lines()[:place]
    note = builder.head(place, v.merkle_root(lines)).decode()
    record = {"type": "resume", "from": note, "equal": True, **changes}
    builder.records.insert(place, record)
    for seq, moved in enumerate(builder.records):
        moved |= {"seq": seq, "time": f"2026-11-21T09:30:{seq:02}.000Z"}
    return builder


def test_a_resume_from_what_is_no_head_before_it_fails() -> None:
    for change in ({"from": None}, {"from": ""}, {"from": 3}):
        verdict = verify(resumed_run(**change).build())
        assert check(verdict, "heads").state == "fails", change


@pytest.mark.parametrize("equal", [True, False, None, 1, "yes", []])
def test_what_a_resume_says_of_weights_is_shown_as_its_claim(equal: Any) -> None:
    builder = resumed_run(equal=equal)
    verdict = verify(builder.build())
    said = {True: "were equal", False: "were not equal"}.get(
        equal if isinstance(equal, bool) else None, "were not compared"
    )
    assert said in check(verdict, "heads").detail
    assert check(verdict, "complete").state == "holds"

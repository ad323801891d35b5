"""When things go wrong: one line that names it, and a training that goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults_for_tests import contents, names_it, used_store
from training_for_tests import (
    assert_log_holds,
    of_type,
    state,
    stored,
    the,
)

import mlprov
from mlprov import ConfigError, Error, RecordingWarning, UnsupportedTensorError, stores


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A store that has a run."""
    return used_store(tmp_path)


# ---- models ----


def collision() -> Any:
    torch = pytest.importorskip("torch")
    model = torch.nn.Module()
    model.inner = torch.nn.DataParallel(torch.nn.Linear(2, 2))
    model.inner.register_parameter("weight", torch.nn.Parameter(torch.zeros(1)))
    return model


def valueless() -> Any:
    torch = pytest.importorskip("torch")
    return torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2, device="meta"))


MODELS = [
    (valueless, UnsupportedTensorError, ("1.bias", "meta")),
    (collision, ConfigError, ("inner.module.weight", "inner.weight")),
    (lambda: {"a": object()}, ConfigError, ("'a'", "object")),
    (lambda: 3, ConfigError, ("int",)),
]


@pytest.mark.parametrize(("make", "kind", "words"), MODELS)
def test_a_model_that_cannot_be_read_raises_when_asked_and_the_store_is_as_it_was(
    make: Callable[[], Any], kind: type[Error], words: tuple[str, ...], used: Path
) -> None:
    before = contents(used)
    with pytest.raises(kind) as refused:
        mlprov.start("bad", model=make(), store=used, on_error="raise")
    assert names_it(refused.value, *words)
    assert contents(used) == before


@pytest.mark.parametrize(("make", "kind", "words"), MODELS)
def test_a_model_that_cannot_be_read_is_a_gap_and_the_rest_is_recorded(
    make: Callable[[], Any],
    kind: type[Error],
    words: tuple[str, ...],
    used: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with (  # noqa: PT031
        pytest.warns(RecordingWarning) as warned,
        mlprov.start("bad", model=make(), store=used) as run,
    ):
        for epoch in run.epochs(2):
            epoch.log(loss=1)
    assert any(names_it(w.message, *words) for w in warned if isinstance(w.message, Warning))
    records = stored(run)
    gaps = [
        (gap["what"], gap["epoch"]) for gap in of_type(records, "gap") if gap["what"] != "buffers"
    ]
    assert gaps == [("model", None), ("weights", 0), ("weights", 1)]
    assert [(e["weights"], e["metrics"]) for e in of_type(records, "epoch")] == [
        (None, {"loss": 1})
    ] * 2
    assert all(gap["error"].split()[0] == kind.__name__ for gap in of_type(records, "gap"))
    lost = len(of_type(records, "gap"))
    assert the(records, "run.end")["gaps"] == lost
    assert f"{lost} pieces of evidence were not recorded" in capsys.readouterr().err
    assert_log_holds(used, run.id, used.parent)


class Unreadable:
    """Has what optimizers have, and nothing that can be read."""

    param_groups: list[Any] = [{"params": [object()], "lr": 0.1}]  # noqa: RUF012

    @property
    def state(self) -> dict[str, Any]:
        return {"a\0b": 1}


def test_an_optimizer_that_cannot_be_read_is_a_gap(tmp_path: Path) -> None:
    with (
        pytest.warns(RecordingWarning, match="optimizer"),
        mlprov.start("odd", optimizer=Unreadable(), store=tmp_path / "s") as run,
    ):
        list(run.epochs(1))
    assert [gap["what"] for gap in of_type(stored(run), "gap")] == ["optimizer"]
    assert the(stored(run), "epoch")["optimizer"] is None


@pytest.mark.parametrize("bad", [object(), "adam", {"state": {}}, [], 0.1, dict])
def test_what_is_no_optimizer_is_refused_at_the_start(bad: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a torch optimizer or its state_dict"):
        mlprov.start("odd", optimizer=bad, store=tmp_path / "s")
    assert not (tmp_path / "s").exists()


# ---- raise ----


def test_with_on_error_raise_whatever_fails_raises(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    run = mlprov.start("raise", model=state(), store=tmp_path / "s", on_error="raise")
    for call in (
        lambda: list(run.track([torch.zeros(1, device="meta")])),
        lambda: run.track_data(train=object()),
        lambda: run.log(bad=object()),
        lambda: run.checkpoint(tmp_path / "missing"),
    ):
        with pytest.raises(Error) as raised:
            call()
        assert "\n" not in str(raised.value)
    for epoch in run.epochs(1):
        with pytest.raises(ConfigError, match="'bad'"):
            epoch.log(bad=object())
    run.finish()
    records = stored(run)
    assert of_type(records, "gap") == []
    assert the(records, "run.end")["status"] == "finished"


def test_warnings_that_are_errors_do_not_lose_the_gap(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = mlprov.start("strict", store=tmp_path / "s")
        with pytest.raises(RecordingWarning):
            run.log(bad=object())
        run.finish()
    assert the(stored(run), "run.end")["gaps"] == len(of_type(stored(run), "gap")) == 1


# ---- signals ----


def test_ctrl_c_inside_recording_ends_the_run_and_leaves_a_log_that_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlprov.batches import BatchInHand

    seen = []

    def interrupted(batch: BatchInHand) -> Any:
        seen.append(batch.number)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return genuine(batch)

    genuine = BatchInHand.capture
    monkeypatch.setattr(BatchInHand, "capture", interrupted)
    with pytest.raises(KeyboardInterrupt), mlprov.start("ctrl-c", store=tmp_path / "s") as run:  # noqa: PT012
        for _ in run.epochs(3):
            list(run.track([b"a"] * 5))
    records = stored(run)
    assert the(records, "run.end")["exception"] == "builtins.KeyboardInterrupt"
    stream = the(records, "epoch")["streams"][0]
    assert stream["batches"] == stream["tree"]["size"] == 3  # the third was hashed once more
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_a_real_ctrl_c_at_any_moment_leaves_a_log_that_holds(tmp_path: Path) -> None:
    code = """
import signal, sys, mlprov
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
print("ready", flush=True)
with mlprov.start("ctrl-c", store=sys.argv[1]) as run:
    for epoch in run.epochs(10**6):
        if int(epoch) < 10:
            print("in an epoch", flush=True)
        for _ in run.track([b"a"] * 20):
            pass
"""
    for number in range(6):  # 0: while the run starts; later ones: some milliseconds into an epoch
        process = subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "s"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for _ in range(number + 1):
            assert process.stdout.readline() != ""
        time.sleep(0.003 * number)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGINT, errors
        assert "KeyboardInterrupt" in errors
    with stores.open_store(tmp_path / "s") as store:
        rows = stores.read_runs(store)
    assert len(rows) >= 5
    for row in rows:
        assert_log_holds(tmp_path / "s", row.id, tmp_path)
    assert len([row for row in rows if row.status == "failed"]) >= 5


# ---- names ----


def test_a_file_name_that_is_not_unicode_is_recorded_by_its_bytes(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/m\xff.bin"
    Path(os.fsdecode(name)).write_bytes(b"x")
    with mlprov.start("names", store=tmp_path / "s") as run:
        run.checkpoint(os.fsdecode(name))
    checkpoint = the(stored(run), "checkpoint")
    assert checkpoint["files"][0]["path"] == {"bytes": "bf8uYmlu"}
    assert list(checkpoint["path"]) == ["bytes"]
    assert_log_holds(tmp_path / "s", run.id, tmp_path)

"""When things go wrong: one line that names it, a store as it was, and a training that goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from training_for_tests import (
    assert_log_holds,
    loader,
    network,
    of_type,
    run_script,
    state,
    stored,
    the,
    train_step,
)

import mlprov
from mlprov import ConfigError, Error, RecordingWarning, StoreError, UnsupportedTensorError, stores


def contents(path: Path) -> dict[str, bytes | None]:
    """Every file of a store; directories are None."""
    found = {
        p.relative_to(path).as_posix(): p.read_bytes() if p.is_file() else None
        for p in path.rglob("*")
    }
    found.pop("log/.lock", None)
    return found


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A store that has a run."""
    with mlprov.start("before", model=state(), store=tmp_path / "store") as run:
        for epoch in run.epochs(1):
            epoch.log(loss=1)
    return tmp_path / "store"


def names_it(error: BaseException, *words: str) -> bool:
    """Whether an error is one line that holds these words."""
    return "\n" not in str(error) and all(word in str(error) for word in words)


def losses(
    epochs: int = 4, *, during: Callable[[int], None] = lambda _: None, **start: Any
) -> list[float]:
    """The loss of every step of a small training; recorded where a store is named."""
    model, optimizer = network()
    curve = []
    run = None
    if start:
        run = mlprov.start("curve", model=model, optimizer=optimizer, **start)
    for index in run.epochs(epochs) if run else range(epochs):
        for number, batch in enumerate(run.track(loader()) if run else loader()):
            if number == 1:
                during(int(index.index) if run else index)
            curve.append(train_step(model, optimizer, batch))
        if run:
            index.log(loss=curve[-1])
    if run:
        run.finish()
    return curve


@pytest.fixture(scope="module")
def expected() -> list[float]:
    """The loss curve of the training that nothing disturbs."""
    return losses()


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


def test_an_optimizer_that_cannot_be_read_is_a_gap(tmp_path: Path) -> None:
    with (
        pytest.warns(RecordingWarning, match="optimizer"),
        mlprov.start("odd", optimizer=object(), store=tmp_path / "s") as run,
    ):
        list(run.epochs(1))
    assert [gap["what"] for gap in of_type(stored(run), "gap")] == ["optimizer"]
    assert the(stored(run), "epoch")["optimizer"] is None


# ---- stores that cannot be used ----


def blocked_by_a_file(path: Path) -> Path:
    path.write_text("in the way")
    return path


def below_a_file(path: Path) -> Path:
    path.write_text("in the way")
    return path / "store"


def no_parent(path: Path) -> Path:
    return path / "missing" / "store"


def holds_other_things(path: Path) -> Path:
    path.mkdir()
    (path / "thesis.tex").write_text("important")
    return path


def others_may_write(path: Path) -> Path:
    path.mkdir()
    path.chmod(0o777)
    return path


def a_dangling_link(path: Path) -> Path:
    path.symlink_to(path.parent / "nowhere" / "at-all")
    return path


def empty_name(path: Path) -> Path:
    return Path("/proc/nothing/store")


UNUSABLE = [
    blocked_by_a_file, below_a_file, no_parent, holds_other_things, others_may_write,
    a_dangling_link, empty_name,
]  # fmt: skip


@pytest.mark.parametrize("make", UNUSABLE)
def test_a_store_that_cannot_be_made_raises_when_asked(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = make(tmp_path / "place")
    before = contents(tmp_path)
    with pytest.raises((StoreError, ConfigError)) as refused:
        mlprov.start("nowhere", store=path, on_error="raise")
    assert names_it(refused.value, str(path.name if path.name == "store" else "place"))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("make", UNUSABLE)
def test_a_store_that_cannot_be_made_leaves_the_training_alone(
    make: Callable[[Path], Path],
    tmp_path: Path,
    expected: list[float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = make(tmp_path / "place")
    before = contents(tmp_path)
    with pytest.warns(RecordingWarning, match="not recorded: run"):
        assert losses(store=path) == expected
    assert contents(tmp_path) == before
    assert "was not recorded" in capsys.readouterr().err


def test_a_run_that_could_not_begin_answers_every_call(tmp_path: Path) -> None:
    with pytest.warns(RecordingWarning):
        run = mlprov.start("nothing", store=blocked_by_a_file(tmp_path / "place"), model=state())
    assert run.status == "unrecorded"
    with pytest.warns(RecordingWarning, match="nothing to export"):
        assert run.export(tmp_path / "x.mlprov") is None
    with pytest.warns(RecordingWarning, match="nothing to prove"):
        assert run.prove(record=0) is None
    run.log(a=object())
    run.track_data(train=object())
    assert (run.records, run.anchors, run.head, run.wait()) == ([], [], None, False)
    run.finish()
    assert run.status == "unrecorded"
    assert "nothing recorded" in str(run)


def test_an_owner_key_that_cannot_be_used_leaves_the_training_alone(
    used: Path, expected: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key.pem").write_text("no key")
    monkeypatch.setenv("MLPROV_OWNER_KEY", str(tmp_path / "key.pem"))
    before = contents(used)
    with pytest.warns(RecordingWarning, match=r"key\.pem"):
        assert losses(store=used) == expected
    assert contents(used) == before


# ---- stores that were damaged ----


def _truncate(path: Path, length: int) -> None:
    os.truncate(path / "store.db", length)


def _garbage(path: Path) -> None:
    (path / "store.db").write_bytes(b"This is no database. " * 1000)


def _another_database(path: Path) -> None:
    import sqlite3

    (path / "store.db").unlink()
    connection = sqlite3.connect(path / "store.db")
    connection.execute("CREATE TABLE t(a)")
    connection.commit()
    connection.close()


def _newer(path: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(path / "store.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()


DAMAGE: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: _truncate(path, 0),
    "a few bytes": lambda path: _truncate(path, 50),
    "half a header": lambda path: _truncate(path, 1000),
    "its first page": lambda path: _truncate(path, 4096),
    "garbage": _garbage,
    "another database": _another_database,
    "missing": lambda path: (path / "store.db").unlink(),
    "newer": _newer,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_store_is_named_and_left_as_it_is(
    kind: str, used: Path, expected: list[float]
) -> None:
    DAMAGE[kind](used)
    before = contents(used)
    with pytest.raises((StoreError, ConfigError)) as refused:
        mlprov.start("bad", store=used, on_error="raise")
    assert names_it(refused.value, str(used))
    with pytest.warns(RecordingWarning, match="not recorded"):
        assert losses(store=used) == expected
    assert contents(used) == before


@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.7, 0.9])
def test_a_store_cut_off_anywhere_never_stops_the_training(
    fraction: float, used: Path, expected: list[float]
) -> None:
    size = (used / "store.db").stat().st_size
    _truncate(used, int(size * fraction) // 4096 * 4096 + 100)
    with pytest.warns(RecordingWarning):
        assert losses(store=used) == expected


@pytest.mark.parametrize("page", range(1, 12))
def test_a_page_of_noise_anywhere_never_stops_the_training(
    page: int, used: Path, expected: list[float]
) -> None:
    with (used / "store.db").open("r+b") as file:
        file.seek(page * 4096)
        file.write(bytes((i * 37 + page) % 256 for i in range(4096)))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RecordingWarning
        )  # a page that nothing reads is not noticed
        assert losses(store=used) == expected


def test_a_store_deleted_during_a_run_is_said_at_the_end(
    tmp_path: Path, expected: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    def delete(epoch: int) -> None:
        if epoch == 2:
            shutil.rmtree(tmp_path / "s")

    with pytest.warns(RecordingWarning):
        assert losses(store=tmp_path / "s", during=delete) == expected
    assert "could not be written" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_a_run_whose_store_is_gone_says_so_when_it_is_read(tmp_path: Path) -> None:
    run = mlprov.start("gone", store=tmp_path / "s")
    shutil.rmtree(tmp_path / "s")
    with pytest.warns(RecordingWarning):
        run.finish()
    assert run.status == "incomplete"
    with pytest.raises(StoreError) as refused:
        _ = run.records
    assert names_it(refused.value, str(tmp_path / "s"))


def test_an_older_copy_in_place_of_the_store_is_noticed(tmp_path: Path) -> None:
    run = mlprov.start("copy", store=tmp_path / "s")
    shutil.copy(tmp_path / "s" / "store.db", tmp_path / "old.db")
    for _ in run.epochs(1):
        pass
    shutil.copy(tmp_path / "old.db", tmp_path / "s" / "store.db")
    with pytest.warns(RecordingWarning):  # noqa: PT031
        for _ in run.epochs(1):
            pass
        run.finish()
    assert run.status == "incomplete"


# ---- disks ----


def mount(path: Path, size_kib: int, *options: str) -> None:
    choice = ",".join((f"size={size_kib}k", "mode=0700", *options))
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", choice, "tmpfs", path], check=True, capture_output=True
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, for those who may mount one."""
    path = tmp_path / "disk"
    path.mkdir()
    try:
        mount(path, 1024)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system cannot be mounted here: {error}")
    yield path
    subprocess.run(["umount", "-l", path], check=False)


def resize(path: Path, size_kib: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size_kib}k", path], check=True)


def fill(path: Path) -> None:
    """Use up every byte that is left."""
    with (path / "filler").open("ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass


def test_a_read_only_file_system_is_named(small_disk: Path, expected: list[float]) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises((StoreError, ConfigError)) as refused:
        mlprov.start("ro", store=small_disk / "s", on_error="raise")
    assert names_it(refused.value, str(small_disk / "s"), "ead-only")
    with pytest.warns(RecordingWarning):
        assert losses(store=small_disk / "s") == expected


def test_a_store_that_became_read_only_is_named_and_left(
    small_disk: Path, expected: list[float]
) -> None:
    with mlprov.start("before", store=small_disk / "s"):
        pass
    before = contents(small_disk / "s")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises((StoreError, ConfigError)) as refused:
        mlprov.start("ro", store=small_disk / "s", on_error="raise")
    assert names_it(refused.value, str(small_disk / "s"))
    with pytest.warns(RecordingWarning):
        assert losses(store=small_disk / "s") == expected
    assert contents(small_disk / "s") == before


def test_a_disk_that_is_full_at_the_start_is_named(small_disk: Path, expected: list[float]) -> None:
    fill(small_disk)
    with pytest.raises((StoreError, ConfigError)) as refused:
        mlprov.start("full", store=small_disk / "s", on_error="raise")
    assert names_it(refused.value, str(small_disk), "space")
    with pytest.warns(RecordingWarning):
        assert losses(store=small_disk / "s") == expected


def test_a_store_on_a_full_disk_is_as_it_was(small_disk: Path) -> None:
    with mlprov.start("before", model=state(), store=small_disk / "s"):
        pass
    before = contents(small_disk / "s")
    fill(small_disk)
    with pytest.raises((StoreError, ConfigError)) as refused:
        mlprov.start(
            "full", model={"other": memoryview(b"x")}, store=small_disk / "s", on_error="raise"
        )
    assert names_it(refused.value, str(small_disk), "space")
    assert contents(small_disk / "s") == before


def test_a_disk_that_fills_up_for_a_while_costs_its_epochs_and_no_others(
    small_disk: Path, expected: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def during(epoch: int) -> None:
        if epoch == 1:
            fill(small_disk)
        elif epoch == 3:
            (small_disk / "filler").unlink()

    with pytest.warns(RecordingWarning):
        assert losses(store=small_disk / "s", during=during) == expected
    with stores.open_store(small_disk / "s") as store:
        (row,) = stores.read_runs(store)
        records = stores.decode_records(store, row.id)
    assert row.status == "finished"
    gaps = of_type(records, "gap")
    assert {gap["epoch"] for gap in gaps} == {1, 2}
    epochs = of_type(records, "epoch")
    assert [(e["epoch"], e["weights"] is not None, list(e["metrics"])) for e in epochs] == [
        (0, True, ["loss"]), (1, False, ["loss"]), (2, False, ["loss"]), (3, True, ["loss"])
    ]  # fmt: skip
    lost = sum(gap["count"] for gap in gaps)
    assert the(records, "run.end")["gaps"] == lost
    assert f"{lost} pieces of evidence were not recorded" in capsys.readouterr().err
    assert_log_holds(small_disk / "s", row.id, tmp_path)


def test_a_disk_that_stays_full_is_said_at_the_end(
    small_disk: Path, expected: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def during(epoch: int) -> None:
        if epoch == 1:
            fill(small_disk)

    with pytest.warns(RecordingWarning):
        assert losses(store=small_disk / "s", during=during) == expected
    assert "could not be written" in capsys.readouterr().err
    (small_disk / "filler").unlink()
    with stores.open_store(small_disk / "s") as store:
        (row,) = stores.read_runs(store)
        records = stores.decode_records(store, row.id)
    assert [record["type"] for record in records] == ["run.start", "model", "epoch"]
    assert_log_holds(small_disk / "s", row.id, tmp_path)


@pytest.mark.slow
def test_a_disk_that_fills_up_at_any_write_leaves_a_log_that_holds(
    small_disk: Path, expected: list[float], tmp_path: Path
) -> None:
    outcomes = set()
    for number, size_kib in enumerate([*range(4, 200, 12), *range(200, 400, 40)]):
        resize(small_disk, size_kib)
        path = small_disk / f"s{number}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RecordingWarning)
            assert losses(2, store=path) == expected[: len(expected) // 2]
        resize(small_disk, 4096)
        if (path / "store.db").exists() and (path / "store.db").stat().st_size > 0:
            with stores.open_store(path, create=True) as store:
                runs = stores.read_runs(store)
            for run in runs:
                assert_log_holds(path, run.id, tmp_path)
            outcomes.add(runs[0].status if runs else "nothing")
        else:
            outcomes.add("nothing")
        shutil.rmtree(path, ignore_errors=True)
    assert {"nothing", "running", "finished"} <= outcomes


def test_files_that_may_not_grow_leave_the_loss_curve_as_it_is(
    tmp_path: Path, expected: list[float]
) -> None:
    """Where nothing can be mounted: EFBIG in place of ENOSPC."""
    code = """
import json, resource, signal, sys
sys.path.insert(0, sys.argv[2])
from test_faults import losses
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def during(epoch):
    if epoch == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
curve = losses(store=sys.argv[1], during=during)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(json.dumps(curve))
"""
    done = run_script(code, tmp_path / "s", Path(__file__).parent)
    assert json.loads(done.stdout.splitlines()[-1]) == expected
    assert "mlprov: run" in done.stderr
    assert "could not be written" in done.stderr
    with stores.open_store(tmp_path / "s") as store:
        (row,) = stores.read_runs(store)
        records = stores.decode_records(store, row.id)
    assert [epoch["epoch"] for epoch in of_type(records, "epoch")] == [0]
    assert_log_holds(tmp_path / "s", row.id, tmp_path)


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


def test_with_on_error_raise_a_full_disk_raises_and_finish_can_be_called_again(
    small_disk: Path,
) -> None:
    run = mlprov.start("raise", store=small_disk / "s", on_error="raise")
    fill(small_disk)
    with pytest.raises(StoreError):
        for _ in run.epochs(2):
            pass
    with pytest.raises(StoreError):
        run.finish()
    assert not run.ended
    (small_disk / "filler").unlink()
    run.finish()
    records = stored(run)
    assert the(records, "run.end")["status"] == "finished"
    assert run.status == "finished"


def test_warnings_that_are_errors_do_not_lose_the_gap(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = mlprov.start("strict", store=tmp_path / "s")
        with pytest.raises(RecordingWarning):
            run.log(bad=object())
        run.finish()
    assert the(stored(run), "run.end")["gaps"] == len(of_type(stored(run), "gap")) == 1


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
        records = stores.decode_records(store, run_id)
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


# ---- signals ----


def test_ctrl_c_inside_recording_ends_the_run_and_leaves_a_log_that_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlprov import batches

    seen = []

    def interrupted(number: int, batch: object, algorithm: str) -> Any:
        seen.append(number)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return genuine(number, batch, algorithm)

    genuine = batches.capture_batch
    monkeypatch.setattr(batches, "capture_batch", interrupted)
    with pytest.raises(KeyboardInterrupt), mlprov.start("ctrl-c", store=tmp_path / "s") as run:  # noqa: PT012
        for _ in run.epochs(3):
            list(run.track([b"a"] * 5))
    records = stored(run)
    assert the(records, "run.end")["exception"] == "builtins.KeyboardInterrupt"
    assert the(records, "epoch")["streams"][0]["batches"] == 2
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_a_real_ctrl_c_at_any_moment_leaves_a_log_that_holds(tmp_path: Path) -> None:
    code = """
import sys, mlprov
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

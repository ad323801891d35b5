"""Stores that cannot be used or were damaged: named, left as they are, and no training stopped."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from faults_for_tests import contents, losses, names_it, used_store
from training_for_tests import run_script, state

import mlprov
from mlprov import ConfigError, RecordingWarning, StoreError


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A store that has a run."""
    return used_store(tmp_path)


@pytest.fixture(scope="module")
def expected() -> list[float]:
    """The loss curve of the training that nothing disturbs."""
    return losses()


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


def test_a_working_directory_that_cannot_be_written_says_how_to_name_another_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/proc stands for it: nobody may make a directory there, not even root."""
    monkeypatch.chdir("/proc")
    monkeypatch.delenv("MLPROV_STORE", raising=False)
    with pytest.raises(StoreError) as refused:
        mlprov.start("nowhere", on_error="raise")
    assert names_it(refused.value, "/proc/.mlprov", "set MLPROV_STORE", "store= to mlprov.start()")
    with pytest.warns(RecordingWarning, match="set MLPROV_STORE to a directory"):
        mlprov.start("nowhere").finish()
    monkeypatch.setenv("MLPROV_STORE", str(tmp_path / "s"))
    with mlprov.start("elsewhere") as run:
        pass
    assert run.status == "finished"


def test_a_directory_of_others_says_how_to_name_another_place(tmp_path: Path) -> None:
    code = """
import os, sys, mlprov
mlprov.start("before", store=sys.argv[1]).finish()  # Python's own files may be closed to others
os.environ["MLPROV_HOME"] = "here/home/user"
os.makedirs("here/home")
os.chmod("here/home", 0o777)
os.chmod("here", 0o555)
if os.geteuid() == 0:
    os.setuid(65534)
os.chdir("here")
try:
    mlprov.start("nowhere", on_error="raise")
except mlprov.StoreError as error:
    print(error)
"""
    # Not below pytest's own directory: that of root is closed to everybody else.
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        done = run_script(
            code.replace('"here', f'"{place}/here'),
            tmp_path / "s",
            MLPROV_STORE="",
        )
    assert f"{place}/here/.mlprov" in done.stdout
    assert "ermission denied" in done.stdout
    assert "set MLPROV_STORE" in done.stdout


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

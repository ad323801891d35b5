"""Disks that are full, read-only, or become so while a run is recorded."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from faults_for_tests import contents, losses, names_it
from runs_for_tests import ask_both, write_model
from training_for_tests import (
    assert_log_holds,
    of_type,
    run_script,
    state,
    stored,
    the,
)

import mlprov
from mlprov import ConfigError, RecordingWarning, StoreError, keys, stored_runs, stores


@pytest.fixture(scope="module")
def expected() -> list[float]:
    """The loss curve of the training that nothing disturbs."""
    return losses()


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
    assert names_it(refused.value, str(small_disk / "s"), "ead-only", "MLPROV_STORE", "store=")
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
        records = stored_runs.read_run(store, row.id).records
    assert row.status == "finished"
    gaps = of_type(records, "gap")
    assert {gap["epoch"] for gap in gaps} == {1, 2}
    epochs = of_type(records, "epoch")
    # The roots are known; where the disk was full their leaves are not kept, and a gap says so.
    assert [(e["epoch"], list(e["metrics"])) for e in epochs] == [(n, ["loss"]) for n in range(4)]
    assert len({e["weights"]["root"] for e in epochs}) == 4
    with stores.open_store(small_disk / "s") as store:
        kept = [
            e["epoch"]
            for e in epochs
            if store.has_leaves(bytes.fromhex(e["weights"]["root"].removeprefix("sha256:")))
        ]
    assert kept == [0, 3]
    assert {gap["what"] for gap in gaps} == {"leaves", "batches"}
    lost = sum(gap["count"] for gap in gaps)
    assert the(records, "run.end")["gaps"] == lost
    assert f"{lost} pieces of evidence were not recorded" in capsys.readouterr().err
    assert_log_holds(small_disk / "s", row.id, tmp_path)


def test_a_model_that_finds_no_room_is_no_file_and_an_error(small_disk: Path) -> None:
    model = {"weight": np.zeros(1 << 20)}
    with mlprov.start("save", model=model, store=small_disk.parent / "elsewhere") as run:
        fill(small_disk)
        with pytest.raises(StoreError, match=r"cannot write the model .*m\.safetensors"):
            run.save(small_disk / "m.safetensors")
        assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_a_root_whose_leaves_were_lost_verifies_and_says_what_is_missing(tmp_path: Path) -> None:
    """Both verifiers: the log holds, the model is unchecked, and no bundle is refused for it."""
    trees = tmp_path / "s" / "trees"
    model = {"weight": np.zeros(2)}
    path = write_model(tmp_path / "m.safetensors", {"weight": np.ones(2)})
    with mlprov.start("lost", model=model, store=tmp_path / "s") as run:
        epochs = run.epochs(2)
        for _ in range(2):
            next(epochs)
            model["weight"] += 1
        trees.rename(tmp_path / "kept")
        trees.write_text("in the way")
        with pytest.warns(RecordingWarning, match="leaves"):
            assert next(epochs, None) is None
        trees.unlink()
        (tmp_path / "kept").rename(trees)
    (last,) = [e for e in of_type(stored(run), "epoch") if e["epoch"] == 1]
    assert last["weights"]["root"] == str(mlprov.digest_model(model).root)
    gap = the(stored(run), "gap")
    assert (gap["what"], gap["epoch"], gap["count"]) == ("leaves", 1, 1)
    bundle = run.export(tmp_path / "b.mlprov")
    assert bundle is not None
    verdict = ask_both(bundle, keys=[str(keys.owner_vkey())], model=path)
    assert verdict["trees"].state == "holds"
    assert verdict["model"].state == "unchecked"
    assert verdict["complete"].state == "unchecked"
    assert ask_both(bundle, keys=[str(keys.owner_vkey())], model=path, epoch=0)["model"].state == (
        "holds"
    )


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
        records = stored_runs.read_run(store, row.id).records
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
from faults_for_tests import losses
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
        records = stored_runs.read_run(store, row.id).records
    assert [epoch["epoch"] for epoch in of_type(records, "epoch")] == [0]
    assert_log_holds(tmp_path / "s", row.id, tmp_path)


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

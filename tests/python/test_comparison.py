"""What ``mlprov.diff`` finds between runs, epochs, bundles and models."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from runs_for_tests import little_model, record, saved, user, write_model

import mlprov
from mlprov import archives


def names(found, kind):
    return [(change.change, change.name) for change in found.changes if change.kind == kind]


@pytest.fixture(scope="module")
def other(tmp_path_factory, recorded):
    """A copy of the store with a second run: another setting, metric, model and data set."""
    store = tmp_path_factory.mktemp("second") / "store"
    shutil.copytree(recorded.store, store)
    with user(recorded.home, store):
        model = little_model(3)
        model["extra"] = np.zeros(2, dtype=np.float32)
        del model["counter"]
        config = {"lr": 0.25, "layers": [4, 2], "new": True}
        with mlprov.start("other", model=model, config=config) as run:
            run.track_data(train=recorded.test, test=recorded.test)
            for epoch in run.epochs(1):
                epoch.log(loss=2.0)
    return store, run.id


def test_a_run_does_not_differ_from_itself(recorded):
    for left, right in (
        (recorded.run, recorded.run),
        ("little", recorded.run),
        (recorded.bundle, recorded.run),
        (str(recorded.bundle), recorded.full),
    ):
        found = mlprov.diff(left, right, store=recorded.store)
        assert not found
        assert found.changes == ()
        assert found.same["tensor"] == 4
        assert found.same["data"] == 3
        assert found.unknown == {}


def test_two_runs_differ_by_name_in_tensors_data_settings_and_metrics(recorded, other):
    store, run = other
    found = mlprov.diff(recorded.run, run, store=store)
    assert found
    tensors = names(found, "tensor")
    assert ("added", "extra") in tensors
    assert ("removed", "counter") in tensors
    assert ("changed", "bias") in tensors
    assert names(found, "data") == [("removed", "files"), ("changed", "train")]
    assert names(found, "setting") == [("changed", "lr"), ("added", "new")]
    assert names(found, "metric") == [("changed", "loss")]
    assert names(found, "package") == []
    change = next(change for change in found.changes if change.name == "lr")
    assert (change.before, change.after) == ("0.5", "0.25")


def test_the_order_of_the_sides_turns_the_changes_around(recorded, other):
    store, run = other
    forth = mlprov.diff(recorded.run, run, store=store)
    back = mlprov.diff(run, recorded.run, store=store)
    turned = {"added": "removed", "removed": "added", "changed": "changed"}
    assert [(c.kind, c.name, turned[c.change], c.after, c.before) for c in back.changes] == [
        (c.kind, c.name, c.change, c.before, c.after) for c in forth.changes
    ]


@pytest.mark.parametrize("of", ["run", "bundle"])
def test_two_epochs_of_a_run_differ_in_what_was_trained(recorded, of):
    side = recorded.run if of == "run" else recorded.bundle
    found = mlprov.diff(f"{side}:0", f"{side}:1", store=recorded.store)
    changed = ["bias", "counter", "embed.weight", "head.weight"]
    assert names(found, "tensor") == [("changed", name) for name in changed]
    assert names(found, "metric") == [("changed", "loss")]
    assert not names(found, "setting")


def test_a_model_is_compared_by_its_tensors_alone(recorded, tmp_path):
    arrays = recorded.epochs[-1]
    everything = write_model(tmp_path / "m.safetensors", arrays)
    for model in (everything, arrays, mlprov.digest_model(arrays)):
        found = mlprov.diff(recorded.run, model, store=recorded.store)
        assert not found
        assert found.same == {"tensor": 4}
        assert set(found.unknown) == {
            "data",
            "setting",
            "code",
            "package",
            "environment",
            "metric",
        }
    found = mlprov.diff(recorded.run, recorded.model, store=recorded.store)
    assert names(found, "tensor") == []
    arrays = {**arrays, "bias": arrays["bias"].astype(np.float64)}
    found = mlprov.diff(everything, arrays)
    assert names(found, "tensor") == [("changed", "bias")]
    assert "F64" in found.changes[0].after


def test_a_directory_of_shards_is_one_model(recorded, tmp_path):
    arrays = saved(recorded.epochs[-1])
    write_model(tmp_path / "a.safetensors", {"bias": arrays["bias"]})
    write_model(tmp_path / "b.safetensors", {n: arrays[n] for n in arrays if n != "bias"})
    assert not mlprov.diff(tmp_path, recorded.model)


def test_files_are_digested_as_the_run_was(tmp_path):
    with user(tmp_path / "home", tmp_path / "store"):
        model = little_model()
        with mlprov.start("sha", model=model, algorithm="sha256") as run:
            pass
        with mlprov.start("blake", model=model) as blake:
            pass
        path = write_model(tmp_path / "m.safetensors", model)
        assert not mlprov.diff(run.id, path)
        assert not mlprov.diff(model, run.id)
        found = mlprov.diff(run.id, blake.id)
        assert "blake3" in found.unknown["tensor"]
        assert "sha256" in found.unknown["tensor"]


def test_a_bundle_that_does_not_hold_is_not_compared(recorded, tmp_path):
    bad = tmp_path / "bad.mlprov"
    data = bytearray(recorded.data)
    data[-1] ^= 1
    bad.write_bytes(data)
    with pytest.raises(mlprov.EvidenceError, match="archive"):
        mlprov.diff(bad, recorded.bundle)
    entries = recorded.entries()
    entries["manifest.json"] = entries["manifest.json"].replace(b'"version":1', b'"version":2')
    bad.write_bytes(archives.write_archive(entries))
    with pytest.raises(mlprov.EvidenceError, match="version 2"):
        mlprov.diff(bad, recorded.bundle)


@pytest.mark.parametrize(
    ("side", "error", "message"),
    [
        (5, TypeError, "int"),
        (None, TypeError, "NoneType"),
        ("nowhere", mlprov.StoreError, "cannot find the run 'nowhere'"),
        ("little:9", mlprov.StoreError, "epoch 9"),
        ("@:7", mlprov.StoreError, "epoch 7"),
    ],
)
def test_what_cannot_be_compared_is_named(recorded, side, error, message):
    with pytest.raises(error, match=message):
        mlprov.diff(side, recorded.run, store=recorded.store)


def test_a_pickle_is_not_compared(recorded):
    with pytest.raises(mlprov.ConfigError, match="expected a run, a bundle, or safetensors"):
        mlprov.diff(recorded.pickle, recorded.model)


@pytest.mark.parametrize("of", ["run", "bundle"])
def test_a_run_of_files_alone_is_compared_by_its_last_file(recorded, tmp_path, of):
    with user(tmp_path / "home", tmp_path / "store"):
        with mlprov.start("file") as run:
            run.checkpoint(recorded.pickle)
            run.checkpoint(recorded.model)
        side = run.export(tmp_path / "file.mlprov") if of == "bundle" else run.id
        found = mlprov.diff(side, recorded.model)
        assert not found
        assert found.same["tensor"] == 3


def test_a_run_without_weights_has_no_tensors_to_compare(recorded, tmp_path):
    with user(tmp_path / "home", tmp_path / "store"):
        with mlprov.start("bare"):
            pass
        found = mlprov.diff("bare", recorded.bundle)
    assert "tensor" in found.unknown


def test_a_missing_store_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(mlprov.StoreError, match="mlprov init"):
        mlprov.diff("a", "b")


def test_twins_differ_in_nothing_that_was_trained(recorded, tmp_path):
    twin = record(tmp_path, home=recorded.home)
    found = mlprov.diff(recorded.bundle, twin.bundle)
    assert {change.kind for change in found.changes} <= {"environment", "code"}
    shutil.rmtree(twin.store)
    assert mlprov.diff(twin.bundle, twin.model).same["tensor"] == 3


# ---- tied weights ----


def test_a_tied_name_that_a_saved_file_leaves_out_is_tied_not_removed(recorded):
    found = mlprov.diff(recorded.run, recorded.model, store=recorded.store)
    assert found.changes == ()
    assert found.tied == {"head.weight": "embed.weight"}
    assert found.same["tensor"] == 3
    back = mlprov.diff(recorded.model, recorded.run, store=recorded.store)
    assert back.changes == ()
    assert back.tied == found.tied


def test_a_tied_tensor_that_changed_is_said_once(recorded, tmp_path):
    model = saved(little_model(7))
    path = write_model(tmp_path / "m.safetensors", model)
    found = mlprov.diff(little_model(2), path)
    changed = [("changed", "bias"), ("changed", "counter"), ("changed", "embed.weight")]
    assert names(found, "tensor") == changed
    assert found.tied == {"head.weight": "embed.weight"}


def test_a_name_whose_whole_group_is_gone_is_removed(tmp_path):
    path = write_model(tmp_path / "m.safetensors", {"bias": little_model()["bias"]})
    found = mlprov.diff(little_model(), path)
    removed = [("removed", name) for name in ("counter", "embed.weight", "head.weight")]
    assert names(found, "tensor") == removed
    assert found.tied == {}


def test_a_tensor_of_its_own_is_added_beside_a_file_that_calls_it_tied(tmp_path):
    """A file's metadata is the writer's word: only an equal tensor is taken for the tied one."""
    save_file = pytest.importorskip("safetensors.numpy").save_file
    arrays = little_model()
    one = tmp_path / "one.safetensors"
    save_file(saved(arrays), one, metadata={"head.weight": "embed.weight"})
    assert mlprov.diff(one, arrays).tied == {"head.weight": "embed.weight"}
    assert not mlprov.diff(one, arrays)
    both = write_model(tmp_path / "both.safetensors", arrays)
    assert mlprov.diff(both, one).tied == {"head.weight": "embed.weight"}
    arrays["head.weight"] = arrays["embed.weight"] + 1
    other = write_model(tmp_path / "other.safetensors", arrays)
    found = mlprov.diff(one, other)
    assert names(found, "tensor") == [("added", "head.weight")]
    assert found.tied == {}


def test_the_command_line_shows_tied_names_and_exits_with_0(recorded, capsys):
    from mlprov.cli.__main__ import main

    arguments = ["diff", recorded.run, str(recorded.model), "--store", str(recorded.store)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "head.weight = embed.weight" in shown
    assert "removed" not in shown


@pytest.mark.parametrize("side", ["x" * 100_000, "x" * 100_000 + ":1", "a\0b", "\ud800"])
def test_a_side_that_can_be_no_file_is_no_run_either(recorded, side):
    with user(recorded.home), pytest.raises(mlprov.StoreError, match="no file here") as error:
        mlprov.diff(side, recorded.run, store=recorded.store)
    assert len(str(error.value)) < 2000


# ---- code and packages: runs of a script, each in a process of its own ----

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import helper, steady
import mlprov
with mlprov.start("script") as run:
    pass
print(run.id)
"""


@pytest.fixture
def project(tmp_path):
    """A script, two modules beside it, and a folder with one installed package."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text(SCRIPT)
    (folder / "helper.py").write_text("RATE = 1\n")
    (folder / "steady.py").write_text("")
    metadata = tmp_path / "packages" / "toolbox-1.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: toolbox\nVersion: 1.0\n")
    return folder


def run_script(project):
    """Run the project's script; returns the id of the run that it recorded."""
    home = project.parent
    done = subprocess.run(
        [sys.executable, project / "train.py", home / "packages"],
        env={
            **os.environ,
            "MLPROV_HOME": str(home / "user"),
            "MLPROV_STORE": str(home / "store"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONSAFEPATH": "",  # the modules lie beside the script
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_an_edited_module_of_the_project_is_changed_code(project):
    before = run_script(project)
    (project / "helper.py").write_text("RATE = 2\n")
    found = mlprov.diff(before, run_script(project), store=project.parent / "store")
    assert names(found, "code") == [("changed", "helper.py")]
    (change,) = [change for change in found.changes if change.kind == "code"]
    assert change.before == str(mlprov.digest(b"RATE = 1\n"))
    assert change.after == str(mlprov.digest(b"RATE = 2\n"))
    assert found.same["code"] == 2
    assert names(found, "package") == []


def test_code_that_came_and_code_that_went_are_named(project):
    before = run_script(project)
    (project / "train.py").write_text(SCRIPT.replace("steady", "fresh"))
    (project / "fresh.py").write_text("")
    found = mlprov.diff(before, run_script(project), store=project.parent / "store")
    assert names(found, "code") == [
        ("added", "fresh.py"),
        ("removed", "steady.py"),
        ("changed", "train.py"),
    ]


def test_another_version_of_a_package_is_changed(project):
    before = run_script(project)
    metadata = project.parent / "packages" / "toolbox-1.dist-info" / "METADATA"
    metadata.write_text("Metadata-Version: 2.1\nName: toolbox\nVersion: 1.1\n")
    found = mlprov.diff(before, run_script(project), store=project.parent / "store")
    assert names(found, "package") == [("changed", "toolbox")]
    (change,) = [change for change in found.changes if change.kind == "package"]
    assert (change.before, change.after) == ("1.0", "1.1")
    assert names(found, "code") == []


def test_the_command_line_shows_the_code_that_changed(project, mlp):
    before = run_script(project)
    (project / "helper.py").write_text("RATE = 2\n")
    shown = mlp("diff", before, run_script(project), "--store", project.parent / "store")
    assert shown.code == 1
    assert any("code" in line and "helper.py" in line for line in shown.out.splitlines())

"""Data held against a run that mlprov recorded; both verifiers are asked."""

import os
import shutil

import numpy as np
import pytest
from bundles_for_tests import (
    SAMPLES,
    BundleBuilder,
    standard_run,
)
from runs_for_tests import (
    ask_both,
    user,
    write_model,
)

import mlprov
from mlprov import verification
from mlprov.questions import Question

KEYS = [str(BundleBuilder().owner_key)]


def states(verdict):
    return {check.name: check.state for check in verdict.checks}


def test_data_at_hand_are_compared_by_role(recorded):
    data = {"train": recorded.train, "test": recorded.test, "files": recorded.files}
    verdict = mlprov.verify(recorded.bundle, data=data, keys=[recorded.vkey])
    assert verdict.ok
    assert states(verdict)["data:train"] == "holds"
    swapped = {"train": (recorded.train[0], recorded.train[1][::-1])}
    verdict = mlprov.verify(recorded.bundle, data=swapped)
    check = verdict["data:train"]
    assert check.state == "fails"
    assert check.seen != check.expected
    assert check.seen is not None


def test_data_files_are_compared_by_role(recorded, tmp_path):
    np.save(tmp_path / "test.npy", recorded.test)
    pairs = write_model(
        tmp_path / "p.safetensors", {"0": recorded.train[0], "1": recorded.train[1]}
    )
    data = {"test": tmp_path / "test.npy", "train": pairs, "files": recorded.files}
    assert ask_both(recorded.bundle, keys=[recorded.vkey], data=data).ok
    np.save(tmp_path / "test.npy", recorded.test + 1)
    verdict = ask_both(recorded.bundle, keys=[recorded.vkey], data=data)
    assert verdict["data:test"].state == "fails"
    assert verdict["data:train"].state == "holds"


def test_a_changed_added_or_renamed_file_of_a_data_set_is_noticed(recorded, tmp_path):
    for number, change in enumerate(
        (
            lambda d: (d / "a.txt").write_bytes(b"second\n"),
            lambda d: (d / ".hidden").write_bytes(b""),
            lambda d: (d / "a.txt").rename(d / "b.txt"),
            lambda d: (d / "a.txt").unlink(),
        )
    ):
        copy = tmp_path / str(number)
        shutil.copytree(recorded.files, copy)
        assert ask_both(recorded.bundle, keys=[recorded.vkey], data={"files": copy}).ok
        change(copy)
        verdict = ask_both(recorded.bundle, keys=[recorded.vkey], data={"files": copy})
        assert verdict["data:files"].state == "fails"


@pytest.mark.parametrize(
    "name",
    ["x.csv", "missing.npy", "broken.npy", "objects.npy", "zip.npy", "short.npy", "fifo.npy"],
)
def test_data_that_cannot_be_read_as_recorded_are_unchecked(recorded, tmp_path, name):
    path = tmp_path / name
    if name == "objects.npy":
        np.save(path, np.array([None, {}]), allow_pickle=True)
    elif name == "zip.npy":
        np.savez(tmp_path / "zip.npz", recorded.test)
        (tmp_path / "zip.npz").rename(path)
    elif name == "short.npy":
        np.save(path, recorded.test)
        path.write_bytes(path.read_bytes()[:-4])
    elif name == "fifo.npy":
        os.mkfifo(path)
    elif name != "missing.npy":
        path.write_bytes(b"\x93NUMPY\x01\x00\xff\xff{" if name == "broken.npy" else b"1,2\n")
    verdict = ask_both(recorded.bundle, keys=[recorded.vkey], data={"test": path})
    assert verdict["data:test"].state == "unchecked"
    assert verdict.exit_code == 2


def test_an_unknown_role_is_unchecked(recorded):
    verdict = ask_both(recorded.bundle, keys=[recorded.vkey], data={"nobody": recorded.files})
    assert verdict["data:nobody"].state == "unchecked"
    assert verdict.exit_code == 2


def test_a_data_set_alone_stands_for_the_only_role(recorded, tmp_path):
    check = mlprov.verify(recorded.bundle, data=recorded.test)["data"]
    assert check.state == "unchecked"
    assert "files, test, train" in check.detail
    with user(tmp_path / "home", tmp_path / "store"):
        with mlprov.start("one", store=tmp_path / "store") as run:
            run.track_data(train=recorded.test)
        bundle = run.export(tmp_path / "one.mlprov")
        assert mlprov.verify(bundle, data=recorded.test)["data:train"].state == "holds"


# ---- arrays at hand ----


def data_state(array) -> str:
    question = Question(data={"bare": array}, keys=KEYS)
    verdict = verification.verify_bytes(standard_run().build(), "it", question)
    return verdict["data:bare"].state


def test_an_array_at_hand_has_the_type_and_the_shape_that_were_recorded():
    array = np.frombuffer(SAMPLES, dtype="<f4").reshape(3, 2)
    assert data_state(array) == "holds"
    assert data_state(array.astype(">f4")) == "holds"
    for other in (
        array.view("<i4"),
        array.view("<c8"),
        array.view("V8"),
        array.reshape(3, 2, 1),
        [array],
    ):
        assert data_state(other) == "fails"


def test_what_differs_is_named_with_what_was_recorded(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.frombuffer(SAMPLES, dtype="<i4").reshape(3, 2))
    verdict = ask_both(standard_run().build(), keys=KEYS, data={"bare": path})
    assert verdict["data:bare"].seen == '{"dtype": "I32", "shape": [2]}'
    assert verdict["data:bare"].expected == '{"dtype": "F32", "shape": [2]}'

"""Data held against a run that mlprov recorded; both verifiers are asked."""

import hashlib
import os
import shutil

import numpy as np
import pytest
from bundles_for_tests import (
    SAMPLES,
    BundleBuilder,
    standard_run,
    v,
)
from runs_for_tests import (
    ask_both,
    user,
    write_model,
)

import mlprov
from mlprov import keys, verification
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


# ---- which sample differs ----


def told_by_both(evidence, key, **asked):
    """The failing check as both verifiers tell it: the same seen and expected."""
    verdict = ask_both(evidence, keys=[key], **asked)
    request = v.Request(keys=[v.parse_vkey(key)], **asked)
    theirs = {check.name: check for check in v.verify_bytes(evidence.read_bytes(), request).checks}
    (check,) = verdict.failing
    assert (check.seen, check.expected) == (theirs[check.name].seen, theirs[check.name].expected)
    return check, theirs[check.name].detail


def digest_of(content):
    return str(mlprov.digest(content))


@pytest.mark.parametrize(
    ("change", "name", "seen", "expected"),
    [
        (lambda d: (d / "a.txt").write_bytes(b"x"), "a.txt", b"x", b"first\n"),
        (lambda d: (d / "z").write_bytes(b"new"), "z", b"new", None),
        (lambda d: (d / ".z").write_bytes(b""), ".z", b"", None),
        (lambda d: (d / "a.txt").unlink(), "a.txt", None, b"first\n"),
        (lambda d: (d / "a.txt").rename(d / "b.txt"), "a.txt", None, b"first\n"),
        (lambda d: (d / "a.txt").rename(d / "A.txt"), "A.txt", b"first\n", None),
        (lambda d: shutil.rmtree(d / "sub"), "sub/ü.bin", None, bytes(range(256))),
    ],
    ids=["changed", "added", "hidden", "removed", "renamed", "renamed before", "folder removed"],
)
def test_the_first_file_that_differs_is_named_where_samples_are_disclosed(
    recorded, tmp_path, change, name, seen, expected
):
    copy = tmp_path / "copy"
    shutil.copytree(recorded.files, copy)
    change(copy)
    check, theirs = told_by_both(recorded.full, recorded.vkey, data={"files": copy})
    assert check.name == "data:files"
    assert check.seen == ("absent" if seen is None else digest_of(seen))
    assert check.expected == ("absent" if expected is None else digest_of(expected))
    for detail in (check.detail, theirs):
        assert f"file '{name}'" in detail
    for value in {check.seen, check.expected} - {"absent"}:
        assert value in check.detail


@pytest.mark.parametrize(
    ("change", "index"),
    [
        (lambda a: np.concatenate([a[:1], a[1:2] + 1, a[2:] + 1]), 1),
        (lambda a: np.concatenate([a, a[:1]]), 3),
        (lambda a: a[:-1], 2),
        (lambda a: a[:0], 0),
        (lambda a: a[[0, 2, 1]], 1),
    ],
    ids=["changed", "added", "removed", "all removed", "swapped"],
)
def test_the_first_sample_that_differs_is_named_where_samples_are_disclosed(
    recorded, tmp_path, change, index
):
    other = change(recorded.test)
    np.save(tmp_path / "x.npy", other)
    check, theirs = told_by_both(recorded.full, recorded.vkey, data={"test": tmp_path / "x.npy"})
    rows = [
        digest_of(array[index].tobytes()) if index < len(array) else "absent"
        for array in (other, recorded.test)
    ]
    assert [check.seen, check.expected] == rows
    assert f"sample {index} " in check.detail
    assert f"sample {index} " in theirs
    at_hand = mlprov.verify(recorded.full, data={"test": other}, keys=[recorded.vkey])
    assert at_hand["data:test"] == check


def test_a_sample_of_a_pair_that_differs_is_named(recorded, tmp_path):
    labels = recorded.train[1].copy()
    labels[4] += 1
    pairs = write_model(tmp_path / "p.safetensors", {"0": recorded.train[0], "1": labels})
    check, _ = told_by_both(recorded.full, recorded.vkey, data={"train": pairs})
    assert check.detail.startswith(f"sample 4 is {check.seen}; record ")
    assert check.detail.endswith(f" says {check.expected}")


def test_without_leaves_it_is_said_why_no_sample_can_be_named(recorded, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(recorded.files, copy)
    (copy / "a.txt").write_bytes(b"other\n")
    verdict = ask_both(recorded.bundle, keys=[recorded.vkey], data={"files": copy})
    check = verdict["data:files"]
    assert "does not disclose their leaves" in check.detail
    assert "--disclose samples" in check.detail
    assert check.seen.startswith("sha256:")
    assert check.expected.startswith("sha256:")
    assert check.seen != check.expected


# ---- files that are no safetensors ----


def sha256_of(path):
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.mark.parametrize("name", ["model.pkl", "renamed.pkl"])
def test_a_pickle_that_differs_is_told_by_both_digests(recorded, tmp_path, name):
    other = tmp_path / name
    other.write_bytes(recorded.pickle.read_bytes() + b".")
    check, _ = told_by_both(recorded.bundle, recorded.vkey, model=other)
    # A file of a name that no record lists is held against those of the last checkpoint.
    same_name = name == recorded.pickle.name
    assert check.seen == sha256_of(other)
    assert check.expected == sha256_of(recorded.pickle if same_name else recorded.model)
    assert check.seen in check.detail
    assert check.expected in check.detail


@pytest.mark.parametrize("change", ["changed", "added", "removed"])
def test_a_directory_of_opaque_files_names_the_file_that_differs(tmp_path, change):
    folder = tmp_path / "saved"
    folder.mkdir()
    for name in ("b.bin", "c.bin"):
        (folder / name).write_bytes(name.encode())
    with user(tmp_path / "home", tmp_path / "store"):
        with mlprov.start("opaque") as run:
            run.checkpoint(folder)
        bundle, vkey = run.export(tmp_path / "x.mlprov"), keys.owner_vkey()
    before = sha256_of(folder / "b.bin")
    if change == "changed":
        (folder / "b.bin").write_bytes(b"other")
        name, seen, expected = "b.bin", sha256_of(folder / "b.bin"), before
    elif change == "added":
        (folder / "a.bin").write_bytes(b"new")
        name, seen, expected = "a.bin", sha256_of(folder / "a.bin"), "absent"
    else:
        (folder / "b.bin").unlink()
        name, seen, expected = "b.bin", "absent", before
    check, theirs = told_by_both(bundle, vkey, model=folder)
    assert (check.seen, check.expected) == (seen, expected)
    assert f"'{name}'" in check.detail
    assert f"'{name}'" in theirs


# ---- what cannot be compared ----


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

"""Errors of the command line say what was attempted, seen and expected, and then what to do."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from cli_for_tests import is_error

import mlprov
from mlprov.stores import open_store


def remedy(result):
    """The second line; there must be one."""
    lines = result.err.splitlines()
    assert len(lines) == 2, result.err
    return lines[1].removeprefix("mlprov: ")


@pytest.mark.parametrize(
    ("what", "seen", "to_do"),
    [
        (["--tensor", "bais"], "'bais'", "did you mean 'bias'?"),
        (["--tensor", "nothing"], "no record has one of that name", "there are: 'bias'"),
        (["--tensor", "bias", "--epoch", "9"], "epochs 0 to 1", "name one that is recorded"),
        (["--batch", "9"], "batches 0 to 1", "name one of them"),
        (["--batch", "0", "--epoch", "9"], "epochs 0 to 1", "name one that is recorded"),
        (["--batch", "0", "--role", "trian"], "the role 'trian'", "did you mean 'train'?"),
        (["--sample", "99", "--role", "train"], "samples 0 to 5", "name one of them"),
        (["--sample", "3"], "several roles", "--role (role=): files, test, train"),
        (["--sample", "3", "--role", "trian"], "the role 'trian'", "did you mean 'train'?"),
        (["--sample", "²", "--role", "train"], "'²'", "by its number, 0 to 5"),
        (["--sample", "sub/u.bin", "--role", "files"], "no file", "did you mean 'sub/ü.bin'?"),
        (["--record", "99"], "records 0 to 9", "mlprov log"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_proved_is_said_with_what_can(mlp, here, what, seen, to_do):
    result = mlp("prove", here.run, *what)
    assert is_error(result, seen)
    assert to_do in remedy(result)


def test_what_is_no_evidence_is_said_with_what_is(mlp, here, tmp_path):
    for name, seen in (
        ("nowhere.mlprov", "cannot read nowhere.mlprov: No such file"),
        (tmp_path, "Is a directory"),
        ("/dev/null", "not a regular file"),
    ):
        result = mlp("verify", name)
        assert is_error(result, seen)
        assert "mlprov export" in remedy(result)


def test_a_run_that_is_given_to_verify_is_to_be_exported(mlp, here):
    for name in (here.run, "little"):
        result = mlp("verify", name)
        assert is_error(result, f"cannot verify {name}: there is no such file")
        assert f"mlprov export {here.run}" in remedy(result)
    Path("little.mlprov").write_bytes(here.data)
    assert remedy(mlp("verify", "little")) == "did you mean little.mlprov?"


def test_only_a_bundle_is_imported(mlp, here, tmp_path):
    store = ["--store", tmp_path / "new"]
    Path("text").write_text("import torch\n")
    Path("empty").write_bytes(b"")
    for name, seen in (("text", "not b'impo'"), ("empty", "not b''")):
        result = mlp("import", name, *store)
        assert is_error(result, f"cannot import {name}: it is no bundle", seen)
        assert "mlprov export" in remedy(result)
    assert mlp("prove", here.run, "--tensor", "bias").code == 0
    result = mlp("import", "tensor.proof.json", *store)
    assert is_error(result, "a proof file")
    assert "mlprov verify tensor.proof.json" in remedy(result)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("verb", ["verify", "trust", "import"])
def test_what_is_no_key_is_said_with_where_a_key_comes_from(mlp, here, verb):
    Path("text").write_text("hello\n")
    Path("binary").write_bytes(b"\xff\xfe\x00")
    for name, seen in (
        ("garbage", "'garbage' as a key: it is neither a verifier key"),
        (here.vkey[:-1], "malformed verifier key"),
        ("text", "its first line is no verifier key"),
        ("binary", "it holds no text"),
        (here.home / "owner.pem", "it holds a private key"),
        (".", "Is a directory"),
    ):
        result = mlp("trust", name) if verb == "trust" else mlp(verb, here.bundle, "--key", name)
        assert is_error(result, "cannot use", seen)
        assert "mlprov keys" in remedy(result)


def test_a_label_that_nobody_has_is_said(mlp, here):
    assert mlp("trust", here.vkey, "--label", "alice").code == 0
    result = mlp("trust", "bob", "--remove")
    assert is_error(result, "cannot remove the trusted key 'bob'", "none of 1 pinned key has")
    assert "mlprov trust --list" in remedy(result)
    assert mlp("trust", "alice", "--remove").code == 0


def test_what_is_no_side_of_a_diff_is_said_with_what_is_one(mlp, here, tmp_path):
    for side in ("nope", "nope.safetensors", f"{here.run}@1", "nope:1"):
        result = mlp("diff", side, here.model)
        assert is_error(result, f"cannot compare '{side}'", "no file here")
        assert "@:0" in remedy(result)
    result = mlp("diff", f"{here.run}:9", here.model)
    assert is_error(result, "no record of epoch 9")
    assert remedy(result) == "epochs 0 to 1 are recorded"
    result = mlp("diff", "nope", here.model, "--store", tmp_path / "no-store")
    assert is_error(result, "no file here", "there is none")


def test_wrong_use_names_the_help_of_its_verb(mlp):
    for command in (["show", "--type"], ["verify"], ["ls", "-n", "many"]):
        assert remedy(mlp(*command)) == f"'mlprov {command[0]} --help' says more"
    for command in (["frob"], ["--frob"]):
        assert remedy(mlp(*command)) == "'mlprov --help' says more"


def test_a_run_of_nearly_that_name_is_named(mlp, here):
    assert "did you mean 'little'?" in remedy(mlp("show", "litle"))
    assert "did you mean" not in remedy(mlp("show", "something else"))


def test_a_file_that_cannot_be_hashed_is_said_with_what_to_do(mlp, here):
    result = mlp("hash", "nope")
    assert is_error(result, "cannot hash nope: No such file")
    assert "check the name" in remedy(result)
    Path("text").write_text("hello, this is text\n")
    result = mlp("hash", "--tensors", "text")
    assert is_error(result, "cannot list the tensors of text: not a safetensors file")
    assert "--tensors" in remedy(result)
    Path("list").write_text("hello\n")
    assert "as 'mlprov hash' or b3sum prints it" in remedy(mlp("hash", "--check", "list"))
    Path("list").write_text("hello\n" * 1000)
    said = mlp("hash", "--check", "list").err.splitlines()
    assert said[-1] == "mlprov: cannot read 995 more lines of list"
    assert len(said) == 7


def test_a_tensor_of_a_huge_model_is_sought_among_its_neighbours_quickly():
    """Names are whatever evidence says: comparing them must not take for ever."""
    from mlprov.wording import meant

    assert meant("n" * 100_000, ["n" * 100_000]).startswith("there are: 'nnn")
    many = [f"layers.{n}.weight" for n in range(100_000)]
    assert meant("layers.7.wieght", many).startswith("did you mean 'layers.7.weight'")
    assert "and 99995 more" in meant("zzz", many)


@pytest.mark.parametrize("verb", ["verify", "hash", "doctor"])
@pytest.mark.parametrize("variable", ["MLPROV_THREADS", "MLPROV_HASH_IMPL"])
def test_a_wrong_environment_is_no_verdict(verb: str, variable: str) -> None:
    """Exit code 1 would say that the evidence does not hold."""
    done = subprocess.run(
        [sys.executable, "-m", "mlprov", verb, __file__],
        env={**os.environ, variable: "none"},
        capture_output=True,
        text=True,
    )
    said = done.stderr.splitlines()
    assert done.returncode == 2
    assert [line.split()[0] for line in said] == ["mlprov:", "mlprov:"], done.stderr
    assert variable in said[0]


def test_a_closed_output_leaves_the_exit_code(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    command = f"{sys.executable} -m mlprov hash {file} >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_input_is_said(tmp_path: Path) -> None:
    command = f"{sys.executable} -m mlprov hash - <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("mlprov: cannot read standard input: it is closed")


def test_a_list_that_names_what_no_file_can_be_called_is_checked_otherwise(mlp, tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    digest = mlp("hash", str(tmp_path / "file")).out.split()[0]
    lines = tmp_path / "list"
    lines.write_text(f"{digest}  a\0b\n{digest}  {tmp_path / 'file'}\n")
    result = mlp("hash", "--check", str(lines))
    assert result.code == 2
    assert "file: OK" in result.out
    assert "cannot read line 1" in result.err


# ---- what was seen, and what to do ----


def test_a_semicolon_in_a_name_ends_no_line(mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "a; b"
    for command in (
        ["hash", name],
        ["hash", "--check", name],
        ["verify", name],
        ["trust", name],
        ["diff", name, name],
        ["import", name],
        ["ls", "--store", name],
    ):
        result = mlp(*command)
        assert result.code == 2
        first, second = result.err.splitlines()
        assert name in first
        assert remedy(result)
        assert not second.startswith("mlprov: b")


def test_a_semicolon_in_a_name_splits_no_error_of_the_core(tmp_path):
    here = tmp_path / "a; b"
    with pytest.raises(mlprov.StoreError) as caught:
        open_store(here)
    assert str(here) in caught.value.what
    assert caught.value.remedy
    assert str(caught.value) == f"{caught.value.what}; {caught.value.remedy}"


@pytest.mark.parametrize("length", [500, 600, 1100, 4000])
def test_a_long_path_swallows_neither_reason_nor_remedy(mlp, tmp_path, monkeypatch, length):
    monkeypatch.chdir(tmp_path)
    path = "x/" * (length // 2) + "no; file"
    for verb in ("hash", "verify", "import"):
        result = mlp(verb, path)
        assert result.code == 2
        first, second = result.err.splitlines()
        assert first.endswith("no; file: No such file or directory")
        assert "check the name" in second or "name a bundle" in second
    store = mlp("ls", "--store", path)
    assert "no; file" in store.err.splitlines()[0]
    assert "mlprov init" in remedy(store)


def test_a_name_that_is_no_utf_8_has_one_spelling(mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, folder = (os.fsdecode(name) for name in (b"file\xff", b"folder\xff"))
    Path(file).write_bytes(b"no safetensors")
    for command in (
        ["hash", "--tensors", file],  # said by the core
        ["hash", f"{file}/x"],
        ["verify", file],
        ["diff", file, file],
        ["trust", file],
        ["ls", "--store", folder],
        ["init", "--store", f"{folder}/x/store"],
    ):
        result = mlp(*command)
        assert result.code == 2
        assert r"\udcff" in result.err
        assert "\ufffd" not in result.err
        if command[0] == "hash":
            (error,) = mlp(*command, "--json").json["errors"]
            assert f"mlprov: {error['what']}" == result.err.splitlines()[0]
    with pytest.raises(mlprov.EvidenceError) as caught:
        mlprov.digest_model(file)
    assert os.fsencode(file) in os.fsencode(str(caught.value))
    assert r"\udcff" in repr(caught.value)


def test_an_exception_keeps_its_remedy_when_it_is_pickled_or_copied():
    error = mlprov.StoreError("cannot read a; b", "try again")
    error.status = "BUSY"
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (other.what, other.remedy, other.status) == ("cannot read a; b", "try again", "BUSY")

"""The models of a run: what it saves, and the files that it is shown."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from runs_for_tests import ask_both, write_model
from training_for_tests import (
    assert_log_holds,
    network,
    of_type,
    run_script,
    state,
    stored,
    the,
)

import mlprov
from mlprov import ConfigError, RecordingWarning, StoreError, _core, keys

# ---- models ----


def test_a_run_needs_no_model(tmp_path: Path) -> None:
    with mlprov.start("bare", store=tmp_path / "s") as run:
        for _ in run.epochs(1):
            pass
        with pytest.raises(ConfigError, match="no model"):
            run.save(tmp_path / "m.safetensors")
    epoch = the(stored(run), "epoch")
    assert [epoch[m] for m in ("weights", "buffers", "optimizer", "aliases")] == [
        None,
        None,
        None,
        [],
    ]
    assert of_type(stored(run), "model") == []
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_a_state_dict_is_a_model_too(tmp_path: Path) -> None:
    model: dict[str, Any] = dict(state())
    with mlprov.start("state", model=model, store=tmp_path / "s") as run:
        for _ in run.epochs(2):
            model["bias"] = memoryview(b"next")
    records = stored(run)
    described = the(records, "model")
    assert (described["class"], described["architecture"], described["tensors"]) == (
        "builtins.dict",
        None,
        2,
    )
    roots = [
        described["weights"]["root"],
        *(e["weights"]["root"] for e in of_type(records, "epoch")),
    ]
    assert roots[0] != roots[1] == roots[2]
    assert roots[2] == str(mlprov.digest_model(model).root)
    proof = run.prove(tensor="bias")
    assert proof is not None
    assert proof.verify().ok


def test_a_state_dict_of_tensors_is_saved(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    model = {"a": torch.arange(3.0), "b": torch.ones(2, 2).T}
    with mlprov.start("state", model=model, store=tmp_path / "s") as run:
        run.save(tmp_path / "m.safetensors")
    assert the(stored(run), "checkpoint")["mapping"] == {"entries": [], "equal": 2, "missing": []}


def test_tensors_arrays_and_buffers_are_saved_side_by_side(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    numpy = pytest.importorskip("numpy")
    model = {"a": torch.ones(1), "b": numpy.ones(1), "c": memoryview(b"abc")}
    with mlprov.start("mixed", model=model, store=tmp_path / "s") as run:
        run.save(tmp_path / "m.safetensors")
    assert the(stored(run), "checkpoint")["mapping"] == {"entries": [], "equal": 3, "missing": []}


def test_a_saved_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = network()
    with mlprov.start("once", model=model, store=tmp_path / "s") as run:
        with monkeypatch.context() as patched:
            for reader in ("hash_file_ranges", "hash_file", "safetensors_entries"):
                patched.setattr(_core, reader, None)
            path = run.save(tmp_path / "m.safetensors")
        run.checkpoint(path)
    written, read = of_type(stored(run), "checkpoint")
    own = {"seq", "time"}
    assert {k: v for k, v in written.items() if k not in own} == {
        k: v for k, v in read.items() if k not in own
    }


def test_a_state_dict_of_arrays_is_saved_without_torch(tmp_path: Path) -> None:
    code = """
import os, pathlib, sys
sys.modules["torch"] = sys.modules["safetensors"] = None
import numpy as np, mlprov
shared = np.arange(6, dtype=np.float32).reshape(2, 3)
model = {"a": shared.T, "b": np.array(3, dtype=np.int64), "c": shared, "d": shared, "e": shared[1]}
with mlprov.start("arrays", model=model, store="s") as run:
    run.save("m.safetensors")
    model["a"] = np.zeros(1, dtype="datetime64[s]")
    try:
        run.save("n.safetensors")
    except mlprov.ConfigError as error:
        print(error)
record = next(r for r in run.records if r["type"] == "checkpoint")
print(record["mapping"], mlprov.diff(model | {"a": shared.T}, "m.safetensors").tied)
print(sorted(path.name for path in pathlib.Path().iterdir()))
"""
    done = run_script(f"import os; os.chdir({str(tmp_path)!r})\n{code}")
    said, recorded, files = done.stdout.splitlines()
    assert 'tensor "a" is of type DATETIME64, which safetensors does not have' in said
    assert recorded == "{'entries': [], 'equal': 4, 'missing': []} {'d': 'c'}"
    assert files == "['m.safetensors', 's']"


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_saved_file_has_the_permissions_that_open_would_give(umask: int, tmp_path: Path) -> None:
    model, _ = network()
    before = os.umask(umask)
    try:
        with mlprov.start("mode", model=model, store=tmp_path / "s") as run:
            run.save(tmp_path / "m.safetensors")
            run.export(tmp_path / "b.mlprov")
    finally:
        os.umask(before)
    for name in ("m.safetensors", "b.mlprov"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~umask


def test_tied_weights_are_aliases_and_saved_once(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 4, bias=False)
    )
    model[1].weight = model[0].weight
    with mlprov.start("tied", model=model, store=tmp_path / "s") as run:
        run.save(tmp_path / "m.safetensors")
    assert list(load_file(tmp_path / "m.safetensors")) == ["0.weight"]
    records = stored(run)
    checkpoint = the(records, "checkpoint")
    assert the(records, "model")["aliases"] == checkpoint["aliases"] == [["0.weight", "1.weight"]]
    assert (checkpoint["weights"]["size"], checkpoint["tensors"]["size"]) == (2, 1)
    assert checkpoint["mapping"] == {"entries": [], "equal": 1, "missing": []}
    run.export(tmp_path / "b.mlprov")
    assert mlprov.verify(tmp_path / "b.mlprov", model=tmp_path / "m.safetensors").ok


def test_views_of_one_memory_are_saved_each_whole(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    base = torch.arange(6.0)
    model = {"all": base, "head": base[:2], "column": base.reshape(2, 3)[:, 1]}
    with mlprov.start("views", model=model, store=tmp_path / "s") as run:
        run.save(tmp_path / "m.safetensors")
    read = load_file(tmp_path / "m.safetensors")
    assert all(torch.equal(read[name], tensor) for name, tensor in model.items())
    assert the(stored(run), "checkpoint")["mapping"]["equal"] == 3


def test_saving_where_nothing_can_be_written_raises_and_leaves_no_file(tmp_path: Path) -> None:
    model, _ = network()
    with mlprov.start("nowhere", model=model, store=tmp_path / "s") as run:
        with pytest.raises(ConfigError, match=r"no directory .*missing; make it first"):
            run.save(tmp_path / "missing" / "m.safetensors")
        folder = tmp_path / "m.safetensors"
        folder.mkdir()
        with pytest.raises(ConfigError, match="it is a directory; name a file in it"):
            run.save(folder)
        folder.rmdir()
        with pytest.raises(StoreError, match=r"m\.safetensors"):
            run.save("/proc/m.safetensors")
        for name in ("m.pt", "m.safetensors.bak", "m"):
            with pytest.raises(ConfigError, match=r"writes safetensors.* use .*m.*\.safetensors"):
                run.save(tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s"]
    assert of_type(stored(run), "checkpoint") == []


def test_a_directory_of_shards_is_one_checkpoint(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    model, _ = network()
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    names = sorted(tensors)
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    save_file({n: tensors[n] for n in names[:4]}, folder / "model-1.safetensors")
    save_file(
        {n: tensors[n] + 1 for n in names[4:6]} | {"extra": tensors[names[0]] * 1},
        folder / "sub" / "b.safetensors",
    )
    (folder / "config.json").write_text("{}")
    (folder / "link").symlink_to(folder / "config.json")
    with mlprov.start("shards", model=model, store=tmp_path / "s") as run:
        run.checkpoint(folder)
    checkpoint = the(stored(run), "checkpoint")
    assert checkpoint["format"] == "safetensors"
    assert [file["path"] for file in checkpoint["files"]] == [
        "config.json",
        "link",
        "model-1.safetensors",
        "sub/b.safetensors",
    ]
    assert checkpoint["mapping"] == {
        "equal": 4,
        "entries": [
            *({"file": name, "kind": "unmatched", "live": name} for name in names[4:6]),
            {"file": "extra", "kind": "unmatched", "live": None},
        ],
        "missing": names[6:],
    }


@pytest.mark.parametrize("name", ["m.pt", "broken.safetensors"])
def test_a_file_of_any_kind_is_recorded_by_its_bytes(name: str, tmp_path: Path) -> None:
    content = b"\x80\x04pickle"
    (tmp_path / name).write_bytes(content)
    with mlprov.start("opaque", model=state(), store=tmp_path / "s") as run:
        run.checkpoint(tmp_path / name)
    checkpoint = the(stored(run), "checkpoint")
    assert (checkpoint["format"], checkpoint["tensors"], checkpoint["mapping"]) == (
        "opaque",
        None,
        None,
    )
    assert checkpoint["files"] == [
        {
            "blake3": _core.hash_bytes(content).hex(), "len": len(content), "path": name,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    ]  # fmt: skip


def test_a_path_is_recorded_as_named_and_relative_where_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work" / "out").mkdir(parents=True)
    for place in ("work/out/a", "b"):
        (tmp_path / place).write_bytes(b"x")
    monkeypatch.chdir(tmp_path / "work")
    with mlprov.start("paths", store=tmp_path / "s") as run:
        for given in ("out/a", "out/../../b", tmp_path / "work" / "out" / "a", tmp_path / "b"):
            run.checkpoint(given)
    assert [c["path"] for c in of_type(stored(run), "checkpoint")] == [
        "out/a",
        "out/../../b",
        "out/a",
        str(tmp_path / "b"),
    ]


@pytest.mark.parametrize("kind", ["missing", "empty", "fifo", "twice"])
def test_a_checkpoint_that_cannot_be_read_is_a_gap_that_names_it(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    if kind == "empty":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "twice":
        path.mkdir()
        for name in ("a", "b"):
            (path / f"{name}.safetensors").write_bytes(
                (64).to_bytes(8, "little")
                + b'{"w":{"data_offsets":[0,1],"dtype":"U8","shape":[1]}}'.ljust(64)
                + b"x"
            )
    with (
        mlprov.start("gap", store=tmp_path / "s") as run,
        pytest.warns(RecordingWarning, match=r"model\.safetensors"),
    ):
        run.checkpoint(path)
    assert the(stored(run), "gap")["what"] == "checkpoint"
    assert of_type(stored(run), "checkpoint") == []


def test_a_snapshot_of_links_to_blobs_is_recorded_by_its_own_names(tmp_path: Path) -> None:
    """As a Hugging Face cache has it: verify then finds the same files through the same links."""
    numpy = pytest.importorskip("numpy")
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    model = {"weight": numpy.arange(4, dtype=numpy.float32)}
    write_model(blobs / "0a1b", model)
    (blobs / "2c3d").write_text("{}")
    (snapshot / "model.safetensors").symlink_to("../../blobs/0a1b")
    (snapshot / "config.json").symlink_to("../../blobs/2c3d")
    with mlprov.start("snapshot", model=model, store=tmp_path / "s") as run:
        run.checkpoint(snapshot)
    record = the(stored(run), "checkpoint")
    assert [file["path"] for file in record["files"]] == ["config.json", "model.safetensors"]
    assert record["mapping"] == {"entries": [], "equal": 1, "missing": []}
    bundle = run.export(tmp_path / "b.mlprov")
    assert bundle is not None
    verdict = ask_both(bundle, keys=[str(keys.owner_vkey())], model=snapshot)
    assert verdict["model"].state == "holds"


def test_opaque_files_behind_links_are_found_again_by_both_verifiers(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"\x80\x04pickle")
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (folder / "pytorch_model.bin").symlink_to("../blob")
    with mlprov.start("opaque", store=tmp_path / "s") as run:
        run.checkpoint(folder)
    bundle = run.export(tmp_path / "b.mlprov")
    assert bundle is not None
    asked = {"keys": [str(keys.owner_vkey())], "model": folder}
    assert ask_both(bundle, **asked)["model"].state == "holds"
    (tmp_path / "blob").write_bytes(b"\x80\x04pickled")
    assert ask_both(bundle, **asked)["model"].state == "fails"


@pytest.mark.parametrize(
    ("target", "said"), [("nowhere", "dangling link"), (".", "link to a directory")]
)
def test_a_link_that_leads_to_no_file_in_a_checkpoint_is_named(
    target: str, said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"x")
    (folder / "away").symlink_to(target)
    with (
        mlprov.start("links", store=tmp_path / "s") as run,
        pytest.warns(RecordingWarning, match=f"away is a {said}"),
    ):
        run.checkpoint(folder)
    assert the(stored(run), "gap")["what"] == "checkpoint"

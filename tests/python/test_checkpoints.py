"""Checkpoints that other programs wrote: what a record says of each format, and a verdict of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from runs_for_tests import ask_both
from training_for_tests import of_type, stored, the

import mlprov
from mlprov import EvidenceError, RecordingWarning, keys

torch = pytest.importorskip("torch")


def network() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))


def record_checkpoint(path: Path, module: Any, tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """The record of a checkpoint at ``path``, and the bundle that it is in."""
    with mlprov.start("formats", model=module, store=tmp_path / "s") as run:
        run.checkpoint(path)
    bundle = run.export(tmp_path / "b.mlprov")
    assert bundle is not None
    return the(stored(run), "checkpoint"), bundle


def verdict_of(bundle: Path, model: Path) -> Any:
    """The check of the model; both verifiers agree in every check."""
    return ask_both(bundle, keys=[str(keys.owner_vkey())], model=model)["model"]


def check_listed(record: dict[str, Any], path: Path) -> None:
    """Every file by both digests, hidden ones too."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    names = {str(one.relative_to(path)) if path.is_dir() else one.name: one for one in files}
    assert {entry["path"]: entry["sha256"] for entry in record["files"]} == {
        name: hashlib.sha256(one.read_bytes()).hexdigest() for name, one in names.items()
    }
    assert [entry["path"] for entry in record["files"]] == sorted(names, key=str.encode)


# ---- pickles: bytes, and the live model beside them ----


def save_by_torch(module: Any, path: Path) -> None:
    torch.save(module.state_dict(), path)


def save_in_the_old_form(module: Any, path: Path) -> None:
    torch.save(module.state_dict(), path, _use_new_zipfile_serialization=False)


def save_as_lightning_does(module: Any, path: Path) -> None:
    """The members of lightning.pytorch's ``dump_checkpoint``."""
    optimizer = torch.optim.AdamW(module.parameters())
    torch.save(
        {
            "epoch": 3, "global_step": 40, "pytorch-lightning_version": "2.6.0",
            "state_dict": module.state_dict(), "loops": {}, "callbacks": {},
            "optimizer_states": [optimizer.state_dict()], "lr_schedulers": [],
        },
        path,
    )  # fmt: skip


def save_distributed(module: Any, path: Path) -> None:
    """torch.distributed.checkpoint: a pickle called ``.metadata``, and ``*.distcp``."""
    import torch.distributed.checkpoint as distributed

    distributed.save(module.state_dict(), checkpoint_id=path, no_dist=True)
    assert {".metadata", "__0_0.distcp"} <= {one.name for one in path.iterdir()}


PICKLES = [
    (save_by_torch, "model.pt"),
    (save_in_the_old_form, "model.bin"),
    (save_as_lightning_does, "epoch=3-step=40.ckpt"),
    (save_distributed, "step-40"),
]


@pytest.mark.parametrize(("save", "name"), PICKLES, ids=[name for _, name in PICKLES])
def test_pickles_are_recorded_by_bytes_beside_the_live_model(
    save: Any, name: str, tmp_path: Path
) -> None:
    module, path = network(), tmp_path / name
    save(module, path)
    record, bundle = record_checkpoint(path, module, tmp_path)
    check_listed(record, path)
    root = str(mlprov.digest_model(module).root)
    assert (record["format"], record["tensors"], record["mapping"]) == ("opaque", None, None)
    assert record["weights"] == {"root": root, "size": 4}
    check = verdict_of(bundle, path)
    assert check.state == "holds"
    assert "bytes, not tensors, were compared" in check.detail
    assert f"the live model at that record is 4 tensors, {root}" in check.detail
    assert "that the files hold it is the writer's word, since nothing is unpickled" in check.detail


@pytest.mark.parametrize(("save", "name"), PICKLES, ids=[name for _, name in PICKLES])
def test_pickles_of_which_one_byte_is_another_do_not_hold(
    save: Any, name: str, tmp_path: Path
) -> None:
    module, path = network(), tmp_path / name
    save(module, path)
    _, bundle = record_checkpoint(path, module, tmp_path)
    changed = path if path.is_file() else path / ".metadata"
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    check = verdict_of(bundle, path)
    assert check.state == "fails"
    assert changed.name in check.detail


def test_equal_weights_saved_once_more_are_other_bytes_and_do_not_hold(tmp_path: Path) -> None:
    """What a pickle's verdict is of: not of the weights."""
    module = network()
    save_by_torch(module, tmp_path / "model.pt")
    _, bundle = record_checkpoint(tmp_path / "model.pt", module, tmp_path)
    save_in_the_old_form(module, tmp_path / "again.pt")
    assert verdict_of(bundle, tmp_path / "again.pt").state == "fails"
    assert mlprov.verify(bundle, model=module)["model"].state == "holds"


def test_a_run_without_a_model_says_that_nothing_stands_beside_the_bytes(tmp_path: Path) -> None:
    save_by_torch(network(), tmp_path / "model.pt")
    _, bundle = record_checkpoint(tmp_path / "model.pt", None, tmp_path)
    detail = verdict_of(bundle, tmp_path / "model.pt").detail
    assert "no live model is recorded beside them, and nothing was unpickled" in detail


class Bomb:
    """Unpickling it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1), "bomb": Bomb(tmp_path / "boom")}, tmp_path / "model.pt")
    _, bundle = record_checkpoint(tmp_path / "model.pt", network(), tmp_path)
    assert verdict_of(bundle, tmp_path / "model.pt").state == "holds"
    with pytest.raises(EvidenceError):
        mlprov.load_file(tmp_path / "model.pt", evidence=bundle)
    assert not (tmp_path / "boom").exists()
    torch.load(tmp_path / "model.pt", weights_only=False)  # it was live
    assert (tmp_path / "boom").exists()


# ---- safetensors directories ----


def save_pretrained(module: Any, folder: Path) -> Path:
    """What Transformers' ``save_pretrained`` leaves: configuration, tokenizer, shards, index."""
    folder.mkdir()
    state = module.state_dict()
    names = sorted(state)
    shards = {"model-00001-of-00002.safetensors": names[:2],
              "model-00002-of-00002.safetensors": names[2:]}  # fmt: skip
    for shard, held in shards.items():
        mlprov.save_file({name: state[name] for name in held}, folder / shard, {"format": "pt"})
    write_index(folder, {name: shard for shard, held in shards.items() for name in held})
    for name in ("config.json", "generation_config.json", "tokenizer.json", "vocab.txt"):
        (folder / name).write_text("{}\n", encoding="utf-8")
    return folder


def write_index(folder: Path, weight_map: Any) -> None:
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    text = json.dumps(index, indent=2) + "\n"
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def weight_map(folder: Path) -> dict[str, str]:
    text = (folder / "model.safetensors.index.json").read_text(encoding="utf-8")
    found: dict[str, str] = json.loads(text)["weight_map"]
    return found


def test_a_sharded_directory_is_proved_tensor_by_tensor(tmp_path: Path) -> None:
    module = network()
    folder = save_pretrained(module, tmp_path / "model")
    record, bundle = record_checkpoint(folder, module, tmp_path)
    check_listed(record, folder)
    assert record["format"] == "safetensors"
    assert record["mapping"] == {"entries": [], "equal": 4, "missing": []}
    check = verdict_of(bundle, folder)
    assert check.state == "holds"
    assert "4 tensors" in check.detail
    assert "5 other files were not compared" in check.detail
    loaded = mlprov.load_file(folder, evidence=bundle)
    assert all(torch.equal(loaded[name], one) for name, one in module.state_dict().items())


def missing_shard(folder: Path) -> str:
    (folder / "model-00002-of-00002.safetensors").unlink()
    return "names the shard 'model-00002-of-00002.safetensors', which is not there"


def wrong_shard(folder: Path) -> str:
    found = weight_map(folder)
    found["0.bias"] = "model-00002-of-00002.safetensors"
    write_index(folder, found)
    return "lists the tensors of 'model-00001-of-00002.safetensors', and '0.bias' is there too"


def unlisted_tensor(folder: Path) -> str:
    found = weight_map(folder)
    del found["1.weight"]
    write_index(folder, found)
    return "'1.weight' is there too"


def tensor_of_nowhere(folder: Path) -> str:
    write_index(folder, {**weight_map(folder), "2.bias": "model-00001-of-00002.safetensors"})
    return "'2.bias' is not there"


def path_that_leads_away(folder: Path) -> str:
    outside = folder.parent / "outside.safetensors"
    mlprov.save_file({"2.bias": torch.ones(1)}, outside)
    write_index(folder, {**weight_map(folder), "2.bias": "../outside.safetensors"})
    return r"names the shard '\.\./outside\.safetensors', which is not there"


def no_map(folder: Path) -> str:
    write_index(folder, ["0.bias"])
    return "has no weight_map"


def no_json(folder: Path) -> str:
    (folder / "model.safetensors.index.json").write_text("[" * 100_000, encoding="utf-8")
    return "is no JSON"


def one_key_twice(folder: Path) -> str:
    text = '{"weight_map":{"0.bias":"a","0.bias":"b"}}'
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    return "is no JSON: a key stands twice"


@pytest.mark.parametrize(
    "spoil",
    [
        missing_shard, wrong_shard, unlisted_tensor, tensor_of_nowhere, path_that_leads_away,
        no_map, no_json, one_key_twice,
    ],
    ids=lambda spoil: spoil.__name__,
)  # fmt: skip
def test_an_index_that_does_not_agree_with_its_shards_is_neither_recorded_nor_loaded(
    spoil: Any, tmp_path: Path
) -> None:
    module = network()
    folder = save_pretrained(module, tmp_path / "model")
    said = spoil(folder)
    with (
        mlprov.start("index", model=module, store=tmp_path / "s") as run,
        pytest.warns(RecordingWarning, match=f"index .*{said}"),
    ):
        run.checkpoint(folder)
    assert the(stored(run), "gap")["what"] == "checkpoint"
    assert of_type(stored(run), "checkpoint") == []
    with pytest.raises(EvidenceError, match=f"index .*{said}"):
        mlprov.load_file(folder, evidence=mlprov.digest_model(module))


def test_an_index_belongs_to_the_shards_beside_it(tmp_path: Path) -> None:
    """Several models in one directory of directories, as diffusion pipelines are saved."""
    module = network()
    (tmp_path / "pipeline").mkdir()
    save_pretrained(module, tmp_path / "pipeline" / "unet")
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")
    record, _ = record_checkpoint(tmp_path / "pipeline", module, tmp_path)
    assert record["mapping"]["equal"] == 4
    shutil.move(
        tmp_path / "pipeline" / "unet" / "model-00001-of-00002.safetensors", tmp_path / "pipeline"
    )
    with (
        mlprov.start("apart", model=module, store=tmp_path / "s") as run,
        pytest.warns(RecordingWarning, match="which is not there"),
    ):
        run.checkpoint(tmp_path / "pipeline")
    assert of_type(stored(run), "checkpoint") == []

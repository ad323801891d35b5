"""Loading: what is handed out is what was checked, and nothing is handed out that was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training_for_tests as training
from tensors_for_tests import names_of_torch_dtypes

import mlprov
from mlprov import ConfigError, EvidenceError, StoreError, VerificationError, keys

torch = pytest.importorskip("torch")
peer = pytest.importorskip("safetensors.torch")


def network() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8))


@pytest.fixture
def recorded(tmp_path: Path) -> Any:
    """A run with a file that it saved; its weights changed once on the way."""
    module = network()
    with mlprov.start("load", model=module, store=tmp_path / "s") as run:
        for _ in run.epochs(2):
            with torch.no_grad():
                module[0].bias += 1
        run.save(tmp_path / "m.safetensors")
    run.export(tmp_path / "b.mlprov")
    return run, module


def flip(path: Path, at: int = -1) -> None:
    """Another value for one byte of the file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def equal(tensors: dict[str, Any], state: dict[str, Any]) -> bool:
    return list(tensors) == sorted(state) and all(
        torch.equal(tensors[name], tensor) for name, tensor in state.items()
    )


# ---- evidence of each kind ----


def test_a_file_is_loaded_by_a_bundle_a_run_and_its_digests(recorded: Any, tmp_path: Path) -> None:
    run, module = recorded
    path = tmp_path / "m.safetensors"
    store = {"store": tmp_path / "s"}
    assert equal(mlprov.load_file(path, evidence=tmp_path / "b.mlprov"), module.state_dict())
    assert equal(mlprov.load_file(path, evidence=str(tmp_path / "b.mlprov")), module.state_dict())
    for evidence in (run, mlprov.digest_model(module), mlprov.digest_model(path)):
        assert equal(mlprov.load_file(path, evidence=evidence), module.state_dict())
    for which in ("@", run.id, run.id[:20], "load"):
        assert equal(mlprov.load_file(path, evidence=which, **store), module.state_dict())
    for digest in (
        mlprov.digest(path), mlprov.digest(path, algorithm="sha256"),
        mlprov.digest(path, algorithm="sha512"), mlprov.digest_model(path).root,
    ):  # fmt: skip
        for form in (digest, str(digest)):
            assert equal(mlprov.load_file(path, evidence=form), module.state_dict())


@pytest.mark.parametrize("kind", ["bundle", "run", "model", "saved"])
def test_a_changed_tensor_is_named_and_nothing_is_returned(
    kind: str, recorded: Any, tmp_path: Path
) -> None:
    run, module = recorded
    path = tmp_path / "m.safetensors"
    evidence = {
        "bundle": tmp_path / "b.mlprov",
        "run": run,
        "model": mlprov.digest_model(module),
        "saved": mlprov.save_file(module.state_dict(), path),
    }[kind]
    flip(path)
    last = mlprov.model_files.read_header(path)[0]
    name = max(last, key=lambda entry: entry.end).name
    with pytest.raises(VerificationError, match=rf"cannot load .*tensor '{name}'.*digest blake3:"):
        mlprov.load_file(path, evidence=evidence)


def test_a_changed_file_is_not_loaded_by_its_digest(recorded: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    digests = [
        *mlprov.digest(path, algorithms=("blake3", "sha256")),
        mlprov.digest_model(path).root,
    ]
    flip(path)
    for digest in digests:
        with pytest.raises(VerificationError, match=f"expected {digest}"):
            mlprov.load_file(path, evidence=digest)


def test_only_the_digest_of_the_file_covers_its_metadata(tmp_path: Path) -> None:
    path = tmp_path / "m"
    saved = mlprov.save_file({"a": torch.ones(2)}, path, {"k": "v"})
    flip(path, path.read_bytes().index(b'"v"') + 1)
    assert torch.equal(mlprov.load_file(path, evidence=saved)["a"], torch.ones(2))
    with pytest.raises(VerificationError):
        mlprov.load_file(path, evidence=saved.blake3)


def test_tensors_that_are_missing_or_too_many_are_named(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2), "b": torch.zeros(3)}
    model = mlprov.digest_model(tensors)
    mlprov.save_file({"a": tensors["a"]}, tmp_path / "few")
    mlprov.save_file({**tensors, "c": torch.ones(1)}, tmp_path / "many")
    with pytest.raises(
        VerificationError, match=r"'b' of the model digest given is missing in .*few"
    ):
        mlprov.load_file(tmp_path / "few", evidence=model)
    with pytest.raises(VerificationError, match=r"'c' of .*many is not in the model digest given"):
        mlprov.load_file(tmp_path / "many", evidence=model)


def test_an_epoch_is_compared_with_its_own_weights(recorded: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    assert mlprov.load_file(path, evidence=tmp_path / "b.mlprov", epoch=1)
    with pytest.raises(VerificationError, match=r"'0\.bias'.*epoch 0"):
        mlprov.load_file(path, evidence=tmp_path / "b.mlprov", epoch=0)
    with pytest.raises(EvidenceError, match="no record of epoch 7"):
        mlprov.load_file(path, evidence="@", store=tmp_path / "s", epoch=7)
    with pytest.raises(ConfigError, match="a digest has no epochs"):
        mlprov.load_file(path, evidence=mlprov.digest(path), epoch=1)


def test_a_step_within_an_epoch_is_compared_with_its_own_weights(tmp_path: Path) -> None:
    model, optimizer = training.network()
    bundle = tmp_path / "b.mlprov"
    with mlprov.start(
        "steps", model=model, optimizer=optimizer, store=tmp_path / "s", every=2
    ) as run:
        for _ in run.epochs(1):
            for number, batch in enumerate(run.track(training.loader()), 1):
                training.train_step(model, optimizer, batch)
                peer.save_file(model.state_dict(), tmp_path / f"{number}.safetensors")
    run.export(bundle)
    path = tmp_path / "2.safetensors"
    for evidence in (bundle, run, run.id):
        kept = {"evidence": evidence, "store": tmp_path / "s"}
        assert equal(mlprov.load_file(path, **kept, step=2), peer.load_file(path))
        with pytest.raises(VerificationError, match=r"record \d+ \(step 2\)"):
            mlprov.load_file(tmp_path / "1.safetensors", **kept, step=2)
        with pytest.raises(EvidenceError, match="no record of step 1; steps 2 to"):
            mlprov.load_file(tmp_path / "1.safetensors", **kept, step=1)
    other, _ = training.network()
    assert mlprov.load_model(other, path, evidence=bundle, step=2) == ([], [])
    assert equal(mlprov.load_file(path, evidence=bundle, step=2), other.state_dict())
    with pytest.raises(ConfigError, match="at once"):
        mlprov.load_file(path, evidence=bundle, step=2, epoch=0)
    with pytest.raises(ConfigError, match="a digest has no steps"):
        mlprov.load_file(path, evidence=mlprov.digest(path), step=2)


def test_tied_tensors_that_a_file_has_once_are_all_there(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    module[1].weight = module[0].weight
    with mlprov.start("tied", model=module, store=tmp_path / "s") as run:
        path = run.save(tmp_path / "m.safetensors")
    loaded = mlprov.load_file(path, evidence=run)
    assert "1.weight" not in loaded
    other = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    other[1].weight = other[0].weight
    assert mlprov.load_model(other, path, evidence=run) == ([], [])
    assert torch.equal(other[1].weight, module[0].weight)


def test_a_run_that_goes_on_is_evidence_for_what_it_has_recorded(tmp_path: Path) -> None:
    module = network()
    with mlprov.start("live", model=module, store=tmp_path / "s") as run:
        path = run.save(tmp_path / "m.safetensors")
        assert equal(mlprov.load_file(path, evidence=run), module.state_dict())
        for epoch in run.epochs(2):
            epoch.log(loss=1.0)
            with torch.no_grad():
                module[0].bias += 1
            path = run.save(tmp_path / "m.safetensors")
            assert equal(mlprov.load_file(path, evidence=run), module.state_dict())
    assert run.status == "finished"


def test_a_run_that_hashed_by_sha256_is_evidence_too(tmp_path: Path) -> None:
    module = network()
    with mlprov.start("sha", model=module, store=tmp_path / "s", algorithm="sha256") as run:
        path = run.save(tmp_path / "m.safetensors")
    assert equal(mlprov.load_file(path, evidence=run), module.state_dict())
    flip(path)
    with pytest.raises(VerificationError, match="sha256:"):
        mlprov.load_file(path, evidence=run)


# ---- evidence that is none ----


def test_without_evidence_nothing_is_loaded(tmp_path: Path) -> None:
    mlprov.save_file({}, tmp_path / "m")
    with pytest.raises(TypeError, match="evidence"):
        mlprov.load_file(tmp_path / "m")  # type: ignore[call-arg]
    for none in (None, 3, {}):
        with pytest.raises(ConfigError, match="cannot load without evidence: expected the path"):
            mlprov.load_file(tmp_path / "m", evidence=none)  # type: ignore[arg-type]
    with pytest.raises(EvidenceError, match="not a digest"):
        mlprov.load_file(tmp_path / "m", evidence="sha256:00")
    with pytest.raises(StoreError, match=r"cannot load by 'nowhere\.mlprov', no file here"):
        mlprov.load_file(tmp_path / "m", evidence="nowhere.mlprov", store=tmp_path)


def test_a_signer_that_is_not_pinned_is_no_evidence_unless_asked(
    recorded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, bundle = tmp_path / "m.safetensors", tmp_path / "b.mlprov"
    vkey = str(keys.owner_vkey())
    monkeypatch.setenv("MLPROV_HOME", str(tmp_path / "somebody"))
    with pytest.raises(EvidenceError, match="signer"):
        mlprov.load_file(path, evidence=bundle)
    assert mlprov.load_file(path, evidence=bundle, allow_unpinned=True)
    assert mlprov.load_file(path, evidence=bundle, keys=[vkey])


def test_a_bundle_that_does_not_hold_is_no_evidence(recorded: Any, tmp_path: Path) -> None:
    bundle = tmp_path / "b.mlprov"
    content = bundle.read_bytes()
    at = content.index(b'"type":"epoch"')
    bundle.write_bytes(content[:at] + b'"type":"epocH"' + content[at + 14 :])
    with pytest.raises(VerificationError, match="cannot accept"):
        mlprov.load_file(tmp_path / "m.safetensors", evidence=bundle)


def test_a_proof_is_of_one_leaf_and_no_evidence(recorded: Any, tmp_path: Path) -> None:
    run, _ = recorded
    proof = run.prove(tensor="0.bias").save(tmp_path / "p.json")
    with pytest.raises(ConfigError, match="a proof is of one leaf"):
        mlprov.load_file(tmp_path / "m.safetensors", evidence=proof)


# ---- types and frameworks ----


@pytest.mark.parametrize("threads", [1, 2])
def test_every_type_comes_back_bit_for_bit(threads: int, tmp_path: Path) -> None:
    names = [str(dtype).removeprefix("torch.") for dtype in peer._SIZE]
    tensors = {
        name: torch.randint(0, 2, (3, 2 * getattr(torch, name).itemsize), dtype=torch.uint8).view(
            getattr(torch, name)
        )
        for name in names
    }
    tensors |= {"empty": torch.zeros(0, 3), "scalar": torch.tensor(2.5)}
    saved = mlprov.save_file(tensors, tmp_path / "m")
    loaded = mlprov.load_file(tmp_path / "m", evidence=saved, threads=threads)
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].shape == tensor.shape
        assert mlprov.digest(loaded[name]) == mlprov.digest(tensor)
    assert names_of_torch_dtypes().keys() >= set(names)


def test_large_files_come_back_on_any_number_of_threads(tmp_path: Path) -> None:
    tensors = {f"t{n}": torch.randn(n) for n in (1, 1000, 70_001, 1_300_003)}
    tensors["wide"] = torch.randn(1200, 1100)
    saved = mlprov.save_file(tensors, tmp_path / "m")
    for threads in (1, 2, 5):
        for evidence in (saved, saved.sha256, saved.blake3):
            loaded = mlprov.load_file(tmp_path / "m", evidence=evidence, threads=threads)
            assert equal(loaded, tensors)


def test_arrays_are_loaded_with_the_types_of_ml_dtypes(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    arrays = {
        "a": np.arange(6.0).reshape(2, 3), "b": np.ones(3, ml_dtypes.bfloat16),
        "f": np.ones(3, ml_dtypes.float8_e4m3fn), "t": np.array([True, False]), "s": np.array(3),
    }  # fmt: skip
    saved = mlprov.save_file(arrays, tmp_path / "m")
    loaded = mlprov.load_file(tmp_path / "m", evidence=saved, framework="numpy")
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype
        assert np.array_equal(loaded[name], array)
        assert loaded[name].flags.writeable


def test_types_and_frameworks_that_are_not_there_are_said(tmp_path: Path) -> None:
    header = b'{"six":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}}'.ljust(64)
    (tmp_path / "m").write_bytes(len(header).to_bytes(8, "little") + header + b"abc")
    model = mlprov.digest_model(tmp_path / "m")
    for framework in ("torch", "numpy"):
        with pytest.raises(
            ConfigError, match=r"cannot load tensor 'six': .* has no type for F6_E2M"
        ):
            mlprov.load_file(tmp_path / "m", evidence=model, framework=framework)
    with pytest.raises(ConfigError, match="unknown framework 'jax'; known are 'torch' and 'numpy'"):
        mlprov.load_file(tmp_path / "m", evidence=model, framework="jax")


def test_tensors_are_writable_and_lie_apart(tmp_path: Path) -> None:
    saved = mlprov.save_file({"a": torch.ones(3), "b": torch.ones(3)}, tmp_path / "m")
    loaded = mlprov.load_file(tmp_path / "m", evidence=saved)
    loaded["a"].add_(1)
    assert torch.equal(loaded["b"], torch.ones(3))
    assert loaded["a"].untyped_storage().nbytes() == 12


# ---- shards ----


def test_shards_are_one_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    tensors = {"a": torch.ones(2), "b": torch.zeros(3)}
    for name, tensor in tensors.items():
        mlprov.save_file({name: tensor}, folder / f"{name}.safetensors")
    model = mlprov.digest_model(tensors)
    assert equal(mlprov.load_file(folder, evidence=model), tensors)
    with pytest.raises(ConfigError, match="a directory of 2 files; name a bundle"):
        mlprov.load_file(folder, evidence=mlprov.digest(folder / "a.safetensors"))
    mlprov.save_file({"a": tensors["a"]}, folder / "c.safetensors")
    with pytest.raises(EvidenceError, match=r"c\.safetensors: another shard holds 'a' too"):
        mlprov.load_file(folder, evidence=model)


# ---- into a module ----


def test_a_module_is_filled_in_place(recorded: Any, tmp_path: Path) -> None:
    run, module = recorded
    torch.manual_seed(1)
    other = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8))
    places = [parameter.data_ptr() for parameter in other.parameters()]
    assert mlprov.load_model(other, tmp_path / "m.safetensors", evidence=run) == ([], [])
    assert mlprov.digest_model(other).root == mlprov.digest_model(module).root
    assert [parameter.data_ptr() for parameter in other.parameters()] == places
    assert all(parameter.requires_grad for parameter in other.parameters())


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ("flip", VerificationError, "has the digest"),
        ("shape", ConfigError, r"'0\.weight', .*: the file has torch.float32 \[8, 4\].*\[9, 4\]"),
        ("dtype", ConfigError, "torch.float16"),
        ("missing", ConfigError, "the file lacks '2.weight', '2.bias'"),
        ("meta", ConfigError, "has no memory"),
        ("expanded", ConfigError, "cannot be written in place"),
    ],
)
def test_nothing_is_touched_where_anything_is_wrong(
    change: str, error: type[Exception], said: str, recorded: Any, tmp_path: Path
) -> None:
    run, _ = recorded
    other = network()
    if change == "flip":
        flip(tmp_path / "m.safetensors")
    elif change == "shape":
        other[0].weight = torch.nn.Parameter(torch.zeros(9, 4))
    elif change == "dtype":
        other[1].half()
    elif change == "missing":
        other.append(torch.nn.Linear(1, 1))
    elif change == "meta":
        other[1].to("meta")
    elif change == "expanded":
        other[1].running_mean = torch.zeros(1).expand(8)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(error, match=said) as caught:
        mlprov.load_model(other, tmp_path / "m.safetensors", evidence=run)
    if change in ("shape", "dtype", "expanded"):
        assert "nothing was loaded" in str(getattr(caught.value, "what", ""))
        assert getattr(caught.value, "remedy", "")
    assert all(
        tensor.is_meta or torch.equal(tensor, before[name])
        for name, tensor in other.state_dict().items()
    )


def test_names_may_differ_where_that_is_allowed(tmp_path: Path) -> None:
    saved = mlprov.save_file({"weight": torch.ones(1, 2), "extra": torch.ones(1)}, tmp_path / "m")
    module = torch.nn.Linear(2, 1)
    with pytest.raises(ConfigError, match="the file lacks 'bias', the module lacks 'extra'"):
        mlprov.load_model(module, tmp_path / "m", evidence=saved)
    answer = mlprov.load_model(module, tmp_path / "m", evidence=saved, strict=False)
    assert answer == (["bias"], ["extra"])
    assert torch.equal(module.weight, torch.ones(1, 2))


def test_what_is_no_module_cannot_be_filled(tmp_path: Path) -> None:
    saved = mlprov.save_file({}, tmp_path / "m")
    with pytest.raises(ConfigError, match=r"expected a torch\.nn\.Module"):
        mlprov.load_model({}, tmp_path / "m", evidence=saved)

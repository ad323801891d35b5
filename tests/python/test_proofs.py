"""Proofs of single claims, from runs that mlprov recorded; both verifiers are asked the same."""

import json
import random

import numpy as np
import pytest
from runs_for_tests import ask_both, little_model, record, refused_by_both, saved, user, write_model

import mlprov
from mlprov import proofs, stored_runs, stores

PROOF_CHECKS = ("proof", "owner", "signer", "head", "log", "record")


def prove(recorded, **what):
    with user(recorded.home), stores.open_store(recorded.store, read_only=True) as store:
        return proofs.prove(store, recorded.run, **what)


KINDS = [
    {"tensor": "bias"},
    {"tensor": "head.weight", "epoch": 0},
    {"batch": 1},
    {"batch": 0, "epoch": 0, "role": "train"},
    {"sample": 3, "role": "train"},
    {"sample": 0, "role": "test"},
    {"sample": "sub/ü.bin", "role": "files"},
    {"sample": 0, "role": "files"},
    {"record": 0},
    {"record": 9},
]


@pytest.mark.parametrize("what", KINDS, ids=str)
def test_a_proof_holds_from_its_own_bytes(recorded, what):
    proof = prove(recorded, **what)
    verdict = ask_both(bytes(proof), keys=[recorded.vkey])
    assert verdict.ok
    expected = [*PROOF_CHECKS, *(["claim"] if proof.kind != "record" else []), "time"]
    assert [check.name for check in verdict.checks] == expected
    assert proof.verify(keys=[recorded.vkey]).ok
    assert proof.kind == next(iter(what))


def test_a_proof_says_what_it_is_of(recorded):
    arrays = recorded.epochs[-1]
    assert prove(recorded, tensor="bias").leaf["digest"] == str(mlprov.digest(arrays["bias"]))
    first = prove(recorded, tensor="bias", epoch=0).leaf["digest"]
    assert first == str(mlprov.digest(recorded.epochs[0]["bias"]))
    x, y = recorded.batches[1]
    items = prove(recorded, batch=1).leaf["items"]
    seen = [item["$tensor"]["digest"] for item in items]
    assert seen == [str(mlprov.digest(x)), str(mlprov.digest(y))]
    sample = prove(recorded, sample=2, role="test").leaf
    assert sample["digest"] == str(mlprov.digest(recorded.test[2]))
    assert prove(recorded, sample="a.txt", role="files").leaf["path"] == "a.txt"
    assert prove(recorded, record=0).leaf["type"] == "run.start"


def test_a_proof_is_small_and_discloses_nothing_else(recorded):
    data = bytes(prove(recorded, sample=3, role="train"))
    assert len(data) < 4096
    others = [mlprov.digest(row).hex().encode() for row in recorded.train[0]]
    assert not any(other in data for other in others)


def test_a_proof_survives_its_file(recorded, tmp_path):
    proof = prove(recorded, tensor="bias")
    path = proof.save(tmp_path / "p.json")
    assert proofs.Proof.load(path) == proof
    assert mlprov.verify(path, keys=[recorded.vkey]).ok
    assert ask_both(path, keys=[recorded.vkey]).ok


def test_a_run_proves_while_it_goes_on(tmp_path):
    with user(tmp_path / "home", tmp_path / "store"):
        with mlprov.start("going", model=little_model()) as run:
            for epoch in run.epochs(2):
                for _ in run.track([np.arange(3)] * 3):
                    pass
                epoch.log(loss=1.0)
                assert run.prove(tensor="bias").verify().ok
            batch = run.prove(batch=2)
        assert batch.verify().ok
        assert run.prove(record=0).verify().ok


def test_optimizer_state_and_buffers_are_proved_by_name(tmp_path):
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(2, 2)
    module.register_buffer("mask", torch.ones(2), persistent=False)
    optimizer = torch.optim.AdamW(module.parameters())
    with user(tmp_path / "home", tmp_path / "store"):
        with mlprov.start("torch", model=module, optimizer=optimizer) as run:
            for epoch in run.epochs(1):
                module(torch.ones(1, 2)).sum().backward()
                optimizer.step()
                epoch.log(loss=1.0)
            run.save(tmp_path / "m.safetensors")
        names = ["mask", "weight"]
        with stores.open_store(tmp_path / "store", read_only=True) as store:
            record = next(
                r for r in stored_runs.read_run(store, run.id).records if r["type"] == "epoch"
            )
            leaves = store.get_leaves(bytes.fromhex(record["optimizer"]["root"][7:]))
        decoded = [json.loads(leaf) for leaf in leaves]
        names += [leaf["name"] for leaf in decoded if "digest" in leaf][:1]
        values = [leaf["name"] for leaf in decoded if "digest" not in leaf and "parts" not in leaf]
        for name in names:
            proof = run.prove(tensor=name)
            assert proof.verify().ok
            assert ask_both(bytes(proof), keys=[proof.value["owner_key"]]).ok
        assert values
        with pytest.raises(mlprov.StoreError, match="is no tensor"):
            run.prove(tensor=values[0])


def test_the_tensors_of_a_file_alone_are_proved(tmp_path, recorded):
    with user(tmp_path / "home", tmp_path / "store"):
        with mlprov.start("file") as run:
            run.checkpoint(recorded.model)
        proof = run.prove(tensor="bias")
    assert proof.value["claim"]["field"] == ["tensors"]
    assert ask_both(bytes(proof), keys=[proof.value["owner_key"]], model=recorded.model).ok


def test_an_imported_run_is_proved_by_its_own_store_s_log(as_owner, tmp_path):
    with stores.open_store(tmp_path / "other", create=True) as store:
        run = mlprov.bundles.import_bundle(store, as_owner.full)
        store.integrate()
        for what in (
            {"tensor": "bias"},
            {"batch": 1},
            {"sample": 1, "role": "test"},
            {"record": 9},
        ):
            proof = proofs.prove(store, run, **what)
            assert ask_both(bytes(proof), keys=[as_owner.vkey]).ok
    with stores.open_store(tmp_path / "third", create=True) as store:
        run = mlprov.bundles.import_bundle(store, as_owner.bundle)
        with pytest.raises(mlprov.StoreError, match="not kept"):
            proofs.prove(store, run, batch=1)


# ---- a model beside the proof ----


def test_a_model_is_held_against_the_proved_tensor(recorded, tmp_path):
    data = bytes(prove(recorded, tensor="bias"))
    verdict = ask_both(data, keys=[recorded.vkey], model=recorded.model)
    assert verdict["tensor:bias"].state == "holds"
    assert verdict.ok
    arrays = saved(recorded.epochs[-1])
    other = write_model(tmp_path / "m.safetensors", {**arrays, "bias": arrays["bias"] + 1})
    verdict = ask_both(data, keys=[recorded.vkey], model=other)
    assert verdict["tensor:bias"].state == "fails"
    verdict = ask_both(data, keys=[recorded.vkey], tensors=["counter"])
    assert verdict["tensor:counter"].state == "unchecked"
    verdict = ask_both(bytes(prove(recorded, batch=0)), keys=[recorded.vkey], model=recorded.model)
    assert verdict["model"].state == "unchecked"
    verdict = ask_both(data, keys=[recorded.vkey], data={"train": recorded.files})
    assert verdict["data:train"].state == "unchecked"


# ---- refusals ----


def changed(proof, change):
    value = json.loads(bytes(proof))
    change(value)
    return mlprov.records.canonical(value)


def test_a_proof_for_another_index_is_refused(recorded):
    proof = prove(recorded, sample=3, role="train")
    for index in (0, 2, 4, 5, 6, -1, 2**53 - 1):
        data = changed(proof, lambda p, index=index: p["claim"].update(index=index))
        refused_by_both(data, keys=[recorded.vkey])
    for part in ("record", "log"):
        index = proof.value[part]["index"]
        for other in (index + 1, index - 1, 0 if index else 3):
            data = changed(proof, lambda p, o=other, part=part: p[part].update(index=o))
            refused_by_both(data, keys=[recorded.vkey])


def test_a_proof_of_another_leaf_is_refused(recorded):
    proof = prove(recorded, sample=3, role="train")
    other = prove(recorded, sample=2, role="train")
    leaf = other.value["claim"]["leaf"]
    refused_by_both(changed(proof, lambda p: p["claim"].update(leaf=leaf)), keys=[recorded.vkey])


def test_a_proof_of_another_run_is_refused(recorded, tmp_path):
    """Same owner, same data: still another run, head and log."""
    twin = record(tmp_path, home=recorded.home)
    one, other = prove(recorded, batch=1), prove(twin, batch=1)
    assert ask_both(bytes(other), keys=[recorded.vkey]).ok
    for part in ("record", "head", "log", "owner"):
        data = changed(one, lambda p, part=part: p.update({part: other.value[part]}))
        refused_by_both(data, keys=[recorded.vkey])


def test_a_proof_cannot_point_at_another_field(recorded):
    proof = prove(recorded, tensor="bias", epoch=1)
    for field in (["optimizer"], ["streams", 0, "tree"], ["architecture"], [], ["weights", 0], [0]):
        data = changed(proof, lambda p, field=field: p["claim"].update(field=field))
        refused_by_both(data, keys=[recorded.vkey])


def test_a_proof_of_another_kind_is_refused(recorded):
    for what in KINDS:
        proof = prove(recorded, **what)
        for kind in {"tensor", "batch", "sample", "record", "other"} - {proof.kind}:
            data = changed(proof, lambda p, kind=kind: p.update(kind=kind))
            refused_by_both(data, keys=[recorded.vkey])


def test_a_truncated_proof_is_refused(recorded):
    data = bytes(prove(recorded, tensor="bias"))
    for cut in range(1, len(data), 37):
        refused_by_both(data[:-cut], keys=[recorded.vkey])
    value = json.loads(data)
    for part in ("claim", "record", "log"):
        if value[part]["path"]:
            shorter = changed(proofs.Proof(value), lambda p, part=part: p[part]["path"].pop())
            refused_by_both(shorter, keys=[recorded.vkey])
        longer = changed(
            proofs.Proof(value), lambda p, part=part: p[part]["path"].append("A" * 43 + "=")
        )
        refused_by_both(longer, keys=[recorded.vkey])


def test_another_signer_s_proof_is_refused_by_the_pinned_key(recorded, tmp_path):
    other = record(tmp_path)
    verdict = ask_both(bytes(prove(other, record=0)), keys=[recorded.vkey])
    assert verdict["signer"].state == "fails"
    verdict = ask_both(bytes(prove(other, record=0)))
    assert verdict["signer"].state == "unchecked"
    assert verdict.exit_code == 2


def test_a_proof_of_a_newer_version_cannot_be_checked(recorded):
    data = changed(prove(recorded, record=0), lambda p: p.update(version=2))
    verdict = ask_both(data, keys=[recorded.vkey])
    assert verdict.exit_code == 2
    assert verdict.newer == 2


def test_five_hundred_mutations_of_a_proof_are_refused_by_both_verifiers(recorded):
    chance = random.Random("five hundred mutations")
    originals = [bytes(prove(recorded, **what)) for what in KINDS]
    count = 0
    while count < 500:
        data = chance.choice(originals)
        at = chance.randrange(len(data))
        length = min(chance.choice((1, 1, 3, 44)), len(data) - at)
        mutated = chance.choice(
            (
                data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :],
                data[:at] + data[at + length :],
                data[: at + length] + data[at : at + length] + data[at + length :],
                data[:at] + chance.randbytes(length) + data[at + length :],
            )
        )
        if mutated not in originals:
            count += 1
            refused_by_both(mutated, keys=[recorded.vkey])


# ---- wrong use ----


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ({}, mlprov.ConfigError, "nothing"),
        ({"tensor": "bias", "record": 1}, mlprov.ConfigError, "2 things at once"),
        ({"tensor": 5}, TypeError, "tensor: expected str, not int"),
        ({"tensor": b"bias"}, TypeError, "tensor"),
        ({"batch": "1"}, TypeError, "batch: expected int, not str"),
        ({"batch": True}, TypeError, "batch"),
        ({"record": 1.0}, TypeError, "record"),
        ({"sample": 1.5}, TypeError, "sample"),
        ({"batch": 1, "epoch": "0"}, TypeError, "epoch"),
        ({"batch": 1, "role": 3}, TypeError, "role"),
        ({"tensor": "nothing"}, mlprov.StoreError, "no record has one"),
        ({"tensor": "bias", "epoch": 7}, mlprov.StoreError, "of epoch 7"),
        ({"batch": 2}, mlprov.StoreError, "batches 0 to 1"),
        ({"batch": -1}, mlprov.StoreError, "batches 0 to 1"),
        ({"batch": 0, "epoch": 7}, mlprov.StoreError, "of epoch 7"),
        ({"batch": 0, "role": "test"}, mlprov.StoreError, "under the role 'test'"),
        ({"sample": 0}, mlprov.ConfigError, "name one with --role .*files, test, train"),
        ({"sample": 6, "role": "train"}, mlprov.StoreError, "has the samples 0 to 5"),
        ({"sample": -1, "role": "train"}, mlprov.StoreError, "has the samples 0 to 5"),
        ({"sample": "no.txt", "role": "files"}, mlprov.StoreError, "no file of that path"),
        ({"sample": 0, "role": "x"}, mlprov.StoreError, "no data set"),
        ({"record": 10}, mlprov.StoreError, "records 0 to 9"),
        ({"record": -1}, mlprov.StoreError, "records 0 to 9"),
    ],
)
def test_what_cannot_be_proved_is_named(recorded, what, error, message):
    with pytest.raises(error, match=message):
        prove(recorded, **what)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"hello", b'{"format":"other"}'])
def test_what_is_no_proof_is_refused(data):
    with pytest.raises(mlprov.EvidenceError):
        proofs.Proof.from_bytes(data)
    refused_by_both(data)

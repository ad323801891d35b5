"""The second verifier on proof files (docs/format.md section 9), good and bad."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles_for_tests import (
    LOG_SEED,
    OTHER_SEED,
    RUN_SEED,
    BundleBuilder,
    check_states,
    failing,
    pinned,
    standard_run,
    tensor,
    v,
    w,
    weights,
    write_safetensors,
)

Proof = dict[str, Any]

# kind, record, field, leaf: one of each place that a proof can lead to.
PLACES: list[tuple[str, int, list[Any], int]] = [
    ("tensor", 4, ["weights"], 0),
    ("tensor", 6, ["weights"], 4),
    ("tensor", 5, ["optimizer"], 1),
    ("batch", 5, ["streams", 0, "tree"], 1),
    ("sample", 1, ["tree"], 2),
    ("sample", 3, ["tree"], 1),
]
CHECKS = ["proof", "owner", "signer", "head", "log", "record", "claim", "time"]


@pytest.fixture
def builder() -> BundleBuilder:
    return standard_run()


def verify(proof: Proof | bytes, **asked: Any) -> v.Verdict:
    data = proof if isinstance(proof, bytes) else v.canonical_json(proof)
    return v.verify_bytes(data, pinned(**asked))


@pytest.mark.parametrize(("kind", "seq", "field", "index"), PLACES)
def test_a_proof_of_every_kind_holds(
    builder: BundleBuilder, kind: str, seq: int, field: list[Any], index: int
) -> None:
    verdict = verify(builder.proof(kind, seq, field, index))
    assert verdict.result == "holds"
    assert list(check_states(verdict)) == CHECKS


@pytest.mark.parametrize("seq", range(9))
def test_a_proof_of_every_record_holds(builder: BundleBuilder, seq: int) -> None:
    verdict = verify(builder.proof("record", seq))
    assert verdict.result == "holds"
    assert list(check_states(verdict)) == [name for name in CHECKS if name != "claim"]


def test_a_buffer_and_a_tensor_of_a_checkpoint_are_tensors_too(builder: BundleBuilder) -> None:
    builder.records[5]["buffers"] = builder.named({"mask": (b"\1\0", "BOOL", [2])})
    builder.records[7]["tensors"] = builder.named(weights(2))
    assert verify(builder.proof("tensor", 5, ["buffers"], 0)).result == "holds"
    assert verify(builder.proof("tensor", 7, ["tensors"], 3)).result == "holds"


def test_a_composite_tensor_is_a_tensor(builder: BundleBuilder) -> None:
    parts = {"values": {"digest": v.digest_text(b""), "dtype": "F32", "len": 0, "shape": [0]}}
    leaf = {"layout": "sparse_coo", "name": "x", "parts": parts, "shape": [2]}
    builder.retree(4, "weights", [leaf])
    assert verify(builder.proof("tensor", 4, ["weights"], 0)).result == "holds"


def test_the_signer_must_be_pinned(builder: BundleBuilder) -> None:
    data = v.canonical_json(builder.proof("record", 0))
    other = v.Key("other", w.public_key(OTHER_SEED))
    assert v.verify_bytes(data).result == "could not check"
    assert v.verify_bytes(data, v.Request(allow_unpinned=True)).result == "holds"
    assert failing(v.verify_bytes(data, v.Request(keys=[other]))) == ["signer"]
    forged = standard_run(owner_seed=OTHER_SEED).proof("record", 0)
    assert failing(verify(forged)) == ["signer"]


def test_a_later_version_cannot_be_checked(builder: BundleBuilder) -> None:
    proof = builder.proof("record", 0) | {"version": 2, "novelty": []}
    verdict = verify(proof)
    assert verdict.result == "could not check"
    assert set(check_states(verdict).values()) == {"unchecked"}


# -- proofs that must not hold; a change works on a proof of the tensor embed.weight in record 6

Change = Callable[[BundleBuilder, Proof], Proof | None]


def in_claim(**members: Any) -> Change:
    return lambda b, p: p | {"claim": p["claim"] | members}


def in_record(**members: Any) -> Change:
    return lambda b, p: p | {"record": p["record"] | members}


def in_log(**members: Any) -> Change:
    return lambda b, p: p | {"log": p["log"] | members}


def without_last(part: str) -> Change:
    return lambda b, p: p | {part: p[part] | {"path": p[part]["path"][:-1]}}


def with_more(part: str) -> Change:
    return lambda b, p: p | {part: p[part] | {"path": [*p[part]["path"], p[part]["path"][0]]}}


def moved(part: str) -> Change:
    return lambda b, p: p | {part: p[part] | {"index": p[part]["index"] + 1}}


def dropped(name: str) -> Change:
    return lambda b, p: {key: value for key, value in p.items() if key != name}


def other_leaf(b: BundleBuilder, p: Proof) -> Proof:
    return p | {"claim": p["claim"] | {"leaf": p["claim"]["leaf"].replace("embed", "other")}}


def other_record(b: BundleBuilder, p: Proof) -> Proof:
    return p | {"record": b.proof("record", 5)["record"] | {"index": 6}}


def head_of_another_run(b: BundleBuilder, p: Proof) -> Proof:
    other = standard_run(run="019aa5c1-5a40-7000-8000-000000000002")
    return p | {"head": other.proof("record", 0)["head"]}


def head_under_another_key(b: BundleBuilder, p: Proof) -> Proof:
    text = v.parse_note(p["head"].encode()).text
    return p | {"head": w.sign_note(text, b.run_key.name, OTHER_SEED).decode()}


def head_with_more_records(b: BundleBuilder, p: Proof) -> Proof:
    text = w.checkpoint_text(b.run_key.name, 10, v.merkle_root(b.lines()))
    return p | {"head": w.sign_note(text, b.run_key.name, RUN_SEED).decode()}


def cosigned(note: str) -> str:
    other = w.sign_note(v.parse_note(note.encode()).text, "witness", OTHER_SEED).decode()
    return note + other[other.rindex("\n\n") + 2 :]


def head_with_a_cosignature(b: BundleBuilder, p: Proof) -> Proof:
    return p | {"head": cosigned(p["head"])}


def checkpoint_under_another_key(b: BundleBuilder, p: Proof) -> Proof:
    text = v.parse_note(p["log"]["checkpoint"].encode()).text
    note = w.sign_note(text, b.origin, OTHER_SEED).decode()
    return p | {"log": p["log"] | {"checkpoint": note}}


def checkpoint_of_another_origin(b: BundleBuilder, p: Proof) -> Proof:
    log = b.log()
    text = w.checkpoint_text("mlprov/store/other", len(log), v.merkle_root(log))
    note = w.sign_note(text, b.origin, LOG_SEED).decode()
    return p | {"log": p["log"] | {"checkpoint": note}}


def empty_log(b: BundleBuilder, p: Proof) -> Proof:
    note = w.sign_note(w.checkpoint_text(b.origin, 0, v.EMPTY_ROOT), b.origin, LOG_SEED)
    return p | {"log": {"checkpoint": note.decode(), "index": 0, "path": []}}


def statement_by_another_owner(b: BundleBuilder, p: Proof) -> Proof:
    return p | {"owner": BundleBuilder(owner_seed=OTHER_SEED).statement()}


def statement_with_another_run_key(b: BundleBuilder, p: Proof) -> Proof:
    key = v.Key(b.run_key.name, w.public_key(OTHER_SEED))
    return p | {"owner": b.statement(run_key=str(key))}


def owner_name_of_his_own(b: BundleBuilder, p: Proof) -> Proof:
    return p | {"owner_key": str(v.Key("me", b.owner_key.public))}


BAD: dict[str, tuple[str, Change]] = {
    "another format": ("proof", lambda b, p: p | {"format": "mlprov-bundle"}),
    "version 0": ("proof", lambda b, p: p | {"version": 0}),
    "an unknown kind": ("proof", lambda b, p: p | {"kind": "metric"}),
    "an unknown member": ("proof", lambda b, p: p | {"novelty": 1}),
    "a record with a claim": ("proof", lambda b, p: p | {"kind": "record"}),
    **{f"no {name}": ("proof", dropped(name)) for name in (*v._PROOF_MEMBERS, "claim")},
    "a head that is no text": ("proof", lambda b, p: p | {"head": None}),
    "a path that is no list": ("proof", in_claim(path="x")),
    "a path of other hashes": ("proof", in_claim(path=["AAAA"])),
    "a negative index": ("proof", in_claim(index=-1)),
    "a size that is true": ("proof", in_record(size=True)),
    "a claim with another member": ("proof", in_claim(note="x")),
    "a field that is no list": ("proof", in_claim(field="weights")),
    "a field with null": ("proof", in_claim(field=[None])),
    "a field of another kind": ("claim", in_claim(field=["streams", 0, "tree"])),
    "an empty field": ("claim", in_claim(field=[])),
    "another owner's statement": ("owner", statement_by_another_owner),
    "an owner's name of his own": ("owner", owner_name_of_his_own),
    "another run key": ("head", statement_with_another_run_key),
    "a head of another run": ("head", head_of_another_run),
    "a head under another key": ("head", head_under_another_key),
    "a head with more records": ("head", head_with_more_records),
    "a head that is not byte for byte in the log": ("log", head_with_a_cosignature),
    "a checkpoint under another key": ("log", checkpoint_under_another_key),
    "a checkpoint of another origin": ("log", checkpoint_of_another_origin),
    "an empty log": ("log", empty_log),
    "a log index beyond the log": ("log", in_log(index=12)),
    "another log index": ("log", moved("log")),
    "a short log path": ("log", without_last("log")),
    "a long log path": ("log", with_more("log")),
    "another record": ("record", other_record),
    "another record index": ("record", moved("record")),
    "another record size": ("head", in_record(size=10)),
    "a short record path": ("record", without_last("record")),
    "a long record path": ("record", with_more("record")),
    "another leaf": ("claim", other_leaf),
    "another leaf index": ("claim", moved("claim")),
    "an index of the records": ("proof", in_record(index=9)),
    "another tree size": ("claim", in_claim(size=6)),
    "an index of the size": ("proof", in_claim(index=5)),
    "a short claim path": ("claim", without_last("claim")),
    "a long claim path": ("claim", with_more("claim")),
    "a tree that the record has not": ("claim", in_claim(field=["buffers"])),
    "a list index that is true": ("proof", in_claim(field=["streams", True, "tree"])),
    "a tree of another record type": ("claim", in_claim(field=["tensors"])),
}


@pytest.mark.parametrize("what", BAD)
def test_a_proof_with_one_thing_wrong_fails_the_check_for_it(
    builder: BundleBuilder, what: str
) -> None:
    check, change = BAD[what]
    proof = builder.proof("tensor", 6, ["weights"], 2)
    verdict = verify(change(builder, proof) or proof)
    assert failing(verdict) == [check]
    assert verdict.result == "does not hold"
    states = list(check_states(verdict).items())
    later = states[states.index((check, "fails")) + 1 :]
    assert {state for name, state in later if name != "signer"} == {"unchecked"}


def test_every_check_of_a_proof_has_bad_proofs() -> None:
    assert {check for check, _ in BAD.values()} | {"signer", "time"} == set(CHECKS)


def wrong_leaf(builder: BundleBuilder, kind: str, leaf: dict[str, Any]) -> v.Verdict:
    """A proof whose only fault is the shape of the leaf that was committed to."""
    places = {"tensor": (4, "weights"), "sample": (1, "tree")}
    if kind == "batch":
        stream = builder.records[5]["streams"][0]
        builder.trees.pop(stream["tree"]["root"][7:])
        stream["tree"] = builder.tree([leaf])
        return verify(builder.proof("batch", 5, ["streams", 0, "tree"], 0))
    seq, member = places[kind]
    builder.retree(seq, member, [leaf])
    return verify(builder.proof(kind, seq, [member], 0))


@pytest.mark.parametrize(
    ("kind", "leaf"),
    [
        ("tensor", {"name": "lr", "value": 1}),
        ("tensor", {"digest": "blake3:00"}),
        ("tensor", {"digest": 1, "name": "x"}),
        ("tensor", {"name": 1, "digest": "blake3:00"}),
        ("tensor", {"name": "x", "parts": []}),
        ("batch", {"batch": 1, "items": []}),
        ("batch", {"batch": 0}),
        ("batch", {"items": []}),
        ("batch", {"batch": "0", "items": []}),
        ("sample", {"index": 0, "len": 1}),
        ("sample", {"digest": "blake3:00", "index": 1, "len": 1}),
        ("sample", {"digest": "blake3:00", "len": 1}),
        ("sample", {"digest": "blake3:00", "path": 1}),
    ],
)
def test_a_leaf_of_another_shape_is_no_claim(
    builder: BundleBuilder, kind: str, leaf: dict[str, Any]
) -> None:
    assert failing(wrong_leaf(builder, kind, leaf)) == ["claim"]


@pytest.mark.parametrize("member", ["seq", "time", "type"])
def test_a_record_that_breaks_its_rules_is_no_record(builder: BundleBuilder, member: str) -> None:
    builder.records[3][member] = 0
    assert failing(verify(builder.proof("record", 3))) == ["record"]


def test_a_proof_in_another_spelling_is_refused(builder: BundleBuilder) -> None:
    text = v.canonical_json(builder.proof("record", 0))
    spellings = [text + b"\n", text.replace(b'"version":1', b'"version":1.0'), text[:-1]]
    for other in (*spellings, b'{"a":' * 100_000, b"{" + b"\xff" * 9, b"{}"):
        assert failing(verify(other)) == ["proof"]


# -- what the caller asks for


def test_a_file_is_held_against_the_tensor_of_a_proof(
    builder: BundleBuilder, tmp_path: Path
) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(write_safetensors(weights(2)))
    proof = builder.proof("tensor", 6, ["weights"], 0)
    assert verify(proof, model=model).result == "holds"
    assert check_states(verify(proof, model=model))["tensor:bias"] == "holds"
    model.write_bytes(write_safetensors(weights(1)))
    assert failing(verify(proof, model=model)) == ["tensor:bias"]
    model.write_bytes(b"pickle")
    assert verify(proof, model=model).result == "could not check"


@pytest.mark.parametrize(
    ("leaf", "check"),
    [
        ('{"name":"bias"}', "tensor:bias"),
        ('{"name": "bias"}', "tensor:bias"),
        ('{"name":1}', "model"),
        ("[]", "model"),
        ("{", "model"),
        ("", "model"),
    ],
)
def test_a_file_is_not_held_against_a_claim_that_fails(
    builder: BundleBuilder, tmp_path: Path, leaf: str, check: str
) -> None:
    proof = builder.proof("tensor", 6, ["weights"], 0)
    verdict = verify(proof | {"claim": proof["claim"] | {"leaf": leaf}}, model=tmp_path / "absent")
    assert failing(verdict) == ["claim"]
    assert list(check_states(verdict).items())[-2] == (check, "unchecked")


@pytest.mark.parametrize("field", ["optimizer", "buffers"])
def test_a_proof_of_training_state_says_nothing_about_a_model(
    builder: BundleBuilder, tmp_path: Path, field: str
) -> None:
    builder.records[5][field] = builder.named(weights(2))
    model = tmp_path / "model.safetensors"
    model.write_bytes(write_safetensors(weights(2)))
    proof = builder.proof("tensor", 5, [field], 0)
    for asked in ({"model": model}, {"tensors": ["bias"]}, {"model": model, "tensors": ["bias"]}):
        verdict = verify(proof, **asked)
        assert verdict.result == "could not check"
        assert check_states(verdict)["tensor:bias"] == "unchecked"


def test_a_proof_is_of_the_epoch_that_was_named_or_unchecked(
    builder: BundleBuilder, tmp_path: Path
) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(write_safetensors(weights(2)))
    builder.records[7]["weights"] = builder.named(weights(2))
    last = builder.proof("tensor", 6, ["weights"], 0)
    saved = builder.proof("tensor", 7, ["weights"], 0)
    for asked in ({"model": model}, {"tensors": ["bias"]}):
        assert verify(last, epoch=1, **asked).result == "holds"
        assert verify(last, epoch=0, **asked).result == "could not check"
        assert verify(saved, epoch=1, **asked).result == "could not check"
        assert verify(saved, **asked).result == "holds"


def test_true_is_not_epoch_1_of_a_proof(builder: BundleBuilder) -> None:
    builder.records[6]["epoch"] = True
    proof = builder.proof("tensor", 6, ["weights"], 0)
    assert verify(proof, tensors=["bias"], epoch=1).result == "could not check"


def test_true_in_the_shape_of_a_claim_is_not_1(builder: BundleBuilder, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(write_safetensors({"scale": weights(2)["scale"]}))
    leaf = tensor(weights(2)["scale"][0], "BF16", [1]) | {"name": "scale"}
    for shape, failed in (([1], []), ([True], ["tensor:scale"])):
        builder.retree(6, "weights", [leaf | {"shape": shape}])
        proof = builder.proof("tensor", 6, ["weights"], 0)
        assert failing(verify(proof, model=model)) == failed


@pytest.mark.parametrize("digest", ["", "md5:00", "blake3:00", "x"])
def test_a_claimed_digest_of_no_algorithm_equals_no_tensor(
    builder: BundleBuilder, tmp_path: Path, digest: str
) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(write_safetensors({"scale": weights(2)["scale"]}))
    leaf = tensor(weights(2)["scale"][0], "BF16", [1]) | {"name": "scale", "digest": digest}
    builder.retree(6, "weights", [leaf])
    proof = builder.proof("tensor", 6, ["weights"], 0)
    assert failing(verify(proof, model=model)) == ["tensor:scale"]


def detail(verdict: v.Verdict, name: str) -> str:
    return next(check.detail for check in verdict.checks if check.name == name)


def test_details_name_what_a_claim_is_about(builder: BundleBuilder) -> None:
    claim = detail(verify(builder.proof("tensor", 6, ["weights"], 0)), "claim")
    assert claim == 'tensor bias, leaf 0 of 5 at ["weights"] of record 6 (epoch, epoch 1)'
    claim = detail(verify(builder.proof("batch", 5, ["streams", 0, "tree"], 1)), "claim")
    assert claim == 'batch 1, leaf 1 of 2 at ["streams",0,"tree"] of record 5 (epoch, epoch 0)'
    claim = detail(verify(builder.proof("sample", 1, ["tree"], 2)), "claim")
    assert claim == 'sample 2, leaf 2 of 3 at ["tree"] of record 1 (data, role train)'


def test_a_proof_of_a_record_shows_its_type_and_metrics(builder: BundleBuilder) -> None:
    shown = detail(verify(builder.proof("record", 6)), "record")
    assert shown.startswith("record 6 (epoch, epoch 1), claimed at 2026-")
    assert shown.endswith('metrics {"loss":0.25,"worst":"NaN"}')
    assert "metrics" not in detail(verify(builder.proof("record", 1)), "record")
    assert "the owner's own log" in detail(verify(builder.proof("record", 1)), "log")


def test_a_batch_outside_an_epoch_is_proved_too(builder: BundleBuilder) -> None:
    stream = builder.records[5]["streams"][0]
    builder.records[8] = builder.records[8] | {"type": "batches", "streams": [stream]}
    assert verify(builder.proof("batch", 8, ["streams", 0, "tree"], 1)).result == "holds"
    builder.records[8]["type"] = "activity"
    assert failing(verify(builder.proof("batch", 8, ["streams", 0, "tree"], 1))) == ["claim"]


def test_what_a_proof_says_nothing_about_is_unchecked(
    builder: BundleBuilder, tmp_path: Path
) -> None:
    record, tensor = builder.proof("record", 0), builder.proof("tensor", 6, ["weights"], 0)
    assert verify(tensor, tensors=["bias"]).result == "holds"
    for verdict in (
        verify(record, model=tmp_path),
        verify(record, data={"train": tmp_path}),
        verify(tensor, tensors=["scale"]),
    ):
        assert verdict.result == "could not check"


# -- mutations


def test_no_mutation_of_a_proof_holds_and_none_crashes(builder: BundleBuilder) -> None:
    chance = random.Random(5)
    request = v.Request(allow_unpinned=True)
    for kind, seq, field, index in PLACES:
        text = v.canonical_json(builder.proof(kind, seq, field, index))
        for number in range(100):
            changed = bytearray(text)
            at = (number * len(text) // 100 + chance.randrange(len(text) // 100)) % len(text)
            changed[at] ^= 1 << chance.randrange(8)
            assert v.verify_bytes(bytes(changed), request).result != "holds", (kind, at)

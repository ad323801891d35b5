"""``mlprov.verify`` on runs that mlprov records itself; both verifiers are asked the same."""

import json
import os

import numpy as np
import pytest
from bundles_for_tests import OTHER_SEED, standard_run, v
from runs_for_tests import (
    NEEDED,
    ask_both,
    little_model,
    record,
    user,
)

import mlprov
from mlprov import archives, keys


def states(verdict):
    return {check.name: check.state for check in verdict.checks}


# ---- the evidence itself ----


def test_a_recorded_run_holds_check_by_check(recorded):
    verdict = ask_both(recorded.bundle, keys=[recorded.vkey])
    expected = dict.fromkeys((*NEEDED, "complete"), "holds") | {"time": "unchecked"}
    assert states(verdict) == expected
    assert verdict.ok
    assert bool(verdict)
    assert verdict.exit_code == 0
    assert verdict.result == "holds"
    assert verdict.require() is verdict
    assert verdict.facts["name"] == "little"
    assert verdict.facts["run"] == recorded.run
    assert verdict.facts["signer"] == recorded.vkey


def test_the_bundle_with_everything_disclosed_holds(recorded):
    verdict = ask_both(recorded.full, keys=[recorded.vkey])
    assert verdict.ok
    assert recorded.full.stat().st_size > recorded.bundle.stat().st_size


def test_two_exports_of_a_run_are_byte_identical(as_owner, tmp_path):
    with mlprov.stores.open_store(as_owner.store) as store:
        for name in ("a.mlprov", "b.mlprov"):
            mlprov.bundles.export_run(store, as_owner.run, tmp_path / name)
    assert (tmp_path / "a.mlprov").read_bytes() == (tmp_path / "b.mlprov").read_bytes()
    assert (tmp_path / "a.mlprov").read_bytes() == as_owner.data


def test_an_imported_run_is_exported_again_as_it_came(as_owner, tmp_path):
    with mlprov.stores.open_store(tmp_path / "other", create=True) as store:
        run = mlprov.bundles.import_bundle(store, as_owner.full)
        assert run == as_owner.run
        path = mlprov.bundles.export_run(store, run, tmp_path / "again.mlprov")
        assert path.read_bytes() == as_owner.full.read_bytes()
        assert mlprov.stored_runs.read_run(store, run).records[0]["name"] == "little"
        with pytest.raises(mlprov.StoreError, match="already"):
            mlprov.bundles.import_bundle(store, as_owner.bundle)
        with pytest.raises(mlprov.ConfigError, match="imported"):
            mlprov.bundles.export_run(store, run, tmp_path / "x", disclose=["batches"])


def test_what_does_not_hold_is_not_imported(recorded, tmp_path):
    bad = bytearray(recorded.data)
    bad[len(bad) // 2] ^= 1
    (tmp_path / "bad.mlprov").write_bytes(bad)
    with mlprov.stores.open_store(tmp_path / "store", create=True) as store:
        with pytest.raises(mlprov.VerificationError):
            mlprov.bundles.import_bundle(store, tmp_path / "bad.mlprov", allow_unpinned=True)
        with pytest.raises(mlprov.EvidenceError, match="not pinned"):
            mlprov.bundles.import_bundle(store, recorded.bundle)
        assert mlprov.stores.read_runs(store) == []
    assert not list((tmp_path / "store").rglob("*.mlprov"))


def test_a_failed_run_holds_and_says_so(tmp_path):
    home = tmp_path / "home"
    with user(home, tmp_path / "store"):
        run = mlprov.start("failing", model=little_model())
        with pytest.raises(ZeroDivisionError), run:
            _ = 1 / 0
        bundle = run.export(tmp_path / "failed.mlprov")
        vkey = keys.owner_vkey()
    verdict = ask_both(bundle, keys=[vkey])
    assert verdict.ok
    assert "failed" in verdict["complete"].detail
    last = json.loads(
        archives.read_archive(bundle.read_bytes()).entries["run.jsonl"].split(b"\n")[-2]
    )
    assert last["exception"] == "builtins.ZeroDivisionError"
    assert b"division by zero" not in bundle.read_bytes()


def test_a_bundle_exported_inside_its_run_is_open_and_holds_but_is_not_complete(tmp_path):
    with user(tmp_path / "home", tmp_path / "store"):
        model = little_model()
        with mlprov.start("open", model=model) as run:
            for epoch in run.epochs(1):
                epoch.log(loss=1.0)
            inside = run.export(tmp_path / "open.mlprov").read_bytes()
        done = run.export(tmp_path / "done.mlprov").read_bytes()
        vkey = keys.owner_vkey()
    verdict = ask_both(inside, keys=[vkey])
    assert verdict.ok
    assert verdict.facts["open"] is True
    assert verdict["complete"].state == "unchecked"
    verdict = ask_both(done, keys=[vkey])
    assert verdict.ok
    assert verdict.facts["open"] is False
    assert verdict["complete"].state == "holds"


def test_a_bundle_that_hides_its_last_records_is_refused(recorded):
    """Cutting the log at an older head gives a valid prefix; only 'open' may be one."""
    data = recorded.entries()
    lines = data["run.jsonl"].split(b"\n")[:-1]
    data["run.jsonl"] = b"\n".join(lines[:7]) + b"\n"
    verdict = ask_both(archives.write_archive(data), keys=[recorded.vkey])
    assert verdict["manifest"].state == "fails"
    assert verdict.exit_code == 1


# ---- whose key ----


def test_an_unpinned_signer_is_not_ok_whatever_else_holds(recorded):
    verdict = ask_both(recorded.bundle)
    assert verdict["signer"].state == "unchecked"
    assert not verdict.ok
    assert verdict.exit_code == 2
    assert verdict.result == "could not check"
    with pytest.raises(mlprov.EvidenceError, match=r"signer: .*not pinned"):
        verdict.require()
    assert ask_both(recorded.bundle, allow_unpinned=True).ok


def test_my_own_key_is_pinned(as_owner):
    verdict = mlprov.verify(as_owner.bundle)
    assert verdict.ok
    assert "own key" in verdict["signer"].detail


def test_a_trusted_key_is_pinned_until_it_is_removed(recorded):
    keys.trust(recorded.vkey, "alice")
    verdict = mlprov.verify(recorded.bundle)
    assert verdict.ok
    assert "alice" in verdict["signer"].detail
    keys.untrust("alice")
    assert mlprov.verify(recorded.bundle).exit_code == 2


def test_a_named_key_makes_every_other_signer_fail(as_owner, tmp_path):
    with user(tmp_path / "somebody"):
        other = keys.owner_key().vkey
    verdict = ask_both(as_owner.bundle, keys=[other])
    assert verdict["signer"].state == "fails"
    assert verdict.exit_code == 1
    with pytest.raises(mlprov.VerificationError, match="signer"):
        verdict.require()
    assert ask_both(as_owner.bundle, keys=[other], allow_unpinned=True).exit_code == 1
    assert ask_both(as_owner.bundle, keys=[other, as_owner.vkey]).ok
    file = tmp_path / "key.txt"
    file.write_text(f"{as_owner.vkey}\n")
    assert mlprov.verify(as_owner.bundle, keys=[file]).ok
    assert mlprov.verify(as_owner.bundle, keys=file).ok


@pytest.mark.parametrize("kind", ["bundle", "proof"])
@pytest.mark.parametrize("named", [1, 7])
def test_a_foreign_signer_is_named_beside_the_keys_that_were_asked_for(kind, named):
    """A copy that somebody signed anew, all of it: only the key tells it from the right one."""
    builder = standard_run(owner_seed=OTHER_SEED)
    data = builder.build() if kind == "bundle" else v.canonical_json(builder.proof("record", 0))
    asked = [standard_run(owner_seed=bytes([7, n]) * 16).owner_key for n in range(named)]
    verdict = ask_both(data, keys=[str(key) for key in asked])
    (check,) = verdict.failing
    assert check.name == "signer"
    name, key_hash, _ = check.seen.split("+", 2)
    assert name == builder.owner_key.name
    assert key_hash == builder.owner_key.key_id.hex()
    listed = ", ".join(map(str, asked[:5]))
    assert check.expected == (listed if named == 1 else f"{listed} and 2 more")
    assert check.seen in check.detail
    assert check.expected in check.detail
    theirs = v.verify_bytes(data, v.Request(keys=asked)).checks
    same = next(one for one in theirs if one.name == "signer")
    assert (same.state, same.seen, same.expected) == (check.state, check.seen, check.expected)


def test_a_whole_bundle_rebuilt_under_another_key_is_refused(recorded, tmp_path):
    forged = record(tmp_path, name="little")
    assert ask_both(forged.bundle, keys=[forged.vkey]).ok  # consistent in itself
    verdict = ask_both(forged.bundle, keys=[recorded.vkey])
    assert verdict["signer"].state == "fails"
    assert verdict.exit_code == 1
    keys.trust(recorded.vkey, "alice")
    verdict = mlprov.verify(forged.bundle, model=forged.model)
    assert verdict["model"].state == "holds"
    assert verdict.exit_code == 2


# ---- wrong use ----


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": 5}, TypeError, "model: expected .* not int"),
        ({"model": b"model.safetensors"}, TypeError, "model: .* not bytes"),
        ({"model": [1, 2]}, TypeError, "model: .* not list"),
        ({"model": {"a": object()}}, None, "a"),
        ({"data": 5}, mlprov.ConfigError, "'data'"),
        ({"data": {"train": 5}}, mlprov.ConfigError, "'train'"),
        ({"data": {0: np.arange(3)}}, TypeError, "data: expected roles"),
        ({"data": {"train": (np.arange(3), np.arange(2))}}, mlprov.ConfigError, "unequal lengths"),
        ({"tensors": "bias"}, TypeError, "tensors: expected a list of names, not str"),
        ({"tensors": [b"bias"]}, TypeError, "tensors: .* not bytes"),
        ({"tensors": 3}, TypeError, "tensors"),
        ({"epoch": "3"}, TypeError, "epoch: expected int, not str"),
        ({"epoch": 3.0}, TypeError, "epoch"),
        ({"epoch": True}, TypeError, "epoch: .* not bool"),
        ({"keys": []}, mlprov.ConfigError, "no keys"),
        ({"keys": 7}, TypeError, "keys"),
        ({"keys": [7]}, TypeError, "keys"),
        ({"keys": b"vkey"}, TypeError, "keys"),
        ({"keys": "no key at all"}, mlprov.ConfigError, "neither a verifier key"),
        ({"allow_unpinned": "no"}, TypeError, "allow_unpinned: .* not str"),
        ({"headers": "x"}, mlprov.ConfigError, "headers"),
        ({"online": True}, TypeError, "online: expected a URL"),
        ({"trusted_blocks": ["1:x"]}, mlprov.ConfigError, "CHAIN:HASH"),
        ({"level": "fast"}, mlprov.ConfigError, "level"),
    ],
)
def test_wrong_arguments_are_named_whatever_the_evidence_is(recorded, arguments, error, message):
    for evidence in (recorded.bundle, recorded.bundle.with_name("model.pkl")):
        if error is None:
            if evidence is recorded.bundle:
                check = mlprov.verify(evidence, **arguments)["model"]
                assert check.state == "unchecked"
                assert message in check.detail
            continue
        with pytest.raises(error, match=message):
            mlprov.verify(evidence, **arguments)


@pytest.mark.parametrize("path", [5, b"little.mlprov", None, 1.5, ["a"]])
def test_a_path_of_the_wrong_type_is_named(path):
    with pytest.raises(TypeError, match="path: expected"):
        mlprov.verify(path)


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "empty", "text", "nul"])
def test_what_is_no_evidence_is_an_evidence_error(tmp_path, kind):
    path = tmp_path / ("a\0b" if kind == "nul" else "x.mlprov")
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind in ("empty", "text"):
        path.write_bytes(b"" if kind == "empty" else b"hello")
    with pytest.raises(mlprov.EvidenceError, match="cannot read"):
        mlprov.verify(path)


def test_names_of_tensors_that_can_be_gone_through_once_are_all_checked(recorded):
    verdict = mlprov.verify(recorded.bundle, tensors=(name for name in ("bias", "absent", "bias")))
    names = [check.name for check in verdict.checks if check.name.startswith("tensor:")]
    assert names == ["tensor:bias", "tensor:absent"]
    assert verdict["tensor:absent"].state == "fails"


def test_a_verdict_prints_no_escape_that_the_evidence_brings(recorded):
    verdict = mlprov.verify(recorded.bundle, tensors=["\x1b[31mred\u202e"])
    assert "\x1b" not in str(verdict)
    assert "\u202e" not in str(verdict)
    assert "\\x1b[31mred\\u202e" in str(verdict)


def test_a_check_that_was_not_made_is_a_key_error(recorded):
    with pytest.raises(KeyError):
        mlprov.verify(recorded.bundle)["model"]


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_data_of_a_name_that_no_file_has_are_unchecked(recorded, name):
    verdict = mlprov.verify(recorded.bundle, data={"files": name}, keys=[recorded.vkey])
    assert [c.state for c in verdict.checks if c.name == "data:files"] == ["unchecked"]

"""Anchors in bundles: made by real transactions, exported, checked by both verifiers, node gone."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anchors_for_tests import (
    AnchoredRun,
    anchor,
    anchored_on,
    ask,
    change_anchors,
    checkpoint_of,
    export,
    ipfs_evidence,
    put_anchor,
)
from bundles_for_tests import v
from cli_for_tests import run_command
from nodes_for_tests import account, anvil, deploy, require_secp256k1
from runs_for_tests import user

import mlprov
from mlprov import anchor_files, archives, bundles, keys, stores
from mlprov.errors import ConfigError, EvidenceError, StoreError, VerificationError

FIRST, LAST = "anchors/ethereum-2.json", "anchors/ethereum-4.json"
STATES = "anchors/states.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> AnchoredRun:
    """A run with two anchors. The node is stopped before any test begins."""
    with anchored_on(tmp_path_factory.mktemp("anchored")) as (_, run):
        assert run.sizes == [2, 4]
    return run


@pytest.fixture
def fresh(tmp_path: Path, made: AnchoredRun) -> Callable[..., AnchoredRun]:
    """Another store, with the same node gone: a run whose outbox a test fills and edits."""

    def copy() -> AnchoredRun:
        store = tmp_path / "store"
        shutil.copytree(made.store, store)
        return dataclasses.replace(made, store=store, bundle=tmp_path / "copy.mlprov")

    return copy


def details(verdict: mlprov.Verdict) -> dict[str, str]:
    return {check.name: check.detail for check in verdict.checks}


# ---- what holds ----


def test_an_anchored_run_verifies_with_the_node_gone(made: AnchoredRun) -> None:
    verdict = ask(made.data, made)
    assert (verdict.result, verdict.exit_code) == ("holds", 0)
    states = {check.name: check.state for check in verdict.checks}
    assert states["anchor:ethereum-2"] == states["anchor:ethereum-4"] == "holds"
    # Relative to a block's hash is not in a chain, and its time is not known.
    assert states["block:ethereum-2"] == states["block:ethereum-4"] == "unchecked"
    assert states["time"] == "unchecked"
    assert verdict.facts["no_later_than"] is None


def test_the_check_says_chain_contract_sender_block_time_and_state(made: AnchoredRun) -> None:
    said = details(ask(made.data, made))["anchor:ethereum-4"]
    shown = made.shown(-1)
    for part in (
        "the first 5 records",
        "chain 31337",
        shown["contract"],
        made.sender,
        shown["block"],
        "block 3",
        "final when it was exported, as the exporter says",
    ):
        assert part in said, said


def test_the_bundle_has_the_checkpoint_and_one_proof_for_each_anchor(made: AnchoredRun) -> None:
    entries = made.entries()
    assert entries[LAST] == made.evidence[4]
    assert json.loads(entries[STATES]) == {"ethereum-2": "final", "ethereum-4": "final"}
    assert sorted(name for name in entries if name.startswith("log/2/")) == [
        "log/2/3.proof",
        "log/2/checkpoint",
    ]


def test_an_anchored_run_costs_at_most_8_kb_of_evidence(made: AnchoredRun) -> None:
    entries = made.entries()
    of_the_first = [n for n in entries if n == FIRST or n.startswith("log/2/")]
    assert sum(len(entries[name]) for name in of_the_first) <= 8192


def test_facts_and_json_list_every_anchor(made: AnchoredRun) -> None:
    done = run_command("verify", made.bundle, "--key", made.vkey, "--json")
    assert done.code == 0
    listed = done.json["facts"]["anchors"]
    assert [(one["name"], one["records"], one["evidence"]) for one in listed] == [
        ("ethereum-2", 3, "holds"),
        ("ethereum-4", 5, "holds"),
    ]
    shown = made.shown(-1)
    for member in ("contract", "sender", "block", "transaction", "chain_id"):
        assert listed[1][member] == shown[member]
    assert (listed[1]["state"], listed[1]["trusted"]) == ("final", "unchecked")


def test_the_run_and_show_list_what_their_anchors_show(made: AnchoredRun) -> None:
    done = run_command("show", made.run, "--store", made.store, "--json")
    assert [(a["kind"], a["log_size"], a["head"], a["state"]) for a in done.json["anchors"]] == [
        ("ethereum", 2, 3, "final"),
        ("ethereum", 4, 5, "final"),
    ]
    assert done.json["anchors"][1]["block"] == made.shown(-1)["block"]
    text = run_command("show", made.run, "--store", made.store).out
    assert "ethereum, final: the first 5 records, in block 3 of chain 31337" in text


def test_a_live_run_lists_its_anchors(tmp_path: Path) -> None:
    with (
        user(tmp_path / "home", tmp_path / "store"),
        mlprov.start("live", store=tmp_path / "store") as run,
    ):
        run.log(loss=1.0)
        run.wait()
        note = checkpoint_of(tmp_path / "store")
        put_anchor(tmp_path / "store", note, ipfs_evidence(note), kind="ipfs", state="proved")
        put_anchor(tmp_path / "store", note, None, state="sent")
        kinds = {anchor["kind"]: anchor for anchor in run.anchors}
        assert kinds["ipfs"]["cid"] == json.loads(ipfs_evidence(note))["cid"]
        assert (kinds["ethereum"]["state"], "block" in kinds["ethereum"]) == ("sent", False)


def test_an_open_bundle_has_the_anchors_that_there_are(tmp_path: Path) -> None:
    require_secp256k1()
    with (
        anvil() as node,
        user(tmp_path / "home", tmp_path / "store"),
        mlprov.start("open", store=tmp_path / "store") as run,
    ):
        run.log(loss=1.0)
        run.wait()
        note = checkpoint_of(tmp_path / "store")
        owner = account(node)
        put_anchor(tmp_path / "store", note, anchor(owner, deploy(owner, "AnchorStore"), note))
        run.log(loss=0.5)
        bundle = run.export(tmp_path / "open.mlprov")
        vkey = keys.owner_vkey()
    assert bundle is not None
    data = bundle.read_bytes()
    verdict = mlprov.verify(bundle, keys=[str(vkey)])
    assert verdict.ok
    assert verdict["anchor:ethereum-1"].state == "holds"
    theirs = v.verify_bytes(data, v.Request(keys=[v.parse_vkey(str(vkey))]))
    assert theirs.state("anchor:ethereum-1") == "holds"


def test_an_ipfs_anchor_is_storage_and_no_time(
    fresh: Callable[..., AnchoredRun],
) -> None:
    made = fresh()
    note = checkpoint_of(made.store)
    put_anchor(made.store, note, ipfs_evidence(note), kind="ipfs", state="final")
    export(made, made.bundle)
    verdict = ask(made.data, made)
    assert verdict["anchor:ipfs-4"].state == "holds"
    assert "storage, not time" in verdict["anchor:ipfs-4"].detail
    assert "block:ipfs-4" not in details(verdict)
    assert verdict["time"].state == "unchecked"


def test_two_anchors_of_one_kind_and_checkpoint_are_numbered(
    fresh: Callable[..., AnchoredRun], tmp_path: Path
) -> None:
    made = fresh()
    note = checkpoint_of(made.store)
    with anvil("--chain-id", "11155111") as node:
        owner = account(node)
        evidence = anchor(owner, deploy(owner, "AnchorStore"), note)
    put_anchor(made.store, note, evidence, state="proved")
    export(made, made.bundle)
    verdict = ask(made.data, made)
    assert verdict["anchor:ethereum-4-2"].state == "holds"
    assert "chain 11155111" in verdict["anchor:ethereum-4-2"].detail
    entries = made.entries()
    lone = {LAST: None, STATES: b'{"ethereum-2":"final","ethereum-4-2":"final"}'}
    verdict = ask(made.sealed(lone), made)
    assert verdict["anchor:ethereum-4-2"].state == "fails"
    assert "without anchors/ethereum-4.json" in verdict["anchor:ethereum-4-2"].detail
    assert "anchors/ethereum-4-2.json" in entries


def test_an_anchor_that_adds_no_time_stays_out_of_the_bundle(
    fresh: Callable[..., AnchoredRun],
) -> None:
    made = fresh()
    with user(made.home, made.store), mlprov.start("later", store=made.store) as run:
        run.log(loss=1.0)
    note = checkpoint_of(made.store)
    put_anchor(made.store, note, ipfs_evidence(note), kind="ipfs")
    shown = json.loads(made.evidence[4])
    # Of the same chain, contract and account, but of a later checkpoint.
    later = {"chain": shown["chain_id"], "target": shown["contract"], "account": shown["sender"]}
    put_anchor(made.store, note, made.evidence[4], **later)
    export(made, made.bundle)
    names = [str(name) for name in anchor_files.anchor_names(made.entries())]
    assert names == ["ethereum-2", "ethereum-4", "ipfs-6"]
    assert ask(made.data, made).ok


# ---- what does not leave the store ----


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"chain": "1"}, "of the chain 31337; it was planned for 1"),
        ({"target": "0x" + "11" * 20}, "of the contract 0x5FbDB"),
        ({"account": "0x" + "11" * 20}, "of the account 0xf39Fd"),
        ({"origin": "mlprov/store/other"}, "of the log mlprov/store/other"),
        ({"size": 3}, "that the store lacks"),
        ({"evidence": b"{}"}, "is about"),
        ({"evidence": b"no JSON"}, "not strict JSON"),
        ({"kind": "ipfs"}, "not exactly cid"),
    ],
    ids=str,
)
def test_an_outbox_that_says_otherwise_than_its_evidence_exports_nothing(
    fresh: Callable[..., AnchoredRun], columns: dict[str, Any], said: str
) -> None:
    made = fresh()
    change_anchors(made.store, **columns)
    with pytest.raises(StoreError, match="cannot use an anchor in the outbox") as seen:
        export(made, made.bundle)
    assert said in seen.value.what
    assert not made.bundle.exists()
    shown = run_command("show", made.run, "--store", made.store)
    assert shown.code == 0
    assert "cannot use an anchor" in shown.out


def test_anchors_on_their_way_are_shown_and_not_exported(
    fresh: Callable[..., AnchoredRun],
) -> None:
    made = fresh()
    change_anchors(made.store, state="reorged")
    export(made, made.bundle)
    assert not [name for name in made.entries() if name.startswith("anchors/")]
    assert (
        "ethereum, reorged: the first 5 records"
        in run_command("show", made.run, "--store", made.store).out
    )


# ---- revisions ----


def test_an_anchor_after_the_export_makes_a_revision_that_names_the_old(
    made: AnchoredRun, tmp_path: Path
) -> None:
    path = tmp_path / "revised.mlprov"
    path.write_bytes((made.home.parent / "before.mlprov").read_bytes())
    old = archives.read_archive(path.read_bytes()).entries["manifest.json"]
    assert not any(name.startswith("anchors/") for name in json.loads(old)["entries"])
    with user(made.home, made.store):
        done = run_command("export", made.run, path, "--revise", "--store", made.store)
    assert done.code == 0, done.err
    new = json.loads(archives.read_archive(path.read_bytes()).entries["manifest.json"])
    assert (new["revision"], new["previous"]) == (2, hashlib.sha256(old).hexdigest())
    verdict = ask(path.read_bytes(), made)
    assert verdict.ok
    assert verdict["anchor:ethereum-4"].state == "holds"


def test_a_revision_without_anything_new_writes_nothing(made: AnchoredRun, tmp_path: Path) -> None:
    path = tmp_path / "same.mlprov"
    path.write_bytes(made.data)
    with user(made.home, made.store):
        done = run_command("export", made.run, path, "--revise", "--store", made.store)
    assert done.code == 0
    assert "nothing was written" in done.out
    assert path.read_bytes() == made.data


def test_a_revision_keeps_what_was_disclosed(made: AnchoredRun, tmp_path: Path) -> None:
    path = tmp_path / "disclosed.mlprov"
    export(made, path, disclose=["batches", "samples"])
    before = archives.read_archive(path.read_bytes()).entries
    export(made, path, revise=True)
    after = archives.read_archive(path.read_bytes()).entries
    trees = {name for name in before if name.startswith("trees/")}
    assert trees <= set(after)


def test_only_a_bundle_of_the_run_by_a_store_that_knows_it_is_revised(
    made: AnchoredRun, fresh: Callable[..., AnchoredRun], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no such bundle"):
        export(made, tmp_path / "none.mlprov", revise=True)
    text = tmp_path / "text.mlprov"
    text.write_bytes(b"text")
    with pytest.raises(EvidenceError, match="no bundle"):
        export(made, text, revise=True)
    older = fresh()
    export(older, older.bundle)
    with contextlib.closing(sqlite3.connect(older.store / "store.db")) as database, database:
        database.execute("DELETE FROM anchor_intents")
    with pytest.raises(StoreError, match="has the anchor ethereum-2"):
        export(older, older.bundle, revise=True)
    with user(made.home, older.store), mlprov.start("other", store=older.store) as run:
        run.log(loss=1.0)
    with (
        user(made.home, older.store),
        pytest.raises(ConfigError, match="it is of the run"),
        stores.open_with_log(older.store) as store,
    ):
        bundles.export_run(store, run.id, older.bundle, revise=True)
    broken = bytearray(made.data)
    broken[-1] ^= 1
    text.write_bytes(broken)
    with pytest.raises(VerificationError, match="cannot revise"):
        export(made, text, revise=True)


def test_what_a_run_has_after_its_bundle_was_imported_is_its_owners(
    made: AnchoredRun, tmp_path: Path
) -> None:
    with user(tmp_path / "home", tmp_path / "store"):
        run_command("init", "--store", tmp_path / "store")
        done = run_command("import", made.bundle, "--key", made.vkey, "--store", tmp_path / "store")
        assert done.code == 0, done.err
        path = tmp_path / "again.mlprov"
        assert run_command("export", made.run, path, "--store", tmp_path / "store").code == 0
        assert path.read_bytes() == made.data
        done = run_command("export", made.run, path, "--revise", "--store", tmp_path / "store")
        assert done.code == 2
        assert "imported" in done.err

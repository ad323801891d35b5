"""The founding document's interface, on a real chain and an IPFS server of the tests."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chains_for_tests import Chain, chain, rows, until
from nodes_for_tests import anvil, require_secp256k1
from servers_for_tests import Server, always, answer, node_that, serving

import mlprov
from mlprov import anchor_reports, anchoring
from mlprov.provenance import BlockchainManager, ProvenanceTracker
from mlprov.provenance.settings import read_blockchain

SECRET = "s3cr3t"


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """A chain that goes on by itself; the environment names no more of it than who signs."""
    require_secp256k1()
    with anvil("--block-time", "1", "--slots-in-an-epoch", "1") as node:
        made = chain(node, monkeypatch)
        for name in ("URL", "CHAIN_ID", "CONTRACT", "ACCOUNT"):
            monkeypatch.delenv(f"MLPROV_ETHEREUM_{name}")
        yield made


@pytest.fixture
def ipfs() -> Iterator[Server]:
    """A server that keeps one block."""
    with serving(node_that(bytes, pins=True)) as server:
        yield server


def configured(there: Chain, ipfs: Server | None = None, **storage: bool) -> dict[str, Any]:
    """As the document has it, in a dict of the training's settings."""
    section: dict[str, Any] = {
        "enabled": True,
        "networks": ["ethereum"],
        "ethereum": {
            "enabled": True,
            "rpc_url": there.node.url,
            "chain_id": 31337,
            "contract_address": there.contract,
            "gas_limit": 300000,
            "gas_price": "auto",
        },
        "bitcoin": {"enabled": False},
    }
    if ipfs is not None:
        section["networks"].append("ipfs")
        section["ipfs"] = {"url": ipfs.url(""), "timeout": 30, "retry_attempts": 3}
    if storage:
        section["storage_options"] = storage
    return {"epochs": 2, "batch_size": 4, "hash_algorithm": "blake3", "blockchain": section}


def trained(
    tracker: ProvenanceTracker, weights: bytearray, *, settle: bool = False
) -> tuple[dict[str, Any], ...]:
    """A training as the document draws it; what storing gave.

    settle: deliver all of one epoch before the next: what waits is covered by a later anchor.
    """
    tracker.track_data(np.arange(12.0).reshape(4, 3), np.ones((2, 3)))
    tracker.track_model({"weight": memoryview(weights)})
    before = tracker.store_merkle_on_blockchain_before_training({"learning_rate": 0.001})
    for epoch in tracker.epochs(2):
        if settle:
            settled(tracker)
        weights[0] += 1
        epoch.log(loss=1 / (1 + epoch.index))
    after = tracker.store_merkle_on_blockchain_after_training({"test": {"accuracy": 0.9}})
    return before, after


def settled(tracker: ProvenanceTracker) -> None:
    """Deliver all that is on its way."""
    networks = tracker.manager.settings.networks.values()
    with mlprov.stores.open_store(tracker.manager.store_path) as store:
        anchoring.deliver_to(store, [network.endpoint for network in networks], 60)


# The tracker


def test_a_training_is_recorded_anchored_twice_and_verified_over_both_networks(
    there: Chain, ipfs: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = ProvenanceTracker(tmp_path / "artifacts", configured(there, ipfs))
    before, after = trained(tracker, bytearray(b"weights"))
    assert before["merkle_root"] != after["merkle_root"] == tracker.run.head[1]
    assert before["records"] < after["records"]
    assert [after["transaction_ids"][n] for n in ("ethereum", "ipfs")] != [
        before["transaction_ids"][n] for n in ("ethereum", "ipfs")
    ]
    events = [transaction for transaction, _ in there.events()]
    assert events[0] == before["transaction_ids"]["ethereum"]
    settled(tracker)
    report = tracker.verify_blockchain_provenance()
    assert report, str(report)
    assert [covered for covered, _ in report.findings].count(report.size) == 2
    assert {finding.state_of("node") for _, finding in report.findings} == {"holds"}
    recorded = tracker.run.records
    config = recorded[0]["config"]
    assert config == {"epochs": 2, "batch_size": 4, "learning_rate": 0.001}
    assert {r["role"] for r in recorded if r["type"] == "data"} == {"train", "test"}
    assert sum(r["type"] == "epoch" for r in recorded) == 2
    status = tracker.get_blockchain_status()
    assert status["ethereum"]["reachable"]
    assert status["ethereum"]["chain_id"] == "31337"
    assert status["ethereum"]["anchors"] == {"final": 2}

    # A later process verifies the newest run of the store, whoever has the account's key.
    monkeypatch.delenv("MLPROV_ETHEREUM_PRIVATE_KEY")
    monkeypatch.setenv("MLPROV_ETHEREUM_KEYSTORE", str(tmp_path / "elsewhere.json"))
    monkeypatch.setenv("MLPROV_ETHEREUM_ACCOUNT", there.account)
    (tmp_path / "elsewhere.json").write_text("{}")
    again = ProvenanceTracker(tmp_path / "artifacts", configured(there, ipfs))
    report = again.verify_blockchain_provenance()
    assert report, str(report)
    assert report.run == tracker.run.id
    with pytest.raises(mlprov.ConfigError, match="has not begun"):
        again.run.log(loss=1)


def test_each_epoch_is_anchored_where_the_configuration_says_so(
    there: Chain, tmp_path: Path
) -> None:
    storage = {"store_before_training": False, "store_epoch_checkpoints": True}
    tracker = ProvenanceTracker(tmp_path, configured(there, **storage))
    before, after = trained(tracker, bytearray(b"weights"), settle=True)
    assert before == {}
    assert after["states"]["ethereum"] in ("sent", "included", "proved", "final")
    settled(tracker)
    report = tracker.verify_blockchain_provenance()
    assert report, str(report)
    assert len(there.events()) in (2, 3)  # the last epoch's may be covered by that of the end
    assert [covered for covered, _ in report.findings] == sorted({c for c, _ in report.findings})


def test_a_loop_without_epochs_is_one(there: Chain, tmp_path: Path) -> None:
    storage = {"store_before_training": False, "store_after_training": False}
    weights = bytearray(b"weights")
    tracker = ProvenanceTracker(tmp_path, configured(there, **storage))
    tracker.track_model({"weight": memoryview(weights)})
    assert tracker.store_merkle_on_blockchain_before_training() == {}
    weights[0] += 1
    assert tracker.store_merkle_on_blockchain_after_training({"losses": [3, 2]}) == {}
    epochs = [record for record in tracker.run.records if record["type"] == "epoch"]
    assert [epoch["metrics"] for epoch in epochs] == [{"losses.0": 3, "losses.1": 2}]
    model = next(r for r in tracker.run.records if r["type"] == "model")
    assert epochs[0]["weights"]["root"] != model["weights"]["root"]
    assert there.events() == []
    report = tracker.verify_blockchain_provenance()
    assert (report.result, report.missing) == ("could not check", ["ethereum"])


def test_calls_in_the_wrong_order_say_so(tmp_path: Path) -> None:
    tracker = ProvenanceTracker(tmp_path)
    with pytest.raises(mlprov.ConfigError, match="has not begun"):
        tracker.store_merkle_on_blockchain_after_training({})
    with pytest.raises(mlprov.StoreError):
        tracker.verify_blockchain_provenance()
    tracker.store_merkle_on_blockchain_before_training()
    with pytest.raises(mlprov.ConfigError, match="the run has begun"):
        tracker.store_merkle_on_blockchain_before_training()
    with pytest.raises(mlprov.ConfigError, match="another model"):
        tracker.track_model({"weight": b"x"})
    tracker.track_data(np.ones(3))  # recorded at once
    assert [r["role"] for r in tracker.run.records if r["type"] == "data"] == ["train"]


# What fails


def test_a_dead_node_costs_a_warning_and_the_anchor_waits(there: Chain, tmp_path: Path) -> None:
    config = configured(there)
    config["blockchain"]["ethereum"] |= {"rpc_url": "http://127.0.0.1:1", "retry_attempts": 0}
    tracker = ProvenanceTracker(tmp_path / "warned", config)
    tracker.track_model({"weight": memoryview(b"weights")})
    with pytest.warns(mlprov.RecordingWarning, match="not on its network yet"):
        stored = tracker.store_merkle_on_blockchain_before_training()
    assert (stored["transaction_ids"], stored["states"]) == ({}, {"ethereum": "planned"})
    assert not tracker.get_blockchain_status()["ethereum"]["reachable"]
    assert tracker.verify_blockchain_provenance().result == "could not check"

    raising = ProvenanceTracker(tmp_path / "raised", config, on_error="raise")
    with pytest.raises(mlprov.AnchorError, match="mlprov sync"):
        raising.store_merkle_on_blockchain_before_training()


def test_edited_evidence_and_edited_records_do_not_hold(there: Chain, tmp_path: Path) -> None:
    tracker = ProvenanceTracker(tmp_path, configured(there, store_before_training=False))
    trained(tracker, bytearray(b"weights"))
    settled(tracker)
    path = tracker.manager.store_path / "store.db"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        (evidence,) = database.execute("SELECT evidence FROM anchor_intents").fetchone()
        other = evidence.replace(b'"digest":"sha256:', b'"digest":"sha256:0', 1)
        database.execute("UPDATE anchor_intents SET evidence = ?", (other,))
    report = tracker.verify_blockchain_provenance()
    assert report.result == "does not hold"
    assert report.findings[0][1].state_of("evidence") == "fails"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE anchor_intents SET evidence = ?", (evidence,))
        database.execute("UPDATE records SET bytes = x'7b7d' WHERE type = 'epoch'")
    report = tracker.verify_blockchain_provenance()
    assert (report.result, report.records.state) == ("does not hold", "fails")


def test_a_node_that_lost_the_block_makes_it_not_hold(
    there: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = ProvenanceTracker(tmp_path, configured(there, store_before_training=False))
    trained(tracker, bytearray(b"weights"))
    settled(tracker)
    with anvil("--slots-in-an-epoch", "1") as node:  # a chain of the same id that began anew
        node.raw_result("anvil_mine", hex(50))
        config = configured(there)
        config["blockchain"]["ethereum"]["rpc_url"] = node.url
        report = ProvenanceTracker(tmp_path, config).verify_blockchain_provenance()
    assert report.result == "does not hold"
    assert report.findings[0][1].state_of("node") == "fails"
    assert report.findings[0][1].state_of("evidence") == "holds"


def test_an_ipfs_node_that_gives_something_else_makes_it_not_hold(
    ipfs: Server, tmp_path: Path
) -> None:
    config = {"networks": ["ipfs"], "ipfs": {"url": ipfs.url("")}}
    manager = BlockchainManager(config, store=tmp_path / "store")
    stored = manager.store_merkle_hash("ab" * 32)
    found = manager.verify_merkle_hash("ab" * 32, stored)["ipfs"]
    assert found, found.checks
    assert ipfs.requests[-1].startswith(f"POST /api/v0/block/get?arg={stored['ipfs']} ".encode())
    with serving(always(answer(b"other bytes"))) as other:
        config["ipfs"] = {"url": other.url("")}
        again = BlockchainManager(config, store=tmp_path / "store")
        found = again.verify_merkle_hash("ab" * 32, stored)["ipfs"]
    assert (found.result, found.state_of("evidence")) == ("does not hold", "holds")
    with serving(node_that(bytes, pins=True)) as other:  # it has no such block
        config["ipfs"] = {"url": other.url("")}
        again = BlockchainManager(config, store=tmp_path / "store")
        assert again.verify_merkle_hash("ab" * 32, stored)["ipfs"].result == "could not check"


# The report


def test_the_report_is_json_text_or_an_escaped_page(there: Chain, tmp_path: Path) -> None:
    name = "<script>alert(1)</script>\x1b[31m\u202e"
    config = configured(there, store_before_training=False)
    tracker = ProvenanceTracker(tmp_path, config, name=name)
    trained(tracker, bytearray(b"weights"))
    settled(tracker)
    path = tracker.save_blockchain_report()
    assert path == tmp_path / "blockchain_report.json"
    kept = json.loads(path.read_text())
    assert (kept["result"], kept["run"]) == ("holds", tracker.run.id)
    assert kept["anchors"][0]["reference"] == there.events()[0][0]
    assert int(kept["anchors"][0]["cost"]) > 0
    text = tracker.save_blockchain_report(tmp_path / "report.txt").read_text()
    assert re.search(r"COVERS +NETWORK +LOG SIZE +STATE +EVIDENCE +NODE", text)
    page = tracker.save_blockchain_report(tmp_path / "report.html").read_text()
    assert 'Content-Security-Policy" content="default-src \'none\'"' in page
    for shown in (text, page):
        assert there.events()[0][0] in shown
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    assert "<script" not in page
    with pytest.raises(mlprov.ConfigError, match=r"\.json, \.txt or \.html"):
        tracker.save_blockchain_report(tmp_path / "report.pdf")


def test_a_page_escapes_every_text_twice() -> None:
    naughty = "\"><img src=x onerror=alert(1)>&'\u202e\x00"
    page = anchor_reports.as_page(naughty, [naughty], (naughty,), [(naughty,)])
    assert "<img" not in page
    assert page.count("&lt;img") == 5
    assert not re.search("[\u202e\0]", page)


# The manager


def test_a_hash_is_stored_once_and_verified_with_its_transactions(
    there: Chain, tmp_path: Path
) -> None:
    manager = BlockchainManager(configured(there), store=tmp_path / "store")
    root = "ab" * 32
    stored = manager.store_merkle_hash(root, {"model": "digits"})
    assert manager.store_merkle_hash(bytes.fromhex(root), {"model": "digits"}) == stored
    with pytest.raises(mlprov.ConfigError, match="other metadata"):
        manager.store_merkle_hash(root, {"model": "other"})
    with mlprov.stores.open_store(tmp_path / "store") as store:
        endpoints = [network.endpoint for network in manager.settings.networks.values()]
        anchoring.deliver_to(store, endpoints, 60)
    assert stored == {"ethereum": there.events()[0][0]}
    found = manager.verify_merkle_hash(f"sha256:{root}", stored)["ethereum"]
    assert found, found.checks
    assert [check.name for check in found.checks] == ["covers", "records", "evidence", "node"]
    info = manager.get_transaction_info(stored)["ethereum"]
    assert (info["state"], info["reference"]) == ("final", stored["ethereum"])
    assert info["block"] == there.node.receipt(stored["ethereum"])["blockHash"]

    assert manager.verify_merkle_hash("cd" * 32, stored)["ethereum"].result == "does not hold"
    unknown = {"ethereum": "0x" + "00" * 32}
    assert manager.verify_merkle_hash(root, unknown)["ethereum"].result == "could not check"
    with pytest.raises(mlprov.AnchorError, match="no such anchor"):
        manager.get_transaction_info(unknown)

    # What was recorded after an anchor is not under it; what is under one is not paid for again.
    later = manager.store_merkle_hash("ef" * 32, networks=["ethereum"])
    assert later != stored
    assert manager.store_merkle_hash(root, {"model": "digits"}) == stored
    assert len(rows(tmp_path / "store")) == 2
    assert manager.verify_merkle_hash("ef" * 32, stored)["ethereum"].result == "does not hold"
    assert manager.verify_merkle_hash(root, later)["ethereum"].state_of("covers") == "holds"


def test_the_documents_own_contract_takes_a_hash(there: Chain, tmp_path: Path) -> None:
    config = configured(there)
    contract = there.deploy("MLProvenance")
    config["blockchain"]["ethereum"] |= {
        "contract_address": contract,
        "contract_kind": "MLProvenance",
        "gas_price": 20 * 10**9,
    }
    manager = BlockchainManager(config["blockchain"], store=tmp_path / "store")
    stored = manager.store_merkle_hash("ab" * 32, {"model": "digits"})
    with mlprov.stores.open_store(tmp_path / "store") as store:
        endpoints = [network.endpoint for network in manager.settings.networks.values()]
        anchoring.deliver_to(store, endpoints, 60)
    found = manager.verify_merkle_hash("ab" * 32, stored)["ethereum"]
    assert found, found.checks
    detail = next(check.detail for check in found.checks if check.name == "evidence")
    assert detail.startswith(f"MLProvenance at {contract}")
    assert there.node.receipt(stored["ethereum"])["to"] == contract.lower()


def test_a_transaction_that_no_server_took_raises_and_is_delivered_later(
    there: Chain, tmp_path: Path
) -> None:
    config = configured(there)
    config["blockchain"]["ethereum"]["gas_limit"] = 30000
    manager = BlockchainManager(config, store=tmp_path / "store")
    with pytest.raises(mlprov.AnchorError, match="max_gas allows 30000"):
        manager.store_merkle_hash("ab" * 32)
    assert rows(tmp_path / "store")[0].state == "needs_operator"
    config["blockchain"]["ethereum"] |= {"gas_limit": 300000, "gas_price": 10**8}
    cheap = BlockchainManager(config, store=tmp_path / "store")
    with mlprov.stores.open_store(tmp_path / "store") as store:
        store.resume_anchors()
    with pytest.raises(mlprov.AnchorError, match=r"max_fee_gwei allows 0\.100"):
        cheap.store_merkle_hash("ab" * 32)
    config["blockchain"]["ethereum"]["gas_price"] = "auto"
    with mlprov.stores.open_store(tmp_path / "store") as store:
        store.resume_anchors()
    manager = BlockchainManager(config, store=tmp_path / "store")
    stored = manager.store_merkle_hash("ab" * 32)
    until(there.events)
    assert [transaction for transaction, _ in there.events()] == [stored["ethereum"]]


@pytest.mark.parametrize("wrong", ["", "ab", "zz" * 32, b"short", "ab" * 33, "é" * 64])
def test_what_is_no_hash_is_refused(wrong: str | bytes, ipfs: Server, tmp_path: Path) -> None:
    config = {"networks": ["ipfs"], "ipfs": {"url": ipfs.url("")}}
    with pytest.raises(mlprov.ConfigError, match="64 hexadecimal digits"):
        BlockchainManager(config, store=tmp_path / "store").store_merkle_hash(wrong)
    assert not (tmp_path / "store").exists()


# The configuration


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"networks": ["bitcoin"]}, "no anchors on Bitcoin"),
        ({"bitcoin": {"enabled": True, "rpc_url": "x"}}, "no anchors on Bitcoin"),
        ({"networks": ["solana"]}, "configured networks are ethereum, ipfs"),
        ({"networks": "ipfs"}, "a list of names"),
        ({"networks": [], "ipsf": {}}, "known are"),
        ({"ethereum": {"rpc": "x"}}, "known are"),
        ({"ethereum": []}, "expected an object"),
        ({"ipfs": {"url": "http://127.0.0.1:1", "timeout": "soon"}}, "seconds"),
        ({"ipfs": {"url": "http://127.0.0.1:1", "timeout": float("nan")}}, "seconds"),
        ({"ipfs": {"enabled": "yes"}}, "true or false"),
        ({"networks": [], "storage_options": {"store_before": True}}, "known are"),
        ({"networks": [], "storage_options": {"store_before_training": 1}}, "true or false"),
        ({"ethereum": {"rpc_url": "http://127.0.0.1:1"}}, "chain_id"),
        ({"ethereum": {"rpc_url": "http://127.0.0.1:1", "gas_price": "cheap"}}, '"auto"'),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_used_is_refused(
    section: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPROV_ETHEREUM_SIGNER_URL", "http://127.0.0.1:1")
    with pytest.raises(mlprov.ConfigError, match=words):
        ProvenanceTracker(config={"blockchain": section})


@pytest.mark.parametrize("name", ["private_key", "privateKey", "PRIVATE-KEY"])
def test_a_key_in_the_file_is_refused_with_the_way_to_do_it_right(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "blockchain_config.json"
    section = {"enabled": False, "ethereum": {"enabled": False, name: SECRET}}
    path.write_text(json.dumps({"blockchain": section}))
    with pytest.raises(mlprov.ConfigError, match="key file") as refused:
        BlockchainManager(path)
    assert SECRET not in str(refused.value)


def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(mlprov.ConfigError, match="cannot read"):
        BlockchainManager(path)
    for text in ("{", "[]", '{"networks": [], "networks": []}'):
        path.write_text(text)
        with pytest.raises(mlprov.ConfigError):
            BlockchainManager(path)


def test_credentials_of_the_user_go_to_no_server_that_a_file_names(
    ipfs: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPROV_IPFS_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("MLPROV_IPFS_HEADER", f"Authorization: Bearer {SECRET}")
    config = {"networks": ["ipfs"], "ipfs": {"url": ipfs.url("")}}
    manager = BlockchainManager(config, store=tmp_path / "store")
    assert manager.store_merkle_hash("ab" * 32)["ipfs"].startswith("baf")
    assert SECRET.encode() not in b"".join(ipfs.requests)
    assert read_blockchain({"networks": ["ipfs"]}).networks["ipfs"].endpoint.headers

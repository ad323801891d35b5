"""Anchors on a real Ethereum node (anvil): from the plan to evidence that holds without it."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chains_for_tests import Chain, anchored_store, chain, digest_of, rows, states, until
from cli_for_tests import run_command, shell
from nodes_for_tests import account, anvil, require_secp256k1

import mlprov
from mlprov import _core, anchoring, stores

# A chain that goes on by itself, and calls a block final when two more slots have passed.
RUNNING = ("--block-time", "1", "--slots-in-an-epoch", "1")


@pytest.fixture(scope="module", autouse=True)
def _secp256k1() -> None:
    require_secp256k1()


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """A chain that goes on by itself."""
    with anvil(*RUNNING) as node:
        yield chain(node, monkeypatch)


# From the plan to the proof


def test_a_checkpoint_becomes_evidence_that_holds_without_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = anchored_store(tmp_path)
    with anvil(*RUNNING) as node:
        there = chain(node, monkeypatch)
        done = run_command("anchor", "ethereum", "--store", store, "--json")
        assert done.code == 0, done.out + done.err
        anchor = done.json["anchor"]
        assert anchor["state"] == "final"
        assert there.events() == [(anchor["reference"], digest_of(store))]
        receipt = node.receipt(anchor["reference"])
    found = anchor["found"]
    assert found["number"] == int(receipt["blockNumber"], 16)
    assert found["block"] == receipt["blockHash"]
    paid = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    assert int(found["cost"]) == paid
    shown = _core.ethereum_verify(anchor["evidence"].encode(), digest_of(store))
    assert shown["chain_id"] == 31337
    assert (shown["contract"], shown["sender"]) == (there.contract, there.account)
    assert shown["block"].hex() == found["block"][2:]
    listed = run_command("status", "--store", store)
    assert listed.code == 0
    assert anchor["reference"] in listed.out
    assert str(found["number"]) in listed.out
    with pytest.raises(mlprov.VerificationError):
        _core.ethereum_verify(anchor["evidence"].encode(), bytes(32))


def test_a_run_with_anchors_has_them_at_its_end(running: Chain, tmp_path: Path) -> None:
    with mlprov.start("anchored", store=tmp_path / "store", anchors=["ethereum"]) as run:
        for epoch in run.epochs(2):
            epoch.log(loss=1)
    assert shell("sync", "--store", tmp_path / "store").returncode == 0
    assert set(states(tmp_path / "store")) == {"final"}
    found = rows(tmp_path / "store")
    assert found[0].size == max(a["index"] for a in run.anchors if a["kind"] == "log") + 1
    assert sorted(row.nonce for row in found) == list(range(1, len(found) + 1))
    assert len(running.events()) == len(found)


# What a chain or a node may do


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """A chain on which a block is made when a test says so."""
    with anvil("--slots-in-an-epoch", "1") as node:
        there = chain(node, monkeypatch)
        there.mine(4)  # what is put aside later is not the contract
        there.mine_by_hand()
        yield there


def _sync(store: Path, *wanted: str) -> anchoring.AnchorRow:
    """Deliver until the newest anchor is in one of these states; its row."""

    def delivered() -> anchoring.AnchorRow | None:
        run_command("sync", "--store", store, "--timeout", "1")
        row = rows(store)[0]
        return row if row.state in wanted else None

    row: anchoring.AnchorRow = until(delivered)
    return row


def _sent(there: Chain, directory: Path) -> Path:
    """A store whose anchor waits at the node."""
    store = anchored_store(directory)
    assert run_command("anchor", "ethereum", "--store", store, "--timeout", "1").code == 2
    until(lambda: _sync(store, "sent") and there.pending() == 1)
    return store


def _deliver(there: Chain, store: Path) -> anchoring.AnchorRow:
    """Make blocks until the anchor is final."""
    there.node.raw_result("evm_setIntervalMining", 1)
    assert run_command("sync", "--store", store, "--retry").code == 0
    assert [digest for _, digest in there.events()] == [digest_of(store)]
    return rows(store)[0]


def test_a_node_of_another_chain_is_sent_nothing(
    quiet: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = anchored_store(tmp_path)
    monkeypatch.setenv("MLPROV_ETHEREUM_CHAIN_ID", "1")
    assert run_command("anchor", "ethereum", "--store", store, "--timeout", "60").code == 2
    row = rows(store)[0]
    assert (row.state, row.nonce) == ("needs_operator", None)
    assert "31337" in str(row.note)
    assert "configuration says 1" in str(row.note)
    assert quiet.pending() == 0


def test_an_account_without_ether_is_told_so_before_anything_is_signed(
    quiet: Chain, tmp_path: Path
) -> None:
    store = anchored_store(tmp_path)
    quiet.node.raw_result("anvil_setBalance", quiet.account, "0x1")
    assert run_command("anchor", "ethereum", "--store", store, "--timeout", "60").code == 2
    row = rows(store)[0]
    assert (row.state, row.attempts) == ("needs_operator", 0)
    assert "send it ether" in str(row.note)
    quiet.node.raw_result("anvil_setBalance", quiet.account, hex(10**18))
    assert _deliver(quiet, store).nonce == 1


def test_an_address_without_a_contract_is_sent_nothing(
    quiet: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = anchored_store(tmp_path)
    monkeypatch.setenv("MLPROV_ETHEREUM_CONTRACT", "0x" + "11" * 20)
    assert run_command("anchor", "ethereum", "--store", store, "--timeout", "60").code == 2
    assert states(store) == ["needs_operator"]
    assert "no contract" in str(rows(store)[0].note)


def test_a_contract_that_would_refuse_is_sent_nothing(
    quiet: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = anchored_store(tmp_path)
    monkeypatch.setenv("MLPROV_ETHEREUM_CONTRACT", quiet.deploy_for_another("MLProvenance"))
    monkeypatch.setenv("MLPROV_ETHEREUM_CONTRACT_KIND", "MLProvenance")
    assert run_command("anchor", "ethereum", "--store", store, "--timeout", "60").code == 2
    row = rows(store)[0]
    assert (row.state, row.attempts) == ("needs_operator", 0)
    assert "would refuse" in str(row.note)


def test_the_other_contract_takes_anchors_too(
    running: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = anchored_store(tmp_path)
    contract = running.deploy("MLProvenance")
    monkeypatch.setenv("MLPROV_ETHEREUM_CONTRACT", contract)
    monkeypatch.setenv("MLPROV_ETHEREUM_CONTRACT_KIND", "MLProvenance")
    done = run_command("anchor", "ethereum", "--store", store, "--json")
    assert done.code == 0, done.out + done.err
    shown = _core.ethereum_verify(done.json["anchor"]["evidence"].encode(), digest_of(store))
    assert (shown["event"], shown["contract"]) == ("MLProvenance", contract)


def test_a_contract_that_refuses_in_the_block_costs_its_gas_and_is_shown(
    quiet: Chain, tmp_path: Path
) -> None:
    store = _sent(quiet, tmp_path)
    code = quiet.node.raw_result("eth_getCode", quiet.contract, "latest")
    quiet.node.raw_result("anvil_setCode", quiet.contract, "0x5f5ffd")  # revert(0, 0)
    quiet.mine()
    row = _sync(store, "needs_operator")
    assert "refused the anchor or recorded nothing" in str(row.note)
    assert row.shown is not None
    assert int(row.shown["cost"]) > 0
    quiet.node.raw_result("anvil_setCode", quiet.contract, code)
    assert _deliver(quiet, store).nonce == 2  # the first one is spent


def test_a_jump_of_the_base_fee_ends_in_one_event(quiet: Chain, tmp_path: Path) -> None:
    store = _sent(quiet, tmp_path)
    before = rows(store)[0]
    quiet.node.raw_result("anvil_setNextBlockBaseFeePerGas", hex(10 * 10**9))
    quiet.mine()  # without it: its fee is too low, and anvil drops it
    assert quiet.events() == []
    row = _deliver(quiet, store)
    assert row.attempts == 2
    assert row.nonce == before.nonce
    assert row.reference != before.reference


def test_a_fee_above_the_users_bound_waits_for_him(
    quiet: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = anchored_store(tmp_path)
    monkeypatch.setenv("MLPROV_ETHEREUM_MAX_FEE_GWEI", "0.5")
    assert run_command("anchor", "ethereum", "--store", store, "--timeout", "60").code == 2
    row = rows(store)[0]
    assert (row.state, row.attempts) == ("needs_operator", 0)
    assert "max_fee_gwei allows 0.500" in str(row.note)
    monkeypatch.setenv("MLPROV_ETHEREUM_MAX_FEE_GWEI", "20")
    assert _deliver(quiet, store).nonce == 1


def test_more_gas_than_the_user_allows_waits_for_him(
    quiet: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = anchored_store(tmp_path)
    monkeypatch.setenv("MLPROV_ETHEREUM_MAX_GAS", "40000")
    assert run_command("anchor", "ethereum", "--store", store, "--timeout", "5").code == 2
    row = rows(store)[0]
    assert (row.state, row.attempts) == ("needs_operator", 0)
    assert "max_gas allows 40000" in str(row.note)
    monkeypatch.delenv("MLPROV_ETHEREUM_MAX_GAS")
    assert _deliver(quiet, store).nonce == 1


def test_a_transaction_that_waits_too_long_is_replaced_at_both_fees(
    quiet: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _sent(quiet, tmp_path)
    monkeypatch.setenv("MLPROV_ETHEREUM_REPLACE_AFTER", "0.01")
    monkeypatch.setenv("MLPROV_ETHEREUM_REPLACEMENTS", "2")
    row = _sync(store, "needs_operator")
    assert row.attempts == 3
    assert "replaced 2 times" in str(row.note)
    with stores.open_store(store, read_only=True) as opened:
        raws = opened.query("SELECT bytes FROM anchor_attempts ORDER BY number")
    fees = [_core.ethereum_transaction(raw)[0] for (raw,) in raws]
    for old, new in itertools.pairwise(fees):
        assert new[1] == old[1]  # nonce
        for place in (2, 3):
            assert new[place] >= -(-old[place] * 11 // 10) + 1
    assert quiet.pending() == 1
    monkeypatch.delenv("MLPROV_ETHEREUM_REPLACE_AFTER")
    assert _deliver(quiet, store).nonce == 1


def test_a_transaction_that_the_node_dropped_is_sent_again(quiet: Chain, tmp_path: Path) -> None:
    store = _sent(quiet, tmp_path)
    before = rows(store)[0]
    quiet.node.raw_result("anvil_dropTransaction", "0x" + before.reference.hex())
    assert quiet.pending() == 0
    until(lambda: _sync(store, "sent") and quiet.pending() == 1)
    after = _deliver(quiet, store)
    assert (after.reference, after.attempts) == (before.reference, 1)


def test_what_a_killed_node_forgot_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "chain.json"
    with anvil("--state", str(kept), "--state-interval", "1") as node:
        there = chain(node, monkeypatch)
        there.mine_by_hand()
        code = node.raw_result("eth_getCode", there.contract, "latest")
        until(lambda: kept.exists() and code[2:] in kept.read_text())
        store = _sent(there, tmp_path)
    with anvil("--state", str(kept), "--slots-in-an-epoch", "1") as node:
        monkeypatch.setenv("MLPROV_ETHEREUM_URL", node.url)
        again = Chain(node, there.contract, there.account)
        assert (again.count(), again.pending()) == (1, 0)
        row = _deliver(again, store)
    assert (row.nonce, row.attempts) == (1, 1)


def test_a_block_that_is_put_aside_is_noticed_and_anchored_again(
    quiet: Chain, tmp_path: Path
) -> None:
    store = _sent(quiet, tmp_path)
    quiet.mine()
    proved = _sync(store, "proved")
    assert proved.shown is not None
    # Two blocks in place of the last one, without what was in it.
    quiet.node.raw_result("anvil_reorg", 2, [])
    final = _deliver(quiet, store)
    assert final.shown is not None
    assert final.shown["block"] != proved.shown["block"]
    assert final.evidence != proved.evidence
    assert final.reference == proved.reference


def test_an_account_that_others_use_is_noticed_and_the_nonce_given_up(
    quiet: Chain, tmp_path: Path
) -> None:
    store = _sent(quiet, tmp_path)
    before = rows(store)[0]
    quiet.node.raw_result("anvil_dropTransaction", "0x" + before.reference.hex())
    account(quiet.node).send(quiet.account, b"", value=1)
    quiet.mine()
    row = _sync(store, "needs_operator")
    assert "took the nonce" in str(row.note)
    after = _deliver(quiet, store)
    assert (after.nonce, before.nonce) == (2, 1)


def test_what_is_there_already_is_found_and_not_paid_again(running: Chain, tmp_path: Path) -> None:
    store = anchored_store(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(store, copy)
    assert run_command("anchor", "ethereum", "--store", store).code == 0
    count = running.count()
    assert run_command("anchor", "ethereum", "--store", copy).code == 0
    assert running.count() == count
    assert rows(copy)[0].reference == rows(store)[0].reference
    assert rows(copy)[0].evidence == rows(store)[0].evidence
    assert len(running.events()) == 1


def test_a_store_that_sent_more_than_the_node_counts_sends_nothing(
    quiet: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _sent(quiet, tmp_path)
    assert _deliver(quiet, store).state == "final"
    with mlprov.start("more", store=store) as run:
        run.log(loss=1)
    with anvil() as node:  # a chain of the same id that began anew
        other = chain(node, monkeypatch)
        assert other.contract == quiet.contract
        node.raw_result("anvil_setNonce", other.account, "0x0")
        assert run_command("anchor", "ethereum", "--store", store, "--timeout", "1").code == 2
        until(lambda: _sync(store, "planned").note)
        assert other.events() == []
    assert "the node is behind" in str(rows(store)[0].note)


def test_others_wait_until_the_first_is_in_a_block(quiet: Chain, tmp_path: Path) -> None:
    store = _sent(quiet, tmp_path)
    with mlprov.start("more", store=store) as run:
        run.log(loss=1)
    assert run_command("anchor", "ethereum", "--store", store, "--timeout", "2").code == 2
    assert states(store) == ["planned", "sent"]
    assert "waits for that of log size" in run_command("status", "--store", store).out
    quiet.node.raw_result("evm_setIntervalMining", 1)
    assert run_command("sync", "--store", store).code == 0
    assert [row.nonce for row in rows(store)] == [2, 1]


def test_what_waited_while_the_node_was_away_is_one_transaction(
    running: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    monkeypatch.setenv("MLPROV_ETHEREUM_URL", "http://127.0.0.1:1")
    for name in ("first", "second", "third"):
        with mlprov.start(name, store=store, anchors=["ethereum"]) as run:
            run.log(loss=1)
    assert states(store) == ["planned"]
    assert "could not be reached" in str(rows(store)[0].note)
    monkeypatch.setenv("MLPROV_ETHEREUM_URL", running.node.url)
    assert run_command("sync", "--store", store).code == 0
    assert [digest for _, digest in running.events()] == [digest_of(store)]
    assert running.count() == 2


# Many at once


def test_three_processes_with_eight_threads_make_one_event(running: Chain, tmp_path: Path) -> None:
    store = anchored_store(tmp_path)
    started = [subprocess.Popen([sys.executable, "-c", MANY, str(store)]) for _ in range(3)]
    assert [process.wait(timeout=120) for process in started] == [0] * 3
    assert states(store) == ["final"]
    assert [digest for _, digest in running.events()] == [digest_of(store)]
    assert running.count() == 2  # the contract, and the anchor


MANY = """
import sys, threading
from mlprov import anchoring, stores
server = anchoring.endpoint("ethereum")
def anchor():
    with stores.open_store(sys.argv[1]) as store:
        for _ in range(100):
            anchoring.plan(store, server)
        anchoring.deliver(store, ["ethereum"], 100)
threads = [threading.Thread(target=anchor) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


# Over all anchors of a store, in one table


def test_status_checks_every_anchor_against_its_checkpoint_and_a_node(
    running: Chain, tmp_path: Path
) -> None:
    store = anchored_store(tmp_path)
    assert run_command("anchor", "ethereum", "--store", store).code == 0
    offline = run_command("status", "--check", "--store", store)
    assert (offline.code, offline.err) == (0, "")
    assert offline.out.splitlines()[0].split()[:6] == [
        "NETWORK", "LOG", "SIZE", "STATE", "EVIDENCE", "NODE",
    ]  # fmt: skip
    online = run_command("status", "--online", "configured", "--store", store, "--json")
    assert online.code == 0
    (anchor,) = online.json["anchors"]
    assert [(c["name"], c["state"]) for c in anchor["checks"]] == [
        ("evidence", "holds"),
        ("node", "holds"),
    ]
    assert anchor["reference"] == running.events()[0][0]

    dead = run_command("status", "--online", "http://127.0.0.1:1", "--store", store)
    assert dead.code == 2
    assert "node unchecked" in dead.out
    with contextlib.closing(sqlite3.connect(store / "store.db")) as database, database:
        database.execute("UPDATE anchor_intents SET target = ?", ("0x" + "11" * 20,))
    edited = run_command("status", "--check", "--store", store)
    assert edited.code == 1
    assert "it was planned for" in edited.out


def test_status_says_of_what_is_on_its_way_that_it_could_not_check_it(
    quiet: Chain, tmp_path: Path
) -> None:
    done = run_command("status", "--check", "--store", _sent(quiet, tmp_path))
    assert done.code == 2
    assert "there is no evidence yet: the anchor is sent" in done.out

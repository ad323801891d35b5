"""Anchors on a second Ethereum node (hardhat), which is strict where anvil is not.

Replacements have to raise both fees by a tenth, a transaction below the base fee waits, one that
waits already is refused by another text, and receipts come one by one. ``make test-hardhat``
installs the node and runs these.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chains_for_tests import Chain, anchored_store, chain, digest_of, rows, states, until
from cli_for_tests import run_command
from nodes_for_tests import (
    NODES,
    EthereumNode,
    NodeError,
    account,
    own_environment,
    require_secp256k1,
)
from servers_for_tests import Server, answer, serving

from mlprov import _core, anchoring, stores

HARDHAT = NODES / "hardhat"
GWEI = 10**9


def lacking(reason: str) -> None:
    """Skip, or fail where ``make test-hardhat`` insists."""
    if os.environ.get("MLPROV_TEST_HARDHAT"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextlib.contextmanager
def hardhat(folder: Path) -> Iterator[EthereumNode]:
    """Run hardhat on a free port until the block ends."""
    program = HARDHAT / "node_modules" / "hardhat" / "internal" / "cli" / "bootstrap.js"
    if shutil.which("node") is None or not program.exists():
        lacking("there is no hardhat here: 'make hardhat-node' installs it (half a minute, 290 MB)")
    require_secp256k1()
    log = folder / "hardhat.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["node", program, "node", "--hostname", "127.0.0.1", "--port", "0"],
            cwd=HARDHAT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**own_environment(), "HARDHAT_DISABLE_TELEMETRY_PROMPT": "true"},
        )
    try:
        found = until(
            lambda: process.poll() is not None or re.search(r"http://[0-9.:]+", log.read_text())
        )
        assert process.poll() is None, log.read_text()
        yield EthereumNode(found[0])
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """A chain of hardhat's on which a block is made when a test says so."""
    with hardhat(tmp_path) as node:
        there = chain(node, monkeypatch)
        node.raw_result("evm_setAutomine", False)
        yield there


def sync(store: Path, *, code: int = 2, timeout: float = 3) -> anchoring.AnchorRow:
    """Deliver as far as it goes; the newest row."""
    done = run_command("sync", "--store", store, "--timeout", str(timeout))
    assert done.code == code, done.out + done.err
    return rows(store)[0]


def sent(there: Chain, directory: Path) -> Path:
    """A store whose anchor waits at the node."""
    store = anchored_store(directory)
    assert run_command("anchor", "ethereum", "--store", store, "--timeout", "1").code == 2
    assert (states(store), there.pending()) == (["sent"], 1)
    return store


def deliver(there: Chain, store: Path) -> anchoring.AnchorRow:
    """Make blocks until the anchor is final: once on the chain."""
    there.node.raw_result("evm_setIntervalMining", 500)
    done = run_command("sync", "--store", store, "--retry")
    assert done.code == 0, done.out + done.err
    assert [digest for _, digest in there.events()] == [digest_of(store)]
    there.node.raw_result("evm_setIntervalMining", 0)
    return rows(store)[0]


def between(there: Chain, change: Callable[[dict[str, Any], int], Any]) -> Any:
    """A server that hands calls to the node, but for those that ``change`` answers: no None."""
    called: dict[str, int] = {}

    def handler(connection: socket.socket, request: bytes) -> None:
        body = request.partition(b"\r\n\r\n")[2]
        call = json.loads(body)
        called[call["method"]] = called.get(call["method"], 0) + 1
        changed = change(call, called[call["method"]])
        if changed is None:
            asked = urllib.request.Request(
                there.node.url, body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(asked, timeout=30) as reply:
                connection.sendall(answer(reply.read()))
        else:
            said = {"jsonrpc": "2.0", "id": call["id"], **changed}
            connection.sendall(answer(json.dumps(said).encode()))

    return serving(handler)


def through(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPROV_ETHEREUM_URL", server.url())


def attempts(store: Path) -> list[tuple[Any, ...]]:
    """What was signed, field by field."""
    with stores.open_store(store, read_only=True) as opened:
        raws = opened.query("SELECT bytes FROM anchor_attempts ORDER BY number")
    return [_core.ethereum_transaction(raw)[0] for (raw,) in raws]


def test_receipts_that_come_one_by_one_make_evidence_too(strict: Chain, tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="eth_getBlockReceipts is not supported"):
        strict.node.raw_result("eth_getBlockReceipts", "latest")
    store = sent(strict, tmp_path)
    other = account(strict.node, 1)
    for number in range(20):
        other.send(other.key.address, bytes(number), value=1)
    strict.node.raw_result("hardhat_mine")
    row = deliver(strict, store)
    assert row.shown is not None
    block = strict.node.raw_result("eth_getBlockByHash", row.shown["block"], False)
    assert len(block["transactions"]) == 21
    assert row.evidence is not None
    shown = _core.ethereum_verify(row.evidence, digest_of(store))
    assert (shown["transaction"], shown["contract"]) == (row.reference, strict.contract)


def test_the_node_takes_no_replacement_below_a_tenth_more_of_both_fees(strict: Chain) -> None:
    owner = account(strict.node)

    def send(tip: int, fee: int) -> None:
        intent = (31337, owner.nonce, tip, fee, 30_000, owner.key.address, 0, b"")
        strict.node.send(owner.key.sign_transaction(intent)[0])

    send(GWEI, 10 * GWEI)
    for tip, fee in ((105, 1050), (110, 1000), (100, 1100), (109, 1099)):
        with pytest.raises(NodeError, match="nderpriced"):
            send(tip * GWEI // 100, fee * GWEI // 100)
    send(110 * GWEI // 100, 11 * GWEI)
    assert strict.pending() == 1


def test_a_replacement_raises_both_fees_by_a_tenth_and_is_taken(
    strict: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = sent(strict, tmp_path)
    monkeypatch.setenv("MLPROV_ETHEREUM_REPLACE_AFTER", "0.01")
    monkeypatch.setenv("MLPROV_ETHEREUM_REPLACEMENTS", "2")
    row = sync(store, timeout=20)
    assert (row.state, row.attempts) == ("needs_operator", 3)
    fees = attempts(store)
    for old, new in itertools.pairwise(fees):
        assert new[1] == old[1]  # nonce
        for place in (2, 3):
            assert new[place] >= -(-old[place] * 11 // 10) + 1
    # The node has the last one, and so it took each.
    waiting = strict.node.raw_result("eth_getTransactionByHash", "0x" + row.reference.hex())
    assert waiting["blockNumber"] is None
    assert int(waiting["maxFeePerGas"], 16) == fees[-1][3]
    assert strict.pending() == 1
    monkeypatch.delenv("MLPROV_ETHEREUM_REPLACE_AFTER")
    assert deliver(strict, store).nonce == 1


def test_a_transaction_below_the_base_fee_waits_and_is_replaced(
    strict: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = sent(strict, tmp_path)
    before = rows(store)[0]
    strict.node.raw_result("hardhat_setNextBlockBaseFeePerGas", hex(15 * GWEI))
    strict.node.raw_result("hardhat_mine")
    assert strict.events() == []
    waiting = strict.node.raw_result("eth_getTransactionByHash", "0x" + before.reference.hex())
    assert waiting["blockNumber"] is None  # anvil would have dropped it
    assert sync(store).state == "sent"
    assert rows(store)[0].reference == before.reference
    monkeypatch.setenv("MLPROV_ETHEREUM_REPLACE_AFTER", "0.01")
    row = deliver(strict, store)
    assert row.nonce == before.nonce
    assert row.reference != before.reference
    assert strict.count() == 2  # the deployment, and one anchor


def test_a_chain_that_goes_back_is_noticed_and_anchored_again(
    strict: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_finality(call: dict[str, Any], _: int) -> Any:
        if call["method"] == "eth_getBlockByNumber" and call["params"][0] == "finalized":
            return {"error": {"code": -32602, "message": "unknown block tag"}}
        return None

    store = sent(strict, tmp_path)
    with between(strict, no_finality) as server:
        through(server, monkeypatch)
        snapshot = strict.node.raw_result("evm_snapshot")
        strict.node.raw_result("hardhat_mine")
        proved = sync(store)
        assert proved.state == "proved"  # one block is no six confirmations
        assert proved.shown is not None
        assert strict.node.raw_result("evm_revert", snapshot)
        assert strict.events() == []
        strict.node.raw_result("hardhat_setNextBlockBaseFeePerGas", hex(GWEI // 2))
        final = deliver(strict, store)
    assert final.shown is not None
    assert final.shown["block"] != proved.shown["block"]
    assert strict.count() == 2


def test_a_transaction_that_is_known_already_counts_as_sent(
    strict: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def forgets(call: dict[str, Any], _: int) -> Any:
        """Denies what waits, so that it is sent again."""
        if call["method"] == "eth_getTransactionByHash":
            return {"result": None}
        if call["method"] == "eth_sendRawTransaction":
            with pytest.raises(NodeError) as refused:
                strict.node.raw_result(call["method"], *call["params"])
            said.append(str(refused.value))
            return {"error": {"code": -32000, "message": said[-1]}}
        return None

    store = sent(strict, tmp_path)
    with between(strict, forgets) as server:
        through(server, monkeypatch)
        row = sync(store, timeout=5)
    assert said
    assert "nown transaction" in said[0]
    assert (row.state, row.failures, row.attempts) == ("sent", 0, 1)
    monkeypatch.setenv("MLPROV_ETHEREUM_URL", strict.node.url)
    assert deliver(strict, store).reference == row.reference

"""``run.start`` names a recent block: no record was written before it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ethereum_reference
import numpy as np
import pytest
from bundles_for_tests import BundleBuilder, v
from nodes_for_tests import anvil
from servers_for_tests import always, answer, serving

import mlprov
from mlprov import _core, anchoring, brackets, stores, verification
from mlprov.questions import Question

HASH = "0x" + "ab" * 32
NAMED = {"block": HASH, "chain_id": "1", "number": "7"}


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Names the node to ask."""
    return lambda url: monkeypatch.setenv("MLPROV_ETHEREUM_URL", url)


# ---- recording ----


def test_the_last_final_block_of_the_users_node_is_named(at: Callable[[str], None]) -> None:
    with anvil() as node:
        node.raw_result("anvil_mine", "0x80")
        at(node.url)
        named = brackets.recent_block()
        expected = node.raw_result("eth_getBlockByNumber", "finalized", False)
    assert named == {
        "block": expected["hash"],
        "chain_id": "31337",
        "number": str(int(expected["number"], 16)),
    }
    assert brackets.read_not_before(named).hex == expected["hash"]


def test_without_an_anchor_on_a_chain_nothing_is_asked_or_said() -> None:
    assert brackets.not_before(()) == brackets.not_before(("log", "ipfs")) == {}


def test_a_node_that_is_not_there_costs_little_and_is_said(
    at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLPROV_ETHEREUM_URL", raising=False)
    said = {"not_before": {"unavailable": "no node is configured, or there is no libcurl"}}
    assert brackets.not_before(("ethereum",)) == said
    at("http://127.0.0.1:1/key")
    assert brackets.recent_block() == {"unavailable": "the node did not answer in time"}
    monkeypatch.setenv("MLPROV_OFFLINE", "1")
    assert "unavailable" in dict(brackets.recent_block() or {})  # type: ignore[arg-type]


def test_a_node_that_does_not_answer_is_given_half_a_second(at: Callable[[str], None]) -> None:
    def silent(connection: Any, _: bytes) -> None:
        connection.recv(1)  # until the client leaves

    with serving(silent) as server:
        at(server.url())
        began = time.monotonic()
        assert brackets.recent_block() == {"unavailable": "the node did not answer in time"}
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"jsonrpc":"2.0","id":1,"result":5}'])
def test_a_node_that_answers_nonsense_is_said(at: Callable[[str], None], body: bytes) -> None:
    with serving(always(answer(body))) as server:
        at(server.url())
        assert brackets.recent_block() == {"unavailable": "the node's answer cannot be used"}


# ---- verifying ----


def bundle(named: Any) -> tuple[BundleBuilder, bytes]:
    """A run whose first record has this member."""
    builder = BundleBuilder()
    builder.start(not_before=named)
    builder.end()
    return builder, builder.build()


def ask(named: Any, *blocks: dict[str, str]) -> mlprov.Verdict:
    """mlprov's verdict, after the second verifier gave the same one."""
    builder, data = bundle(named)
    vkey = str(builder.owner_key)
    verdict = verification.verify_bytes(data, "it", Question(keys=[vkey], headers=list(blocks)))
    request = v.Request(keys=[builder.owner_key], blocks=list(map(v._listed_block, blocks)))
    theirs = v.verify_bytes(data, request)
    states = {check.name: check.state for check in verdict.checks}
    assert states == {check.name: check.state for check in theirs.checks}
    assert verdict.result == theirs.result
    return verdict


def test_a_block_that_nobody_vouched_for_says_nothing_yet() -> None:
    verdict = ask(NAMED)
    assert (verdict["not_before"].state, verdict.result) == ("unchecked", "holds")
    assert verdict.facts["not_before"] is None


def test_a_trusted_block_is_not_before() -> None:
    verdict = ask(NAMED, {"chain_id": "1", "hash": HASH})
    assert verdict["not_before"].state == "holds"
    assert f"no head was signed before {HASH}" in verdict["not_before"].detail


def test_a_trusted_header_says_the_time_too() -> None:
    with anvil("--timestamp", "1600000000") as node:
        node.raw_result("anvil_mine", "0x2")
        block = node.raw_result("eth_getBlockByNumber", "0x1", False)
        given = header_of(block)
    named = {"block": block["hash"], "chain_id": "31337", "number": "1"}
    verdict = ask(named, {"chain_id": "31337", "header": given})
    assert verdict["not_before"].state == "holds"
    assert str(verdict.facts["not_before"]).startswith("2020-09-13T")
    # Another height than the header's, another chain, another block at that height.
    for other in ({"number": "2"}, {"chain_id": "1"}):
        verdict = ask({**named, **other}, {"chain_id": "31337", "header": given})
        assert verdict["not_before"].state == "fails"
        assert verdict.result == "does not hold"
    verdict = ask({**named, "block": HASH}, {"chain_id": "31337", "header": given})
    assert verdict["not_before"].state == "fails"


def header_of(block: dict[str, Any]) -> str:
    """The RLP of a header: the fields in the order of the forks that added them."""
    hashes = ("parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot")
    numbers = ("difficulty", "number", "gasLimit", "gasUsed", "timestamp")
    later = ("baseFeePerGas", "withdrawalsRoot", "blobGasUsed", "excessBlobGas")
    last = ("parentBeaconBlockRoot", "requestsHash")
    fields = [bytes.fromhex(block[name][2:]) for name in (*hashes, "receiptsRoot", "logsBloom")]
    fields += [ethereum_reference.number(int(block[name], 16)) for name in numbers]
    fields += [bytes.fromhex(block[name][2:]) for name in ("extraData", "mixHash", "nonce")]
    for name in (*later, *last):
        if name in block:
            is_hash = name.endswith(("Root", "Hash"))
            value = block[name]
            fields.append(
                bytes.fromhex(value[2:]) if is_hash else ethereum_reference.number(int(value, 16))
            )
    raw = ethereum_reference.encode(fields)
    assert "0x" + _core.keccak256(raw).hex() == block["hash"]
    return "0x" + raw.hex()


def test_the_verifiers_node_says_it_too(tmp_path: Any) -> None:
    with anvil("--timestamp", "1600000000") as node:
        node.raw_result("anvil_mine", "0x80")
        block = node.raw_result("eth_getBlockByNumber", "finalized", False)
        named = {
            "block": block["hash"],
            "chain_id": "31337",
            "number": str(int(block["number"], 16)),
        }
        builder, data = bundle(named)
        path = tmp_path / "it.mlprov"
        path.write_bytes(data)
        verdict = mlprov.verify(path, keys=[str(builder.owner_key)], online=node.url)
        builder, data = bundle({**named, "block": HASH})
        path.write_bytes(data)
        lying = mlprov.verify(path, keys=[str(builder.owner_key)], online=node.url)
    assert verdict["not_before"].state == "holds"
    assert str(verdict.facts["not_before"]).startswith("2020-09-13T")
    assert verdict["time"].state == "unchecked"  # nothing bounds it from above
    assert lying["not_before"].state == "fails"


def test_a_run_that_could_have_no_block_says_why() -> None:
    verdict = ask({"unavailable": "the node did not answer in time"})
    assert verdict["not_before"].state == "unchecked"
    assert "did not answer in time" in verdict["not_before"].detail
    assert verdict.result == "holds"


@pytest.mark.parametrize(
    "named",
    [
        5,
        "text",
        [],
        {},
        {"unavailable": 5},
        {**NAMED, "more": 1},
        {**NAMED, "number": 7},
        {**NAMED, "number": "07"},
        {**NAMED, "chain_id": str(2**64)},
        {**NAMED, "block": HASH.upper()},
        {**NAMED, "block": HASH[:-2]},
        {"block": HASH},
    ],
    ids=json.dumps,
)
def test_a_member_of_another_form_fails(named: Any) -> None:
    verdict = ask(named)
    assert verdict["not_before"].state == "fails"
    assert verdict.result == "does not hold"


def test_older_evidence_has_no_such_check() -> None:
    builder = BundleBuilder()
    builder.start()
    builder.end()
    verdict = verification.verify_bytes(
        builder.build(), "it", Question(keys=[str(builder.owner_key)])
    )
    assert "not_before" not in {check.name for check in verdict.checks}
    assert ask(None).ok
    assert "not_before" not in {check.name for check in ask(None).checks}


def test_what_is_recorded_before_step_1_is_in_the_outbox_before_it_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPROV_IPFS_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("MLPROV_ANCHOR_EVERY", "1000000")
    store = tmp_path / "store"
    with mlprov.start(
        "committed", model={"w": memoryview(b"weights")}, store=store, anchors=["ipfs"]
    ) as run:
        run.track_data(train=np.arange(3))
        wait_for_anchor(store, 1)  # the first one; the next would wait for a million seconds
        run.track_data(test=np.arange(4))
        for _ in run.epochs(1):
            wait_for_anchor(store, 2)
            covered = max(a["head"] for a in run.anchors if a["kind"] == "ipfs")
            before = [record["type"] for record in run.records[:covered]]
            assert before == ["run.start", "model", "data", "data"]


def wait_for_anchor(store: Path, count: int) -> None:
    """Until the outbox has so many anchors."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with stores.open_store(store, read_only=True) as opened:
            if len(anchoring.read_anchors(opened)) >= count:
                return
        time.sleep(0.01)
    raise AssertionError("nothing was planned")

"""Anchors on a real Ethereum node (anvil): from the plan to evidence that holds without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chains_for_tests import Chain, anchored_store, chain, digest_of, rows, states
from cli_for_tests import run_command, shell
from nodes_for_tests import anvil, require_secp256k1

import mlprov
from mlprov import _core

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
    assert found[0].size == max(anchor["index"] for anchor in run.anchors) + 1
    assert sorted(row.nonce for row in found) == list(range(1, len(found) + 1))
    assert len(running.events()) == len(found)

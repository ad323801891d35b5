"""Evidence through the whole delivery, from blocks of one to three hundred transactions (anvil)."""

from __future__ import annotations

from pathlib import Path

import pytest
from chains_for_tests import anchored_store, chain, digest_of, rows, states
from cli_for_tests import run_command
from nodes_for_tests import account, anvil, require_secp256k1

from mlprov import EvidenceError, VerificationError, _core


@pytest.mark.parametrize("size", [1, 17, 130, 300])
def test_an_anchor_among_others_is_delivered_and_proved(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_secp256k1()
    store = anchored_store(tmp_path)
    with anvil("--slots-in-an-epoch", "1", "--gas-limit", "60000000") as node:
        there = chain(node, monkeypatch)
        there.mine_by_hand()
        assert run_command("anchor", "ethereum", "--store", store, "--timeout", "1").code == 2
        assert (states(store), there.pending()) == (["sent"], 1)
        other = account(node, 1)
        for number in range(size - 1):
            other.send(other.key.address, bytes(number % 40), value=1)
        there.mine()
        node.raw_result("evm_setIntervalMining", 1)
        assert run_command("sync", "--store", store).code == 0
        assert [digest for _, digest in there.events()] == [digest_of(store)]
        row = rows(store)[0]
        assert row.shown is not None
        block = node.raw_result("eth_getBlockByHash", row.shown["block"], False)
    assert len(block["transactions"]) == size
    assert row.state == "final"
    assert row.evidence is not None
    assert len(row.evidence) <= 8192
    shown = _core.ethereum_verify(row.evidence, digest_of(store))
    assert block["transactions"][shown["index"]] == "0x" + row.reference.hex()
    broken = bytearray(row.evidence)
    for place in range(len(broken)):
        broken[place] ^= 1
        with pytest.raises((VerificationError, EvidenceError)):
            _core.ethereum_verify(broken, digest_of(store))
        broken[place] ^= 1

"""A chain with the contract on it, configured as the user's own; stores to anchor there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faults_for_tests import used_store
from nodes_for_tests import SECRETS, EthereumNode, account, deploy

from mlprov import _core, anchoring, stores


@dataclass
class Chain:
    """A node with an AnchorStore, and the account that pays."""

    node: EthereumNode
    contract: str
    account: str

    def events(self) -> list[tuple[str, bytes]]:
        """Transaction and digest of every event, in the order of the chain."""
        logs = self.node.raw_result(
            "eth_getLogs", {"address": self.contract, "fromBlock": "0x0", "toBlock": "latest"}
        )
        return [(log["transactionHash"], bytes.fromhex(log["topics"][2][2:])) for log in logs]

    def count(self) -> int:
        """Transactions of the account that are in the chain."""
        return int(self.node.raw_result("eth_getTransactionCount", self.account, "latest"), 16)

    def pending(self) -> int:
        """Transactions of the account that wait at the node."""
        count = self.node.raw_result("eth_getTransactionCount", self.account, "pending")
        return int(count, 16) - self.count()

    def deploy(self, contract: str, number: int = 0) -> str:
        """One more contract, by the account itself or another one."""
        return _core.ethereum_address(deploy(account(self.node, number), contract))

    def deploy_for_another(self, contract: str) -> str:
        """Where blocks are made by hand."""
        self.node.raw_result("evm_setAutomine", True)
        address = self.deploy(contract, 1)
        self.node.raw_result("evm_setAutomine", False)
        return address

    def mine(self, blocks: int = 1) -> None:
        """Make blocks."""
        self.node.raw_result("anvil_mine", hex(blocks))

    def mine_by_hand(self) -> None:
        """From now on a block is made when a test says so."""
        self.node.raw_result("evm_setAutomine", False)
        self.node.raw_result("evm_setIntervalMining", 0)


def chain(node: EthereumNode, monkeypatch: pytest.MonkeyPatch, number: int = 0) -> Chain:
    """Deploy, and name node, contract and account in the environment."""
    owner = account(node, number)
    contract = _core.ethereum_address(deploy(owner, "AnchorStore"))
    for name, value in {
        "URL": node.url,
        "CHAIN_ID": str(int(node.raw_result("eth_chainId"), 16)),
        "CONTRACT": contract,
        "ACCOUNT": owner.key.address,
        "PRIVATE_KEY": SECRETS[number],
    }.items():
        monkeypatch.setenv(f"MLPROV_ETHEREUM_{name}", value)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore::UserWarning")
    return Chain(node, contract, owner.key.address)


def anchored_store(directory: Path) -> Path:
    """A store with a run to anchor."""
    return used_store(directory)


def rows(store: Path) -> list[anchoring.AnchorRow]:
    """The outbox of a store."""
    with stores.open_store(store, read_only=True) as opened:
        return anchoring.read_anchors(opened)


def states(store: Path) -> list[str]:
    return [row.state for row in rows(store)]


def digest_of(store: Path) -> bytes:
    """The anchor digest: SHA-256 of the text of the last checkpoint (docs/format.md section 14)."""
    with stores.open_store(store, read_only=True) as opened:
        note = opened.checkpoint()
        assert note is not None
        return hashlib.sha256(note[: note.index(b"\n\n") + 1]).digest()


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait for what another process does: there is nothing to wait on."""
    ends = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.05)
    return found

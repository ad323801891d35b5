"""The contracts that anchors call (mlprov/contracts): deploying one, and telling it from another.

The interface of a contract proves nothing about what it does: anybody writes one whose ``anchor``
overwrites. So the code at an address is compared with what the committed source compiles to.
"""

from __future__ import annotations

import functools
import json
import pathlib
import re
import time
from dataclasses import dataclass
from typing import Any

from mlprov import _core
from mlprov.anchor_servers import Endpoint
from mlprov.chain_nodes import ChainNode, quantity, unusable
from mlprov.errors import AnchorError, ConfigError

__all__ = ["AccountNode", "Deployed", "check_code", "deploy"]

# What quantity() reads has 64 bits; a balance may have 256 (execution-apis, base types).
_UINT256 = re.compile(r"0x(?:0|[1-9a-f][0-9a-f]{0,63})", re.ASCII)
_POLL_SECONDS = 0.5  # a block takes twelve seconds on mainnet


@dataclass(frozen=True)
class _Contract:
    """What the compiler made of a contract's source (tests/nodes/compile_contracts.js)."""

    bytecode: bytes
    runtime: bytes
    immutable: tuple[tuple[int, int], ...]

    def is_code(self, code: bytes) -> bool:
        """Whether this was deployed: equal but for the one value that the constructor wrote."""
        written = {code[at : at + length] for at, length in self.immutable}
        masked = bytearray(code)
        for at, length in self.immutable:
            masked[at : at + length] = bytes(length)
        return bytes(masked) == self.runtime and len(written) <= 1


@functools.cache
def _contract(kind: str) -> _Contract:
    path = pathlib.Path(__file__).with_name("contracts") / f"{kind}.json"
    compiled = json.loads(path.read_text(encoding="utf-8"))
    bytecode, runtime = (bytes.fromhex(compiled[name][2:]) for name in ("bytecode", "runtime"))
    return _Contract(bytecode, runtime, tuple((at, length) for at, length in compiled["immutable"]))


class AccountNode(ChainNode):
    """The node that an account's transactions go to."""

    def chain_id(self) -> int:
        """Which chain the node is of."""
        return self._ask_chain_id()

    def balance(self, address: str) -> int:
        """Wei of an account in the newest block."""
        answer = self._latest("eth_getBalance", address)
        if not isinstance(answer, str) or not _UINT256.fullmatch(answer):
            raise unusable("eth_getBalance", answer)
        return int(answer, 16)

    def code(self, address: str) -> bytes:
        """The code at an address in the newest block; empty where there is no contract."""
        answer = self._latest("eth_getCode", address)
        try:
            return bytes.fromhex(answer.removeprefix("0x"))
        except (AttributeError, ValueError):
            raise unusable("eth_getCode", answer) from None

    def newest_time(self) -> int:
        """Seconds since 1970 of the newest block."""
        answer = self._call("eth_getBlockByNumber", '["latest",false]')
        seconds = answer.get("timestamp") if isinstance(answer, dict) else None
        return quantity(seconds, "eth_getBlockByNumber")

    def send(self, raw: bytes) -> None:
        """Hand a signed transaction over.

        Raises:
            AnchorError: refused, or (``retryable``) it may be on the network all the same.
        """
        self._call("eth_sendRawTransaction", json.dumps(["0x" + raw.hex()]))

    def receipt(self, transaction: str) -> dict[str, Any] | None:
        """What became of a transaction; None while it is in no block."""
        answer = self._call("eth_getTransactionReceipt", json.dumps([transaction]))
        if answer is not None and not isinstance(answer, dict):
            raise unusable("eth_getTransactionReceipt", answer)
        return answer

    def _latest(self, method: str, address: str) -> Any:
        return self._call(method, json.dumps([address, "latest"]))


def check_code(node: AccountNode, address: str, kind: str) -> None:
    """Whether the contract at an address is the committed one.

    Raises:
        ConfigError: there is none, or another, which may have the same interface.
        AnchorError: the node could not be asked.
    """
    code = node.code(address)
    if not code:
        raise ConfigError(
            f"cannot use the contract {address}: there is no code at that address on the chain of "
            "the node",
            "name the right address, or make one: 'mlprov anchor ethereum deploy'",
        )
    if not _contract(kind).is_code(code):
        raise ConfigError(
            f"cannot use the contract {address} as {kind}: its code ({len(code)} bytes) is not "
            f"what mlprov/contracts/{kind}.sol compiles to, whatever its interface is",
            f"name a {kind} (contract_kind says which), or make one: 'mlprov anchor ethereum "
            "deploy'",
        )


@dataclass(frozen=True)
class Deployed:
    """A contract that is on a chain.

    Attributes:
        address: of the contract, in the case of EIP-55.
        transaction: that made it, 0x and 64 digits.
        block: number of the block that has it.
        gas: used.
        cost: in wei.
    """

    address: str
    transaction: str
    block: int
    gas: int
    cost: int


def deploy(endpoint: Endpoint, kind: str, timeout: float) -> Deployed:
    """Put a contract on the endpoint's chain, and look whether it is there.

    Args:
        endpoint: of :func:`mlprov.anchor_servers.endpoint` with ``to_deploy``.
        kind: ``AnchorStore`` or ``MLProvenance``.
        timeout: seconds to wait until it is in a block.

    Raises:
        AnchorError: nothing was sent, or it is in no block yet; the text says which.
        ConfigError: the key cannot be opened.
    """
    raw, identity, address, _, _ = _core.ethereum_deployment(
        endpoint.for_core(), _contract(kind).bytecode
    )
    ends = time.monotonic() + timeout
    transaction = f"0x{identity.hex()}"
    node = AccountNode(endpoint)
    try:
        node.send(raw)
    except AnchorError as error:
        if not error.retryable:
            raise
    receipt = _await_receipt(node, transaction, address, ends)
    if receipt.get("status") != "0x1":
        raise AnchorError(
            f"the deployment {transaction} failed in its block: no contract was made",
            "look at the transaction in an explorer of the chain; its gas is spent",
        )
    check_code(node, address, kind)
    method = "eth_getTransactionReceipt"
    block, gas, price = (
        quantity(receipt.get(name), method)
        for name in ("blockNumber", "gasUsed", "effectiveGasPrice")
    )
    return Deployed(address, transaction, block, gas, gas * price)


def _await_receipt(
    node: AccountNode, transaction: str, address: str, ends: float
) -> dict[str, Any]:
    failure: AnchorError | None = None
    while True:
        try:
            if (receipt := node.receipt(transaction)) is not None:
                return receipt
        except AnchorError as error:
            failure = error
        if (left := ends - time.monotonic()) <= 0:
            break
        time.sleep(min(_POLL_SECONDS, left))
    seen = "" if failure is None else f" (last: {failure.what})"
    raise AnchorError(
        f"the deployment {transaction} was sent and is in no block yet{seen}; its contract will be "
        f"at {address}",
        "look for the transaction later, and name the contract in the configuration; deploying "
        "again would make a second one",
    ) from failure

"""Ethereum nodes on free loopback ports, started and stopped by the tests, and what they answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlprov import _core
from mlprov.errors import Error

ROOT = Path(__file__).resolve().parents[2]
NODES = ROOT / "tests" / "nodes"
CONTRACTS = ROOT / "mlprov" / "contracts"

# The first accounts of "test test test test test test test test test test test junk", which every
# Ethereum test node funds.
SECRETS = (
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
)

Intent = tuple[int, int, int, int, int, str | None, int, bytes]


def lacking(reason: str) -> None:
    """Skip, or fail where ``CI=true`` insists."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI=true insists on it")
    pytest.skip(reason)


def require_secp256k1() -> None:
    """Skip where Ethereum signatures cannot be made here."""
    try:
        _core.EthereumKey.generate()
    except Error as error:
        lacking(str(error))


def node_package(*parts: str) -> Path:
    """Give a file of what scripts/test_nodes.sh installed."""
    path = NODES.joinpath("node_modules", *parts)
    if shutil.which("node") is None:
        lacking("Node.js is not installed")
    if not path.exists():
        lacking(f"{path.relative_to(ROOT)} is not installed (scripts/test_nodes.sh)")
    return path


def own_environment() -> dict[str, str]:
    """The environment for programs that are not under test: without what watches over the core."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def run_node(script: Path | str, *arguments: str, text: str | None = None) -> str:
    """Run a script with Node.js among the installed packages; give what it printed."""
    node_package()
    command = ["node", "-e", script] if isinstance(script, str) else ["node", str(script)]
    done = subprocess.run(
        [*command, *arguments],
        input=text,
        capture_output=True,
        text=True,
        cwd=NODES,
        timeout=120,
        env=own_environment(),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class NodeError(Exception):
    """What a node answered instead of a result."""


@dataclass
class EthereumNode:
    """A node of our own that answers at ``url``."""

    url: str

    def raw_result(self, method: str, *parameters: Any) -> Any:
        """Ask; give the result, or raise what the node says."""
        return self.results([(method, parameters)])[0]

    def results(self, calls: list[tuple[str, tuple[Any, ...]]]) -> list[Any]:
        """Ask many things at once."""
        body = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}
            for number, (method, parameters) in enumerate(calls)
        ]
        request = urllib.request.Request(
            self.url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            answers = sorted(json.load(reply), key=lambda answer: answer["id"])
        for answer in answers:
            if "error" in answer:
                raise NodeError(answer["error"]["message"])
        return [answer["result"] for answer in answers]

    def send(self, raw: bytes) -> str:
        return str(self.raw_result("eth_sendRawTransaction", "0x" + raw.hex()))

    def receipt(self, transaction: str) -> dict[str, Any]:
        """Wait until the transaction is in a block."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            found = self.raw_result("eth_getTransactionReceipt", transaction)
            if found is not None:
                return dict(found)
            time.sleep(0.002)
        raise AssertionError(f"{transaction} is in no block")

    def block(self, block: str) -> tuple[bytes, bytes]:
        """A block with whole transactions and its receipts, as JSON."""
        found, receipts = self.results(
            [("eth_getBlockByHash", (block, True)), ("eth_getBlockReceipts", (block,))]
        )
        return json.dumps(found).encode(), json.dumps(receipts).encode()


@contextmanager
def anvil(*arguments: str) -> Iterator[EthereumNode]:
    """Run anvil on a free port until the block ends."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    program = node_package("@foundry-rs", f"anvil-linux-{machine}", "bin", "anvil")
    # Installed without scripts, so that nothing has made it executable.
    program.chmod(program.stat().st_mode | 0o100)
    process = subprocess.Popen(
        [program, "--host", "127.0.0.1", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**own_environment(), "FOUNDRY_DISABLE_NIGHTLY_WARNING": "1", "NO_COLOR": "1"},
    )
    try:
        yield EthereumNode(f"http://{_address_of(process)}")
    finally:
        process.kill()
        process.communicate()


def _address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    seen: list[str] = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        line = process.stdout.readline()
        if not line:
            break
        seen.append(line)
        if line.startswith("Listening on "):
            # What it goes on to print must not fill the pipe.
            process.stdout.close()
            process.stdout = None
            return line.removeprefix("Listening on ").strip()
    raise AssertionError("anvil did not start: " + "".join(seen))


@dataclass
class Account:
    """A funded account that signs in the core."""

    node: EthereumNode
    key: _core.EthereumKey
    nonce: int = 0

    def intent(self, to: str | None, data: bytes, *, gas: int = 300_000, value: int = 0) -> Intent:
        """The next transaction of this account."""
        chain_id = int(self.node.raw_result("eth_chainId"), 16)
        self.nonce += 1
        return (chain_id, self.nonce - 1, 10**9, 10**11, gas, to, value, data)

    def send(self, to: str | None, data: bytes, **settings: int) -> str:
        raw, transaction = self.key.sign_transaction(self.intent(to, data, **settings))
        assert self.node.send(raw) == "0x" + transaction.hex()
        return "0x" + transaction.hex()


def account(node: EthereumNode, number: int = 0) -> Account:
    """One of the accounts that the node funds."""
    key = _core.EthereumKey.from_secret(bytes.fromhex(SECRETS[number]))
    nonce = int(node.raw_result("eth_getTransactionCount", key.address, "latest"), 16)
    return Account(node, key, nonce)


def compiled(contract: str) -> dict[str, Any]:
    """The committed output of the compiler."""
    return dict(json.loads((CONTRACTS / f"{contract}.json").read_text(encoding="utf-8")))


def deploy(owner: Account, contract: str) -> str:
    """Deploy a contract; give its address."""
    bytecode = bytes.fromhex(compiled(contract)["bytecode"][2:])
    transaction = owner.send(None, bytecode, gas=3_000_000)
    return str(owner.node.receipt(transaction)["contractAddress"])


def call_data(signature: str, *words: bytes) -> bytes:
    """A call with arguments of 32 bytes each: the Solidity ABI's function selector, then these."""
    return _core.keccak256(signature.encode())[:4] + b"".join(words)

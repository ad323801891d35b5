"""The contracts: compiled again the same, they do what they say, at the documented gas."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes_for_tests import (
    CONTRACTS,
    NODES,
    Account,
    EthereumNode,
    NodeError,
    account,
    anvil,
    call_data,
    compiled,
    deploy,
    require_secp256k1,
    run_node,
)

from mlprov import _core

ROOT32 = hashlib.sha256(b"checkpoint").digest()
NAMES = ("AnchorStore", "MLProvenance")


@pytest.fixture
def node() -> Iterator[EthereumNode]:
    require_secp256k1()
    with anvil() as running:
        yield running


@pytest.fixture
def owner(node: EthereumNode) -> Account:
    return account(node)


def test_the_committed_bytecode_is_what_the_compiler_makes(tmp_path: Path) -> None:
    run_node(NODES / "compile_contracts.js", str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.json" for name in NAMES]
    for name in NAMES:
        assert (tmp_path / f"{name}.json").read_bytes() == (CONTRACTS / f"{name}.json").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_output_names_its_source_and_compiler(name: str) -> None:
    committed = compiled(name)
    source = (CONTRACTS / f"{name}.sol").read_bytes()
    assert committed["source_sha256"] == hashlib.sha256(source).hexdigest()
    assert committed["compiler"].startswith("solc 0.8.37+commit.")
    assert committed["contract"] == name


def store_call(root: bytes, text: bytes) -> bytes:
    padded = text + bytes(-len(text) % 32)
    return call_data(
        "storeHash(bytes32,string)",
        root,
        (64).to_bytes(32, "big"),
        len(text).to_bytes(32, "big"),
        padded,
    )


def view(node: EthereumNode, contract: str, data: bytes) -> bytes:
    answer = node.raw_result("eth_call", {"to": contract, "input": "0x" + data.hex()}, "latest")
    return bytes.fromhex(answer[2:])


def word(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])


def within_2_percent(gas: str, documented: int) -> bool:
    return abs(int(gas, 16) - documented) <= documented * 0.02


# ---- AnchorStore ----


def test_an_anchor_is_seen_once_and_by_its_sender_alone(node: EthereumNode, owner: Account) -> None:
    contract = deploy(owner, "AnchorStore")
    first = node.receipt(owner.send(contract, call_data("anchor(bytes32)", ROOT32)))
    seen = call_data("firstSeen(address,bytes32)", word(owner.key.address), ROOT32)
    block = node.raw_result("eth_getBlockByNumber", first["blockNumber"], False)
    assert int.from_bytes(view(node, contract, seen), "big") == int(block["timestamp"], 16)
    assert len(first["logs"]) == 1

    node.raw_result("evm_increaseTime", 1000)
    again = node.receipt(owner.send(contract, call_data("anchor(bytes32)", ROOT32)))
    assert (again["status"], again["logs"]) == ("0x1", [])
    assert int.from_bytes(view(node, contract, seen), "big") == int(block["timestamp"], 16)

    stranger = account(node, 1)
    other = call_data("firstSeen(address,bytes32)", word(stranger.key.address), ROOT32)
    assert view(node, contract, other) == bytes(32)
    later = node.receipt(stranger.send(contract, call_data("anchor(bytes32)", ROOT32)))
    assert later["logs"][0]["topics"][1] == "0x" + word(stranger.key.address).hex()
    assert int.from_bytes(view(node, contract, other), "big") > int(block["timestamp"], 16)


def test_an_anchor_costs_what_is_documented(node: EthereumNode, owner: Account) -> None:
    contract = deploy(owner, "AnchorStore")
    data = call_data("anchor(bytes32)", ROOT32)
    first = node.receipt(owner.send(contract, data))["gasUsed"]
    again = node.receipt(owner.send(contract, data))["gasUsed"]
    assert within_2_percent(first, 46_265), int(first, 16)
    assert within_2_percent(again, 24_173), int(again, 16)


# ---- MLProvenance: the interface of the first design, its defects mended ----


def test_the_published_interface_is_there_and_answers(node: EthereumNode, owner: Account) -> None:
    contract = deploy(owner, "MLProvenance")
    receipt = node.receipt(owner.send(contract, store_call(ROOT32, b'{"epochs": 5}')))
    assert receipt["logs"][0]["topics"] == [
        "0x" + _core.keccak256(b"HashStored(bytes32,string,uint256)").hex(),
        "0x" + ROOT32.hex(),
    ]
    yes = (1).to_bytes(32, "big")
    assert view(node, contract, call_data("verifyHash(bytes32)", ROOT32)) == yes
    assert view(node, contract, call_data("storedHashes(bytes32)", ROOT32)) == yes
    assert view(node, contract, call_data("verifyHash(bytes32)", bytes(32))) == bytes(32)
    text = view(node, contract, call_data("metadata(bytes32)", ROOT32))
    assert text[64 : 64 + int.from_bytes(text[32:64], "big")] == b'{"epochs": 5}'
    assert any(view(node, contract, call_data("timestamps(bytes32)", ROOT32)))


def test_a_stranger_stores_nothing_until_the_owner_allows_it(
    node: EthereumNode, owner: Account
) -> None:
    contract = deploy(owner, "MLProvenance")
    stranger = account(node, 1)
    assert node.receipt(stranger.send(contract, store_call(ROOT32, b"")))["status"] == "0x0"
    allow = call_data(
        "authorise(address,bool)", word(stranger.key.address), (1).to_bytes(32, "big")
    )
    assert node.receipt(stranger.send(contract, allow))["status"] == "0x0"
    assert view(node, contract, call_data("verifyHash(bytes32)", ROOT32)) == bytes(32)
    assert node.receipt(owner.send(contract, allow))["status"] == "0x1"
    assert node.receipt(stranger.send(contract, store_call(ROOT32, b"")))["status"] == "0x1"
    forbid = call_data("authorise(address,bool)", word(stranger.key.address), bytes(32))
    assert node.receipt(owner.send(contract, forbid))["status"] == "0x1"
    other = hashlib.sha256(b"other").digest()
    assert node.receipt(stranger.send(contract, store_call(other, b"")))["status"] == "0x0"


def test_a_repeat_overwrites_neither_time_nor_metadata(node: EthereumNode, owner: Account) -> None:
    contract = deploy(owner, "MLProvenance")
    node.receipt(owner.send(contract, store_call(ROOT32, b"first")))
    stored = [
        view(node, contract, call_data(name, ROOT32))
        for name in ("timestamps(bytes32)", "metadata(bytes32)")
    ]
    node.raw_result("evm_increaseTime", 1000)
    same = node.receipt(owner.send(contract, store_call(ROOT32, b"first")))
    assert (same["status"], same["logs"]) == ("0x1", [])
    assert node.receipt(owner.send(contract, store_call(ROOT32, b"second")))["status"] == "0x0"
    request = {"from": owner.key.address, "to": contract}
    second = {**request, "input": "0x" + store_call(ROOT32, b"second").hex()}
    with pytest.raises(NodeError, match="revert"):
        node.raw_result("eth_call", second, "latest")
    assert stored == [
        view(node, contract, call_data(name, ROOT32))
        for name in ("timestamps(bytes32)", "metadata(bytes32)")
    ]


def test_storing_costs_no_more_than_the_published_contract(
    node: EthereumNode, owner: Account
) -> None:
    contract = deploy(owner, "MLProvenance")
    bare = node.receipt(owner.send(contract, store_call(ROOT32, b"")))["gasUsed"]
    other = hashlib.sha256(b"other").digest()
    long = node.receipt(owner.send(contract, store_call(other, b"x" * 100)))["gasUsed"]
    assert within_2_percent(bare, 48_828), int(bare, 16)
    assert within_2_percent(long, 162_911), int(long, 16)
    # What the published contract costs for the same: it stores a flag beside the time.
    assert int(bare, 16) <= 71_509
    assert int(long, 16) <= 182_976


def test_the_committed_abi_has_what_is_called() -> None:
    functions = {
        name: {one["name"] for one in compiled(name)["abi"] if one["type"] == "function"}
        for name in NAMES
    }
    assert functions["AnchorStore"] == {"anchor", "firstSeen"}
    assert {"storeHash", "verifyHash", "storedHashes", "timestamps", "metadata"} <= functions[
        "MLProvenance"
    ]

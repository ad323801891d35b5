"""Evidence of an Ethereum anchor: made from real blocks, then checked with the node gone."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import statistics
import time
from dataclasses import dataclass
from typing import Any

import ethereum_reference
import pytest
from nodes_for_tests import Account, account, anvil, call_data, deploy, require_secp256k1

from mlprov import _core
from mlprov.errors import Error, EvidenceError, VerificationError

SIZES = (1, 17, 130, 300)


def digest_of(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "big")).digest()


@dataclass
class Made:
    """Evidence from one block, and the answers that it was made of."""

    evidence: bytes
    digest: bytes
    transaction: bytes
    index: int
    answers: tuple[bytes, bytes]
    contract: str
    sender: str
    block: dict[str, Any]


def block_of(owner: Account, contract: str, size: int) -> tuple[list[bytes], str]:
    """Mine one block of size transactions, the middle one an anchor; give hashes and block hash."""
    node = owner.node
    node.raw_result("evm_setAutomine", False)
    anchored = call_data("anchor(bytes32)", digest_of(size))
    hashes = [
        owner.send(contract, anchored)
        if number == size // 2
        else owner.send(contract, call_data("anchor(bytes32)", digest_of(10**6 * size + number)))
        if number % 3
        else owner.send(owner.key.address, bytes(number % 40), value=1)
        for number in range(size)
    ]
    node.raw_result("evm_mine")
    receipt = node.receipt(hashes[size // 2])
    node.raw_result("evm_setAutomine", True)
    return [bytes.fromhex(one[2:]) for one in hashes], str(receipt["blockHash"])


@pytest.fixture(scope="module")
def made() -> dict[int, Made]:
    """Evidence from blocks of each size. The node is stopped before any test begins."""
    require_secp256k1()
    found = {}
    with anvil("--gas-limit", "60000000") as node:
        owner = account(node)
        contract = deploy(owner, "AnchorStore")
        for size in SIZES:
            hashes, block_hash = block_of(owner, contract, size)
            block, receipts = node.block(block_hash)
            assert len(json.loads(block)["transactions"]) == size
            transaction = hashes[size // 2]
            found[size] = Made(
                _core.ethereum_prove(block, receipts, transaction, digest_of(size)),
                digest_of(size),
                transaction,
                [one["hash"] for one in json.loads(block)["transactions"]].index(
                    "0x" + transaction.hex()
                ),
                (block, receipts),
                contract,
                owner.key.address,
                json.loads(block),
            )
    return found


@pytest.mark.parametrize("size", SIZES)
def test_evidence_holds_with_the_node_gone_and_says_what_the_block_says(
    made: dict[int, Made], size: int
) -> None:
    one = made[size]
    shown = _core.ethereum_verify(one.evidence, one.digest)
    assert shown == {
        "chain_id": 31337,
        "contract": _checksummed(one.contract),
        "sender": one.sender,
        "transaction": one.transaction,
        "block": bytes.fromhex(one.block["hash"][2:]),
        "number": int(one.block["number"], 16),
        "time": int(one.block["timestamp"], 16),
        "index": one.index,
        "log": 0,
        "event": "AnchorStore",
    }


def _checksummed(address: str) -> str:
    key = _core.EthereumKey.generate()
    raw, _ = key.sign_transaction((1, 0, 0, 0, 0, address, 0, b""))
    return str(_core.ethereum_transaction(raw)[0][5])


@pytest.mark.parametrize("size", SIZES)
def test_evidence_fits_the_8_kb_of_an_anchored_run(made: dict[int, Made], size: int) -> None:
    assert len(made[size].evidence) <= 8192


@pytest.mark.parametrize("size", SIZES)
def test_every_flipped_byte_is_refused(made: dict[int, Made], size: int) -> None:
    one = made[size]
    broken = bytearray(one.evidence)
    for place in range(len(broken)):
        kept = broken[place]
        for flip in (0x01, 0x20, 0x80):
            broken[place] = kept ^ flip
            with pytest.raises((VerificationError, EvidenceError)):
                _core.ethereum_verify(broken, one.digest)
        broken[place] = kept
    for place in range(0, len(one.evidence), 7):
        with pytest.raises((VerificationError, EvidenceError)):
            _core.ethereum_verify(one.evidence[:place], one.digest)


@pytest.mark.parametrize("size", SIZES)
def test_a_slow_reading_of_the_specification_agrees(made: dict[int, Made], size: int) -> None:
    one = made[size]
    ethereum_reference.check(one.evidence, one.digest)
    with pytest.raises(AssertionError):
        ethereum_reference.check(one.evidence, bytes(32))


def test_the_slow_reading_refuses_the_same_damage(made: dict[int, Made]) -> None:
    one = made[1]
    for place in random.Random(3).sample(range(len(one.evidence)), 60):
        broken = bytearray(one.evidence)
        broken[place] ^= 1
        with pytest.raises((ValueError, AssertionError, LookupError, TypeError, AttributeError)):
            ethereum_reference.check(bytes(broken), one.digest)


def test_random_damage_is_refused(made: dict[int, Made]) -> None:
    chance = random.Random(1)
    one = made[17]
    for _ in range(3000):
        broken = bytearray(one.evidence)
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(len(broken))
            if chance.random() < 0.5:
                del broken[place : place + chance.randrange(1, 20)]
            else:
                broken[place:place] = chance.randbytes(chance.randrange(1, 5))
        if bytes(broken) != one.evidence:
            with pytest.raises((VerificationError, EvidenceError)):
                _core.ethereum_verify(broken, one.digest)


def changed(one: Made, **members: Any) -> bytes:
    """The evidence with other members, again in the one form that is read."""
    text = json.dumps(
        {**json.loads(one.evidence), **members}, sort_keys=True, separators=(",", ":")
    )
    return text.encode()


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"block": "0x" + "11" * 32}, "block's hash"),
        ({"chain_id": "1"}, "chain 31337, not 1"),
        ({"contract": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"}, "contract"),
        ({"digest": "sha256:" + "22" * 32}, "another digest"),
        ({"event": "MLProvenance"}, "HashStored"),
        ({"log": 1}, "1 logs, none at place 1"),
        ({"sender": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"}, "another account"),
        ({"transaction": "0x" + "33" * 32}, "another transaction"),
    ],
    ids=str,
)
def test_each_claim_that_is_not_so_is_named(
    made: dict[int, Made], members: dict[str, Any], said: str
) -> None:
    with pytest.raises(VerificationError, match=said):
        _core.ethereum_verify(changed(made[17], **members), made[17].digest)


@pytest.mark.parametrize(
    "members",
    [
        {"version": 2},
        {"version": "1"},
        {"format": "mlprov-other"},
        {"event": "Other"},
        {"index": -1},
        {"index": 2**60},
        {"index": 1.5},
        {"log": None},
        {"chain_id": 31337},
        {"chain_id": "031337"},
        {"chain_id": "99999999999999999999"},
        {"contract": "0x5FbDB2315678afecb367f032d93F642f64180aA3"},
        {"header": "AAA"},
        {"header": ""},
        {"receipt_proof": []},
        {"receipt_proof": ["wA=="]},
        {"transaction_proof": "wA=="},
        {"transaction_proof": [[]]},
        {"more": 1},
    ],
    ids=str,
)
def test_what_cannot_be_read_is_malformed_evidence_and_no_verdict(
    made: dict[int, Made], members: dict[str, Any]
) -> None:
    with pytest.raises((EvidenceError, VerificationError)) as seen:
        _core.ethereum_verify(changed(made[17], **members), made[17].digest)
    # A proof that is not of this root is a check that was made.
    if members != {"receipt_proof": ["wA=="]}:
        assert isinstance(seen.value, EvidenceError)


def test_the_neighbours_index_is_refused(made: dict[int, Made]) -> None:
    one = made[130]
    for index in (one.index - 1, one.index + 1, 0, 129, 130, 10**9):
        with pytest.raises((VerificationError, EvidenceError)):
            _core.ethereum_verify(changed(one, index=index), one.digest)


def test_proofs_of_two_blocks_cannot_be_mixed(made: dict[int, Made]) -> None:
    for member in ("header", "receipt_proof", "transaction_proof"):
        other = json.loads(made[130].evidence)[member]
        with pytest.raises(VerificationError):
            _core.ethereum_verify(changed(made[17], **{member: other}), made[17].digest)


def test_evidence_is_about_the_digest_that_was_asked_for(made: dict[int, Made]) -> None:
    with pytest.raises(VerificationError, match="another digest than the one asked for"):
        _core.ethereum_verify(made[17].evidence, made[1].digest)


def test_a_node_that_lies_about_any_receipt_is_noticed(made: dict[int, Made]) -> None:
    one = made[17]
    block, receipts = (json.loads(answer) for answer in one.answers)
    lies: list[tuple[Any, Any]] = []
    for change in ({"status": "0x0"}, {"cumulativeGasUsed": "0x1"}, {"logs": []}):
        lies.append((block, [receipts[0], {**receipts[1], **change}, *receipts[2:]]))
    lies.append((block, receipts[:-1]))
    lies.append(({**block, "transactions": block["transactions"][:-1]}, receipts[:-1]))
    lies.append(({**block, "timestamp": "0x1"}, receipts))
    lies.append(({**block, "hash": "0x" + "00" * 32}, receipts))
    lies.append(({**block, "receiptsRoot": "0x" + "00" * 32}, receipts))
    first = {**block["transactions"][0], "nonce": "0x77"}
    lies.append(({**block, "transactions": [first, *block["transactions"][1:]]}, receipts))
    lies.append(({}, []))
    lies.append(([], {}))
    lies.append(({**block, "transactions": ["0x00"] * 17}, receipts))
    for lying_block, lying_receipts in lies:
        with pytest.raises((VerificationError, EvidenceError)):
            _core.ethereum_prove(
                json.dumps(lying_block).encode(),
                json.dumps(lying_receipts).encode(),
                one.transaction,
                one.digest,
            )


def test_receipts_in_any_order_and_a_raw_header_give_the_same_evidence(
    made: dict[int, Made],
) -> None:
    one = made[130]
    receipts = json.loads(one.answers[1])
    random.Random(2).shuffle(receipts)
    shuffled = json.dumps(receipts).encode()
    assert (
        _core.ethereum_prove(one.answers[0], shuffled, one.transaction, one.digest) == one.evidence
    )
    header = base64.b64decode(json.loads(one.evidence)["header"])
    with_header = _core.ethereum_prove(*one.answers, one.transaction, one.digest, header=header)
    assert with_header == one.evidence


def test_a_transaction_that_is_not_in_the_block_or_no_anchor_is_refused(
    made: dict[int, Made],
) -> None:
    one = made[17]
    with pytest.raises(VerificationError, match="not among them"):
        _core.ethereum_prove(*one.answers, bytes(32), one.digest)
    with pytest.raises(VerificationError, match="no event about the digest"):
        _core.ethereum_prove(*one.answers, one.transaction, bytes(32))


@pytest.mark.timing
def test_verification_takes_at_most_5_ms(made: dict[int, Made]) -> None:
    one = made[300]
    times = []
    for _ in range(50):
        begin = time.perf_counter()
        _core.ethereum_verify(one.evidence, one.digest)
        times.append(time.perf_counter() - begin)
    assert statistics.median(times) <= 0.005


# ---- the other contract, other types of transactions ----


def test_blocks_with_every_type_of_transaction_are_rebuilt() -> None:
    require_secp256k1()
    with anvil() as node:
        owner, other = account(node), account(node, 1)
        contract = deploy(owner, "AnchorStore")
        node.raw_result("evm_setAutomine", False)
        keys = [{"address": contract, "storageKeys": ["0x" + "01" * 32]}]
        common = {"from": other.key.address, "to": owner.key.address, "gas": "0x30000"}
        for request in (
            {"type": "0x0", "gasPrice": hex(10**11), "input": "0x"},
            {"type": "0x1", "gasPrice": hex(10**11), "accessList": keys},
            {"type": "0x2", "maxFeePerGas": hex(10**11), "maxPriorityFeePerGas": "0x1"},
        ):
            node.raw_result("eth_sendTransaction", {**common, **request})
        sent = owner.send(contract, call_data("anchor(bytes32)", digest_of(3)))
        node.raw_result("evm_mine")
        block, receipts = node.block(str(node.receipt(sent)["blockHash"]))
    assert {one["type"] for one in json.loads(block)["transactions"]} == {"0x0", "0x1", "0x2"}
    evidence = _core.ethereum_prove(block, receipts, bytes.fromhex(sent[2:]), digest_of(3))
    assert _core.ethereum_verify(evidence, digest_of(3))["sender"] == owner.key.address


def test_a_transaction_that_failed_is_no_anchor() -> None:
    require_secp256k1()
    with anvil() as node:
        owner, stranger = account(node), account(node, 1)
        contract = deploy(owner, "MLProvenance")
        data = call_data(
            "storeHash(bytes32,string)", digest_of(1), (64).to_bytes(32, "big"), bytes(32)
        )
        sent = stranger.send(contract, data)
        receipt = node.receipt(sent)
        assert receipt["status"] == "0x0"
        block, receipts = node.block(str(receipt["blockHash"]))
        with pytest.raises(VerificationError, match="failed"):
            _core.ethereum_prove(block, receipts, bytes.fromhex(sent[2:]), digest_of(1))
        sent = owner.send(contract, data)
        block, receipts = node.block(str(node.receipt(sent)["blockHash"]))
    evidence = _core.ethereum_prove(block, receipts, bytes.fromhex(sent[2:]), digest_of(1))
    assert _core.ethereum_verify(evidence, digest_of(1))["event"] == "MLProvenance"


def test_the_slow_reading_hashes_as_the_core_does() -> None:
    for length in (0, 1, 135, 136, 137, 300):
        data = bytes(range(256)) * 2
        assert ethereum_reference.keccak(data[:length]) == _core.keccak256(data[:length])


def test_could_not_check_is_no_verdict() -> None:
    with pytest.raises(Error) as seen:
        _core.ethereum_verify(b"not JSON", bytes(32))
    assert isinstance(seen.value, EvidenceError)

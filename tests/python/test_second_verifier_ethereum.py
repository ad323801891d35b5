"""The second verifier's own Keccak-256, RLP, tries and secp256k1, beside the core and vectors."""

from __future__ import annotations

import json
import random
from typing import Any

import ethereum_reference
import pytest
from anchors_for_tests import digest_of, ipfs_evidence
from bundles_for_tests import BundleBuilder, v
from nodes_for_tests import account, anvil, call_data, deploy, require_secp256k1

from mlprov import _core
from mlprov.anchor_files import read_ethereum
from mlprov.errors import EvidenceError, VerificationError

NOTE = b"origin\n1\n" + b"A" * 43 + b"=\n\n\xe2\x80\x94 origin AAAAAAAA\n"


def test_keccak_is_that_of_ethereum_and_of_the_core() -> None:
    assert v.keccak256(b"").hex() == (
        "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    )
    chance = random.Random(1)
    for length in (*range(130, 142), 0, 1, 55, 56, 271, 272, 273, 1000):
        data = chance.randbytes(length)
        assert v.keccak256(data) == _core.keccak256(data) == ethereum_reference.keccak(data)


@pytest.mark.parametrize("size", [0, 1, 2, 55, 56, 57, 255, 256, 1024, 70_000])
def test_rlp_reads_what_the_reference_writes(size: int) -> None:
    for first in (0x00, 0x7F, 0x80, 0xFF):
        data = bytes([first]) * size
        item = v.rlp_item(ethereum_reference.encode(data))
        assert (item.is_list, item.payload) == (False, data)
        listed = ethereum_reference.encode([data, [data, b""], b"\x01"])
        items = v.rlp_items(v.rlp_item(listed), "it")
        assert [one.is_list for one in items] == [False, True, False]
        assert items[0].payload == data


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        "8100",  # small bytes stand for themselves
        "817f",
        "b800",  # the long form of a short string
        "b837" + "00" * 55,
        "b90038" + "00" * 56,  # a length with a leading zero
        "83aabb",  # cut off
        "b9",
        "bf" + "ff" * 8,
        "f800",
        "c0c0",  # more than one
        "8000",
    ],
)
def test_rlp_that_is_not_the_only_encoding_is_refused(encoded: str) -> None:
    with pytest.raises(v.RefusedError):
        v.rlp_item(bytes.fromhex(encoded))


def test_lists_that_nest_too_deep_end_in_an_answer() -> None:
    nested = b"\xc0"
    for _ in range(3000):
        nested = ethereum_reference._prefix(0xC0, len(nested)) + nested
    with pytest.raises(v.RefusedError, match="deep"):
        v._check_rlp_inside(v.rlp_item(nested))


def test_the_sender_of_random_transactions_is_the_cores() -> None:
    require_secp256k1()
    chance = random.Random(2)
    for _ in range(40):
        key = _core.EthereumKey.from_secret(chance.randbytes(32))
        to = v.address_text(chance.randbytes(20))
        data = chance.randbytes(chance.choice([0, 1, 36, 300]))
        intent = (chance.randrange(1, 2**40), chance.randrange(9), 1, 2, 21000, to, 5, data)
        raw, _ = key.sign_transaction(intent)
        call = v.read_transaction(raw)
        assert v.address_text(call.sender) == key.address
        assert v.address_text(call.to) == to
        assert call.chain_id == intent[0]


def test_signatures_of_nobody_and_twins_are_refused() -> None:
    order = v._ORDER
    for parity, r, s in [
        (2, 1, 1),
        (0, 0, 1),
        (0, 1, 0),
        (0, order, 1),
        (0, 1, order - 1),  # the twin with the high s
        (0, 5, 1),  # no point of the curve has this x
    ]:
        with pytest.raises(v.RefusedError):
            v.recover_sender(b"\x01" * 32, parity, r, s)


@pytest.fixture(scope="module")
def evidence() -> dict[int, bytes]:
    """An anchor in blocks of these sizes; the node is stopped before any test begins."""
    require_secp256k1()
    found = {}
    with anvil("--gas-limit", "60000000") as node:
        owner = account(node)
        contract = deploy(owner, "AnchorStore")
        for size in (1, 17, 130, 300):
            note = NOTE.replace(b"\n1\n", b"\n%d\n" % size)
            node.raw_result("evm_setAutomine", False)
            hashes = [
                owner.send(contract, call_data("anchor(bytes32)", digest_of(note)))
                if number == size // 2
                else owner.send(owner.key.address, b"", value=1)
                for number in range(size)
            ]
            node.raw_result("evm_mine")
            anchored = hashes[size // 2]
            answers = node.block(str(node.receipt(anchored)["blockHash"]))
            node.raw_result("evm_setAutomine", True)
            found[size] = _core.ethereum_prove(
                *answers, bytes.fromhex(anchored[2:]), digest_of(note)
            )
    return found


@pytest.mark.parametrize("size", [1, 17, 130, 300])
def test_proofs_in_tries_of_every_depth_hold(evidence: dict[int, bytes], size: int) -> None:
    note = NOTE.replace(b"\n1\n", b"\n%d\n" % size)
    seen = v.check_ethereum_anchor(evidence[size], note)
    expected = read_ethereum(evidence[size], note, "it")
    assert (seen.chain_id, seen.header.block) == (expected.chain_id, expected.block)
    assert (seen.header.number, seen.header.time) == (expected.number, expected.time)


def changed(evidence: bytes, **members: Any) -> bytes:
    text = json.dumps({**json.loads(evidence), **members}, sort_keys=True, separators=(",", ":"))
    return text.encode()


@pytest.mark.parametrize("size", [17, 300])
def test_other_proofs_are_refused_by_both(evidence: dict[int, bytes], size: int) -> None:
    note = NOTE.replace(b"\n1\n", b"\n%d\n" % size)
    good = json.loads(evidence[size])
    other = json.loads(evidence[130])
    nodes = good["receipt_proof"]
    for members in (
        {"receipt_proof": nodes[:-1]},
        {"receipt_proof": [*nodes, nodes[-1]]},
        {"receipt_proof": nodes[1:]},
        {"receipt_proof": []},
        {"receipt_proof": good["transaction_proof"]},
        {"receipt_proof": other["receipt_proof"]},
        {"transaction_proof": nodes},
        {"header": other["header"]},
        {"index": good["index"] + 1},
        {"index": 0},
        {"index": 2**53 - 1},
        {"log": 1},
        {"log": 2**53 - 1},
        {"receipt_proof": ["wA=="]},
        {"receipt_proof": [5]},
        {"receipt_proof": {}},
        {"header": "wA=="},
    ):
        broken = changed(evidence[size], **members)
        with pytest.raises(v.RefusedError):
            v.check_ethereum_anchor(broken, note)
        with pytest.raises((VerificationError, EvidenceError)):
            read_ethereum(broken, note, "it")


def test_random_damage_ends_in_an_answer(evidence: dict[int, bytes]) -> None:
    chance = random.Random(3)
    note = NOTE.replace(b"\n1\n", b"\n17\n")
    for _ in range(400):
        broken = bytearray(evidence[17])
        place = chance.randrange(len(broken))
        if chance.random() < 0.5:
            del broken[place : place + chance.randrange(1, 20)]
        else:
            broken[place:place] = chance.randbytes(chance.randrange(1, 5))
        with pytest.raises(v.RefusedError):
            v.check_ethereum_anchor(bytes(broken), note)


def test_a_bundle_that_the_second_verifier_made_has_an_anchor_for_both() -> None:
    builder = BundleBuilder()
    builder.start()
    builder.end()
    entries = builder.entries()
    size = next(name.split("/")[1] for name in entries if name.startswith("log/"))
    note = entries[f"log/{size}/checkpoint"]
    entries[f"anchors/ipfs-{size}.json"] = ipfs_evidence(note)
    entries["anchors/states.json"] = b'{"ipfs-%s":"final"}' % size.encode()
    verdict = v.verify_bytes(builder.seal(entries), v.Request(keys=[builder.owner_key]))
    assert verdict.result == "holds"
    assert verdict.state(f"anchor:ipfs-{size}") == "holds"
    entries["anchors/states.json"] = b'{"ipfs-%s":"sent"}' % size.encode()
    verdict = v.verify_bytes(builder.seal(entries), v.Request(keys=[builder.owner_key]))
    assert verdict.result == "does not hold"

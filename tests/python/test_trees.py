"""Trees and proofs against a slow reference written from RFC 6962 section 2.1."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from mlprov.digests import Digest
from mlprov.errors import EvidenceError, VerificationError
from mlprov.trees import (
    ConsistencyProof,
    InclusionProof,
    MerkleTree,
    verify_consistency,
    verify_inclusion,
)

SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33)


def slow_root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\1" + slow_root(leaves[:split]) + slow_root(leaves[split:])).digest()


def slow_path(index: int, leaves: list[bytes]) -> tuple[bytes, ...]:
    if len(leaves) == 1:
        return ()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if index < split:
        return (*slow_path(index, leaves[:split]), slow_root(leaves[split:]))
    return (*slow_path(index - split, leaves[split:]), slow_root(leaves[:split]))


def numbered(size: int) -> list[bytes]:
    return [f"leaf {index}".encode() for index in range(size)]


@pytest.mark.parametrize("size", [0, *SIZES])
def test_every_root_and_path_is_that_of_the_slow_reference(size):
    leaves = numbered(size)
    tree = MerkleTree(leaves)
    assert len(tree) == size
    for part in range(size + 1):
        assert tree.root(part) == Digest("sha256", slow_root(leaves[:part]))
        for index in range(part):
            proof = tree.prove_inclusion(index, size=part)
            assert proof == InclusionProof(index, part, slow_path(index, leaves[:part]))


def test_appending_and_extending_build_the_same_tree():
    one, other = MerkleTree(), MerkleTree()
    assert [one.append(leaf) for leaf in numbered(9)] == list(range(9))
    other.extend(iter(numbered(9)))
    assert one.root() == other.root() == MerkleTree(numbered(9)).root()
    assert "9 leaves" in repr(one)


@pytest.mark.parametrize("size", SIZES)
def test_a_proof_holds_for_its_leaf_and_place_alone(size):
    leaves = numbered(size)
    tree = MerkleTree(leaves)
    root = tree.root()
    for index, leaf in enumerate(leaves):
        proof = tree.prove_inclusion(index)
        for form in (root, bytes(root), str(root)):
            assert proof.verify(leaf, root=form)
        assert not proof.verify(b"other", root=root)
        assert not proof.verify(leaf, root=bytes(32))
        for other in {(index + 1) % size, index ^ 1} - {index}:
            moved = dataclasses.replace(proof, index=other)
            assert _does_not_hold(lambda moved=moved, leaf=leaf: moved.verify(leaf, root=root))


def _does_not_hold(check) -> bool:
    try:
        return not check()
    except EvidenceError:  # the path's length does not fit the other place
        return True


@pytest.mark.parametrize("size", SIZES)
def test_a_consistency_proof_holds_for_its_two_roots_alone(size):
    tree = MerkleTree(numbered(size))
    for old in range(size + 1):
        proof = tree.prove_consistency(old)
        assert proof.verify(old_root=tree.root(old), new_root=tree.root())
        assert not proof.verify(old_root=bytes(32), new_root=tree.root())
        if old:
            assert not proof.verify(old_root=tree.root(old), new_root=bytes(32))
        if 0 < old < size:
            assert not proof.verify(old_root=tree.root(old - 1), new_root=tree.root())
            broken = dataclasses.replace(proof, path=proof.path[:-1])
            assert _does_not_hold(
                lambda broken=broken, old=old: broken.verify(
                    old_root=tree.root(old), new_root=tree.root()
                )
            )


def test_malformed_proofs_are_not_called_false():
    tree = MerkleTree(numbered(5))
    root, proof = tree.root(), tree.prove_inclusion(2)
    for broken in (
        dataclasses.replace(proof, index=5),
        dataclasses.replace(proof, size=0),
        dataclasses.replace(proof, path=proof.path[:-1]),
        dataclasses.replace(proof, path=(*proof.path, bytes(32))),
    ):
        with pytest.raises(EvidenceError):
            broken.verify(b"leaf 2", root=root)
    with pytest.raises(EvidenceError):
        ConsistencyProof(6, 5, ()).verify(old_root=root, new_root=root)
    with pytest.raises(EvidenceError, match="does not carry its leaf"):
        proof.verify(root=root)
    for bad in (b"short", "sha256:00", "blake3:" + "0" * 64, Digest("blake3", bytes(32))):
        with pytest.raises(EvidenceError):
            proof.verify(b"leaf 2", root=bad)


def test_the_functions_say_why_a_proof_does_not_hold():
    tree = MerkleTree(numbered(5))
    path = tree.prove_inclusion(2).path
    verify_inclusion(b"leaf 2", 2, 5, path, tree.root())
    with pytest.raises(VerificationError):
        verify_inclusion(b"leaf 3", 2, 5, path, tree.root())
    joined = tree.prove_consistency(3).path
    verify_consistency(3, tree.root(3), 5, tree.root(), joined)
    with pytest.raises(VerificationError):
        verify_consistency(3, tree.root(2), 5, tree.root(), joined)


@pytest.mark.parametrize(("index", "size"), [(5, None), (-1, None), (2, 2), (0, 6), (0, 0)])
def test_a_place_outside_the_tree_cannot_be_proved(index, size):
    with pytest.raises(IndexError):
        MerkleTree(numbered(5)).prove_inclusion(index, size=size)


@pytest.mark.parametrize(("old", "new"), [(6, None), (3, 2), (0, 6)])
def test_sizes_outside_the_tree_cannot_be_proved(old, new):
    with pytest.raises(IndexError):
        MerkleTree(numbered(5)).prove_consistency(old, new)
    with pytest.raises(IndexError):
        MerkleTree(numbered(5)).root(6)


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=20), min_size=1, max_size=12), st.data())
def test_a_proof_verifies_from_its_own_bytes_and_the_root_alone(leaves, data):
    tree = MerkleTree(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = dataclasses.replace(tree.prove_inclusion(index), leaf=leaves[index])
    encoded = proof.to_bytes()
    assert rfc8785.dumps(json.loads(encoded)) == encoded
    again = InclusionProof.from_bytes(encoded)
    assert again == proof
    assert again.verify(root=tree.root())
    old = data.draw(st.integers(0, len(leaves)))
    joined = tree.prove_consistency(old)
    assert ConsistencyProof.from_bytes(joined.to_bytes()) == joined


HASH = base64.b64encode(bytes(32)).decode()
INCLUSION = {
    "format": "mlprov-inclusion-proof",
    "index": 0,
    "leaf": "a",
    "path": [HASH],
    "size": 2,
    "version": 1,
}


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": True},
        {"version": 1.5},
        {"format": "mlprov-consistency-proof"},
        {"index": -1},
        {"index": "0"},
        {"index": True},
        {"size": None},
        {"path": HASH},
        {"path": [HASH[:-1]]},
        {"path": [base64.b64encode(bytes(31)).decode()]},
        {"path": [5]},
        {"path": [HASH[:-2] + "B="]},
        {"path": [HASH] * 129},
        {"leaf": 5},
        {"leaf": {"bytes": "YQ=="}},
        {"leaf": {"bytes": "/w"}},
        {"leaf": {"bytes": "/w==", "more": 1}},
        {"more": 1},
    ],
)
def test_a_malformed_proof_file_is_refused(change):
    InclusionProof.from_bytes(rfc8785.dumps(INCLUSION))
    with pytest.raises(EvidenceError):
        InclusionProof.from_bytes(rfc8785.dumps({**INCLUSION, **change}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        json.dumps(INCLUSION).encode(),
        rfc8785.dumps(INCLUSION) + b"\n",
        rfc8785.dumps(INCLUSION)[:-1] + b',"size":2}',
    ],
)
def test_a_proof_in_any_other_spelling_is_refused(data):
    with pytest.raises(EvidenceError):
        InclusionProof.from_bytes(data)

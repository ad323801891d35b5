"""RFC 6962 trees and proofs of the core, against a slow reference written from the RFC alone."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlprov import _core
from mlprov.errors import EvidenceError, VerificationError

EMPTY = hashlib.sha256(b"").digest()


# ---- the reference: RFC 6962 section 2.1, as it stands there ----


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def split(count: int) -> int:
    return 1 << ((count - 1).bit_length() - 1)


def root_of(hashes: list[bytes]) -> bytes:
    if len(hashes) <= 1:
        return hashes[0] if hashes else EMPTY
    k = split(len(hashes))
    return node_hash(root_of(hashes[:k]), root_of(hashes[k:]))


def path_of(index: int, hashes: list[bytes]) -> list[bytes]:
    if len(hashes) == 1:
        return []
    k = split(len(hashes))
    if index < k:
        return [*path_of(index, hashes[:k]), root_of(hashes[k:])]
    return [*path_of(index - k, hashes[k:]), root_of(hashes[:k])]


def consistency_of(old: int, hashes: list[bytes], whole: bool = True) -> list[bytes]:
    if old == len(hashes):
        return [] if whole else [root_of(hashes)]
    k = split(len(hashes))
    if old <= k:
        return [*consistency_of(old, hashes[:k], whole), root_of(hashes[k:])]
    return [*consistency_of(old - k, hashes[k:], False), root_of(hashes[:k])]


def leaves_of(count: int) -> list[bytes]:
    return [b"leaf %d" % number for number in range(count)]


# ---- roots ----


def test_roots_of_0_to_1025_leaves_are_those_of_the_reference() -> None:
    leaves = leaves_of(1025)
    hashes = [leaf_hash(leaf) for leaf in leaves]
    tree = _core.MerkleTree()
    for size in range(1026):
        expected = root_of(hashes[:size])
        assert tree.root() == expected, size
        if size % 41 < 2:
            assert _core.merkle_root(leaves[:size]) == expected
            assert _core.MerkleTree(leaves[:size]).root() == expected
        if size < 1025:
            assert tree.append(leaves[size]) == size
    for size in range(0, 1026, 7):
        assert tree.root(size) == root_of(hashes[:size])
    assert len(tree) == 1025


def test_the_empty_tree_and_single_leaves_are_those_of_the_rfc() -> None:
    assert _core.merkle_root([]) == _core.MerkleTree().root() == EMPTY
    assert _core.merkle_root([b""]) == _core.merkle_leaf_hash(b"") == hashlib.sha256(b"\0").digest()


@pytest.mark.parametrize("length", [0, 1, 1022, 1023, 1024, 1025, 2047, 2048, 100_000])
def test_leaves_of_every_length_are_hashed_with_their_prefix(length: int) -> None:
    leaf = bytes(length)
    assert _core.merkle_leaf_hash(leaf) == leaf_hash(leaf)
    assert _core.merkle_root([leaf, leaf]) == node_hash(leaf_hash(leaf), leaf_hash(leaf))


def test_a_last_leaf_that_stands_twice_makes_another_root() -> None:
    leaves = leaves_of(257)
    for size in range(1, 258):
        some = leaves[:size]
        assert _core.merkle_root(some) != _core.merkle_root([*some, some[-1]]), size


def test_every_way_to_give_leaves_gives_the_same_tree() -> None:
    leaves = leaves_of(700)
    expected = root_of([leaf_hash(leaf) for leaf in leaves])
    by_hash = _core.MerkleTree()
    for leaf in leaves:
        by_hash.append_hash(leaf_hash(leaf))
    extended = _core.MerkleTree(leaves[:300])
    extended.extend(tuple(leaves[300:600]))
    extended.extend(bytearray(leaf) for leaf in leaves[600:])
    for tree in (by_hash, extended, _core.MerkleTree(iter(leaves))):
        assert tree.root() == expected
    assert _core.merkle_root(iter(leaves)) == expected


def test_an_iterator_may_refill_one_buffer_for_every_leaf() -> None:
    def refilled() -> Iterator[bytearray]:
        buffer = bytearray(8)
        for number in range(600):
            buffer[:] = number.to_bytes(8, "big")
            yield buffer

    copies = [number.to_bytes(8, "big") for number in range(600)]
    assert _core.merkle_root(refilled()) == _core.merkle_root(copies)


def test_extend_adds_all_leaves_or_none() -> None:
    tree = _core.MerkleTree([b"a"])
    before = tree.root()

    def broken() -> Iterator[bytes]:
        yield b"b"
        raise RuntimeError("the source failed")

    with pytest.raises(RuntimeError, match="the source failed"):
        tree.extend(broken())
    with pytest.raises(TypeError, match=r"leaves\[300\]"):
        tree.extend([b"b"] * 300 + ["text"])  # type: ignore[list-item]
    assert (len(tree), tree.root()) == (1, before)
    tree.extend([])
    assert (len(tree), tree.root()) == (1, before)


# ---- proofs ----


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 33, 64, 65])
def test_every_inclusion_proof_of_small_trees_is_that_of_the_reference(size: int) -> None:
    leaves = leaves_of(size)
    hashes = [leaf_hash(leaf) for leaf in leaves]
    tree = _core.MerkleTree(leaves_of(70))
    root = root_of(hashes)
    for index in range(size):
        path = tree.prove_inclusion(index, size)
        assert path == path_of(index, hashes)
        _core.merkle_verify_inclusion(root, hashes[index], index, size, path)


def test_random_inclusion_proofs_of_large_trees_are_those_of_the_reference() -> None:
    generator = random.Random(5)
    hashes = [leaf_hash(leaf) for leaf in leaves_of(1025)]
    tree = _core.MerkleTree(leaves_of(1025))
    for _ in range(60):
        size = generator.randrange(1, 1026)
        index = generator.randrange(size)
        path = tree.prove_inclusion(index, size)
        assert path == path_of(index, hashes[:size])
        _core.merkle_verify_inclusion(tree.root(size), hashes[index], index, size, path)


def test_every_consistency_proof_of_small_trees_is_that_of_the_reference() -> None:
    hashes = [leaf_hash(leaf) for leaf in leaves_of(34)]
    tree = _core.MerkleTree(leaves_of(34))
    for new in range(35):
        for old in range(new + 1):
            path = tree.prove_consistency(old, new)
            expected = consistency_of(old, hashes[:new]) if old > 0 else []
            assert path == expected, (old, new)
            _core.merkle_verify_consistency(tree.root(old), old, tree.root(new), new, path)


def test_random_consistency_proofs_of_large_trees_verify() -> None:
    generator = random.Random(6)
    hashes = [leaf_hash(leaf) for leaf in leaves_of(1025)]
    tree = _core.MerkleTree(leaves_of(1025))
    for _ in range(60):
        new = generator.randrange(1, 1026)
        old = generator.randrange(1, new + 1)
        path = tree.prove_consistency(old, new)
        assert path == consistency_of(old, hashes[:new])
        _core.merkle_verify_consistency(tree.root(old), old, tree.root(new), new, path)


# ---- what must be refused ----


def is_refused(function: Callable[..., object], *arguments: object) -> bool:
    try:
        function(*arguments)
    except (VerificationError, EvidenceError):
        return True
    return False


def test_the_official_inclusion_files_verify_or_fail_as_they_say(vectors: Path) -> None:
    files = sorted((vectors / "merkle-rfc6962/testdata/inclusion").rglob("*.json"))
    assert len(files) == 98
    holding = 0
    for file in files:
        case = json.loads(file.read_text())
        arguments = (
            base64.b64decode(case["root"]),
            base64.b64decode(case["leafHash"]),
            case["leafIdx"],
            case["treeSize"],
            [base64.b64decode(item) for item in case["proof"] or []],
        )
        if case["wantErr"]:
            assert is_refused(_core.merkle_verify_inclusion, *arguments), file
        else:
            _core.merkle_verify_inclusion(*arguments)
            holding += 1
    assert holding > 0


@pytest.fixture
def tree() -> _core.MerkleTree:
    return _core.MerkleTree(leaves_of(13))


def flipped(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data, "big") ^ (1 << bit)).to_bytes(len(data), "big")


def test_a_proof_with_any_flipped_bit_is_refused(tree: _core.MerkleTree) -> None:
    root, leaf, path = tree.root(), leaf_hash(b"leaf 5"), tree.prove_inclusion(5)
    _core.merkle_verify_inclusion(root, leaf, 5, 13, path)
    for bit in range(0, 256, 5):
        with pytest.raises(VerificationError) as seen:
            _core.merkle_verify_inclusion(flipped(root, bit), leaf, 5, 13, path)
        assert seen.value.status == "MISMATCH"
        with pytest.raises(VerificationError):
            _core.merkle_verify_inclusion(root, flipped(leaf, bit), 5, 13, path)
        for level in range(len(path)):
            bent = [*path[:level], flipped(path[level], bit), *path[level + 1 :]]
            with pytest.raises(VerificationError):
                _core.merkle_verify_inclusion(root, leaf, 5, 13, bent)


def test_a_proof_for_another_index_or_size_is_refused(tree: _core.MerkleTree) -> None:
    root, leaf, path = tree.root(), leaf_hash(b"leaf 5"), tree.prove_inclusion(5)
    for index in range(13):
        if index != 5:
            with pytest.raises((VerificationError, EvidenceError)):
                _core.merkle_verify_inclusion(root, leaf, index, 13, path)
    for size in (*range(9), 14, 16, 17, 2**63, 2**64 - 1):
        if size in (9, 10, 11, 12, 13, 14, 15, 16):
            continue  # the same path shape: the size is bound by whoever signs root and size
        with pytest.raises(EvidenceError):
            _core.merkle_verify_inclusion(root, leaf, 5, size, path)


def test_a_proof_of_another_length_is_malformed_and_no_mismatch(tree: _core.MerkleTree) -> None:
    root, leaf, path = tree.root(), leaf_hash(b"leaf 5"), tree.prove_inclusion(5)
    for other in ([], path[:-1], path[1:], [*path, root], [root, *path], path * 40):
        with pytest.raises(EvidenceError) as seen:
            _core.merkle_verify_inclusion(root, leaf, 5, 13, other)
        assert seen.value.status == "MALFORMED"


def test_an_inner_node_presented_as_a_leaf_is_refused(tree: _core.MerkleTree) -> None:
    # Without the 0x00 and 0x01 prefixes, the parent of leaves 4 and 5 would pass as leaf 2 of a
    # shorter tree, or as a 64-byte leaf.
    left, right = leaf_hash(b"leaf 4"), leaf_hash(b"leaf 5")
    path = tree.prove_inclusion(5)[1:]
    for forged in (node_hash(left, right), leaf_hash(left + right)):
        with pytest.raises((VerificationError, EvidenceError)):
            _core.merkle_verify_inclusion(tree.root(), forged, 5, 13, path)
        with pytest.raises((VerificationError, EvidenceError)):
            _core.merkle_verify_inclusion(tree.root(), forged, 2, 7, tree.prove_inclusion(5)[1:-1])
    assert _core.merkle_root([left + right]) != node_hash(left, right)
    assert _core.merkle_leaf_hash(left + right) != node_hash(left, right)


def test_a_consistency_proof_that_does_not_hold_is_refused(tree: _core.MerkleTree) -> None:
    old, new, path = tree.root(6), tree.root(), tree.prove_consistency(6)
    _core.merkle_verify_consistency(old, 6, new, 13, path)
    for bit in range(0, 256, 17):
        for level in range(len(path)):
            bent = [*path[:level], flipped(path[level], bit), *path[level + 1 :]]
            with pytest.raises(VerificationError):
                _core.merkle_verify_consistency(old, 6, new, 13, bent)
        with pytest.raises(VerificationError):
            _core.merkle_verify_consistency(flipped(old, bit), 6, new, 13, path)
        with pytest.raises(VerificationError):
            _core.merkle_verify_consistency(old, 6, flipped(new, bit), 13, path)
    for other in ([], path[:-1], [*path, old]):
        with pytest.raises(EvidenceError):
            _core.merkle_verify_consistency(old, 6, new, 13, other)
    with pytest.raises(EvidenceError):
        _core.merkle_verify_consistency(new, 13, old, 6, path)
    with pytest.raises(VerificationError):
        _core.merkle_verify_consistency(old, 13, new, 13, [])
    with pytest.raises(VerificationError):
        _core.merkle_verify_consistency(old, 0, new, 13, [])
    _core.merkle_verify_consistency(EMPTY, 0, new, 13, [])


@pytest.mark.parametrize(
    ("index", "size"), [(-1, 13), (5, -1), (2**64, 13), (5, 2**64), (0, 0), (13, 13)]
)
def test_numbers_that_no_proof_has_are_malformed_evidence(
    tree: _core.MerkleTree, index: int, size: int
) -> None:
    with pytest.raises(EvidenceError):
        _core.merkle_verify_inclusion(
            tree.root(), leaf_hash(b"leaf 5"), index, size, tree.prove_inclusion(5)
        )


@pytest.mark.parametrize("bad", [b"", b"x" * 31, b"x" * 33])
def test_hashes_of_another_length_are_malformed_evidence(
    tree: _core.MerkleTree, bad: bytes
) -> None:
    root, leaf, path = tree.root(), leaf_hash(b"leaf 5"), tree.prove_inclusion(5)
    for arguments in (
        (bad, leaf, 5, 13, path),
        (root, bad, 5, 13, path),
        (root, leaf, 5, 13, [bad, *path[1:]]),
    ):
        with pytest.raises(EvidenceError):
            _core.merkle_verify_inclusion(*arguments)


def test_what_lies_beyond_the_tree_is_an_index_error(tree: _core.MerkleTree) -> None:
    for call in (
        lambda: tree.root(14),
        lambda: tree.root(-1),
        lambda: tree.root(2**64),
        lambda: tree.prove_inclusion(13),
        lambda: tree.prove_inclusion(-1),
        lambda: tree.prove_inclusion(5, 5),
        lambda: tree.prove_inclusion(0, 14),
        lambda: tree.prove_inclusion(0, 0),
        lambda: tree.prove_consistency(14),
        lambda: tree.prove_consistency(3, 2),
        lambda: tree.prove_consistency(-1),
        lambda: tree.prove_consistency(0, 14),
    ):
        with pytest.raises(IndexError) as seen:
            call()
        assert seen.value.status == "RANGE"  # type: ignore[attr-defined]

"""The trees whose leaves a bundle discloses (docs/format.md section 10, check ``trees``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlprov import _core
from mlprov.errors import EvidenceError, VerificationError
from mlprov.record_values import shown
from mlprov.statements import read_json
from mlprov.tree_references import cited_trees, references_within

__all__ = ["read_trees"]

_RAW_LENGTHS = {"sha384": 48, "sha512": 64}  # of a digest in bytes; 32 of the others


def read_trees(
    entries: Mapping[str, bytes], records: Sequence[dict[str, Any]]
) -> dict[bytes, list[bytes]]:
    """The leaves of every ``trees/<root hex>.leaves``, by root.

    Args:
        entries: the bundle's.
        records: all of the run, in order.

    Raises:
        VerificationError: leaves of another root, or a tree that no record cites with that size.
        EvidenceError: a leaves file or a leaf is malformed, or leaves are out of order.
    """
    sizes: dict[bytes, set[int]] = {}
    for record in records:
        for root, size in references_within(record):
            sizes.setdefault(root, set()).add(size)
    sorted_trees = {
        tree
        for record in records
        if record["type"] == "data"
        for kind, tree in cited_trees(record)
        if kind == "sorted"
    }
    raw_length = _RAW_LENGTHS.get(records[0]["algorithm"], 32)
    trees = {}
    for name in sorted(name for name in entries if name.startswith("trees/")):
        root = bytes.fromhex(name[6:-7])
        leaves = _decode(name, entries[name])
        if _core.merkle_root(leaves) != root:
            raise VerificationError(f"{name} has leaves of another root")
        if len(leaves) not in sizes.get(root, ()):
            raise VerificationError(
                f"{name} is a tree of {len(leaves)} leaves that no record cites"
            )
        if (root, len(leaves)) in sorted_trees:
            _check_digests(name, leaves, raw_length)
        else:
            _check_leaves(name, leaves)
        trees[root] = leaves
    return trees


def _decode(name: str, content: bytes) -> list[bytes]:
    try:
        return _core.decode_leaves(content)
    except EvidenceError as error:
        raise EvidenceError(f"{name} is malformed: {error.what}", error.remedy) from error


def _check_digests(name: str, leaves: list[bytes], length: int) -> None:
    """The leaves of a sorted sample tree: raw digests in ascending order."""
    if any(len(leaf) != length for leaf in leaves) or leaves != sorted(leaves):
        raise EvidenceError(f"{name} is no list of digests in ascending order")


def _check_leaves(name: str, leaves: list[bytes]) -> None:
    """JSON objects, sorted by name and each there once where they have one."""
    names = [_leaf_name(name, index, leaf) for index, leaf in enumerate(leaves)]
    if all(leaf_name is None for leaf_name in names):
        return
    previous: bytes | None = None
    for index, leaf_name in enumerate(names):
        if leaf_name is None:
            raise EvidenceError(f"{name}, leaf {index} has no name; others have one")
        current = leaf_name.encode()
        if previous is not None and current <= previous:
            raise EvidenceError(
                f"{name}, leaf {index}: {shown(leaf_name)} is out of order or twice"
            )
        previous = current


def _leaf_name(name: str, index: int, leaf: bytes) -> str | None:
    value = read_json(leaf, f"{name}, leaf {index}")
    if not isinstance(value, dict):
        raise EvidenceError(f"{name}, leaf {index} is no JSON object")
    if "name" not in value:
        return None
    if not isinstance(value["name"], str):
        raise EvidenceError(f"{name}, leaf {index} has a name that is no text")
    leaf_name: str = value["name"]
    return leaf_name

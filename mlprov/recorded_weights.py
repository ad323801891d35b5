"""The weights that a run recorded, read from its records and disclosed trees.

The rules are docs/format.md section 10, **Model**.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlprov import _core
from mlprov.digests import Digest
from mlprov.errors import EvidenceError
from mlprov.record_values import Moment, describe_record, is_count, shown
from mlprov.tree_references import TreeReference, read_reference
from mlprov.verdicts import Unchecked

_WITH_WEIGHTS = ("model", "epoch", "step", "checkpoint", "resume")

__all__ = ["Weights", "check_tensor_leaf", "find_weights"]


@dataclass(frozen=True)
class Weights:
    """A recorded weights tree with its leaves.

    Attributes:
        where: which record it is of, for messages.
        leaves: name → decoded leaf.
        aliases: name → the alias group that it is in.
    """

    where: str
    leaves: dict[str, dict[str, Any]]
    aliases: dict[str, list[str]]


def find_weights(
    records: Sequence[dict[str, Any]],
    trees: Mapping[bytes, list[bytes]],
    moment: Moment | None,
) -> Weights:
    """The weights to compare with: of the named moment, else of the last record that has any.

    Raises:
        Unchecked: there are none, or their leaves are not disclosed.
        EvidenceError: the record names them in another form than section 5 allows.
    """
    for record in reversed(records):
        if not (record["type"] in _WITH_WEIGHTS if moment is None else moment.is_of(record)):
            continue
        where = describe_record(record)
        if record["type"] == "checkpoint":  # its weights are the live ones, not those of its file
            where = f"the live model at record {record['seq']} (checkpoint)"
        reference = read_reference(record, "weights", where)
        if reference is not None:
            algorithm = str(records[0].get("algorithm", "blake3"))
            return _weights_of(record, reference, where, trees, algorithm)
        if moment is not None:
            raise Unchecked(f"{where} has no weights")
    if moment is None:
        raise Unchecked("no record has weights")
    kind = moment.kind
    numbers = [r[kind] for r in records if r["type"] == kind and is_count(r.get(kind))]
    seen = (
        f"{kind}s {min(numbers)} to {max(numbers)} are recorded" if numbers else "none is recorded"
    )
    raise Unchecked(f"there is no record of {moment}", seen)


def _weights_of(
    record: dict[str, Any],
    reference: TreeReference,
    where: str,
    trees: Mapping[bytes, list[bytes]],
    algorithm: str,
) -> Weights:
    leaves = trees.get(reference.root)
    if leaves is None or len(leaves) != reference.size:
        raise Unchecked(f"the tensors of {where} are not disclosed in the bundle")
    decoded = [_core.json_decode(leaf) for leaf in leaves]
    for leaf in decoded:
        check_tensor_leaf(leaf, where, algorithm)
    return Weights(where, {leaf["name"]: leaf for leaf in decoded}, _groups(record, where))


def check_tensor_leaf(leaf: Any, where: str, algorithm: str | None = None) -> None:
    """Whether a leaf of a weights tree is a tensor leaf or a parts leaf (section 10).

    Args:
        leaf: decoded.
        where: what it is of, for messages.
        algorithm: that of the run, where it is known.

    Raises:
        EvidenceError: it is neither.
    """
    if isinstance(leaf, dict) and isinstance(leaf.get("name"), str):
        shape = leaf.get("shape")
        if (
            set(leaf) == {"digest", "dtype", "len", "name", "shape"}
            and isinstance(leaf["dtype"], str)
            and is_count(leaf["len"])
            and isinstance(shape, list)
            and all(is_count(dimension) for dimension in shape)
            and _is_digest(leaf["digest"], algorithm)
        ):
            return
        if (
            isinstance(leaf.get("layout"), str)
            and isinstance(leaf.get("parts"), dict)
            and leaf["parts"]
            and "digest" not in leaf
            and isinstance(shape, list)
        ):
            return
    raise EvidenceError(f"{where} has a leaf that is that of no tensor")


def _is_digest(value: Any, algorithm: str | None) -> bool:
    try:
        digest = Digest.parse(value)
    except (EvidenceError, ValueError, TypeError):
        return False
    return algorithm in (None, digest.algorithm)


def _groups(record: Mapping[str, Any], where: str) -> dict[str, list[str]]:
    """Name → alias group, by the rules of section 5."""
    aliases = record.get("aliases")
    if aliases is None:
        return {}
    groups: dict[str, list[str]] = {}
    previous: bytes | None = None
    for group in aliases if isinstance(aliases, list) else [aliases]:
        names = group if isinstance(group, list) else []
        keys = [name.encode() for name in names if isinstance(name, str)]
        well_formed = len(keys) == len(names) >= 2 and keys == sorted(set(keys))
        if not well_formed or (previous is not None and keys[0] <= previous):
            raise EvidenceError(f"{where} has aliases that are no groups of names in order")
        previous = keys[0]
        for name in names:
            if name in groups:
                raise EvidenceError(f"{where} has {shown(name)} in two alias groups")
            groups[name] = names
    return groups

"""A model or tensor at hand against what was recorded (docs/format.md section 10, **Model**)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlprov import _core
from mlprov.digests import TensorDigest
from mlprov.errors import VerificationError
from mlprov.file_checks import check_files
from mlprov.record_values import Moment, describe_record, is_count, plain, same_json, shown
from mlprov.recorded_weights import Weights
from mlprov.subjects import Subject
from mlprov.tree_references import TreeReference, read_reference
from mlprov.verdicts import Mismatch, Unchecked
from mlprov.wording import plural

__all__ = ["check_model", "check_tensor", "compare_model"]


def check_model(
    subject: Subject,
    records: Sequence[dict[str, Any]],
    find: Callable[[], Weights],
    moment: Moment | None,
) -> str:
    """Whether the model equals the recorded one, or its files are files that the run recorded.

    Args:
        subject: the model at hand.
        records: of the run.
        find: finds what to compare with; asked only where tensors are at hand.
        moment: the epoch or step that the caller named.
    """
    saved = [
        record
        for record in records
        if record["type"] == "checkpoint" and (moment is None or moment.is_of_checkpoint(record))
    ]
    if subject.tensors is None:
        return check_files(subject, saved)
    try:
        return compare_model(subject, find())
    except (VerificationError, Unchecked):
        recorded = _find_tensors(subject.tensors, saved)
        if recorded is None:
            raise
        return _describe_checkpoint(subject, len(subject.tensors), recorded)


def compare_model(subject: Subject, weights: Weights) -> str:
    """Whether the tensors at hand are all of these weights, and nothing else.

    Args:
        subject: the model at hand; its tensors are known.
        weights: what to compare with.

    Returns:
        what was compared.

    Raises:
        VerificationError: naming the first tensor that differs.
    """
    seen = subject.tensors or {}
    _compare_all(subject, seen, weights)
    tensors = plural(len(seen), "tensor")
    equal = "equals that" if len(seen) == 1 else "equal those"
    return f"{tensors} of {subject.shown} {equal} of {weights.where}" + (
        f"; {subject.others} other files were not compared" if subject.others else ""
    )


def _compare_all(subject: Subject, seen: Mapping[str, TensorDigest], weights: Weights) -> None:
    """The first difference by order of name is the one that is told."""
    expected, replaced = weights.leaves, _replaced_names(seen, weights)
    for name in sorted({*seen, *expected}, key=str.encode):
        if name not in expected:
            raise VerificationError(
                f"tensor {shown(name)} of {subject.shown} is not in {weights.where}"
            )
        if name in seen:
            what = f"tensor {shown(name)} of {subject.shown}"
            _compare_tensor(seen[name], expected[name], what, weights.where)
        elif name not in replaced:
            raise VerificationError(
                f"tensor {shown(name)} of {weights.where} is missing in {subject.shown}"
            )


def _replaced_names(seen: Mapping[str, TensorDigest], weights: Weights) -> set[str]:
    """Names not at hand for which another of their alias group is, with the same leaf otherwise."""
    replaced: set[str] = set()
    for group in {id(group): group for group in weights.aliases.values()}.values():
        values = {name: _values(weights.leaves[name]) for name in group if name in weights.leaves}
        present = {value for name, value in values.items() if name in seen}
        replaced |= {name for name, value in values.items() if value in present}
    return replaced


def _values(leaf: Mapping[str, Any]) -> str:
    """A leaf but for its name, to be compared with that of another name."""
    return json.dumps({**leaf, "name": None}, sort_keys=True)


def _find_tensors(
    tensors: Mapping[str, TensorDigest], recorded: Sequence[dict[str, Any]]
) -> dict[str, Any] | None:
    """The last checkpoint record whose ``tensors`` tree these tensors make."""
    leaves = [tensors[name].leaf() for name in sorted(tensors, key=str.encode)]
    own = TreeReference(_core.merkle_root(leaves), len(leaves))
    found = None
    for record in recorded:
        if read_reference(record, "tensors", describe_record(record)) == own:
            found = record
    return found


def _describe_checkpoint(subject: Subject, count: int, record: dict[str, Any]) -> str:
    mapping = record.get("mapping")
    equal = mapping.get("equal") if isinstance(mapping, dict) else None
    relation = "how many of them equal the live model's is not recorded"
    if is_count(equal) and equal <= count:
        relation = f"{equal} of them equal the live model's by name, as recorded"
    return (
        f"not the trained model, but a file that the run recorded: the {count} tensors of "
        f"{subject.shown} are those of {describe_record(record)}; {relation}"
    )


def _compare_tensor(tensor: TensorDigest, leaf: dict[str, Any], what: str, where: str) -> None:
    seen = _core.json_decode(tensor.leaf())
    for member in ("dtype", "shape", "len", "digest"):
        if not same_json(seen.get(member), leaf.get(member)):
            own, recorded = plain(seen.get(member)), plain(leaf.get(member))
            raise Mismatch(
                f"{what} has the {member} {own}, {where} says {recorded}",
                seen=own,
                expected=recorded,
            )


def check_tensor(name: str, weights: Weights, subject: Subject | None) -> str:
    """Whether a tensor is in the recorded weights and, with a model at hand, equal in it."""
    leaf = weights.leaves.get(name)
    if leaf is None:
        raise VerificationError(f"{weights.where} has no tensor {shown(name)}")
    digest = plain(leaf.get("digest", "parts"))
    if subject is None:
        return (
            f"{weights.where} has it: {plain(leaf.get('dtype'))} {shown(leaf.get('shape'))} "
            f"{digest}"
        )
    if subject.tensors is None:
        raise Unchecked(f"{subject.shown} is not safetensors, so its tensors cannot be compared")
    candidates = [n for n in (name, *weights.aliases.get(name, ())) if n in subject.tensors]
    if not candidates:
        raise VerificationError(f"{subject.shown} has no tensor {shown(name)}")
    _compare_tensor(
        subject.tensors[candidates[0]],
        leaf,
        f"tensor {shown(candidates[0])} of {subject.shown}",
        weights.where,
    )
    return f"it is {digest} in {weights.where} and in {subject.shown}"

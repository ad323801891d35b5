"""Data at hand against what the run recorded (docs/format.md section 10, **Data**)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlprov.errors import VerificationError
from mlprov.record_values import describe_record, is_count, plain
from mlprov.recorded_data import read_samples
from mlprov.tree_references import read_reference
from mlprov.verdicts import Mismatch, Unchecked
from mlprov.wording import meant

__all__ = ["check_data"]


def check_data(role: str, data: Any, records: Sequence[dict[str, Any]]) -> str:
    """Whether the samples at hand make the trees that the last data record of the role cites."""
    recorded = [r for r in records if r["type"] == "data" and r.get("role") == role]
    if not recorded:
        roles = sorted({str(r.get("role")) for r in records if r["type"] == "data"})
        raise Unchecked(f"the run has no data record of the role {role!r}; {meant(role, roles)}")
    record = recorded[-1]
    where = describe_record(record)
    tree = read_reference(record, "tree", where)
    sorted_tree = read_reference(record, "sorted", where)
    if tree is None:
        raise Unchecked(f"{where} has no sample tree")
    samples = read_samples(data, record, str(records[0].get("algorithm", "blake3")))
    if samples.tree != tree:
        raise Mismatch(
            f"the {samples.tree.size} samples given make another tree than {where} names, of "
            f"{tree.size} samples",
            seen=f"sha256:{samples.tree.root.hex()}",
            expected=f"sha256:{tree.root.hex()}",
        )
    if sorted_tree is not None and sorted_tree != samples.sorted:
        raise VerificationError(f"{where} names another sorted sample tree than its samples make")
    if not is_count(record.get("count")) or record["count"] != tree.size:
        raise VerificationError(
            f"{where} says {plain(record.get('count'))} samples; its tree has {tree.size}"
        )
    others = f", the last of {len(recorded)} of this role" if len(recorded) > 1 else ""
    samples_equal = "1 sample equals that" if tree.size == 1 else f"{tree.size} samples equal those"
    return f"{samples_equal} of {where}{others}"

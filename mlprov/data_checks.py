"""Data at hand against what the run recorded (docs/format.md section 10, **Data**)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlprov import _core
from mlprov.errors import VerificationError
from mlprov.record_values import describe_record, is_count, plain, shown
from mlprov.recorded_data import read_samples
from mlprov.tree_references import read_reference
from mlprov.verdicts import Mismatch, Unchecked
from mlprov.wording import meant, plural

__all__ = ["check_data"]


def check_data(
    role: str,
    data: Any,
    records: Sequence[dict[str, Any]],
    trees: Mapping[bytes, Sequence[bytes]],
) -> str:
    """Whether the samples at hand make the trees that the last data record of the role cites.

    Args:
        role: whose record is meant.
        data: arrays, or a path.
        records: all of the run, in order.
        trees: root → leaves of the disclosed trees, which tell what differs.

    Raises:
        VerificationError: they do not; a Mismatch names the first that differs, where leaves tell.
        Unchecked: there is nothing to compare, or the data cannot be read.
    """
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
        leaves = trees.get(tree.root)
        disclosed = leaves is not None and len(leaves) == tree.size
        if leaves is not None and disclosed:
            _name_difference(samples.leaves, leaves, record["kind"] == "arrays", where)
        told = (
            "each of them is recorded, though in another order or more than once"
            if disclosed
            else "the bundle does not disclose their leaves, so which of them differ cannot be "
            "named; ask the owner for one with --disclose samples"
        )
        raise Mismatch(
            f"the {plural(samples.tree.size, 'sample')} given make another tree than {where} "
            f"names, of {plural(tree.size, 'sample')}; {told}",
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


_ABSENT = "absent"  # what is seen of a sample that is missing, and expected of one too many


def _name_difference(
    given: Iterable[bytes], recorded: Iterable[bytes], indexed: bool, where: str
) -> None:
    """Tell the first sample that differs: by index, or in a set of files by order of path.

    Raises:
        Mismatch: a sample differs, is missing or is one too many.
    """
    if indexed:
        for index, (own, leaf) in enumerate(itertools.zip_longest(given, recorded)):
            if own != leaf:
                raise _difference(f"sample {index}", own, leaf, where)
        return
    # What a writer recorded without a path is told by its whole leaf: no file has such a name.
    files, listed = ({_path(leaf): leaf for leaf in leaves} for leaves in (given, recorded))
    for path in sorted({*files, *listed}, key=str.encode):
        if files.get(path) != listed.get(path):
            raise _difference(f"file {shown(path)}", files.get(path), listed.get(path), where)


def _path(leaf: bytes) -> str:
    path = _core.json_decode(leaf).get("path")
    return path if isinstance(path, str) else leaf.decode()


def _difference(what: str, own: bytes | None, leaf: bytes | None, where: str) -> Mismatch:
    seen, expected = _digest(own), _digest(leaf)
    if seen == expected:  # it differs in another member
        seen, expected = (_ABSENT if one is None else plain(one.decode()) for one in (own, leaf))
    if leaf is None:
        return Mismatch(f"{what} ({seen}) is not in {where}", seen=seen, expected=expected)
    if own is None:
        return Mismatch(
            f"{what} of {where} ({expected}) is missing in the data given",
            seen=seen,
            expected=expected,
        )
    return Mismatch(f"{what} is {seen}; {where} says {expected}", seen=seen, expected=expected)


def _digest(leaf: bytes | None) -> str:
    return _ABSENT if leaf is None else plain(_core.json_decode(leaf).get("digest"))

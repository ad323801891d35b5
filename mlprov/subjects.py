"""What a run recorded, held against what the caller has: a model, tensors, data.

The rules are docs/format.md section 10, **Model** and **Data**.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlprov import _core, checkpoints, models
from mlprov.checkpoints import FileTensors
from mlprov.digests import Digest, TensorDigest
from mlprov.errors import EvidenceError, StoreError, VerificationError
from mlprov.modules import is_module
from mlprov.recorded_data import read_samples
from mlprov.tree_references import TreeReference, is_count, is_integer, read_reference
from mlprov.verdicts import Mismatch, Unchecked

__all__ = [
    "Subject",
    "Weights",
    "check_data",
    "check_model",
    "check_model_kind",
    "check_tensor",
    "check_tensor_leaf",
    "describe_record",
    "find_weights",
    "is_epoch",
]


_HEX64 = re.compile(r"[0-9a-f]{64}")


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
    epoch: int | None,
) -> Weights:
    """The weights to compare with: of the named epoch, else of the last record that has any.

    Raises:
        Unchecked: there are none, or their leaves are not disclosed.
        EvidenceError: the record names them in another form than section 5 allows.
    """
    for record in reversed(records):
        if record["type"] not in (
            ("model", "epoch", "checkpoint") if epoch is None else ("epoch",)
        ):
            continue
        if epoch is not None and not is_epoch(record, epoch):
            continue
        where = describe_record(record)
        if record["type"] == "checkpoint":  # its weights are the live ones, not those of its file
            where = f"the live model at record {record['seq']} (checkpoint)"
        reference = read_reference(record, "weights", where)
        if reference is not None:
            algorithm = str(records[0].get("algorithm", "blake3"))
            return _weights_of(record, reference, where, trees, algorithm)
        if epoch is not None:
            raise Unchecked(f"{where} has no weights")
    raise Unchecked(
        "no record has weights" if epoch is None else f"there is no record of epoch {epoch}"
    )


def is_epoch(record: Mapping[str, Any], epoch: int) -> bool:
    """Whether a record is of that epoch; true is not 1."""
    return is_integer(record.get("epoch")) and record["epoch"] == epoch


def describe_record(record: Mapping[str, Any]) -> str:
    """A record as messages name it: number, type, epoch or role."""
    of = {"epoch": "epoch", "data": "role", "checkpoint": "path"}.get(str(record["type"]))
    detail = f" {record.get(of)}" if of is not None else ""
    return f"record {record['seq']} ({record['type']}{detail})"


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
                raise EvidenceError(f"{where} has {name!r} in two alias groups")
            groups[name] = names
    return groups


@dataclass(frozen=True)
class Subject:
    """The model that the caller has, read once.

    Attributes:
        shown: what to call it.
        tensors: name → digest; None where the files are not safetensors.
        files: what was read.
        others: further files of the directory, which are not compared.
    """

    shown: str
    tensors: dict[str, TensorDigest] | None
    files: tuple[FileTensors, ...] = ()
    others: int = 0

    @staticmethod
    def read(model: Any, algorithm: str) -> Subject:
        """Read a file or directory by path, or digest a live module, state dict or ModelDigest.

        Args:
            model: what :func:`check_model_kind` lets pass.
            algorithm: the run's.

        Raises:
            Unchecked: it cannot be read or hashed, or changes while it is.
        """
        if isinstance(model, (str, os.PathLike)):
            return _read_path(pathlib.Path(model), algorithm)
        if not isinstance(model, models.ModelDigest):
            model = models.digest_model(model, algorithm=algorithm)
        other = {tensor.digest.algorithm for tensor in model.tensors} - {algorithm}
        if other:
            raise Unchecked(
                f"the model given was digested by {other.pop()}, the run by {algorithm}"
            )
        return Subject("the live model", {tensor.name: tensor for tensor in model.tensors})


def check_model_kind(model: Any) -> None:
    """Whether a model that a caller gave is of a kind that can be compared at all.

    Raises:
        TypeError: it is not.
    """
    if isinstance(model, (str, os.PathLike, Mapping, models.ModelDigest)) or is_module(model):
        return
    raise TypeError(
        "model: expected the path of a file or directory, a torch module, a state dict or a "
        f"ModelDigest, not {type(model).__name__}"
    )


def _read_path(path: pathlib.Path, algorithm: str) -> Subject:
    try:
        files = [_read_file(p, p.name, algorithm) for p in _model_files(path)]
        if files and all(file.tensors is not None for file in files):
            others = (
                sum(1 for p in path.rglob("*") if p.is_file()) - len(files) if path.is_dir() else 0
            )
            return Subject(str(path), _union(files), tuple(files), others)
        return Subject(str(path), None, _read_all(path))
    except (StoreError, OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise Unchecked(f"{path} cannot be read: {reason}") from error


def _read_file(path: pathlib.Path, shown: str, algorithm: str = "blake3") -> FileTensors:
    """One read of a file, whose header and bytes must be those of one and the same file.

    Both are read through descriptors of their own, so a file put in its place in between would
    pass unseen; the identity before and after says so.
    """
    before = _identity(path)
    try:
        file = checkpoints.read_file(path, shown, algorithm=algorithm)
    except IndexError as error:  # a tensor ends behind the end of what is there now
        raise Unchecked(f"{path} changed while it was read") from error
    except EvidenceError as error:
        if error.status == "CHANGED" or _identity(path) != before:
            raise Unchecked(f"{path} changed while it was read") from error
        raise
    if _identity(path) != before:
        raise Unchecked(f"{path} changed while it was read")
    return file


def _identity(path: pathlib.Path) -> tuple[int, ...]:
    status = path.stat()
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _model_files(path: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path.glob("*.safetensors")) if path.is_dir() else [path]


def _union(files: Sequence[FileTensors]) -> dict[str, TensorDigest]:
    tensors: dict[str, TensorDigest] = {}
    for file in files:
        for tensor in file.tensors or ():
            if tensor.name in tensors:
                raise EvidenceError(f"two shards hold a tensor named {tensor.name!r}")
            tensors[tensor.name] = tensor
    return tensors


def _read_all(path: pathlib.Path) -> tuple[FileTensors, ...]:
    """Every file of a directory at any depth, or the one file; compared by their bytes."""
    if not path.is_dir():
        return (_read_file(path, path.name),)
    found = sorted(p for p in path.rglob("*") if not p.is_dir())
    if any(not p.is_file() for p in found):
        raise Unchecked(f"{path} holds special files or dangling links, which are not read")
    return tuple(_read_file(p, p.relative_to(path).as_posix()) for p in found)


# ---- model ----


def check_model(
    subject: Subject,
    records: Sequence[dict[str, Any]],
    weights: Weights | Unchecked,
    epoch: int | None,
) -> str:
    """Whether the model equals the recorded one, or its files are files that the run recorded.

    Args:
        subject: the model at hand.
        records: of the run.
        weights: what to compare with, or why there is nothing.
        epoch: the epoch that the caller named.
    """
    checkpoints_ = [
        r for r in records if r["type"] == "checkpoint" and (epoch is None or is_epoch(r, epoch))
    ]
    if subject.tensors is None:
        return _check_files(subject, checkpoints_)
    try:
        if isinstance(weights, Unchecked):
            raise weights
        _compare_all(subject, subject.tensors, weights)
    except (VerificationError, Unchecked):
        recorded = _find_tensors(subject.tensors, checkpoints_)
        if recorded is None:
            raise
        return _describe_checkpoint(subject, recorded)
    return f"{len(subject.tensors)} tensors of {subject.shown} equal those of {weights.where}" + (
        f"; {subject.others} other files were not compared" if subject.others else ""
    )


def _compare_all(subject: Subject, seen: Mapping[str, TensorDigest], weights: Weights) -> None:
    expected = weights.leaves
    # Of each group the names that are at hand with the same leaf but for the name: found once.
    present: dict[int, set[str]] = {}
    for name in sorted({*seen, *expected}, key=str.encode):
        if name not in expected:
            raise VerificationError(f"tensor {name!r} of {subject.shown} is not in {weights.where}")
        what = f"tensor {name!r} of {subject.shown}"
        if name in seen:
            _compare(seen[name], expected[name], what, weights.where)
            continue
        group = weights.aliases.get(name, [])
        values = present.setdefault(
            id(group), {_values(expected[n]) for n in group if n in seen and n in expected}
        )
        if _values(expected[name]) not in values:
            raise VerificationError(
                f"tensor {name!r} of {weights.where} is missing in {subject.shown}"
            )


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


def _describe_checkpoint(subject: Subject, record: dict[str, Any]) -> str:
    mapping = record.get("mapping")
    count = 0 if subject.tensors is None else len(subject.tensors)
    relation = "how they relate to the live model was not recorded"
    if isinstance(mapping, dict):
        missing = mapping.get("missing")
        relation = f"{mapping.get('equal')} of them equal the live model's by name" + (
            f", {len(missing)} live tensors are not in it" if isinstance(missing, list) else ""
        )
    return (
        f"not the trained model, but a file that the run recorded: the {count} tensors of "
        f"{subject.shown} are those of {describe_record(record)}; {relation}"
    )


def _same(left: Any, right: Any) -> bool:
    """Equality of JSON values, where true is not 1."""
    return json.dumps(left) == json.dumps(right)


def _compare(tensor: TensorDigest, leaf: dict[str, Any], what: str, where: str) -> None:
    seen = _core.json_decode(tensor.leaf())
    if all(
        _same(leaf.get(member), seen.get(member)) for member in ("dtype", "shape", "len", "digest")
    ):
        return
    for member in ("dtype", "shape", "len", "digest"):
        if not _same(seen.get(member), leaf.get(member)):
            raise Mismatch(
                f"{what} has the {member} {seen.get(member)}, {where} says {leaf.get(member)}",
                seen=str(seen.get(member)),
                expected=str(leaf.get(member)),
            )
    raise VerificationError(f"{what} is not what {where} says")


def _check_files(subject: Subject, recorded: Sequence[dict[str, Any]]) -> str:
    if not recorded:
        raise Unchecked("no checkpoint record has files to compare with")
    if not subject.files:
        raise Unchecked(f"{subject.shown} holds no file to compare")
    directory = pathlib.Path(subject.shown).is_dir()
    own = {file.path: _file_facts(file.as_record()) for file in subject.files}
    # All are read before one is taken: a malformed list is never passed over.
    for record, listed in [(record, _listed_files(record)) for record in recorded]:
        same = own == listed if directory else next(iter(own.values())) in listed.values()
        if same:
            return (
                f"the bytes of {subject.shown} are those that {describe_record(record)} lists; "
                "bytes, not tensors, were compared"
            )
    raise VerificationError(
        f"the bytes of {subject.shown} are those of no recorded checkpoint; bytes, not tensors, "
        "were compared"
    )


def _file_facts(entry: Any) -> tuple[str, str, int]:
    return entry["blake3"], entry["sha256"], entry["len"]


def _is_hex(value: Any) -> bool:
    return isinstance(value, str) and _HEX64.fullmatch(value) is not None


def _listed_files(record: dict[str, Any]) -> dict[str, tuple[str, str, int]]:
    """Path → facts of the files that a checkpoint record lists, in the form of section 5."""
    where, files = describe_record(record), record.get("files")
    listed: dict[str, tuple[str, str, int]] = {}
    for entry in [] if files is None else files if isinstance(files, list) else [None]:
        if (
            not isinstance(entry, dict)
            or set(entry) != {"blake3", "len", "path", "sha256"}
            or not is_count(entry["len"])
            or not isinstance(entry["path"], str)
            or not all(_is_hex(entry[k]) for k in ("blake3", "sha256"))
            or entry["path"] in listed
        ):
            raise EvidenceError(f"{where} lists its files in another form")
        listed[entry["path"]] = _file_facts(entry)
    return listed


def check_tensor(name: str, weights: Weights, subject: Subject | None) -> str:
    """Whether a tensor is in the recorded weights and, with a model at hand, equal in it."""
    leaf = weights.leaves.get(name)
    if leaf is None:
        raise VerificationError(f"{weights.where} has no tensor {name!r}")
    shown = leaf.get("digest", "parts")
    if subject is None:
        return f"{weights.where} has it: {leaf.get('dtype')} {leaf.get('shape')} {shown}"
    if subject.tensors is None:
        raise Unchecked(f"{subject.shown} is not safetensors, so its tensors cannot be compared")
    candidates = [n for n in (name, *weights.aliases.get(name, ())) if n in subject.tensors]
    if not candidates:
        raise VerificationError(f"{subject.shown} has no tensor {name!r}")
    _compare(
        subject.tensors[candidates[0]],
        leaf,
        f"tensor {candidates[0]!r} of {subject.shown}",
        weights.where,
    )
    return f"it is {shown} in {weights.where} and in {subject.shown}"


# ---- data ----


def check_data(role: str, data: Any, records: Sequence[dict[str, Any]]) -> str:
    """Whether the samples at hand make the trees that the last data record of the role cites."""
    recorded = [r for r in records if r["type"] == "data" and r.get("role") == role]
    if not recorded:
        raise Unchecked(f"the run has no data record of the role {role!r}")
    record = recorded[-1]
    where = describe_record(record)
    tree = read_reference(record, "tree", where)
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
    sorted_tree = read_reference(record, "sorted", where)
    if sorted_tree is not None and sorted_tree != samples.sorted:
        raise VerificationError(f"{where} names another sorted sample tree than its samples make")
    if not is_count(record.get("count")) or record["count"] != tree.size:
        raise VerificationError(
            f"{where} says {record.get('count')} samples; its tree has {tree.size}"
        )
    others = f", the last of {len(recorded)} of this role" if len(recorded) > 1 else ""
    return f"{tree.size} samples equal those of {where}{others}"

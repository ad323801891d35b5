"""What a run recorded, held against what the caller has: a model, tensors, data.

The rules are docs/format.md section 10, **Model** and **Data**.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlprov import _core, checkpoints, models
from mlprov.checkpoints import FileTensors
from mlprov.digests import Digest, TensorDigest
from mlprov.errors import EvidenceError, StoreError, VerificationError
from mlprov.modules import is_module
from mlprov.recorded_data import read_samples
from mlprov.verdicts import Mismatch, Unchecked

__all__ = [
    "Subject",
    "Weights",
    "check_data",
    "check_model",
    "check_model_kind",
    "check_tensor",
    "find_weights",
]


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
    records: Sequence[dict[str, Any]], trees: Mapping[bytes, list[bytes]], epoch: int | None
) -> Weights:
    """The weights to compare with: of the named epoch, else of the last record that has any.

    A run that recorded no live weights, only files, is compared by the tensors of its last file.
    """
    if epoch is not None:
        for record in reversed(records):
            if record["type"] == "epoch" and record.get("epoch") == epoch:
                return _weights_of(record, "weights", trees)
        raise Unchecked(f"there is no record of epoch {epoch}")
    for kinds, member in (
        (("model", "epoch", "checkpoint"), "weights"),
        (("checkpoint",), "tensors"),
    ):
        for record in reversed(records):
            if record["type"] in kinds and isinstance(record.get(member), dict):
                return _weights_of(record, member, trees)
    raise Unchecked("no record has weights")


def _weights_of(record: dict[str, Any], member: str, trees: Mapping[bytes, list[bytes]]) -> Weights:
    number = f" {record['epoch']}" if record["type"] == "epoch" else ""
    where = f"record {record['seq']} ({record['type']}{number})"
    root = _root_of(record.get(member))
    if root is None:
        raise Unchecked(f"{where} has no weights")
    if root not in trees:
        raise Unchecked(f"the tensors of {where} are not disclosed in the bundle")
    aliases = record.get("aliases") if member == "weights" else None
    return Weights(where, _named(trees[root]), _groups(aliases))


def _root_of(reference: Any) -> bytes | None:
    root = reference.get("root") if isinstance(reference, dict) else None
    if not isinstance(root, str) or not root.startswith("sha256:"):
        return None
    try:
        return bytes.fromhex(root[7:])
    except ValueError:
        return None


def _named(leaves: Sequence[bytes]) -> dict[str, dict[str, Any]]:
    decoded = [_core.json_decode(leaf) for leaf in leaves]
    if not all(isinstance(leaf, dict) and isinstance(leaf.get("name"), str) for leaf in decoded):
        raise EvidenceError("the weights tree has a leaf without a name")
    return {leaf["name"]: leaf for leaf in decoded}


def _groups(aliases: Any) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for group in aliases if isinstance(aliases, list) else ():
        if isinstance(group, list):
            groups.update({name: group for name in group if isinstance(name, str)})
    return groups


@dataclass(frozen=True)
class Subject:
    """The model that the caller has, read once.

    Attributes:
        shown: what to call it.
        tensors: name → digest; None where the files are not safetensors.
        files: what was read.
    """

    shown: str
    tensors: dict[str, TensorDigest] | None
    files: tuple[FileTensors, ...] = ()

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
            return Subject(str(path), _union(files), tuple(files))
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
    subject: Subject, records: Sequence[dict[str, Any]], weights: Weights | None
) -> str:
    """Whether the model equals the recorded one by tensors, or its files the recorded files."""
    if subject.tensors is None or weights is None:
        return _check_files(subject, records)
    seen, expected = subject.tensors, weights.leaves
    for name in sorted({*seen, *expected}, key=str.encode):
        if name not in expected:
            raise VerificationError(f"tensor {name!r} of {subject.shown} is not in {weights.where}")
        if name in seen:
            _compare(
                seen[name], expected[name], f"tensor {name!r} of {subject.shown}", weights.where
            )
        elif not any(
            alias in seen and _same_values(expected, alias, name)
            for alias in weights.aliases.get(name, ())
        ):
            raise VerificationError(
                f"tensor {name!r} of {weights.where} is missing in {subject.shown}"
            )
    return f"{len(seen)} tensors of {subject.shown} equal those of {weights.where}"


def _same_values(leaves: Mapping[str, dict[str, Any]], alias: str, name: str) -> bool:
    """Whether two names of an alias group do have the same leaf but for the name."""
    return alias in leaves and {**leaves[alias], "name": name} == leaves[name]


def _compare(tensor: TensorDigest, leaf: dict[str, Any], what: str, where: str) -> None:
    seen = _core.json_decode(tensor.leaf())
    if all(leaf.get(member) == value for member, value in seen.items() if member != "name"):
        return  # a leaf may have more members than this release writes
    for member in ("dtype", "shape", "len", "digest"):
        if seen.get(member) != leaf.get(member):
            raise Mismatch(
                f"{what} has the {member} {seen.get(member)}, {where} says {leaf.get(member)}",
                seen=str(seen.get(member)),
                expected=str(leaf.get(member)),
            )
    raise VerificationError(f"{what} is not what {where} says")


def _check_files(subject: Subject, records: Sequence[dict[str, Any]]) -> str:
    recorded = [
        r for r in records if r["type"] == "checkpoint" and isinstance(r.get("files"), list)
    ]
    if not recorded:
        raise Unchecked("no checkpoint record has files to compare with")
    directory = pathlib.Path(subject.shown).is_dir()
    key = ("blake3", "len", "sha256", "path") if directory else ("blake3", "len", "sha256")
    own = sorted(tuple(str(getattr(file, k)) for k in key) for file in subject.files)
    for record in recorded:
        listed = sorted(
            tuple(str(f.get(k)) for k in key) for f in record["files"] if isinstance(f, dict)
        )
        if own == listed if directory else own[0] in listed:
            return (
                f"the bytes of {subject.shown} are those that record {record['seq']} (checkpoint) "
                "lists; bytes, not tensors, were compared"
            )
    raise VerificationError(
        f"the bytes of {subject.shown} are those of no recorded checkpoint; bytes, not tensors, "
        "were compared"
    )


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
    """Whether the samples at hand make the tree that the last data record of the role cites."""
    recorded = [r for r in records if r["type"] == "data" and r.get("role") == role]
    if not recorded:
        raise Unchecked(f"the run has no data record of the role {role!r}")
    record = recorded[-1]
    reference = record.get("tree")
    if not isinstance(reference, dict):
        raise Unchecked(f"record {record['seq']} has no sample tree")
    root, size = read_samples(data, record, str(records[0].get("algorithm", "blake3")))
    seen = {"root": str(Digest("sha256", root)), "size": size}
    if seen != reference:
        raise Mismatch(
            f"the {size} samples given have the root {seen['root']}, record {record['seq']} says "
            f"{reference.get('root')} over {reference.get('size')}",
            seen=str(seen["root"]),
            expected=str(reference.get("root")),
        )
    return f"{size} samples equal those of record {record['seq']} (data, {role})"

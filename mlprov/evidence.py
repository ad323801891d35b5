"""What a file that is loaded is held against: a bundle, a run, or digests."""

from __future__ import annotations

import functools
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from mlprov import _core, stored_runs, stores
from mlprov.bundle_files import read_bundle_bytes
from mlprov.digests import Digest
from mlprov.errors import ConfigError, EvidenceError, StoreError, VerificationError
from mlprov.items import class_name
from mlprov.model_checks import check_model, compare_model
from mlprov.model_digests import ModelDigest, model_of
from mlprov.questions import Question
from mlprov.record_values import Moment
from mlprov.recorded_runs import RecordedRun
from mlprov.recorded_weights import Weights, find_weights
from mlprov.saved_files import SavedFile
from mlprov.signers import Keys
from mlprov.subjects import Subject
from mlprov.verdicts import Unchecked
from mlprov.verification import check_bundle

__all__ = ["Evidence", "Expected", "check_loaded", "read_evidence"]

Evidence: TypeAlias = str | os.PathLike[str] | Digest | ModelDigest | SavedFile | RecordedRun
"""What :func:`mlprov.load_file` takes."""

_EXPECTED = (
    "the path of a bundle, a run (its id, name, or @ for the newest), a mlprov.Run, a digest"
    " (blake3:… or sha256:… of the file, or sha256:… of a model root), a ModelDigest or a SavedFile"
)
_DIGEST = re.compile(r"(blake3|sha256|sha384|sha512):[0-9a-f]+")
_LONG = 200  # characters of what was given, in a message


@dataclass(frozen=True)
class Expected:
    """What a file is compared with, once it lies in memory.

    Attributes:
        algorithm: of the tensors' digests.
        whole: of the digest of the whole file, where one is needed.
        check: given the tensors and that digest; returns what was compared.
            VerificationError: they differ, naming the first tensor that does. Unchecked: there is
            nothing to compare with.
    """

    algorithm: str
    whole: str | None
    check: Callable[[Subject, Digest | None], str]


def read_evidence(
    evidence: Evidence,
    *,
    epoch: int | None,
    step: int | None,
    keys: Keys | None,
    allow_unpinned: bool,
    store: str | os.PathLike[str] | None,
) -> Expected:
    """Read evidence and verify it by itself, before anything is loaded.

    Raises:
        ConfigError: it is none, or ``epoch`` or ``step`` where it has neither; both.
        EvidenceError: it cannot be read, or a check of it cannot be made (signer not pinned).
        VerificationError: it does not hold.
        StoreError: there is no such run.
    """
    question = Question(epoch=epoch, step=step, keys=keys, allow_unpinned=allow_unpinned)
    if isinstance(evidence, RecordedRun):
        evidence.recorder.catch_up()
        return _of_stored_run(evidence.id, evidence.reading(), question.moment)
    if isinstance(evidence, (str, os.PathLike)) and not _is_digest(evidence):
        path = pathlib.Path(evidence)
        if _is_there(path):
            return _of_bundle(path, question)
        reading = stores.Reading(stores.find_store() if store is None else pathlib.Path(store))
        return _of_stored_run(os.fspath(evidence), reading, question.moment)
    if question.moment is not None:
        raise ConfigError(
            f"cannot load by {question.moment}: a digest has no {question.moment.kind}s",
            "name a run or bundle",
        )
    if isinstance(evidence, str):
        evidence = Digest.parse(evidence)
    if isinstance(evidence, Digest):
        return _of_digest(evidence)
    if isinstance(evidence, SavedFile):
        evidence = model_of(evidence.tensors)
    if isinstance(evidence, ModelDigest):
        return _of_model(evidence)
    raise ConfigError(
        f"cannot load without evidence: expected {_EXPECTED}, seen {class_name(evidence)}",
        "to read a file unchecked, call safetensors' own load_file",
    )


def _is_digest(evidence: str | os.PathLike[str]) -> bool:
    return isinstance(evidence, str) and _DIGEST.fullmatch(evidence) is not None


def _is_there(path: pathlib.Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a name, a NUL: then it is a run's name, or none
        return False


# ---- records ----


def _of_bundle(path: pathlib.Path, question: Question) -> Expected:
    """The bundle is verified first, as ``mlprov.verify`` does: its signer too."""
    data = read_bundle_bytes(path)
    if data.startswith(b"{"):
        raise ConfigError(
            f"cannot load by {path}: a proof is of one leaf", "name the bundle that it is from"
        )
    verdict, bundle = check_bundle(data, str(path), question)
    verdict.require()
    return _of_records(bundle.decoded, bundle.trees, question.moment)


def _of_stored_run(which: str, reading: stores.Reading, moment: Moment | None) -> Expected:
    """The leaves are read now: afterwards the store is closed."""
    try:
        with reading as store:
            run = stored_runs.read_run(store, stores.find_run(store, which).id)
            if not run.records:
                raise StoreError(f"the run {run.row.id} has no records here yet")
            weights: Weights | Unchecked
            try:
                weights = find_weights(run.records, stored_runs.StoredTrees(store), moment)
            except Unchecked as reason:
                weights = reason
    except StoreError as error:
        raise StoreError(
            f"cannot load by {which!r:.{_LONG}}, no file here: {error}", f"evidence is {_EXPECTED}"
        ) from error
    return _of_weights(run.records, functools.partial(_given, weights), moment)


def _given(weights: Weights | Unchecked) -> Weights:
    if isinstance(weights, Unchecked):
        raise weights
    return weights


def _of_records(
    records: Sequence[dict[str, Any]], trees: Mapping[bytes, list[bytes]], moment: Moment | None
) -> Expected:
    return _of_weights(records, lambda: find_weights(records, trees, moment), moment)


def _of_weights(
    records: Sequence[dict[str, Any]], find: Callable[[], Weights], moment: Moment | None
) -> Expected:
    def check(subject: Subject, whole: Digest | None) -> str:  # noqa: ARG001 - no digest was asked
        return check_model(subject, records, find, moment)

    return Expected(str(records[0].get("algorithm", "blake3")), None, check)


# ---- digests ----


def _of_model(model: ModelDigest) -> Expected:
    algorithms = {tensor.digest.algorithm for tensor in model.tensors} or {"blake3"}
    if len(algorithms) > 1:
        raise ConfigError("cannot load by a model digest whose tensors have several algorithms")
    leaves = {leaf["name"]: leaf for leaf in map(_core.json_decode, model.leaves)}
    groups = {name: list(group) for group in model.aliases for name in group}
    weights = Weights("the model digest given", leaves, groups)

    def check(subject: Subject, whole: Digest | None) -> str:  # noqa: ARG001 - no digest was asked
        return compare_model(subject, weights)

    return Expected(algorithms.pop(), None, check)


def _of_digest(digest: Digest) -> Expected:
    """Of the file, or, by SHA-256, the root over its tensors: no two of the two kinds are alike."""

    def check(subject: Subject, whole: Digest | None) -> str:
        if whole == digest:
            return f"{subject.shown} is {digest}"
        root = model_of((subject.tensors or {}).values()).root
        if root == digest:
            return f"the model root of {subject.shown} is {digest}"
        seen = f"{whole}" + (f" and its model root {root}" if digest.algorithm == "sha256" else "")
        raise VerificationError(
            f"{subject.shown} is {seen}, expected {digest}",
            "to learn which tensor differs, compare with a bundle or a run: they have the digest of"
            " each",
        )

    return Expected("blake3", digest.algorithm, check)


def check_loaded(expected: Expected, subject: Subject, whole: Digest | None) -> None:
    """Hold what was read against the evidence.

    Raises:
        VerificationError: it differs.
        EvidenceError: there is nothing to compare it with.
    """
    try:
        expected.check(subject, whole)
    except Unchecked as reason:
        raise EvidenceError(
            f"cannot check {subject.shown}, so it was not loaded: {reason}"
        ) from None
    except VerificationError as error:
        raise VerificationError(
            f"cannot load {subject.shown}, so nothing was loaded: {error.what}", error.remedy
        ) from error

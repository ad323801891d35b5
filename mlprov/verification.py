"""Verifying bundles and proofs, offline (docs/format.md section 10).

Nothing here opens a socket (but for a node that the caller names), unpickles, or needs the store:
the file, the caller's keys and the caller's model and data are all that is read.
"""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mlprov import archives, proof_checks
from mlprov.anchor_checks import AnchorChecks
from mlprov.bundle_checks import BundleChecks
from mlprov.bundle_files import read_bundle_bytes
from mlprov.data_checks import check_data
from mlprov.errors import ConfigError, EvidenceError
from mlprov.model_checks import check_model, check_tensor
from mlprov.questions import Question
from mlprov.recorded_weights import Weights, find_weights
from mlprov.signers import Keys
from mlprov.subjects import Subject
from mlprov.trusted_blocks import Headers, Online
from mlprov.verdicts import Unchecked, Verdict

__all__ = ["check_bundle", "verify", "verify_bytes"]


def verify(
    path: str | os.PathLike[str],
    *,
    model: Any = None,
    data: Any = None,
    tensors: Sequence[str] = (),
    epoch: int | None = None,
    step: int | None = None,
    keys: Keys | None = None,
    allow_unpinned: bool = False,
    trusted_blocks: Sequence[str] = (),
    headers: Headers = None,
    online: Online = None,
    level: str = "full",
) -> Verdict:
    """Check a bundle (``.mlprov``) or a proof file, and what the caller has against it.

    Args:
        path: the bundle or proof file.
        model: a safetensors file or directory (by path), another saved file (by path; compared by
            its bytes), a live module, a state dict or a :class:`mlprov.ModelDigest`.
        data: data sets by role: ``{"train": …}``, each an array, tensor, tuple, list or dict of
            them, ``TensorDataset``, ``Subset`` of one, or a path. One that is no dict may be given
            alone where the run has one role.
        tensors: names of single tensors to check.
        epoch: compare ``model`` and ``tensors`` with the weights of this epoch, not the last.
        step: the same with those after this optimizer step, of a run with ``every=N``.
        keys: the only keys that count as signer, as vkey texts or files; by default this user's
            own key and the trusted ones count.
        allow_unpinned: accept a signer whose key is not pinned.
        trusted_blocks: blocks of Ethereum that the caller trusts, each as ``CHAIN:HASH``: an anchor
            in one of them bounds the time of what it covers. Whoever gives this, ``headers`` or
            ``online`` asks for the check ``time``.
        headers: a JSON file (by path) with a list of such blocks, each
            ``{"chain_id":"1","hash":"0x…"}`` or with the ``header`` (its RLP), or the list itself.
        online: the URL of an Ethereum node of the caller's own, or a
            :class:`mlprov.anchoring.Endpoint`; only then is a socket opened. The node must have the
            anchor's block at its height, and call it final.
        level: ``"full"``.

    Returns:
        a verdict; it is true where everything needed holds.

    Raises:
        EvidenceError: the file cannot be read, or is neither a bundle nor a proof.
        ConfigError: a key that is none, data that cannot be recorded, no keys at all, a block or
            header that is none.
        TypeError: an argument of the wrong type.

    >>> verify("digits.mlprov", tensors="0.weight")
    Traceback (most recent call last):
    TypeError: tensors: expected a list of names, not str
    """
    if level != "full":
        raise ConfigError("cannot verify so: this release has one level", "leave level alone")
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        raise TypeError(f"path: expected the path of a bundle or proof, not {type(path).__name__}")
    question = Question(
        model, data, tensors, epoch, step, keys, allow_unpinned, trusted_blocks, headers, online
    )
    return verify_bytes(read_bundle_bytes(pathlib.Path(path)), os.fspath(path), question)


def verify_bytes(evidence: bytes, subject: str, question: Question | None = None) -> Verdict:
    """:func:`verify` for bytes at hand; ``subject`` is what messages call them."""
    asked = question or Question()
    if evidence.startswith(b"{"):
        return proof_checks.check_proof(evidence, subject, asked)
    return check_bundle(evidence, subject, asked)[0]


def check_bundle(evidence: bytes, subject: str, question: Question) -> tuple[Verdict, BundleChecks]:
    """All checks of a bundle, and what they read.

    Raises:
        EvidenceError: the bytes are no bundle.
        ConfigError: keys that are none.
    """
    signers = question.signers()
    if not evidence.startswith(archives.MAGIC):
        raise EvidenceError(
            f"cannot read {subject}: it is neither a bundle (zip) nor a proof file (JSON)",
            "a model goes with --model (model=), beside the bundle",
        )
    bundle = BundleChecks(evidence)
    checks = bundle.make(signers)
    anchors = AnchorChecks(bundle, question.block_trust)
    anchors.make()
    _AskedChecks(bundle, question).make()
    anchors.make_time()
    facts = {
        "open": bundle.open,
        "run": bundle.run,
        "signer": bundle.owner_vkey,
        "records": len(bundle.lines),
        "anchors": anchors.facts(),
        "no_later_than": anchors.no_later_than(),
        "not_before": anchors.not_before(),
    }
    if bundle.decoded:
        facts |= {key: bundle.decoded[0].get(key) for key in ("name", "project", "mlprov")}
        facts["ended"] = bundle.decoded[-1].get("type") == "run.end"
    verdict = Verdict(
        subject,
        tuple(checks.list),
        question.allow_unpinned,
        checks.newer,
        facts,
        question.block_trust.given,
    )
    return verdict, bundle


class _AskedChecks:
    """The checks that the caller asked for; what several of them need is read once."""

    def __init__(self, bundle: BundleChecks, question: Question) -> None:
        self._bundle = bundle
        self._question = question
        self._read: Subject | Unchecked | None = None

    def make(self) -> None:
        checks, question = self._bundle.checks, self._question
        if question.model is not None:
            checks.run("model", self._check_model, needs=["heads", "trees"])
        self._check_data()
        for name in question.tensors:
            check = functools.partial(self._check_tensor, name)
            checks.run(f"tensor:{name}", check, needs=["heads", "trees"])

    @property
    def _subject(self) -> Subject:
        if self._read is None:
            algorithm = str(self._bundle.decoded[0].get("algorithm", "blake3"))
            try:
                self._read = Subject.read(self._question.model, algorithm)
            except Unchecked as reason:
                self._read = reason
        if isinstance(self._read, Unchecked):
            raise self._read
        return self._read

    @functools.cached_property
    def _weights(self) -> Weights:
        return find_weights(self._bundle.decoded, self._bundle.trees, self._question.moment)

    def _check_model(self) -> str:
        return check_model(
            self._subject, self._bundle.decoded, lambda: self._weights, self._question.moment
        )

    def _check_tensor(self, name: str) -> str:
        weights = self._weights
        return check_tensor(name, weights, None if self._question.model is None else self._subject)

    def _check_data(self) -> None:
        """One check for each role; of a data set alone, for the only role that was recorded."""
        records, checks, data = self._bundle.decoded, self._bundle.checks, self._question.data
        by_role = self._question.data_by_role
        if data is not None and not isinstance(data, Mapping):
            roles = {str(r.get("role")) for r in records if r["type"] == "data"}
            if len(roles) != 1:
                checks.run("data", functools.partial(_which_role, roles), needs=["heads"])
                return
            by_role = {roles.pop(): data}
        for role, given in by_role.items():
            check = functools.partial(check_data, role, given, records, self._bundle.trees)
            checks.run(f"data:{role}", check, needs=["heads"])


def _which_role(roles: set[str]) -> str:
    seen = ", ".join(sorted(roles)) or "none"
    raise Unchecked(f"say of which role the data are; the run has data sets of the roles: {seen}")

"""Verifying bundles and proofs, offline (docs/format.md section 10).

Nothing here opens a socket, unpickles, or needs the store: the file, the caller's keys and the
caller's model and data are all that is read.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mlprov import _core, archives, datasets, keys, proof_checks, subjects
from mlprov.bundle_checks import BundleChecks
from mlprov.bundles import read_bundle_bytes
from mlprov.errors import ConfigError, EvidenceError
from mlprov.subjects import Subject, Weights
from mlprov.verdicts import Unchecked, Verdict

__all__ = ["check_bundle", "verify", "verify_bytes"]

Keys = Sequence[str | os.PathLike[str]] | str | os.PathLike[str]


def verify(
    path: str | os.PathLike[str],
    *,
    model: Any = None,
    data: Any = None,
    tensors: Sequence[str] = (),
    epoch: int | None = None,
    keys: Keys | None = None,
    allow_unpinned: bool = False,
    headers: None = None,
    online: None = None,
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
        keys: the only keys that count as signer, as vkey texts or files; by default this user's
            own key and the trusted ones count.
        allow_unpinned: accept a signer whose key is not pinned.
        headers: for anchors, which this release has none of: None.
        online: likewise None.
        level: ``"full"``.

    Returns:
        a verdict; it is true where everything needed holds.

    Raises:
        EvidenceError: the file cannot be read, or is neither a bundle nor a proof.
        ConfigError: a key that is none, data that cannot be recorded, no keys at all.
        TypeError: an argument of the wrong type.

    >>> verify("digits.mlprov", tensors="0.weight")
    Traceback (most recent call last):
    TypeError: tensors: expected a list of names, not str
    """
    if headers is not None or online is not None or level != "full":
        raise ConfigError(
            "cannot verify so: this release has no anchors and one level; leave headers, online "
            "and level alone"
        )
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        raise TypeError(f"path: expected the path of a bundle or proof, not {_class(path)}")
    options: dict[str, Any] = {
        "model": model,
        "data": data,
        "tensors": tensors,
        "epoch": epoch,
        "keys": keys,
        "allow_unpinned": allow_unpinned,
    }
    _check_arguments(**options)
    return verify_bytes(read_bundle_bytes(pathlib.Path(path)), os.fspath(path), **options)


def verify_bytes(
    evidence: bytes,
    subject: str,
    *,
    model: Any = None,
    data: Any = None,
    tensors: Sequence[str] = (),
    epoch: int | None = None,
    keys: Keys | None = None,
    allow_unpinned: bool = False,
) -> Verdict:
    """:func:`verify` for bytes at hand; ``subject`` is what messages call them."""
    _check_arguments(
        model=model,
        data=data,
        tensors=tensors,
        epoch=epoch,
        keys=keys,
        allow_unpinned=allow_unpinned,
    )
    named = _named_keys(keys)
    if evidence.startswith(b"{"):
        return proof_checks.check_proof(
            evidence,
            subject,
            model=model,
            roles=[] if data is None else [*data] if isinstance(data, Mapping) else ["data"],
            tensors=tensors,
            epoch=epoch,
            named=named,
            allow_unpinned=allow_unpinned,
        )
    verdict, _ = check_bundle(
        evidence,
        subject,
        model=model,
        data=data,
        tensors=tensors,
        epoch=epoch,
        named=named,
        allow_unpinned=allow_unpinned,
    )
    return verdict


# ---- arguments ----


def _class(value: object) -> str:
    return type(value).__name__


def _check_arguments(
    *, model: Any, data: Any, tensors: Any, epoch: Any, keys: Any, allow_unpinned: Any
) -> None:
    """Wrong use is said before anything is read, whatever the evidence is."""
    if model is not None:
        subjects.check_model_kind(model)
    if isinstance(tensors, (str, bytes, Mapping)) or not hasattr(tensors, "__iter__"):
        raise TypeError(f"tensors: expected a list of names, not {_class(tensors)}")
    for name in tensors:
        if not isinstance(name, str):
            raise TypeError(f"tensors: expected names, not {_class(name)}")
    if epoch is not None and (not isinstance(epoch, int) or isinstance(epoch, bool)):
        raise TypeError(f"epoch: expected int, not {_class(epoch)}")
    if not isinstance(allow_unpinned, bool):
        raise TypeError(f"allow_unpinned: expected True or False, not {_class(allow_unpinned)}")
    listable = hasattr(keys, "__iter__") and not isinstance(keys, (bytes, Mapping))
    if keys is not None and not listable and not isinstance(keys, os.PathLike):
        raise TypeError(f"keys: expected a list of verifier keys or files, not {_class(keys)}")
    if data is not None:
        _check_data(data)


def _check_data(data: Any) -> None:
    for role, one in data.items() if isinstance(data, Mapping) else [("data", data)]:
        if not isinstance(role, str):
            raise TypeError(f"data: expected roles such as 'train' as keys, not {_class(role)}")
        try:
            datasets.check_dataset_kind(one)
        except ConfigError as error:
            raise ConfigError(f"cannot compare the data {role!r}: {error}") from error


def _named_keys(named: Keys | None) -> dict[bytes, str] | None:
    if named is None:
        return None
    listed = [named] if isinstance(named, (str, os.PathLike)) else list(named)
    if not listed:
        raise ConfigError(
            "cannot verify with no keys: none would count; leave keys out, or name one"
        )
    found = {}
    for key in listed:
        if not isinstance(key, (str, os.PathLike)):
            raise TypeError(f"keys: expected verifier keys or files, not {_class(key)}")
        name, public = _core.parse_vkey(keys.read_vkey(key))
        found[public] = f"the named key {name}"
    return found


# ---- bundles ----


def check_bundle(
    evidence: bytes,
    subject: str,
    *,
    model: Any = None,
    data: Any = None,
    tensors: Sequence[str] = (),
    epoch: int | None = None,
    named: dict[bytes, str] | None = None,
    allow_unpinned: bool = False,
) -> tuple[Verdict, BundleChecks]:
    """All checks of a bundle, and what they read.

    Raises:
        EvidenceError: the bytes are no bundle.
    """
    if not evidence.startswith(archives.MAGIC):
        raise EvidenceError(
            f"cannot read {subject}: it is neither a bundle (zip) nor a proof file (JSON); a model "
            "goes with --model (model=), beside the bundle"
        )
    bundle = BundleChecks(evidence)
    checks = bundle.make(named, keys.pinned_keys() if named is None else {})
    asked = _Asked(bundle, model, epoch)
    if model is not None:
        checks.run("model", asked.check_model, needs=["heads", "trees"])
    asked.check_data(data)
    for name in dict.fromkeys(tensors):
        checks.run(
            f"tensor:{name}",
            lambda name=name: asked.check_tensor(name),  # type: ignore[misc]
            needs=["heads", "trees"],
        )
    checks.run("time", _time)
    facts = {
        "open": bundle.open,
        "run": bundle.run,
        "signer": bundle.owner_vkey,
        "records": len(bundle.lines),
    }
    if bundle.decoded:
        facts |= {key: bundle.decoded[0].get(key) for key in ("name", "project", "mlprov")}
    return Verdict(subject, tuple(checks.list), allow_unpinned, checks.newer, facts), bundle


class _Asked:
    """The checks that the caller asked for; the model is read once, when first needed."""

    def __init__(self, bundle: BundleChecks, model: Any, epoch: int | None) -> None:
        self._bundle = bundle
        self._model = model
        self._epoch = epoch
        self._read: Subject | Unchecked | None = None

    @property
    def _subject(self) -> Subject | None:
        if self._model is None:
            return None
        if self._read is None:
            algorithm = str(self._bundle.decoded[0].get("algorithm", "blake3"))
            try:
                self._read = Subject.read(self._model, algorithm)
            except Unchecked as reason:
                self._read = reason
        if isinstance(self._read, Unchecked):
            raise self._read
        return self._read

    def _weights(self) -> Weights:
        return subjects.find_weights(self._bundle.decoded, self._bundle.trees, self._epoch)

    def check_model(self) -> str:
        subject = self._subject
        if subject is None:
            raise Unchecked("no model was given")
        weights: Weights | Unchecked
        try:
            weights = self._weights() if subject.tensors is not None else Unchecked("not needed")
        except Unchecked as reason:
            weights = reason
        return subjects.check_model(subject, self._bundle.decoded, weights, self._epoch)

    def check_tensor(self, name: str) -> str:
        return subjects.check_tensor(name, self._weights(), self._subject)

    def check_data(self, data: Any) -> None:
        """One check for each role; of a data set alone, for the only role that was recorded."""
        records, checks = self._bundle.decoded, self._bundle.checks
        by_role: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
        if data is not None and not isinstance(data, Mapping):
            roles = {str(r.get("role")) for r in records if r["type"] == "data"}
            if len(roles) == 1:
                by_role = {roles.pop(): data}
            else:
                checks.run("data", lambda: _which_role(roles), needs=["heads"])
        for role, given in by_role.items():
            checks.run(
                f"data:{role}",
                lambda role=role, given=given: subjects.check_data(role, given, records),  # type: ignore[misc]
                needs=["heads"],
            )


def _which_role(roles: set[str]) -> str:
    seen = ", ".join(sorted(roles)) or "none"
    raise Unchecked(f"say of which role the data are; the run has data sets of the roles: {seen}")


def _time() -> str:
    raise Unchecked("record times are claimed by the writer; no anchor bounds them")

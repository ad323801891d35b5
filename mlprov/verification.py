"""Verifying bundles and proofs, offline (docs/format.md section 10).

Nothing here opens a socket, unpickles, or needs the store: the file, the caller's keys and the caller's
model and data are all that is read.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mlprov import _core, archives, keys, proofs, subjects
from mlprov.bundle_checks import BundleChecks
from mlprov.bundles import read_bundle_bytes
from mlprov.errors import ConfigError, EvidenceError
from mlprov.subjects import Subject, Weights
from mlprov.verdicts import Unchecked, Verdict

__all__ = ["check_bundle", "verify", "verify_bytes"]


def verify(
    path: str | os.PathLike[str],
    *,
    model: Any = None,
    data: Any = None,
    tensors: Sequence[str] = (),
    epoch: int | None = None,
    keys: Sequence[str | os.PathLike[str]] | None = None,
    allow_unpinned: bool = False,
    headers: None = None,
    online: None = None,
    level: str = "full",
) -> Verdict:
    """Check a bundle (``.mlprov``) or a proof file, and what the caller has against it.

    Args:
        path: the bundle or proof file.
        model: a safetensors file or directory (by path), another saved file (by path; compared by its bytes), a live
            module, a state dict or a :class:`mlprov.ModelDigest`.
        data: data sets by role: ``{"train": …}`` of arrays or paths. One data set alone stands for the only role recorded.
        tensors: names of single tensors to check.
        epoch: compare ``model`` and ``tensors`` with the weights of this epoch instead of the last.
        keys: the only keys that count as signer, as vkey texts or files; by default this user's own and trusted ones.
        allow_unpinned: accept a signer whose key is not pinned.
        headers, online: for anchors, which this release has none of: must be None.
        level: ``"full"``.

    Returns:
        a verdict; it is true where everything needed holds.

    Raises:
        EvidenceError: the file cannot be read, or is neither a bundle nor a proof.
        ConfigError: an argument of the wrong kind.
    """
    if headers is not None or online is not None or level != "full":
        raise ConfigError(
            "cannot verify so: this release has no anchors and one level; leave headers, online and level alone"
        )
    return verify_bytes(
        read_bundle_bytes(pathlib.Path(path)),
        os.fspath(path),
        model=model,
        data=data,
        tensors=tensors,
        epoch=epoch,
        keys=keys,
        allow_unpinned=allow_unpinned,
    )


def verify_bytes(
    evidence: bytes,
    subject: str,
    *,
    model: Any = None,
    data: Any = None,
    tensors: Sequence[str] = (),
    epoch: int | None = None,
    keys: Sequence[str | os.PathLike[str]] | None = None,
    allow_unpinned: bool = False,
) -> Verdict:
    """:func:`verify` for bytes at hand; ``subject`` is what messages call them."""
    named = _named_keys(keys)
    if evidence.startswith(b"{"):
        return proofs.check_proof(
            evidence,
            subject,
            model=model,
            data_sets=_by_role(data, []),
            tensors=tensors,
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


def _named_keys(named: Sequence[str | os.PathLike[str]] | None) -> dict[bytes, str] | None:
    if named is None:
        return None
    if isinstance(named, (str, os.PathLike)):
        named = [named]
    vkeys = [keys.read_vkey(key) for key in named]
    return {
        _core.parse_vkey(vkey)[1]: f"the named key {_core.parse_vkey(vkey)[0]}" for vkey in vkeys
    }


def _by_role(data: Any, recorded: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if data is None:
        return {}
    roles = [str(r.get("role")) for r in recorded if r.get("type") == "data"]
    if isinstance(data, Mapping) and (not roles or set(data) <= set(roles) or len(set(roles)) != 1):
        return dict(data)
    return {roles[-1] if len(set(roles)) == 1 else "data": data}


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
            f"cannot read {subject}: it is neither a bundle (zip) nor a proof file (JSON)"
        )
    bundle = BundleChecks(evidence)
    checks = bundle.make(named, keys.pinned_keys() if named is None else {})
    asked = _Asked(bundle, model, epoch)
    if model is not None:
        checks.run("model", asked.check_model, needs=["trees"])
    for role, given in _by_role(data, bundle.decoded).items():
        checks.run(
            f"data:{role}",
            lambda r=role, g=given: subjects.check_data(r, g, bundle.decoded),
            needs=["records"],
        )  # type: ignore[misc]
    for name in dict.fromkeys(tensors):
        checks.run(f"tensor:{name}", lambda n=name: asked.check_tensor(n), needs=["trees"])  # type: ignore[misc]
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
        self._read: Subject | None = None

    @property
    def _subject(self) -> Subject | None:
        if self._model is not None and self._read is None:
            algorithm = str(self._bundle.decoded[0].get("algorithm", "blake3"))
            self._read = Subject.read(self._model, algorithm)
        return self._read

    def _weights(self) -> Weights:
        return subjects.find_weights(self._bundle.decoded, self._bundle.trees, self._epoch)

    def check_model(self) -> str:
        subject = self._subject
        if subject is None:
            raise Unchecked("no model was given")
        weights = None if subject.tensors is None else self._weights()
        return subjects.check_model(subject, self._bundle.decoded, weights)

    def check_tensor(self, name: str) -> str:
        return subjects.check_tensor(name, self._weights(), self._subject)


def _time() -> str:
    raise Unchecked("record times are claimed by the writer; no anchor bounds them")

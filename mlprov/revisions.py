"""The revision of a bundle that a newer one of the same run names (docs/format.md section 8)."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass

from mlprov import _core
from mlprov._core import Store
from mlprov.anchor_files import anchor_names
from mlprov.bundle_checks import BundleChecks
from mlprov.bundle_files import read_bundle_bytes
from mlprov.errors import ConfigError, EvidenceError, StoreError
from mlprov.imported_runs import require_sound
from mlprov.stored_anchors import evidence_known
from mlprov.stored_runs import StoredRun
from mlprov.wording import plural

__all__ = ["OlderRevision", "read_older"]

_OWN = ("manifest.json", "manifest.sig")


@dataclass(frozen=True)
class OlderRevision:
    """A bundle that a new revision is made of.

    Attributes:
        revision: its number.
        manifest: the SHA-256 of its manifest.json, in hexadecimal.
        is_open: whether it says that the run goes on.
        entries: all but its manifest and signature.
    """

    revision: int
    manifest: str
    is_open: bool
    entries: Mapping[str, bytes]

    def add_disclosed(self, entries: dict[str, bytes]) -> None:
        """What was disclosed once stays so: leaves that only the older revision has."""
        for name, content in self.entries.items():
            if name.startswith("trees/"):
                entries.setdefault(name, content)

    def equals(self, entries: Mapping[str, bytes], *, is_open: bool) -> bool:
        """Whether a new revision would say the same."""
        return is_open == self.is_open and dict(self.entries) == dict(entries)


def read_older(store: Store, run: StoredRun, path: pathlib.Path) -> OlderRevision:
    """Read a bundle that is to be revised; it must hold, and say nothing that the store does not.

    Args:
        store: where the run is.
        run: that the bundle must be of.
        path: the bundle.

    Raises:
        ConfigError: there is no such file, or it is the bundle of another run.
        EvidenceError, VerificationError: it is no bundle, or does not hold.
        StoreError: it has records or anchors that the store lacks: the store is an older copy.
    """
    if not path.exists():
        raise ConfigError(
            f"cannot revise {path}: there is no such bundle", "export it first, without --revise"
        )
    data = read_bundle_bytes(path)
    bundle = BundleChecks(data)
    if "manifest.json" not in bundle.entries:
        raise EvidenceError(
            f"cannot revise {path}: it is no bundle", "name a file that 'mlprov export' wrote"
        )
    require_sound(bundle, f"cannot revise {path}")
    if bundle.run != run.row.id:
        raise ConfigError(
            f"cannot revise {path}: it is of the run {bundle.run}, not of {run.row.id}",
            f"name the bundle of this run, or revise that one: mlprov export {bundle.run}",
        )
    if run.lines[: len(bundle.lines)] != bundle.lines:
        raise StoreError(
            f"cannot revise {path}: it has {plural(len(bundle.lines), 'record')}, which are not "
            f"the first ones of the {len(run.lines)} in {store.path}",
            "the store is an older copy: use the one that the bundle came from",
        )
    for name in anchor_names(bundle.entries):
        if not evidence_known(store, bundle.entries[name.entry]):
            raise StoreError(
                f"cannot revise {path}: it has the anchor {name}, which {store.path} lacks",
                "the store is an older copy: use the one that the bundle came from",
            )
    entries = {name: content for name, content in bundle.entries.items() if name not in _OWN}
    digest = _core.hash_bytes(bundle.entries["manifest.json"], "sha256").hex()
    return OlderRevision(bundle.manifest["revision"], digest, bundle.open, entries)

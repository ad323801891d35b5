"""What changed between two runs, epochs or models: tensors, data sets, settings, code, packages, metrics."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlprov import _core, models, stores
from mlprov._core import Store
from mlprov.bundle_checks import BundleChecks
from mlprov.bundles import read_bundle_bytes
from mlprov.checkpoints import capture_checkpoint
from mlprov.errors import ConfigError, EvidenceError, StoreError
from mlprov.subjects import find_weights
from mlprov.verdicts import Unchecked

__all__ = ["Change", "Difference", "diff"]

_EPOCH = re.compile(r"(.+):(\d+)")


@dataclass(frozen=True)
class Change:
    """One thing that differs.

    Attributes:
        kind: ``tensor``, ``data``, ``setting``, ``code``, ``package``, ``environment`` or ``metric``.
        name: of the thing.
        change: ``added``, ``removed`` or ``changed``.
        before, after: what it was and is, as text; None where it is absent.
    """

    kind: str
    name: str
    change: Literal["added", "removed", "changed"]
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Difference:
    """Everything that differs between two sides, and how much was the same.

    Attributes:
        left, right: what was compared, as named by the caller.
        changes: by kind, then name.
        same: kind → how many things are equal on both sides.
        unknown: kind → why it could not be compared.
    """

    left: str
    right: str
    changes: tuple[Change, ...]
    same: dict[str, int]
    unknown: dict[str, str]

    def __bool__(self) -> bool:
        return bool(self.changes)


@dataclass(frozen=True)
class _Side:
    """One side as tables of name → text; None for a kind that it knows nothing of."""

    shown: str
    tables: dict[str, dict[str, str] | None]


_KINDS = ("tensor", "data", "setting", "code", "package", "environment", "metric")


def diff(left: Any, right: Any, *, store: str | os.PathLike[str] | None = None) -> Difference:
    """Compare two runs, epochs or models.

    Each side is a run (id, prefix, name or ``@``), a run's epoch (``RUN:EPOCH``), a bundle, a safetensors file or
    directory, a live module or a state dict.

    Args:
        left, right: the sides.
        store: where runs are looked up; by default the nearest store.

    Raises:
        StoreError: no such run. ConfigError: a side is neither a run nor a file that can be compared.
    """
    sides = [_read_side(side, store) for side in (left, right)]
    changes: list[Change] = []
    same: dict[str, int] = {}
    unknown: dict[str, str] = {}
    for kind in _KINDS:
        before, after = (side.tables.get(kind) for side in sides)
        if before is None or after is None:
            lacking = [side.shown for side in sides if side.tables.get(kind) is None]
            unknown[kind] = f"{' and '.join(lacking)}: says nothing about it"
            continue
        changes.extend(_compare(kind, before, after))
        same[kind] = sum(1 for name, value in before.items() if after.get(name) == value)
    return Difference(sides[0].shown, sides[1].shown, tuple(changes), same, unknown)


def _compare(kind: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    changes = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old != new:
            how: Literal["added", "removed", "changed"] = (
                "added" if old is None else "removed" if new is None else "changed"
            )
            changes.append(Change(kind, name, how, old, new))
    return changes


def _read_side(side: Any, store: str | os.PathLike[str] | None) -> _Side:
    if not isinstance(side, (str, os.PathLike)):
        digest = models.digest_model(side)
        return _Side(
            "the live model",
            {"tensor": {t.name: _leaf_text(_core.json_decode(t.leaf())) for t in digest.tensors}},
        )
    path = pathlib.Path(side)
    if path.exists() and not (isinstance(side, str) and side == "@"):
        return _read_path(path)
    return _read_run(str(side), store)


def _read_path(path: pathlib.Path) -> _Side:
    if path.is_file() and path.suffix == ".mlprov":
        bundle = BundleChecks(read_bundle_bytes(path))
        bundle.make(None, {})
        if not bundle.checks.holds("trees"):
            failed = next(c for c in bundle.checks.list if c.state == "fails")
            raise EvidenceError(
                f"cannot compare {path}: {failed.name}: {failed.detail}; 'mlprov verify' says more"
            )
        return _from_records(str(path), bundle.decoded, bundle.trees, None)
    captured = capture_checkpoint(path, None)
    if captured.leaves is None:
        raise ConfigError(f"cannot compare {path}: expected a run, a bundle, or safetensors")
    return _Side(
        str(path),
        {"tensor": {t.name: _leaf_text(_core.json_decode(t.leaf())) for t in captured.tensors}},
    )


def _read_run(text: str, store_path: str | os.PathLike[str] | None) -> _Side:
    match = _EPOCH.fullmatch(text)
    which, epoch = (match[1], int(match[2])) if match else (text, None)
    store = stores.open_store(store_path, read_only=True)
    try:
        row = stores.find_run(store, which)
        decoded = stores.decode_records(store, row.id)
        return _from_records(text, decoded, _StoredTrees(store), epoch)
    finally:
        store.close()


class _StoredTrees(Mapping[bytes, list[bytes]]):
    """The kept trees of a store, read when asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getitem__(self, root: bytes) -> list[bytes]:
        try:
            return self._store.get_leaves(root)
        except StoreError as error:
            if error.status == "NOT_FOUND":
                raise KeyError(root) from error
            raise

    def __contains__(self, root: object) -> bool:
        return isinstance(root, bytes) and self._store.has_leaves(root)

    def __iter__(self) -> Any:
        raise TypeError("kept trees are looked up by root")

    def __len__(self) -> int:
        raise TypeError("kept trees are looked up by root")


def _from_records(
    shown: str, decoded: list[dict[str, Any]], trees: Mapping[bytes, list[bytes]], epoch: int | None
) -> _Side:
    start = decoded[0]
    tables: dict[str, dict[str, str] | None] = {
        "setting": _flatten(start.get("config")) | _flatten({"settings": start.get("settings")}),
        "code": _code(start.get("code")),
        "package": _flatten((start.get("environment") or {}).get("packages")),
        "environment": _flatten(
            {k: v for k, v in (start.get("environment") or {}).items() if k != "packages"}
        ),
        "data": {
            str(r.get("role")): f"{r.get('count')} samples {(r.get('tree') or {}).get('root')}"
            for r in decoded
            if r["type"] == "data"
        },
        "metric": _metrics(decoded, epoch),
    }
    try:
        # Only a tree that is cited and at hand is read: a mapping over the store stands in for a bundle's trees.
        weights = find_weights(decoded, trees, epoch)
        tables["tensor"] = {name: _leaf_text(leaf) for name, leaf in weights.leaves.items()}
    except Unchecked:
        tables["tensor"] = None
        if epoch is not None:
            raise StoreError(
                f"cannot compare {shown}: the run has no recorded weights of epoch {epoch}"
            ) from None
    return _Side(shown, tables)


def _leaf_text(leaf: Mapping[str, Any]) -> str:
    if "digest" in leaf:
        return f"{leaf.get('dtype')} {leaf.get('shape')} {leaf['digest']}"
    return str({key: value for key, value in leaf.items() if key != "name"})


def _flatten(value: Any, where: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        flat: dict[str, str] = {}
        for key, item in value.items():
            flat |= _flatten(item, f"{where}.{key}" if where else str(key))
        return flat
    return {} if value is None and not where else {where or "value": str(value)}


def _code(code: Any) -> dict[str, str]:
    if not isinstance(code, dict):
        return {}
    files = {
        str(m.get("path")): str(m.get("digest"))
        for m in code.get("modules") or ()
        if isinstance(m, dict)
    }
    git = code.get("git") or {}
    return files | {f"git {key}": str(git[key]) for key in ("commit", "diff") if git.get(key)}


def _metrics(decoded: list[dict[str, Any]], epoch: int | None) -> dict[str, str]:
    last: dict[str, str] = {}
    for record in decoded:
        if record["type"] == "epoch" and (epoch is None or record.get("epoch") == epoch):
            last |= _flatten(record.get("metrics"))
    return last

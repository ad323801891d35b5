"""What changed between two runs, epochs or models: tensors, data, settings, code, metrics."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mlprov import _core, model_files, models, stored_runs, stores
from mlprov.bundle_checks import BundleChecks
from mlprov.bundle_files import read_bundle_bytes
from mlprov.digests import TensorDigest
from mlprov.errors import ConfigError, EvidenceError, StoreError, VerificationError
from mlprov.imported_runs import require_sound
from mlprov.model_digests import ModelDigest
from mlprov.record_members import check_members
from mlprov.record_values import Moment
from mlprov.recorded_weights import check_tensor_leaf, find_weights
from mlprov.stored_runs import StoredTrees
from mlprov.subjects import check_model_kind
from mlprov.tree_references import read_reference
from mlprov.verdicts import Unchecked
from mlprov.wording import brief

__all__ = ["Change", "Difference", "diff"]

_EPOCH = re.compile(r"(.+):(\d+)")
_LONG_SIDE = 200  # characters of a side in a message


@dataclass(frozen=True)
class Change:
    """One thing that differs.

    Attributes:
        kind: ``tensor``, ``data``, ``setting``, ``code``, ``package``, ``environment``, ``metric``.
        name: of the thing.
        change: ``added``, ``removed`` or ``changed``.
        before: what it was, as text; None where it was not there.
        after: what it is.
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
        left: one side, as the caller named it.
        right: the other.
        changes: by kind, then name.
        same: kind → how many things are equal on both sides.
        unknown: kind → why it could not be compared.
        tied: name of a tensor that one side has under another name of its alias group alone →
            that name. Such a tensor is no change: of tied tensors files often have one copy.

    >>> model = {"w": memoryview(b"abc")}
    >>> same = diff(model, model)
    >>> bool(same), same.same, sorted(same.unknown)[:2]
    (False, {'tensor': 1}, ['code', 'data'])
    """

    left: str
    right: str
    changes: tuple[Change, ...]
    same: dict[str, int]
    unknown: dict[str, str]
    tied: dict[str, str]

    def __bool__(self) -> bool:
        return bool(self.changes)


Table = dict[str, str]
Groups = Sequence[Sequence[str]]


@dataclass(frozen=True)
class _Side:
    """One side as tables of name → text, by kind; a kind that it says nothing of is not there.

    Attributes:
        shown: what to call it.
        algorithm: of a run's tensor digests; None of a model, which is digested as asked.
        tables: by kind.
        groups: names that are one tensor, as the record says.
        digest: of a model at hand: its tensors, digested by an algorithm, and its groups.
    """

    shown: str
    algorithm: str | None
    tables: dict[str, Table]
    groups: Groups = ()
    digest: Callable[[str], tuple[Table, Groups]] | None = None

    def tensors(self, algorithm: str) -> tuple[Table | None, Groups]:
        """Name → tensor, and which names are one."""
        if self.digest is not None:
            return self.digest(algorithm)
        return self.tables.get("tensor"), self.groups


_KINDS = ("tensor", "data", "setting", "code", "package", "environment", "metric")


def diff(left: Any, right: Any, *, store: str | os.PathLike[str] | None = None) -> Difference:
    """Compare two runs, epochs or models.

    Each side is a run (id, prefix, name or ``@``), a bundle, an epoch of one of these
    (``RUN:EPOCH``), a safetensors file or directory, a live module, a state dict or a
    :class:`mlprov.ModelDigest`.

    Args:
        left: one side.
        right: the other.
        store: where runs are looked up; by default the nearest store.

    Raises:
        StoreError: no such run or epoch.
        ConfigError: a file that is neither a bundle nor safetensors.
        EvidenceError: a bundle that does not hold, or a record with a member of another kind.
        VerificationError: the records of a run in the store are not those that its head signed.
        TypeError: a side of another type.

    >>> before = {"bias": memoryview(b"abc"), "weight": memoryview(b"def")}
    >>> after = {"bias": memoryview(b"xyz"), "weight": memoryview(b"def")}
    >>> for change in diff(before, after).changes:
    ...     print(change.kind, change.name, change.change)
    tensor bias changed
    """
    sides = [_read_side(side, store) for side in (left, right)]
    algorithms = {side.algorithm for side in sides if side.algorithm is not None}
    algorithm = next(iter(algorithms)) if len(algorithms) == 1 else "blake3"
    changes: list[Change] = []
    same: dict[str, int] = {}
    unknown: dict[str, str] = {}
    tied: dict[str, str] = {}
    groups: list[Sequence[str]] = []
    for kind in _KINDS:
        if kind == "tensor":
            (before, groups_before), (after, groups_after) = (s.tensors(algorithm) for s in sides)
            groups = [*groups_before, *groups_after]
        else:
            before, after = (side.tables.get(kind) for side in sides)
        if before is None or after is None:
            lacking = [s.shown for s, t in zip(sides, (before, after), strict=True) if t is None]
            unknown[kind] = f"{' and '.join(lacking)}: nothing is recorded there"
        elif kind == "tensor" and len(algorithms) > 1:
            unknown[kind] = (
                f"one side has {' digests, the other '.join(sorted(algorithms))} digests"
            )
        else:
            if kind == "tensor":
                tied = _tied(before, after, groups) | _tied(after, before, groups)
            changes.extend(c for c in _compare(kind, before, after) if c.name not in tied)
            same[kind] = sum(1 for name, value in before.items() if after.get(name) == value)
    return Difference(sides[0].shown, sides[1].shown, tuple(changes), same, unknown, tied)


def _tied(table: Table, other: Table, groups: Iterable[Sequence[str]]) -> dict[str, str]:
    """Names that only ``table`` has, of tensors that ``other`` has under another of their names."""
    found: dict[str, str] = {}
    for group in groups:
        for name in group:
            if name in table and name not in other:
                for alias in group:
                    # The same value there, or the very tensor here: then what became of it is said
                    # under the other name.
                    if alias in other and table[name] in (other[alias], table.get(alias)):
                        found.setdefault(name, alias)
    return found


def _compare(kind: str, before: Table, after: Table) -> list[Change]:
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
        check_model_kind(side)
        return _read_live(side)
    text = os.fspath(side)
    match = _EPOCH.fullmatch(text)
    for name, epoch in [(text, None)] + ([(match[1], int(match[2]))] if match else []):
        path = pathlib.Path(name)
        if _is_there(path) and (epoch is None or path.suffix == ".mlprov"):
            return _read_path(path, text, epoch)
    if match:
        return _read_run(match[1], int(match[2]), text, store)
    return _read_run(text, None, text, store)


def _is_there(path: pathlib.Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a name, a NUL: then it is a run's name, or none
        return False


def _read_live(model: Any) -> _Side:
    def digest(algorithm: str) -> tuple[Table, Groups]:
        digested = model
        if not isinstance(model, ModelDigest):
            digested = models.digest_model(model, algorithm=algorithm)
        return _tensor_table(digested.tensors), digested.aliases

    return _Side("the live model", None, {}, digest=digest)


def _tensor_table(tensors: Iterable[TensorDigest]) -> Table:
    return {tensor.name: _leaf_text(_core.json_decode(tensor.leaf())) for tensor in tensors}


def _read_path(path: pathlib.Path, shown: str, epoch: int | None) -> _Side:
    if path.is_file() and path.suffix == ".mlprov":
        bundle = BundleChecks(read_bundle_bytes(path))
        try:
            require_sound(bundle, f"cannot compare {path}")
            for record in bundle.decoded:
                check_members(record, f"cannot compare {path}: record {record['seq']}")
        except (VerificationError, EvidenceError) as error:
            raise EvidenceError(error.what, f"'mlprov verify {path}' says more") from error
        return _from_records(shown, bundle.decoded, bundle.trees, epoch)
    try:
        groups = model_files.tied_names(path)
    except EvidenceError as error:
        if error.status == "CHANGED":
            raise
        raise ConfigError(
            f"cannot compare {path}: expected a run, a bundle, or safetensors ({error.what})"
        ) from error

    def digest(algorithm: str) -> tuple[Table, Groups]:
        return _tensor_table(model_files.read_model(path, algorithm)), groups

    return _Side(shown, None, {}, digest=digest)


_SIDES = (
    "a side is a run (an id, a name or @), an epoch of one (@:0), a bundle (NAME.mlprov), an epoch "
    "of that (NAME.mlprov:0) or safetensors"
)


def _read_run(
    which: str, epoch: int | None, shown: str, store_path: str | os.PathLike[str] | None
) -> _Side:
    try:
        with stores.open_store(store_path, read_only=True) as store:
            run_id = stores.find_run(store, which).id
    except StoreError as error:
        asked = brief(shown, _LONG_SIDE)
        reason = error.what.replace(which, brief(which, _LONG_SIDE)) if which else error.what
        raise StoreError(
            f"cannot compare {asked!r}, no file here: {reason}", f"{error.remedy}; {_SIDES}"
        ) from error
    with stores.open_store(store_path, read_only=True) as store:
        decoded = stored_runs.read_run(store, run_id).records
        if not decoded:
            raise StoreError(
                f"cannot compare {shown!r}: the run {run_id} has no records here yet", _SIDES
            )
        return _from_records(shown, decoded, StoredTrees(store), epoch)


def _from_records(
    shown: str, decoded: list[dict[str, Any]], trees: Mapping[bytes, list[bytes]], epoch: int | None
) -> _Side:
    start = decoded[0]
    environment = start.get("environment")
    environment = environment if isinstance(environment, dict) else {}
    tables: dict[str, Table] = {
        "setting": _flatten(start.get("config")) | _flatten({"settings": start.get("settings")}),
        "code": _code(start.get("code")),
        "package": _flatten(environment.get("packages")),
        "environment": _flatten({k: v for k, v in environment.items() if k != "packages"}),
        "data": {str(r.get("role")): _data(r) for r in decoded if r["type"] == "data"},
        "metric": _metrics(decoded, epoch),
    }
    groups: list[list[str]] = []
    try:
        # Only a tree that is cited and at hand is read: a mapping over the store stands in for a
        # bundle's trees.
        weights = find_weights(decoded, trees, None if epoch is None else Moment("epoch", epoch))
        tables["tensor"] = {name: _leaf_text(leaf) for name, leaf in weights.leaves.items()}
        groups = [*weights.aliases.values()]
    except Unchecked as reason:
        if epoch is not None:
            raise StoreError(f"cannot compare {shown}: {reason.what}", reason.remedy) from None
        saved = _saved_tensors(decoded, trees)
        if saved is not None:
            tables["tensor"] = saved
    return _Side(shown, str(start.get("algorithm")), tables, groups=groups)


def _saved_tensors(
    decoded: list[dict[str, Any]], trees: Mapping[bytes, list[bytes]]
) -> Table | None:
    """Of a run without live weights: the tensors of the last file that it recorded."""
    for record in reversed(decoded):
        if record["type"] != "checkpoint":
            continue
        tree = read_reference(record, "tensors", f"record {record['seq']}")
        if tree is not None and tree.root in trees:
            leaves = [_core.json_decode(leaf) for leaf in trees[tree.root]]
            for leaf in leaves:
                check_tensor_leaf(leaf, f"record {record['seq']}")
            return {str(leaf.get("name")): _leaf_text(leaf) for leaf in leaves}
    return None


def _data(record: Mapping[str, Any]) -> str:
    tree = record.get("tree")
    root = tree.get("root") if isinstance(tree, dict) else None
    return f"{record.get('count')} samples {root}"


def _leaf_text(leaf: Mapping[str, Any]) -> str:
    if "digest" in leaf:
        return f"{leaf.get('dtype')} {leaf.get('shape')} {leaf['digest']}"
    return str({key: value for key, value in leaf.items() if key != "name"})


def _flatten(value: Any, where: str = "") -> Table:
    if isinstance(value, dict):
        flat: Table = {}
        for key, item in value.items():
            flat |= _flatten(item, f"{where}.{key}" if where else str(key))
        return flat
    return {} if value is None and not where else {where or "value": str(value)}


def _code(code: Any) -> dict[str, str]:
    if not isinstance(code, dict):
        return {}
    modules = [m for m in code.get("modules") or () if isinstance(m, dict)]
    files = {str(module.get("path")): str(module.get("digest")) for module in modules}
    git = code.get("git") or {}
    return files | {f"git {key}": str(git[key]) for key in ("commit", "diff") if git.get(key)}


def _metrics(decoded: list[dict[str, Any]], epoch: int | None) -> dict[str, str]:
    last: dict[str, str] = {}
    for record in decoded:
        if record["type"] == "epoch" and (epoch is None or record.get("epoch") == epoch):
            last |= _flatten(record.get("metrics"))
    return last

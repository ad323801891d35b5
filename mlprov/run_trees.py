"""A run as a tree: data, model and training, each node with its digest.

What a record says has the digest that it names (a tree's root); a group has the RFC 6962 root over
its records, a record its leaf hash in the run log, a value the SHA-256 of its canonical JSON. The
root is the run's head. Everything can be recomputed from ``mlprov log --raw``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mlprov import _core, records
from mlprov.stored_runs import StoredRun
from mlprov.wording import plural

__all__ = ["Node", "said_of_privacy", "tree_of"]

_Record = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Node:
    """One node: what it is, what it says, its digest (null: nothing was recorded)."""

    name: str
    digest: str | None
    says: str = ""
    children: tuple[Node, ...] = ()

    def json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return dataclasses.asdict(self)


def tree_of(run: StoredRun) -> Node:
    """The tree of a run that was held against its head."""
    head = f"sha256:{run.heads[-1].root.hex()}" if run.heads else None
    groups = (
        _group(run, "data", ("data",), _data_node),
        _group(run, "model", ("model",), None, _model_children),
        _group(run, "training", ("epoch", "step"), _moment_node),
        _group(run, "checkpoints", ("checkpoint",), _checkpoint_node),
    )
    shown = tuple(group for group in groups if group is not None)
    return Node(f"run {run.row.name}", head, f"{run.row.id}, {run.row.status}", shown)


def _group(
    run: StoredRun,
    name: str,
    types: Sequence[str],
    child: Callable[[_Record, str], Node] | None,
    children: Callable[[_Record], Sequence[Node]] = lambda _: (),
) -> Node | None:
    found = [record for record in run.records if record["type"] in types]
    if not found:
        return None
    lines = [run.lines[record["seq"]] for record in found]
    below: list[Node] = []
    for record, line in zip(found, lines, strict=True):
        if child is not None:
            below.append(child(record, _hex(_core.merkle_leaf_hash(line))))
        else:
            below.extend(children(record))
    says = "" if child is not None else str(found[-1].get("class") or "")
    return Node(name, _hex(_core.merkle_root(lines)), says, tuple(below))


def _data_node(record: _Record, _leaf: str) -> Node:
    samples = plural(record.get("count") or 0, "sample")
    return Node(str(record.get("role")), _root(record.get("tree")), samples)


def _model_children(record: _Record) -> list[Node]:
    parameters = plural(record.get("parameters") or 0, "parameter")
    return [
        Node("architecture", _root(record.get("architecture"))),
        Node("weights", _root(record.get("weights")), parameters),
    ]


def _moment_node(record: _Record, leaf: str) -> Node:
    kind = str(record["type"])
    mark = "interrupted" if record.get("interrupted") else ""
    return Node(f"{kind} {record.get(kind)}", leaf, mark, tuple(_state(record)))


def _state(record: _Record) -> Iterator[Node]:
    yield Node("state", _root(record.get("weights")), "weights")
    for name in ("optimizer", "buffers", "ema", "scheduler", "scaler"):
        if record.get(name) is not None:
            yield Node(name, _root(record[name]))
    for stream in record.get("streams") or ():
        says = f"{stream.get('role')}, {plural(stream.get('batches') or 0, 'batch')}"
        yield Node("batches", _root(stream.get("tree")), says)
    if record["type"] == "epoch":
        metrics, privacy = record.get("metrics"), record.get("privacy")
        yield Node("metrics", _digest(metrics), _said(metrics))
        yield Node("privacy", _digest(privacy), said_of_privacy(privacy))


def _checkpoint_node(record: _Record, leaf: str) -> Node:
    tensors = record.get("tensors")
    digest = leaf if tensors is None else _root(tensors)
    return Node(str(record.get("path")), digest, str(record.get("format") or ""))


def _hex(root: bytes) -> str:
    return f"sha256:{root.hex()}"


def _root(reference: Any) -> str | None:
    return str(reference["root"]) if isinstance(reference, dict) else None


def _digest(value: Any) -> str | None:
    return _hex(_core.hash_bytes(records.canonical(value), "sha256")) if value else None


def said_of_privacy(privacy: Any) -> str:
    """What an epoch record says of differential privacy, in one line; nothing where it is null.

    >>> said_of_privacy({"mechanism": "rdp", "epsilon": 2.5965, "delta": 1e-5, "max_grad_norm": 1})
    'ε 2.5965 at δ 1e-05 by rdp, clipped at 1'
    """
    if not isinstance(privacy, dict):
        return ""
    parts = [f"by {privacy.get('mechanism')}"]
    if privacy.get("epsilon") is not None and privacy.get("delta") is not None:
        parts = [f"ε {_short(privacy['epsilon'])} at δ {_short(privacy['delta'])} {parts[0]}"]
    for member, words in (("noise_multiplier", "noise"), ("max_grad_norm", "clipped at")):
        if isinstance(privacy.get(member), (int, float)):
            parts.append(f"{words} {_short(privacy[member])}")
    return ", ".join(parts)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _said(values: Any) -> str:
    """Names and values in one line."""
    return "  ".join(f"{name} {_short(value)}" for name, value in (values or {}).items())

"""How records name trees: root and size together (docs/format.md sections 1, 5 and 10)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from mlprov.errors import EvidenceError
from mlprov.record_values import is_count
from mlprov.records import Json

__all__ = [
    "TreeReference",
    "cited_trees",
    "read_reference",
    "references_within",
]

_ROOT = re.compile(r"sha256:([0-9a-f]{64})")
_KINDS = {
    "weights": "weights",
    "architecture": "architecture",
    "buffers": "buffers",
    **dict.fromkeys(("optimizer", "ema", "scheduler", "scaler"), "optimizer"),
    "tensors": "tensors",
    "tree": "samples",
    "sorted": "sorted",
}


class TreeReference(NamedTuple):
    """A tree: a root alone proves nothing, so its size goes with it."""

    root: bytes
    size: int

    def json(self) -> dict[str, Json]:
        """As a record writes it.

        >>> TreeReference(bytes(32), 3).json()["size"]
        3
        """
        return {"root": f"sha256:{self.root.hex()}", "size": self.size}


def _parse(value: Any) -> TreeReference | None:
    if not isinstance(value, dict) or set(value) != {"root", "size"}:
        return None
    root = _ROOT.fullmatch(value["root"]) if isinstance(value["root"], str) else None
    if root is None or not is_count(value["size"]):
        return None
    return TreeReference(bytes.fromhex(root[1]), value["size"])


def read_reference(holder: dict[str, Any], member: str, where: str) -> TreeReference | None:
    """The tree that a member names; None where it is null or absent.

    Raises:
        EvidenceError: it is something else. A reader never passes over it to another record.
    """
    value = holder.get(member)
    if value is None:
        return None
    found = _parse(value)
    if found is None:
        raise EvidenceError(f"{where} has a {member} that is neither null nor a tree reference")
    return found


def references_within(value: Any) -> Iterator[TreeReference]:
    """Every tree reference at any depth of a record."""
    pending = [value]
    while pending:
        item = pending.pop()
        if (found := _parse(item)) is not None:
            yield found
        elif isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def cited_trees(record: dict[str, Any]) -> Iterator[tuple[str, TreeReference]]:
    """The trees that section 5 knows of in a record, each with what it is of.

    Kinds: ``weights``, ``architecture``, ``buffers``, ``optimizer``, ``tensors``, ``batches``,
    ``samples``, ``sorted``.
    """
    for member, kind in _KINDS.items():
        if (found := _parse(record.get(member))) is not None:
            yield kind, found
    streams = record.get("streams")
    for stream in streams if isinstance(streams, list) else ():
        for member in ("tree", "indices"):
            if isinstance(stream, dict) and (found := _parse(stream.get(member))) is not None:
                yield "batches", found

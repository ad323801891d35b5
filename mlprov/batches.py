"""Batches as leaves: nesting kept, values by digest (docs/format.md section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from mlprov.composites import Composite, Row
from mlprov.errors import ConfigError
from mlprov.items import MAX_LEAF, Items

__all__ = ["BatchCapture", "capture_batch"]

_Raw: TypeAlias = bytes


class BatchCapture(NamedTuple):
    """A batch's leaf, and what the stream's record counts.

    Attributes:
        leaf: the exact bytes of the batch leaf.
        samples: how many samples the batch seems to have: the first dimension of its tensors.
        bytes: canonical bytes of its tensors, bytes and images.
        opaque: "module.Class" of what is recorded by its class alone, each once.
    """

    leaf: _Raw
    samples: int
    bytes: int
    opaque: tuple[str, ...]


def capture_batch(number: int, batch: object, algorithm: str = "blake3") -> BatchCapture:
    """The leaf of a batch (docs/format.md section 4); its tensors are hashed in place, in one call.

    Nesting is kept, every tensor, image and byte string is there by digest. What has no form of its
    own is recorded by its class alone, as ``{"$opaque": "module.Class"}``.

    Args:
        number: position of the batch in its stream, from 0.
        batch: what the loader gave, of any nesting.
        algorithm: the run's.

    Raises:
        ConfigError: the batch contains itself, is nested more than 56 levels deep, or needs a leaf
            above 16 MiB.
        UnsupportedTensorError: a tensor without values, named by its place in the batch.

    >>> capture_batch(0, ["a", "b", 3]).leaf
    b'{"batch":0,"items":["a","b",3]}'
    >>> capture_batch(1, ({"x": 1.5, "$y": None}, {1: "a"}, float("nan"))).leaf
    b'{"batch":1,"items":[{"$$y":null,"x":1.5},{"$pairs":[[1,"a"]]},{"$float":"NaN"}]}'
    >>> capture_batch(2, [b"abc", object()]).leaf
    b'{"batch":2,"items":[{"$bytes":{"digest":"blake3:64...","len":3}},{"$opaque":"...object"}]}'
    """
    items = Items(batch)
    rows = items.hash(algorithm)
    leaf = f'{{"batch":{number},"items":{items.text()}}}'.encode()
    if len(leaf) > MAX_LEAF:
        raise ConfigError(
            f"cannot record batch {number}: its leaf has {len(leaf)} bytes of {MAX_LEAF}"
        )
    total = 0
    for row in rows:
        total += row.len if isinstance(row, Composite) else row[3]
    return BatchCapture(leaf, _sample_count(batch, items, rows), total, tuple(items.opaque))


def _sample_count(batch: object, items: Items, rows: Sequence[Row | Composite]) -> int:
    """A guess for the record's totals; no evidence rests on it."""
    firsts: list[int] = []
    for kind, row in zip(items.kinds, rows, strict=True):
        shape: Sequence[int | None] = row.shape if isinstance(row, Composite) else row[2]
        if kind == "$tensor" and shape and shape[0] is not None:
            firsts.append(shape[0])
    if firsts and firsts.count(firsts[0]) == len(firsts):
        return firsts[0]
    if not isinstance(batch, (list, tuple, Mapping)):
        return firsts[0] if firsts else 1
    columns = list(batch.values()) if isinstance(batch, Mapping) else batch
    lengths = {len(column) if isinstance(column, (list, tuple)) else -1 for column in columns}
    if len(lengths) == 1 and -1 not in lengths:  # such as images and targets in two lists
        return lengths.pop()
    if firsts:
        return firsts[0]
    return 1 if isinstance(batch, Mapping) else len(batch)

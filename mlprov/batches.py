"""Batches as leaves: nesting kept, values by digest (docs/format.md section 4)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from mlprov.digests import Composite, Row
from mlprov.errors import ConfigError
from mlprov.items import MAX_LEAF, Items
from mlprov.records import Json

__all__ = ["BatchCapture", "batch_items", "capture_batch", "index_leaf"]

_SAFE_INTEGER: Final = 2**53 - 1
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


def _safe_number(text: str) -> int | float:
    value = int(text)
    return value if abs(value) <= _SAFE_INTEGER else float(text)


def batch_items(batch: object, *, algorithm: str = "blake3") -> Json:
    """A batch's nesting as JSON, with every tensor, image and byte string by digest.

    The table in docs/format.md section 4. What has no form of its own is recorded by its class
    alone, as ``{"$opaque": "module.Class"}``.

    Raises:
        ConfigError: the batch contains itself, or is nested more than 56 levels deep.
        UnsupportedTensorError: a tensor without values, named by its place in the batch.

    >>> batch_items(({"x": 1.5, "$y": None}, float("nan"), 2**60, {1: "a"}))
    [{'$$y': None, 'x': 1.5}, {'$float': 'NaN'}, {'$int': '1152921504606846976'},
     {'$pairs': [[1, 'a']]}]
    >>> batch_items([b"abc", object()])
    [{'$bytes': {'digest': 'blake3:6437...', 'len': 3}}, {'$opaque': 'builtins.object'}]
    """
    items = Items(batch)
    items.hash(algorithm)
    value: Json = json.loads(items.text(), parse_int=_safe_number)
    return value


def capture_batch(number: int, batch: object, algorithm: str = "blake3") -> BatchCapture:
    """The leaf of a batch (docs/format.md section 4); its tensors are hashed in place, in one call.

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


def index_leaf(number: int, indices: Iterable[object]) -> bytes:
    """The leaf that says which samples are in a batch, as the sampler named them (section 4).

    >>> index_leaf(3, [5, 2])
    b'{"batch":3,"indices":[5,2]}'
    """
    items = Items([_plain_index(index) for index in indices])
    items.hash("blake3")
    return f'{{"batch":{number},"indices":{items.text()}}}'.encode()


def _plain_index(index: Any) -> object:
    if isinstance(index, (str, tuple, list)):
        return index
    try:
        return index.__index__()  # also NumPy's and torch's integers
    except (AttributeError, TypeError):
        return index


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

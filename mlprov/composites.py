"""Composite tensors beside ordinary ones: sparse, quantised, nested (docs/format.md section 2).

The core views tensors that are one block of values. What it cannot view is split into parts by
:mod:`mlprov._parts`; the others are not touched for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from mlprov import _core, _parts
from mlprov.errors import UnsupportedTensorError
from mlprov.records import Json, canonical

__all__ = [
    "Composite",
    "Describe",
    "Row",
    "hash_composites",
    "hash_tensors",
    "naming",
    "split_refused",
]

Row: TypeAlias = tuple[bytes, str, tuple[int, ...], int]
"""What the core says of one tensor: digest, dtype name, shape, canonical bytes."""

Split: TypeAlias = tuple[str, dict[str, Any], dict[str, Json]]
"""What :func:`mlprov._parts.split` gives: layout, parts by name, further members of the leaf."""

Describe: TypeAlias = Callable[[int], str]
"""The words for tensor ``index`` in an error, such as ``tensor "fc1.weight"``."""

_PLAIN_LAYOUTS: Final = frozenset({"dtensor", "mkldnn"})  # the leaf is that of their one part


@dataclass(frozen=True, slots=True)
class Composite:
    """A sparse, quantised or nested tensor: named parts under one digest.

    Attributes:
        layout: such as ``"sparse_coo"`` (the table in docs/format.md section 2).
        shape: logical shape; None where a dimension has no single size.
        parts: for each part its row.
        fields: the layout's further members, such as ``coalesced``.
        algorithm: that of every digest in it.
    """

    layout: str
    shape: tuple[int | None, ...]
    parts: Mapping[str, Row]
    fields: Mapping[str, Json]
    algorithm: str

    def json(self) -> dict[str, Json]:
        """The parts leaf without ``name`` (docs/format.md section 4)."""
        return {
            **self.fields,
            "layout": self.layout,
            "parts": {name: _row_json(row, self.algorithm) for name, row in self.parts.items()},
            "shape": list(self.shape),
        }

    @classmethod
    def from_json(cls, leaf: Mapping[str, Any]) -> Composite:
        """What :meth:`json` wrote."""
        parts: dict[str, Row] = {}
        algorithm = ""
        for name, part in leaf["parts"].items():
            algorithm, _, digest = part["digest"].partition(":")
            parts[name] = (bytes.fromhex(digest), part["dtype"], tuple(part["shape"]), part["len"])
        known = ("layout", "parts", "shape")
        fields = {key: value for key, value in leaf.items() if key not in known}
        return cls(leaf["layout"], tuple(leaf["shape"]), parts, fields, algorithm)

    def text(self) -> bytes:
        """JCS of :meth:`json`: the bytes whose hash is the composite's digest."""
        return canonical(self.json())

    @property
    def len(self) -> int:
        """Canonical bytes of all parts together."""
        return sum(row[3] for row in self.parts.values())


def _row_json(row: Row, algorithm: str) -> dict[str, Json]:
    """A row as leaves write it: digest, dtype, len, shape."""
    value, dtype, shape, length = row
    return {
        "digest": f"{algorithm}:{value.hex()}",
        "dtype": dtype,
        "len": length,
        "shape": list(shape),
    }


# ---- what the core refuses ----


def _named_error(error: UnsupportedTensorError, describe: Describe) -> UnsupportedTensorError:
    """The same error, saying first which tensor it is about."""
    if error.index < 0:
        return error
    named = UnsupportedTensorError(
        f"cannot hash {describe(error.index)}: {error.what}", error.remedy
    )
    named.index = error.index
    named.status = error.status
    named.retryable = error.retryable
    return named


@contextlib.contextmanager
def naming(places: Sequence[int], describe: Describe) -> Iterator[None]:
    """Around a call of the core: what it says of tensor ``i`` is said of tensor ``places[i]``."""
    try:
        yield
    except UnsupportedTensorError as error:
        if 0 <= error.index < len(places):
            error.index = places[error.index]
        raise _named_error(error, describe) from error


def split_refused(
    tensors: Sequence[object], describe: Describe
) -> tuple[list[object], dict[int, Split]]:
    """Find what the core cannot view, and take it apart.

    Returns:
        the tensors, where one that consists of a single part has become that part; and by place
        the splits of the composites among them. One object is split once.

    Raises:
        UnsupportedTensorError: one that has neither a view nor parts, named by ``describe``.
    """
    whole = list(tensors)
    splits: dict[int, Split] = {}
    found: dict[int, Split] = {}  # by the identity of the object
    for place in _core.tensors_without_view(tensors):
        tensor = tensors[place]
        split = found.get(id(tensor)) or _split(tensor, place, describe)
        found[id(tensor)] = split
        if split[0] in _PLAIN_LAYOUTS:
            (whole[place],) = split[1].values()
        else:
            splits[place] = split
    return whole, splits


def _split(tensor: object, place: int, describe: Describe) -> Split:
    try:
        split = _parts.split(tensor)
        if split is None:
            _core.tensor_identities([tensor])  # says why it has no view
            raise UnsupportedTensorError("it changed while it was looked at")
    except UnsupportedTensorError as error:
        error.index = place
        raise _named_error(error, describe) from error
    return split


def hash_composites(
    tensors: Sequence[object],
    splits: Mapping[int, Split],
    algorithm: str,
    describe: Describe,
    threads: int | None = None,
) -> dict[int, Composite]:
    """Hash the parts of composites together, each object once.

    Args:
        tensors: all tensors.
        splits: as :func:`split_refused` gives them, by place in ``tensors``.
        algorithm: one for all.
        describe: names a tensor in an error.
        threads: how many hash at once.

    Returns:
        the composites by place.

    Raises:
        UnsupportedTensorError: a part without values.
    """
    first: dict[int, int] = {}  # identity → place
    for place in splits:
        first.setdefault(id(tensors[place]), place)
    owners: list[int] = []
    flat: list[object] = []
    for place in first.values():
        flat += splits[place][1].values()
        owners += [place] * len(splits[place][1])
    with naming(owners, describe):
        rows = iter(_core.tensor_digests(flat, algorithm, threads=threads))
    made: dict[int, Composite] = {}
    for identity, place in first.items():
        layout, parts, members = splits[place]
        fields = dict(members)
        listed: Any = fields.pop("shape", None)
        shape = tuple(listed if listed is not None else getattr(tensors[place], "shape", ()))
        made[identity] = Composite(
            layout, shape, {name: next(rows) for name in parts}, fields, algorithm
        )
    return {place: made[id(tensors[place])] for place in splits}


def hash_tensors(
    tensors: Sequence[object], algorithm: str, describe: Describe, threads: int | None = None
) -> list[Row | Composite]:
    """Rows of tensors of any layout: one call of the core, one more where there are composites.

    Args:
        tensors: what the core can view, and torch tensors that have parts.
        algorithm: one for all.
        describe: names a tensor in an error.
        threads: how many hash at once; None for the setting of :mod:`mlprov.threads`.

    Raises:
        UnsupportedTensorError: a tensor without values, named by ``describe``.
    """
    try:
        return list(_core.tensor_digests(tensors, algorithm, threads=threads))
    except UnsupportedTensorError:
        whole, splits = split_refused(tensors, describe)
    composites = hash_composites(tensors, splits, algorithm, describe, threads)
    plain = [place for place in range(len(whole)) if place not in splits]
    with naming(plain, describe):
        rows = _core.tensor_digests([whole[place] for place in plain], algorithm, threads=threads)
    result: dict[int, Row | Composite] = {**composites}
    result.update(zip(plain, rows, strict=True))
    return [result[place] for place in range(len(whole))]

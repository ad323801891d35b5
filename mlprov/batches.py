"""Batches as leaves: nesting kept, values by digest (docs/format.md section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from mlprov import _core
from mlprov.composites import Composite, Row
from mlprov.digests import is_torch_tensor
from mlprov.errors import ConfigError, EvidenceError
from mlprov.items import MAX_LEAF, Items, class_name, encode_text
from mlprov.wording import brief

__all__ = ["BatchCapture", "BatchInHand", "HashedBatch", "WriteProbe", "capture_batch"]

_Raw: TypeAlias = bytes
_MAX_PLACES = 300  # characters of places in a message


class BatchCapture(NamedTuple):
    """A batch's leaf, and what the stream's record counts.

    Attributes:
        leaf: the exact bytes of the batch leaf.
        samples: how many samples the batch seems to have: the first dimension of its tensors.
        bytes: canonical bytes of its tensors, bytes and images.
        opaque: "module.Class" of what is recorded by its class alone, each once.
        error: why evidence of this batch is missing; None where it is whole.
    """

    leaf: _Raw
    samples: int
    bytes: int
    opaque: tuple[str, ...]
    error: Exception | None = None


class BatchInHand:
    """A batch whose tensors are being hashed; they are kept until it is done.

    Args:
        number: position of the batch in its stream, from 0.
        batch: what the loader gave, of any nesting.
        algorithm: the run's.
        beside: whether tensors may be hashed beside the caller. Those of little size, arrays and
            whatever has no version counter are hashed before this returns all the same.

    Attributes:
        number: as given.
        bytes: of the tensors that were left to a worker; 0: everything was hashed at once.
    """

    __slots__ = ("_algorithm", "_batch", "_error", "_items", "_rows", "_ticket", "bytes", "number")

    def __init__(
        self, number: int, batch: object, algorithm: str = "blake3", *, beside: bool = False
    ) -> None:
        self.number = number
        self.bytes = 0
        self._batch = batch
        self._algorithm = algorithm
        self._items: Items | None = None
        self._ticket: _core.Ticket | None = None
        self._rows: Sequence[Row | Composite | None] = ()
        self._error: Exception | None = None
        try:
            self._begin(beside)
        except Exception as error:  # noqa: BLE001  (whatever a foreign tensor raises)
            self._error = error

    def _begin(self, beside: bool) -> None:
        self._items = items = Items(self._batch)
        self._ticket = items.hash_beside(self._algorithm) if beside else None
        if self._ticket is None:
            self._rows = items.hash(self._algorithm)
        elif self._ticket.beside:
            self.bytes = self._ticket.bytes

    def tensors(self) -> list[object]:
        """The torch tensors in it."""
        if self._items is None:
            return []
        return [source for source in self._items.sources if is_torch_tensor(source)]

    @property
    def is_beside(self) -> bool:
        """Whether digests are still being made."""
        return self._ticket is not None and not self._ticket.poll()

    def wait(self, timeout: float | None = None) -> bool:
        """Take part in hashing; false, and given up, when ``timeout`` seconds are over."""
        if self._ticket is None or self._ticket.wait(timeout):
            return True
        self._ticket.cancel()
        return False

    def capture(self) -> BatchCapture:
        """The leaf, once the digests are there; waits.

        Raises:
            ConfigError: the batch contains itself, is nested more than 56 levels deep, or needs a
                leaf above 16 MiB.
            UnsupportedTensorError: a tensor without values, named by its place in the batch.
            StoreError: (CLOSED) hashing was given up.
        """
        if self._error is not None:
            raise self._error
        items, rows = self._items, self._rows
        assert items is not None
        if self._ticket is not None:
            rows = self._ticket.result()
            items.fill(self._algorithm, rows)
        leaf = f'{{"batch":{self.number},"items":{items.text()}}}'.encode()
        if len(leaf) > MAX_LEAF:
            raise ConfigError(
                f"cannot record batch {self.number}: its leaf has {len(leaf)} bytes of {MAX_LEAF}"
            )
        total = 0
        for row in rows:
            if row is not None:
                total += row.len if isinstance(row, Composite) else row[3]
        samples = _sample_count(self._batch, items, rows)
        error = _changed(items.changed) if items.changed else None
        return BatchCapture(leaf, samples, total, tuple(items.opaque), error)

    def refused(self, error: Exception) -> BatchCapture:
        """The leaf where :meth:`capture` raised ``error``: batches behind keep their numbers."""
        name = encode_text(class_name(self._batch))
        text = f'{{"batch":{self.number},"items":{{"$opaque":{name}}}}}'
        return BatchCapture(text.encode(), 0, 0, (), error)


class HashedBatch(BatchInHand):
    """A batch that is hashed now and numbered later, when its stream is known; it is not kept.

    Args:
        batch: what the loader gave.
        algorithm: that of the runs that it may belong to.
    """

    __slots__ = ("_capture",)

    def __init__(self, batch: object, algorithm: str) -> None:
        super().__init__(0, batch, algorithm)
        try:
            self._capture = super().capture()
        except Exception as error:  # noqa: BLE001  (whatever a foreign tensor raises)
            self._error = error
            self._capture = super().refused(error)
        self._batch = self._items = None
        self._rows = ()

    def numbered(self, number: int) -> BatchCapture:
        """Its leaf at this place of a stream."""
        items = self._capture.leaf.removeprefix(b'{"batch":0')
        return self._capture._replace(
            leaf=b'{"batch":%d' % number + items, error=self._capture.error or self._error
        )


class WriteProbe:
    """Notices that a loop wrote into a batch that was hashed before the loop had it.

    torch counts writes, and a tensor that was given other memory has another address. What counts
    nothing (``.data``, NumPy views) is not noticed.
    """

    def __init__(self, tensors: Sequence[Any]) -> None:
        self._tensors = tensors
        self._before = [_state_of(tensor) for tensor in tensors]

    def was_written(self) -> bool:
        """Whether it was, until now."""
        return [_state_of(tensor) for tensor in self._tensors] != self._before


def _state_of(tensor: Any) -> tuple[int, int] | None:
    try:
        return tensor._version, tensor.data_ptr()
    except Exception:  # noqa: BLE001  (inference tensors count nothing; subclasses raise anything)
        return None


def _changed(places: Sequence[str]) -> EvidenceError:
    error = EvidenceError(
        f"{brief(', '.join(places), _MAX_PLACES)} of a batch changed under capture: the loop wrote"
        " into it; from now on batches are hashed before the loop has them, as with"
        ' mlprov.start(snapshot="inline")'
    )
    error.status = "CHANGED"
    return error


def capture_batch(number: int, batch: object, algorithm: str = "blake3") -> BatchCapture:
    """The leaf of a batch (docs/format.md section 4); its tensors are hashed in place, in one call.

    Nesting is kept, every tensor, image and byte string is there by digest. What has no form of its
    own is recorded by its class alone, as ``{"$opaque": "module.Class"}``.

    Raises:
        ConfigError, UnsupportedTensorError: as :meth:`BatchInHand.capture`.

    >>> capture_batch(0, ["a", "b", 3]).leaf
    b'{"batch":0,"items":["a","b",3]}'
    >>> capture_batch(1, ({"x": 1.5, "$y": None}, {1: "a"}, float("nan"))).leaf
    b'{"batch":1,"items":[{"$$y":null,"x":1.5},{"$pairs":[[1,"a"]]},{"$float":"NaN"}]}'
    >>> capture_batch(2, [b"abc", object()]).leaf
    b'{"batch":2,"items":[{"$bytes":{"digest":"blake3:64...","len":3}},{"$opaque":"...object"}]}'
    """
    return BatchInHand(number, batch, algorithm).capture()


def _sample_count(batch: object, items: Items, rows: Sequence[Row | Composite | None]) -> int:
    """A guess for the record's totals; no evidence rests on it."""
    firsts: list[int] = []
    for kind, row in zip(items.kinds, rows, strict=True):
        if row is None:
            continue
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

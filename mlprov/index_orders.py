"""Which samples a loader asked for, batch by batch (docs/format.md section 4, "Index leaf").

torch's ``DataLoader`` takes the indices of each batch from its batch sampler, or from its sampler
where it has none. For one pass an object stands between the two that hands on what the sampler
gives and notes it; nothing is asked of the sampler that the loader does not ask for, in the same
order, so the random numbers that it draws, and the batches, are the same.
"""

from __future__ import annotations

import collections
import operator
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from mlprov.items import Items

__all__ = ["IndexOrder", "index_leaf", "iterate_noted"]

T = TypeVar("T")


class IndexOrder:
    """What the sampler of one pass has given and the loader has made no batch of yet."""

    def __init__(self) -> None:
        self._given: collections.deque[object] = collections.deque()
        self._noted = 0

    def begin(self) -> None:
        """The sampler begins anew (a loader with workers asks it twice)."""
        self._given.clear()
        self._noted = 0

    def note(self, indices: object) -> None:
        """The sampler has given the indices of one more batch."""
        # Some samplers fill one list again and again.
        self._given.append(list(indices) if type(indices) is list else indices)
        self._noted += 1

    @property
    def next(self) -> object:
        """What the sampler gave for the batch that the loader gives next, as it is; IndexError."""
        return self._given[0]

    def drop(self) -> None:
        """Leave that behind."""
        self._given.popleft()

    def skip_failed(self, iterator: Any) -> None:
        """Leave behind what belongs to a batch that the loader lost: it raised in its place.

        Args:
            iterator: the loader's. One with workers has asked ahead, and counts the batches that it
                is past (torch.utils.data, ``_rcvd_idx``); where it waited in vain it lost none.
        """
        passed = getattr(iterator, "_rcvd_idx", None)
        to_come = 0 if passed is None else self._noted - passed
        while len(self._given) > to_come:
            self._given.popleft()

    def take(self) -> list[Any]:
        """The same as a list, left behind.

        Raises:
            LookupError: the loader gives a batch that its sampler did not ask for.
            TypeError: the indices cannot be listed a second time.
        """
        if not self._given:
            raise LookupError("the loader gave a batch that its sampler did not ask for")
        return _listed(self._given.popleft())


def _listed(indices: Any) -> list[Any]:
    if isinstance(indices, Iterator):
        raise TypeError("the sampler gives iterators, which can be read once")
    listed = indices.tolist() if callable(getattr(indices, "tolist", None)) else indices
    if isinstance(listed, (list, tuple, range)):
        return list(listed)
    return [listed]  # a loader that does not make batches: the sampler names one sample


class _NotingSampler:
    """Stands in for a sampler while a loader begins a pass."""

    def __init__(self, sampler: Any, order: IndexOrder) -> None:
        self._sampler = sampler
        self._order = order

    def __iter__(self) -> Iterator[Any]:
        self._order.begin()
        return _NotingIterator(iter(self._sampler), self._order)  # now, as the loader would

    def __len__(self) -> int:
        return len(self._sampler)

    def __getattr__(self, name: str) -> Any:
        if name == "_sampler":  # a copy that is being made has none yet
            raise AttributeError(name)
        return getattr(self._sampler, name)


class _NotingIterator:
    def __init__(self, indices: Iterator[Any], order: IndexOrder) -> None:
        self._indices = indices
        self._order = order

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        indices = next(self._indices)
        self._order.note(indices)
        return indices


def iterate_noted(loader: Iterable[T], kind: Any = None) -> tuple[Iterator[T], IndexOrder | None]:
    """Begin a pass over a loader.

    Args:
        loader: of any kind.
        kind: the class that iterates it, where that is not the one that it has.

    Returns:
        its iterator, and the order of indices; None where that cannot be had: what is no
        ``DataLoader``, one of an ``IterableDataset``, one whose class iterates in its own way, one
        that gives batches as workers finish them (``in_order=False``).
    """
    own = type(loader) if kind is None else kind

    def begin() -> Iterator[T]:
        begun: Iterator[T] = iter(loader) if own is type(loader) else own.__iter__(loader)
        return begun

    return _begin_noted(loader, begin) if _has_order(loader, own) else (begin(), None)


def _has_order(loader: Any, own: Any) -> bool:
    data = sys.modules.get("torch.utils.data")
    kind = getattr(data, "DataLoader", None)
    return (
        kind is not None
        and isinstance(loader, kind)
        and own.__iter__ is kind.__iter__
        and own._get_iterator is kind._get_iterator
        and not isinstance(loader.dataset, data.IterableDataset)  # type: ignore[union-attr]
        and (loader.num_workers == 0 or getattr(loader, "in_order", True))
    )


def _begin_noted(
    loader: Any, begin: Callable[[], Iterator[Any]]
) -> tuple[Iterator[Any], IndexOrder | None]:
    """Have the loader read its sampler through a noting one; leave it as it was."""
    order = IndexOrder()
    # Workers that stay from pass to pass belong to an iterator that keeps the sampler.
    kept = getattr(loader, "_iterator", None) if loader.persistent_workers else None
    if kept is not None:
        holder, name = kept, "_index_sampler"
    else:
        holder, name = loader, "sampler" if loader.batch_sampler is None else "batch_sampler"
    sampler = getattr(holder, name)
    noting = _NotingSampler(sampler, order)
    vars(holder)[name] = noting  # past DataLoader.__setattr__, which refuses another one
    try:
        iterator: Any = begin()
    finally:
        vars(holder)[name] = sampler
    if getattr(iterator, "_index_sampler", None) is noting:
        iterator._index_sampler = sampler
    noted = isinstance(getattr(iterator, "_sampler_iter", None), _NotingIterator)
    return iterator, order if noted else None


def index_leaf(number: int, indices: list[Any], algorithm: str) -> bytes:
    """The index leaf of a batch: JCS.

    >>> index_leaf(3, [5, 0, 12], "blake3")
    b'{"batch":3,"indices":[5,0,12]}'
    """
    items = Items([_integer(index) for index in indices])
    items.hash(algorithm)
    return f'{{"batch":{number},"indices":{items.text()}}}'.encode()


def _integer(index: Any) -> Any:
    """NumPy's integers and tensors of one as the integers that they are."""
    if isinstance(index, (bool, int, str, tuple)) or not hasattr(type(index), "__index__"):
        return index
    try:
        return operator.index(index)
    except TypeError:
        return index

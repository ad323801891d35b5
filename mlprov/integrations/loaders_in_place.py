"""Recording what a loader yields where the loop that reads it belongs to somebody else.

A framework that asks what class a loader has would not know a wrapper, and one that has begun to
hold the loader would not see one. So the very object is given a class of its own, a subclass of the
one that it had, whose iteration is recorded; and is given its own class back afterwards.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mlprov.loaders import OwnIteration
from mlprov.recorder import RecordingWarning

__all__ = ["record_in_place", "stop_recording"]

_MARK = "_mlprov_recorded_class"


def record_in_place(loader: Any, track: Callable[[Iterable[Any]], Iterable[Any]]) -> bool:
    """Have every later pass over ``loader`` go through ``track``.

    Args:
        loader: such as a ``DataLoader``; iterations that have begun are left alone.
        track: makes of an iterable what is to be iterated instead, such as ``run.track``.

    Returns:
        whether the loader could be given another class: objects with slots and of C types cannot,
        and a warning says so.

    >>> class Loader:
    ...     def __iter__(self):
    ...         return iter([1, 2])
    >>> loader, seen = Loader(), []
    >>> record_in_place(loader, lambda batches: (seen.append(one) or one for one in batches))
    True
    >>> list(loader), seen, isinstance(loader, Loader)
    ([1, 2], [1, 2], True)
    >>> stop_recording(loader)
    >>> list(loader), seen
    ([1, 2], [1, 2])
    """
    own: Any = type(loader)
    if hasattr(own, _MARK):
        stop_recording(loader)
        own = type(loader)

    def iterate(self: Any) -> Iterator[Any]:
        return iter(track(OwnIteration(self, own)))

    try:  # a class may refuse to have others made of it, by any means
        kind = type(own.__name__, (own,), {"__iter__": iterate, "__module__": own.__module__})
        kind.__qualname__ = own.__qualname__
        setattr(kind, _MARK, own)
        object.__setattr__(loader, "__class__", kind)
    except Exception as error:  # noqa: BLE001  (the class may raise anything)
        warnings.warn(
            f"mlprov: not recorded: batches of a {own.__name__}: {error}",
            RecordingWarning,
            stacklevel=2,
        )
        return False
    return True


def stop_recording(loader: Any) -> None:
    """Give a loader the class that it had."""
    own = getattr(type(loader), _MARK, None)
    if own is not None:
        object.__setattr__(loader, "__class__", own)

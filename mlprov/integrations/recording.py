"""What the hooks of a framework tell of one training, as calls of a run.

A framework drives its own loop and calls back. :class:`Recording` turns these calls into those of
:class:`mlprov.Run` that a plain loop would make, so that the records are the same: an epoch's loop
is entered and left, batches go through :meth:`mlprov.Run.track`, checkpoints are recorded where
they were written. Nothing here ends training: what a run cannot record is a gap of the run, and
what a framework does not tell is left out.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlprov.epochs import Epoch
from mlprov.errors import ConfigError
from mlprov.integrations.trackers import Tags
from mlprov.runs import Run, start

__all__ = ["Feed", "Recording", "SeveralOptimizers", "scalars"]

_OWN_ARGUMENTS = ("self", "step")  # of Run.log and Epoch.log; no metric of this name can be passed


class Feed:
    """Batches that a framework hands over one by one, on their way through ``run.track``."""

    def __init__(self, run: Run, role: str) -> None:
        self._batches: list[Any] = []
        self._passed = iter(run.track(self, role=role))

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._batches:
            raise StopIteration
        return self._batches.pop()

    def push(self, batch: Any) -> None:
        """Record a batch. It belongs to the epoch that is going on."""
        self._batches.append(batch)
        next(self._passed, None)

    def end(self) -> None:
        """There are no more."""
        next(self._passed, None)


class SeveralOptimizers:
    """Several optimizers in one, as a run takes it: their groups, one after another, and states.

    Attributes:
        optimizers: themselves.
    """

    def __init__(self, optimizers: Sequence[Any]) -> None:
        self.optimizers = list(optimizers)

    @property
    def param_groups(self) -> list[Any]:
        """The groups of all, in order."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    @property
    def state(self) -> dict[Any, Any]:
        """Parameter → its state; of a parameter that two optimizers have, the last one's."""
        return {key: held for one in self.optimizers for key, held in one.state.items()}


def one_optimizer(optimizers: Sequence[Any]) -> Any:
    """What ``mlprov.start(optimizer=…)`` takes of several, of one, or of none."""
    if len(optimizers) > 1:
        return SeveralOptimizers(optimizers)
    return optimizers[0] if optimizers else None


def scalars(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Of what a framework logs, the values that a metric can be: others are no gap, but its own.

    >>> scalars({"loss": 0.5, "confusion": [[1, 2], [3, 4]], "step": 3})
    {'loss': 0.5}
    """
    found: dict[str, Any] = {}
    for name, value in metrics.items():
        size = getattr(value, "size", None)
        count = size() if callable(size) else size
        one = isinstance(value, (bool, int, float, str)) or value is None
        one = one or (hasattr(value, "item") and _element_count(count) == 1)
        if one and isinstance(name, str) and name not in _OWN_ARGUMENTS:
            found[name] = value
    return found


def _element_count(size: Any) -> int:
    """How many elements: NumPy's ``size`` is their number, torch's ``size()`` a shape."""
    if isinstance(size, int):
        return size
    count = 1
    for length in size if size is not None else ():
        count *= int(length)
    return count


class Recording:
    """The training that a callback follows: its run, the epoch that is going on, the batches.

    A callback that was given a name starts a run with each training and ends it; one that was given
    a run records into that, and leaves it open.

    Attributes:
        run: of the training that is going on, or of the last one; None before the first.
        parents: ids of runs that the next one builds upon, such as the one that wrote the
            checkpoint that training is resumed from.

    Args:
        name: of the runs to start.
        run: the run to record into.
        options: of :func:`mlprov.start`, for runs that are started here.

    Raises:
        ConfigError: neither or both of ``name`` and ``run``; options beside a run.
    """

    def __init__(self, name: str | None, run: Run | None, options: Mapping[str, Any]) -> None:
        if (name is None) is (run is None) or (run is not None and options):
            raise ConfigError(
                "cannot record this training: expected either a name, with options of"
                " mlprov.start, or run=, a run that has begun"
            )
        self.run = run
        self.parents: list[str] = []
        self._name = name
        self._options = dict(options)
        self._feeds: dict[str, Feed] = {}
        self._loop: Iterator[Epoch] | None = None
        self._epoch: Epoch | None = None
        self._tags: Tags | None = None
        self._until_exit = False
        self._next = 0  # the first index that no epoch of this run has had

    @property
    def is_open(self) -> bool:
        """Whether there is a run to record into, in this process."""
        return self.run is not None and not self.run.ended and not self.run.recorder.in_child

    @property
    def is_in_epoch(self) -> bool:
        """Whether an epoch is going on."""
        return self._loop is not None

    # ---- the run ----

    def begin(
        self,
        *,
        model: Any = None,
        optimizer: Any = None,
        config: Any = None,
        until_exit: bool = False,
        loggers: Sequence[Any] = (),
    ) -> None:
        """A training begins. One that no hook has ended before ends as failed.

        Args:
            model: recorded now and at the end of every epoch, where the run is started here.
            optimizer: the same.
            config: of the framework, where the user gave none.
            until_exit: whether it is complete when the process ends: else it was left in its
                middle, by an exception that the script caught, and has failed.
            loggers: of the framework, among which trackers may be that are to be told.
        """
        if self._name is None:
            return
        if self.is_open:
            self.end(failed=True)
        options = dict(self._options)
        options.setdefault("config", config)
        options["parents"] = [*options.get("parents", ()), *self.parents]
        self.parents = []
        self._feeds, self._next = {}, 0
        self.run = start(self._name, model=model, optimizer=optimizer, **options)
        self._tags = Tags(self.run, loggers)
        self._until_exit = until_exit
        atexit.register(self._end_at_exit)  # before the run's own

    def _end_at_exit(self) -> None:
        """The process ends; what is still being hashed is left to the run."""
        if self.run is None or not self.is_open:
            return
        if self._until_exit and self.run.failure_at_exit() is None:
            self.end_epoch({})
        self.run.finish_at_exit(failed=not self._until_exit)
        if self._tags is not None:
            self._tags.conclude()

    def end(self, error: BaseException | None = None, *, failed: bool = False) -> None:
        """The training is over: its epoch, where one is going on, is interrupted.

        Args:
            error: what ended it.
            failed: whether something did that is not known.
        """
        loop, self._loop, self._epoch = self._loop, None, None
        if self.run is None or not self.is_open:
            return
        if loop is not None:
            loop.close()  # type: ignore[attr-defined]  # a generator
        for feed in self._feeds.values():
            feed.end()
        self._feeds = {}
        if self._name is not None:
            atexit.unregister(self._end_at_exit)
            ending = "failed" if failed or error is not None else "finished"
            self.run.finish(status=ending, error=error)
            if self._tags is not None:
                self._tags.conclude()

    # ---- what happens in it ----

    def begin_epoch(self, index: int) -> None:
        """An epoch begins; one that was not ended is left as interrupted.

        Args:
            index: as the framework counts. A run that had this index before, of an earlier
                training, counts on.
        """
        if not self.is_open or self.run is None:
            return
        if self._loop is not None:
            self._loop.close()  # type: ignore[attr-defined]
        index = max(index, self._next)
        self._next = index + 1
        self._loop = self.run.epochs([index])
        self._epoch = next(self._loop)

    def end_epoch(self, metrics: Mapping[str, Any]) -> None:
        """An epoch is complete: weights, optimizer and batches are recorded, with its metrics."""
        loop, epoch, self._loop, self._epoch = self._loop, self._epoch, None, None
        if loop is None or epoch is None or not self.is_open:
            return
        epoch.log(**self._scalars(metrics))
        next(loop, None)
        if self._tags is not None:
            self._tags.look()

    def batch(self, role: str, batch: Any) -> None:
        """A batch is used, within the epoch that is going on or outside of all."""
        if not self.is_open or self.run is None:
            return
        if role not in self._feeds:
            self._feeds[role] = Feed(self.run, role)
        self._feeds[role].push(batch)

    def end_batches(self, role: str) -> None:
        """A pass over data is complete that no epoch's end closes."""
        feed = self._feeds.pop(role, None)
        if feed is not None and self.is_open:
            feed.end()

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Metrics outside an epoch's own."""
        if self.is_open and self.run is not None and (values := self._scalars(metrics)):
            self.run.log(step=step, **values)

    def _scalars(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Those of them that can be metrics; none, and a gap, where one raises when asked."""
        if self.run is None:
            return {}
        return self.run.recorder.attempt("metric", lambda: scalars(metrics)) or {}

    def checkpoint(self, path: str | os.PathLike[str]) -> None:
        """The framework has written a checkpoint, or is about to go on from one."""
        if self.is_open and self.run is not None:
            self.run.checkpoint(path)

    def step(self, state: Any, steps: int) -> None:
        """What the weights are, where the framework does not hand over a model that lives."""
        if self.is_open and self.run is not None:
            self.run.step(state, steps=steps)

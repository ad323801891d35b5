"""Plain torch loops that know nothing of mlprov (``mlprov.autolog``, ``mlprov run``).

Three things are seen of such a loop: optimizers step, a ``DataLoader`` is passed over, the process
ends. From these an epoch is made: a pass in which an optimizer steps. What a pass is for is known
only with its first step, so that its batches are kept until then, a few at most.
"""

from __future__ import annotations

import atexit
import functools
import gc
import sys
import warnings
import weakref
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from mlprov import optimizer_steps
from mlprov.autologging import run_name
from mlprov.integrations.recording import Recording
from mlprov.recorder import RecordingWarning

__all__ = ["find_model", "record_automatically"]

_MAX_KEPT = 64  # batches of a pass in which no optimizer has stepped yet


def record_automatically(torch: ModuleType, name: str | None, options: Mapping[str, Any]) -> None:
    """Record every loop of this process in which a torch optimizer steps."""
    loops = _Loops(torch, name, options)
    loader: Any = torch.utils.data.DataLoader
    iterate, construct = loader.__iter__, torch.optim.Optimizer.__init__

    @functools.wraps(iterate)
    def iterate_watched(self: Any) -> Any:
        return loops.watch_pass(self, iterate(self))

    @functools.wraps(construct)
    def construct_watched(self: Any, *arguments: Any, **keywords: Any) -> None:
        construct(self, *arguments, **keywords)
        loops.watch.start()  # hooks can be registered without delay once there is an optimizer

    loader.__iter__ = iterate_watched
    torch.optim.Optimizer.__init__ = construct_watched
    loops.watch.start()


def find_model(optimizer: Any) -> Any:
    """What an optimizer trains: the outermost module that has every one of its parameters.

    Of several such modules, none of which is part of another, the one with the fewest parameters;
    where there is none, the parameters alone, named ``<group>/<index>``.
    """
    groups = [list(group["params"]) for group in optimizer.param_groups]
    wanted = {id(parameter) for group in groups for parameter in group}
    module_type: Any = sys.modules["torch"].nn.Module
    # By type: isinstance would ask objects of any library for their __class__, and run their code.
    modules = [found for found in gc.get_objects() if issubclass(type(found), module_type)]
    inner = {id(part) for module in modules for part in module._modules.values()}
    fitting: list[tuple[int, int, Any]] = []
    for place, module in enumerate(modules):
        if id(module) not in inner:
            held = {id(parameter) for parameter in module.parameters()}
            if wanted <= held:
                fitting.append((len(held), place, module))
    if fitting:
        return min(fitting)[2]
    return {
        f"{place}/{index}": parameter
        for place, group in enumerate(groups)
        for index, parameter in enumerate(group)
    }


class _Pass:
    """One iteration of a ``DataLoader``, told of at each batch and at its end."""

    def __init__(self, loops: _Loops, batches: Any) -> None:
        self.role: str | None = None  # not known before a step, or the end
        self.kept: list[Any] = []
        self.is_over = False
        self._loops = loops
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            batch = next(self._batches)
        except StopIteration:
            self._loops.end_pass(self)
            raise
        self._loops.take(self, batch)
        return batch

    def __len__(self) -> int:
        return len(self._batches)

    def __getattr__(self, name: str) -> Any:
        if name == "_batches":
            raise AttributeError(name)
        return getattr(self._batches, name)


class _Model:
    """A model that is trained here, and its run."""

    def __init__(self, recording: Recording, model: Any) -> None:
        self.recording = recording
        self._model = model if isinstance(model, dict) else weakref.ref(model)

    def has(self, optimizer: Any) -> bool:
        """Whether the optimizer writes only what this run records."""
        model = self._model if isinstance(self._model, dict) else self._model()
        if model is None:
            return False
        held = model.values() if isinstance(model, dict) else model.parameters()
        own = {id(parameter) for parameter in held}
        return own.issuperset(
            id(parameter) for group in optimizer.param_groups for parameter in group["params"]
        )


class _Loops:
    """The loops of this process; listens to optimizer steps (mlprov.optimizer_steps.StepListener).

    Attributes:
        watch: where the steps come from.
    """

    def __init__(self, torch: ModuleType, name: str | None, options: Mapping[str, Any]) -> None:
        self.watch = optimizer_steps.StepWatch(self)
        self._torch = torch
        self._name = name
        self._options = options
        self._models: list[_Model] = []
        self._last: weakref.ref[_Pass] | None = None  # the pass that gave the last batch
        self._epoch: weakref.ref[_Pass] | None = None  # the pass that is the epoch
        self._index = -1  # of the epoch
        self._is_registered = False

    @property
    def _recordings(self) -> list[Recording]:
        return [one.recording for one in self._models if one.recording.is_open]

    def _is_somebody_elses(self) -> bool:
        """Whether a run is open that was not started here: its loop tells of itself."""
        own = [self.watch]
        own += [one.run.barrier.watch for one in self._recordings if one.run is not None]
        return any(all(watch is not one for one in own) for watch in optimizer_steps.watches())

    # ---- steps ----

    def concerns(self, optimizer: Any) -> bool:
        """Whether the optimizer trains a model that is recorded here; a new one begins a run."""
        if self._is_somebody_elses():
            return False
        if any(one.has(optimizer) for one in self._models if one.recording.is_open):
            return True
        try:
            self._begin(optimizer)
        except Exception as error:
            if self._options.get("on_error") == "raise":
                raise
            warnings.warn(
                f"mlprov: not recorded: a {type(optimizer).__name__}: {error}",
                RecordingWarning,
                stacklevel=2,
            )
            return False
        return True

    def _begin(self, optimizer: Any) -> None:
        model = find_model(optimizer)
        recording = Recording(run_name(self._name), None, self._options)
        recording.begin(model=model, optimizer=optimizer)
        self._models.append(_Model(recording, model))
        if self._epoch is not None or self._index >= 0:
            recording.begin_epoch(self._index)
        if not self._is_registered:
            self._is_registered = True
            atexit.register(self._end)

    def is_busy(self) -> bool:
        """Always: the first step of a model begins its run."""
        return True

    def must_wait(self) -> bool:
        """Never: each run waits for itself."""
        return False

    def barrier(self) -> None:
        """Nothing to wait for."""

    def before_step(self, *, is_next: bool) -> None:
        """The pass that is going on is one of training; nothing of the step is written yet."""
        del is_next
        current = None if self._last is None else self._last()
        if current is not None and current.is_over:
            current = None
        epoch = None if self._epoch is None else self._epoch()
        if current is not None and current.role is None:
            if epoch is None or epoch.is_over:
                self._next_epoch(current)
            self._settle(current, "train")
        elif self._index < 0:
            self._next_epoch(None)

    def after_step(self, optimizer: Any, *, is_next: bool) -> None:
        """The runs count for themselves."""

    def _next_epoch(self, current: _Pass | None) -> None:
        if any(recording.is_in_epoch for recording in self._recordings):
            self._end_epoch()  # its loop was left before its loader had ended
        self._index += 1
        self._epoch = None if current is None else weakref.ref(current)
        for recording in self._recordings:
            recording.begin_epoch(self._index)

    def _end_epoch(self) -> None:
        self._epoch = None
        for one in self._models:
            if one.recording.is_in_epoch:
                one.recording.end_epoch({})

    # ---- batches ----

    def watch_pass(self, loader: Any, batches: Any) -> Any:
        """A pass over a loader begins."""
        if self._is_somebody_elses() or self._torch.utils.data.get_worker_info() is not None:
            return batches
        self.watch.start()
        return _Pass(self, batches)

    def take(self, one: _Pass, batch: Any) -> None:
        """A batch is about to be used."""
        self._last = weakref.ref(one)
        if one.role is not None:
            for recording in self._recordings:
                recording.batch(one.role, batch)
            return
        one.kept.append(batch)
        if len(one.kept) > _MAX_KEPT:
            self._settle(one, "other")

    def _settle(self, one: _Pass, role: str) -> None:
        """It is known now what a pass is for; where no run is open it leaves no trace."""
        recordings = self._recordings
        if role == "other" and not recordings:
            one.kept.clear()
            return
        one.role = role
        kept, one.kept = one.kept, []
        for batch in kept:
            for recording in recordings:
                recording.batch(role, batch)

    def end_pass(self, one: _Pass) -> None:
        """A pass is over; if it was the epoch's, the epoch is."""
        if one.is_over:
            return
        one.is_over = True
        if one.role is None:
            self._settle(one, "other")
        epoch = None if self._epoch is None else self._epoch()
        if epoch is one:
            self._end_epoch()
        elif epoch is None and one.role == "other":
            for recording in self._recordings:
                recording.end_batches("other")

    # ---- the end ----

    def _end(self) -> None:
        """The process ends; the last exception decides how the runs do."""
        error = getattr(sys, "last_value", None)
        if error is None:
            self._end_epoch()
        for recording in self._recordings:
            recording.end(error)

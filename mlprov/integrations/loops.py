"""Plain torch loops that know nothing of mlprov (``mlprov.autolog``, ``mlprov run``).

Three things are seen of such a loop: optimizers step, a ``DataLoader`` is passed over, the process
ends. From these an epoch is made: a pass in which an optimizer steps. What a pass is for is known
only with its first step, and the loop has its batches before: so they are hashed when they are
taken, and their leaves are kept until then.
"""

from __future__ import annotations

import functools
import gc
import sys
import warnings
import weakref
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from mlprov import configuration, optimizer_steps
from mlprov.autologging import run_name
from mlprov.barriers import Barrier
from mlprov.batches import HashedBatch
from mlprov.integrations.recording import Recording
from mlprov.privacy_accounts import private_optimizer
from mlprov.ranks import own_rank
from mlprov.recorder import RecordingWarning

__all__ = ["find_model", "record_automatically"]

_MAX_KEPT = 1024  # leaves of batches of a pass in which no optimizer has stepped yet


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
    """One iteration of a ``DataLoader``, told of at each batch and at its end.

    Attributes:
        trainings: those whose optimizer has stepped in it; its batches are theirs.
        kept: batches that no training had when the loop took them.
        is_other: whether it is taken for no training's.
        is_over: whether the loader has ended.
    """

    def __init__(self, loops: _Loops, batches: Any) -> None:
        self.trainings: list[_Training] = []
        self.kept: list[HashedBatch] = []
        self.is_other = False
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


class _Training:
    """A model that is trained here, its run, and the pass that is its epoch."""

    def __init__(self, recording: Recording, model: Any) -> None:
        self.recording = recording
        self._model = model
        self._epoch: weakref.ref[_Pass] | None = None
        self._index = -1

    @property
    def epoch(self) -> _Pass | None:
        """The pass that is the epoch, while it is going on."""
        found = None if self._epoch is None else self._epoch()
        return None if found is None or found.is_over else found

    @property
    def has_passes(self) -> bool:
        """Whether its epochs are passes over a loader."""
        return self._epoch is not None

    def has(self, optimizer: Any) -> bool:
        """Whether the optimizer writes only what this run records."""
        held = self._model.values() if isinstance(self._model, dict) else self._model.parameters()
        own = {id(parameter) for parameter in held}
        return own.issuperset(
            id(parameter) for group in optimizer.param_groups for parameter in group["params"]
        )

    def step_in(self, current: _Pass | None) -> None:
        """Its optimizer is about to step, in a pass or outside of all."""
        if current is None:
            if self._index < 0:
                self._next_epoch(None)
        elif all(one is not self for one in current.trainings):
            if self.epoch is None:
                self._next_epoch(current)
            current.trainings.append(self)
            for batch in current.kept:
                self.recording.batch("train", batch)

    def _next_epoch(self, current: _Pass | None) -> None:
        self.end_epoch()  # its loop was left before its loader had ended
        self._index += 1
        self._epoch = None if current is None else weakref.ref(current)
        self.recording.begin_epoch(self._index)

    def end_epoch(self) -> None:
        """The epoch is complete, where one is going on."""
        if self.recording.is_in_epoch:
            self.recording.end_epoch({})


class _Steps(optimizer_steps.StepWatch):
    """Tells of each step, whoever makes it: what is of no interest now may be later."""

    def __init__(self, loops: _Loops) -> None:
        super().__init__(loops)
        self._loops = loops

    def before(self, optimizer: Any) -> None:
        """A step begins."""
        self._loops.step(optimizer)

    def after(self, optimizer: Any) -> None:
        """The runs count for themselves."""

    def quiet_steps(self, optimizer: Any) -> int:
        """All: nothing is counted here."""
        del optimizer
        return optimizer_steps.ANY


class _Loops:
    """The loops of this process; listens to optimizer steps (mlprov.optimizer_steps.StepListener).

    Attributes:
        watch: where the steps come from.
    """

    def __init__(self, torch: ModuleType, name: str | None, options: Mapping[str, Any]) -> None:
        self.watch = _Steps(self)
        self._torch = torch
        self._name = name
        settings = {key: options[key] for key in options.keys() - {"config", "parents"}}
        # Batches are hashed before there is a run, so that all runs have this algorithm.
        self._algorithm = configuration.resolve(settings).algorithm
        self._options = {**options, "algorithm": self._algorithm}
        self._trainings: list[_Training] = []
        self._known: weakref.WeakKeyDictionary[Any, _Training] = weakref.WeakKeyDictionary()
        self._refused: weakref.WeakSet[Any] = weakref.WeakSet()
        self._last: weakref.ref[_Pass] | None = None  # the pass that gave the last batch

    @property
    def _open(self) -> list[_Training]:
        return [one for one in self._trainings if one.recording.is_open]

    def _is_somebody_elses(self) -> bool:
        """Whether a run is open that was not started here: its loop tells of itself.

        Those of the process that this one was forked from are none of this one.
        """
        runs = [one.recording.run for one in self._trainings]
        own = [run.barrier for run in runs if run is not None]
        return any(
            isinstance(watch.listener, Barrier)
            and watch.listener.is_live
            and all(watch.listener is not one for one in own)
            for watch in optimizer_steps.watches()
        )

    # ---- steps ----

    def step(self, optimizer: Any) -> None:
        """An optimizer is about to step; nothing is written yet."""
        if optimizer in self._refused or self._is_somebody_elses():
            return
        current = None if self._last is None else self._last()
        if current is not None and current.is_over:
            current = None
        try:
            self._training_of(optimizer, current).step_in(current)
        except Exception as error:
            if self._options.get("on_error") == "raise":
                raise
            self._refused.add(optimizer)
            warnings.warn(
                f"mlprov: not recorded: a {type(optimizer).__name__}: {error}",
                RecordingWarning,
                stacklevel=2,
            )

    def _training_of(self, optimizer: Any, current: _Pass | None) -> _Training:
        known = self._known.get(optimizer)
        if known is None or not known.recording.is_open:
            fitting = [one for one in self._open if one.has(optimizer)]
            known = fitting[0] if fitting else self._begin(optimizer, current)
            self._known[optimizer] = known
        return known

    def _begin(self, optimizer: Any, current: _Pass | None) -> _Training:
        for one in list(self._trainings):
            together = one.epoch is not None or (current is None and not one.has_passes)
            if not one.recording.is_open or not together:
                self._end(one)
        model = find_model(optimizer)
        recording = Recording(run_name(self._name), None, self._options)
        recording.begin(model=model, optimizer=private_optimizer(optimizer), until_exit=True)
        training = _Training(recording, model)
        self._trainings.append(training)
        return training

    def _end(self, training: _Training) -> None:
        """Another model is trained now, in a pass of its own; nothing of this one is kept."""
        training.end_epoch()
        training.recording.end()
        self._trainings.remove(training)
        for optimizer, known in list(self._known.items()):
            if known is training:
                del self._known[optimizer]

    def concerns(self, optimizer: Any) -> bool:
        """Every optimizer is of interest."""
        del optimizer
        return True

    def is_busy(self) -> bool:
        """Always: the first step of a model begins its run."""
        return True

    def quiet_steps(self, steps: int) -> int:
        """All: nothing is done after one."""
        del steps
        return optimizer_steps.ANY

    def must_wait(self) -> bool:
        """Never: each run waits for itself."""
        return False

    def barrier(self) -> None:
        """Nothing to wait for."""

    def before_step(self, *, is_next: bool) -> None:
        """Told of by :meth:`step`."""

    def after_step(self, optimizer: Any, *, is_next: bool) -> None:
        """The runs count for themselves."""

    # ---- batches ----

    def watch_pass(self, loader: Any, batches: Any) -> Any:
        """A pass over a loader begins."""
        del loader
        rank = own_rank()
        if rank is not None and not rank.is_first:
            return batches
        if self._is_somebody_elses() or self._torch.utils.data.get_worker_info() is not None:
            return batches
        self.watch.start()
        return _Pass(self, batches)

    def take(self, one: _Pass, batch: Any) -> None:
        """A batch is about to be used."""
        self._last = weakref.ref(one)
        if one.trainings:
            # A second optimizer that steps first with this batch has it, and those that follow.
            one.kept = [HashedBatch(batch, self._algorithm)] if self._may_join(one) else []
            for training in one.trainings:
                training.recording.batch("train", one.kept[0] if one.kept else batch)
        elif one.is_other:
            for training in self._open:
                training.recording.batch("other", batch)
        elif self.watch.is_watching:  # else there is no optimizer that could step in this pass
            one.kept.append(HashedBatch(batch, self._algorithm))
            if len(one.kept) > _MAX_KEPT:
                self._settle_as_other(one)

    def _may_join(self, one: _Pass) -> bool:
        """Whether a training that is open has not stepped in this pass yet."""
        return any(training not in one.trainings for training in self._open)

    def _settle_as_other(self, one: _Pass) -> None:
        """No optimizer stepped in this pass; where no run is open it leaves no trace."""
        kept, one.kept = one.kept, []
        for training in self._open:
            one.is_other = True
            for batch in kept:
                training.recording.batch("other", batch)

    def end_pass(self, one: _Pass) -> None:
        """A pass is over; where it is an epoch, the epoch is."""
        if one.is_over:
            return
        if not one.trainings:
            self._settle_as_other(one)
        for training in self._open:
            if training.epoch is one:
                training.end_epoch()
            elif training.epoch is None and one.is_other:
                training.recording.end_batches("other")
        one.is_over = True
        one.kept, one.trainings = [], []

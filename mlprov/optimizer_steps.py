"""Optimizer steps as torch's hooks report them: a call before each, a count after it.

torch calls two global hooks around ``step()`` of every optimizer
(``torch.optim.optimizer.register_optimizer_step_pre_hook``, ``…_post_hook``). They are registered
once in a process, however many runs watch, and removed with the last. Where ``step`` is given a
closure, forward and backward run inside it: torch's own optimizers call it before they write, so
that the barrier waits behind its first call; a class of somebody else may write earlier, and waits
before.

Most steps need no more than to be counted. Those of one optimizer are counted by a
``_core.StepGate``, whose methods are the hooks, until somebody asks how many there were.
"""

from __future__ import annotations

import functools
import pathlib
import sys
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any, Final, Protocol

from mlprov._core import StepGate

__all__ = ["ANY", "StepListener", "StepWatch", "stir", "watches"]

ANY: Final = 1 << 62  # steps: more than there are

_HOOKING = str(pathlib.PurePath("torch", "optim", "optimizer.py"))  # calls the hooks
_MAX_FLAGS = 256  # flags of skipped steps that nobody has counted yet

_watches: list[StepWatch] = []
_handles: list[Any] = []
_gates: list[StepGate] = []  # the one whose methods are the hooks, once there are hooks
_changing = threading.Lock()


class StepListener(Protocol):
    """Who wants to know of steps. Nothing that it raises on purpose may harm training."""

    def concerns(self, optimizer: Any) -> bool:
        """Whether an optimizer that was not seen before is of interest."""

    def is_busy(self) -> bool:
        """Whether :meth:`before_step`, or :meth:`must_wait`, would do anything: mostly not.

        Who becomes busy calls :func:`stir`.
        """

    def quiet_steps(self, steps: int) -> int:
        """For how many steps behind this one :meth:`after_step` would do nothing."""

    def must_wait(self) -> bool:
        """Whether :meth:`barrier` has to be called before any optimizer writes."""

    def barrier(self) -> None:
        """Return when whatever may write may do so."""

    def before_step(self, *, is_next: bool) -> None:
        """An optimizer of interest is about to step; ``is_next``: it begins another step."""

    def after_step(self, optimizer: Any, *, is_next: bool) -> None:
        """An optimizer of interest has stepped; ``is_next``: the count of steps went up."""


class StepWatch:
    """What one run sees of the optimizer steps in this process.

    Attributes:
        is_watching: whether steps are reported to this watch.
    """

    def __init__(self, listener: StepListener) -> None:
        self._steps = 0
        self._base = 0
        self.is_watching = False
        self.listener = listener
        self._counts: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._others: weakref.WeakSet[Any] = weakref.WeakSet()
        self._skipped = 0
        self._flags: list[Any] = []

    @property
    def steps(self) -> int:
        """In each epoch how often the optimizer that stepped most has stepped; all together.

        Several that step one after another (one for each parameter, generator and discriminator)
        make one step together.
        """
        _settle()
        return self._steps

    def add_steps(self, made: int) -> None:
        """Count steps that no hook told of."""
        _settle()
        self._steps += made

    def start(self, *, at_once: bool = False) -> None:
        """Watch from now on, as soon as there can be a step; to be called again until then.

        Args:
            at_once: also where there is no optimizer yet, which takes seconds.
        """
        # torch._dynamo is loaded by the first optimizer. Before there is one there is no step.
        if not self.is_watching and (at_once or "torch._dynamo" in sys.modules):
            with _changing:
                if not _handles:
                    _register()
                _watches.append(self)
                self.is_watching = True
            _settle()
            stir()

    def stop(self) -> None:
        """Watch no more; a second call does nothing."""
        _settle()
        with _changing:
            _watches[:] = [watch for watch in _watches if watch is not self]
            self.is_watching = False
            if not _watches:
                while _handles:
                    _handles.pop().remove()

    def begin_epoch(self) -> None:
        """From now on every optimizer, a new one too, counts on from the steps made so far.

        Else a new optimizer of the same model would not be counted until it had overtaken the one
        before it. Those that were of no interest are looked at again: parameters may be others.
        """
        _settle()
        self._others = weakref.WeakSet()
        self._base = self._steps
        for optimizer in list(self._counts):
            self._counts[optimizer] = self._base

    def guarded(self) -> set[int]:
        """``id`` of each tensor that an optimizer which has stepped writes, and nobody else may.

        These are its parameters and the tensors of its state.
        """
        found: set[int] = set()
        for optimizer in list(self._counts):
            for group in optimizer.param_groups:
                found.update(id(parameter) for parameter in group["params"])
            for state in optimizer.state.values():
                if isinstance(state, dict):
                    found.update(_ids(state.values()))
        return found

    def take_skipped(self) -> int:
        """Steps since the last call in which a GradScaler had the optimizer write nothing."""
        self._count_flags()
        skipped, self._skipped = self._skipped, 0
        return skipped

    def _count_flags(self) -> None:
        flags, self._flags = self._flags, []
        self._skipped += sum(1 for flag in flags if float(flag) > 0)

    def _count_of(self, optimizer: Any) -> int | None:
        """How often it has stepped; None: it is of no interest. The listener is asked once."""
        count = self._counts.get(optimizer)
        if count is not None or optimizer in self._others:
            return count
        if self.listener.concerns(optimizer):
            self._counts[optimizer] = self._base
            return self._base
        self._others.add(optimizer)
        return None

    def before(self, optimizer: Any) -> None:
        """A step begins."""
        count = self._count_of(optimizer)
        if count is not None and not _is_nested(optimizer):
            self.listener.before_step(is_next=0 < self._steps == count)

    def after(self, optimizer: Any) -> None:
        """A step has ended."""
        count = self._count_of(optimizer)
        if count is None or _is_nested(optimizer):
            return
        # Optimizers that take part in scaling step also where they write nothing
        # (torch/amp/grad_scaler.py, _maybe_opt_step). The flag may be on a device: to read it now
        # would hold up training.
        flag = getattr(optimizer, "found_inf", None)
        if flag is not None:
            self._flags.append(flag)
            if len(self._flags) > _MAX_FLAGS:
                self._count_flags()
        self._counts[optimizer] = count + 1
        is_next = count + 1 > self._steps
        self._steps = max(self._steps, count + 1)
        self.listener.after_step(optimizer, is_next=is_next)

    def quiet_steps(self, optimizer: Any) -> int:
        """How many coming steps of this optimizer need no more than to be counted."""
        count = self._count_of(optimizer)
        if count is None:
            return ANY
        behind = self._steps - count  # others have made these already
        return (
            0 if not _is_torchs_own(optimizer) else behind + self.listener.quiet_steps(self._steps)
        )

    def count_of(self, optimizer: Any) -> int | None:
        """How often it has stepped; None: it is of no interest, or was not asked about yet."""
        return self._counts.get(optimizer)

    def count(self, optimizer: Any, before: int, passed: int) -> None:
        """Steps that it has made behind so many; None: an optimizer that is gone."""
        steps = before + passed
        if optimizer is not None:
            self._counts[optimizer] = steps = self._counts.get(optimizer, before) + passed
        self._steps = max(self._steps, steps)


def watches() -> list[StepWatch]:
    """Everybody in this process who watches steps now: one watch for each run that is open."""
    return list(_watches)


def stir() -> None:
    """From the next step on listeners are asked again whether they are busy."""
    for gate in _gates:
        gate.busy = True


def _is_torchs_own(optimizer: Any) -> bool:
    return type(optimizer).__module__.startswith("torch.optim.")


def _is_nested(optimizer: Any) -> bool:
    """Whether this is ``super().step()`` within a step: torch calls the hooks for both.

    Nothing is remembered between the hooks: a step that raises calls only the first.
    """
    if _is_torchs_own(optimizer):
        return False
    steps = 0
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and steps < 2:
        code = frame.f_code
        if code.co_name == "wrapper" and code.co_filename.endswith(_HOOKING):
            steps += frame.f_locals.get("self") is optimizer
        frame = frame.f_back
    return steps == 2


def _ids(values: Any) -> set[int]:
    """Of tensors, also within lists, as LBFGS keeps them."""
    found: set[int] = set()
    for value in values:
        if isinstance(value, (list, tuple)):
            found |= _ids(value)
        else:
            found.add(id(value))
    return found


# ---- the hooks ----


def _register() -> None:
    import torch
    from torch.optim import optimizer as hooks

    # Inside a compiled step they would be traced, and hold up what they are to wait for.
    disable: Callable[[Any], Any] = torch.compiler.disable
    gate = StepGate(disable(_before_step), disable(_after_step))
    _gates[:] = [gate]
    _handles.append(hooks.register_optimizer_step_pre_hook(gate.before))
    _handles.append(hooks.register_optimizer_step_post_hook(gate.after))


def _settle() -> None:
    """Tell the watches of the steps that were only counted; from now on each is told of."""
    for gate in _gates:
        taken = gate.take()
        if taken is not None:
            optimizer, passed, counts = taken
            for watch, before in counts:
                watch.count(optimizer, before, passed)


def _count_quietly(optimizer: Any) -> None:
    """Have the next steps of this optimizer only counted, if that is enough for everybody."""
    watching = list(_watches)
    quiet = min((watch.quiet_steps(optimizer) for watch in watching), default=0)
    if not quiet:
        return
    counts = [(watch, watch.count_of(optimizer)) for watch in watching]
    known = [(watch, count) for watch, count in counts if count is not None]
    may_skip = bool(getattr(optimizer, "_step_supports_amp_scaling", False))
    for gate in _gates:
        gate.arm(optimizer, quiet, may_skip, known)
    if watching != _watches:  # another thread's run began in between: its count is not with these
        _settle()


def _calm_down() -> None:
    """Who becomes busy meanwhile is seen, or stirs after this."""
    for gate in _gates:
        gate.busy = False
    if any(watch.listener.is_busy() for watch in list(_watches)):
        stir()


def _before_step(optimizer: Any, arguments: Any, keywords: Any) -> Any:
    _settle()
    watches = [watch for watch in _watches if watch.listener.is_busy()]
    for watch in watches:
        watch.before(optimizer)
    waiting = [watch.listener for watch in watches if watch.listener.must_wait()]
    closure = keywords.get("closure", arguments[1] if len(arguments) > 1 else None)
    if waiting and callable(closure) and _is_torchs_own(optimizer):
        return _with_closure(_waiting_closure(closure, waiting), arguments, keywords)
    for listener in waiting:
        listener.barrier()
    _calm_down()
    return None


def _waiting_closure(closure: Any, waiting: list[StepListener]) -> Callable[[], Any]:
    @functools.wraps(closure, updated=())
    def wait_behind_it() -> Any:
        loss = closure()
        while waiting:
            waiting.pop().barrier()
        return loss

    return wait_behind_it


def _with_closure(closure: Any, arguments: Any, keywords: Any) -> tuple[Any, Any]:
    if "closure" in keywords:
        return arguments, {**keywords, "closure": closure}
    return (arguments[0], closure, *arguments[2:]), keywords


def _after_step(optimizer: Any, _arguments: Any, _keywords: Any) -> None:
    _settle()
    for watch in list(_watches):
        watch.after(optimizer)
    _count_quietly(optimizer)

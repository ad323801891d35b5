"""Between captures and writes: what is hashed beside training is recorded before the next step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlprov.captures import Capture
from mlprov.epochs import Epoch
from mlprov.modules import is_module, parameter_names
from mlprov.optimizer_steps import ANY, StepWatch, stir
from mlprov.recorder import Recorder

__all__ = ["Barrier", "PendingRecord"]


@dataclass(frozen=True)
class PendingRecord:
    """A record whose digests are being made.

    Attributes:
        captures: what it waits for.
        write: appends and commits it; called when each capture is done or cancelled.
    """

    captures: Sequence[Capture]
    write: Callable[[], None]

    @property
    def is_beside(self) -> bool:
        """Whether digests are still being made."""
        return any(capture.is_beside for capture in self.captures)

    @property
    def needs_barrier(self) -> bool:
        """Whether it is of tensors that the next optimizer step writes."""
        return any(capture.guard == "hook" for capture in self.captures)

    def wait(self, timeout: float | None) -> None:
        """Take part in hashing; give up what is not done after ``timeout`` seconds."""
        ends = None if timeout is None else time.monotonic() + timeout
        for capture in self.captures:
            left = None if ends is None else max(0.0, ends - time.monotonic())
            if not capture.wait(left):
                capture.cancel()


class Barrier:
    """What of one run's recording goes on beside training; listens to optimizer steps.

    At most one record is pending. It is written before the next optimizer step, and before anything
    else is recorded, so that records stand in the order of what they tell.

    Attributes:
        watch: counts the optimizer steps.
        every: after how many steps weights are captured; 0: never.
    """

    def __init__(
        self,
        recorder: Recorder,
        model: Any,
        optimizer: Any,
        *,
        every: int,
        capture_step: Callable[[bool], PendingRecord | None],
    ) -> None:
        self.watch = StepWatch(self)
        self.every = every
        self._recorder = recorder
        self._model = model
        self._optimizer = optimizer
        self._capture_step = capture_step
        self._pending: PendingRecord | None = None
        self._due = False  # a step after which weights are captured has not ended everywhere

    @property
    def is_live(self) -> bool:
        """Whether the run is open, and this process its own."""
        return self._recorder.is_open and not self._recorder.in_child

    def release(self) -> None:
        """The run has ended: watch no more, and let go of what was watched."""
        self.watch.stop()
        self._model = self._optimizer = None

    # ---- records ----

    def put(self, record: PendingRecord | None) -> None:
        """Write a record, now or when its digests are there."""
        if record is None:
            return
        self.settle()
        if record.is_beside:
            self._pending = record
            stir()
            self._recorder.before_next(self.settle)
        else:
            record.write()

    def settle(self, timeout: float | None = None) -> None:
        """Wait for the pending record's digests and write it.

        Args:
            timeout: seconds to wait at most; what is not hashed then is a gap. None: no limit.
        """
        if not self.is_live:
            return
        with self._recorder.turn:
            record = self._pending
            if record is None:
                return
            self._recorder.attempt("capture", lambda: record.wait(timeout))
            if self._pending is record:  # else a signal handler was
                self._pending = None
                self._recorder.before_next(None)
                record.write()

    def settle_if_done(self) -> None:
        """Write the pending record if nothing has to be waited for."""
        if self._pending is not None and self.is_live and not self._pending.is_beside:
            self.settle()

    # ---- moments without a step ----

    def begin_epoch(self) -> None:
        """Look for optimizers again: they, or the model's parameters, may be new."""
        if self.is_live:
            self.watch.start()
            self.watch.begin_epoch()

    def end_epoch(self, epoch: Epoch) -> None:
        """Capture what is due; tell the epoch of its steps."""
        self.between_batches()
        if self.watch.steps:
            epoch.steps = self.watch.steps - epoch.steps_before
            epoch.skipped = self.watch.take_skipped()

    def between_batches(self) -> None:
        """No optimizer is in the middle of a step: what is due is captured."""
        if not self._due and self.watch.is_watching:
            return
        if not self.is_live:
            return
        self.watch.start()
        if self._due:
            self._capture_due(inline=False)

    def count_steps(self, made: int) -> None:
        """Steps that no hook told have been made: what is due is captured at once."""
        before = self.watch.steps
        self.watch.add_steps(made)
        if self.every and before // self.every < self.watch.steps // self.every and self.is_live:
            self._capture_due(inline=True)

    def _capture_due(self, *, inline: bool) -> None:
        self._due = False
        self.put(self._capture_step(inline))

    # ---- steps (mlprov.optimizer_steps.StepListener) ----

    def is_busy(self) -> bool:
        """Whether a step has to be told of before it writes."""
        return self._due or self._pending is not None

    def quiet_steps(self, steps: int) -> int:
        """All but those after which weights are captured."""
        return self.every - steps % self.every - 1 if self.every else ANY

    def concerns(self, optimizer: Any) -> bool:
        """Whether it is the run's optimizer, or has a parameter of its model."""
        # Opacus' optimizer has torch's within, and torch's is the one that steps.
        inner = getattr(self._optimizer, "original_optimizer", self._optimizer)
        if not is_module(self._model):
            return self._optimizer is None or optimizer in (self._optimizer, inner)
        own = parameter_names(self._model)
        return optimizer in (self._optimizer, inner) or any(
            id(parameter) in own
            for group in optimizer.param_groups
            for parameter in group["params"]
        )

    def must_wait(self) -> bool:
        """Whether tensors that an optimizer writes are being hashed."""
        return self._pending is not None and self.is_live and self._pending.needs_barrier

    def barrier(self) -> None:
        """Wait for the digests, and write their record."""
        self.settle()

    def before_step(self, *, is_next: bool) -> None:
        """Capture what is due before anything of the next step is written."""
        if not self.is_live:
            return
        self.settle_if_done()
        if self._due and is_next:
            self._capture_due(inline=True)

    def after_step(self, optimizer: Any, *, is_next: bool) -> None:
        """Capture weights where it is time and this optimizer has written all of them."""
        if not (self.every and is_next and self.is_live):
            return
        if self.watch.steps % self.every == 0:
            self._due = True
            stir()
            if self._writes_all(optimizer):
                self._capture_due(inline=False)

    def _writes_all(self, optimizer: Any) -> bool:
        """Whether the optimizer has every parameter of the model that is trained."""
        if not is_module(self._model):
            return True
        own = {id(one) for group in optimizer.param_groups for one in group["params"]}
        return all(
            id(parameter) in own
            for parameter in self._model.parameters()
            if parameter.requires_grad
        )

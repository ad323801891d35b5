"""The life of a run: how it begins, what it commits, how it ends."""

from __future__ import annotations

import atexit
import functools
import sys
import time
import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import Any, TypeVar

from mlprov import anchoring, keys, notices, publishing, ranks, resumption
from mlprov.barriers import Barrier, PendingRecord
from mlprov.captures import Capture, Guard
from mlprov.configuration import Settings
from mlprov.epoch_captures import EpochCapture
from mlprov.epochs import Epoch
from mlprov.errors import ConfigError, StoreError
from mlprov.explanations import in_words
from mlprov.items import class_name
from mlprov.kept_states import KeptStates
from mlprov.modules import is_module
from mlprov.privacy_accounts import PrivacyAccount
from mlprov.recorded_runs import RecordedRun
from mlprov.records import Json
from mlprov.resumption import Past, Wanted
from mlprov.run_records import RunRecords
from mlprov.wording import plural

__all__ = ["RunLife"]

_EXIT_PATIENCE = 1.2  # seconds; nobody waits long for an interpreter to end
_LEAST_PATIENCE = 0.2  # seconds for another process that holds the store

L = TypeVar("L", bound="RunLife")


_living: weakref.WeakSet[RunLife] = weakref.WeakSet()


class RunLife(RecordedRun):
    """A run from its first record to its last; what is recorded between is in mlprov.runs.

    Attributes:
        current_epoch: the one whose loop is running.
        barrier: what is hashed beside training, and the optimizer's steps.
        last_epoch: index of the last epoch that was recorded to its end, or None; after a resume
            that of the earlier process.
        resumed: whether it goes on with a run that an earlier process began.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        *,
        model: Any,
        optimizer: Any,
        kept: KeptStates,
        account: PrivacyAccount,
        disabled: bool,
    ) -> None:
        super().__init__(name, settings, disabled=disabled)
        self.current_epoch: Epoch | None = None
        self._settings = settings
        self._model = model
        self._account = account
        every = settings.every if isinstance(settings.every, int) else 0
        self.barrier = Barrier(
            self.recorder, model, optimizer, every=every, capture_step=self._capture_step
        )
        self._guard = Guard(
            settings.snapshot, settings.check, settings.algorithm, self.barrier.watch.guarded
        )
        self._make = RunRecords(
            self.recorder, settings, model, optimizer, kept, account, self._guard
        )
        files = (anchoring.FILES,) if settings.publish else ()
        self._anchoring = anchoring.Anchoring((*settings.anchors, *files))
        self.last_epoch: int | None = None
        self.resumed = False
        self._end_is_recorded = False
        self._training_began = False
        self._patience: float | None = None  # seconds for what is still hashed at the end
        self._notices = notices.Notices()
        self._old_failure = id(getattr(sys, "last_value", None))

    @property
    def is_private(self) -> bool:
        """Whether noise that has to stay unknown is drawn in this training."""
        return self._account.is_private

    # ---- beginning ----

    def _begin(self, config: Any, parents: Sequence[str]) -> None:
        if self.is_left_to_first and self.rank is not None:
            self._notices.leave_to_first(self.rank)
        if self._status == "disabled":
            return
        must = self._settings.resume == "must"
        if notices.is_interactive():
            self._supersede()
        try:
            began = self.recorder.attempt(
                "run", lambda: self._begin_log(config, parents), raises=must
            )
            if began is not None:
                self.recorder.attempt(began, self._record_what_was_there)
                self._commit("running")
        except BaseException:
            self._status = "unrecorded"
            self.recorder.give_up()
            raise
        atexit.register(self.finish_at_exit)
        # Steps are asked for, so an optimizer will come: what it loads may as well be loaded now.
        self.barrier.watch.start(at_once=bool(self.barrier.every) and is_module(self._model))
        if began is not None:
            self.recorder.attempt("anchor", lambda: self._anchoring.start(self.recorder.store))
        if began is None or self.recorder.unwritten:
            self._status = "unrecorded"
            self.recorder.give_up()
            return
        _living.add(self)
        self._notices.begin(self)

    def _supersede(self) -> None:
        """End the run of this name that an earlier cell began and nobody ended."""
        own = (self.name, self._settings.project, self.store_path)
        for other in list(_living):
            theirs = (other.name, other._settings.project, other.store_path)
            if theirs == own and not other.ended and not other.recorder.in_child:
                other.finish(status="superseded")

    def _begin_log(self, config: Any, parents: Sequence[str]) -> str:
        """Begin a log, or go on with one; returns what is to be recorded behind its first record.

        Raises:
            StoreError, ConfigError: a run had to be resumed and cannot be.
        """
        self.recorder.open(self.store_path)
        if self._settings.resume != "never" and self._take_over(config):
            return "batches"
        owner = self.recorder.create(self.id, self.name, self._settings.project)
        self._make.start(self.id, self.name, owner, config, parents)
        return "model"

    def _record_what_was_there(self) -> None:
        if self.resumed:
            self.streams.batches += self._make.left_streams()
        elif self._model is not None:
            self._make.model()

    # ---- going on with an earlier run ----

    def _take_over(self, config: Any) -> bool:
        """Whether an unfinished run was found and is this one now."""
        settings, store = self._settings, self.recorder.store
        must = settings.resume == "must"
        wanted = Wanted(self.name, settings.project, settings.run_id, must)
        gaps, lost = self.recorder.gaps, None
        for past in resumption.find_unfinished(store, wanted):
            try:
                if self._resume(past, config):
                    return True
                self.recorder.gaps, lost = gaps, past
            except Exception as error:  # also torch's own, of weights that cannot be read
                self.recorder.let_go()
                self.recorder.gaps = gaps  # those were of the run that is let go
                if must or self.recorder.raises:
                    raise
                self.recorder.warn(
                    f"not resumed, a new run is begun: {in_words(error, 'read')}",
                    once=f"resume {past.run.row.id}",
                )
        if must and lost is not None:
            raise resumption.refuse_taken(lost)
        if must:
            raise resumption.refuse_none(store, wanted)
        return False

    def _resume(self, past: Past, config: Any) -> bool:
        """Go on with a run; false where another process was faster."""
        if past.algorithm != self.algorithm:
            raise ConfigError(
                f"cannot resume the run {past.run.row.id} with algorithm={self.algorithm!r}: its"
                f" digests are {past.algorithm}",
                f"start it with algorithm={past.algorithm!r}",
            )
        size = past.run.heads[-1].size
        if not self.recorder.reopen(past.run.row.id, size):
            return False
        try:
            said = self._make.resume(past, config)
        except StoreError as error:
            if error.status != "BUSY":
                raise
            self.recorder.let_go()
            return False
        self.resumed = True
        self.id = self.streams.run_id = past.run.row.id
        self.streams.life = f"r{size}."
        self.streams.batches, self._epochs = past.batches, past.epochs
        self.recorder.gaps += past.gaps
        self.last_epoch = past.last_epoch
        owner = past.run.records[0].get("owner_key")
        if owner != keys.owner_vkey():
            self.recorder.warn(
                f"the run {self.id} was begun under the owner key {owner}, which is not this"
                " user's: it goes on, but only with that key can it be exported",
                once="resumed owner",
            )
        if said is False:
            self.recorder.warn(
                "the loaded weights are not those that the run recorded last; if they were to be,"
                " load them before mlprov.start(). The resume record says which they are",
                once="resumed weights",
            )
        return True

    def _look_at_ranks(self) -> None:
        """Record a process group that was made since: the run's beginning could not tell of it."""
        rank = ranks.own_rank()
        if rank is None or rank == self.rank or self.recorder.records_nothing:
            return
        self.rank = rank
        self.recorder.attempt("ranks", lambda: self._make.ranks(rank))
        self.recorder.warn(
            f"this is rank {rank.rank} of {rank.world_size}, which was not known when the run"
            " began, so that each rank may have a run of its own. Make the process group before"
            " mlprov.start()",
            once="ranks",
        )

    def _commit(self, status: str | None = None) -> None:
        def commit() -> None:
            self.recorder.commit(status)
            self._head = self.recorder.log.head
            self._anchoring.hand_over()
            self.streams.sync_due()

        self.recorder.attempt("head", commit)

    # ---- epochs and steps ----

    def _commit_before_training(self) -> None:
        """What is recorded before step 1 is handed to the outbox now, and not waited for."""
        if not self._training_began:
            self._training_began = True
            self._anchoring.hand_over(at_once=True)

    def _end_epoch(self, epoch: Epoch, interrupted: bool) -> None:
        if epoch.ended:
            return
        epoch.ended = True
        self.streams.close_of(epoch)
        self.barrier.end_epoch(epoch)
        self._look_at_ranks()
        self._say_untracked(epoch)
        self._notices.end_epoch(self, epoch)
        capture = self._make.epoch(epoch, interrupted=interrupted)
        self._copied = max(self._copied, sum(one.copied for one in capture.captures))
        if not interrupted:
            self.last_epoch = epoch.index
        self.barrier.put(
            PendingRecord(capture.captures, functools.partial(self._write_epoch, capture))
        )

    def _write_epoch(self, capture: EpochCapture) -> None:
        if self._make.finish_epoch(capture):
            self._epochs += 1
        self._commit()

    def _say_untracked(self, epoch: Epoch) -> None:
        """Steps that no tracked batch can have led to: something else was trained on."""
        tracked = epoch.batches("train")
        if epoch.steps is not None and tracked and epoch.steps > tracked:
            self.recorder.warn(
                f"epoch {epoch.index} had {plural(epoch.steps, 'optimizer step')} and"
                f" {plural(tracked, 'tracked batch')}: some data went into training untracked, or"
                " a batch was used more than once",
                once="untracked",
            )

    def _capture_step(self, inline: bool) -> PendingRecord | None:
        begun = self._make.step(inline=inline)
        if begun is None:
            return None
        capture, trusted = begun
        epoch = None if self.current_epoch is None else self.current_epoch.index
        write = functools.partial(
            self._write_step, capture, trusted, self.barrier.watch.steps, epoch, self.streams.seen
        )
        return PendingRecord([capture], write)

    def _write_step(
        self, capture: Capture, trusted: Json, step: int, epoch: int | None, batches: int
    ) -> None:
        self._make.finish_step(capture, trusted, step, epoch, batches)
        self._commit()

    # ---- ending ----

    def finish(
        self, timeout: float = 10, *, status: str = "finished", error: BaseException | None = None
    ) -> None:
        """End the run: the last record, the last head, the store log. A second call does nothing.

        Args:
            timeout: seconds to wait at most for another process that holds the store. What could
                not be written then is said, and the run's status is ``incomplete``.
            status: ``"finished"``, ``"failed"``, or ``"superseded"`` by another run. Of the latter
                two, a run that was started with ``resume="auto"`` or ``"must"`` is laid down: it
                has no end yet, its status is ``interrupted``, and it can be resumed.
            error: what ended a failed run; its type is recorded, never its message.

        Raises:
            ConfigError: another status.
            Exception: whatever failed, with ``on_error="raise"``; the call may be made again.
        """
        if self.ended or self.recorder.in_child:
            return
        self.recorder.require(
            status in ("finished", "failed", "superseded"),
            f"cannot end a run as {status!r}: expected 'finished', 'failed' or 'superseded'",
        )
        if not self.recorder.records_nothing:
            self._end(timeout, status, None if error is None else class_name(error))
        self._seconds = time.perf_counter() - self._started
        self.ended = True
        self.barrier.release()
        if not self.recorder.records_nothing:  # else save() still has something to do
            self._make.release()
            self._model, self._account = None, PrivacyAccount()
        atexit.unregister(self.finish_at_exit)
        _living.discard(self)
        self._say_gaps()
        if self._head is not None:
            self._notices.end(self)

    def _end(self, timeout: float, status: str, kind: str | None) -> None:
        began = time.monotonic()
        # What is pending is committed first: a store that another process holds must not hold up
        # that commit for longer, either.
        self.recorder.wait_at_most(timeout if self._patience is None else timeout / 2)
        if self.current_epoch is not None:  # its loop was left; its generator is still held
            self._end_epoch(self.current_epoch, interrupted=True)
        self.barrier.settle(self._patience)
        self._look_at_ranks()
        self.streams.close_all(self._patience)
        if not self._end_is_recorded:
            self.recorder.attempt("weights", lambda: self._make.recheck(self._patience))
        laid_down = status != "finished" and self._settings.resume != "never"
        status = "interrupted" if laid_down else status
        if not self._end_is_recorded:  # else an earlier call raised behind it
            self.recorder.attempt("end", lambda: self._record_end(status, kind, laid_down))
        if self._patience is None and not self.recorder.unwritten:  # hashing took its own time
            began = time.monotonic()
        ends = max(began + timeout, time.monotonic() + _LEAST_PATIENCE)
        self.recorder.wait_at_most(ends - time.monotonic())
        self._commit(status)
        if self.wait(ends - time.monotonic()) and not laid_down:
            self.recorder.attempt("key", self.recorder.log.destroy_key)
            self.recorder.attempt("anchor", lambda: self._anchoring.plan(self.recorder.store))
            for what in self._settings.publish or ():
                self.recorder.attempt("publication", functools.partial(self._publish, what))
        self._anchoring.finish(ends - time.monotonic())
        self._status = "incomplete" if self.recorder.unwritten else status
        self.recorder.close()

    def _publish(self, what: str) -> None:
        """Put the bundle, or the checkpoint that was recorded last, into the outbox."""
        store = self.recorder.store
        if what == "bundle":
            publishing.plan_bundle(store, self.id)
        elif self._recorded is not None:
            publishing.plan_model(store, self.id, self._recorded)

    def _record_end(self, status: str, kind: str | None, laid_down: bool) -> None:
        self._end_is_recorded = True
        self._make.end(
            laid_down=laid_down,
            status=status,
            exception=kind,
            epochs=self._epochs,
            batches=self.streams.batches,
            gaps=self.recorder.gaps,
            overhead={**self.overhead},
            waits=self.streams.waits,
            seconds=round(time.perf_counter() - self._started, 3),
        )

    def _say_gaps(self) -> None:
        said = None
        if self._status == "unrecorded":
            said = "it was not recorded"
        elif self.recorder.unwritten:
            said = "the last records could not be written; the log ends earlier"
        elif self.recorder.gaps:
            said = (
                f"{self.recorder.gaps} pieces of evidence were not recorded "
                f"(mlprov log {self.id} lists the gaps)"
            )
        if said is not None:
            notices.say(f"mlprov: run {self.id} ({self.name!r}): {said}")

    def failure_at_exit(self) -> BaseException | None:
        """The exception that the script ends with, if it does; the status hangs on it."""
        error: BaseException | None = getattr(sys, "last_value", None)
        # An interactive session keeps it from before this run.
        return None if id(error) == self._old_failure else error

    def finish_at_exit(self, *, failed: bool = False) -> None:
        """A script that never called finish() ends; a second call does nothing.

        Args:
            failed: whether what was recorded was left in its middle, exception or none.
        """
        error = self.failure_at_exit()
        self._patience = _EXIT_PATIENCE / 2  # the other half is for the store
        status = "failed" if failed or error is not None else "finished"
        self.finish(timeout=_EXIT_PATIENCE, status=status, error=error)

    def __enter__(self: L) -> L:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.finish(status="finished" if error is None else "failed", error=error)

"""Between a run and its log: records become bytes here, and failures become gaps.

Training never fails because evidence failed, unless the user asked for that (``on_error="raise"``):
:meth:`Recorder.attempt` runs one piece of recording, counts the time that it cost the training
thread, and turns an exception into a warning, a ``gap`` record and a count that is said at the end.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mlprov import keys, records, redaction, stores
from mlprov._core import RunLog, Store
from mlprov.errors import ConfigError, Error, StoreError
from mlprov.explanations import in_words
from mlprov.records import Json

__all__ = ["Owner", "Recorder", "RecordingWarning", "describe_error"]

T = TypeVar("T")

_UNWRITABLE = ("FULL", "IO", "NOT_FOUND", "READONLY")  # csrc/base/status.h
_PATIENCE = 30.0  # seconds; csrc/store/store.h, MLP_STORE_BUSY_MS
_CAPTURED = ("weights", "optimizer", "step", "batch")  # what may change under capture
_MAX_REASON = 500  # characters of a gap's reason


class RecordingWarning(UserWarning):
    """Something that should have been recorded was not; training goes on."""


def describe_error(error: BaseException) -> str:
    """Class and status of an exception, never its message: that may hold data."""
    status = getattr(error, "status", "")
    return f"{type(error).__name__} {status}".strip()


def _open_store(path: pathlib.Path) -> Store:
    """Open the store, or make it; an error says how to name another place."""
    try:
        return stores.open_store(path, create=True)
    except StoreError as error:
        if error.status not in _UNWRITABLE:
            raise
        remedies = [
            error.remedy,
            "to record elsewhere, set MLPROV_STORE to a directory that can be written, or pass"
            " store= to mlprov.start()",
        ]
        elsewhere = StoreError(error.what, "; ".join(filter(None, remedies)))
        elsewhere.status, elsewhere.retryable = error.status, error.retryable
        raise elsewhere from error


def _describe_reason(error: BaseException) -> Json:
    """Why a data set was not recorded, in mlprov's own words; a foreign message may hold data."""
    if not isinstance(error, Error):
        return None
    return redaction.redact(records.json_text(str(error)[:_MAX_REASON]), where="gap")


def _level_of_caller() -> int:
    """How far up the user's own line is: a warning that points into this package helps nobody."""
    level = 1
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "mlprov":
        level += 1
        frame = frame.f_back
    return level


@dataclass(frozen=True)
class Owner:
    """Who answers for a run: the owner's key and his statement (docs/format.md section 6)."""

    vkey: str
    statement: str


class Recorder:
    """The open log of one run, or nothing at all when recording is disabled or could not begin.

    One thread records at a time; the others wait. A signal handler that records does so in the
    middle of what it interrupted.

    Attributes:
        gaps: pieces of evidence that were lost so far.
        seconds: time spent in recording on the calling thread.
        raises: whether failures raise (``on_error="raise"``).
        turn: held by the thread that records.
        unwritten: whether the last commit failed and its records wait for the next one.
    """

    def __init__(self, on_error: str, *, disabled: bool = False) -> None:
        self.gaps = 0
        self.seconds = 0.0
        self.unwritten = False
        self.raises = on_error == "raise"
        self._disabled = disabled
        self._closed = False
        self._pid = os.getpid()
        self._store: Store | None = None
        self._log: RunLog | None = None
        self._warned: set[str] = set()
        self.turn = threading.RLock()
        self._depth = 0  # attempts around this one, all in the thread whose turn it is
        self._epoch: int | None = None  # of what is being attempted
        self._role: str | None = None
        self._status: str | None = None  # what a commit that failed was to write
        self._before_next: Callable[[], None] | None = None

    # ---- opening and closing ----

    def open(self, path: pathlib.Path) -> None:
        """Open the store, to make or to reopen a log in it."""
        self._store = _open_store(path)
        if self._store.read_only:
            raise StoreError(
                f"cannot record into {path}: it was written by a newer mlprov and is open"
                " read-only",
                "upgrade mlprov",
            )

    def create(self, run_id: str, name: str, project: str | None) -> Owner:
        """Begin the log of a new run; returns who answers for it."""
        owner = keys.owner_key()
        self._log = self.store.create_run(run_id, name, project)
        statement: dict[str, Json] = {
            "log_key": self.store.log_vkey,
            "log_origin": self.store.log_origin,
            "run": run_id,
            "run_key": self._log.vkey,
            "time": records.next_time(None),
            "version": 1,
        }
        body = records.canonical(statement).decode()
        return Owner(owner.vkey, owner.sign_note(f"mlprov/run-key@v1\n{body}\n").decode())

    def reopen(self, run_id: str, size: int) -> bool:
        """Open the log of an unfinished run at its last head; false where that has moved on.

        Args:
            run_id: which.
            size: of the head that the caller has read.
        """
        self._log = self.store.open_run(run_id)
        if self._log.head[0] == size:
            return True
        self.let_go()
        return False

    def let_go(self) -> None:
        """Close a log that :meth:`reopen` opened; its pending records are dropped."""
        log, self._log = self._log, None
        if log is not None:
            log.close()

    @property
    def is_open(self) -> bool:
        """Whether there is a log to write to."""
        return self._log is not None and not self._closed

    @property
    def store(self) -> Store:
        """The open store. Raises StoreError when nothing is recorded."""
        if self._store is None:
            raise StoreError("this run is not recorded: recording is disabled or could not begin")
        return self._store

    @property
    def log(self) -> RunLog:
        """The open log. Raises StoreError when nothing is recorded."""
        if self._log is None:
            raise StoreError("this run is not recorded: recording is disabled or could not begin")
        return self._log

    @property
    def records_nothing(self) -> bool:
        """Whether nothing is recorded: switched off, or recording could not begin."""
        return self._disabled

    @property
    def in_child(self) -> bool:
        """Whether this process was forked from the one that opened the run."""
        return os.getpid() != self._pid

    def close(self) -> None:
        """Close log and store; nothing can be recorded afterwards."""
        self._closed = True
        if self._log is not None:
            self._log.close()
        if self._store is not None:
            self._store.close()

    def wait_at_most(self, seconds: float | None) -> None:
        """How long the store waits from now on for another process that holds it; None: as ever."""
        if self._store is not None and not self._closed:
            waited = _PATIENCE if seconds is None else max(0.0, seconds)
            self._store.set_patience(int(1000 * min(waited, _PATIENCE)))

    def give_up(self) -> None:
        """Recording could not begin: from now on every attempt does nothing."""
        self._disabled = True
        with contextlib.suppress(Exception):
            self.close()
        self._closed = False
        self._store = self._log = None

    # ---- recording ----

    def attempt(
        self,
        what: str,
        action: Callable[[], T],
        *,
        epoch: int | None = None,
        role: str | None = None,
        raises: bool = False,
    ) -> T | None:
        """Run one piece of recording.

        Args:
            what: what would be missing, as the ``gap`` record names it ("epoch", "batch", "data"
                …).
            action: does the recording.
            epoch: index of the epoch that it belongs to.
            role: of the data set or loader that it is about.
            raises: whether a failure raises, whatever ``on_error`` says.

        Returns:
            what ``action`` returned, or None when recording is disabled or failed.

        Raises:
            StoreError: the run has ended, or this is a forked child.
            Exception: whatever failed, with ``raises`` or when the run was started with
                ``on_error="raise"``.
        """
        if self._disabled:
            return None
        self.refuse_ended_or_forked()  # before the lock: a child may inherit it taken
        with self.turn:
            self.refuse_ended_or_forked()
            if self._depth:
                return action()
            return self._attempt(what, action, epoch, role, raises or self.raises)

    def _attempt(
        self,
        what: str,
        action: Callable[[], T],
        epoch: int | None,
        role: str | None,
        raises: bool,
    ) -> T | None:
        started, before = time.perf_counter(), self.seconds
        self._depth += 1
        self._epoch, self._role = epoch, role
        try:
            return action()
        except Exception as error:
            if raises:
                raise
            self.gap(what, error)
            return None
        finally:
            self._depth -= 1
            self._epoch = self._role = None
            self.seconds = before + time.perf_counter() - started

    def refuse_ended_or_forked(self) -> None:
        """Raise StoreError after the end of the run and in a forked child."""
        if self._disabled:
            return
        if self.in_child:
            raise StoreError(
                "cannot record from a forked child: the run belongs to its parent process",
                "record there, or start a run of its own in the child",
            )
        if self._closed:
            raise StoreError(
                "cannot record: this run has ended", "start another with mlprov.start()"
            )

    def gap(self, what: str, error: BaseException, *, count: int = 1) -> None:
        """Count something that was lost, warn once for its kind and role, note it in the log.

        Epoch and role are those of the attempt that it happened in.
        """
        self.gaps += count
        epoch, role, kind = self._epoch, self._role, describe_error(error)
        if self.is_open:
            with contextlib.suppress(Exception):
                changed = what in _CAPTURED and getattr(error, "status", "") == "CHANGED"
                reason = _describe_reason(error) if what == "data" or changed else None
                self.append(
                    "gap", what=what, epoch=epoch, role=role, count=count, error=kind, reason=reason
                )
        named = what if role is None else f"{what} {role!r}"
        self.warn(f"not recorded: {named}: {in_words(error, 'read')}", once=f"{named} {kind}")

    def warn(self, message: str, *, once: str) -> None:
        """Warn the user, once for each kind of trouble."""
        if once not in self._warned:
            self._warned.add(once)
            warnings.warn(f"mlprov: {message}", RecordingWarning, stacklevel=_level_of_caller())

    def before_next(self, action: Callable[[], None] | None) -> None:
        """Have ``action`` called before anything else is appended: it appends what came earlier."""
        self._before_next = action

    def catch_up(self) -> None:
        """Append what came earlier and still waits; not in a forked child."""
        if self.in_child:
            return
        with self.turn:
            action, self._before_next = self._before_next, None
            if action is None:
                return
            # Its attempts are no part of the one that this happens in.
            around = self._depth, self._epoch, self._role
            self._depth, self._epoch, self._role = 0, None, None
            try:
                action()
            except BaseException:
                self._before_next = action
                raise
            finally:
                self._depth, self._epoch, self._role = around

    def append(self, type: str, **fields: Json) -> int:  # noqa: A002
        """Add a record to those that the next :meth:`commit` writes; returns its seq."""
        self.catch_up()
        while True:
            seq = self.log.size  # before the time: what comes in between is told by seq alone
            moment = records.next_time(self.log.last_time)
            record = records.canonical({"type": type, "seq": seq, "time": moment, **fields})
            try:
                self.log.append(record, seq=seq, type=type, time=moment)
            except StoreError as error:
                if error.status != "BUSY":
                    raise
                continue  # a signal handler's record came in between
            return seq

    def commit(self, status: str | None = None) -> None:
        """Write what is pending under a signed head, and the run's new status, if there is one.

        After a failure the records stay pending and the next commit writes them: a disk that was
        full for an hour costs nothing but the heads of that hour.
        """
        self._status = status or self._status
        try:
            self.log.commit(self._status)
        except MemoryError:
            raise
        except Exception as error:
            self.unwritten = True
            if self.raises:
                raise
            self.warn(
                f"records wait to be written: {error}", once=f"commit {describe_error(error)}"
            )
        else:
            self.unwritten = False
            self._status = None

    def require(self, condition: bool, message: str, remedy: str = "") -> None:
        """Raise ConfigError for a wrong use of the interface, whatever ``on_error`` says."""
        if not condition:
            raise ConfigError(message, remedy)

"""Recording a training run: :func:`start` and the :class:`Run` that it returns."""

from __future__ import annotations

import atexit
import functools
import os
import pathlib
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

from mlprov import anchoring, configuration, optimizers, records, saved_models
from mlprov.barriers import Barrier, PendingRecord
from mlprov.captures import Capture, Guard
from mlprov.configuration import Settings
from mlprov.epochs import Epoch
from mlprov.errors import ConfigError
from mlprov.items import class_name
from mlprov.recorded_runs import RecordedRun
from mlprov.run_records import EpochCapture, RunRecords
from mlprov.streams import Tracked
from mlprov.wording import plural

__all__ = ["Run", "start"]

T = TypeVar("T")

_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def start(
    name: str,
    *,
    model: Any = None,
    optimizer: Any = None,
    project: str | None = None,
    store: str | os.PathLike[str] | None = None,
    config: Any = None,
    parents: Sequence[str] = (),
    seeds: bool | None = None,
    anchors: Sequence[str] | None = None,
    every: str | int | None = None,
    snapshot: str | None = None,
    check: str | None = None,
    algorithm: str | None = None,
    on_error: str | None = None,
    resume: str | None = None,
    tags: Sequence[str] | None = None,
    group: str | None = None,
    notes: str | None = None,
) -> Run:
    """Start to record a training run; the returned run is its own context manager.

    Keywords that are not given come from the configuration (:mod:`mlprov.configuration`). With
    ``MLPROV_DISABLED=1`` the run records nothing and every call on it does nothing.

    Args:
        name: what the run is called; any text.
        model: a ``torch.nn.Module`` or a state dict; its weights are recorded now and at every
            epoch.
        optimizer: a torch optimizer; its state is recorded at every epoch.
        project: what the run belongs to.
        store: the store directory; by default the nearest ``.mlprov``, made here if there is none.
        config: the settings of the training: a dict, dataclass or namespace. Secrets are redacted.
        parents: root digests or run ids that this run builds upon.
        seeds: whether to record seeds and digests of the random generators' states.
        anchors: kinds of anchors: ``"log"``, the local store log, is always on; ``"ipfs"``
            publishes its checkpoints (mlprov/anchoring.py says where).
        every: ``"epoch"``: state is recorded at the end of each; a number: weights also after so
            many optimizer steps each time. torch's optimizers alone are seen to step.
        snapshot: how a capture is kept apart from writes. ``"overlap"``: what optimizers write is
            hashed in place while the next epoch begins, and its first step waits for what is left;
            everything else is hashed before the call returns. ``"copy"``: tensors in host memory
            are copied and hashed later, for loops that write weights outside an optimizer.
            ``"inline"``: everything is hashed before the call returns.
        check: ``"once"``, or ``"twice"``: what was hashed beside training is hashed again before
            the step that waits for it, to notice writes that no counter shows.
        algorithm: digest of tensors and batches: ``"blake3"``, or ``"sha256"``, ``"sha384"``,
            ``"sha512"``.
        on_error: ``"warn"``: training goes on when evidence fails, the gap is recorded;
            ``"raise"``: it raises.
        resume: ``"never"``.
        tags: words to find the run by.
        group: what it is grouped under.
        notes: free text.

    Raises:
        ConfigError: a setting of the wrong kind, or an ``optimizer`` that is none.
        StoreError: the store cannot be used and ``on_error="raise"``.

    >>> import os, tempfile, unittest.mock
    >>> folder = tempfile.TemporaryDirectory()  # an owner and a store for the example alone
    >>> weight = bytearray(b"abc")
    >>> model = {"w": memoryview(weight)}
    >>> with unittest.mock.patch.dict(os.environ, MLPROV_HOME=folder.name + "/home"):
    ...     with start("digits", model=model, store=folder.name + "/store") as run:
    ...         for epoch in run.epochs(2):
    ...             for batch in run.track([b"first", b"second"]):
    ...                 weight[0] += 1
    ...             epoch.log(loss=0.5)
    >>> run.status, [record["type"] for record in run.records]
    ('finished', ['run.start', 'model', 'epoch', 'epoch', 'run.end'])
    >>> folder.cleanup()
    """
    if not records.json_key(name) or not name.strip():
        raise ConfigError(
            f"cannot start a run named {name!r}: expected Unicode text without U+0000, not blank"
        )
    arguments = {
        "project": project, "store": store, "seeds": seeds, "anchors": anchors, "every": every,
        "snapshot": snapshot, "check": check, "algorithm": algorithm, "on_error": on_error,
        "resume": resume, "tags": tags, "group": group, "notes": notes,
    }  # fmt: skip
    disabled = configuration.is_disabled()
    settings = configuration.Settings() if disabled else configuration.resolve(arguments)
    if optimizer is not None and not disabled:
        optimizers.check_optimizer(optimizer)
    run = Run(name, settings, model=model, optimizer=optimizer, disabled=disabled)
    run._begin(config, parents)
    return run


class Run(RecordedRun):
    """One recorded training run; made by :func:`start`.

    Calls from several threads wait for each other. Every method that records is a no-op when
    recording is disabled, and raises StoreError after :meth:`finish` and in forked children.

    Attributes:
        current_epoch: the one whose loop is running.

    >>> import os, tempfile, unittest.mock, mlprov
    >>> folder = tempfile.TemporaryDirectory()  # an owner and a store for the example alone
    >>> with unittest.mock.patch.dict(os.environ, MLPROV_HOME=folder.name + "/home"):
    ...     run = start("digits", store=folder.name + "/store")
    ...     run.track_data(train=pathlib.Path(__file__))
    ...     run.log(accuracy=0.5)
    ...     run.finish()
    ...     verdict = mlprov.verify(run.export(folder.name + "/digits.mlprov"))
    >>> run, verdict.result
    (<mlprov.Run ... 'digits' finished>, 'holds')
    >>> folder.cleanup()
    """

    def __init__(
        self, name: str, settings: Settings, *, model: Any, optimizer: Any, disabled: bool
    ) -> None:
        super().__init__(name, settings, disabled=disabled)
        self.current_epoch: Epoch | None = None
        self._settings = settings
        self._model = model
        every = settings.every if isinstance(settings.every, int) and model is not None else 0
        self.barrier = Barrier(
            self.recorder, model, optimizer, every=every, capture_step=self._capture_step
        )
        self._anchoring = anchoring.Anchoring(settings.anchors)
        self._guard = Guard(
            settings.snapshot, settings.check, settings.algorithm, self.barrier.watch.guarded
        )
        self._make = RunRecords(self.recorder, settings, model, optimizer, self._guard)
        self._last_epoch: int | None = None  # the last that was complete
        self._end_is_recorded = False
        self._patience: float | None = None  # seconds for what is still hashed at the end
        self._old_failure = id(getattr(sys, "last_value", None))

    # ---- beginning ----

    def _begin(self, config: Any, parents: Sequence[str]) -> None:
        if self._status == "disabled":
            return
        try:
            began = self.recorder.attempt("run", lambda: self._record_start(config, parents))
            if began is not None and self._model is not None:
                self.recorder.attempt("model", self._make.model)
            if began is not None:
                self._commit("running")
        except BaseException:
            self._status = "unrecorded"
            self.recorder.give_up()
            raise
        atexit.register(self._at_exit)
        self.barrier.watch.start()
        if began is not None:
            self.recorder.attempt("anchor", lambda: self._anchoring.start(self.recorder.store))
        if began is None or self.recorder.unwritten:
            self._status = "unrecorded"
            self.recorder.give_up()

    def _record_start(self, config: Any, parents: Sequence[str]) -> int:
        owner = self.recorder.open(self.store_path, self.id, self.name, self._settings.project)
        return self._make.start(self.id, self.name, owner, config, parents)

    # ---- helpers of the recording methods ----

    def _commit(self, status: str | None = None) -> None:
        def commit() -> None:
            self.recorder.commit(status)
            self._head = self.recorder.log.head
            self._anchoring.hand_over()

        self.recorder.attempt("head", commit)

    # ---- what users call ----

    def track_data(self, **datasets_by_role: Any) -> None:
        """Record data sets by the digest of every sample, under roles such as ``train``.

        Args:
            **datasets_by_role: for each role an array or tensor (samples are rows), a tuple, list
                or dict of arrays, a ``TensorDataset`` or ``Subset`` of one, or a ``pathlib.Path``
                to a file or directory.

        Samples are read where they lie; ``__getitem__`` is never called. Of two data sets under
        one role both are recorded, and verification compares with the last.

        Raises:
            ConfigError: a role that is no plain word; with ``on_error="raise"`` also a data set of
                another kind.
            StoreError: the run has ended, or this is a forked child.
            Exception: whatever failed, with ``on_error="raise"``.
        """
        for role, data in datasets_by_role.items():
            self._check_role(role)
            self.recorder.attempt("data", functools.partial(self._make.data, role, data), role=role)
        self._commit()

    def _check_role(self, role: str) -> None:
        self.recorder.require(
            isinstance(role, str) and _ROLE.fullmatch(role) is not None,
            f"cannot use the role {role!r}: expected letters, digits, '_', '-' or '.', such as"
            " 'train'",
        )

    def epochs(self, epochs: int | Iterable[int]) -> Iterator[Epoch]:
        """Count epochs; record weights, optimizer state, batches and metrics at the end of each.

        Args:
            epochs: how many, or the indices themselves.

        Yields:
            one :class:`Epoch` per pass. Leaving the loop early records the last one as
            ``interrupted``.

        Raises:
            ConfigError: an index that is no integer from 0.
            StoreError: the run has ended, or this is a forked child.
            Exception: whatever failed, with ``on_error="raise"``.
        """
        for index in range(epochs) if isinstance(epochs, int) else epochs:
            self.recorder.refuse_ended_or_forked()
            self._check_index(index)
            epoch = self._begin_epoch(index)
            around, self.current_epoch = self.current_epoch, epoch
            interrupted = True
            try:
                yield epoch
                interrupted = False
            finally:
                self.current_epoch = around
                if not self.recorder.in_child and not self.ended:
                    self._end_epoch(epoch, interrupted)

    def _check_index(self, index: object) -> None:
        self.recorder.require(
            isinstance(index, int) and not isinstance(index, bool) and 0 <= index < 2**53,
            f"cannot count the epoch {index!r}: expected an integer from 0",
        )

    def _begin_epoch(self, index: int) -> Epoch:
        self.barrier.begin_epoch()
        return Epoch(self, index, self.barrier.watch.steps)

    def _end_epoch(self, epoch: Epoch, interrupted: bool) -> None:
        if epoch.ended:
            return
        epoch.ended = True
        self.streams.close_of(epoch)
        self.barrier.end_epoch(epoch)
        self._say_untracked(epoch)
        capture = self._make.epoch(epoch, interrupted=interrupted)
        self._copied = max(self._copied, sum(one.copied for one in capture.captures))
        if not interrupted:
            self._last_epoch = epoch.index
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
        capture = self._make.step(inline=inline)
        if capture is None:
            return None
        epoch = None if self.current_epoch is None else self.current_epoch.index
        write = functools.partial(
            self._write_step, capture, self.barrier.watch.steps, epoch, self.streams.seen
        )
        return PendingRecord([capture], write)

    def _write_step(self, capture: Capture, step: int, epoch: int | None, batches: int) -> None:
        self._make.finish_step(capture, step, epoch, batches)
        self._commit()

    def track(self, loader: Iterable[T], *, role: str = "train") -> Tracked[T]:
        """Record the batches of a loader as they pass: the same objects, in the same order.

        They are hashed where they lie: memory that another thread frees or shrinks meanwhile ends
        the process, as it would with any other reader of it.

        Args:
            loader: anything that can be iterated; a ``DataLoader`` as well as a list.
            role: what the batches are used for.

        Raises:
            ConfigError: a role that is no plain word.
            StoreError: from the loop: the run has ended, or this is a forked child.
            Exception: from the loop: whatever failed, with ``on_error="raise"``.
        """
        self._check_role(role)
        return Tracked(self, loader, role)

    def log(self, *, step: int | None = None, **metrics: Any) -> None:
        """Record metrics outside an epoch's own; they are written with the next head.

        Args:
            step: where in the training it is, an integer of the caller's own counting.
            **metrics: numbers, text, truth values, None, or tensors of one element.

        Raises:
            StoreError: the run has ended, or this is a forked child.
            Exception: a metric of another kind, with ``on_error="raise"``.
        """
        self.recorder.attempt("metric", lambda: self._make.metrics(step, metrics))

    def save(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Write the model's persistent state dict as safetensors, and record the file.

        The file appears whole or not at all. Of tied tensors one copy is written. The user asked
        for a file, so what goes wrong with it is never a gap.

        Args:
            path: ``NAME.safetensors``, in a directory that is there.

        Raises:
            ConfigError: the run has no model, the path is none of these, a tensor is of another
                kind, or the ``safetensors`` package is missing.
            StoreError: the file cannot be written; the run has ended.
            UnsupportedTensorError: a tensor has no values.
        """
        self.recorder.require(
            self._model is not None,
            "cannot save: this run has no model; give it to mlprov.start(model=...), or save it "
            "yourself and call run.checkpoint(path)",
        )
        saved = saved_models.save_model(self._model, pathlib.Path(path))
        self.checkpoint(saved)
        self._saved = os.fspath(path)
        return saved

    def checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Record a file or directory that something else wrote.

        For safetensors the record maps each tensor of the file to the live model.

        Raises:
            StoreError: the run has ended, or this is a forked child.
            Exception: there is no such file, or whatever else failed, with ``on_error="raise"``.
        """

        def record() -> None:
            self._make.checkpoint(path, self._last_epoch)
            self._recorded = os.fspath(path)

        self.recorder.attempt("checkpoint", record)
        self._commit()

    # ---- ending ----

    def finish(
        self, timeout: float = 10, *, status: str = "finished", error: BaseException | None = None
    ) -> None:
        """End the run: the last record, the last head, the store log. A second call does nothing.

        Args:
            timeout: seconds to wait at most for another process that holds the store. What could
                not be written then is said, and the run's status is ``incomplete``.
            status: ``"finished"`` or ``"failed"``.
            error: what ended a failed run; its type is recorded, never its message.

        Raises:
            ConfigError: another status.
            Exception: whatever failed, with ``on_error="raise"``; the call may be made again.
        """
        if self.ended or self.recorder.in_child:
            return
        self.recorder.require(
            status in ("finished", "failed"),
            f"cannot end a run as {status!r}: expected 'finished' or 'failed'",
        )
        if not self.recorder.records_nothing:
            self._end(timeout, status, None if error is None else class_name(error))
        self._seconds = time.perf_counter() - self._started
        self.ended = True
        self.barrier.watch.stop()
        atexit.unregister(self._at_exit)
        self._say_gaps()

    def _end(self, timeout: float, status: str, kind: str | None) -> None:
        if self.current_epoch is not None:  # its loop was left; its generator is still held
            self._end_epoch(self.current_epoch, interrupted=True)
        self.barrier.settle(self._patience)
        self.streams.close_all()
        if not self._end_is_recorded:  # else an earlier call raised behind it
            self.recorder.attempt("end", lambda: self._record_end(status, kind))
        ends = time.monotonic() + timeout
        self.recorder.wait_at_most(timeout)
        self._commit(status)
        if self.wait(ends - time.monotonic()):
            self.recorder.attempt("key", self.recorder.log.destroy_key)
            self.recorder.attempt("anchor", lambda: self._anchoring.plan(self.recorder.store))
        self._anchoring.finish(ends - time.monotonic())
        self._status = "incomplete" if self.recorder.unwritten else status
        self.recorder.close()

    def _record_end(self, status: str, kind: str | None) -> None:
        self._end_is_recorded = True
        self._make.end(
            status=status,
            exception=kind,
            epochs=self._epochs,
            batches=self.streams.batches,
            gaps=self.recorder.gaps,
            overhead={**self.overhead},
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
            print(f"mlprov: run {self.id} ({self.name!r}): {said}", file=sys.stderr)  # noqa: T201

    def _at_exit(self) -> None:
        """A script that never called finish(): the last exception decides the status."""
        error = getattr(sys, "last_value", None)
        if id(error) == self._old_failure:  # an interactive session keeps it from before this run
            error = None
        self._patience = 1.0  # nobody waits long for an interpreter to end
        self.finish(timeout=2, status="finished" if error is None else "failed", error=error)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.finish(status="finished" if error is None else "failed", error=error)

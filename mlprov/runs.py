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
from typing import TYPE_CHECKING, Any, TypeVar

from mlprov import checkpoints, configuration, records, stores
from mlprov._core import LeafStream
from mlprov.configuration import Settings
from mlprov.epochs import BatchStream, Epoch, Tracked
from mlprov.errors import ConfigError
from mlprov.items import class_name
from mlprov.recorder import Recorder
from mlprov.records import Json
from mlprov.run_records import RunRecords

if TYPE_CHECKING:
    from mlprov.proofs import Proof

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
        anchors: kinds of anchors; ``"log"``, the local store log, is always on.
        every: ``"epoch"``.
        snapshot: ``"inline"``: weights are hashed, in place, before the recording call returns.
        algorithm: digest of tensors and batches: ``"blake3"``, or ``"sha256"``, ``"sha384"``,
            ``"sha512"``.
        on_error: ``"warn"``: training goes on when evidence fails, the gap is recorded;
            ``"raise"``: it raises.
        resume: ``"never"``.
        tags: words to find the run by.
        group: what it is grouped under.
        notes: free text.

    Raises:
        ConfigError: a setting of the wrong kind.
        StoreError: the store cannot be used and ``on_error="raise"``.
    """
    if not records.json_key(name) or not name.strip():
        raise ConfigError(
            f"cannot start a run named {name!r}: expected Unicode text without U+0000, not blank"
        )
    arguments = {
        "project": project, "store": store, "seeds": seeds, "anchors": anchors, "every": every,
        "snapshot": snapshot, "algorithm": algorithm, "on_error": on_error, "resume": resume,
        "tags": tags, "group": group, "notes": notes,
    }  # fmt: skip
    disabled = configuration.is_disabled()
    settings = configuration.Settings() if disabled else configuration.resolve(arguments)
    run = Run(name, settings, model=model, optimizer=optimizer, disabled=disabled)
    run._begin(config, parents)
    return run


class Run:
    """One recorded training run; made by :func:`start`.

    Use it from the training thread. Every method that records is a no-op when recording is
    disabled, and raises StoreError after :meth:`finish` and in forked children.

    Attributes:
        id: the run id, a lower-case UUIDv7.
        name: as given to :func:`start`.
        algorithm: digest algorithm of tensors and batches.
        recorder: the seam between this run and its log.
    """

    def __init__(
        self, name: str, settings: Settings, *, model: Any, optimizer: Any, disabled: bool
    ) -> None:
        self.id = records.new_run_id()
        self.name = name
        self.algorithm = settings.algorithm
        self.recorder = Recorder(settings.on_error, disabled=disabled)
        self.current_epoch: Epoch | None = None
        self.ended = False
        self._settings = settings
        self._model = model
        self._make = RunRecords(self.recorder, settings, model, optimizer)
        self._status = "disabled" if disabled else "running"
        self._started = time.perf_counter()
        self._seconds: float | None = None
        self._head: tuple[int, bytes] | None = None
        self._epochs = 0
        self._last_epoch: int | None = None  # the last that was complete
        self._batches = 0
        self._live: list[BatchStream] = []
        self._end_is_recorded = False
        self._old_failure = id(getattr(sys, "last_value", None))
        self._streams = 0
        self._saved: str | None = None
        self._exported: str | None = None
        path = settings.store
        self.store_path = pathlib.Path(path).absolute() if path is not None else stores.find_store()

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

        self.recorder.attempt("head", commit)

    def open_leaf_stream(self) -> LeafStream:
        """A new open leaves file of this run (docs/format.md section 11)."""
        self._streams += 1
        return self.recorder.store.open_stream(self.id, str(self._streams - 1))

    def keep_stream(self, stream: BatchStream) -> None:
        """Remember a stream of batches that is open, so that the end of its epoch closes it."""
        self._live.append(stream)

    def drop_stream(self, stream: BatchStream) -> None:
        """Forget a stream that was closed."""
        self._live = [other for other in self._live if other is not stream]

    def count_batches(self, count: int) -> None:
        """Add to the number of batches that the end of the run states."""
        self._batches += count

    # ---- what users call ----

    def track_data(self, **datasets_by_role: Any) -> None:
        """Record data sets by the digest of every sample, under roles such as ``train``.

        Args:
            **datasets_by_role: for each role an array or tensor (samples are rows), a tuple, list
                or dict of arrays, a ``TensorDataset`` or ``Subset`` of one, or a ``pathlib.Path``
                to a file or directory.

        Samples are read where they lie; ``__getitem__`` is never called.
        """
        for role, data in datasets_by_role.items():
            self._check_role(role)

            self.recorder.attempt("data", functools.partial(self._make.data, role, data))
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
        """
        for index in range(epochs) if isinstance(epochs, int) else epochs:
            self.recorder.refuse_strangers()
            self._check_index(index)
            epoch = Epoch(self, index)
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

    def _end_epoch(self, epoch: Epoch, interrupted: bool) -> None:
        if epoch.ended:
            return
        epoch.ended = True
        for stream in [stream for stream in self._live if stream.epoch is epoch]:
            stream.close()  # its loader may go on: into the next epoch, or outside of all
        if self._make.epoch(epoch, interrupted=interrupted):
            self._epochs += 1
        if not interrupted:
            self._last_epoch = epoch.index
        self._commit()

    def track(self, loader: Iterable[T], *, role: str = "train") -> Tracked[T]:
        """Record the batches of a loader as they pass: the same objects, in the same order.

        Args:
            loader: anything that can be iterated; a ``DataLoader`` as well as a list.
            role: what the batches are used for.
        """
        self._check_role(role)
        return Tracked(self, loader, role)

    def log(self, *, step: int | None = None, **metrics: Any) -> None:
        """Record metrics outside an epoch's own; they are written with the next head."""
        self.recorder.attempt("metric", lambda: self._make.metrics(step, metrics))

    def save(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Write the model's persistent state dict as safetensors, and record the file.

        The file appears whole or not at all. Of tied tensors one copy is written.

        Raises:
            ConfigError: the run has no model, or the ``safetensors`` package is missing.
            OSError: the file cannot be written (the user asked for a file, so this is never a gap).
        """
        self.recorder.require(
            self._model is not None,
            "cannot save: this run has no model; give it to mlprov.start(model=...), or save it "
            "yourself and call run.checkpoint(path)",
        )
        saved = checkpoints.save_model(self._model, pathlib.Path(path))
        self.checkpoint(saved)
        return saved

    def checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Record a file or directory that something else wrote.

        For safetensors the record maps each tensor of the file to the live model.
        """

        def record() -> None:
            self._make.checkpoint(path, self._last_epoch)
            self._saved = os.fspath(path)

        self.recorder.attempt("checkpoint", record)
        self._commit()

    # ---- ending ----

    def wait(self, timeout: float | None = None) -> bool:
        """Put every signed head into the store log; true when all of this run's are there."""
        del timeout  # one bounded write to the local disk; anchors that wait come later

        def integrate() -> bool:
            if self.recorder.unwritten:
                self.recorder.commit()
            self.recorder.store.integrate()
            return not self.recorder.unwritten

        return bool(self.recorder.attempt("log", integrate))

    def finish(
        self, timeout: float = 10, *, status: str = "finished", error: BaseException | None = None
    ) -> None:
        """End the run: the last record, the last head, the store log. A second call does nothing.

        Args:
            timeout: seconds to wait for anchors at most.
            status: ``"finished"`` or ``"failed"``.
            error: what ended a failed run; its type is recorded, never its message.
        """
        if self.ended or self.recorder.in_child:
            return
        self.recorder.require(
            status in ("finished", "failed"),
            f"cannot end a run as {status!r}: expected 'finished' or 'failed'",
        )
        if not self.recorder.idle:
            self._end(timeout, status, None if error is None else class_name(error))
        self._seconds = time.perf_counter() - self._started
        self.ended = True
        atexit.unregister(self._at_exit)
        self._say_gaps()

    def _end(self, timeout: float, status: str, kind: str | None) -> None:
        if self.current_epoch is not None:  # its loop was left; its generator is still held
            self._end_epoch(self.current_epoch, interrupted=True)
        for stream in list(self._live):
            stream.close()
        if not self._end_is_recorded:  # else an earlier call raised behind it
            self.recorder.attempt("end", lambda: self._record_end(status, kind))
        self._commit(status)
        if self.wait(timeout):
            self.recorder.attempt("key", self.recorder.log.destroy_key)
        self._status = "incomplete" if self.recorder.unwritten else status
        self.recorder.close()

    def _record_end(self, status: str, kind: str | None) -> None:
        self._end_is_recorded = True
        self._make.end(
            status=status,
            exception=kind,
            epochs=self._epochs,
            batches=self._batches,
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

    # ---- reading ----

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``failed``, ``incomplete``, ``unrecorded`` or ``disabled``."""
        return self._status

    @property
    def head(self) -> tuple[int, str] | None:
        """(records, root) of the last signed head: what is acknowledged. None: there is none."""
        return None if self._head is None else (self._head[0], f"sha256:{self._head[1].hex()}")

    @property
    def records(self) -> list[dict[str, Json]]:
        """The acknowledged records, as the store has them."""
        if self.recorder.idle:
            return []
        with self._reading() as store:
            return stores.decode_records(store, self.id)

    @property
    def anchors(self) -> list[dict[str, Json]]:
        """Where the run's heads are: the store log, by origin, index and head size."""
        if self.recorder.idle:
            return []
        with self._reading() as store:
            return [
                {
                    "kind": "log",
                    "origin": store.log_origin,
                    "index": head.log_index,
                    "head": head.size,
                }
                for head in stores.read_heads(store, self.id)
                if head.log_index is not None
            ]

    @property
    def overhead(self) -> dict[str, float]:
        """What recording cost: ``seconds`` on the training thread, ``share`` of the wall time."""
        wall = self._seconds if self._seconds is not None else time.perf_counter() - self._started
        return {
            "seconds": round(self.recorder.seconds, 6),
            "share": round(self.recorder.seconds / wall, 6) if wall > 0 else 0.0,
        }

    def _reading(self) -> stores.Reading:
        return stores.Reading(self.store_path, None if self.ended else self.recorder.store)

    def _nothing_to(self, verb: str) -> bool:
        if self.recorder.idle and self._status != "disabled":
            self.recorder.warn(f"nothing to {verb}: the run is {self._status}", once=verb)
        return self.recorder.idle

    def export(
        self, path: str | os.PathLike[str], *, disclose: Sequence[str] = ()
    ) -> pathlib.Path | None:
        """Write the run as one file that verifies without the store (docs/format.md section 8).

        Inside a running run the bundle is marked open.

        Args:
            path: ``NAME.mlprov``; written whole or not at all.
            disclose: what else to include: ``"batches"``, ``"samples"``, ``"optimizer"``.

        Returns:
            the path, or None when recording is disabled.
        """
        from mlprov import bundles

        if self._nothing_to("export"):
            return None
        if not self.ended:
            self.wait()
        with self._reading() as store:
            written = bundles.export_run(store, self.id, pathlib.Path(path), disclose=disclose)
        self._exported = os.fspath(path)
        return written

    def prove(
        self,
        *,
        tensor: str | None = None,
        batch: int | None = None,
        sample: int | str | None = None,
        record: int | None = None,
        epoch: int | None = None,
        role: str | None = None,
    ) -> Proof | None:
        """One claim with all that is needed to check it (docs/format.md section 9).

        Give one of ``tensor`` (name; at ``epoch`` or the last weights), ``batch`` (number within
        ``epoch``), ``sample`` (index or path within the data set of ``role``) or ``record`` (its
        seq).

        Returns:
            the proof, or None when recording is disabled.
        """
        from mlprov import proofs

        if self._nothing_to("prove"):
            return None
        if not self.ended:
            self.wait()
        with self._reading() as store:
            return proofs.prove(
                store,
                self.id,
                tensor=tensor,
                batch=batch,
                sample=sample,
                record=record,
                epoch=epoch,
                role=role,
            )

    def __repr__(self) -> str:
        return f"<mlprov.Run {self.id} {self.name!r} {self._status}>"

    def __str__(self) -> str:
        if self._head is None:
            return f"run {self.id} ({self.name}): {self._status}; nothing recorded"
        size, root = self._head
        cost = self.overhead
        bundle = self._exported or "NAME.mlprov"
        command = f"mlprov verify {bundle}" + (f" --model {self._saved}" if self._saved else "")
        if self._exported is None:
            command = f"mlprov export {self.id} {bundle} && {command}"
        return "\n".join(
            (
                f"run       {self.id} ({self.name}), {self._status}",
                f"root      sha256:{root.hex()} over {size} records",
                f"recorded  {self._epochs} epochs, {self._batches} batches, "
                f"{self.recorder.gaps} gaps",
                f"cost      {cost['seconds']:.3f} s on the training thread, "
                f"{cost['share']:.1%} of the run",
                f"verify    {command}",
            )
        )

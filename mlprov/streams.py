"""Batches on their way from a loader to the log: one stream for each pass within an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mlprov import batches
from mlprov._core import LeafStream
from mlprov.epochs import Epoch
from mlprov.errors import Error
from mlprov.items import class_name, encode_text
from mlprov.left_streams import name_stream
from mlprov.loaders import begin_pass
from mlprov.recorder import Recorder
from mlprov.records import Json
from mlprov.tree_references import TreeReference

if TYPE_CHECKING:
    from mlprov.runs import Run

__all__ = ["BatchStream", "Streams", "Tracked"]

T = TypeVar("T")


class Streams:
    """The streams of one run: those that are open, and what all of them held.

    Attributes:
        batches: how many batches the closed ones had; the end of the run states it.
        run_id: whose they are.
        seeds: whether states of generators are recorded (mlprov.start).
        life: what sets their names apart from those of a process before this one.
    """

    def __init__(
        self, recorder: Recorder, run_id: str, algorithm: str, seeds: bool | str = True
    ) -> None:
        self.batches = 0
        self.seeds = seeds
        self.recorder = recorder
        self.algorithm = algorithm
        self.run_id = run_id
        self.life = ""
        self._opened = 0
        self._live: list[BatchStream] = []

    @property
    def seen(self) -> int:
        """How many batches all of them have had so far, open ones too."""
        return self.batches + sum(stream.count for stream in self._live)

    def open_leaves(self, epoch: int | None, role: str) -> LeafStream:
        """A new open leaves file of this run (docs/format.md section 11)."""
        name = name_stream(self.life, self._opened, epoch, role)
        self._opened += 1
        return self.recorder.store.open_stream(self.run_id, name)

    def keep(self, stream: BatchStream) -> None:
        """Remember a stream that is open, so that the end of its epoch closes it."""
        self._live.append(stream)

    def drop(self, stream: BatchStream) -> None:
        """Forget a stream that was closed."""
        self._live = [other for other in self._live if other is not stream]

    def close_of(self, epoch: Epoch) -> None:
        """Close those of an epoch; their loaders may go on, into the next one or outside of all."""
        for stream in [stream for stream in self._live if stream.epoch is epoch]:
            stream.close()

    def close_all(self) -> None:
        """Close what is open at the end of the run."""
        for stream in list(self._live):
            stream.close()


class BatchStream:
    """The batch leaves of one pass over a loader within one epoch, on their way to a file.

    Attributes:
        epoch: within which; None outside of all.
        closed: whether it has ended.
        count: batches so far.
    """

    def __init__(
        self, streams: Streams, role: str, epoch: Epoch | None, loader: Json = None
    ) -> None:
        self.epoch = epoch
        self._loader = loader
        self.closed = False
        self._streams = streams
        self._recorder = streams.recorder
        self._role = role
        self._epoch_index = None if epoch is None else epoch.index
        self.count = 0
        self._samples = 0
        self._bytes = 0
        self._lost: Exception | None = None
        self._leaves: LeafStream | None = None
        self._attempt("batches", self._open)

    def _attempt(self, what: str, action: Callable[[], None]) -> None:
        self._recorder.attempt(what, action, epoch=self._epoch_index, role=self._role)

    def _open(self) -> None:
        try:
            self._leaves = self._streams.open_leaves(self._epoch_index, self._role)
        except Exception as error:
            self._lost = error
            raise
        finally:
            self._streams.keep(self)

    def add(self, batch: object) -> None:
        """Hash a batch and append its leaf."""
        if self._leaves is not None:
            self._attempt("batch", lambda: self._append(batch))
        elif self._lost is not None:
            self.count += 1

    def _append(self, batch: object) -> None:
        assert self._leaves is not None
        refused: Exception | None = None
        try:
            capture = batches.capture_batch(self.count, batch, self._streams.algorithm)
        except Exception as error:  # noqa: BLE001  (whatever a foreign tensor raises)
            # The batches behind it keep their numbers: this one is named by its class alone.
            refused = error
            text = (
                f'{{"batch":{self.count},"items":{{"$opaque":{encode_text(class_name(batch))}}}}}'
            )
            capture = batches.BatchCapture(text.encode(), 0, 0, ())
        try:
            self._leaves.append(capture.leaf)
        except Exception as error:
            # A stream with a hole would number the batches wrongly: it ends here, and a gap says
            # how many are lost.
            leaves, self._leaves = self._leaves, None
            self._lost = error
            self.count += 1
            leaves.abandon()
            raise
        self.count += 1
        self._samples += capture.samples
        self._bytes += capture.bytes
        if refused is not None:
            raise refused
        for kind in capture.opaque:
            self._recorder.warn(
                f"a batch holds objects of type {kind}, which are recorded by type only",
                once=f"opaque {kind}",
            )

    def close(self) -> None:
        """Close the stream; its tree goes to the epoch, or to a record of its own outside one."""
        if not self.closed:
            self.closed = True
            self._attempt("batches", self._finish)

    def _finish(self) -> None:
        self._streams.drop(self)
        tree: Json = None
        self._streams.batches += self.count
        if self._leaves is not None:
            leaves, self._leaves = self._leaves, None
            size = leaves.size
            try:
                tree = TreeReference(leaves.close(), size).json()
            except (Error, OSError) as error:
                leaves.abandon()
                if self._recorder.raises:
                    raise
                self._lost = error
        if self._lost is not None and self.count:
            self._recorder.gap("batches", self._lost, count=self.count)
        stream: Json = {
            "batches": self.count,
            "bytes": self._bytes,
            "indices": None,
            "loader": self._loader,
            "role": self._role,
            "samples": self._samples,
            "tree": tree,
        }
        if self.epoch is not None:
            self.epoch.streams.append(stream)
        else:
            self._recorder.append("batches", streams=[stream])


class Tracked(Generic[T]):
    """A loader whose batches are recorded as they pass; everything else is the loader's own."""

    def __init__(self, run: Run, loader: Iterable[T], role: str) -> None:
        self._run = run
        self._loader = loader
        self._role = role

    def __iter__(self) -> Iterator[T]:
        return iter(self._loader) if self._run.recorder.records_nothing else self._recorded()

    def _recorded(self) -> Iterator[T]:
        run = self._run
        source, facts = begin_pass(self._loader, run.recorder, seeds=run.streams.seeds)
        stream = BatchStream(run.streams, self._role, run.current_epoch, facts)
        try:
            for batch in source:
                run.barrier.between_batches()
                if stream.closed or stream.epoch is not run.current_epoch:
                    # An epoch has ended or begun since: the batches before are not its own.
                    stream.close()
                    stream = BatchStream(run.streams, self._role, run.current_epoch)
                stream.add(batch)
                yield batch
        finally:
            if not run.recorder.in_child and not run.ended:
                stream.close()

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # a copy that is being made has none yet
            raise AttributeError(name)
        return getattr(self._loader, name)

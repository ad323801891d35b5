"""Batches on their way from a loader to the log: one stream for each pass within an epoch."""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from mlprov._core import LeafStream
from mlprov.batches import BatchCapture, BatchInHand, HashedBatch, WriteProbe
from mlprov.epochs import Epoch
from mlprov.errors import Error
from mlprov.index_orders import IndexOrder, index_leaf
from mlprov.left_streams import index_stream, name_stream
from mlprov.loaders import Pass, begin_pass
from mlprov.recorder import Recorder
from mlprov.records import Json
from mlprov.tree_references import TreeReference

if TYPE_CHECKING:
    from mlprov.runs import Run

__all__ = ["BatchStream", "Streams", "Tracked"]

T = TypeVar("T")

MAX_QUEUED: Final = 4  # batches: what is hashed within a step needs one
MAX_BYTES: Final = 64 << 20  # of their tensors
_AT_ONCE: Final = (64 << 10) - 1  # bytes; csrc/capture/ticket.h, MLP_TICKET_LEN_MIN
_ANY: Final = 1 << 62
_SYNC_AFTER: Final = 4.0  # seconds that leaves may wait, and the next look at them:
_LOOK_EVERY: Final = 1.0  # together five (docs/format.md section 11)


class Streams:
    """The streams of one run: those that are open, and what all of them held.

    Attributes:
        batches: how many batches the closed ones had; the end of the run states it.
        waits: how often training waited for batches that were still being hashed.
        beside: whether batches may be hashed beside training. False from the start, or once a loop
            wrote into one.
        seeds: whether states of generators are recorded (mlprov.start).
        run_id: whose they are.
        life: what sets their names apart from those of a process before this one.
    """

    def __init__(
        self,
        recorder: Recorder,
        run_id: str,
        algorithm: str,
        *,
        beside: bool,
        seeds: bool | str = True,
    ) -> None:
        self.batches = 0
        self.waits = 0
        self.beside = beside
        self.seeds = seeds
        self.recorder = recorder
        self.algorithm = algorithm
        self.run_id = run_id
        self.life = ""
        self._opened = 0
        self._live: list[BatchStream] = []
        self._look_at = 0.0  # time.monotonic()

    @property
    def seen(self) -> int:
        """How many batches all of them have had so far, open ones too."""
        return self.batches + sum(stream.count for stream in self._live)

    def next_name(self, epoch: int | None, role: str) -> str:
        """What the next stream is called in its files' names."""
        self._opened += 1
        return name_stream(self.life, self._opened - 1, epoch, role)

    def open_leaves(self, name: str) -> LeafStream:
        """A new open leaves file of this run (docs/format.md section 11)."""
        return self.recorder.store.open_stream(self.run_id, name)

    def sync_due(self) -> None:
        """Have what was appended some seconds ago on the disk, whichever stream goes on now."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY
            for stream in list(self._live):
                stream.sync_older(_SYNC_AFTER)

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

    def close_all(self, timeout: float | None = None) -> None:
        """Close what is open at the end of the run.

        Args:
            timeout: seconds to wait at most for batches that are still being hashed; what is not
                hashed then is a gap. None: no limit.
        """
        ends = None if timeout is None else time.monotonic() + timeout
        for stream in list(self._live):
            stream.close(ends)


class BatchStream:
    """The batch leaves of one pass over a loader within one epoch, on their way to a file.

    Batches that are hashed beside training wait here; their leaves are appended in the order in
    which the loader gave them. Beside the newest, which the loop has in its hands anyway, at most
    :data:`MAX_QUEUED` of at most :data:`MAX_BYTES` together are kept: then the loop waits.

    Attributes:
        epoch: within which; None outside of all.
        closed: whether it has ended.
        count: batches so far.
    """

    def __init__(
        self,
        streams: Streams,
        role: str,
        epoch: Epoch | None,
        source: Pass[Any],
        hash: str,  # noqa: A002
    ) -> None:
        self.epoch = epoch
        self.closed = False
        self._loader = source.facts
        self._order = source.order
        self._hash = hash
        self._streams = streams
        self._recorder = streams.recorder
        self._role = role
        self._epoch_index = None if epoch is None else epoch.index
        self.count = 0
        self._samples = 0
        self._bytes = 0
        self._guard = "inline"
        self._lost: Exception | None = None
        self._leaves: LeafStream | None = None
        self._indices: LeafStream | None = None
        self._queue: collections.deque[BatchInHand] = collections.deque()
        self._probe: WriteProbe | None = None
        self._short: LeafStream | None = None  # _leaves while the next batch may take the short way
        self._attempt("batches", self._open)

    def _attempt(self, what: str, action: Callable[[], None]) -> None:
        self._recorder.attempt(what, action, epoch=self._epoch_index, role=self._role)

    def _open(self) -> None:
        name = self._streams.next_name(self._epoch_index, self._role)
        try:
            if self._order is not None:
                self._indices = self._streams.open_leaves(index_stream(name))
            if self._hash == "content":
                self._leaves = self._streams.open_leaves(name)
        except Exception as error:
            self._lose_all(error)
            raise
        finally:
            self._streams.keep(self)

    def _lose_all(self, error: Exception) -> None:
        """The stream ends here; a gap will say how many batches are lost."""
        self._lost = error
        self._short = None
        self._queue.clear()
        for leaves in (self._leaves, self._indices):
            if leaves is not None:
                leaves.abandon()
        self._leaves = self._indices = None

    # ---- batches ----

    def add(self, batch: object) -> None:
        """Hash a batch, or begin to; its leaf is appended behind those before it."""
        if isinstance(batch, HashedBatch):
            self._attempt("batch", lambda: self._take_hashed(batch))
        elif self._short is None or not self._add_plain(self._short, batch):
            self._attempt("batch", lambda: self._take(batch))

    def sync_older(self, seconds: float) -> None:
        """Have what was appended so long ago on the disk."""
        for leaves in (self._leaves, self._indices):
            if leaves is not None:
                # What cannot be written is said by the next leaf, or by the stream's end.
                with contextlib.suppress(Error, OSError):
                    leaves.sync_older(int(seconds * 1000))

    def _add_plain(self, leaves: LeafStream, batch: object) -> bool:
        """Take a small batch in one call, which hashes and appends it; false: nothing was done.

        This is what most steps of a training with small batches do, so it has no more parts than
        it needs: between two steps of a training nothing of them is left in the caches.
        """
        began = time.perf_counter()
        streams = self._streams
        most = _AT_ONCE if streams.beside else _ANY
        try:
            taken = leaves.append_batch(batch, streams.algorithm, most)
        except Exception:  # noqa: BLE001  (the longer way says what it is, and to whom)
            return False
        if taken is None:
            return False
        self.count += 1
        self._samples += taken[0]
        self._bytes += taken[1]
        if self._order is not None:
            self._add_indices(self._order)
        self._recorder.seconds += time.perf_counter() - began
        return True

    def _add_indices(self, order: IndexOrder) -> None:
        with contextlib.suppress(Exception):  # the longer way says what it is
            if self._indices is not None and self._indices.append_indices(order.next):
                order.drop()
                return
        self._attempt("indices", lambda: self._take_indices(order))

    def _take_hashed(self, batch: HashedBatch) -> None:
        self._settle(None)
        if self._order is not None:
            self._take_indices(self._order)
        capture = batch.numbered(self.count)
        self.count += 1
        try:
            if self._leaves is not None:
                self._leaves.append(capture.leaf)
        except Exception as error:
            self._lose_all(error)  # a stream with a hole would number the batches wrongly
            raise
        self._count(capture)

    def _take(self, batch: object) -> None:
        if self._order is not None:
            self._take_indices(self._order)
        if self._leaves is not None:
            self._queue.append(self._begin(batch))
        self.count += 1
        self._settle_done()
        self._make_room()
        # The short way is open once the first batch was watched, and past none that is queued.
        watched = self._probe is None and (self.count > 1 or not self._streams.beside)
        self._short = self._leaves if watched and not self._queue else None

    def _take_indices(self, order: IndexOrder) -> None:
        """Append the index leaf of the next batch. Once one is missing there is no tree."""
        try:
            indices = order.take()  # also where they are lost: the next stream goes on from here
            if self._indices is None:
                return
            if not self._indices.append_indices(indices):
                number = self._indices.size
                self._indices.append(index_leaf(number, indices, self._streams.algorithm))
            self._samples += len(indices) if self._hash == "index" else 0
        except Exception as error:
            leaves, self._indices = self._indices, None
            if leaves is None:  # said before
                return
            leaves.abandon()
            if self._recorder.raises:
                raise
            self._recorder.gap("indices", error)

    def _begin(self, batch: object) -> BatchInHand:
        streams, number = self._streams, self.count
        if self._probe is not None and self._probe.was_written():
            streams.beside = False
        # The first is hashed before the loop has it: it tells whether loops write into them.
        beside = streams.beside and number > 0
        in_hand = BatchInHand(number, batch, streams.algorithm, beside=beside)
        self._probe = WriteProbe(in_hand.tensors()) if streams.beside and number == 0 else None
        if in_hand.bytes:
            self._guard = "none"
        return in_hand

    def _settle_done(self) -> None:
        while self._queue and not self._queue[0].is_beside:
            self._settle_first(None)

    def _make_room(self) -> None:
        """Of all but the newest, which the loop has anyway."""
        before = list(self._queue)[:-1]
        kept = sum(in_hand.bytes for in_hand in before)
        for count, in_hand in enumerate(before):
            if len(before) - count <= MAX_QUEUED and kept <= MAX_BYTES:
                return
            self._streams.waits += in_hand.is_beside
            self._settle_first(None)
            kept -= in_hand.bytes

    def _settle(self, ends: float | None) -> None:
        while self._queue:
            self._settle_first(None if ends is None else max(0.0, ends - time.monotonic()))

    def _settle_first(self, timeout: float | None) -> None:
        """Append the leaf of the first; Ctrl-C in here leaves it queued, or appended once."""
        in_hand = self._queue[0]
        try:
            in_hand.wait(timeout)
            capture = in_hand.capture()
        except Exception as error:  # noqa: BLE001  (whatever a foreign tensor raises)
            capture = in_hand.refused(error)
        try:
            if self._leaves is not None and self._leaves.size == in_hand.number:
                self._leaves.append(capture.leaf)
        except Exception as error:
            self._lose_all(error)  # a stream with a hole would number the batches wrongly
            raise
        self._queue.popleft()
        self._count(capture)

    def _count(self, capture: BatchCapture) -> None:
        self._samples += capture.samples
        self._bytes += capture.bytes
        for kind in capture.opaque:
            self._recorder.warn(
                f"a batch holds objects of type {kind}, which are recorded by type only",
                once=f"opaque {kind}",
            )
        if capture.error is not None:
            self._lose(capture.error)

    def _lose(self, error: Exception) -> None:
        """The values of one batch are not in its leaf; the others go on."""
        if getattr(error, "status", "") == "CHANGED":
            self._streams.beside = False
        if self._recorder.raises:
            raise error
        self._recorder.gap("batch", error)

    # ---- the end ----

    def close(self, ends: float | None = None) -> None:
        """Close the stream; its tree goes to the epoch, or to a record of its own outside one.

        Args:
            ends: until when to wait for batches that are still being hashed (``time.monotonic()``);
                None: no limit.
        """
        if not self.closed:
            self.closed = True
            try:
                self._attempt("batch", lambda: self._settle(ends))
            finally:
                self._attempt("batches", self._finish)

    def _finish(self) -> None:
        self._streams.drop(self)
        self._probe = None
        self._short = None
        if self._leaves is not None:  # a batch of another thread that came at the last moment
            self.count = max(self.count, self._leaves.size)
        self._streams.batches += self.count
        tree = self._close_leaves(self._leaves, self._lose_batches)
        indices = self._close_leaves(self._indices, self._lose_indices)
        self._leaves = self._indices = None
        if self._lost is not None and self.count:
            self._recorder.gap("batches", self._lost, count=self.count)
        stream: Json = {
            "batches": self.count,
            "bytes": self._bytes,
            "guard": self._guard,
            "hash": self._hash,
            "indices": indices,
            "loader": self._loader,
            "role": self._role,
            "samples": self._samples,
            "tree": tree,
        }
        if self.epoch is not None:
            self.epoch.streams.append(stream)
        else:
            self._recorder.append("batches", streams=[stream])

    def _lose_batches(self, error: Exception) -> None:
        self._lost = error

    def _lose_indices(self, error: Exception) -> None:
        self._recorder.gap("indices", error)

    def _close_leaves(self, leaves: LeafStream | None, lose: Callable[[Exception], None]) -> Json:
        if leaves is None:
            return None
        size = leaves.size
        try:
            return TreeReference(leaves.close(), size).json()
        except (Error, OSError) as error:
            leaves.abandon()
            if self._recorder.raises:
                raise
            lose(error)
            return None


class Tracked(Generic[T]):
    """A loader whose batches are recorded as they pass; everything else is the loader's own."""

    def __init__(self, run: Run, loader: Iterable[T], role: str, hash: str) -> None:  # noqa: A002
        self._run = run
        self._loader = loader
        self._role = role
        self._hash = hash

    def __iter__(self) -> Iterator[T]:
        if self._run.recorder.records_nothing:
            return iter(self._loader)
        return _TrackedPass(self._run, self._loader, self._role, self._hash)

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # a copy that is being made has none yet
            raise AttributeError(name)
        return getattr(self._loader, name)


class _TrackedPass(Generic[T]):
    """One pass over a tracked loader.

    Not a generator: an exception that the loader raises in place of a batch would end it, and a
    loop that skips the sample and goes on would lose the rest without a word.
    """

    def __init__(self, run: Run, loader: Iterable[T], role: str, hash: str) -> None:  # noqa: A002
        self._stream: BatchStream | None = None
        self._run = run
        self._role = role
        self._hash = hash
        self._source = begin_pass(
            loader, run.recorder, seeds=run.streams.seeds, secret=run.is_private
        )

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        run, source = self._run, self._source
        stream = self._stream or self._open()
        try:
            batch = next(source.iterator)
        except StopIteration:
            self.close()
            raise
        except BaseException:
            if source.order is not None:
                source.order.skip_failed(source.iterator)
            raise
        run.barrier.between_batches()
        run.streams.sync_due()
        if stream.closed or stream.epoch is not run.current_epoch:
            # An epoch has ended or begun since: the batches before are not its own.
            stream.close()
            stream = self._open()
        stream.add(batch)
        return batch

    def close(self) -> None:
        """The pass is over: what it had is recorded. A second call does nothing."""
        run = self._run
        if self._stream is not None and not run.recorder.in_child and not run.ended:
            self._stream.close()

    def __del__(self) -> None:
        self.close()

    def _open(self) -> BatchStream:
        run, source, hash = self._run, self._source, self._hash  # noqa: A001
        if source.order is None and hash == "index":
            hash = "content"  # noqa: A001
            run.recorder.warn(
                f"the loader of {self._role!r} has no order of indices: its batches are hashed",
                once=f"index {self._role}",
            )
        self._stream = BatchStream(run.streams, self._role, run.current_epoch, source, hash)
        return self._stream

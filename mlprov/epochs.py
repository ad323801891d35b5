"""Epochs and the batches that pass through them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mlprov import batches, records, redaction
from mlprov._core import LeafStream
from mlprov.errors import ConfigError, Error
from mlprov.items import class_name, encode_text
from mlprov.records import Json
from mlprov.tree_references import TreeReference

if TYPE_CHECKING:
    from mlprov.runs import Run

__all__ = ["Epoch", "Tracked", "metric_values"]

T = TypeVar("T")


def metric_values(metrics: dict[str, Any]) -> dict[str, Json]:
    """Metrics as records carry them: numbers, text, truth values, null, tensors of one element.

    Texts are redacted like a configuration.

    Raises:
        ConfigError: a value of another kind, naming the metric.
    """
    values: dict[str, Json] = {}
    for name, value in metrics.items():
        if not records.json_key(name):
            raise ConfigError(
                f"cannot log the metric {name!r}: its name is not Unicode text without U+0000;"
                " rename it"
            )
        item = getattr(value, "item", None)
        if callable(item) and not isinstance(value, (int, float)):
            try:
                value = item()
            except Exception as error:
                raise ConfigError(
                    f"cannot log the metric {name!r}: expected a number or a tensor of one element,"
                    f" seen {type(value).__name__} ({error}); log its mean or .item()"
                ) from error
        if not (value is None or isinstance(value, (bool, int, float, str))):
            raise ConfigError(
                f"cannot log the metric {name!r}: expected a number, text or None, seen"
                f" {type(value).__name__}"
            )
        values[name] = redaction.redact(records.json_value(value), where=name)
    return values


class Epoch:
    """One pass of training; made by :meth:`mlprov.Run.epochs`.

    Attributes:
        index: position from 0.
        ended: whether its record was made; what is logged afterwards goes into a record of its own.
    """

    def __init__(self, run: Run, index: int) -> None:
        self.index = index
        self.ended = False
        self.metrics: dict[str, Json] = {}
        self.streams: list[Json] = []
        self._run = run

    def __index__(self) -> int:
        return self.index

    def __repr__(self) -> str:
        return f"<mlprov.Epoch {self.index} of run {self._run.id}>"

    def log(self, **metrics: Any) -> None:
        """Add metrics to this epoch's record: numbers, text, or tensors of one element.

        A later value of the same name replaces the earlier one. NaN and infinities are recorded by
        name.
        """
        if self.ended:
            self._run.log(**metrics)
            return
        values = self._run.recorder.attempt(
            "metric", lambda: metric_values(metrics), epoch=self.index
        )
        if values is not None:
            self.metrics.update(values)


class BatchStream:
    """The batch leaves of one pass over a loader within one epoch, on their way to a file."""

    def __init__(self, run: Run, role: str, epoch: Epoch | None) -> None:
        self.epoch = epoch
        self.closed = False
        self._run = run
        self._role = role
        self._epoch_index = None if epoch is None else epoch.index
        self._count = 0
        self._samples = 0
        self._bytes = 0
        self._lost: Exception | None = None
        self._leaves: LeafStream | None = None
        self._attempt("batches", self._open)

    def _attempt(self, what: str, action: Callable[[], None]) -> None:
        self._run.recorder.attempt(what, action, epoch=self._epoch_index)

    def _open(self) -> None:
        try:
            self._leaves = self._run.open_leaf_stream()
        except Exception as error:
            self._lost = error
            raise
        finally:
            self._run.keep_stream(self)

    def add(self, batch: object) -> None:
        """Hash a batch and append its leaf."""
        if self._leaves is not None:
            self._attempt("batch", lambda: self._append(batch))
        elif self._lost is not None:
            self._count += 1

    def _append(self, batch: object) -> None:
        assert self._leaves is not None
        refused: Exception | None = None
        try:
            capture = batches.capture_batch(self._count, batch, self._run.algorithm)
        except Exception as error:  # noqa: BLE001  (whatever a foreign tensor raises)
            # The batches behind it keep their numbers: this one is named by its class alone.
            refused = error
            text = (
                f'{{"batch":{self._count},"items":{{"$opaque":{encode_text(class_name(batch))}}}}}'
            )
            capture = batches.BatchCapture(text.encode(), 0, 0, ())
        try:
            self._leaves.append(capture.leaf)
        except Exception as error:
            # A stream with a hole would number the batches wrongly: it ends here, and a gap says
            # how many are lost.
            leaves, self._leaves = self._leaves, None
            self._lost = error
            self._count += 1
            leaves.abandon()
            raise
        self._count += 1
        self._samples += capture.samples
        self._bytes += capture.bytes
        if refused is not None:
            raise refused
        for kind in capture.opaque:
            self._run.recorder.warn(
                f"a batch holds objects of type {kind}, which are recorded by type only",
                once=f"opaque {kind}",
            )

    def close(self) -> None:
        """Close the stream; its tree goes to the epoch, or to a record of its own outside one."""
        if not self.closed:
            self.closed = True
            self._run.drop_stream(self)
            self._attempt("batches", self._finish)

    def _finish(self) -> None:
        tree: Json = None
        self._run.count_batches(self._count)
        if self._leaves is not None:
            leaves, self._leaves = self._leaves, None
            size = leaves.size
            try:
                tree = TreeReference(leaves.close(), size).json()
            except (Error, OSError) as error:
                leaves.abandon()
                if self._run.recorder.raises:
                    raise
                self._lost = error
        if self._lost is not None and self._count:
            self._run.recorder.gap(
                "batches", self._lost, epoch=self._epoch_index, count=self._count
            )
        stream: Json = {
            "batches": self._count,
            "bytes": self._bytes,
            "indices": None,
            "role": self._role,
            "samples": self._samples,
            "tree": tree,
        }
        if self.epoch is not None:
            self.epoch.streams.append(stream)
        else:
            self._run.recorder.append("batches", streams=[stream])


class Tracked(Generic[T]):
    """A loader whose batches are recorded as they pass; everything else is the loader's own."""

    def __init__(self, run: Run, loader: Iterable[T], role: str) -> None:
        self._run = run
        self._loader = loader
        self._role = role

    def __iter__(self) -> Iterator[T]:
        return iter(self._loader) if self._run.recorder.idle else self._recorded()

    def _recorded(self) -> Iterator[T]:
        run = self._run
        stream = BatchStream(run, self._role, run.current_epoch)
        try:
            for batch in self._loader:
                if stream.closed or stream.epoch is not run.current_epoch:
                    # An epoch has ended or begun since: the batches before are not its own.
                    stream.close()
                    stream = BatchStream(run, self._role, run.current_epoch)
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

"""Epochs and the batches that pass through them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mlprov import batches, records
from mlprov._core import LeafStream
from mlprov.errors import ConfigError
from mlprov.records import Json

if TYPE_CHECKING:
    from mlprov.runs import Run

__all__ = ["Epoch", "Tracked", "metric_values", "tree_reference"]

T = TypeVar("T")


def tree_reference(root: bytes, size: int) -> dict[str, Json]:
    """A tree as records name it: root and size together (docs/format.md section 1)."""
    return {"root": f"sha256:{root.hex()}", "size": size}


def metric_values(metrics: dict[str, Any]) -> dict[str, Json]:
    """Metrics as records carry them: numbers, text, truth values, null; one-element tensors by value.

    Raises:
        ConfigError: a value of another kind, naming the metric.
    """
    values: dict[str, Json] = {}
    for name, value in metrics.items():
        item = getattr(value, "item", None)
        if callable(item) and not isinstance(value, (int, float)):
            try:
                value = item()
            except (TypeError, ValueError, RuntimeError) as error:
                raise ConfigError(
                    f"cannot log the metric {name!r}: expected a number or a tensor of one element, seen "
                    f"{type(value).__name__} ({error}); log its mean or .item()"
                ) from error
        if not (value is None or isinstance(value, (bool, int, float, str))):
            raise ConfigError(
                f"cannot log the metric {name!r}: expected a number, text or None, seen {type(value).__name__}"
            )
        values[name] = records.json_value(value)
    return values


class Epoch:
    """One pass of training; made by :meth:`mlprov.Run.epochs`.

    Attributes:
        index: position from 0.
    """

    def __init__(self, run: Run, index: int) -> None:
        self.index = index
        self.metrics: dict[str, Json] = {}
        self.streams: list[Json] = []
        self._run = run

    def __index__(self) -> int:
        return self.index

    def __repr__(self) -> str:
        return f"<mlprov.Epoch {self.index} of run {self._run.id}>"

    def log(self, **metrics: Any) -> None:
        """Add metrics to this epoch's record: numbers, text, or tensors of one element.

        A later value of the same name replaces the earlier one. NaN and infinities are recorded by name.
        """
        values = self._run.recorder.attempt("metric", lambda: metric_values(metrics), epoch=self.index)
        if values is not None:
            self.metrics.update(values)


class BatchStream:
    """The batch leaves of one pass over a loader, on their way to a leaves file."""

    def __init__(self, run: Run, role: str, epoch: Epoch | None) -> None:
        self._run = run
        self._role = role
        self._epoch = epoch
        self._epoch_index = None if epoch is None else epoch.index
        self._count = 0
        self._samples = 0
        self._bytes = 0
        self._leaves: LeafStream | None = run.recorder.attempt(
            "batches", run.open_leaf_stream, epoch=self._epoch_index
        )

    def add(self, batch: object) -> None:
        """Hash a batch and append its leaf."""
        if self._leaves is not None:
            self._run.recorder.attempt("batch", lambda: self._append(batch), epoch=self._epoch_index)

    def _append(self, batch: object) -> None:
        if self._leaves is None:
            return
        capture = batches.capture_batch(self._count, batch, self._run.algorithm)
        try:
            self._leaves.append(capture.leaf)
        except Exception:
            # A stream with a hole would number the batches wrongly: it ends here, and the record says so.
            leaves, self._leaves = self._leaves, None
            leaves.abandon()
            raise
        self._count += 1
        self._samples += capture.samples
        self._bytes += capture.bytes
        for kind in capture.opaque:
            self._run.recorder.warn(
                f"a batch holds objects of type {kind}, which are recorded by type only",
                once=f"opaque {kind}",
            )

    def close(self) -> None:
        """Close the stream and hand its tree to the epoch, or to a record of its own outside one."""
        self._run.recorder.attempt("batches", self._finish, epoch=self._epoch_index)

    def _finish(self) -> None:
        tree: Json = None
        if self._leaves is not None:
            leaves, self._leaves = self._leaves, None
            size = leaves.size
            tree = tree_reference(leaves.close(), size)
        stream: Json = {
            "batches": self._count,
            "bytes": self._bytes,
            "indices": None,
            "role": self._role,
            "samples": self._samples,
            "tree": tree,
        }
        self._run.count_batches(self._count)
        if self._epoch is not None:
            self._epoch.streams.append(stream)
        else:
            self._run.recorder.append("batches", streams=[stream])


class Tracked(Generic[T]):
    """A loader whose batches are recorded as they pass; everything else is the loader's own."""

    def __init__(self, run: Run, loader: Iterable[T], role: str) -> None:
        self._run = run
        self._loader = loader
        self._role = role

    def __iter__(self) -> Iterator[T]:
        stream = BatchStream(self._run, self._role, self._run.current_epoch)
        try:
            for batch in self._loader:
                stream.add(batch)
                yield batch
        finally:
            if not self._run.recorder.in_child and not self._run.ended:
                stream.close()

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

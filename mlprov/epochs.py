"""Epochs and what is logged within them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlprov import records, redaction
from mlprov.errors import ConfigError
from mlprov.records import Json

if TYPE_CHECKING:
    from mlprov.runs import Run

__all__ = ["Epoch", "metric_values"]


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
                f"cannot log the metric {name!r}: its name is not Unicode text without U+0000",
                "rename it",
            )
        item = getattr(value, "item", None)
        if callable(item) and not isinstance(value, (int, float)):
            try:
                value = item()
            except Exception as error:
                raise ConfigError(
                    f"cannot log the metric {name!r}: expected a number or a tensor of one element,"
                    f" seen {type(value).__name__} ({error})",
                    "log its mean or .item()",
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
        ended: whether it is over; what is logged afterwards goes into a record of its own.
        steps_before: optimizer steps that the run had seen when it began.
        steps: optimizer steps within it, once it is over; None where the run has seen none.
        skipped: those of them in which a GradScaler had nothing written.

    >>> import os, tempfile, unittest.mock, mlprov
    >>> folder = tempfile.TemporaryDirectory()
    >>> with unittest.mock.patch.dict(os.environ, MLPROV_HOME=folder.name + "/home"):
    ...     with mlprov.start("digits", store=folder.name + "/store") as run:
    ...         for epoch in run.epochs(2):
    ...             epoch.log(loss=1 / (epoch.index + 1))
    >>> [record["metrics"] for record in run.records if record["type"] == "epoch"]
    [{'loss': 1}, {'loss': 0.5}]
    >>> folder.cleanup()
    """

    def __init__(self, run: Run, index: int, steps_before: int = 0) -> None:
        self.index = index
        self.steps_before = steps_before
        self.ended = False
        self.metrics: dict[str, Json] = {}
        self.streams: list[Json] = []
        self.steps: int | None = None
        self.skipped: int | None = None
        self._run = run

    def __index__(self) -> int:
        return self.index

    def __repr__(self) -> str:
        return f"<mlprov.Epoch {self.index} of run {self._run.id}>"

    def batches(self, role: str) -> int:
        """How many batches of a role its closed streams have."""
        return sum(
            int(str(stream["batches"]))
            for stream in self.streams
            if isinstance(stream, dict) and stream["role"] == role
        )

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

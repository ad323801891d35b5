"""What is taken of a training at an epoch's end, while its digests are being made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlprov.captures import Capture
from mlprov.epochs import Epoch
from mlprov.records import Json

__all__ = ["EpochCapture", "guard_of"]


def guard_of(captures: Sequence[Capture]) -> str:
    """What kept captures apart from writes: the guard of those that were hashed beside training."""
    return next((one.guard for one in captures if one.guard != "inline"), "inline")


@dataclass(frozen=True)
class EpochCapture:
    """The state at an epoch's end, its digests being made.

    Attributes:
        epoch: whose.
        interrupted: whether its loop was left before the end.
        weights, optimizer, ema: being hashed; None where there are none, or they could not be read.
        trusted, scheduler, scaler, buffers, rng, rng_values, flags, modes, privacy: what the record
            says of them.
    """

    epoch: Epoch
    interrupted: bool
    weights: Capture | None
    trusted: Json
    optimizer: Capture | None
    ema: Capture | None
    scheduler: Json
    scaler: Json
    buffers: Json
    rng: Json
    rng_values: Json
    flags: Json
    modes: Json
    privacy: Json

    @property
    def captures(self) -> list[Capture]:
        """What is being hashed."""
        return [one for one in (self.weights, self.optimizer, self.ema) if one is not None]

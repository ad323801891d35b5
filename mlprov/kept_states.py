"""States that users keep beside model and optimizer: averaged weights, schedulers, scalers.

Each has a tree of its own in an epoch record (docs/format.md section 5). What an object keeps is
what its ``state_dict()`` gives; a state dict may stand in its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlprov import models
from mlprov.errors import ConfigError
from mlprov.items import class_name
from mlprov.model_digests import NamedTensors
from mlprov.modules import flatten, is_module

__all__ = ["KeptStates"]

_EXPECTED = "a module, a state dict, or an object with state_dict()"


@dataclass(frozen=True)
class KeptStates:
    """What a run was given beside model and optimizer.

    Attributes:
        ema: averaged weights: a module (``torch.optim.swa_utils.AveragedModel``, a copy of the
            model), a state dict, or an object with ``state_dict()``.
        scheduler: of the learning rate.
        scaler: of the loss, ``torch.amp.GradScaler``.
    """

    ema: Any = None
    scheduler: Any = None
    scaler: Any = None

    def check(self) -> None:
        """Refuse what keeps no state; nothing is read.

        Raises:
            ConfigError: an object of another kind.
        """
        for name, value in (
            ("ema", self.ema), ("scheduler", self.scheduler), ("scaler", self.scaler),
        ):  # fmt: skip
            if value is None or isinstance(value, Mapping):
                continue
            if not callable(getattr(value, "state_dict", None)):
                raise ConfigError(f"cannot record {name}={class_name(value)}: expected {_EXPECTED}")

    def read(self, name: str, algorithm: str) -> NamedTensors | None:
        """The tensors of one of them, under the names of its state dict; values as leaves.

        Of a module they are those of its persistent state dict, so that averaged weights that
        equal a model have its root.
        """
        value = getattr(self, name)
        if value is None:
            return None
        if is_module(value):
            return NamedTensors(*models.named_tensors(value))
        return models.state_tensors(_state_of(value), algorithm)


def _state_of(value: Any) -> Iterator[tuple[str, Any]]:
    """(name, tensor or value) of a state dict; of an object also its class."""
    state = value
    if not isinstance(value, Mapping):
        yield "class", class_name(value)
        state = value.state_dict()
    for key, item in state.items():
        yield from flatten(str(key), item)

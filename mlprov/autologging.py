"""Recording without a change to the loop: :func:`autolog`, called once, or by ``mlprov run``.

What is to be recorded is not known yet when a script starts, and importing a framework to find out
would take seconds. So a hook waits for each framework to be imported by the script itself, and
then hands it to the module of :mod:`mlprov.integrations` that knows it. Nothing is recorded in a
process that never trains.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
import pathlib
import sys
import threading
import warnings
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from mlprov import configuration
from mlprov.errors import ConfigError

__all__ = ["autolog", "run_name"]

# Module that a script imports → the integration that records what is done with it.
_INTEGRATIONS = {
    "torch": "loops",
    "lightning.pytorch": "lightning",
    "pytorch_lightning": "lightning",
    "transformers.trainer": "huggingface",
    "keras": "keras",
}

_installing = threading.Lock()
_waiting: dict[str, Callable[[ModuleType], None]] = {}


def autolog(name: str | None = None, **options: Any) -> None:
    """Record every training in this process from now on. A second call does nothing.

    Trainers of Lightning and Hugging Face, and ``fit`` of Keras models, are given their callback
    (docs/integrations.md). A loop of one's own is recorded as soon as a torch optimizer makes its
    first step: the run begins with the weights before that step, of the outermost module that has
    every parameter of the optimizer; a pass over a ``DataLoader`` in which an optimizer steps is an
    epoch, and its batches are recorded with the role ``train``, those of other passes as ``other``;
    a loop without a ``DataLoader`` is one epoch, which lasts until the process ends. Runs that the
    script starts itself are left to it.

    Args:
        name: of the runs; by default that of the script.
        **options: of :func:`mlprov.start`, for every run.

    Raises:
        ConfigError: an option that ``mlprov.start`` does not have, or a setting of the wrong kind.

    >>> import os, unittest.mock
    >>> with unittest.mock.patch.dict(os.environ, MLPROV_DISABLED="1"):
    ...     autolog("digits", tags=["nightly"])
    """
    if configuration.is_disabled():
        return
    # What is wrong with the settings is said here, and not in the middle of the training.
    given = {key: value for key, value in options.items() if key not in ("config", "parents")}
    objects = given.keys() & {"model", "optimizer", "ema", "scheduler", "scaler", "privacy"}
    if objects:
        raise ConfigError(
            f"cannot record automatically with {min(objects)}=: it belongs to one training, and"
            " autolog records all of them",
            f"record this training with mlprov.start({min(objects)}=...), a run of its own",
        )
    unknown = given.keys() - {field.name for field in dataclasses.fields(configuration.Settings)}
    if unknown:
        raise ConfigError(
            f"cannot record automatically: mlprov.start has no option {min(unknown)!r}",
            "its options are those of mlprov.autolog",
        )
    configuration.resolve(given)
    with _installing:
        if _waiting or any(isinstance(finder, _Finder) for finder in sys.meta_path):
            return
        for module, integration in _INTEGRATIONS.items():
            _waiting[module] = _action(integration, name, options)
        sys.meta_path.insert(0, _Finder())
    for module in list(_waiting):
        if module in sys.modules:
            _waiting.pop(module)(sys.modules[module])


def run_name(given: str | None) -> str:
    """What a run is called whose user gave no name: as the script is, else as the interpreter."""
    script = pathlib.Path(getattr(sys, "argv", [""])[0] or "").stem
    return given or os.environ.get("MLPROV_AUTOLOG_NAME") or script.strip("-") or "interactive"


def _action(integration: str, name: str | None, options: dict[str, Any]) -> Any:
    def record(module: ModuleType) -> None:
        try:
            home = importlib.import_module(f"mlprov.integrations.{integration}")
            home.record_automatically(module, name, options)
        except Exception as error:  # noqa: BLE001  (the script goes on, whatever this release of a framework is like)
            from mlprov.recorder import RecordingWarning

            warnings.warn(
                f"mlprov: trainings of {module.__name__} are not recorded: {error}",
                RecordingWarning,
                stacklevel=2,
            )

    return record


class _Finder:
    """Stands in front of the import system, and steps aside for all but the frameworks."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The module's own spec; whose loader tells when the module has been executed."""
        del path, target
        action = _waiting.pop(name, None)  # before the search, which asks this finder again
        if action is None:
            return None
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        loader: Any = spec.loader
        execute = loader.exec_module

        def execute_and_tell(module: ModuleType) -> None:
            del loader.exec_module  # from here on the loader is as it was
            execute(module)
            action(module)

        loader.exec_module = execute_and_tell
        return spec

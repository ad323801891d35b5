"""A callback for Keras 3.

    recorded = mlprov.integrations.keras.Callback("digits", data={"train": (x, y)})
    model.fit(x, y, callbacks=[recorded])

On each of Keras' backends: what is recorded are Keras' own variables, under their paths.
"""

from __future__ import annotations

import copy
import functools
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from mlprov.autologging import run_name
from mlprov.integrations import frameworks, loaders_in_place
from mlprov.integrations.recording import Recording
from mlprov.recorder import RecordingWarning
from mlprov.runs import Run

__all__ = ["Callback", "record_automatically"]

_SAVES = ("save", "save_weights")  # methods of a Keras model that write a file

_keras: Any = frameworks.load("keras", "keras")


class Callback(_keras.callbacks.Callback):  # type: ignore[misc]
    """Records what ``fit``, ``evaluate`` and ``predict`` of a Keras model do.

    Of a fit: variables of the model and of its optimizer before it and at the end of every epoch,
    metrics, validation's too, and each file that ``model.save`` and ``model.save_weights`` write,
    ``ModelCheckpoint``'s too. Keras passes no batches to callbacks: hand over the data sets as
    ``data``, or a loader that is not an array as ``callback.track(loader)``. Variables are hashed
    before the hook returns: Keras' optimizers call no hook of torch's, and JAX gives buffers away.

    Keras has no hook for exceptions: a run whose training ended in one is ended as failed by the
    next training, or when the interpreter exits.

    Args:
        name: of the runs that are started.
        run: a run to record into instead; it stays open.
        data: data sets by role, as :meth:`mlprov.Run.track_data` takes them; recorded with each
            fit.
        **options: of :func:`mlprov.start`. ``config`` is what ``fit`` and the optimizer were given
            where it is not given.

    Attributes:
        recording: what is going on.

    Raises:
        ConfigError: neither or both of ``name`` and ``run``.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        run: Run | None = None,
        data: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.recording = Recording(name, run, options)
        self._data = dict(data or {})
        self._in_fit = False
        self._fitted: str | None = None  # id of the last fit's run
        self._steps = 0  # that the optimizer had made before this epoch

    @property
    def run(self) -> Run | None:
        """The run of the fit that is going on, or of the last; None before the first."""
        return self.recording.run

    def track(self, loader: Any, role: str = "train") -> Any:
        """The data set whose batches are recorded as they are read, as ``fit`` takes it.

        Args:
            loader: a torch ``DataLoader`` or a ``keras.utils.PyDataset``. Keras may read a batch
                before its use; the record tells what was read.
            role: what the batches are used for.
        """
        if isinstance(loader, _keras.utils.PyDataset):
            return _Batches(self.recording, loader, role)
        recorded = copy.copy(loader)
        loaders_in_place.record_in_place(recorded, lambda batches: self._pass(batches, role))
        return recorded

    def _pass(self, batches: Iterable[Any], role: str) -> Iterator[Any]:
        if self.recording.is_open and self.run is not None:
            yield from self.run.track(batches, role=role)
            return
        for batch in batches:  # read before the fit has begun, to build the model
            self.recording.batch(role, batch)
            yield batch

    def on_train_begin(self, logs: Any = None) -> None:
        """A fit begins: there is a model, built or not, and an optimizer."""
        self._in_fit, self._steps = True, _steps(self.model)
        self.recording.begin(
            model=variables(self.model),
            optimizer=_Optimizer(self.model),
            config={"fit": self.params, "optimizer": _settings(self.model)},
        )
        self._fitted = None if self.run is None else self.run.id
        self._watch_saves()
        if self.recording.is_open and self.run is not None and self._data:
            self.run.track_data(**self._data)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """An epoch begins."""
        self.recording.begin_epoch(epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """An epoch is complete, its validation too."""
        self._take_state()
        self.recording.end_epoch(logs or {})

    def _take_state(self) -> None:
        """Say what the variables are now, and how many steps made them."""
        before, self._steps = self._steps, _steps(self.model)
        self.recording.step(variables(self.model), max(0, self._steps - before))

    def on_train_end(self, logs: Any = None) -> None:
        """A fit is over."""
        self._in_fit = False
        self._stop_watching_saves()
        self.recording.end()

    # ---- checkpoints ----

    def _watch_saves(self) -> None:
        """Record what the model's own methods write while it is fitted: no hook tells of it."""
        self._stop_watching_saves()  # of a fit that ended in an exception
        for name in _SAVES:
            self.model.__dict__[name] = self._recorded(getattr(self.model, name))

    def _stop_watching_saves(self) -> None:
        for name in _SAVES:
            self.model.__dict__.pop(name, None)

    def _recorded(self, save: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(save)
        def save_and_record(filepath: Any, *arguments: Any, **keywords: Any) -> Any:
            result = save(filepath, *arguments, **keywords)
            self._take_state()
            self.recording.checkpoint(filepath)
            return result

        return save_and_record

    # ---- evaluations ----

    def on_test_begin(self, logs: Any = None) -> None:
        """An evaluation begins; within a fit it is the validation of an epoch."""
        if not self._in_fit:
            self._begin_alone("evaluate")

    def on_test_end(self, logs: Any = None) -> None:
        """An evaluation is over."""
        if not self._in_fit:
            self.recording.log(logs or {})
            self.recording.end()

    def on_predict_begin(self, logs: Any = None) -> None:
        """A prediction begins; one within a fit, of another callback, is part of it."""
        if not self._in_fit:
            self._begin_alone("predict")

    def on_predict_end(self, logs: Any = None) -> None:
        """A prediction is over."""
        if not self._in_fit:
            self.recording.end()

    def _begin_alone(self, what: str) -> None:
        if self._fitted is not None:
            self.recording.parents.append(self._fitted)
        self.recording.begin(model=variables(self.model), config={what: self.params})


def record_automatically(keras: ModuleType, name: str | None, options: Mapping[str, Any]) -> None:
    """Give every ``fit`` from now on a callback, if it has none."""
    model: Any = vars(keras)["Model"]
    fit = model.fit

    @functools.wraps(fit)
    def fit_recorded(self: Any, *arguments: Any, **keywords: Any) -> Any:
        given = inspect.signature(fit).bind(self, *arguments, **keywords)
        callbacks = given.arguments.get("callbacks") or []
        if isinstance(callbacks, _keras.callbacks.Callback):
            callbacks = [callbacks]
        if isinstance(callbacks, _keras.callbacks.CallbackList):
            warnings.warn(
                "mlprov: not recorded: a fit whose callbacks are a CallbackList; add"
                " mlprov.integrations.keras.Callback to it",
                RecordingWarning,
                stacklevel=2,
            )
        elif not any(isinstance(one, Callback) for one in callbacks):
            data = _arrays(given.arguments.get("x"), given.arguments.get("y"))
            recorded = Callback(run_name(name), data=data, **options)
            given.arguments["callbacks"] = [*callbacks, recorded]
        return fit(*given.args, **given.kwargs)

    model.fit = fit_recorded


def _arrays(x: Any, y: Any) -> Mapping[str, Any]:
    """The data set that ``fit`` was given, where it is arrays."""
    given = [one for one in (x, y) if one is not None]
    if given and all(hasattr(one, "__array__") and hasattr(one, "shape") for one in given):
        return {"train": tuple(given) if len(given) > 1 else given[0]}
    return {}


def variables(model: Any) -> dict[str, Any]:
    """The variables of a Keras model: path → its value on the backend."""
    return {variable.path: _value(variable) for variable in model.variables}


def _value(variable: Any) -> Any:
    value = variable.value
    return value.detach() if hasattr(value, "detach") else value


def _settings(model: Any) -> Any:
    optimizer = getattr(model, "optimizer", None)
    return None if optimizer is None else {**optimizer.get_config(), "name": optimizer.name}


def _steps(model: Any) -> int:
    """How many steps the model's optimizer has made; Keras tells no hook of them."""
    optimizer = getattr(model, "optimizer", None)
    return 0 if optimizer is None else int(optimizer.iterations.value)


class _Optimizer:
    """A Keras optimizer as a run reads optimizers: one group of settings, and its variables."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @property
    def param_groups(self) -> list[Any]:
        """Its settings; it names its variables itself."""
        return [{"params": [], **(_settings(self._model) or {})}]

    @property
    def state(self) -> dict[str, Any]:
        """Path → value."""
        optimizer = getattr(self._model, "optimizer", None)
        held = () if optimizer is None else optimizer.variables
        return {variable.path: _value(variable) for variable in held}


class _Batches(_keras.utils.PyDataset):  # type: ignore[misc]
    """A ``PyDataset`` whose batches are recorded as Keras asks for them, on one thread."""

    def __init__(self, recording: Recording, dataset: Any, role: str) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self._recording = recording
        self._dataset = dataset
        self._role = role

    @property
    def num_batches(self) -> Any:
        """How many batches one pass has."""
        return self._dataset.num_batches

    def __getitem__(self, index: int) -> Any:
        """One batch."""
        batch = self._dataset[index]
        self._recording.batch(self._role, batch)
        return batch

    def on_epoch_begin(self) -> None:
        """The data set's own."""
        self._dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """The data set's own."""
        self._dataset.on_epoch_end()

"""What is done with data and models around a training, as ``activity`` records.

The verbs are those of ProML: ``select_data``, ``preprocess_data``, ``engineer_features``,
``train``, ``evaluate``, ``validate``, ``deploy``. Each is a call, a decorator or a context manager;
inputs and outputs stand in the record by digest, so that one activity's output is found again as
the next one's input, and as a ``data`` or ``model`` record of the same root.
"""

from __future__ import annotations

import functools
import inspect
import os
import pathlib
import re
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from mlprov import batches, datasets, models, records, redaction
from mlprov.digests import Digest, digest
from mlprov.errors import ConfigError, UnsupportedTensorError
from mlprov.items import class_name
from mlprov.modules import is_module
from mlprov.records import Json
from mlprov.tree_references import TreeReference

if TYPE_CHECKING:
    from mlprov.recorder import Recorder

__all__ = ["Activities", "Activity", "Verb"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_DIGEST = re.compile(r"(blake3|sha256|sha384|sha512):[0-9a-f]{64,128}")

# The fields that ProML's table has for each verb: keyword → name in the record.
_COLUMNS = {"column_info": "columnInfo", "label_info": "labelInfo"}
_SCORES = {
    "f1": "F1",
    "accuracy": "accuracy",
    "recall": "recall",
    "precision": "precision",
    "matthew": "Matthew",
    "mse": "MSE",
    "fowlkes": "Fowlkes",
}
_FIELDS: dict[str, dict[str, str]] = {
    "select_data": _COLUMNS,
    "preprocess_data": _COLUMNS,
    "engineer_features": {"feature_list": "featureList"},
    "train": {"hyperparameters": "hyperparameters"},
    "evaluate": _SCORES,
    "validate": _SCORES,
    "deploy": {"deployment_info": "deploymentInfo"},
}


class Activity:
    """One activity that is going on; made by entering a :class:`Verb`.

    What is handed over is hashed when it is: what an activity changes in place it says first.
    """

    def __init__(self, run: Activities, verb: str) -> None:
        self._run = run
        self._verb = verb
        self._inputs: list[Json] = []
        self._outputs: list[Json] = []
        self._params: dict[str, Json] = {}
        self._began = time.perf_counter()

    def inputs(self, /, **things: Any) -> None:
        """What the activity uses, by name: data sets, arrays, paths, models, digests, values."""
        self._inputs += self._run._entries(self._verb, things)

    def outputs(self, /, **things: Any) -> None:
        """What it makes, of the same kinds."""
        self._outputs += self._run._entries(self._verb, things)

    def params(self, /, **values: Any) -> None:
        """Settings and results: ProML's fields by their keywords, others by their own names."""
        for name, value in values.items():
            self.attempt(functools.partial(self._set_param, name, value))

    def _set_param(self, name: str, value: Any) -> None:
        plain = records.json_value(value)
        shown = _FIELDS[self._verb].get(name, name)
        self._params[shown] = redaction.redact(plain, where=f"params.{shown}")

    def attempt(self, action: Callable[[], T]) -> T | None:
        """Make a part of the record; what fails is a gap."""
        return self._run.recorder.attempt(f"activity {self._verb}", action)

    def record(self, error: BaseException | None = None, *, timed: bool = False) -> None:
        """Write the record; the error is what ended the activity, named by its class alone."""
        seconds = round(time.perf_counter() - self._began, 3) if timed else None
        self._run._append_activity(
            verb=self._verb,
            inputs=self._inputs,
            outputs=self._outputs,
            params=self._params,
            exception=None if error is None else class_name(error),
            seconds=seconds,
        )


class Verb:
    """A verb of a run, such as ``run.evaluate``.

    As a call it records at once, as a decorator each call of a function, as a context manager what
    the block says:

    >>> import os, tempfile, unittest.mock, mlprov
    >>> folder = tempfile.TemporaryDirectory()  # an owner and a store for the example alone
    >>> with unittest.mock.patch.dict(os.environ, MLPROV_HOME=folder.name + "/home"):
    ...     with mlprov.start("pipeline", store=folder.name + "/store") as run:
    ...         @run.preprocess_data
    ...         def clean(raw, limit):
    ...             return [value for value in raw if value < limit]
    ...         with run.engineer_features as activity:
    ...             cleaned = clean([3, 1, 12], limit=10)
    ...             activity.inputs(cleaned=cleaned)
    ...             activity.outputs(features=[value / 10 for value in cleaned])
    ...         run.evaluate(inputs={"scores": [0.5, 0.9]}, accuracy=0.7, f1=0.6)
    >>> [(record["verb"], record["params"]) for record in run.records[1:-1]]
    [('preprocess_data', {'limit': 10}), ('engineer_features', {}),
     ('evaluate', {'F1': 0.6, 'accuracy': 0.7})]
    >>> folder.cleanup()
    """

    def __init__(self, run: Activities, name: str) -> None:
        self._run = run
        self._name = name
        self._current: Activity | None = None

    def __call__(
        self,
        function: F | None = None,
        /,
        *,
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> Any:
        """Record an activity that has happened, or each call of a function.

        Args:
            function: the function to record. Its arguments are inputs and its result is the output;
                arguments that are numbers, text, or lists and dicts of these are params.
            inputs: name → what was used.
            outputs: name → what was made.
            **params: ProML's fields by their keywords (``column_info``, ``label_info``,
                ``feature_list``, ``hyperparameters``, ``f1``, ``accuracy``, ``recall``,
                ``precision``, ``matthew``, ``mse``, ``fowlkes``, ``deployment_info``), and others.

        Returns:
            the function, recorded; None of a call that recorded.

        Raises:
            StoreError: the run has ended, or this is a forked child.
            Exception: whatever failed, with ``on_error="raise"``.
        """
        if function is not None:
            return self._recorded(function, params)
        activity = Activity(self._run, self._name)
        activity.inputs(**(inputs or {}))
        activity.outputs(**(outputs or {}))
        activity.params(**params)
        activity.record()
        return None

    def __enter__(self) -> Activity:
        self._current = Activity(self._run, self._name)
        return self._current

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        activity, self._current = self._current, None
        if activity is not None:
            activity.record(error, timed=True)

    def _recorded(self, function: F, params: Mapping[str, Any]) -> F:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            activity = Activity(self._run, self._name)
            activity.params(**params)
            taken = activity.attempt(lambda: _sort_arguments(signature, arguments, keywords))
            if taken is not None:
                settings, data = taken
                activity.params(**settings)
                activity.inputs(**data)
            try:
                result = function(*arguments, **keywords)
            except BaseException as error:
                activity.record(error, timed=True)
                raise
            activity.outputs(**(activity.attempt(lambda: _named_results(result)) or {}))
            activity.record(timed=True)
            return result

        return call  # type: ignore[return-value]


def _sort_arguments(
    signature: inspect.Signature, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A call's settings, and its data, by the names of the parameters."""
    given = signature.bind(*arguments, **keywords).arguments
    data = {name: value for name, value in given.items() if not _is_setting(value)}
    return {name: given[name] for name in given if name not in data}, data


class Activities:
    """ProML's verbs, as a run has them."""

    recorder: Recorder
    algorithm: str

    @property
    def select_data(self) -> Verb:
        """Data are chosen: which columns, which label."""
        return Verb(self, "select_data")

    @property
    def preprocess_data(self) -> Verb:
        """Data are cleaned or converted."""
        return Verb(self, "preprocess_data")

    @property
    def engineer_features(self) -> Verb:
        """Features are made."""
        return Verb(self, "engineer_features")

    @property
    def train(self) -> Verb:
        """A model is trained: with which hyperparameters. Epochs have records of their own."""
        return Verb(self, "train")

    @property
    def evaluate(self) -> Verb:
        """A model is scored."""
        return Verb(self, "evaluate")

    @property
    def validate(self) -> Verb:
        """A model is scored on data that were held back."""
        return Verb(self, "validate")

    @property
    def deploy(self) -> Verb:
        """A model is handed over to where it is used."""
        return Verb(self, "deploy")

    if TYPE_CHECKING:  # the run's own

        def _commit(self, status: str | None = None) -> None: ...

    def _entries(self, verb: str, things: Mapping[str, Any]) -> list[Json]:
        """An entry for each thing that can be hashed; of another there is a gap."""
        found: list[Json] = []
        for name, thing in things.items():
            entry = self.recorder.attempt(
                f"activity {verb}", functools.partial(self._entry, name, thing)
            )
            if entry is not None:
                found.append(entry)
        return found

    def _entry(self, name: str, thing: Any) -> Json:
        entry = _describe(thing, self.algorithm)
        for kind in entry.pop("opaque"):
            self.recorder.warn(
                f"an activity has objects of type {kind}, which are recorded by type only",
                once=f"opaque {kind}",
            )
        return {"name": records.json_text(name), **entry}

    def _append_activity(self, **members: Json) -> None:
        verb = members["verb"]
        self.recorder.attempt(
            f"activity {verb}", lambda: self.recorder.append("activity", **members)
        )
        self._commit()


def _describe(thing: Any, algorithm: str) -> dict[str, Any]:
    """What an entry says of a thing, and the classes of what in it is no value."""
    entry: dict[str, Any] = {
        "kind": "value", "digest": None, "tree": None, "count": None, "bytes": None, "opaque": (),
    }  # fmt: skip
    if isinstance(thing, Digest) or (isinstance(thing, str) and _DIGEST.fullmatch(thing)):
        return {**entry, "kind": "digest", "digest": str(thing)}
    if is_module(thing):
        model = models.digest_model(thing, algorithm=algorithm)
        size = sum(tensor.len for tensor in model.tensors)
        tree = TreeReference(bytes(model.root), model.size).json()
        return {**entry, "kind": "model", "tree": tree, "count": model.size, "bytes": size}
    thing = _columns(thing)
    if not _is_plain(thing):
        try:
            data = datasets.capture_dataset(thing, algorithm=algorithm)
        except (ConfigError, UnsupportedTensorError):
            if isinstance(thing, os.PathLike):
                raise
        else:
            tree = TreeReference(data.root, data.size).json()
            return {
                **entry, "kind": data.kind, "tree": tree, "count": data.size, "bytes": data.bytes,
            }  # fmt: skip
    capture = batches.capture_batch(0, thing, algorithm)
    value = digest(capture.leaf, algorithm=algorithm)
    return {**entry, "digest": str(value), "bytes": len(capture.leaf), "opaque": capture.opaque}


def _columns(thing: Any) -> Any:
    """A data frame as its columns by name: arrays, or lists where they hold objects."""
    if not (hasattr(thing, "columns") and hasattr(thing, "to_numpy")):
        return thing
    columns = {str(name): thing[name].to_numpy() for name in thing.columns}
    return {
        name: column.tolist() if column.dtype.kind == "O" else column
        for name, column in columns.items()
    }


def _is_plain(thing: Any) -> bool:
    """Whether a thing is a number, text or bytes, or a container without anything else."""
    if isinstance(thing, Mapping):
        return all(_is_plain(value) for value in thing.values())
    if isinstance(thing, (list, tuple, set, frozenset)):
        return all(_is_plain(value) for value in thing)
    return thing is None or isinstance(thing, (bool, int, float, complex, str, bytes))


def _is_setting(value: Any) -> bool:
    """Whether an argument is a setting: one number or text, or a few texts."""
    if isinstance(value, (list, tuple)):
        return all(isinstance(item, str) for item in value)
    if isinstance(value, Mapping):
        return all(_is_setting(item) for item in value.values())
    return value is None or isinstance(value, (bool, int, float, str))


def _named_results(result: Any) -> dict[str, Any]:
    """What a function returned, by name: a dict's keys, else ``result``, numbered in a tuple."""
    if result is None:
        return {}
    if isinstance(result, Mapping) and result and all(isinstance(key, str) for key in result):
        return dict(result)
    if isinstance(result, tuple) and len(result) > 1:
        return {f"result_{index}": part for index, part in enumerate(result)}
    return {"result": pathlib.Path(result) if isinstance(result, os.PathLike) else result}

"""Fitting an estimator of scikit-learn as a recorded run.

    run = mlprov.integrations.sklearn.fit(estimator, X, y, test=(X_test, y_test))

scikit-learn has no hooks: the call takes the place of ``estimator.fit(X, y)``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlprov.integrations import frameworks
from mlprov.integrations.recording import Recording, scalars
from mlprov.runs import Run

__all__ = ["fit", "fitted_arrays"]

frameworks.load("sklearn", "sklearn", install="scikit-learn")
_MAX_LEVELS = 20

# What a fitted tree holds (sklearn.tree._tree.Tree); its class is in C and has no attributes.
_TREE = (
    "children_left",
    "children_right",
    "feature",
    "threshold",
    "impurity",
    "n_node_samples",
    "weighted_n_node_samples",
    "value",
)


def fit(
    estimator: Any,
    X: Any,  # noqa: N803  (scikit-learn's own name)
    y: Any = None,
    *,
    name: str | None = None,
    run: Run | None = None,
    test: tuple[Any, Any] | None = None,
    fit_params: Mapping[str, Any] | None = None,
    **options: Any,
) -> Run:
    """Fit an estimator in place, and record data, settings, what it learned and its scores.

    What was learned are the numeric arrays in the fitted estimator, under the attributes that lead
    to them (:func:`fitted_arrays`), as the weights of epoch 0.

    Args:
        estimator: anything with ``fit``: estimators, pipelines, searches.
        X: as ``estimator.fit`` takes it. Arrays and data frames are recorded row by row.
        y: the same.
        name: of the run; the estimator's class where it is not given.
        run: a run to record into instead; it stays open.
        test: (X, y) to score the fitted estimator on, recorded as data set ``test``.
        fit_params: further arguments of ``estimator.fit``.
        **options: of :func:`mlprov.start`. ``config`` is ``estimator.get_params()`` where it is
            not given.

    Returns:
        the run, which has ended unless it was given.

    Raises:
        ConfigError: both ``name`` and ``run``.
        Exception: what ``estimator.fit`` raises; the run has ended as failed then.
    """
    if name is None and run is None:
        name = type(estimator).__name__
    recording = Recording(name, run, options)
    recording.begin(config=_parameters(estimator))
    recorded = recording.run
    assert recorded is not None
    try:
        data = {"train": _dataset(X, y)}
        if test is not None:
            data["test"] = _dataset(*test)
        recorded.track_data(**data)
        recording.begin_epoch(0)
        estimator.fit(X, y, **(fit_params or {}))
        recording.step(fitted_arrays(estimator), steps=0)
        recording.end_epoch(_scores(estimator, X, y, test))
    except BaseException as error:
        recording.end(error)
        raise
    recording.end()
    return recorded


def _parameters(estimator: Any) -> Any:
    """Settings as text where they are no plain values, as estimators in a pipeline are."""
    return {
        key: value if isinstance(value, (bool, int, float, str, type(None))) else repr(value)
        for key, value in estimator.get_params(deep=True).items()
    }


def _dataset(X: Any, y: Any) -> Any:  # noqa: N803
    features = X.to_numpy() if hasattr(X, "to_numpy") else X
    labels = y.to_numpy() if hasattr(y, "to_numpy") else y
    return features if labels is None else (features, labels)


def _scores(estimator: Any, X: Any, y: Any, test: tuple[Any, Any] | None) -> dict[str, Any]:  # noqa: N803
    """The estimator's own score, where it has one; a score that fails is none."""
    found: dict[str, Any] = {}
    for metric, data in (("train_score", (X, y)), ("test_score", test)):
        if data is None or not hasattr(estimator, "score"):
            continue
        try:
            found[metric] = estimator.score(*data)
        except Exception as error:  # noqa: BLE001  (whatever an estimator raises: training is done)
            found[metric] = f"failed: {type(error).__name__}"
    return scalars(found)


def fitted_arrays(estimator: Any) -> dict[str, Any]:
    """The numeric arrays that a fitted estimator holds, wherever they are in it.

    Args:
        estimator: fitted. Arrays of all attributes are taken, of estimators inside too; numbers
            where their name ends with an underscore, as what was learned is called; of sparse
            matrices and of trees the arrays they consist of.

    >>> import pytest
    >>> linear_model = pytest.importorskip("sklearn.linear_model")
    >>> model = linear_model.LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0])
    >>> {name: array.shape for name, array in fitted_arrays(model).items() if name == "coef_"}
    {'coef_': (1,)}
    """
    return dict(_walk("", estimator, set(), 0))


def _walk(path: str, value: Any, seen: set[int], level: int) -> Iterator[tuple[str, Any]]:
    import numpy as np

    if isinstance(value, (bool, int, float, np.number)):
        if path.rpartition(".")[2].endswith("_"):
            yield path, np.asarray(value)
        return
    if level > _MAX_LEVELS or id(value) in seen or isinstance(value, (str, bytes, type)):
        return
    seen = seen | {id(value)}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        yield path, value if type(value) is np.ndarray else np.asarray(value)  # such as masked ones
        return
    for key, part in _parts(value):
        yield from _walk(f"{path}.{key}" if path else str(key), part, seen, level + 1)


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    """What a container holds, in an order that is the same each time."""
    import numpy as np

    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)
    elif isinstance(value, np.ndarray):
        if value.dtype.kind == "O":
            yield from enumerate(value.ravel().tolist())
    elif type(value).__name__ == "Tree" and hasattr(value, "children_left"):
        yield from ((name, getattr(value, name)) for name in _TREE)
    elif type(value).__module__.startswith("scipy.sparse"):
        held = vars(value)
        yield from ((name, held[name]) for name in ("data", "indices", "indptr") if name in held)
    elif hasattr(value, "__dict__") and not callable(value):
        yield from vars(value).items()

"""Frameworks without hooks: JAX through ``run.step``, scikit-learn through one call."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from training_for_tests import assert_log_holds, of_type, run_script, stored, the

import mlprov
from mlprov.pytrees import named_state

np = pytest.importorskip("numpy")

pytestmark = pytest.mark.frameworks


@pytest.fixture(autouse=True)
def own_store(monkeypatch: pytest.MonkeyPatch, store_path: Path) -> None:
    monkeypatch.setenv("MLPROV_STORE", str(store_path))


def root_of(arrays: dict[str, Any]) -> str:
    return str(mlprov.digest_model(arrays).root)


# ---- JAX ----


def parameters(jax: Any) -> Any:
    return {
        "layers": [{"w": jax.numpy.ones((4, 2)), "b": jax.numpy.zeros(2, jax.numpy.bfloat16)}],
        "key": jax.random.key(0),
        "count": 0,
    }


def test_a_jax_loop_with_donated_buffers_is_recorded(tmp_path: Path, store_path: Path) -> None:
    jax = pytest.importorskip("jax")

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state: Any, value: Any) -> Any:
        layers = jax.tree.map(lambda held: held + value.astype(held.dtype), state["layers"])
        return {**state, "layers": layers, "count": state["count"] + 1}

    state = parameters(jax)
    expected = []
    with mlprov.start("jax", model=state, every=2) as run:
        for _epoch in run.epochs(2):
            for value in run.track([jax.numpy.ones(()), jax.numpy.ones(()), jax.numpy.ones(())]):
                state = update(state, value)
                run.step(state)
                expected.append(
                    {
                        "layers.0.w": np.array(state["layers"][0]["w"]),
                        "layers.0.b": np.array(state["layers"][0]["b"]),
                        "key": np.array(jax.random.key_data(state["key"])),
                        "count": np.array(state["count"]),
                    }
                )
    records = stored(run)
    steps, epochs = of_type(records, "step"), of_type(records, "epoch")
    assert [step["step"] for step in steps] == [2, 4, 6]
    for step in steps:
        assert step["weights"]["root"] == root_of(expected[step["step"] - 1])
    assert [epoch["weights"]["root"] for epoch in epochs] == [
        root_of(expected[2]),
        root_of(expected[5]),
    ]
    assert [epoch["steps"] for epoch in epochs] == [3, 3]
    assert not of_type(records, "gap")
    assert_log_holds(store_path, run.id, tmp_path)
    assert mlprov.verify(run.export(tmp_path / "jax.mlprov"), model=state).ok


def test_a_state_that_was_donated_before_its_epoch_ended_is_a_gap() -> None:
    jax = pytest.importorskip("jax")
    update = jax.jit(lambda state: state + 1, donate_argnums=0)
    state = {"w": jax.numpy.ones(1000)}
    run = mlprov.start("jax", model=state)
    epochs = run.epochs(1)
    next(epochs)
    run.step(state)
    update(state["w"])
    with pytest.warns(mlprov.RecordingWarning):
        next(epochs, None)
    run.finish()
    assert the(stored(run), "gap")["what"] == "weights"
    assert run.status == "finished"


def test_the_names_of_a_nested_state_are_the_same_with_jax_and_without() -> None:
    code = """
import numpy as np
from mlprov.pytrees import named_state
state = {"b": [np.ones(2), {"c": np.ones(1)}], "a": (np.ones(3), None, "text"), "n": 2.5}
if __import__("sys").argv[1] == "jax":
    import jax
print(sorted((name, array.shape) for name, array in named_state(state).items()))
"""
    pytest.importorskip("jax")
    assert run_script(code, "jax").stdout == run_script(code, "plain").stdout


def test_what_is_no_nested_state_stays_what_it_is() -> None:
    flat = {"a.b": np.ones(2)}
    for model in (flat, None, 5, "text", np.ones(2)):
        assert named_state(model) is model


def test_two_arrays_of_one_name_are_refused() -> None:
    with pytest.raises(mlprov.ConfigError, match=r"two of its arrays are called 'a\.b'"):
        named_state({"a": {"b": np.ones(1)}, "a.b": np.ones(1)})


def test_a_state_that_contains_itself_is_refused() -> None:
    state: dict[str, Any] = {}
    state["self"] = state
    with pytest.raises(mlprov.ConfigError, match="cannot read the state"):
        named_state(state)
    with pytest.warns(mlprov.RecordingWarning), mlprov.start("cyclic", model=state) as run:
        pass
    assert run.status == "finished"


def test_a_step_without_a_run_that_records_does_nothing(
    monkeypatch: pytest.MonkeyPatch, store_path: Path
) -> None:
    monkeypatch.setenv("MLPROV_DISABLED", "1")
    with mlprov.start("off") as run:
        run.step({"w": np.ones(2)})
    assert not store_path.exists()


# ---- scikit-learn ----


def digits() -> tuple[Any, Any]:
    datasets = pytest.importorskip("sklearn.datasets")
    inputs, labels = datasets.load_digits(return_X_y=True)
    return inputs[:300], labels[:300]


def test_a_fit_of_an_estimator_is_recorded_and_verifies(tmp_path: Path) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    inputs, labels = digits()
    estimator = linear_model.LogisticRegression(max_iter=20, C=0.5)
    test = (inputs[200:], labels[200:])
    run = mlprov.integrations.sklearn.fit(estimator, inputs[:200], labels[:200], test=test)
    assert (run.name, run.status) == ("LogisticRegression", "finished")
    records = stored(run)
    assert [data["role"] for data in of_type(records, "data")] == ["train", "test"]
    epoch = the(records, "epoch")
    assert epoch["metrics"] == {
        "train_score": estimator.score(inputs[:200], labels[:200]),
        "test_score": estimator.score(*test),
    }
    assert epoch["steps"] is None
    assert the(records, "run.start")["config"]["C"] == 0.5
    learned = mlprov.integrations.sklearn.fitted_arrays(estimator)
    assert learned["coef_"] is estimator.coef_
    bundle = run.export(tmp_path / "digits.mlprov")
    verdict = mlprov.verify(bundle, model=learned, data={"train": (inputs[:200], labels[:200])})
    assert verdict.ok, str(verdict)
    estimator.coef_[0, 0] += 1
    changed = mlprov.verify(bundle, model=mlprov.integrations.sklearn.fitted_arrays(estimator))
    assert changed.result == "does not hold"


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: sk("ensemble").RandomForestClassifier(2), "estimators_.1.tree_.threshold"),
        (
            lambda: sk("ensemble").GradientBoostingClassifier(n_estimators=1),
            "estimators_.9.tree_.value",
        ),
        (
            lambda: sk("pipeline").make_pipeline(
                sk("preprocessing").StandardScaler(), sk("svm").SVC()
            ),
            "steps.0.1.mean_",
        ),
        (
            lambda: sk("model_selection").GridSearchCV(
                sk("tree").DecisionTreeClassifier(), {"max_depth": [2, 3]}, cv=2
            ),
            "best_estimator_.tree_.feature",
        ),
    ],
    ids=["forest", "boosting", "pipeline", "search"],
)
def test_what_an_estimator_learned_is_found_inside_it(make: Any, name: str) -> None:
    estimator = make()
    run = mlprov.integrations.sklearn.fit(estimator, *digits(), name="inside")
    learned = mlprov.integrations.sklearn.fitted_arrays(estimator)
    assert name in learned
    assert the(stored(run), "epoch")["weights"]["root"] == root_of(learned)
    assert not of_type(stored(run), "gap")


def sk(module: str) -> Any:
    return pytest.importorskip(f"sklearn.{module}")


def test_a_fit_that_raises_ends_the_run_as_failed(store_path: Path) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    with (
        mlprov.start("user's own") as run,
        pytest.raises(ValueError, match="Found input variables"),
    ):
        mlprov.integrations.sklearn.fit(
            linear_model.LinearRegression(), np.ones((3, 1)), np.ones(2), run=run
        )
    assert the(stored(run), "epoch")["interrupted"]


# ---- all ----


@pytest.mark.parametrize("name", ["lightning", "huggingface", "keras", "sklearn"])
def test_a_missing_framework_is_one_error_that_says_what_to_install(name: str) -> None:
    code = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        hidden = "lightning", "pytorch_lightning", "transformers", "keras", "sklearn"
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nothing())
import mlprov
try:
    getattr(mlprov.integrations, sys.argv[1])
except mlprov.ConfigError as error:
    assert isinstance(error, ImportError)
    print(error)
"""
    said = run_script(code, name).stdout
    package = {"huggingface": "transformers"}.get(name, name)
    assert said == (
        f"cannot use mlprov.integrations.{name}: the package {package} is missing; pip install"
        f" {'scikit-learn' if name == 'sklearn' else package}\n"
    )


def test_importing_mlprov_and_its_integrations_imports_no_framework() -> None:
    code = """
import sys, mlprov, mlprov.integrations
dir(mlprov.integrations)
frameworks = {"torch", "lightning", "transformers", "keras", "jax", "sklearn"}
print(sorted(frameworks & {*sys.modules}))
"""
    assert run_script(code).stdout == "[]\n"


def test_an_unknown_integration_is_an_attribute_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'pandas'"):
        _ = mlprov.integrations.pandas

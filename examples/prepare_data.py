"""From raw data to a model: each step of the preparation is recorded, with what it used and made.

    python examples/prepare_data.py     (pip install scikit-learn)

Raw measurements are chosen from, cleaned, made features of and split. Every step's inputs and
outputs are in the record by digest, so that the chain can be followed from the training set back to
the file that it came from.
"""

from __future__ import annotations

import pathlib

import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, matthews_corrcoef

import mlprov

COLUMNS = ["sepal length", "sepal width", "petal length", "petal width", "species"]


def prepare(run: mlprov.Run, raw: pathlib.Path) -> tuple[np.ndarray, ...]:
    """Four steps, each recorded in one of the ways that there are."""
    # A call, after it has happened.
    table = np.loadtxt(raw, delimiter=",")
    run.select_data(
        inputs={"raw": raw}, outputs={"table": table}, column_info=COLUMNS, label_info="species"
    )

    # A decorated function: its arguments are the inputs, its result is the output.
    @run.preprocess_data
    def clean(table: np.ndarray, least: float) -> np.ndarray:
        return np.unique(table[(table > -least).all(axis=1)], axis=0)

    cleaned = clean(table, least=1e-9)

    # A block, which says what it does as it goes.
    with run.engineer_features as activity:
        activity.inputs(cleaned=cleaned)
        ratios = cleaned[:, 0:3:2] / cleaned[:, 1:4:2]
        features = np.column_stack([cleaned[:, :4], ratios])
        activity.outputs(features=features)
        activity.params(feature_list=[*COLUMNS[:4], "sepal ratio", "petal ratio"])

    order = np.random.default_rng(0).permutation(len(features))
    train, test = order[:100], order[100:]
    labels = cleaned[:, 4].astype(np.int64)
    return features[train], labels[train], features[test], labels[test]


def follow(run: mlprov.Run) -> str:
    """The verbs of the run, in order."""
    verbs = [str(record["verb"]) for record in run.records if record["type"] == "activity"]
    return " → ".join(["raw", *verbs])


def main() -> None:
    """Prepare, train, evaluate, export; verify the bundle and the claim that the scores make."""
    raw = pathlib.Path("iris.csv")
    iris = load_iris()
    np.savetxt(raw, np.column_stack([iris.data, iris.target]), delimiter=",", fmt="%.1f")

    with mlprov.start("iris-pipeline") as run:
        x_train, y_train, x_test, y_test = prepare(run, raw)
        run.track_data(train=(x_train, y_train), test=(x_test, y_test))

        model = LogisticRegression(max_iter=500)
        with run.train as activity:
            activity.inputs(train=(x_train, y_train))
            activity.params(hyperparameters=model.get_params())
            model.fit(x_train, y_train)
            activity.outputs(coefficients=model.coef_, intercept=model.intercept_)

        told = model.predict(x_test)
        run.evaluate(
            inputs={"test": (x_test, y_test), "coefficients": model.coef_},
            accuracy=model.score(x_test, y_test),
            f1=f1_score(y_test, told, average="macro"),
            matthew=matthews_corrcoef(y_test, told),
        )
        run.deploy(inputs={"coefficients": model.coef_}, deployment_info={"where": "this example"})

    bundle = run.export("iris.mlprov")
    print(run)
    print(mlprov.verify(bundle, data={"train": (x_train, y_train)}))
    print(follow(run))
    seq = next(int(one["seq"]) for one in run.records if one.get("verb") == "evaluate")
    print(mlprov.verify(run.prove(record=seq).save("evaluation.proof.json")))


if __name__ == "__main__":
    main()

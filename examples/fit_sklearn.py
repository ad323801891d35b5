"""scikit-learn: one call fits an estimator and records data, settings, what it learned, scores.

    python examples/fit_sklearn.py     (pip install scikit-learn)

What it records is written into the working directory.
"""

from __future__ import annotations

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mlprov


def main() -> None:
    """Fit a pipeline, export, verify."""
    images, labels = load_digits(return_X_y=True)
    train, test = (images[:1500], labels[:1500]), (images[1500:], labels[1500:])
    model = make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0))

    run = mlprov.integrations.sklearn.fit(model, *train, test=test, name="digits-forest")

    bundle = run.export("forest.mlprov")
    print(run)
    learned = mlprov.integrations.sklearn.fitted_arrays(model)
    print(mlprov.verify(bundle, model=learned, data={"train": train, "test": test}))


if __name__ == "__main__":
    main()

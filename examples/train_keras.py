"""Keras 3: a callback records variables, the optimizer's too, and the data sets that it is told of.

    KERAS_BACKEND=torch python examples/train_keras.py     (or jax; pip install keras)

What it records is written into the working directory.
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from sklearn.datasets import load_digits

import mlprov


def main() -> None:
    """Fit, save, verify."""
    keras.utils.set_random_seed(0)
    digits = load_digits()
    images, labels = (digits.data / 16.0).astype(np.float32), digits.target.astype(np.int64)
    train, test = (images[:1500], labels[:1500]), (images[1500:], labels[1500:])
    model = keras.Sequential(
        [keras.Input((64,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(10)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(3e-3), loss, metrics=["accuracy"])

    callback = mlprov.integrations.keras.Callback(
        "digits-keras", data={"train": train, "test": test}
    )
    model.fit(*train, validation_data=test, epochs=3, batch_size=64, verbose=0,
              callbacks=[callback])  # fmt: skip

    run = callback.run
    bundle = run.export("keras.mlprov")
    print(run)
    variables = {one.path: keras.ops.convert_to_numpy(one) for one in model.variables}
    print(mlprov.verify(bundle, model=variables, data={"train": train, "test": test}))


if __name__ == "__main__":
    main()

"""JAX: no hooks, and donated buffers; ``run.step`` says what the weights are after each step.

    python examples/train_jax.py     (pip install jax)

What it records is written into the working directory.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

import mlprov


def loss_of(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross entropy of two layers."""
    hidden = jax.nn.relu(images @ params["hidden"]["w"] + params["hidden"]["b"])
    scores = jax.nn.log_softmax(hidden @ params["out"]["w"] + params["out"]["b"])
    return -jnp.take_along_axis(scores, labels[:, None], 1).mean()


@functools.partial(jax.jit, donate_argnums=0)
def update(params: Any, images: jax.Array, labels: jax.Array) -> tuple[Any, jax.Array]:
    """One step of gradient descent; the old parameters' memory is given away."""
    loss, gradients = jax.value_and_grad(loss_of)(params, images, labels)
    return jax.tree.map(lambda p, g: p - 0.5 * g, params, gradients), loss


def main() -> None:
    """Train, export, verify."""
    digits = load_digits()
    images, labels = (digits.data / 16.0).astype(np.float32), digits.target
    first, second = jax.random.split(jax.random.key(0))
    params = {
        "hidden": {"w": 0.1 * jax.random.normal(first, (64, 32)), "b": jnp.zeros(32)},
        "out": {"w": 0.1 * jax.random.normal(second, (32, 10)), "b": jnp.zeros(10)},
    }
    batches = [(images[at : at + 64], labels[at : at + 64]) for at in range(0, 1472, 64)]

    with mlprov.start("digits-jax", model=params, every=10) as run:
        run.track_data(train=(images, labels))
        for epoch in run.epochs(3):
            for batch in run.track(batches):
                params, loss = update(params, *batch)
                run.step(params)
            epoch.log(loss=loss)
    bundle = run.export("jax.mlprov")
    print(run)
    print(mlprov.verify(bundle, model=params, data={"train": (images, labels)}))


if __name__ == "__main__":
    main()

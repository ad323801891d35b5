"""What Keras 3 does is recorded on each of its backends that is installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from training_for_tests import of_type, run_script, the

from mlprov import stored_runs, stores

if importlib.util.find_spec("keras") is None:  # to import it would choose a backend
    pytest.skip("keras is not installed", allow_module_level=True)

pytestmark = pytest.mark.frameworks

# Keras takes its backend from the environment when it is imported: each in a process of its own.
PROGRAM = """
import json, sys
import keras, numpy as np
import mlprov

keras.utils.set_random_seed(0)
x = np.random.default_rng(0).random((32, 4), dtype=np.float32)
y = (x.sum(axis=1) > 2).astype(np.int64)
model = keras.Sequential([keras.layers.Dense(8, activation="relu"), keras.layers.Dense(2)])
model.compile(
    "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
)
callback = mlprov.integrations.keras.Callback("net", data={"train": (x, y)})
seen = []

class Watcher(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        held = {v.path: np.array(keras.ops.convert_to_numpy(v)) for v in self.model.variables}
        seen.append(str(mlprov.digest_model(held).root))

class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 4
    def __getitem__(self, index):
        return x[8 * index : 8 * index + 8], y[8 * index : 8 * index + 8]

def loader():
    import torch
    data = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))
    return torch.utils.data.DataLoader(data, batch_size=8)

runs = []
def said(**more):
    runs.append({"id": callback.run.id, "status": callback.run.status, **more})

def fit(data, labels=None, **options):
    model.fit(data, labels, epochs=2, verbose=0, callbacks=[callback, Watcher()], **options)

fit(x, y, batch_size=8, validation_split=0.25)
said(roots=seen[:2])
fit(callback.track(Batches()))
said()
fit(callback.track(loader()))
said()
model.evaluate(x, y, verbose=0, callbacks=[callback])
said()
print(json.dumps(runs))
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_fits_and_an_evaluation_are_recorded(backend: str, store_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip(backend)
    done = run_script(
        PROGRAM, KERAS_BACKEND=backend, MLPROV_STORE=str(store_path), OMP_NUM_THREADS="1"
    )
    runs = json.loads(done.stdout.splitlines()[-1])
    assert [run["status"] for run in runs] == ["finished"] * 4
    with stores.open_store(store_path, read_only=True) as store:
        records = [stored_runs.read_run(store, run["id"]).records for run in runs]

    epochs = of_type(records[0], "epoch")
    assert [epoch["weights"]["root"] for epoch in epochs] == runs[0]["roots"]
    assert [epoch["steps"] for epoch in epochs] == [3, 3]
    assert set(epochs[0]["metrics"]) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    assert all(epoch["optimizer"] for epoch in epochs)
    assert the(records[0], "data")["count"] == 32
    assert the(records[0], "run.start")["config"]["optimizer"]["name"] == "adam"

    for tracked in records[1:3]:
        streams = [epoch["streams"] for epoch in of_type(tracked, "epoch")]
        assert [[(one["role"], one["batches"]) for one in each] for each in streams] == [
            [("train", 4)]
        ] * 2
        assert [epoch["steps"] for epoch in of_type(tracked, "epoch")] == [4, 4]

    assert the(records[3], "run.start")["parents"] == [runs[2]["id"]]
    assert set(the(records[3], "metrics")["metrics"]) == {"accuracy", "loss"}
    last = of_type(records[2], "epoch")[-1]["weights"]
    assert the(records[3], "model")["weights"] == last

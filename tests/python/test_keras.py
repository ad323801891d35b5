"""What Keras 3 does is recorded on each of its backends that is installed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from training_for_tests import of_type, run_script, the

import mlprov
from mlprov import stored_runs, stores

if importlib.util.find_spec("keras") is None:  # to import it would choose a backend
    pytest.skip("keras is not installed", allow_module_level=True)

pytestmark = pytest.mark.frameworks

FEW = """
import json, sys
import keras, numpy as np
import mlprov

x = np.random.default_rng(0).random((16, 4), dtype=np.float32)

def fit(*callbacks, **options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Dense(2), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(x, x[:, :1], epochs=2, batch_size=4, verbose=0, callbacks=callbacks, **options)
    return [float(np.asarray(v).sum()) for v in model.get_weights()]
"""


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
        assert not of_type(tracked, "batches")
    for epoch in of_type(records[2], "epoch"):  # the DataLoader's
        (stream,) = epoch["streams"]
        assert stream["indices"]["size"] == 4
        assert (stream["loader"]["batch_size"], stream["loader"]["workers"]) == (8, 0)

    assert the(records[3], "run.start")["parents"] == [runs[2]["id"]]
    assert set(the(records[3], "metrics")["metrics"]) == {"accuracy", "loss"}
    last = of_type(records[2], "epoch")[-1]["weights"]
    assert the(records[3], "model")["weights"] == last


def few(code: str, store_path: Path, **variables: str) -> tuple[Any, str]:
    """What a script printed last, and its errors."""
    pytest.importorskip("torch")
    done = run_script(
        FEW + code,
        MLPROV_STORE=str(store_path),
        OMP_NUM_THREADS="1",
        **{"KERAS_BACKEND": "torch", **variables},
    )
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def runs(store_path: Path) -> list[list[dict[str, Any]]]:
    with stores.open_store(store_path, read_only=True) as store:
        ids = sorted(row.id for row in stores.read_runs(store))
        return [stored_runs.read_run(store, one).records for one in ids]


def test_what_another_callback_evaluates_within_a_fit_is_part_of_the_fit(store_path: Path) -> None:
    code = """
class Nested(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.evaluate(x, x[:, :1], verbose=0, callbacks=[recorded])
        self.model.predict(x, verbose=0, callbacks=(recorded,))
recorded = mlprov.integrations.keras.Callback("nested")
fit(recorded, Nested())
print(json.dumps(recorded.run.id))
"""
    run_id, _ = few(code, store_path)
    (records,) = runs(store_path)
    assert records[0]["run"] == run_id
    assert [epoch["epoch"] for epoch in of_type(records, "epoch")] == [0, 1]
    assert [epoch["interrupted"] for epoch in of_type(records, "epoch")] == [False, False]
    assert [epoch["steps"] for epoch in of_type(records, "epoch")] == [4, 4]
    assert the(records, "run.end")["status"] == "finished"


def test_callbacks_in_a_tuple_or_alone_are_joined_by_ours_under_autolog(store_path: Path) -> None:
    code = """
seen = []
class Own(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        seen.append(epoch)
mlprov.autolog("auto")
model = keras.Sequential([keras.layers.Dense(1)])
model.compile("sgd", "mse")
for callbacks in ((Own(), Own()), Own(), [Own()], None):
    model.fit(x, x[:, :1], epochs=2, verbose=0, callbacks=callbacks)
print(json.dumps(seen))
"""
    seen, _ = few(code, store_path)
    assert seen == [0, 0, 1, 1, 0, 1, 0, 1]
    found = runs(store_path)
    assert len(found) == 4
    assert all(len(of_type(records, "epoch")) == 2 for records in found)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_files_of_model_checkpoint_are_recorded_beside_the_variables(
    backend: str, store_path: Path, tmp_path: Path
) -> None:
    pytest.importorskip(backend)
    code = """
folder = sys.argv[1]
ModelCheckpoint = keras.callbacks.ModelCheckpoint
recorded = mlprov.integrations.keras.Callback("saved")
model = keras.Sequential([keras.layers.Dense(1)])
model.compile("adam", "mse")
callbacks = [  # the one that comes before ours is called before ours
    ModelCheckpoint(folder + "/{epoch}.keras"),
    recorded,
    ModelCheckpoint(folder + "/{epoch}.weights.h5", save_weights_only=True, save_freq=4),
]
model.fit(x, x[:, :1], epochs=2, batch_size=4, verbose=0, callbacks=callbacks)
run = recorded.run
model.save(folder + "/later.keras")
assert "save" not in vars(model)
with open(folder + "/2.keras", "rb") as file, open(folder + "/longer.keras", "wb") as longer:
    longer.write(file.read() + b"x")
bundle = run.export(folder + "/saved.mlprov")
verdicts = []
for name in ("2.keras", "2.weights.h5", "longer.keras"):
    verdict = mlprov.verify(bundle, model=folder + "/" + name, allow_unpinned=True)
    verdicts.append([verdict["model"].state, verdict["model"].detail])
print(json.dumps(verdicts))
"""
    code = code.replace("sys.argv[1]", repr(str(tmp_path)))
    verdicts, _ = few(code, store_path, KERAS_BACKEND=backend)
    (records,) = runs(store_path)
    epochs, checkpoints = of_type(records, "epoch"), of_type(records, "checkpoint")
    assert [epoch["steps"] for epoch in epochs] == [4, 4]
    assert sorted(one["files"][0]["path"] for one in checkpoints) == [
        "1.keras", "1.weights.h5", "2.keras", "2.weights.h5",
    ]  # fmt: skip
    for one in checkpoints:
        (file,) = one["files"]
        written = (tmp_path / file["path"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(written).hexdigest()
        assert file["blake3"] == str(mlprov.digest(written)).removeprefix("blake3:")
        assert (one["format"], one["tensors"], one["mapping"]) == ("opaque", None, None)
        epoch = epochs[int(file["path"][0]) - 1]
        assert one["weights"] == epoch["weights"]
    assert not of_type(records, "gap")
    assert [state for state, _ in verdicts] == ["holds", "holds", "fails"]
    assert "that the files hold it is the writer's word" in verdicts[0][1]


FAULTS = {
    "a metric that raises": """
class Odd(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        class Value:
            @property
            def size(self):
                raise RuntimeError("not to be looked at")
        logs["odd"] = Value()
without = fit(Odd())
within = fit(Odd(), recorded := mlprov.integrations.keras.Callback("odd"))
""",
    "a store that cannot be written": """
import pathlib
pathlib.Path(sys.argv[1]).write_text("no directory")
store = sys.argv[1] + "/store"
without = fit()
within = fit(recorded := mlprov.integrations.keras.Callback("blocked", store=store))
""",
    "a store that vanishes": """
import os, shutil
class Removing(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            shutil.rmtree(os.environ["MLPROV_STORE"])
without = fit()
within = fit(Removing(), recorded := mlprov.integrations.keras.Callback("vanished"))
""",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_goes_wrong_in_recording_never_reaches_training(
    fault: str, store_path: Path, tmp_path: Path
) -> None:
    code = FAULTS[fault].replace("sys.argv[1]", repr(str(tmp_path / "file")))
    code += "print(json.dumps([without, within, recorded.run.status]))"
    (without, within, status), errors = few(code, store_path)
    assert without == within
    assert "RecordingWarning: mlprov: " in errors
    assert "Traceback" not in errors
    if fault == "a metric that raises":
        (records,) = runs(store_path)
        assert status == "finished"
        assert [gap["what"] for gap in of_type(records, "gap")] == ["metric"] * 2
        assert "not to be looked at" not in json.dumps(records)

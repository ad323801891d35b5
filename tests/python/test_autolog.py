"""Scripts that know nothing of mlprov are recorded, and run as they would without it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from autolog_for_tests import DATA, command, recorded, runs, script, streams
from training_for_tests import assert_log_holds, of_type, the

import mlprov
from mlprov import stores

pytest.importorskip("torch")

pytestmark = pytest.mark.frameworks

PLAIN = (
    DATA
    + """
def main():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
    optimizer = torch.optim.Adam(model.parameters())
    for _epoch in range(2):
        for batch in DataLoader(data, batch_size=4, shuffle=True):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
        with torch.no_grad():
            for batch in DataLoader(data, batch_size=8):
                model(batch[0])
    said(model)
    print(sys.argv[1:], __name__, __file__ == sys.argv[0])
    if "fail" in sys.argv:
        raise KeyError("a secret")
    sys.exit(7)
if __name__ == "__main__":
    main()
"""
)


def test_a_plain_script_is_recorded_and_its_own_behaviour_is_untouched(tmp_path: Path) -> None:
    path = script(tmp_path, PLAIN)
    alone = command(tmp_path, "python", path, "--lr", "1")
    done = recorded(tmp_path, "python", path, "--lr", "1")
    assert (done.returncode, done.stdout) == (7, alone.stdout)
    assert alone.returncode == 7
    (records,) = runs(tmp_path)
    assert [record["type"] for record in records] == [
        "run.start", "model", "epoch", "batches", "epoch", "batches", "run.end",
    ]  # fmt: skip
    assert records[0]["name"] == "train"
    epochs = of_type(records, "epoch")
    assert [streams(epoch) for epoch in epochs] == [{"train": 4}] * 2
    assert [epoch["steps"] for epoch in epochs] == [4, 4]
    assert all(epoch["optimizer"] for epoch in epochs)
    assert [streams(one) for one in of_type(records, "batches")] == [{"other": 2}] * 2
    assert the(records, "model")["weights"] != epochs[0]["weights"] != epochs[1]["weights"]
    assert the(records, "run.end")["status"] == "finished"
    assert_log_holds(tmp_path / ".mlprov", records[0]["run"], tmp_path)


def test_a_script_that_raises_is_failed_with_its_own_traceback(tmp_path: Path) -> None:
    done = recorded(tmp_path, "python", script(tmp_path, PLAIN), "fail")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("KeyError: 'a secret'")
    (records,) = runs(tmp_path)
    end = the(records, "run.end")
    assert (end["status"], end["exception"]) == ("failed", "builtins.KeyError")


def test_a_process_that_never_trains_records_nothing(tmp_path: Path) -> None:
    text = DATA + "for batch in DataLoader(data, batch_size=1): torch.nn.Linear(4, 2)(batch[0])"
    assert recorded(tmp_path, "python", script(tmp_path, text)).returncode == 0
    assert recorded(tmp_path, "python", "-c", "print(1)").stdout == "1\n"
    assert recorded(tmp_path, "sh", "-c", "exit 3").returncode == 3
    assert runs(tmp_path) == []


def test_each_process_of_a_command_that_trains_is_a_run(tmp_path: Path) -> None:
    path = script(tmp_path, PLAIN)
    done = recorded(tmp_path, "sh", "-c", f"{sys.executable} {path}; {sys.executable} {path}")
    assert done.returncode == 7
    assert [records[-1]["status"] for records in runs(tmp_path)] == ["finished", "finished"]


def test_a_run_that_the_script_starts_itself_is_left_to_it(tmp_path: Path) -> None:
    text = (
        DATA
        + """
import mlprov
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with mlprov.start("own", model=model, optimizer=optimizer) as run:
    for epoch in run.epochs(1):
        for batch in run.track(DataLoader(data, batch_size=4)):
            loss_of(model, batch).backward()
            optimizer.step()
"""
    )
    recorded(tmp_path, "python", script(tmp_path, text))
    (records,) = runs(tmp_path)
    assert records[0]["name"] == "own"
    assert streams(the(records, "epoch")) == {"train": 4}


def test_one_line_in_the_script_does_the_same(tmp_path: Path) -> None:
    path = script(tmp_path, "import torch, mlprov\nmlprov.autolog('mine')\n" + PLAIN)
    assert command(tmp_path, "python", path).returncode == 7
    (records,) = runs(tmp_path)
    assert records[0]["name"] == "mine"
    assert [streams(epoch) for epoch in of_type(records, "epoch")] == [{"train": 4}] * 2


LIGHTNING = (
    DATA
    + """
import lightning as L
class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(4, 2)
    def training_step(self, batch, index):
        return loss_of(self.body, batch)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
trainer = L.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False)
trainer.fit(Net(), DataLoader(data, batch_size=4))
"""
)
HUGGINGFACE = (
    DATA
    + """
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
model = BertForSequenceClassification(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
    num_attention_heads=1, intermediate_size=8))
rows = [{"input_ids": torch.tensor([1, 2, 3]), "labels": torch.tensor(n % 2)} for n in range(16)]
arguments = TrainingArguments("out", num_train_epochs=2, per_device_train_batch_size=4,
    use_cpu=True, report_to=[], disable_tqdm=True, save_strategy="epoch")
Trainer(model, arguments, train_dataset=rows).train()
"""
)
KERAS = """
import numpy as np, keras
x = np.ones((16, 4), np.float32)
model = keras.Sequential([keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(x, x[:, :1], epochs=2, batch_size=4, verbose=0)
"""


@pytest.mark.parametrize(
    ("package", "text", "roles", "kind"),
    [
        ("lightning", LIGHTNING, {"train": 4}, "checkpoint"),
        ("transformers", HUGGINGFACE, {"train": 4}, "checkpoint"),
        ("keras", KERAS, {}, "data"),
    ],
    ids=["lightning", "huggingface", "keras"],
)
def test_trainers_are_given_their_callback(
    package: str, text: str, roles: dict[str, int], kind: str, tmp_path: Path
) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    done = recorded(tmp_path, "python", script(tmp_path, text), KERAS_BACKEND="torch")
    assert done.returncode == 0, done.stderr
    (records,) = runs(tmp_path)
    epochs = of_type(records, "epoch")
    assert [streams(epoch) for epoch in epochs] == [roles] * 2
    assert [epoch["steps"] for epoch in epochs] == [4, 4]
    assert of_type(records, kind)
    assert the(records, "run.end")["status"] == "finished"


TRACKED = (
    """
import atexit
@atexit.register  # the first that is registered is the last that is called
def show():
    for name in ("mlprov.run", "mlprov.root"):
        with open("seen", "a") as file:
            print(seen(name), file=file)
"""
    + DATA
    + """
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for batch in DataLoader(data, batch_size=4):
    loss_of(model, batch).backward()
    optimizer.step()
"""
)
TRACKERS = {
    "mlflow": """
import os
os.environ["MLFLOW_TRACKING_URI"] = "file:" + os.path.abspath("mlruns")
os.environ["MLFLOW_ALLOW_FILE_STORE"] = os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
import mlflow
active = mlflow.start_run()
seen = lambda name: mlflow.MlflowClient().get_run(active.info.run_id).data.tags[name]
""",
    "wandb": """
import wandb
active = wandb.init(mode="offline", project="p")
seen = lambda name: active.summary[name]
""",
}


@pytest.mark.parametrize("tracker", TRACKERS)
def test_an_active_tracker_is_told_the_run_and_its_root(tracker: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(tracker) is None:
        pytest.skip(f"{tracker} is not installed")
    path = script(tmp_path, TRACKERS[tracker] + TRACKED)
    done = recorded(tmp_path, "python", path)
    assert done.returncode == 0, done.stderr
    (records,) = runs(tmp_path)
    with stores.open_store(tmp_path / ".mlprov", read_only=True) as store:
        head = stores.read_heads(store, records[0]["run"])[-1]
    seen = (tmp_path / "seen").read_text().split()
    assert seen == [records[0]["run"], f"sha256:{head.root.hex()}"]


def test_the_environments_own_sitecustomize_still_runs(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import builtins\nbuiltins.from_the_site = 5\n")
    code = "import sitecustomize; print(from_the_site, sitecustomize.__file__)"
    done = recorded(tmp_path, "python", "-c", code, PYTHONPATH=str(folder))
    assert done.stdout == f"5 {folder / 'sitecustomize.py'}\n"


def test_a_store_that_cannot_be_written_leaves_the_script_alone(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    path = script(tmp_path, PLAIN)
    alone = command(tmp_path, "python", path)
    done = recorded(tmp_path, "python", path, MLPROV_STORE=str(blocked / "store"))
    assert (done.returncode, done.stdout) == (7, alone.stdout)
    assert "mlprov" in done.stderr


def test_settings_that_are_wrong_are_said_at_the_start(tmp_path: Path) -> None:
    path = script(tmp_path, PLAIN)
    done = recorded(tmp_path, "python", path, MLPROV_SNAPSHOT="sideways")
    assert done.returncode == 7
    assert "nothing is recorded in process" in done.stderr
    assert "sideways" in done.stderr
    with pytest.raises(mlprov.ConfigError, match="a run of its own"):
        mlprov.autolog(ema={})
    for options in ({"no_such_option": 1}, {"every": "day"}):
        with pytest.raises(mlprov.ConfigError):
            mlprov.autolog(**options)


@pytest.mark.parametrize("words", [(), ("--",), ("--", "no-such-program-anywhere")])
def test_a_command_that_is_not_there_is_wrong_use(words: tuple[str, ...], tmp_path: Path) -> None:
    done = command(tmp_path, "python", "-m", "mlprov", "run", *words)
    assert done.returncode == 2
    assert "cannot run a command" in done.stderr
    assert len(done.stderr.splitlines()) == 2

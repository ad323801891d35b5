"""Scripts that know nothing of mlprov are recorded, and run as they would without it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from training_for_tests import assert_log_holds, of_type, the

import mlprov
from mlprov import stored_runs, stores

pytest.importorskip("torch")

pytestmark = pytest.mark.frameworks

DATA = """
import sys, torch
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)
data = TensorDataset(torch.randn(16, 4), torch.randint(0, 2, (16,)))
def loss_of(model, batch):
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
def said(model):
    print(" ".join(str(p.double().sum().item()) for p in model.parameters()))
"""

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


def command(tmp_path: Path, *words: Any, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command, and this Python for ``python``, in a directory of its own."""
    known = {"python": sys.executable}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(tmp_path), **variables}
    return subprocess.run(
        [str(known.get(word, word)) for word in words],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=tmp_path,
        env=environment,
    )


def recorded(tmp_path: Path, *words: Any, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command under ``mlprov run``."""
    return command(tmp_path, "python", "-m", "mlprov", "run", "--", *words, **variables)


def script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "train.py"
    path.write_text(text)
    return path


def runs(tmp_path: Path) -> list[list[dict[str, Any]]]:
    """The records of every run in the directory's store, in the order of their beginning."""
    path = tmp_path / ".mlprov"
    if not (path / "store.db").exists():
        return []
    with stores.open_store(path, read_only=True) as store:
        ids = sorted(run.id for run in stores.read_runs(store))
        return [stored_runs.read_run(store, one).records for one in ids]


def streams(record: dict[str, Any]) -> dict[str, int]:
    return {stream["role"]: stream["batches"] for stream in record["streams"]}


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


def test_a_loop_without_a_loader_is_one_epoch_until_the_end(tmp_path: Path) -> None:
    text = (
        DATA
        + """
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(5):
    loss_of(model, data.tensors).backward()
    optimizer.step()
"""
    )
    recorded(tmp_path, "python", script(tmp_path, text), MLPROV_EVERY="2")
    (records,) = runs(tmp_path)
    epoch = the(records, "epoch")
    assert (epoch["steps"], epoch["interrupted"], epoch["streams"]) == (5, False, [])
    assert [step["step"] for step in of_type(records, "step")] == [2, 4]


def test_batches_before_the_first_step_are_recorded_too(tmp_path: Path) -> None:
    text = (
        DATA
        + """
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for number, batch in enumerate(DataLoader(data, batch_size=2, num_workers=2)):
    loss_of(model, batch).backward()
    if number % 3 == 2:
        optimizer.step()
        optimizer.zero_grad()
"""
    )
    recorded(tmp_path, "python", script(tmp_path, text))
    (records,) = runs(tmp_path)
    epoch = the(records, "epoch")
    assert (streams(epoch), epoch["steps"]) == ({"train": 8}, 2)


def test_two_models_that_are_trained_in_turn_are_two_runs(tmp_path: Path) -> None:
    text = (
        DATA
        + """
models = [torch.nn.Linear(4, 2), torch.nn.Sequential(torch.nn.Linear(4, 2))]
optimizers = [torch.optim.Adam(model.parameters()) for model in models]
for _ in range(2):
    for batch in DataLoader(data, batch_size=4):
        for model, optimizer in zip(models, optimizers):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
"""
    )
    recorded(tmp_path, "python", script(tmp_path, text))
    first, second = runs(tmp_path)
    assert {the(records, "model")["class"] for records in (first, second)} == {
        "torch.nn.modules.linear.Linear",
        "torch.nn.modules.container.Sequential",
    }
    for records in (first, second):
        assert [epoch["steps"] for epoch in of_type(records, "epoch")] == [4, 4]


def test_the_outermost_module_of_several_is_what_is_recorded(tmp_path: Path) -> None:
    text = (
        DATA
        + """
class Whole(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.frozen, self.head = torch.nn.Linear(4, 4), torch.nn.Linear(4, 2)
    def forward(self, x):
        return self.head(self.frozen(x))
other, model = torch.nn.Linear(4, 2), Whole()
optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1)
loss_of(model, data.tensors).backward()
optimizer.step()
"""
    )
    recorded(tmp_path, "python", script(tmp_path, text))
    (records,) = runs(tmp_path)
    model = the(records, "model")
    assert (model["class"], model["tensors"]) == ("__main__.Whole", 4)


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


def of_loop(tmp_path: Path, body: str) -> list[list[dict[str, Any]]]:
    done = recorded(tmp_path, "python", script(tmp_path, DATA + body))
    assert done.returncode == 0, done.stderr
    return runs(tmp_path)


STEP = """
def step(model, optimizer, batch):
    optimizer.zero_grad()
    loss_of(model, batch).backward()
    optimizer.step()
"""


def test_a_batch_is_recorded_as_the_loop_was_given_it(tmp_path: Path) -> None:
    body = """
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in DataLoader(data, batch_size=4):
    WRITE
    step(model, optimizer, (x, y))
"""
    trees = []
    for write in ("pass", "x.mul_(10)"):
        folder = tmp_path / write[0]
        folder.mkdir()
        (records,) = of_loop(folder, STEP + body.replace("WRITE", write))
        leaves = the(records, "epoch")["streams"][0]
        trees.append(leaves["tree"])
        assert leaves["guard"] == "inline"
    assert trees[0] == trees[1]


def test_trainings_one_after_another_are_runs_of_their_own(tmp_path: Path) -> None:
    body = """
import gc, weakref
live = []
for _fold in range(3):
    gc.collect()
    assert sum(one() is not None for one in live) <= 1
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    live.append(weakref.ref(model))
    for _epoch in range(2):
        for batch in DataLoader(data, batch_size=4):
            step(model, optimizer, batch)
"""
    found = of_loop(tmp_path, STEP + body)
    assert len(found) == 3
    for records in found:
        epochs = of_type(records, "epoch")
        assert [epoch["epoch"] for epoch in epochs] == [0, 1]
        assert [streams(epoch) for epoch in epochs] == [{"train": 4}] * 2
        assert [epoch["steps"] for epoch in epochs] == [4, 4]
        assert the(records, "run.end")["status"] == "finished"


def test_an_optimizer_of_an_explicit_run_is_recorded_after_it(tmp_path: Path) -> None:
    body = """
import mlprov
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with mlprov.start("own", model=model, optimizer=optimizer):
    step(model, optimizer, data.tensors)
for batch in DataLoader(data, batch_size=4):
    step(model, optimizer, batch)
"""
    own, after = of_loop(tmp_path, STEP + body)
    assert (own[0]["name"], after[0]["name"]) == ("own", "train")
    assert streams(the(after, "epoch")) == {"train": 4}


def test_a_forked_child_that_trains_is_a_run(tmp_path: Path) -> None:
    body = """
import os
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for batch in DataLoader(data, batch_size=4):
    step(model, optimizer, batch)
torch.set_num_threads(1)
child = os.fork()
for batch in DataLoader(data, batch_size=8):
    step(model, optimizer, batch)
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    parent, child = of_loop(tmp_path, STEP + body)
    assert [streams(epoch) for epoch in of_type(parent, "epoch")] == [{"train": 4}, {"train": 2}]
    assert [streams(epoch) for epoch in of_type(child, "epoch")] == [{"train": 2}]

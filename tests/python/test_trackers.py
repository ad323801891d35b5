"""MLflow and Weights & Biases, the real ones, are told which run vouches for theirs."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlprov import stores

pytest.importorskip("torch")

pytestmark = pytest.mark.frameworks

MODEL = """
import torch
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)
data = TensorDataset(torch.randn(16, 4), torch.randint(0, 2, (16,)))
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
def train():
    for images, labels in DataLoader(data, batch_size=4):
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
"""

LIGHTNING = """
import lightning, logging, torch
from lightning.pytorch.loggers import MLFlowLogger
from torch.utils.data import DataLoader, TensorDataset
import mlprov
class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)
    def training_step(self, batch, index):
        return torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
data = TensorDataset(torch.randn(16, 4), torch.randint(0, 2, (16,)))
trainer = lightning.Trainer(
    max_epochs=1, logger=MLFlowLogger(), enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False, accelerator="cpu",
    callbacks=[mlprov.integrations.lightning.Callback("logged")],
)
trainer.fit(Net(), DataLoader(data, batch_size=4))
"""


def execute(tmp_path: Path, code: str, *packages: str, under: tuple[str, ...] = ()) -> None:
    """Run a script in a directory of its own, where the packages are installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    (tmp_path / "train.py").write_text(code)
    variables = {
        "HOME": str(tmp_path),
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": (tmp_path / "mlruns").as_uri(),
        "MLPROV_HOME": str(tmp_path / "home"),
        "OMP_NUM_THREADS": "1",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_MODE": "offline",
    }
    done = subprocess.run(
        [sys.executable, *under, "train.py"],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=tmp_path,
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def recorded(tmp_path: Path, code: str, *packages: str) -> None:
    """The same under ``mlprov run``."""
    execute(tmp_path, code, *packages, under=("-m", "mlprov", "run", "--", sys.executable))


def heads(tmp_path: Path) -> tuple[str, list[str]]:
    """Of the one run that was recorded: its id, and the roots of its heads."""
    with stores.open_store(tmp_path / ".mlprov", read_only=True) as store:
        (row,) = stores.read_runs(store)
        return row.id, [f"sha256:{head.root.hex()}" for head in stores.read_heads(store, row.id)]


def mlflow_tags(tmp_path: Path) -> list[dict[str, str]]:
    """Of each run in MLflow's file store, what mlprov set there."""
    folders = sorted((tmp_path / "mlruns").glob("*/*/tags"))
    return [{file.name: file.read_text() for file in one.glob("mlprov.*")} for one in folders]


def wandb_log(tmp_path: Path) -> bytes:
    """What W&B would send of its one run."""
    (file,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    return file.read_bytes()


def test_a_run_of_mlflows_that_has_ended_is_told_the_last_root(tmp_path: Path) -> None:
    code = "\nimport mlflow\nwith mlflow.start_run():\n    train()\n"
    recorded(tmp_path, MODEL + code, "mlflow")
    run, roots = heads(tmp_path)
    assert mlflow_tags(tmp_path) == [{"mlprov.run": run, "mlprov.root": roots[-1]}]


def test_each_run_of_mlflows_beside_one_training_is_told(tmp_path: Path) -> None:
    code = "\nimport mlflow\nfor _ in range(2):\n    with mlflow.start_run():\n        train()\n"
    recorded(tmp_path, MODEL + code, "mlflow")
    run, roots = heads(tmp_path)
    assert mlflow_tags(tmp_path) == [{"mlprov.run": run, "mlprov.root": roots[-1]}] * 2


def test_a_run_of_mlflows_that_begins_later_is_told_too(tmp_path: Path) -> None:
    code = "\nimport mlflow\ntrain()\nwith mlflow.start_run():\n    train()\n"
    recorded(tmp_path, MODEL + code, "mlflow")
    run, roots = heads(tmp_path)
    assert mlflow_tags(tmp_path) == [{"mlprov.run": run, "mlprov.root": roots[-1]}]


def test_wandb_is_told_the_last_root_where_the_process_ends_its_run(tmp_path: Path) -> None:
    recorded(tmp_path, MODEL + "\nimport wandb\nwandb.init(project='p')\ntrain()\n", "wandb")
    run, roots = heads(tmp_path)
    log = wandb_log(tmp_path)
    assert b"mlprov.run" in log
    assert run.encode() in log
    assert roots[-1].encode() in log


def test_wandb_keeps_an_earlier_root_where_the_script_ends_its_run(tmp_path: Path) -> None:
    code = (
        "\nimport wandb\nwith wandb.init(project='p'):\n    for _ in range(3):\n        train()\n"
    )
    recorded(tmp_path, MODEL + code, "wandb")
    run, roots = heads(tmp_path)
    log = wandb_log(tmp_path)
    assert run.encode() in log
    told = [root.encode() in log for root in roots]
    assert any(told[1:]), "a root that has an epoch"
    assert not told[-1], "its run had ended before ours"


def test_lightnings_logger_for_mlflow_is_told(tmp_path: Path) -> None:
    execute(tmp_path, LIGHTNING, "mlflow", "lightning")
    run, roots = heads(tmp_path)
    assert mlflow_tags(tmp_path) == [{"mlprov.run": run, "mlprov.root": roots[-1]}]


def test_mlflows_own_autologging_of_lightning_is_told(tmp_path: Path) -> None:
    code = LIGHTNING.replace("logger=MLFlowLogger()", "logger=False").replace(
        "data = ", "import mlflow.pytorch\nmlflow.pytorch.autolog(log_models=False)\ndata = ", 1
    )
    execute(tmp_path, code, "mlflow", "lightning", "pandas")
    run, roots = heads(tmp_path)
    assert mlflow_tags(tmp_path) == [{"mlprov.run": run, "mlprov.root": roots[-1]}]


def test_a_tracker_whose_store_is_gone_leaves_training_and_record_alone(tmp_path: Path) -> None:
    code = """
import mlflow, shutil
mlflow.start_run()
train()
shutil.rmtree("mlruns")
open("mlruns", "w").close()
train()
"""
    recorded(tmp_path, MODEL + code, "mlflow")
    with stores.open_store(tmp_path / ".mlprov", read_only=True) as store:
        (row,) = stores.read_runs(store)
    assert row.status == "finished"

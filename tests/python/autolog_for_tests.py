"""Scripts in processes of their own, with ``mlprov run`` before them or without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mlprov import stored_runs, stores

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
    """The script of this text."""
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
    """Role → batches, of a record with streams."""
    return {stream["role"]: stream["batches"] for stream in record["streams"]}

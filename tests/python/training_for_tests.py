"""Small trainings to record: with torch where it is installed, with plain buffers everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mlprov
from mlprov import Run, stored_runs, stores

ROOT = Path(__file__).resolve().parents[2]

Json = dict[str, Any]


def state() -> dict[str, memoryview]:
    """A model that needs no framework: a state dict of buffers."""
    return {"weight": memoryview(bytes(range(16))), "bias": memoryview(b"\1\2\3\4")}


def network() -> tuple[Any, Any]:
    """A small torch module and its optimizer."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2)
    )
    return model, torch.optim.Adam(model.parameters(), lr=0.01)


def loader(batches: int = 3) -> list[Any]:
    """Batches of four samples of four features and a label."""
    torch = pytest.importorskip("torch")
    source = torch.Generator().manual_seed(1)
    return [
        (torch.randn(4, 4, generator=source), torch.randint(0, 2, (4,), generator=source))
        for _ in range(batches)
    ]


def train_step(model: Any, optimizer: Any, batch: Any) -> float:
    """One step; the loss as a number."""
    torch = pytest.importorskip("torch")
    inputs, targets = batch
    loss = torch.nn.functional.cross_entropy(model(inputs), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def stored(run: Run) -> list[Json]:
    """The records of a run as the store has them, whatever the run object says."""
    with stores.open_store(run.store_path, read_only=True) as store:
        return stored_runs.read_run(store, run.id).records


def of_type(records: list[Json], kind: str) -> list[Json]:
    """The records of one type."""
    return [record for record in records if record["type"] == kind]


def the(records: list[Json], kind: str) -> Json:
    """The only record of a type."""
    (record,) = of_type(records, kind)
    return record


def assert_log_holds(store_path: Path, run_id: str, directory: Path) -> None:
    """Export a run and hold the bundle against everything that it claims."""
    from mlprov import bundles

    path = directory / f"{run_id}.mlprov"
    with stores.open_store(store_path) as store:
        bundles.export_run(store, run_id, path)
    verdict = mlprov.verify(path)
    assert verdict.ok, str(verdict)


def run_script(
    code: str,
    *arguments: object,
    check: bool = True,
    prepare: Callable[[], None] | None = None,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter of its own, which finds what the tests share."""
    path = [*filter(None, [os.environ.get("PYTHONPATH")]), str(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), **variables},
        cwd=ROOT,
        preexec_fn=prepare,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done

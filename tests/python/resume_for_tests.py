"""A training that can be killed where a test wants it, and started again with ``resume``."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from training_for_tests import ROOT, run_script

# Weights are bytes, saved beside the store at the end of each epoch: a checkpoint as users keep it.
TRAINING = """
import os, pathlib, signal, sys
import mlprov

store, how = pathlib.Path(sys.argv[1]), sys.argv[2]
options = dict(part.split("=") for part in sys.argv[3:])
saved = store.parent / "saved.bin"
weights = bytearray(saved.read_bytes() if saved.exists() else bytes(64))


def leave(moment):
    if how == moment + " kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == moment + " term":
        os.kill(os.getpid(), signal.SIGTERM)
    if how == moment + " exit":
        os._exit(3)
    if how == moment + " raise":
        raise RuntimeError("a secret: 4711")


def train():
    with mlprov.start("t", model={"w": memoryview(weights)}, store=store, **options) as run:
        print(run.id, run.resumed, run.last_epoch, flush=True)
        run.track_data(train=pathlib.Path(__file__ if "__file__" in globals() else os.__file__))
        leave("start")
        first = weights[0]
        for epoch in run.epochs(range(first, 3)):
            for number, _ in enumerate(run.track([bytes([epoch.index]) * 900] * 1500)):
                if epoch.index == 1 and number == 1400:
                    leave("batch")
            weights[0] += 1
            if epoch.index == 1:
                leave("step")
            epoch.log(loss=1 / weights[0])
            temporary = saved.with_suffix(".new")
            temporary.write_bytes(weights)
            temporary.replace(saved)
        leave("last")


train()
"""
MOMENTS = ("start", "batch", "step", "last")
CODES = {"kill": -signal.SIGKILL, "term": -signal.SIGTERM, "exit": 3, "raise": 1}


def train(store: Path, how: str = "whole", check: bool = True, **options: str) -> list[str]:
    """Train in a process of its own; what it says of its run: id, whether resumed, last epoch."""
    words = [f"{name}={value}" for name, value in options.items()]
    done = run_script(TRAINING, store, how, *words, check=False)
    expected = CODES[how.split()[1]] if " " in how else 0
    if check:
        assert done.returncode == expected, done.stderr
        assert "Traceback" not in done.stderr or how.endswith("raise"), done.stderr
    return [*done.stdout.split(), done.stderr]


def begin(store: Path, how: str, *options: str) -> subprocess.Popen[str]:
    """Start a training that goes on beside the test."""
    return subprocess.Popen(
        [sys.executable, "-c", TRAINING, store, how, *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip


def resumes(records: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    """(equal, differing) of each resume record."""
    return [(r["equal"], r["differing"]) for r in records if r["type"] == "resume"]

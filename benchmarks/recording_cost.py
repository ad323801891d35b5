"""What recording costs the demonstration's training, against the same loop without mlprov.

The network and the data are those of ``examples/digits.py``. Each round trains once with and once
without recording, in turn; wall time of the loop, from the first epoch to the last. A training this
small (about seven thousand parameters, 24 steps an epoch of under a millisecond each) shows the
fixed cost per batch and per epoch at its worst: the last column says what that is.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from _measure import processor, table
from torch import nn
from torch.utils.data import DataLoader

import mlprov

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import digits

EPOCHS = 10


def train(*, record: bool) -> tuple[float, float]:
    """Train once: wall seconds of the epochs, and what the run says that recording cost."""
    torch.manual_seed(0)
    train_set, _ = digits.load()
    loader = DataLoader(train_set, batch_size=64, shuffle=True)
    model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Dropout(0.1), nn.Linear(96, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    with contextlib.ExitStack() as stack:
        run = (
            stack.enter_context(mlprov.start("cost", model=model, optimizer=optimizer))
            if record
            else None
        )
        before = run.overhead["seconds"] if run is not None else 0.0
        began = time.perf_counter()
        for epoch in run.epochs(EPOCHS) if run is not None else range(EPOCHS):
            for images, labels in run.track(loader) if run is not None else loader:
                loss = nn.functional.cross_entropy(model(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if run is not None:
                epoch.log(loss=loss)
        seconds = time.perf_counter() - began
        own = run.overhead["seconds"] - before if run is not None else 0.0
    return seconds, own


def main() -> None:
    """Print medians and the ratio."""
    rounds = 3 if "--quick" in sys.argv[1:] else 9
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        os.environ["MLPROV_HOME"] = f"{directory}/home"
        os.environ["MLPROV_STORE"] = f"{directory}/store"
        train(record=True)
        pairs = [(train(record=False)[0], train(record=True)) for _ in range(rounds)]
    plain = statistics.median(pair[0] for pair in pairs)
    recorded = statistics.median(pair[1][0] for pair in pairs)
    own = statistics.median(pair[1][1] for pair in pairs)
    ratio = statistics.median(pair[1][0] / pair[0] for pair in pairs)
    steps = EPOCHS * 24
    print("## Recording the demonstration\n")
    print(f"{processor()}; torch {torch.__version__}, 1 thread, {rounds} rounds, inline capture\n")
    table(
        ["without", "with", "ratio", "in recording", "per step"],
        [
            [
                f"{plain:.3f} s",
                f"{recorded:.3f} s",
                f"{ratio:.2f}",
                f"{own:.3f} s",
                f"{own / steps * 1e6:.0f} µs",
            ]
        ],
    )


if __name__ == "__main__":
    main()

"""What a training loses by anchors whose servers are gone for the whole run.

Runs with ``anchors=["ethereum", "ipfs"]`` and runs without take turns: the same model, batches and
epochs, and nobody at the servers' port. MLPROV_ANCHOR_EVERY=0 makes every epoch a checkpoint that
is to be anchored at once, which is the most there can be. What counts is the time from the first
epoch's begin to the last one's end; beside it stands what the kernel says of the threads that
deliver, which no slow spell of the machine can hide.

    python benchmarks/anchor_training.py [--rounds N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import torch
from _anchor_ends import KINDS, name_servers
from _measure import Goal, report, table
from torch import nn

import mlprov

EPOCHS, STEPS, ROWS, FEATURES = 6, 30, 256, 512
_TICKS = os.sysconf("SC_CLK_TCK")


class Training:
    """A model of three layers whose step takes some milliseconds."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Linear(FEATURES, FEATURES), nn.ReLU(), nn.Linear(FEATURES, FEATURES)
        )
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)
        self.batches = [torch.randn(ROWS, FEATURES) for _ in range(STEPS)]

    def step(self, batch: torch.Tensor) -> None:
        """Forward, backward, step."""
        self.optimizer.zero_grad()
        nn.functional.mse_loss(self.model(batch), batch).backward()
        self.optimizer.step()


def delivering() -> float:
    """CPU seconds of the threads that deliver, so far."""
    ticks = 0
    for task in Path("/proc/self/task").iterdir():
        name, _, rest = (task / "stat").read_text(encoding="ascii").rpartition(")")
        if name.endswith("(mlprov-anchor"):
            ticks += sum(map(int, rest.split()[11:13]))  # proc(5): utime, stime
    return ticks / _TICKS


def run_seconds(training: Training, store: Path, anchors: list[str]) -> tuple[float, float]:
    """Seconds of the epochs of one run, and CPU seconds of the threads that deliver."""
    with mlprov.start("dead", model=training.model, store=store, anchors=anchors) as run:
        before = delivering()
        began = time.perf_counter()
        for epoch in run.epochs(EPOCHS):
            for batch in run.track(training.batches):
                training.step(batch)
            epoch.log(loss=1.0)
        return time.perf_counter() - began, delivering() - before


def main() -> None:
    """Print the table and the goals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=16)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore", UserWarning)
    torch.set_num_threads(1)
    name_servers("http://127.0.0.1:1")
    os.environ["MLPROV_ANCHOR_EVERY"] = "0"
    training = Training()
    alone: list[float] = []
    ratios: list[float] = []
    spent: list[float] = []
    with tempfile.TemporaryDirectory() as text:
        os.environ["MLPROV_HOME"] = text + "/home"
        for number in range(rounds + 1):
            sides = [[], list(KINDS)] if number % 2 == 0 else [list(KINDS), []]
            taken = {
                len(kinds): run_seconds(training, Path(text) / f"store-{len(kinds)}", kinds)
                for kinds in sides
            }
            if number == 0:
                continue  # caches fill
            alone.append(taken[0][0])
            ratios.append(taken[len(KINDS)][0] / taken[0][0])
            spent.append(taken[len(KINDS)][1] / taken[len(KINDS)][0])
    low, middle, high = ((each - 1) * 100 for each in statistics.quantiles(ratios, n=4))
    share = statistics.fmean(spent) * 100
    table(
        ["run", "longer with anchors", "quartiles", "threads that deliver"],
        [
            [
                f"{statistics.median(alone) * 1e3:.0f} ms",
                f"{middle:.2f} %",
                f"{low:.2f} to {high:.2f} %",
                f"{share:.2f} % of a processor",
            ]
        ],
    )
    report(
        [
            Goal("a run with dead servers, % longer", middle, 0.5, at_most=True),
            Goal("the threads that plan and deliver, % of a processor", share),
        ]
    )


if __name__ == "__main__":
    main()

"""What ``track`` and the step hooks cost a training of many small steps.

A small model at some 2,000 steps a second, on batches of 16 KiB that lie in memory. Steps with and
without it take turns; what one costs is the difference of the means of a round. Beside it stands a
loop that passes over the same batches and does nothing.

Then the peak of memory while large batches pass, and memory and descriptors over many steps.

    python benchmarks/track_cost.py [steps|memory|flat] [--rounds N] [--steps N] [--quick]
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from _measure import Goal, processor, report, table
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import mlprov

STEPS = 400  # of a round
BLOCK = 20  # until the other side has its turn
FEATURES = 64
ROWS = 64  # of float32: 16 KiB, labels aside


class Training:
    """A model of two layers whose step takes some 300 to 500 µs."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 10))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.batches = [
            (torch.randn(ROWS, FEATURES), torch.randint(0, 10, (ROWS,))) for _ in range(STEPS)
        ]

    def step(self, batch: Any) -> Any:
        """Forward, backward, step: the loss."""
        inputs, targets = batch
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.model(inputs), targets)
        loss.backward()
        self.optimizer.step()
        return loss


def nothing(_: Any) -> None:
    """No step at all."""


def time_steps(batches: Iterator[Any], work: Callable[[Any], object]) -> list[float]:
    """µs of each of the next steps; what comes with a change of sides is left out."""
    times = []
    for _ in range(BLOCK):
        began = time.perf_counter()
        work(next(batches))
        times.append((time.perf_counter() - began) * 1e6)
    return times[2:]


def compare(
    run: mlprov.Run, batches: Iterable[Any], work: Callable[[Any], object], rounds: int
) -> tuple[float, list[float]]:
    """µs of a step without mlprov, and how many more it takes with it: quartiles of rounds.

    Of each round the mean counts, not the median: batches that waited are hashed together in one
    step of a dozen. Sides change every few steps, so that a slow spell of the machine meets both.
    """
    alone: list[float] = []
    lost: list[float] = []
    for _ in range(rounds):
        times: dict[bool, list[float]] = {False: [], True: []}
        passes = {False: iter(batches), True: iter(run.track(batches))}
        for block in range(STEPS // BLOCK * 2):
            is_recorded = block % 2 == 0
            if is_recorded:
                run.barrier.watch.start()
            else:
                run.barrier.watch.stop()
            times[is_recorded] += time_steps(passes[is_recorded], work)
        run.barrier.watch.start()
        alone.append(statistics.fmean(times[False]))
        lost.append(statistics.fmean(times[True]) - alone[-1])
    return statistics.median(alone), statistics.quantiles(lost, n=4)


def costs(rounds: int) -> dict[str, tuple[float, list[float]]]:
    """Of each loop µs of a step without mlprov, and quartiles of how many more with it."""
    training = Training()
    inputs = torch.cat([one for one, _ in training.batches])
    targets = torch.cat([one for _, one in training.batches])
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=ROWS, shuffle=True)
    cases: dict[str, tuple[Iterable[Any], Callable[[Any], object]]] = {
        "batches in memory, training": (training.batches, training.step),
        "batches in memory, no step": (training.batches, nothing),
        "DataLoader, training": (loader, training.step),
    }
    with mlprov.start("cost", model=training.model, optimizer=training.optimizer) as run:
        for _ in run.epochs(1):
            measured = {name: compare(run, *case, rounds) for name, case in cases.items()}
    return measured


def measure_steps(rounds: int) -> list[Goal]:
    """Print the table of costs; its goals."""
    goals: list[Goal] = []
    rows: list[list[str]] = []
    for name, (alone, (low, middle, high)) in costs(rounds).items():
        rows.append([name, f"{alone:.1f}", f"{middle:.1f}", f"{low:.1f} to {high:.1f}"])
        goal = 15 if name.endswith(", training") else None
        goals.append(Goal(f"{name}: µs more a step", middle, goal, at_most=True))
    table(["loop", "µs a step", "more with mlprov", "quartiles"], rows)
    return goals


def memory(name: str) -> int:
    """A line of /proc/self/status, in KiB."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name}:"))


def measure_flat(steps: int) -> list[Goal]:
    """Print memory and descriptors at ten moments of a long epoch; how they grow.

    The first moment is what they are held against: until then caches fill.
    """
    training = Training()
    rows = []
    seen: list[tuple[float, int]] = []
    with mlprov.start("flat", model=training.model, optimizer=training.optimizer) as run:
        for _ in run.epochs(1):
            batches = itertools.islice(itertools.cycle(training.batches), steps)
            for number, batch in enumerate(run.track(batches), 1):
                training.step(batch)
                if number % (steps // 10) == 0:
                    descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
                    seen.append((memory("VmRSS") / 1024, descriptors))
                    rows.append([f"{number:,}", f"{seen[-1][0]:.1f} MiB", str(descriptors)])
    table(["step", "memory", "descriptors"], rows)
    grown, opened = (last - first for first, last in zip(seen[0], seen[-1], strict=True))
    span = f"from step {steps // 10:,} to {steps:,}"
    return [
        Goal(f"MiB more {span}", grown, 1, at_most=True),
        Goal(f"descriptors more {span}", opened, 0, at_most=True),
    ]


def peak_of(batches: Iterable[Any]) -> float:
    """How much more memory a pass takes at its peak than there was before it, in MiB."""
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): forget the highest so far
    before = memory("VmRSS")
    for batch in batches:
        batch.sum()
    return (memory("VmHWM") - before) / 1024


def measure_memory() -> list[Goal]:
    """Print the peak of a pass over large batches, each made when it is asked for; its goals."""
    rows = []
    goals: list[Goal] = []
    with mlprov.start("memory") as run:
        for mib in (1, 8, 32, 128):
            count = 1024 // mib

            def batches(mib: int = mib, count: int = count) -> Iterator[Any]:
                return (torch.ones(mib << 18) for _ in range(count))

            alone = peak_of(batches())
            waits = run.streams.waits
            tracked = peak_of(run.track(batches()))
            goals.append(Goal(f"batches of {mib} MiB: MiB more", tracked - alone, 64, at_most=True))
            rows.append(
                [
                    f"{mib} MiB",
                    f"{alone:.0f} MiB",
                    f"{tracked - alone:.0f} MiB",
                    f"{run.streams.waits - waits} of {count}",
                ]
            )
    table(["batch", "peak without mlprov", "more with it", "batches waited for"], rows)
    return goals


def main() -> None:
    """Print the tables, and the goals."""
    parser = argparse.ArgumentParser(description="cost of tracking small batches")
    parser.add_argument("case", nargs="?", choices=("steps", "memory", "flat"))
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rounds = 5 if options.quick else options.rounds
    cases: dict[str, Callable[[], list[Goal]]] = {
        "steps": lambda: measure_steps(rounds),
        "memory": measure_memory,
        "flat": lambda: measure_flat(options.steps // 10 if options.quick else options.steps),
    }
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("## Tracked batches\n")
    print(f"{processor()}; torch {torch.__version__}, 1 thread")
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory() as directory:
        os.environ["MLPROV_HOME"] = f"{directory}/home"
        os.environ["MLPROV_STORE"] = f"{directory}/store"
        for name in [options.case] if options.case else cases:
            print()
            goals += cases[name]()
    report(goals)


if __name__ == "__main__":
    main()

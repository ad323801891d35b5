"""What capture beside training costs, against the same loop without mlprov.

A hundred million parameters and more, every batch tracked. A round times two steps without mlprov
and two in a run: the weights are captured after the first, and the second waits for them. What a
capture costs is the median difference of the rounds; its share is that of ten steps, as if weights
were recorded every ten. Beside it stand the same with ``snapshot="inline"``, and what the processor
time of hashing would be if all processors shared it: where torch computes on all of them, nobody
can do with less.

    python benchmarks/overlap_cost.py [gemm|adam] [--threads N] [--rounds N] [--quick]
    taskset -c 0 python benchmarks/overlap_cost.py    # one processor: capture is inline there
    taskset -c 0 python benchmarks/overlap_cost.py parts    # of what that costs
    python benchmarks/overlap_cost.py memory          # what hashing 2 GiB of parameters takes
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from _measure import Goal, interleave, processor, report, table
from torch import nn

import mlprov
from mlprov import _core

EVERY = 10  # steps that one capture is set against
SNAPSHOTS = ("overlap", "inline")
GOALS = {"gemm": 1, "adam": 7}  # percent


class Case:
    """A model whose step is bound by one thing."""

    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        self.name = name
        if name == "gemm":
            self.model: Any = nn.Sequential(*(nn.Linear(4096, 4096, bias=False) for _ in range(6)))
            self.optimizer: Any = torch.optim.SGD(self.model.parameters(), lr=1e-6, fused=True)
            self.batch = torch.randn(128, 4096)
        else:
            self.model = nn.Embedding(100_000, 1024)
            self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-6, fused=True)
            self.batch = torch.randint(0, 100_000, (4096,))
        self.bytes = sum(one.nbytes for one in self.model.parameters())

    def step(self, batch: Any) -> None:
        """Forward, backward, step."""
        self.optimizer.zero_grad()
        self.model(batch).square().mean().backward()
        self.optimizer.step()


def train(case: Case, snapshot: str | None) -> float:
    """Seconds of two steps behind a first one; None: without mlprov."""
    batches = [case.batch] * 3
    if snapshot is None:
        return time_two(case, iter(batches))
    with mlprov.start(
        "cost", model=case.model, optimizer=case.optimizer, every=2, snapshot=snapshot
    ) as run:
        for _ in run.epochs(1):
            seconds = time_two(case, iter(run.track(batches)))
    guard = next(record["guard"] for record in run.records if record["type"] == "step")
    expected = "hook" if snapshot == "overlap" and _core.hash_threads_beside() else "inline"
    assert guard == expected, guard
    return seconds


def time_two(case: Case, batches: Iterator[Any]) -> float:
    """Seconds of the second and the third step."""
    case.step(next(batches))
    began = time.perf_counter()
    for batch in batches:
        case.step(batch)
    return time.perf_counter() - began


def hash_seconds(case: Case, threads: int) -> float:
    """What hashing the parameters takes alone."""
    tensors = list(case.model.parameters())

    def work() -> None:
        _core.tensor_digests(tensors, threads=threads)

    return interleave({"hash": work}, rounds=5)["hash"].median


def copy_seconds(case: Case) -> float:
    """What copying them takes, into memory that is there."""
    source = list(case.model.parameters())
    target = [torch.empty_like(one) for one in source]

    @torch.no_grad()
    def work() -> None:
        for into, one in zip(target, source, strict=True):
            into.copy_(one)

    return interleave({"copy": work}, rounds=5)["copy"].median


def measure(name: str, threads: int, rounds: int) -> tuple[list[str], Goal]:
    """One row of the table, and its goal."""
    torch.set_num_threads(threads)
    case = Case(name)
    train(case, "overlap")
    seconds: dict[str | None, list[float]] = {None: [], **{one: [] for one in SNAPSHOTS}}
    for number in range(rounds):
        for snapshot in list(seconds) if number % 2 else list(seconds)[::-1]:
            seconds[snapshot].append(train(case, snapshot))
    step = statistics.median(seconds[None]) / 2
    lost = {
        snapshot: [
            a - b for a, b in zip(seconds[snapshot], seconds[None], strict=True)
        ]
        for snapshot in SNAPSHOTS
    }  # fmt: skip
    alone = hash_seconds(case, 1)
    cores = len(os.sched_getaffinity(0))
    share = {one: statistics.median(times) / (EVERY * step) for one, times in lost.items()}
    spread = sorted(one / (EVERY * step) for one in lost["overlap"])
    what = f"{name}, torch on {threads} thread{'s' if threads > 1 else ''}"
    to_hash = statistics.median(lost["overlap"]) / alone
    goal = Goal(f"{what}: % of ten steps", 100 * share["overlap"], GOALS[name], at_most=True)
    if cores == 1:
        goal = Goal(f"{what}: to hashing on one thread", to_hash, 1.05, at_most=True)
    row = [
        name,
        str(threads),
        f"{step * 1e3:.0f} ms",
        f"{case.bytes / (EVERY * step) / 1e6:.0f} MB/s",
        f"{share['overlap']:.1%} ({spread[0]:.1%} to {spread[-1]:.1%})",
        f"{share['inline']:.1%}",
        f"{alone / (cores * EVERY * step):.1%}",
        f"{to_hash:.2f}",
        f"{copy_seconds(case) / alone:.2f}",
    ]
    return row, goal


def measure_parts(name: str, rounds: int) -> list[str]:
    """One row: a capture as the run counts it, and what it does to the step behind it.

    Of four steps the last is captured; after the second the same bytes are hashed alone.
    """
    torch.set_num_threads(1)
    case = Case(name)
    tensors = list(case.model.parameters())
    steps: list[list[float]] = [[], [], [], []]  # seconds without recording; [1]: behind a capture
    lost: list[float] = []
    alone: list[float] = []
    with mlprov.start(
        "parts", model=case.model, optimizer=case.optimizer, every=4, snapshot="inline"
    ) as run:
        for _ in run.epochs(1):
            for number, batch in enumerate(run.track([case.batch] * (4 * rounds + 5)), 1):
                before, began = run.recorder.seconds, time.perf_counter()
                case.step(batch)
                took, recording = time.perf_counter() - began, run.recorder.seconds - before
                if number > 4:
                    steps[number % 4].append(took - recording)
                    lost += [recording] if number % 4 == 0 else []
                if number % 4 == 2:
                    began = time.perf_counter()
                    _core.tensor_digests(tensors, threads=1)
                    alone.append(time.perf_counter() - began)
    one = statistics.median(alone)
    plain = statistics.median(steps[2] + steps[0])
    behind = sorted((took - plain) / one for took in steps[1])
    others = sorted((took - plain) / one for took in steps[2] + steps[0])
    return [
        name,
        f"{plain * 1e3:.0f} ms",
        f"{one * 1e3:.1f} ms",
        f"{statistics.median(lost) / one:.2f} ({min(lost) / one:.2f} to {max(lost) / one:.2f})",
        f"{statistics.median(behind):.2f} ({behind[0]:.2f} to {behind[-1]:.2f})",
        f"{others[0]:.2f} to {others[-1]:.2f}",
    ]


def measure_memory() -> Goal:
    """Peak memory while 2 GiB of parameters are captured beside training; its goal."""
    model = nn.Linear(16384, 16384, bias=False)
    model = nn.ModuleList([model, nn.Linear(16384, 16384, bias=False), nn.Linear(8, 8)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step: Callable[[], Any] = optimizer.step
    rows = []
    peaks = []
    for snapshot in ("overlap", "inline", "copy"):
        with mlprov.start("memory", model=model, optimizer=optimizer, snapshot=snapshot) as run:
            peak, base = 0.0, 0
            for epoch in run.epochs(4):
                model[2](torch.rand(4, 8)).sum().backward()  # the large ones have no gradient
                step()
                if epoch.index >= 2:  # since the capture before, up to the step that waited for it
                    peak = max(peak, peak_beyond(base))
                base = reset_peak()
        guards = {record["guard"] for record in run.records if record["type"] == "epoch"}
        size = sum(one.nbytes for one in model.parameters())
        peaks.append(peak)
        rows.append([snapshot, ", ".join(sorted(guards)), f"{size >> 20} MiB", f"{peak:.1f} MiB"])
    table(["snapshot", "guards", "parameters", "peak beyond them"], rows)
    return Goal("2 GiB of parameters: MiB beyond them", peaks[0], 64, at_most=True)


def reset_peak() -> int:
    """Forget the highest memory so far; what there is now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")  # proc(5)
    return status("VmRSS")


def peak_beyond(base: int) -> float:
    """How much more there was since, in MiB."""
    return (status("VmHWM") - base) / (1 << 20)


def status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="cost of capture beside training")
    parser.add_argument("case", nargs="?", choices=("gemm", "adam", "memory", "parts"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    warnings.simplefilter("ignore")
    print("## Capture beside training\n")
    print(f"{processor()}; torch {torch.__version__}; {cores} processors\n")
    with tempfile.TemporaryDirectory() as directory:
        os.environ["MLPROV_HOME"] = f"{directory}/home"
        os.environ["MLPROV_STORE"] = f"{directory}/store"
        goals: list[Goal] = []
        if options.case == "parts":
            columns = ["step", "length", "hash alone", "capture : hash", "the next step, longer"]
            rows = [measure_parts(name, 3 if options.quick else options.rounds) for name in GOALS]
            table([*columns, "other steps, by themselves"], rows)
            return
        if options.case != "memory":
            measured = [
                measure(name, threads, 3 if options.quick else options.rounds)
                for name in ([options.case] if options.case else ["gemm", "adam"])
                for threads in ([options.threads] if options.threads else [1, 2][:cores])
            ]
            goals += [goal for _, goal in measured]
            table(
                [
                    "step",
                    "torch threads",
                    "length",
                    "hashed",
                    "cost (range)",
                    "inline",
                    "hash time on all processors",
                    "cost : hash on one",
                    "memcpy : hash on one",
                ],
                [row for row, _ in measured],
            )
        if options.case in (None, "memory"):
            print()
            goals.append(measure_memory())
        report(goals)


if __name__ == "__main__":
    main()

"""Interleaved timing, medians, and the machine's name; shared by the scripts of this folder."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlprov import _core


@dataclass(frozen=True)
class Timing:
    """Seconds of one candidate over all rounds."""

    median: float
    low: float
    high: float


def processor() -> str:
    """The processor as the system names it, and the hash kernel in use."""
    name = platform.processor() or platform.machine()
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            facts = dict(
                (part.strip() for part in line.split(":", 1)) for line in lines if ":" in line
            )
        name = (
            f"{facts.get('model name', name)} "
            f"(family {facts.get('cpu family', '?')} model {facts.get('model', '?')})"
        )
    except OSError:
        pass
    return f"{name}, kernel {_core.hash_kernel()}"


def interleave(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    calls: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time every candidate in every round, in turn, so that a slow spell meets all of them.

    Args:
        candidates: name → what to call.
        rounds: how often each is timed; the median of these is what counts.
        calls: calls per timing, for work too short for the clock.
        clock: ``time.thread_time`` (CPU time of this thread) for work of one thread on a
            busy machine.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for call in candidates.values():
        call()
    for number in range(rounds):
        order = list(candidates) if number % 2 == 0 else list(candidates)[::-1]
        for name in order:
            call = candidates[name]
            began = clock()
            for _ in range(calls):
                call()
            seconds[name].append((clock() - began) / calls)
    return {
        name: Timing(statistics.median(times), min(times), max(times))
        for name, times in seconds.items()
    }


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table, aligned so that it also reads as text."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for number, row in enumerate([header, *rows]):
        cells = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print(f"| {' | '.join(cells)} |")
        if number == 0:
            print("|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")

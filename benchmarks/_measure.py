"""Interleaved timing, medians, goals, and the machine's name: what the scripts here share."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import sys
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


KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

RESULTS = Path(__file__).resolve().parents[1] / "build" / "bench"


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


def shown(size: int) -> str:
    """A size in the unit that divides it."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


def rate(size: int, seconds: float) -> str:
    """GB/s, 1e9 bytes."""
    return f"{size / seconds / 1e9:.2f}"


def wanted(full: float | None, half: float | None) -> float | None:
    """The goal of a ratio to a peer that uses AVX-512, by what the processor makes of it.

    Args:
        full: where 512-bit operations are executed whole (Zen 5 and Intel's).
        half: where they are executed in halves (Zen 4).

    Returns:
        None where this processor has no AVX-512 or no goal was set.
    """
    return {"avx512": full, "avx512-copying": half}.get(_core.hash_kernel())


@dataclass(frozen=True)
class Goal:
    """A claim with a figure.

    Attributes:
        claim: what is compared with what.
        measured: mostly a ratio of medians of one run.
        goal: what it should come to; None where it is only shown.
        at_most: whether less is better.
    """

    claim: str
    measured: float
    goal: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """None where there is no goal."""
        if self.goal is None:
            return None
        return self.measured <= self.goal if self.at_most else self.measured >= self.goal

    def row(self) -> list[str]:
        """Cells of the table of goals."""
        sign = "≤" if self.at_most else "≥"
        goal = "shown" if self.goal is None else f"{sign} {self.goal:g}"
        met = {True: "met", False: "**missed**", None: ""}[self.met]
        return [self.claim, f"{self.measured:.3g}", goal, met]


def report(goals: Sequence[Goal], rates: Mapping[str, Mapping[str, float]] | None = None) -> None:
    """Print the goals as a table, and keep them as ``build/bench/SCRIPT.json``.

    Args:
        goals: the claims, in the order of the tables.
        rates: candidate → size in words → GB/s, kept beside them for a chart.
    """
    print("\n### Goals\n")
    table(["claim", "measured", "goal", ""], [goal.row() for goal in goals])
    RESULTS.mkdir(parents=True, exist_ok=True)
    script = Path(sys.argv[0]).stem
    facts = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "goals": [
            {
                "at_most": goal.at_most,
                "claim": goal.claim,
                "goal": goal.goal,
                "measured": round(goal.measured, 4),
                "met": goal.met,
            }
            for goal in goals
        ],
        "load": round(os.getloadavg()[0], 2),
        "machine": processor(),
        "rates": rates or {},
        "script": script,
    }
    text = json.dumps(facts, ensure_ascii=False, indent=1) + "\n"
    (RESULTS / f"{script}.json").write_text(text, encoding="utf-8")


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
    seconds = rounds_of(candidates, rounds=rounds, calls=calls, clock=clock)
    return {
        name: Timing(statistics.median(times), min(times), max(times))
        for name, times in seconds.items()
    }


def rounds_of(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    calls: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """As :func:`interleave`: seconds of a call, round by round."""
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
    return seconds


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table, aligned so that it also reads as text."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for number, row in enumerate([header, *rows]):
        cells = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print(f"| {' | '.join(cells)} |")
        if number == 0:
            print("|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")

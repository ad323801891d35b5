"""Two threads against our own one and PyPI's blake3 with two, interleaved in one run.

Goals: at least 1.7 times our own one thread on large buffers, at least 1.25 times the peer's two
(half-width AVX-512: 1.4), and no size slower than one thread. Ratios are of medians of wall-clock
times, each round in turn; the range of our ratio to one thread, round by round, shows how noisy the
machine was: two threads need two processors that nobody else uses.

    python benchmarks/thread_rates.py [--quick]
    chrt -f 1 python benchmarks/thread_rates.py --quick   # as root: before all other processes
"""

from __future__ import annotations

import hashlib
import os
import random
import statistics
import sys
from collections.abc import Sequence

import blake3
from _measure import GIB, KIB, MIB, Goal, processor, rate, report, rounds_of, shown, table, wanted

import mlprov
from mlprov import _core

SIZES = [64 * KIB, 256 * KIB, 512 * KIB, 768 * KIB, MIB, 2 * MIB, 4 * MIB, 16 * MIB, 64 * MIB, GIB]
THREADS = 2
LARGE = 64 * MIB
SHARED_FROM = 768 * KIB  # below this no call is shared among threads


def ratio_of(slower: Sequence[float], faster: Sequence[float]) -> float:
    """Of medians."""
    return statistics.median(slower) / statistics.median(faster)


def ratio(slower: Sequence[float], faster: Sequence[float]) -> str:
    """Of medians, with the range over rounds."""
    each = [one / two for one, two in zip(slower, faster, strict=True)]
    return f"{ratio_of(slower, faster):.2f} ({min(each):.2f}–{max(each):.2f})"


def one_buffer(quick: bool) -> list[Goal]:
    """Every size: ours on one thread and on two, the peer's two."""
    print(f"### One buffer, {THREADS} threads, GB/s\n")
    rows, goals, least = [], [], float("inf")
    for size in SIZES[: -1 if quick else None]:
        data = random.Random(size).randbytes(min(size, MIB)) * max(1, size // MIB)
        calls = max(1, min(200, (4 * MIB) // size))
        seconds = rounds_of(
            {
                "one": lambda d=data: _core.hash_bytes(d, threads=1),
                "two": lambda d=data: _core.hash_bytes(d, threads=THREADS),
                "peer": lambda d=data: blake3.blake3(d, max_threads=THREADS).digest(),
            },
            rounds=9 if quick or size >= 64 * MIB else 31,
            calls=calls,
        )
        rates = [rate(size, statistics.median(seconds[name])) for name in seconds]
        to_one = ratio_of(seconds["one"], seconds["two"])
        to_peer = ratio_of(seconds["peer"], seconds["two"])
        if size >= SHARED_FROM:
            least = min(least, to_one)
        if size >= LARGE:
            goals.append(Goal(f"{shown(size)}, two threads to our one", to_one, 1.7))
            claim = f"{shown(size)}, two threads to the peer's two"
            goals.append(Goal(claim, to_peer, wanted(1.25, 1.4)))
        rows.append(
            [
                shown(size),
                *rates,
                ratio(seconds["one"], seconds["two"]),
                ratio(seconds["peer"], seconds["two"]),
            ]
        )
    table(["size", "one", "two", "peer's two", "two : one", "two : peer's two"], rows)
    return [*goals, Goal("two threads to our one, least of all sizes", least, 1.0)]


def model_shaped(quick: bool) -> None:
    """Many buffers in one call: those of a model, and many small ones."""
    print(f"\n### Many buffers in one call, {THREADS} threads\n")
    wide = 256 if quick else 768
    layer = [4 * wide, 4 * 3 * wide * wide, 4 * wide * wide, 4 * 4 * wide * wide, 4 * wide] * 2
    sets = {
        f"transformer, {12 * len(layer) + 1} tensors": [layer * 12, [4 * 8000 * wide]],
        "10,000 x 4 KiB": [[4 * KIB] * 10_000],
        "100,000 x 256 B": [[256] * 100_000],
    }
    rows = []
    for name, groups in sets.items():
        sizes = [size for group in groups for size in group]
        pool = memoryview(os.urandom(max(sizes) + 4096))
        items = [pool[index % 64 * 64 :][:size] for index, size in enumerate(sizes)]
        seconds = rounds_of(
            {
                "one": lambda i=items: _core.hash_many(i, threads=1),
                "two": lambda i=items: _core.hash_many(i, threads=THREADS),
                "loop": lambda i=items: [blake3.blake3(item).digest() for item in i],
            },
            rounds=9,
            calls=1,
        )
        rows.append(
            [name, ratio(seconds["one"], seconds["two"]), ratio(seconds["loop"], seconds["two"])]
        )
    table(["inputs", "two : one", "two : a loop over the peer"], rows)


def two_algorithms(quick: bool) -> None:
    """BLAKE3 beside SHA-256: on two threads it costs what SHA-256 alone does."""
    print("\n### BLAKE3 and SHA-256 of the same bytes, in one call\n")
    data = os.urandom((16 if quick else 64) * MIB)
    seconds = rounds_of(
        {
            "both": lambda: _core.hash_many_by([data], ("blake3", "sha256"), threads=THREADS),
            "alone": lambda: hashlib.sha256(data).digest(),
        },
        rounds=9,
        calls=1,
    )
    rows = [[shown(len(data)), ratio(seconds["alone"], seconds["both"])]]
    table(["size", "rate against hashlib SHA-256 alone"], rows)


def main() -> None:
    """Print the tables."""
    quick = "--quick" in sys.argv[1:]
    print("## Threads\n")
    load = os.getloadavg()[0]
    print(f"{processor()}; PyPI blake3 {blake3.__version__}; {os.cpu_count()} processors,")
    print(f"load average {load:.1f} before this run, {mlprov.get_threads()} threads by default\n")
    goals = one_buffer(quick)
    model_shaped(quick)
    two_algorithms(quick)
    report(goals)


if __name__ == "__main__":
    main()

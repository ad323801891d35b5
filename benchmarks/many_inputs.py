"""Many inputs in one call: lanes shared by all of them, on one thread.

Goals: inputs of unequal lengths (log-uniform 32 B to 64 KiB, shuffled) at 0.8 or more of the rate
of equal ones of the same mean length; and small inputs through one call far ahead of a loop over
PyPI's ``blake3``, which pays for a Python call each time, as a caller of it does. Ratios are of
medians of CPU time of the thread, interleaved in one run.
"""

from __future__ import annotations

import math
import os
import random
import statistics
import sys
import time

import blake3
from _measure import interleave, processor, table

from mlprov import _core

KIB = 1 << 10
SHORTEST, LONGEST = 32, 64 * KIB


def unequal_sizes(count: int) -> list[int]:
    """Log-uniform lengths; the same in every run."""
    chance = random.Random(1)
    low, high = math.log(SHORTEST), math.log(LONGEST)
    return [int(math.exp(chance.uniform(low, high))) for _ in range(count)]


def buffers(sizes: list[int]) -> list[memoryview]:
    """Neighbouring pieces of one memory, each at a multiple of 64 bytes."""
    begins = [0]
    for size in sizes:
        begins.append(begins[-1] + (size + 63) // 64 * 64)
    data = memoryview(os.urandom(begins[-1]))
    return [data[begin : begin + size] for begin, size in zip(begins, sizes, strict=False)]


def main() -> None:
    """Print the tables."""
    quick = "--quick" in sys.argv[1:]
    rounds = 9 if quick else 21
    print("## Many inputs in one call, one thread\n")
    print(f"{processor()}; PyPI blake3 {blake3.__version__}\n")
    rows = []
    for size, count in ((256, 20_000), (KIB, 10_000), (4 * KIB, 5000), (16 * KIB, 1000)):
        items = buffers([size] * count)
        timings = interleave(
            {
                "ours": lambda i=items: _core.hash_many(i, threads=1),
                "loop": lambda i=items: [blake3.blake3(item).digest() for item in i],
            },
            rounds=rounds,
            clock=time.thread_time,
        )
        ours, loop = timings["ours"].median, timings["loop"].median
        rows.append(
            [f"{count} x {size} B", f"{size * count / ours / 1e9:.2f}", f"{loop / ours:.2f}"]
        )
    table(["inputs", "GB/s", "to a loop over the peer"], rows)

    sizes = unequal_sizes(3000)
    unequal = buffers(sizes)
    equal = buffers([round(statistics.mean(sizes))] * len(sizes))
    timings = interleave(
        {
            "unequal": lambda: _core.hash_many(unequal, threads=1),
            "equal": lambda: _core.hash_many(equal, threads=1),
        },
        rounds=rounds,
        clock=time.thread_time,
    )
    ratio = timings["equal"].median / timings["unequal"].median
    print(f"\nunequal lengths: {ratio:.2f} of the rate of equal ones (goal: 0.80)")


if __name__ == "__main__":
    main()

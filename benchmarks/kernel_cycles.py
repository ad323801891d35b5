"""Cycles per byte of each kernel, beside what the processor's ports allow.

256 KiB in the second-level cache, the whole tree, one thread; the clock is measured in between
(``clock.c``). The bound counts the operations of the compression function that no kernel can do
without, on a processor with four vector pipes of 256 bits (Zen 3 and 4; ``docs/hashing.md`` derives
it), with a parent for every 16 blocks; elsewhere it is left out.

    python benchmarks/kernel_cycles.py
"""

from __future__ import annotations

import ctypes
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _measure import KIB, MIB, Goal, processor, report, table

from mlprov import _core

G_PER_BLOCK = 7 * 8
PARENTS = 1 + 1 / 16  # a chunk has 16 blocks, and a tree one parent fewer than chunks

# Operations of a G: six additions, four XORs, and four rotations (one operation each, or two of
# one, a shuffle, and two of three, two shifts and an OR); lanes; 256-bit halves of an operation.
KERNELS = {
    "avx512-copying": (6 + 4 + 4, 16, 2),
    "avx512": (6 + 4 + 4, 16, 2),
    "avx2": (6 + 4 + 2 * 1 + 2 * 3, 8, 1),
    "sse41": (6 + 4 + 2 * 1 + 2 * 3, 4, 1),
    "portable": (6 + 4 + 4, 1, 1),
}
PIPES = 4


def bound(name: str) -> float | None:
    """Cycles per byte if all pipes were busy in every cycle."""
    if name not in KERNELS:
        return None
    operations, lanes, halves = KERNELS[name]
    # The feed-forward: eight XORs a block.
    return (G_PER_BLOCK * operations + 8) * halves * PARENTS / PIPES / (lanes * 64)


def load_clock(directory: str) -> ctypes.CDLL:
    """``clock.c``, compiled."""
    library = str(Path(directory, "clock.so"))
    compiler = os.environ.get("CC") or shutil.which("cc") or "gcc"
    source = str(Path(__file__).with_name("clock.c"))
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
    clock = ctypes.CDLL(library)
    clock.cycles_per_second.restype = ctypes.c_double
    return clock


def cycles(clock: ctypes.CDLL, data: bytes) -> float:
    """Median of cycles per byte; the clock is asked before and after each timing."""
    calls = max(1, 8 * MIB // len(data))
    each = []
    for _ in range(21):
        before = clock.cycles_per_second()
        began = time.thread_time()
        for _ in range(calls):
            _core.hash_bytes(data, threads=1)
        seconds = (time.thread_time() - began) / calls
        each.append(seconds * (before + clock.cycles_per_second()) / 2 / len(data))
    return statistics.median(each)


def main() -> None:
    """Print the table."""
    print("## Cycles per byte at 256 KiB\n")
    print(f"{processor()}\n")
    data = os.urandom(256 * KIB)
    chosen = _core.hash_kernel()
    rows, goals = [], []
    with tempfile.TemporaryDirectory() as directory:
        clock = load_clock(directory)
        for name, usable in _core.hash_kernels():
            if not usable:
                rows.append([name, "not usable here", "", ""])
                continue
            _core.set_hash_kernel(name)
            measured, least = cycles(clock, data), bound(name)
            share = "" if least is None else f"{least / measured:.2f}"
            rows.append([name, f"{measured:.3f}", "" if least is None else f"{least:.3f}", share])
            goals.append(Goal(f"cycles per byte, {name}", measured, at_most=True))
    _core.set_hash_kernel(chosen)
    table(["kernel", "cycles per byte", "bound", "bound / measured"], rows)
    report(goals)


if __name__ == "__main__":
    sys.exit(main())

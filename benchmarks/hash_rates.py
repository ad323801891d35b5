"""One-thread hash rates of one buffer, against everything a reader may think of, interleaved.

The peer is PyPI's ``blake3`` with ``max_threads=1`` (its Rust and assembly); beside it hashlib's
SHA-256, and what is no cryptographic hash at all: ``zlib.crc32``, ``torch.hash_tensor`` (a XOR of
the elements) and a copy of the memory, which show how near the limit is. Ratios are of medians of
CPU time of the thread; the range of our own rate shows how noisy the machine was.

    python benchmarks/hash_rates.py [--quick]
    chrt -f 1 python benchmarks/hash_rates.py   # as root: before all other processes
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import ssl
import sys
import time
import zlib
from collections.abc import Callable

# torch's threads would spin for a while after each call, on the processor that ours need.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import blake3
import torch
from _measure import GIB, KIB, MIB, Goal, Timing, interleave, processor, rate, report, shown, table
from _measure import wanted as wanted_of

import mlprov
from mlprov import _core

SIZES = [256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, 4 * MIB, 64 * MIB, GIB]
PEERS = ["blake3", "sha256", "crc32", "XOR", "memcpy"]

# Ratio to the peer by size: full-width AVX-512, half-width.
AGAINST_PEER = {
    16 * KIB: (1.0, 1.0),
    64 * KIB: (1.05, 1.05),
    256 * KIB: (1.35, 1.12),
    GIB: (1.45, 1.5),
}
# Other instruction sets at 256 KiB, to the peer's AVX-512 rate.
KERNELS_AGAINST_PEER = {
    "avx2": (0.40, 0.685),
    "sse41": (None, 0.35),
    "portable": (0.108, 0.119),
}


def seconds_of(data: torch.Tensor, *, rounds: int, calls: int) -> dict[str, Timing]:
    """Every candidate over the same bytes, in the same run."""
    view = memoryview(data.numpy())
    target = torch.empty_like(data)
    source, copy = data.data_ptr(), target.data_ptr()
    floats = data.view(torch.float32)
    candidates: dict[str, Callable[[], object]] = {
        "mlprov": lambda: _core.hash_bytes(view, threads=1),
        "blake3": lambda: blake3.blake3(view, max_threads=1).digest(),
        "sha256": lambda: hashlib.sha256(view).digest(),
        "crc32": lambda: zlib.crc32(view),
        "XOR": lambda: torch.hash_tensor(floats),
        "memcpy": lambda: ctypes.memmove(copy, source, len(view)),
    }
    return interleave(candidates, rounds=rounds, calls=calls, clock=time.thread_time)


def rates(sizes: list[int], quick: bool, kept: dict[str, dict[str, float]]) -> list[Goal]:
    """The table of rates; kept: receives them, candidate by candidate."""
    rows, goals = [], []
    for size in sizes:
        data = torch.randint(0, 256, (size,), dtype=torch.uint8)
        rounds = 5 if quick else 9 if size == GIB else 15 if size >= 64 * MIB else 31
        timings = seconds_of(data, rounds=rounds, calls=max(1, min(2000, (4 * MIB) // size)))
        own = timings["mlprov"]
        for name, timing in timings.items():
            kept.setdefault(name, {})[shown(size)] = round(size / timing.median / 1e9, 3)
        ratio = timings["blake3"].median / own.median
        goals.append(
            Goal(f"{shown(size)}, one thread, to PyPI blake3", ratio, goal_at(AGAINST_PEER, size))
        )
        if size == GIB:
            goals.append(reading(data, own))
        rows.append(
            [
                shown(size),
                f"{rate(size, own.median)} ({rate(size, own.high)}–{rate(size, own.low)})",
                *(rate(size, timings[name].median) for name in PEERS),
                f"{ratio:.2f}",
                f"{timings['sha256'].median / own.median:.2f}",
            ]
        )
    table(["size", "mlprov (range)", *PEERS, "to blake3", "to sha256"], rows)
    return goals


def goal_at(goals: dict[int, tuple[float, float]], size: int) -> float | None:
    """What this processor should reach at a size."""
    return wanted_of(*goals.get(size, (None, None)))


def reading(data: torch.Tensor, own: Timing) -> Goal:
    """How much of the rate at which one thread can read memory is left."""
    words = data.view(torch.int64)
    timing = interleave({"sum": words.sum}, rounds=5, clock=time.thread_time)["sum"]
    return Goal("1 GiB, one thread, to summing it", timing.median / own.median, 0.27)


def one_buffer_against_xor(quick: bool) -> list[Goal]:
    """``torch.hash_tensor`` of the types that models have, on one thread and on two."""
    size = 64 * MIB if quick else GIB
    print(f"\n### {shown(size)} against torch.hash_tensor (XOR), wall-clock time\n")
    data = torch.randint(0, 256, (size,), dtype=torch.uint8)
    rows, goals = [], []
    for name, wanted in (("bfloat16", 1.0), ("float16", 1.0), ("float32", 0.95), ("int64", None)):
        tensor = data.view(getattr(torch, name))
        for threads in (1, 2):
            torch.set_num_threads(threads)
            timings = interleave(
                {
                    "mlprov": lambda t=tensor, n=threads: mlprov.digest(t, threads=n),
                    "XOR": lambda t=tensor: torch.hash_tensor(t),
                },
                rounds=5,
            )
            own, xor = timings["mlprov"].median, timings["XOR"].median
            rows.append([name, str(threads), rate(size, own), rate(size, xor), f"{xor / own:.2f}"])
            goals.append(Goal(f"{name}, {threads} threads, to its XOR", xor / own, wanted))
    torch.set_num_threads(1)
    table(["dtype", "threads", "mlprov", "XOR", "ratio"], rows)
    return goals


def every_kernel() -> list[Goal]:
    """Each usable kernel at 256 KiB against the peer's own choice."""
    chosen = _core.hash_kernel()
    wants = {name: wanted_of(*goals) for name, goals in KERNELS_AGAINST_PEER.items()}
    data = torch.randint(0, 256, (256 * KIB,), dtype=torch.uint8)
    view = memoryview(data.numpy())
    print("\n### Kernels at 256 KiB, against PyPI blake3 at its own best\n")
    rows, goals = [], []
    for name, usable in _core.hash_kernels():
        if not usable:
            rows.append([name, "not usable here", "", ""])
            continue
        _core.set_hash_kernel(name)
        timings = interleave(
            {
                "mlprov": lambda: _core.hash_bytes(view, threads=1),
                "blake3": lambda: blake3.blake3(view, max_threads=1).digest(),
            },
            rounds=31,
            calls=8,
            clock=time.thread_time,
        )
        own, peer = timings["mlprov"].median, timings["blake3"].median
        rows.append([name, rate(len(view), own), rate(len(view), peer), f"{peer / own:.3f}"])
        if name != chosen:
            goals.append(Goal(f"kernel {name}, to PyPI blake3's best", peer / own, wants.get(name)))
    _core.set_hash_kernel(chosen)
    table(["kernel", "mlprov", "PyPI blake3", "ratio"], rows)
    return goals


def main() -> None:
    """Print the tables."""
    quick = "--quick" in sys.argv[1:]
    torch.set_num_threads(1)
    print("## Hash rates, one thread, GB/s\n")
    print(f"{processor()}; PyPI blake3 {blake3.__version__}, hashlib of {ssl.OPENSSL_VERSION}\n")
    kept: dict[str, dict[str, float]] = {}
    goals = rates(SIZES[: -2 if quick else None], quick, kept)
    goals += one_buffer_against_xor(quick)
    goals += every_kernel()
    report(goals, kept)


if __name__ == "__main__":
    main()

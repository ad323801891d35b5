"""One-thread hash rates against PyPI's blake3 and hashlib, interleaved in one run.

Goal: at least 0.95 of PyPI's blake3 (with ``max_threads=1``) at 64 KiB and above. Ratios are of
medians; the range of our own rate shows how noisy the machine was. Times are CPU time of the
thread.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import sys
import time

import blake3
from _measure import interleave, processor, table

from mlprov import _core

SIZES = [256, 1024, 4096, 16 << 10, 64 << 10, 256 << 10, 4 << 20, 64 << 20, 256 << 20]


def shown(size: int) -> str:
    """A size in the unit that divides it."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


def rate(size: int, seconds: float) -> str:
    """GB/s, 1e9 bytes."""
    return f"{size / seconds / 1e9:.2f}"


def main() -> None:
    """Print the table of the kernel in use, then one of all kernels at 256 KiB."""
    quick = "--quick" in sys.argv[1:]
    print("## Hash rates, one thread, GB/s\n")
    print(f"{processor()}; PyPI blake3 {blake3.__version__}, hashlib of {ssl.OPENSSL_VERSION}\n")
    rows = []
    for size in SIZES[: -2 if quick else None]:
        data = os.urandom(size)
        calls = max(1, min(2000, (4 << 20) // size))
        timings = interleave(
            {
                "mlprov": lambda d=data: _core.hash_bytes(d, threads=1),
                "blake3": lambda d=data: blake3.blake3(d, max_threads=1).digest(),
                "sha256": lambda d=data: hashlib.sha256(d).digest(),
            },
            rounds=5 if quick else 15 if size >= 64 << 20 else 31,
            calls=calls,
            clock=time.thread_time,
        )
        own, peer, sha = (timings[name] for name in ("mlprov", "blake3", "sha256"))
        rows.append(
            [
                shown(size),
                f"{rate(size, own.median)} ({rate(size, own.high)}–{rate(size, own.low)})",
                rate(size, peer.median),
                f"{peer.median / own.median:.2f}",
                rate(size, sha.median),
                f"{sha.median / own.median:.2f}",
            ]
        )
    table(["size", "mlprov (range)", "PyPI blake3", "ratio", "hashlib sha256", "ratio"], rows)
    every_kernel()


def every_kernel() -> None:
    """Each usable kernel at 256 KiB against the peer's own choice."""
    chosen = _core.hash_kernel()
    data = os.urandom(256 << 10)
    print("\n### Kernels at 256 KiB, against PyPI blake3 at its own best\n")
    rows = []
    for name, usable in _core.hash_kernels():
        if not usable:
            rows.append([name, "not usable here", "", ""])
            continue
        _core.set_hash_kernel(name)
        timings = interleave(
            {
                "mlprov": lambda: _core.hash_bytes(data, threads=1),
                "blake3": lambda: blake3.blake3(data, max_threads=1).digest(),
            },
            rounds=31,
            calls=8,
            clock=time.thread_time,
        )
        own, peer = timings["mlprov"], timings["blake3"]
        rows.append(
            [
                name,
                rate(len(data), own.median),
                rate(len(data), peer.median),
                f"{peer.median / own.median:.2f}",
            ]
        )
    _core.set_hash_kernel(chosen)
    table(["kernel", "mlprov", "PyPI blake3", "ratio"], rows)


if __name__ == "__main__":
    main()

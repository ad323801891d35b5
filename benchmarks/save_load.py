"""Saving and loading checked safetensors, against the safetensors package.

Save: ``mlprov.save_file``, which takes BLAKE3 and SHA-256 of the file and the digest of every
tensor, and syncs; against ``safetensors.torch.save_file`` alone, and with BLAKE3 and SHA-256 of
the file taken afterwards. On a memory file system, where syncing costs nothing, and on disk, where
the peer's file is synced too. SHA-256 is one chain: no writer that takes it is faster than one
core's SHA-256, which is shown.

Load: ``mlprov.load_file`` by the tensors' digests against ``safetensors.torch.load_file`` and a
clone of each tensor, with the file in the page cache and with none of it there.

    python benchmarks/save_load.py [--rounds N] [--quick]
"""

from __future__ import annotations

import argparse
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import safetensors.torch as peer
import torch
from _measure import Goal, Timing, interleave, processor, rate, report, shown, table

import mlprov

TENSORS = 32
MEMORY = pathlib.Path("/dev/shm")


@contextmanager
def folder_on(place: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder of our own there."""
    with tempfile.TemporaryDirectory(dir=place) as name:
        yield pathlib.Path(name)


def sync(path: pathlib.Path) -> None:
    """Put a file on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def forget(path: pathlib.Path) -> None:
    """Take a synced file out of the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def measure_saving(tensors: dict[str, Any], folder: pathlib.Path, rounds: int) -> dict[str, Timing]:
    """Each writer of a new file, in turn."""
    path = folder / "model.safetensors"

    def fresh(write: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            path.unlink(missing_ok=True)
            return write()

        return run

    def write_peer() -> None:
        peer.save_file(tensors, path)
        sync(path)

    def write_and_hash() -> None:
        write_peer()
        mlprov.digest(path, algorithms=("blake3", "sha256"))

    return interleave(
        {
            "mlprov": fresh(lambda: mlprov.save_file(tensors, path)),
            "safetensors": fresh(write_peer),
            "and hashed": fresh(write_and_hash),
        },
        rounds=rounds,
    )


def measure_loading(
    path: pathlib.Path, evidence: Any, rounds: int, cold: bool
) -> dict[str, Timing]:
    """Each reader, with the file in the page cache or not."""

    def from_cache(read: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            if cold:
                forget(path)
            return read()

        return run

    return interleave(
        {
            "mlprov": from_cache(lambda: mlprov.load_file(path, evidence=evidence)),
            "safetensors": from_cache(
                lambda: {name: one.clone() for name, one in peer.load_file(path).items()}
            ),
        },
        rounds=rounds,
    )


def cells(timing: Timing, size: int) -> str:
    """Seconds with their range, and GB/s."""
    spread = f"{timing.median:.3f} s ({timing.low:.3f}–{timing.high:.3f})"
    return f"{spread}, {rate(size, timing.median)} GB/s"


def hash_alone(tensors: dict[str, Any], rounds: int) -> Timing:
    """SHA-256 of as many bytes in memory, on one thread."""
    objects = list(tensors.values())
    work = {"sha256": lambda: mlprov.digest_many(objects, algorithm="sha256", threads=1)}
    return interleave(work, rounds=rounds)["sha256"]


def main() -> None:
    """Print the tables and the goals."""
    parser = argparse.ArgumentParser(description="saving and loading checked files")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rounds = 3 if options.quick else options.rounds
    torch.manual_seed(0)
    columns = 1024 if options.quick else 4096
    tensors = {f"layer.{n}.weight": torch.randn(1024, columns) for n in range(TENSORS)}
    size = sum(one.nbytes for one in tensors.values())
    print("## Saving and loading\n")
    print(f"{processor()}; torch {torch.__version__}; {TENSORS} tensors, {shown(size)}\n")
    goals, rows = [], []
    here = pathlib.Path(__file__).resolve().parents[1] / "build"
    for name, place in (("memory", MEMORY), ("disk", here)):
        if not place.is_dir():
            continue
        with folder_on(place) as folder:
            times = measure_saving(tensors, folder, rounds)
        rows.append([name, *(cells(times[one], size) for one in times)])
        ours = times["mlprov"].median
        goals.append(
            Goal(f"save, {name}: to save and hash", ours / times["and hashed"].median, 1, True)
        )
        goals.append(
            Goal(f"save, {name}: to save alone", ours / times["safetensors"].median, 1.15, True)
        )
    table(["file on", "mlprov", "safetensors", "and hashed"], rows)
    print(f"\nSHA-256 of as many bytes, one thread: {cells(hash_alone(tensors, rounds), size)}\n")
    rows = []
    with folder_on(here) as folder:
        path = folder / "model.safetensors"
        saved = mlprov.save_file(tensors, path)
        for cold, name, goal in ((False, "warm", 2.0), (True, "cold", 1.1)):
            times = measure_loading(path, saved, rounds, cold)
            rows.append([name, *(cells(times[one], size) for one in times)])
            ratio = times["mlprov"].median / times["safetensors"].median
            goals.append(Goal(f"load, {name}: to load and clone", ratio, goal, True))
    table(["page cache", "mlprov", "safetensors and clone"], rows)
    report(goals)


if __name__ == "__main__":
    main()

"""A digest with its groups of 16 KiB kept, and proofs of slices from them.

Goals: hashing that keeps the groups at least 0.92 of the rate of hashing alone; groups of at most
0.4 % of the input; a proof of 16 KiB of 1 GiB of at most 1.8 KB, which verifies in less than 1 ms.
Ratios are of medians, each round in turn, with the range round by round: of CPU time on one
thread, of wall-clock time on two.

    python benchmarks/slice_proofs.py [--quick]
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import blake3
from _measure import Goal, interleave, processor, report, table

import mlprov
from mlprov import _core
from mlprov.slices import GroupedDigest, SliceProof, digest_with_groups

KIB, MIB = 1 << 10, 1 << 20
GROUP = 16 * KIB


def some_bytes(size: int) -> bytes:
    """Random bytes, repeated every MiB."""
    return random.Random(size).randbytes(min(size, MIB)) * max(1, size // MIB)


def rounds_of(
    alone: Callable[[], object],
    kept: Callable[[], object],
    rounds: int,
    calls: int,
    clock: Callable[[], float],
) -> tuple[list[float], list[float]]:
    """Seconds of one call of each, round by round, in turn."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(-1, rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            call = (alone, kept)[which]
            began = clock()
            for _ in range(calls):
                call()
            if number >= 0:
                seconds[which].append((clock() - began) / calls)
    return seconds


def keeping_groups(quick: bool) -> list[Goal]:
    """The rate of one pass that keeps the groups against one that does not."""
    print("### Hashing with groups kept, to hashing alone\n")
    sizes = [64 * KIB, 256 * KIB, MIB, 16 * MIB, 64 * MIB, *([] if quick else [1 << 30])]
    rows = []
    goals = []
    for size in sizes:
        data = some_bytes(size)
        for threads in (1, 2) if size >= MIB else (1,):
            alone, kept = rounds_of(
                lambda d=data, t=threads: _core.hash_bytes(d, threads=t),
                lambda d=data, t=threads: _core.blake3_groups(d, threads=t),
                rounds=9 if size >= 64 * MIB else 31,
                calls=max(1, min(100, 4 * MIB // size)),
                clock=time.thread_time if threads == 1 else time.perf_counter,
            )
            each = [one / two for one, two in zip(alone, kept, strict=True)]
            ratio = statistics.median(alone) / statistics.median(kept)
            stored = len(digest_with_groups(data).groups)
            shown = f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"
            claim = f"{shown}, {threads} thread{'s' if threads > 1 else ''}"
            goals += [
                Goal(f"{claim}: groups kept, to the rate without", ratio, 0.92),
                Goal(f"{claim}: groups kept, % of the input", 100 * stored / size, 0.4, True),
            ]
            rows.append(
                [
                    shown,
                    str(threads),
                    f"{size / statistics.median(alone) / 1e9:.2f}",
                    f"{size / statistics.median(kept) / 1e9:.2f}",
                    f"{ratio:.2f} ({min(each):.2f}–{max(each):.2f})",
                    f"{100 * stored / size:.3f} %",
                ]
            )
    table(["size", "threads", "alone, GB/s", "with groups", "ratio (range)", "kept"], rows)
    return goals


def proof_row(
    name: str, grouped: GroupedDigest, data: bytes, start: int, length: int
) -> tuple[list[str], float]:
    """Sizes and times of one proof, and the ms that it takes to verify it."""
    proof = grouped.prove(data, start, length)
    piece = data[start : start + length]
    seconds = interleave(
        {
            "prove": lambda: grouped.prove(data, start, length),
            "verify": lambda: proof.verify(piece, digest=grouped.digest, size=grouped.size),
        },
        rounds=31,
        calls=10,
    )
    raw = len(proof.head) + 32 * len(proof.path) + len(proof.tail)
    row = [
        name,
        str(len(proof.path)),
        f"{raw} B",
        f"{len(proof.to_bytes())} B",
        f"{seconds['prove'].median * 1e3:.2f} ms",
        f"{seconds['verify'].median * 1e3:.3f} ms",
        f"{seconds['verify'].high * 1e3:.3f} ms",
    ]
    return row, seconds["verify"].median * 1e3


def proofs(quick: bool) -> tuple[SliceProof, Goal]:
    """Slices of one large input. Returns: the proof of a group, and how long it may take."""
    size = (64 * MIB) if quick else (1 << 30)
    data = some_bytes(size)
    grouped = digest_with_groups(data)
    print(f"\n### Proofs of slices of {size // MIB} MiB\n")
    middle = size // 2
    measured = [
        proof_row(name, grouped, data, start, length)
        for name, start, length in [
            ("a group of 16 KiB", size // 3 // GROUP * GROUP, GROUP),
            ("16 KiB anywhere", size // 3 // GROUP * GROUP + 5_001, GROUP),
            ("16 KiB across the middle, the longest", middle - GROUP // 2 + 1, GROUP),
            ("4 bytes", size // 3, 4),
            ("1 MiB", size // 3 // MIB * MIB, MIB),
            ("nothing at the end: its size", size, 0),
        ]
    ]
    header = ["slice", "hashes", "raw", "file", "prove", "verify", "verify, slowest"]
    table(header, [row for row, _ in measured])
    began = time.perf_counter()
    blake3.blake3(data).digest()
    print(
        f"\nHashing all {size // MIB} MiB again (PyPI blake3): {time.perf_counter() - began:.2f} s"
    )
    goal = Goal("ms to verify a group of 16 KiB", measured[0][1], 1, at_most=True)
    return grouped.prove(data, size // 3 // GROUP * GROUP, GROUP), goal


def up_to_the_checkpoint(slice_proof: SliceProof) -> list[Goal]:
    """What stands between a slice and the store log's checkpoint, in bytes without JSON."""
    print("\n### A group of 16 KiB up to the checkpoint: 148 tensors, 100 epochs\n")
    try:
        import torch
    except ImportError:
        print("not measured: torch is not installed")
        return []
    model = torch.nn.Sequential(*[torch.nn.Linear(8, 8) for _ in range(74)])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLPROV_HOME"] = f"{folder}/home"  # an owner key of its own
        with mlprov.start("slices", model=model, store=f"{folder}/store") as run:
            for epoch in run.epochs(100):
                epoch.log(loss=1.0)
        proof = run.prove(tensor="3.weight", epoch=50)
    if proof is None:
        sys.exit("the run was not recorded")
    tensor_proof = bytes(proof)
    members = json.loads(tensor_proof)
    claim, record, log = members["claim"], members["record"], members["log"]
    parts = {
        "path of the slice": 32 * len(slice_proof.path),
        "tensor leaf": len(claim["leaf"]),
        "path in the model's tree": 32 * len(claim["path"]),
        "epoch record": len(record["leaf"]),
        "path in the run log": 32 * len(record["path"]),
        "signed run head": len(members["head"]),
        "path in the store log": 32 * len(log["path"]),
    }
    table(
        ["part", "bytes", "together"],
        [
            [name, str(size), str(sum(list(parts.values())[: number + 1]))]
            for number, (name, size) in enumerate(parts.items())
        ],
    )
    print(f"\nAs files: {len(slice_proof.to_bytes())} B, and {len(tensor_proof)} B for the tensor,")
    print("with the checkpoint, the owner's statement and the owner's key.")
    return [Goal("bytes of a group up to the checkpoint", sum(parts.values()), 1800, at_most=True)]


def main() -> None:
    """Print the tables."""
    quick = "--quick" in sys.argv[1:]
    print("## Slice proofs\n")
    print(f"{processor()}; PyPI blake3 {blake3.__version__}; {os.cpu_count()} processors,")
    print(f"load average {os.getloadavg()[0]:.1f} before this run\n")
    goals = keeping_groups(quick)
    proof, goal = proofs(quick)
    report([*goals, goal, *up_to_the_checkpoint(proof)])


if __name__ == "__main__":
    main()

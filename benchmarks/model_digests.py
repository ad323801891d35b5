"""Models through Python in one call: rate, overhead for each tensor, memory.

Goals: a state dict at 0.95 or more of the own rate on one large buffer (GPT-2, ResNet-50); at most
1 µs of Python for each tensor; at least 20 times ``sha256(t.numpy().tobytes())``, which is what
people write, and 5 times SHA-256 of the same memory without a copy; at most 64 MiB beside the
model. torch.hash_tensor is an XOR and crc32 no cryptographic hash; memcpy is what memory allows.

One thread is timed by its CPU time, two by the clock on the wall (hashlib's SHA-256 and crc32 use
one all the same); ratios are of medians, interleaved in one run. The values are random, except
MiniLM's, which are real.
``buffer`` is our own hash over all values in one piece, ``each`` the same over one tensor after
another.
"""

from __future__ import annotations

import hashlib
import ssl
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blake3
import numpy as np
import torch
from _measure import Goal, Timing, interleave, processor, report, table
from _model_shapes import load

import mlprov
from mlprov import _core

Candidates = dict[str, Callable[[], object]]


def of_each(arrays: list[Any], hash_one: Callable[[Any], object]) -> Callable[[], object]:
    """A loop over the tensors' memory, as a caller of a library writes it."""
    return lambda: [hash_one(array) for array in arrays]


def peers(state: dict[str, torch.Tensor], threads: int) -> Candidates:
    """The same bytes by others, and by ourselves as one buffer."""
    tensors = list(state.values())
    # PyPI's blake3 takes bytes alone: views of them, made beforehand, for all peers.
    arrays = [tensor.reshape(-1).view(torch.uint8).numpy() for tensor in tensors]
    buffer = b"".join(array.tobytes() for array in arrays)
    copies = [torch.empty_like(tensor) for tensor in tensors]
    found: Candidates = {
        "buffer": lambda: _core.hash_bytes(buffer, threads=threads),
        "each": of_each(arrays, lambda a: _core.hash_bytes(a, threads=threads)),
        "blake3": of_each(arrays, lambda a: blake3.blake3(a).digest()),
        "hash_tensor": lambda: [torch.hash_tensor(tensor) for tensor in tensors],
        "memcpy": lambda: [copy.copy_(one) for copy, one in zip(copies, tensors, strict=True)],
    }
    found["sha256 tobytes"] = lambda: [
        hashlib.sha256(t.numpy().tobytes()).digest() for t in tensors
    ]
    found["sha256"] = of_each(arrays, lambda a: hashlib.sha256(a).digest())
    found["crc32"] = of_each(arrays, zlib.crc32)
    if threads > 1:
        found["blake3 threads"] = of_each(
            arrays, lambda a: blake3.blake3(a, max_threads=threads).digest()
        )
        found["blake3 auto"] = of_each(
            arrays, lambda a: blake3.blake3(a, max_threads=blake3.blake3.AUTO).digest()
        )
    return found


def extra_memory(state: dict[str, torch.Tensor]) -> float | None:
    """MiB beyond what was resident before a digest; None where the system does not say."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not clear.exists():
        return None

    def read(key: str) -> int:
        lines = status.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(key))

    clear.write_text("5", encoding="ascii")  # the high-water mark begins anew
    before = read("VmRSS")
    mlprov.digest_model(state)
    return (read("VmHWM") - before) / 1024


def measure(state: dict[str, torch.Tensor], threads: int, rounds: int) -> dict[str, Timing]:
    """All candidates on one model."""
    torch.set_num_threads(threads)
    candidates: Candidates = {
        "ours": lambda: mlprov.digest_model(state, threads=threads),
        **peers(state, threads),
    }
    clock = time.thread_time if threads == 1 else time.perf_counter
    calls = max(1, 20_000_000 // sum(tensor.nbytes for tensor in state.values()))
    return interleave(candidates, rounds=rounds, calls=calls, clock=clock)


def rates(models: dict[str, dict[str, torch.Tensor]], threads: int, rounds: int) -> list[Goal]:
    """The table of one number of threads, and its goals."""
    others = ["buffer", "each", "sha256 tobytes", "sha256", "blake3", "crc32"]
    others += ["hash_tensor", "memcpy"]
    rows = []
    goals: list[Goal] = []
    for name, state in models.items():
        timings = measure(state, threads, rounds)
        ours = timings["ours"].median
        for key in list(timings):  # the peer at its own best setting
            if key.startswith("blake3 ") and timings[key].median < timings["blake3"].median:
                timings["blake3"] = timings[key]
        size = sum(tensor.nbytes for tensor in state.values())
        memory = extra_memory(state)
        goals += goals_of(f"{name}, {threads} thread{'s' if threads > 1 else ''}", timings, memory)
        rows.append(
            [
                name,
                str(len(state)),
                f"{size / 1e6:.0f}",
                f"{size / ours / 1e9:.2f}",
                *(f"{timings[other].median / ours:.2f}" for other in others),
                "?" if memory is None else f"{memory:.1f}",
            ]
        )
    words = f"{threads} thread{'s' if threads > 1 else ''}"
    print(f"\n### State dicts in one call, {words}: GB/s, and how many times the rate of others\n")
    table(["model", "tensors", "MB", "GB/s", *others, "extra MiB"], rows)
    return goals


def goals_of(what: str, timings: dict[str, Timing], memory: float | None) -> list[Goal]:
    """What a state dict is held against."""
    ours = timings["ours"].median
    to_buffer = 0.95 if what.startswith(("GPT-2", "ResNet-50")) else None
    goals = [
        Goal(f"{what}: of our rate on one buffer", timings["buffer"].median / ours, to_buffer),
        Goal(f"{what}: to sha256(tobytes)", timings["sha256 tobytes"].median / ours, 20),
        Goal(f"{what}: to SHA-256 without a copy", timings["sha256"].median / ours, 5),
    ]
    if memory is not None:
        goals.append(Goal(f"{what}: MiB beside the model", memory, 64, at_most=True))
    return goals


# ---- overhead ----


def overhead(rounds: int) -> list[Goal]:
    """Small tensors: what a call takes for each, and how much of it is hashing; the goals."""
    count, many = 1000, 10_000
    tensors = {f"layer.{number}.weight": torch.rand(4) for number in range(count)}
    module = torch.nn.ModuleList([torch.nn.Linear(2, 2) for _ in range(count // 2)])
    plan = mlprov.capture_plan(module)
    arrays = [np.full(4, number, np.float32) for number in range(many)]
    contents = [array.tobytes() for array in arrays]
    leaves = mlprov.digest_model(tensors).leaves
    timings = interleave(
        {
            "state dict": lambda: mlprov.digest_model(tensors, threads=1),
            "module": lambda: mlprov.digest_model(module, threads=1),
            "plan": plan.digest,
            "arrays": lambda: mlprov.digest_many(arrays, threads=1),
            "pair": lambda: mlprov.digest_many(arrays, algorithms=("blake3", "sha256"), threads=1),
            "values": lambda: _core.hash_many(contents, threads=1),
            "sha256": lambda: _core.hash_many(contents, "sha256", threads=1),
            "tree": lambda: _core.merkle_root(leaves),
        },
        rounds=rounds,
        clock=time.thread_time,
    )
    micro = {
        name: timing.median
        * 1e6
        / (many if name in ("arrays", "pair", "values", "sha256") else count)
        for name, timing in timings.items()
    }
    values, both = micro["values"], micro["values"] + micro["sha256"]
    rows = [
        ["1,000 tensors, digest_model(state dict)", micro["state dict"], values + micro["tree"]],
        ["1,000 tensors, digest_model(module)", micro["module"], values + micro["tree"]],
        ["1,000 tensors, plan.digest()", micro["plan"], values + micro["tree"]],
        ["10,000 arrays, digest_many", micro["arrays"], values],
        ["10,000 arrays, digest_many, two algorithms", micro["pair"], both],
    ]
    print("\n### Small tensors of 16 bytes: µs for each\n")
    table(
        ["call", "whole", "hashing", "rest"],
        [
            [str(name), f"{whole:.2f}", f"{part:.2f}", f"{whole - part:.2f}"]
            for name, whole, part in rows
        ],
    )
    print(
        "\nHashing is what the same values and leaves, as bytes objects, take in _core.hash_many"
        "\nand _core.merkle_root."
    )
    return [
        Goal(f"{name}: µs of Python for each", whole - part, 1, at_most=True)
        for name, whole, part in rows
    ]


def plans(rounds: int) -> None:
    """To find the tensors of a module again, without hashing them."""
    layers = [torch.nn.Linear(2, 2) for _ in range(74)]
    module = torch.nn.Sequential(*(torch.nn.Sequential(layer, torch.nn.ReLU()) for layer in layers))
    plan = mlprov.capture_plan(module)
    plan.digest()
    timings = interleave(
        {
            "plan": plan.named_tensors,
            "anew": lambda: mlprov.capture_plan(module).named_tensors(),
            "state_dict": module.state_dict,
        },
        rounds=rounds,
        calls=20,
        clock=time.thread_time,
    )
    print("\n### 148 tensors of 149 modules: µs to find them\n")
    table(
        ["plan, again", "plan, first time", "module.state_dict()"],
        [[f"{timings[name].median * 1e6:.0f}" for name in ("plan", "anew", "state_dict")]],
    )


def main() -> None:
    """Print the tables."""
    quick = "--quick" in sys.argv[1:]
    parts = [part for part in sys.argv[1:] if not part.startswith("--")] or ["1", "2", "small"]
    print("## Models through Python\n")
    print(
        f"{processor()}; PyPI blake3 {blake3.__version__}, torch {torch.__version__}, hashlib of"
        f" {ssl.OPENSSL_VERSION}"
    )
    models = load() if {"1", "2"} & set(parts) else {}
    goals: list[Goal] = []
    for threads in (1, 2):
        if str(threads) in parts:
            goals += rates(models, threads, 3 if quick else 7)
    if "small" in parts:
        goals += overhead(9 if quick else 31)
        plans(9 if quick else 31)
    report(goals)


if __name__ == "__main__":
    main()

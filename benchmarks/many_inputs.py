"""Many inputs in one call, one thread: what sharing lanes gains, and what strided tensors cost.

Small inputs through one call against a loop over the peers: BLAKE3's C library, compiled here with
its assembly where it is installed (Debian's ``librust-blake3-dev``), and PyPI's ``blake3``, which
pays for a Python call each time, as a caller of it does. Our call is timed as Python makes it
(``hash_many``) and below Python, where the C library's loop runs too (``many_inputs.c``).

Ratios are of medians of CPU time of the thread, interleaved in one run; two threads: wall clock.

    python benchmarks/many_inputs.py [--quick]
    chrt -f 1 python benchmarks/many_inputs.py --quick   # as root: before all other processes
"""

from __future__ import annotations

import ctypes
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import blake3
import numpy as np
from _measure import KIB, Goal, Timing, interleave, processor, rate, report, shown, table, wanted
from _model_shapes import adam_state, lora_adapter, mobilenet_v2

from mlprov import _core

ROOT = Path(__file__).resolve().parents[1]
SHORTEST, LONGEST = 32, 64 * KIB

# Count, bytes, goal against a loop over the C library (full-width and half-width AVX-512).
EQUAL = (
    (100_000, 256, (14.0, 5.5)),
    (100_000, KIB, (13.0, 5.0)),
    (10_000, 4 * KIB, (3.8, 2.5)),
    (10_000, 16 * KIB, (1.2, 1.35)),
)


# ---- inputs ----


def log_uniform(count: int, longest: int = LONGEST) -> list[int]:
    """Lengths, the same in every run."""
    chance = random.Random(1)
    low, high = math.log(SHORTEST), math.log(longest)
    return [int(math.exp(chance.uniform(low, high))) for _ in range(count)]


def neighbours(sizes: Sequence[int]) -> list[memoryview]:
    """Pieces of one memory, each at a multiple of 64 bytes, as rows of a data set lie."""
    begins = [0]
    for size in sizes:
        begins.append(begins[-1] + (size + 63) // 64 * 64)
    data = memoryview(os.urandom(begins[-1]))
    return [data[begin : begin + size] for begin, size in zip(begins, sizes, strict=False)]


def scattered(sizes: Sequence[int]) -> list[memoryview]:
    """Each in an allocation of its own, as the tensors of a model lie."""
    return [memoryview(bytearray(os.urandom(size))) for size in sizes]


def tensor_sizes(shapes: Any) -> list[int]:
    """Bytes of a model's tensors: float32, and int64 where they count batches."""
    return [
        math.prod(shape) * (8 if name.endswith("num_batches_tracked") else 4)
        for name, shape in shapes
    ]


# ---- below Python ----


class Input(ctypes.Structure):
    """``struct mlp_hash_input``."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("len", ctypes.c_size_t),
        ("source", ctypes.c_void_p),
    )


def peer_sources() -> tuple[Path, list[Path]] | None:
    """The C library's folder and its files for this processor."""
    folders = sorted(Path("/usr/share/cargo/registry").glob("blake3-*/c"))
    if not folders:
        return None
    names = ["blake3.c", "blake3_dispatch.c", "blake3_portable.c"]
    if os.uname().machine == "x86_64":
        names += [f"blake3_{s}_x86-64_unix.S" for s in ("sse2", "sse41", "avx2", "avx512")]
    elif os.uname().machine == "aarch64":
        names.append("blake3_neon.c")
    return folders[-1], [folders[-1] / name for name in names]


def load_native(directory: str) -> ctypes.CDLL | None:
    """``many_inputs.c`` with our hash room and the C library; None without a compiler."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    hash_room = [f for f in (ROOT / "csrc/hash").glob("*.[cS]") if f.name != "sha2.c"]
    sources = [Path(__file__).with_suffix(".c"), ROOT / "tests/cross/no_sha2.c", *hash_room]
    sources += (ROOT / "csrc/base").glob("*.c")
    command = [compiler, "-O3", "-shared", "-fPIC", "-w", "-pthread", f"-I{ROOT / 'csrc'}"]
    command += ["-D_POSIX_C_SOURCE=200809L", "-D_DEFAULT_SOURCE"]
    if (peer := peer_sources()) is not None:
        command += ["-DPEER", f"-I{peer[0]}"]
        sources += peer[1]
    library = str(Path(directory, "many_inputs.so"))
    subprocess.run([*command, *map(str, sources), "-o", library], check=True)
    return ctypes.CDLL(library)


def native_calls(
    native: ctypes.CDLL | None, items: Sequence[memoryview], per_call: int
) -> dict[str, Callable[[], object]]:
    """``ours`` and, where it is installed, ``peer``, over the items."""
    if native is None:
        return {}
    # np.frombuffer gives the address of read-only memory too; the items keep that memory.
    addresses = [np.frombuffer(item, np.uint8).ctypes.data for item in items]
    inputs = (Input * len(items))(
        *(Input(address, len(item)) for address, item in zip(addresses, items, strict=True))
    )
    digests = (ctypes.c_ubyte * (32 * len(items)))()
    calls: dict[str, Callable[[], object]] = {}
    for name in ("ours", "peer"):
        if (function := getattr(native, name, None)) is not None:
            function.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_size_t] * 2
            calls[name] = lambda f=function: f(digests, inputs, len(items), per_call)
            calls[name]()
            assert bytes(digests[-32:]) == blake3.blake3(items[-1]).digest(), name
    return calls


# ---- tables ----


def python_calls(items: Sequence[memoryview], per_call: int) -> dict[str, Callable[[], object]]:
    """``hash_many`` and a loop over PyPI's blake3."""
    calls = [items[first : first + per_call] for first in range(0, len(items), per_call)]
    return {
        "hash_many": lambda: [_core.hash_many(call, threads=1) for call in calls],
        "PyPI": lambda: [blake3.blake3(item).digest() for item in items],
    }


def quotient(timings: dict[str, Timing], slower: str, faster: str) -> float | None:
    """Of medians; None where one was not timed."""
    if slower not in timings or faster not in timings:
        return None
    return timings[slower].median / timings[faster].median


def time_set(
    native: ctypes.CDLL | None, items: Sequence[memoryview], rounds: int, per_call: int = 0
) -> tuple[list[str], dict[str, Timing]]:
    """Cells of a row, and what they are made of."""
    per_call = per_call or len(items)
    size = sum(map(len, items))
    timings = interleave(
        native_calls(native, items, per_call) | python_calls(items, per_call),
        rounds=rounds,
        calls=max(1, (1 << 20) // size),
        clock=time.thread_time,
    )
    rates = [rate(size, timings[n].median) if n in timings else "–" for n in ("ours", "peer")]
    ratios = [quotient(timings, "peer", "ours"), quotient(timings, "PyPI", "hash_many")]
    shown_ratios = ["–" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
    python = rate(size, timings["hash_many"].median)
    return [*rates, shown_ratios[0], python, shown_ratios[1]], timings


def equal_inputs(native: ctypes.CDLL | None, rounds: int, goals: list[Goal]) -> list[list[str]]:
    """Rows with goals."""
    rows = []
    for count, size, (full, half) in EQUAL:
        cells, timings = time_set(native, neighbours([size] * count), rounds)
        name = f"{count:,} x {shown(size)}"
        rows.append([name, *cells])
        if (ratio := quotient(timings, "peer", "ours")) is not None:
            claim = f"{name} in one call to a loop over the C library"
            goals.append(Goal(claim, ratio, wanted(full, half)))
    return rows


def other_inputs(native: ctypes.CDLL | None, rounds: int, goals: list[Goal]) -> list[list[str]]:
    """Rows without: unequal ones, small batches, models."""
    sizes = log_uniform(3000)
    mean = round(statistics.mean(sizes))
    batches = 20
    short = log_uniform(32 * batches, longest=4 * KIB)
    sets = {
        "3,000 x 32 B to 64 KiB": (neighbours(sizes), 0),
        "3,000 equal ones of their mean": (neighbours([mean] * len(sizes)), 0),
        "32 x 32 B to 64 KiB": (neighbours(log_uniform(32 * batches)), 32),
        "32 x 32 B to 4 KiB": (neighbours(short), 32),
        "10,000 x 4 KiB, scattered": (scattered([4 * KIB] * 10_000), 0),
        "MobileNetV2": (scattered(tensor_sizes(mobilenet_v2())), 0),
        "LoRA adapter": (scattered(tensor_sizes(lora_adapter())), 0),
        "Adam state of MobileNetV2": (scattered(tensor_sizes(adam_state())), 0),
        "its 158 steps": (scattered([4] * 158), 0),
    }
    rows, medians = [], {}
    for name, (items, per_call) in sets.items():
        cells, timings = time_set(native, items, rounds, per_call)
        rows.append([name, *cells])
        ours = timings.get("ours", timings["hash_many"])
        medians[name] = ours.median / sum(map(len, items))
        if (ratio := quotient(timings, "peer", "ours")) is not None and "equal" not in name:
            goals.append(Goal(f"{name} in one call to a loop over the C library", ratio))
    unequal, equal = list(medians.values())[:2]
    goals.append(Goal("rate of unequal lengths to that of equal ones", equal / unequal, 0.8))
    return rows


# ---- strided tensors ----


def strided_arrays() -> dict[str, tuple[list[Any], list[Any]]]:
    """Name → strided views, and contiguous arrays of the same values' size."""
    chance = np.random.default_rng(1)
    whole = chance.random((4096, 4096), np.float32)
    halves = whole.view(np.uint16)
    cube = whole.reshape(64, 512, 512)
    filters = whole.reshape(512, 8, 8, 512)
    small = [chance.random((64, 64), np.float32) for _ in range(1000)]
    tiny = [chance.random((32, 48), np.float32) for _ in range(2000)]
    views = {
        "float32 4096 x 4096, transposed": [whole.T],
        "2 bytes, 4096 x 8192, transposed": [halves.T],
        "float32 64 x 512 x 512, axes (2, 0, 1)": [cube.transpose(2, 0, 1)],
        "float32 filters, channels last": [filters.transpose(0, 3, 1, 2)],
        "float32, rows of 16,376 B with gaps": [whole[:, 1:4095]],
        "float32, every second row": [whole[::2]],
        "float32, every second column": [whole[:, ::2]],
        "1,000 x float32 64 x 64, transposed": [array.T for array in small],
        "2,000 x float32 32 x 48, transposed": [array.T for array in tiny],
    }
    return {
        name: (strided, [np.ascontiguousarray(array) for array in strided])
        for name, strided in views.items()
    }


def strided_rows(rounds: int, goals: list[Goal]) -> list[list[str]]:
    """Strided tensors to contiguous ones of the same values, and to what one does without us."""
    rows = []
    for name, (strided, dense) in strided_arrays().items():
        size = sum(array.nbytes for array in dense)
        calls: dict[str, Callable[[], object]] = {
            "strided": lambda s=strided: _core.tensor_digests(s, threads=1),
            "dense": lambda d=dense: _core.tensor_digests(d, threads=1),
            "copy": lambda s=strided: [
                blake3.blake3(np.ascontiguousarray(array).data.cast("B")).digest() for array in s
            ],
        }
        one = interleave(calls, rounds=rounds, clock=time.thread_time)
        two = interleave(
            {
                "one": calls["strided"],
                "two": lambda s=strided: _core.tensor_digests(s, threads=2),
            },
            rounds=rounds,
        )
        to_dense = one["dense"].median / one["strided"].median
        rows.append(
            [
                name,
                rate(size, one["strided"].median),
                f"{to_dense:.2f}",
                f"{one['copy'].median / one['strided'].median:.2f}",
                f"{two['one'].median / two['two'].median:.2f}",
            ]
        )
        goals.append(Goal(f"{name}: rate to a contiguous tensor's", to_dense))
    return rows


def main() -> None:
    """Print the tables."""
    quick = "--quick" in sys.argv[1:]
    rounds = 5 if quick else 11
    goals: list[Goal] = []
    print("## Many inputs in one call, one thread\n")
    print(f"{processor()}; PyPI blake3 {blake3.__version__}")
    header = ["inputs", "GB/s", "C library", "ratio", "hash_many", "to a loop over PyPI's"]
    with tempfile.TemporaryDirectory() as directory:
        native = load_native(directory)
        if (peer := peer_sources()) is None or native is None:
            print("no row of the C library: it takes a compiler and librust-blake3-dev (Debian)")
        else:
            print(f"BLAKE3 C library {peer[0].parent.name.removeprefix('blake3-')}, its assembly")
        print()
        table(header, equal_inputs(native, rounds, goals))
        print("\n### Unequal lengths, small batches, models\n")
        table(header, other_inputs(native, rounds, goals))
    print("\n### Strided tensors\n")
    table(
        ["tensors", "GB/s", "to contiguous", "to copying and PyPI's", "two threads : one"],
        strided_rows(rounds, goals),
    )
    report(goals)


if __name__ == "__main__":
    main()

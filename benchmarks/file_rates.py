"""``mlprov hash`` against b3sum, end to end with process start: a large file, many small ones.

Goals: a warm file of 4 GiB at least 1.1 times as fast as b3sum with one thread and 1.0 times with
two; a tree of 100,000 small files, sorted, 1.5 times. b3sum walks no directories: find and sort
give it its list, through one pipe. Files lie in a temporary directory (TMPDIR names another) and
are in the page cache before the first round; rounds are interleaved, ratios are of medians of
wall-clock times. Both programs' outputs are compared first.

    python benchmarks/file_rates.py [--quick] [large] [small] [start]   # all three, or those named
    chrt -f 1 python benchmarks/file_rates.py    # as root: before all other processes
"""

from __future__ import annotations

import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from _measure import Goal, Timing, interleave, processor, report, table

MIB = 1 << 20
LARGEST_SMALL_FILE = 16 * 1024  # lengths are log-uniform from 32 bytes to this
FILES_IN_A_FOLDER = 1000

MLPROV = [str(Path(sys.executable).with_name("mlprov"))]
if not Path(MLPROV[0]).exists():
    MLPROV = [sys.executable, "-m", "mlprov"]
# As an installed program runs: with the modules' compiled form kept.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name[:10] != "PYTHONDONT"}


def run(command: Sequence[str], folder: Path) -> bytes:
    """What a command prints."""
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, check=True)
    return done.stdout


def time_commands(
    commands: Mapping[str, Sequence[str]], folder: Path, rounds: int
) -> dict[str, Timing]:
    """Seconds of each command, its output thrown away."""

    def call(command: Sequence[str]) -> None:
        subprocess.run(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, check=True)

    calls: dict[str, Callable[[], object]] = {
        name: partial(call, command) for name, command in commands.items()
    }
    return interleave(calls, rounds=rounds)


def shown(timing: Timing) -> str:
    """Median and range, in milliseconds."""
    return f"{timing.median * 1e3:.0f} ({timing.low * 1e3:.0f}–{timing.high * 1e3:.0f})"


def make_large(path: Path, size: int) -> None:
    """Random bytes, a MiB of them again and again."""
    block = random.Random(4).randbytes(MIB)
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(block)


def make_tree(root: Path, count: int) -> int:
    """Small files in folders; gives their bytes together."""
    generator = random.Random(4)
    block = generator.randbytes(MIB)
    total = 0
    for index in range(count):
        folder = root / f"{index // FILES_IN_A_FOLDER:03d}"
        if index % FILES_IN_A_FOLDER == 0:
            folder.mkdir(parents=True)
        length = int(math.exp(generator.uniform(math.log(32), math.log(LARGEST_SMALL_FILE))))
        begin = generator.randrange(MIB // 2)
        (folder / f"{index:06d}.bin").write_bytes(block[begin : begin + length])
        total += length
    return total


def large_file(folder: Path, quick: bool) -> list[Goal]:
    """One file, with one thread and with two."""
    size = (512 if quick else 4096) * MIB
    make_large(folder / "large", size)
    print(f"\n### One warm file of {size // MIB} MiB\n")
    rows = []
    goals = []
    for threads, goal in ((1, 1.1), (2, 1.0)):
        commands = {
            "b3sum": ["b3sum", "--num-threads", str(threads), "large"],
            "mlprov": [*MLPROV, "hash", "--threads", str(threads), "large"],
        }
        if run(commands["b3sum"], folder) != run(commands["mlprov"], folder):
            sys.exit("file_rates: b3sum and mlprov differ")
        seconds = time_commands(commands, folder, 7)
        ratio = seconds["b3sum"].median / seconds["mlprov"].median
        rates = [f"{size / one.median / 1e9:.2f}" for one in seconds.values()]
        rows.append([str(threads), *map(shown, seconds.values()), *rates, f"{ratio:.2f}"])
        claim = f"a file of {size // MIB} MiB, {threads} thread{'s' if threads > 1 else ''}"
        goals.append(Goal(f"{claim}, to b3sum", ratio, goal))
    (folder / "large").unlink()
    header = ["threads", "b3sum, ms", "mlprov, ms", "GB/s", "GB/s", "ratio"]
    table(header, rows)
    return goals


def small_files(folder: Path, quick: bool) -> list[Goal]:
    """A tree, sorted, with one thread and with two."""
    count = 10_000 if quick else 100_000
    total = make_tree(folder / "tree", count)
    print(f"\n### {count:,} small files, {total / 1e6:.0f} MB, in {count // 1000} folders\n")
    listing = "find tree -type f -print0 | LC_ALL=C sort -z | xargs -0"
    commands = {
        "b3sum": ["sh", "-c", f"{listing} b3sum"],
        "b3sum, one thread": ["sh", "-c", f"{listing} b3sum --num-threads 1"],
        "b3sum, two processes, no order": ["sh", "-c", f"{listing} -n 1000 -P 2 b3sum"],
        "mlprov, one thread": [*MLPROV, "hash", "--threads", "1", "tree"],
        "mlprov, two threads": [*MLPROV, "hash", "--threads", "2", "tree"],
    }
    printed = {name: run(command, folder) for name, command in commands.items()}
    lines = printed.pop("b3sum, two processes, no order").splitlines(keepends=True)
    in_order = b"".join(sorted(lines, key=lambda line: line[66:]))  # behind digest and spaces
    if {*printed.values()} != {in_order}:
        sys.exit("file_rates: b3sum and mlprov differ")
    seconds = time_commands(commands, folder, 7)
    peer_seconds = seconds["b3sum"].median
    rows = [
        [
            name,
            shown(timing),
            f"{timing.median / count * 1e6:.1f}",
            f"{peer_seconds / timing.median:.2f}",
        ]
        for name, timing in seconds.items()
    ]
    table(["command", "ms", "µs a file", "ratio to b3sum"], rows)
    ratio = peer_seconds / seconds["mlprov, two threads"].median
    return [Goal(f"{count:,} small files, two threads, to b3sum", ratio, 1.5)]


def process_start(folder: Path, _quick: bool) -> list[Goal]:
    """What there is to every call."""
    (folder / "small").write_bytes(b"abc")
    print("\n### A file of three bytes\n")
    commands = {
        "b3sum small": ["b3sum", "small"],
        "mlprov hash small": [*MLPROV, "hash", "small"],
        "mlprov --version": [*MLPROV, "--version"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    seconds = time_commands(commands, folder, 15)
    rows = [[name, f"{timing.median * 1e3:.1f}"] for name, timing in seconds.items()]
    table(["command", "ms"], rows)
    return []


def main() -> None:
    """Print the tables."""
    quick = "--quick" in sys.argv[1:]
    if shutil.which("b3sum") is None:
        sys.exit("file_rates: b3sum is not installed; bash scripts/test_tools.sh b3sum installs it")
    print("## Files\n")
    version = run(["b3sum", "--version"], Path()).decode().strip()
    load = os.getloadavg()[0]
    print(f"{processor()}; {version}; {os.cpu_count()} processors,")
    print(f"load average {load:.1f} before this run")
    parts = {"large": large_file, "small": small_files, "start": process_start}
    with tempfile.TemporaryDirectory(prefix="mlprov-files-") as folder:
        named = [name for name in parts if name in sys.argv] or parts
        goals = [goal for part in named for goal in parts[part](Path(folder), quick)]
    report(goals)


if __name__ == "__main__":
    main()

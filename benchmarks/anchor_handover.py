"""What anchoring costs the training thread: handing over, and the end with a server that is gone.

Times single calls of what a run does behind each signed head: setting a flag and, where the worker
may plan at once, waking it. A training step lies between two calls in reality, a pause of half a
millisecond here. Where each call has to wake them, as with MLPROV_ANCHOR_EVERY=0, is the most that
it can cost; with ten minutes between two checkpoints, the default, nearly all find a worker that
knows already. The end is that of a whole process, from the call of ``finish``: with
nobody at the server's port, with somebody who takes the connection and says nothing, and with a
server whose name has to be asked of a DNS server that is silent.

    python benchmarks/anchor_handover.py
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from _anchor_ends import KINDS, end_seconds, name_servers, port
from _measure import Goal, report

import mlprov
from mlprov import _core, anchoring

CALLS = 1000
PAUSE = 0.0005  # seconds


def hand_over_seconds(store: Path, kinds: Sequence[str], every_ms: int) -> list[float]:
    """Seconds of each call, sorted."""
    taken = []
    servers = [anchoring.endpoint(kind).for_core() for kind in kinds]
    workers = _core.AnchorWorkers(os.fsencode(store), servers, every_ms=every_ms)
    for _ in range(CALLS):
        if every_ms == 0:
            workers.wait(1000)  # until they lie down, and have to be woken
        time.sleep(PAUSE)
        began = time.perf_counter()
        workers.hand_over(False)
        taken.append(time.perf_counter() - began)
    workers.stop(1000)
    return sorted(taken)


def measure_handing_over(folder: Path) -> list[Goal]:
    """Print medians; the goals."""
    goals = []
    name_servers("http://127.0.0.1:1")
    with mlprov.start("before", store=folder / "store") as run:
        run.log(loss=1)
    for kinds in (["ipfs"], ["ethereum"], KINDS):
        for every_ms, when in ((0, "all woken"), (600_000, "as by default")):
            taken = hand_over_seconds(folder / "store", kinds, every_ms)
            name = f"handing over to {' and '.join(kinds)}, {when}"
            middle, most = statistics.median(taken) * 1e6, taken[-1] * 1e6
            print(f"{name}: median {middle:.1f} µs, most {most:.0f}")
            nearly_all = taken[CALLS * 99 // 100] * 1e6
            goals.append(Goal(f"{name}, µs (99 of 100)", nearly_all, 20, at_most=True))
    return goals


def measure_ends(folder: Path) -> list[Goal]:
    """The goals of the end of a process."""
    goals = []
    for kind in KINDS:
        for listens, name in ((False, "nobody there"), (True, "a silent server")):
            with port(listens=listens) as url:
                seconds = end_seconds(folder / f"{kind}-{listens}", kind, url)
            assert seconds is not None
            goals.append(Goal(f"{kind}: end of a process, {name}, s", seconds, 2, at_most=True))
        asked = end_seconds(folder / kind, kind, "https://node.example.org", resolver=True)
        if asked is None:
            print(f"{kind}: left out, a silent resolver: the system gives no namespaces")
        else:
            claim = f"{kind}: end of a process, a silent resolver, s"
            goals.append(Goal(claim, asked, 2, at_most=True))
    return goals


def main() -> None:
    """Print the goals."""
    warnings.simplefilter("ignore", UserWarning)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        os.environ["MLPROV_HOME"] = str(folder / "home")
        report(measure_handing_over(folder) + measure_ends(folder))


if __name__ == "__main__":
    main()

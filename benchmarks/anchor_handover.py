"""What anchoring costs the training thread: handing over, and the end with a server that is gone.

Times single calls of what a run does behind each signed head: setting a flag and waking the worker.
A training step lies between two calls in reality, a pause of half a millisecond here, so that the
worker is asleep each time. The end is timed with nobody at the server's port, and with somebody who
takes the connection and says nothing.

    python benchmarks/anchor_handover.py
"""

from __future__ import annotations

import os
import socket
import statistics
import tempfile
import time
from pathlib import Path

from _measure import Goal, report

import mlprov
from mlprov import anchoring, stores

CALLS = 2000
PAUSE = 0.0005  # seconds


def hand_over_seconds(run_anchors: anchoring.Anchoring) -> list[float]:
    """Seconds of each call, sorted."""
    taken = []
    for _ in range(CALLS):
        began = time.perf_counter()
        run_anchors.hand_over()
        taken.append(time.perf_counter() - began)
        time.sleep(PAUSE)
    return sorted(taken)


def end_seconds(folder: Path, *, listens: bool) -> float:
    """Seconds of the end of a run whose server is gone or silent."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listens:
            server.listen()
        os.environ["MLPROV_IPFS_URL"] = f"http://127.0.0.1:{server.getsockname()[1]}"
        run = mlprov.start("end", store=folder / f"end-{listens}", anchors=["ipfs"])
        began = time.perf_counter()
        run.finish()
        return time.perf_counter() - began


def main() -> None:
    """Print the goals."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        os.environ["MLPROV_HOME"] = str(folder / "home")
        os.environ["MLPROV_IPFS_URL"] = "http://127.0.0.1:1"
        with mlprov.start("before", store=folder / "store") as run:
            run.log(loss=1)
        with stores.open_store(folder / "store") as store:
            anchors = anchoring.Anchoring(["ipfs"])
            anchors.start(store)
            taken = hand_over_seconds(anchors)
            anchors.finish(2)
        gone, silent = end_seconds(folder, listens=False), end_seconds(folder, listens=True)
    print(f"hand over: median {statistics.median(taken) * 1e6:.1f} µs, most {taken[-1] * 1e6:.0f}")
    report(
        [
            Goal("handing over, µs (99 of 100)", taken[CALLS * 99 // 100] * 1e6, 20, at_most=True),
            Goal("end of a run, nobody there, s", gone, 2, at_most=True),
            Goal("end of a run, a silent server, s", silent, 2, at_most=True),
        ]
    )


if __name__ == "__main__":
    main()

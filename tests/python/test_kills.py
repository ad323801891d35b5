"""Processes that record and anchor, killed at random moments: no anchor is lost, none paid twice.

``make kills`` does it a thousand times. What is killed is a process that records a run with
anchors, or one that delivers what earlier ones left, at any moment of its life; after some of them
the rest is delivered, and the chain is held against the outbox.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from chains_for_tests import Chain, chain, rows
from cli_for_tests import run_command
from nodes_for_tests import anvil, require_secp256k1

from mlprov import _core

KILLS = int(os.environ.get("MLPROV_TEST_KILLS", "20"))
SEED = int(os.environ.get("MLPROV_TEST_SEED", "1"))
ROUND = 20  # kills until all is delivered and looked at
SECONDS = {"record": 1.2, "deliver": 2.5}  # a life of each, at most

# Imports once. A line names what a child shall do, the next one kills it; says how it ended.
SERVER = """
import os, signal, sys, mlprov, mlprov.recorder
from mlprov import anchoring, stores
store = sys.argv[1]
def record():
    with mlprov.start("killed", store=store, anchors=["ethereum"]) as run:
        for epoch in run.epochs(1000):
            epoch.log(loss=1)
def deliver():
    with stores.open_with_log(store) as opened:
        anchoring.deliver(opened, ["ethereum"], 60)
with mlprov.start("warm", store=store + "-warm") as run:
    for epoch in run.epochs(1):
        epoch.log(loss=1)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        {"record": record, "deliver": deliver}[line.strip()]()
        os._exit(0)
    print("born", flush=True)
    sys.stdin.readline()
    os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextmanager
def server(store: Path) -> Iterator[subprocess.Popen[str]]:
    """Something that gives birth to processes at no cost."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, store],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"MLPROV_ANCHOR_EVERY": "0.3"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def kill_one(born: subprocess.Popen[str], what: str, seconds: float) -> int:
    """Let it do something for so long; how it ended."""
    assert born.stdin is not None
    assert born.stdout is not None
    print(what, file=born.stdin, flush=True)
    born.stdout.readline()
    time.sleep(seconds)  # the moment is the point
    print("kill", file=born.stdin, flush=True)
    return int(born.stdout.readline())


def check(there: Chain, store: Path) -> int:
    """Deliver what is left; the chain has each checkpoint once, and nothing besides. Its events."""
    done = run_command("sync", "--store", store, "--timeout", "600")
    assert done.code == 0, done.out + done.err
    found = rows(store)
    assert {row.state for row in found} <= {"final"}
    assert sorted(row.nonce or 0 for row in found) == list(range(1, len(found) + 1))  # no gap
    events = there.events()
    assert sorted(row.reference.hex() for row in found) == sorted(sent[2:] for sent, _ in events)
    assert len({digest for _, digest in events}) == len(events) == len(found)
    assert there.count() == 1 + len(found)  # the deployment; and nothing was spent twice
    digests = {sent[2:]: digest for sent, digest in events}
    for row in found:
        assert row.evidence is not None
        assert _core.ethereum_verify(row.evidence, digests[row.reference.hex()])
    return len(events)


@pytest.mark.slow
@pytest.mark.forks_beside_threads
def test_after_random_kills_each_checkpoint_is_on_the_chain_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_secp256k1()
    chance = random.Random(SEED)
    store, killed, events = tmp_path / "store", 0, 0
    with anvil("--block-time", "0.2", "--slots-in-an-epoch", "1") as node:
        there = chain(node, monkeypatch)
        with server(store) as born:
            while killed < KILLS:
                new = not (store / "store.db").exists() or chance.random() < 0.4
                what = "record" if new else "deliver"
                ended = kill_one(born, what, chance.random() * SECONDS[what])
                killed += ended == -signal.SIGKILL
                if killed % ROUND == 0 and ended != 0:
                    events = check(there, store)
                    print(f"seed {SEED}: {killed} kills, {events} checkpoints, each there once")
    assert events > 0

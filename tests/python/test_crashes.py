"""Processes that die and processes that share a store: what was acknowledged is there."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from training_for_tests import ROOT, assert_log_holds

import mlprov
from mlprov import _core, stores

KILLS = 50
AT_ONCE = 3  # on few processors more would only wait for each other

VICTIM = """
import random, sys
import mlprov
from mlprov import runs, bundles
print("ready", flush=True)
model = {"w": memoryview(b"weights"), "b": memoryview(b"bias")}
with mlprov.start("victim", store=sys.argv[1], model=model) as run:
    print("head", run.id, *run.head, flush=True)
    for epoch in run.epochs(10**6):
        for _ in run.track([random.randbytes(100) for _ in range(5)]):
            pass
        epoch.log(loss=epoch.index)
        if epoch.index:
            print("head", run.id, *run.head, flush=True)
        if epoch.index % 3 == 2:
            run.wait()
            last = run.anchors[-1]
            print("entry", run.id, last["head"], last["index"], flush=True)
"""


def start_victim(store: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", VICTIM, store],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def kill_at(store: Path, delay: float, *, when_ready: bool) -> list[list[str]]:
    """Let a process record for a while and kill it; the lines that it had acknowledged."""
    process = start_victim(store)
    assert process.stdout is not None
    lines = [process.stdout.readline()] if when_ready else []
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors
    assert "Traceback" not in errors, errors
    text = "".join(lines) + rest
    whole = text[: text.rfind("\n") + 1]  # what the pipe lost of the last line was not said
    return [line.split() for line in whole.splitlines() if line != "ready"]


def assert_nothing_acknowledged_is_lost(store: stores.Store, acknowledged: list[list[str]]) -> None:
    for kind, run_id, size, where in acknowledged:
        heads = {head.size: head for head in stores.read_heads(store, run_id)}
        head = heads[int(size)]
        if kind == "head":
            assert f"sha256:{head.root.hex()}" == where
            assert _core.merkle_root(stores.read_records(store, run_id)[: int(size)]) == head.root
        else:
            assert head.log_index == int(where)


# ---- the store log, read as any client of C2SP tlog-tiles reads it ----


def tile_name(number: int) -> str:
    """C2SP tlog-tiles, "Merkle Tree": groups of three digits, an x before all but the last."""
    groups = [f"{number % 1000:03}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03}")
    return "/".join(groups)


def read_log(path: Path) -> tuple[list[bytes], str, bytes]:
    """Entries, origin and root of the published log."""
    origin, size, root = _core.parse_checkpoint(
        _core.note_text((path / "log" / "checkpoint").read_bytes())
    )
    entries: list[bytes] = []
    for number in range((size + 255) // 256):
        width = min(256, size - number * 256)
        name = f"log/tile/entries/{tile_name(number)}" + (f".p/{width}" if width < 256 else "")
        bundle = (path / name).read_bytes()
        for _ in range(width):
            length = int.from_bytes(bundle[:2])
            entries.append(bundle[2 : 2 + length])
            bundle = bundle[2 + length :]
        assert bundle == b""
    return entries, origin, root


def assert_store_log_holds(path: Path) -> int:
    """The checkpoint's root is that of the entries, in the database and as published; its size."""
    with stores.open_store(path) as store:
        size = store.integrate()
        checkpoint = store.checkpoint()
        assert checkpoint is not None
        text = _core.verify_note(checkpoint, store.log_vkey)
        rows = store.query("SELECT idx, entry, leaf_hash FROM log_entries ORDER BY idx")
        heads = store.query("SELECT note, log_index FROM heads ORDER BY log_index")
        quick_check = store.query("PRAGMA quick_check")
    assert quick_check == [("ok",)]
    entries, origin, root = read_log(path)
    assert _core.parse_checkpoint(text) == (origin, size, root)
    assert [row[0] for row in rows] == list(range(size))
    assert [row[1] for row in rows] == entries
    assert [row[2] for row in rows] == [_core.merkle_leaf_hash(entry) for entry in entries]
    assert _core.merkle_root(entries) == root
    assert heads == [
        (entry, index) for index, entry in enumerate(entries)
    ]  # each head once, none pending
    return size


@pytest.mark.slow
def test_fifty_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "store"
    source = random.Random()
    delays = [(source.uniform(0, 0.6), True) for _ in range(KILLS - 8)] + [
        (source.uniform(0.05, 0.5), False)
    ] * 8
    source.shuffle(delays)
    acknowledged: list[list[str]] = []

    def kill(moment: tuple[float, bool]) -> None:
        lines = kill_at(path, moment[0], when_ready=moment[1])
        acknowledged.extend(lines)
        if lines:
            with stores.open_store(path, read_only=True) as store:  # beside processes that write
                assert_nothing_acknowledged_is_lost(store, lines)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(kill, delays))

    assert sum(kind == "head" for kind, *_ in acknowledged) >= KILLS
    with stores.open_store(path) as store:
        assert_nothing_acknowledged_is_lost(store, acknowledged)
        runs = stores.read_runs(store)
    assert {run_id for _, run_id, *_ in acknowledged} <= {run.id for run in runs}
    assert {run.status for run in runs} == {"running"}
    for run in runs:
        assert_log_holds(path, run.id, tmp_path)
    assert_store_log_holds(path)


TRAINING = """
import sys, time, torch, mlprov
from training_for_tests import network, train_step
data = torch.utils.data.TensorDataset(torch.randn(10**6, 4), torch.arange(10**6) % 2)
loader = torch.utils.data.DataLoader(data, batch_size=2)
model, optimizer = network()
with mlprov.start("victim", store=sys.argv[1], model=model, optimizer=optimizer) as run:
    print(run.id, flush=True)
    for epoch in run.epochs(1):
        for batch in run.track(loader):
            train_step(model, optimizer, batch)
            print(time.monotonic(), flush=True)
"""


@pytest.mark.slow
def test_a_training_that_is_killed_leaves_the_leaves_of_its_running_epoch(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINING, tmp_path / "s"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    times = [float(process.stdout.readline())]
    while times[-1] < times[0] + 7:  # one fsync after five seconds
        times.append(float(process.stdout.readline()))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)

    batches, indices = "0-0-train", "indices.0-0-train"
    with stores.open_store(tmp_path / "s") as store:
        streams = {name: store.open_stream(run_id, name) for name in (batches, indices)}
        sizes = {name: stream.size for name, stream in streams.items()}
        leaves = {name: store.get_leaves(stream.close()) for name, stream in streams.items()}
    old = sum(moment < times[-1] - 5.5 for moment in times)
    assert old > 0
    assert min(sizes.values()) >= old, "what is more than five seconds old is there"
    for number, leaf in enumerate(leaves[indices]):
        expected = {"batch": number, "indices": [2 * number, 2 * number + 1]}
        assert json.loads(leaf) == expected
    for number, leaf in enumerate(leaves[batches]):
        read = json.loads(leaf)
        assert (read["batch"], read["items"][0]["$tensor"]["shape"]) == (number, [2, 4])
    assert_log_holds(tmp_path / "s", run_id, tmp_path)


def test_a_store_whose_process_was_killed_takes_the_next_run(tmp_path: Path) -> None:
    acknowledged = kill_at(tmp_path / "s", 0.5, when_ready=True)
    with mlprov.start("next", store=tmp_path / "s") as run:
        pass
    assert_log_holds(tmp_path / "s", run.id, tmp_path)
    with stores.open_store(tmp_path / "s") as store:
        assert_nothing_acknowledged_is_lost(store, acknowledged)
    assert_store_log_holds(tmp_path / "s")


# ---- many processes ----

WRITER = """
import sys
import mlprov
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    options = {"store": sys.argv[1], "group": sys.argv[2], "on_error": "raise"}
    with mlprov.start(f"run {number}", **options) as run:
        for epoch in run.epochs(1):
            epoch.log(loss=number)
    print(run.id, *run.head, flush=True)
"""


@pytest.mark.slow
def test_eight_processes_share_a_store(tmp_path: Path) -> None:
    processes, each = 8, 50
    path = tmp_path / "store"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, path, f"writer {number}", str(each)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=ROOT,
        )
        for number in range(processes)
    ]  # fmt: skip
    for writer in writers:  # all of them make the store at once
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    with ThreadPoolExecutor(processes) as pool:
        outputs = list(pool.map(lambda writer: writer.communicate(timeout=300), writers))
    for writer, (_, errors) in zip(writers, outputs, strict=True):
        assert (writer.returncode, errors) == (0, "")

    done = [line.split() for output, _ in outputs for line in output.splitlines()]
    assert len({run_id for run_id, _, _ in done}) == processes * each
    with stores.open_store(path) as store:
        runs = {run.id: run for run in stores.read_runs(store)}
        assert len(runs) == processes * each
        for run_id, size, root in done:
            assert runs[run_id].status == "finished"
            heads = stores.read_heads(store, run_id)
            assert (str(heads[-1].size), f"sha256:{heads[-1].root.hex()}") == (size, root)
            assert None not in [head.log_index for head in heads]
            assert _core.merkle_root(stores.read_records(store, run_id)) == heads[-1].root
    assert [key.name for key in (path / "keys").iterdir()] == ["log.pem"]
    assert assert_store_log_holds(path) == 3 * processes * each
    for run_id, _, _ in done[:: processes * each // 10]:
        assert_log_holds(path, run_id, tmp_path)

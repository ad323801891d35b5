"""Batches hashed beside the loop: the evidence that hashing them first gives, or a gap."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from overlap_for_tests import NEEDS_A_WORKER, hold_up, one_worker
from training_for_tests import ROOT, assert_log_holds, of_type, run_script, stored, the

import mlprov
from mlprov import RecordingWarning, stored_runs, stores, streams
from mlprov.batches import BatchInHand, capture_batch

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")

LARGE = 1 << 16  # float32 values: 256 KiB, more than what is hashed at once (csrc/capture/ticket.h)

pytestmark = NEEDS_A_WORKER


def large(value: float = 0) -> Any:
    """A batch that is left to a worker, unless it is the first of a pass."""
    return torch.full((LARGE,), float(value))


def stream_of(run: mlprov.Run) -> dict[str, Any]:
    """The one stream outside of epochs."""
    (stream,) = the(stored(run), "batches")["streams"]
    return dict(stream)


def leaves_of(run: mlprov.Run, member: str = "tree") -> list[Any]:
    """Its leaves, as the store kept them."""
    root = bytes.fromhex(stream_of(run)[member]["root"].removeprefix("sha256:"))
    with stores.open_store(run.store_path, read_only=True) as store:
        return [json.loads(leaf) for leaf in store.get_leaves(root)]


@pytest.fixture(autouse=True)
def _one_worker() -> Iterator[None]:
    with one_worker():
        yield


def pass_over(store: Path, batches: Any, body: Callable[[Any], Any], **settings: Any) -> mlprov.Run:
    """Track a pass whose worker is held up, so that each batch is hashed behind the loop's body."""
    slow = []
    with mlprov.start("t", store=store, **settings) as run:
        for batch in run.track(batches):
            slow.append(hold_up(16))
            body(batch)
    return run


# ---- the same evidence ----


def test_a_batch_hashed_beside_the_loop_has_the_leaf_of_one_hashed_before_it(
    tmp_path: Path,
) -> None:
    batches = [
        (large(1), {"y": torch.arange(3), "name": "a"}),
        (large(2).view(256, 256).t(), np.zeros(LARGE, dtype=np.float32)),
        large(3),
        [b"small", torch.eye(3)],
        (large(4), torch.eye(3).to_sparse()),
        large(5).to(torch.bfloat16),
    ]
    seen: list[Any] = []
    beside = pass_over(tmp_path / "s", batches, seen.append, on_error="raise")
    inline = pass_over(tmp_path / "i", batches, seen.append, snapshot="inline")
    assert all(one is other for one, other in zip(seen, batches * 2, strict=True))
    expected = [json.loads(capture_batch(n, batch).leaf) for n, batch in enumerate(batches)]
    assert leaves_of(beside) == leaves_of(inline) == expected
    first, second = stream_of(beside), stream_of(inline)
    assert (first.pop("guard"), second.pop("guard")) == ("none", "inline")
    assert first == second


def test_what_counts_no_writes_is_hashed_before_the_loop_has_it(tmp_path: Path) -> None:
    def batches() -> Iterator[Any]:
        for value in range(3):
            with torch.inference_mode():
                without_counter = large(value)
            yield np.full(LARGE, value), bytearray(1 << 20), without_counter

    def spoil(batch: Any) -> None:
        batch[0][:] = -1
        batch[1][:] = bytes([255]) * len(batch[1])
        with torch.inference_mode():
            batch[2].fill_(-1)

    run = pass_over(tmp_path / "s", batches(), spoil, on_error="raise")
    assert stream_of(run)["guard"] == "inline"
    assert leaves_of(run) == [
        json.loads(capture_batch(number, batch).leaf) for number, batch in enumerate(batches())
    ]


def test_with_one_processor_everything_is_hashed_before_the_loop_has_it(tmp_path: Path) -> None:
    code = """
import os, sys
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
import torch, mlprov
with mlprov.start("t", store=sys.argv[1], on_error="raise") as run:
    for batch in run.track([torch.zeros(1 << 16) for _ in range(3)]):
        batch.add_(1)
(stream,) = run.records[1]["streams"]
print(stream["guard"], stream["batches"])
"""
    assert run_script(code, tmp_path / "s").stdout.split() == ["inline", "3"]


def test_a_pass_that_goes_on_into_another_epoch_keeps_its_batches_apart(tmp_path: Path) -> None:
    loader = iter([large(value) for value in range(5)])
    with mlprov.start("t", store=tmp_path / "s", on_error="raise") as run:
        tracked = iter(run.track(loader))
        for _ in run.epochs(2):
            next(tracked), next(tracked)
        next(tracked)
        del tracked
    counts = [[s["batches"] for s in e["streams"]] for e in of_type(stored(run), "epoch")]
    assert counts == [[2], [2]]
    assert stream_of(run)["batches"] == 1
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


# ---- loops that write ----


def write_in_place(batch: Any) -> None:
    batch.div_(255)


def give_it_other_memory(batch: Any) -> None:
    batch.data = torch.ones(LARGE)


def free_it(batch: Any) -> None:
    batch.untyped_storage().resize_(0)


@pytest.mark.parametrize("write", [write_in_place, give_it_other_memory])
def test_a_loop_that_writes_into_its_batches_loses_nothing(
    write: Callable[[Any], None], tmp_path: Path
) -> None:
    run = pass_over(tmp_path / "s", [large(n) for n in range(4)], write, on_error="raise")
    assert stream_of(run)["guard"] == "inline"
    assert leaves_of(run) == [json.loads(capture_batch(n, large(n)).leaf) for n in range(4)]


def test_what_is_noticed_in_one_pass_holds_for_all(tmp_path: Path) -> None:
    with mlprov.start("t", store=tmp_path / "s", on_error="raise") as run:
        for role in ("train", "other"):
            for batch in run.track([large(n) for n in range(3)], role=role):
                batch.add_(role == "train")
    assert [r["streams"][0]["guard"] for r in of_type(stored(run), "batches")] == ["inline"] * 2


@pytest.mark.parametrize("write", [write_in_place, give_it_other_memory, free_it])
def test_a_batch_that_is_written_while_it_is_hashed_is_recorded_as_changed(
    write: Callable[[Any], None], tmp_path: Path
) -> None:
    batches = [{"x": large(n), "n": n} for n in range(5)]

    def write_the_third(batch: Any) -> None:
        if batch["n"] == 2:
            write(batch["x"])

    with pytest.warns(RecordingWarning, match=r"items\['x'\] of a batch changed under capture"):
        run = pass_over(tmp_path / "s", batches, write_the_third)
    leaves = leaves_of(run)
    assert [leaf["batch"] for leaf in leaves] == list(range(5))
    assert leaves[2]["items"] == {"n": 2, "x": {"$changed": "torch.Tensor"}}
    assert leaves[3] == json.loads(capture_batch(3, {"x": large(3), "n": 3}).leaf)
    gap = the(stored(run), "gap")
    assert (gap["what"], gap["role"], gap["count"]) == ("batch", "train", 1)
    assert gap["error"] == "EvidenceError CHANGED"
    assert "changed under capture" in gap["reason"]
    assert stream_of(run)["batches"] == stream_of(run)["tree"]["size"] == 5
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_with_on_error_raise_a_changed_batch_raises(tmp_path: Path) -> None:
    batches = [large(n) for n in range(4)]
    with pytest.raises(mlprov.EvidenceError, match="changed under capture"):
        pass_over(
            tmp_path / "s",
            batches,
            lambda batch: batch.add_(1) if batch is batches[2] else None,
            on_error="raise",
        )


# ---- bounds ----


def test_batches_wait_where_hashing_is_slower_than_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_QUEUED", 2)
    slow = torch.ones(1 << 24)  # 64 MiB: milliseconds of hashing, and a new tensor takes none
    alive: list[weakref.ref[Any]] = []

    def batches() -> Iterator[Any]:
        for _ in range(12):
            batch = slow.detach()
            alive.append(weakref.ref(batch))
            yield batch
            del batch
            assert sum(one() is not None for one in alive) <= 4  # two, one new, the loop's

    run = pass_over(tmp_path / "s", batches(), lambda batch: None, on_error="raise")
    assert run.streams.waits > 0
    assert the(stored(run), "run.end")["waits"] == run.streams.waits
    assert f"waited for the hashing of {run.streams.waits} batches" in str(run)
    assert stream_of(run)["tree"]["size"] == 12


def test_large_batches_are_not_kept_beside_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_BYTES", 4 * LARGE)
    queued = []

    def look(batch: Any) -> None:
        queued.append(sum(one.bytes for stream in run.streams._live for one in stream._queue))

    slow = []
    with mlprov.start("t", store=tmp_path / "s", on_error="raise") as run:
        for batch in run.track([large(n) for n in range(6)]):
            slow.append(hold_up(16))
            look(batch)
    assert max(queued) == 8 * LARGE  # one, and the newest
    assert run.streams.waits > 0


def test_a_loop_that_waits_for_nothing_says_nothing_of_it(tmp_path: Path) -> None:
    with mlprov.start("t", store=tmp_path / "s") as run:
        list(run.track([b"x"]))
    assert "waited" not in str(run)
    assert the(stored(run), "run.end")["waits"] == 0


def test_nothing_is_kept_of_batches_that_have_passed(tmp_path: Path) -> None:
    alive = []
    with mlprov.start("t", store=tmp_path / "s", on_error="raise") as run:
        for value in range(10):
            for batch in run.track([large(value), large(value)]):
                alive.append(weakref.ref(batch))
        del batch
        gc.collect()
        assert [one() for one in alive] == [None] * 20


# ---- ends ----


def test_an_exception_in_the_loader_passes_and_the_batches_before_it_are_recorded(
    tmp_path: Path,
) -> None:
    def broken() -> Iterator[Any]:
        yield large(0)
        yield large(1)
        raise ZeroDivisionError("the user's own")

    with pytest.raises(ZeroDivisionError, match="the user's own"):
        pass_over(tmp_path / "s", broken(), lambda batch: None)
    with stores.open_store(tmp_path / "s") as store:
        (row,) = stores.read_runs(store)
    assert row.status == "failed"
    assert_log_holds(tmp_path / "s", row.id, tmp_path)


def test_ctrl_c_while_batches_are_queued_leaves_a_stream_without_a_hole(tmp_path: Path) -> None:
    def interrupt(batch: Any) -> None:
        if float(batch[0]) == 3:
            signal.raise_signal(signal.SIGINT)

    with (  # noqa: PT012
        mlprov.start("t", store=tmp_path / "s", on_error="raise") as run,
        pytest.raises(KeyboardInterrupt),
    ):
        slow = []
        for batch in run.track([large(n) for n in range(5)]):
            slow.append(hold_up(16))
            interrupt(batch)
    stream = stream_of(run)
    assert stream["batches"] == stream["tree"]["size"] == 4
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


AT_EXIT = """
import sys, torch, mlprov
from overlap_for_tests import *
_core.set_hash_threads(1)
run = mlprov.start("exit", store=sys.argv[1])
tracked = iter(run.track([torch.zeros(1 << 16), torch.zeros(1 << 16)]))
next(tracked)
slow = hold_up(65536)  # half a minute of SHA-256, and more on a busy machine
next(tracked)
print("exits", flush=True)
"""


def test_an_interpreter_that_ends_does_not_wait_for_a_busy_worker(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", AT_EXIT.replace("*", "_core, hold_up", 1), tmp_path / "s"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "exits\n"
    began = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < 20  # 2 s, and what a busy machine adds
    assert process.returncode == 0, errors
    with stores.open_store(tmp_path / "s") as store:
        (row,) = stores.read_runs(store)
        records = stored_runs.read_run(store, row.id).records
    assert (row.status, errors) == ("finished", "")
    assert the(records, "batches")["streams"][0]["tree"]["size"] == 2  # hashed by who waited for it
    assert_log_holds(tmp_path / "s", row.id, tmp_path)


def test_hashing_that_is_given_up_leaves_a_leaf_and_a_reason() -> None:
    slow = hold_up(4096)
    endless = torch.zeros(1).expand(1 << 36)
    batch = BatchInHand(7, [endless], beside=True)
    assert batch.is_beside
    assert not batch.wait(0)
    with pytest.raises(mlprov.StoreError) as given_up:
        batch.capture()
    assert given_up.value.status == "CLOSED"
    capture = batch.refused(given_up.value)
    assert json.loads(capture.leaf) == {"batch": 7, "items": {"$opaque": "builtins.list"}}
    del slow


def test_a_forked_child_that_goes_on_with_plain_batches_writes_nothing(tmp_path: Path) -> None:
    code = """
import os, sys, torch, mlprov
with mlprov.start("fork", store=sys.argv[1]) as run:
    for number, _ in enumerate(run.track([torch.ones(4, 4)] * 10)):
        if number == 5:
            child = os.fork()
    print(run.id, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = run_script(code, tmp_path / "s")
    run_id, exit_code = done.stdout.split()
    assert exit_code == "1"
    assert "cannot record from a forked child" in done.stderr
    with stores.open_store(tmp_path / "s") as store:
        records = stored_runs.read_run(store, run_id).records
    (stream,) = the(records, "batches")["streams"]
    assert stream["batches"] == stream["tree"]["size"] == 10


FLAT = """
import os, sys, torch, mlprov
from pathlib import Path
from training_for_tests import network, train_step
model, optimizer = network()
loader = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(torch.randn(6000 * 4, 4), torch.arange(6000 * 4) % 2), 4)

def state():
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGESIZE"), len(os.listdir("/proc/self/fd"))

seen = []
with mlprov.start("flat", store=sys.argv[1], model=model, optimizer=optimizer) as run:
    for epoch in run.epochs(1):
        for number, batch in enumerate(run.track(loader)):
            train_step(model, optimizer, batch)
            if number in (2000, 5999):
                seen.append(state())
print(seen[1][0] - seen[0][0], seen[1][1] - seen[0][1])
"""


@pytest.mark.skipif(
    os.environ.get("MLPROV_BUILD_VARIANT") == "sanitize",
    reason="AddressSanitizer keeps freed memory for a while",
)
def test_memory_and_descriptors_are_flat_over_thousands_of_steps(tmp_path: Path) -> None:
    memory, descriptors = map(
        int, run_script(FLAT, tmp_path / "s", OMP_NUM_THREADS="1").stdout.split()
    )
    assert memory < 1 << 20  # one tensor kept of each of the 4,000 steps would be more
    assert descriptors == 0

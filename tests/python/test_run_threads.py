"""Several threads, and signal handlers, record into one run."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from training_for_tests import assert_log_holds, of_type, stored, the

import mlprov

THREADS = 4
MANY = {f"m{number}": number * 0.37 for number in range(500)}  # long to write: threads meet in it


@pytest.fixture(autouse=True)
def threads_that_alternate_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def in_threads(work: Any) -> None:
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001  (shown by the test's own thread)
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive()
    assert failures == []


def test_threads_that_log_to_one_run_wait_for_each_other(tmp_path: Path) -> None:
    with mlprov.start("threads", store=tmp_path / "s") as run:

        def work(number: int) -> None:
            for step in range(20):
                run.log(step=20 * number + step, **MANY)

        in_threads(work)
    records = stored(run)
    assert [record["seq"] for record in records] == list(range(len(records)))
    steps = [record["step"] for record in of_type(records, "metrics")]
    assert sorted(steps) == list(range(20 * THREADS))
    assert of_type(records, "gap") == []
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_loaders_of_several_threads_keep_streams_of_their_own(tmp_path: Path) -> None:
    with mlprov.start("threads", store=tmp_path / "s") as run:
        for _ in run.epochs(1):

            def work(number: int) -> None:
                loader = [b"%d %d" % (number, batch) for batch in range(25)]
                assert list(run.track(loader, role=f"r{number}")) == loader

            in_threads(work)
    streams = the(stored(run), "epoch")["streams"]
    assert sorted(stream["role"] for stream in streams) == [f"r{n}" for n in range(THREADS)]
    assert [stream["batches"] for stream in streams] == [25] * THREADS
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_a_failure_in_one_thread_is_a_gap_and_no_exception_in_another(tmp_path: Path) -> None:
    with mlprov.start("threads", store=tmp_path / "s") as run:

        def work(number: int) -> None:
            for step in range(20):
                run.log(step=step, value=object() if number == 0 else number)

        with pytest.warns(mlprov.RecordingWarning, match="value"):
            in_threads(work)
    records = stored(run)
    assert len(of_type(records, "metrics")) == 20 * (THREADS - 1)
    assert sum(record["count"] for record in of_type(records, "gap")) == 20
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_a_run_that_ends_while_threads_log_ends_with_its_last_record(tmp_path: Path) -> None:
    run = mlprov.start("threads", store=tmp_path / "s")
    begun = threading.Barrier(THREADS)

    def log_until_refused(number: int) -> None:
        while True:
            run.log(value=number)
            time.sleep(0.001)  # a lock is not fair: finish() has to get its turn

    def work(number: int) -> None:
        begun.wait()
        if number == 0:
            run.finish()
            return
        with pytest.raises(mlprov.StoreError, match="has ended"):
            log_until_refused(number)

    in_threads(work)
    assert stored(run)[-1]["type"] == "run.end"
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_a_signal_handler_may_log_in_the_middle_of_anything(tmp_path: Path) -> None:
    handled = 0
    with mlprov.start("signals", store=tmp_path / "s") as run:

        def handler(*_: object) -> None:
            nonlocal handled
            handled += 1
            run.log(step=handled, preempted=True)

        before = signal.signal(signal.SIGALRM, handler)
        try:
            for step in range(100):  # each is met at another place
                signal.setitimer(signal.ITIMER_REAL, 0.0002 * (step + 1) / 2)
                run.log(step=step, **MANY)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    records = stored(run)
    logged = of_type(records, "metrics")
    assert handled > 10
    assert len([record for record in logged if "preempted" in record["metrics"]]) == handled
    assert len(logged) == 100 + handled
    assert of_type(records, "gap") == []
    assert_log_holds(tmp_path / "s", run.id, tmp_path)


def test_what_waits_is_written_in_the_turn_of_the_thread_that_reads(tmp_path: Path) -> None:
    inside, may_end = threading.Event(), threading.Event()
    written: list[bool] = []
    with mlprov.start("turns", store=tmp_path / "s") as run:

        def attempt() -> None:
            inside.set()
            assert may_end.wait(60)

        recording = threading.Thread(target=lambda: run.recorder.attempt("metric", attempt))
        recording.start()
        assert inside.wait(60)
        run.recorder.before_next(lambda: written.append(may_end.is_set()))
        reading = threading.Thread(target=lambda: run.records)
        reading.start()
        reading.join(0.2)
        assert written == []  # not while another thread records
        may_end.set()
        recording.join(60)
        reading.join(60)
        assert written == [True]
        with pytest.warns(mlprov.RecordingWarning):
            run.log(wrong=object())  # a gap still, not an error in the training


def test_reading_records_beside_an_epoch_that_is_pending_disturbs_nobody(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(1 << 10, 1 << 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.step()  # nothing has a gradient; from now on the optimizer guards the weights
    failure = pytest.warns(mlprov.RecordingWarning, match="not recorded: metric")
    with mlprov.start("reader", store=tmp_path / "s", model=model, optimizer=optimizer) as run:
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                assert run.records

        reader = threading.Thread(target=read)
        reader.start()
        for epoch in run.epochs(30):
            optimizer.step()
            epoch.log(**MANY)
        done.set()
        reader.join(timeout=120)
        with failure:
            run.log(bad=object())  # still a gap, and never an exception
    records = stored(run)
    assert [record["epoch"] for record in of_type(records, "epoch")] == list(range(30))
    assert len(of_type(records, "gap")) == 1

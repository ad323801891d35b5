"""Tickets: tensors hashed beside Python, and all that can happen to them meanwhile."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensors_for_tests import TORCH_WARNINGS
from test_core_forks import in_child, status_of

from mlprov import _core
from mlprov.errors import StoreError, UnsupportedTensorError

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.skipif(
    _core.torch_bridge() is None, reason="mlprov._torch was not built for this torch"
)


def slow_tensor(mib: int = 256) -> Any:
    """A tensor that a worker reads for a tenth of a second and more, at no cost in memory."""
    return torch.zeros(1).expand(mib << 18)


def ticket_of(*tensors: object, **options: Any) -> _core.Ticket:
    """A Ticket with one worker, also where there is one processor."""
    return _core.Ticket(list(tensors), threads=1, **options)


def busy_ticket(*tensors: object, slow: Any = None, algorithm: str = "blake3") -> _core.Ticket:
    """A Ticket whose worker is inside a slow tensor, its first: the others are hashed after it."""
    begun = time.process_time() - time.thread_time()
    ticket = ticket_of(slow_tensor() if slow is None else slow, *tensors, algorithm=algorithm)
    while time.process_time() - time.thread_time() < begun + 0.002:
        time.sleep(0)
    return ticket


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = _core.hash_threads()
    _core.set_hash_threads(2)
    yield
    _core.set_hash_threads(before)


# ---- rows ----


@TORCH_WARNINGS
@pytest.mark.parametrize("algorithm", ["blake3", "sha256", "sha384", "sha512"])
def test_rows_are_those_of_hashing_inline(algorithm: str) -> None:
    large = torch.rand(700, 900)
    mixture = [
        large,
        large.t(),
        large[::2, 5:],
        large > 0.5,
        torch.rand(3, 4, dtype=torch.complex64).conj(),
        torch.rand(0, 5),
        torch.tensor(2.5, dtype=torch.bfloat16),
        np.arange(1000),
        memoryview(b"abc"),
        large,
        *(torch.rand(length) for length in range(100)),
    ]
    ticket = ticket_of(*mixture, algorithm=algorithm)
    assert 0 < ticket.beside < len(mixture)
    assert ticket.result() == _core.tensor_digests(mixture, algorithm)
    assert ticket.changed == ()


def test_what_cannot_be_guarded_is_hashed_at_once() -> None:
    with torch.inference_mode():
        without_counter = torch.rand(1 << 20)
    for tensor in (np.zeros(1 << 20), memoryview(bytes(1 << 20)), without_counter):
        ticket = ticket_of(tensor)
        assert (ticket.beside, ticket.poll()) == (0, True)
        assert ticket.result() == _core.tensor_digests([tensor])


def test_copy_on_write_tensors_are_hashed_at_once_and_stay_what_they_are() -> None:
    tensor = torch.rand(1 << 20)
    lazy = tensor._lazy_clone()
    ticket = ticket_of(tensor, lazy)
    assert ticket.beside == 0
    assert torch._C._is_cow_tensor(tensor)
    assert torch._C._is_cow_tensor(lazy)


def test_little_is_hashed_at_once() -> None:
    ticket = ticket_of(torch.rand(100))
    assert (ticket.beside, ticket.poll()) == (0, True)
    assert _core.Ticket([]).result() == []


def test_a_tensor_without_values_is_refused_by_its_index() -> None:
    for bad in (torch.empty(3, device="meta"), torch.rand(3, 3).to_sparse()):
        with pytest.raises(UnsupportedTensorError) as caught:
            ticket_of(torch.rand(1 << 20), bad)
        assert caught.value.index == 1


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError):
        _core.Ticket(object())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _core.Ticket([object()])
    with pytest.raises(ValueError, match="algorithm"):
        _core.Ticket([], "md5")
    with pytest.raises(ValueError, match="timeout"):
        _core.Ticket([]).wait(-1)
    with pytest.raises(ValueError, match="timeout"):
        _core.Ticket([]).wait(float("nan"))


# ---- writes ----


def add_in_place(tensor: Any) -> None:
    tensor.add_(1)


def give_it_other_memory(tensor: Any) -> None:
    tensor.data = torch.rand_like(tensor)


def empty_its_storage(tensor: Any) -> None:
    tensor.untyped_storage().resize_(0)


def empty_and_fill_its_storage(tensor: Any) -> None:
    length = tensor.untyped_storage().nbytes()
    tensor.untyped_storage().resize_(0)
    tensor.untyped_storage().resize_(length)


def move_it_into_shared_memory(tensor: Any) -> None:
    tensor.share_memory_()


NOTICED = [
    add_in_place,
    give_it_other_memory,
    empty_its_storage,
    empty_and_fill_its_storage,
    move_it_into_shared_memory,
]


@pytest.mark.parametrize("write", NOTICED)
def test_what_is_written_under_capture_has_no_row(write: Any) -> None:
    before, after = torch.rand(1 << 20), torch.rand(1 << 20)
    written = torch.rand(1 << 24)  # above 32 MiB malloc gives freed memory back (mallopt(3))
    expected = _core.tensor_digests([before, after])
    ticket = busy_ticket(before, written, after)
    write(written)  # before the worker comes to it
    assert ticket.changed == (2,)
    rows = ticket.result()
    assert rows[2] is None
    assert [rows[1], rows[3]] == expected


@pytest.mark.parametrize("write", NOTICED)
def test_memory_that_was_kept_is_given_back(write: Any) -> None:
    page = os.sysconf("SC_PAGE_SIZE")

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * page

    begin = resident()
    for _ in range(16):
        tensor = torch.rand(1 << 24)  # 64 MiB
        ticket = ticket_of(tensor)
        write(tensor)
        assert ticket.wait()
        del ticket
    assert resident() - begin < 300 << 20


def test_a_storage_is_as_it_was_after_capture() -> None:
    tensor = torch.rand(1 << 20)
    first, second = ticket_of(tensor, slow_tensor(256)), ticket_of(tensor[5:])
    assert first.beside == 2
    assert second.wait()
    assert first.wait()
    lazy = tensor._lazy_clone()  # refused for memory that anything else than torch frees
    assert torch._C._is_cow_tensor(lazy)
    tensor.untyped_storage().resize_(0)


def write_by_data(tensor: Any) -> None:
    tensor.data.add_(1)


def write_by_numpy(tensor: Any) -> None:
    array = tensor.numpy()
    array += 1


QUIET = [write_by_data, write_by_numpy]


@pytest.mark.parametrize("write", QUIET)
def test_a_counter_that_stays_the_same_proves_nothing(write: Any) -> None:
    written = torch.rand(1 << 20)
    ticket = busy_ticket(written)
    write(written)  # before the worker comes to it
    assert ticket.changed == ()
    assert ticket.result()[1:] == _core.tensor_digests([written])


@pytest.mark.parametrize("write", QUIET)
def test_writes_without_a_counter_are_noticed_by_hashing_again(write: Any) -> None:
    quiet, torn = torch.rand(1 << 20), torch.zeros(1 << 22)
    stop = threading.Event()

    def write_on_and_on() -> None:
        while not stop.is_set():
            write(torn)

    writer = threading.Thread(target=write_on_and_on)
    writer.start()
    try:
        ticket = ticket_of(torn, quiet, recheck=True)
        assert ticket.changed == (0,)
        assert ticket.result() == [None, *_core.tensor_digests([quiet])]
    finally:
        stop.set()
        writer.join()


# ---- lifetimes ----


def test_tensors_are_kept_while_they_are_hashed_and_dropped_with_the_answer() -> None:
    tensor = torch.rand(1 << 22)
    expected = _core.tensor_digests([tensor])
    gone = weakref.ref(tensor)
    ticket = ticket_of(tensor, slow_tensor())
    del tensor
    gc.collect()
    assert gone() is not None
    assert ticket.result()[:1] == expected
    assert gone() is None


def test_a_ticket_may_be_dropped_at_any_moment() -> None:
    for count in range(30):
        ticket = ticket_of(*(torch.rand(1 << 18) for _ in range(count)))
        del ticket
    assert _core.ticket_load()[0] == 0


def test_what_a_worker_is_reading_is_dropped_later() -> None:
    slow = slow_tensor()
    gone = weakref.ref(slow)
    ticket = busy_ticket(slow=slow, algorithm="sha256")  # cannot be cut: one task
    del slow, ticket
    gc.collect()
    assert gone() is not None  # it still reads
    while gone() is not None:
        ticket_of(torch.rand(10))
    assert gone() is None


# ---- waiting ----


def test_patience_ends_and_the_ticket_goes_on() -> None:
    tensor = torch.rand(1 << 20)
    ticket = busy_ticket(tensor)
    assert not ticket.poll()
    assert not ticket.wait(0)
    assert not ticket.wait(timeout=0.001)
    assert ticket.wait(None)
    assert ticket.poll()
    assert ticket.wait(0)
    assert ticket.result()[1:] == _core.tensor_digests([tensor])


def test_ctrl_c_ends_the_wait_and_not_the_ticket() -> None:
    slow = slow_tensor(8192)
    ticket = busy_ticket(slow=slow)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            ticket.wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not ticket.poll()
    ticket.cancel()


def test_several_threads_may_wait_for_one_ticket() -> None:
    tensor = torch.rand(1 << 20)
    ticket = ticket_of(tensor, slow_tensor(256))
    answers: list[object] = []
    waiting = [threading.Thread(target=lambda: answers.append(ticket.result())) for _ in range(4)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    assert answers == [ticket.result()] * 4


def test_a_cancelled_ticket_has_no_digests() -> None:
    ticket = ticket_of(torch.rand(1 << 20), slow_tensor(), slow_tensor())
    ticket.cancel()
    for call in (ticket.wait, ticket.result, ticket.poll):
        with pytest.raises(StoreError, match="was cancelled") as caught:
            call()
        assert caught.value.status == "CLOSED"
    ticket.cancel()


def test_cancelling_ends_the_wait_of_another_thread() -> None:
    ticket = busy_ticket(*(slow_tensor(2048) for _ in range(8)))
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(status_of(ticket.wait)))
    thread.start()
    ticket.cancel()
    thread.join()
    assert said == ["CLOSED"]


def test_what_is_done_stays_done() -> None:
    tensor = torch.rand(1 << 20)
    ticket = ticket_of(tensor)
    assert ticket.wait()
    ticket.cancel()
    assert ticket.result() == _core.tensor_digests([tensor])


# ---- the bound ----


def test_what_tickets_keep_is_bounded_and_counted() -> None:
    small = [torch.rand(64) for _ in range(4000)]
    expected = _core.tensor_digests(small)
    pressed = _core.ticket_load()[1]
    tickets = []
    while _core.ticket_load()[1] == pressed:
        tickets.append(ticket_of(*small, slow_tensor(512)))
        assert _core.ticket_load()[0] <= 64 << 20
        assert len(tickets) < 100
    assert tickets[0].beside == len(small) + 1
    assert tickets[-1].beside == 0
    assert tickets[-1].result()[:-1] == expected
    for ticket in tickets[1:-1]:
        ticket.cancel()
    assert tickets[0].result()[:-1] == expected


# ---- processes ----


def test_a_forked_childs_calls_on_its_parents_ticket_are_refused() -> None:
    tensor = torch.rand(1 << 20)
    ticket = ticket_of(tensor, slow_tensor())

    def use_it() -> str:
        calls = (ticket.wait, ticket.result, ticket.cancel, lambda: ticket.changed)
        own = ticket_of(tensor)
        right = own.result() == _core.tensor_digests([tensor])
        return " ".join([*(status_of(call) for call in calls), str(right)])

    assert in_child(use_it) == "FORKED FORKED FORKED FORKED True"
    assert ticket.result()[:1] == _core.tensor_digests([tensor])


END = """
import time, torch
from mlprov import _core
import mlprov.errors
endless = torch.zeros(1).expand(1 << 60)
tickets = [_core.Ticket([endless, torch.rand(1 << 20)], threads=1) for _ in range({tickets})]
begun = time.process_time() - time.thread_time()
while tickets and time.process_time() - time.thread_time() < begun + 0.01:
    time.sleep(0)
print(repr(time.monotonic()), flush=True)
{ending}
"""


def seconds_to_end(tickets: int, ending: str, returncode: int) -> float:
    """How long the interpreter takes from the last line to its end."""
    done = subprocess.run(
        [sys.executable, "-c", END.format(tickets=tickets, ending=ending)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    took = time.monotonic() - float(done.stdout)
    assert done.returncode == returncode, done.stderr
    return took


@pytest.mark.parametrize(
    ("ending", "returncode"), [("", 0), ("import sys; sys.exit(3)", 3), ("raise KeyError", 1)]
)
def test_the_interpreter_ends_with_work_queued(ending: str, returncode: int) -> None:
    alone = seconds_to_end(0, ending, returncode)
    # The worker that never ends takes its part of the processors from what is done meanwhile.
    assert seconds_to_end(1, ending, returncode) < 4 * alone + 2

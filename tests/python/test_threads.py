"""Several threads hash what one would: the digests, the number of threads, fork, exit, refusals."""

from __future__ import annotations

import hashlib
import random
import sys
import threading
from collections.abc import Callable, Iterator

import blake3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlprov
from mlprov import _core, diagnosis
from mlprov.errors import ConfigError

np = pytest.importorskip("numpy")

DATA = random.Random(4).randbytes((6 << 20) + 77)
MIB = 1 << 20


@pytest.fixture(autouse=True)
def setting() -> Iterator[None]:
    """Whatever a test sets, the next one finds what was there."""
    before = mlprov.get_threads()
    yield
    mlprov.set_threads(before)


@pytest.fixture(params=[name for name, usable in _core.hash_kernels() if usable])
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _core.hash_kernel()
    _core.set_hash_kernel(request.param)
    yield request.param
    _core.set_hash_kernel(before)


# ---- digests ----


@pytest.mark.parametrize("threads", range(1, 9))
def test_every_kernel_and_number_of_threads_gives_the_peers_digest(
    kernel: str, threads: int
) -> None:
    for length in (768 * 1024 - 1, 768 * 1024, 900_001, MIB - 1, MIB, MIB + 1, 3 * MIB + 1024):
        data = memoryview(DATA)[length % 64 : length % 64 + length]
        assert _core.hash_bytes(data, threads=threads) == blake3.blake3(data).digest(), length


@settings(max_examples=60)
@given(st.integers(0, len(DATA)), st.integers(0, 63), st.integers(1, 64))
def test_any_length_at_any_place_on_any_number_of_threads(
    length: int, begin: int, threads: int
) -> None:
    data = memoryview(DATA)[begin : begin + length]
    assert _core.hash_bytes(data, threads=threads) == blake3.blake3(data).digest()


# Sizes as tensors have them: many small ones, some that are cut into subtrees.
SIZES = st.lists(
    st.one_of(st.integers(0, 3000), st.integers(0, 70_000), st.integers(0, 3 * MIB)), max_size=60
)


@settings(max_examples=60)
@given(SIZES, st.integers(1, 9), st.randoms(use_true_random=False))
def test_many_inputs_by_two_algorithms_at_once(
    sizes: list[int], threads: int, chance: random.Random
) -> None:
    items = []
    for size in sizes:
        begin = chance.randrange(len(DATA) - size)
        items.append(memoryview(DATA)[begin : begin + size])
    ours, theirs = _core.hash_many_by(items, ("blake3", "sha256"), threads=threads)
    assert ours == [blake3.blake3(item).digest() for item in items]
    assert theirs == [hashlib.sha256(item).digest() for item in items]
    assert _core.hash_many(items, threads=threads) == ours


@settings(max_examples=40)
@given(st.lists(st.integers(0, 2 * MIB), max_size=6), st.integers(1, 8))
def test_updates_of_any_lengths_give_the_digest_of_the_whole(pieces: list[int], threads: int):
    mlprov.set_threads(threads)
    hasher, peer, begin = mlprov.Hasher(), blake3.blake3(), 0
    for length in pieces:
        piece = memoryview(DATA)[begin : begin + length]
        hasher.update(piece)
        peer.update(piece)
        begin += length
        assert hasher.digest() == peer.digest()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_model_of_all_sizes_and_layouts_has_one_root(threads: int) -> None:
    chance = np.random.default_rng(1)
    model = {f"small{i}": chance.random(i, np.float32) for i in range(200)}
    model["large"] = chance.random((800, 1100), np.float32)
    model |= {f"transposed{i}": chance.random((300, 700 + i), np.float32).T for i in range(6)}
    root = mlprov.digest_model(model, threads=threads).root
    assert root == mlprov.digest_model(model, threads=7).root
    for name in ("large", "transposed3"):
        expected = blake3.blake3(np.ascontiguousarray(model[name]).tobytes()).hexdigest()
        assert mlprov.digest(model[name], threads=threads).hex() == expected


def test_python_threads_that_hash_at_once_get_their_own_digests() -> None:
    expected = blake3.blake3(DATA).digest()
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(10):
            if _core.hash_bytes(DATA, threads=number % 4 + 1) != expected:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# ---- how many ----


def test_the_environment_sets_the_number_of_threads(run_python: Callable[..., str]) -> None:
    code = "import mlprov; print(mlprov.get_threads())"
    assert run_python(code, MLPROV_THREADS="3").strip() == "3"
    assert 1 <= int(run_python(code)) <= 64
    assert int(run_python(code, MLPROV_THREADS="")) == int(run_python(code))


@pytest.mark.skipif(sys.platform != "linux", reason="affinity masks are those of Linux")
def test_without_it_the_affinity_mask_does(run_python: Callable[..., str]) -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    assert run_python(f"{code}; import mlprov; print(mlprov.get_threads())").strip() == "1"


@pytest.mark.parametrize("value", ["0", "-2", "1025", "two", "2.0", " 2"])
def test_an_absurd_number_in_the_environment_is_an_error_and_no_silent_change(
    run_python: Callable[..., str], value: str
) -> None:
    output = run_python("import mlprov._core", check=False, MLPROV_THREADS=value)
    assert "ImportError" in output
    assert "MLPROV_THREADS" in output
    assert "from 1 to 1024" in output


@pytest.mark.parametrize("threads", [0, -1, 1025, 2**70, 1.5, "2", None, True])
def test_an_absurd_setting_is_refused(threads: object) -> None:
    before = mlprov.get_threads()
    with pytest.raises(ConfigError, match="threads"):
        mlprov.set_threads(threads)  # type: ignore[arg-type]
    assert mlprov.get_threads() == before


@pytest.mark.parametrize("threads", [0, -1, 1025, 2**70])
def test_an_absurd_number_for_one_call_is_refused_by_the_core(threads: int) -> None:
    calls: list[Callable[[], object]] = [
        lambda: _core.hash_bytes(b"", threads=threads),
        lambda: _core.hash_many([], threads=threads),
        lambda: _core.hash_many_by([], ["sha256"], threads=threads),
        lambda: _core.tensor_digests([], threads=threads),
        lambda: _core.set_hash_threads(threads),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match="threads"):
            call()


def test_doctor_says_how_many_and_how_fast() -> None:
    mlprov.set_threads(2)
    details = [finding.detail for finding in diagnosis.diagnose() if finding.what == "hashing"]
    assert " on one thread, " in details[0]
    assert " on 2" in details[0]


WORKERS = """
import pathlib
def workers():
    tasks = pathlib.Path("/proc/self/task").iterdir()
    return sum(task.joinpath("comm").read_text() == "mlprov-hash\\n" for task in tasks)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_workers_are_made_at_need_and_shared_by_all_callers(run_python: Callable[..., str]) -> None:
    code = f"""
import threading
import mlprov
from mlprov import _core
{WORKERS}
mlprov.set_threads(3)
seen = [workers()]
_core.hash_bytes(bytes(100_000))
seen.append(workers())
threads = [
    threading.Thread(target=lambda: [_core.hash_bytes(bytes(4 << 20)) for _ in range(10)])
    for _ in range(6)
]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
_core.hash_bytes(bytes(4 << 20))
print(*seen, workers())
"""
    before, after_little, after_much = map(int, run_python(code).split())
    assert (before, after_little) == (0, 0)
    assert 1 <= after_much <= 2


# ---- fork and exit ----


@pytest.mark.forks_beside_threads
def test_children_forked_while_others_hash_hash_too(run_python: Callable[..., str]) -> None:
    code = """
import os, threading, warnings
import mlprov
from mlprov import _core
warnings.simplefilter("ignore", DeprecationWarning)
data = bytes(3 << 20)
expected = _core.hash_bytes(data, threads=1)
mlprov.set_threads(4)
done = threading.Event()
def hash_on():
    while not done.is_set():
        _core.hash_bytes(data)
threads = [threading.Thread(target=hash_on) for _ in range(3)]
[thread.start() for thread in threads]
statuses = []
for _ in range(20):
    child = os.fork()
    if child == 0:
        os._exit(0 if all(_core.hash_bytes(data) == expected for _ in range(3)) else 1)
    statuses.append(os.waitpid(child, 0)[1])
done.set()
[thread.join() for thread in threads]
print(statuses == [0] * 20)
"""
    assert run_python(code).strip() == "True"


@pytest.mark.parametrize("algorithm", ["blake3", "sha512"])
def test_a_process_ends_while_daemon_threads_hash(
    run_python: Callable[..., str], algorithm: str
) -> None:
    code = f"""
import threading, time
import mlprov
from mlprov import _core
mlprov.set_threads(4)
data = bytes(8 << 20)
def hash_for_ever():
    while True:
        _core.hash_many([data] * 4, {algorithm!r})
for _ in range(3):
    threading.Thread(target=hash_for_ever, daemon=True).start()
time.sleep(0.2)
print("end")
"""
    for _ in range(3):
        assert run_python(code).strip() == "end"

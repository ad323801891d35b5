"""Threads run while the core works, nothing leaks, and what cannot work is refused at import."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import sys
import threading
import time
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from core_calls_for_tests import CALLS, WRONG, Call, World

from mlprov import _core

# ---- the GIL ----

BIG = 150_000_000


def longest_pause(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds that ``work`` took in a second thread, and this thread's longest stand-still."""
    began = time.perf_counter()
    ended = began

    def run() -> None:
        nonlocal began, ended
        began = time.perf_counter()
        work()
        ended = time.perf_counter()

    thread = threading.Thread(target=run)
    pause, last = 0.0, time.perf_counter()
    thread.start()
    while thread.is_alive():
        time.sleep(0.001)
        now = time.perf_counter()
        pause, last = max(pause, now - last), now
    return ended - began, pause


@pytest.fixture(scope="module")
def big_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("big") / "file"
    with path.open("wb") as file:
        file.truncate(BIG)
    return path


LEAVES = [b"leaf %d" % number for number in range(400_000)]


@pytest.mark.timing
@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda path: _core.hash_bytes(bytes(BIG), "sha512"), id="hash_bytes"),
        pytest.param(lambda path: _core.hash_many([bytes(BIG // 8)] * 8, "sha512"), id="hash_many"),
        pytest.param(lambda path: _core.Hasher(bytes(BIG), algorithm="sha512"), id="Hasher"),
        pytest.param(lambda path: _core.Hasher().digest(BIG // 4), id="Hasher.digest"),
        pytest.param(lambda path: _core.hash_file(path, ["sha512", "sha256"]), id="hash_file"),
        pytest.param(lambda path: _core.merkle_root(LEAVES), id="merkle_root"),
        pytest.param(lambda path: _core.MerkleTree(LEAVES).prove_inclusion(5), id="MerkleTree"),
        pytest.param(lambda path: _core.merkle_leaf_hash(bytes(BIG)), id="merkle_leaf_hash"),
        pytest.param(
            lambda path: _core.tensor_digests([bytes(BIG)], "sha512"), id="tensor_digests"
        ),
    ],
)
def test_another_thread_goes_on_while_the_core_hashes(
    big_file: Path, work: Callable[[Path], object]
) -> None:
    for _ in range(3):  # a busy machine may hold this thread up by itself
        seconds, pause = longest_pause(lambda: work(big_file))
        if pause < seconds / 2:
            return
    pytest.fail(f"a second thread stood still for {pause:.3f} of {seconds:.3f} s, three times")


def test_threads_that_share_a_tree_lose_no_leaf() -> None:
    tree = _core.MerkleTree()

    def grow(number: int) -> None:
        for step in range(200):
            tree.append(b"%d.%d" % (number, step))
            tree.root()
            tree.prove_inclusion(0)
        tree.extend([b"%d" % number] * 300)

    threads = [threading.Thread(target=grow, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tree) == 6 * 500
    copy = _core.MerkleTree(LEAVES[:0])
    assert copy.root() == _core.merkle_root([])
    assert tree.root() == tree.root(len(tree))


# ---- memory ----


@pytest.fixture
def world(tmp_path: Path, store: _core.Store, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    return World(tmp_path, store)


def forget_caches() -> None:
    """CPython's type cache keeps the names of attributes that were looked up."""
    getattr(sys, "_clear_internal_caches", sys._clear_type_cache)()
    gc.collect()


def growth(work: Callable[[], object]) -> tuple[int, int]:
    """Bytes of Python's memory that stay after many calls, and how many calls those were."""
    for _ in range(20):
        work()
    forget_caches()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    calls, end = 0, time.perf_counter() + 0.1
    while (time.perf_counter() < end or calls < 40) and calls < 2000:
        work()
        calls += 1
    forget_caches()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return after - before, calls


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


# These keep what they are given, or end something that the next call needs.
KEEPING = {"set_exceptions", "log.append", "stream.append", "SigningKey.create", "log.commit"}


@pytest.mark.parametrize("call", [call for call in CALLS if call.name not in KEEPING], ids=str)
def test_no_call_leaks_whether_it_succeeds_or_fails(world: World, call: Call) -> None:
    arguments, keywords = world.filled(call)
    failures = [
        [*arguments[:place], value, *arguments[place + 1 :]]
        for place, kind in enumerate(call.kinds)
        for value in WRONG.get(kind.rstrip("?"), ())[:4]
    ]

    def succeed() -> None:
        with contextlib.suppress(Exception):
            world.function(call.name)(*arguments, **keywords)

    def fail() -> None:
        for given in failures:
            with contextlib.suppress(Exception):
                world.function(call.name)(*given, **keywords)

    for work in (succeed, fail):
        grown, calls = growth(work)
        assert grown < 4096 + 8 * calls, f"{grown} bytes stay after {calls} calls"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc")
@pytest.mark.skipif(
    os.environ.get("MLPROV_BUILD_VARIANT") == "sanitize",
    reason="AddressSanitizer keeps what is freed",
)
def test_what_the_core_allocates_itself_is_freed() -> None:
    leaves = [bytes(1000) for _ in range(100)]
    encoded = _core.encode_leaves(leaves)
    document = b'{"a":[' + b"1," * 5000 + b"1]}"

    def work() -> None:
        _core.MerkleTree(leaves).root()
        _core.decode_leaves(encoded)
        _core.json_decode(document)
        _core.Hasher(encoded).copy().digest(10_000)
        _core.hash_many(leaves)
        for broken in (document[:-1], encoded[:-1]):
            for function in (_core.json_decode, _core.decode_leaves):
                with pytest.raises(Exception):  # noqa: B017
                    function(broken)

    for _ in range(50):
        work()
    before = resident()
    for _ in range(200):
        work()
    assert resident() - before < 8_000_000, "200 rounds of about 400 kB each"


def load_again() -> ModuleType:
    assert _core.__file__ is not None
    spec = importlib.util.spec_from_file_location("mlprov._core", _core.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_module_that_is_dropped_is_collected_with_its_types() -> None:
    module = load_again()
    hasher = module.Hasher(b"abc")
    types = [weakref.ref(value) for value in vars(module).values() if isinstance(value, type)]
    assert len(types) == 11
    del module
    gc.collect()
    assert hasher.digest() == _core.hash_bytes(b"abc"), "an object keeps what it needs"
    del hasher
    gc.collect()
    assert [reference for reference in types if reference() is not None] == []


def test_objects_of_two_loads_do_not_mix() -> None:
    other = load_again()
    assert other.Hasher is not _core.Hasher
    assert not isinstance(other.Hasher(), _core.Hasher)
    with pytest.raises(TypeError):
        _core.Hasher.update(other.Hasher(), b"")


# ---- import ----


def test_a_subinterpreter_is_refused(run_python: Callable[..., str]) -> None:
    code = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
other = interpreters.create()
failure = interpreters.run_string(other, '''
try:
    import mlprov._core
    print("loaded")
except ImportError as error:
    print(error)
''')
if failure: print(failure)
"""
    assert "subinterpreter" in run_python(code)


def test_the_core_imports_neither_torch_nor_numpy_nor_a_network_library(
    run_python: Callable[..., str],
) -> None:
    code = """
import sys
import mlprov, mlprov.errors, mlprov._core
print([name for name in ("torch", "numpy", "ssl", "socket", "sqlite3") if name in sys.modules])
print([line for line in open("/proc/self/maps") if "libcurl" in line or "libssl" in line])
"""
    if not Path("/proc/self/maps").exists():
        pytest.skip("there is no /proc")
    assert run_python(code) == "[]\n[]\n"

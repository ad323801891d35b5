"""Many files in one call: digests in order, an outcome for each, threads, progress, Ctrl-C."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_core_files import Changer, reference

from mlprov import _core
from mlprov.errors import ConfigError, Error
from mlprov.file_digests import hash_files

THREADS = range(1, 9)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, bytes]:
    """Files of every kind of length, in some folders: where they lie and what is in them."""
    generator = random.Random(4)
    folder = tmp_path_factory.mktemp("tree")
    lengths = [0, 1, 1023, 1024, 1025, 65_536, 262_143, 262_144, 262_145, 700_000]
    lengths += [int(2 ** generator.uniform(0, 14)) for _ in range(990)]
    content = {}
    for index, length in enumerate(lengths):
        path = folder / f"{index % 7}" / f"{index}.bin"
        path.parent.mkdir(exist_ok=True)
        content[path] = generator.randbytes(length)
        path.write_bytes(content[path])
    return content


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("algorithm", ["blake3", "sha256", "sha512"])
def test_every_file_has_the_digest_of_its_bytes(
    tree: dict[Path, bytes], algorithm: str, threads: int
) -> None:
    outcomes, lengths = _core.hash_files(list(tree), algorithm, threads=threads)
    assert lengths == [len(data) for data in tree.values()]
    assert outcomes == [reference(data, algorithm) for data in tree.values()]


def test_many_files_have_the_digests_that_b3sum_prints(tree: dict[Path, bytes]) -> None:
    if shutil.which("b3sum") is None:
        pytest.skip("b3sum is not installed")
    done = subprocess.run(["b3sum", "--no-names", *tree], capture_output=True, check=True)
    outcomes, _ = _core.hash_files(list(tree))
    assert [outcome.hex() for outcome in outcomes if isinstance(outcome, bytes)] == (
        done.stdout.decode().split()
    )


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("length", [1 << 20, (33 << 20) + 1025])
def test_one_file_has_the_digest_of_its_bytes_on_any_number_of_threads(
    tmp_path: Path, threads: int, length: int
) -> None:
    data = random.Random(length).randbytes(length)
    path = tmp_path / "data"
    path.write_bytes(data)
    assert _core.hash_file(path, ["blake3"], threads=threads) == (
        [reference(data, "blake3")],
        length,
    )
    both = [reference(data, "sha256"), reference(data, "blake3")]
    assert _core.hash_file(path, ["sha256", "blake3"], threads=threads) == (both, length)


def test_a_sparse_file_has_the_digest_of_its_zeros(tmp_path: Path) -> None:
    path, length = tmp_path / "sparse", 100_000_005
    with path.open("wb") as file:
        file.truncate(length)
    digest = reference(bytes(length), "blake3")
    assert _core.hash_file(path, ["blake3"]) == ([digest], length)
    assert _core.hash_files([path]) == ([None], [0])  # large: left to hash_file


def test_what_cannot_be_hashed_is_said_in_its_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "link").symlink_to("a")
    names = ["a", "missing", "fifo", "", "dangling", "link", "a"]
    outcomes: list[Any]
    outcomes, lengths = _core.hash_files([tmp_path / name for name in names])
    digest = reference(b"a", "blake3")
    assert [outcomes[index] for index in (0, 5, 6)] == [digest] * 3
    assert lengths == [1, 0, 0, 0, 0, 1, 1]
    assert [outcomes[index].status for index in (1, 2, 3, 4)] == [
        "NOT_FOUND",
        "CONFIG",
        "IO",
        "NOT_FOUND",
    ]
    assert [type(outcomes[index]) for index in (1, 2, 3, 4)] == [
        FileNotFoundError,
        ConfigError,
        IsADirectoryError,
        FileNotFoundError,
    ]
    assert outcomes[1].filename == str(tmp_path / "missing")
    assert "fifo: it is a pipe or device" in str(outcomes[2])
    with pytest.raises(ValueError, match="null"):
        _core.hash_files(["a\0b"])


def test_nothing_is_hashed_of_no_files() -> None:
    assert _core.hash_files([]) == ([], [])
    assert list(hash_files([], "blake3")) == []


@pytest.mark.parametrize("threads", [0, -1, 1025, 2**64, 2**70])
def test_a_number_of_threads_that_is_none_is_refused(threads: int) -> None:
    for call in (
        lambda: _core.hash_files(["x"], threads=threads),
        lambda: _core.hash_file("x", ["blake3"], threads=threads),
        lambda: _core.hash_file_ranges("x", [], "blake3", ["blake3"], threads=threads),
    ):
        with pytest.raises(ConfigError, match="threads"):
            call()


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(ValueError, match="md5"):
        _core.hash_files(["x"], "md5")


def test_files_that_change_and_vanish_are_refused_and_the_others_are_not(tmp_path: Path) -> None:
    steady = [tmp_path / f"steady {index}" for index in range(200)]
    for path in steady:
        path.write_bytes(b"steady")
    unsteady = tmp_path / "unsteady"

    def change() -> None:
        unsteady.write_bytes(bytes(500_000))
        unsteady.unlink()

    paths = [*steady[:100], unsteady, *steady[100:]]
    seen = set()
    with Changer(change) as changer:
        while changer.count < 200:
            outcomes: list[Any]
            outcomes, _ = _core.hash_files(paths, threads=2)
            assert outcomes[:100] + outcomes[101:] == [reference(b"steady", "blake3")] * 200
            if isinstance(outcomes[100], (Error, OSError)):
                seen.add(outcomes[100].status)
    assert seen <= {"CHANGED", "NOT_FOUND"}
    assert seen


# ---- in batches, large ones by themselves ----


def test_batches_and_large_files_come_in_order(
    tmp_path: Path, tree: dict[Path, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlprov.file_digests._BATCH", 64)
    large = tmp_path / "large"
    large.write_bytes(bytes(20_000_000))
    paths = [*map(os.fsencode, tree)]
    paths.insert(100, os.fsencode(large))
    paths.insert(200, b"/no/such/file")
    told: list[tuple[int, int]] = []
    results = list(hash_files(paths, "blake3", progress=lambda *done: told.append(done)))
    assert results[100] == (reference(bytes(20_000_000), "blake3"), 20_000_000)
    assert isinstance(results.pop(200)[0], FileNotFoundError)
    results.pop(100)
    assert results == [(reference(data, "blake3"), len(data)) for data in tree.values()]
    assert told == sorted(told)


# ---- progress and Ctrl-C ----


@pytest.mark.parametrize("algorithms", [["blake3"], ["sha256", "blake3"]], ids=str)
def test_progress_is_told_while_a_file_is_read(tmp_path: Path, algorithms: list[str]) -> None:
    path, length = tmp_path / "data", 3 << 28
    with path.open("wb") as file:
        file.truncate(length)
    told: list[tuple[int, int]] = []
    _core.hash_file(path, algorithms, threads=1, progress=lambda *done: told.append(done))
    assert told
    assert told == sorted(told)
    assert all(files == 0 and 0 < done <= length for files, done in told)


def test_what_progress_raises_ends_the_call(tmp_path: Path) -> None:
    def stop(files: int, done: int) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        _core.hash_file("/dev/zero", ["blake3"], progress=stop)
    path = tmp_path / "data"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    with pytest.raises(RuntimeError, match="enough"):
        _core.hash_files([path] * 64, "sha512", progress=stop)


def test_an_interrupt_ends_a_list(tmp_path: Path, run_python: Callable[..., str]) -> None:
    path = tmp_path / "data"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    code = """
import signal, sys, time
from mlprov import _core
signal.setitimer(signal.ITIMER_REAL, 0.3)
signal.signal(signal.SIGALRM, signal.default_int_handler)
began = time.monotonic()
try:
    _core.hash_files([sys.argv[1]] * 10_000, "sha512", threads=2)
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - began < 20)
"""
    assert run_python(code, str(path)).split() == ["interrupted", "True"]

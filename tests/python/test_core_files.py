"""Files are hashed in one read, and a file that changes meanwhile is an error, never a crash."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import struct
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import blake3
import pytest
from conftest import BOUNDARY_LENGTHS, pattern

from mlprov import _core
from mlprov.errors import ConfigError, EvidenceError

ALL = ["blake3", "sha256", "sha384", "sha512"]


def reference(data: bytes, algorithm: str) -> bytes:
    return (
        blake3.blake3(data).digest()
        if algorithm == "blake3"
        else hashlib.new(algorithm, data).digest()
    )


@pytest.mark.parametrize("length", [*BOUNDARY_LENGTHS[::6], 262_143, 262_144, 262_145, 2_000_000])
def test_a_file_has_the_digests_of_its_bytes(tmp_path: Path, length: int) -> None:
    path = tmp_path / "data"
    path.write_bytes(pattern(length))
    digests, size = _core.hash_file(path, ALL)
    assert size == length
    assert digests == [reference(pattern(length), algorithm) for algorithm in ALL]


def test_the_path_may_be_text_bytes_a_link_or_not_unicode(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\xfe name"
    Path(os.fsdecode(path)).write_bytes(b"abc")
    (tmp_path / "link").symlink_to(os.fsdecode(path))
    expected = [reference(b"abc", "blake3")]
    for spelling in (path, os.fsdecode(path), Path(os.fsdecode(path)), tmp_path / "link"):
        assert _core.hash_file(spelling, ["blake3"]) == (expected, 3)


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    data = pattern(1_000_000)
    writer = threading.Thread(target=path.write_bytes, args=(data,))
    writer.start()
    try:
        assert _core.hash_file(path, ["sha256"]) == ([reference(data, "sha256")], len(data))
    finally:
        writer.join()


@pytest.mark.parametrize(
    "name",
    [
        "/proc/version",  # says that it has 0 bytes
        "/sys/devices/system/cpu/online",  # 4096, and has some
        "/sys/kernel/notes",
        "/sys/kernel/btf/vmlinux",  # MiB
    ],
)
def test_a_file_that_only_claims_a_length_is_read_to_its_end(name: str) -> None:
    if not os.access(name, os.R_OK):
        pytest.skip(f"there is no {name}")
    data = Path(name).read_bytes()
    expected = [reference(data, algorithm) for algorithm in ("blake3", "sha256")]
    assert _core.hash_file(name, ["blake3", "sha256"]) == (expected, len(data))
    assert _core.hash_file(name, ["blake3"]) == (expected[:1], len(data))
    (outcome,), (length,) = _core.hash_files([name])
    assert outcome is None or (outcome, length) == (expected[0], len(data))


def test_a_range_that_a_file_claims_and_does_not_have_is_refused() -> None:
    name = "/sys/devices/system/cpu/online"
    if not os.access(name, os.R_OK):
        pytest.skip(f"there is no {name}")
    with pytest.raises(IndexError, match="the last range ends at byte 4000"):
        _core.hash_file_ranges(name, [(0, 4000)], "blake3", [])


def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    for name, expected in (("missing", FileNotFoundError), ("", IsADirectoryError)):
        path = tmp_path / name
        with pytest.raises(expected) as ours:
            _core.hash_file(path, ["blake3"])
        with pytest.raises(expected) as theirs:
            path.open()
        assert (ours.value.args, ours.value.filename) == (theirs.value.args, str(path))


# ---- ranges ----


@pytest.mark.parametrize("algorithm", ["blake3", "sha256"])
def test_ranges_have_the_digests_of_their_bytes(tmp_path: Path, algorithm: str) -> None:
    generator = random.Random(4)
    data = generator.randbytes(700_000)
    path = tmp_path / "data"
    path.write_bytes(data)
    for _ in range(20):
        ends = sorted(
            generator.choices([0, len(data), *generator.sample(range(len(data)), 20)], k=24)
        )
        ranges = list(zip(ends[::2], ends[1::2], strict=True))
        digests, whole, size = _core.hash_file_ranges(
            path, ranges, algorithm, [algorithm, "blake3"]
        )
        assert digests == [reference(data[begin:end], algorithm) for begin, end in ranges]
        assert whole == [reference(data, algorithm), reference(data, "blake3")]
        assert size == len(data)


@pytest.mark.parametrize(
    "ranges",
    [
        [],
        [(0, 0)],
        [(0, 0), (0, 0), (0, 600_000)],
        [
            (0, 262_144),
            (262_144, 262_144),
            (262_144, 524_288),
            (524_288, 600_000),
            (600_000, 600_000),
        ],
        [(0, 600_000)],
        [(262_143, 262_145)],
        [(599_999, 600_000)],
    ],
    ids=str,
)
def test_ranges_may_touch_be_empty_and_cross_the_pieces_of_reading(
    tmp_path: Path, ranges: list[tuple[int, int]]
) -> None:
    data = pattern(600_000)
    path = tmp_path / "data"
    path.write_bytes(data)
    digests, whole, length = _core.hash_file_ranges(path, ranges, "blake3", [])
    assert (whole, length) == ([], len(data))
    assert digests == [reference(data[begin:end], "blake3") for begin, end in ranges]


def test_empty_ranges_of_an_empty_file_are_hashed(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    empty = reference(b"", "blake3")
    assert _core.hash_file_ranges(path, [(0, 0), (0, 0)], "blake3", ["blake3"]) == (
        [empty, empty],
        [empty],
        0,
    )


@pytest.mark.parametrize(
    ("ranges", "error"),
    [
        ([(2, 1)], ValueError),
        ([(0, 5), (4, 6)], ValueError),
        ([(5, 6), (0, 1)], ValueError),
        ([(-1, 1)], ValueError),
        ([(0, 2**64)], ValueError),
        ([(0, 11)], IndexError),
        ([(2**63, 2**64 - 1)], IndexError),
        ([(11, 11)], IndexError),
        ([[0, 1]], TypeError),
        ([(0, 1, 2)], TypeError),
        ([(0,)], TypeError),
        ([("0", 1)], TypeError),
        ("ab", TypeError),
        (None, TypeError),
    ],
    ids=str,
)
def test_ranges_that_are_none_are_refused(
    tmp_path: Path, ranges: object, error: type[Exception]
) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"0123456789")
    with pytest.raises(error):
        _core.hash_file_ranges(path, ranges, "blake3", [])  # type: ignore[arg-type]


def test_ranges_of_a_pipe_are_refused_without_waiting(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="it is a pipe or device"):
        _core.hash_file_ranges(path, [], "blake3", ["blake3"])


# ---- files that change ----


class Changer:
    """Changes a file in a second thread as often as it can, until the test ends it."""

    def __init__(self, change: Callable[[], None]) -> None:
        self._change, self._over = change, threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.count = 0

    def _work(self) -> None:
        while not self._over.is_set():
            self._change()
            self.count += 1
            time.sleep(0.001)

    def __enter__(self) -> Changer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def refusal(self, read: Callable[[], object]) -> EvidenceError:
        """What a reading says in which the file changed, not only in the clock's tick at its start.

        On a busy machine the second thread may stand still meanwhile: such a reading is repeated.
        """
        while True:
            before = self.count
            try:
                read()
            except EvidenceError as error:
                return error
            assert self.count < before + 12, "the file changed and was not refused"


def truncate_and_restore(path: Path, length: int) -> None:
    os.truncate(path, length // 3)
    os.truncate(path, length)


def write_one_byte(path: Path, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(length // 2)
        file.write(b"!")


def replace(path: Path, length: int) -> None:
    other = path.with_name("other")
    with other.open("wb") as file:
        file.truncate(length)
    other.replace(path)


@pytest.mark.parametrize("algorithms", [["blake3"], ["sha256"], ["blake3", "sha256"]], ids=str)
@pytest.mark.parametrize("change", [truncate_and_restore, write_one_byte, replace])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, change: Callable[[Path, int], None], algorithms: list[str]
) -> None:
    path, length = tmp_path / "data", 64_000_000
    with path.open("wb") as file:
        file.truncate(length)
    with Changer(lambda: change(path, length)) as changer:
        for threads in (1, 2):
            whole = partial(_core.hash_file, path, algorithms, threads=threads)
            error = changer.refusal(whole)
            assert (error.status, error.retryable) == ("CHANGED", True)
            assert re.search("changed while it was read|before it should", str(error))
            ranges = [(0, 1000)]
            changer.refusal(
                partial(_core.hash_file_ranges, path, ranges, "blake3", algorithms, threads=threads)
            )
    _core.hash_file(path, algorithms)


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(50_000_000))

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    with Changer(grow) as changer:
        for algorithms in (["sha256"], ["blake3"], ["blake3", "sha256"]):
            error = changer.refusal(partial(_core.hash_file, path, algorithms))
            assert "changed while it was read" in str(error)


@pytest.mark.parametrize("algorithms", [["sha256"], ["blake3"], ["blake3", "sha256"]], ids=str)
def test_an_interrupt_ends_the_reading(
    run_python: Callable[..., str], algorithms: list[str]
) -> None:
    code = """
import signal, sys, time
from mlprov import _core
signal.setitimer(signal.ITIMER_REAL, 0.3)
signal.signal(signal.SIGALRM, signal.default_int_handler)
began = time.monotonic()
try:
    _core.hash_file("/dev/zero", sys.argv[1:], threads=2)
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - began < 10)
"""
    assert run_python(code, *algorithms).split() == ["interrupted", "True"]


def test_an_interrupt_ends_the_wait_for_a_writer(
    tmp_path: Path, run_python: Callable[..., str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    code = """
import signal, sys
from mlprov import _core
signal.signal(signal.SIGALRM, signal.default_int_handler)
signal.setitimer(signal.ITIMER_REAL, 0.3)
try:
    _core.hash_file(sys.argv[1], ["sha256"])
except KeyboardInterrupt:
    print("interrupted")
"""
    assert run_python(code, str(tmp_path / "pipe")).strip() == "interrupted"


# ---- safetensors ----


def safetensors(header: dict[str, object], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_entries_are_sorted_and_count_from_the_start_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    content = safetensors(
        {
            "b": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
            "a": {"dtype": "U8", "shape": [3], "data_offsets": [8, 11]},
            "\u00e9": {"dtype": "BF16", "shape": [], "data_offsets": [11, 13]},
            "__metadata__": {"format": "pt", "note": "\u00fc"},
        },
        bytes(range(13)),
    )
    path.write_bytes(content)
    start = len(content) - 13
    entries, metadata, length = _core.safetensors_entries(path)
    assert entries == [
        ("a", "U8", (3,), start + 8, start + 11),
        ("b", "F32", (2, 1), start, start + 8),
        ("\u00e9", "BF16", (), start + 11, start + 13),
    ]
    assert metadata == {"format": "pt", "note": "\u00fc"}
    assert length == len(content)


def test_the_official_safetensors_files_are_read_or_refused_as_they_must_be(vectors: Path) -> None:
    folder = vectors / "safetensors-files"
    expected = json.loads((folder / "expect.json").read_text())["files"]
    assert len(expected) == 14
    for name, facts in expected.items():
        path = folder / f"{name}.safetensors"
        if facts["valid"]:
            assert _core.safetensors_entries(path)[2] == path.stat().st_size
        else:
            with pytest.raises(EvidenceError, match=name) as refused:
                _core.safetensors_entries(path)
            assert refused.value.status == "MALFORMED"


def test_a_safetensors_link_is_followed_and_a_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(safetensors({}, b""))
    (tmp_path / "model.safetensors").symlink_to("blob")
    assert _core.safetensors_entries(tmp_path / "model.safetensors")[:2] == ([], {})
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="it is a pipe or device"):
        _core.safetensors_entries(tmp_path / "pipe")

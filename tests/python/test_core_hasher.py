"""The incremental hasher has hashlib's shape and every mode of BLAKE3."""

from __future__ import annotations

import array
import hashlib
import io
import os
import random
import threading
from pathlib import Path

import blake3
import pytest
from conftest import pattern

from mlprov import _core

ALGORITHMS = ("blake3", "sha256", "sha384", "sha512")


def reference(data: bytes, algorithm: str) -> bytes:
    return (
        blake3.blake3(data).digest()
        if algorithm == "blake3"
        else hashlib.new(algorithm, data).digest()
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_pieces_of_any_length_give_the_digest_of_the_whole(kernel: str, algorithm: str) -> None:
    generator = random.Random(3)
    data = generator.randbytes(70_000)
    for _ in range(12):
        hasher = _core.Hasher(algorithm=algorithm)
        position = 0
        while position < len(data):
            step = int(2 ** generator.uniform(0, 16))
            hasher.update(data[position : position + step])
            position += step
        assert hasher.digest() == reference(data, algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_digest_in_between_changes_nothing(algorithm: str) -> None:
    hasher = _core.Hasher(algorithm=algorithm)
    data, begin = pattern(5000), 0
    for end in (0, 1, 64, 65, 1024, 1025, 5000):
        hasher.update(data[begin:end])
        assert hasher.digest() == hasher.digest() == reference(data[:end], algorithm)
        begin = end


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_copy_goes_its_own_way(algorithm: str) -> None:
    hasher = _core.Hasher(b"shared ", algorithm=algorithm)
    copy = hasher.copy()
    hasher.update(b"left")
    copy.update(b"right")
    assert hasher.digest() == reference(b"shared left", algorithm)
    assert copy.digest() == reference(b"shared right", algorithm)
    assert copy.name == algorithm


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_attributes_and_hexdigest_are_those_of_hashlib(algorithm: str) -> None:
    hasher = _core.Hasher(b"abc", algorithm=algorithm)
    assert hasher.name == algorithm
    assert hasher.hexdigest() == hasher.digest().hex()
    assert hasher.digest_size == len(hasher.digest())
    if algorithm == "blake3":
        assert (hasher.digest_size, hasher.block_size) == (32, 64)
    else:
        other = hashlib.new(algorithm)
        assert (hasher.digest_size, hasher.block_size) == (other.digest_size, other.block_size)


def test_file_digest_of_hashlib_takes_the_class(tmp_path: Path) -> None:
    data = pattern(600_000)
    path = tmp_path / "data"
    path.write_bytes(data)
    with path.open("rb") as file:
        assert hashlib.file_digest(file, _core.Hasher).digest() == reference(data, "blake3")
    assert hashlib.file_digest(io.BytesIO(data), _core.Hasher).digest() == reference(data, "blake3")


def test_every_kind_of_buffer_is_taken_in_place() -> None:
    for data in (
        b"bytes",
        bytearray(b"bytes"),
        memoryview(b"--bytes--")[2:7],
        array.array("H", [1, 2, 3]),
        array.array("d"),
        memoryview(b"").cast("B"),
    ):
        assert _core.Hasher(data).digest() == reference(bytes(memoryview(data)), "blake3")


def test_a_buffer_with_gaps_is_refused_as_hashlib_does() -> None:
    with pytest.raises(BufferError):
        _core.Hasher(memoryview(b"abcdef")[::2])


def test_extendable_output_agrees_with_pypi_blake3_at_any_place(kernel: str) -> None:
    mine, theirs = _core.Hasher(b"seed"), blake3.blake3(b"seed")
    whole = theirs.digest(length=70_000)
    for length, seek in (
        (0, 0),
        (1, 0),
        (64, 1),
        (65, 63),
        (1000, 64 * 17),
        (70_000, 0),
        (33, 69_967),
    ):
        assert mine.digest(length, seek=seek) == whole[seek : seek + length]
    far = 2**40 + 5
    assert mine.hexdigest(40, seek=far) == theirs.hexdigest(length=40, seek=far)


def test_keyed_and_derive_key_modes_agree_with_pypi_blake3(kernel: str) -> None:
    key, context, data = bytes(range(32)), "mlprov tests 2026 context", pattern(9000)
    assert _core.Hasher(data, key=key).digest() == blake3.blake3(data, key=key).digest()
    assert (
        _core.Hasher(data, context=context).digest()
        == blake3.blake3(data, derive_key_context=context).digest()
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"key": b"short"},
        {"key": bytes(33)},
        {"key": bytes(32), "algorithm": "sha256"},
        {"context": "c", "algorithm": "sha256"},
        {"context": "c", "key": bytes(32)},
        {"context": "\ud800"},
        {"algorithm": "md5"},
        {"algorithm": ""},
        {"algorithm": "blake3\0"},
    ],
)
def test_a_mode_that_does_not_exist_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        _core.Hasher(b"", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ALGORITHMS[1:])
def test_only_blake3_has_extendable_output(algorithm: str) -> None:
    hasher = _core.Hasher(b"", algorithm=algorithm)
    with pytest.raises(ValueError, match="blake3"):
        hasher.digest(10)
    with pytest.raises(ValueError, match="blake3"):
        hasher.digest(seek=1)


@pytest.mark.parametrize(
    ("length", "seek"), [(-1, 0), (1, -1), (2**64, 0), (1, 2**64), (2, 2**64 - 1)]
)
def test_output_outside_the_stream_is_refused(length: int, seek: int) -> None:
    with pytest.raises(ValueError):
        _core.Hasher().digest(length, seek=seek)


@pytest.mark.parametrize("length", [2**62, 2**63, 2**64 - 1])
def test_output_that_fits_no_memory_is_a_memory_error(length: int) -> None:
    if length == 2**62 and os.environ.get("MLPROV_BUILD_VARIANT") == "sanitize":
        pytest.skip("AddressSanitizer reports an allocation of that size")
    with pytest.raises(MemoryError):
        _core.Hasher().digest(length)


def test_threads_that_share_a_hasher_take_turns() -> None:
    hasher = _core.Hasher()
    piece = b"x" * 100_000
    threads = [threading.Thread(target=hasher.update, args=(piece,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hasher.digest() == reference(piece * 16, "blake3")


def test_the_class_is_final_and_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        type("Mine", (_core.Hasher,), {})
    with pytest.raises(TypeError):
        _core.Hasher.update = None  # type: ignore[method-assign, assignment]

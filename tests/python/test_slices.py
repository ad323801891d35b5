"""Slices of an input against its digest, held to a slow reference (slices_for_tests.py)."""

from __future__ import annotations

import json
import mmap
import random
from collections.abc import Iterator
from pathlib import Path

import blake3
import numpy as np
import pytest
import slices_for_tests as reference

import mlprov
from mlprov import _core
from mlprov.digests import Digest
from mlprov.errors import ConfigError, EvidenceError, UnsupportedTensorError, VerificationError
from mlprov.slices import GroupedDigest, SliceProof, digest_with_groups, verify

CHUNK, GROUP = 1024, 16 * 1024
SIZES = sorted(
    {0, 1, 2, 1023, 1024, 1025, 2047, 2048, 2049, 5 * CHUNK + 100}
    | {count * GROUP + offset for count in (1, 2, 3, 4, 5, 7, 8, 9) for offset in (-1, 0, 1)}
)


def some_bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def boundaries(size: int) -> list[int]:
    """Positions at and beside the ends, chunks and groups of an input."""
    at = {0, 1, CHUNK, GROUP, 2 * GROUP, size // 2, size - CHUNK, size - 1, size}
    near = {place + offset for place in at for offset in (-1, 0, 1)}
    return sorted(place for place in near if 0 <= place <= size)


def slices_of(size: int, most: int) -> Iterator[tuple[int, int]]:
    """(start, length) between boundaries: all, or so many of them drawn by lot."""
    places = boundaries(size)
    pairs = [(i, k - i) for i in places for k in places if k >= i]
    yield from pairs if len(pairs) <= most else random.Random(size).sample(pairs, most)


def grouped_of(data: bytes) -> GroupedDigest:
    grouped = digest_with_groups(data)
    assert bytes(grouped.digest) == blake3.blake3(data).digest()
    return grouped


def holds(grouped: GroupedDigest, data: bytes, proof: SliceProof) -> bool:
    return proof.verify(data, digest=grouped.digest, size=grouped.size)


# -- groups


@pytest.mark.parametrize("size", SIZES)
def test_digest_and_groups_are_those_of_the_reference(size: int) -> None:
    data = some_bytes(size)
    slow = reference.Input(data)
    grouped = grouped_of(data)
    assert (grouped.size, bytes(grouped.digest)) == (size, slow.digest())
    assert grouped.groups == slow.groups()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_kernel_and_number_of_threads_keeps_the_same_groups(
    kernel: str, threads: int
) -> None:
    for size in (GROUP + 1, 37 * GROUP - 3, 3 * 2**20 + 17):
        data = some_bytes(size)
        digest, groups, length = _core.blake3_groups(data, threads=threads)
        assert (digest, length) == (blake3.blake3(data).digest(), size)
        values = [
            _core.blake3_subtree(data[at : at + GROUP], at // CHUNK) for at in range(0, size, GROUP)
        ]
        assert groups == b"".join(values)


def test_the_digest_of_a_tensor_is_the_one_its_leaf_has() -> None:
    array = np.arange(30_000, dtype=np.float32).reshape(300, 100)
    grouped = digest_with_groups(array)
    assert grouped.digest == mlprov.digest(array)
    proof = grouped.prove(array, 44_444, 1_000)
    assert holds(grouped, array.tobytes()[44_444:45_444], proof)


def test_a_bfloat16_tensor_is_proved_where_it_lies() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.arange(40_000, dtype=torch.float32).to(torch.bfloat16)
    grouped = digest_with_groups(tensor)
    assert grouped.digest == mlprov.digest(tensor)
    data = bytes(tensor.view(torch.uint8).numpy())
    assert holds(grouped, data[50_001:70_002], grouped.prove(tensor, 50_001, 20_001))


def test_a_strided_tensor_is_refused_with_what_to_do() -> None:
    array = np.arange(30_000, dtype=np.float32).reshape(300, 100).T
    with pytest.raises(UnsupportedTensorError, match="contiguous"):
        digest_with_groups(array)
    dense = np.ascontiguousarray(array)
    grouped = digest_with_groups(dense)
    assert grouped.digest == mlprov.digest(array)
    with pytest.raises(UnsupportedTensorError, match="contiguous"):
        grouped.prove(array, 0, 1)


def test_a_file_is_proved_by_what_is_read_of_it(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    data = some_bytes(9 * GROUP + 77)
    path.write_bytes(data)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        grouped = digest_with_groups(mapped)
    asked = []

    def read(offset: int, length: int) -> bytes:
        asked.append(length)
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    proof = grouped.prove(read, 5 * GROUP + 3_333, 40_000)
    assert sum(asked) < 34 * CHUNK
    assert max(asked) <= 8 * CHUNK
    assert proof == grouped.prove(data, 5 * GROUP + 3_333, 40_000)
    assert holds(grouped, data[5 * GROUP + 3_333 :][:40_000], proof)


@pytest.mark.parametrize("threads", [0, -1, 100_000])
def test_an_absurd_number_of_threads_is_refused(threads: int) -> None:
    with pytest.raises(ConfigError, match="threads"):
        digest_with_groups(b"abc", threads=threads)


# -- proofs


@pytest.mark.parametrize("size", SIZES)
def test_proofs_between_boundaries_are_those_of_the_reference(size: int) -> None:
    data = some_bytes(size)
    slow, grouped = reference.Input(data), grouped_of(data)
    for start, length in slices_of(size, 400):
        proof = grouped.prove(data, start, length)
        assert (proof.head, list(proof.path), proof.tail) == slow.prove(start, length)
        assert holds(grouped, data[start : start + length], proof), (start, length)


@pytest.mark.parametrize("size", [0, 1, 66, 2 * CHUNK + 3, GROUP + 5])
def test_the_reference_accepts_what_was_proved(size: int) -> None:
    data = some_bytes(size)
    grouped = grouped_of(data)
    for start, length in slices_of(size, 12):
        proof = grouped.prove(data, start, length)
        parts = (proof.head, list(proof.path), proof.tail)
        piece = data[start : start + length]
        assert reference.holds(bytes(grouped.digest), size, start, piece, parts)


def test_every_slice_of_a_small_input_is_that_of_the_reference() -> None:
    data = some_bytes(2 * CHUNK + 20)
    slow, grouped = reference.Input(data), grouped_of(data)
    places = sorted({*range(0, 2 * CHUNK + 21, 97), *range(CHUNK - 6, CHUNK + 6)})
    places += range(2 * CHUNK - 6, 2 * CHUNK + 21)
    for start in places:
        for end in places:
            if start <= end:
                proof = grouped.prove(data, start, end - start)
                assert (proof.head, list(proof.path), proof.tail) == slow.prove(start, end - start)
                assert holds(grouped, data[start:end], proof), (start, end)


def test_a_group_of_a_gibibyte_is_proved_by_sixteen_hashes() -> None:
    assert reference.path_length(2**30, 12_345 * GROUP, GROUP) == 16


# -- what is refused


@pytest.mark.parametrize(
    ("size", "start", "length"),
    [(0, 0, 0), (1, 0, 1), (CHUNK, 1000, 24), (3 * CHUNK, 1100, 1), (2 * GROUP + 1, GROUP, 30)],
)
def test_every_flipped_bit_of_a_proof_file_is_refused(size: int, start: int, length: int) -> None:
    data = some_bytes(size)
    grouped = grouped_of(data)
    text = grouped.prove(data, start, length).to_bytes()
    piece = data[start : start + length]
    assert holds(grouped, piece, SliceProof.from_bytes(text))
    for bit in range(len(text) * 8):
        changed = bytearray(text)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            proof = SliceProof.from_bytes(changed)
            assert not holds(grouped, piece, proof), bytes(changed)
        except EvidenceError:
            pass


def test_every_flipped_bit_of_slice_and_digest_is_refused() -> None:
    data = some_bytes(3 * CHUNK)
    grouped = grouped_of(data)
    proof = grouped.prove(data, 1000, 60)
    for bit in range(60 * 8):
        piece = bytearray(data[1000:1060])
        piece[bit // 8] ^= 1 << bit % 8
        assert not holds(grouped, piece, proof)
    for bit in range(32 * 8):
        value = bytearray(bytes(grouped.digest))
        value[bit // 8] ^= 1 << bit % 8
        assert not proof.verify(data[1000:1060], digest=bytes(value), size=grouped.size)


def test_another_place_length_or_size_is_refused() -> None:
    data = bytes(5 * CHUNK)  # every chunk has the same bytes
    grouped = grouped_of(data)
    proof = grouped.prove(data, 2 * CHUNK, 100)
    assert holds(grouped, bytes(100), proof)
    with pytest.raises(VerificationError, match="99 bytes"):
        verify(bytes(99), proof, digest=grouped.digest, size=grouped.size)
    with pytest.raises(VerificationError, match=f"not of {5 * CHUNK + 1}"):
        verify(bytes(100), proof, digest=grouped.digest, size=5 * CHUNK + 1)
    for start in (0, CHUNK, 3 * CHUNK):
        moved = SliceProof(start, 100, proof.size, proof.head, proof.path, proof.tail)
        assert not holds(grouped, bytes(100), moved)
    for start in (2 * CHUNK - 1, 2 * CHUNK + 1, 4 * CHUNK, 5 * CHUNK):
        moved = SliceProof(start, 100, proof.size, proof.head, proof.path, proof.tail)
        with pytest.raises(EvidenceError):
            holds(grouped, bytes(100), moved)


def test_the_end_of_an_input_proves_its_size() -> None:
    data = some_bytes(5 * CHUNK + 7)
    grouped = grouped_of(data)
    proof = grouped.prove(data, len(data), 0)
    assert holds(grouped, b"", proof)
    for size in range(len(data) - 5, len(data) + 2 * CHUNK):
        if size != len(data):
            other = SliceProof(len(data), 0, size, proof.head, proof.path, proof.tail)
            with pytest.raises(EvidenceError):
                other.verify(b"", digest=grouped.digest, size=size)
            moved = SliceProof(size, 0, size, proof.head, proof.path, proof.tail)
            with pytest.raises((EvidenceError, VerificationError)):
                verify(b"", moved, digest=grouped.digest, size=size)


@pytest.mark.parametrize(("start", "length"), [(101, 0), (100, 1), (0, 101), (2**64 - 1, 2)])
def test_a_slice_beyond_the_end_is_refused(start: int, length: int) -> None:
    data = some_bytes(100)
    grouped = grouped_of(data)
    with pytest.raises(IndexError, match="beyond the input's 100 bytes"):
        grouped.prove(data, start, length)
    proof = SliceProof(start, length, 100, b"", (), b"")
    with pytest.raises(EvidenceError, match="beyond the input's 100 bytes"):
        holds(grouped, bytes(length), proof)


def test_negative_numbers_are_refused() -> None:
    grouped = grouped_of(b"abc")
    with pytest.raises(IndexError, match="start is negative"):
        grouped.prove(b"abc", -1, 1)
    with pytest.raises(EvidenceError, match="start is negative"):
        holds(grouped, b"a", SliceProof(-1, 1, 3, b"", (), b"bc"))


def test_parts_of_another_length_are_malformed() -> None:
    data = some_bytes(9 * CHUNK)
    grouped = grouped_of(data)
    proof = grouped.prove(data, 2 * CHUNK + 5, 30)
    head, path, tail = proof.head, proof.path, proof.tail
    others = [
        (head + b"x", path, tail),
        (head[1:], path, tail),
        (head, path, tail + b"x"),
        (head, path, tail[:-1]),
        (head, path[1:], tail),
        (head, (*path, path[0]), tail),
        (bytes(1025), path, tail),
        (head, path, bytes(5000)),
        (head, path * 50, tail),
        (head, (path[0][:31], *path[1:]), tail),
    ]
    for parts in others:
        with pytest.raises(EvidenceError):
            holds(grouped, data[2 * CHUNK + 5 :][:30], SliceProof(proof.start, 30, 9216, *parts))


def test_groups_and_inputs_of_another_size_are_refused() -> None:
    data = some_bytes(3 * GROUP)
    grouped = grouped_of(data)
    with pytest.raises(ValueError, match="3 groups"):
        GroupedDigest(grouped.digest, grouped.size, grouped.groups[:-32]).prove(data, 0, 1)
    with pytest.raises(ValueError, match=f"has {len(data) - 1} bytes"):
        grouped.prove(data[:-1], 0, 1)


def test_a_damaged_group_or_a_changed_input_gives_a_proof_that_does_not_hold() -> None:
    data = some_bytes(5 * GROUP)
    grouped = grouped_of(data)
    damaged = bytearray(grouped.groups)
    damaged[3 * 32] ^= 1
    proof = GroupedDigest(grouped.digest, grouped.size, bytes(damaged)).prove(data, 5, 5)
    assert not holds(grouped, data[5:10], proof)
    changed = data[:20] + b"?" + data[21:]
    assert not holds(grouped, data[5:10], grouped.prove(changed, 5, 5))


def test_a_reader_that_fails_or_gives_too_little_is_an_error() -> None:
    grouped = grouped_of(some_bytes(100))

    def missing(offset: int, length: int) -> bytes:
        raise OSError(f"no byte at {offset}")

    with pytest.raises(OSError, match="no byte at 0"):
        grouped.prove(missing, 5, 5)
    with pytest.raises(EvidenceError, match="gave 1 bytes"):
        grouped.prove(lambda offset, length: b"x", 5, 5)
    with pytest.raises(TypeError, match="what read returned"):
        grouped.prove(lambda offset, length: None, 5, 5)


def test_a_digest_of_another_algorithm_is_no_evidence() -> None:
    grouped = grouped_of(b"abc")
    proof = grouped.prove(b"abc", 1, 1)
    assert proof.verify(b"b", digest=str(grouped.digest), size=3)
    for digest in (Digest("sha256", bytes(32)), "md5:00", bytes(31)):
        with pytest.raises(EvidenceError):
            proof.verify(b"b", digest=digest, size=3)


def test_a_proof_file_has_one_spelling() -> None:
    data = some_bytes(3 * CHUNK)
    proof = grouped_of(data).prove(data, 1030, 7)
    text = proof.to_bytes()
    assert SliceProof.from_bytes(text) == proof
    members = json.loads(text)
    for name, value in [
        *(("format", "mlprov-proof"), ("version", 2), ("version", True), ("head", "YR==")),
        *(("start", -1), ("start", 1.5), ("start", True), ("length", "7"), ("path", "x")),
        *(("path", [""]), ("tail", None), ("extra", 1)),
    ]:
        with pytest.raises(EvidenceError):
            SliceProof.from_bytes(
                json.dumps({**members, name: value}, separators=(",", ":"), sort_keys=True).encode()
            )
    for other in (text + b"\n", text[:-1], b"[]", b"", text.replace(b":", b": ", 1)):
        with pytest.raises(EvidenceError):
            SliceProof.from_bytes(other)

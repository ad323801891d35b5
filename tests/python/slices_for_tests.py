"""Slice proofs once more, as docs/format.md section 13 words them: slow, recursive, no mlprov.

BLAKE3 is written out from its paper (2021): sections 2.1 to 2.6, tables 1 to 3, plain hash alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

CHUNK = 1024
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
# Table 1: SHA-256's initial value.
IV = (
    *(0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A),
    *(0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19),
)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
COLUMNS_AND_DIAGONALS = (
    *((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)),
    *((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)),
)
MASK = 0xFFFFFFFF


def mix(v: list[int], at: tuple[int, int, int, int], words: tuple[int, int]) -> None:
    """G of section 2.2."""
    a, b, c, d = at
    for word, turn_d, turn_b in ((words[0], 16, 12), (words[1], 8, 7)):
        v[a] = (v[a] + v[b] + word) & MASK
        turned = v[d] ^ v[a]
        v[d] = (turned >> turn_d | turned << (32 - turn_d)) & MASK
        v[c] = (v[c] + v[d]) & MASK
        turned = v[b] ^ v[c]
        v[b] = (turned >> turn_b | turned << (32 - turn_b)) & MASK


def compress(cv: bytes, block: bytes, counter: int, flags: int) -> bytes:
    """The chaining value of one block (section 2.2); the root's is the first half of the digest."""
    padded = block.ljust(64, b"\0")
    words = [int.from_bytes(padded[i : i + 4], "little") for i in range(0, 64, 4)]
    key = [int.from_bytes(cv[i : i + 4], "little") for i in range(0, 32, 4)]
    v = [*key, *IV[:4], counter & MASK, counter >> 32, len(block), flags]
    for _ in range(7):
        for number, at in enumerate(COLUMNS_AND_DIAGONALS):
            mix(v, at, (words[2 * number], words[2 * number + 1]))
        words = [words[i] for i in PERMUTATION]
    return b"".join((v[i] ^ v[i + 8]).to_bytes(4, "little") for i in range(8))


KEY = b"".join(word.to_bytes(4, "little") for word in IV)


def chunk_value(chunk: bytes, number: int, root: int = 0) -> bytes:
    """Section 2.4: its blocks one after another."""
    cv = KEY
    blocks = [chunk[i : i + 64] for i in range(0, len(chunk), 64)] or [b""]
    for i, block in enumerate(blocks):
        flags = CHUNK_START if i == 0 else 0
        if i == len(blocks) - 1:
            flags |= CHUNK_END | root
        cv = compress(cv, block, number, flags)
    return cv


def parent_value(left: bytes, right: bytes, root: int = 0) -> bytes:
    """Section 2.5."""
    return compress(KEY, left + right, 0, PARENT | root)


def split(count: int) -> int:
    """The chunks of the left subtree of a node of ``count`` chunks (section 2.1)."""
    left = 1
    while left * 2 < count:
        left *= 2
    return left


def held_chunks(size: int, start: int, length: int) -> tuple[int, range]:
    """Chunks of the input, and those that hold the slice."""
    count = max(1, -(-size // CHUNK))
    if length == 0:
        only = min(start // CHUNK, count - 1)
        return count, range(only, only + 1)
    return count, range(start // CHUNK, (start + length - 1) // CHUNK + 1)


def apart(first: int, count: int, held: range) -> bool:
    """Whether a subtree has none of the chunks that hold the slice."""
    return first + count <= held.start or held.stop <= first


@dataclass
class Input:
    """An input, with the chaining values that were asked for."""

    data: bytes
    known: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def value(self, first: int, count: int) -> bytes:
        """The chaining value of the subtree of ``count`` chunks from ``first`` on."""
        if (first, count) not in self.known:
            if count == 1:
                chunk = self.data[first * CHUNK : (first + 1) * CHUNK]
                self.known[first, count] = chunk_value(chunk, first)
            else:
                left = split(count)
                self.known[first, count] = parent_value(
                    self.value(first, left), self.value(first + left, count - left)
                )
        return self.known[first, count]

    def digest(self) -> bytes:
        """The root."""
        count, _ = held_chunks(len(self.data), 0, 0)
        if count == 1:
            return chunk_value(self.data, 0, ROOT)
        left = split(count)
        return parent_value(self.value(0, left), self.value(left, count - left), ROOT)

    def groups(self) -> bytes:
        """What mlprov keeps: the chaining value of every 16 chunks."""
        count, _ = held_chunks(len(self.data), 0, 0)
        if count <= 16:
            return b""
        return b"".join(self.value(g, min(16, count - g)) for g in range(0, count, 16))

    def prove(self, start: int, length: int) -> tuple[bytes, list[bytes], bytes]:
        """Head, path and tail."""
        count, held = held_chunks(len(self.data), start, length)
        head = self.data[held.start * CHUNK : start]
        tail = self.data[start + length : held.stop * CHUNK]
        return head, list(self._path(0, count, held)), tail

    def _path(self, first: int, count: int, held: range) -> Iterator[bytes]:
        if apart(first, count, held):
            yield self.value(first, count)
        elif count > 1:
            left = split(count)
            yield from self._path(first, left, held)
            yield from self._path(first + left, count - left, held)


def path_length(size: int, start: int, length: int) -> int:
    """Hashes of the path."""

    def below(first: int, count: int) -> int:
        if apart(first, count, held):
            return 1
        if count == 1:
            return 0
        left = split(count)
        return below(first, left) + below(first + left, count - left)

    chunks, held = held_chunks(size, start, length)
    return below(0, chunks)


def holds(
    digest: bytes, size: int, start: int, data: bytes, proof: tuple[bytes, list[bytes], bytes]
) -> bool:
    """Whether a proof of the right shape leads to the digest; ValueError for another shape."""
    head, path, tail = proof
    if start + len(data) > size:
        raise ValueError("beyond the end")
    count, held = held_chunks(size, start, len(data))
    known = head + data + tail
    if held.start * CHUNK + len(head) != start or len(path) != path_length(size, start, len(data)):
        raise ValueError("another shape")
    if held.start * CHUNK + len(known) != min(size, held.stop * CHUNK):
        raise ValueError("another shape")
    values = iter(path)

    def value(first: int, number: int, root: int) -> bytes:
        if apart(first, number, held):
            return next(values)
        if number == 1:
            at = (first - held.start) * CHUNK
            return chunk_value(known[at : at + CHUNK], first, root)
        left = split(number)
        left_value = value(first, left, 0)
        return parent_value(left_value, value(first + left, number - left, 0), root)

    return value(0, count, ROOT) == digest

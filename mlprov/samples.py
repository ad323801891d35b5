"""Sample leaves (docs/format.md section 4), kept as digests and written when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, overload

from mlprov import _core
from mlprov.items import encode_text

__all__ = ["SampleLeaves"]

_CHUNK: Final = 4096  # leaves whose digests are written at once


class SampleLeaves(Sequence[bytes]):
    """The leaves of a data set's samples, in order: 32 bytes of memory for each that is a row.

    Args:
        algorithm: that of the digests.
        digests: one for each sample.
        lengths: bytes of each sample, or one number for all.
        paths: of each sample where samples are files, None where they have an index.

    >>> SampleLeaves("blake3", [bytes(32)], 3)[0]
    b'{"digest":"blake3:0000...","index":0,"len":3}'
    """

    __slots__ = ("_algorithm", "_digests", "_lengths", "_paths", "_width")

    def __init__(
        self,
        algorithm: str,
        digests: Iterable[bytes],
        lengths: int | Sequence[int],
        paths: Sequence[str] | None = None,
    ) -> None:
        self._algorithm = algorithm
        self._digests = b"".join(digests)
        self._width = len(_core.hash_bytes(b"", algorithm))
        self._lengths = lengths
        self._paths = paths

    def __len__(self) -> int:
        return len(self._digests) // self._width

    @overload
    def __getitem__(self, index: int, /) -> bytes: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[bytes]: ...
    def __getitem__(self, index: int | slice, /) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return next(self._write(index, index + 1))

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self), _CHUNK):
            yield from self._write(start, min(start + _CHUNK, len(self)))

    def _write(self, start: int, stop: int) -> Iterator[bytes]:
        """The leaves of samples ``start`` to ``stop``: RFC 8785 objects, so members are sorted."""
        width = 2 * self._width
        digits = self._digests[start * self._width : stop * self._width].hex()
        head = f'{{"digest":"{self._algorithm}:'
        lengths, paths = self._lengths, self._paths
        for at, index in enumerate(range(start, stop)):
            length = lengths if isinstance(lengths, int) else lengths[index]
            digest = digits[at * width : (at + 1) * width]
            if paths is None:
                yield f'{head}{digest}","index":{index},"len":{length}}}'.encode()
            else:
                path = encode_text(paths[index])
                yield f'{head}{digest}","len":{length},"path":{path}}}'.encode()

    def digests(self) -> list[bytes]:
        """The raw digests in order."""
        width = self._width
        return [self._digests[at : at + width] for at in range(0, len(self._digests), width)]

    def sorted_digests(self) -> list[bytes]:
        """The leaves of the sorted sample tree: raw digests in ascending order, duplicates kept."""
        return sorted(self.digests())

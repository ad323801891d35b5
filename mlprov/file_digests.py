"""Digests of many files, each with an outcome of its own.

Files that are small share one call of the core, where they share threads and SIMD lanes; a file
that all threads are worth gets them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mlprov import _core
from mlprov.errors import Error

__all__ = ["FileOutcome", "Progress", "hash_files", "hash_one"]

FileOutcome = tuple[bytes | Exception, int]
"""What came of one file: its digest, or why there is none; and its length in bytes."""

Progress = Callable[[int, int], object]
"""Called on the calling thread, some times a second, with how many files and bytes are done."""

_BATCH = 2048  # files that are handed to the core at once: what is done is seen soon


def hash_one(
    path: bytes, algorithm: str, *, threads: int | None = None, progress: Progress | None = None
) -> FileOutcome:
    """A file, pipe or device; a FIFO is waited for."""
    try:
        (digest,), length = _core.hash_file(path, [algorithm], threads=threads, progress=progress)
    except (Error, OSError, MemoryError) as error:
        return error, 0
    return digest, length


def hash_files(
    paths: Sequence[bytes],
    algorithm: str,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Iterator[FileOutcome]:
    """Regular files: what came of each, in order, as soon as it and all before it are done.

    Args:
        paths: whatever is no regular file is refused without waiting.
        algorithm: one for all.
        threads: how many hash at once; None for the setting of :mod:`mlprov.threads`.
        progress: told of all the paths together.
    """
    files = bytes_done = 0

    def so_far(more_files: int, more_bytes: int) -> None:
        if progress is not None:
            progress(files + more_files, bytes_done + more_bytes)

    for start in range(0, len(paths), _BATCH):
        batch = paths[start : start + _BATCH]
        outcomes, lengths = _core.hash_files(batch, algorithm, threads=threads, progress=so_far)
        for path, outcome, length in zip(batch, outcomes, lengths, strict=True):
            if outcome is None:  # large
                outcome, length = hash_one(path, algorithm, threads=threads, progress=so_far)
            files += 1
            bytes_done += length
            yield outcome, length

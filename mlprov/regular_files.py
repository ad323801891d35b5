"""Regular files that have to stay the same while they are read."""

from __future__ import annotations

import contextlib
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import BinaryIO

from mlprov.verdicts import Unchecked

__all__ = ["identity", "open_regular"]


def identity(status: os.stat_result) -> tuple[int, ...]:
    """What another file, or the same one after a write, has otherwise."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


@contextlib.contextmanager
def open_regular(path: pathlib.Path) -> Iterator[BinaryIO]:
    """A regular file to read, never mapped: one that is cut short meanwhile must not be SIGBUS.

    Raises:
        Unchecked: it is something else, or changed while it was open.
        OSError: it cannot be opened.
    """
    # Without blocking: a FIFO of that name must not hang the verifier.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    before = os.fstat(descriptor)
    if not stat.S_ISREG(before.st_mode):
        os.close(descriptor)
        raise Unchecked(f"{path} is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        yield file
        if any(
            identity(after) != identity(before) for after in (os.fstat(descriptor), path.stat())
        ):
            raise Unchecked(f"{path} changed while it was read")

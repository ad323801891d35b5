"""Files that appear whole or not at all, and stay after a power loss."""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
from collections.abc import Iterator

__all__ = ["replacing", "write_whole_file"]


@contextlib.contextmanager
def replacing(path: pathlib.Path, *, mode: int = 0o666) -> Iterator[pathlib.Path]:
    """A temporary file beside ``path`` for a ``with`` block to write; then it takes its place.

    At the end of the block the file is fsynced and renamed, and its directory is fsynced. After an
    exception nothing is left of it, and ``path`` is what it was.

    Args:
        path: the file, replaced if it is there.
        mode: its permissions, less the umask, as ``open()`` gives them; whatever the writer of the
            block (which may put another file under the name) gives its own.

    Yields:
        the path to write to; it is there, and empty.

    Raises:
        OSError: it cannot be made, synced or renamed.
    """
    temporary = path.with_name(f".mlprov-{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, mode)
    try:
        try:
            # What the umask or the directory's default ACL left of it; no one may ask for the
            # umask without setting it, for all threads.
            granted = os.fstat(descriptor).st_mode & 0o7777
        finally:
            os.close(descriptor)
        yield temporary
        with temporary.open("rb+") as file:
            os.fchmod(file.fileno(), granted)
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_directory(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_whole_file(path: pathlib.Path, data: bytes, *, mode: int = 0o666) -> None:
    """Make ``path`` hold exactly ``data``; as :func:`replacing`."""
    with replacing(path, mode=mode) as temporary:
        temporary.write_bytes(data)


def _sync_directory(path: pathlib.Path) -> None:
    """Make a rename in it last."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:  # one may write in a directory without reading it
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

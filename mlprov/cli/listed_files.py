"""Which files a command line names: in order, directories walked, special files told apart.

Paths are bytes, as the system has them: they sort as other programs sort them.
"""

# pathlib would take longer to import than a small file takes to be hashed, and is slow on trees.
# ruff: noqa: PTH112, PTH116

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from typing import Final

__all__ = ["STDIN", "ListedFiles", "is_named_pipe"]

STDIN: Final = b"-"


class ListedFiles:
    """What is to be read, in order.

    Attributes:
        paths: of files; ``-`` is standard input.
        special: those among them that are not known to be regular files.
        bytes: how long all are together; None where that is only seen when they are read.
        failures: why a directory could not be read.
    """

    def __init__(self) -> None:
        self.paths: list[bytes] = []
        self.special: set[bytes] = set()
        self.bytes: int | None = 0
        self.failures: list[OSError] = []

    def add(self, path: bytes) -> None:
        """What the user named; of a directory every file, sorted by the bytes of their paths."""
        if path == STDIN or not os.path.isdir(path):
            self.add_file(path)
        else:
            self.bytes = None
            self.paths += sorted(self._walk(path))

    def add_file(self, path: bytes) -> None:
        """What is no directory; where it is missing or is one, that is said when its turn comes."""
        self.paths.append(path)
        try:
            found = None if path == STDIN else os.stat(path)
        except OSError:
            found = None
        if found is None or not stat.S_ISREG(found.st_mode):
            self.special.add(path)
        elif self.bytes is not None:
            self.bytes += found.st_size

    def _walk(self, directory: bytes) -> Iterator[bytes]:
        todo = [directory.rstrip(b"/") or b"/"]
        while todo:
            try:
                with os.scandir(todo.pop()) as entries:
                    for entry in entries:
                        if entry.is_file(follow_symlinks=False):
                            yield entry.path
                        elif entry.is_dir(follow_symlinks=False):
                            todo.append(entry.path)
                        elif not entry.is_symlink():
                            self.special.add(entry.path)
                            yield entry.path
            except OSError as error:
                error.filename = os.fsdecode(error.filename)
                self.failures.append(error)

    def runs(self) -> Iterator[Sequence[bytes]]:
        """The paths, in order: neighbours that are regular files, and each special one alone."""
        begin = 0
        if self.special:
            for index, path in enumerate(self.paths):
                if path in self.special:
                    yield self.paths[begin:index]
                    yield [path]
                    begin = index + 1
        yield self.paths[begin:]


def is_named_pipe(path: bytes) -> bool:
    """One that nobody writes to would hang the whole list; ``<(command)`` has no name.

    Raises:
        OSError: there is nothing.
    """
    if not stat.S_ISFIFO(os.stat(path).st_mode):
        return False
    try:
        return stat.S_ISFIFO(os.stat(os.path.realpath(path)).st_mode)
    except OSError:
        return False

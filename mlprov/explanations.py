"""Errors in two parts: what was attempted, seen and expected; and what to do.

The two are handed over apart and stay apart, because names within either may hold any text. The
core does the same (csrc/base/status.h): what it raises has the remedy as an attribute.
"""

from __future__ import annotations

import errno
import os

__all__ = ["Explained", "explain", "in_words"]

_SEPARATOR = "; "  # in the text of an exception, which is both parts; nobody looks for it there

# What to do about the errors of the system that a call may meet.
_REMEDIES = {
    errno.ENOENT: "check the name, and the directory that you are in",
    errno.EISDIR: "it is a directory: name a file in it",
    errno.ENOTDIR: "check the path: a part of it is a file, no directory",
    errno.EACCES: "check whose it is and who may read or write it: ls -ld",
    errno.EPERM: "check whose it is and who may read or write it: ls -ld",
    errno.EROFS: "name a place that can be written",
    errno.ENOSPC: "make room on the disk, and run it again",
    errno.EDQUOT: "make room within your quota, and run it again",
    errno.ELOOP: "the links lead in a circle: name the file itself",
    errno.ENAMETOOLONG: "name something shorter",
    errno.EMFILE: "close other programs, or raise the limit of open files: ulimit -n",
    errno.EIO: "the disk has an error: look at the system's log",
}


class Explained(Exception):  # noqa: N818 - a base; errors are called so
    """An exception that says what to do.

    Attributes:
        remedy: what to do, or "".
    """

    remedy: str = ""

    def __init__(self, what: str = "", remedy: str = "") -> None:
        super().__init__(_both(what, remedy))
        self.remedy = remedy

    @property
    def what(self) -> str:
        """What was attempted, seen and expected: the text without the remedy."""
        return explain(self)[0]


def _both(what: str, remedy: str) -> str:
    return f"{what}{_SEPARATOR}{remedy}" if remedy else what


def in_words(error: BaseException, attempt: str = "read or write") -> str:
    """Both parts of :func:`explain` as one sentence.

    >>> in_words(Explained("cannot read a", "name it")), in_words(ValueError("odd"))
    ('cannot read a; name it', 'odd')
    """
    return _both(*explain(error, attempt))


def explain(error: BaseException, attempt: str = "read or write") -> tuple[str, str]:
    """What was attempted, seen and expected; and what to do, or "".

    Args:
        error: any exception.
        attempt: what was attempted, for an error of the system that only names a file.

    >>> explain(Explained("cannot read a; b", "name it"))
    ('cannot read a; b', 'name it')
    >>> explain(FileNotFoundError(2, "No such file", "a; b"), "hash")
    ('cannot hash a; b: No such file', 'check the name, and the directory that you are in')
    """
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f" {os.fsdecode(error.filename)}"
        return f"cannot {attempt}{name}: {error.strerror}", _REMEDIES.get(error.errno or 0, "")
    remedy: str = getattr(error, "remedy", "")
    text = str(error).removesuffix(f"{_SEPARATOR}{remedy}" if remedy else "")
    return text or type(error).__name__, remedy

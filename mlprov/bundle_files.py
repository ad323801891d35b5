"""Reading the bytes of a bundle or proof file, whatever is at its path."""

from __future__ import annotations

import os
import pathlib
import stat
from typing import BinaryIO

from mlprov.archives import MAX_BYTES
from mlprov.errors import EvidenceError

__all__ = ["read_bundle_bytes", "read_bundle_from"]

_NAME_A_FILE = "name a bundle, as 'mlprov export' writes it, or a proof, as 'mlprov prove' does"


def read_bundle_bytes(path: pathlib.Path) -> bytes:
    """The bytes of a bundle or proof file.

    Raises:
        EvidenceError: not a regular file, unreadable, or above 1 GiB.
    """
    try:
        # Opening without blocking: a FIFO of that name must not hang the verifier.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise EvidenceError(f"cannot read {path}: {error.strerror}", _NAME_A_FILE) from error
    except ValueError as error:  # a NUL or a lone surrogate in the name
        raise EvidenceError(f"cannot read {str(path)!r}: {error}", _NAME_A_FILE) from error
    return read_bundle_from(descriptor, path)


def _opened(descriptor: int) -> BinaryIO:
    try:
        return os.fdopen(descriptor, "rb")
    except OSError:  # a directory
        os.close(descriptor)
        raise


def read_bundle_from(descriptor: int, path: pathlib.Path) -> bytes:
    """The bytes behind a descriptor, which is closed; ``path`` is what messages call it.

    Raises:
        EvidenceError: as :func:`read_bundle_bytes`.
    """
    try:
        with _opened(descriptor) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise EvidenceError(f"cannot read {path}: it is not a regular file", _NAME_A_FILE)
            if status.st_size > MAX_BYTES:
                raise EvidenceError(
                    f"cannot read {path}: {status.st_size} bytes, a bundle has {MAX_BYTES} at most"
                )
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise EvidenceError(f"cannot read {path}: {error.strerror}", _NAME_A_FILE) from error
    if len(data) > MAX_BYTES:
        raise EvidenceError(f"cannot read {path}: above {MAX_BYTES} bytes")
    return data

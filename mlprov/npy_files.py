"""NumPy's .npy files, in the one form that NumPy writes (docs/format.md section 10, **Data**)."""

from __future__ import annotations

import math
import pathlib
import re
import struct
from typing import Any, BinaryIO, Final

from mlprov.verdicts import Unchecked

__all__ = ["MAGIC", "read_array"]

MAGIC: Final = b"\x93NUMPY"
_MAX_HEADER: Final = 10_000  # bytes; NumPy parses no longer one
_MAX_DIMENSIONS: Final = 32  # what every NumPy has; from 2.0 on it has 64
_NUMBER: Final = r"(?:0|[1-9][0-9]{0,15})"
_TYPE: Final = (
    r"\|[biu]1|[<>][iu][248]|[<>]f[248]|[<>]c(?:8|16)|\|[SV][1-9][0-9]{0,8}|[<>]U[1-9][0-9]{0,8}"
    r"|[<>][mM]8(?:\[(?:[2-9]|[1-9][0-9]{1,8})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
)
# numpy.lib.format: a literal whose keys are sorted, padded with spaces, and a newline.
_HEADER: Final = re.compile(
    rf"\{{'descr': '({_TYPE})', 'fortran_order': (?:True|False), "
    rf"'shape': \(({_NUMBER},|{_NUMBER}(?:, {_NUMBER})+)?\), \}} *\n"
)


def read_array(file: BinaryIO, path: pathlib.Path) -> Any:
    """The array of a .npy file: a NumPy array.

    Its header is compared with the one form first: what else NumPy's parser takes (other spellings,
    Python 2's numbers) depends on its release, and no other reader knows it.

    Args:
        file: open at its beginning.
        path: what to call it.

    Raises:
        Unchecked: it is of another form, shorter or longer than its shape, or NumPy is missing.
    """
    try:
        import numpy
    except ImportError as error:
        raise Unchecked(f"{path} cannot be read: NumPy is missing; pip install numpy") from error
    _check_header(file, path, numpy.dtype)
    try:
        file.seek(0)
        array = numpy.lib.format.read_array(file, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # whatever a hostile file makes of NumPy
        raise Unchecked(f"{path} cannot be read as a .npy file: {type(error).__name__}") from error
    if file.read(1):
        raise Unchecked(f"{path} has bytes after its array")
    return array


def _check_header(file: BinaryIO, path: pathlib.Path, dtype: Any) -> None:
    start = file.read(12)
    version, form = start[6:8], "<I" if start[6:7] > b"\1" else "<H"
    width = struct.calcsize(form)
    if len(start) < 12 or version not in (b"\1\0", b"\2\0", b"\3\0"):
        raise Unchecked(f"{path} is no .npy file of a version that is known")
    (length,) = struct.unpack_from(form, start, 8)
    if length > _MAX_HEADER:
        raise Unchecked(f"{path} has a header of {length} bytes; {_MAX_HEADER} are the most")
    file.seek(8 + width)
    match = _HEADER.fullmatch(file.read(length).decode("latin-1"))
    if match is None:
        raise Unchecked(f"{path} has another header than NumPy writes for plain values")
    shape = [int(part) for part in (match[2] or "").split(",") if part]
    size = math.prod(max(part, 1) for part in shape) * dtype(match[1]).itemsize
    if len(shape) > _MAX_DIMENSIONS or size >= 2**63:
        raise Unchecked(f"{path} has a shape that no array has")

"""The bytes of a bundle's archive (docs/format.md section 8): a zip that has one form."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from mlprov.errors import EvidenceError

__all__ = ["MAGIC", "MAX_BYTES", "Archive", "entry_name_allowed", "read_archive", "write_archive"]

MAGIC = b"PK\x03\x04"
MAX_BYTES = 1 << 30
MAX_ENTRIES = 60_000

_HASH = "[0-9a-f]{64}"
_SIZE = "(?:0|[1-9][0-9]{0,15})"
_NAME = re.compile(
    rf"SPEC\.md|manifest\.(?:json|sig)|run\.jsonl|keys/(?:owner|run|log)\.vkey|heads/{_SIZE}\.note"
    rf"|log/{_SIZE}/(?:checkpoint|{_SIZE}\.proof)|trees/{_HASH}\.leaves"
    rf"|anchors/(?:states|(?:ethereum|ipfs)-{_SIZE}(?:-(?:[2-9]|[1-9][0-9]{{1,2}}))?)\.json"
)
_LOCAL_HEADER = struct.Struct("<4sHHHHHIIIHH")  # APPNOTE 4.3.7
_CENTRAL_HEADER = struct.Struct("<4sHHHHHHIIIHHHHHII")  # APPNOTE 4.3.12
_END = struct.Struct("<4sHHHHIIH")  # APPNOTE 4.3.16
_DATE = 0x0021  # 1980-01-01
_MODE = 0o100600 << 16  # a regular file of its owner's


def entry_name_allowed(name: str) -> bool:
    """Whether section 8 knows an entry of this name."""
    return _NAME.fullmatch(name) is not None


def write_archive(entries: Mapping[str, bytes]) -> bytes:
    """The one archive that holds these entries: sorted, stored, dated 1980-01-01, mode 0600.

    Raises:
        EvidenceError: above the limits of the format (1 GiB, 60,000 entries).
    """
    total = sum(len(content) for content in entries.values())
    if total > MAX_BYTES or len(entries) > MAX_ENTRIES:
        raise EvidenceError(
            f"cannot write a bundle of {len(entries)} entries and {total} bytes: the format ends "
            f"at {MAX_ENTRIES} entries and {MAX_BYTES} bytes",
            "disclose less",
        )
    parts: list[bytes] = []
    directory: list[bytes] = []
    offset = 0
    for name in sorted(entries):
        content, raw = entries[name], name.encode("ascii")
        common = (zlib.crc32(content), len(content), len(content), len(raw))
        local = _LOCAL_HEADER.pack(MAGIC, 20, 0, 0, 0, _DATE, *common, 0) + raw
        listed = (0x0314, 20, 0, 0, 0, _DATE, *common, 0, 0, 0, 0, _MODE, offset)
        directory.append(_CENTRAL_HEADER.pack(b"PK\x01\x02", *listed) + raw)
        parts += local, content
        offset += len(local) + len(content)
    size, count = sum(map(len, directory)), len(directory)
    end = _END.pack(b"PK\x05\x06", 0, 0, count, count, size, offset, 0)
    return b"".join((*parts, *directory, end))


@dataclass(frozen=True)
class Archive:
    """What could be read of an archive.

    Attributes:
        entries: name → content, of every entry before the first that could not be read.
        checksums: name → CRC-32 that the entry's header states.
        fault: why the bytes are not the canonical ones, or None where they are.
        unknown: names that section 8 does not know, in order.
    """

    entries: dict[str, bytes]
    checksums: dict[str, int]
    fault: str | None
    unknown: tuple[str, ...] = ()


def read_archive(data: bytes) -> Archive:
    """Read an archive's entries and compare it with the one that its entries make."""
    entries: dict[str, bytes] = {}
    checksums: dict[str, int] = {}
    unknown: list[str] = []
    position = 0
    while data.startswith(MAGIC, position):
        if len(entries) >= MAX_ENTRIES:
            return Archive(entries, checksums, f"more than {MAX_ENTRIES} entries")
        if position + _LOCAL_HEADER.size > len(data):
            return Archive(entries, checksums, f"cut off inside a header at byte {position}")
        fields = _LOCAL_HEADER.unpack_from(data, position)
        size, name_len, extra_len = fields[8], fields[9], fields[10]
        begin = position + _LOCAL_HEADER.size + name_len + extra_len
        raw_name = data[position + _LOCAL_HEADER.size : position + _LOCAL_HEADER.size + name_len]
        name = raw_name.decode("ascii", "backslashreplace")
        if not raw_name.isascii():
            return Archive(entries, checksums, f"the name {name:.200} is not ASCII")
        if begin + size > len(data):
            return Archive(
                entries, checksums, f"entry {name[:200]!r} is cut off: {size} bytes announced"
            )
        if name in entries:
            return Archive(entries, checksums, f"two entries are named {name[:200]!r}")
        if not entry_name_allowed(name):
            unknown.append(name)
        entries[name] = data[begin : begin + size]
        checksums[name] = fields[6]
        position = begin + size
    fault = None
    if write_archive(entries) != data:
        fault = "headers, order, checksums or trailing bytes are not those that its entries make"
    return Archive(entries, checksums, fault, tuple(unknown))

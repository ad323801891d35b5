"""The forms that evidence has, read strictly: JSON, times, versions, notes, paths (docs/format.md).

Sections 1 and 6: what keys state, and the spellings that everything signed must have.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import re
from dataclasses import dataclass
from typing import Any

from mlprov import _core, records
from mlprov.errors import EvidenceError, VerificationError
from mlprov.record_values import is_count, is_integer, shown
from mlprov.verdicts import NewerVersion

__all__ = [
    "RUN_ID",
    "Statement",
    "check_owner_name",
    "check_time",
    "check_version",
    "decode_index",
    "decode_path",
    "open_note",
    "read_head",
    "read_json",
    "read_statement",
]

RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TIME = re.compile(r"(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})\.(\d{3})Z", re.ASCII)
_MAX_PATH = 64  # hashes: a tree of 2^53 leaves has fewer
_MAX_NOTE = 65_535  # so that a note fits a log entry, whose length is a uint16
_MEMBERS = {"log_key", "log_origin", "run", "run_key", "time", "version"}


def read_json(text: bytes, what: str) -> Any:
    """A JSON text that must be in canonical form (docs/format.md section 1).

    Raises:
        EvidenceError: outside the profile, or not the JCS form of itself.
    """
    try:
        value = _core.json_decode(text)
    except EvidenceError as error:
        raise EvidenceError(f"{what} is not strict JSON: {error.what}", error.remedy) from error
    if records.canonical(value) != text:
        raise EvidenceError(f"{what} is not in canonical form (RFC 8785)")
    return value


def check_time(value: Any, what: str) -> str:
    """A time of the format's one form: a real date, UTC, milliseconds."""
    if isinstance(value, str) and (match := _TIME.fullmatch(value)):
        year, month, day, hour, minute, second, _ = (int(part) for part in match.groups())
        try:
            datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.UTC)
        except ValueError:
            pass
        else:
            return value
    raise EvidenceError(
        f"{what} has the time {shown(value)}; expected the form 2026-11-21T09:30:00.000Z"
    )


def check_version(value: Any, what: str) -> None:
    """Version 1; raises NewerVersion above it."""
    if is_integer(value) and value > 1:
        raise NewerVersion(value)
    if value != 1 or isinstance(value, bool):
        raise EvidenceError(f"{what} has version {shown(value)}; expected 1")


def check_owner_name(vkey: str) -> bytes:
    """The public key of an owner's vkey whose name is the one that the key gives."""
    name, public = _core.parse_vkey(vkey)
    expected = f"mlprov/owner/{_core.hash_bytes(public, 'sha256').hex()[:16]}"
    if name != expected:
        raise VerificationError(f"the owner key is named {name}; its public key gives {expected}")
    return public


def open_note(note: bytes, vkey: str) -> str:
    """The text of a note of mlprov's own: signed once by the named key, 65,535 bytes at most.

    Raises:
        VerificationError: the signature does not verify, or there is none by that key.
        EvidenceError: malformed, too long, or signed twice by that key.
    """
    if len(note) > _MAX_NOTE:
        raise EvidenceError(f"a note has {len(note)} bytes; {_MAX_NOTE} are the most")
    text = _core.verify_note(note, vkey)
    name, key_id, _ = vkey.split("+", 2)
    signatures = note.decode().rpartition("\n\n")[2].splitlines()
    by_key = [
        line
        for line in signatures
        if line.startswith(f"— {name} ")
        and base64.b64decode(line.rpartition(" ")[2])[:4].hex() == key_id
    ]
    if len(by_key) != 1:
        raise EvidenceError(f"a note bears {len(by_key)} signatures of {name}; expected one")
    return text


@dataclass(frozen=True)
class Statement:
    """The owner's statement, verified: which keys speak for which run."""

    run: str
    run_key: str
    log_key: str
    log_origin: str
    time: str


def read_statement(note: str, owner_vkey: str) -> Statement:
    """Verify an owner's statement and read it.

    Raises:
        VerificationError: the signature does not verify, or the names do not fit the keys.
        EvidenceError: malformed.
        NewerVersion: of a version above 1.
    """
    text = open_note(note.encode(), owner_vkey)
    kind, _, body = text.partition("\n")
    if kind != "mlprov/run-key@v1" or not body.endswith("\n") or "\n" in body[:-1]:
        raise EvidenceError(
            f"the owner's statement is of type {shown(kind)}; expected mlprov/run-key@v1 and one "
            "line"
        )
    value = read_json(body[:-1].encode(), "the owner's statement")
    if not isinstance(value, dict):
        raise EvidenceError("the owner's statement is no JSON object")
    check_version(value.get("version"), "the owner's statement")
    if set(value) != _MEMBERS:
        raise EvidenceError(
            f"the owner's statement has the members {shown(sorted(value))}; expected "
            f"{shown(sorted(_MEMBERS))}"
        )
    for member in _MEMBERS - {"version"}:
        if not isinstance(value[member], str):
            raise EvidenceError(f"the owner's statement has a {member} that is no text")
    check_time(value["time"], "the owner's statement")
    if not RUN_ID.fullmatch(value["run"]):
        raise EvidenceError(
            f"the owner's statement names the run {shown(value['run'])}, which is no UUIDv7"
        )
    expected = {"run_key": f"mlprov/run/{value['run']}", "log_key": value["log_origin"]}
    for member, name in expected.items():
        if (seen := _core.parse_vkey(value[member])[0]) != name:
            raise VerificationError(
                f"the owner's statement names a {member} called {seen}; expected {name}"
            )
    return Statement(
        value["run"], value["run_key"], value["log_key"], value["log_origin"], value["time"]
    )


def read_head(note: bytes, vkey: str) -> tuple[int, bytes]:
    """Verify a checkpoint (run head or store log) under its key: (size, root)."""
    origin, size, root = _core.parse_checkpoint(open_note(note, vkey))
    name = _core.parse_vkey(vkey)[0]
    if origin != name:
        raise VerificationError(f"the checkpoint is of {origin}; expected {name}")
    return size, root


def decode_path(value: Any, what: str) -> list[bytes]:
    """A proof's path: at most 64 base64 texts of 32 bytes each, in their one spelling."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise EvidenceError(f"{what} has a path that is no list of text")
    if len(value) > _MAX_PATH:
        raise EvidenceError(f"{what} has a path of {len(value)} hashes; {_MAX_PATH} are the most")
    hashes = []
    for item in value:
        try:
            decoded = base64.b64decode(item, validate=True)
        except (binascii.Error, ValueError) as error:
            raise EvidenceError(f"{what} has a path with text that is no base64") from error
        if len(decoded) != 32 or base64.b64encode(decoded).decode() != item:
            raise EvidenceError(f"{what} has a path with something else than base64 of 32 bytes")
        hashes.append(decoded)
    return hashes


def decode_index(value: Any, what: str) -> int:
    """A whole number from 0."""
    if not is_count(value):
        raise EvidenceError(f"{what} has the index {shown(value)}; expected a whole number from 0")
    return value

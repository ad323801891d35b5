"""Bundles with one thing wrong: a table of makers, filled by the tests of the second verifier."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from bundles_for_tests import BundleBuilder
from runs_for_tests import user

import mlprov
from mlprov import archives, keys

Maker = Callable[[BundleBuilder], bytes]
# Entries that no bundle has: ways out of a folder, other spellings, other versions.
BAD_NAMES: list[bytes] = [
    b"../evil",
    b"/etc/passwd",
    b"keys/../../evil",
    b"trees/..",
    b"keys/",
    b"keys\\owner.vkey",
    b"KEYS/owner.vkey",
    b"heads/01.note",
    b"heads/-1.note",
    b"heads/1.note\0",
    b"run.jsonl ",
    b"r\xc3\xbcn.jsonl",
    b"r\xff.jsonl",
    b"anchors/x",
    b"claims.jsonl",
    b"",
    b"n" * 65_535,
]
BAD: list[tuple[str, Maker]] = []  # the check that must fail, and how to make the bundle


def bad(check: str) -> Callable[[Maker], Maker]:
    """Register a maker of a bad bundle; its name says what is wrong."""

    def register(maker: Maker) -> Maker:
        BAD.append((check, maker))
        return maker

    return register


def bad_bundles(module: str) -> list[Any]:
    """Those that a test module registered, as parameters of a test."""
    return [
        pytest.param(check, maker, id=maker.__name__)
        for check, maker in BAD
        if maker.__module__ == module
    ]


def with_entry(builder: BundleBuilder, name: str, content: bytes) -> bytes:
    """Add an entry, or replace it."""
    return builder.seal({**builder.entries(), name: content})


def without_entry(builder: BundleBuilder, name: str) -> bytes:
    """Leave an entry out of bundle and manifest."""
    return builder.seal({key: value for key, value in builder.entries().items() if key != name})


def with_manifest(builder: BundleBuilder, **changes: Any) -> bytes:
    """Change the manifest before it is signed; ``...`` removes a member."""
    entries = builder.entries()
    manifest = builder.manifest(entries) | changes
    return builder.seal(entries, {k: value for k, value in manifest.items() if value is not ...})


def with_start(builder: BundleBuilder, **changes: Any) -> bytes:
    """Change run.start before anything is signed; ``...`` removes a member."""
    start = builder.records[0] | changes
    builder.records[0] = {k: value for k, value in start.items() if value is not ...}
    return builder.build()


def only_records(builder: BundleBuilder, content: bytes) -> bytes:
    """Replace run.jsonl alone: the heads are of the right records."""
    return with_entry(builder, "run.jsonl", content)


MANIFEST = (
    '{"format":"mlprov-bundle","open":false,"previous":null,"revision":1,"version":1}'  # and more
)


def resealed(entries: dict[str, bytes], home: Path) -> bytes:
    """The bundle with a manifest that fits the entries, signed by the user of that directory."""
    kept = {n: c for n, c in entries.items() if n not in ("manifest.json", "manifest.sig")}
    listed = {n: {"sha256": hashlib.sha256(c).hexdigest(), "size": len(c)} for n, c in kept.items()}
    manifest = json.loads(MANIFEST) | {
        "entries": listed,
        "run": json.loads(kept["run.jsonl"].split(b"\n")[0])["run"],
        "spec": hashlib.sha256(kept["SPEC.md"]).hexdigest(),
    }
    text = mlprov.records.canonical(manifest)
    with user(home):
        note = f"mlprov/manifest@v1\nsha256:{hashlib.sha256(text).hexdigest()}\n"
        signature = keys.owner_key().sign_note(note)
    return archives.write_archive({**kept, "manifest.json": text, "manifest.sig": signature})


def raw_zip(members: Sequence[tuple[bytes, bytes]], flags: int = 0) -> bytes:
    """A zip with whatever names and contents are asked for, in the format's own layout."""
    local, central = bytearray(), bytearray()
    for name, content in members:
        crc = zlib.crc32(content)
        sizes = struct.pack("<IIIH", crc, len(content), len(content), len(name))
        offset = len(local)
        local += b"PK\x03\x04\x14\x00" + struct.pack("<HHHH", flags, 0, 0, 0x21)
        local += sizes + b"\0\0" + name + content
        central += b"PK\x01\x02\x14\x03\x14\x00" + struct.pack("<HHHH", flags, 0, 0, 0x21)
        central += sizes + b"\0" * 8 + b"\x00\x00\x80\x81" + struct.pack("<I", offset) + name
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(central), len(local), 0)
    return bytes(local + central) + b"PK\x05\x06" + end

"""The second verifier on the checks ``archive``, ``manifest`` and ``signature``."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from bad_bundles_for_tests import (
    Maker,
    bad,
    bad_bundles,
    with_entry,
    with_manifest,
)
from bundles_for_tests import (
    OTHER_SEED,
    OWNER_SEED,
    RUN_ID,
    RUN_SEED,
    BundleBuilder,
    failing,
    standard_run,
    v,
    verify,
    w,
)


def test_the_archive_is_one_that_zipfile_reads() -> None:
    with zipfile.ZipFile(io.BytesIO(standard_run().build())) as archive:
        assert archive.testzip() is None
        assert archive.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)
        assert archive.infolist()[0].external_attr >> 16 == 0o100600


@bad("archive")
def one_byte_after_the_end(b: BundleBuilder) -> bytes:
    return b.build() + b"\0"


@bad("archive")
def the_last_byte_is_missing(b: BundleBuilder) -> bytes:
    return b.build()[:-1]


@bad("archive")
def a_local_header_alone(b: BundleBuilder) -> bytes:
    return b.build()[:30]


@bad("archive")
def a_local_header_that_declares_four_gigabytes(b: BundleBuilder) -> bytes:
    bundle = bytearray(b.build())
    bundle[18:26] = b"\xff" * 8
    return bytes(bundle)


@bad("archive")
def an_entry_twice(b: BundleBuilder) -> bytes:
    chunks = list(v.archive_chunks({"SPEC.md": b"one"}))
    return b"".join([*chunks[:2], *chunks])


@bad("archive")
def entries_in_another_order(b: BundleBuilder) -> bytes:
    first, second = (list(v.archive_chunks({name: b""}))[:2] for name in ("a", "b"))
    return b"".join([*second, *first, *list(v.archive_chunks({"b": b"", "a": b""}))[4:]])


@bad("archive")
def the_directory_names_another_entry(b: BundleBuilder) -> bytes:
    bundle = b.build()
    at = bundle.rindex(b"SPEC.md")
    return bundle[:at] + b"SPEC.mx" + bundle[at + 7 :]


@bad("archive")
def compressed_entries(b: BundleBuilder) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(b.entries().items()):
            archive.writestr(name, data)
    return target.getvalue()


@bad("archive")
def a_checksum_of_zip_that_is_wrong(b: BundleBuilder) -> bytes:
    bundle = bytearray(b.build())
    crc = struct.pack("<I", zlib.crc32(b.spec))
    for _ in range(2):
        bundle[bundle.index(crc)] ^= 1
    return bytes(bundle)


HOSTILE_NAMES = [
    "../SPEC.md",
    "/SPEC.md",
    "heads/../SPEC.md",
    "heads/1.note/",
    "heads/01.note",
    "heads/1.NOTE",
    "trees/x.leaves",
    "keys/other.vkey",
    "log/1/../../x",
    "claims.jsonl",
    "anchors/ots-12.ots",
    "C:\\x",
    "a\nb",
    "\x1b[2J",
    "",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_that_no_bundle_has_is_refused(name: str) -> None:
    verdict = verify(with_entry(standard_run(), name, b""))
    assert failing(verdict) == ["archive"]
    assert verdict.result == "does not hold"


@pytest.mark.parametrize("name", sorted(set(v._REQUIRED_ENTRIES) - {"manifest.json"}))
def test_a_required_entry_that_is_missing_is_refused(name: str) -> None:
    entries = {**standard_run().entries(), "manifest.json": b"{}", "manifest.sig": b"x"}
    bundle = w.write_archive({key: value for key, value in entries.items() if key != name})
    assert failing(verify(bundle)) == ["archive"]


@bad("manifest")
def an_entry_that_the_manifest_lacks(b: BundleBuilder) -> bytes:
    entries = b.entries()
    manifest = b.manifest(entries)
    del manifest["entries"]["heads/2.note"]
    return b.seal(entries, manifest)


@bad("manifest")
def a_listed_entry_that_is_not_there(b: BundleBuilder) -> bytes:
    entries = b.entries()
    manifest = b.manifest(entries)
    return b.seal({k: data for k, data in entries.items() if k != "heads/2.note"}, manifest)


@bad("manifest")
def an_entry_of_another_content(b: BundleBuilder) -> bytes:
    entries = b.entries()
    manifest = b.manifest(entries)
    return b.seal({**entries, "SPEC.md": b.spec[::-1]}, manifest)


@bad("manifest")
def a_size_that_is_wrong(b: BundleBuilder) -> bytes:
    entries = b.entries()
    manifest = b.manifest(entries)
    manifest["entries"]["SPEC.md"]["size"] += 1
    return b.seal(entries, manifest)


@bad("manifest")
def a_manifest_that_lists_itself(b: BundleBuilder) -> bytes:
    entries = b.entries()
    return b.seal(entries, b.manifest({**entries, "manifest.json": b""}))


MANIFEST_CHANGES: list[dict[str, Any]] = [
    {"format": "other"},
    {"version": 0},
    {"version": "1"},
    {"version": True},
    {"version": 1.5},
    {"version": ...},
    {"open": 0},
    {"open": ...},
    {"unknown": 1},
    {"revision": 0},
    {"revision": 2},
    {"previous": "0" * 64},
    {"revision": 2, "previous": "0" * 63},
    {"run": RUN_ID.upper()},
    {"run": "019aa5c1-5a40-4000-8000-000000000001"},
    {"spec": "0" * 64},
    {"spec": None},
    {"entries": []},
]


@pytest.mark.parametrize("changes", MANIFEST_CHANGES, ids=str)
def test_a_manifest_that_breaks_a_rule_is_refused(changes: dict[str, Any]) -> None:
    assert failing(verify(with_manifest(standard_run(), **changes))) == ["manifest"]


def test_a_later_revision_names_the_one_before() -> None:
    assert verify(standard_run(revision=2, previous="ab" * 32).build()).result == "holds"


NOT_CANONICAL: list[Callable[[bytes], bytes]] = [
    lambda text: text + b"\n",
    lambda text: b" " + text,
    lambda text: text.replace(b'"open":false', b'"open": false'),
    lambda text: text.replace(b'"version":1', b'"version":1.0'),
    lambda text: text.replace(b'"version":1', b'"version":1e0'),
    lambda text: text.replace(b'"format"', b'"\\u0066ormat"'),
    lambda text: text.replace(b'"open":false', b'"open":false,"open":false'),
    lambda text: text[:-1],
    lambda text: b"\xef\xbb\xbf" + text,
    lambda text: b"[" * 100_000,
    lambda text: b'{"a":' * 100_000,
    lambda text: b"\xff" + text,
    lambda text: b"",
]


@pytest.mark.parametrize("change", NOT_CANONICAL)
def test_a_manifest_in_another_spelling_is_refused(change: Callable[[bytes], bytes]) -> None:
    builder = standard_run()
    entries = builder.entries()
    text = change(v.canonical_json(builder.manifest(entries)))
    assert failing(verify(builder.seal(entries, text))) == ["manifest"]


def sealed_with(builder: BundleBuilder, signature: Callable[[bytes], bytes]) -> bytes:
    """A bundle with another manifest.sig."""
    entries = builder.entries()
    text = v.canonical_json(builder.manifest(entries))
    return w.write_archive(
        {**entries, "manifest.json": text, "manifest.sig": signature(builder.sign(text))}
    )


@bad("signature")
def a_signature_over_another_manifest(b: BundleBuilder) -> bytes:
    return sealed_with(b, lambda _: b.sign(b"{}"))


@bad("signature")
def a_manifest_signed_by_the_run_key(b: BundleBuilder) -> bytes:
    return sealed_with(
        b, lambda note: w.sign_note(v.parse_note(note).text, b.run_key.name, RUN_SEED)
    )


@bad("signature")
def a_signature_with_a_flipped_bit(b: BundleBuilder) -> bytes:
    return sealed_with(b, lambda note: note[:-20] + bytes([note[-20] ^ 1]) + note[-19:])


@bad("signature")
def a_note_of_another_type(b: BundleBuilder) -> bytes:
    def other(note: bytes) -> bytes:
        text = v.parse_note(note).text.replace(b"manifest@v1", b"run-key@v1")
        return w.sign_note(text, b.owner_key.name, OWNER_SEED)

    return sealed_with(b, other)


@bad("signature")
def the_owner_signs_twice(b: BundleBuilder) -> bytes:
    return sealed_with(b, lambda note: note + note[note.rindex(b"\n\n") + 2 :])


@bad("signature")
def a_vkey_whose_id_is_another(b: BundleBuilder) -> bytes:
    name, _, rest = str(b.owner_key).split("+", 2)
    return with_entry(b, "keys/owner.vkey", f"{name}+00000000+{rest}\n".encode())


@bad("signature")
def a_vkey_without_a_newline(b: BundleBuilder) -> bytes:
    return with_entry(b, "keys/owner.vkey", str(b.owner_key).encode())


@bad("signature")
def an_owner_whose_name_is_not_of_his_key(b: BundleBuilder) -> bytes:
    key = v.Key("mlprov/owner/0123456789abcdef", b.owner_key.public)
    entries = b.entries() | {"keys/owner.vkey": f"{key}\n".encode()}
    text = v.canonical_json(b.manifest(entries))
    note = w.sign_note(v.parse_note(b.sign(text)).text, key.name, OWNER_SEED)
    return w.write_archive({**entries, "manifest.json": text, "manifest.sig": note})


def test_cosignatures_after_the_owners_are_let_be() -> None:
    def cosigned(note: bytes) -> bytes:
        other = w.sign_note(v.parse_note(note).text, "witness.example", OTHER_SEED)
        return note + other[other.rindex(b"\n\n") + 2 :]

    assert verify(sealed_with(standard_run(), cosigned)).result == "holds"


@pytest.mark.parametrize(("check", "maker"), bad_bundles(__name__))
def test_a_bundle_with_one_thing_wrong_fails_the_check_for_it(check: str, maker: Maker) -> None:
    verdict = verify(maker(standard_run()))
    assert failing(verdict) == [check]
    assert verdict.result == "does not hold"

"""The second verifier on bundles: each check of docs/format.md section 10, good and bad."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles_for_tests import (
    FLOATS,
    LOG_SEED,
    OWNER_SEED,
    ROOT,
    RUN_ID,
    RUN_SEED,
    BundleBuilder,
    check_states,
    failing,
    standard_run,
    v,
)

OTHER_SEED = bytes([9]) * 32
CORE = ["archive", "manifest", "signature", "signer", "owner", "records", "heads", "log", "trees"]


def pinned(**asked: Any) -> v.Request:
    """A request that pins the key of the standard run."""
    return v.Request(keys=[BundleBuilder().owner_key], **asked)


def verify(bundle: bytes, **asked: Any) -> v.Verdict:
    return v.verify_bytes(bundle, pinned(**asked))


def test_a_whole_bundle_holds_and_only_time_is_unchecked() -> None:
    verdict = verify(standard_run().build())
    assert verdict.result == "holds"
    assert check_states(verdict) == dict.fromkeys([*CORE, "complete"], "holds") | {
        "time": "unchecked"
    }


def test_the_same_evidence_gives_the_same_bytes() -> None:
    assert standard_run().build() == standard_run().build()


@pytest.mark.parametrize("algorithm", sorted(v.DIGEST_BYTES))
def test_every_algorithm_of_the_format_is_verified(algorithm: str) -> None:
    assert verify(standard_run(algorithm=algorithm).build()).result == "holds"


def test_the_archive_is_one_that_zipfile_reads() -> None:
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(standard_run().build())) as archive:
        assert archive.testzip() is None
        assert archive.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)
        assert archive.infolist()[0].external_attr >> 16 == 0o100600


# -- bundles that must not hold: (what is wrong, the check that says so, how to make it)

Maker = Callable[[BundleBuilder], bytes]
BAD: list[tuple[str, str, Maker]] = []


def bad(check: str, *more: str) -> Callable[[Maker], Maker]:
    """Register a maker of a bad bundle; its name says what is wrong."""

    def register(maker: Maker) -> Maker:
        BAD.append((maker.__name__, check, maker))
        return maker

    assert not more
    return register


def with_entry(builder: BundleBuilder, name: str, content: bytes) -> bytes:
    return builder.seal({**builder.entries(), name: content})


def without(builder: BundleBuilder, name: str) -> bytes:
    return builder.seal({key: value for key, value in builder.entries().items() if key != name})


def with_manifest(builder: BundleBuilder, **changes: Any) -> bytes:
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
    import io
    import zipfile

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
    bundle = v.write_archive({key: value for key, value in entries.items() if key != name})
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
    return v.write_archive(
        {**entries, "manifest.json": text, "manifest.sig": signature(builder.sign(text))}
    )


@bad("signature")
def a_signature_over_another_manifest(b: BundleBuilder) -> bytes:
    return sealed_with(b, lambda _: b.sign(b"{}"))


@bad("signature")
def a_manifest_signed_by_the_run_key(b: BundleBuilder) -> bytes:
    return sealed_with(
        b, lambda note: v.sign_note(v.parse_note(note).text, b.run_key.name, RUN_SEED)
    )


@bad("signature")
def a_signature_with_a_flipped_bit(b: BundleBuilder) -> bytes:
    return sealed_with(b, lambda note: note[:-20] + bytes([note[-20] ^ 1]) + note[-19:])


@bad("signature")
def a_note_of_another_type(b: BundleBuilder) -> bytes:
    def other(note: bytes) -> bytes:
        text = v.parse_note(note).text.replace(b"manifest@v1", b"run-key@v1")
        return v.sign_note(text, b.owner_key.name, OWNER_SEED)

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
    note = v.sign_note(v.parse_note(b.sign(text)).text, key.name, OWNER_SEED)
    return v.write_archive({**entries, "manifest.json": text, "manifest.sig": note})


def test_cosignatures_after_the_owners_are_let_be() -> None:
    def cosigned(note: bytes) -> bytes:
        other = v.sign_note(v.parse_note(note).text, "witness.example", OTHER_SEED)
        return note + other[other.rindex(b"\n\n") + 2 :]

    assert verify(sealed_with(standard_run(), cosigned)).result == "holds"


# -- signer


def test_an_unpinned_signer_is_unchecked_and_the_result_is_could_not_check() -> None:
    verdict = v.verify_bytes(standard_run().build())
    assert check_states(verdict)["signer"] == "unchecked"
    assert verdict.result == "could not check"


def test_an_unpinned_signer_will_do_when_the_caller_says_so() -> None:
    request = v.Request(allow_unpinned=True)
    assert v.verify_bytes(standard_run().build(), request).result == "holds"


def test_another_signer_than_the_given_one_fails_even_when_unpinned_ones_will_do() -> None:
    for allow in (False, True):
        key = v.Key("anybody", v.public_key(OTHER_SEED))
        request = v.Request(keys=[key], allow_unpinned=allow)
        verdict = v.verify_bytes(standard_run().build(), request)
        assert failing(verdict) == ["signer"]
        assert verdict.result == "does not hold"


def test_a_whole_bundle_rebuilt_under_another_key_is_refused() -> None:
    assert failing(verify(standard_run(owner_seed=OTHER_SEED).build())) == ["signer"]


# -- owner

STATEMENT_CHANGES: list[dict[str, Any]] = [
    {"run": "019aa5c1-5a40-7000-8000-000000000002"},
    {"log_origin": "mlprov/store/another"},
    {"log_key": str(v.Key("mlprov/store/0123456789abcdef", v.public_key(OTHER_SEED)))},
    {"run_key": str(v.Key(f"mlprov/run/{RUN_ID}", v.public_key(OTHER_SEED)))},
    {"run_key": str(v.Key("mlprov/run/other", v.public_key(RUN_SEED)))},
    {"time": "2026-11-21T09:30:00Z"},
    {"time": "2026-02-30T09:30:00.000Z"},
    {"version": 0},
    {"unknown": 1},
    {"log_key": ...},
]


@pytest.mark.parametrize("changes", STATEMENT_CHANGES, ids=str)
def test_a_statement_that_does_not_bind_this_run_is_refused(changes: dict[str, Any]) -> None:
    builder = standard_run()
    verdict = verify(with_start(builder, owner=builder.statement(**changes)))
    assert failing(verdict) == ["owner"]


@bad("owner")
def a_statement_by_another_owner(b: BundleBuilder) -> bytes:
    return with_start(b, owner=BundleBuilder(owner_seed=OTHER_SEED).statement())


@bad("owner")
def an_owner_key_that_is_not_the_bundles(b: BundleBuilder) -> bytes:
    other = BundleBuilder(owner_seed=OTHER_SEED)
    return with_start(b, owner=other.statement(), owner_key=str(other.owner_key))


@bad("owner")
def a_start_without_statement(b: BundleBuilder) -> bytes:
    return with_start(b, owner=...)


@bad("owner")
def a_statement_that_is_a_manifest_signature(b: BundleBuilder) -> bytes:
    return with_start(b, owner=b.sign(b"{}").decode())


@bad("owner")
def another_run_key_in_keys(b: BundleBuilder) -> bytes:
    key = v.Key(b.run_key.name, v.public_key(OTHER_SEED))
    return with_entry(b, "keys/run.vkey", f"{key}\n".encode())


@bad("owner")
def another_run_in_the_manifest(b: BundleBuilder) -> bytes:
    return with_manifest(b, run="019aa5c1-5a40-7000-8000-000000000002")


# -- records


def test_no_records_at_all_fail() -> None:
    assert failing(verify(only_records(standard_run(), b""))) == ["owner", "records"]


@bad("records")
def a_last_record_without_newline(b: BundleBuilder) -> bytes:
    return only_records(b, b.entries()["run.jsonl"][:-1])


@bad("records")
def a_record_with_white_space(b: BundleBuilder) -> bytes:
    return only_records(b, b.entries()["run.jsonl"].replace(b'"seq":3', b'"seq": 3'))


@bad("records")
def a_record_that_is_a_list(b: BundleBuilder) -> bytes:
    return only_records(b, b.entries()["run.jsonl"] + b"[]\n")


@bad("records")
def an_empty_line(b: BundleBuilder) -> bytes:
    return only_records(b, b.entries()["run.jsonl"] + b"\n")


@bad("records")
def a_missing_seq(b: BundleBuilder) -> bytes:
    del b.records[3]["seq"]
    return b.build()


@bad("records")
def two_records_swapped(b: BundleBuilder) -> bytes:
    b.records[2], b.records[3] = b.records[3], b.records[2]
    return b.build()


@bad("records")
def a_record_left_out(b: BundleBuilder) -> bytes:
    del b.records[3]
    return b.build()


@bad("records")
def the_same_time_twice(b: BundleBuilder) -> bytes:
    b.records[3]["time"] = b.records[2]["time"]
    return b.build()


@bad("records")
def a_time_in_another_form(b: BundleBuilder) -> bytes:
    b.records[3]["time"] = "2026-11-21T09:30:03.000+00:00"
    return b.build()


@bad("records")
def a_type_that_is_no_text(b: BundleBuilder) -> bytes:
    b.records[3]["type"] = 3
    return b.build()


@bad("records")
def a_second_start(b: BundleBuilder) -> bytes:
    b.records[3]["type"] = "run.start"
    return b.build()


@bad("records")
def a_record_after_the_end(b: BundleBuilder) -> bytes:
    b.add("metrics", step=1, metrics={})
    return b.build()


@bad("records")
def an_unknown_algorithm(b: BundleBuilder) -> bytes:
    return with_start(b, algorithm="md5")


@bad("records")
def a_start_of_version_zero(b: BundleBuilder) -> bytes:
    return with_start(b, version=0)


@bad("records")
def an_integer_beyond_binary64(b: BundleBuilder) -> bytes:
    text = b.entries()["run.jsonl"].replace(b'"count":3', b'"count":9007199254740993')
    return only_records(b, text)


def test_unknown_types_and_members_are_let_be() -> None:
    builder = standard_run()
    builder.records[4]["novelty"] = {"deep": [1, 2.5, None]}
    builder.records[-1]["type"] = "something.new"
    verdict = verify(builder.build())
    assert verdict.result == "holds"
    assert check_states(verdict)["complete"] == "unchecked"


# -- heads


@bad("heads")
def no_heads(b: BundleBuilder) -> bytes:
    names = [name for name in b.entries() if not name.startswith("heads/")]
    return b.seal({name: b.entries()[name] for name in names})


@bad("heads")
def a_head_of_other_records(b: BundleBuilder) -> bytes:
    return with_entry(b, "heads/4.note", b.head(4, v.merkle_root(b.lines()[1:5])))


@bad("heads")
def a_head_under_the_name_of_another_size(b: BundleBuilder) -> bytes:
    return with_entry(b, "heads/4.note", b.entries()["heads/5.note"])


@bad("heads")
def a_head_beyond_the_records(b: BundleBuilder) -> bytes:
    return with_entry(b, "heads/10.note", b.head(10, v.merkle_root([*b.lines(), b"x"])))


@bad("heads")
def a_head_of_nothing(b: BundleBuilder) -> bytes:
    return with_entry(b, "heads/0.note", b.head(0, v.EMPTY_ROOT))


@bad("heads")
def a_head_signed_by_another_key(b: BundleBuilder) -> bytes:
    text = v.parse_note(b.entries()["heads/4.note"]).text
    return with_entry(b, "heads/4.note", v.sign_note(text, b.run_key.name, OTHER_SEED))


@bad("heads")
def a_head_with_an_extension_line(b: BundleBuilder) -> bytes:
    text = v.parse_note(b.entries()["heads/4.note"]).text + b"more\n"
    return with_entry(b, "heads/4.note", v.sign_note(text, b.run_key.name, RUN_SEED))


@bad("heads")
def a_head_of_another_origin(b: BundleBuilder) -> bytes:
    text = v.checkpoint_text("mlprov/run/other", 4, v.merkle_root(b.lines()[:4]))
    return with_entry(b, "heads/4.note", v.sign_note(text, b.run_key.name, RUN_SEED))


@bad("heads")
def records_that_no_head_covers(b: BundleBuilder) -> bytes:
    b.head_sizes = [1, 5]
    return b.build()


@bad("heads")
def records_of_an_open_bundle_that_no_head_covers(b: BundleBuilder) -> bytes:
    b.open, b.head_sizes = True, [1, 5]
    return b.build()


def cosigned_by(builder: BundleBuilder, name: str) -> bytes:
    """A bundle one of whose heads has a signature line of another name."""
    note = builder.entries()["heads/4.note"]
    line = f"— {name} AAAAAAAA\n".encode()
    return with_entry(builder, "heads/4.note", note + line)


@bad("heads")
def a_cosigner_with_a_control_character_of_c1(b: BundleBuilder) -> bytes:
    return cosigned_by(b, "witness\x9b")


@bad("heads")
def a_cosigner_whose_name_has_256_bytes(b: BundleBuilder) -> bytes:
    return cosigned_by(b, "ü" * 128)


@bad("heads")
def a_head_with_a_control_character(b: BundleBuilder) -> bytes:
    note = b.entries()["heads/4.note"]
    return with_entry(b, "heads/4.note", b"\x07" + note)


@bad("heads")
def a_note_above_the_limit(b: BundleBuilder) -> bytes:
    note = b.entries()["heads/4.note"]
    line = note[note.rindex(b"\n\n") + 2 :].replace(b"mlprov/run", b"x" * 60_000)
    return with_entry(b, "heads/4.note", note + line * 2)


# -- log


def log_name(builder: BundleBuilder, tail: str) -> str:
    return f"log/{len(builder.log())}/{tail}"


@bad("log")
def no_log(b: BundleBuilder) -> bytes:
    return b.seal({k: data for k, data in b.entries().items() if not k.startswith("log/")})


@bad("log")
def a_head_without_proof(b: BundleBuilder) -> bytes:
    return without(b, log_name(b, "4.proof"))


@bad("log")
def a_proof_without_head(b: BundleBuilder) -> bytes:
    return without(b, "heads/4.note")


@bad("log")
def no_checkpoint(b: BundleBuilder) -> bytes:
    return without(b, log_name(b, "checkpoint"))


@bad("log")
def two_logs(b: BundleBuilder) -> bytes:
    return with_entry(b, "log/1/checkpoint", b.log_checkpoint())


@bad("log")
def a_checkpoint_under_another_key(b: BundleBuilder) -> bytes:
    text = v.parse_note(b.log_checkpoint()).text
    return with_entry(b, log_name(b, "checkpoint"), v.sign_note(text, b.origin, OTHER_SEED))


@bad("log")
def a_checkpoint_of_another_size(b: BundleBuilder) -> bytes:
    text = v.checkpoint_text(b.origin, len(b.log()) + 1, v.merkle_root(b.log()))
    return with_entry(b, log_name(b, "checkpoint"), v.sign_note(text, b.origin, LOG_SEED))


@bad("log")
def the_proof_of_another_head(b: BundleBuilder) -> bytes:
    return with_entry(b, log_name(b, "4.proof"), b.entries()[log_name(b, "5.proof")])


@bad("log")
def a_log_folder_without_a_single_proof(b: BundleBuilder) -> bytes:
    return b.seal({k: data for k, data in b.entries().items() if not k.endswith(".proof")})


@bad("log")
def a_log_folder_of_an_open_bundle_without_a_single_proof(b: BundleBuilder) -> bytes:
    b.open = True
    return a_log_folder_without_a_single_proof(b)


@bad("log")
def a_larger_head_that_is_earlier_in_the_log(b: BundleBuilder) -> bytes:
    heads = b.heads()
    log = [*b.log_before, heads[2], heads[1], *list(heads.values())[2:]]
    entries = {k: data for k, data in b.entries().items() if not k.startswith("log/")}
    text = v.checkpoint_text(b.origin, len(log), v.merkle_root(log))
    entries[f"log/{len(log)}/checkpoint"] = v.sign_note(text, b.origin, LOG_SEED)
    for size, head in heads.items():
        entries[f"log/{len(log)}/{size}.proof"] = v.canonical_json(b.proof_in(log, head))
    return b.seal(entries)


def changed_proof(builder: BundleBuilder, change: Callable[[dict[str, Any]], None]) -> bytes:
    proof: dict[str, Any] = json.loads(builder.entries()[log_name(builder, "4.proof")])
    change(proof)
    return with_entry(builder, log_name(builder, "4.proof"), v.canonical_json(proof))


PROOF_CHANGES: list[Callable[[dict[str, Any]], Any]] = [
    lambda p: p.update(index=p["index"] + 1),
    lambda p: p.update(index=-1),
    lambda p: p.update(index=10**6),
    lambda p: p.update(index="4"),
    lambda p: p.update(path=p["path"][:-1]),
    lambda p: p.update(path=[*p["path"], p["path"][0]]),
    lambda p: p.update(path=p["path"][::-1]),
    lambda p: p.update(path=[]),
    lambda p: p.update(path=["AAAA"]),
    lambda p: p.update(path=[None]),
    lambda p: p.update(path=None),
    lambda p: p["path"].__setitem__(0, p["path"][0].rstrip("=")),
    lambda p: p["path"].__setitem__(0, p["path"][0][:-2] + "B="),
    lambda p: p.update(size=12),
    lambda p: p.pop("index"),
]


@pytest.mark.parametrize("number", range(len(PROOF_CHANGES)))
def test_a_log_proof_that_is_not_exact_is_refused(number: int) -> None:
    assert failing(verify(changed_proof(standard_run(), PROOF_CHANGES[number]))) == ["log"]


# -- trees


def first_tree(builder: BundleBuilder) -> str:
    return "trees/" + builder.records[4]["weights"]["root"].removeprefix("sha256:") + ".leaves"


@bad("trees")
def a_leaves_file_under_another_root(b: BundleBuilder) -> bytes:
    return with_entry(b, f"trees/{'0' * 64}.leaves", b.entries()[first_tree(b)])


@bad("trees")
def a_checksum_of_a_leaf_that_is_wrong(b: BundleBuilder) -> bytes:
    data = bytearray(b.entries()[first_tree(b)])
    data[-1] ^= 1
    return with_entry(b, first_tree(b), bytes(data))


@bad("trees")
def a_leaves_file_cut_short(b: BundleBuilder) -> bytes:
    return with_entry(b, first_tree(b), b.entries()[first_tree(b)][:-3])


@bad("trees")
def a_leaf_that_declares_four_gigabytes(b: BundleBuilder) -> bytes:
    return with_entry(b, first_tree(b), b"\xff\xff\xff\xff" + b.entries()[first_tree(b)])


@bad("trees")
def a_leaf_left_out(b: BundleBuilder) -> bytes:
    leaves = list(v.read_leaves(b.entries()[first_tree(b)]))
    return with_entry(b, first_tree(b), v.write_leaves(leaves[:-1]))


@bad("trees")
def the_last_leaf_twice(b: BundleBuilder) -> bytes:
    leaves = list(v.read_leaves(b.entries()[first_tree(b)]))
    return with_entry(b, first_tree(b), v.write_leaves([*leaves, leaves[-1]]))


@bad("trees")
def a_tree_that_no_record_cites(b: BundleBuilder) -> bytes:
    b.tree([{"name": "stray", "value": 1}])
    return b.build()


@bad("trees")
def a_tree_cited_with_another_size(b: BundleBuilder) -> bytes:
    b.records[4]["weights"]["size"] = 6
    return b.build()


@bad("trees")
def leaves_out_of_order(b: BundleBuilder) -> bytes:
    b.retree(4, "weights", [{"name": "b"}, {"name": "a"}])
    return b.build()


@bad("trees")
def a_name_twice_in_a_tree(b: BundleBuilder) -> bytes:
    b.retree(4, "weights", [{"name": "a"}, {"name": "a", "value": 1}])
    return b.build()


@bad("trees")
def leaves_with_and_without_name(b: BundleBuilder) -> bytes:
    b.retree(4, "weights", [{"name": "a"}, {"value": 1}])
    return b.build()


@bad("trees")
def a_leaf_that_is_not_canonical(b: BundleBuilder) -> bytes:
    b.retree(4, "weights", [b'{"name": "a"}'])
    return b.build()


@bad("trees")
def a_leaf_of_deep_brackets(b: BundleBuilder) -> bytes:
    b.retree(4, "weights", [b"[" * 100_000])
    return b.build()


@bad("trees")
def sorted_digests_that_are_not_sorted(b: BundleBuilder) -> bytes:
    raw = b.trees[b.records[1]["sorted"]["root"].removeprefix("sha256:")]
    b.retree(1, "sorted", raw[::-1])
    return b.build()


@bad("trees")
def sorted_digests_of_another_length(b: BundleBuilder) -> bytes:
    b.retree(1, "sorted", [b"short"])
    return b.build()


def test_a_tree_cited_as_sorted_with_another_size_is_an_ordinary_tree() -> None:
    builder = standard_run()
    tree = builder.records[4]["weights"]
    builder.records[2]["sorted"] = tree | {"size": tree["size"] + 1}
    assert verify(builder.build()).result == "holds"


def test_what_is_no_tree_reference_cites_nothing() -> None:
    builder = standard_run()
    builder.records[2]["sorted"] = {"root": "x", "size": 3}
    assert verify(builder.build()).result == "holds"
    builder.records[4]["weights"]["size"] = True
    assert failing(verify(builder.build())) == ["trees"]


def test_the_empty_tree_may_be_disclosed() -> None:
    builder = standard_run()
    builder.records[5]["buffers"] = builder.tree([])
    assert verify(builder.build()).result == "holds"


def test_sorted_digests_may_repeat() -> None:
    builder = standard_run()
    builder.retree(1, "sorted", [bytes(32), bytes(32)])
    assert verify(builder.build()).result == "holds"


@pytest.mark.parametrize(("name", "check", "maker"), BAD, ids=[name for name, _, _ in BAD])
def test_a_bundle_with_one_thing_wrong_fails_the_check_for_it(
    name: str, check: str, maker: Maker
) -> None:
    verdict = verify(maker(standard_run()))
    assert failing(verdict) == [check]
    assert verdict.result == "does not hold"


def test_every_check_down_to_trees_has_bad_bundles() -> None:
    assert {check for _, check, _ in BAD} | {"signer"} == set(CORE)


def test_what_needs_a_failed_check_is_unchecked() -> None:
    states = check_states(verify(standard_run().build()[:-1]))
    assert states.pop("archive") == "fails"
    assert set(states.values()) == {"unchecked"}


# -- versions


def test_a_manifest_of_a_later_version_cannot_be_checked() -> None:
    bundle = with_manifest(standard_run(), version=2, novelty=True)
    for request in (pinned(), v.Request(allow_unpinned=True)):
        verdict = v.verify_bytes(bundle, request)
        assert verdict.result == "could not check"
        assert set(check_states(verdict).values()) == {"holds", "unchecked"}
        assert check_states(verdict)["signature"] == "unchecked"


@pytest.mark.parametrize("name", ["anchors/x", "../x", "tiles"])
def test_the_names_in_a_bundle_of_a_later_version_are_not_judged(name: str) -> None:
    builder = standard_run()
    entries = builder.entries() | {name: b"new"}
    del entries["keys/log.vkey"]
    bundle = builder.seal(entries, builder.manifest(entries) | {"version": 2})
    verdict = verify(bundle)
    assert (verdict.result, failing(verdict)) == ("could not check", [])
    assert check_states(verdict)["archive"] == "holds"


@pytest.mark.parametrize("changes", [{"version": True}, {"version": 2, "format": "x"}], ids=str)
def test_names_are_judged_where_the_later_version_is_none(changes: dict[str, Any]) -> None:
    builder = standard_run()
    entries = builder.entries() | {"anchors/x": b"new"}
    bundle = builder.seal(entries, builder.manifest(entries) | changes)
    assert failing(verify(bundle)) == ["archive"]


def test_a_statement_and_a_start_of_a_later_version_cannot_be_checked() -> None:
    builder = standard_run()
    statement = with_start(builder, owner=builder.statement(version=2))
    start = with_start(standard_run(), version=2)
    for bundle, check in ((statement, "owner"), (start, "records")):
        verdict = verify(bundle)
        assert verdict.result == "could not check"
        assert check_states(verdict)[check] == "unchecked"


# -- open bundles and complete runs


def open_run(missing: list[int]) -> bytes:
    builder = standard_run(open=True)
    del builder.records[-1]
    entries = builder.entries()
    for size in missing:
        del entries[log_name(builder, f"{size}.proof")]
    return builder.seal(entries)


def test_an_open_bundle_may_lack_the_proofs_of_its_newest_heads() -> None:
    for missing, state in (([], "holds"), ([8], "unchecked"), ([7, 8], "unchecked")):
        verdict = verify(open_run(missing))
        assert verdict.result == "holds"
        assert check_states(verdict)["log"] == state
        assert check_states(verdict)["complete"] == "unchecked"


def test_an_open_bundle_may_not_lack_the_proof_of_an_older_head() -> None:
    assert failing(verify(open_run([7]))) == ["log"]


def test_an_open_bundle_whose_heads_are_in_no_log_has_no_log_folder() -> None:
    builder = standard_run(open=True)
    entries = {k: data for k, data in builder.entries().items() if not k.startswith("log/")}
    verdict = verify(builder.seal(entries))
    assert (verdict.result, check_states(verdict)["log"]) == ("holds", "unchecked")


def test_the_largest_head_alone_covers_an_open_bundle() -> None:
    assert verify(standard_run(open=True, head_sizes=[9]).build()).result == "holds"


def completeness(builder: BundleBuilder) -> str:
    """The state of ``complete`` in a bundle of which all else holds."""
    verdict = verify(builder.build())
    assert verdict.result == "holds"
    return check_states(verdict)["complete"]


END_CHANGES: list[dict[str, Any]] = [
    {"status": "killed"},
    {"gaps": 1},
    {"gaps": None},
    {"gaps": False},
    {"epochs": 1},
    {"epochs": 3},
    {"epochs": "2"},
    {"epochs": None},
    {"batches": 3},
    {"batches": 5},
    {"batches": None},
]


@pytest.mark.parametrize("change", END_CHANGES, ids=str)
def test_a_run_whose_end_says_something_else_is_not_complete(change: dict[str, Any]) -> None:
    builder = standard_run()
    builder.records[-1].update(change)
    assert completeness(builder) == "unchecked"


EPOCH_CHANGES: list[dict[str, Any]] = [
    {"epoch": 0},
    {"epoch": -1},
    {"epoch": True},
    {"epoch": "1"},
    {"epoch": None},
    {"streams": {"batches": 2}},
    {"streams": 2},
    {"streams": [2]},
    {"streams": [{"batches": "2"}]},
    {"streams": [{"batches": -2}, {"batches": 4}]},
    {"streams": [{"batches": True}, {"batches": 1}]},
    {"streams": []},
    {"streams": None},
]


@pytest.mark.parametrize("change", EPOCH_CHANGES, ids=str)
def test_epochs_that_do_not_ascend_or_add_up_are_not_complete(change: dict[str, Any]) -> None:
    builder = standard_run()
    tree = builder.records[6]["streams"][0]["tree"]
    builder.records[6].update(change)
    builder.records[6]["tree_of_batches"] = tree  # so that its leaves are still cited
    assert completeness(builder) == "unchecked"


def test_epochs_may_begin_anywhere_and_leave_numbers_out() -> None:
    builder = standard_run()
    for record, epoch in ((5, -3), (6, 12)):
        builder.records[record]["epoch"] = epoch
    assert completeness(builder) == "holds"


def test_batches_outside_an_epoch_count_too() -> None:
    builder = standard_run()
    end = builder.records.pop()
    builder.add("batches", streams=[{"batches": 3}, {"batches": 4}])
    builder.add("something.new", streams=[{"batches": 100}])
    builder.end(epochs=2, batches=4)
    assert completeness(builder) == "unchecked"
    builder.records[-1]["batches"] = end["batches"] + 7
    assert completeness(builder) == "holds"


def test_a_run_with_a_gap_record_is_not_complete() -> None:
    builder = standard_run()
    builder.records[-2]["type"] = "gap"
    assert check_states(verify(builder.build()))["complete"] == "unchecked"


# -- hostile input, whatever it is


def test_files_that_are_neither_bundle_nor_proof_cannot_be_checked(tmp_path: Path) -> None:
    for content in (b"", b"P", b"PK\x05\x06" + bytes(18), b"\x80\x04.", b"[" * 100_000):
        path = tmp_path / "file"
        path.write_bytes(content)
        assert v.verify_file(path).result == "could not check"
    assert v.verify_file(tmp_path / "absent").result == "could not check"
    assert v.verify_file(tmp_path).result == "could not check"


def test_a_bundle_above_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = standard_run().build()
    monkeypatch.setattr(v, "MAX_BUNDLE", len(bundle) - 1)
    verdict = v.BundleVerifier(bundle, pinned()).verify()
    assert failing(verdict) == ["archive"]
    assert verdict.checks[0].detail == "bundle is too large"


def test_too_many_entries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(v, "MAX_ENTRIES", 10)
    verdict = v.BundleVerifier(standard_run().build(), pinned()).verify()
    assert failing(verdict) == ["archive"]


def mutations(original: bytes, count: int) -> list[bytes]:
    """Single-byte changes all over the file, and structural ones."""
    chance = random.Random(3)
    changed = []
    step = max(1, len(original) // count)
    for number in range(count):
        at = min(number * step + chance.randrange(step), len(original) - 1)
        kind = chance.randrange(6)
        if kind <= 2:
            new = original[at] ^ chance.choice([1, 0x20, 0x80, chance.randrange(1, 256)])
            changed.append(original[:at] + bytes([new]) + original[at + 1 :])
        elif kind == 3:
            changed.append(original[:at] + original[at + chance.randrange(1, 9) :])
        elif kind == 4:
            changed.append(original[:at] + original[at : at + 7] + original[at:])
        else:
            changed.append(original[:at])
    return [bundle for bundle in changed if bundle != original]


def test_no_mutation_of_a_bundle_holds_and_none_crashes() -> None:
    request = v.Request(allow_unpinned=True)
    changed = mutations(standard_run().build(), 500)
    assert len(changed) > 490
    for number, bundle in enumerate(changed):
        verdict = v.verify_bytes(bundle, request)
        assert verdict.result != "holds", number


def test_no_mutation_of_an_entry_holds_even_where_the_archive_is_made_anew() -> None:
    """Changes that reach past the archive and the manifest: all is signed again but the entry."""
    builder = standard_run()
    entries = builder.entries()
    chance = random.Random(4)
    names = sorted(set(entries) - {"SPEC.md"})
    request = v.Request(keys=[builder.owner_key])
    for number in range(200):
        name = names[number % len(names)]
        changed = bytearray(entries[name])
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        bundle = builder.seal({**entries, name: bytes(changed)})
        assert v.verify_bytes(bundle, request).result != "holds", (number, name)


# -- the command line


def run_verifier(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "verifier" / "mlprov_verify.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    path = tmp_path / "digits.mlprov"
    path.write_bytes(standard_run().build())
    return path


def test_the_exit_code_says_what_the_result_is(bundle_path: Path, tmp_path: Path) -> None:
    key_file = tmp_path / "owner.vkey"
    key_file.write_text(f"{BundleBuilder().owner_key}\n")
    assert run_verifier(bundle_path, "--key", key_file).returncode == 0
    assert run_verifier(bundle_path, "--key", str(BundleBuilder().owner_key)).returncode == 0
    assert run_verifier(bundle_path).returncode == 2
    assert run_verifier(bundle_path, "--allow-unpinned").returncode == 0
    other = str(v.Key("other", v.public_key(OTHER_SEED)))
    assert run_verifier(bundle_path, "--key", other).returncode == 1
    assert run_verifier(tmp_path / "absent").returncode == 2


def test_the_output_has_a_line_for_each_check(bundle_path: Path) -> None:
    lines = run_verifier(bundle_path, "--allow-unpinned").stdout.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == [*CORE, "complete", "time"]
    assert lines[-1] == "result: holds"


def test_details_say_what_a_check_does_not_prove() -> None:
    details = {check.name: check.detail for check in verify(standard_run().build()).checks}
    assert "the owner's own log" in details["log"]
    assert "no time" in details["log"]
    assert "2 epochs, 4 batches" in details["complete"]
    assert "never recorded" in details["complete"]


def test_the_json_output_is_one_object_with_every_check(bundle_path: Path) -> None:
    report = json.loads(run_verifier(bundle_path, "--json").stdout)
    assert report["result"] == "could not check"
    assert [check["name"] for check in report["checks"]] == [*CORE, "complete", "time"]
    assert set(report["checks"][0]) == {"name", "state", "seen", "expected", "detail"}


def test_quiet_prints_nothing(bundle_path: Path) -> None:
    done = run_verifier(bundle_path, "-q", "--allow-unpinned")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@pytest.mark.parametrize(
    "arguments",
    [["--key", "no+such+key"], ["--key", "/absent"], ["--data", "train"], ["--data", "=x"]],
)
def test_wrong_use_is_a_line_and_exit_code_two(bundle_path: Path, arguments: list[str]) -> None:
    done = run_verifier(bundle_path, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("mlprov_verify: ")
    assert len(done.stderr.splitlines()) == 1


def test_names_with_escapes_and_bidi_reach_no_terminal(bundle_path: Path) -> None:
    builder = standard_run()
    evil = "\x1b[2J\u202egnp.\u2066\x07\x9b"
    builder.records[-3]["weights"] = builder.named({evil: (FLOATS, "F32", [4])})
    bundle_path.write_bytes(builder.build())
    arguments = ["--allow-unpinned", "--tensor", evil, "--tensor", evil + "x"]
    for more in ([], ["--json"]):
        shown = run_verifier(bundle_path, *arguments, *more).stdout
        assert not set(shown) & set(evil[0] + "\u202e\u2066\x07\x9b")


def test_the_verifier_imports_nothing_of_mlprov_and_opens_no_socket() -> None:
    text = (ROOT / "verifier" / "mlprov_verify.py").read_text()
    modules = {line.split()[1].split(".")[0] for line in text.splitlines() if is_import(line)}
    allowed = set(sys.stdlib_module_names) | {"blake3", "cryptography"}
    forbidden = {"socket", "pickle", "mmap", "subprocess", "urllib", "http", "zipfile"}
    assert modules <= allowed - forbidden


def is_import(line: str) -> bool:
    return line.strip().startswith(("import ", "from "))

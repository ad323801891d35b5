"""The second verifier on the checks ``owner``, ``records`` and ``heads``."""

from __future__ import annotations

from typing import Any

import pytest
from bad_bundles_for_tests import (
    Maker,
    bad,
    bad_bundles,
    only_records,
    with_entry,
    with_manifest,
    with_start,
)
from bundles_for_tests import (
    OTHER_SEED,
    RUN_ID,
    RUN_SEED,
    BundleBuilder,
    check_states,
    failing,
    standard_run,
    v,
    verify,
    w,
)

# -- owner

STATEMENT_CHANGES: list[dict[str, Any]] = [
    {"run": "019aa5c1-5a40-7000-8000-000000000002"},
    {"log_origin": "mlprov/store/another"},
    {"log_key": str(v.Key("mlprov/store/0123456789abcdef", w.public_key(OTHER_SEED)))},
    {"run_key": str(v.Key(f"mlprov/run/{RUN_ID}", w.public_key(OTHER_SEED)))},
    {"run_key": str(v.Key("mlprov/run/other", w.public_key(RUN_SEED)))},
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
    key = v.Key(b.run_key.name, w.public_key(OTHER_SEED))
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
    return with_entry(b, "heads/4.note", w.sign_note(text, b.run_key.name, OTHER_SEED))


@bad("heads")
def a_head_with_an_extension_line(b: BundleBuilder) -> bytes:
    text = v.parse_note(b.entries()["heads/4.note"]).text + b"more\n"
    return with_entry(b, "heads/4.note", w.sign_note(text, b.run_key.name, RUN_SEED))


@bad("heads")
def a_head_of_another_origin(b: BundleBuilder) -> bytes:
    text = w.checkpoint_text("mlprov/run/other", 4, v.merkle_root(b.lines()[:4]))
    return with_entry(b, "heads/4.note", w.sign_note(text, b.run_key.name, RUN_SEED))


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


@pytest.mark.parametrize(("check", "maker"), bad_bundles(__name__))
def test_a_bundle_with_one_thing_wrong_fails_the_check_for_it(check: str, maker: Maker) -> None:
    verdict = verify(maker(standard_run()))
    assert failing(verdict) == [check]
    assert verdict.result == "does not hold"

"""The second verifier on the check ``log``, of finished runs and of open ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from bad_bundles_for_tests import (
    Maker,
    bad,
    bad_bundles,
    with_entry,
    without_entry,
)
from bundles_for_tests import (
    LOG_SEED,
    OTHER_SEED,
    BundleBuilder,
    check_states,
    failing,
    standard_run,
    v,
    verify,
    w,
)


def log_name(builder: BundleBuilder, tail: str) -> str:
    return f"log/{len(builder.log())}/{tail}"


@bad("log")
def no_log(b: BundleBuilder) -> bytes:
    return b.seal({k: data for k, data in b.entries().items() if not k.startswith("log/")})


@bad("log")
def a_head_without_proof(b: BundleBuilder) -> bytes:
    return without_entry(b, log_name(b, "4.proof"))


@bad("log")
def a_proof_without_head(b: BundleBuilder) -> bytes:
    return without_entry(b, "heads/4.note")


@bad("log")
def no_checkpoint(b: BundleBuilder) -> bytes:
    return without_entry(b, log_name(b, "checkpoint"))


@bad("log")
def two_logs(b: BundleBuilder) -> bytes:
    return with_entry(b, "log/1/checkpoint", b.log_checkpoint())


@bad("log")
def a_checkpoint_under_another_key(b: BundleBuilder) -> bytes:
    text = v.parse_note(b.log_checkpoint()).text
    return with_entry(b, log_name(b, "checkpoint"), w.sign_note(text, b.origin, OTHER_SEED))


@bad("log")
def a_checkpoint_of_another_size(b: BundleBuilder) -> bytes:
    text = w.checkpoint_text(b.origin, len(b.log()) + 1, v.merkle_root(b.log()))
    return with_entry(b, log_name(b, "checkpoint"), w.sign_note(text, b.origin, LOG_SEED))


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
    text = w.checkpoint_text(b.origin, len(log), v.merkle_root(log))
    entries[f"log/{len(log)}/checkpoint"] = w.sign_note(text, b.origin, LOG_SEED)
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


# -- open bundles


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


@pytest.mark.parametrize(("check", "maker"), bad_bundles(__name__))
def test_a_bundle_with_one_thing_wrong_fails_the_check_for_it(check: str, maker: Maker) -> None:
    verdict = verify(maker(standard_run()))
    assert failing(verdict) == [check]
    assert verdict.result == "does not hold"

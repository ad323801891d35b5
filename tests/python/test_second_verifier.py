"""The second verifier on whole bundles: signers, versions and hostile input."""

from __future__ import annotations

import importlib
import random
from pathlib import Path
from typing import Any

import pytest
from bad_bundles_for_tests import (
    BAD,
    with_manifest,
    with_start,
)
from bundles_for_tests import (
    CORE,
    OTHER_SEED,
    check_states,
    failing,
    pinned,
    standard_run,
    v,
    verify,
    w,
)


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
        key = v.Key("anybody", w.public_key(OTHER_SEED))
        request = v.Request(keys=[key], allow_unpinned=allow)
        verdict = v.verify_bytes(standard_run().build(), request)
        assert failing(verdict) == ["signer"]
        assert verdict.result == "does not hold"


def test_a_whole_bundle_rebuilt_under_another_key_is_refused() -> None:
    assert failing(verify(standard_run(owner_seed=OTHER_SEED).build())) == ["signer"]


# -- what the checks have to do with one another


def test_every_check_down_to_trees_has_bad_bundles() -> None:
    for part in ("archive", "run_log", "store_log", "trees"):  # each registers its own
        importlib.import_module(f"test_second_verifier_{part}")
    assert {check for check, _ in BAD} | {"signer"} == set(CORE)


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

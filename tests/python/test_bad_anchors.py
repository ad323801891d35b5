"""Anchors that are wrong in a bundle that their owner signed: both verifiers say what is."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from anchors_for_tests import (
    AnchoredRun,
    anchored_on,
    ask,
    digest_of,
    ipfs_evidence,
)
from bundles_for_tests import v

from mlprov import archives
from mlprov.anchor_files import read_ethereum, read_ipfs
from mlprov.errors import EvidenceError, VerificationError
from mlprov.verdicts import Unchecked

FIRST, LAST = "anchors/ethereum-2.json", "anchors/ethereum-4.json"
STATES = "anchors/states.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> AnchoredRun:
    """A run with two anchors. The node is stopped before any test begins."""
    with anchored_on(tmp_path_factory.mktemp("anchored")) as (_, run):
        assert run.sizes == [2, 4]
    return run


# The second verifier takes 50 ms for each: some bytes in the suite, all of them in `make property`.
EVERY = 1 if "MLPROV_PROPERTY_CASES" in os.environ else 41


@pytest.mark.parametrize("flip", [0x01, 0x80])
def test_every_flipped_byte_of_an_anchor_is_refused_by_both(made: AnchoredRun, flip: int) -> None:
    good, note = made.evidence[4], made.entries()["log/4/checkpoint"]
    read_ethereum(good, note, LAST)
    v.check_ethereum_anchor(good, note)
    for place in range(len(good)):
        broken = bytearray(good)
        broken[place] ^= flip
        with pytest.raises((VerificationError, EvidenceError)):
            read_ethereum(bytes(broken), note, LAST)
        if place % EVERY == flip % EVERY:
            with pytest.raises(v.RefusedError):
                v.check_ethereum_anchor(bytes(broken), note)


def test_a_flipped_byte_is_refused_in_the_bundle_that_the_owner_signed_so(
    made: AnchoredRun,
) -> None:
    good = made.evidence[4]
    for place in range(0, len(good), 97):
        broken = bytearray(good)
        broken[place] ^= 1
        verdict = ask(made.sealed({LAST: bytes(broken)}), made)
        assert verdict["anchor:ethereum-4"].state == "fails", place
        assert (verdict.result, verdict.exit_code) == ("does not hold", 1)


def test_every_flipped_byte_of_an_ipfs_anchor_is_refused(made: AnchoredRun) -> None:
    note = made.entries()["log/4/checkpoint"]
    good = ipfs_evidence(note)
    read_ipfs(good, note, "it")
    for place in range(len(good)):
        broken = bytearray(good)
        broken[place] ^= 1
        try:
            read_ipfs(bytes(broken), note, "it")
        except (VerificationError, EvidenceError):
            with pytest.raises(v.RefusedError):
                v.check_ipfs_anchor(bytes(broken), note)
        except Unchecked:  # the version became a later one
            with pytest.raises(v.UncheckableError):
                v.check_ipfs_anchor(bytes(broken), note)
        else:
            raise AssertionError(place)


def edited(made: AnchoredRun, **members: Any) -> bytes:
    """The last anchor with other members, in canonical form."""
    return json.dumps({**made.shown(-1), **members}, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"chain_id": "1"}, "for chain 31337, not 1"),
        ({"contract": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"}, "does not call the contract"),
        ({"sender": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"}, "another account"),
        ({"block": "0x" + "11" * 32}, "block's hash"),
        ({"digest": "sha256:" + "22" * 32}, "is about sha256:2222"),
        ({"transaction": "0x" + "33" * 32}, "another transaction"),
        ({"event": "MLProvenance"}, "HashStored"),
        ({"format": "mlprov-other"}, "format"),
        ({"more": 1}, "15 members"),
        ({"index": -1}, "index"),
        ({"header": "AAA"}, "base64"),
        ({"version": True}, "version"),
    ],
    ids=str,
)
def test_each_claim_that_is_not_so_fails_by_name(
    made: AnchoredRun, members: dict[str, Any], said: str
) -> None:
    verdict = ask(made.sealed({LAST: edited(made, **members)}), made)
    assert verdict["anchor:ethereum-4"].state == "fails"
    assert said in verdict["anchor:ethereum-4"].detail
    assert verdict.exit_code == 1


def test_an_anchor_of_another_checkpoint_is_named(made: AnchoredRun) -> None:
    verdict = ask(made.sealed({LAST: made.evidence[2]}), made)
    said = verdict["anchor:ethereum-4"].detail
    assert f"sha256:{digest_of(made.entries()['log/4/checkpoint']).hex()}" in said
    assert "anchors/ethereum-4.json is about sha256:" in said
    assert verdict["anchor:ethereum-4"].expected is not None


def test_an_anchor_of_another_log_is_named(made: AnchoredRun, tmp_path: Path) -> None:
    with anchored_on(tmp_path) as (_, other):
        pass
    verdict = ask(made.sealed({LAST: other.evidence[4]}), made)
    assert verdict["anchor:ethereum-4"].state == "fails"
    assert "the checkpoint of mlprov/store/" in verdict["anchor:ethereum-4"].detail
    # With its checkpoint beside it, it is the log that is another's.
    changes = {LAST: other.evidence[4], "log/4/checkpoint": other.entries()["log/4/checkpoint"]}
    verdict = ask(made.sealed(changes), made)
    assert verdict["log"].state == "fails"
    assert verdict["anchor:ethereum-4"].state == "unchecked"


@pytest.mark.parametrize(
    "states",
    [
        None,
        b"{}",
        b'{"ethereum-2":"final"}',
        b'{"ethereum-2":"final","ethereum-4":"sent"}',
        b'{"ethereum-2":"final","ethereum-4":["final"]}',
        b'{"ethereum-2":"final","ethereum-4":"final","ethereum-5":"final"}',
        b'{"ethereum-4":"final","ethereum-2":"final"}',
        b"[]",
        b"not JSON",
    ],
    ids=str,
)
def test_states_are_one_for_each_anchor(made: AnchoredRun, states: bytes | None) -> None:
    verdict = ask(made.sealed({STATES: states}), made)
    assert verdict["anchor:ethereum-4"].state == "fails"
    assert verdict.exit_code == 1


def test_states_without_an_anchor_are_refused(made: AnchoredRun) -> None:
    changes = {name: None for name in made.entries() if name.startswith(("anchors/", "log/2/"))}
    assert ask(made.sealed(dict(changes)), made).ok
    assert ask(made.sealed({**changes, STATES: b"{}"}), made)["log"].state == "fails"


def test_an_anchor_of_a_later_version_is_not_judged(made: AnchoredRun) -> None:
    verdict = ask(made.sealed({LAST: edited(made, version=2)}), made)
    assert verdict["anchor:ethereum-4"].state == "unchecked"
    assert verdict.exit_code == 0  # nothing else depends on it
    assert "version 2" in verdict["anchor:ethereum-4"].detail


def test_folders_of_the_log_are_those_of_the_anchors(made: AnchoredRun) -> None:
    entries = made.entries()
    no_anchor = {FIRST: None, STATES: b'{"ethereum-4":"final"}'}
    cases: list[dict[str, bytes | None]] = [
        no_anchor,  # log/2/ is no anchor's
        {"log/2/3.proof": None},
        {"log/2/checkpoint": None},
        {"log/2/checkpoint": entries["log/4/checkpoint"]},
        {"log/2/2.proof": entries["log/2/3.proof"]},
        {"log/2/3.proof": None, "log/2/2.proof": entries["log/4/2.proof"]},
        {"log/2/3.proof": entries["log/4/3.proof"]},
    ]
    for changes in cases:
        verdict = ask(made.sealed(changes), made)
        assert verdict["log"].state == "fails", changes.keys()
        assert verdict.exit_code == 1
    gone = {name: None for name in entries if name.startswith("log/2/")}
    verdict = ask(made.sealed(gone), made)
    assert verdict["anchor:ethereum-2"].state == "fails"
    assert "not in log/2/" in verdict["anchor:ethereum-2"].detail


@pytest.mark.parametrize(
    "name",
    [
        "anchors/ethereum-04.json",
        "anchors/ethereum-4-1.json",
        "anchors/ethereum-4-1000.json",
        "anchors/bitcoin-4.json",
        "anchors/ethereum-4.ots",
        "anchors/ethereum-.json",
        "anchors/../x.json",
    ],
)
def test_no_other_name_is_an_anchors(made: AnchoredRun, name: str) -> None:
    assert not archives.entry_name_allowed(name)
    verdict = ask(made.sealed({name: b"{}"}), made)
    assert verdict["archive"].state == "fails"


def random_change(chance: random.Random, entries: dict[str, bytes]) -> dict[str, bytes | None]:
    """One entry of the log or of the anchors taken away, swapped, added or edited."""
    names = [name for name in entries if name.startswith(("anchors/", "log/"))]
    added = ["anchors/ethereum-4-2.json", "anchors/ipfs-2.json", "log/3/checkpoint"]
    added += ["log/3/3.proof", "log/2/2.proof", "log/2/4.proof", STATES]
    name, other = chance.choice(names), entries[chance.choice(names)]
    kind = chance.randrange(4)
    if kind == 0:
        return {name: None}
    if kind == 1:
        return {name: other}
    if kind == 2:
        return {chance.choice(added): other}
    try:
        value = json.loads(entries[name])
    except ValueError:
        return {name: other}
    member = chance.choice(list(value))
    value[member] = chance.choice([None, 0, 2, "x", [], {}, True, "0", 2**53 - 1])
    return {name: json.dumps(value, sort_keys=True, separators=(",", ":")).encode()}


def test_both_verifiers_judge_random_changes_alike(made: AnchoredRun) -> None:
    chance = random.Random(7)
    entries = made.entries()
    shown = made.shown(-1)
    trusted = [{"chain_id": shown["chain_id"], "hash": shown["block"]}]
    for _ in range(150):
        changes: dict[str, bytes | None] = {}
        for _ in range(chance.randrange(1, 4)):
            changes |= random_change(chance, entries)
        data = made.sealed(changes, is_open=chance.random() < 0.3)
        ask(data, made, trusted if chance.random() < 0.5 else None)  # compares the two

"""Evidence of every released format version keeps verifying (docs/deprecation.md).

The files in tests/golden are never made anew: a release that refuses one has broken a promise.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from bundles_for_tests import v
from nodes_for_tests import require_secp256k1

from mlprov import verification
from mlprov.questions import Question

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
OWNER = "mlprov/owner/34750f98bd59fcfc+e57ecb15+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c"
DIGESTS = {
    "format-1-anchors.mlprov": "10d68e06017fc111c6d5460847b5dfd976c8384661984a340c5bc6d9d59fe773",
    "format-1.mlprov": "49cc5582f468649080cde6aa4e89a98969036f9d5c11338090fa699fbfdf09eb",
    "format-1.proof.json": "278eeb40100831753f9460e3b57d767dad99abd1c09fe8cf983b1de8efc7e6f0",
}


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_golden_evidence_is_untouched_and_holds_for_both_verifiers(name: str) -> None:
    data = (GOLDEN / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == DIGESTS[name]
    assert verification.verify_bytes(data, name, Question(keys=[OWNER])).result == "holds"
    assert v.verify_bytes(data, v.Request(keys=[v.parse_vkey(OWNER)])).result == "holds"


def test_golden_anchors_bound_time_for_who_trusts_their_block() -> None:
    require_secp256k1()
    data = (GOLDEN / "format-1-anchors.mlprov").read_bytes()
    block = "31337:0x8cbb30bd4049b96ffc35e362f7036684c826a1fe92a12b82695da04ad68db978"
    verdict = verification.verify_bytes(
        data, "anchors", Question(keys=[OWNER], trusted_blocks=[block])
    )
    assert verdict.ok
    assert verdict.facts["no_later_than"] == "2026-12-01T00:00:00.000Z"
    chain, _, digits = block.partition(":0x")
    trusted = v.TrustedBlock(int(chain), bytes.fromhex(digits))
    theirs = v.verify_bytes(data, v.Request(keys=[v.parse_vkey(OWNER)], blocks=[trusted]))
    expected = {check.name: check.state for check in theirs.checks}
    assert {check.name: check.state for check in verdict.checks} == expected
    held = ("anchor:ethereum-2", "anchor:ethereum-5", "anchor:ipfs-5", "block:ethereum-5", "time")
    assert {expected[name] for name in held} == {"holds"}


def test_every_golden_file_is_listed() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == set(DIGESTS)

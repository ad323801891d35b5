"""What mlprov's verdicts say: no claim as a fact, no text without end, no unseen type."""

from pathlib import Path

import pytest
from bundles_for_tests import (
    BundleBuilder,
    check,
    pinned,
    saved,
    standard_run,
    tensor,
    v,
)
from runs_for_tests import ask_both

KEYS = [str(BundleBuilder().owner_key)]
OTHER = {"x": (bytes(4), "F32", [1])}


def details(bundle: bytes, model: Path) -> tuple[str, str]:
    """What both verifiers say of a model that holds."""
    ours = ask_both(bundle, keys=KEYS, model=model)
    assert ours.result == "holds"
    theirs = v.verify_bytes(bundle, pinned(model=model))
    return ours["model"].detail, check(theirs, "model").detail


@pytest.mark.parametrize(
    ("equal", "said"),
    [
        (0, True),
        (1, True),
        (2, False),
        (-1, False),
        (True, False),
        (None, False),
        (0.5, False),
        ("1, and the notary has seen it", False),
    ],
)
def test_a_recorded_relation_is_said_as_recorded_where_it_can_be_one(tmp_path, equal, said):
    builder = standard_run()
    leaf = {"name": "x"} | tensor(*OTHER["x"])
    builder.records[7]["tensors"] = builder.tree([leaf], disclose=False)
    builder.records[7]["mapping"] = {"equal": equal, "entries": [], "missing": ["y"] * 1000}
    for detail in details(builder.build(), saved(tmp_path, OTHER)):
        assert ("as recorded" in detail) is said
        assert ("not recorded" in detail) is not said
        assert "notary" not in detail
        assert "1000" not in detail


def test_no_text_of_the_evidence_is_quoted_beyond_200_characters(tmp_path):
    long = "x" * 100_000
    builder = standard_run()
    leaf = {"name": "x"} | tensor(*OTHER["x"])
    builder.records[0]["name"] = long
    builder.records[7] |= {"tensors": builder.tree([leaf], disclose=False), "path": long}
    for record in (2, 5):
        builder.records[record]["role"] = long
    builder.records[6]["metrics"] = {"loss": long}
    named = {"digest": "blake3:" + "0" * 64, "dtype": long, "len": 0, "name": long, "shape": []}
    builder.retree(6, "weights", [named])
    bundle = builder.build()
    model = saved(tmp_path, OTHER)
    for evidence in (
        bundle,
        v.canonical_json(builder.proof("record", 6)),
        v.canonical_json(builder.proof("record", 0)),
        v.canonical_json(builder.proof("tensor", 6, ["weights"], 0)),
    ):
        verdict = ask_both(evidence, keys=KEYS, model=model, data={"none": model}, tensors=["y"])
        assert len(str(verdict)) < 4000
        assert all(len(check.detail) < 1000 for check in verdict.checks)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "x" * 100_000},
        {"gaps": list(range(100_000))},
        {"epochs": "x" * 100_000},
        {"type": "x" * 100_000},
        {"type": "run.start" + "x" * 100_000, "time": "x" * 100_000},
        {"seq": "x" * 100_000},
    ],
    ids=lambda change: "+".join(change),
)
def test_nor_is_what_is_wrong_in_a_record(change):
    builder = standard_run()
    builder.records[-1] |= change
    assert len(str(ask_both(builder.build(), keys=KEYS))) < 4000

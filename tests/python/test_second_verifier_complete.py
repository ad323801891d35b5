"""The second verifier on the check ``complete``: the run's own counts."""

from __future__ import annotations

from typing import Any

import pytest
from bundles_for_tests import (
    BundleBuilder,
    check_states,
    standard_run,
    verify,
)


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
    {"streams": "two"},
    {"streams": {}},
    {"streams": [2]},
    {"streams": [None]},
    {"streams": [{"batches": 2}, "another"]},
    {"streams": [{"batches": 2}, []]},
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


RANKS: list[Any] = [
    {"not_covered": [1], "rank": 0, "world_size": 2},
    {"not_covered": 1, "rank": "0"},
    {},
    [],
    False,
]


@pytest.mark.parametrize("ranks", RANKS, ids=str)
def test_a_run_that_does_not_cover_all_ranks_is_not_complete(ranks: Any) -> None:
    builder = standard_run()
    builder.records[0]["ranks"] = ranks
    assert completeness(builder) == "unchecked"
    builder.records[0]["ranks"] = None
    assert completeness(builder) == "holds"


@pytest.mark.parametrize(("kind", "state"), [("ranks", "unchecked"), ("other", "holds")])
def test_ranks_may_be_told_of_later(kind: str, state: str) -> None:
    builder = standard_run()
    end = builder.records.pop()
    builder.add(kind, ranks={"not_covered": [0], "rank": 1, "world_size": 2})
    builder.end(epochs=end["epochs"], batches=end["batches"])
    assert completeness(builder) == state

"""The second verifier on the check ``trees``."""

from __future__ import annotations

import pytest
from bad_bundles_for_tests import (
    Maker,
    bad,
    bad_bundles,
    with_entry,
)
from bundles_for_tests import (
    BundleBuilder,
    failing,
    standard_run,
    v,
    verify,
    w,
)


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
    return with_entry(b, first_tree(b), w.write_leaves(leaves[:-1]))


@bad("trees")
def the_last_leaf_twice(b: BundleBuilder) -> bytes:
    leaves = list(v.read_leaves(b.entries()[first_tree(b)]))
    return with_entry(b, first_tree(b), w.write_leaves([*leaves, leaves[-1]]))


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


@pytest.mark.parametrize(("check", "maker"), bad_bundles(__name__))
def test_a_bundle_with_one_thing_wrong_fails_the_check_for_it(check: str, maker: Maker) -> None:
    verdict = verify(maker(standard_run()))
    assert failing(verdict) == [check]
    assert verdict.result == "does not hold"

"""The second verifier on what records say (docs/format.md section 10): read strictly, never past.

A malformed member fails the check that reads it; no other record takes its place. A file that the
run recorded holds although it is not the live model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bundles_for_tests import (
    FLOATS,
    OPAQUE,
    PAIRS,
    SAMPLES,
    BundleBuilder,
    Tensors,
    arrays_file,
    check,
    check_states,
    failing,
    replaced,
    saved,
    standard_run,
    tensor,
    v,
    verify,
    weights,
    without,
    write_npy,
)


@pytest.fixture(scope="module")
def bundle() -> bytes:
    return standard_run().build()


# -- trees, leaves, aliases

ROOT_TEXT = "sha256:" + "ab" * 32
NO_TREES: list[Any] = [
    *(False, 0, "", [], {}, ROOT_TEXT, {"root": ROOT_TEXT}),
    {"root": ROOT_TEXT, "size": True},
    {"root": ROOT_TEXT, "size": -1},
    {"root": ROOT_TEXT, "size": 1.5},
    {"root": ROOT_TEXT, "size": "5"},
    {"root": ROOT_TEXT, "size": 5, "novelty": None},
    {"root": ROOT_TEXT.upper(), "size": 5},
    {"root": ROOT_TEXT[:-1], "size": 5},
    {"root": ROOT_TEXT[7:], "size": 5},
    {"root": "blake3:" + "ab" * 32, "size": 5},
]


@pytest.mark.parametrize("value", NO_TREES, ids=str)
def test_malformed_weights_fail_and_no_older_record_takes_their_place(
    tmp_path: Path, value: Any
) -> None:
    path = saved(tmp_path, weights(1))
    bundle = replaced(6, "weights", value)
    assert failing(verify(bundle, model=path)) == ["model"]
    assert failing(verify(bundle, tensors=["bias"])) == ["tensor:bias"]
    assert failing(verify(bundle, model=path, epoch=1)) == ["model"]
    assert verify(bundle, model=path, epoch=0).result == "holds"


def test_weights_that_are_null_leave_the_older_ones_the_last(tmp_path: Path) -> None:
    path = saved(tmp_path, weights(1))
    assert verify(replaced(6, "weights", None), model=path).result == "holds"
    assert verify(replaced(6, "weights", None), model=path, epoch=1).result == "could not check"


@pytest.mark.parametrize("value", NO_TREES, ids=str)
def test_a_malformed_sample_tree_fails(tmp_path: Path, value: Any) -> None:
    path = arrays_file(tmp_path, PAIRS)
    for member in ("tree", "sorted"):
        verdict = verify(replaced(1, member, value), data={"train": path})
        assert failing(verdict) == ["data:train"]


def test_leaves_are_at_hand_by_root_and_size_together(tmp_path: Path) -> None:
    path = saved(tmp_path, weights(2))
    for size in (0, 4, 6):
        builder = standard_run()
        tree = builder.records[6]["weights"]
        builder.records[6]["weights"] = tree | {"size": size}
        builder.records[6]["novelty"] = tree  # cites the leaves with their size
        bundle = builder.build()
        for asked in ({"model": path}, {"tensors": ["bias"]}):
            verdict = verify(bundle, **asked)
            assert (verdict.result, failing(verdict)) == ("could not check", [])


def test_true_is_not_epoch_1(tmp_path: Path) -> None:
    bundle = replaced(6, "epoch", True)
    path = saved(tmp_path, weights(2))
    assert verify(bundle, model=path).result == "holds"
    assert verify(bundle, model=path, epoch=1).result == "could not check"
    assert verify(bundle, tensors=["bias"], epoch=1).result == "could not check"


BIAS = {"name": "bias"} | tensor(weights(2)["bias"][0], "F32", [2])
PARTS = {"layout": "x", "name": "bias", "parts": {"values": {}}, "shape": [2]}
BAD_LEAVES: dict[str, dict[str, Any]] = {
    "no name": {name: value for name, value in BIAS.items() if name != "name"},
    "a value leaf": {"name": "bias", "value": 1},
    "no shape": {name: value for name, value in BIAS.items() if name != "shape"},
    "one member more": BIAS | {"novelty": 1},
    "a digest of another algorithm": BIAS | {"digest": v.digest_text(b"", "sha256")},
    "a digest in capitals": BIAS | {"digest": BIAS["digest"][:-1] + "F"},
    "a short digest": BIAS | {"digest": BIAS["digest"][:-1]},
    "a digest that is no text": BIAS | {"digest": 1},
    "an element type that is no text": BIAS | {"dtype": 32},
    "a length that is text": BIAS | {"len": "8"},
    "a length that is true": BIAS | {"len": True},
    "a negative length": BIAS | {"len": -8},
    "a shape that is no list": BIAS | {"shape": 2},
    "a dimension that is true": BIAS | {"shape": [True, 2]},
    "a negative dimension": BIAS | {"shape": [-2]},
    "a broken dimension": BIAS | {"shape": [2.5]},
    "no parts": {**PARTS, "parts": {}},
    "parts that are a list": {**PARTS, "parts": [1]},
    "parts without layout": {name: value for name, value in PARTS.items() if name != "layout"},
    "parts without shape": {name: value for name, value in PARTS.items() if name != "shape"},
}


@pytest.mark.parametrize("what", BAD_LEAVES)
def test_a_leaf_that_is_no_tensor_fails_what_reads_it(tmp_path: Path, what: str) -> None:
    builder = standard_run()
    leaf = BAD_LEAVES[what]
    others = [{"name": "scale"} | tensor(weights(2)["scale"][0], "BF16", [1])]
    builder.retree(6, "weights", [leaf, *others] if "name" in leaf else [leaf])
    bundle = builder.build()
    assert verify(bundle).result == "holds"
    path = saved(tmp_path, {name: weights(2)[name] for name in ("bias", "scale")})
    assert failing(verify(bundle, model=path)) == ["model"]
    assert failing(verify(bundle, tensors=["scale"])) == ["tensor:scale"]


def test_a_shape_of_true_is_not_that_of_1(tmp_path: Path) -> None:
    leaf = {"name": "scale"} | tensor(weights(2)["scale"][0], "BF16", [1])
    path = saved(tmp_path, {"scale": weights(2)["scale"]})
    for shape, failed in (([1], []), ([True], ["model"])):
        builder = standard_run()
        builder.records[6]["aliases"] = []
        builder.retree(6, "weights", [leaf | {"shape": shape}])
        assert failing(verify(builder.build(), model=path)) == failed


def test_a_composite_leaf_equals_no_tensor_of_a_file(tmp_path: Path) -> None:
    builder = standard_run()
    builder.retree(6, "weights", [PARTS])
    bundle = builder.build()
    assert verify(bundle, tensors=["bias"]).result == "holds"
    path = saved(tmp_path, {"bias": weights(2)["bias"]})
    assert failing(verify(bundle, model=path)) == ["model"]


BAD_ALIASES: list[Any] = [
    *({}, "x", 0, False, [1], [[]], [["embed.weight"]], ["embed.weight"]),
    [["embed.weight", 1]],
    [["head.weight", "embed.weight"]],
    [["embed.weight", "embed.weight"]],
    [["embed.weight", "head.weight"], ["bias", "scale"]],
    [["bias", "head.weight"], ["embed.weight", "head.weight"]],
    [["bias", "head.weight"], ["bias", "scale"]],
    [["\U00010000", "\uffff"]],
]


@pytest.mark.parametrize("aliases", BAD_ALIASES, ids=repr)
def test_aliases_that_break_their_rules_fail_what_reads_them(tmp_path: Path, aliases: Any) -> None:
    bundle = replaced(6, "aliases", aliases)
    path = saved(tmp_path, weights(2))
    assert failing(verify(bundle, model=path)) == ["model"]
    asked = verify(bundle, model=path, tensors=["bias"])
    assert failing(asked) == ["model", "tensor:bias"]
    assert failing(verify(bundle, tensors=["bias"])) == ["tensor:bias"]
    assert verify(bundle, tensors=["bias"], epoch=0).result == "holds"
    assert verify(bundle, model=saved(tmp_path, weights(1)), epoch=0).result == "holds"


def test_aliases_are_read_where_the_leaves_are_at_hand(tmp_path: Path) -> None:
    builder = standard_run()
    builder.records[6]["aliases"] = {}
    del builder.trees[builder.records[6]["weights"]["root"][7:]]
    for asked in ({"model": saved(tmp_path, weights(2))}, {"tensors": ["bias"]}):
        assert verify(builder.build(), **asked).result == "could not check"


@pytest.mark.parametrize("aliases", [None, [], [["a", "b"]], [["\uffff", "\U00010000"]]], ids=repr)
def test_aliases_may_be_none_or_of_names_without_leaves(tmp_path: Path, aliases: Any) -> None:
    bundle = replaced(6, "aliases", aliases)
    assert verify(bundle, model=saved(tmp_path, weights(2))).result == "holds"
    tied = saved(tmp_path, without(weights(2), "head.weight"))
    assert failing(verify(bundle, model=tied)) == ["model"]


def test_a_name_of_a_tied_tensor_that_the_file_has_is_compared_itself(
    bundle: bytes, tmp_path: Path
) -> None:
    path = saved(tmp_path, weights(2) | {"head.weight": (FLOATS[::-1], "F32", [2, 2])})
    verdict = verify(bundle, model=path, tensors=["embed.weight", "head.weight"])
    assert failing(verdict) == ["model", "tensor:head.weight"]


def test_an_alias_group_of_thousands_takes_linear_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"t{number:05}" for number in range(3000)]
    array = (FLOATS, "F32", [2, 2])
    builder = standard_run()
    leaf = tensor(FLOATS, "F32", [2, 2])
    builder.records[6]["aliases"] = [names]
    builder.retree(6, "weights", [{"name": name} | leaf for name in names])
    bundle = builder.build()
    path = saved(tmp_path, {names[-1]: array})
    written = 0
    original = v.canonical_json

    def counted(value: v.Json) -> bytes:
        nonlocal written
        written += 1
        return original(value)

    monkeypatch.setattr(v, "canonical_json", counted)
    assert verify(bundle, model=path).result == "holds"
    assert written < 10 * len(names)
    other = saved(tmp_path, {names[-1]: (FLOATS[::-1], "F32", [2, 2])})
    assert failing(verify(bundle, model=other)) == ["model"]


# -- files that the run recorded, whatever the live model was


def with_saved_file(tensors: Tensors, **changes: Any) -> BundleBuilder:
    """A run whose checkpoint is a safetensors file with these tensors; the leaves stay closed."""
    builder = standard_run()
    leaves = [{"name": n} | tensor(*tensors[n]) for n in sorted(tensors, key=str.encode)]
    builder.records[7] |= {"tensors": builder.tree(leaves, disclose=False), "format": "safetensors"}
    builder.records[7] |= changes
    return builder


CAST: Tensors = {"bias": (bytes(4), "F16", [2]), "moved.scale": (b"\x02\x3f", "BF16", [1])}
MAPPING = {"equal": 0, "entries": [], "missing": ["counter"]}


def test_a_file_that_the_run_recorded_holds_and_the_detail_says_that(tmp_path: Path) -> None:
    path = saved(tmp_path, CAST)
    assert failing(verify(standard_run().build(), model=path)) == ["model"]
    verdict = verify(with_saved_file(CAST, mapping=MAPPING).build(), model=path)
    assert verdict.result == "holds"
    assert check(verdict, "model").detail == (
        "not the live model, but the tensors of the file of record 7 (checkpoint, epoch 1); "
        "0 of 2 equal the live model's, as recorded"
    )
    assert failing(verify(with_saved_file(CAST).build(), model=saved(tmp_path, weights(1)))) == [
        "model"
    ]


@pytest.mark.parametrize("mapping", [None, [], {"equal": True}, {"equal": -1}, {}], ids=str)
def test_a_mapping_that_says_nothing_decides_nothing(tmp_path: Path, mapping: Any) -> None:
    bundle = with_saved_file(CAST, mapping=mapping).build()
    verdict = verify(bundle, model=saved(tmp_path, CAST))
    assert verdict.result == "holds"
    assert check(verdict, "model").detail.endswith("is not recorded")


def test_a_recorded_file_needs_no_weights_at_hand(tmp_path: Path) -> None:
    path = saved(tmp_path, CAST)
    builder = with_saved_file(CAST)
    builder.trees.pop(builder.records[6]["weights"]["root"][7:])
    assert verify(builder.build(), model=path).result == "holds"
    assert verify(builder.build(), model=saved(tmp_path, weights(2))).result == "could not check"
    for record in builder.records:
        record.pop("weights", None)
    builder.trees = {}
    assert verify(builder.build(), model=saved(tmp_path, CAST)).result == "holds"
    assert verify(builder.build(), tensors=["bias"]).result == "could not check"


def test_a_recorded_file_is_of_the_epoch_that_was_named(tmp_path: Path) -> None:
    path = saved(tmp_path, CAST)
    bundle = with_saved_file(CAST).build()
    assert verify(bundle, model=path, epoch=1).result == "holds"
    assert failing(verify(bundle, model=path, epoch=0)) == ["model"]
    assert verify(bundle, model=path, epoch=7).result == "could not check"
    assert failing(verify(with_saved_file(CAST, epoch=True).build(), model=path, epoch=1)) == [
        "model"
    ]


def test_a_recorded_file_is_root_and_size_together(tmp_path: Path) -> None:
    builder = with_saved_file(CAST)
    builder.records[7]["tensors"]["size"] = 3
    assert failing(verify(builder.build(), model=saved(tmp_path, CAST))) == ["model"]


@pytest.mark.parametrize("value", NO_TREES, ids=str)
def test_a_malformed_tree_of_a_file_fails_even_where_another_record_fits(
    tmp_path: Path, value: Any
) -> None:
    path = saved(tmp_path, CAST)
    for seq in (7, 8):
        builder = with_saved_file(CAST)
        time = builder.records[8]["time"]
        builder.records[8] = builder.records[7] | {"seq": 8, "time": time}
        builder.records[seq]["tensors"] = value
        assert failing(verify(builder.build(), model=path)) == ["model"]
        # Where the file equals the live model none is read.
        live = saved(tmp_path, weights(2), "live.safetensors")
        assert verify(builder.build(), model=live).result == "holds"


def test_malformed_weights_fail_even_where_a_recorded_file_fits(tmp_path: Path) -> None:
    path = saved(tmp_path, CAST)
    for member, value in (("weights", {}), ("aliases", {})):
        builder = with_saved_file(CAST)
        builder.trees = {}
        builder.records[6]["weights"] = builder.named(weights(2))
        builder.records[6][member] = value
        builder.trees = {} if member == "weights" else builder.trees
        assert failing(verify(builder.build(), model=path)) == ["model"]


# -- lists of files


def listed(**changes: Any) -> dict[str, Any]:
    """The entry of OPAQUE in a checkpoint record, changed; ``...`` removes a member."""
    entry = standard_run().records[7]["files"][0] | changes
    return {name: value for name, value in entry.items() if value is not ...}


BAD_FILES: list[Any] = [
    {},
    "model.pt",
    [None],
    [listed(), []],
    [listed(), listed()],
    [listed(), listed(len=...)],
    [listed(novelty=1)],
    [listed(len=True)],
    [listed(len=-1)],
    [listed(len="20")],
    [listed(path=1)],
    [listed(sha256="sha256:" + "0" * 64)],
    [listed(sha256=listed()["sha256"].upper())],
    [listed(blake3=None)],
    [listed(blake3="0" * 63)],
]


@pytest.mark.parametrize("files", BAD_FILES, ids=range(len(BAD_FILES)))
def test_a_malformed_list_of_files_fails_even_where_another_record_fits(
    tmp_path: Path, files: Any
) -> None:
    builder = standard_run()
    builder.records[8] = builder.records[7] | {"seq": 8, "time": builder.records[8]["time"]}
    path = tmp_path / "model.pt"
    path.write_bytes(OPAQUE)
    assert verify(builder.build(), model=path).result == "holds"
    for seq in (7, 8):
        changed = standard_run()
        changed.records[8] = builder.records[8] | {}
        changed.records[seq]["files"] = files
        assert failing(verify(changed.build(), model=path)) == ["model"]


# -- data

END = {"dtype": "F32", "shape": [2]}
BAD_FIELDS: list[Any] = [
    *(None, 1, "F32", [], {}, [[]], [None], [END, 1], {"x": True}),
    {"dtype": "F32"},
    {"dtype": 1, "shape": [2]},
    END | {"novelty": 1},
    END | {"shape": 2},
    END | {"shape": [True, 2]},
    END | {"shape": [2.5]},
    END | {"shape": ["2"]},
    [END, END | {"shape": None}],
]


@pytest.mark.parametrize("fields", BAD_FIELDS, ids=str)
def test_fields_that_are_no_nesting_fail(tmp_path: Path, fields: Any) -> None:
    path = arrays_file(tmp_path, PAIRS)
    verdict = verify(replaced(1, "fields", fields), data={"train": path})
    assert failing(verdict) == ["data:train"]


@pytest.mark.parametrize("fields", [[], {}, [[]], {"x": []}], ids=str)
def test_fields_without_an_end_fail_whatever_the_file_is(tmp_path: Path, fields: Any) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(write_npy(SAMPLES, "<f4", (3, 2)))
    assert failing(verify(replaced(2, "fields", fields), data={"bare": path})) == ["data:bare"]


def test_fields_of_pairs_are_a_form_that_no_file_has(tmp_path: Path) -> None:
    path = arrays_file(tmp_path, PAIRS)
    verdict = verify(replaced(1, "fields", {"$pairs": [[1, END]]}), data={"train": path})
    assert (verdict.result, failing(verdict)) == ("could not check", [])


def test_a_shape_of_true_is_no_shape_of_a_sample(tmp_path: Path) -> None:
    path = arrays_file(tmp_path, {"x": (SAMPLES, "F32", [3, 2, 1])})
    fields = {"dtype": "F32", "shape": [2, True]}
    verdict = verify(replaced(2, "fields", fields), data={"bare": path})
    assert failing(verdict) == ["data:bare"]


@pytest.mark.parametrize("count", [2, 4, None, True, "3"])
def test_another_count_of_samples_fails(tmp_path: Path, count: Any) -> None:
    path = arrays_file(tmp_path, PAIRS)
    verdict = verify(replaced(1, "count", count), data={"train": path})
    assert failing(verdict) == ["data:train"]
    assert check(verdict, "data:train").detail == "number of samples"


def test_true_is_not_the_count_of_one_sample(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_bytes(b"abc")
    leaf = {"digest": v.digest_text(b"abc"), "len": 3, "path": "corpus.txt"}
    for count, failed in ((1, []), (True, ["data:files"])):
        builder = standard_run()
        builder.retree(3, "tree", [leaf])
        builder.records[3] |= {"kind": "file", "count": count}
        assert failing(verify(builder.build(), data={"files": path})) == failed


def test_another_sorted_tree_fails(tmp_path: Path) -> None:
    path = arrays_file(tmp_path, PAIRS)
    builder = standard_run()
    raw = builder.trees[builder.records[1]["sorted"]["root"][7:]]
    builder.retree(1, "sorted", [*raw[:2], b"\xff" * 32])
    verdict = verify(builder.build(), data={"train": path})
    assert failing(verdict) == ["data:train"]
    assert check(verdict, "data:train").detail == "sorted sample tree"
    assert verify(replaced(1, "sorted", None), data={"train": path}).result == "holds"


def test_the_number_of_records_of_a_role_is_said(bundle: bytes, tmp_path: Path) -> None:
    path = arrays_file(tmp_path, PAIRS)
    assert "of that role" not in check(verify(bundle, data={"train": path}), "data:train").detail
    builder = standard_run()
    builder.records[3] = builder.records[1] | {"seq": 3, "time": builder.records[3]["time"]}
    builder.trees = {}
    verdict = verify(builder.build(), data={"train": path})
    assert verdict.result == "holds"
    assert check(verdict, "data:train").detail.endswith(
        "record 3 (data, role train), the last of 2 of that role"
    )


def test_a_check_of_models_and_data_needs_the_heads(tmp_path: Path) -> None:
    builder = standard_run()
    builder.head_sizes = [1, 5]
    path = arrays_file(tmp_path, PAIRS)
    model = saved(tmp_path, weights(2))
    verdict = verify(builder.build(), data={"train": path}, model=model, tensors=["bias"])
    states = check_states(verdict)
    assert failing(verdict) == ["heads"]
    assert {states[name] for name in ("model", "data:train", "tensor:bias")} == {"unchecked"}

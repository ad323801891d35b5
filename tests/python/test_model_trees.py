"""The tree over a model's tensors, made by one call: against the slow reference, whatever the
order, layout and kind of the tensors; and what it costs in memory."""

from __future__ import annotations

import copy
import dataclasses
import gc
import json
import os
import pickle
import random
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from tensors_for_tests import (
    INTEGER_OF_WIDTH,
    TORCH_DTYPES,
    TORCH_WARNINGS,
    Exporter,
    blake3_of,
    layouts,
    names_of_torch_dtypes,
    random_tensor,
    raw_bytes,
    rearrange,
    seeds,
)

import mlprov
from mlprov import ConfigError, UnsupportedTensorError, _core, _parts
from mlprov.digests import TensorDigest

torch = pytest.importorskip("torch")
pytestmark = TORCH_WARNINGS
nn = torch.nn

NAMES = names_of_torch_dtypes()


def slow_leaf(name: str, tensor: Any) -> bytes:
    data = raw_bytes(tensor)
    shape = list(tensor.shape)
    if NAMES[str(tensor.dtype).removeprefix("torch.")] == "F4":
        shape = [*shape[:-1], shape[-1] * 2] if shape else [2]
    leaf = {
        "digest": f"blake3:{blake3_of(data).hex()}",
        "dtype": NAMES[str(tensor.dtype).removeprefix("torch.")],
        "len": len(data),
        "name": name,
        "shape": shape,
    }
    return rfc8785.dumps(leaf)


def shuffled(state: dict[str, Any], seed: int) -> dict[str, Any]:
    names = list(state)
    random.Random(seed).shuffle(names)
    return {name: state[name] for name in names}


# ---- the leaves ----


@given(chosen=st.lists(st.tuples(st.sampled_from(TORCH_DTYPES), layouts(), seeds), max_size=12))
@settings(max_examples=60, deadline=None)
def test_every_dtype_shape_and_stride_has_the_leaf_of_the_reference(chosen: Any) -> None:
    state = {}
    for number, (dtype, (shape, operations), seed) in enumerate(chosen):
        plain = INTEGER_OF_WIDTH.get(dtype.itemsize, dtype)
        tensor = rearrange(random_tensor(dtype, shape, seed).view(plain), operations).view(dtype)
        state[f"layer.{number}"] = tensor
    model = mlprov.digest_model(shuffled(state, 1))
    expected = [slow_leaf(name, state[name]) for name in sorted(state)]
    assert list(model.leaves) == expected
    assert bytes(model.root) == _core.merkle_root(expected)
    assert model.tensors == tuple(map(TensorDigest.from_leaf, expected))


names_of_all_kinds = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12
)


@given(names=st.sets(names_of_all_kinds, max_size=20), seed=st.integers(0, 99))
@settings(deadline=None)
def test_the_order_of_a_state_dict_does_not_matter(names: set[str], seed: int) -> None:
    state = {name: torch.tensor([len(name)]) for name in sorted(names)}
    for value in (names and {min(names): state[min(names)]}) or {}:
        state[value + "tied"] = state[value]
    model = mlprov.digest_model(state)
    for other in (shuffled(state, seed), OrderedDict(shuffled(state, seed + 1))):
        assert mlprov.digest_model(other) == model
    assert mlprov.digest_model(MappingProxyType(state)) == model
    ordered = sorted(state, key=str.encode)
    assert [tensor.name for tensor in model.tensors] == ordered
    for index, name in enumerate(ordered):
        assert model.index(name) == index
        assert json.loads(model.leaf(name))["name"] == name


def test_arrays_buffers_and_dlpack_stand_beside_tensors() -> None:
    values = np.arange(6, dtype=np.float32)
    state = {
        "torch": torch.from_numpy(values),
        "numpy": values.reshape(2, 3)[:, ::2],
        "scalar": np.float64(1.5),
        "swapped": values.astype(">f4"),
        "buffer": memoryview(b"abc"),
        "dates": np.array(["2026-01-01"], "M8[D]"),
    }
    model = mlprov.digest_model(state)
    rows = {name: _core.tensor_digests([value])[0] for name, value in state.items()}
    for tensor in model.tensors:
        value, dtype, shape, length = rows[tensor.name]
        assert (tensor.dtype, tensor.shape, tensor.len) == (dtype, shape, length)
        assert bytes(tensor.digest) == value


def test_groups_of_aliases_come_in_the_order_of_their_first_names() -> None:
    one, other = torch.ones(2), torch.zeros(3)
    state = {"z": one, "b": other, "m": one, "c": other, "a": one, "lone": torch.ones(2)}
    groups = (("a", "m", "z"), ("b", "c"))
    for seed in range(10):
        assert mlprov.digest_model(shuffled(state, seed)).aliases == groups
    sparse = torch.eye(2).to_sparse()
    state |= {"a.sparse": sparse, "y": sparse}
    for seed in range(10):
        found = mlprov.digest_model(shuffled(state, seed)).aliases
        assert found == (("a", "m", "z"), ("a.sparse", "y"), ("b", "c"))


# ---- what comes back ----


@pytest.fixture
def model() -> mlprov.ModelDigest:
    return mlprov.digest_model(
        {"b": torch.ones(2), "a": torch.eye(3).to_sparse(), "c": torch.zeros(0)}
    )


def test_a_digest_can_be_copied_pickled_and_replaced(model: mlprov.ModelDigest) -> None:
    before = pickle.dumps(model)  # before the tensors are asked for
    tensors = model.tensors
    assert [tensor.name for tensor in tensors] == ["a", "b", "c"]
    assert model.tensors is tensors
    for other in (
        pickle.loads(before),
        pickle.loads(pickle.dumps(model)),
        copy.copy(model),
        copy.deepcopy(model),
        dataclasses.replace(model),
    ):
        assert other == model
        assert hash(other) == hash(model)
        assert other.tensors == tensors
        assert repr(other) == repr(model)
        assert str(other.tensors[0].composite) == str(tensors[0].composite)


def test_a_digest_is_frozen_and_compared_by_what_it_says(model: mlprov.ModelDigest) -> None:
    for name in ("root", "size", "tensors", "aliases", "leaves", "other"):
        with pytest.raises(AttributeError):
            setattr(model, name, None)
    assert model != mlprov.digest_model({"b": torch.ones(2)})
    assert model != dataclasses.replace(model, aliases=(("a", "b"),))
    assert model != 5


def test_a_composite_read_back_from_its_leaf_is_the_one_that_was_hashed(
    model: mlprov.ModelDigest,
) -> None:
    tensor = model.tensors[0]
    assert tensor.composite is not None
    assert tensor.composite.fields == {"coalesced": True}
    assert set(tensor.composite.parts) == {"indices", "values"}
    assert tensor.digest == mlprov.digest(torch.eye(3).to_sparse())
    assert tensor.leaf() == model.leaves[0]
    assert tensor.len == tensor.composite.len == 2 * 3 * 8 + 3 * 4


# ---- composites do not drag the others ----


def test_only_what_has_parts_is_split_and_each_object_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    real = _parts.split

    def watched(tensor: object) -> Any:
        seen.append(tensor)
        return real(tensor)

    monkeypatch.setattr(_parts, "split", watched)
    sparse, dense = torch.eye(4).to_sparse(), torch.ones(3).to_mkldnn()
    state: dict[str, Any] = {f"plain.{number}": torch.ones(2) for number in range(50)}
    state |= {"a": sparse, "b": dense, "c": sparse, "d": dense}
    model = mlprov.digest_model(state)
    assert {id(tensor) for tensor in seen} == {id(sparse), id(dense)}
    assert len(seen) == 2
    assert model.aliases == (("a", "c"), ("b", "d"))
    assert mlprov.digest_many(list(state.values())) == [
        mlprov.digest(value) for value in state.values()
    ]


# ---- errors ----


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (lambda: torch.empty(2, device="meta"), "meta device"),
        (lambda: np.array([None, 1]), "dtype object"),
        (lambda: np.ma.masked_array([1, 2]), "masked"),
        (lambda: Exporter(np.ones(3), device=2), "not in host memory"),
        (lambda: torch.sparse_coo_tensor(size=(2, 2), device="meta"), "meta device"),
    ],
)
def test_what_has_no_values_is_named_whatever_the_order(
    bad: Callable[[], Any], reason: str, seed: int
) -> None:
    state = {"a": torch.ones(1), "m.weight": bad(), "z": torch.eye(2).to_sparse()}
    if isinstance(state["m.weight"], Exporter):
        state["m.weight"].dtype = "float32"
    with pytest.raises(UnsupportedTensorError, match=rf"tensor 'm\.weight'.*{reason}"):
        mlprov.digest_model(shuffled(state, seed))


def test_of_several_that_have_no_values_the_first_by_name_is_named() -> None:
    state = {name: torch.empty(1, device="meta") for name in "dbca"}
    with pytest.raises(UnsupportedTensorError, match="tensor 'a'"):
        mlprov.digest_model(state)


def test_a_storage_that_was_resized_is_refused_by_name() -> None:
    short, gone = torch.ones(1000), torch.ones(1000)
    short.untyped_storage().resize_(8)
    gone.untyped_storage().resize_(0)
    for bad, reason in ((short, "resized"), (gone, "no memory")):
        with pytest.raises(UnsupportedTensorError, match=f"tensor 'bad'.*{reason}"):
            mlprov.digest_model({"good": torch.ones(3), "bad": bad})
    short.untyped_storage().resize_(4000)
    assert mlprov.digest_model({"bad": short}).size == 1


class Strange:
    """Says that it is an array, and has no values."""

    dtype = "float32"


def test_what_is_no_tensor_at_all_is_named() -> None:
    with pytest.raises(TypeError, match="tensor 'odd': cannot hash a Strange"):
        mlprov.digest_model({"a": torch.ones(1), "odd": Strange()})
    with pytest.raises(ConfigError, match="'odd' is builtins"):
        mlprov.digest_model({"a": torch.ones(1), "odd": b"bytes are no tensor"})


class Name(str):
    """A name that is more than text."""

    __slots__ = ()


def test_names_are_taken_as_the_text_that_they_are() -> None:
    tied = torch.ones(1)
    model = mlprov.digest_model({Name("b"): tied, "a": tied})
    assert model == mlprov.digest_model({"a": tied, "b": tied})
    assert {type(name) for group in model.aliases for name in group} == {str}


def test_two_leaves_of_one_name_are_refused() -> None:
    one = np.ones(1)
    with pytest.raises(ConfigError, match='two entries are named "a"'):
        _core.tensor_tree(["a", "b", "a"], [one, one, one])
    with pytest.raises(ConfigError, match='two entries are named "b"'):
        _core.tensor_tree(["a", "b"], [one, one], ready=[("b", b"leaf")])


# ---- memory ----


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_held_after_the_call(fails: bool) -> None:
    tensors = [torch.ones(3), torch.eye(2).to_sparse()]
    arrays: list[Any] = [np.ones(3), bytearray(b"abc")]
    state: dict[str, Any] = {"t": tensors[0], "s": tensors[1], "n": arrays[0]}
    state["b"] = memoryview(arrays[1])
    if fails:
        state["bad"] = torch.empty(1, device="meta")
    before = [sys.getrefcount(one) for one in (*tensors, *arrays)]
    for _ in range(20):
        try:
            mlprov.digest_model(state)
        except UnsupportedTensorError:
            assert fails
    gc.collect()
    assert [sys.getrefcount(one) for one in (*tensors, *arrays)] == before
    state["b"].release()
    arrays[1].append(1)  # BufferError if the buffer were held
    gone = weakref.ref(tensors[0])
    state.clear()
    tensors.clear()
    assert gone() is None


LINUX = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone says")

MEASURE = """
import gc, sys, torch, mlprov
from pathlib import Path

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))

mlprov.digest_model({"warm": torch.ones(1 << 20)})
state = STATE
gc.collect()
Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
before = status("VmRSS")
model = mlprov.digest_model(state)
print(status("VmHWM") - before)
"""


@LINUX
@pytest.mark.skipif(
    os.environ.get("MLPROV_BUILD_VARIANT") == "sanitize",
    reason="AddressSanitizer's allocator takes more",
)
@pytest.mark.parametrize(
    "state",
    [
        pytest.param("{'one': torch.ones(1 << 26)}", id="one of 256 MiB"),
        pytest.param("{'strided': torch.ones(2, 1 << 25).T}", id="one that is gathered"),
        pytest.param(
            "(lambda base: {f'model.layers.{i // 200}.experts.{i % 200}.weight':"
            " base[4 * i : 4 * i + 4] for i in range(100_000)})(torch.zeros(400_000))",
            id="a hundred thousand",
        ),
    ],
)
def test_a_model_of_any_size_is_hashed_in_64_mib(
    run_python: Callable[..., str], state: str
) -> None:
    assert float(run_python(MEASURE.replace("STATE", state))) < 64


def test_python_makes_little_more_than_the_leaves(tmp_path: Path) -> None:
    import tracemalloc

    state = {f"layer.{number}.weight": torch.ones(2) for number in range(2000)}
    mlprov.digest_model(state)
    tracemalloc.start()
    model = mlprov.digest_model(state)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    leaves = sum(sys.getsizeof(leaf) for leaf in model.leaves)
    assert kept < leaves + 2000 * 16 + 10_000
    assert peak < 3 * leaves

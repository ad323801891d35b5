"""Data sets against a slow reference written from docs/format.md section 4, "Sample leaf"."""

from __future__ import annotations

import json
import timeit
import tracemalloc
import warnings
from typing import Any

import blake3
import numpy as np
import pytest
import rfc8785
from batches_for_tests import batch_items
from hypothesis import given, settings
from hypothesis import strategies as st

from mlprov import _core, datasets
from mlprov.datasets import capture_dataset
from mlprov.errors import ConfigError, UnsupportedTensorError
from mlprov.samples import SampleLeaves

try:
    import torch
    from torch.utils.data import Subset, TensorDataset
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")


def slow_leaf(data: bytes, index: int) -> bytes:
    digest = f"blake3:{blake3.blake3(data).hexdigest()}"
    return rfc8785.dumps({"digest": digest, "index": index, "len": len(data)})


def slow_sample(items: Any) -> bytes:
    """The bytes whose digest is that of a structured sample."""
    return rfc8785.dumps(batch_items(items))


def check(capture: Any, samples: list[bytes]) -> None:
    expected = [slow_leaf(data, index) for index, data in enumerate(samples)]
    assert list(capture.leaves) == expected
    assert capture.kind == "arrays"
    assert capture.size == len(capture.leaves) == len(samples)
    assert capture.root == _core.merkle_root(expected)
    digests = sorted(blake3.blake3(data).digest() for data in samples)
    assert capture.sorted_digests == digests
    assert capture.sorted_root == _core.merkle_root(digests)
    assert capture.bytes == sum(map(len, samples))
    assert capture.weak == []


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(4, 3),
        np.arange(5),
        np.arange(24.0).reshape(4, 3, 2).transpose(1, 0, 2),
        np.arange(24.0).reshape(4, 6)[::-1, ::2],
        np.arange(6, dtype=">i4").reshape(3, 2),
        np.array([[True, False], [False, False]]),
        np.arange(6, dtype=np.complex128).reshape(3, 2),
        np.arange(3, dtype=np.float16),
        np.array(["ab", "c"]),
        np.array(["2026-01-01", "NaT"], dtype="datetime64[D]"),
        np.zeros((3, 0)),
        np.zeros((0, 3)),
        np.zeros(0),
        np.ones((1, 1, 1)),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.broadcast_to(np.arange(3.0), (4, 3)),
    ],
)
def test_the_samples_of_an_array_are_its_rows(array):
    little = array.astype(array.dtype.newbyteorder("<"))
    capture = capture_dataset(array)
    check(capture, [little[index, ...].tobytes() for index in range(len(array))])
    assert capture.fields["shape"] == list(array.shape[1:])
    assert capture.source == "numpy.ndarray"


def tensors() -> list[Any]:
    if torch is None:
        return []
    return [
        torch.arange(12.0).reshape(4, 3),
        torch.arange(5),
        torch.arange(24.0).reshape(4, 6).t(),
        torch.arange(24.0).reshape(4, 6)[:, ::2],
        torch.arange(24.0)[4:16].reshape(3, 4),
        torch.arange(6.0, requires_grad=True),
        torch.nn.Parameter(torch.arange(6.0).reshape(2, 3)),
        torch.tensor([[True, False]]),
        torch.view_as_complex(torch.arange(8.0).reshape(4, 2)).conj(),
        torch.arange(3, dtype=torch.uint8),
        torch.zeros(0, 3),
        torch.zeros(3, 0),
    ]


@needs_torch
@pytest.mark.parametrize("tensor", tensors())
def test_the_samples_of_a_tensor_are_its_rows(tensor):
    values = tensor.detach().resolve_conj().numpy()
    capture = capture_dataset(tensor)
    check(capture, [np.ascontiguousarray(row).tobytes() for row in values])
    assert capture.root == capture_dataset(values).root
    assert capture.fields == capture_dataset(values).fields


@needs_torch
def test_types_that_numpy_lacks_are_hashed_by_row_too():
    tensor = torch.arange(6.0).reshape(2, 3).to(torch.bfloat16)
    check(capture_dataset(tensor), [bytes(row.view(torch.uint8).numpy()) for row in tensor])
    assert capture_dataset(tensor).fields == {"dtype": "BF16", "shape": [3]}


NESTINGS = [
    lambda x, y: (x, y),
    lambda x, y: [x, [y, x]],
    lambda x, y: (x,),
    lambda x, y: {"x": x, "y": y},
    lambda x, y: {"$b": y, "a%s": (x, {"\U0001f600": y, "\ue000": x})},
    lambda x, y: {1: x, "a": y},
]


@pytest.mark.parametrize("nest", NESTINGS)
def test_a_structured_sample_is_the_jcs_text_of_its_items(nest):
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    y = np.arange(4) if torch is None else torch.arange(4)
    capture = capture_dataset(nest(x, y))
    check(capture, [slow_sample(nest(x[index], y[index])) for index in range(4)])
    assert capture.fields == types_only(batch_items(nest(x[0], y[0])))


def types_only(items: Any) -> Any:
    if isinstance(items, dict) and set(items) == {"$tensor"}:
        return {key: items["$tensor"][key] for key in ("dtype", "shape")}
    if isinstance(items, dict):
        return {key: types_only(item) for key, item in items.items()}
    if isinstance(items, list):
        return [types_only(item) for item in items]
    return items


def test_an_empty_structured_set_has_fields_and_no_leaves():
    capture = capture_dataset((np.zeros((0, 3)), np.zeros(0, dtype=np.int64)))
    check(capture, [])
    assert capture.fields == [{"dtype": "F64", "shape": [3]}, {"dtype": "I64", "shape": []}]


@needs_torch
@settings(max_examples=60)
@given(st.data())
def test_any_subset_is_the_rows_that_python_would_take(data):
    count = data.draw(st.integers(1, 9))
    x = torch.arange(count * 3.0).reshape(count, 3)
    y = torch.arange(count)
    pick = st.lists(st.integers(-count, count - 1), min_size=1, max_size=12)
    outer = data.draw(pick)
    subset: Any = Subset(TensorDataset(x, y), outer)
    rows = outer
    if data.draw(st.booleans()):
        inner = data.draw(st.lists(st.integers(-len(outer), len(outer) - 1), max_size=8))
        subset, rows = Subset(subset, np.array(inner, dtype=np.int64)), [outer[i] for i in inner]
    check(capture_dataset(subset), [slow_sample([x[row], y[row]]) for row in rows])


@needs_torch
def test_a_tensor_dataset_of_one_tensor_has_samples_of_one_item():
    x = torch.arange(6.0).reshape(3, 2)
    check(capture_dataset(TensorDataset(x)), [slow_sample([row]) for row in x])
    check(capture_dataset(Subset(x, [2, 0])), [x[2].numpy().tobytes(), x[0].numpy().tobytes()])
    assert capture_dataset(TensorDataset(x)).source.endswith("TensorDataset")


def test_duplicates_are_kept_in_the_sorted_tree():
    capture = capture_dataset(np.array([1.0, 1.0, 2.0]))
    assert len(capture.sorted_digests) == 3
    assert len(set(capture.sorted_digests)) == 2


def test_more_rows_than_a_chunk_are_hashed_in_order(monkeypatch):
    monkeypatch.setattr(datasets, "_CHUNK", 7)
    x = np.arange(40.0).reshape(20, 2)
    check(capture_dataset(x), [row.tobytes() for row in x])
    check(capture_dataset([x, x]), [slow_sample([row, row]) for row in x])
    check(capture_dataset(x.T.copy().T), [row.tobytes() for row in x])


@needs_torch
def test_getitem_is_never_called():
    def fail(self, index):
        raise AssertionError("__getitem__ was called")

    members = {"__getitem__": fail, "__len__": lambda self: 3}
    Forbidden = type("Forbidden", (torch.utils.data.Dataset,), members)  # noqa: N806
    Augmented = type("Augmented", (TensorDataset,), {"__getitem__": fail})  # noqa: N806
    with pytest.raises(ConfigError, match=r"Forbidden; expected a NumPy array.*pathlib\.Path"):
        capture_dataset(Forbidden())
    with pytest.raises(ConfigError, match="Forbidden"):
        capture_dataset(Subset(Forbidden(), [0]))
    assert capture_dataset(Augmented(torch.arange(3.0))).size == 3


@needs_torch
def test_reading_a_data_set_leaves_the_random_generators_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].tobytes()
    capture_dataset(Subset(TensorDataset(torch.arange(3.0)), [0, 2]))
    after = torch.get_rng_state(), np.random.get_state()[1].tobytes()
    assert torch.equal(before[0], after[0])
    assert before[1] == after[1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (5, "seen builtins.int"),
        ([1, 2], r"\[0\] is builtins\.int"),
        (["a", "b"], r"\[0\] is builtins\.str"),
        ({"x": np.ones(2), "n": "name"}, r"\['n'\] is builtins\.str"),
        ((np.ones(2), np.ones(3)), r"unequal lengths: \[0\] has 2, \[1\] has 3"),
        (np.float32(1), "seen numpy.float32"),
        (np.array(1.0), "has no dimensions"),
        ((np.ones(2), np.array(1.0)), r"\[1\] has no dimensions"),
        ([], "holds no array"),
        ({}, "holds no array"),
        (b"abc", "seen builtins.bytes"),
    ],
)
def test_what_is_no_data_set_is_refused_with_what_is(data, message):
    with pytest.raises(ConfigError, match=message):
        capture_dataset(data)


@needs_torch
def test_loaders_and_subsets_of_what_is_not_there_are_refused():
    data = TensorDataset(torch.ones(2))
    for refused, message in (
        (torch.utils.data.DataLoader(data), "DataLoader"),
        (Subset(data, [2]), "index 2 is outside 2 samples"),
        (Subset(data, [-3]), "index -3 is outside 2 samples"),
        (Subset(data, [0.5]), r"index 0\.5 is no integer"),
    ):
        with pytest.raises(ConfigError, match=message):
            capture_dataset(refused)


def test_nesting_without_end_is_refused():
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ConfigError):
        capture_dataset(loop)


def test_text_is_refused_because_it_could_be_a_path():
    with pytest.raises(TypeError, match="could be text or a path"):
        capture_dataset("data")


def test_arrays_without_values_are_named_by_their_place():
    with pytest.raises(UnsupportedTensorError, match=r"rows of \['y'\]"):
        capture_dataset({"x": np.ones(2), "y": np.array([None, None])})


@needs_torch
def test_tensors_without_values_are_named_by_their_place():
    with pytest.raises(UnsupportedTensorError, match=r"rows of \[1\]"):
        capture_dataset((torch.ones(2), torch.empty(2, device="meta")))


def test_another_algorithm_makes_every_digest():
    for data in (np.ones((2, 3)), (np.ones(2), np.ones(2))):
        leaves = capture_dataset(data, algorithm="sha512").leaves
        assert all(json.loads(leaf)["digest"].startswith("sha512:") for leaf in leaves)
        assert len(leaves) == 2
    with pytest.raises(ConfigError, match="md5"):
        capture_dataset(np.ones(2), algorithm="md5")


def test_the_leaves_can_be_indexed_like_a_list():
    leaves = capture_dataset(np.arange(5.0)).leaves
    assert leaves[-1] == list(leaves)[4] == leaves[4]
    assert leaves[1:4:2] == [leaves[1], leaves[3]]
    assert leaves[2] in leaves
    for index in (5, -6):
        with pytest.raises(IndexError):
            leaves[index]
    assert len(SampleLeaves("sha384", [bytes(48)] * 3, 1)) == 3


def test_memory_grows_by_64_bytes_a_sample_not_with_the_data():
    x = np.zeros((20_000, 32), dtype=np.float32)
    capture_dataset(x[:10])
    tracemalloc.start()
    capture = capture_dataset(x)
    current, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert current < 64 * capture.size
    # the list that is sorted has a bytes object (65 bytes) and a pointer for each sample
    assert peak < 200 * capture.size


@pytest.mark.timing
def test_the_digits_are_hashed_in_milliseconds():
    x = np.random.default_rng(0).random((1797, 64), dtype=np.float32)
    y = np.arange(1797)
    for data in (x, (x, y)):
        seconds = min(timeit.repeat(lambda data=data: capture_dataset(data), number=1, repeat=5))
        assert seconds < 0.1, f"{seconds * 1e3:.1f} ms"


@pytest.mark.parametrize("layout", ["sparse_coo", "sparse_csr", "_mkldnn", "nested"])
def test_a_tensor_without_rows_of_memory_is_refused_by_name(layout):
    torch = pytest.importorskip("torch")
    make = {
        "sparse_coo": lambda: torch.eye(2).to_sparse(),
        "sparse_csr": lambda: torch.eye(2).to_sparse_csr(),
        "_mkldnn": lambda: torch.eye(2).to_mkldnn(),
        "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = make[layout]()
    for one in (data, [torch.ones(2), data]):
        with pytest.raises(UnsupportedTensorError, match=rf"is {layout}, .*; pass a dense tensor"):
            datasets.check_dataset_kind(one)

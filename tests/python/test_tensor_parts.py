"""Composite tensors: sparse, quantised, nested, mkldnn, DTensor; and those that have no values."""

from __future__ import annotations

from typing import Any

import pytest
import rfc8785
from tensors_for_tests import (
    TORCH_WARNINGS,
    blake3_of,
    names_of_torch_dtypes,
    raw_bytes,
)

import mlprov
from mlprov import UnsupportedTensorError, _core

torch = pytest.importorskip("torch")
pytestmark = TORCH_WARNINGS


# ---- composites ----


def part_json(tensor: Any) -> dict[str, Any]:
    names = names_of_torch_dtypes()
    data = raw_bytes(tensor)
    return {
        "digest": "blake3:" + blake3_of(data).hex(),
        "dtype": names[str(tensor.dtype).removeprefix("torch.")],
        "len": len(data),
        "shape": list(tensor.shape),
    }


def assert_composite(
    tensor: Any, layout: str, parts: dict[str, Any], shape: list[int | None], **fields: Any
) -> None:
    members = {name: part_json(part) for name, part in parts.items()}
    expected = {**fields, "layout": layout, "parts": members, "shape": shape}
    assert bytes(mlprov.digest(tensor)) == blake3_of(rfc8785.dumps(expected))
    model = mlprov.digest_model({"w": tensor})
    assert model.tensors[0].leaf() == rfc8785.dumps({**expected, "name": "w"})


def test_sparse_coo_tensors_are_hashed_as_stored() -> None:
    dense = torch.tensor([[0.0, 2.0], [-0.0, 3.0]])
    tensor = dense.to_sparse()
    parts = {"indices": tensor._indices(), "values": tensor._values()}
    assert_composite(tensor, "sparse_coo", parts, [2, 2], coalesced=True)
    twice = torch.sparse_coo_tensor([[0, 0], [1, 1]], [1.0, 2.0], (2, 2))
    parts = {"indices": twice._indices(), "values": twice._values()}
    assert_composite(twice, "sparse_coo", parts, [2, 2], coalesced=False)
    assert mlprov.digest(twice) != mlprov.digest(twice.coalesce())


@pytest.mark.parametrize("layout", ["csr", "csc", "bsr", "bsc"])
def test_compressed_sparse_tensors_are_hashed_by_parts(layout: str) -> None:
    dense = torch.randn(4, 6) * (torch.rand(4, 6) > 0.5)
    tensor = dense.to_sparse(
        layout=getattr(torch, f"sparse_{layout}"),
        blocksize=((2, 3) if layout.startswith("b") else None),
    )
    if layout.endswith("r"):
        parts = {"crow_indices": tensor.crow_indices(), "col_indices": tensor.col_indices()}
    else:
        parts = {"ccol_indices": tensor.ccol_indices(), "row_indices": tensor.row_indices()}
    assert_composite(tensor, f"sparse_{layout}", {**parts, "values": tensor.values()}, [4, 6])


@pytest.mark.parametrize("dtype", [torch.qint8, torch.quint8, torch.qint32], ids=str)
def test_tensors_quantised_as_a_whole_are_hashed_by_parts(dtype: Any) -> None:
    tensor = torch.quantize_per_tensor(torch.randn(3, 5), 0.1, 2, dtype)
    for view in (tensor, tensor.t()):
        parts = {
            "int_repr": view.int_repr(),
            "scale": torch.tensor(0.1, dtype=torch.float64),
            "zero_point": torch.tensor(2),
        }
        name = str(dtype).removeprefix("torch.")
        shape = list(view.shape)
        scheme = "per_tensor_affine"
        assert_composite(view, "quantized", parts, shape, qdtype=name, qscheme=scheme)


@pytest.mark.parametrize("dtype", [torch.qint8, torch.quint8, torch.quint4x2], ids=str)
def test_tensors_quantised_by_channel_are_hashed_by_parts(dtype: Any) -> None:
    scales, zeros = torch.rand(4) + 0.1, torch.zeros(4)
    tensor = torch.quantize_per_channel(torch.randn(4, 6), scales, zeros, 0, dtype)
    parts = {
        "int_repr": tensor.int_repr(),
        "scale": tensor.q_per_channel_scales(),
        "zero_point": tensor.q_per_channel_zero_points(),
    }
    fields = {
        "axis": 0,
        "qdtype": str(dtype).removeprefix("torch."),
        "qscheme": str(tensor.qscheme()).removeprefix("torch."),
    }
    assert_composite(tensor, "quantized", parts, [4, 6], **fields)


def test_nested_tensors_are_their_values_and_sizes() -> None:
    rows = [torch.randn(2, 3), torch.randn(4, 3)]
    tensor = torch.nested.nested_tensor(rows)
    sizes = torch.tensor([[2, 3], [4, 3]])
    values = torch.cat([row.flatten() for row in rows])
    assert_composite(tensor, "nested", {"values": values, "sizes": sizes}, [2, None, 3])
    turned = torch.cat([row.t().flatten() for row in rows])
    parts = {"values": turned, "sizes": sizes.flip(1)}
    assert_composite(tensor.transpose(1, 2), "nested", parts, [2, 3, None])


def test_jagged_tensors_are_their_values_and_offsets() -> None:
    rows = [torch.randn(2, 3), torch.randn(4, 3)]
    tensor = torch.nested.nested_tensor(rows, layout=torch.jagged)
    parts = {"values": torch.cat(rows), "offsets": torch.tensor([0, 2, 6])}
    assert_composite(tensor, "jagged", parts, [2, None, 3], ragged_dim=1)


def test_mkldnn_tensors_have_the_digest_of_their_dense_values() -> None:
    dense = torch.randn(3, 4)
    assert bytes(mlprov.digest(dense.to_mkldnn())) == blake3_of(raw_bytes(dense))


def test_a_dtensor_has_the_digest_of_its_local_shard() -> None:
    distributed = pytest.importorskip("torch.distributed")
    if not distributed.is_available() or distributed.is_initialized():
        pytest.skip("torch.distributed is not available, or in use")
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        from torch.distributed.tensor import Shard, distribute_tensor

        values = torch.randn(6, 4)
        mesh = distributed.init_device_mesh("cpu", (1,))
        tensor = distribute_tensor(values, mesh, [Shard(0)])
        assert bytes(mlprov.digest(tensor)) == blake3_of(raw_bytes(values))
        leaf = mlprov.digest_model({"w": torch.nn.Parameter(tensor)}).tensors[0].leaf()
        assert leaf == rfc8785.dumps({**part_json(values), "name": "w"})
    finally:
        distributed.destroy_process_group()


# ---- tensors without values ----


def _wrapper() -> Any:
    class Wrapper(torch.Tensor):
        @staticmethod
        def __new__(cls, values: Any) -> Any:
            return torch.Tensor._make_wrapper_subclass(cls, values.shape, dtype=values.dtype)

        @classmethod
        def __torch_dispatch__(cls, *arguments: Any) -> Any:
            raise NotImplementedError

    return Wrapper(torch.zeros(3))


def _fake() -> Any:
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode().from_tensor(torch.zeros(3))


def _resized(size: int) -> Any:
    tensor = torch.zeros(100)
    tensor.untyped_storage().resize_(size)
    return tensor


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: torch.zeros(3, device="meta"), "meta device"),
        (_fake, "fake"),
        (lambda: torch._to_functional_tensor(torch.zeros(3)), "functional"),
        (_wrapper, "wraps"),
        (lambda: _resized(0), "no memory"),
        (lambda: _resized(40), "resized"),
        (lambda: torch.zeros([1] * 65), "65 dimensions"),
        (lambda: torch.sparse_coo_tensor([[0]], [1.0], (2,)).to("meta"), "meta device"),
    ],
    ids=["meta", "fake", "functional", "wrapper", "freed", "resized", "65-d", "sparse meta"],
)
def test_a_tensor_without_values_is_refused_by_name(make: Any, reason: str) -> None:
    tensor = make()
    with pytest.raises(UnsupportedTensorError, match=reason):
        mlprov.digest(tensor)
    with pytest.raises(UnsupportedTensorError, match=r"tensor 'layer\.weight'") as caught:
        mlprov.digest_model({"fine": torch.zeros(2), "layer.weight": tensor})
    assert reason in str(caught.value)


def test_a_real_tensor_is_hashed_inside_a_fake_tensor_mode() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    tensor = torch.randn(30, 40)
    view = tensor.t()
    expected = blake3_of(raw_bytes(view))
    with FakeTensorMode():
        assert bytes(mlprov.digest(view)) == expected
        assert _core.tensor_digest_staged(view)[0] == expected

"""Tensors that are not one block of values, as the named parts they consist of (docs/format.md).

Sparse, quantised and nested tensors, DTensors and tensors in mkldnn's own layout have no strides
over one memory; they are hashed by parts, each an ordinary tensor. The parts share the tensor's
memory; what is copied instead is said at :func:`split`. torch is used only for torch's objects.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from mlprov.errors import UnsupportedTensorError

if TYPE_CHECKING:
    from torch import Tensor

    from mlprov.records import Json

    Split: TypeAlias = tuple[str, dict[str, Tensor], dict[str, Json]]

__all__ = ["split"]


def split(tensor: object) -> Split | None:
    """Take a composite tensor apart.

    ============= ================================================ ===============================
    layout        parts                                            fields
    ============= ================================================ ===============================
    sparse_coo    indices, values (as stored)                      coalesced
    sparse_csr    crow_indices, col_indices, values
    sparse_csc    ccol_indices, row_indices, values
    sparse_bsr    crow_indices, col_indices, values
    sparse_bsc    ccol_indices, row_indices, values
    quantized     int_repr, scale, zero_point                      qdtype, qscheme; axis by channel
    nested        values, sizes                                    shape (None: irregular)
    jagged        values, offsets; lengths where rows have holes   ragged_dim, shape (None: ragged)
    mkldnn        values
    dtensor       local
    ============= ================================================ ===============================

    The last two are one part, and the leaf is that part's own: mkldnn's blocked layout is opaque,
    and of a DTensor a rank holds its shard.

    Copied, because torch gives no other access: ``values`` of mkldnn, ``values`` of a nested
    tensor that is not contiguous, ``int_repr`` of 2- and 4-bit types, lone scales and zero points.

    Args:
        tensor: any object; torch is not imported to look at it.

    Returns:
        (layout, parts by name, further members of the leaf), or None of what is no composite.

    Raises:
        UnsupportedTensorError: a composite that has no values (meta, fake), or of a kind that
            mlprov does not know.
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(tensor, torch.Tensor):
        return None
    splitter = _splitter(tensor)
    if splitter is None:
        return None
    if tensor.is_meta:
        raise UnsupportedTensorError(
            "a tensor on the meta device has no values: load or initialise it first"
        )
    try:
        with torch.no_grad():
            return splitter(tensor)
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        raise UnsupportedTensorError(
            f"a {type(tensor).__qualname__} of layout {tensor.layout} has no parts to hash: {error}"
        ) from error


def _splitter(tensor: Tensor) -> Callable[[Tensor], Split] | None:
    distributed = sys.modules.get("torch.distributed.tensor")
    if distributed is not None and isinstance(tensor, distributed.DTensor):
        return _split_dtensor
    if tensor.is_quantized:
        return _split_quantized
    if tensor.is_nested:
        return _split_jagged if str(tensor.layout) == "torch.jagged" else _split_nested
    return {
        "torch.sparse_coo": _split_coo,
        "torch.sparse_csr": _split_by_rows,
        "torch.sparse_bsr": _split_by_rows,
        "torch.sparse_csc": _split_by_columns,
        "torch.sparse_bsc": _split_by_columns,
        "torch._mkldnn": _split_mkldnn,
    }.get(str(tensor.layout))


def _layout(tensor: Tensor) -> str:
    return str(tensor.layout).removeprefix("torch.")


def _split_coo(tensor: Tensor) -> Split:
    # _indices() and _values() also of an uncoalesced tensor: what is stored is what is hashed.
    parts = {"indices": tensor._indices(), "values": tensor._values()}
    return "sparse_coo", parts, {"coalesced": tensor.is_coalesced()}


def _split_by_rows(tensor: Tensor) -> Split:
    parts = {
        "crow_indices": tensor.crow_indices(),
        "col_indices": tensor.col_indices(),
        "values": tensor.values(),
    }
    return _layout(tensor), parts, {}


def _split_by_columns(tensor: Tensor) -> Split:
    parts = {
        "ccol_indices": tensor.ccol_indices(),
        "row_indices": tensor.row_indices(),
        "values": tensor.values(),
    }
    return _layout(tensor), parts, {}


def _split_mkldnn(tensor: Tensor) -> Split:
    return "mkldnn", {"values": tensor.to_dense()}, {}


def _integers(tensor: Tensor) -> Tensor:
    """A quantised tensor's integers, in its own memory where a dtype of that width exists."""
    import torch

    plain = {torch.qint8: torch.int8, torch.quint8: torch.uint8, torch.qint32: torch.int32}
    dtype = plain.get(tensor.dtype)
    if dtype is None:
        return tensor.int_repr()
    empty = torch.empty(0, dtype=dtype, device=tensor.device)
    return empty.set_(
        tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride()
    )


def _split_quantized(tensor: Tensor) -> Split:
    import torch

    scheme = str(tensor.qscheme()).removeprefix("torch.")
    fields: dict[str, Json] = {
        "qdtype": str(tensor.dtype).removeprefix("torch."),
        "qscheme": scheme,
    }
    if scheme == "per_tensor_affine":
        scale = torch.tensor(tensor.q_scale(), dtype=torch.float64, device="cpu")
        zero_point = torch.tensor(tensor.q_zero_point(), dtype=torch.int64, device="cpu")
    elif scheme in ("per_channel_affine", "per_channel_affine_float_qparams"):
        scale = tensor.q_per_channel_scales()
        zero_point = tensor.q_per_channel_zero_points()
        fields["axis"] = tensor.q_per_channel_axis()
    else:
        raise UnsupportedTensorError(
            f"a quantised tensor of scheme {scheme}, which mlprov does not know"
        )
    parts = {"int_repr": _integers(tensor), "scale": scale, "zero_point": zero_point}
    return "quantized", parts, fields


def _split_nested(tensor: Tensor) -> Split:
    sizes = tensor._nested_tensor_size()
    values = (tensor if tensor.is_contiguous() else tensor.contiguous()).values()
    # A nested tensor may lie in a longer buffer; its values are as many as its sizes say.
    count = int(sizes.prod(dim=1).sum()) if sizes.numel() > 0 else values.numel()
    if values.numel() != count:
        raise UnsupportedTensorError(
            f"a nested tensor of {count} values in a buffer of {values.numel()}: make it contiguous"
        )
    shape: list[Json] = [tensor.size(0)]
    for dimension in range(sizes.size(1) if sizes.dim() == 2 else 0):
        lengths = set(sizes[:, dimension].tolist())
        shape.append(lengths.pop() if len(lengths) == 1 else None)
    return "nested", {"values": values, "sizes": sizes}, {"shape": shape}


def _split_jagged(tensor: Tensor) -> Split:
    nested: Any = tensor  # NestedTensor's attributes are not in torch's stubs
    parts = {"values": nested._values, "offsets": nested._offsets}
    if nested._lengths is not None:
        parts["lengths"] = nested._lengths
    ragged = int(nested._ragged_idx)
    shape: list[Json] = [
        None if index == ragged else int(length) for index, length in enumerate(tensor.shape)
    ]
    return "jagged", parts, {"ragged_dim": ragged, "shape": shape}


def _split_dtensor(tensor: Tensor) -> Split:
    distributed: Any = tensor  # torch's stubs know it as a plain tensor
    return "dtensor", {"local": distributed.to_local()}, {}

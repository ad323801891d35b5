"""A small torch module, and its leaves written from docs/format.md section 4 alone."""

from __future__ import annotations

import json
from typing import Any

import blake3
import pytest
import rfc8785

from mlprov import _core
from mlprov.models import (
    digest_model,
)

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
nn = torch.nn

F32 = {torch.float32: "F32", torch.int64: "I64"}


def slow_leaf(name: str, tensor: Any) -> bytes:
    data = tensor.detach().contiguous().numpy().tobytes()
    leaf = {
        "digest": f"blake3:{blake3.blake3(data).hexdigest()}",
        "dtype": F32[tensor.dtype],
        "len": len(data),
        "name": name,
        "shape": list(tensor.shape),
    }
    return rfc8785.dumps(leaf)


def slow_leaves(tensors: dict[str, Any]) -> list[bytes]:
    return [slow_leaf(name, tensors[name]) for name in sorted(tensors, key=str.encode)]


def decoded(leaves: Any) -> dict[str, Any]:
    assert leaves.root == _core.merkle_root(leaves.leaves)
    assert leaves.size == len(leaves.leaves)
    found = [json.loads(leaf) for leaf in leaves.leaves]
    assert [leaf["name"].encode() for leaf in found] == sorted(
        leaf["name"].encode() for leaf in found
    )
    return {leaf["name"]: leaf for leaf in found}


class Net(nn.Module):
    """A tied head, a buffer of each kind, and an attribute that is called like DDP's."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(4, 3)
        self.inner = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, 3)
        self.head.weight = self.module.weight
        self.register_buffer("scale", torch.arange(3.0))
        self.register_buffer("mask", torch.ones(2), persistent=False)
        self.register_buffer("absent", None)

    def forward(self, x: Any) -> Any:
        return self.head(self.inner(self.module(x))) * self.scale


def names(model: Any) -> list[str]:
    return [tensor.name for tensor in digest_model(model).tensors]

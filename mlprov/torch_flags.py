"""What decides, beside seeds, which bits torch computes: flags, precisions, threads.

Read at the start and at every epoch's end (docs/format.md section 5, ``flags``): a training may
change them on its way, and a replay needs those of its epoch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from mlprov.records import Json

__all__ = ["capture_flags", "capture_modes"]

_MAX_MODES = 1000  # modules named of those that are in another mode than the whole


def _flag(*path: str) -> Callable[[Any], Any]:
    """Reads ``torch.<path>``, calling it where it is a function."""

    def read(torch: Any) -> Any:
        value = torch
        for name in path:
            value = getattr(value, name)
        return value() if callable(value) else value

    return read


_READERS: dict[str, Callable[[Any], Any]] = {
    "autocast": _flag("is_autocast_enabled"),
    "blas": lambda torch: str(torch.backends.cuda.preferred_blas_library()).rpartition(".")[2],
    "cpu_capability": _flag("backends", "cpu", "get_cpu_capability"),
    "cudnn_allow_tf32": _flag("backends", "cudnn", "allow_tf32"),
    "cudnn_benchmark": _flag("backends", "cudnn", "benchmark"),
    "cudnn_deterministic": _flag("backends", "cudnn", "deterministic"),
    "cudnn_enabled": _flag("backends", "cudnn", "enabled"),
    "default_dtype": lambda torch: str(torch.get_default_dtype()),
    "deterministic_algorithms": _flag("are_deterministic_algorithms_enabled"),
    "deterministic_warn_only": _flag("is_deterministic_algorithms_warn_only_enabled"),
    "fill_uninitialized_memory": _flag("utils", "deterministic", "fill_uninitialized_memory"),
    "float32_matmul_precision": _flag("get_float32_matmul_precision"),
    "interop_threads": _flag("get_num_interop_threads"),
    "matmul_allow_tf32": _flag("backends", "cuda", "matmul", "allow_tf32"),
    "mkldnn_enabled": _flag("backends", "mkldnn", "enabled"),
    "reduced_precision_bf16": _flag(
        "backends", "cuda", "matmul", "allow_bf16_reduced_precision_reduction"
    ),
    "reduced_precision_fp16": _flag(
        "backends", "cuda", "matmul", "allow_fp16_reduced_precision_reduction"
    ),
    "sdp_cudnn": _flag("backends", "cuda", "cudnn_sdp_enabled"),
    "sdp_flash": _flag("backends", "cuda", "flash_sdp_enabled"),
    "sdp_math": _flag("backends", "cuda", "math_sdp_enabled"),
    "sdp_mem_efficient": _flag("backends", "cuda", "mem_efficient_sdp_enabled"),
    "threads": _flag("get_num_threads"),
}


def capture_flags() -> Json:
    """Name → value of every flag that this torch has; None where torch is not loaded."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return None
    found: dict[str, Json] = {}
    for name, read in _READERS.items():
        try:
            value = read(torch)
        except (AttributeError, RuntimeError):  # another release, or two ways of setting it mixed
            continue
        if isinstance(value, (bool, int, str)):
            found[name] = value
    return found


def capture_modes(model: Any) -> Json:
    """``{"training": …, "others": names}``: the module's mode, and those that are in the other.

    None of what is no module.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        return None
    own = bool(model.training)
    others = [name for name, part in model.named_modules() if bool(part.training) != own]
    return {"others": list(others[:_MAX_MODES]), "training": own}

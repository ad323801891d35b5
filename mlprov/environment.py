"""What a run was made with: platform, packages, code, seeds (docs/format.md section 5, ``run.start``).

Nothing outside the lists below is read, and everything passes :mod:`mlprov.redaction` before it is hashed.
"""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

from mlprov import _core
from mlprov.records import Json, json_text, json_value
from mlprov.redaction import redact, redact_arguments, strip_credentials

__all__ = ["capture_code", "capture_environment", "capture_generators", "capture_seeds"]

# Variables that change what a training run computes; no other variable is read.
_VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG", "CUDA_LAUNCH_BLOCKING", "CUDA_VISIBLE_DEVICES", "MKL_CBWR",
    "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS",
    "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED", "PYTORCH_CUDA_ALLOC_CONF",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "TORCH_CUDNN_V8_API_DISABLED", "TOKENIZERS_PARALLELISM",
    "WORLD_SIZE", "RANK", "LOCAL_RANK",
)  # fmt: skip
_VARIABLE_PREFIXES = ("NCCL_",)
_GIT_TIMEOUT_S = 10
_MAX_UNTRACKED = 1000


def capture_environment(found: list[str] | None = None) -> dict[str, Json]:
    """Python, platform, installed distributions, torch and its flags, argv, allow-listed variables."""
    variables = {
        name: value
        for name, value in sorted(os.environ.items())
        if name in _VARIABLES or name.startswith(_VARIABLE_PREFIXES)
    }
    return {
        "argv": redact_arguments([str(json_text(a)) for a in sys.argv], found=found),
        "packages": _packages(),
        "platform": {
            "cpu_count": os.cpu_count(),
            "hash_kernel": _core.hash_kernel(),
            "machine": platform.machine(),
            "processor": _processor(),
            "release": platform.release(),
            "system": platform.system(),
        },
        "python": {
            "implementation": platform.python_implementation(),
            "version": platform.python_version(),
        },
        "torch": _torch(),
        "variables": redact(json_value(variables), where="variables", found=found),
    }


def _packages() -> dict[str, Json]:
    found: dict[str, Json] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name and name not in found:
            found[name] = distribution.version
    return dict(sorted(found.items()))


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _torch() -> Json:
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return None
    cuda = torch.cuda.is_available()
    return {
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "default_dtype": str(torch.get_default_dtype()),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        if cuda
        else [],
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "git": torch.version.git_version,
        "threads": torch.get_num_threads(),
        "version": str(torch.__version__),
    }


# ---- code ----


def capture_code() -> dict[str, Json]:
    """The git state of the script's directory and a digest of every project file that was loaded."""
    script = _main_path()
    start = script.parent if script is not None else pathlib.Path.cwd()
    git = _git(start)
    root = pathlib.Path(str(git["root"])) if git else start
    return {
        "cells": _notebook_cells(),
        "git": None if git is None else {k: v for k, v in git.items() if k != "root"},
        "modules": _modules(root.resolve(), script),
    }


def _main_path() -> pathlib.Path | None:
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return pathlib.Path(path).resolve() if path and os.path.exists(path) else None


def _modules(root: pathlib.Path, script: pathlib.Path | None) -> list[Json]:
    """Digests of loaded source files below the project's root, installed packages excepted."""
    installed = [pathlib.Path(p).resolve() for p in {sys.prefix, sys.base_prefix}]
    paths = {script} if script is not None else set()
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if isinstance(name, str) and name.endswith(".py"):
            paths.add(pathlib.Path(name).resolve())
    own = pathlib.Path(__file__).resolve().parent
    found: list[Json] = []
    for path in sorted(p for p in paths if p is not None):
        inside = path.is_relative_to(root) and not path.is_relative_to(own)
        environment = any(path.is_relative_to(p) for p in installed) or "site-packages" in path.parts
        if path != script and (not inside or environment):
            continue
        try:
            (digest,), length = _core.hash_file(os.fsencode(path), ["blake3"])
        except Exception as error:  # a file deleted since it was loaded is no reason to stop training
            found.append({"error": type(error).__name__, "path": json_text(path.name)})
            continue
        shown = path.relative_to(root) if inside else pathlib.Path(path.name)
        found.append({"digest": f"blake3:{digest.hex()}", "len": length, "path": json_text(str(shown))})
    return found


def _notebook_cells() -> Json:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None:
        return None
    cells = shell.user_ns.get("In", [])
    return [f"blake3:{_core.hash_bytes(str(cell).encode('utf-8', 'replace')).hex()}" for cell in cells]


def _git_output(directory: pathlib.Path, *arguments: str) -> bytes | None:
    # A cloned repository's own configuration must not run anything: hooks, fsmonitor, external diff.
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, timeout=_GIT_TIMEOUT_S,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _git_text(directory: pathlib.Path, *arguments: str) -> Json:
    output = _git_output(directory, *arguments)
    return None if output is None else json_text(os.fsdecode(output).strip())


def _git(start: pathlib.Path) -> dict[str, Json] | None:
    root = _git_text(start, "rev-parse", "--show-toplevel")
    if not isinstance(root, str):
        return None
    directory = pathlib.Path(root)
    commit = _git_text(directory, "rev-parse", "--verify", "-q", "HEAD")
    diff = _git_output(directory, "diff", "--no-ext-diff", "--no-textconv", "--binary", "HEAD")
    listed = _git_output(directory, "ls-files", "--others", "--exclude-standard", "-z") or b""
    untracked = sorted(name for name in listed.split(b"\0") if name)
    remote = _git_text(directory, "config", "--get", "remote.origin.url")
    return {
        "branch": _git_text(directory, "rev-parse", "--abbrev-ref", "HEAD") if commit else None,
        "commit": commit,
        "diff": f"blake3:{_core.hash_bytes(diff).hex()}" if diff else None,
        "dirty": bool(diff),
        "remote": strip_credentials(remote) if isinstance(remote, str) else None,
        "root": root,
        "untracked": [json_text(os.fsdecode(name)) for name in untracked[:_MAX_UNTRACKED]],
        "untracked_count": len(untracked),
    }


# ---- seeds ----


def capture_generators() -> dict[str, Json]:
    """Digests of the states of the global random generators that are loaded: name → ``blake3:…``.

    ``python``: BLAKE3 of the 625 words of ``random.getstate()[1]`` as little-endian uint32. ``numpy``: of
    the legacy generator's 624 key words followed by its position, as little-endian uint32. ``torch``: of
    the bytes of ``torch.get_rng_state()``; ``torch_cuda_<i>`` likewise for each initialised device.
    """
    states: dict[str, bytes] = {}
    random: Any = sys.modules.get("random")
    if random is not None:
        states["python"] = b"".join(int(w).to_bytes(4, "little") for w in random.getstate()[1])
    numpy: Any = sys.modules.get("numpy.random")
    if numpy is not None:
        _, words, position, _, _ = numpy.get_state(legacy=True)
        states["numpy"] = words.astype("<u4").tobytes() + int(position).to_bytes(4, "little")
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        states["torch"] = bytes(torch.get_rng_state().tolist())
        if torch.cuda.is_initialized():
            for i in range(torch.cuda.device_count()):
                states[f"torch_cuda_{i}"] = bytes(torch.cuda.get_rng_state(i).tolist())
    return {name: f"blake3:{_core.hash_bytes(state).hex()}" for name, state in states.items()}


def capture_seeds() -> dict[str, Json]:
    """The seeds that can be read (decimal text: they exceed 2^53) and the generators' states."""
    torch: Any = sys.modules.get("torch")
    return {
        "python_hash": os.environ.get("PYTHONHASHSEED"),
        "rng": capture_generators(),
        "torch": None if torch is None else str(torch.initial_seed()),
    }

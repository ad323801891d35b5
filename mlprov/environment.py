"""What a run was made with: platform, packages, code (docs/format.md section 5).

Nothing outside the lists below is read, and everything passes :mod:`mlprov.redaction` before it is
hashed.
"""

# Paths are strings here: thousands are looked at, and pathlib takes its time for each.
# ruff: noqa: PTH100, PTH110, PTH118, PTH119, PTH120, PTH123, PTH208

from __future__ import annotations

import os
import pathlib
import platform
import re
import sys
from collections.abc import Iterator
from typing import Any

from mlprov import _core, repositories, torch_flags
from mlprov.errors import Error
from mlprov.records import Json, json_text, json_value
from mlprov.redaction import REDACTED, redact, redact_arguments, redact_text

__all__ = ["capture_code", "capture_environment"]

# Variables that change what a training run computes; no other variable is read.
_VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG", "CUDA_LAUNCH_BLOCKING", "CUDA_VISIBLE_DEVICES", "MKL_CBWR",
    "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS",
    "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED", "PYTORCH_CUDA_ALLOC_CONF",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "TORCH_CUDNN_V8_API_DISABLED", "TOKENIZERS_PARALLELISM",
    "WORLD_SIZE", "RANK", "LOCAL_RANK",
)  # fmt: skip
_VARIABLE_PREFIXES = ("NCCL_",)
_METADATA_HEAD = 4096  # bytes of a METADATA file that hold its name and version
_NVIDIA_DRIVER = "/proc/driver/nvidia/version"  # there where the kernel has the module loaded


def capture_environment(found: list[str] | None = None) -> dict[str, Json]:
    """Python, platform, distributions, torch and its flags, argv, allow-listed variables."""
    variables = {
        name: value
        for name, value in sorted(os.environ.items())
        if name in _VARIABLES or name.startswith(_VARIABLE_PREFIXES)
    }
    return {
        "argv": redact_arguments([str(a) for a in getattr(sys, "argv", ())], found=found),
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
    """Installed distributions, name → version; of a name found twice the one that is imported.

    Only the head of each METADATA file is read: ``importlib.metadata`` parses it whole, ten times
    slower.
    """
    found: dict[str, Json] = {}
    for entry in dict.fromkeys(sys.path):
        for name, version in _distributions(entry or os.curdir):
            found.setdefault(name, version)
    return dict(sorted(found.items()))


def _distributions(directory: str) -> Iterator[tuple[str, str]]:
    try:
        names = sorted(os.listdir(directory))
    except OSError:  # not there, or a zip file
        return
    for name in names:
        if name.endswith(".dist-info"):
            files: tuple[str, ...] = ("METADATA",)
        elif name.endswith((".egg-info", ".egg")):
            files = ("PKG-INFO", "", "EGG-INFO/PKG-INFO")
        else:
            continue
        for file in files:
            facts = _read_metadata(
                os.path.join(directory, name, file) if file else os.path.join(directory, name)
            )
            if facts is not None:
                yield facts
                break


def _read_metadata(path: str) -> tuple[str, str] | None:
    """Name and version from the head of a core metadata file."""
    try:
        with open(path, "rb") as file:
            head = file.read(_METADATA_HEAD).decode("utf-8", "replace")
    except OSError:
        return None
    fields: dict[str, str] = {}
    for line in head.splitlines():
        key, colon, value = line.partition(":")
        if not line or not colon:
            break
        fields.setdefault(key.lower(), value.strip())
    if not fields.get("name") or not fields.get("version"):
        return None
    return fields["name"], fields["version"]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return os.uname().machine  # platform.processor() would start a process


def _torch() -> Json:
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return None
    cuda = torch.cuda.is_available()
    flags = torch_flags.capture_flags()
    return {
        **(flags if isinstance(flags, dict) else {}),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        if cuda
        else [],
        "driver": _driver(),
        "git": torch.version.git_version,
        "version": str(torch.__version__),
    }


def _driver() -> str | None:
    """The version of NVIDIA's kernel module: of its first line ``NVRM version: … 535.104.05 …``."""
    try:
        with open(_NVIDIA_DRIVER, encoding="utf-8", errors="replace") as file:
            match = re.search(r"\d+(?:\.\d+)+", file.readline())
    except OSError:
        return None
    return match[0] if match else None


# ---- code ----


def capture_code() -> dict[str, Json]:
    """The git state of the script's directory and a digest of every project file that was loaded.

    A project is the repository that the script lies in, elsewhere the script's own directory.
    """
    script = _main_path()
    start = script.parent if script is not None else pathlib.Path.cwd()
    root = repositories.find_root(start)
    git = None if root is None else repositories.read_repository(root)
    return {
        "cells": _notebook_cells(),
        "git": git,
        "modules": _modules(root if root is not None and git is not None else start, script),
    }


def _main_path() -> pathlib.Path | None:
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return pathlib.Path(path).resolve() if path and os.path.exists(path) else None


def _loaded_files() -> Iterator[str]:
    """Resolved paths of the source files of loaded modules, installed ones excepted."""
    places = [os.path.dirname(os.__file__), os.path.dirname(os.path.abspath(__file__))]
    if sys.prefix != sys.base_prefix:
        places.append(sys.prefix)
    installed = tuple(
        place + os.sep for given in places for place in {given, os.path.realpath(given)}
    )
    for module in list(sys.modules.values()):
        try:
            name = module.__dict__.get(
                "__file__"
            )  # not getattr: lazy modules import what they are asked for
        except Exception:  # noqa: BLE001, S112  (anything can stand in sys.modules)
            continue
        if not isinstance(name, str) or not name.endswith(".py") or _is_installed(name, installed):
            continue
        path = os.path.realpath(name)
        if not _is_installed(path, installed):
            yield path


def _is_installed(path: str, installed: tuple[str, ...]) -> bool:
    return path.startswith(installed) or "/site-packages/" in path or "/dist-packages/" in path


def _modules(root: pathlib.Path, script: pathlib.Path | None) -> list[Json]:
    """Digests of loaded source files below the project's root, and of the script."""
    inside = os.path.join(os.path.realpath(root), "")
    paths = {path for path in _loaded_files() if path.startswith(inside)}
    if script is not None:
        paths.add(str(script))
    found: list[Json] = []
    for path in sorted(paths):
        shown = json_text(
            path[len(inside) :] if path.startswith(inside) else os.path.basename(path)
        )
        try:
            (digest,), length = _core.hash_file(os.fsencode(path), ["blake3"])
        except (Error, OSError) as error:  # such as a file deleted since it was loaded
            found.append({"error": type(error).__name__, "path": shown})
            continue
        found.append({"digest": f"blake3:{digest.hex()}", "len": length, "path": shown})
    return found


def _notebook_cells() -> Json:
    """A digest of each cell that was run; :data:`REDACTED` of one with a secret (guessable)."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None:
        return None
    digests: list[Json] = []
    for cell in map(str, shell.user_ns.get("In", [])):
        text = cell.encode("utf-8", "replace")
        secret = redact_text(cell) != cell
        digests.append(REDACTED if secret else f"blake3:{_core.hash_bytes(text).hex()}")
    return digests

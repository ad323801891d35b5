"""What ``mlprov doctor`` looks at: the build, the engine, the store, the key."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from mlprov import _core, keys, stores
from mlprov._version import __version__
from mlprov.errors import Error

__all__ = ["Finding", "diagnose"]

_LOW_DISK_BYTES = 256 << 20


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: ``ok``, ``note`` (worth knowing) or ``wrong`` (keeps mlprov from recording).
    """

    state: Literal["ok", "note", "wrong"]
    what: str
    detail: str
    remedy: str = ""


def diagnose(store: str | os.PathLike[str] | None = None) -> list[Finding]:
    """Look at everything; nothing is changed or made."""
    findings: list[Finding] = []
    for what, look in (
        ("versions", _versions),
        ("hashing", _hashing),
        ("torch", _torch),
        ("owner key", _owner),
        ("store", lambda: _store(store)),
        ("clock", _clock),
    ):
        findings.extend(_guard(what, look))
    return findings


def _guard(what: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except (Error, OSError) as error:
        problem, _, remedy = str(error).partition("; ")
        yield Finding("wrong", what, problem, remedy)


def _versions() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding(
        "ok",
        "versions",
        f"mlprov {__version__}, Python {python}, {_core.openssl_version()}, SQLite {_core.sqlite_version()}",
    )


def _hashing() -> Iterator[Finding]:
    data = bytes(16 << 20)
    best = min(_seconds(lambda: _core.hash_bytes(data)) for _ in range(5))
    kernels = ", ".join(name if usable else f"({name})" for name, usable in _core.hash_kernels())
    forced = " by MLPROV_HASH_IMPL" if os.environ.get("MLPROV_HASH_IMPL") else ""
    yield Finding(
        "ok",
        "hashing",
        f"kernel {_core.hash_kernel()}{forced}, {len(data) / best / 1e9:.1f} GB/s on one thread; of {kernels}; (not usable here)",
    )


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _torch() -> Iterator[Finding]:
    import importlib.util

    if importlib.util.find_spec("torch") is None:
        yield Finding("note", "torch", "not installed: arrays and files only")
        return
    import torch

    try:
        from mlprov import _torch as bridge
    except ImportError as error:
        yield Finding(
            "note",
            "torch",
            f"{torch.__version__}, without the bridge: tensors go through DLPack ({error})",
            "reinstall mlprov under this torch: pip install --no-build-isolation --force-reinstall --no-deps mlprov",
        )
        return
    yield Finding("ok", "torch", f"{torch.__version__}, bridge built for {bridge.torch_version}")


def _owner() -> Iterator[Finding]:
    path = keys.owner_key_path()
    vkey = keys.owner_vkey()
    if vkey is None:
        yield Finding("note", "owner key", f"none at {path}: the first run makes it")
    else:
        yield Finding("ok", "owner key", f"{vkey} in {path}")
    trusted = keys.trusted_keys()
    yield Finding("ok", "trusted keys", f"{len(trusted)} pinned")


def _store(given: str | os.PathLike[str] | None) -> Iterator[Finding]:
    path = pathlib.Path(given) if given is not None else stores.find_store()
    if not (path / "store.db").exists():
        yield Finding("note", "store", f"none at {path}: the first run makes it")
        return
    with stores.open_store(path, read_only=True) as store:
        runs = stores.read_runs(store)
        checkpoint = store.checkpoint()
        size = 0 if checkpoint is None else _core.parse_checkpoint(_core.note_text(checkpoint))[1]
        yield Finding(
            "ok",
            "store",
            f"{store.path}: {len(runs)} runs, log of {size} entries, origin {store.log_origin}",
        )
        (integrity,) = store.query("SELECT * FROM pragma_quick_check LIMIT 1")[0]
        state: Literal["ok", "wrong"] = "ok" if integrity == "ok" else "wrong"
        yield Finding(
            state,
            "database",
            str(integrity),
            "" if state == "ok" else "restore the store from a copy",
        )
    if not os.access(path, os.W_OK):
        yield Finding("note", "store", f"{path} is not writable: reading only")
    free = shutil.disk_usage(path).free
    low = free < _LOW_DISK_BYTES
    yield Finding(
        "note" if low else "ok",
        "disk",
        f"{free >> 20} MiB free",
        "make room: records need it" if low else "",
    )


def _clock() -> Iterator[Finding]:
    year = time.gmtime().tm_year
    if year < 2026:
        yield Finding(
            "note",
            "clock",
            f"it says the year {year}",
            "set the clock: record times are taken from it",
        )
    else:
        yield Finding("ok", "clock", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

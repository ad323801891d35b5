"""What ``mlprov doctor`` looks at: the build, the engine, the store, the key, the anchors."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator

from mlprov import _core, anchor_diagnosis, keys, stored_runs, stores
from mlprov._core import Store
from mlprov._version import __version__
from mlprov.errors import Error, EvidenceError, VerificationError
from mlprov.explanations import explain
from mlprov.findings import Finding

__all__ = ["Finding", "diagnose"]

_YEAR_OF_THIS_RELEASE = 2025
_LOW_DISK_BYTES = 256 << 20
_CHECKED_RUNS = 20  # the newest: a store may have thousands
_MEASURED_BYTES = 16 << 20  # above every cache's share of one core, and done in milliseconds
_REBUILD = "install mlprov under this torch: pip install --no-build-isolation --no-deps ."


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
        ("anchors", anchor_diagnosis.look_at_anchors),
    ):
        findings.extend(_guard(what, look))
    return findings


def _guard(what: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except (Error, OSError) as error:
        yield Finding("wrong", what, *explain(error))


def _versions() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    libraries = f"OpenSSL {_core.openssl_version()}, SQLite {_core.sqlite_version()}"
    yield Finding("ok", "versions", f"mlprov {__version__}, Python {python}, {libraries}")


def _hashing() -> Iterator[Finding]:
    kernel = f"{_core.hash_kernel()} ({_core.hash_kernel_reason()})"
    others = [name for name, usable in _core.hash_kernels() if not usable]
    lacking = f"; not on this processor: {', '.join(others)}" if others else ""
    speed = f"{_rate(1):.1f} GB/s on one thread"
    threads = _core.hash_threads()
    if threads > 1:
        speed += f", {_rate(threads):.1f} on {threads}"
    yield Finding("ok", "hashing", f"kernel {kernel}, {speed}{lacking}")


def _rate(threads: int) -> float:
    """Best of some, in GB/s (1e9 bytes)."""
    data = bytes(_MEASURED_BYTES)
    best = min(_seconds(lambda: _core.hash_bytes(data, threads=threads)) for _ in range(5))
    return len(data) / best / 1e9


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _torch() -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        yield Finding("note", "torch", "not installed: arrays and files only")
        return
    try:
        import torch
    except Exception as error:  # noqa: BLE001 - a broken installation raises what it likes
        yield Finding("wrong", "torch", f"cannot be imported: {error}", "reinstall torch")
        return
    what = f"{torch.__version__}; the bridge to it is {_core.describe_torch_bridge()}"
    if _core.torch_bridge() is None:
        yield Finding("note", "torch", f"{what}; tensors go through DLPack", _REBUILD)
    else:
        yield Finding("ok", "torch", what)


def _missing(what: str, path: pathlib.Path, place: pathlib.Path, variable: str) -> Finding:
    """Of what the first run makes, if it can: ``place`` is the directory that has to let it."""
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return Finding("note", what, f"none at {path}: the first run makes it")
    reason = "it cannot be written" if place.is_dir() else "there is no such directory"
    return Finding(
        "wrong",
        what,
        f"none at {path}, and none can be made in {place}: {reason}",
        f"work in another directory, or set {variable} to one that can be written",
    )


def _owner() -> Iterator[Finding]:
    path = keys.owner_key_path()
    vkey = keys.owner_vkey()
    if vkey is None:
        place = next(folder for folder in path.absolute().parents if folder.exists())
        yield _missing("owner key", path, place, "MLPROV_HOME")
    else:
        yield Finding("ok", "owner key", f"{vkey} in {path}")
    trusted = keys.trusted_keys()
    yield Finding("ok", "trusted keys", f"{len(trusted)} pinned")


def _store(given: str | os.PathLike[str] | None) -> Iterator[Finding]:
    path = pathlib.Path(given) if given is not None else stores.find_store()
    if not (path / "store.db").exists():
        place = path if path.is_dir() else path.absolute().parent
        yield _missing("store", path, place, "MLPROV_STORE")
        return
    with stores.open_store(path, read_only=True) as store:
        runs = stores.read_runs(store)
        checkpoint = store.checkpoint()
        size = 0 if checkpoint is None else _core.parse_checkpoint(_core.note_text(checkpoint))[1]
        what = f"runs: {len(runs)}, log entries: {size}, origin {store.log_origin}"
        yield Finding("ok", "store", f"{store.path}: {what}")
        (integrity,) = store.query("PRAGMA quick_check")[0]
        if integrity == "ok":
            yield Finding("ok", "database", "SQLite finds nothing wrong in it")
        else:
            yield Finding("wrong", "database", str(integrity), "restore the store from a copy")
        yield from _runs(store, runs)
    if not os.access(path, os.W_OK):
        yield Finding("note", "store", f"{path} is not writable: reading only")
    free = shutil.disk_usage(path).free
    if free < _LOW_DISK_BYTES:
        yield Finding("note", "disk", f"{free >> 20} MiB free", "make room: records need it")
    else:
        yield Finding("ok", "disk", f"{free >> 20} MiB free")


def _runs(store: Store, runs: list[stores.RunRow]) -> Iterator[Finding]:
    """Whether the newest runs have the records that their heads signed."""
    sound = True
    for run in runs[:_CHECKED_RUNS]:
        try:
            stored_runs.read_run(store, run.id)
        except (VerificationError, EvidenceError) as error:
            sound = False
            yield Finding("wrong", "runs", *explain(error))
    if sound and runs:
        checked = min(len(runs), _CHECKED_RUNS)
        what = f"the newest {checked} of {len(runs)} have the records that their heads signed"
        yield Finding("ok", "runs", what)


def _clock() -> Iterator[Finding]:
    now = time.gmtime()
    shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", now)
    if now.tm_year < _YEAR_OF_THIS_RELEASE:
        remedy = "set the clock: record times are taken from it"
        yield Finding("note", "clock", f"{shown}: older than this release", remedy)
    else:
        yield Finding("ok", "clock", shown)

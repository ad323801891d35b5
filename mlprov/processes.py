"""Which process records a run, and whether it is gone (docs/format.md section 5, ``process``).

A process id alone says nothing: ids are used again, and those of another machine or container mean
other processes. So a process is known by its machine, the machine's boot, its id and its start.
Locks on files would say less: forked workers inherit them and outlive their parent.
"""

from __future__ import annotations

import os
import pathlib
from typing import Any

from mlprov import _core
from mlprov.records import Json

__all__ = ["describe_process", "is_gone"]

_PROC = pathlib.Path("/proc")
_MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_START = 19  # index, behind the name, of starttime: field 22 of proc_pid_stat(5)
_DEAD = ("Z", "X", "x")  # states of one that has ended and was not waited for


def describe_process() -> dict[str, Json]:
    """This process: machine, boot, id, start; what the platform does not say is null."""
    return {
        "boot": _read(_PROC / "sys/kernel/random/boot_id"),
        "host": _host(),
        "pid": os.getpid(),
        "started": _state_and_start(os.getpid())[1],
    }


def is_gone(process: Any) -> bool | None:
    """Whether a recorded process has ended; None where it cannot be told from here.

    Args:
        process: what :func:`describe_process` gave when it ran, read back from a record.
    """
    if not isinstance(process, dict) or not isinstance(process.get("pid"), int):
        return None
    if process.get("host") != _host():
        return None
    boot = _read(_PROC / "sys/kernel/random/boot_id")
    if boot is not None and process.get("boot") not in (None, boot):
        return True
    state, started = _state_and_start(process["pid"])
    if state in _DEAD:
        return True
    if started is not None and process.get("started") is not None:
        return bool(started != process["started"])
    return not _exists(process["pid"])


def _exists(pid: int) -> bool:
    if pid <= 0:  # kill(2) would ask about whole groups
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _read(path: pathlib.Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeError):
        return None


def _host() -> str:
    """A digest of machine id, node name and process namespace: names stay where they are.

    Two containers of one machine have process ids of their own, and count as two.
    """
    machine = next(filter(None, (_read(pathlib.Path(path)) for path in _MACHINE_IDS)), "")
    try:
        namespace = str((_PROC / "self/ns/pid").readlink())
    except OSError:
        namespace = ""
    text = "\0".join((machine, os.uname().nodename, namespace))
    return f"blake3:{_core.hash_bytes(text.encode('utf-8', 'surrogateescape')).hex()}"


def _state_and_start(pid: int) -> tuple[str | None, str | None]:
    """State and start (clock ticks since the boot, as text) of a process, where /proc tells."""
    text = _read_stat(pid)
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    if len(fields) <= _START:
        return None, None
    return fields[0], fields[_START]


def _read_stat(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return ""

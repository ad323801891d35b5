"""Streams that a killed process left open: what they are called, and where they stop.

An open leaves file holds what its batches were (docs/format.md section 11); its name says whose
they are, because the process that knew is gone.
"""

from __future__ import annotations

import pathlib

from mlprov._core import Store
from mlprov.errors import Error
from mlprov.recorder import Recorder
from mlprov.records import Json
from mlprov.tree_references import TreeReference

__all__ = ["close_left", "find_left", "index_stream", "name_stream"]

_NO_EPOCH = "none"
_INDICES = "indices."


def name_stream(life: str, number: int, epoch: int | None, role: str) -> str:
    """The name of a run's open stream: which of them it is, of which epoch and role.

    Args:
        life: sets those of a process that went on with the run apart from those before it.
        number: how many this process had opened before.
        epoch: index, or None outside of all.
        role: of the loader, a plain word.

    >>> name_stream("", 3, 0, "train"), name_stream("r12.", 0, None, "my-set")
    ('3-0-train', 'r12.0-none-my-set')
    """
    return f"{life}{number}-{_NO_EPOCH if epoch is None else epoch}-{role}"


def index_stream(name: str) -> str:
    """The name of the open stream of index leaves beside the stream ``name`` of batch leaves."""
    return _INDICES + name


def find_left(store: Store, run_id: str) -> list[str]:
    """Names of the streams that are open or were left so, in the order of their names."""
    prefix, suffix = f"{run_id}-", ".open"
    folder = pathlib.Path(store.path) / "trees"
    names = (path.name[len(prefix) : -len(suffix)] for path in folder.glob(f"{prefix}*{suffix}"))
    return sorted({name.removeprefix(_INDICES) for name in names})


def close_left(recorder: Recorder, name: str) -> Json:
    """Close a stream that was left open, and its indices, each behind its last whole leaf.

    Returns:
        what a record says of it; None where nothing had reached the disk.
    """
    _, _, rest = name.partition("-")
    epoch, _, role = rest.partition("-")
    of_content = _is_open(recorder, name)
    indices = _close(recorder, index_stream(name))
    tree = _close(recorder, name)
    if tree is None and indices is None:
        return None
    counted = tree if of_content else indices
    return {
        "batches": 0 if counted is None else counted.size,
        "bytes": None,
        "epoch": int(epoch) if epoch.isdecimal() else None,
        "hash": "content" if of_content else "index",
        "indices": None if indices is None else indices.json(),
        "loader": None,
        "role": role or None,
        "samples": None,
        "stopped": True,
        "tree": None if tree is None else tree.json(),
    }


def _is_open(recorder: Recorder, name: str) -> bool:
    folder = pathlib.Path(recorder.store.path) / "trees"
    return (folder / f"{recorder.log.run_id}-{name}.open").exists()


def _close(recorder: Recorder, name: str) -> TreeReference | None:
    """The tree of what had reached the disk; None where that is nothing, or cannot be read."""
    if not _is_open(recorder, name):  # to open it would make it
        return None
    try:
        leaves = recorder.store.open_stream(recorder.log.run_id, name)
        if not leaves.size:
            leaves.abandon()
            return None
        size = leaves.size
        return TreeReference(leaves.close(), size)
    except (Error, OSError) as error:  # such as a worker of the killed process that still has it
        if recorder.raises:
            raise
        recorder.gap("batches", error)
        return None

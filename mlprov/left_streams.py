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

__all__ = ["close_left", "find_left", "name_stream"]

_NO_EPOCH = "none"


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


def find_left(store: Store, run_id: str) -> list[str]:
    """Names of the streams that are open or were left so, in the order of their names."""
    prefix, suffix = f"{run_id}-", ".open"
    folder = pathlib.Path(store.path) / "trees"
    return sorted(
        path.name[len(prefix) : -len(suffix)] for path in folder.glob(f"{prefix}*{suffix}")
    )


def close_left(recorder: Recorder, name: str) -> Json:
    """Close a stream that was left open, behind its last whole leaf.

    Returns:
        what a record says of it; None where no batch had reached the disk.
    """
    _, _, rest = name.partition("-")
    epoch, _, role = rest.partition("-")
    size, tree = 0, None
    try:
        leaves = recorder.store.open_stream(recorder.log.run_id, name)
        size = leaves.size
        if not size:
            leaves.abandon()
            return None
        tree = TreeReference(leaves.close(), size).json()
    except (Error, OSError) as error:  # such as a worker of the killed process that still has it
        if recorder.raises:
            raise
        recorder.gap("batches", error)
    return {
        "batches": size,
        "bytes": None,
        "epoch": int(epoch) if epoch.isdecimal() else None,
        "indices": None,
        "role": role or None,
        "samples": None,
        "stopped": True,
        "tree": tree,
    }

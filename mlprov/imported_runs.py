"""The bundle that an imported run came in, kept in the store and handed on as it is.

A store may be somebody else's, so what its database names is not opened: the bundle of a run is
``imports/<run id>.mlprov`` in the store and nothing else, read without following links, and only a
bundle of that run that holds leaves the store again.
"""

from __future__ import annotations

import os
import pathlib

from mlprov._core import Store
from mlprov.bundle_checks import BundleChecks
from mlprov.bundle_files import read_bundle_from
from mlprov.errors import EvidenceError, VerificationError
from mlprov.signers import Signers
from mlprov.statements import RUN_ID
from mlprov.stored_runs import StoredRun
from mlprov.stores import RunRow

__all__ = ["kept_path", "read_imported", "require_sound"]

_NOT_NEEDED = ("signer", "log", "complete")  # who signed and how far the run came


def kept_path(run_id: str) -> str:
    """Where in a store the bundle of an imported run is."""
    return f"imports/{run_id}.mlprov"


def require_sound(bundle: BundleChecks, shown: str) -> None:
    """Whether the evidence of a bundle holds together, whoever signed it.

    Raises:
        VerificationError: a check fails.
        EvidenceError: one could not be made.
    """
    bundle.make(Signers())
    for check in bundle.checks.list:
        if check.name not in _NOT_NEEDED and check.state != "holds":
            kind = VerificationError if check.state == "fails" else EvidenceError
            raise kind(f"{shown}: {check.name}: {check.detail}")


def read_imported(store: Store, run: StoredRun) -> tuple[bytes, BundleChecks]:
    """The bundle of an imported run: its bytes and what they say.

    Args:
        store: where it is.
        run: read from there, as imported.

    Raises:
        VerificationError: the bundle does not hold, or its records are not those of the store.
        EvidenceError: the store names another file, there is none, or it is no bundle of this run.
    """
    place = _place(store, run.row)
    data = _read(store, run.row.id, place)
    try:
        bundle = BundleChecks(data)
        require_sound(bundle, f"the bundle {place}")
    except VerificationError as error:
        raise VerificationError(f"does not hold: {error.what}", "import the run again") from error
    except EvidenceError as error:
        raise EvidenceError(
            f"cannot read the bundle of the run {run.row.id}: {error.what}", "import the run again"
        ) from error
    if bundle.run != run.row.id or bundle.lines != run.lines:
        raise VerificationError(
            f"does not hold: the bundle {place} is of the run {bundle.run} with "
            f"{len(bundle.lines)} records, the store has the run {run.row.id} with "
            f"{len(run.lines)}, and they are not the same",
            "import the run again",
        )
    return data, bundle


def _place(store: Store, row: RunRow) -> pathlib.Path:
    if not RUN_ID.fullmatch(row.id) or row.bundle != kept_path(row.id):
        raise EvidenceError(
            f"cannot read the bundle of the run {row.id!r:.60}: {store.path} says that it is "
            f"{row.bundle!r:.80}, and no file but imports/<run id>.mlprov is one",
            "the database was changed: import the run again into a store of your own",
        )
    return pathlib.Path(store.path) / kept_path(row.id)


def _read(store: Store, run_id: str, place: pathlib.Path) -> bytes:
    flags = os.O_RDONLY | os.O_CLOEXEC
    folders: list[int] = []
    try:
        folders.append(os.open(store.path, flags | os.O_DIRECTORY))
        inside = flags | os.O_NOFOLLOW
        folders.append(os.open("imports", inside | os.O_DIRECTORY, dir_fd=folders[0]))
        # Without blocking: a FIFO of that name must not hang.
        file = os.open(f"{run_id}.mlprov", inside | os.O_NONBLOCK, dir_fd=folders[1])
    except OSError as error:
        raise EvidenceError(
            f"cannot read the bundle of the run {run_id}: {place}: {error.strerror} (links are not "
            "followed)",
            "import the run again",
        ) from error
    finally:
        for folder in folders:
            os.close(folder)
    return read_bundle_from(file, place)

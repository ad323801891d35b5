"""Going on with a run that was killed: which one, whether it is free, what it had recorded.

A run is unfinished while its last record is no ``run.end``. It is free when the process that
recorded it is gone, or has laid it down (``interruption``). Whoever commits a ``resume`` record
first has it: the database refuses the commit of another that began at the same head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mlprov import processes, stored_runs, stores
from mlprov._core import Store
from mlprov.errors import ConfigError, Error, StoreError
from mlprov.model_digests import ModelDigest
from mlprov.records import Json
from mlprov.stored_runs import StoredRun
from mlprov.tree_references import TreeReference, read_reference

__all__ = [
    "Past",
    "Wanted",
    "describe_weights",
    "find_unfinished",
    "is_free",
    "refuse_none",
    "refuse_taken",
]

_ENDED = ("finished", "failed", "superseded")


@dataclass(frozen=True)
class Wanted:
    """Which run is to go on.

    Attributes:
        name, project: those of the run.
        run_id: its id, where the caller named it.
        must: whether it is an error that there is none.
    """

    name: str
    project: str | None
    run_id: str | None
    must: bool


class Past:
    """What a run that goes on had recorded.

    Attributes:
        run: its records, held against their signed head.
        algorithm: of its digests.
        last_epoch: index of the last complete epoch, or None.
    """

    def __init__(self, run: StoredRun) -> None:
        self.run = run
        self.algorithm = str(run.records[0].get("algorithm") or "blake3")
        whole = [r for r in self._of("epoch") if not r.get("interrupted")]
        self.last_epoch: int | None = whole[-1].get("epoch") if whole else None

    def _of(self, *types: str) -> list[dict[str, Any]]:
        return [record for record in self.run.records if record["type"] in types]

    @property
    def epochs(self) -> int:
        """How many epoch records there are."""
        return len(self._of("epoch"))

    @property
    def batches(self) -> int:
        """How many batches its closed streams have."""
        return sum(
            stream.get("batches") or 0
            for record in self._of("epoch", "batches")
            for stream in record.get("streams") or ()
        )

    @property
    def gaps(self) -> int:
        """How many pieces of evidence its gap records say are missing."""
        return sum(record.get("count") or 0 for record in self._of("gap"))

    @property
    def data_roots(self) -> dict[str, bytes]:
        """Role → root of the last data set recorded under it."""
        found: dict[str, bytes] = {}
        for record in self._of("data"):
            tree = read_reference(record, "tree", "its data")
            if tree is not None:
                found[str(record.get("role"))] = tree.root
        return found

    def weights(self) -> Iterator[tuple[int, TreeReference]]:
        """(seq, tree) of each record with weights, the newest first."""
        for record in reversed(self.run.records):
            tree = read_reference(record, "weights", "its record")
            if tree is not None:
                yield record["seq"], tree


def find_unfinished(store: Store, wanted: Wanted) -> Iterator[Past]:
    """The unfinished runs that may go on here, the newest first.

    Raises:
        StoreError: one was named and is not free, or cannot be read.
        ConfigError: the named run has another name.
    """
    for row in stores.read_runs(store):
        if wanted.run_id is not None:
            if row.id == wanted.run_id:
                yield _named(store, row, wanted)
        elif (
            (row.name, row.project) == (wanted.name, wanted.project)
            and not row.imported
            and row.status not in _ENDED
        ):
            run = _read(store, row.id, must=wanted.must)
            if run is not None and run.records and _is_unfinished(run) and is_free(run) is True:
                yield Past(run)


def _read(store: Store, run_id: str, *, must: bool) -> StoredRun | None:
    try:
        return stored_runs.read_run(store, run_id)
    except Error:  # edited, damaged, or deleted meanwhile: not one to go on with unasked
        if must:
            raise
        return None


def _named(store: Store, row: stores.RunRow, wanted: Wanted) -> Past:
    """The run that the caller named: also one of another machine, but not one that lives here."""
    attempt = f"cannot resume the run {row.id}"
    if row.name != wanted.name:
        raise ConfigError(
            f"{attempt}: it is called {row.name!r}, not {wanted.name!r}", "start it by its name"
        )
    if row.imported:
        raise StoreError(f"{attempt}: it was imported, and its key is elsewhere")
    run = stored_runs.read_run(store, row.id)
    if not run.records or not _is_unfinished(run):
        raise StoreError(f"{attempt}: it has ended ({row.status})", "start another run")
    if is_free(run) is False:
        raise StoreError(f"{attempt}: {_who(run)} still records it", "end that process first")
    return Past(run)


def _is_unfinished(run: StoredRun) -> bool:
    return bool(run.records[-1]["type"] != "run.end")


def is_free(run: StoredRun) -> bool | None:
    """Whether nobody records an unfinished run; None where that cannot be told from here."""
    last = _last_life(run)
    if last["type"] == "interruption":
        return True
    return processes.is_gone(last.get("process"))


def _last_life(run: StoredRun) -> dict[str, Any]:
    kinds = ("run.start", "resume", "interruption")
    return next(record for record in reversed(run.records) if record["type"] in kinds)


def _who(run: StoredRun) -> str:
    process = _last_life(run).get("process") or {}
    return f"the process {process.get('pid')}"


def refuse_taken(past: Past) -> StoreError:
    """Why a run that was found free could not be resumed."""
    return StoreError(
        f"cannot resume the run {past.run.row.id}: another process went on with it first",
        "let that process end, or end it, and try again",
    )


def refuse_none(store: Store, wanted: Wanted) -> StoreError:
    """Why nothing could be resumed although it had to be."""
    where = f"in {store.path}"
    if wanted.run_id is not None:
        return StoreError(
            f"cannot resume the run {wanted.run_id}: {where} there is none of that id",
            "'mlprov ls' lists them",
        )
    same = [row for row in stores.read_runs(store) if row.name == wanted.name]
    seen = ", ".join(f"{row.id} ({row.status})" for row in same[:3]) or "none of that name"
    return StoreError(
        f"cannot resume {wanted.name!r}: no unfinished run of that name and project {where} is"
        f" free (seen {seen})",
        "of another machine name it with run_id=, or use resume='auto' to begin a new one where"
        " there is none",
    )


# ---- weights ----


def describe_weights(store: Store, past: Past, model: ModelDigest | None) -> dict[str, Json]:
    """How the loaded weights stand to the recorded ones: the members of ``resume`` that say so."""
    recorded = list(past.weights())
    said: dict[str, Json] = {"differing": None, "equal": None, "last": None, "same": None}
    if recorded:
        said["last"] = recorded[0][0]
    if model is None or not recorded:
        return said
    own = TreeReference(bytes(model.root), model.size)
    said["equal"] = recorded[0][1] == own
    said["same"] = next((seq for seq, tree in recorded if tree == own), None)
    if not said["equal"]:
        said["differing"] = _differing(store, recorded[0][1], model.leaves)
    return said


def _differing(store: Store, tree: TreeReference, leaves: Sequence[bytes]) -> Json:
    """How many tensors differ from those of the last record; null where its leaves are not kept."""
    try:
        kept = store.get_leaves(tree.root)
    except StoreError:
        return None
    return max(len(set(leaves) - set(kept)), len(set(kept) - set(leaves)))

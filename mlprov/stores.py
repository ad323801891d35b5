"""Finding, opening and reading a store (``.mlprov/``; api.md, "Store directory")."""

from __future__ import annotations

import os
import pathlib
from dataclasses import dataclass
from typing import Any

from mlprov._core import Store
from mlprov.errors import StoreError
from mlprov.wording import nearest

__all__ = [
    "STORE_NAME",
    "HeadRow",
    "Reading",
    "RunRow",
    "find_run",
    "find_store",
    "head_sizes",
    "open_store",
    "open_with_log",
    "read_heads",
    "read_records",
    "read_runs",
]

STORE_NAME = ".mlprov"
_MIN_PREFIX = 4
_COPY = "restore the store from a copy"


def find_store(start: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """The store directory: ``$MLPROV_STORE``, the nearest ``.mlprov`` upwards, or one to make here.

    Args:
        start: directory to look from; the working directory by default.
    """
    if explicit := os.environ.get("MLPROV_STORE"):
        return pathlib.Path(explicit).absolute()
    here = pathlib.Path(start) if start is not None else pathlib.Path.cwd()
    here = here.absolute()
    for directory in (here, *here.parents):
        if (directory / STORE_NAME / "store.db").is_file():
            return directory / STORE_NAME
    return here / STORE_NAME


def open_store(
    path: str | os.PathLike[str] | None = None, *, create: bool = False, read_only: bool = False
) -> Store:
    """Open the store at ``path`` (default: :func:`find_store`).

    Raises:
        StoreError: there is none (``create=False``), it is corrupt or not writable.
        ConfigError: it belongs to somebody else.
    """
    directory = pathlib.Path(path) if path is not None else find_store()
    if not create and not (directory / "store.db").exists():
        raise StoreError(
            f"cannot open the store {directory}: there is none",
            "'mlprov init' makes one, or name one with --store or MLPROV_STORE",
        )
    return Store(os.fsencode(directory.absolute()), create=create, read_only=read_only)


def open_with_log(path: str | os.PathLike[str] | None = None) -> Store:
    """Open a store to read from, with every signed head in its log if it can be written.

    Of one that cannot be (an archive, a read-only disk, a newer format) what is there is read.

    Raises:
        StoreError: there is none, or it is corrupt.
        ConfigError: it belongs to somebody else.
    """
    try:
        store = open_store(path)
        if not store.read_only:
            store.integrate()
        return store
    except StoreError as error:
        if error.status != "READONLY":
            raise
    return open_store(path, read_only=True)


class Reading:
    """A store to read from: the one that is open, or opened read-only for a ``with``."""

    def __init__(self, path: pathlib.Path, opened: Store | None = None) -> None:
        self._path = path
        self._given = opened
        self._opened: Store | None = None

    def __enter__(self) -> Store:
        if self._given is not None:
            return self._given
        self._opened = open_store(self._path, read_only=True)
        return self._opened

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._opened.close()


@dataclass(frozen=True)
class RunRow:
    """One run as the store lists it; what it claims is in its records."""

    id: str
    name: str
    project: str | None
    status: str
    created: str
    updated: str
    bundle: str | None

    @property
    def imported(self) -> bool:
        """Whether the run came from a bundle and was not recorded in this store."""
        return self.bundle is not None


def _rows(store: Store, query: str, *parameters: str) -> list[tuple[Any, ...]]:
    try:
        return store.query(query, parameters)
    except ValueError as error:  # the statement is ours: the tables are not
        raise StoreError(
            f"cannot read {store.path}: its tables are not those of a store ({error})", _COPY
        ) from error


def read_runs(store: Store) -> list[RunRow]:
    """Every run of a store, newest first: what the list says, which nobody signed.

    Raises:
        StoreError: the list is no such list.
    """
    rows = _rows(
        store,
        "SELECT id, name, project, status, created, updated, bundle FROM runs "
        "ORDER BY created DESC, id DESC",
    )
    for row in rows:
        if not all(value is None or isinstance(value, str) for value in row):
            raise StoreError(
                f"cannot read the list of runs in {store.path}: the run {row[0]!r:.60} has a "
                f"column that is no text",
                _COPY,
            )
    return [RunRow(*row) for row in rows]


def find_run(store: Store, which: str) -> RunRow:
    """A run by id, unique prefix of its id, unique name, or ``@`` for the newest.

    Raises:
        StoreError: none or several match; the message lists the candidates.
    """
    runs = read_runs(store)
    if which == "@":
        matching = runs[:1]
    else:
        matching = [run for run in runs if run.id == which]
        if not matching and len(which) >= _MIN_PREFIX:
            matching = [run for run in runs if run.id.startswith(which)]
        if not matching:
            matching = [run for run in runs if run.name == which]
    if len(matching) == 1:
        return matching[0]
    if not runs:
        raise StoreError(
            f"cannot find the run {which!r} in {store.path}: it has no runs yet",
            "a training script "
            "with mlprov.start() records one, 'mlprov import' takes one from a bundle",
        )
    seen = ", ".join(f"{run.id} ({run.name})" for run in (matching or runs)[:5])
    if matching:
        raise StoreError(
            f"cannot tell which run {which!r} is: {len(matching)} of {store.path} match",
            f"name one by its id: {seen}{', …' if len(matching) > 5 else ''}",
        )
    near = nearest(which, [run.name for run in runs])
    hint = f"did you mean {near[0]!r}? The" if near else "the"
    raise StoreError(
        f"cannot find the run {which!r} in {store.path}",
        f"{hint} newest are {seen}, and 'mlprov ls' lists all",
    )


def read_records(store: Store, run_id: str) -> list[bytes]:
    """The exact bytes of every record of a run, in order of seq."""
    return [
        row[0]
        for row in _rows(store, "SELECT bytes FROM records WHERE run = ? ORDER BY seq", run_id)
    ]


@dataclass(frozen=True)
class HeadRow:
    """A signed run head and, once it is there, its place in the store log."""

    size: int
    root: bytes
    note: bytes
    log_index: int | None


def read_heads(store: Store, run_id: str) -> list[HeadRow]:
    """Every signed head of a run, smallest first."""
    rows = _rows(
        store, "SELECT size, root, note, log_index FROM heads WHERE run = ? ORDER BY size", run_id
    )
    return [HeadRow(size, root, note, index) for size, root, note, index in rows]


def head_sizes(store: Store) -> dict[str, int]:
    """Run id → records under its last signed head."""
    return dict(_rows(store, "SELECT run, MAX(size) FROM heads GROUP BY run"))

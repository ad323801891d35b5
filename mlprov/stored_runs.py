"""Reading a run from a store: nothing is shown, compared, proved or signed that is not its head's.

A store's database is a file that anybody with the right to write may edit. What a run key signed
are heads, so records are held against them before they are believed (docs/format.md section 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlprov import _core, stores
from mlprov._core import Store
from mlprov.errors import EvidenceError, StoreError, VerificationError
from mlprov.record_members import check_record
from mlprov.statements import check_owner_name, check_version, read_head, read_statement
from mlprov.stores import HeadRow, RunRow
from mlprov.verdicts import NewerVersion

__all__ = ["StoredRun", "StoredTrees", "prove_logged", "read_run"]

_COPY = "restore the store from a copy, or go by a bundle that was exported before"


@dataclass(frozen=True)
class StoredRun:
    """A run whose records are those that its last head signed.

    Attributes:
        row: what the store lists.
        lines: the exact bytes of every record.
        records: the same decoded, each with an envelope and members of the kinds of section 5.
        heads: every signed head, smallest first; the signature of the last one was verified.
        run_key: the run's verifier key; "" where nothing is signed yet.
    """

    row: RunRow
    lines: list[bytes]
    records: list[dict[str, Any]]
    heads: list[HeadRow]
    run_key: str

    def check_heads(self) -> None:
        """Whether every head, not the last alone, is signed and over these records.

        Raises:
            VerificationError: one is not.
            EvidenceError: one is malformed.
        """
        tree = _core.MerkleTree(self.lines)
        for head in self.heads:
            _check_head(self.row.id, head, tree.root(head.size), self.run_key)


class StoredTrees(Mapping[bytes, list[bytes]]):
    """The kept trees of a store, read when asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getitem__(self, root: bytes) -> list[bytes]:
        try:
            return self._store.get_leaves(root)
        except StoreError as error:
            if error.status == "NOT_FOUND":
                raise KeyError(root) from error
            raise

    def __contains__(self, root: object) -> bool:
        return isinstance(root, bytes) and self._store.has_leaves(root)

    def __iter__(self) -> Any:
        raise TypeError("kept trees are looked up by root")

    def __len__(self) -> int:
        raise TypeError("kept trees are looked up by root")


def read_run(store: Store, run_id: str) -> StoredRun:
    """Read a run, hold its records against its signed head, and each against section 5.

    Args:
        store: where the run is.
        run_id: its whole id.

    Returns:
        the run; of one that has begun and signed nothing yet, without records.

    Raises:
        StoreError: there is no such run.
        VerificationError: the records are not those that the head signed.
        EvidenceError: a head, the owner's statement or a record is malformed; it is named.
    """
    lines, heads = _read(store, run_id)
    row = stores.find_run(store, run_id)
    if not heads:
        if lines:
            raise _edited(run_id, f"{len(lines)} records", "none, since no head is signed")
        return StoredRun(row, [], [], [], "")
    last = heads[-1]
    if len(lines) != last.size:
        raise _edited(run_id, f"{len(lines)} records", f"{last.size} records")
    root = _core.merkle_root(lines)
    if root != last.root:  # first, so that whatever was edited is said to be edited
        raise _edited(run_id, f"sha256:{root.hex()}", f"sha256:{last.root.hex()}")
    run_key = _run_key(run_id, lines[0])
    _check_head(run_id, last, root, run_key)
    records = [_decode(run_id, seq, line) for seq, line in enumerate(lines)]
    _check_row(row, records)
    return StoredRun(row, lines, records, heads, run_key)


def _read(store: Store, run_id: str) -> tuple[list[bytes], list[HeadRow]]:
    """Records and heads of one moment: a writer may add to both between two queries."""
    heads = stores.read_heads(store, run_id)
    while True:
        lines = stores.read_records(store, run_id)
        again = stores.read_heads(store, run_id)
        if [head.size for head in again[-1:]] == [head.size for head in heads[-1:]]:
            return lines, again
        heads = again


def _edited(run_id: str, seen: str, expected: str) -> VerificationError:
    return VerificationError(
        f"does not hold: the records of the run {run_id} are not those that its head signed (seen "
        f"{seen}, expected {expected})",
        _COPY,
    )


def _check_head(run_id: str, head: HeadRow, root: bytes, run_key: str) -> None:
    if root != head.root:
        raise _edited(run_id, f"sha256:{root.hex()}", f"sha256:{head.root.hex()}")
    what = f"the head of {head.size} records of the run {run_id}"
    try:
        size, signed = read_head(head.note, run_key)
    except VerificationError as error:
        raise VerificationError(
            f"does not hold: {what} is not signed: {error.what}", _COPY
        ) from error
    except EvidenceError as error:
        raise EvidenceError(f"cannot read {what}: {error.what}", _COPY) from error
    if (size, signed) != (head.size, root):
        raise _edited(run_id, f"sha256:{root.hex()}", f"sha256:{signed.hex()} over {size} records")


def _run_key(run_id: str, line: bytes) -> str:
    """The key that the owner, as the first record names him, bound to the run."""
    start = _decode(run_id, 0, line)
    where = f"record 0 of the run {run_id}"
    try:
        check_version(start.get("version"), where)
        owner, vkey = start.get("owner"), start.get("owner_key")
        if not isinstance(owner, str) or not isinstance(vkey, str):
            raise EvidenceError(f"{where} has no owner's statement")
        check_owner_name(vkey)
        statement = read_statement(owner, vkey)
    except NewerVersion as newer:
        raise EvidenceError(f"cannot read {where}: {newer}", "use a newer mlprov") from newer
    except VerificationError as error:
        raise VerificationError(f"does not hold: {where}: {error.what}", _COPY) from error
    except EvidenceError as error:
        raise EvidenceError(f"cannot read {where}: {error.what}", _COPY) from error
    if not start.get("run") == statement.run == run_id:
        raise VerificationError(
            f"does not hold: the run {run_id} has the records of {_brief(start.get('run'))}, under "
            f"an owner's statement of {statement.run}",
            _COPY,
        )
    return statement.run_key


def _decode(run_id: str, seq: int, line: bytes) -> dict[str, Any]:
    where = f"record {seq} of the run {run_id}"
    try:
        value = _core.json_decode(line)
    except EvidenceError as error:
        raise EvidenceError(f"cannot read {where}: {error.what}", _COPY) from error
    try:
        return check_record(value, seq, where)
    except EvidenceError as error:
        raise EvidenceError(
            f"cannot read the run {run_id}: {error.what}",
            "its writer made what no release of mlprov "
            "does: 'mlprov verify' still says whether its bundle holds",
        ) from error


def _check_row(row: RunRow, records: list[dict[str, Any]]) -> None:
    """Whether the list of runs says of it what its records say."""
    start, last = records[0], records[-1]
    name, status = start.get("name"), last.get("status")
    stated: list[tuple[str, Any, Any]] = [("created", row.created, start["time"])]
    if name is not None:
        stated.append(("name", row.name, name))
    if last["type"] == "run.end" and status in ("finished", "failed", "superseded"):
        stated.append(("status", row.status, status))
    for what, seen, expected in stated:
        if seen != expected:
            raise VerificationError(
                f"does not hold: the store lists the run {row.id} with the {what} {_brief(seen)}, "
                f"its signed records say {_brief(expected)}",
                _COPY,
            )


def _brief(value: Any) -> str:
    return f"{value!r:.80}"


def prove_logged(store: Store, run_id: str, head: HeadRow, size: int, root: bytes) -> list[bytes]:
    """The inclusion path of a head in the store log, checked before it goes into evidence.

    Args:
        store: where the log is.
        run_id: of the head's run.
        head: one with a place in the log.
        size: of the log, as its checkpoint says.
        root: of the log, as its checkpoint says.

    Raises:
        StoreError: the place that the database names is another entry's, or none.
    """
    index = head.log_index
    try:
        if index is None or index < 0:
            raise EvidenceError(f"{index!r} is no place in it")
        path = store.log_proof(index, size)
        _core.merkle_verify_inclusion(root, _core.merkle_leaf_hash(head.note), index, size, path)
        return path
    except (VerificationError, EvidenceError) as error:
        raise StoreError(
            f"cannot use the store log for the run {run_id}: its head of {head.size} records is "
            f"not entry {index} of {size}, as the database has it ({error.what})",
            _COPY,
        ) from error

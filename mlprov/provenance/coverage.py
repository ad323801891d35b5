"""What a store has under a hash: which run, which head, and whether an anchor covers it."""

from __future__ import annotations

import pathlib
import tempfile

from mlprov import bundles, stores, verification
from mlprov._core import Store
from mlprov.anchoring import AnchorRow
from mlprov.errors import ConfigError
from mlprov.questions import Question
from mlprov.stores import HeadRow
from mlprov.verdicts import Check, Checks, Mismatch, Unchecked

__all__ = [
    "check_coverage",
    "check_records",
    "find_subject",
    "read_hash",
    "recorded_run",
    "run_name",
]


def run_name(root: bytes) -> str:
    """Of the run that records a hash."""
    return f"merkle-root {root.hex()}"


def read_hash(value: str | bytes) -> bytes:
    """The 32 bytes of a hash.

    Raises:
        ConfigError: it is none.
    """
    raw = value
    if isinstance(value, str):
        text = value.removeprefix("sha256:").removeprefix("0x")
        try:
            raw = bytes.fromhex(text) if text.isascii() and len(text) == 64 else b""
        except ValueError:
            raw = b""
    if not isinstance(raw, bytes) or len(raw) != 32:
        raise ConfigError("cannot use the Merkle root: expected 32 bytes, or 64 hexadecimal digits")
    return raw


def recorded_run(store: Store, root: bytes) -> str | None:
    """The run that was made to record a hash."""
    rows = store.query(
        "SELECT id FROM runs WHERE name = ? AND bundle IS NULL ORDER BY created LIMIT 1",
        (run_name(root),),
    )
    return str(rows[0][0]) if rows else None


def find_subject(store: Store, root: bytes) -> tuple[str, HeadRow] | None:
    """Run and head that have a hash: as the head's root, or in a record under the head."""
    rows = store.query(
        "SELECT run, size FROM heads WHERE root = ? AND imported = 0 ORDER BY id LIMIT 1", (root,)
    )
    run_id = str(rows[0][0]) if rows else recorded_run(store, root)
    if run_id is None:
        return None
    heads = [head for head in stores.read_heads(store, run_id) if not rows or head.root == root]
    return (run_id, heads[0]) if heads else None


def check_records(store: Store, run_id: str) -> Check:
    """Whether a run's records hold, offline: the check ``records``."""
    made = Checks()

    def verify() -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = bundles.export_run(store, run_id, pathlib.Path(folder) / "run.mlprov")
            verdict = verification.verify_bytes(path.read_bytes(), run_id, Question())
        if verdict.result == "does not hold":
            raise Mismatch(verdict.summary, seen=verdict.result, expected="holds")
        if not verdict:
            raise Unchecked(verdict.summary)
        return verdict.summary

    made.run("records", verify)
    return made.list[0]


def check_coverage(
    store: Store,
    row: AnchorRow,
    root: bytes,
    found: tuple[str, HeadRow] | None,
    records: Check | None,
) -> list[Check]:
    """Whether an anchor covers what was found of a hash: the check ``covers``, and ``records``."""
    made = Checks()

    def covers() -> str:
        if found is None:
            raise Mismatch(
                f"{store.path} has recorded no such hash",
                seen=root.hex(),
                expected="the root of a head",
            )
        run_id, head = found
        if head.log_index is None or head.log_index >= row.size:
            raise Mismatch(
                f"the head of {run_id} with {head.size} records is not among the first {row.size} "
                "entries of the log, which are anchored",
                seen=str(head.log_index),
                expected=f"below {row.size}",
            )
        return f"the head of {run_id} with {head.size} records is entry {head.log_index} of the log"

    made.run("covers", covers)
    return [*made.list, *([records] if records is not None else [])]

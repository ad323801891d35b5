"""Anchors that a store has of a run: what goes into its bundle, and what users are shown.

The outbox (csrc/store/outbox.h) keeps evidence of every anchor that is proved or final. It is a
table that whoever may write can edit, so evidence is held against the checkpoint before it leaves.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlprov import anchoring
from mlprov._core import Store
from mlprov.anchor_files import (
    STATES,
    STATES_ENTRY,
    AnchorName,
    EthereumAnchor,
    IpfsAnchor,
    read_ethereum,
    read_ipfs,
)
from mlprov.errors import Error, EvidenceError, StoreError, VerificationError
from mlprov.records import canonical
from mlprov.statements import read_head
from mlprov.stores import HeadRow
from mlprov.verdicts import Unchecked

__all__ = [
    "StoredAnchor",
    "bundled_anchors",
    "check_stored",
    "evidence_known",
    "read_stored",
    "run_anchors",
]

_COPY = "restore the store from a copy"
_OLDER = 2  # csrc/store/schema.c: the first version with an outbox


@dataclass(frozen=True)
class StoredAnchor:
    """One anchor whose evidence the outbox has.

    Attributes:
        kind: ``ethereum`` or ``ipfs``.
        chain, target, account: as it was planned: chain id, contract and sender of Ethereum; ""
            where they were not known yet.
        origin: of the store log.
        size: of the log whose checkpoint is anchored.
        state: ``proved`` or ``final``.
        since: when it came into that state.
        evidence: as docs/format.md sections 14 and 15 have it.
    """

    kind: str
    chain: str
    target: str
    account: str
    origin: str
    size: int
    state: str
    since: str
    evidence: bytes

    @property
    def series(self) -> tuple[str, str, str, str]:
        """What anchors of several checkpoints have in common."""
        return self.kind, self.chain, self.target, self.account

    def read(self, note: bytes) -> EthereumAnchor | IpfsAnchor:
        """Hold the evidence against the checkpoint, and against what was planned.

        Raises:
            StoreError: it does not hold, or is of another chain, contract or account.
            Error: libsecp256k1 is not installed.
        """
        what = f"the evidence of the {self.kind} anchor of log size {self.size}"
        try:
            if self.kind == "ipfs":
                return read_ipfs(self.evidence, note, what)
            found = read_ethereum(self.evidence, note, what)
        except (VerificationError, EvidenceError, Unchecked) as error:
            raise StoreError(f"cannot use an anchor in the outbox: {error.what}", _COPY) from error
        planned = (
            ("chain", str(found.chain_id), self.chain),
            ("contract", found.contract, self.target),
            ("account", found.sender, self.account),
        )
        for thing, seen, expected in planned:
            if expected and seen.lower() != expected.lower():
                raise StoreError(
                    f"cannot use an anchor in the outbox: {what} is of the {thing} {seen}; it was "
                    f"planned for {expected}",
                    _COPY,
                )
        return found


def read_stored(store: Store) -> list[StoredAnchor]:
    """Every anchor with evidence, in the order of planning.

    Raises:
        StoreError: the outbox cannot be read.
    """
    try:
        if store.query("PRAGMA user_version")[0][0] < _OLDER:
            return []  # of an older version, and open for reading alone
        rows = store.query(
            "SELECT kind, chain, target, account, origin, size, state, since, evidence"
            " FROM anchor_intents WHERE evidence IS NOT NULL AND state IN ('proved', 'final')"
            " AND kind IN ('ethereum', 'ipfs') ORDER BY id"
        )
    except ValueError as error:  # the statement is ours: the tables are not
        raise StoreError(f"cannot read the anchors in {store.path}: {error}", _COPY) from error
    return [StoredAnchor(*row) for row in rows]


def evidence_known(store: Store, evidence: bytes) -> bool:
    """Whether the outbox has this very evidence."""
    return any(anchor.evidence == evidence for anchor in read_stored(store))


def _choose(anchors: Sequence[StoredAnchor], heads: Sequence[HeadRow]) -> list[StoredAnchor]:
    """For each head the first checkpoint of each series that has it: a later one adds no time.

    A checkpoint has a head whose index is below its size.
    """
    by_series: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for place, anchor in enumerate(anchors):
        by_series.setdefault(anchor.series, []).append((anchor.size, place))
    chosen: set[int] = set()
    for sizes in by_series.values():
        sizes.sort()
        for head in heads:
            if head.log_index is not None:
                first = bisect.bisect_right(sizes, head.log_index, key=lambda pair: pair[0])
                chosen.update(place for _, place in sizes[first : first + 1])
    return [anchors[place] for place in sorted(chosen)]


def _checkpoint(store: Store, anchor: StoredAnchor) -> bytes:
    """The signed checkpoint that was anchored, by this store's key.

    Raises:
        StoreError: there is none, or it is of another log.
    """
    what = f"the {anchor.kind} anchor of log size {anchor.size}"
    if anchor.origin != store.log_origin:
        raise StoreError(
            f"cannot use an anchor in the outbox: {what} is of the log {anchor.origin}; this "
            f"store's is {store.log_origin}",
            _COPY,
        )
    rows = store.query("SELECT note FROM log_checkpoint WHERE size = ?", (anchor.size,))
    if not rows:
        raise StoreError(
            f"cannot use an anchor in the outbox: {what} is of a checkpoint that the store lacks",
            _COPY,
        )
    note = bytes(rows[0][0])
    try:
        size, _ = read_head(note, store.log_vkey)
    except (VerificationError, EvidenceError) as error:
        raise StoreError(
            f"cannot use an anchor in the outbox: the checkpoint of {what} is not one of this "
            f"store's log: {error.what}",
            _COPY,
        ) from error
    if size != anchor.size:
        raise StoreError(
            f"cannot use an anchor in the outbox: the checkpoint of {what} is of size {size}", _COPY
        )
    return note


def check_stored(store: Store, anchor: StoredAnchor) -> EthereumAnchor | IpfsAnchor:
    """Hold the evidence of an anchor against the checkpoint that the store has of its size.

    Raises:
        VerificationError: it does not hold, or is of another chain, contract or account than it
            was planned for.
        EvidenceError: it is malformed.
        Unchecked: it is of a newer version.
        StoreError: the store does not have that checkpoint.
    """
    note = _checkpoint(store, anchor)
    try:
        return anchor.read(note)
    except StoreError as error:
        cause = error.__cause__
        if isinstance(cause, (VerificationError, EvidenceError, Unchecked)):
            raise cause from error
        raise VerificationError(error.what, error.remedy) from error


def bundled_anchors(
    store: Store, heads: Sequence[HeadRow]
) -> tuple[dict[str, bytes], dict[int, bytes]]:
    """The anchors of a run for its bundle (docs/format.md section 8).

    Args:
        store: where they are.
        heads: of the run.

    Returns:
        the entries of ``anchors/``, and log size → the checkpoint's note, of those anchored.

    Raises:
        StoreError: evidence in the outbox does not hold.
        Error: libsecp256k1, which Ethereum's needs, is not installed.
    """
    entries: dict[str, bytes] = {}
    notes: dict[int, bytes] = {}
    states: dict[str, Any] = {}
    counts: dict[tuple[str, int], int] = {}
    for anchor in _choose(read_stored(store), heads):
        notes[anchor.size] = _checkpoint(store, anchor)
        anchor.read(notes[anchor.size])
        key = (anchor.kind, anchor.size)
        counts[key] = counts.get(key, 0) + 1
        name = AnchorName(anchor.kind, anchor.size, counts[key])
        entries[name.entry] = anchor.evidence
        states[str(name)] = anchor.state
    if states:
        entries[STATES_ENTRY] = canonical(states)
    return entries, notes


def run_anchors(store: Store, heads: Sequence[HeadRow]) -> list[dict[str, Any]]:
    """The anchors outside the machine that cover a run: those of its bundle, and what is open.

    Args:
        store: where they are.
        heads: of the run.

    Returns:
        for each ``kind``, ``log_size``, ``state``, ``since``, ``head`` (records under the largest
        head that it covers), ``index`` (of that head in the store log), and what its evidence
        shows; ``fault`` where that does not hold.

    Raises:
        StoreError: the outbox cannot be read.
    """
    indices = [(head.log_index, head.size) for head in heads if head.log_index is not None]
    listed = [
        _shown(anchor.kind, anchor.size, anchor.state, anchor.since, indices)
        | _facts(store, anchor)
        for anchor in _choose(read_stored(store), heads)
    ]
    for row in reversed(anchoring.read_anchors(store)):
        if row.kind == anchoring.FILES:
            continue  # no anchor of the log: mlprov.publishing
        if row.state not in STATES and any(index < row.size for index, _ in indices):
            listed.append(_shown(row.kind, row.size, row.state, row.since, indices))
    return listed


def _shown(
    kind: str, size: int, state: str, since: str, indices: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    index, head = max(pair for pair in indices if pair[0] < size)
    return {
        "kind": kind,
        "log_size": size,
        "state": state,
        "since": since,
        "index": index,
        "head": head,
    }


def _facts(store: Store, anchor: StoredAnchor) -> dict[str, Any]:
    try:
        return anchor.read(_checkpoint(store, anchor)).json()
    except Error as error:
        return {"fault": error.what}

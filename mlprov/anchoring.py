"""Anchors outside the machine: what the outbox of a store says, and the threads that deliver.

An anchor is delivered by threads of the core while a run records, and by ``mlprov sync`` at any
time. Where the servers are: :mod:`mlprov.anchor_servers`.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mlprov import keys
from mlprov._core import AnchorWorkers, Store
from mlprov.anchor_servers import FILES, KINDS, Endpoint, endpoint, every
from mlprov.errors import ConfigError, StoreError
from mlprov.ethereum_accounts import ether_text
from mlprov.ethereum_signers import set_signer

__all__ = [
    "FILES",
    "KINDS",
    "AnchorRow",
    "Anchoring",
    "Endpoint",
    "blocked_by",
    "configured_kinds",
    "deliver",
    "deliver_to",
    "endpoint",
    "every",
    "open_kinds",
    "plan",
    "read_anchors",
    "set_signer",
    "start_workers",
    "watch",
]

EXIT_SECONDS = 2.0  # what the end of a run waits for a server at most
_LOOK_SECONDS = 1.0  # between two looks at a store that other processes write to
_OUTBOX_VERSION = 2  # csrc/store/schema.c
# States of an anchor with a nonce in which it may still be mined: others of its account wait.
_UNRESOLVED = ("reserved", "signed", "sent", "dropped", "replaced", "reorged", "needs_operator")


@dataclass(frozen=True)
class AnchorRow:
    """One anchor as the outbox has it.

    Attributes:
        kind: of anchor, such as ``"ipfs"``.
        size: of the store log's checkpoint that it is of.
        state: ``planned`` … ``final``, or one of the side states (csrc/store/outbox.h).
        since: when it came into that state, RFC 3339.
        failures: in a row.
        note: the last failure, or what has to be done.
        reference: how the network names it: a transaction id or CID; empty before ``signed``.
        evidence: what was kept of it, or None.
        chain: the chain's id, in decimal digits, for kinds that have chains.
        contract: that it calls, as an address; or empty.
        account: that pays, as an address; or empty.
        nonce: the account's number of the transaction; None before one is reserved.
        attempts: how many were signed under that number: one, and its replacements.
        shown: what the network shows of it once it is in a block: ``number`` and ``block`` (its
            hash), ``transaction``, ``gas_used``, and ``cost`` in wei, a text; else None.
    """

    kind: str
    size: int
    state: str
    since: str
    failures: int
    note: str | None
    reference: bytes
    evidence: bytes | None
    chain: str = ""
    contract: str = ""
    account: str = ""
    nonce: int | None = None
    attempts: int = 0
    shown: dict[str, Any] | None = None

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Kind, chain, contract and account: which endpoint delivers it."""
        return self.kind, self.chain, self.contract, self.account

    @property
    def open(self) -> bool:
        """Whether a worker will go on with it by itself."""
        return self.state not in ("final", "needs_operator")

    @property
    def reference_text(self) -> str:
        """A CID in base32, another reference in hexadecimal, "-" before there is one."""
        if not self.reference:
            return "-"
        if self.kind in ("ipfs", FILES):
            return "b" + base64.b32encode(self.reference).decode().rstrip("=").lower()
        return "0x" + self.reference.hex()

    @property
    def cost_text(self) -> str:
        """Gas used times the price that was paid for it, in ether; "-" before it is known."""
        return "-" if self.shown is None else ether_text(int(self.shown["cost"]))


def read_anchors(store: Store) -> list[AnchorRow]:
    """Every anchor in a store's outbox, newest first.

    Raises:
        StoreError: the outbox cannot be read.
    """
    try:
        if store.query("PRAGMA user_version")[0][0] < _OUTBOX_VERSION:
            return []  # of an older version, and open for reading alone
        rows = store.query(
            "SELECT i.kind, i.size, i.state, i.since, i.failures, i.note, coalesce((SELECT"
            " a.reference FROM anchor_attempts a WHERE a.intent = i.id AND a.nonce IS i.nonce"
            " ORDER BY a.number DESC LIMIT 1), x''), i.evidence, i.chain, i.target, i.account,"
            " i.nonce, (SELECT count(*) FROM anchor_attempts a WHERE a.intent = i.id"
            " AND a.nonce IS i.nonce), i.shown FROM anchor_intents i ORDER BY i.id DESC"
        )
    except ValueError as error:  # the statement is ours: the tables are not
        raise StoreError(
            f"cannot read the anchors in {store.path}: {error}", "restore the store from a copy"
        ) from error
    return [_row(row) for row in rows]


def _row(columns: Sequence[Any]) -> AnchorRow:
    """Of replacements the one that is in a block is the reference."""
    row = AnchorRow(*columns[:-1])
    if columns[-1] is None:
        return row
    shown = json.loads(columns[-1])
    reference = bytes.fromhex(shown["transaction"].removeprefix("0x"))
    return dataclasses.replace(row, reference=reference, shown=shown)


def blocked_by(row: AnchorRow, rows: Iterable[AnchorRow]) -> AnchorRow | None:
    """The anchor of the same account that has to be mined or given up before ``row`` is sent."""
    if row.state != "planned" or not row.account:
        return None
    same = (o for o in rows if (o.chain, o.account) == (row.chain, row.account))
    return next((o for o in same if o.nonce is not None and o.state in _UNRESOLVED), None)


def _is_left(rows: Sequence[AnchorRow], places: Iterable[tuple[str, str, str, str]]) -> bool:
    """Whether threads at these places still have something to do, now or later."""
    for row in rows:
        blocking = blocked_by(row, rows)
        waits = blocking is not None and not blocking.open
        if row.open and row.place in places and not waits:
            return True
    return False


def open_kinds(store: Store) -> list[str]:
    """Kinds that a worker would go on with."""
    return sorted({row.kind for row in read_anchors(store) if row.open})


def configured_kinds() -> list[str]:
    """Kinds that have a server.

    Raises:
        ConfigError: none has.
    """
    found = []
    for kind in KINDS:
        with contextlib.suppress(ConfigError):
            found.append(endpoint(kind).kind)
    found += [FILES] if "ipfs" in found else []
    if not found:
        raise ConfigError(
            "cannot go on: no server is configured for any anchor",
            f"set it in {keys.home() / 'config.toml'}, [anchor.ethereum] or [anchor.ipfs]",
        )
    return found


def plan(store: Store, server: Endpoint) -> None:
    """Put the store log's last checkpoint into the outbox, to be anchored there once."""
    store.plan_anchor(*server.place)


class Anchoring:
    """The anchors of one run: nothing where it has none.

    Args:
        kinds: of anchors; ``"log"`` needs nothing here.

    Raises:
        ConfigError: no server is configured for one of them.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        self._endpoints = [endpoint(kind) for kind in kinds if kind != "log"]
        self._servers = [each.for_core() for each in self._endpoints]
        self._every_ms = int(1000 * every()) if self._endpoints else 0
        self._workers: AnchorWorkers | None = None

    def start(self, store: Store) -> None:
        """Start the threads that deliver."""
        if self._servers:
            path = os.fsencode(store.path)
            self._workers = AnchorWorkers(path, self._servers, every_ms=self._every_ms)

    def hand_over(self, *, at_once: bool = False) -> None:
        """Records were signed: the threads anchor them. Costs the caller a flag.

        Args:
            at_once: whether this does not wait for the time between two checkpoints.
        """
        if self._workers is not None:
            self._workers.hand_over(at_once)

    def plan(self, store: Store) -> None:
        """Put the last checkpoint into the outbox: from now on it will be delivered."""
        for each in self._endpoints:
            plan(store, each)

    def finish(self, timeout: float) -> None:
        """Wait for delivery, at most EXIT_SECONDS in all, and end the threads."""
        workers, self._workers = self._workers, None
        if workers is None:
            return
        patience = max(0.0, min(timeout, EXIT_SECONDS))
        with contextlib.suppress(KeyboardInterrupt):
            workers.hand_over(True)
            workers.wait(int(1000 * patience * 0.75))
        workers.stop(int(1000 * patience * 0.25))


def start_workers(store: Store, endpoints: Sequence[Endpoint]) -> AnchorWorkers:
    """Threads that deliver to these servers until they are stopped.

    Raises:
        ConfigError: the key of an account cannot be opened.
    """
    servers = [each.for_core() for each in endpoints]
    return AnchorWorkers(os.fsencode(store.path), servers)


def deliver(store: Store, kinds: Sequence[str], timeout: float) -> None:
    """Deliver what is due, and what becomes due, until nothing is open or ``timeout`` seconds.

    Raises:
        ConfigError: no server is configured for one of the kinds.
    """
    if kinds:
        deliver_to(store, [endpoint(kind) for kind in kinds], timeout)


def deliver_to(
    store: Store,
    endpoints: Sequence[Endpoint],
    timeout: float,
    *,
    is_enough: Callable[[Sequence[AnchorRow]], bool] = lambda _: False,
) -> None:
    """As :func:`deliver`, to these servers, and no longer than until the outbox is enough."""
    ends = time.monotonic() + timeout
    places = [each.place for each in endpoints]
    workers = start_workers(store, endpoints)
    try:
        while (left := ends - time.monotonic()) > 0:
            workers.wait(int(1000 * min(left, _LOOK_SECONDS)))
            rows = read_anchors(store)
            if not _is_left(rows, places) or is_enough(rows):
                return
            # Something failed and waits for its time, or another process is at it.
            time.sleep(min(_LOOK_SECONDS / 10, max(0.0, ends - time.monotonic())))
    finally:
        workers.stop(int(1000 * EXIT_SECONDS))


def watch(store: Store, stop: threading.Event, looked: Callable[[], None] = lambda: None) -> None:
    """Anchor whatever other processes record, and deliver what they planned, until ``stop``.

    Args:
        store: whose outbox it is.
        stop: ends it.
        looked: called about every second.

    Raises:
        ConfigError: no server is configured for any kind.
    """
    workers = start_workers(store, [endpoint(kind) for kind in configured_kinds()])
    try:
        seen = -1
        while not stop.wait(_LOOK_SECONDS):
            newest = store.query("SELECT coalesce(max(id), 0) FROM heads")[0][0]
            if newest != seen:
                workers.hand_over(False)
            seen = newest
            looked()
    finally:
        workers.stop(int(1000 * EXIT_SECONDS))

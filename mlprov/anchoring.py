"""Anchors outside the machine: where their servers are, and what the outbox of a store says.

Servers and keys come from the user's own ``config.toml`` (:func:`mlprov.keys.home`) or from the
environment, never from a project's files: whoever clones a repository has not chosen those. An
anchor is delivered by threads of the core while a run records, and by ``mlprov sync`` at any time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import stat
import threading
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlprov import keys
from mlprov._core import AnchorWorkers, Store
from mlprov.errors import ConfigError, StoreError

__all__ = [
    "FILES",
    "KINDS",
    "AnchorRow",
    "Anchoring",
    "Endpoint",
    "deliver",
    "endpoint",
    "every",
    "open_kinds",
    "read_anchors",
    "watch",
]

KINDS = ("ipfs",)
FILES = "ipfs-file"  # files that are published: on the node of "ipfs"
EXIT_SECONDS = 2.0  # what the end of a run waits for a server at most
_LOOK_SECONDS = 1.0  # between two looks at a store that other processes write to
_EVERY = 600.0  # seconds
_EVERY_MAX = 1_000_000
_TIMEOUT = 30.0  # seconds for one request
_KNOWN = ("url", "headers", "ca_file", "timeout")
_OUTBOX_VERSION = 2  # csrc/store/schema.c


@dataclass(frozen=True, repr=False)
class Endpoint:
    """A server of one kind of anchor. Its text shows none of it: URL and headers may be keys."""

    kind: str
    url: str
    headers: tuple[str, ...] = ()
    ca_file: str | None = None
    timeout: float = _TIMEOUT

    def __repr__(self) -> str:
        return f"<mlprov.anchoring.Endpoint {self.kind}>"

    def for_core(self) -> tuple[str, str, tuple[str, ...], str | None, int]:
        """As the core takes it."""
        return self.kind, self.url, self.headers, self.ca_file, int(1000 * self.timeout)


def _check_private(path: pathlib.Path) -> None:
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"cannot use the headers in {path}: others can read it (mode {stat.S_IMODE(mode):04o}),"
            " and they may be credentials",
            "chmod 600 it",
        )


def _configuration() -> tuple[Mapping[str, Any], pathlib.Path]:
    """The table ``[anchor]`` of the user's own file."""
    path = keys.home() / "config.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("anchor", {})
    except FileNotFoundError:
        return {}, path
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"cannot read the configuration {path}: {error}", "mend or remove it"
        ) from error
    if not isinstance(table, Mapping):
        raise ConfigError(f"cannot use anchor in {path}: expected a table", "write [anchor]")
    known = ("every", *KINDS)
    if unknown := sorted(set(table) - set(known)):
        raise ConfigError(
            f"cannot use {unknown[0]!r} in {path}, [anchor]: known are {', '.join(known)}"
        )
    return table, path


def every() -> float:
    """Seconds that lie at least between two checkpoints that a run anchors; its last one always is.

    ``MLPROV_ANCHOR_EVERY``, or ``every`` in ``[anchor]`` of the user's configuration, or 600.

    Raises:
        ConfigError: no number from 0 to a million.
    """
    table, path = _configuration()
    given = os.environ.get("MLPROV_ANCHOR_EVERY")
    value: Any = given if given is not None else table.get("every", _EVERY)
    with contextlib.suppress(TypeError, ValueError):
        if not isinstance(value, bool) and 0 <= (seconds := float(value)) <= _EVERY_MAX:
            return seconds
    where = "MLPROV_ANCHOR_EVERY" if given is not None else f"{path}, [anchor] every"
    raise ConfigError(f"cannot use {where}: expected seconds from 0 to {_EVERY_MAX}")


def _table(kind: str) -> tuple[Mapping[str, Any], str]:
    """What the user's configuration says of a kind, and where it stands."""
    tables, path = _configuration()
    where = f"{path}, [anchor.{kind}]"
    table = tables.get(kind, {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"cannot use {where}: expected a table", f"write [anchor.{kind}]")
    if unknown := sorted(set(table) - set(_KNOWN)):
        raise ConfigError(f"cannot use {unknown[0]!r} in {where}: known are {', '.join(_KNOWN)}")
    if table.get("headers"):
        _check_private(path)
    return table, where


def endpoint(kind: str) -> Endpoint:
    """The server of a kind: ``MLPROV_<KIND>_URL`` and ``…_HEADER``, or the user's configuration.

    Raises:
        ConfigError: there is none, or what is there cannot be used; values are not shown.
    """
    if kind == FILES:
        return dataclasses.replace(endpoint("ipfs"), kind=FILES)
    table, where = _table(kind)
    variable = f"MLPROV_{kind.upper()}"
    url = os.environ.get(f"{variable}_URL") or table.get("url")
    header = os.environ.get(f"{variable}_HEADER")
    headers = [header] if header else table.get("headers", [])
    ca_file, timeout = table.get("ca_file"), table.get("timeout", _TIMEOUT)
    if not url:
        raise ConfigError(
            f"cannot anchor with {kind!r}: no server is named",
            f"set {variable}_URL, or url in {where}",
        )
    if not (
        isinstance(url, str)
        and isinstance(headers, list)
        and all(isinstance(text, str) and ":" in text for text in headers)
        and isinstance(ca_file, str | None)
        and isinstance(timeout, int | float)
        and 0 < timeout <= 3600
    ):
        raise ConfigError(
            f"cannot use {where}: expected url as text, headers as a list of 'Name: value', "
            "ca_file as a path, timeout as seconds up to 3600"
        )
    return Endpoint(kind, url, tuple(headers), ca_file, float(timeout))


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
    """

    kind: str
    size: int
    state: str
    since: str
    failures: int
    note: str | None
    reference: bytes
    evidence: bytes | None

    @property
    def open(self) -> bool:
        """Whether a worker will go on with it by itself."""
        return self.state not in ("final", "needs_operator")


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
            " a.reference FROM anchor_attempts a WHERE a.intent = i.id ORDER BY a.number DESC"
            " LIMIT 1), x''), i.evidence FROM anchor_intents i ORDER BY i.id DESC"
        )
    except ValueError as error:  # the statement is ours: the tables are not
        raise StoreError(
            f"cannot read the anchors in {store.path}: {error}", "restore the store from a copy"
        ) from error
    return [AnchorRow(*row) for row in rows]


def open_kinds(store: Store) -> list[str]:
    """Kinds that a worker would go on with."""
    return sorted({row.kind for row in read_anchors(store) if row.open})


def _configured_kinds() -> list[str]:
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
            "cannot watch: no server is configured for any anchor",
            f"set MLPROV_IPFS_URL, or url in {keys.home() / 'config.toml'}, [anchor.ipfs]",
        )
    return found


class Anchoring:
    """The anchors of one run: nothing where it has none.

    Args:
        kinds: of anchors; ``"log"`` needs nothing here.

    Raises:
        ConfigError: no server is configured for one of them.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        self._endpoints = [endpoint(kind) for kind in kinds if kind != "log"]
        self._every_ms = int(1000 * every()) if self._endpoints else 0
        self._workers: AnchorWorkers | None = None

    def start(self, store: Store) -> None:
        """Start the threads that deliver."""
        if self._endpoints:
            servers = [each.for_core() for each in self._endpoints]
            path = os.fsencode(store.path)
            self._workers = AnchorWorkers(path, servers, every_ms=self._every_ms)

    def hand_over(self) -> None:
        """Records were signed: the threads anchor them. Costs the caller a flag."""
        if self._workers is not None:
            self._workers.hand_over(False)

    def plan(self, store: Store) -> None:
        """Put the last checkpoint into the outbox: from now on it will be delivered."""
        for each in self._endpoints:
            store.plan_anchor(each.kind)

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


def _start_workers(store: Store, kinds: Sequence[str]) -> AnchorWorkers:
    servers = [endpoint(kind).for_core() for kind in kinds]
    return AnchorWorkers(os.fsencode(store.path), servers)


def deliver(store: Store, kinds: Sequence[str], timeout: float) -> None:
    """Deliver what is due, and what becomes due, until nothing is open or ``timeout`` seconds.

    Raises:
        ConfigError: no server is configured for one of the kinds.
    """
    if not kinds:
        return
    ends = time.monotonic() + timeout
    workers = _start_workers(store, kinds)
    try:
        while (left := ends - time.monotonic()) > 0:
            workers.wait(int(1000 * min(left, _LOOK_SECONDS)))
            if not any(row.open and row.kind in kinds for row in read_anchors(store)):
                return
            # Something failed and waits for its time, or another process is at it.
            time.sleep(min(_LOOK_SECONDS / 10, max(0.0, ends - time.monotonic())))
    finally:
        workers.stop(int(1000 * EXIT_SECONDS))


def watch(store: Store, stop: threading.Event) -> None:
    """Anchor whatever other processes record, and deliver what they planned, until ``stop``.

    Raises:
        ConfigError: no server is configured for any kind.
    """
    workers = _start_workers(store, _configured_kinds())
    try:
        seen = -1
        while not stop.wait(_LOOK_SECONDS):
            newest = store.query("SELECT coalesce(max(id), 0) FROM heads")[0][0]
            if newest != seen:
                workers.hand_over(False)
            seen = newest
    finally:
        workers.stop(int(1000 * EXIT_SECONDS))

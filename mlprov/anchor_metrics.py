"""What a store's outbox counts, as an OpenMetrics text for monitoring.

Format: OpenMetrics 1.0 (github.com/prometheus/OpenMetrics, specification/OpenMetrics.md), text.
Everything follows from the outbox: counters go on after a restart, and every process of a store
tells the same.
"""

from __future__ import annotations

import datetime
import pathlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlprov import anchoring
from mlprov._core import Store
from mlprov.anchoring import AnchorRow
from mlprov.bundles import write_whole
from mlprov.errors import StoreError

__all__ = ["MetricsFile", "openmetrics"]

_EVERY_SECONDS = 15.0  # a file that is older says that nobody writes it
_WEI = 10**18  # of one ether
# csrc/store/outbox.h
_STATES = (
    "planned", "reserved", "signed", "sent", "included", "proved", "final", "reorged", "replaced",
    "dropped", "reverted", "foreign", "needs_operator",
)  # fmt: skip

# What was signed and not sent yet is the last attempt of an intent in that state.
_SENT = (
    "SELECT i.kind, i.chain, count(*) FROM anchor_attempts a JOIN anchor_intents i"
    " ON i.id = a.intent WHERE length(a.bytes) > 0 AND NOT (i.state = 'signed' AND a.number ="
    " (SELECT max(b.number) FROM anchor_attempts b WHERE b.intent = i.id))"
    " GROUP BY i.kind, i.chain"
)
# An intent gives up its nonce where a transaction was reverted, or another one took the nonce.
_LOST = (
    "SELECT i.kind, i.chain, count(DISTINCT i.id || ' ' || a.nonce) FROM anchor_attempts a"
    " JOIN anchor_intents i ON i.id = a.intent WHERE a.nonce IS NOT i.nonce"
    " GROUP BY i.kind, i.chain"
)
_LATENCIES = (
    "SELECT i.kind, i.chain, i.since, r.time FROM anchor_intents i"
    " JOIN heads h ON h.log_index = i.size - 1"
    " JOIN records r ON r.run = h.run AND r.seq = h.size - 1 WHERE i.state = 'final'"
    " AND i.kind IN ('ethereum', 'ipfs')"  # of checkpoints
)

Place = tuple[str, str]  # kind and chain: the labels


@dataclass
class _Family:
    """A metric and its samples; a counter's name is written without ``_total``."""

    name: str
    type: str
    help: str
    unit: str = ""
    samples: list[tuple[str, Mapping[str, str], str]] = field(default_factory=list)

    def add(self, place: Place, value: str, *, suffix: str = "", **labels: str) -> None:
        self.samples.append((suffix, {"kind": place[0], "chain": place[1], **labels}, value))

    def lines(self) -> list[str]:
        unit = [f"# UNIT {self.name} {self.unit}"] if self.unit else []
        head = [f"# TYPE {self.name} {self.type}", *unit, f"# HELP {self.name} {self.help}"]
        return head + [
            f"{self.name}{suffix}{{{_labels(labels)}}} {value}"
            for suffix, labels, value in self.samples
        ]


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items())


def _escape(value: str) -> str:
    """As label values are: the outbox is a table that may hold anything."""
    printable = value.encode("utf-8", "replace").decode()
    return printable.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _seconds(moment: str) -> float:
    return datetime.datetime.fromisoformat(moment).timestamp()


class _Outbox:
    """What is read of a store, by place."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.rows: dict[Place, list[AnchorRow]] = {}
        for row in anchoring.read_anchors(store):
            self.rows.setdefault((row.kind, row.chain), []).append(row)

    def counts(self, statement: str) -> dict[Place, int]:
        """What a statement counts of each place."""
        return {(kind, chain): count for kind, chain, count in self._query(statement)}

    def latencies(self) -> dict[Place, list[float]]:
        """Seconds from the last record under a checkpoint until its anchor was final."""
        found: dict[Place, list[float]] = {}
        for kind, chain, since, moment in self._query(_LATENCIES):
            seconds = max(0.0, _seconds(since) - _seconds(moment))  # clocks jump
            found.setdefault((kind, chain), []).append(seconds)
        return found

    def _query(self, statement: str) -> list[tuple[Any, ...]]:
        if not self.rows:
            return []
        try:
            return self._store.query(statement)
        except ValueError as error:  # the statement is ours: the tables are not
            raise StoreError(
                f"cannot read the anchors in {self._store.path}: {error}",
                "restore the store from a copy",
            ) from error


def openmetrics(store: Store) -> str:
    """The counters of a store's anchors, by kind and chain, in OpenMetrics text.

    Raises:
        StoreError: the outbox cannot be read.
    """
    outbox = _Outbox(store)
    families = [*_states(outbox), *_counters(outbox), _latency(outbox), *_costs(outbox)]
    lines = [line for family in families for line in family.lines()]
    return "\n".join([*lines, "# EOF", ""])


def _states(outbox: _Outbox) -> Iterable[_Family]:
    states = _Family("mlprov_anchors", "gauge", "Anchors in the outbox by state.")
    failures = _Family(
        "mlprov_anchor_failures_in_a_row",
        "gauge",
        "Failures of open anchors since each one's last step that went well.",
    )
    last = _Family(
        "mlprov_anchor_last_confirmed_timestamp_seconds",
        "gauge",
        "When the last anchor became final.",
        "seconds",
    )
    for place, rows in outbox.rows.items():
        for state in _STATES:
            count = sum(row.state == state for row in rows)
            states.add(place, str(count), state=state)
        failures.add(place, str(sum(row.failures for row in rows if row.open)))
        if finals := [_seconds(row.since) for row in rows if row.state == "final"]:
            last.add(place, f"{max(finals):.3f}")
    return states, failures, last


def _counters(outbox: _Outbox) -> Iterable[_Family]:
    sent, lost = outbox.counts(_SENT), outbox.counts(_LOST)
    confirmed = {
        place: sum(row.state == "final" for row in rows) for place, rows in outbox.rows.items()
    }
    for name, help_text, counts in (
        ("sent", "Transactions and blocks that were sent, replacements among them.", sent),
        ("confirmed", "Anchors that are final.", confirmed),
        ("failed", "Transactions given up: reverted, or their nonce was used otherwise.", lost),
    ):
        family = _Family(f"mlprov_anchors_{name}", "counter", help_text)
        for place in outbox.rows:
            family.add(place, str(counts.get(place, 0)), suffix="_total")
        yield family


def _latency(outbox: _Outbox) -> _Family:
    family = _Family(
        "mlprov_anchor_latency_seconds",
        "summary",
        "From the last record under a checkpoint until its anchor was final.",
        "seconds",
    )
    latencies = outbox.latencies()
    for place in outbox.rows:
        seconds = latencies.get(place, [])
        family.add(place, str(len(seconds)), suffix="_count")
        family.add(place, f"{sum(seconds):.3f}", suffix="_sum")
    return family


def _costs(outbox: _Outbox) -> Iterable[_Family]:
    cost = _Family(
        "mlprov_anchor_cost_ether", "counter", "Ether paid for anchors in a block.", "ether"
    )
    gas = _Family("mlprov_anchor_gas", "counter", "Gas used by anchors in a block.")
    for place, rows in outbox.rows.items():
        shown = [row.shown for row in rows if row.shown is not None]
        if not any(row.account for row in rows):
            continue  # a kind that costs nothing
        whole, rest = divmod(sum(int(each["cost"]) for each in shown), _WEI)
        cost.add(place, f"{whole}.{rest:018d}", suffix="_total")
        gas.add(place, str(sum(int(each["gas_used"]) for each in shown)), suffix="_total")
    return cost, gas


class MetricsFile:
    """A file of counters that monitoring reads: written whole or not at all.

    Args:
        path: the file, replaced when something has changed, and every 15 seconds.
        store: whose outbox it is.
    """

    def __init__(self, path: pathlib.Path, store: Store) -> None:
        self._path, self._store = path, store
        self._written = ""
        self._at = 0.0

    def update(self) -> None:
        """Write what the store counts now.

        Raises:
            ConfigError: the path is that of something else than a file.
            StoreError: it cannot be written, or the store not be read.
        """
        text, now = openmetrics(self._store), time.monotonic()
        if text != self._written or now - self._at >= _EVERY_SECONDS:
            self._written, self._at = text, now  # first: what fails is tried again later, too
            write_whole(self._path, text.encode(), what="metrics")

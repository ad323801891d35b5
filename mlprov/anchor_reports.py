"""Whether a store's anchors hold, over every network in one table; as text, JSON and a page.

Everything that is shown may have been written by somebody else: it is escaped.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mlprov._core import Store
from mlprov.anchor_files import EthereumAnchor, IpfsAnchor, block_time
from mlprov.anchoring import KINDS, AnchorRow, Endpoint, read_anchors
from mlprov.chain_nodes import ChainNode
from mlprov.escapes import escape
from mlprov.ipfs_nodes import read_back
from mlprov.stored_anchors import StoredAnchor, check_stored, read_stored
from mlprov.verdicts import Check, Checks, Unchecked
from mlprov.wording import brief

__all__ = ["HEADER", "Finding", "as_line", "as_page", "as_text", "check_anchors"]

HEADER = (
    "NETWORK",
    "LOG SIZE",
    "STATE",
    "EVIDENCE",
    "NODE",
    "BLOCK TIME (UTC)",
    "COST",
    "REFERENCE",
)
_RESULTS = ("holds", "does not hold", "could not check")
_LONG_CELL = 120  # characters
_LONG_LINE = 600


@dataclass(frozen=True)
class Finding:
    """One anchor, and what was checked of it. True where everything that was asked for holds.

    Attributes:
        row: as the outbox has it.
        checks: ``evidence`` (against the checkpoint, offline), ``node`` where one was asked, and
            what a caller added.
        time: of its block, as the evidence has it, and so relative to the block's hash; or None.
    """

    row: AnchorRow
    checks: tuple[Check, ...]
    time: str | None = None

    @property
    def network(self) -> str:
        """The kind, and which chain where there are several.

        Of an anchor without chains both are the same.
        """
        kind, chain = self.row.kind, self.row.chain
        return kind if chain in ("", kind) else f"{kind} (chain {chain})"

    @property
    def reasons(self) -> list[str]:
        """Why what does not hold, or could not be checked, is so."""
        return [
            f"{self.network} of log size {self.row.size}: {check.name} {check.state}: "
            f"{check.detail}"
            for check in self.checks
            if check.state != "holds"
        ]

    @property
    def result(self) -> str:
        """``holds``, ``does not hold`` or ``could not check``."""
        states = {check.state for check in self.checks}
        return _RESULTS[1 if "fails" in states else 2 if "unchecked" in states else 0]

    def __bool__(self) -> bool:
        return self.result == "holds"

    def state_of(self, name: str) -> str:
        """Of one check; "-" where it was not asked for."""
        return next((check.state for check in self.checks if check.name == name), "-")

    def cells(self) -> tuple[object, ...]:
        """Under HEADER."""
        return (
            self.network,
            self.row.size,
            self.row.state,
            self.state_of("evidence"),
            self.state_of("node"),
            (self.time or "-").replace("T", " ").removesuffix(".000Z"),
            self.row.cost_text,
            self.row.reference_text,
        )

    def json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "network": self.network,
            "log_size": self.row.size,
            "state": self.row.state,
            "since": self.row.since,
            "reference": self.row.reference_text if self.row.reference else None,
            "cost": None if self.row.shown is None else self.row.shown["cost"],
            "block_time": self.time,
            "note": self.row.note,
            "result": self.result,
            "checks": [vars(check) for check in self.checks],
        }


class _RowChecks:
    """Makes the checks of one anchor, one after the other."""

    def __init__(self, store: Store, row: AnchorRow, stored: StoredAnchor | None) -> None:
        self._store, self._row, self._stored = store, row, stored
        self._found: EthereumAnchor | IpfsAnchor | None = None
        self.checks = Checks()

    def make(self, node: ChainNode | None, ipfs: Endpoint | None) -> None:
        self.checks.run("evidence", self._evidence)
        if node is not None and self._row.kind == "ethereum":
            self.checks.run("node", functools.partial(self._node, node), needs=["evidence"])
        if ipfs is not None and self._row.kind == "ipfs":
            self.checks.run("node", functools.partial(self._ipfs, ipfs), needs=["evidence"])

    @property
    def time(self) -> str | None:
        found = self._found
        return block_time(found.time) if isinstance(found, EthereumAnchor) else None

    def _evidence(self) -> str:
        if self._stored is None:
            raise Unchecked(f"there is no evidence yet: the anchor is {self._row.state}")
        found = check_stored(self._store, self._stored)
        self._found = found
        if isinstance(found, IpfsAnchor):
            return f"{found.cid} is the name of the checkpoint's note; storage, not time"
        return f"{found.event} at {found.contract}, sent by {found.sender}, in {found}, {found.hex}"

    def _node(self, node: ChainNode) -> str:
        assert isinstance(self._found, EthereumAnchor)
        node.judge(self._found)
        return f"the node asked has {self._found}, and calls it final"

    def _ipfs(self, node: Endpoint) -> str:
        assert isinstance(self._found, IpfsAnchor)
        return read_back(node, self._found)


def check_anchors(
    store: Store,
    node: ChainNode | None = None,
    ipfs: Endpoint | None = None,
    *,
    places: Iterable[tuple[str, str, str, str]] = (),
    references: Iterable[str] = (),
) -> list[Finding]:
    """Check every anchor of a store, newest first.

    Args:
        store: to read from.
        node: of Ethereum, to ask; None: none is.
        ipfs: a node of IPFS, likewise.
        places: where given, only anchors of these (:attr:`AnchorRow.place`).
        references: where given, only these (:attr:`AnchorRow.reference_text`).

    Raises:
        StoreError: the outbox cannot be read.
    """
    evidence = {
        (a.kind, a.chain, a.target, a.account, a.size): a
        for a in read_stored(store)
        if a.origin == store.log_origin
    }
    wanted, named = set(places), set(references)
    findings = []
    for row in read_anchors(store):
        is_wanted = (not wanted or row.place in wanted) and (
            not named or row.reference_text in named
        )
        if row.kind in KINDS and is_wanted:
            made = _RowChecks(store, row, evidence.get((*row.place, row.size)))
            made.make(node, ipfs)
            findings.append(Finding(row, tuple(made.checks.list), made.time))
    return findings


# ---- showing ----


def _cells(rows: Sequence[Sequence[object]]) -> list[list[str]]:
    return [[brief(escape(cell), _LONG_CELL) for cell in row] for row in rows]


def as_line(text: object) -> str:
    """A text on one line."""
    return brief(escape(text), _LONG_LINE)


def as_text(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    r"""A table in lines, two spaces between columns.

    >>> print(as_text(("A", "B"), [("1", "x"), ("22", "\x1b[31m")]))
    A   B
    1   x
    22  \x1b[31m
    """
    lines = _cells([header, *rows])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def as_page(
    title: str, said: Sequence[str], header: Sequence[str], rows: Sequence[Sequence[object]]
) -> str:
    """An HTML page of its own that loads and runs nothing; every text is escaped twice.

    For the reader first (no control or bidirectional characters), then for the page.
    """

    def element(name: str, text: object) -> str:
        return f"<{name}>{html.escape(as_line(text))}</{name}>"

    body = [element("h1", title), *(element("p", line) for line in said), "<table>"]
    body.append(f"<tr>{''.join(element('th', cell) for cell in header)}</tr>")
    body += [f"<tr>{''.join(element('td', cell) for cell in row)}</tr>" for row in rows]
    return "\n".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'">',
            element("title", title),
            "</head><body>",
            *body,
            "</table></body></html>\n",
        )
    )

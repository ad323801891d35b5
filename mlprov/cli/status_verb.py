"""``mlprov status``: what is anchored, what is on its way, what somebody has to do."""

from __future__ import annotations

import argparse
import base64

from mlprov import anchoring, stores
from mlprov.cli import output

_HEADER = (
    "ANCHOR", "LOG SIZE", "STATE", "SINCE (UTC)", "TRANSACTION OR CID", "BLOCK", "COST", "NEXT STEP"
)  # fmt: skip
_ASKS = "needs_operator"
_ETHER = 10**18  # wei


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "List the anchors of the store log's checkpoints, newest first. A state is shown only when "
        "it is true: 'sent' says that it may be on the network, 'final' that nothing is left to "
        "do. IPFS is storage: it proves no time. Exit code 2 where somebody has to do something."
    )


def reference_text(row: anchoring.AnchorRow) -> str:
    """A CID in base32, another reference in hexadecimal."""
    if not row.reference:
        return "-"
    if row.kind == "ipfs":
        return "b" + base64.b32encode(row.reference).decode().rstrip("=").lower()
    return "0x" + row.reference.hex()


def ether_text(wei: int) -> str:
    """An amount, exactly."""
    whole, rest = divmod(wei, _ETHER)
    return f"{whole}.{rest:018d}".rstrip("0").rstrip(".") + " ether"


def _place_text(row: anchoring.AnchorRow) -> str:
    return f"{row.kind} (chain {row.chain})" if row.account else row.kind


def _block_text(row: anchoring.AnchorRow) -> str:
    return "-" if row.shown is None else str(row.shown["number"])


def _cost_text(row: anchoring.AnchorRow) -> str:
    """Gas used times the price that was paid for it."""
    return "-" if row.shown is None else ether_text(int(row.shown["cost"]))


def _next_step(row: anchoring.AnchorRow, rows: list[anchoring.AnchorRow]) -> str:
    if row.state == _ASKS:
        return "see below, then: mlprov sync --retry"
    if not row.open:
        return "none"
    if (blocking := anchoring.blocked_by(row, rows)) is not None:
        return f"waits for that of log size {blocking.size}"
    step = "mlprov sync, once the chain calls it final" if row.state == "proved" else "mlprov sync"
    return step if row.failures == 0 else f"{step} ({row.failures} failures)"


def show(rows: list[anchoring.AnchorRow], path: str) -> None:
    """Print the table, and below it why what failed did."""
    if not rows:
        output.text(f"no anchors in {path}; 'mlprov anchor {anchoring.KINDS[0]}' makes one")
        return
    cells = [
        (
            _place_text(row),
            row.size,
            row.state,
            row.since[:19].replace("T", " "),
            reference_text(row),
            _block_text(row),
            _cost_text(row),
            _next_step(row, rows),
        )
        for row in rows
    ]
    output.table(cells, header=_HEADER)
    for row in rows:
        if row.note:
            output.text(f"{row.kind} of log size {row.size}: {row.note}")


def _chain_json(row: anchoring.AnchorRow) -> dict[str, object]:
    return {
        "chain_id": row.chain,
        "contract": row.contract,
        "account": row.account,
        "nonce": row.nonce,
        "attempts": row.attempts,
        "found": row.shown,
    }


def as_json(rows: list[anchoring.AnchorRow]) -> list[dict[str, object]]:
    """The rows as JSON values."""
    return [
        {
            "kind": row.kind,
            "size": row.size,
            "state": row.state,
            "since": row.since,
            "failures": row.failures,
            "note": row.note,
            "reference": reference_text(row) if row.reference else None,
            "evidence": None if row.evidence is None else row.evidence.decode(),
            **(_chain_json(row) if row.account else {}),
        }
        for row in rows
    ]


def run(arguments: argparse.Namespace) -> int:
    """Show the outbox."""
    with stores.open_store(arguments.store, read_only=True) as store:
        rows = anchoring.read_anchors(store)
        path = store.path
    if arguments.json:
        output.emit_json({"anchors": as_json(rows), "store": path})
    elif not arguments.quiet:
        show(rows, path)
    return 2 if any(row.state == _ASKS for row in rows) else 0

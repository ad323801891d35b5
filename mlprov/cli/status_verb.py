"""``mlprov status``: what is anchored, what is on its way, what somebody has to do."""

from __future__ import annotations

import argparse
import base64

from mlprov import anchoring, stores
from mlprov.cli import output

_HEADER = ("ANCHOR", "SIZE", "STATE", "SINCE (UTC)", "REFERENCE", "NEXT STEP")
_ASKS = "needs_operator"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "List the anchors of the store log's checkpoints (SIZE: of the log) and the files that are "
        "published (ipfs-file, SIZE in bytes), newest first. A state is shown only when "
        "it is true: 'sent' says that it may be on the network, 'final' that nothing is left to "
        "do. IPFS is storage: it proves no time. Exit code 2 where somebody has to do something."
    )


def reference_text(row: anchoring.AnchorRow) -> str:
    """A CID in base32, another reference in hexadecimal."""
    if not row.reference:
        return "-"
    if row.kind in ("ipfs", anchoring.FILES):
        return "b" + base64.b32encode(row.reference).decode().rstrip("=").lower()
    return "0x" + row.reference.hex()


def _size(row: anchoring.AnchorRow) -> str:
    """Of the log; of a file its bytes."""
    return f"{row.size} bytes" if row.kind == anchoring.FILES else str(row.size)


def _next_step(row: anchoring.AnchorRow) -> str:
    if row.state == _ASKS:
        return "see below, then: mlprov sync --retry"
    if not row.open:
        return "none"
    return "mlprov sync" if row.failures == 0 else f"mlprov sync ({row.failures} failures)"


def show(rows: list[anchoring.AnchorRow], path: str) -> None:
    """Print the table, and below it why what failed did."""
    if not rows:
        output.text(f"no anchors in {path}; 'mlprov anchor ipfs' makes one")
        return
    cells = [
        (
            r.kind,
            _size(r),
            r.state,
            r.since[:19].replace("T", " "),
            reference_text(r),
            _next_step(r),
        )
        for r in rows
    ]
    output.table(cells, header=_HEADER)
    for row in rows:
        if row.note:
            output.text(f"{row.kind} of size {_size(row)}: {row.note}")


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

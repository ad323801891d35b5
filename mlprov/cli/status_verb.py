"""``mlprov status``: what is anchored, what is on its way, what somebody has to do."""

from __future__ import annotations

import argparse

from mlprov import anchor_reports, anchoring, stores
from mlprov.anchor_metrics import openmetrics
from mlprov.chain_nodes import ChainNode
from mlprov.cli import output

_HEADER = (
    "ANCHOR", "SIZE", "STATE", "SINCE (UTC)", "TRANSACTION OR CID", "BLOCK", "COST", "NEXT STEP"
)  # fmt: skip
_ASKS = "needs_operator"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "List the anchors of the store log's checkpoints (SIZE: of the log) and the files that are "
        "published (ipfs-file, SIZE in bytes), newest first. A state is shown only when "
        "it is true: 'sent' says that it may be on the network, 'final' that nothing is left to "
        "do. IPFS is storage: it proves no time. Exit code 2 where somebody has to do something. "
        "With --check each is held against its checkpoint: 1 where one does not hold, 2 where one "
        "could not be checked."
    )
    parser.add_argument(
        "--openmetrics", action="store_true", help="print counters for monitoring; exit code 0"
    )
    parser.add_argument(
        "--check", action="store_true", help="hold the evidence of each against its checkpoint"
    )
    parser.add_argument(
        "--online",
        metavar="URL",
        help="the same, and ask an Ethereum node of your own whether it has each block and calls "
        "it final; 'configured' are those in your configuration or MLPROV_ETHEREUM_URL, and "
        "MLPROV_IPFS_URL: does IPFS give each note back?",
    )


def _size(row: anchoring.AnchorRow) -> str:
    """Of the log; of a file its bytes."""
    return f"{row.size} bytes" if row.kind == anchoring.FILES else str(row.size)


def _place_text(row: anchoring.AnchorRow) -> str:
    return f"{row.kind} (chain {row.chain})" if row.account else row.kind


def _block_text(row: anchoring.AnchorRow) -> str:
    return "-" if row.shown is None else str(row.shown["number"])


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
            _size(row),
            row.state,
            row.since[:19].replace("T", " "),
            row.reference_text,
            _block_text(row),
            row.cost_text,
            _next_step(row, rows),
        )
        for row in rows
    ]
    output.table(cells, header=_HEADER)
    for row in rows:
        if row.note:
            output.text(f"{row.kind} of size {_size(row)}: {row.note}")


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
            "reference": row.reference_text if row.reference else None,
            "evidence": None if row.evidence is None else row.evidence.decode(),
            **(_chain_json(row) if row.account else {}),
        }
        for row in rows
    ]


def _print_metrics(arguments: argparse.Namespace) -> int:
    with stores.open_store(arguments.store, read_only=True) as store:
        lines = openmetrics(store).splitlines()
    for line in lines:
        output.text(line)
    return 0


def _nodes(online: str | None) -> tuple[ChainNode | None, anchoring.Endpoint | None]:
    """Of Ethereum and of IPFS: the one that is named, or those that are configured."""
    if online is None:
        return None, None
    if online != "configured":
        return ChainNode(anchoring.Endpoint("ethereum", online)), None
    found = {kind: anchoring.endpoint(kind) for kind in anchoring.configured_kinds()}
    ethereum = found.get("ethereum")
    return ChainNode(ethereum) if ethereum is not None else None, found.get("ipfs")


def _check(arguments: argparse.Namespace) -> int:
    """What holds over all networks, in one table; why what does not is so."""
    with stores.open_store(arguments.store, read_only=True) as store:
        findings = anchor_reports.check_anchors(store, *_nodes(arguments.online))
        path = store.path
    if arguments.json:
        output.emit_json({"anchors": [finding.json() for finding in findings], "store": path})
    elif not arguments.quiet:
        output.table([finding.cells() for finding in findings], header=anchor_reports.HEADER)
        for finding in findings:
            for reason in finding.reasons:
                output.text(reason)
    results = {finding.result for finding in findings}
    return 1 if "does not hold" in results else 2 if "could not check" in results else 0


def run(arguments: argparse.Namespace) -> int:
    """Show the outbox."""
    if arguments.openmetrics:
        return _print_metrics(arguments)
    if arguments.check or arguments.online is not None:
        return _check(arguments)
    with stores.open_store(arguments.store, read_only=True) as store:
        rows = anchoring.read_anchors(store)
        path = store.path
    if arguments.json:
        output.emit_json({"anchors": as_json(rows), "store": path})
    elif not arguments.quiet:
        show(rows, path)
    return 2 if any(row.state == _ASKS for row in rows) else 0

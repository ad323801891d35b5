"""``mlprov anchor``: anchor the store log's last checkpoint now."""

from __future__ import annotations

import argparse

from mlprov import anchoring, stores
from mlprov.cli import output, status_verb
from mlprov.errors import StoreError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "Enter every signed head into the store log and anchor its checkpoint, which covers all "
        "runs in the store. The same checkpoint is anchored once, however often this is called. "
        "Servers: [anchor.KIND] in the user's config.toml, or MLPROV_KIND_URL. Exit code 2 where "
        "it is not final yet: 'mlprov sync' goes on (Ethereum takes a quarter of an hour)."
    )
    parser.add_argument("kind", choices=anchoring.KINDS, help="of anchor")
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="give up then (default: 60)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Plan, then deliver."""
    server = anchoring.endpoint(arguments.kind)
    server.for_core()  # a wrong server or key is refused before anything is planned
    with stores.open_store(arguments.store) as store:
        if store.integrate() == 0:
            raise StoreError(
                f"cannot anchor the log of {store.path}: it is empty", "record a run first"
            )
        anchoring.plan(store, server)
        anchoring.deliver(store, [arguments.kind], arguments.timeout)
        row = next(row for row in anchoring.read_anchors(store) if row.place == server.place)
        path = store.path
    if arguments.json:
        output.emit_json({"anchor": status_verb.as_json([row])[0], "store": path})
    elif not arguments.quiet:
        status_verb.show([row], path)
    return 0 if row.state == "final" else 2

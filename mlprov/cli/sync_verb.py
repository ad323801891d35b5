"""``mlprov sync``: deliver what is in the outbox, now or for as long as it runs."""

from __future__ import annotations

import argparse
import contextlib
import functools
import pathlib
import signal
import threading
from collections.abc import Iterator

from mlprov import anchoring, stores
from mlprov.anchor_metrics import MetricsFile
from mlprov.cli import output, status_verb
from mlprov.errors import Error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "Deliver every anchor that is on its way, whichever process planned it; several may run at "
        "once. Exit code 0: nothing is left; 2: something is, and the table says why. With --watch "
        "it stays, anchors whatever other processes record, and ends at SIGTERM or Ctrl-C."
    )
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="give up then (default: 60)"
    )
    parser.add_argument("--watch", action="store_true", help="stay until SIGTERM")
    parser.add_argument(
        "--retry", action="store_true", help="also go on with what waits for somebody"
    )
    parser.add_argument(
        "--metrics",
        metavar="FILE",
        type=pathlib.Path,
        help="write counters for monitoring there (OpenMetrics), with --watch again and again",
    )


@contextlib.contextmanager
def _ending_at_signals() -> Iterator[threading.Event]:
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _keep_metrics(metrics: MetricsFile | None) -> None:
    """While it watches; a disk that is full keeps no anchor from being delivered."""
    if metrics is None:
        return
    try:
        metrics.update()
    except Error as error:
        output.error(error)


def run(arguments: argparse.Namespace) -> int:
    """Deliver; the table afterwards."""
    with stores.open_store(arguments.store) as store:
        if arguments.retry:
            store.resume_anchors()
        metrics = None if arguments.metrics is None else MetricsFile(arguments.metrics, store)
        if metrics is not None:
            metrics.update()  # a file that cannot be written is refused before anything else
        if arguments.watch:
            with _ending_at_signals() as stop:
                anchoring.watch(store, stop, functools.partial(_keep_metrics, metrics))
        else:
            anchoring.deliver(store, anchoring.open_kinds(store), arguments.timeout)
        if metrics is not None:
            metrics.update()
        rows, path = anchoring.read_anchors(store), store.path
    if arguments.json:
        output.emit_json({"anchors": status_verb.as_json(rows), "store": path})
    elif not arguments.quiet:
        status_verb.show(rows, path)
    return 0 if arguments.watch or all(row.state == "final" for row in rows) else 2

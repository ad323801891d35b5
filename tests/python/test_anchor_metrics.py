"""The counters of a store's anchors, read by Prometheus' own OpenMetrics parser."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anchors_for_tests import checkpoint_of, put_anchor
from chains_for_tests import Chain, anchored_store, chain, rows, until
from cli_for_tests import run_command
from nodes_for_tests import anvil, require_secp256k1
from servers_for_tests import node_that, serving

import mlprov
from mlprov import stores
from mlprov.anchor_metrics import MetricsFile, openmetrics

parser = pytest.importorskip("prometheus_client.openmetrics.parser")

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: str) -> Samples:
    """Every sample, by name and labels; the parser refuses what is not OpenMetrics."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def metrics_of(store: Path) -> str:
    with stores.open_store(store, read_only=True) as opened:
        return openmetrics(opened)


def value(samples: Samples, name: str, kind: str, chain: str, **labels: str) -> float:
    return samples[name, tuple(sorted({"kind": kind, "chain": chain, **labels}.items()))]


def at(there: str) -> Callable[..., float]:
    kind, chain = there.split()
    return lambda samples, name, **labels: value(samples, name, kind, chain, **labels)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """A chain on which a block is made when a test says so."""
    require_secp256k1()
    with anvil("--slots-in-an-epoch", "1") as node:
        there = chain(node, monkeypatch)
        there.mine(4)
        there.mine_by_hand()
        yield there


def test_an_empty_outbox_is_an_empty_exposition(tmp_path: Path) -> None:
    text = metrics_of(anchored_store(tmp_path))
    assert text.endswith("# EOF\n")
    assert parsed(text) == {}
    done = run_command("status", "--openmetrics", "--store", tmp_path / "store")
    assert (done.code, done.out) == (0, text)


def test_what_happens_to_an_anchor_on_a_chain_is_counted(
    quiet: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = anchored_store(tmp_path)
    here = at("ethereum 31337")
    assert run_command("anchor", "ethereum", "--store", store, "--timeout", "1").code == 2
    sent = parsed(metrics_of(store))
    assert here(sent, "mlprov_anchors", state="sent") == 1
    assert here(sent, "mlprov_anchors", state="final") == 0
    assert here(sent, "mlprov_anchors_sent_total") == 1
    assert here(sent, "mlprov_anchors_confirmed_total") == 0
    assert here(sent, "mlprov_anchor_latency_seconds_count") == 0
    assert here(sent, "mlprov_anchor_cost_ether_total") == 0

    # Reverted: the transaction is given up, and the next one is another.
    code = quiet.node.raw_result("eth_getCode", quiet.contract, "latest")
    quiet.node.raw_result("anvil_setCode", quiet.contract, "0x60006000fd")
    quiet.mine()
    path = tmp_path / "mlprov.prom"
    assert run_command("sync", "--store", store, "--timeout", "3", "--metrics", path).code == 2
    lost = parsed(path.read_text())
    assert here(lost, "mlprov_anchors", state="needs_operator") == 1
    assert here(lost, "mlprov_anchors_failed_total") == 1
    quiet.node.raw_result("anvil_setCode", quiet.contract, code)
    quiet.node.raw_result("evm_setIntervalMining", 1)
    assert run_command("sync", "--store", store, "--retry", "--metrics", path).code == 0
    final = parsed(path.read_text())
    assert here(final, "mlprov_anchors", state="final") == 1
    assert here(final, "mlprov_anchors_sent_total") == 2
    assert here(final, "mlprov_anchors_failed_total") == 1
    assert here(final, "mlprov_anchors_confirmed_total") == 1
    assert here(final, "mlprov_anchor_latency_seconds_count") == 1
    assert 1 < here(final, "mlprov_anchor_latency_seconds_sum") < 120
    shown = rows(store)[0].shown
    assert shown is not None
    assert here(final, "mlprov_anchor_gas_total") == shown["gas_used"]
    cost = here(final, "mlprov_anchor_cost_ether_total")
    assert cost == pytest.approx(int(shown["cost"]) / 10**18, rel=1e-12)
    assert here(final, "mlprov_anchor_last_confirmed_timestamp_seconds") > 1_700_000_000


def test_units_and_types_are_declared(tmp_path: Path) -> None:
    store = anchored_store(tmp_path)
    put_anchor(store, checkpoint_of(store), None, chain="1", account="0x1", state="sent")
    families = {f.name: f for f in parser.text_string_to_metric_families(metrics_of(store))}
    assert (families["mlprov_anchor_latency_seconds"].type, "seconds") == (
        "summary",
        families["mlprov_anchor_latency_seconds"].unit,
    )
    assert families["mlprov_anchor_cost_ether"].unit == "ether"
    assert families["mlprov_anchors_sent"].type == "counter"
    assert families["mlprov_anchors"].type == "gauge"


def test_a_network_that_costs_nothing_has_no_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = anchored_store(tmp_path)
    here = at("ipfs ipfs")
    with serving(node_that(bytes, pins=True)) as server:
        monkeypatch.setenv("MLPROV_IPFS_URL", server.url(""))
        assert run_command("anchor", "ipfs", "--store", store).code == 0
    samples = parsed(metrics_of(store))
    assert here(samples, "mlprov_anchors_confirmed_total") == 1
    assert here(samples, "mlprov_anchors_sent_total") == 1
    assert here(samples, "mlprov_anchor_latency_seconds_count") == 1
    assert not any(name.startswith("mlprov_anchor_cost") for name, _ in samples)


@pytest.mark.parametrize("name", ['a"b', "a\\", "a\nb", 'x"} 1\n# EOF\n', "\u202e"])
def test_no_name_in_the_outbox_breaks_the_format(name: str, tmp_path: Path) -> None:
    store = anchored_store(tmp_path)
    put_anchor(store, checkpoint_of(store), None, chain="1", account="0x1", state="sent")
    with contextlib.closing(sqlite3.connect(store / "store.db")) as database, database:
        database.execute("UPDATE anchor_intents SET chain = ?", (name,))
    samples = parsed(metrics_of(store))
    assert value(samples, "mlprov_anchors", "ethereum", name, state="sent") == 1


def test_the_file_is_whole_at_any_moment_and_written_by_a_watching_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, path = anchored_store(tmp_path), tmp_path / "mlprov.prom"
    with serving(node_that(bytes, pins=True)) as server:
        monkeypatch.setenv("MLPROV_IPFS_URL", server.url(""))
        monkeypatch.setenv("MLPROV_ANCHOR_EVERY", "0")
        monkeypatch.setenv("MLPROV_STORE", str(store))
        watching = subprocess.Popen(
            [sys.executable, "-m", "mlprov", "sync", "--watch", "--quiet", "--metrics", path]
        )
        try:

            def final() -> Any:
                if not path.exists():
                    return None
                samples = parsed(path.read_text())  # raises where the file is half written
                key = ("mlprov_anchors_confirmed_total", (("chain", "ipfs"), ("kind", "ipfs")))
                return samples.get(key)

            until(final)
        finally:
            watching.send_signal(signal.SIGTERM)
            assert watching.wait(timeout=30) == 0
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".mlprov-")] == []


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    store = anchored_store(tmp_path)
    done = run_command("sync", "--store", store, "--metrics", tmp_path / "none" / "mlprov.prom")
    assert done.code == 2
    assert "cannot write the metrics" in done.err
    os.mkfifo(tmp_path / "fifo")
    done = run_command("sync", "--store", store, "--metrics", tmp_path / "fifo")
    assert done.code == 2


def test_the_file_is_left_alone_where_nothing_has_changed(tmp_path: Path) -> None:
    store, path = anchored_store(tmp_path), tmp_path / "mlprov.prom"
    with mlprov.stores.open_store(store) as opened:
        metrics = MetricsFile(path, opened)
        metrics.update()
        first = path.stat().st_ino
        metrics.update()
    assert path.stat().st_ino == first

"""Anchors on a real IPFS node (js-ipfs, `make ipfs-node`), and on servers that lie or fail."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_for_tests import run_command, shell
from faults_for_tests import used_store
from ipfs_nodes_for_tests import IpfsNode, killer, running_node
from servers_for_tests import always, answer, node_that, serving

import mlprov
from mlprov import anchoring, stores
from mlprov.provenance import BlockchainManager

SECRET = "s3cr3t-k3y"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IpfsNode]:
    """A node that runs."""
    with running_node(tmp_path_factory.mktemp("ipfs")) as made:
        yield made


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Names the server to anchor with."""
    return lambda url: monkeypatch.setenv("MLPROV_IPFS_URL", url)


def rows(store: Path) -> list[anchoring.AnchorRow]:
    """Checkpoints in the outbox of a store; test_ipfs_files.py looks at the files."""
    with stores.open_store(store, read_only=True) as opened:
        return [row for row in anchoring.read_anchors(opened) if row.kind == "ipfs"]


def note_of(store: Path) -> bytes:
    """The last checkpoint."""
    with stores.open_store(store, read_only=True) as opened:
        note = opened.checkpoint()
        assert note is not None
        return note


def states(store: Path) -> list[str]:
    return [row.state for row in rows(store)]


# With a real node


def test_a_checkpoint_is_on_the_node_and_reads_back(
    node: IpfsNode, at: Callable[[str], None], tmp_path: Path
) -> None:
    store = used_store(tmp_path)
    at(node.url)
    done = run_command("anchor", "ipfs", "--store", store, "--json")
    assert done.code == 0, done.err
    anchor = done.json["anchor"]
    assert anchor["state"] == "final"
    assert node.ask(f"block/get?arg={anchor['reference']}") == note_of(store)
    assert anchor["reference"] == json.loads(anchor["evidence"])["cid"]
    shown = run_command("status", "--store", store)
    assert shown.code == 0
    assert anchor["reference"] in shown.out


def test_what_the_founding_interface_stored_is_given_back_by_the_node(
    node: IpfsNode, at: Callable[[str], None], tmp_path: Path
) -> None:
    manager = BlockchainManager(
        {"networks": ["ipfs"], "ipfs": {"url": node.url}}, store=tmp_path / "store"
    )
    stored = manager.store_merkle_hash("ab" * 32, {"model": "digits"})
    assert node.ask(f"block/get?arg={stored['ipfs']}") == note_of(tmp_path / "store")
    found = manager.verify_merkle_hash("ab" * 32, stored)["ipfs"]
    assert found, found.checks
    assert found.state_of("node") == "holds"
    at(node.url)
    done = run_command("status", "--online", "configured", "--store", tmp_path / "store")
    assert (done.code, done.err) == (0, "")


def test_one_checkpoint_is_anchored_once_however_many_ask(
    node: IpfsNode, at: Callable[[str], None], tmp_path: Path
) -> None:
    store = used_store(tmp_path)
    at(node.url)
    command = [sys.executable, "-m", "mlprov", "anchor", "ipfs", "--store", str(store), "-q"]
    started = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait(timeout=120) for process in started] == [0] * 4
    assert states(store) == ["final"]


def test_a_run_with_anchors_has_them_at_its_end(
    node: IpfsNode, at: Callable[[str], None], tmp_path: Path
) -> None:
    at(node.url)
    with mlprov.start("anchored", store=tmp_path / "store", anchors=["ipfs"]) as run:
        for epoch in run.epochs(2):
            epoch.log(loss=1)
    shell("sync", "--store", tmp_path / "store")
    assert set(states(tmp_path / "store")) == {"final"}
    assert rows(tmp_path / "store")[0].size == max(a["index"] for a in run.anchors) + 1


def test_the_pin_outlives_a_kill_of_the_node(
    node: IpfsNode, at: Callable[[str], None], tmp_path: Path
) -> None:
    store = used_store(tmp_path)
    at(node.url)
    anchor = run_command("anchor", "ipfs", "--store", store, "--json").json["anchor"]
    node.kill()
    node.start()
    assert node.ask(f"block/get?arg={anchor['reference']}") == note_of(store)
    assert b"recursive" in node.ask(f"pin/ls?arg={anchor['reference']}")


def test_what_a_dead_node_left_is_delivered_by_sync(
    node: IpfsNode, at: Callable[[str], None], tmp_path: Path
) -> None:
    at("http://127.0.0.1:1")
    began = time.monotonic()
    with mlprov.start("later", store=tmp_path / "store", anchors=["ipfs"]) as run:
        run.log(loss=1)
    assert time.monotonic() - began < 10
    before = rows(tmp_path / "store")
    assert {row.state for row in before} == {"sent"}
    assert "could not be reached" in (before[0].note or "")
    at(node.url)
    assert shell("sync", "--store", tmp_path / "store").returncode == 0
    assert set(states(tmp_path / "store")) == {"final"}


def test_watch_anchors_what_others_record_and_ends_at_sigterm(
    node: IpfsNode, at: Callable[[str], None], tmp_path: Path
) -> None:
    at(node.url)
    store = used_store(tmp_path)
    watching = subprocess.Popen(
        [sys.executable, "-m", "mlprov", "sync", "--watch", "--store", str(store)],
        stdout=subprocess.PIPE,
        text=True,
    )
    ends = time.monotonic() + 60
    while states(store) != ["final"] and time.monotonic() < ends:
        time.sleep(0.1)  # another process's work: there is nothing to wait on
    watching.send_signal(signal.SIGTERM)
    assert watching.wait(timeout=10) == 0
    assert states(store) == ["final"]


def test_a_kill_at_every_durable_write_and_every_send_loses_nothing(
    node: IpfsNode, at: Callable[[str], None], tmp_path: Path
) -> None:
    library = killer(tmp_path)
    at(node.url)
    used_store(tmp_path)
    command = [sys.executable, "-m", "mlprov", "anchor", "ipfs", "-q", "--store"]
    finished = False
    number = 0
    while not finished:
        number += 1
        store = tmp_path / f"store-{number}"
        shutil.copytree(tmp_path / "store", store)
        killed = subprocess.run(
            [*command, store],
            env=os.environ | {"LD_PRELOAD": str(library), "KILL_AT": str(number)},
            check=False,
        )
        finished = killed.returncode == 0
        assert finished or killed.returncode == -signal.SIGKILL
        assert run_command("anchor", "ipfs", "-q", "--store", store).code == 0, number
        assert states(store) == ["final"]
        with stores.open_store(store, read_only=True) as opened:
            assert opened.query("SELECT count(*) FROM anchor_attempts") == [(1,)]
        shutil.rmtree(store)
    assert number > 20


# With servers that lie or fail: no node is needed

EMPTY = b"bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"  # of no bytes at all
LIES = {
    "another CID": b'{"Key":"' + EMPTY + b'","Size":1}',
    "no CID": b'{"Key":"nonsense","Size":1}',
    "no key": b"{}",
    "HTML": b"<html>Welcome</html>",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_server_is_found_out(lie: str, at: Callable[[str], None], tmp_path: Path) -> None:
    store = used_store(tmp_path)
    with serving(always(answer(LIES[lie]))) as server:
        at(server.url(f"/{SECRET}"))
        done = run_command("anchor", "ipfs", "--store", store)
    assert done.code == 2
    assert states(store) == ["needs_operator"]
    assert SECRET not in done.out + done.err + str(rows(store))
    assert run_command("status", "--store", store).code == 2


@pytest.mark.parametrize(
    ("read_back", "pins"),
    [(lambda block: block[:-1] + b"x", True), (lambda block: block + b"x", True), (bytes, False)],
)
def test_a_server_that_keeps_something_else_never_ends_in_final(
    read_back: Callable[[bytes], bytes], pins: bool, at: Callable[[str], None], tmp_path: Path
) -> None:
    store = used_store(tmp_path)
    with serving(node_that(read_back, pins)) as server:
        at(server.url())
        assert run_command("anchor", "ipfs", "--timeout", "1", "--store", store).code == 2
    assert states(store) == ["included"]
    assert rows(store)[0].note


@pytest.mark.parametrize("status", ["429 Too Many Requests", "502 Bad Gateway"])
def test_a_busy_server_is_asked_again_later(
    status: str, at: Callable[[str], None], tmp_path: Path
) -> None:
    store = used_store(tmp_path)
    with serving(always(answer(b"", status, "Retry-After: 600"))) as server:
        at(server.url())
        assert run_command("anchor", "ipfs", "--timeout", "2", "--store", store).code == 2
        assert len(server.requests) == 1
    assert states(store) == ["sent"]


def test_a_silent_server_does_not_hold_up_the_end_of_a_run(
    at: Callable[[str], None], tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        done = threading.Event()
        stack.callback(done.set)
        server = stack.enter_context(serving(lambda *_: bool(done.wait(60))))
        at(server.url())
        run = mlprov.start("silent", store=tmp_path / "store", anchors=["ipfs"])
        began = time.monotonic()
        run.finish()
        took = time.monotonic() - began
        done.set()
    assert took < 4
    assert run.status == "finished"
    assert {row.open for row in rows(tmp_path / "store")} == {True}


def test_offline_anchors_nothing_and_says_why(
    at: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = used_store(tmp_path)
    at("https://example.org")
    monkeypatch.setenv("MLPROV_OFFLINE", "1")
    assert run_command("anchor", "ipfs", "--timeout", "1", "--store", store).code == 2
    assert "MLPROV_OFFLINE" in str(rows(store)[0].note)


def test_an_anchor_without_a_server_is_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(mlprov.ConfigError, match="MLPROV_IPFS_URL"):
        mlprov.start("nowhere", store=tmp_path / "store", anchors=["ipfs"])
    assert not (tmp_path / "store").exists()


def test_the_time_between_checkpoints_is_a_setting(
    isolated_user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert anchoring.every() == 600
    (isolated_user / "mlprov").mkdir()
    (isolated_user / "mlprov" / "config.toml").write_text("[anchor]\nevery = 5\n")
    assert anchoring.every() == 5
    for wrong in ("-1", "nan", "soon", "1e99"):
        monkeypatch.setenv("MLPROV_ANCHOR_EVERY", wrong)
        with pytest.raises(mlprov.ConfigError, match="MLPROV_ANCHOR_EVERY"):
            anchoring.every()
    monkeypatch.setenv("MLPROV_ANCHOR_EVERY", "0")
    assert anchoring.every() == 0


@pytest.mark.parametrize(("every", "most"), [("0", 99), ("3600", 2)])
def test_many_heads_are_one_anchor_where_they_are_close_together(
    every: str,
    most: int,
    at: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at("http://127.0.0.1:1")
    monkeypatch.setenv("MLPROV_ANCHOR_EVERY", every)
    with mlprov.start("many", store=tmp_path / "store", anchors=["ipfs"]) as run:
        for epoch in run.epochs(8):
            epoch.log(loss=1)
    found = rows(tmp_path / "store")
    assert 1 <= len(found) <= most
    assert found[0].size == max(a["index"] for a in run.anchors if a["kind"] == "log") + 1


def test_a_projects_file_names_no_server_and_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ('anchors = ["ipfs"]', '[anchor.ipfs]\nurl = "https://example.org"'):
        (tmp_path / "mlprov.toml").write_text(text)
        with pytest.raises(mlprov.ConfigError, match="project's file may not"):
            mlprov.start("hostile", store=tmp_path / "store")


def test_the_users_configuration_names_a_server(isolated_user: Path) -> None:
    home = isolated_user / "mlprov"
    home.mkdir()
    path = home / "config.toml"
    path.write_text(f'[anchor.ipfs]\nurl = "https://n/{SECRET}"\nheaders = ["A: {SECRET}"]\n')
    path.chmod(0o644)
    with pytest.raises(mlprov.ConfigError, match="chmod 600"):
        anchoring.endpoint("ipfs")
    path.chmod(0o600)
    named = anchoring.endpoint("ipfs")
    assert (named.url, named.headers) == (f"https://n/{SECRET}", (f"A: {SECRET}",))
    assert SECRET not in repr(named) + str(named)
    path.write_text("[anchor.ipfs]\nurl = 7\n")
    with pytest.raises(mlprov.ConfigError, match="expected url as text"):
        anchoring.endpoint("ipfs")

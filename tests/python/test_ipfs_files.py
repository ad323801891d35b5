"""Files on a real IPFS node: bundles of runs, weights where they are asked for; lying nodes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_for_tests import run_command, shell
from faults_for_tests import used_store
from ipfs_nodes_for_tests import IpfsNode, in_front_of, killer, running_node
from servers_for_tests import always, answer, serving

import mlprov
from mlprov import anchoring, configuration, ipfs, publishing, stores

CHUNK = 1 << 20


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IpfsNode]:
    with running_node(tmp_path_factory.mktemp("ipfs")) as made:
        yield made


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Names the server to publish on."""
    return lambda url: monkeypatch.setenv("MLPROV_IPFS_URL", url)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of four chunks."""
    (tmp_path / "large").write_bytes(os.urandom(3 * CHUNK + 5))
    return tmp_path / "large"


def rows(store: Path) -> list[anchoring.AnchorRow]:
    """The files in a store's outbox."""
    with stores.open_store(store, read_only=True) as opened:
        found = anchoring.read_anchors(opened)
    return [row for row in found if row.kind == anchoring.FILES]


def payloads(store: Path) -> list[dict[str, object]]:
    with stores.open_store(store, read_only=True) as opened:
        query = "SELECT payload FROM anchor_intents WHERE kind = 'ipfs-file' ORDER BY id"
        return [json.loads(payload) for (payload,) in opened.query(query)]


# With a real node


@pytest.mark.parametrize("size", [1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_a_published_file_is_on_the_node_under_its_cid(
    size: int, node: IpfsNode, at: Callable[[str], None], tmp_path: Path
) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    at(node.url)
    store = used_store(tmp_path)
    done = run_command("ipfs", "publish", tmp_path / "file", "--store", store, "--json")
    assert done.code == 0, done.err
    cid = str(ipfs.cid_of_file(tmp_path / "file"))
    assert done.json["files"][0]["reference"] == cid
    assert node.ask(f"cat?arg={cid}") == content
    assert b"recursive" in node.ask(f"pin/ls?arg={cid}")
    chunks = -(-size // CHUNK)
    blocks = chunks + (chunks > 1)
    evidence = json.loads(done.json["files"][0]["evidence"])
    assert (evidence["blocks"], evidence["read_back"]) == (blocks, blocks)


def test_the_node_adds_the_same_file_under_the_same_cid(node: IpfsNode, large: Path) -> None:
    boundary = b"b" * 30
    body = b"--%s\r\nContent-Disposition: form-data; name=file; filename=f\r\n" % boundary
    body += b"Content-Type: application/octet-stream\r\n\r\n" + large.read_bytes()
    body += b"\r\n--%s--\r\n" % boundary
    said = node.post(
        "add?cid-version=1&raw-leaves=true&chunker=size-1048576&only-hash=true",
        body,
        f"multipart/form-data; boundary={boundary.decode()}",
    )
    assert ipfs.CID.parse(json.loads(said)["Hash"]) == ipfs.cid_of_file(large)


def test_a_run_with_an_ipfs_anchor_publishes_its_bundle(
    node: IpfsNode, at: Callable[[str], None], tmp_path: Path
) -> None:
    at(node.url)
    store = tmp_path / "store"
    with mlprov.start("published", store=store, anchors=["ipfs"]) as run:
        for epoch in run.epochs(2):
            epoch.log(loss=1)
    assert shell("sync", "--store", store).returncode == 0
    (row,) = rows(store)
    (payload,) = payloads(store)
    assert row.state == "final"
    assert (payload["what"], payload["run"]) == ("bundle", run.id)
    fetched = tmp_path / "fetched.mlprov"
    fetched.write_bytes(node.ask(f"cat?arg={payload['cid']}"))
    assert mlprov.verify(fetched).ok is not False
    assert mlprov.digest(fetched) == mlprov.Digest.parse(str(payload["digest"]))


def test_weights_are_published_where_they_are_asked_for_and_only_there(
    node: IpfsNode, at: Callable[[str], None], tmp_path: Path
) -> None:
    at(node.url)
    weights = {"w": memoryview(bytearray(os.urandom(100)))}
    for publish in ([], ["model"], ["bundle", "model"]):
        store = tmp_path / "-".join(["store", *publish])
        path = tmp_path / f"{store.name}.safetensors"
        with mlprov.start(
            "m", model=weights, store=store, anchors=["ipfs"], publish=publish
        ) as run:
            path.write_bytes(b"not yet what is recorded")
            mlprov.save_file({"w": weights["w"]}, path)
            run.checkpoint(path)
        assert [payload["what"] for payload in payloads(store)] == publish
        if publish:
            assert shell("sync", "--store", store).returncode == 0
            cid = payloads(store)[-1]["cid"]
            assert node.ask(f"cat?arg={cid}") == path.read_bytes()


def test_a_checkpoint_that_changed_since_it_was_recorded_is_not_published(
    at: Callable[[str], None], tmp_path: Path
) -> None:
    at("http://127.0.0.1:1")
    store, path = tmp_path / "store", tmp_path / "weights"
    path.write_bytes(b"recorded")
    run = mlprov.start("changed", store=store, anchors=["ipfs"], publish=["model"])
    run.checkpoint(path)
    path.write_bytes(b"something else")
    with pytest.warns(mlprov.RecordingWarning, match="recorded was"):
        run.finish()
    assert run.status == "finished"
    assert payloads(store) == []


def test_a_file_that_changes_before_it_is_sent_is_not_sent(
    node: IpfsNode, at: Callable[[str], None], tmp_path: Path, large: Path
) -> None:
    store = used_store(tmp_path)
    with stores.open_store(store) as opened:
        publishing.plan_file(opened, large)
    original = large.read_bytes()
    large.write_bytes(b"private" + original)
    asked: list[bytes] = []

    def listen(request: bytes, answered: bytes) -> tuple[bytes, bytes]:
        asked.append(request)
        return request, answered

    with in_front_of(node, listen) as proxy:
        at(proxy.url())
        assert run_command("sync", "--store", store).code == 2
        (row,) = rows(store)
        assert row.state == "needs_operator"
        assert "no longer what was to be published" in (row.note or "")
        assert asked == []
        large.unlink()
        assert run_command("sync", "--retry", "--store", store).code == 2
        assert "no such file" in (rows(store)[0].note or "").lower()
        large.write_bytes(original)
        assert run_command("sync", "--retry", "--store", store).code == 0
    assert rows(store)[0].state == "final"


def test_what_a_kill_of_the_node_interrupts_is_delivered_later(
    node: IpfsNode, at: Callable[[str], None], tmp_path: Path, large: Path
) -> None:
    store = used_store(tmp_path)
    killed: list[bool] = []

    def kill_once(request: bytes, answered: bytes) -> tuple[bytes, bytes]:
        if b"format=dag-pb" in request and not killed:
            killed.append(True)
            node.kill()
            raise ConnectionResetError
        return request, answered

    with in_front_of(node, kill_once) as proxy:
        at(proxy.url())
        done = run_command("ipfs", "publish", large, "--store", store, "--timeout", "1")
        assert done.code == 2
        assert rows(store)[0].state == "sent"
        node.start()
        assert run_command("sync", "--store", store, "--timeout", "60").code == 0
    cid = ipfs.cid_of_file(large)
    assert node.ask(f"cat?arg={cid}") == large.read_bytes()


def test_one_file_is_published_once_however_often_it_is_asked_for(
    node: IpfsNode, at: Callable[[str], None], tmp_path: Path, large: Path
) -> None:
    at(node.url)
    store = used_store(tmp_path)
    for _ in range(3):
        assert run_command("ipfs", "publish", large, "--store", store).code == 0
    assert len(rows(store)) == 1


def test_a_kill_at_many_moments_of_sending_a_file_loses_nothing(
    node: IpfsNode, at: Callable[[str], None], tmp_path: Path, large: Path
) -> None:
    library = killer(tmp_path)
    at(node.url)
    used_store(tmp_path)
    command = [sys.executable, "-m", "mlprov", "ipfs", "publish", "-q", str(large), "--store"]
    cid = str(ipfs.cid_of_file(large))
    finished, moment = False, 1
    while not finished:
        store = tmp_path / f"store-{moment}"
        shutil.copytree(tmp_path / "store", store)
        killed = subprocess.run(
            [*command, store],
            env=os.environ | {"LD_PRELOAD": str(library), "KILL_AT": str(moment)},
            check=False,
        )
        finished = killed.returncode == 0
        assert finished or killed.returncode == -signal.SIGKILL
        assert run_command("ipfs", "publish", "-q", large, "--store", store).code == 0, moment
        assert [row.state for row in rows(store)] == ["final"]
        assert node.ask(f"cat?arg={cid}") == large.read_bytes()
        shutil.rmtree(store)
        moment += 11
    assert moment > 50


# A node that lies: the real one behind a proxy


def swap_block(request: bytes, answered: bytes) -> tuple[bytes, bytes]:
    """Another leaf is kept than was sent."""
    if b"format=raw" not in request or answered:
        return request, answered
    block = re.search(rb"octet-stream\r\n\r\n(.*)\r\n--mlprov", request, re.S)
    assert block is not None
    return request.replace(block[1], block[1][:-1] + bytes([block[1][-1] ^ 1])), answered


def give_other_bytes(request: bytes, answered: bytes) -> tuple[bytes, bytes]:
    if b"block/get" not in request or not answered:
        return request, answered
    return request, answer(answered.partition(b"\r\n\r\n")[2][:-1] + b"x")


def pin_nothing(request: bytes, answered: bytes) -> tuple[bytes, bytes]:
    if b"pin/ls" in request and answered:
        return request, answer(b'{"Keys":{}}')
    if b"pin/add" in request and answered:
        return request, answer(b'{"Pins":[]}')
    return request, answered


def endless(request: bytes, answered: bytes) -> tuple[bytes, bytes]:
    if b"block/get" in request and answered:
        return request, answer(bytes(3 * CHUNK))
    return request, answered


LIES = {
    "another block kept": (swap_block, "needs_operator", "another CID"),
    "other bytes given": (give_other_bytes, "included", "other bytes"),
    "nothing pinned": (pin_nothing, "included", "has not pinned"),
    "an endless block": (endless, "included", "more than"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_node_that_lies_about_a_file_is_found_out(
    lie: str, node: IpfsNode, at: Callable[[str], None], tmp_path: Path, large: Path
) -> None:
    change, state, said = LIES[lie]
    store = used_store(tmp_path)
    with in_front_of(node, change) as proxy:
        at(proxy.url())
        done = run_command("ipfs", "publish", large, "--store", store, "--timeout", "3")
    assert done.code == 2
    (row,) = rows(store)
    assert row.state == state
    assert said in (row.note or "")
    assert row.evidence is None


# Without a node


def test_a_dead_node_does_not_hold_up_the_end_of_a_run(
    at: Callable[[str], None], tmp_path: Path
) -> None:
    at("http://127.0.0.1:1")
    run = mlprov.start("dead", store=tmp_path / "store", anchors=["ipfs"])
    began = time.monotonic()
    run.finish()
    assert time.monotonic() - began < 5
    (row,) = rows(tmp_path / "store")
    assert row.state == "sent"
    kept = Path(str(payloads(tmp_path / "store")[0]["path"]))
    assert kept.parent == tmp_path / "store" / "published"
    assert kept.parent.stat().st_mode & 0o077 == 0
    assert f"{row.size} bytes" in run_command("status", "--store", tmp_path / "store").out


def test_a_large_file_is_not_copied_into_the_store(
    at: Callable[[str], None], tmp_path: Path, large: Path
) -> None:
    store = used_store(tmp_path)
    with stores.open_store(store) as opened:
        publishing.plan_file(opened, large)
    (payload,) = payloads(store)
    assert payload["digest"] == str(mlprov.digest(large))
    assert ipfs.CID.parse(str(payload["cid"])) == ipfs.cid_of_file(large)
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    assert size < CHUNK
    assert hashlib.sha256(large.read_bytes()).digest()[:8] not in (store / "store.db").read_bytes()


@pytest.mark.parametrize("file", ["mlprov.toml", "pyproject.toml"])
def test_a_projects_file_cannot_publish_anything(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "[tool.mlprov]\n" if file == "pyproject.toml" else ""
    (tmp_path / file).write_text(head + 'publish = ["model"]\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(mlprov.ConfigError, match="what is published"):
        configuration.resolve({"anchors": ["ipfs"]})


def test_what_is_published_is_a_setting() -> None:
    assert configuration.resolve({}).publish is None
    assert configuration.resolve({"anchors": ["ipfs"]}).publish == ("bundle",)
    assert configuration.resolve({"anchors": ["ipfs"], "publish": []}).publish == ()
    with pytest.raises(mlprov.ConfigError, match="'bundle', 'model'"):
        configuration.resolve({"anchors": ["ipfs"], "publish": ["weights"]})
    with pytest.raises(mlprov.ConfigError, match="anchors="):
        configuration.resolve({"publish": ["model"]})


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    store = used_store(tmp_path)
    (tmp_path / "empty").touch()
    with stores.open_store(store) as opened, pytest.raises(mlprov.ConfigError, match="empty"):
        publishing.plan_file(opened, tmp_path / "empty")


def test_a_server_that_is_no_node_is_said_to_be_none(
    at: Callable[[str], None], tmp_path: Path
) -> None:
    store = used_store(tmp_path)
    (tmp_path / "file").write_bytes(b"content")
    with serving(always(answer(b"<html>"))) as server:
        at(server.url())
        assert run_command("ipfs", "publish", tmp_path / "file", "--store", store).code == 2
    (row,) = rows(store)
    assert row.state == "needs_operator"
    assert "Kubo RPC" in (row.note or "")

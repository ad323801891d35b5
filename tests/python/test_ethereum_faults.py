"""Signers, nodes that lie or fail between the workers and a real chain, kills at every write."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chains_for_tests import Chain, anchored_store, chain, digest_of, rows, states, until
from cli_for_tests import run_command
from nodes_for_tests import SECRETS, anvil, own_environment, require_secp256k1
from servers_for_tests import Server, answer, serving

from mlprov import ConfigError, _core, anchoring

RUNNING = ("--block-time", "1", "--slots-in-an-epoch", "1")
RAW = "eth_sendRawTransaction"

Change = Callable[[str, bytes, bytes, int], bytes | None]


@pytest.fixture(scope="module", autouse=True)
def _secp256k1() -> None:
    require_secp256k1()


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """A chain that goes on by itself."""
    with anvil(*RUNNING) as node:
        yield chain(node, monkeypatch)


def between(there: Chain, change: Change) -> Any:
    """A server that hands calls to the node, and lets ``change`` see each before it answers.

    change(method, request's body, node's answer, how often the method was called): what is answered
    in its place, whole; None: the node's answer.
    """
    called: dict[str, int] = {}

    def handler(connection: socket.socket, request: bytes) -> None:
        body = request.partition(b"\r\n\r\n")[2]
        method = json.loads(body)["method"]
        called[method] = called.get(method, 0) + 1
        asked = urllib.request.Request(
            there.node.url, body, {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(asked, timeout=30) as reply:
            said = reply.read()
        changed = change(method, body, said, called[method])
        connection.sendall(answer(said) if changed is None else changed)

    return serving(handler)


def through(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPROV_ETHEREUM_URL", server.url())


def anchor(store: Path, *, timeout: float = 60) -> Any:
    return run_command("anchor", "ethereum", "--store", store, "--timeout", str(timeout))


def is_one_event(there: Chain, store: Path) -> bool:
    """Final, once on the chain, and paid once: the deployment and the anchor."""
    events = [digest for _, digest in there.events()]
    return (states(store), events, there.count()) == (["final"], [digest_of(store)], 2)


# Who signs


def test_a_key_file_signs_and_its_passphrase_comes_from_a_descriptor(
    running: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = anchored_store(tmp_path)
    key = _core.EthereumKey.create(str(tmp_path / "account.json"), b"open sesame")
    running.node.raw_result("anvil_setBalance", key.address, hex(10**18))
    monkeypatch.delenv("MLPROV_ETHEREUM_PRIVATE_KEY")
    monkeypatch.delenv("MLPROV_ETHEREUM_ACCOUNT")
    monkeypatch.setenv("MLPROV_ETHEREUM_KEYSTORE", str(tmp_path / "account.json"))
    assert "PASSPHRASE_FD" in anchor(store).err
    assert rows(store) == []
    reading, writing = os.pipe()
    os.write(writing, b"open sesame\n")
    monkeypatch.setenv("MLPROV_ETHEREUM_PASSPHRASE_FD", str(reading))
    done = anchor(store)
    os.close(reading)
    os.close(writing)
    assert done.code == 0, done.err
    assert rows(store)[0].account == key.address
    assert (
        running.node.receipt("0x" + rows(store)[0].reference.hex())["from"] == key.address.lower()
    )


def test_a_service_signs_and_the_key_stays_there(
    running: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = anchored_store(tmp_path)
    monkeypatch.delenv("MLPROV_ETHEREUM_PRIVATE_KEY")
    monkeypatch.setenv("MLPROV_ETHEREUM_SIGNER_URL", running.node.url)  # anvil signs for its own
    done = anchor(store)
    assert done.code == 0, done.out + done.err
    assert is_one_event(running, store)


OTHERS = {
    "another nonce": lambda tx: tx | {"nonce": hex(int(tx["nonce"], 16) + 1)},
    "another receiver": lambda tx: tx | {"to": "0x" + "22" * 20},
    "other data": lambda tx: tx | {"data": "0x"},
    "more gas": lambda tx: tx | {"gas": hex(int(tx["gas"], 16) * 2)},
    "a higher fee": lambda tx: tx | {"maxFeePerGas": hex(int(tx["maxFeePerGas"], 16) * 2)},
    "a value": lambda tx: tx | {"value": "0x1"},
    "another account": lambda tx: tx | {"from": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"},
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_signer_that_signs_something_else_is_found_out_before_it_is_sent(
    other: str, running: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = anchored_store(tmp_path)

    def sign(connection: socket.socket, request: bytes) -> None:
        call = json.loads(request.partition(b"\r\n\r\n")[2])
        signed = running.node.raw_result(call["method"], OTHERS[other](call["params"][0]))
        body = {"jsonrpc": "2.0", "id": call["id"], "result": signed}
        connection.sendall(answer(json.dumps(body).encode()))

    monkeypatch.delenv("MLPROV_ETHEREUM_PRIVATE_KEY")
    with serving(sign) as signer:
        monkeypatch.setenv("MLPROV_ETHEREUM_SIGNER_URL", signer.url())
        assert anchor(store).code == 2
    row = rows(store)[0]
    assert (row.state, row.attempts) == ("needs_operator", 0)
    assert "is not the one that was asked for" in str(row.note)
    assert running.count() == 1


def test_a_signer_that_refuses_or_talks_nonsense_says_what_to_do(
    running: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = anchored_store(tmp_path)
    monkeypatch.delenv("MLPROV_ETHEREUM_PRIVATE_KEY")
    for said in (
        {"error": {"code": -32000, "message": "account locked \x1b[31m"}},
        {"result": "0x02c0"},
        {"result": 7},
    ):

        def sign(connection: socket.socket, request: bytes, said: Any = said) -> None:
            call = json.loads(request.partition(b"\r\n\r\n")[2])
            body = {"jsonrpc": "2.0", "id": call["id"], **said}
            connection.sendall(answer(json.dumps(body).encode()))

        with serving(sign) as signer:
            monkeypatch.setenv("MLPROV_ETHEREUM_SIGNER_URL", signer.url())
            assert run_command("sync", "--retry", "--store", store).code in (0, 2)
            assert anchor(store).code == 2
        assert states(store) == ["needs_operator"]
        assert "signer" in str(rows(store)[0].note)
        assert "\x1b" not in str(rows(store)[0].note)


def test_no_key_stands_in_a_file_and_no_value_in_a_message(
    isolated_user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = isolated_user / "mlprov"
    home.mkdir()
    secret = SECRETS[0]
    (home / "config.toml").write_text(
        f'[anchor.ethereum]\nurl = "http://x"\nprivate_key = "{secret}"\n'
    )
    with pytest.raises(ConfigError, match="no key") as refused:
        anchoring.endpoint("ethereum")
    assert secret not in str(refused.value)
    (home / "config.toml").write_text(
        f'[anchor.ethereum]\nurl = "https://n/{secret}"\nchain_id = 1\ncontract = "0x{"1" * 40}"\n'
        f'account = "0x{"2" * 40}"\nsigner_url = "https://s/{secret}"\n'
    )
    server = anchoring.endpoint("ethereum")
    assert server.place == ("ethereum", "1", "0x" + "1" * 40, "0x" + "2" * 40)
    assert secret not in repr(server) + repr(server.account)
    monkeypatch.setenv("MLPROV_ETHEREUM_SIGNER_URL", "")
    monkeypatch.setenv("MLPROV_ETHEREUM_PRIVATE_KEY", secret[:-1] + "x")
    with pytest.raises(ConfigError, match="PRIVATE_KEY") as refused:
        anchoring.endpoint("ethereum")
    assert secret[:-1] not in str(refused.value)


WRONG = {
    "chain_id": ("0", "-1", "mainnet", str(2**63)),
    "contract": ("0x12", "AnchorStore", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD1"),
    "account": ("me", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD1"),
    "contract_kind": ("Store",),
    "max_fee_gwei": ("-1", "much", "nan", "1e99"),
    "replacements": ("51",),
    "confirmations": ("-1",),
    "keystore": ("/nowhere/account.json",),
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n in WRONG for v in WRONG[n]])
def test_a_wrong_setting_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "URL": "http://127.0.0.1:1", "CHAIN_ID": "1", "CONTRACT": "0x" + "1" * 40,
        "ACCOUNT": "0x" + "2" * 40, "SIGNER_URL": "http://127.0.0.1:1",
    }  # fmt: skip
    settings[name.upper()] = value
    if name == "keystore":
        del settings["SIGNER_URL"]
    for variable, text in settings.items():
        monkeypatch.setenv(f"MLPROV_ETHEREUM_{variable}", text)
    with pytest.raises(ConfigError, match=rf"(?i){name}|key file"):
        anchoring.endpoint("ethereum")


# Nodes that lie or fail


def error(body: bytes, code: int, message: str) -> bytes:
    said = {
        "jsonrpc": "2.0",
        "id": json.loads(body)["id"],
        "error": {"code": code, "message": message},
    }
    return answer(json.dumps(said).encode())


def result(body: bytes, value: Any) -> bytes:
    return answer(
        json.dumps({"jsonrpc": "2.0", "id": json.loads(body)["id"], "result": value}).encode()
    )


def _first(method: str, number: int) -> bool:
    """The first time, of methods for each part of an anchor's life."""
    methods = ("eth_chainId", "eth_estimateGas", RAW, "eth_getTransactionReceipt")
    return number == 1 and method in (*methods, "eth_getBlockByHash")


PASSING: dict[str, Change] = {
    "the reply to a send is lost": lambda m, b, s, n: b"" if m == RAW and n == 1 else None,
    "it says twice that it has it": lambda m, b, s, n: (
        error(b, -32000, "already known") if m == RAW else None
    ),
    "a send ends in 502 after it was delivered": lambda m, b, s, n: (
        answer(b"<html>", "502 Bad Gateway") if m == RAW and n == 1 else None
    ),
    "a send ends in 429": lambda m, b, s, n: (
        answer(b"", "429 Too Many Requests", "Retry-After: 1") if m == RAW and n == 1 else None
    ),
    "HTML with 200": lambda m, b, s, n: answer(b"<html>Welcome</html>") if _first(m, n) else None,
    "JSON that ends early": lambda m, b, s, n: answer(s[:-5]) if _first(m, n) else None,
    "another call's id": lambda m, b, s, n: (
        answer(s.replace(b'"id":', b'"id":9')) if _first(m, n) else None
    ),
    "no eth_getBlockReceipts": lambda m, b, s, n: (
        error(b, -32601, "Method not found") if m == "eth_getBlockReceipts" else None
    ),
    "no finalized block": lambda m, b, s, n: (
        error(b, -39001, "Unknown block") if b'"finalized"' in b else None
    ),
    "a second node that is behind answers now and then": lambda m, b, s, n: (
        result(b, None)
        if m in ("eth_getTransactionReceipt", "eth_getTransactionByHash") and n in (1, 2, 4)
        else None
    ),
    "it is busy": lambda m, b, s, n: error(b, -32005, "limit exceeded") if _first(m, n) else None,
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_ends_in_one_event(
    fault: str, running: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = anchored_store(tmp_path)
    with between(running, PASSING[fault]) as server:
        through(server, monkeypatch)
        done = anchor(store, timeout=100)
    assert done.code == 0, done.out + done.err
    assert is_one_event(running, store)


LASTING: dict[str, tuple[Change, str, str]] = {
    "it names another transaction": (
        lambda m, b, s, n: result(b, "0x" + "11" * 32) if m == RAW else None,
        "needs_operator",
        "names the anchor's transaction otherwise",
    ),
    "it has no ether for it": (
        lambda m, b, s, n: error(b, -32000, "insufficient funds for gas") if m == RAW else None,
        "needs_operator",
        "does not take the anchor's transaction: insufficient funds",
    ),
    "it offers nothing": (
        lambda m, b, s, n: error(b, -32601, "Method not found"),
        "needs_operator",
        "does not offer eth_chainId",
    ),
    "it is at another chain since": (
        lambda m, b, s, n: result(b, "0x1") if m == "eth_chainId" and n > 3 else None,
        "needs_operator",
        "at the chain with id 1",
    ),
    "its receipts are another block's": (
        lambda m, b, s, n: (
            answer(s.replace(b'"status":"0x1"', b'"status":"0x0"'))
            if m == "eth_getBlockReceipts"
            else None
        ),
        "included",
        "",
    ),
    "it will not say what is final": (
        lambda m, b, s, n: error(b, -32005, "limit exceeded") if b'"finalized"' in b else None,
        "proved",
        "limit exceeded",
    ),
    "its block is none": (
        lambda m, b, s, n: result(b, None) if m == "eth_getBlockByHash" else None,
        "included",
        "",
    ),
}


def _noted(store: Path, state: str) -> bool:
    """Deliver on; whether it came to that state, and says why it goes no further."""
    run_command("sync", "--store", store, "--timeout", "1")
    row = rows(store)[0]
    return row.state == state and row.note is not None


@pytest.mark.parametrize("fault", LASTING)
def test_what_lasts_says_what_to_do_and_an_honest_node_ends_it(
    fault: str, running: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = anchored_store(tmp_path)
    change, state, words = LASTING[fault]
    with between(running, change) as server:
        through(server, monkeypatch)
        assert anchor(store, timeout=2).code == 2
        until(lambda: _noted(store, state))
    assert words in str(rows(store)[0].note)
    monkeypatch.setenv("MLPROV_ETHEREUM_URL", running.node.url)
    assert run_command("sync", "--retry", "--store", store).code == 0
    assert is_one_event(running, store)


# Kills

KILLER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
static int left = -1;
static void tick(void)
{
    if (left < 0)
        left = atoi(getenv("KILL_AT"));
    if (--left == 0)
        kill(getpid(), SIGKILL);
}
#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))
int fsync(int fd) { tick(); int r = REAL(fsync)(fd); tick(); return r; }
int fdatasync(int fd) { tick(); int r = REAL(fdatasync)(fd); tick(); return r; }
ssize_t send(int fd, const void *b, size_t n, int f)
{ tick(); ssize_t r = REAL(send)(fd, b, n, f); tick(); return r; }
"""


# Each write has a moment before it and one after it. One run takes every seventh of these moments;
# MLPROV_TEST_EVERY_KILL takes seven such runs, and so all.
KILL_STEP = 7
FIRST_KILLS = range(1, KILL_STEP + 1) if os.environ.get("MLPROV_TEST_EVERY_KILL") else (KILL_STEP,)


@pytest.mark.parametrize("first", FIRST_KILLS)
def test_a_kill_at_every_durable_write_and_every_send_ends_in_one_event(
    first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "killer.c").write_text(KILLER)
    library = tmp_path / "killer.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", library, tmp_path / "killer.c", "-ldl"],
        check=True,
        env=own_environment(),
    )
    preload = " ".join(filter(None, (os.environ.get("LD_PRELOAD"), str(library))))
    store = tmp_path / "copy"
    anchored_store(tmp_path)
    command = [sys.executable, "-m", "mlprov", "anchor", "ethereum", "-q", "--store", str(store)]
    finished, number = False, first - KILL_STEP
    with anvil("--block-time", "0.2", "--slots-in-an-epoch", "1") as node:
        there = chain(node, monkeypatch)
        while not finished:
            number += KILL_STEP
            snapshot = node.raw_result("evm_snapshot")
            shutil.copytree(tmp_path / "store", store)
            killed = subprocess.run(
                command,
                env=os.environ | {"LD_PRELOAD": preload, "KILL_AT": str(number)},
                check=False,
            )
            finished = killed.returncode == 0
            assert finished or killed.returncode == -signal.SIGKILL
            assert anchor(store).code == 0, number
            assert is_one_event(there, store), number
            shutil.rmtree(store)
            node.raw_result("evm_revert", snapshot)
    assert number > 60

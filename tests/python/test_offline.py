"""MLPROV_OFFLINE: nothing that would use the network opens a socket, as the kernel saw it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from chains_for_tests import anchored_store
from nodes_for_tests import SECRETS, require_secp256k1

from mlprov import _core

RECORDING = """
import sys, mlprov
with mlprov.start("offline", store=sys.argv[1], anchors=["ethereum", "ipfs"]) as run:
    for epoch in run.epochs(2):
        epoch.log(loss=1)
assert run.export(sys.argv[2])
"""
pytestmark = pytest.mark.skipif(
    os.environ.get("MLPROV_BUILD_VARIANT") == "sanitize",
    reason="strace does not run with LD_PRELOAD, nor the instrumented core without",
)

NETWORK = re.compile(r"(socket|connect|sendto|sendmsg)\(|lib(curl|nss_dns)[.-]")


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that would be asked, were it allowed."""
    require_secp256k1()
    account = _core.EthereumKey.from_secret(bytes.fromhex(SECRETS[0])).address
    for name, value in {
        "IPFS_URL": "https://node.example.org",
        "ETHEREUM_URL": "https://node.example.org",
        "ETHEREUM_CHAIN_ID": "1",
        "ETHEREUM_CONTRACT": _core.ethereum_address("0x" + "11" * 20),
        "ETHEREUM_ACCOUNT": account,
        "ETHEREUM_PRIVATE_KEY": SECRETS[0],
    }.items():
        monkeypatch.setenv(f"MLPROV_{name}", value)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore::UserWarning")


def traced(log: Path, *arguments: str | Path, offline: bool = True) -> list[str]:
    """Run Python under strace; what it did that has to do with the network."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed (scripts/test_tools.sh)")
    environment = {name: text for name, text in os.environ.items() if name != "LD_PRELOAD"}
    command: list[str | Path] = [strace, "-f", "-qq", "-e", "trace=network,openat", "-o", log]
    done = subprocess.run(
        [*command, sys.executable, *arguments],
        env=environment | ({"MLPROV_OFFLINE": "1"} if offline else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if not log.exists() or "PTRACE" in done.stderr:
        pytest.skip(f"strace cannot trace here: {done.stderr.strip()[:100]}")
    assert "Traceback" not in done.stderr, done.stderr
    return [line for line in log.read_text().splitlines() if NETWORK.search(line)]


@pytest.mark.usefixtures("servers")
def test_a_run_with_anchors_opens_no_socket_and_no_network_library(tmp_path: Path) -> None:
    seen = traced(tmp_path / "calls", "-c", RECORDING, tmp_path / "store", tmp_path / "it.mlprov")
    assert seen == []
    assert (tmp_path / "it.mlprov").exists()


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize(
    "command",
    [
        ("anchor", "ethereum", "--timeout", "1"),
        ("anchor", "ipfs", "--timeout", "1"),
        ("sync", "--timeout", "1"),
        ("status",),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_no_command_opens_one(command: tuple[str, ...], tmp_path: Path) -> None:
    store = anchored_store(tmp_path)
    assert traced(tmp_path / "calls", "-m", "mlprov", *command, "--store", store) == []


@pytest.mark.usefixtures("servers")
def test_what_is_looked_for_is_seen_where_the_network_may_be_used(tmp_path: Path) -> None:
    store = anchored_store(tmp_path)
    command = ("-m", "mlprov", "anchor", "ipfs", "--timeout", "1", "--store", store)
    seen = traced(tmp_path / "calls", *command, offline=False)
    assert any("libcurl" in line for line in seen)
    assert any("socket(" in line for line in seen)

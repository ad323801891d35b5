"""Servers that are of no use: gone, silent, or of a name that no resolver answers for."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from mlprov import _core

SILENT_RESOLVER = Path(__file__).resolve().parents[1] / "tests" / "python" / "silent_resolver.py"
KINDS = ("ipfs", "ethereum")
_SECRET = "11" * 32  # of nobody

# Says when its end began and when finish() came back; its parent sees when it was gone.
_RUN = """
import sys, time, mlprov
run = mlprov.start("end", store=sys.argv[1], anchors=[sys.argv[2]])
run.log(loss=1)
began = time.monotonic()
run.finish()
print(began)
"""


def name_servers(url: str) -> None:
    """From now on every kind of anchor has this server."""
    account = _core.EthereumKey.from_secret(bytes.fromhex(_SECRET)).address
    os.environ |= {
        "MLPROV_IPFS_URL": url,
        "MLPROV_ETHEREUM_URL": url,
        "MLPROV_ETHEREUM_CHAIN_ID": "1",
        "MLPROV_ETHEREUM_CONTRACT": _core.ethereum_address("0x" + "11" * 20),
        "MLPROV_ETHEREUM_ACCOUNT": account,
        "MLPROV_ETHEREUM_PRIVATE_KEY": _SECRET,
        "PYTHONWARNINGS": "ignore",  # of the key in the environment
    }


@contextlib.contextmanager
def port(*, listens: bool) -> Iterator[str]:
    """The URL of a port where nobody is, or somebody who takes connections and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listens:
            server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def end_seconds(store: Path, kind: str, url: str, *, resolver: bool = False) -> float | None:
    """Seconds from the call that ends a run until its process is gone.

    Args:
        store: of the run.
        kind: of its anchor.
        url: of the anchor's server.
        resolver: whether names are asked of a resolver that is silent.

    Returns:
        None where the system has no namespaces, in which such a resolver could be.
    """
    name_servers(url)
    command = [sys.executable, "-c", _RUN, str(store), kind]
    if resolver:
        command = [sys.executable, str(SILENT_RESOLVER), *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ended = time.monotonic()
    if resolver and done.returncode == 125:
        return None
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    began, *rest = done.stdout.split()
    if resolver:
        questions, at = rest
        if int(questions) == 0:
            raise RuntimeError("the resolver was asked nothing")
        ended = float(at)
    return ended - float(began)

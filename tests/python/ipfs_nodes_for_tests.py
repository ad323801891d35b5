"""A real IPFS node (js-ipfs, `make ipfs-node`) in a folder of its own; a liar in front of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from servers_for_tests import Server, serving

NODE = ROOT / "tests" / "nodes" / "ipfs"


class IpfsNode:
    """One node in a directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def _environment(self) -> dict[str, str]:
        polyfill = NODE / "polyfill.cjs"
        return os.environ | {
            "IPFS_PATH": str(self.folder),
            "NODE_OPTIONS": f"--require {polyfill}",
        }

    def _command(self, *words: str) -> list[str]:
        return [str(NODE / "node_modules" / ".bin" / "jsipfs"), *words]

    def init(self) -> None:
        subprocess.run(
            self._command("init", "--profile", "test"),
            env=self._environment(),
            check=True,
            capture_output=True,
            timeout=120,
        )
        config = self.folder / "config"
        settings = json.loads(config.read_text())
        settings["Addresses"]["Swarm"] = []  # else "no valid addresses" where it is offline
        settings["Addresses"]["RPC"] = "/ip4/127.0.0.1/tcp/0"
        config.write_text(json.dumps(settings))

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command("daemon", "--offline"),
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        said = ""
        for line in self.process.stdout:
            said += line
            if found := re.search(r"HTTP API listening on /ip4/127.0.0.1/tcp/(\d+)", line):
                self.url = f"http://127.0.0.1:{found[1]}"
            if "Daemon is ready" in line:
                return
        raise AssertionError(said)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for lock in self.folder.glob("*.lock"):  # js-ipfs leaves it behind
                shutil.rmtree(lock, ignore_errors=True)

    def ask(self, path: str) -> bytes:
        request = urllib.request.Request(f"{self.url}/api/v0/{path}", method="POST")
        with urllib.request.urlopen(request, timeout=30) as got:
            return bytes(got.read())

    def post(self, path: str, body: bytes, content_type: str) -> bytes:
        """Its answer to a request with a body."""
        request = urllib.request.Request(
            f"{self.url}/api/v0/{path}", body, {"Content-Type": content_type}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as got:
            return bytes(got.read())


# Ends the process at the KILL_AT-th moment: before and after every durable write and every send.
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


def killer(folder: Path) -> Path:
    """The library that does so, to be preloaded."""
    (folder / "killer.c").write_text(KILLER)
    library = folder / "killer.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", library, folder / "killer.c", "-ldl"], check=True
    )
    return library


@contextlib.contextmanager
def running_node(folder: Path) -> Iterator[IpfsNode]:
    """A node that runs; skips where none is installed."""
    if shutil.which("node") is None or not (NODE / "node_modules").is_dir():
        pytest.skip("there is no IPFS node here: 'make ipfs-node' installs one (3 minutes)")
    made = IpfsNode(folder)
    made.init()
    made.start()
    try:
        yield made
    finally:
        made.kill()


def _forward(node: IpfsNode, request: bytes) -> bytes:
    """The node's whole answer, on a connection that it closes."""
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    port = int(node.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@contextlib.contextmanager
def in_front_of(
    node: IpfsNode, change: Callable[[bytes, bytes], tuple[bytes, bytes]]
) -> Iterator[Server]:
    """A proxy before a real node.

    Args:
        node: what is asked in the end.
        change: gets (request, answer) and gives what the node is asked and what is answered; it is
            called before the node is asked with an empty answer, then with the node's.
    """

    def handler(connection: socket.socket, request: bytes) -> None:
        asked, _ = change(request, b"")
        _, answered = change(asked, _forward(node, asked))
        connection.sendall(answered)

    with serving(handler) as server:
        yield server

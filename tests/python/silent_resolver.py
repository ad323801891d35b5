"""Runs a command where every name is asked of a DNS server that takes the question and is silent.

    python silent_resolver.py COMMAND [ARGUMENT ...]

The command gets a mount, a network and a user namespace of its own (``unshare``), in which
/etc/resolv.conf names a socket of this program: names go the way through the C library that they go
everywhere. The last line on standard output is how many questions came, and when the command had
ended by the monotonic clock; the exit status is the command's, or 125 where the system gives no
namespaces.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

NO_NAMESPACES = 125
_UNSHARE = ("unshare", "--map-root-user", "--mount", "--net")
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1  # linux/sockios.h, linux/if.h


def is_possible() -> bool:
    """Whether the system gives such namespaces."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode == 0


def _raise_loopback() -> None:
    """A new network namespace has a loopback device that is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request)
        flags = struct.unpack("16sH14s", answer)[1] | _IFF_UP
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", flags, b""))


def _serve(server: socket.socket, questions: list[bytes]) -> None:
    while True:
        questions.append(server.recv(4096))


def _inside(command: list[str]) -> int:
    questions: list[bytes] = []
    _raise_loopback()
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    threading.Thread(target=_serve, args=(server, questions), daemon=True).start()
    with tempfile.TemporaryDirectory() as text:
        path = Path(text) / "resolv.conf"
        path.write_text("nameserver 127.0.0.1\n", encoding="ascii")
        subprocess.run(["mount", "--bind", path, "/etc/resolv.conf"], check=True)
        status = subprocess.run(command, check=False).returncode
        print(len(questions), time.monotonic(), flush=True)
        subprocess.run(["umount", "/etc/resolv.conf"], check=True)
    return status


def main(arguments: list[str]) -> int:
    """Go into the namespaces, then run the command there."""
    if arguments[0] == "--inside":
        return _inside(arguments[1:])
    if not is_possible():
        return NO_NAMESPACES
    me = [sys.executable, os.path.realpath(__file__)]
    return subprocess.run([*_UNSHARE, *me, "--inside", *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Real servers on this machine, one for each way of going wrong; and the certificates of some."""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import ipaddress
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Handler = Callable[[socket.socket, bytes], None]


@dataclass
class Server:
    """A server that runs, and what it was asked."""

    port: int
    requests: list[bytes]

    def url(self, path: str = "/", *, scheme: str = "http", host: str = "127.0.0.1") -> str:
        """The address of a path on it."""
        return f"{scheme}://{host}:{self.port}{path}"


def read_request(connection: socket.socket) -> bytes:
    """A request's head, and the body that its Content-Length announces."""
    taken = b""
    while b"\r\n\r\n" not in taken:
        more = connection.recv(65536)
        if not more:
            return taken
        taken += more
    head, _, body = taken.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextlib.contextmanager
def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server whose every connection is one request, answered by ``handler``."""
    requests: list[bytes] = []

    class One(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            connection = self.request
            with contextlib.suppress(OSError):
                if tls is not None:
                    connection = tls.wrap_socket(connection, server_side=True)
                requests.append(read_request(connection))
                handler(connection, requests[-1])
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                connection.close()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), One) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Server(server.server_address[1], requests)
        finally:
            server.shutdown()
            thread.join()


def answer(body: bytes = b"", status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer, as bytes."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def always(text: bytes) -> Handler:
    """Answers every request with the same bytes."""
    return lambda connection, _: connection.sendall(text)


@dataclass
class Authority:
    """An authority for certificates, and where its own lies."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    path: Path


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def make_authority(folder: Path) -> Authority:
    """A new authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign(_name("tests"), key, _name("tests"), key, days=(-2, 2), is_authority=True)
    path = folder / "authority.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(folder, key, certificate, path)


def _sign(subject, key, issuer, issuer_key, *, days, names=(), is_authority=False):
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def context_for(
    authority: Authority, kind: str, *, host: str = "127.0.0.1", days: tuple[int, int] = (-1, 1)
) -> ssl.SSLContext:
    """TLS for a server whose certificate is for ``host``, valid between two days from now.

    Args:
        kind: "signed" by the authority, or "self-signed".
    """
    key = ec.generate_private_key(ec.SECP256R1())
    try:
        names = [x509.IPAddress(ipaddress.ip_address(host))]
    except ValueError:
        names = [x509.DNSName(host)]
    own = kind == "self-signed"
    issuer = _name(host) if own else authority.certificate.subject
    certificate = _sign(
        _name(host), key, issuer, key if own else authority.key, days=days, names=names
    )
    path = authority.folder / f"{kind}-{host}-{days[0]}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


# An IPFS node


def node_that(read_back: Callable[[bytes], bytes], pins: bool) -> Handler:
    """A server that takes blocks, and gives back something else, or pins nothing."""
    kept: dict[bytes, bytes] = {}

    def put(request: bytes) -> bytes:
        block = re.search(rb"octet-stream\r\n\r\n(.*)\r\n--mlprov", request, re.S)[1]  # type: ignore[index]
        cid = b"\x01\x55\x12\x20" + hashlib.sha256(block).digest()
        name = b"b" + base64.b32encode(cid).rstrip(b"=").lower()
        kept[name] = block
        return b'{"Key":"' + name + b'","Size":1}'

    def handler(connection: socket.socket, request: bytes) -> None:
        asked = re.search(rb"arg=([a-z0-9]+)", request)
        name = asked[1] if asked else b""
        if b"block/put" in request:
            body = put(request)
        elif b"pin/ls" in request and pins:
            body = b'{"Keys":{"' + name + b'":{"Type":"recursive"}}}'
        elif b"pin/ls" in request:
            body = b'{"Keys":{}}'
        elif b"block/get" in request and name not in kept:
            connection.sendall(answer(b"", "500 Internal Server Error"))
            return
        elif b"block/get" in request:
            body = read_back(kept[name])
        else:
            body = b'{"Pins":[]}'
        connection.sendall(answer(body))

    return handler

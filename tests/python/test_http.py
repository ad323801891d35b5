"""csrc/net against real servers: what is refused, what failures are called, what is never said."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT
from servers_for_tests import (
    Authority,
    Server,
    always,
    answer,
    context_for,
    make_authority,
    serving,
)

Call = Callable[..., dict[str, str]]
SECRET = "s3cr3t-k3y"


def build_driver(folder: Path, *flags: str) -> Path:
    """The net room as a program, with the sanitizers."""
    sys.path.insert(0, str(ROOT / "scripts"))
    import native_libraries

    program = folder / "http_driver"
    sources = [
        ROOT / "tests/python/http_driver.c",
        *sorted((ROOT / "csrc/base").glob("*.c")),
        *sorted((ROOT / "csrc/net").glob("*.c")),
        *(ROOT / f"csrc/codec/{name}.c" for name in ("json", "json_scan", "utf8")),
    ]
    command = [
        *shlex.split(os.environ.get("CC", "cc")),
        *("-std=c11", "-O1", "-g", "-D_POSIX_C_SOURCE=200809L", "-D_DEFAULT_SOURCE"),
        *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{ROOT / 'csrc'}"),
        *flags,
        *native_libraries.compile_flags(),
        *map(str, sources),
        *native_libraries.link_flags(),
        *("-pthread", "-o", str(program)),
    ]
    subprocess.run(command, check=True)
    return program


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built once."""
    return build_driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def run_driver(driver: Path) -> Callable[..., str]:
    """Runs the program; the environment has no proxy but those that are given."""

    def run(*arguments: object, env: dict[str, str] | None = None) -> str:
        clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        done = subprocess.run(
            [driver, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            env=clean | (env or {}),
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert SECRET not in done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def call(run_driver: Callable[..., str]) -> Call:
    """One request; what came of it, by name."""

    def one(*arguments: object, env: dict[str, str] | None = None) -> dict[str, str]:
        lines = run_driver(*arguments, env=env).strip().splitlines()
        return {line.split(" ", 1)[0]: line.partition(" ")[2] for line in lines}

    return one


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority for certificates, of the test's own."""
    return make_authority(tmp_path)


def test_a_body_comes_as_it_was_sent(call: Call) -> None:
    body = bytes(range(256)) * 4
    with serving(always(answer(body))) as server:
        said = call(server.url())
    assert (said["class"], said["status"], bytes.fromhex(said["body"])) == ("ok", "0", body)


def test_a_post_has_its_headers_and_its_body(call: Call) -> None:
    with serving(always(answer(b"x"))) as server:
        header = f"Authorization: Bearer {SECRET}"
        assert call("--post", "hello", "--header", header, server.url("/p"))["class"] == "ok"
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /p HTTP/1.1")
    assert header.encode() in head
    assert body == b"hello"
    assert b"Expect" not in head


def test_a_request_has_no_hidden_line_ends(call: Call) -> None:
    said = call("--header", "A: b\r\nC: d", "http://127.0.0.1:9/")
    assert said["status"] == "-4"


# What a server may do


@pytest.mark.parametrize(
    ("status", "named", "code"),
    [
        ("429 Too Many Requests", "rate", "-19"),
        ("500 Internal Server Error", "server", "-19"),
        ("502 Bad Gateway", "server", "-19"),
        ("401 Unauthorized", "status", "-20"),
        ("302 Found", "status", "-20"),
    ],
)
def test_a_status_has_its_class(call: Call, status: str, named: str, code: str) -> None:
    with serving(always(answer(b"", status, "Location: https://192.0.2.1/"))) as server:
        said = call(server.url(f"/{SECRET}?key={SECRET}"))
        assert len(server.requests) == 1
    assert (said["class"], said["status"], said["http_status"]) == (named, code, status[:3])
    assert f"http://127.0.0.1:{server.port} " in said["message"]


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7000, 7000),
        ("0", 0, 0),
        ("999999999999999999999", 86_400_000, 86_400_000),
        ("soon", -1, -1),
        ("-5", -1, -1),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("Fri, 31 Dec 2100 23:59:59 GMT", 86_400_000, 86_400_000),
    ],
)
def test_retry_after_is_read_and_bounded(call: Call, value: str, least: int, most: int) -> None:
    text = answer(b"", "429 Too Many Requests", f"Retry-After: {value}")
    with serving(always(text)) as server:
        assert least <= int(call(server.url())["retry_after_ms"]) <= most


def test_nobody_there_is_refused(call: Call) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        said = call(f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert (said["class"], said["status"]) == ("refused", "-19")


def test_a_silent_server_ends_in_a_timeout(call: Call) -> None:
    done = threading.Event()
    with serving(lambda *_: bool(done.wait(30))) as server:
        said = call("--timeout", 300, server.url())
        done.set()
    assert (said["class"], said["status"]) == ("timeout", "-19")


def test_a_byte_a_second_ends_in_a_timeout(call: Call) -> None:
    stop = threading.Event()

    def drip(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not stop.wait(1):
            connection.sendall(b".")

    with serving(drip) as server:
        began = time.monotonic()
        said = call("--timeout", 1500, server.url())
        took = time.monotonic() - began
        stop.set()
    assert said["class"] == "timeout"
    assert took < 5


@pytest.mark.parametrize("length", [b"", b"Content-Length: 99999999999\r\n"])
def test_an_endless_body_is_cut_off(call: Call, length: bytes) -> None:
    def endless(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with serving(endless) as server:
        said = call("--max", 100_000, server.url())
    assert (said["class"], said["status"]) == ("too large", "-20")


def test_endless_headers_are_cut_off(call: Call) -> None:
    def endless(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X-More: " + b"x" * 1000 + b"\r\n")

    with serving(endless) as server:
        assert call(server.url())["class"] == "too large"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\x00\x01\x02 no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_whole_answer_is_broken(call: Call, text: bytes) -> None:
    with serving(always(text)) as server:
        said = call(server.url())
    assert (said["class"], said["status"]) == ("broken", "-19")


def test_an_interrupt_ends_a_request_and_all_later_ones(run_driver: Callable[..., str]) -> None:
    done = threading.Event()
    with serving(lambda *_: bool(done.wait(30))) as server:
        began = time.monotonic()
        out = run_driver("--interrupt", 200, "--timeout", 30000, "--times", 3, server.url())
        took = time.monotonic() - began
        done.set()
    assert out.count("class stopped") == 3
    assert took < 5
    assert len(server.requests) == 1


# Where a request may go


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "http://192.0.2.1/",
        "http://localhost.example.org/",
        "http://127.0.0.1.example.org/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "gopher://127.0.0.1/",
        "https://",
        "nonsense",
        "",
        "https://169.254.169.254/latest/meta-data/",
        "https://[fe80::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[fd00:ec2::254]/",
        "https://100.100.100.200/",
        "https://0.0.0.0/",
        "https://[::]/",
        "https://224.0.0.1/",
        "https://2852039166/",  # 169.254.169.254 as one number
        "https://0xA9FEA9FE/",
        "https://" + "a" * 3000,
    ],
)
def test_a_url_that_is_not_allowed_is_refused(call: Call, url: str) -> None:
    said = call("--timeout", 2000, url)
    assert (said["class"], said["status"]) == ("forbidden", "-20")


def test_a_name_of_this_machine_over_http_does_not_use_a_proxy(call: Call) -> None:
    with serving(always(answer(b"own"))) as server, serving(always(answer(b"proxy"))) as proxy:
        said = call(server.url(host="localhost"), env={"http_proxy": proxy.url(), "no_proxy": ""})
        assert proxy.requests == []
    assert bytes.fromhex(said["body"]) == b"own"


def test_https_goes_through_the_proxy_of_the_environment(call: Call) -> None:
    with serving(always(answer(b"", "403 Forbidden"))) as proxy:
        url = f"http://user:{SECRET}@127.0.0.1:{proxy.port}"
        said = call("https://node.example.org/", env={"https_proxy": url, "no_proxy": ""})
    assert said["status"] != "0"
    assert proxy.requests[0].startswith(b"CONNECT node.example.org:443")


def test_credentials_in_a_url_are_used_and_never_said(call: Call) -> None:
    with serving(always(answer(b"", "401 Unauthorized"))) as server:
        call(f"http://me:{SECRET}@127.0.0.1:{server.port}/{SECRET}?k={SECRET}#{SECRET}")
    assert b"Authorization: Basic" in server.requests[0]


def test_a_malformed_url_with_a_key_in_it_is_not_shown(call: Call) -> None:
    call(f"https://me:{SECRET}@:bad:/{SECRET}")
    call(f"ht!tp://{SECRET}")


# TLS


def tls_call(call: Call, server: Server, authority: Authority, **names: str) -> dict[str, str]:
    return call("--ca", authority.path, server.url(scheme="https", **names))


def test_a_certificate_that_holds_is_accepted(call: Call, authority: Authority) -> None:
    with serving(always(answer(b"safe")), context_for(authority, "signed")) as server:
        said = tls_call(call, server, authority)
    assert bytes.fromhex(said["body"]) == b"safe"


@pytest.mark.parametrize("what", ["host", "expired", "not yet", "self-signed"])
def test_a_certificate_that_does_not_hold_is_refused(
    call: Call, authority: Authority, what: str
) -> None:
    context = {
        "host": lambda: context_for(authority, "signed", host="other.example.org"),
        "expired": lambda: context_for(authority, "signed", days=(-2, -1)),
        "not yet": lambda: context_for(authority, "signed", days=(1, 2)),
        "self-signed": lambda: context_for(authority, "self-signed"),
    }[what]()
    with serving(always(answer(b"unsafe")), context) as server:
        said = tls_call(call, server, authority)
        assert all(b"GET" not in request for request in server.requests)
    assert (said["class"], said["status"], said["body"]) == ("tls", "-20", "")


def test_a_handshake_that_breaks_off_may_go_well_later(call: Call) -> None:
    def break_off() -> None:
        connection, _ = listener.accept()
        connection.recv(1)
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=break_off)
        thread.start()
        said = call(f"https://127.0.0.1:{listener.getsockname()[1]}/")
        thread.join()
    assert (said["class"], said["status"], said["body"]) == ("refused", "-19", "")


def test_an_authority_of_nobody_is_refused(call: Call, authority: Authority) -> None:
    with serving(always(answer(b"unsafe")), context_for(authority, "signed")) as server:
        assert call(server.url(scheme="https"))["class"] == "tls"


# Offline


def test_offline_opens_no_socket_and_no_library(driver: Path, tmp_path: Path) -> None:
    log = tmp_path / "calls"
    strace = ["strace", "-f", "-e", "trace=socket,connect,openat,open", "-o", log]
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(
            [*strace, driver, "https://example.org/"],
            env=os.environ | {"MLPROV_OFFLINE": "1", "ASAN_OPTIONS": "detect_leaks=0"},
            check=True,
            capture_output=True,
        )
        calls = log.read_text()
        assert "socket(" not in calls
        assert "connect(" not in calls
        assert "libcurl" not in calls
        return
    pytest.skip("there is no strace")


def test_offline_says_so(call: Call) -> None:
    said = call("https://example.org/", env={"MLPROV_OFFLINE": "1"})
    assert said["status"] == "-19"
    assert "MLPROV_OFFLINE" in said["message"]


# JSON-RPC


def rpc(call: Call, body: bytes, status: str = "200 OK") -> dict[str, str]:
    with serving(always(answer(body, status))) as server:
        said = call("--rpc", "eth_chainId", server.url())
    if server.requests:
        sent = server.requests[0].partition(b"\r\n\r\n")[2]
        assert sent == b'{"id":7,"jsonrpc":"2.0","method":"eth_chainId","params":[]}'
    return said


def test_a_json_rpc_result_is_taken(call: Call) -> None:
    said = rpc(call, b'{"jsonrpc":"2.0","id":7,"result":"0x1"}')
    assert (said["status"], said["result"]) == ("0", "there")


def test_a_json_rpc_error_is_an_answer(call: Call) -> None:
    said = rpc(call, b'{"jsonrpc":"2.0","id":7,"error":{"code":-32000,"message":"nonce too low"}}')
    assert (said["status"], said["result"], said["code"]) == ("0", "none", "-32000")


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Welcome</body></html>",
        b"",
        b'{"jsonrpc":"2.0","id":7,"result":"0x',
        b'{"jsonrpc":"2.0","id":8,"result":"0x1"}',
        b'{"jsonrpc":"2.0","id":"7","result":"0x1"}',
        b'{"jsonrpc":"2.0","id":null,"result":"0x1"}',
        b'{"jsonrpc":"1.0","id":7,"result":"0x1"}',
        b'{"id":7,"result":"0x1"}',
        b'{"jsonrpc":"2.0","id":7}',
        b'{"jsonrpc":"2.0","id":7,"result":1,"error":{"code":1,"message":"both"}}',
        b'{"jsonrpc":"2.0","id":7,"error":"text"}',
        b'{"jsonrpc":"2.0","id":7,"error":{"code":"x","message":"y"}}',
        b'{"jsonrpc":"2.0","id":7,"id":7,"result":"0x1"}',
        b'[{"jsonrpc":"2.0","id":7,"result":"0x1"}]',
        b"[" * 1000,
        b'{"jsonrpc":"2.0","id":7,"result":"\xff"}',
    ],
)
def test_what_is_no_answer_to_the_call_is_refused(call: Call, body: bytes) -> None:
    said = rpc(call, body)
    assert (said["status"], said["class"], said["result"]) == ("-20", "ok", "none")


# Loading


def test_importing_and_verifying_load_no_network_library(run_python: Callable[..., str]) -> None:
    if not Path("/proc/self/maps").exists():
        pytest.skip("there is no /proc")
    code = """
import mlprov.cli.__main__, mlprov.verification
mlprov.cli.__main__.main(["verify", "no-such.mlprov"])
print([line for line in open("/proc/self/maps") if "curl" in line])
"""
    assert run_python(code).splitlines()[-1] == "[]"


def test_a_missing_libcurl_is_named_with_its_package(driver: Path, tmp_path: Path) -> None:
    # The loader finds an empty file of that name first, and takes it for no library.
    for name in ("libcurl.so.4", "libcurl-gnutls.so.4"):
        (tmp_path / name).touch()
    done = subprocess.run(
        [driver, "https://example.org/"],
        env={"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    if "class" in done.stdout and "class none" not in done.stdout:
        pytest.skip("the loader went on past the broken library")
    assert "status -16" in done.stdout
    assert "Debian: libcurl4" in done.stdout


def test_a_build_without_libcurls_headers_says_what_to_install(tmp_path: Path) -> None:
    program = build_driver(tmp_path, "-DMLP_HAVE_CURL=0", "-Wall", "-Wextra", "-Werror")
    done = subprocess.run(
        [program, "https://example.org/"], capture_output=True, text=True, check=True
    )
    assert "status -16" in done.stdout
    assert "Debian: libcurl4-openssl-dev" in done.stdout

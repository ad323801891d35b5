"""`mlprov keys new --ethereum`: key files that others open, passphrases, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_for_tests import is_error, run_command
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from ethereum_reference import keccak
from nodes_for_tests import require_secp256k1

from mlprov import _core, ethereum_keys, keys

PASSPHRASE = "correct horse ümläut"


@pytest.fixture(scope="module", autouse=True)
def _secp256k1() -> None:
    require_secp256k1()


def descriptor_with(text: str) -> int:
    """A pipe that says this."""
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    return reading


def make(*arguments: object) -> Any:
    """A new key, its passphrase from a pipe."""
    descriptor = descriptor_with(f"{PASSPHRASE}\nanother line")
    try:
        return run_command(
            "keys", "new", "--ethereum", *arguments, "--passphrase-fd", str(descriptor)
        )
    finally:
        os.close(descriptor)


def opened_by_others(path: Path, passphrase: str) -> bytes:
    """The secret, as Web3 Secret Storage defines it, by hashlib and cryptography."""
    crypto = json.loads(path.read_text())["crypto"]
    given = crypto["kdfparams"]
    assert (crypto["kdf"], crypto["cipher"]) == ("scrypt", "aes-128-ctr")
    derived = hashlib.scrypt(
        passphrase.encode(),
        salt=bytes.fromhex(given["salt"]),
        n=given["n"],
        r=given["r"],
        p=given["p"],
        dklen=given["dklen"],
        maxmem=2**28,
    )
    ciphertext = bytes.fromhex(crypto["ciphertext"])
    assert keccak(derived[16:32] + ciphertext).hex() == crypto["mac"]
    iv = modes.CTR(bytes.fromhex(crypto["cipherparams"]["iv"]))
    return Cipher(algorithms.AES(derived[:16]), iv).decryptor().update(ciphertext)


def test_a_new_key_is_opened_by_other_tools(tmp_path: Path) -> None:
    path = tmp_path / "new" / "account.json"
    made = make(path, "--json")
    assert made.code == 0, made.err
    secret = opened_by_others(path, PASSPHRASE)
    assert _core.EthereumKey.from_secret(secret).address == made.json["address"]
    assert json.loads(path.read_text())["version"] == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert _core.EthereumKey.load(path, PASSPHRASE.encode()).address == made.json["address"]
    assert secret.hex() not in made.out + made.err


def test_a_new_key_is_listed_with_its_file_beside_the_owner_key() -> None:
    assert run_command("keys", "ls").out.startswith("no keys in ")
    keys.owner_key()
    made = make("-q")
    listed = run_command("keys", "ls").out.splitlines()
    assert [line.split()[0] for line in listed] == ["KIND", "owner", "ethereum"]
    assert listed[2].split()[1:] == [made.out.strip(), str(keys.home() / "ethereum.json")]
    as_json = run_command("keys", "ls", "--json").json
    assert [file["address"] for file in as_json["ethereum"]] == [made.out.strip()]
    assert as_json["owner"] == keys.owner_vkey()


def test_the_key_that_is_configured_is_listed_wherever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "elsewhere.json"
    made = make(path, "-q")
    assert "elsewhere" not in run_command("keys", "ls").out
    monkeypatch.setenv("MLPROV_ETHEREUM_KEYSTORE", str(path))
    assert made.out.strip() in run_command("keys", "ls").out
    path.unlink()
    assert run_command("keys", "ls").code == 0


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    assert make(path).code == 0
    before = path.read_bytes()
    assert is_error(make(path), "there is a file at", "name another file")
    assert path.read_bytes() == before
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "nowhere")
    assert is_error(make(link), "there is a file at")
    assert not (tmp_path / "nowhere").exists()


def test_without_a_passphrase_nothing_is_made(tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    assert is_error(
        run_command("keys", "new", "--ethereum", path), "nobody gives its passphrase", "PASSPHRASE"
    )
    empty = descriptor_with("\n")
    refused = run_command("keys", "new", "--ethereum", path, "--passphrase-fd", str(empty))
    os.close(empty)
    assert is_error(refused, "the passphrase is empty")
    assert is_error(
        run_command("keys", "new", "--ethereum", path, "--passphrase-fd", "977"),
        "from the file descriptor 977",
    )
    assert not path.exists()


def typed(path: Path, *lines: str) -> tuple[int, str]:
    """Make a key at a terminal; the exit code, and what the terminal showed."""
    ours, theirs = pty.openpty()
    program = (
        "import os, sys; os.setsid(); import fcntl, termios;"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        "from mlprov.cli.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "keys", "new", "--ethereum", str(path)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = answered = b""
        left = list(lines)
        while True:
            try:
                seen += os.read(ours, 4096)
            except OSError:  # the other end is gone
                break
            if left and seen.removeprefix(answered).endswith((b".json: ", b"more: ")):
                answered = seen
                os.write(ours, f"{left.pop(0)}\n".encode())
    os.close(ours)
    return process.returncode, seen.decode()


def test_a_terminal_is_asked_twice_and_shows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    code, seen = typed(path, "one", "another")
    assert code == 2
    assert "the two passphrases differ" in seen
    assert not path.exists()
    code, seen = typed(path, PASSPHRASE, PASSPHRASE)
    assert code == 0, seen
    assert PASSPHRASE not in seen
    assert _core.EthereumKey.load(path, PASSPHRASE.encode()).address in seen


def test_what_is_no_key_file_is_not_listed() -> None:
    keys.owner_key()
    for name, text in {"a": "{}", "b": "[1]", "c": "not json", "d": '{"address": "0x12"}'}.items():
        (keys.home() / f"{name}.json").write_text(text)
    assert ethereum_keys.key_files() == []

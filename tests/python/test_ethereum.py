"""Ethereum without a network, against js-sha3, anvil's signer and ethereum-tests."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nodes_for_tests import (
    SECRETS,
    Account,
    EthereumNode,
    Intent,
    account,
    anvil,
    require_secp256k1,
    run_node,
)
from vectors_for_tests import vectors_folder

from mlprov import _core
from mlprov.errors import ConfigError, EvidenceError, VerificationError

CASES = int(os.environ.get("MLPROV_PROPERTY_CASES", "2000"))


@pytest.fixture(scope="module")
def node() -> Iterator[EthereumNode]:
    require_secp256k1()
    with anvil() as running:
        yield running


@pytest.fixture
def funded(node: EthereumNode) -> Account:
    return account(node)


# ---- Keccak-256 ----


def test_every_length_to_three_blocks_has_the_digest_of_js_sha3() -> None:
    script = """
    const { keccak256 } = require('js-sha3')
    for (let n = 0; n <= 420; n++)
      console.log(keccak256(Uint8Array.from({ length: n }, (_, i) => (i * 7 + n) % 251)))
    """
    for length, expected in enumerate(run_node(script).split()):
        data = bytes((i * 7 + length) % 251 for i in range(length))
        assert _core.keccak256(data).hex() == expected


# ---- transactions, against anvil's own signer ----


def random_intents(seed: int, count: int, chain_id: int) -> list[Intent]:
    chance = random.Random(seed)

    def number(bits: int) -> int:
        return chance.getrandbits(chance.randrange(bits + 1))

    intents: list[Intent] = []
    for _ in range(count):
        to = None
        if chance.random() < 0.9:
            to = _core.ethereum_transaction(
                _core.EthereumKey.from_secret(chance.randbytes(31) + b"\1").sign_transaction(
                    (1, 0, 0, 0, 0, None, 0, b"")
                )[0]
            )[1]
        fee = number(64)
        data = chance.randbytes(chance.choice((0, 1, 4, 36, 55, 56, 255, 256, 300)))
        intents.append(
            (chain_id, number(63), min(number(64), fee), fee, number(63), to, number(64), data)
        )
    return intents


def as_request(intent: Intent, sender: str) -> dict[str, Any]:
    chain_id, nonce, tip, fee, gas, to, value, data = intent
    request = {
        "type": "0x2",
        "from": sender,
        "chainId": hex(chain_id),
        "nonce": hex(nonce),
        "maxPriorityFeePerGas": hex(tip),
        "maxFeePerGas": hex(fee),
        "gas": hex(gas),
        "value": hex(value),
        "input": "0x" + data.hex(),
        "accessList": [],
    }
    return {**request, "to": to} if to else request


def test_random_transactions_are_byte_for_byte_those_of_anvils_signer(
    node: EthereumNode, funded: Account
) -> None:
    chain_id = int(node.raw_result("eth_chainId"), 16)
    for seed in range(0, CASES, 250):
        intents = random_intents(seed, min(250, CASES - seed), chain_id)
        signed = node.results(
            [("eth_signTransaction", (as_request(i, funded.key.address),)) for i in intents]
        )
        for intent, answer in zip(intents, signed, strict=True):
            raw, transaction = funded.key.sign_transaction(intent)
            assert raw.hex() == answer[2:], intent
            assert transaction == _core.keccak256(raw)
            assert _core.ethereum_transaction(raw) == (intent, funded.key.address, transaction)
            _core.ethereum_check_transaction(bytes.fromhex(answer[2:]), funded.key.address, intent)


def test_a_signer_that_changes_any_field_is_noticed(funded: Account) -> None:
    other = _core.EthereumKey.from_secret(bytes.fromhex(SECRETS[1]))
    intent: Intent = (1, 7, 2, 3, 50_000, other.address, 0, b"data")
    changed = {
        "chain id": (2, 7, 2, 3, 50_000, other.address, 0, b"data"),
        "nonce": (1, 8, 2, 3, 50_000, other.address, 0, b"data"),
        "priority fee": (1, 7, 1, 3, 50_000, other.address, 0, b"data"),
        "highest fee": (1, 7, 2, 4, 50_000, other.address, 0, b"data"),
        "gas limit": (1, 7, 2, 3, 50_001, other.address, 0, b"data"),
        "receiver": (1, 7, 2, 3, 50_000, funded.key.address, 0, b"data"),
        "creates a contract": (1, 7, 2, 3, 50_000, None, 0, b"data"),
        "value": (1, 7, 2, 3, 50_000, other.address, 1, b"data"),
        "data differ": (1, 7, 2, 3, 50_000, other.address, 0, b"Data"),
        "length of its data": (1, 7, 2, 3, 50_000, other.address, 0, b"data "),
    }
    _core.ethereum_check_transaction(
        funded.key.sign_transaction(intent)[0], funded.key.address, intent
    )
    for what, fields in changed.items():
        raw, _ = funded.key.sign_transaction(fields)
        with pytest.raises(VerificationError, match=what):
            _core.ethereum_check_transaction(raw, funded.key.address, intent)
    raw, _ = other.sign_transaction(intent)
    with pytest.raises(VerificationError, match="sender is " + other.address):
        _core.ethereum_check_transaction(raw, funded.key.address, intent)


def test_every_changed_byte_of_a_transaction_is_noticed() -> None:
    require_secp256k1()
    key = _core.EthereumKey.from_secret(b"\7" * 32)
    intent: Intent = (1, 7, 2, 3, 50_000, key.address, 0, bytes(range(40)))
    raw, _ = key.sign_transaction(intent)
    for place in range(len(raw)):
        for flip in (1, 0x80, 0xFF):
            broken = bytearray(raw)
            broken[place] ^= flip
            with pytest.raises((VerificationError, EvidenceError)):
                _core.ethereum_check_transaction(broken, key.address, intent)
        with pytest.raises((VerificationError, EvidenceError)):
            _core.ethereum_check_transaction(raw[:place], key.address, intent)
    with pytest.raises(EvidenceError):
        _core.ethereum_check_transaction(raw + b"\0", key.address, intent)


def test_a_transaction_with_an_access_list_is_read_and_is_no_intent_of_ours(
    node: EthereumNode, funded: Account
) -> None:
    intent: Intent = (31337, 7, 2, 3, 50_000, funded.key.address, 0, b"data")
    request = {
        **as_request(intent, funded.key.address),
        "accessList": [{"address": funded.key.address, "storageKeys": ["0x" + "11" * 32]}],
    }
    raw = bytes.fromhex(node.raw_result("eth_signTransaction", request)[2:])
    assert _core.ethereum_transaction(raw)[:2] == (intent, funded.key.address)
    with pytest.raises(VerificationError, match="access list"):
        _core.ethereum_check_transaction(raw, funded.key.address, intent)


def test_other_types_of_transactions_are_refused_by_name() -> None:
    for raw in (b"", b"\1\xc0", b"\3\xc0", b"\xf8\x6b", b"\2"):
        with pytest.raises(EvidenceError):
            _core.ethereum_transaction(raw)


# ---- key files ----


@pytest.mark.parametrize(
    "name", ["test1", "python_generated_test_with_odd_iv", "evilnonce", "mycrypto"]
)
def test_the_key_files_of_ethereum_tests_open(name: str, tmp_path: Path) -> None:
    require_secp256k1()
    folder = vectors_folder("ethereum-tests", "KeyStoreTests")
    case = json.loads((folder / "basic_tests.json").read_text(encoding="utf-8"))[name]
    path = tmp_path / "key"
    path.write_text(json.dumps(case["json"]))
    path.chmod(0o600)
    key = _core.EthereumKey.load(path, case["password"].encode())
    assert key.address == _core.EthereumKey.from_secret(bytes.fromhex(case["priv"])).address
    with pytest.raises(ConfigError, match="passphrase does not open it"):
        _core.EthereumKey.load(path, b"wrong")


def test_the_key_file_whose_scrypt_breaks_rfc_7914_is_refused_with_the_reason(
    tmp_path: Path,
) -> None:
    folder = vectors_folder("ethereum-tests", "KeyStoreTests")
    case = json.loads((folder / "basic_tests.json").read_text(encoding="utf-8"))["test2"]
    assert case["json"]["crypto"]["kdfparams"]["n"] >= 2 ** (
        16 * case["json"]["crypto"]["kdfparams"]["r"]
    )
    path = tmp_path / "key"
    path.write_text(json.dumps(case["json"]))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="RFC 7914"):
        _core.EthereumKey.load(path, case["password"].encode())


def test_a_key_file_is_private_opens_again_and_is_never_overwritten(tmp_path: Path) -> None:
    require_secp256k1()
    path = tmp_path / "key"
    made = _core.EthereumKey.create(path, b"passphrase")
    assert path.stat().st_mode & 0o777 == 0o600
    assert _core.EthereumKey.load(path, b"passphrase").address == made.address
    file = json.loads(path.read_text())
    assert file["version"] == 3
    assert file["address"] == made.address[2:].lower()
    with pytest.raises(ConfigError, match="exists already"):
        _core.EthereumKey.create(path, b"passphrase")
    with pytest.raises(ValueError, match="passphrase"):
        _core.EthereumKey.create(tmp_path / "other", b"")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others may use it"):
        _core.EthereumKey.load(path, b"passphrase")


def cheap_key_file() -> dict[str, Any]:
    folder = vectors_folder("ethereum-tests", "KeyStoreTests")
    case = json.loads((folder / "basic_tests.json").read_text(encoding="utf-8"))["mycrypto"]
    return dict(case["json"])


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("version",), 2, "version 3"),
        (("address",), "00" * 20, "address"),
        (("crypto", "cipher"), "aes-256-ctr", "cipher"),
        (("crypto", "kdf"), "argon2id", "key derivation"),
        (("crypto", "mac"), "00" * 32, "passphrase"),
        (("crypto", "mac"), "00", "mac"),
        (("crypto", "cipherparams"), {}, "iv"),
        (("crypto", "cipherparams", "iv"), "zz" * 16, "iv"),
        (("crypto", "ciphertext"), "00" * 31, "ciphertext"),
        (("crypto", "kdfparams", "n"), 8191, "scrypt"),
        (("crypto", "kdfparams", "n"), 2**30, "scrypt"),
        (("crypto", "kdfparams", "n"), -8192, "scrypt"),
        (("crypto", "kdfparams", "r"), 2**40, "scrypt"),
        (("crypto", "kdfparams", "p"), 2**40, "scrypt"),
        (("crypto", "kdfparams", "p"), 0, "scrypt"),
        (("crypto", "kdfparams", "dklen"), 64, "dklen"),
        (("crypto", "kdfparams", "salt"), None, "salt"),
        (("crypto",), [], "version 3"),
        (("crypto",), None, "version 3"),
    ],
    ids=str,
)
def test_hostile_key_files_are_refused_with_a_reason(
    place: tuple[str, ...], value: Any, said: str, tmp_path: Path
) -> None:
    require_secp256k1()
    file = cheap_key_file()
    inner = file
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path = tmp_path / "key"
    path.write_text(json.dumps(file))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=said):
        _core.EthereumKey.load(path, b"foobartest121")


def test_what_is_no_key_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    for content in (b"", b"{", b"[]", b"{}", b"null", b'{"version":3}', b"[" * 1000, b"\xff"):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ConfigError):
            _core.EthereumKey.load(path, b"x")


# ---- the library ----


def test_importing_mlprov_loads_no_libsecp256k1_and_signing_does() -> None:
    require_secp256k1()
    code = """
import mlprov
from mlprov import _core
maps = lambda: open("/proc/self/maps").read()
assert "libsecp256k1" not in maps()
_core.EthereumKey.generate()
assert "libsecp256k1" in maps()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_the_library_the_error_names_the_package(tmp_path: Path) -> None:
    for version in (6, 5, 2, 1):
        (tmp_path / f"libsecp256k1.so.{version}").write_bytes(b"no library")
    code = """
from mlprov import _core
from mlprov.errors import Error
calls = (
    _core.EthereumKey.generate,
    lambda: _core.EthereumKey.from_secret(b"1" * 32),
    lambda: _core.EthereumKey.create("key", b"passphrase"),
)
for call in calls:
    try:
        call()
    except Error as error:
        assert error.status == "CRYPTO" and "libsecp256k1" in str(error), error
        print(error)
assert _core.keccak256(b"").hex().startswith("c5d24601")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("apt-get install libsecp256k1-1") == 3, done.stdout
    assert not (tmp_path / "key").exists()

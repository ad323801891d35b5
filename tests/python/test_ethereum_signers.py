"""A callable of the program as signer (key services, PKCS#11), on a real node."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import ethereum_reference
import pytest
from chains_for_tests import Chain, chain, digest_of, rows, until
from cli_for_tests import run_command
from nodes_for_tests import SECRETS, anvil, require_secp256k1

import mlprov
from mlprov import _core
from mlprov.ethereum_signers import Transaction, set_signer

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.fixture(scope="module", autouse=True)
def _secp256k1() -> None:
    require_secp256k1()


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """A chain; nobody but the program signs."""
    with anvil("--block-time", "1", "--slots-in-an-epoch", "1") as node:
        running = chain(node, monkeypatch)
        monkeypatch.delenv("MLPROV_ETHEREUM_PRIVATE_KEY")
        yield running
        set_signer(None)


def transaction_by(number: int, asked: Transaction) -> bytes:
    """The transaction, signed by one of the node's accounts."""
    key = _core.EthereumKey.from_secret(bytes.fromhex(SECRETS[number]))
    raw, _ = key.sign_transaction(
        (
            asked.chain_id,
            asked.nonce,
            asked.max_priority_fee_per_gas,
            asked.max_fee_per_gas,
            asked.gas,
            asked.to,
            asked.value,
            asked.data,
        )
    )
    return raw


def whole(asked: Transaction, digest: bytes) -> bytes:
    return transaction_by(0, asked)


def low(asked: Transaction, digest: bytes) -> bytes:
    """r and s as PKCS#11 gives them, by the low s."""
    fields = ethereum_reference.decode(transaction_by(0, asked)[1:])
    assert ethereum_reference.keccak(b"\2" + ethereum_reference.encode(fields[:9])) == digest
    return b"".join(field.rjust(32, b"\0") for field in fields[10:])


def high(asked: Transaction, digest: bytes) -> bytes:
    """By the high s, with the byte that other tools put behind."""
    r, s = low(asked, digest)[:32], int.from_bytes(low(asked, digest)[32:], "big")
    return r + (ORDER - s).to_bytes(32, "big") + b"\x1b"


def anchored(directory: Path) -> Path:
    """A run with an anchor, as a training has it."""
    store = directory / "store"
    with mlprov.start("signed", store=store, anchors=["ethereum"]) as run:
        for epoch in run.epochs(1):
            epoch.log(loss=1.0)
    return store


@pytest.mark.parametrize("sign", [whole, low, high])
def test_what_a_callable_signs_is_anchored(
    there: Chain, tmp_path: Path, sign: Callable[[Transaction, bytes], bytes]
) -> None:
    threads = []

    def noted(asked: Transaction, digest: bytes) -> bytes:
        threads.append(threading.current_thread())
        assert (asked.account, asked.to) == (there.account, there.contract)
        return sign(asked, digest)

    set_signer(noted)
    store = tmp_path / "store"
    with mlprov.start("signed", store=store, anchors=["ethereum"]) as run:
        for epoch in run.epochs(1):
            epoch.log(loss=1.0)
        run.wait()
        # Delivered while the run lasts: no command knows of the callable.
        until(lambda: [row.state for row in rows(store)] == ["final"])
    assert threads
    assert threading.main_thread() not in threads
    assert len(there.events()) >= 1


def other_account(asked: Transaction, digest: bytes) -> bytes:
    return transaction_by(1, asked)


def other_contract(asked: Transaction, digest: bytes) -> bytes:
    changed = vars(asked) | {"to": "0x" + "11" * 20}
    return transaction_by(0, Transaction(**changed))


def other_digest(asked: Transaction, digest: bytes) -> bytes:
    changed = vars(asked) | {"nonce": asked.nonce + 1}
    fields = ethereum_reference.decode(transaction_by(0, Transaction(**changed))[1:])
    return b"".join(field.rjust(32, b"\0") for field in fields[10:])


def garbage(asked: Transaction, digest: bytes) -> bytes:
    return b"\x02garbage"


def zeros(asked: Transaction, digest: bytes) -> bytes:
    return bytes(64)


def text(asked: Transaction, digest: bytes) -> bytes:
    return "0x00"  # type: ignore[return-value]


def refusing(asked: Transaction, digest: bytes) -> bytes:
    raise PermissionError("the service is not reachable")


def broken(asked: Transaction, digest: bytes) -> bytes:
    raise KeyError("slot 7")


def leaving(asked: Transaction, digest: bytes) -> bytes:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("sign", "state", "said"),
    [
        (other_account, "needs_operator", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
        (other_contract, "needs_operator", "0x1111111111111111111111111111111111111111"),
        (other_digest, "needs_operator", "is none of the account"),
        (garbage, "needs_operator", "what the signer gave cannot be sent"),
        (zeros, "needs_operator", "is none of the account"),
        (text, "needs_operator", "returned str; expected are bytes"),
        (broken, "needs_operator", "failed: KeyError: 'slot 7'"),
        (leaving, "needs_operator", "failed: SystemExit"),
        (refusing, "reserved", "PermissionError: the service is not reachable"),
    ],
)
def test_what_a_callable_does_wrongly_is_said_and_reaches_neither_chain_nor_training(
    there: Chain,
    tmp_path: Path,
    sign: Callable[[Transaction, bytes], bytes],
    state: str,
    said: str,
) -> None:
    set_signer(sign)
    store = anchored(tmp_path)
    found = until(lambda: [row for row in rows(store) if row.note])
    assert said in found[-1].note
    assert found[-1].state == state
    assert there.events() == []
    assert there.pending() == 0


def test_later_it_is_delivered_by_a_callable_that_works(there: Chain, tmp_path: Path) -> None:
    set_signer(refusing)
    store = anchored(tmp_path)
    set_signer(low)
    with mlprov.stores.open_store(store) as opened:
        opened.resume_anchors()
        mlprov.anchoring.deliver(opened, ["ethereum"], 60)
    assert {row.state for row in rows(store)} == {"final"}
    assert digest_of(store) in [digest for _, digest in there.events()]


HANGING = """
import sys, threading
import mlprov
from mlprov import anchoring
asked = threading.Event()
def sign(transaction, digest):
    asked.set()
    threading.Event().wait()
anchoring.set_signer(sign)
with mlprov.start("hangs", store=sys.argv[1], anchors=["ethereum"]) as run:
    for epoch in run.epochs(1):
        epoch.log(loss=1.0)
    run.wait()
    assert asked.wait(30)
"""


def test_a_program_ends_though_its_signer_never_answers(there: Chain, tmp_path: Path) -> None:
    store = tmp_path / "store"
    done = subprocess.run(
        [sys.executable, "-c", HANGING, store], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert there.events() == []
    assert {row.state for row in rows(store)} <= {"planned", "reserved"}
    assert there.pending() == 0


def test_a_deployment_is_signed_by_it_too(there: Chain) -> None:
    set_signer(low)
    done = run_command("anchor", "ethereum", "deploy", "--json")
    assert done.code == 0, done.err


def test_what_cannot_be_called_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="a callable or None"):
        set_signer(b"key")  # type: ignore[arg-type]

"""`mlprov anchor ethereum deploy` on a real node: what it makes, says, and refuses."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from chains_for_tests import anchored_store
from cli_for_tests import is_error, run_command
from nodes_for_tests import SECRETS, EthereumNode, account, anvil, compiled, require_secp256k1

from mlprov import _core, anchoring
from mlprov.errors import ConfigError
from mlprov.ethereum_contracts import AccountNode, check_code


@pytest.fixture(scope="module", autouse=True)
def _secp256k1() -> None:
    require_secp256k1()


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[EthereumNode]:
    """A node, and an account there in the environment: no contract yet."""
    monkeypatch.setenv("PYTHONWARNINGS", "ignore::UserWarning")
    with anvil("--slots-in-an-epoch", "1") as running:
        name_account(running, monkeypatch)
        yield running


def name_account(node: EthereumNode, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "URL": node.url,
        "CHAIN_ID": "31337",
        "PRIVATE_KEY": SECRETS[0],
    }.items():
        monkeypatch.setenv(f"MLPROV_ETHEREUM_{name}", value)


def sent(node: EthereumNode) -> int:
    """Transactions of the account, waiting ones among them."""
    address = _core.EthereumKey.from_secret(bytes.fromhex(SECRETS[0])).address
    return int(node.raw_result("eth_getTransactionCount", address, "pending"), 16)


@pytest.mark.filterwarnings("ignore:.*PRIVATE_KEY")
@pytest.mark.parametrize("name", ["AnchorStore", "MLProvenance"])
def test_what_it_prints_configures_an_anchor(
    node: EthereumNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    done = run_command("anchor", "ethereum", "deploy", "--contract", name)
    assert done.code == 0, done.err
    settings = tomllib.loads(done.out[done.out.index("[anchor.ethereum]") :])["anchor"]["ethereum"]
    home = tmp_path / "home"
    home.mkdir()
    printed = done.out[done.out.index("[anchor.ethereum]") :]
    (home / "config.toml").write_text(printed)
    monkeypatch.setenv("MLPROV_HOME", str(home))
    monkeypatch.delenv("MLPROV_ETHEREUM_CHAIN_ID")
    assert settings["contract_kind"] == name
    server = anchoring.endpoint("ethereum")
    check_code(AccountNode(server), settings["contract"], name)
    store = anchored_store(tmp_path)
    node.raw_result("evm_setIntervalMining", 1)
    anchored = run_command("anchor", "ethereum", "--store", store)
    assert anchored.code == 0, anchored.out + anchored.err


@pytest.mark.filterwarnings("ignore:.*PRIVATE_KEY")
def test_it_says_what_the_chain_says_of_its_cost(node: EthereumNode) -> None:
    done = run_command("anchor", "ethereum", "deploy", "--json").json["deployed"]
    receipt = node.receipt(done["transaction"])
    assert done["address"] == _core.ethereum_address(receipt["contractAddress"])
    assert done["gas"] == int(receipt["gasUsed"], 16)
    assert done["cost"] == done["gas"] * int(receipt["effectiveGasPrice"], 16)


@pytest.mark.filterwarnings("ignore:.*PRIVATE_KEY")
@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("CHAIN_ID", "1", "configuration says 1"),
        ("MAX_FEE_GWEI", "0.01", "max_fee_gwei"),
        ("ACCOUNT", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "the key is that of"),
    ],
)
def test_what_is_configured_wrongly_is_refused_and_nothing_sent(
    node: EthereumNode, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"MLPROV_ETHEREUM_{variable}", value)
    assert is_error(run_command("anchor", "ethereum", "deploy"), said)
    assert sent(node) == 0


@pytest.mark.filterwarnings("ignore:.*PRIVATE_KEY")
def test_an_account_without_ether_is_refused(node: EthereumNode) -> None:
    address = account(node).key.address
    node.raw_result("anvil_setBalance", address, "0x1")
    assert is_error(run_command("anchor", "ethereum", "deploy"), "send it ether")
    assert sent(node) == 0


@pytest.mark.filterwarnings("ignore:.*PRIVATE_KEY")
def test_waiting_ends_and_a_second_one_is_not_sent_meanwhile(node: EthereumNode) -> None:
    node.raw_result("evm_setAutomine", False)
    waited = run_command("anchor", "ethereum", "deploy", "--timeout", "1")
    assert is_error(waited, "is in no block yet", "will be at 0x")
    assert is_error(run_command("anchor", "ethereum", "deploy"), "wait for a block")
    assert sent(node) == 1


def test_an_address_without_code_and_a_foreign_contract_are_told_apart(node: EthereumNode) -> None:
    asked = AccountNode(anchoring.endpoint("ethereum", to_deploy="AnchorStore"))
    nothing, foreign = "0x" + "11" * 20, "0x" + "22" * 20
    with pytest.raises(ConfigError, match="there is no code at that address"):
        check_code(asked, nothing, "AnchorStore")
    # The same interface, one instruction changed: what is stored once could be stored again.
    code = bytearray.fromhex(compiled("AnchorStore")["runtime"][2:])
    code[-1] ^= 1
    node.raw_result("anvil_setCode", foreign, "0x" + code.hex())
    with pytest.raises(ConfigError, match="whatever its interface is"):
        check_code(asked, foreign, "AnchorStore")


def test_another_kind_has_no_contract() -> None:
    assert is_error(run_command("anchor", "ipfs", "deploy"), "it has none")

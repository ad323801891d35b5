"""What ``mlprov doctor`` says of configured anchors, each with what to do, on a real node."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chains_for_tests import Chain, chain
from cli_for_tests import run_command
from nodes_for_tests import SECRETS, anvil, compiled, require_secp256k1

from mlprov import _core, anchor_diagnosis, keys
from mlprov.findings import Finding

pytestmark = pytest.mark.filterwarnings("ignore:.*PRIVATE_KEY")
NOBODY = "0x" + "11" * 20


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    require_secp256k1()
    with anvil() as node:
        yield chain(node, monkeypatch)


def looked() -> dict[str, Finding]:
    return {finding.what: finding for finding in anchor_diagnosis.look_at_anchors()}


def wrong() -> Finding:
    """The only finding that is wrong; it has a remedy."""
    wrongs = [finding for finding in looked().values() if finding.state == "wrong"]
    assert len(wrongs) == 1, wrongs
    (finding,) = wrongs
    assert finding.remedy
    return finding


def configure(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"MLPROV_ETHEREUM_{name}", value)


def test_without_a_configured_anchor_nothing_is_said() -> None:
    assert looked() == {}


def test_what_works_is_ok(there: Chain) -> None:
    findings = looked()
    assert {finding.state for finding in findings.values()} == {"ok"}, findings
    names = ["key", "endpoint", "chain", "clock", "balance", "contract"]
    assert list(findings) == [f"anchor {name}" for name in names]
    assert "has the code of AnchorStore" in findings["anchor contract"].detail


def test_the_command_says_it_with_what_to_do(there: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, "CHAIN_ID", "1")
    done = run_command("doctor")
    assert done.code == 2
    assert "to do (anchor chain): name the node of that chain" in done.out


def test_offline_nothing_is_asked_and_that_is_said(
    there: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPROV_OFFLINE", "1")
    (finding,) = looked().values()
    assert finding.state == "note"
    assert "MLPROV_OFFLINE" in finding.detail


def test_a_setting_that_is_missing_is_named(there: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLPROV_ETHEREUM_CONTRACT")
    assert "contract is missing" in wrong().detail


def test_a_dead_endpoint_is_told_without_its_address(
    there: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, "URL", "http://127.0.0.1:1/secret-path")
    finding = wrong()
    assert finding.what == "anchor endpoint"
    assert "secret-path" not in finding.detail + finding.remedy


def test_another_chain_is_told(there: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, "CHAIN_ID", "1")
    finding = wrong()
    assert "of chain 31337, the configuration says 1" in finding.detail
    assert finding.what == "anchor chain"


def test_an_empty_account_and_a_poor_one_are_told_apart(there: Chain) -> None:
    there.node.raw_result("anvil_setBalance", there.account, "0x0")
    assert wrong().what == "anchor balance"
    there.node.raw_result("anvil_setBalance", there.account, hex(10**14))
    assert looked()["anchor balance"].state == "note"


def test_an_address_without_code_and_a_foreign_contract_are_told_apart(
    there: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, "CONTRACT", NOBODY)
    assert "there is no code at that address" in wrong().detail
    code = bytearray.fromhex(compiled("AnchorStore")["runtime"][2:])
    code[-1] ^= 1  # the same interface
    there.node.raw_result("anvil_setCode", NOBODY, "0x" + code.hex())
    assert "whatever its interface is" in wrong().detail


def test_the_other_contract_under_its_wrong_name_is_told(
    there: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, "CONTRACT_KIND", "MLProvenance")
    assert "contract_kind" in wrong().remedy
    configure(monkeypatch, "CONTRACT", there.deploy("MLProvenance"))
    assert looked()["anchor contract"].state == "ok"


def test_a_clock_behind_the_chain_is_wrong_and_an_old_block_a_note(there: Chain) -> None:
    there.node.raw_result("evm_setNextBlockTimestamp", int(time.time()) + 3600)
    there.mine()
    finding = wrong()
    assert finding.what == "anchor clock"
    assert "behind the chain's newest block" in finding.detail


def test_a_key_of_another_account_is_told(there: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, "PRIVATE_KEY", SECRETS[1])
    assert "the key is that of" in wrong().detail


def test_a_key_file_is_looked_at_and_not_opened(
    there: Chain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "key.json"
    address = _core.EthereumKey.create(path, b"passphrase").address
    there.node.raw_result("anvil_setBalance", address, hex(10**18))
    monkeypatch.delenv("MLPROV_ETHEREUM_PRIVATE_KEY")
    configure(monkeypatch, "KEYSTORE", str(path))
    configure(monkeypatch, "ACCOUNT", address)
    assert "it was not opened" in looked()["anchor key"].detail
    path.chmod(0o640)
    assert "others can read" in wrong().detail
    path.unlink()
    assert "it is not there" in wrong().detail


def test_a_signer_that_lacks_the_account_is_told(
    there: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, "SIGNER_URL", there.node.url)  # anvil signs for its own accounts
    assert looked()["anchor key"].detail == f"the signer has {there.account}"
    there.node.raw_result("anvil_setBalance", NOBODY, hex(10**18))
    configure(monkeypatch, "ACCOUNT", NOBODY)
    assert "is none of them" in wrong().detail


def test_a_server_of_ipfs_is_named_and_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPROV_IPFS_URL", "http://127.0.0.1:1")
    assert looked()["anchor ipfs"].state == "ok"


def test_a_table_in_the_users_configuration_counts() -> None:
    keys.home().mkdir(parents=True)
    (keys.home() / "config.toml").write_text('[anchor.ethereum]\nurl = "http://127.0.0.1:1"\n')
    assert "MLPROV_ETHEREUM_URL" not in os.environ
    assert wrong().what == "anchor ethereum"

"""The commented settings of examples/settings are taken as they stand; the page's prices add up."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

from mlprov import anchor_servers, configuration, ethereum_accounts, keys
from mlprov.errors import ConfigError

SETTINGS = ROOT / "examples" / "settings"
PAGE = (ROOT / "docs" / "anchoring.md").read_text(encoding="utf-8")
GAS = 46_265


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example as the user's own config.toml, and the key file that it names."""
    monkeypatch.setenv("HOME", str(tmp_path))
    key = tmp_path / ".config" / "mlprov" / "ethereum.json"
    key.parent.mkdir(parents=True)
    key.write_text('{"address": "f39fd6e51aad88f6f4ce6ab8827279cfffb92266", "version": 3}')
    keys.home().mkdir(mode=0o700, parents=True, exist_ok=True)
    path = keys.home() / "config.toml"
    shutil.copy(SETTINGS / "config.toml", path)
    path.chmod(0o600)
    return path


def test_the_users_example_is_taken_as_it_stands(own: Path) -> None:
    server = anchor_servers.endpoint("ethereum")
    assert server.account is not None
    assert (server.account.chain, server.account.contract_kind) == ("1", "AnchorStore")
    assert server.account.limits == (50 * 10**9, 10**8, 300_000, 180_000, 5, 6)
    assert server.account.signer.keystore == str(
        Path("~/.config/mlprov/ethereum.json").expanduser()
    )
    assert anchor_servers.endpoint("ipfs").url == "http://127.0.0.1:5001"
    assert anchor_servers.every() == 600
    assert configuration.resolve({}).anchors == ("ethereum",)


def test_bounds_that_are_given_lower_the_users_own_and_raise_none(own: Path) -> None:
    table = tomllib.loads(own.read_text(encoding="utf-8"))["anchor"]["ethereum"]
    for given, limits in (
        ({"max_fee_gwei": 900_000, "max_gas": 30_000_000}, (50 * 10**9, 300_000)),
        ({"max_fee_gwei": 3, "max_gas": 50_000}, (3 * 10**9, 50_000)),
    ):
        account = ethereum_accounts.read(table, "it", given)
        assert (account.limits[0], account.limits[2]) == limits


def test_every_setting_of_ethereum_is_in_the_example_with_a_comment() -> None:
    text = (SETTINGS / "config.toml").read_text(encoding="utf-8")
    named = set(re.findall(r"^(?:# )?([a-z_]+) = ", text, re.MULTILINE))
    assert {*ethereum_accounts.SETTINGS, "url", "headers", "ca_file", "timeout", "every"} <= named


def test_what_the_example_states_is_the_default_where_there_is_one(own: Path) -> None:
    stated = anchor_servers.endpoint("ethereum")
    table = tomllib.loads(own.read_text(encoding="utf-8"))["anchor"]["ethereum"]
    for name in ("max_fee_gwei", "min_tip_gwei", "replace_after", "replacements", "confirmations"):
        del table[name]
    bare = ethereum_accounts.read(table, "here")
    assert stated.account is not None
    assert bare.limits == stated.account.limits


def test_the_projects_example_is_taken_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(SETTINGS / "mlprov.toml", tmp_path / "mlprov.toml")
    monkeypatch.chdir(tmp_path)
    settings = configuration.resolve({})
    assert (settings.project, settings.tags) == ("digits", ("example",))
    # All else in it is what is so without it, but for the store, which it spells out.
    plain = configuration.Settings(project="digits", tags=("example",), store=settings.store)
    assert settings == plain
    assert settings.store == str(tmp_path / ".mlprov")


def test_the_users_example_is_refused_as_a_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(SETTINGS / "config.toml", tmp_path / "mlprov.toml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="may not say where anchors go"):
        configuration.resolve({})


def number(text: str) -> float:
    return float(text.replace(",", ""))


def test_the_prices_of_the_page_follow_from_its_formula() -> None:
    table = PAGE[PAGE.index("| checkpoints | gas a year") :].split("\n\n")[0].splitlines()
    prices = [float(found) for found in re.findall(r"at ([0-9.]+) gwei", table[0])]
    assert prices == [0.5, 1, 10, 50]
    assert len(table) == 6
    for line in table[2:]:
        count, gas, *ether = [cell.strip() for cell in line.strip("|").split("|")]
        checkpoints = number(count.split(" ")[0])
        assert number(gas.split(" ")[0]) * 1e6 == pytest.approx(checkpoints * GAS, rel=0.005)
        for shown, price in zip(ether, prices, strict=True):
            assert number(shown) == pytest.approx(checkpoints * GAS * price / 1e9, rel=0.05)

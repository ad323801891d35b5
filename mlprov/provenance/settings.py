"""The founding document's JSON configuration: which networks, where they are, when to store.

It is the caller's own: a dict, or a file that he names; nothing is looked for. Who signs is never
in it, nor any credential: those come from the environment or the user's own ``config.toml``
(:mod:`mlprov.anchor_servers`), which also give what it leaves out.
"""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mlprov import _core, ethereum_accounts
from mlprov.anchor_servers import KINDS, Endpoint, endpoint
from mlprov.errors import ConfigError, EvidenceError

__all__ = [
    "BlockchainSettings",
    "Config",
    "Network",
    "read_blockchain",
    "read_config",
    "refuse_network",
]

Config: TypeAlias = Mapping[str, Any] | str | os.PathLike[str] | None
"""A configuration, or the JSON file that it is in."""

_MAX_FILE = 1 << 20
_TIMEOUT = 30.0  # seconds for one request
_ATTEMPTS = 3
_WEI_OF_GWEI = 10**9
_SECTION = ("enabled", "networks", "ipfs", "ethereum", "bitcoin", "storage_options")
_COMMON = ("enabled", "timeout", "retry_attempts")
_OF_NETWORK = {
    "ipfs": ("url",),
    "ethereum": (
        "rpc_url", "contract_address", "contract_kind", "gas_limit", "gas_price", "chain_id",
        "account",
    ),
}  # fmt: skip
_WHEN = ("store_before_training", "store_after_training", "store_epoch_checkpoints")


@dataclass(frozen=True)
class Network:
    """One network that anchors go to.

    Attributes:
        endpoint: its server and, of Ethereum, account and contract.
        patience: seconds that a call which stores waits for it.
        retry_attempts: failures in a row after which such a call waits no longer. The outbox goes
            on all the same.
    """

    endpoint: Endpoint
    patience: float
    retry_attempts: int


@dataclass(frozen=True)
class BlockchainSettings:
    """A configuration that was read.

    Attributes:
        networks: by name; empty where nothing is to be stored.
        before_training, after_training, each_epoch: when a tracker stores.
    """

    networks: Mapping[str, Network] = field(default_factory=dict)
    before_training: bool = True
    after_training: bool = True
    each_epoch: bool = False


def read_config(config: Config) -> Mapping[str, Any]:
    """A configuration as a mapping, from the file if it is one.

    Raises:
        ConfigError: the file cannot be read, or is no JSON object.
    """
    if config is None:
        return {}
    if isinstance(config, (str, os.PathLike)):
        path = pathlib.Path(config)
        try:
            with path.open("rb") as file:
                config = _core.json_decode(file.read(_MAX_FILE + 1), _MAX_FILE)
        except OSError as error:
            raise ConfigError(
                f"cannot read the configuration {path}: {error.strerror}", "name a JSON file"
            ) from error
        except EvidenceError as error:
            raise ConfigError(
                f"cannot read the configuration {path}: {error.what}", "mend it"
            ) from error
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"cannot use a configuration that is {type(config).__name__}: expected an object"
        )
    return config


def read_blockchain(config: Config) -> BlockchainSettings:
    """The section ``blockchain``, or a configuration that is this section alone.

    Raises:
        ConfigError: an unknown name, a value of the wrong kind, a key, Bitcoin, or a network that
            lacks something.
    """
    whole = read_config(config)
    section = _table(whole, "blockchain") if "blockchain" in whole else whole
    if "blockchain" not in whole and set(whole).isdisjoint(_SECTION):
        return BlockchainSettings()
    _refuse_unknown(section, _SECTION, "blockchain")
    tables = {name: _table(section, name) for name in (*KINDS, "bitcoin")}
    for name, table in tables.items():
        ethereum_accounts.refuse_key(table, f"the configuration's blockchain.{name}")
        _refuse_unknown(table, _COMMON + _OF_NETWORK.get(name, tuple(table)), f"blockchain.{name}")
    when = _table(section, "storage_options")
    _refuse_unknown(when, _WHEN, "blockchain.storage_options")
    names = _network_names(section, tables)
    return BlockchainSettings(
        {name: _network(name, tables[name]) for name in names},
        _truth(when, "store_before_training", default=True),
        _truth(when, "store_after_training", default=True),
        _truth(when, "store_epoch_checkpoints", default=False),
    )


def _network_names(
    section: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Those listed and not disabled; without a list, those that are described."""
    listed = section.get("networks", [name for name, table in tables.items() if table])
    if not isinstance(listed, (list, tuple)) or not all(isinstance(n, str) for n in listed):
        raise ConfigError("cannot use blockchain.networks: expected a list of names")
    if not _truth(section, "enabled", default=True):
        return []
    enabled = [n for n in listed if _truth(tables.get(n, {}), "enabled", default=True)]
    for name in enabled:
        refuse_network(name, KINDS)
    return list(dict.fromkeys(enabled))


def refuse_network(name: str, known: Any) -> None:
    """Bitcoin is not in this version; other names mean nothing.

    Raises:
        ConfigError: ``name`` is not among the known.
    """
    if name == "bitcoin":
        raise ConfigError(
            "cannot store on 'bitcoin': this version has no anchors on Bitcoin",
            'leave it out of "networks", or say "enabled": false',
        )
    if name not in known:
        raise ConfigError(
            f"cannot store on {name!r}: configured networks are {', '.join(known) or 'none'}"
        )


def _network(name: str, table: Mapping[str, Any]) -> Network:
    timeout = _number(table, "timeout", _TIMEOUT, 3600, "seconds")
    attempts = int(_number(table, "retry_attempts", _ATTEMPTS, 1000, "a number"))
    given: dict[str, Any] = {"timeout": timeout}
    for ours, theirs in (
        ("url", "url"),
        ("url", "rpc_url"),
        ("contract", "contract_address"),
        ("contract_kind", "contract_kind"),
        ("chain_id", "chain_id"),
        ("account", "account"),
    ):
        if table.get(theirs) is not None:
            given[ours] = table[theirs]
    if name == "ethereum":
        given |= _caps(table)
    try:
        server = endpoint(name, given)
    except ConfigError as error:
        here = f"the configuration's blockchain.{name}"
        raise ConfigError(
            error.what, f"{error.remedy}; {here} may say it too, but for who signs"
        ) from error
    return Network(server, timeout * (attempts + 1), attempts)


def _caps(table: Mapping[str, Any]) -> dict[str, Any]:
    """What a transaction may take at most; what it does take follows from the chain."""
    caps: dict[str, Any] = {}
    if table.get("gas_limit") is not None:
        caps["max_gas"] = _number(table, "gas_limit", 0, 30_000_000, "units of gas")
    price = table.get("gas_price", "auto")
    if price not in ("auto", None):
        wei = _number(table, "gas_price", 0, 1e15, '"auto", or wei for a unit of gas')
        caps["max_fee_gwei"] = wei / _WEI_OF_GWEI
    return caps


# ---- values ----


def _table(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = table.get(name, {})
    if not isinstance(value, Mapping):
        raise ConfigError(f"cannot use {name!r} of the configuration: expected an object")
    return value


def _refuse_unknown(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    if unknown := sorted(set(table) - set(known), key=str):
        raise ConfigError(
            f"cannot use {unknown[0]!r} in the configuration's {where}: known are "
            f"{', '.join(known)}"
        )


def _truth(table: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = table.get(name, default)
    if not isinstance(value, bool):
        raise ConfigError(f"cannot use {name!r} of the configuration: expected true or false")
    return value


def _number(table: Mapping[str, Any], name: str, default: float, most: float, what: str) -> float:
    value = table.get(name, default)
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not math.isfinite(value)
        or not 0 <= value <= most
    ):
        raise ConfigError(
            f"cannot use {name!r} of the configuration: expected {what}, up to {most:g}"
        )
    return value

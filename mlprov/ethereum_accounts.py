"""Which Ethereum chain, contract and account anchors go to, and who signs for the account.

Signers, in order of preference: the program's own (:mod:`mlprov.ethereum_signers`), a remote
service (``eth_signTransaction``, as web3signer and clef offer it), a key file (Web3 secret storage,
version 3) whose passphrase comes from a file descriptor or a terminal, and
``MLPROV_ETHEREUM_PRIVATE_KEY``, with a warning. Never a key in a configuration file or an argument.
"""

from __future__ import annotations

import os
import pathlib
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlprov import ethereum_keys, ethereum_signers
from mlprov._core import EthereumKey, ethereum_address
from mlprov.errors import ConfigError, Error

if TYPE_CHECKING:
    from mlprov._core import _Account, _Service
    from mlprov._core import _Signer as _Callable

__all__ = ["CONTRACTS", "SETTINGS", "Account", "ether_text", "read", "refuse_key"]

SETTINGS = (
    "chain_id",
    "contract",
    "contract_kind",
    "account",
    "keystore",
    "signer_url",
    "signer_headers",
    "max_fee_gwei",
    "min_tip_gwei",
    "max_gas",
    "replace_after",
    "replacements",
    "confirmations",
)
CONTRACTS = ("AnchorStore", "MLProvenance")
_VARIABLE = "MLPROV_ETHEREUM"
_PRIVATE_KEY = f"{_VARIABLE}_PRIVATE_KEY"
_GWEI = 10**9
_MAX_FEE_GWEI = 50.0  # an anchor costs about 46,000 gas: 0.0023 ether at most
_MIN_TIP_GWEI = 0.1
_MAX_GAS = 300_000  # a contract that takes six times what ours do is another one
_REPLACE_AFTER = 180.0  # seconds: fifteen blocks
_REPLACEMENTS = 5
_CONFIRMATIONS = 6

_opened: dict[str, EthereumKey] = {}  # key files of this process: a passphrase is asked for once
_opening = threading.Lock()


@dataclass(frozen=True)
class _Signer:
    """One of the four; what is secret is read when it is needed."""

    function: ethereum_signers.Signer | None = None
    url: str | None = None
    headers: tuple[str, ...] = ()
    keystore: str | None = None
    in_environment: bool = False


@dataclass(frozen=True, repr=False)
class Account:
    """An account at a contract of a chain, its signer and its limits."""

    chain: str
    contract: str
    address: str
    contract_kind: str
    signer: _Signer
    limits: tuple[int, int, int, int, int, int]
    timeout: float
    ca_file: str | None

    def __repr__(self) -> str:
        return f"<mlprov.ethereum_accounts.Account {self.address} on chain {self.chain}>"

    def for_core(self) -> _Account:
        """As the core takes it; opens the key.

        Raises:
            ConfigError: the key cannot be opened, or is another account's.
        """
        return (
            self.chain, self.contract, self.address, self.contract_kind, self._signer(), self.limits
        )  # fmt: skip

    def _signer(self) -> EthereumKey | _Service | _Callable:
        if self.signer.function is not None:
            return ethereum_signers.for_core(self.signer.function)
        if self.signer.in_environment:
            warnings.warn(
                f"mlprov: {_PRIVATE_KEY} holds a key that every program of this user can read; use "
                f"a key file ({_VARIABLE}_KEYSTORE) or a signer ({_VARIABLE}_SIGNER_URL)",
                UserWarning,
                stacklevel=2,
            )
        if self.signer.url is not None:
            return self.signer.url, self.signer.headers, self.ca_file, int(1000 * self.timeout)
        key = _key(self.signer)
        if key.address != self.address:
            raise ConfigError(
                f"cannot sign for the Ethereum account {self.address}: the key is that of "
                f"{key.address}",
                "name the key's account, or another key",
            )
        return key


def refuse_key(table: Mapping[str, Any], where: str) -> None:
    """A key in a file that is copied, backed up and shown to others is no secret.

    Raises:
        ConfigError: there is one; it is not shown.
    """
    for name in table:
        if name.replace("-", "_").lower() in ("private_key", "privatekey", "secret", "passphrase"):
            raise ConfigError(
                f"cannot use {name!r} in {where}: no key and no passphrase stands in a "
                "configuration file",
                "name a key file (keystore = …) or a signer (signer_url = …)",
            )


def ether_text(wei: int) -> str:
    """An amount, exactly."""
    whole, rest = divmod(wei, 10**18)
    return f"{whole}.{rest:018d}".rstrip("0").rstrip(".") + " ether"


def read(
    table: Mapping[str, Any],
    where: str,
    given: Mapping[str, Any] | None = None,
    *,
    to_deploy: str | None = None,
) -> Account:
    """The account that the environment and the user's configuration name; opens no key.

    Args:
        table: ``[anchor.ethereum]`` of the user's configuration.
        where: that stands, for messages.
        given: settings that the caller has from elsewhere, before both. Never who signs, and
            bounds of gas and fee only below the user's own.
        to_deploy: the kind of a contract that there is not yet.

    Raises:
        ConfigError: something is missing or cannot be used.
    """
    settings = _Settings(table, where, given or {})
    signer = _signer(settings)
    return Account(
        chain=settings.chain(),
        contract=settings.address("contract") if to_deploy is None else "",
        address=settings.address("account", _account_of(signer)),
        contract_kind=to_deploy or settings.choice("contract_kind", CONTRACTS),
        signer=signer,
        limits=(
            int(_GWEI * settings.bound("max_fee_gwei", _MAX_FEE_GWEI, 1_000_000)),
            int(_GWEI * settings.number("min_tip_gwei", _MIN_TIP_GWEI, 1_000_000)),
            int(settings.bound("max_gas", _MAX_GAS, 30_000_000)),
            max(1, int(1000 * settings.number("replace_after", _REPLACE_AFTER, 1_000_000))),
            int(settings.number("replacements", _REPLACEMENTS, 50)),
            max(1, int(settings.number("confirmations", _CONFIRMATIONS, 1_000_000))),
        ),
        timeout=settings.number("timeout", 30.0, 3600),
        ca_file=settings.text("ca_file"),
    )


class _Settings:
    """What is given first, variables, the table; errors say where a value belongs."""

    def __init__(self, table: Mapping[str, Any], where: str, given: Mapping[str, Any]) -> None:
        self._table, self._where, self._given = table, where, given

    def _value(self, name: str) -> Any:
        if name in self._given:
            return self._given[name]
        return os.environ.get(f"{_VARIABLE}_{name.upper()}") or self._table.get(name)

    def fail(self, name: str, expected: str) -> ConfigError:
        return ConfigError(
            f"cannot anchor with 'ethereum': {name} is missing or not {expected}",
            f"set {_VARIABLE}_{name.upper()}, or {name} in {self._where}",
        )

    def text(self, name: str) -> str | None:
        value = self._value(name)
        if value is not None and (not isinstance(value, str) or "\0" in value):
            raise self.fail(name, "a text")
        return value

    def number(self, name: str, default: float, most: float) -> float:
        value = self._value(name)
        if value is None:
            return default
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = -1.0
        if isinstance(value, bool) or not 0 <= number <= most:
            raise self.fail(name, f"a number from 0 to {most:g}")
        return number

    def bound(self, name: str, default: float, most: float) -> float:
        """What is given may lower the user's own bound, never raise it."""
        own = _Settings(self._table, self._where, {}).number(name, default, most)
        return min(own, self.number(name, own, most))

    def chain(self) -> str:
        value = self._value("chain_id")
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(text, str) and text.isascii() and text.isdigit() and 0 < int(text) < 2**63:
            return str(int(text))
        raise self.fail("chain_id", "a chain's id, such as 1 for mainnet")

    def address(self, name: str, otherwise: str | None = None) -> str:
        value = self._value(name) or otherwise
        if not isinstance(value, str):
            raise self.fail(name, "an address")
        try:
            return ethereum_address(value)
        except ValueError as error:
            raise self.fail(name, f"an address ({error})") from error

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self._value(name)
        if value is None:
            return choices[0]
        if value not in choices:
            raise self.fail(name, " or ".join(choices))
        return str(value)

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._table.get(name, [])
        if not isinstance(value, list) or not all(isinstance(t, str) and ":" in t for t in value):
            raise self.fail(name, "a list of 'Name: value'")
        return tuple(value)


def _signer(settings: _Settings) -> _Signer:
    """The program's own, then what the environment names, then what the configuration does."""
    if (function := ethereum_signers.signer()) is not None:
        return _Signer(function=function)
    url, keystore = (os.environ.get(f"{_VARIABLE}_{name}") for name in ("SIGNER_URL", "KEYSTORE"))
    if not url and not keystore:
        if os.environ.get(_PRIVATE_KEY):
            return _Signer(in_environment=True)
        url, keystore = settings.text("signer_url"), settings.text("keystore")
    if url:
        return _Signer(url=url, headers=settings.texts("signer_headers"))
    if keystore:
        return _Signer(keystore=str(pathlib.Path(keystore).expanduser()))
    raise settings.fail("keystore", "there, and no signer_url either")


# ---- keys ----


def _account_of(signer: _Signer) -> str | None:
    """The account whose key a signer has, as far as that is known without opening it."""
    if signer.in_environment:
        return _key(signer).address
    if signer.keystore is None:
        return None
    try:
        return ethereum_keys.address_in(signer.keystore)
    except FileNotFoundError as error:
        raise ConfigError(
            f"cannot open the Ethereum key file {signer.keystore}: it is not there",
            f"name it in {_VARIABLE}_KEYSTORE or keystore = …; 'mlprov keys new --ethereum' makes "
            "one",
        ) from error


def _key(signer: _Signer) -> EthereumKey:
    if signer.keystore is None:
        return _key_of_environment()
    with _opening:
        if (key := _opened.get(signer.keystore)) is None:
            secret = ethereum_keys.passphrase(signer.keystore)
            key = EthereumKey.load(os.fsencode(signer.keystore), secret)
            _opened[signer.keystore] = key
    return key


def _key_of_environment() -> EthereumKey:
    try:
        return EthereumKey.from_secret(bytes.fromhex(os.environ[_PRIVATE_KEY].removeprefix("0x")))
    except Error as error:
        raise ConfigError(f"cannot use {_PRIVATE_KEY}: {error.what}", error.remedy) from None
    except ValueError:  # without its text, which may be the key's
        raise ConfigError(f"cannot use {_PRIVATE_KEY}: expected 64 hexadecimal digits") from None

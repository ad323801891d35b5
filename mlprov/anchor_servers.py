"""Where the servers of anchors are, and who pays there: the user's own settings.

They come from the user's own ``config.toml`` (:func:`mlprov.keys.home`) or from the environment,
never from a project's files: whoever clones a repository has not chosen those.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlprov import ethereum_accounts, keys
from mlprov.errors import ConfigError
from mlprov.ethereum_accounts import Account

if TYPE_CHECKING:
    from mlprov._core import _Endpoint

__all__ = [
    "FILES",
    "KINDS",
    "Endpoint",
    "endpoint",
    "every",
    "named_keystore",
    "named_kinds",
]

KINDS = ("ethereum", "ipfs")
FILES = "ipfs-file"  # files that are published: on the node of "ipfs"
_EVERY = 600.0  # seconds
_EVERY_MAX = 1_000_000
_TIMEOUT = 30.0  # seconds for one request
_KNOWN = ("url", "headers", "ca_file", "timeout")
_OF_KIND: dict[str, tuple[str, ...]] = {"ethereum": ethereum_accounts.SETTINGS, "ipfs": ()}


@dataclass(frozen=True, repr=False)
class Endpoint:
    """A server of one kind of anchor. Its text shows none of it: URL and headers may be keys."""

    kind: str
    url: str
    headers: tuple[str, ...] = ()
    ca_file: str | None = None
    timeout: float = _TIMEOUT
    account: Account | None = None

    def __repr__(self) -> str:
        return f"<mlprov.anchor_servers.Endpoint {self.kind}>"

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Kind, chain, contract and account, as the outbox has them."""
        if self.account is None:
            return self.kind, self.kind, "", ""
        account = self.account
        return self.kind, account.chain, account.contract, account.address

    def for_core(self) -> _Endpoint:
        """As the core takes it; opens the key of an account.

        Raises:
            ConfigError: the key cannot be opened.
        """
        server = self.kind, self.url, self.headers, self.ca_file, int(1000 * self.timeout)
        return server if self.account is None else (*server, self.account.for_core())


def _check_private(path: pathlib.Path) -> None:
    mode = path.stat().st_mode
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"cannot use the headers in {path}: others can read it (mode {stat.S_IMODE(mode):04o}),"
            " and they may be credentials",
            "chmod 600 it",
        )


def _configuration() -> tuple[Mapping[str, Any], pathlib.Path]:
    """The table ``[anchor]`` of the user's own file."""
    path = keys.home() / "config.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("anchor", {})
    except FileNotFoundError:
        return {}, path
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"cannot read the configuration {path}: {error}", "mend or remove it"
        ) from error
    if not isinstance(table, Mapping):
        raise ConfigError(f"cannot use anchor in {path}: expected a table", "write [anchor]")
    known = ("every", *KINDS)
    if unknown := sorted(set(table) - set(known)):
        raise ConfigError(
            f"cannot use {unknown[0]!r} in {path}, [anchor]: known are {', '.join(known)}"
        )
    return table, path


def named_kinds() -> list[str]:
    """Kinds that the user's configuration or the environment says something about."""
    table, _ = _configuration()
    variables = [name for name, value in os.environ.items() if value]
    return [
        kind
        for kind in KINDS
        if kind in table or any(name.startswith(f"MLPROV_{kind.upper()}_") for name in variables)
    ]


def named_keystore() -> pathlib.Path | None:
    """The key file that the environment or the user's configuration names for Ethereum."""
    table, _ = _configuration()
    settings = table.get("ethereum", {})
    named = os.environ.get("MLPROV_ETHEREUM_KEYSTORE") or (
        settings.get("keystore") if isinstance(settings, Mapping) else None
    )
    return pathlib.Path(named).expanduser() if isinstance(named, str) and named else None


def every() -> float:
    """Seconds that lie at least between two checkpoints that a run anchors; its last one always is.

    ``MLPROV_ANCHOR_EVERY``, or ``every`` in ``[anchor]`` of the user's configuration, or 600.

    Raises:
        ConfigError: no number from 0 to a million.
    """
    table, path = _configuration()
    given = os.environ.get("MLPROV_ANCHOR_EVERY")
    value: Any = given if given is not None else table.get("every", _EVERY)
    with contextlib.suppress(TypeError, ValueError):
        if not isinstance(value, bool) and 0 <= (seconds := float(value)) <= _EVERY_MAX:
            return seconds
    where = "MLPROV_ANCHOR_EVERY" if given is not None else f"{path}, [anchor] every"
    raise ConfigError(f"cannot use {where}: expected seconds from 0 to {_EVERY_MAX}")


def _table(kind: str) -> tuple[Mapping[str, Any], str]:
    """What the user's configuration says of a kind, and where it stands."""
    tables, path = _configuration()
    where = f"{path}, [anchor.{kind}]"
    table = tables.get(kind, {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"cannot use {where}: expected a table", f"write [anchor.{kind}]")
    known = _KNOWN + _OF_KIND[kind]
    if kind == "ethereum":
        ethereum_accounts.refuse_key(table, where)
    if unknown := sorted(set(table) - set(known)):
        raise ConfigError(f"cannot use {unknown[0]!r} in {where}: known are {', '.join(known)}")
    if table.get("headers") or table.get("signer_headers"):
        _check_private(path)
    return table, where


def endpoint(
    kind: str, given: Mapping[str, Any] | None = None, *, to_deploy: str | None = None
) -> Endpoint:
    """The server of a kind: ``MLPROV_<KIND>_URL`` and ``…_HEADER``, or the user's configuration.

    What else Ethereum needs is in :mod:`mlprov.ethereum_accounts`.

    Args:
        kind: of anchor.
        given: settings that the caller has from elsewhere, before those. To a ``url`` among them
            none of the user's own headers are sent: they may be another server's credentials.
        to_deploy: the kind of a contract that there is not yet.

    Raises:
        ConfigError: there is none, or what is there cannot be used; values are not shown.
    """
    if kind == FILES:
        return dataclasses.replace(endpoint("ipfs", given), kind=FILES)
    given = given or {}
    table, where = _table(kind)
    variable = f"MLPROV_{kind.upper()}"
    url = os.environ.get(f"{variable}_URL") or table.get("url")
    header = os.environ.get(f"{variable}_HEADER")
    headers = [header] if header else table.get("headers", [])
    if "url" in given:
        url, headers = given["url"], []
    ca_file, timeout = table.get("ca_file"), given.get("timeout", table.get("timeout", _TIMEOUT))
    if not url:
        raise ConfigError(
            f"cannot anchor with {kind!r}: no server is named",
            f"set {variable}_URL, or url in {where}",
        )
    if not (
        isinstance(url, str)
        and isinstance(headers, list)
        and all(isinstance(text, str) and ":" in text for text in headers)
        and isinstance(ca_file, str | None)
        and isinstance(timeout, int | float)
        and 0 < timeout <= 3600
    ):
        raise ConfigError(
            f"cannot use {where}: expected url as text, headers as a list of 'Name: value', "
            "ca_file as a path, timeout as seconds up to 3600"
        )
    account = None
    if kind == "ethereum":
        account = ethereum_accounts.read(table, where, given, to_deploy=to_deploy)
    return Endpoint(kind, url, tuple(headers), ca_file, float(timeout), account)

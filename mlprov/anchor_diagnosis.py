"""What ``mlprov doctor`` looks at where anchors are configured; nothing of it where none is.

Nothing is sent but questions, and no passphrase is asked for. A URL may be a credential: none is
shown.
"""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Iterator

from mlprov import _core, anchor_servers, ethereum_keys
from mlprov.anchor_servers import Endpoint
from mlprov.errors import AnchorError, ConfigError, Error
from mlprov.ethereum_accounts import Account
from mlprov.ethereum_contracts import AccountNode, check_code
from mlprov.explanations import explain
from mlprov.findings import Finding

__all__ = ["look_at_anchors"]

_ANCHOR_GAS = 46_265  # docs/anchoring.md, What it costs
_WEI = 10**18  # of an ether
_SKEW = 60  # seconds; a block's time may be some seconds off, and a node some blocks behind


def look_at_anchors() -> Iterator[Finding]:
    """Look at every kind that the user's configuration or the environment names."""
    for kind in anchor_servers.named_kinds():
        what = f"anchor {kind}"
        try:
            server = anchor_servers.endpoint(kind)
        except ConfigError as error:
            yield Finding("wrong", what, *explain(error))
            continue
        if _is_offline():
            yield Finding(
                "note",
                what,
                "configured; nothing was asked, since MLPROV_OFFLINE is set",
                "unset MLPROV_OFFLINE to have endpoint, account and contract looked at",
            )
        elif server.account is None:
            yield Finding("ok", what, "a server is configured; 'mlprov anchor' asks it")
        else:
            yield from _ethereum(server, server.account)


def _is_offline() -> bool:
    """As csrc/net/http.h has it."""
    return os.environ.get("MLPROV_OFFLINE", "") not in ("", "0", "false", "no")


def _ethereum(server: Endpoint, account: Account) -> Iterator[Finding]:
    node = AccountNode(server)
    yield from _key(account)
    try:
        chain_id = node.chain_id()
    except Error as error:  # without an answer nothing else can be asked
        what, remedy = explain(error)
        yield Finding(
            "wrong",
            "anchor endpoint",
            f"the Ethereum node cannot be asked: {what}",
            remedy or "see whether it runs, and MLPROV_ETHEREUM_URL or url in [anchor.ethereum]",
        )
        return
    yield Finding("ok", "anchor endpoint", "the Ethereum node answers")
    if str(chain_id) != account.chain:
        yield Finding(
            "wrong",
            "anchor chain",
            f"the node is of chain {chain_id}, the configuration says {account.chain}",
            "name the node of that chain, or the chain of that node (chain_id)",
        )
        return  # balance and contract are those of another chain
    yield Finding("ok", "anchor chain", f"chain {chain_id}, as configured")
    for what, look in (
        ("anchor clock", _clock),
        ("anchor balance", _balance),
        ("anchor contract", _contract),
    ):
        try:
            yield look(node, account)
        except (AnchorError, ConfigError) as error:
            yield Finding("wrong", what, *explain(error))


def _clock(node: AccountNode, _: Account) -> Finding:
    """Against the newest block: two clocks that agree within a minute are enough for records."""
    ahead = time.time() - node.newest_time()
    if ahead < -_SKEW:
        return Finding(
            "wrong",
            "anchor clock",
            f"this machine's clock is {-ahead:.0f} s behind the chain's newest block: record times "
            "would be older than they are",
            "set the clock (NTP)",
        )
    if ahead > _SKEW:
        return Finding(
            "note",
            "anchor clock",
            f"the chain's newest block is {ahead:.0f} s older than this machine's clock",
            "if the chain makes blocks, its node is behind or this clock ahead: see which",
        )
    return Finding("ok", "anchor clock", "within a minute of the chain's newest block")


def _balance(node: AccountNode, account: Account) -> Finding:
    balance = node.balance(account.address)
    most = _ANCHOR_GAS * account.limits[0]
    detail = f"{account.address} has {balance / _WEI:.6f} ether"
    if balance == 0:
        return Finding("wrong", "anchor balance", detail, "send the account ether")
    if balance < most:
        return Finding(
            "note",
            "anchor balance",
            f"{detail}; an anchor costs up to {most / _WEI:.6f} at max_fee_gwei",
            "send the account ether before fees rise",
        )
    return Finding(
        "ok", "anchor balance", f"{detail}: {balance // most} anchors or more, at max_fee_gwei"
    )


def _contract(node: AccountNode, account: Account) -> Finding:
    check_code(node, account.contract, account.contract_kind)
    detail = f"{account.contract} has the code of {account.contract_kind}"
    return Finding("ok", "anchor contract", detail)


# ---- who signs ----


def _key(account: Account) -> Iterator[Finding]:
    try:
        yield _signer(account)
    except (Error, OSError) as error:
        yield Finding("wrong", "anchor key", *explain(error))


def _signer(account: Account) -> Finding:
    signer = account.signer
    if signer.url is not None:
        return _service(account)
    if signer.keystore is None or ethereum_keys.PASSPHRASE_FD in os.environ:
        account.for_core()  # opens the key, and compares its account
        return Finding("ok", "anchor key", f"signs for {account.address}")
    named = ethereum_keys.address_in(signer.keystore)
    mode = pathlib.Path(signer.keystore).stat().st_mode & 0o777
    if mode & 0o077:
        return Finding(
            "wrong",
            "anchor key",
            f"others can read {signer.keystore} (mode {mode:04o})",
            "chmod 600 it",
        )
    if named is None or _core.ethereum_address(named) != account.address:
        return Finding(
            "note",
            "anchor key",
            f"{signer.keystore} does not say that it is of {account.address}",
            "opening it shows whether it is: 'mlprov anchor ethereum' asks for the passphrase",
        )
    return Finding(
        "ok",
        "anchor key",
        f"{signer.keystore} says that it is of {account.address}; it was not opened",
    )


def _service(account: Account) -> Finding:
    """Whether the service that signs knows the account: eth_accounts, as web3signer offers it."""
    signer = account.signer
    answer = _core.json_decode(
        _core.json_rpc(
            str(signer.url),
            "eth_accounts",
            "[]",
            headers=signer.headers,
            ca_file=account.ca_file,
            timeout_ms=int(1000 * min(account.timeout, 10)),
        )
    )
    accounts = answer.get("result")
    if not isinstance(accounts, list):
        return Finding("note", "anchor key", "the signer answers, and does not list its accounts")
    if account.address.lower() not in [str(one).lower() for one in accounts]:
        return Finding(
            "wrong",
            "anchor key",
            f"the signer has {len(accounts)} accounts, and {account.address} is none of them",
            "load the account's key there, or name another account",
        )
    return Finding("ok", "anchor key", f"the signer has {account.address}")

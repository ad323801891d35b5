"""``mlprov anchor``: anchor the store log's last checkpoint now, or make the contract for it."""

from __future__ import annotations

import argparse

from mlprov import anchoring, ethereum_accounts, ethereum_contracts, keys, stores
from mlprov.cli import output, status_verb
from mlprov.errors import ConfigError, StoreError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "Enter every signed head into the store log and anchor its checkpoint, which covers all "
        "runs in the store. The same checkpoint is anchored once, however often this is called. "
        "Servers: [anchor.KIND] in the user's config.toml, or MLPROV_KIND_URL. Exit code 2 where "
        "it is not final yet: 'mlprov sync' goes on (Ethereum takes a quarter of an hour). "
        "'mlprov anchor ethereum deploy' makes the contract that anchors on Ethereum call: once "
        "for each chain, and it costs ether."
    )
    parser.add_argument("kind", choices=anchoring.KINDS, help="of anchor")
    parser.add_argument(
        "action", nargs="?", choices=("deploy",), help="make the contract (Ethereum alone)"
    )
    parser.add_argument(
        "--contract",
        choices=ethereum_accounts.CONTRACTS,
        default=ethereum_accounts.CONTRACTS[0],
        help="which one to deploy (default: AnchorStore)",
    )
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="give up then (default: 60)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Deploy; or plan, then deliver."""
    return _deploy(arguments) if arguments.action == "deploy" else _anchor(arguments)


def _anchor(arguments: argparse.Namespace) -> int:
    server = anchoring.endpoint(arguments.kind)
    server.for_core()  # a wrong server or key is refused before anything is planned
    with stores.open_store(arguments.store) as store:
        if store.integrate() == 0:
            raise StoreError(
                f"cannot anchor the log of {store.path}: it is empty", "record a run first"
            )
        anchoring.plan(store, server)
        anchoring.deliver(store, [arguments.kind], arguments.timeout)
        row = next(row for row in anchoring.read_anchors(store) if row.place == server.place)
        path = store.path
    if arguments.json:
        output.emit_json({"anchor": status_verb.as_json([row])[0], "store": path})
    elif not arguments.quiet:
        status_verb.show([row], path)
    return 0 if row.state == "final" else 2


def _deploy(arguments: argparse.Namespace) -> int:
    if arguments.kind != "ethereum":
        raise ConfigError(
            f"cannot deploy a contract for {arguments.kind!r}: it has none",
            "call 'mlprov anchor ethereum deploy'",
        )
    server = anchoring.endpoint("ethereum", to_deploy=arguments.contract)
    made = ethereum_contracts.deploy(server, arguments.contract, arguments.timeout)
    account = server.account
    assert account is not None
    settings = {
        "chain_id": account.chain,
        "contract": made.address,
        "contract_kind": arguments.contract,
        "account": account.address,
    }
    if arguments.json:
        output.emit_json({"deployed": vars(made), "settings": settings})
        return 0
    if arguments.quiet:
        output.text(made.address)
        return 0
    output.table(
        [
            ("contract", f"{made.address} ({arguments.contract}) on chain {account.chain}"),
            ("code", f"that of mlprov/contracts/{arguments.contract}.sol"),
            ("transaction", f"{made.transaction} in block {made.block}"),
            ("cost", f"{ethereum_accounts.ether_text(made.cost)} ({made.gas} gas)"),
        ]
    )
    output.text(f"put into {keys.home() / 'config.toml'}:")
    output.text("[anchor.ethereum]")
    for name, value in settings.items():
        output.text(f"{name} = {value}" if name == "chain_id" else f'{name} = "{value}"')
    return 0

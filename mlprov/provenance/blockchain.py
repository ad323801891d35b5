"""Storing and verifying hashes on several networks: the founding document's BlockchainManager."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlprov import anchoring, runs, stored_runs, stores
from mlprov._core import AnchorWorkers, Store
from mlprov.anchor_reports import Finding, check_anchors
from mlprov.anchor_servers import Endpoint
from mlprov.anchoring import AnchorRow
from mlprov.chain_nodes import ChainNode
from mlprov.errors import AnchorError, ConfigError, Error, StoreError
from mlprov.provenance.coverage import (
    check_coverage,
    check_records,
    find_subject,
    read_hash,
    recorded_run,
    run_name,
)
from mlprov.provenance.settings import (
    BlockchainSettings,
    Config,
    Network,
    read_blockchain,
    refuse_network,
)
from mlprov.records import json_value
from mlprov.redaction import redact
from mlprov.stores import HeadRow
from mlprov.verdicts import Check, Unchecked

__all__ = ["BlockchainManager"]

_GONE_OUT = ("sent", "included", "proved", "final")
Place = tuple[str, str, str, str]  # AnchorRow.place
_GLANCE = 5.0  # seconds


class BlockchainManager:
    """Stores hashes on the networks of a configuration, and says whether they are there.

    A hash is never sent by itself. It is the root of a run's head, or is recorded in a small run of
    its own; what goes out is the digest of the store log's checkpoint that covers this head, and on
    IPFS the checkpoint's note. So metadata stay in the store, and one transaction serves many
    hashes. Calls that store wait until a server has taken the anchor, not until it is final: that
    is a quarter of an hour on Ethereum, and ``mlprov sync`` goes on at any time.

    Args:
        config: the configuration, its section ``blockchain``, or the JSON file that it is in.
        store: the store directory; by default the nearest ``.mlprov``.

    Attributes:
        settings: what the configuration says.
        store_path: the store directory.

    Raises:
        ConfigError: the configuration cannot be used: an unknown name, a key in it, Bitcoin, a
            network of which something is missing.

    >>> BlockchainManager({"networks": ["bitcoin"]})
    Traceback (most recent call last):
    mlprov.errors.ConfigError: cannot store on 'bitcoin': this version has no anchors on Bitcoin...
    """

    def __init__(self, config: Config, *, store: str | os.PathLike[str] | None = None) -> None:
        self.settings: BlockchainSettings = read_blockchain(config)
        self.store_path = pathlib.Path(store) if store is not None else stores.find_store()
        self._workers: AnchorWorkers | None = None

    @property
    def networks(self) -> list[str]:
        """Names of the networks in use."""
        return list(self.settings.networks)

    # ---- storing ----

    def store_merkle_hash(
        self,
        merkle_root_hash: str | bytes,
        metadata: Mapping[str, Any] | None = None,
        networks: Sequence[str] | None = None,
    ) -> dict[str, str]:
        """Record a hash and anchor the record.

        Args:
            merkle_root_hash: 32 bytes, or 64 hexadecimal digits, with ``0x`` or ``sha256:`` or not.
            metadata: kept beside it in the store; of what it holds secrets are redacted. A hash is
                recorded once.
            networks: where; by default on all that are configured.

        Returns:
            network → transaction id: the transaction's hash on Ethereum, the CID on IPFS.

        Raises:
            ConfigError: no such network, no hash, or a hash that has other metadata already.
            StoreError: it could not be recorded.
            AnchorError: a network has not taken it within its ``timeout`` and ``retry_attempts``.
                It stays in the outbox, and ``mlprov sync`` delivers it once.
        """
        wanted = self._networks(networks)
        root = read_hash(merkle_root_hash)
        rows = self.deliver(wanted, self._record(root, metadata))
        if late := self.late(rows):
            raise AnchorError(
                f"cannot store {root.hex()} yet: {describe_late(late)}",
                f"it waits in the outbox; mend what is wrong, then: mlprov sync --store "
                f"{self.store_path} --retry",
            )
        return transaction_ids(rows)

    def _networks(self, names: Sequence[str] | None) -> dict[str, Network]:
        known = self.settings.networks
        for name in names or ():
            refuse_network(name, known)
        if not known:
            raise ConfigError(
                "cannot store: the configuration enables no network", 'name some in "networks"'
            )
        return {name: known[name] for name in (known if names is None else names)}

    def _record(self, root: bytes, metadata: Mapping[str, Any] | None) -> str:
        """The id of a run whose name is the hash; it is made once."""
        kept = redact(json_value(dict(metadata or {})), where="config")
        if self.store_path.joinpath("store.db").exists():
            with stores.open_store(self.store_path) as store:
                if (run_id := recorded_run(store, root)) is not None:
                    found = stored_runs.read_run(store, run_id).records[0].get("config")
                    if found != kept:
                        raise ConfigError(
                            f"cannot store {root.hex()} with other metadata: it is recorded in "
                            f"the run {run_id}, and what is recorded is not changed",
                            "leave the metadata as they were",
                        )
                    return run_id
        run = runs.start(
            run_name(root), store=self.store_path, config=dict(metadata or {}), anchors=[],
            on_error="raise",
        )  # fmt: skip
        run.finish()
        if run.head is None or run.status != "finished":
            raise StoreError(f"cannot record {root.hex()}: the run is {run.status}")
        return run.id

    def deliver(
        self, networks: Mapping[str, Network], run_id: str, root: bytes | None = None
    ) -> dict[str, AnchorRow]:
        """Anchor a head; wait until servers have it, or as long as is allowed.

        A head that an anchor covers already is not paid for again.

        Args:
            networks: where.
            run_id: whose head.
            root: of the head; None: the run's first one.

        Returns:
            network → its anchor as the outbox then has it.

        Raises:
            ConfigError: the key of the account cannot be opened.
            StoreError: the store cannot be used.
        """
        if not networks:
            return {}
        self.stop()
        with stores.open_store(self.store_path) as store:
            store.integrate()
            index = _log_index(store, run_id, root)

            def covering(rows: Iterable[AnchorRow]) -> dict[str, AnchorRow]:
                """Of each network the smallest: rows are newest first."""
                places = {network.endpoint.place: name for name, network in networks.items()}
                found = [row for row in rows if row.place in places and row.size > index]
                found.sort(key=lambda row: -row.size)
                return {places[row.place]: row for row in found}

            there = covering(anchoring.read_anchors(store))
            for name, network in networks.items():
                if name not in there:
                    anchoring.plan(store, network.endpoint)

            def is_enough(rows: Sequence[AnchorRow]) -> bool:
                return all(_is_settled(row, networks[name]) for name, row in covering(rows).items())

            if not is_enough(anchoring.read_anchors(store)):
                endpoints = [network.endpoint for network in networks.values()]
                patience = max(network.patience for network in networks.values())
                anchoring.deliver_to(store, endpoints, patience, is_enough=is_enough)
            return covering(anchoring.read_anchors(store))

    @staticmethod
    def late(rows: Mapping[str, AnchorRow]) -> dict[str, AnchorRow]:
        """The anchors that no server is known to have taken."""
        return {name: row for name, row in rows.items() if not _has_gone_out(row)}

    def settle(self) -> None:
        """Go on with what is on its way on these networks, as far as it goes at once.

        Raises:
            ConfigError: the key of the account cannot be opened.
            StoreError: the store cannot be used.
        """
        endpoints = [network.endpoint for network in self.settings.networks.values()]
        places = [each.place for each in endpoints]
        self.stop()
        with stores.open_store(self.store_path) as store:
            rows = anchoring.read_anchors(store)
            if any(row.open and row.place in places for row in rows):
                anchoring.deliver_to(store, endpoints, _GLANCE, is_enough=lambda _: True)

    def plan(self) -> None:
        """Put the log's last checkpoint into the outbox; threads of the core deliver it.

        Raises:
            ConfigError, StoreError: as :meth:`deliver`.
        """
        endpoints = [network.endpoint for network in self.settings.networks.values()]
        if not endpoints:
            return
        with stores.open_store(self.store_path) as store:
            store.integrate()
            for each in endpoints:
                anchoring.plan(store, each)
            if self._workers is None:
                self._workers = anchoring.start_workers(store, endpoints)
        self._workers.hand_over(True)

    def stop(self) -> None:
        """End the threads that :meth:`plan` started; what is left stays in the outbox."""
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.stop(int(1000 * anchoring.EXIT_SECONDS))

    # ---- verifying ----

    def verify_merkle_hash(
        self, merkle_root_hash: str | bytes, transaction_ids: Mapping[str, str]
    ) -> dict[str, Finding]:
        """Whether these transactions anchor a hash.

        Checked are the records under the hash, offline as ``mlprov verify`` does; whether the
        anchored checkpoint covers them; the anchor's evidence against the checkpoint, offline; and
        with the network's node, whether it has it: Ethereum's the block, which it must call final,
        IPFS' the checkpoint's note.

        Args:
            merkle_root_hash: as for :meth:`store_merkle_hash`; also the root of a run's head.
            transaction_ids: network → transaction id.

        Returns:
            network → what was checked; true where all holds. What does not hold and what could not
            be checked are told apart by ``result``.

        Raises:
            ConfigError: no such network, or no hash.
            StoreError: the store cannot be read.
        """
        root = read_hash(merkle_root_hash)
        for name in transaction_ids:
            refuse_network(name, self.settings.networks)
        with stores.open_with_log(self.store_path) as store:
            found = find_subject(store, root)
            records = None if found is None else check_records(store, found[0])
            return {
                name: _verified(store, self._finding(store, name, str(which)), root, found, records)
                for name, which in transaction_ids.items()
            }

    def check(self, store: Store) -> list[Finding]:
        """Every anchor of a store on the configured networks, held against evidence and node."""
        places = [network.endpoint.place for network in self.settings.networks.values()]
        return self._check(store, places) if places else []

    def _check(self, store: Store, places: Iterable[Place], *references: str) -> list[Finding]:
        servers = {name: network.endpoint for name, network in self.settings.networks.items()}
        node = ChainNode(servers["ethereum"]) if "ethereum" in servers else None
        return check_anchors(store, node, servers.get("ipfs"), places=places, references=references)

    def _finding(self, store: Store, name: str, which: str) -> Finding | Unchecked:
        place = self.settings.networks[name].endpoint.place
        for finding in self._check(store, [place], which):
            return finding
        return Unchecked(f"the outbox of {store.path} has no anchor on {name} that is {which}")

    def get_transaction_info(self, transaction_ids: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """What the outbox has of transactions, without asking a network.

        Args:
            transaction_ids: network → transaction id.

        Returns:
            network → ``network``, ``log_size``, ``state``, ``since``, ``reference``, ``cost`` (wei,
            a text), ``note`` (the last failure), and of Ethereum ``block`` and ``number``.

        Raises:
            ConfigError: no such network.
            AnchorError: the outbox has no such anchor.
            StoreError: the store cannot be read.
        """
        with stores.open_store(self.store_path, read_only=True) as store:
            rows = anchoring.read_anchors(store)
        infos = {}
        for name, which in transaction_ids.items():
            refuse_network(name, self.settings.networks)
            row = next((r for r in rows if (r.kind, r.reference_text) == (name, str(which))), None)
            if row is None:
                raise AnchorError(
                    f"cannot tell of {which!r}: the outbox of {self.store_path} has no such anchor "
                    f"on {name}",
                    "name a transaction id that storing gave, and its store",
                )
            infos[name] = describe_row(row)
        return infos

    def get_status(self) -> dict[str, dict[str, Any]]:
        """Of each network its anchors by state and, of Ethereum, what its node says of itself."""
        rows: list[AnchorRow] = []
        if self.store_path.joinpath("store.db").exists():
            with stores.open_store(self.store_path, read_only=True) as store:
                rows = anchoring.read_anchors(store)
        status: dict[str, dict[str, Any]] = {}
        for name, network in self.settings.networks.items():
            own = [row for row in rows if row.place == network.endpoint.place]
            counts = dict.fromkeys(sorted({row.state for row in own}), 0)
            for row in own:
                counts[row.state] += 1
            notes = [row.note for row in own if row.note]
            status[name] = {"anchors": counts, "note": notes[0] if notes else None}
            status[name] |= _ask(network.endpoint)
        return status


def describe_row(row: AnchorRow) -> dict[str, Any]:
    """An anchor as JSON has it."""
    info = Finding(row, ()).json()
    for name in ("result", "checks", "block_time"):
        info.pop(name)
    shown = row.shown or {}
    return info | {name: shown[name] for name in ("block", "number") if name in shown}


def transaction_ids(rows: Mapping[str, AnchorRow]) -> dict[str, str]:
    """Network → transaction id, of those that have one."""
    return {name: row.reference_text for name, row in rows.items() if row.reference}


def describe_late(rows: Mapping[str, AnchorRow]) -> str:
    """Why anchors are not at their servers yet."""
    return "; ".join(
        f"{name}: {row.state}" + (f" ({row.note})" if row.note else "")
        for name, row in rows.items()
    )


def _log_index(store: Store, run_id: str, root: bytes | None) -> int:
    """Where a head is in the store log."""
    for head in stores.read_heads(store, run_id):
        if root in (None, head.root) and head.log_index is not None:
            return head.log_index
    raise StoreError(f"cannot anchor the run {run_id}: its head is not in the store log")


def _has_gone_out(row: AnchorRow) -> bool:
    """Whether a server took it: what is sent and failed since may not be there."""
    return row.state in _GONE_OUT and not (row.state == "sent" and row.failures)


def _is_settled(row: AnchorRow, network: Network) -> bool:
    return (
        _has_gone_out(row) or row.state == "needs_operator" or row.failures > network.retry_attempts
    )


def _ask(endpoint: Endpoint) -> dict[str, Any]:
    """What a node says of itself; nothing of a network without blocks."""
    if endpoint.account is None:
        return {}
    try:
        block = ChainNode(endpoint).finalized_block()
    except Error as error:
        return {"reachable": False, "problem": error.what}
    if block is None:
        return {"reachable": True, "finalized": None}
    return {
        "reachable": True,
        "chain_id": str(block.chain_id),
        "finalized": block.number,
        "problem": None
        if str(block.chain_id) == endpoint.account.chain
        else f"the node is of chain {block.chain_id}; configured is {endpoint.account.chain}",
    }


def _verified(
    store: Store,
    finding: Finding | Unchecked,
    root: bytes,
    found: tuple[str, HeadRow] | None,
    records: Check | None,
) -> Finding:
    """Add what is under the hash to what was checked of the anchor."""
    if isinstance(finding, Unchecked):
        row = AnchorRow("?", 0, "unknown", "", 0, str(finding), b"", None)
        return Finding(row, (Check("evidence", "unchecked", str(finding)),))
    return Finding(
        finding.row, (*check_coverage(store, finding.row, root, found, records), *finding.checks),
        finding.time,
    )  # fmt: skip

"""Runs with anchors: made on a real node, put into a store's outbox as delivery puts them there."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bundles_for_tests import v
from nodes_for_tests import Account, account, anvil, call_data, deploy, require_secp256k1
from runs_for_tests import user

import mlprov
from mlprov import _core, archives, bundles, keys, stores, verification
from mlprov.questions import Question


@dataclasses.dataclass
class AnchoredRun:
    """A finished run of four records and more; its second checkpoint covers them all.

    ``evidence`` has one anchor for each log size in ``sizes``.
    """

    home: Path
    store: Path
    run: str
    vkey: str
    bundle: Path
    sizes: list[int]
    evidence: dict[int, bytes]
    contract: str
    sender: str

    @property
    def data(self) -> bytes:
        return self.bundle.read_bytes()

    def entries(self) -> dict[str, bytes]:
        return dict(archives.read_archive(self.data).entries)

    def shown(self, place: int) -> dict[str, Any]:
        """What the evidence says, as JSON."""
        return dict(json.loads(self.evidence[self.sizes[place]]))

    def trusted(self, place: int = -1, chain_id: int | None = None) -> str:
        """The block of an anchor as ``--trusted-block`` takes it."""
        shown = self.shown(place)
        return f"{shown['chain_id'] if chain_id is None else chain_id}:{shown['block']}"

    def sealed(self, changes: dict[str, bytes | None], *, is_open: bool = False) -> bytes:
        """The bundle with other entries, signed again by its owner; None takes one away."""
        entries = {**self.entries(), **changes}
        left = {name: content for name, content in entries.items() if content is not None}
        for name in ("manifest.json", "manifest.sig"):
            left.pop(name, None)
        with user(self.home, self.store):
            return archives.write_archive(bundles._sign(left, self.run, is_open=is_open))


def digest_of(note: bytes) -> bytes:
    """The anchor digest of a checkpoint (docs/format.md section 14)."""
    return hashlib.sha256(_core.note_text(note).encode()).digest()


def checkpoint_of(store: Path) -> bytes:
    with stores.open_store(store, read_only=True) as opened:
        note = opened.checkpoint()
    assert note is not None
    return note


def size_of(note: bytes) -> int:
    return _core.parse_checkpoint(_core.note_text(note))[1]


def anchor(owner: Account, contract: str, note: bytes) -> bytes:
    """Anchor a checkpoint with a real transaction; its evidence, taken from the node's answers."""
    digest = digest_of(note)
    sent = owner.send(contract, call_data("anchor(bytes32)", digest))
    answers = owner.node.block(str(owner.node.receipt(sent)["blockHash"]))
    return _core.ethereum_prove(*answers, bytes.fromhex(sent[2:]), digest)


def ipfs_evidence(note: bytes) -> bytes:
    """What the outbox keeps of a checkpoint that a node has pinned."""
    block = bytes.fromhex("01551220") + hashlib.sha256(note).digest()
    cid = "b" + base64.b32encode(block).decode().rstrip("=").lower()
    return b'{"cid":"%s","kind":"ipfs","version":1}' % cid.encode()


def put_anchor(store: Path, note: bytes, evidence: bytes | None, **columns: Any) -> None:
    """A row of the outbox as delivery leaves it."""
    origin, size, root = _core.parse_checkpoint(_core.note_text(note))
    shown = json.loads(evidence) if evidence else {}
    row = {
        "key": os.urandom(32),
        "kind": "ethereum",
        "chain": shown.get("chain_id", ""),
        "target": shown.get("contract", ""),
        "account": shown.get("sender", ""),
        "origin": origin,
        "size": size,
        "root": root,
        "payload": note,
        "state": "final",
        "since": "2026-12-01T00:00:00.000Z",
        "due": 0,
        "evidence": evidence,
    } | columns
    with contextlib.closing(sqlite3.connect(store / "store.db")) as database, database:
        database.execute(
            f"INSERT INTO anchor_intents({','.join(row)}) VALUES({','.join('?' * len(row))})",
            list(row.values()),
        )


def change_anchors(store: Path, **columns: Any) -> None:
    """Edit every row of the outbox, as whoever may write to the file can."""
    changes = ", ".join(f"{name} = ?" for name in columns)
    with contextlib.closing(sqlite3.connect(store / "store.db")) as database, database:
        database.execute(f"UPDATE anchor_intents SET {changes}", list(columns.values()))


def export(made: AnchoredRun, path: Path, **options: Any) -> Path:
    """The run's bundle, by its owner."""
    with user(made.home, made.store), stores.open_with_log(made.store) as store:
        return bundles.export_run(store, made.run, path, **options)


def anchored_run(directory: Path, owner: Account) -> AnchoredRun:
    """Record a run; anchor the checkpoint after its first epoch, and the one after its end."""
    contract = deploy(owner, "AnchorStore")
    home, store = directory / "home", directory / "store"
    notes = []
    with user(home, store):
        with mlprov.start("anchored", model={"w": memoryview(b"weights")}) as run:
            for epoch in run.epochs(2):
                epoch.log(loss=1.0)
                if epoch.index == 1:
                    run.wait()
                    notes.append(checkpoint_of(store))
        run.export(directory / "before.mlprov")
        vkey = keys.owner_vkey()
    assert vkey is not None
    notes.append(checkpoint_of(store))
    evidence = {size_of(note): anchor(owner, contract, note) for note in notes}
    for note in notes:
        put_anchor(store, note, evidence[size_of(note)])
    made = AnchoredRun(
        home,
        store,
        run.id,
        vkey,
        directory / "anchored.mlprov",
        [size_of(note) for note in notes],
        evidence,
        contract,
        owner.key.address,
    )
    export(made, made.bundle)
    return made


@contextlib.contextmanager
def anchored_on(directory: Path, *arguments: str) -> Iterator[tuple[Account, AnchoredRun]]:
    """A node that runs, and a run that is anchored there."""
    require_secp256k1()
    with anvil(*arguments) as node:
        owner = account(node)
        yield owner, anchored_run(directory, owner)


def ask(evidence: bytes, made: AnchoredRun, blocks: list[dict[str, str]] | None = None) -> Any:
    """mlprov's verdict, after the second verifier gave the same one, check by check."""
    listed = blocks or []
    verdict = verification.verify_bytes(evidence, "it", Question(keys=[made.vkey], headers=listed))
    request = v.Request(keys=[v.parse_vkey(made.vkey)], blocks=list(map(v._listed_block, listed)))
    theirs = v.verify_bytes(evidence, request)
    states = {check.name: check.state for check in verdict.checks}
    assert states == {check.name: check.state for check in theirs.checks}, (
        str(verdict),
        [str(check) for check in theirs.checks],
    )
    assert verdict.result == theirs.result
    return verdict

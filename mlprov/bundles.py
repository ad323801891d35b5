"""Bundles: one run as one file (docs/format.md section 8)."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlprov import _core, keys, records, stored_runs
from mlprov._core import Store
from mlprov.archives import MAGIC, write_archive
from mlprov.bundle_files import read_bundle_bytes
from mlprov.errors import ConfigError, EvidenceError, StoreError
from mlprov.imported_runs import kept_path, read_imported
from mlprov.record_members import check_members
from mlprov.records import Json
from mlprov.revisions import OlderRevision, read_older
from mlprov.stored_anchors import bundled_anchors
from mlprov.stored_runs import StoredRun, prove_logged
from mlprov.stores import HeadRow
from mlprov.tree_references import cited_trees
from mlprov.whole_files import write_whole_file
from mlprov.wording import brief

if TYPE_CHECKING:
    from mlprov.signers import Keys

__all__ = [
    "DISCLOSABLE",
    "export_run",
    "import_bundle",
    "read_run",
    "refuse_existing",
    "specification",
    "write_whole",
]

DISCLOSABLE = ("batches", "samples", "optimizer")
_ALWAYS = frozenset({"weights", "architecture", "tensors"})


def specification() -> bytes:
    """The text of docs/format.md that this release was built with."""
    return importlib.resources.files("mlprov").joinpath("format.md").read_bytes()


def export_run(
    store: Store,
    run_id: str,
    path: pathlib.Path,
    *,
    disclose: Sequence[str] = (),
    replace: bool = True,
    revise: bool = False,
) -> pathlib.Path:
    """Write a run's bundle; an imported run's is the bundle that it came in.

    Args:
        store: where the run is.
        run_id: its whole id.
        path: the file to write, whole or not at all.
        disclose: which leaves to include beyond those of the weights: of :data:`DISCLOSABLE`.
        replace: whether a file of that name is replaced, as a script that runs again expects; the
            command line refuses it without ``--force``.
        revise: whether the file is a bundle of this run of which a new revision is made, with what
            the store has by now: anchors above all. It names the older one, and discloses what
            that did. Where there is nothing new the file stays as it is.

    Raises:
        ConfigError: ``disclose`` names something else, the file is there and not to be replaced,
            or the owner key that began the run is not at hand: each bundle of it, of the finished
            run too, has a manifest that only this key can sign.
        StoreError: the run, or a tree that it cites, is not in the store, an anchor's evidence
            there does not hold, or the file cannot be written.
        VerificationError: the run's records are not those that its heads signed; nothing is signed.
        EvidenceError: a head or record, or the bundle of an imported run, is malformed.
    """
    refuse_existing(path, what="bundle", replace=replace or revise)
    disclosed = _read_disclosed(disclose)
    run = stored_runs.read_run(store, run_id)
    if run.row.imported and revise:
        raise ConfigError(
            f"cannot revise the bundle of the run {run_id}: it was imported, and is its owner's",
            "ask him for a newer one",
        )
    if run.row.imported:
        if disclosed:
            raise ConfigError(
                f"cannot disclose more of the run {run_id}: it was imported, and its bundle is "
                "exported as it came",
                "ask its owner",
            )
        data, _ = read_imported(store, run)
    else:
        run.check_heads()
        older = read_older(store, run, path) if revise else None
        entries = _collect(store, run, disclosed)
        is_open = run.row.status == "running" or _heads_wait(entries)
        if older is not None:
            older.add_disclosed(entries)
            if older.equals(entries, is_open=is_open):
                return path
        data = write_archive(_sign(entries, run_id, is_open=is_open, older=older))
    write_whole(path, data, what="bundle", replace=replace or revise)
    return path


def _read_disclosed(disclose: Any) -> frozenset[str]:
    known = ", ".join(DISCLOSABLE)
    if not isinstance(disclose, (list, tuple, set, frozenset)):
        kind = type(disclose).__name__
        raise ConfigError(f"cannot disclose {kind}: seen no list", f"name what of it: {known}")
    for name in disclose:
        if not isinstance(name, str) or name not in DISCLOSABLE:
            shown = repr(brief(name, 60)) if isinstance(name, str) else type(name).__name__
            raise ConfigError(f"cannot disclose {shown}: expected one of {known}")
    return frozenset(disclose)


def _collect(store: Store, run: StoredRun, disclose: frozenset[str]) -> dict[str, bytes]:
    if not run.heads:
        raise StoreError(
            f"cannot export the run {run.row.id}: it has no signed head yet",
            "wait until it has begun, or look at what stopped it: mlprov log",
        )
    decoded = run.records
    entries = {
        "SPEC.md": specification(),
        "run.jsonl": b"".join(line + b"\n" for line in run.lines),
        **{f"heads/{head.size}.note": head.note for head in run.heads},
        **_keys(decoded[0]),
        **_log_entries(store, run),
    }
    wanted = _ALWAYS | disclose | ({"sorted"} if "samples" in disclose else set())
    # Leaves that the disk had no room for: the record has their root, and a gap says so.
    lost = any(r.get("type") == "gap" and r.get("what") == "leaves" for r in decoded)
    for record in decoded:
        for kind, tree in cited_trees(record):
            # The sorted sample tree has no file: its leaves follow from the sample leaves.
            if kind in wanted and kind != "sorted":
                if lost and not store.has_leaves(tree.root):
                    continue
                leaves = store.get_leaves(tree.root)
                entries[f"trees/{tree.root.hex()}.leaves"] = _core.encode_leaves(leaves)
    return entries


def _keys(start: dict[str, Any]) -> dict[str, bytes]:
    _, _, body = _core.note_text(start["owner"].encode()).partition("\n")
    statement = _core.json_decode(body.rstrip("\n").encode())
    return {
        "keys/owner.vkey": f"{start['owner_key']}\n".encode(),
        "keys/run.vkey": f"{statement['run_key']}\n".encode(),
        "keys/log.vkey": f"{statement['log_key']}\n".encode(),
    }


def _log_entries(store: Store, run: StoredRun) -> dict[str, bytes]:
    """The main folder of the store log; anchors, each with the folder of its checkpoint."""
    checkpoint = store.checkpoint()
    if checkpoint is None:
        return {}
    anchors, notes = bundled_anchors(store, run.heads)
    entries = _log_folder(store, run, checkpoint, run.heads)
    for note in notes.values():
        if note != checkpoint:
            size = _log_size(note)
            covered = [h for h in run.heads if h.log_index is not None and h.log_index < size]
            entries |= _log_folder(store, run, note, covered[-1:])
    return {**entries, **anchors}


def _log_size(checkpoint: bytes) -> int:
    return _core.parse_checkpoint(_core.note_text(checkpoint))[1]


def _log_folder(
    store: Store, run: StoredRun, checkpoint: bytes, heads: Sequence[HeadRow]
) -> dict[str, bytes]:
    """A checkpoint and the proofs of those of the heads that it has."""
    _, size, root = _core.parse_checkpoint(_core.note_text(checkpoint))
    entries = {}
    for head in heads:
        if head.log_index is not None and head.log_index < size:
            hashes = prove_logged(store, run.row.id, head, size, root)
            path: list[Json] = [base64.b64encode(item).decode() for item in hashes]
            entries[f"log/{size}/{head.size}.proof"] = records.canonical(
                {"index": head.log_index, "path": path}
            )
    # A checkpoint that proves nothing of this run stays out of it.
    return {f"log/{size}/checkpoint": checkpoint, **entries} if entries else {}


def _heads_wait(entries: dict[str, bytes]) -> bool:
    """Whether a head is not in the store log yet; the bundle is then open, ended run or not."""
    heads = {name[6:-5] for name in entries if name.startswith("heads/")}
    proofs = {name.rpartition("/")[2][:-6] for name in entries if name.endswith(".proof")}
    return not heads <= proofs


def _sign(
    entries: dict[str, bytes], run_id: str, *, is_open: bool, older: OlderRevision | None = None
) -> dict[str, bytes]:
    """Add manifest and signature, by the owner key that began the run."""
    bound = entries["keys/owner.vkey"].decode().strip()
    place = keys.owner_key_path()
    owner = keys.owner_key(create=False) if os.path.lexists(place) else None
    if owner is None or owner.vkey != bound:
        seen = f"there is none at {place}" if owner is None else f"{place} has {owner.vkey}"
        raise ConfigError(
            f"cannot sign the bundle of the run {run_id}: it was begun by the owner key {bound}, "
            f"which alone may sign it, and {seen}",
            "point MLPROV_OWNER_KEY at that key's file; bundles that it signed before stay good",
        )
    listed: dict[str, Json] = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for name, content in entries.items()
    }
    manifest = records.canonical(
        {
            "entries": listed,
            "format": "mlprov-bundle",
            "open": is_open,
            "previous": None if older is None else older.manifest,
            "revision": 1 if older is None else older.revision + 1,
            "run": run_id,
            "spec": hashlib.sha256(entries["SPEC.md"]).hexdigest(),
            "version": 1,
        }
    )
    signature = owner.sign_note(
        f"mlprov/manifest@v1\nsha256:{hashlib.sha256(manifest).hexdigest()}\n"
    )
    return {**entries, "manifest.json": manifest, "manifest.sig": signature}


def refuse_existing(path: pathlib.Path, *, what: str, replace: bool) -> None:
    """Say before the work what :func:`write_whole` would say after it.

    Raises:
        ConfigError: the file is there and not to be replaced, or is no regular file.
        StoreError: it is a directory.
    """
    if path.is_dir() or not path.name:
        raise StoreError(f"cannot write the {what} {path}: it is a directory", "name a file in it")
    if not os.path.lexists(path):
        return
    if path.exists() and not path.is_file():
        raise ConfigError(
            f"cannot write the {what} {path}: it is a device or a pipe",
            "name a file, which is written whole or not at all",
        )
    if not replace:
        raise ConfigError(
            f"cannot write the {what} {path}: there is such a file",
            "name another, or replace it with --force",
        )


def write_whole(path: pathlib.Path, data: bytes, *, what: str, replace: bool = True) -> None:
    """Write a file whole or not at all: to a temporary name beside it, fsynced, renamed.

    Args:
        path: the file.
        data: its bytes.
        what: what the message calls it.
        replace: whether a file of that name is replaced.

    Raises:
        ConfigError: the file is there and not to be replaced, or is no regular file.
        StoreError: it cannot be written.
    """
    refuse_existing(path, what=what, replace=replace)
    try:
        write_whole_file(path, data)
    except OSError as error:
        raise StoreError(
            f"cannot write the {what} {path}: {error.strerror}",
            "name a place that can be written and has room",
        ) from error


def read_run(path: pathlib.Path) -> bytes:
    """The bytes of a bundle that is to be imported.

    Raises:
        EvidenceError: it cannot be read, or is something else.
    """
    data = read_bundle_bytes(path)
    if data.startswith(b"{"):
        raise EvidenceError(
            f"cannot import {path}: it is JSON, as a proof file is, which holds one claim and no "
            f"run",
            f"ask for the bundle, or check this one with: mlprov verify {path}",
        )
    if not data.startswith(MAGIC):
        raise EvidenceError(
            f"cannot import {path}: it is no bundle, which is a zip archive and begins with "
            f"{MAGIC!r}, not {data[:4]!r}",
            "name a file that 'mlprov export' wrote",
        )
    return data


def import_bundle(
    store: Store,
    path: pathlib.Path,
    *,
    keys: Keys | None = None,
    allow_unpinned: bool = False,
) -> str:
    """Enter a bundle's run into a store; the bundle is kept whole and exported again as it is.

    Args:
        store: where to.
        path: the bundle.
        keys: the only keys that count as signer, as for :func:`mlprov.verify`; they are not pinned.
        allow_unpinned: accept a signer whose key is not pinned.

    Returns:
        the run id.

    Raises:
        VerificationError: the bundle does not hold.
        EvidenceError: it could not be checked (an unpinned signer among the reasons), or a record
            has a member of another kind than docs/format.md section 5 says.
        StoreError: the run is in the store already, or the store cannot be written.
    """
    from mlprov.questions import Question
    from mlprov.verification import check_bundle

    data = read_run(path)
    question = Question(keys=keys, allow_unpinned=allow_unpinned)
    verdict, bundle = check_bundle(data, str(path), question)
    verdict.require()
    run_id = bundle.run
    try:
        for record in bundle.decoded:
            check_members(record, f"record {record['seq']}")
    except EvidenceError as error:
        raise EvidenceError(
            f"cannot import {path}: {error.what}",
            "its writer made what no release of mlprov does: ask "
            "the owner for one that he exported with mlprov",
        ) from error
    if store.query("SELECT 1 FROM runs WHERE id = ?", (run_id,)):
        raise StoreError(
            f"cannot import {path}: the run {run_id} is in {store.path} already",
            f"'mlprov show {run_id}' shows it",
        )
    start, last = bundle.decoded[0], bundle.decoded[-1]
    name, project = start.get("name"), start.get("project")
    status = str(last.get("status")) if last["type"] == "run.end" else "running"
    rows = [
        (record["type"], record["time"], line)
        for record, line in zip(bundle.decoded, bundle.lines, strict=True)
    ]
    kept = kept_path(run_id)
    target = pathlib.Path(store.path) / kept
    try:
        target.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot import into {store.path}: {error.strerror}") from error
    write_whole(target, data, what="bundle")
    try:
        for leaves in bundle.trees.values():
            store.put_leaves(leaves)
        store.put_import(
            run_id,
            name if isinstance(name, str) else run_id,
            project if isinstance(project, str) else None,
            status,
            str(start["time"]),
            rows,
            bundle.heads,
            kept,
        )
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return run_id

"""Bundles: one run as one file (docs/format.md section 8)."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib.resources
import os
import pathlib
import secrets
import stat
from collections.abc import Sequence
from typing import Any

from mlprov import _core, keys, records, stores
from mlprov._core import Store
from mlprov.archives import MAX_BYTES, write_archive
from mlprov.errors import ConfigError, EvidenceError, StoreError
from mlprov.records import Json
from mlprov.stores import HeadRow
from mlprov.tree_references import cited_trees

__all__ = [
    "DISCLOSABLE",
    "export_run",
    "import_bundle",
    "read_bundle_bytes",
    "specification",
]

DISCLOSABLE = ("batches", "samples", "optimizer")
_ALWAYS = frozenset({"weights", "architecture", "tensors"})


def specification() -> bytes:
    """The text of docs/format.md that this release was built with."""
    return importlib.resources.files("mlprov").joinpath("format.md").read_bytes()


def export_run(
    store: Store, run_id: str, path: pathlib.Path, *, disclose: Sequence[str] = ()
) -> pathlib.Path:
    """Write a run's bundle; an imported run's is the bundle that it came in.

    Args:
        store: where the run is.
        run_id: its whole id.
        path: the file to write, replaced whole.
        disclose: which leaves to include beyond those of the weights: of :data:`DISCLOSABLE`.

    Raises:
        ConfigError: ``disclose`` names something else, or the owner key is not at hand.
        StoreError: the run, or a tree that it cites, is not in the store.
    """
    unknown = sorted(set(disclose) - set(DISCLOSABLE))
    if unknown:
        raise ConfigError(
            f"cannot disclose {unknown[0]!r}: expected one of {', '.join(DISCLOSABLE)}"
        )
    row = stores.find_run(store, run_id)
    if row.bundle is not None:
        if disclose:
            raise ConfigError(
                f"cannot disclose more of the run {run_id}: it was imported, and its bundle is "
                "exported as it came; ask its owner"
            )
        data = read_bundle_bytes(pathlib.Path(store.path) / row.bundle)
    else:
        entries = _collect(store, run_id, frozenset(disclose))
        is_open = row.status == "running" or _heads_wait(entries)
        data = write_archive(_sign(entries, run_id, is_open=is_open))
    write_whole(path, data, what="bundle")
    return path


def _collect(store: Store, run_id: str, disclose: frozenset[str]) -> dict[str, bytes]:
    lines = stores.read_records(store, run_id)
    heads = stores.read_heads(store, run_id)
    if not heads:
        raise StoreError(f"cannot export the run {run_id}: it has no signed head yet")
    acknowledged = lines[: heads[-1].size]
    decoded = [_core.json_decode(line) for line in acknowledged]
    entries = {
        "SPEC.md": specification(),
        "run.jsonl": b"".join(line + b"\n" for line in acknowledged),
        **{f"heads/{head.size}.note": head.note for head in heads},
        **_keys(decoded[0]),
        **_log_proofs(store, heads),
    }
    wanted = _ALWAYS | disclose | ({"sorted"} if "samples" in disclose else set())
    for record in decoded:
        for kind, tree in cited_trees(record):
            # The sorted sample tree has no file: its leaves follow from the sample leaves.
            if kind in wanted and kind != "sorted":
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


def _log_proofs(store: Store, heads: Sequence[HeadRow]) -> dict[str, bytes]:
    checkpoint = store.checkpoint()
    if checkpoint is None:
        return {}
    _, size, _ = _core.parse_checkpoint(_core.note_text(checkpoint))
    entries = {}
    for head in heads:
        if head.log_index is not None and head.log_index < size:
            path = [base64.b64encode(h).decode() for h in store.log_proof(head.log_index, size)]
            entries[f"log/{size}/{head.size}.proof"] = records.canonical(
                {"index": head.log_index, "path": path}
            )
    # A checkpoint that proves nothing of this run stays out of it.
    return {f"log/{size}/checkpoint": checkpoint, **entries} if entries else {}


def _heads_wait(entries: dict[str, bytes]) -> bool:
    """Whether a head is not in the store log yet; the bundle is then open, ended run or not."""
    heads = sum(name.startswith("heads/") for name in entries)
    return sum(name.endswith(".proof") for name in entries) < heads


def _sign(entries: dict[str, bytes], run_id: str, *, is_open: bool) -> dict[str, bytes]:
    """Add manifest and signature, by the owner key that began the run."""
    owner = keys.owner_key(create=False)
    bound = entries["keys/owner.vkey"].decode().strip()
    if owner.vkey != bound:
        raise ConfigError(
            f"cannot sign the bundle: the run was begun by the owner key {bound}, the key at hand "
            f"is {owner.vkey}; point MLPROV_HOME or MLPROV_OWNER_KEY at the key that began it"
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
            "previous": None,
            "revision": 1,
            "run": run_id,
            "spec": hashlib.sha256(entries["SPEC.md"]).hexdigest(),
            "version": 1,
        }
    )
    signature = owner.sign_note(
        f"mlprov/manifest@v1\nsha256:{hashlib.sha256(manifest).hexdigest()}\n"
    )
    return {**entries, "manifest.json": manifest, "manifest.sig": signature}


def write_whole(path: pathlib.Path, data: bytes, *, what: str) -> None:
    """Write a file whole or not at all: to a temporary name beside it, fsynced, renamed.

    Args:
        path: the file, replaced if it is there.
        data: its bytes.
        what: what the message calls it.

    Raises:
        StoreError: it cannot be written.
    """
    if path.is_dir() or not path.name:
        raise StoreError(f"cannot write the {what} {path}: it is a directory; name a file in it")
    temporary = path.with_name(f".mlprov-{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o644), "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"cannot write the {what} {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def read_bundle_bytes(path: pathlib.Path) -> bytes:
    """The bytes of a bundle or proof file.

    Raises:
        EvidenceError: not a regular file, unreadable, or above 1 GiB.
    """
    try:
        # Opening without blocking: a FIFO of that name must not hang the verifier.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise EvidenceError(f"cannot read {path}: it is not a regular file")
            if status.st_size > MAX_BYTES:
                raise EvidenceError(
                    f"cannot read {path}: {status.st_size} bytes, a bundle has {MAX_BYTES} at most"
                )
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise EvidenceError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # a NUL in the name
        raise EvidenceError(f"cannot read {str(path)!r}: {error}") from error
    if len(data) > MAX_BYTES:
        raise EvidenceError(f"cannot read {path}: above {MAX_BYTES} bytes")
    return data


def import_bundle(store: Store, path: pathlib.Path, *, allow_unpinned: bool = False) -> str:
    """Enter a bundle's run into a store; the bundle is kept whole and exported again as it is.

    Returns:
        the run id.

    Raises:
        VerificationError: the bundle does not hold.
        EvidenceError: it could not be checked (an unpinned signer among the reasons).
        StoreError: the run is in the store already, or the store cannot be written.
    """
    from mlprov import verification

    data = read_bundle_bytes(path)
    verdict, bundle = verification.check_bundle(data, str(path), allow_unpinned=allow_unpinned)
    verdict.require()
    run_id = bundle.run
    if store.query("SELECT 1 FROM runs WHERE id = ?", (run_id,)):
        raise StoreError(f"cannot import {path}: the run {run_id} is in {store.path} already")
    start, last = bundle.decoded[0], bundle.decoded[-1]
    name, project = start.get("name"), start.get("project")
    status = str(last.get("status")) if last["type"] == "run.end" else "running"
    rows = [
        (record["type"], record["time"], line)
        for record, line in zip(bundle.decoded, bundle.lines, strict=True)
    ]
    kept = pathlib.Path("imports") / f"{run_id}.mlprov"
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
            str(kept),
        )
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return run_id

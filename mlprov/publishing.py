"""Publishing files on IPFS: a run's bundle, and weights where somebody asks for it.

A file stays where it is: the outbox of a store gets its path, its CID and its digest, and threads
of the core send it block by block (csrc/anchor/ipfs_file.c), after its CID was computed again.
Whoever knows the CID can read what is published. IPFS is storage: it proves no time.
"""

from __future__ import annotations

import os
import pathlib
from typing import Literal

from mlprov import _core, bundles, ipfs, records, stored_runs
from mlprov._core import Store
from mlprov.digests import Digest, digest
from mlprov.errors import ConfigError, EvidenceError
from mlprov.records import Json

__all__ = ["KIND", "WHAT", "plan_bundle", "plan_file", "plan_model"]

KIND = "ipfs-file"  # of anchor, in outboxes
WHAT = ("bundle", "model")
_FOLDER = "published"  # in a store: bundles, which nobody else keeps


def plan_file(
    store: Store,
    path: str | os.PathLike[str],
    *,
    what: Literal["bundle", "model", "file"] = "file",
    run_id: str | None = None,
    expected: Digest | None = None,
) -> ipfs.CID:
    """Put a file into the outbox, to be published as it is now and as nothing else.

    Args:
        store: whose outbox.
        path: a regular file, which has to stay until it is delivered.
        what: it is; for people.
        run_id: of the run that it belongs to, if it does.
        expected: what it has to be.

    Returns:
        its CID.

    Raises:
        EvidenceError: it is not what is expected, or was written to meanwhile.
        ConfigError: it is empty, no regular file, or its name is no Unicode text.
        OSError: it cannot be read.
    """
    whole = pathlib.Path(path).resolve()
    cid, size, _ = _core.cid_of_file(whole, ipfs.UNIXFS_V1_2025.for_core(), threads=None)
    seen = digest(whole, algorithm=expected.algorithm if expected is not None else "blake3")
    if expected is not None and seen != expected:
        raise EvidenceError(
            f"cannot publish {path}: it is {seen}, recorded was {expected}",
            "publish the file that was recorded, or record this one",
        )
    if size == 0 or not records.json_key(str(whole)):
        raise ConfigError(
            f"cannot publish {path}: it is empty, or its name is no Unicode text",
            "name another file",
        )
    payload: dict[str, Json] = {
        "cid": str(ipfs.CID(cid)),
        "digest": str(seen),
        "path": str(whole),
        "run": run_id,
        "size": size,
        "version": 1,
        "what": what,
    }
    store.plan_file(KIND, run_id or "", size, cid[4:], records.canonical(payload))
    return ipfs.CID(cid)


def plan_bundle(store: Store, run_id: str) -> ipfs.CID:
    """Export a run's bundle into its store, and put it into the outbox.

    Raises:
        Error, OSError: as :func:`mlprov.bundles.export_run` and :func:`plan_file`.
    """
    folder = pathlib.Path(store.path) / _FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    size = stored_runs.read_run(store, run_id).heads[-1].size
    path = folder / f"{run_id}-{size}.mlprov"
    bundles.export_run(store, run_id, path)
    return plan_file(store, path, what="bundle", run_id=run_id)


def plan_model(store: Store, run_id: str, path: str | os.PathLike[str]) -> list[ipfs.CID]:
    """Put the files of the checkpoint that a run recorded last into the outbox.

    Args:
        store: whose outbox.
        run_id: of the run.
        path: of the checkpoint, a file or a directory.

    Raises:
        EvidenceError: one is not what was recorded.
        ConfigError: the run recorded none; as :func:`plan_file`.
        OSError: as :func:`plan_file`.
    """
    recorded = [
        record
        for record in stored_runs.read_run(store, run_id).records
        if record["type"] == "checkpoint"
    ]
    if not recorded:
        raise ConfigError(
            f"cannot publish a model of the run {run_id}: it recorded none",
            "call run.save(path) or run.checkpoint(path)",
        )
    root = pathlib.Path(path)
    cids = []
    for file in recorded[-1]["files"]:
        whole = root / str(file["path"]) if root.is_dir() else root
        expected = Digest.parse(f"blake3:{file['blake3']}")
        cids.append(plan_file(store, whole, what="model", run_id=run_id, expected=expected))
    return cids

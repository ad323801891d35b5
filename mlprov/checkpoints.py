"""Recording a saved model against the live one (docs/format.md section 5, ``checkpoint``)."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from mlprov.digests import TensorDigest
from mlprov.errors import ConfigError, EvidenceError
from mlprov.file_sets import list_model_files
from mlprov.model_digests import ModelDigest
from mlprov.model_files import FileTensors, read_file
from mlprov.records import Json
from mlprov.saved_files import SavedFile
from mlprov.shard_indexes import check_index, is_index

__all__ = ["Checkpoint", "capture_checkpoint", "map_to_live", "shown_path"]


@dataclass(frozen=True)
class Checkpoint:
    """What a ``checkpoint`` record says of the files."""

    format: str
    files: list[Json]
    leaves: list[bytes] | None
    mapping: Json
    tensors: tuple[TensorDigest, ...] = field(default=())


def shown_path(path: str | os.PathLike[str]) -> str:
    """A path as the user named it; below the working directory relative to it."""
    named = pathlib.Path(path)
    if named.is_absolute():
        with contextlib.suppress(ValueError, OSError):
            return str(named.relative_to(pathlib.Path.cwd()))
    return os.fspath(path)


def capture_checkpoint(
    saved: pathlib.Path | SavedFile, live: ModelDigest | None, *, algorithm: str = "blake3"
) -> Checkpoint:
    """Hash a saved model, a file or a directory, and compare its tensors with the live model's.

    Args:
        saved: where it is; or what mlprov wrote, which is not read again.
        live: the model as it is now.
        algorithm: of the tensors' digests: the run's.

    Raises:
        ConfigError: there is nothing at ``path``, the directory holds no file, or a link to a
            directory, a dangling link or a special file.
        EvidenceError: two shards hold a tensor of the same name, or an index of shards does not
            agree with them.
    """
    if isinstance(saved, SavedFile):
        path, files = saved.path, [FileTensors.of_saved(saved)]
    else:
        path = saved
        files = [read_file(file, shown, algorithm=algorithm) for file, shown in _files_of(path)]
    if path.is_dir():
        _check_indexes(path, files)
    shards = [file.tensors for file in files if file.tensors is not None]
    listed = [file.as_record() for file in files]
    if not shards:
        return Checkpoint("opaque", listed, None, None)
    tensors = sorted((t for shard in shards for t in shard), key=lambda t: t.name.encode())
    for first, second in itertools.pairwise(tensors):
        if first.name == second.name:
            raise EvidenceError(
                f"cannot record {path}: two of its files hold a tensor named {first.name!r}"
            )
    mapping = None if live is None else map_to_live(tensors, live)
    return Checkpoint("safetensors", listed, [t.leaf() for t in tensors], mapping, tuple(tensors))


def _check_indexes(root: pathlib.Path, files: Sequence[FileTensors]) -> None:
    """Hold every index of a sharded model against the shards beside it."""
    for file in files:
        if not is_index(file.path):
            continue
        folder, _, _ = file.path.rpartition("/")
        shards = {
            shard.path.rpartition("/")[2]: [tensor.name for tensor in shard.tensors]
            for shard in files
            if shard.tensors is not None and shard.path.rpartition("/")[0] == folder
        }
        check_index(root / file.path, shards)


def _files_of(path: pathlib.Path) -> list[tuple[pathlib.Path, str]]:
    """The files of a checkpoint, and their paths within it; as the verifier lists them."""
    if path.is_dir():
        found = list_model_files(path)
        if not found:
            raise ConfigError(f"cannot record the checkpoint {path}: the directory holds no file")
        return found
    if not path.exists():
        raise ConfigError(
            f"cannot record the checkpoint {path}: there is no such file",
            "call checkpoint() after saving",
        )
    return [(path, path.name)]


def map_to_live(tensors: Sequence[TensorDigest], live: ModelDigest) -> Json:
    """How a file's tensors relate to the live ones: ``equal`` by name, ``unmatched``, missing.

    A live tensor is not missing when the file has it under another name of its alias group.
    """
    by_name = {tensor.name: tensor for tensor in live.tensors}
    group_of = {name: group for group in live.aliases for name in group}
    present = {tensor.name for tensor in tensors}
    entries: list[Json] = []
    equal = 0
    for tensor in tensors:
        if by_name.get(tensor.name) == tensor:
            equal += 1
        else:
            entries.append(
                {
                    "file": tensor.name,
                    "kind": "unmatched",
                    "live": tensor.name if tensor.name in by_name else None,
                }
            )
    missing: list[Json] = [
        name
        for name in by_name
        if name not in present and present.isdisjoint(group_of.get(name, ()))
    ]
    return {"entries": entries, "equal": equal, "missing": missing}

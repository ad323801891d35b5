"""Model files: writing one, and recording one against the live model (docs/format.md section 5)."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mlprov import _core, models
from mlprov.digests import Digest, TensorDigest, is_torch_tensor
from mlprov.errors import ConfigError, EvidenceError
from mlprov.items import class_name
from mlprov.models import ModelDigest
from mlprov.records import Json, json_text

__all__ = [
    "Checkpoint",
    "FileTensors",
    "capture_checkpoint",
    "map_to_live",
    "read_file",
    "save_model",
]


def save_model(model: Any, path: pathlib.Path) -> pathlib.Path:
    """Write a model's persistent state dict as safetensors: to a temporary name, fsynced, renamed.

    Of tensors that share memory exactly one copy is written, under the first name of the alias
    group; tensors that overlap in part are written whole, each on its own.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import save_file
    except ImportError as error:
        raise ConfigError(
            "cannot save as safetensors: the package is missing; pip install safetensors"
        ) from error
    tensors = models.persistent_tensors(model)
    foreign = next((name for name, tensor in tensors.items() if not is_torch_tensor(tensor)), None)
    if foreign is not None:
        raise ConfigError(
            f"cannot save as safetensors: {foreign!r} is {class_name(tensors[foreign])}, not a"
            " torch tensor; save the arrays yourself and call run.checkpoint(path)"
        )
    identities = _core.tensor_identities(list(tensors.values()))
    written: dict[str, Any] = {}
    seen: set[object] = set()
    for (name, tensor), identity in sorted(zip(tensors.items(), identities, strict=True)):
        if identity is None or identity not in seen:
            seen.add(identity)
            written[name] = tensor.detach().contiguous()
    pointers: set[int] = set()
    for name, tensor in written.items():
        pointer = tensor.untyped_storage().data_ptr()
        if pointer in pointers:
            written[name] = tensor.clone()
        pointers.add(pointer)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        save_file(written, temporary, metadata={"format": "pt"})
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except SafetensorError as error:
        raise OSError(f"cannot write the model {path}: {error}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    return path


@dataclass(frozen=True)
class FileTensors:
    """One read of one file: its digests and, of a safetensors file, those of its tensors."""

    path: str
    len: int
    blake3: str
    sha256: str
    tensors: tuple[TensorDigest, ...] | None

    def as_record(self) -> Json:
        """The file as a ``checkpoint`` record lists it."""
        return {
            "blake3": self.blake3,
            "len": self.len,
            "path": json_text(self.path),
            "sha256": self.sha256,
        }


def read_file(path: pathlib.Path, shown: str, *, algorithm: str = "blake3") -> FileTensors:
    """Hash a file once: BLAKE3 and SHA-256 of it all and, of safetensors, each tensor.

    The tensors' digests are of the run's algorithm.
    Its content decides whether it is safetensors, not its name. Only regular files are opened, so
    that a FIFO hangs nobody.

    Raises:
        EvidenceError: the file changed while it was read.
        StoreError: it cannot be read.
    """
    name = os.fsencode(path)
    try:
        entries, _, expected = _core.safetensors_entries(name)
    except EvidenceError as error:
        if error.status == "CHANGED":
            raise
        _, (blake3, sha256), length = _core.hash_file_ranges(name, [], ["blake3", "sha256"])
        return FileTensors(shown, length, blake3.hex(), sha256.hex(), None)
    algorithms = list(dict.fromkeys((algorithm, "blake3", "sha256")))
    ranges = sorted({(begin, end) for _, _, _, begin, end in entries})
    digests, whole, length = _core.hash_file_ranges(name, ranges, algorithms)
    if length != expected:
        raise EvidenceError(
            f"cannot read {shown}: its length changed from {expected} to {length} bytes meanwhile"
        )
    of_range = dict(zip(ranges, digests, strict=True))
    tensors = tuple(
        TensorDigest(tensor, dtype, shape, end - begin, Digest(algorithm, of_range[begin, end]))
        for tensor, dtype, shape, begin, end in entries
    )
    of_file = dict(zip(algorithms, whole, strict=True))
    return FileTensors(shown, length, of_file["blake3"].hex(), of_file["sha256"].hex(), tensors)


@dataclass(frozen=True)
class Checkpoint:
    """What a ``checkpoint`` record says of the files."""

    format: str
    files: list[Json]
    leaves: list[bytes] | None
    mapping: Json
    tensors: tuple[TensorDigest, ...] = field(default=())


def capture_checkpoint(
    path: pathlib.Path, live: ModelDigest | None, *, algorithm: str = "blake3"
) -> Checkpoint:
    """Hash a saved model, a file or a directory, and compare its tensors with the live model's.

    Raises:
        ConfigError: there is nothing at ``path``, or the directory holds no file.
        EvidenceError: two shards hold a tensor of the same name.
    """
    files = [read_file(file, shown, algorithm=algorithm) for file, shown in _files_of(path)]
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


def _files_of(path: pathlib.Path) -> list[tuple[pathlib.Path, str]]:
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.is_file() and not p.is_symlink())
        if not found:
            raise ConfigError(f"cannot record the checkpoint {path}: the directory holds no file")
        return [(p, p.relative_to(path).as_posix()) for p in found]
    if not path.exists():
        raise ConfigError(
            f"cannot record the checkpoint {path}: there is no such file; call checkpoint() after"
            " saving"
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

"""Model files, read once: digests of a file and of its tensors (docs/format.md section 10).

Header and bytes are read through descriptors of their own, so a file that is written to, cut short
or replaced meanwhile could be judged by the header of one and the bytes of another: every read here
compares what the file is before and after.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mlprov import _core
from mlprov.digests import Digest, TensorDigest
from mlprov.errors import ConfigError, EvidenceError
from mlprov.records import Json, json_text
from mlprov.regular_files import identity
from mlprov.saved_files import SavedFile

__all__ = ["FileTensors", "list_shards", "read_file", "read_header", "read_model", "tied_names"]

_PICKLES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})

_OF_FILE = ("blake3", "sha256")  # what a record has of a whole file


@dataclass(frozen=True)
class FileTensors:
    """One read of one file: its digests and, of a safetensors file, those of its tensors.

    Attributes:
        path: how the record shows it.
        len: bytes.
        blake3: of all bytes, hex.
        sha256: the same.
        tensors: sorted by name; None where it is no safetensors file.
    """

    path: str
    len: int
    blake3: str
    sha256: str
    tensors: tuple[TensorDigest, ...] | None

    @classmethod
    def of_saved(cls, saved: SavedFile) -> FileTensors:
        """What mlprov itself wrote, by the digests that were taken then."""
        of_file = (saved.blake3.hex(), saved.sha256.hex())
        return cls(saved.path.name, saved.len, *of_file, saved.tensors)

    def as_record(self) -> Json:
        """The file as a ``checkpoint`` record lists it."""
        return {
            "blake3": self.blake3,
            "len": self.len,
            "path": json_text(self.path),
            "sha256": self.sha256,
        }


class _Entry(NamedTuple):
    """A tensor as a safetensors header lists it: ``begin`` and ``end`` from the file's start."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def _changed(path: pathlib.Path) -> EvidenceError:
    error = EvidenceError(f"cannot read {path}: it changed while it was read", "read it again")
    error.status = "CHANGED"
    error.retryable = True
    return error


@contextlib.contextmanager
def _unchanged(path: pathlib.Path) -> Iterator[None]:
    """Read a file in the ``with`` block. EvidenceError (CHANGED): it is another one afterwards."""
    before = identity(path.stat())
    try:
        yield
    except IndexError as error:  # a tensor ends behind the end of what is there now
        raise _changed(path) from error
    except EvidenceError as error:
        if identity(path.stat()) != before:
            raise _changed(path) from error
        raise
    if identity(path.stat()) != before:
        raise _changed(path)


def _read_ranges(
    path: pathlib.Path,
    entries: Sequence[_Entry],
    expected: int | None,
    algorithm: str,
    whole: Sequence[str] = (),
    threads: int | None = None,
) -> tuple[tuple[TensorDigest, ...], dict[str, str], int]:
    """Tensors by an algorithm, the whole file by others (hex), its length: one read."""
    ranges = sorted({(entry.begin, entry.end) for entry in entries})
    digests, of_whole, length = _core.hash_file_ranges(
        os.fsencode(path), ranges, algorithm, whole, threads=threads
    )
    if expected not in (None, length):
        raise _changed(path)
    of_range = dict(zip(ranges, digests, strict=True))
    tensors = tuple(
        TensorDigest(
            entry.name,
            entry.dtype,
            entry.shape,
            entry.end - entry.begin,
            Digest(algorithm, of_range[entry.begin, entry.end]),
        )
        for entry in entries
    )
    of_file = {name: value.hex() for name, value in zip(whole, of_whole, strict=True)}
    return tensors, of_file, length


def read_header(path: pathlib.Path) -> tuple[list[_Entry], dict[str, str], int]:
    """What a safetensors file says that it holds: tensors, ``__metadata__``, the file's length.

    Raises:
        EvidenceError: it is no safetensors file, or changed (status ``CHANGED``).
        ConfigError: it is no regular file.
        OSError: it is not there or cannot be read.
    """
    entries, metadata, length = _core.safetensors_entries(os.fsencode(path))
    return [_Entry(*entry) for entry in entries], metadata, length


def read_file(path: pathlib.Path, shown: str, *, algorithm: str = "blake3") -> FileTensors:
    """Hash a file once: BLAKE3 and SHA-256 of it all and, of safetensors, each tensor.

    Its content decides whether it is safetensors, not its name. Links are followed; only regular
    files are opened, so that a FIFO hangs nobody.

    Args:
        path: the file.
        shown: how the record shows it.
        algorithm: of the tensors' digests: the run's.

    Raises:
        EvidenceError: the file changed while it was read (status ``CHANGED``).
        ConfigError: it is no regular file.
        OSError: it is not there or cannot be read.
    """
    with _unchanged(path):
        try:
            entries, _, expected = read_header(path)
        except EvidenceError as error:
            if error.status == "CHANGED":
                raise
            _, of_file, length = _read_ranges(path, [], None, algorithm, _OF_FILE)
            return FileTensors(shown, length, of_file["blake3"], of_file["sha256"], None)
        tensors, of_file, length = _read_ranges(path, entries, expected, algorithm, _OF_FILE)
        return FileTensors(shown, length, of_file["blake3"], of_file["sha256"], tensors)


def read_model(
    path: pathlib.Path, algorithm: str = "blake3", threads: int | None = None
) -> list[TensorDigest]:
    """The tensors of a safetensors file, or of a directory whose ``*.safetensors`` are its shards.

    Raises:
        ConfigError: the directory has none, or the file is a pickle by its name or no regular file.
        EvidenceError: a file is no safetensors file or changed while it was read (status
            ``CHANGED``), or two shards hold a tensor of one name.
        OSError: a file is not there or cannot be read.
    """
    if not path.is_dir():
        return list(_read_tensors(path, algorithm, threads))
    origins: dict[str, pathlib.Path] = {}
    tensors = []
    for shard in list_shards(path):
        for tensor in _read_tensors(shard, algorithm, threads):
            if tensor.name in origins:
                raise EvidenceError(
                    f"cannot read the model {path}: {origins[tensor.name].name} and {shard.name}"
                    f" both hold a tensor named {tensor.name!r}",
                    "pass one file, or remove the other",
                )
            origins[tensor.name] = shard
            tensors.append(tensor)
    return tensors


def list_shards(path: pathlib.Path) -> list[pathlib.Path]:
    """The ``*.safetensors`` of a directory, which are the shards of one model.

    Raises:
        ConfigError: there is none.
    """
    shards = sorted(one for one in path.glob("*.safetensors") if one.is_file())
    if not shards:
        raise ConfigError(
            f"cannot read the model {path}: the directory holds no *.safetensors",
            "pickles are never loaded: load them yourself and pass the module or its state dict",
        )
    return shards


def _read_tensors(
    path: pathlib.Path, algorithm: str, threads: int | None
) -> tuple[TensorDigest, ...]:
    if path.suffix in _PICKLES:
        raise ConfigError(
            f"cannot read the tensors of {path}: {path.suffix} files are pickles, which are never"
            " loaded",
            "load it yourself and pass the state dict, or digest() its bytes",
        )
    with _unchanged(path):
        entries, _, expected = read_header(path)
        return _read_ranges(path, entries, expected, algorithm, threads=threads)[0]


def tied_names(path: pathlib.Path) -> list[list[str]]:
    """Groups of names that a safetensors file or directory says are one tensor.

    Writers that leave out the other names of a tied tensor may say so in ``__metadata__``: name
    left out → name that is there, as safetensors' ``save_model`` does. That is the writer's word
    alone: no digest covers it.

    Raises:
        EvidenceError, ConfigError, OSError: as :func:`read_header`.
    """
    kept: dict[str, list[str]] = {}
    for file in list_shards(path) if path.is_dir() else [path]:
        entries, metadata, _ = read_header(file)
        kept |= _tied(metadata, {entry.name for entry in entries})
    return [[name, *others] for name, others in kept.items()]


def _tied(metadata: Mapping[str, str], present: set[str]) -> dict[str, list[str]]:
    kept: dict[str, list[str]] = {}
    for name, other in metadata.items():
        if name not in present and other in present:
            kept.setdefault(other, []).append(name)
    return kept

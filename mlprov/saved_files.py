"""Writing tensors as safetensors, and taking every digest of the file in the same pass."""

from __future__ import annotations

import functools
import itertools
import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlprov import _core
from mlprov.composites import split_refused
from mlprov.digests import Digest, TensorDigest, check_options
from mlprov.errors import ConfigError, StoreError
from mlprov.items import class_name
from mlprov.model_digests import model_of
from mlprov.modules import check_name
from mlprov.whole_files import replacing

__all__ = ["SavedFile", "save_file", "write_tensors"]

_ELSEWHERE = "save the tensors yourself and call run.checkpoint(path)"


@dataclass(frozen=True)
class SavedFile:
    """A safetensors file as it was written: its digests are those of the bytes that went into it.

    Attributes:
        path: where it is.
        len: bytes.
        blake3: BLAKE3 of all bytes, as ``b3sum`` prints it.
        sha256: SHA-256 of all bytes, as ``sha256sum`` prints it.
        tensors: the digest of each tensor, sorted by the UTF-8 bytes of the name.

    >>> import tempfile, mlprov
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     saved = mlprov.save_file({"b": memoryview(b"abc")}, folder + "/m.safetensors")
    >>> saved.len, saved.tensors[0].name, saved.tensors[0].digest == mlprov.digest(b"abc")
    (67, 'b', True)
    """

    path: pathlib.Path
    len: int
    blake3: Digest
    sha256: Digest
    tensors: tuple[TensorDigest, ...]

    @functools.cached_property
    def root(self) -> Digest:
        """The model root over the file's tensors, as ``digest_model(path).root`` gives it."""
        return model_of(self.tensors).root


def save_file(
    tensors: Mapping[str, Any],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    *,
    algorithm: str = "blake3",
    threads: int | None = None,
) -> SavedFile:
    """Write tensors as safetensors, and take all digests of the file in the same pass.

    Byte for byte what ``safetensors.torch.save_file`` writes, and more is taken: torch tensors and
    NumPy arrays side by side, with any strides, on any device, views of one memory and tied
    tensors. Every name is in the file, so tensors that share memory are written once for each name
    (:meth:`mlprov.Run.save` writes tied ones once).

    Each tensor's memory is read once, block by block: a block is copied, written and hashed from
    that copy, so that the digests are those of the bytes in the file even where somebody writes to
    a tensor meanwhile. No tensor is copied whole. The file appears whole or not at all: it is
    written beside ``path``, fsynced and renamed.

    Args:
        tensors: name → tensor or array; what a module's ``state_dict()`` gives.
        path: the file, replaced if it is there.
        metadata: text for the file's ``__metadata__``; ``{"format": "pt"}`` is what Transformers
            asks for. No digest of a tensor covers it.
        algorithm: of the tensors' digests.
        threads: how many threads may hash and write at once, 1 to 1024; None for what
            :func:`mlprov.set_threads` says.

    Raises:
        ConfigError: a value that is no tensor, a tensor that safetensors has no place for (a type
            that it lacks, sparse, quantised), a name that is not valid Unicode.
        UnsupportedTensorError: a tensor without values (meta, fake), by name.
        StoreError: the file cannot be written.
        TypeError: ``metadata`` that is not text.

    >>> import pathlib, tempfile, numpy, mlprov
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name, "model.safetensors")
    >>> saved = mlprov.save_file({"w": numpy.arange(6.0).reshape(2, 3).T}, path)
    >>> saved.sha256 == mlprov.digest(path, algorithm="sha256")
    True
    >>> saved.root == mlprov.digest_model(path).root
    True
    """
    check_options(algorithm, threads)
    given: Any = tensors
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"cannot save as safetensors: expected a dict of tensors, seen {class_name(given)}",
            "pass the state_dict() of a module",
        )
    where = pathlib.Path(os.fspath(path))
    pairs = None if metadata is None else _read_metadata(metadata)
    return write_tensors(tensors, where, pairs, algorithm=algorithm, threads=threads)


def write_tensors(
    tensors: Mapping[str, Any],
    path: pathlib.Path,
    metadata: Sequence[tuple[str, str]] | None,
    *,
    algorithm: str = "blake3",
    threads: int | None = None,
    what: str = "",
) -> SavedFile:
    """:func:`save_file` of checked arguments; ``what`` stands before the path in errors."""
    names = [check_name(name) for name in tensors]
    values = _plain(names, list(tensors.values()))
    shown = f"{what}{path}"
    try:
        with replacing(path) as temporary, temporary.open("rb+") as file:
            rows, blake3, sha256, length = _core.save_safetensors(
                file.fileno(), shown, names, values, algorithm, metadata=metadata, threads=threads
            )
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(
            f"cannot write {shown}: {reason}", "save it elsewhere, or make room there"
        ) from error
    except ConfigError as error:
        raise ConfigError(f"cannot save as safetensors: {error}", _ELSEWHERE) from error
    digests = (
        TensorDigest(name, dtype, shape, end - begin, Digest(algorithm, value))
        for name, dtype, shape, begin, end, value in rows
    )
    ordered = tuple(sorted(digests, key=lambda tensor: tensor.name.encode()))
    return SavedFile(path, length, Digest("blake3", blake3), Digest("sha256", sha256), ordered)


def _plain(names: Sequence[str], values: Sequence[Any]) -> list[object]:
    """The tensors as the core takes them.

    Raises:
        ConfigError: one that is a group of parts, or no tensor at all.
        UnsupportedTensorError: one without values, by name.
    """
    try:
        whole, splits = split_refused(values, lambda place: f"tensor {names[place]!r}")
    except TypeError as error:
        foreign = _first_foreign(names, values)
        raise ConfigError(
            f"cannot save as safetensors: {foreign}, expected tensors or arrays", _ELSEWHERE
        ) from error
    for place, split in splits.items():
        raise ConfigError(
            f"cannot save as safetensors: tensor {names[place]!r} is of layout {split[0]}, which"
            f" safetensors does not have",
            _ELSEWHERE,
        )
    return whole


def _first_foreign(names: Sequence[str], values: Sequence[Any]) -> str:
    for name, value in zip(names, values, strict=True):
        try:
            _core.tensors_without_view([value])
        except TypeError:
            return f"{name!r} is {class_name(value)}"
    return "a value is no tensor"


def _read_metadata(metadata: Any) -> list[tuple[str, str]]:
    pairs = list(metadata.items())
    for text in itertools.chain(*pairs):
        if not isinstance(text, str):
            raise TypeError(f"metadata: expected text, not {type(text).__name__}")
    return pairs

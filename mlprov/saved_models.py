"""Writing a model's persistent state dict as one safetensors file."""

from __future__ import annotations

import pathlib
from typing import Any

from mlprov import models
from mlprov.digests import is_torch_tensor
from mlprov.errors import ConfigError
from mlprov.model_digests import identify
from mlprov.saved_files import SavedFile, write_tensors

__all__ = ["check_path", "save_model"]


def check_path(path: pathlib.Path) -> None:
    """Whether a model can be saved under this name; nothing is written.

    Raises:
        ConfigError: the name does not end in ``.safetensors``, its directory is missing, or it is
            a directory itself.
    """
    if path.suffix != ".safetensors":
        better = path.with_suffix(".safetensors") if path.name else "NAME.safetensors"
        raise ConfigError(
            f"cannot save the model as {path}: run.save() writes safetensors, and readers go by the"
            f" name",
            f"use {better}, or write another format yourself and call run.checkpoint(path)",
        )
    if not path.parent.is_dir():
        raise ConfigError(
            f"cannot save the model as {path}: there is no directory {path.parent}",
            f"make it first, with pathlib.Path({str(path.parent)!r}).mkdir(parents=True)",
        )
    if path.is_dir():
        raise ConfigError(
            f"cannot save the model as {path}: it is a directory",
            f"name a file in it, such as {path / 'model.safetensors'}",
        )


def save_model(model: Any, path: pathlib.Path, *, algorithm: str = "blake3") -> SavedFile:
    """Write a model's persistent state dict as safetensors, whole or not at all.

    Of tensors that share memory exactly one copy is written, under the first name of the alias
    group, and ``__metadata__`` has the other names with that one, as safetensors' ``save_model``
    writes it; tensors that overlap in part are written whole, each on its own.

    Args:
        model: a torch module, or a state dict of tensors and arrays.
        path: ``NAME.safetensors``.
        algorithm: of the tensors' digests.

    Raises:
        ConfigError: as :func:`check_path`; a tensor that safetensors has no place for.
        UnsupportedTensorError: a tensor without values.
        StoreError: the file cannot be written.
    """
    check_path(path)
    tensors = models.persistent_tensors(model)
    of_torch = all(map(is_torch_tensor, tensors.values()))
    metadata = {"format": "pt"} if of_torch else {}  # what loaders of torch ask for
    written: dict[str, Any] = {}
    first: dict[object, str] = {}
    for name, identity in zip(tensors, identify([*tensors], [*tensors.values()]), strict=True):
        kept = first.setdefault(identity, name)
        if kept == name:
            written[name] = tensors[name]
        else:
            metadata.setdefault(name, kept)
    pairs = list(metadata.items()) or None
    return write_tensors(written, path, pairs, algorithm=algorithm, what="the model ")

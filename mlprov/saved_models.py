"""Writing a model's persistent state dict as one safetensors file."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from mlprov import _core, models
from mlprov.digests import is_numpy_array, is_torch_tensor
from mlprov.errors import ConfigError, StoreError
from mlprov.items import class_name
from mlprov.whole_files import replacing

__all__ = ["check_path", "save_model"]

_Save = Callable[[dict[str, Any], pathlib.Path, dict[str, str]], None]


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


def save_model(model: Any, path: pathlib.Path) -> pathlib.Path:
    """Write a model's persistent state dict as safetensors, whole or not at all.

    Of tensors that share memory exactly one copy is written, under the first name of the alias
    group, and ``__metadata__`` has the other names with that one, as safetensors' ``save_model``
    writes it; tensors that overlap in part are written whole, each on its own.

    Args:
        model: a torch module, or a state dict of torch tensors or of NumPy arrays.
        path: ``NAME.safetensors``.

    Raises:
        ConfigError: as :func:`check_path`; a tensor of another kind; the safetensors package is
            missing.
        StoreError: the file cannot be written.
    """
    check_path(path)
    tensors = models.persistent_tensors(model)
    save = _writer(tensors)
    identities = _core.tensor_identities(list(tensors.values()))
    metadata = {"format": "pt"} if save is _save_tensors else {}  # what loaders of torch ask for
    written: dict[str, Any] = {}
    first: dict[object, str] = {}
    for (name, tensor), identity in sorted(zip(tensors.items(), identities, strict=True)):
        kept = name if identity is None else first.setdefault(identity, name)
        if kept == name:
            written[name] = tensor
        else:
            metadata.setdefault(name, kept)
    try:
        with replacing(path) as temporary:
            save(written, temporary, metadata)
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(
            f"cannot write the model {path}: {reason}", "save it elsewhere, or make room there"
        ) from error
    return path


def _writer(tensors: Mapping[str, Any]) -> _Save:
    """What writes tensors of their kind: all of torch, or all of NumPy."""
    if tensors and all(is_numpy_array(tensor) for tensor in tensors.values()):
        return _save_arrays
    foreign = next((name for name, tensor in tensors.items() if not is_torch_tensor(tensor)), None)
    if foreign is not None:
        raise ConfigError(
            f"cannot save as safetensors: {foreign!r} is {class_name(tensors[foreign])}",
            "expected torch tensors alone or NumPy arrays alone; save them yourself and call"
            " run.checkpoint(path)",
        )
    return _save_tensors


def _missing(error: ImportError) -> ConfigError:
    missing = error.name or "safetensors"
    return ConfigError(
        f"cannot save as safetensors: the package {missing.partition('.')[0]} is missing ({error})",
        f"pip install {missing.partition('.')[0]}",
    )


def _save_arrays(arrays: dict[str, Any], path: pathlib.Path, metadata: dict[str, str]) -> None:
    try:
        import numpy as np
        from safetensors.numpy import save_file
    except ImportError as error:
        raise _missing(error) from error
    # Not ascontiguousarray, which gives an array of no dimensions one.
    dense = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    _write(lambda: save_file(dense, path, metadata=metadata))


def _save_tensors(tensors: dict[str, Any], path: pathlib.Path, metadata: dict[str, str]) -> None:
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise _missing(error) from error
    dense = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    pointers: set[int] = set()
    for name, tensor in dense.items():
        pointer = tensor.untyped_storage().data_ptr()
        if pointer in pointers:
            dense[name] = tensor.clone()
        pointers.add(pointer)
    _write(lambda: save_file(dense, path, metadata=metadata))


def _write(save: Callable[[], None]) -> None:
    """Tell a file that cannot be written (OSError) from a tensor that the format has no place for.

    safetensors has one exception for both, and says "I/O error" in the text of the first.
    """
    from safetensors import SafetensorError

    try:
        save()
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        if "I/O error" in str(error):
            raise OSError(str(error)) from error
        raise ConfigError(
            f"cannot save as safetensors: {error}",
            "save the tensors yourself and call run.checkpoint(path)",
        ) from error

"""The model that a caller has, to be held against what a run recorded."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlprov import models, pytrees
from mlprov.digests import TensorDigest
from mlprov.errors import ConfigError, EvidenceError, StoreError
from mlprov.file_sets import list_model_files
from mlprov.model_digests import ModelDigest
from mlprov.model_files import FileTensors, read_file
from mlprov.modules import is_module
from mlprov.record_values import shown
from mlprov.verdicts import Unchecked

__all__ = ["Subject", "check_model_kind"]


@dataclass(frozen=True)
class Subject:
    """The model that the caller has, read once.

    Attributes:
        shown: what to call it.
        tensors: name → digest; None where the files are not safetensors.
        files: what was read.
        directory: whether the path given is one.
        others: further files of the directory, which are not compared.
    """

    shown: str
    tensors: dict[str, TensorDigest] | None
    files: tuple[FileTensors, ...] = ()
    others: int = 0
    directory: bool = False

    @staticmethod
    def read(model: Any, algorithm: str) -> Subject:
        """Read a file or directory by path, or digest a live module, state dict or ModelDigest.

        Args:
            model: what :func:`check_model_kind` lets pass.
            algorithm: the run's.

        Raises:
            Unchecked: it cannot be read or hashed, or changes while it is.
        """
        if isinstance(model, (str, os.PathLike)):
            return _read_path(pathlib.Path(model), algorithm)
        if not isinstance(model, ModelDigest):
            model = models.digest_model(pytrees.named_state(model), algorithm=algorithm)
        other = {tensor.digest.algorithm for tensor in model.tensors} - {algorithm}
        if other:
            raise Unchecked(
                f"the model given was digested by {other.pop()}, the run by {algorithm}"
            )
        return Subject("the live model", {tensor.name: tensor for tensor in model.tensors})


def check_model_kind(model: Any) -> None:
    """Whether a model that a caller gave is of a kind that can be compared at all.

    Raises:
        TypeError: it is not.
    """
    if isinstance(model, (str, os.PathLike, Mapping, ModelDigest)) or is_module(model):
        return
    raise TypeError(
        "model: expected the path of a file or directory, a torch module, a state dict or a "
        f"ModelDigest, not {type(model).__name__}"
    )


def _read_path(path: pathlib.Path, algorithm: str) -> Subject:
    try:
        directory = path.is_dir()
        listed = list_model_files(path) if directory else [(path, path.name)]
        shards = [
            file
            for file in listed
            if not directory or ("/" not in file[1] and file[1].endswith(".safetensors"))
        ]
        files = tuple(_read_file(where, shown, algorithm) for where, shown in shards)
        if files and all(file.tensors is not None for file in files):
            return Subject(str(path), _union(files), files, len(listed) - len(files), directory)
        files = tuple(_read_file(where, shown) for where, shown in listed)
        return Subject(str(path), None, files, directory=directory)
    except (ConfigError, StoreError, OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, OSError):
            reason = f"{os.fsdecode(error.filename or path)}: {error.strerror}"
            raise Unchecked(f"{path} cannot be read: {reason}") from error
        raise Unchecked(f"{path} cannot be read: {error}") from error


def _read_file(path: pathlib.Path, shown: str, algorithm: str = "blake3") -> FileTensors:
    try:
        return read_file(path, shown, algorithm=algorithm)
    except EvidenceError as error:
        if error.status == "CHANGED":
            raise Unchecked(f"{path} changed while it was read") from error
        raise


def _union(files: Sequence[FileTensors]) -> dict[str, TensorDigest]:
    tensors: dict[str, TensorDigest] = {}
    for file in files:
        for tensor in file.tensors or ():
            if tensor.name in tensors:
                raise EvidenceError(f"two shards hold a tensor named {shown(tensor.name)}")
            tensors[tensor.name] = tensor
    return tensors

"""Digests of models: modules, state dicts, safetensors files (docs/format.md sections 4 and 5).

A model's root is a tree over one leaf for each tensor of its persistent state dict, sorted by the
UTF-8 bytes of the name.
"""

from __future__ import annotations

import errno
import math
import os
import pathlib
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlprov import _core, architectures, modules
from mlprov.digests import TensorDigest, check_options, is_torch_tensor
from mlprov.errors import ConfigError
from mlprov.items import Items, class_name, encode_text
from mlprov.model_digests import ModelDigest, NamedTensors, digest_named, model_of
from mlprov.model_files import read_model
from mlprov.modules import check_name, is_module
from mlprov.optimizers import read_optimizer
from mlprov.wording import brief

__all__ = [
    "Leaves",
    "capture_architecture",
    "capture_buffers",
    "capture_optimizer",
    "class_of_model",
    "count_parameters",
    "digest_model",
    "model_expected",
    "named_tensors",
    "persistent_tensors",
    "state_tensors",
]


# What a text that is no path meets, or the path of nothing.
_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}
_LONG_PATH = 200  # characters of a path in a message
_EXPECTED = "a torch.nn.Module, a state dict, or the path of a safetensors file or directory"


def _utf8(name: str) -> bytes:
    return name.encode("utf-8")


@dataclass(frozen=True, slots=True)
class Leaves:
    """A tree and its leaves.

    Attributes:
        leaves: the exact bytes of each, in order.
        root: 32 bytes.
        size: how many.
    """

    leaves: list[bytes]
    root: bytes
    size: int

    @classmethod
    def of(cls, leaves: list[bytes]) -> Leaves:
        """The tree over these leaves."""
        return cls(leaves, _core.merkle_root(leaves), len(leaves))


def digest_model(
    obj: object, *, algorithm: str = "blake3", threads: int | None = None
) -> ModelDigest:
    """The digest of a model, tensor by tensor, in place.

    Wrappers (DDP, FSDP, DataParallel, ``torch.compile``, checkpoint wrappers) leave no trace in the
    names; tied tensors are hashed once and have a leaf under each name. Equal names and values give
    equal roots; a file may honestly differ from the live model (tied tensors are often left out),
    so compare leaf by leaf where roots differ.

    Args:
        obj: a ``torch.nn.Module``; a state dict (name → tensor or array); or the path of a
            safetensors file, or of a directory whose ``*.safetensors`` are the shards of one model.
            Pickles are never read.
        algorithm: digest of each tensor.
        threads: how many threads may hash at once, 1 to 1024; None for what
            :func:`mlprov.set_threads` says. The tensors of a file are hashed one after another.

    Raises:
        UnsupportedTensorError: a tensor without values (meta, fake), by name.
        ConfigError: something else than a model; two tensors of one name; a name that is not valid
            Unicode; a path at which there is no file, or none of safetensors.
        OSError: the file cannot be read, as ``open`` raises it (``PermissionError`` …).
        EvidenceError: the file is no safetensors file, or changed while it was read.

    >>> str(digest_model({}).root)
    'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    """
    check_options(algorithm, threads)
    if isinstance(obj, (str, os.PathLike)):
        return model_of(_read_file(pathlib.Path(os.fspath(obj)), algorithm, threads))
    names, tensors = named_tensors(obj)
    return digest_named(names, tensors, algorithm, threads)


def _read_file(path: pathlib.Path, algorithm: str, threads: int | None) -> list[TensorDigest]:
    try:
        return read_model(path, algorithm, threads)
    except (OSError, ValueError) as error:  # ValueError: a NUL or a lone surrogate in the name
        if isinstance(error, OSError) and error.errno not in _NO_FILE:
            raise
        reason = error.strerror if isinstance(error, OSError) else "it is no name of a file"
        raise ConfigError(
            f"cannot read the model {brief(repr(str(path)), _LONG_PATH)}: {reason}",
            "name a safetensors file or directory, or pass the module or its state dict",
        ) from error


def model_expected(seen: object, expected: str = _EXPECTED) -> ConfigError:
    """The error for what is no model."""
    return ConfigError(f"cannot read the model: expected {expected}, seen {class_name(seen)}")


def named_tensors(model: object) -> tuple[list[str], list[Any]]:
    """The persistent state dict of a model, names and tensors, in no particular order.

    Args:
        model: a ``torch.nn.Module``, or a state dict, whose names are taken as they are; whether a
            leaf can carry them is for the core to say.

    Raises:
        ConfigError: as :func:`digest_model`.
    """
    if is_module(model):
        tensors = modules.read_state(model).tensors
    elif not isinstance(model, Mapping):
        raise model_expected(model)
    elif _is_plain(model):
        return list(model), list(model.values())
    else:
        tensors = dict(_mapping_tensors(model))
    return list(tensors), list(tensors.values())


def _is_plain(state: Mapping[Any, Any]) -> bool:
    """Whether text names tensors and nothing else, told by their types, which are few."""
    return (
        type(state) in (dict, OrderedDict)
        and {str}.issuperset(map(type, state))
        and all(map(_is_tensor_type, set(map(type, state.values()))))
    )


def _is_tensor_type(kind: type) -> bool:
    return issubclass(kind, memoryview) or hasattr(kind, "dtype")


def persistent_tensors(model: object) -> dict[str, Any]:
    """The persistent state dict of a model, without the wrappers' parts, sorted by UTF-8 bytes.

    Args:
        model: a ``torch.nn.Module``, or a state dict, whose names are taken as they are.

    Raises:
        ConfigError: as :func:`digest_model`.
    """
    named = zip(*named_tensors(model), strict=True)
    return dict(sorted(named, key=lambda item: _utf8(check_name(item[0]))))


def _mapping_tensors(state: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in state.items():
        name = check_name(key)
        if is_torch_tensor(value) or hasattr(value, "dtype") or isinstance(value, memoryview):
            yield name, value
        elif name.rpartition(".")[2] == "_extra_state":  # torch's own name for what is no tensor
            for place, part in modules.flatten(name, value):
                if is_torch_tensor(part):
                    yield check_name(place), part
        else:
            raise ConfigError(
                f"cannot read the state dict: {name!r} is {class_name(value)}, no tensor",
                "pass the part that holds the weights, such as checkpoint['model'], or the module",
            )


def class_of_model(model: object) -> str:
    """``module.Class`` of a model, of what is inside its wrappers.

    >>> class_of_model({})
    'builtins.dict'
    """
    if not is_module(model):
        return class_name(model)
    return architectures.class_of(architectures.unwrap(model))


def count_parameters(model: object) -> int:
    """How many numbers the parameters hold, tied ones once; of a state dict, the tensors."""
    if is_module(model):
        found = {
            id(parameter): parameter
            for node in modules.walk(model)
            for parameter in node.module._parameters.values()
            if parameter is not None
        }
        return sum(parameter.numel() for parameter in found.values())
    return sum(math.prod(tensor.shape) for tensor in persistent_tensors(model).values())


def capture_architecture(model: object) -> Leaves | None:
    """A leaf for each module: name, class, settings as it prints them. None of no module."""
    if not is_module(model):
        return None
    return Leaves.of(architectures.architecture_leaves(model))


def capture_buffers(model: object, *, algorithm: str = "blake3") -> Leaves | None:
    """What a model holds beside its persistent tensors; None where there is nothing.

    Non-persistent buffers as tensor leaves, and as value leaves what its modules save that is no
    tensor (``get_extra_state``).
    """
    if not is_module(model):
        return None
    state = modules.read_state(model)
    held = [*state.buffers.items(), *state.values.items()]
    return _state_leaves(held, algorithm) if held else None


def capture_optimizer(
    optimizer: object, model: object = None, *, algorithm: str = "blake3"
) -> Leaves | None:
    """The state and settings of an optimizer, named as in docs/format.md section 4; None of None.

    Args:
        optimizer: a torch optimizer, or its ``state_dict()``.
        model: the module whose parameters it updates, for their names.
        algorithm: digest of each tensor.

    Raises:
        ConfigError: it is no optimizer.

    >>> leaves = capture_optimizer({"state": {}, "param_groups": [{"params": [0], "lr": 0.1}]})
    >>> [leaf.decode() for leaf in leaves.leaves]
    ['{"name":"param_groups.0.lr","value":0.1}', '{"name":"param_groups.0.params","value":["0/0"]}']
    """
    if optimizer is None:
        return None
    return _state_leaves(read_optimizer(optimizer, model), algorithm)


def _state_leaves(held: Iterable[tuple[str, Any]], algorithm: str) -> Leaves:
    state = state_tensors(held, algorithm).digest(algorithm)
    return Leaves(list(state.leaves), bytes(state.root), state.size)


def state_tensors(held: Iterable[tuple[str, Any]], algorithm: str) -> NamedTensors:
    """Named tensors and values, such as an optimizer's: values are read now, for their leaves.

    Args:
        held: (name, tensor or value).
        algorithm: digest of tensors within values.

    Raises:
        ConfigError: a name or value that no leaf can carry.
    """
    names: list[str] = []
    tensors: list[Any] = []
    values: list[tuple[str, bytes]] = []
    tensor = getattr(sys.modules.get("torch"), "Tensor", ())
    for name, value in held:
        if isinstance(value, tensor):
            names.append(name)
            tensors.append(value)
        else:
            items = Items(value)
            items.hash(algorithm)
            text = f'{{"name":{encode_text(check_name(name, "state"))},"value":{items.text()}}}'
            values.append((name, text.encode()))
    return NamedTensors(names, tensors, values)

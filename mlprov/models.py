"""Digests of models: modules, state dicts, safetensors files (docs/format.md sections 4 and 5).

A model's root is a tree over one leaf for each tensor of its persistent state dict, sorted by the
UTF-8 bytes of the name.
"""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mlprov import _core, modules
from mlprov.digests import (
    Composite,
    Digest,
    Row,
    TensorDigest,
    check_options,
    hash_tensors,
    is_torch_tensor,
    split_tensor,
)
from mlprov.errors import ConfigError, UnsupportedTensorError
from mlprov.items import Items, encode_text
from mlprov.items import class_name as _class_name
from mlprov.model_files import read_model
from mlprov.modules import check_name, is_module
from mlprov.optimizers import read_optimizer
from mlprov.trees import InclusionProof, MerkleTree
from mlprov.wording import brief

__all__ = [
    "Leaves",
    "ModelDigest",
    "Prepared",
    "capture_architecture",
    "capture_buffers",
    "capture_optimizer",
    "class_name",
    "count_parameters",
    "digest_model",
    "persistent_tensors",
    "prepare_model",
    "prepare_optimizer",
]

T = TypeVar("T")


_LONG_PATH = 200  # characters of a path in a message


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


@dataclass(frozen=True, slots=True)
class Prepared(Generic[T]):
    """Tensors that are about to be hashed, and what is made of it.

    Attributes:
        tensors: what is to be hashed.
        describe: the words for tensor ``index`` in an error.
        finish: makes the result of one row for each tensor.
    """

    tensors: list[Any]
    describe: Callable[[int], str]
    finish: Callable[[Sequence[Row | Composite]], T]


@dataclass(frozen=True, slots=True)
class ModelDigest:
    """The digest of a model, tensor by tensor.

    Attributes:
        root: root of the tree over :attr:`leaves`, ``sha256:…``.
        size: number of leaves.
        tensors: one for each name, sorted by the UTF-8 bytes of the name.
        aliases: groups of names that are one and the same tensor (storage, offset, shape, strides
            and dtype): hashed once, with a leaf under each name. Known of live models only.
        leaves: the tensor leaves, in the same order as ``tensors``.

    >>> model = digest_model({"b": memoryview(b"xyz"), "a": memoryview(b"abc")})
    >>> [tensor.name for tensor in model.tensors], model.size
    (['a', 'b'], 2)
    >>> model.prove("a").verify(root=model.root)
    True
    """

    root: Digest
    size: int
    tensors: tuple[TensorDigest, ...]
    aliases: tuple[tuple[str, ...], ...]
    leaves: tuple[bytes, ...]

    def __str__(self) -> str:
        return str(self.root)

    def __repr__(self) -> str:
        return f"<mlprov.ModelDigest of {self.size} tensors, {self.root}>"

    def index(self, name: str) -> int:
        """The position of a tensor's leaf.

        Raises:
            KeyError: the model has no tensor of this name.
        """
        low, high = 0, self.size
        wanted = name.encode("utf-8", "surrogatepass")
        while low < high:
            middle = (low + high) // 2
            if _utf8(self.tensors[middle].name) < wanted:
                low = middle + 1
            else:
                high = middle
        if low == self.size or self.tensors[low].name != name:
            raise KeyError(name)
        return low

    def leaf(self, name: str) -> bytes:
        """The leaf of a tensor. KeyError: the model has no tensor of this name."""
        return self.leaves[self.index(name)]

    def prove(self, name: str) -> InclusionProof:
        """Prove that a tensor is in the model; the proof carries its leaf.

        Raises:
            KeyError: the model has no tensor of this name.
        """
        index = self.index(name)
        proof = MerkleTree(self.leaves).prove_inclusion(index)
        return InclusionProof(proof.index, proof.size, proof.path, self.leaves[index])


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
            :func:`mlprov.set_threads` says. A file is hashed by the thread that reads it.

    Raises:
        UnsupportedTensorError: a tensor without values (meta, fake), by name.
        ConfigError: something else than a model; two tensors of one name; a name that is not valid
            Unicode; a path at which there is no file.
        EvidenceError: the file is no safetensors file, or changed while it was read.

    >>> str(digest_model({}).root)
    'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    """
    check_options(algorithm, threads)
    if isinstance(obj, (str, os.PathLike)):
        return _model_of(_read_file(pathlib.Path(os.fspath(obj)), algorithm), ())
    prepared = prepare_model(obj, algorithm)
    rows = hash_tensors(prepared.tensors, algorithm, prepared.describe, threads)
    return prepared.finish(rows)


def prepare_model(obj: object, algorithm: str) -> Prepared[ModelDigest]:
    """What :func:`digest_model` hashes of a module or a state dict: of tied tensors one.

    Raises:
        UnsupportedTensorError, ConfigError: as :func:`digest_model`.
    """
    tensors = persistent_tensors(obj)
    names = list(tensors)
    values = list(tensors.values())
    identities = _identities(names, values)
    first: dict[object, int] = {}
    groups: dict[object, list[str]] = {}
    for place, (name, identity) in enumerate(zip(names, identities, strict=True)):
        first.setdefault(identity, place)
        groups.setdefault(identity, []).append(name)
    unique = list(first.values())

    def finish(rows: Sequence[Row | Composite]) -> ModelDigest:
        by_identity = dict(zip(first, rows, strict=True))
        digests = [
            TensorDigest.from_row(name, by_identity[identity], algorithm)
            for name, identity in zip(names, identities, strict=True)
        ]
        aliases = tuple(
            sorted((tuple(group) for group in groups.values() if len(group) > 1), key=_first)
        )
        return _model_of(digests, aliases)

    return Prepared(
        [values[place] for place in unique],
        lambda index: f"tensor {names[unique[index]]!r}",
        finish,
    )


def _read_file(path: pathlib.Path, algorithm: str) -> list[TensorDigest]:
    try:
        return read_model(path, algorithm)
    except (OSError, ValueError) as error:  # ValueError: a NUL or a lone surrogate in the name
        reason = error.strerror if isinstance(error, OSError) else "it is no name of a file"
        raise ConfigError(
            f"cannot read the model {brief(repr(str(path)), _LONG_PATH)}: {reason}; name a "
            "safetensors file or directory, or pass the module or its state dict"
        ) from error


def _first(group: Sequence[str]) -> bytes:
    return _utf8(group[0])


def _model_of(tensors: Iterable[TensorDigest], aliases: tuple[tuple[str, ...], ...]) -> ModelDigest:
    ordered = tuple(sorted(tensors, key=lambda tensor: _utf8(tensor.name)))
    leaves = tuple(tensor.leaf() for tensor in ordered)
    root = Digest("sha256", _core.merkle_root(leaves))
    return ModelDigest(root, len(leaves), ordered, aliases, leaves)


def _identities(names: Sequence[str], tensors: Sequence[Any]) -> list[object]:
    """What tells tensors apart: equal for the names of one alias group, and for no others."""
    describe = lambda index: f"tensor {names[index]!r}"  # noqa: E731
    try:
        found: list[Any] = list(_core.tensor_identities(tensors))
    except UnsupportedTensorError:
        # Composites have no one place in memory: each object is its own group.
        splits = [split_tensor(tensor, index, describe) for index, tensor in enumerate(tensors)]
        plain = [index for index, split in enumerate(splits) if split is None]
        found = [("object", id(tensor)) for tensor in tensors]
        try:
            places = _core.tensor_identities([tensors[index] for index in plain])
        except UnsupportedTensorError:
            hash_tensors(tensors, "blake3", describe)  # says it by name
            raise
        for index, place in zip(plain, places, strict=True):
            found[index] = place
    # Empty tensors lie nowhere, so no two of them are one.
    return [("empty", index) if place is None else place for index, place in enumerate(found)]


def persistent_tensors(model: object) -> dict[str, Any]:
    """The persistent state dict of a model, without the wrappers' parts, sorted by UTF-8 bytes.

    Args:
        model: a ``torch.nn.Module``, or a state dict, whose names are taken as they are.

    Raises:
        ConfigError: as :func:`digest_model`.
    """
    if is_module(model):
        tensors = modules.read_state(model).tensors
    elif isinstance(model, Mapping):
        tensors = dict(_mapping_tensors(model))
    else:
        raise ConfigError(
            "cannot read the model: expected a torch.nn.Module, a state dict, or the path of a"
            f" safetensors file or directory, seen {_class_name(model)}"
        )
    return dict(sorted(tensors.items(), key=lambda item: _utf8(item[0])))


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
                f"cannot read the state dict: {name!r} is {_class_name(value)}, no tensor; pass"
                " the part that holds the weights, such as checkpoint['model'], or the module"
            )


def class_name(model: object) -> str:
    """``module.Class`` of a model, of what is inside its wrappers.

    >>> class_name({})
    'builtins.dict'
    """
    if not is_module(model):
        return _class_name(model)
    return modules.class_of(modules.unwrap(model))


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
    return Leaves.of(modules.architecture_leaves(model))


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
    prepared = prepare_optimizer(optimizer, model, algorithm)
    return prepared.finish(hash_tensors(prepared.tensors, algorithm, prepared.describe))


def prepare_optimizer(optimizer: object, model: object, algorithm: str) -> Prepared[Leaves]:
    """What :func:`capture_optimizer` hashes. Values that are no tensors are read now.

    Raises:
        ConfigError: as :func:`capture_optimizer`.
    """
    return _prepare_state(read_optimizer(optimizer, model), algorithm)


def _state_leaves(held: Iterable[tuple[str, Any]], algorithm: str) -> Leaves:
    """Tensor leaves and value leaves, sorted by name; all tensors are hashed in one call."""
    prepared = _prepare_state(held, algorithm)
    return prepared.finish(hash_tensors(prepared.tensors, algorithm, prepared.describe))


def _prepare_state(held: Iterable[tuple[str, Any]], algorithm: str) -> Prepared[Leaves]:
    names: list[str] = []
    tensors: list[Any] = []
    leaves: dict[str, bytes] = {}
    for name, value in held:
        check_name(name, "state")
        if name in leaves:
            raise ConfigError(f"cannot record the state: two entries are named {name!r}")
        leaves[name] = b""
        if is_torch_tensor(value):
            names.append(name)
            tensors.append(value)
        else:
            items = Items(value)
            items.hash(algorithm)
            text = f'{{"name":{encode_text(name)},"value":{items.text()}}}'
            leaves[name] = text.encode()

    def finish(rows: Sequence[Row | Composite]) -> Leaves:
        for name, row in zip(names, rows, strict=True):
            leaves[name] = TensorDigest.from_row(name, row, algorithm).leaf()
        return Leaves.of([leaves[name] for name in sorted(leaves, key=_utf8)])

    return Prepared(tensors, lambda index: f"tensor {names[index]!r}", finish)

"""Digests of named tensors: aliases, leaves and their tree (docs/format.md sections 4 and 5)."""

from __future__ import annotations

import bisect
import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import filterfalse
from typing import Any, TypeAlias

from mlprov import _core
from mlprov.composites import Describe, hash_composites, naming, split_refused
from mlprov.digests import Digest, TensorDigest
from mlprov.errors import UnsupportedTensorError
from mlprov.modules import check_name
from mlprov.records import canonical
from mlprov.trees import InclusionProof, MerkleTree

__all__ = ["ModelDigest", "NamedTensors", "digest_named", "identify", "model_of", "model_of_leaves"]


def _utf8(name: str) -> bytes:
    return name.encode("utf-8")


@dataclass(frozen=True)
class ModelDigest:
    """The digest of a model, tensor by tensor.

    Attributes:
        root: root of the tree over :attr:`leaves`, ``sha256:…``.
        size: number of leaves.
        aliases: groups of names that are one and the same tensor (storage, offset, shape, strides
            and dtype): hashed once, with a leaf under each name. Known of live models only.
        leaves: the tensor leaves, sorted by the UTF-8 bytes of the name; of an optimizer's plan
            also its value leaves.

    >>> import mlprov
    >>> model = mlprov.digest_model({"b": memoryview(b"xyz"), "a": memoryview(b"abc")})
    >>> [tensor.name for tensor in model.tensors], model.size
    (['a', 'b'], 2)
    >>> model.prove("a").verify(root=model.root)
    True
    """

    root: Digest
    size: int
    aliases: tuple[tuple[str, ...], ...]
    leaves: tuple[bytes, ...]

    @functools.cached_property
    def tensors(self) -> tuple[TensorDigest, ...]:
        """What the leaves say of tensors, in the same order; made when first asked for."""
        return tuple(map(TensorDigest.from_leaf, filterfalse(_is_value_leaf, self.leaves)))

    def __str__(self) -> str:
        return str(self.root)

    def __repr__(self) -> str:
        return f"<mlprov.ModelDigest of {self.size} tensors, {self.root}>"

    def index(self, name: str) -> int:
        """The position of a tensor's leaf.

        Raises:
            KeyError: the model has no tensor of this name.
        """
        wanted = name.encode("utf-8", "surrogatepass")
        place = bisect.bisect_left(self.leaves, wanted, key=_name_in)
        if place == self.size or _name_in(self.leaves[place]) != wanted:
            raise KeyError(name)
        return place

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


@dataclass(frozen=True, slots=True)
class NamedTensors:
    """Tensors that are about to be hashed, and what else is in their tree.

    Attributes:
        names: of the tensors, in any order.
        tensors: torch tensors of any layout, arrays, buffers.
        ready: (name, leaf) of what is in the tree beside them.
        tied: alias groups among the ready ones.
    """

    names: Sequence[str]
    tensors: Sequence[Any]
    ready: Sequence[tuple[str, bytes]] = ()
    tied: Sequence[tuple[str, ...]] = ()

    def digest(self, algorithm: str, threads: int | None = None) -> ModelDigest:
        """Hash them; raises as :func:`digest_named`."""
        model = digest_named(self.names, self.tensors, algorithm, threads, self.ready)
        if not self.tied:
            return model
        return replace(model, aliases=tuple(sorted([*model.aliases, *self.tied], key=_first)))

    def describe(self, place: int) -> str:
        """The words for a tensor in an error."""
        return f"tensor {self.names[place]!r}"


def _is_value_leaf(leaf: bytes) -> bool:
    """Of the members of any leaf, ``name`` is the first in order only where there is no tensor."""
    return leaf.startswith(b'{"name":')


def _name_in(leaf: bytes) -> bytes:
    name: str = json.loads(leaf)["name"]
    return _utf8(name)


def model_of(tensors: Iterable[TensorDigest]) -> ModelDigest:
    """The digest of a model whose tensors have theirs, in any order."""
    ordered = tuple(sorted(tensors, key=lambda tensor: _utf8(tensor.name)))
    leaves = tuple(tensor.leaf() for tensor in ordered)
    model = ModelDigest(Digest("sha256", _core.merkle_root(leaves)), len(leaves), (), leaves)
    vars(model)["tensors"] = ordered  # where cached_property keeps it
    return model


def model_of_leaves(
    leaves: Sequence[tuple[str, bytes]], aliases: Sequence[tuple[str, ...]] = ()
) -> ModelDigest:
    """The digest of a model whose leaves are ready: (name, leaf) in any order.

    Raises:
        ConfigError: two leaves of one name, or a name that no leaf can carry.
    """
    root, ordered, _ = _core.tensor_tree((), (), ready=leaves)
    ordered_aliases = tuple(sorted(aliases, key=_first))
    return ModelDigest(Digest("sha256", root), len(ordered), ordered_aliases, ordered)


def identify(names: Sequence[str], tensors: Sequence[object]) -> list[object]:
    """What tells tensors apart: equal for the names of one alias group, and for no others.

    Raises:
        UnsupportedTensorError, ConfigError, TypeError: as :func:`digest_named`.
    """
    try:
        found: list[object] = list(_core.tensor_identities(tensors))
    except UnsupportedTensorError:
        describe = _describe_by(names)
        whole, splits = split_refused(tensors, describe)
        found = [("object", id(tensor)) for tensor in tensors]  # composites have no one place
        plain = [place for place in range(len(names)) if place not in splits]
        with naming(plain, describe):
            places = _core.tensor_identities([whole[place] for place in plain])
        for place, identity in zip(plain, places, strict=True):
            found[place] = identity
    except TypeError:
        _find_fault(names, tensors)
        raise
    # Empty tensors lie nowhere, so no two of them are one.
    return [("empty", place) if one is None else one for place, one in enumerate(found)]


def digest_named(
    names: Sequence[str],
    tensors: Sequence[object],
    algorithm: str,
    threads: int | None = None,
    ready: Sequence[tuple[str, bytes]] = (),
) -> ModelDigest:
    """The digest of named tensors, in any order: one call of the core, one more for composites.

    Args:
        names: of the tensors.
        tensors: torch tensors of any layout, arrays, buffers.
        algorithm: digest of each tensor.
        threads: how many hash at once.
        ready: (name, leaf) of what else is in the tree.

    Raises:
        UnsupportedTensorError, ConfigError, TypeError: as :func:`mlprov.digest_model`.
    """
    try:
        tree = _core.tensor_tree(names, tensors, algorithm, threads=threads, ready=ready)
    except UnsupportedTensorError:
        tree = _tree_with_parts(names, tensors, algorithm, threads, ready)
    except (TypeError, ValueError):
        _find_fault(names, tensors)
        raise
    root, leaves, aliases = tree
    return ModelDigest(Digest("sha256", root), len(leaves), aliases, leaves)


_Tree: TypeAlias = tuple[bytes, tuple[bytes, ...], tuple[tuple[str, ...], ...]]


def _tree_with_parts(
    names: Sequence[str],
    tensors: Sequence[object],
    algorithm: str,
    threads: int | None,
    ready: Sequence[tuple[str, bytes]],
) -> _Tree:
    order = sorted(range(len(names)), key=lambda place: _utf8(names[place]))
    names, tensors = [names[place] for place in order], [tensors[place] for place in order]
    describe = _describe_by(names)
    whole, splits = split_refused(tensors, describe)
    composites = hash_composites(tensors, splits, algorithm, describe, threads)
    groups: dict[int, list[str]] = {}  # composites have no one place in memory: by the object
    leaves = list(ready)
    for place, composite in composites.items():
        name = check_name(names[place])
        leaves.append((name, canonical({**composite.json(), "name": name})))
        groups.setdefault(id(tensors[place]), []).append(name)
    plain = [place for place in range(len(names)) if place not in splits]
    with naming(plain, describe):
        root, all_leaves, aliases = _core.tensor_tree(
            [names[place] for place in plain],
            [whole[place] for place in plain],
            algorithm,
            threads=threads,
            ready=leaves,
        )
    tied = [tuple(group) for group in groups.values() if len(group) > 1]
    return root, all_leaves, tuple(sorted([*aliases, *tied], key=_first))


def _first(group: Sequence[str]) -> bytes:
    return _utf8(group[0])


def _describe_by(names: Sequence[str]) -> Describe:
    return lambda index: f"tensor {names[index]!r}"


def _find_fault(names: Sequence[str], tensors: Sequence[object]) -> None:
    """Say by name what the core refused without one."""
    for name, tensor in zip(names, tensors, strict=True):
        check_name(name)
        try:
            _core.tensors_without_view([tensor])
        except TypeError as error:
            raise TypeError(f"cannot hash tensor {name!r}: {error}") from error

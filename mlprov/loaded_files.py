"""Loading safetensors: the bytes that are handed out are the bytes that were checked."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlprov import _core, modules
from mlprov.digests import Digest, TensorDigest
from mlprov.errors import ConfigError, EvidenceError
from mlprov.evidence import Evidence, Expected, check_loaded, read_evidence
from mlprov.items import class_name
from mlprov.model_digests import identify
from mlprov.model_files import list_shards
from mlprov.modules import is_module
from mlprov.shard_indexes import check_index, is_index
from mlprov.signers import Keys
from mlprov.subjects import Subject
from mlprov.threads import check_threads

__all__ = ["load_file", "load_model"]

_Entry = tuple[str, str, tuple[int, ...], int, int]
_Make = Callable[[str, str, tuple[int, ...]], Any]
_MOST_LISTED = 5  # names in a message


def load_file(
    path: str | os.PathLike[str],
    *,
    evidence: Evidence,
    framework: str = "torch",
    epoch: int | None = None,
    step: int | None = None,
    keys: Keys | None = None,
    allow_unpinned: bool = False,
    store: str | os.PathLike[str] | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """The tensors of a safetensors file, after all of them were checked against evidence.

    The file is read once, never mapped, into memory that nobody else has, and hashed from there.
    Whatever happens to the file afterwards, what is returned is what was checked. Evidence is
    needed: for a file that nothing vouches for there is safetensors' own ``load_file``, and
    :func:`mlprov.digest_model` for its digests alone.

    Args:
        path: a safetensors file, or a directory whose ``*.safetensors`` are the shards of a model.
        evidence: one of these. The path of a bundle: it is verified first, as
            :func:`mlprov.verify` does, and the tensors have to be the recorded weights or those of
            a file that the run recorded. A run of the store (id, name, ``@`` for the newest), or a
            :class:`mlprov.Run`: the same, by the records that its head signed. A
            :class:`mlprov.ModelDigest` or :class:`mlprov.SavedFile`: tensor by tensor. A
            :class:`mlprov.Digest` or its text: of the file's bytes or, by SHA-256, its model root.
        framework: ``"torch"`` (tensors in host memory) or ``"numpy"``.
        epoch: compare with the weights of this epoch, not the last.
        step: compare with the weights after this optimizer step, of a run with ``every=N``.
        keys: whose signature counts, as for :func:`mlprov.verify`.
        allow_unpinned: accept a bundle whose signer is not pinned.
        store: the store, for a run; by default the one that runs are recorded in.
        threads: how many threads may read and hash at once; None for what
            :func:`mlprov.set_threads` says.

    Returns:
        name → tensor, sorted by the UTF-8 bytes of the name.

    Raises:
        VerificationError: a tensor differs, by name, or the evidence does not hold. No tensor is
            returned.
        EvidenceError: the check could not be made: a malformed file, one that changes while it is
            read, evidence without the leaves, a signer that is not pinned.
        ConfigError: evidence that is none, an epoch and a step at once, another framework, a type
            that the framework lacks.
        OSError: the file cannot be read.
        StoreError: the store cannot be read.

    >>> import tempfile, numpy, mlprov
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = folder.name + "/m.safetensors"
    >>> saved = mlprov.save_file({"w": numpy.arange(3.0)}, path)
    >>> mlprov.load_file(path, evidence=saved, framework="numpy")
    {'w': array([0., 1., 2.])}
    >>> other = mlprov.digest_model({"w": numpy.arange(3.0) + 1})
    >>> mlprov.load_file(path, evidence=other, framework="numpy")
    Traceback (most recent call last):
    mlprov.errors.VerificationError: cannot load ...: tensor 'w' of ... has the digest blake3:...
    """
    make = _maker(framework)
    check_threads(threads)
    expected = read_evidence(
        evidence, epoch=epoch, step=step, keys=keys, allow_unpinned=allow_unpinned, store=store
    )
    return _load(pathlib.Path(os.fspath(path)), expected, make, threads)


def load_model(
    module: Any,
    path: str | os.PathLike[str],
    *,
    evidence: Evidence,
    strict: bool = True,
    epoch: int | None = None,
    step: int | None = None,
    keys: Keys | None = None,
    allow_unpinned: bool = False,
    store: str | os.PathLike[str] | None = None,
    threads: int | None = None,
) -> tuple[list[str], list[str]]:
    """Fill a module's parameters and buffers from a file, checked as :func:`load_file` does.

    Nothing is touched before the whole file has passed, every tensor has a place of its own shape
    and type, and every place can be written. Tied tensors of which the file has one name are
    filled by it.

    Args:
        module: a ``torch.nn.Module``; wrappers leave no trace in the names.
        path: as for :func:`load_file`.
        evidence: as for :func:`load_file`.
        strict: whether names that the file or the module lacks are an error.
        epoch: as for :func:`load_file`.
        step: as for :func:`load_file`.
        keys: as for :func:`load_file`.
        allow_unpinned: as for :func:`load_file`.
        store: as for :func:`load_file`.
        threads: as for :func:`load_file`.

    Returns:
        names that the file lacks, and names that the module lacks; both empty where ``strict``.

    Raises:
        ConfigError: names, shapes or types that do not agree, a parameter without memory.
        Exception: as :func:`load_file`.

    >>> import tempfile, torch, mlprov
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = folder.name + "/m.safetensors"
    >>> saved = mlprov.save_file({"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, path)
    >>> module = torch.nn.Linear(2, 1)
    >>> mlprov.load_model(module, path, evidence=saved)
    ([], [])
    >>> module.weight.tolist()
    [[1.0, 1.0]]
    """
    if not is_module(module):
        raise ConfigError(
            f"cannot load into {class_name(module)}: expected a torch.nn.Module",
            "load_file() gives the tensors alone",
        )
    live = modules.read_state(module).tensors
    for name, place in live.items():
        if place.is_meta:
            raise ConfigError(
                f"cannot load tensor {name!r}: that of the module has no memory",
                "call module.to_empty(device='cpu') first",
            )
    tensors = load_file(
        path,
        evidence=evidence,
        epoch=epoch,
        step=step,
        keys=keys,
        allow_unpinned=allow_unpinned,
        store=store,
        threads=threads,
    )
    missing, unexpected = _compare_names(live, tensors)
    if strict and (missing or unexpected):
        raise ConfigError(
            f"cannot load {path} into {class_name(module)}: the file lacks {_listed(missing)}, the"
            f" module lacks {_listed(unexpected)}",
            "strict=False loads what both have",
        )
    pairs = [(name, live[name], tensors[name]) for name in tensors if name in live]
    for name, place, tensor in pairs:
        _check_place(name, place, tensor)
    _copy(pairs)
    return missing, unexpected


# ---- reading ----


def _load(
    path: pathlib.Path, expected: Expected, make: _Make, threads: int | None
) -> dict[str, Any]:
    files = list_shards(path) if path.is_dir() else [path]
    if expected.whole is not None and len(files) > 1:
        raise ConfigError(
            f"cannot load {path} by one digest: it is a directory of {len(files)} files",
            "name a bundle, a run or a ModelDigest",
        )
    tensors: dict[str, Any] = {}
    digests: dict[str, TensorDigest] = {}
    shards: dict[str, list[str]] = {}
    whole: Digest | None = None
    for file in files:
        before = len(digests)
        whole = _load_one(file, expected, make, threads, tensors, digests)
        shards[file.name] = list(digests)[before:]
    if path.is_dir():
        for index in filter(lambda one: is_index(one.name), sorted(path.iterdir())):
            check_index(index, shards)
    check_loaded(expected, Subject(str(path), digests), whole)
    return dict(sorted(tensors.items(), key=lambda item: item[0].encode()))


def _load_one(
    file: pathlib.Path,
    expected: Expected,
    make: _Make,
    threads: int | None,
    tensors: dict[str, Any],
    digests: dict[str, TensorDigest],
) -> Digest | None:
    """Adds the tensors of a file and their digests; returns that of the file, if it is needed."""
    entries: list[_Entry] = []

    def allocate(found: list[_Entry], metadata: Mapping[str, str]) -> list[Any]:  # noqa: ARG001
        entries.extend(found)
        for name, dtype, shape, _, _ in found:
            if name in tensors:
                raise EvidenceError(f"cannot load {file}: another shard holds {name!r} too")
            tensors[name] = make(name, dtype, shape)
        return [tensors[entry[0]] for entry in found]

    rows, whole, _ = _core.load_safetensors(
        os.fsencode(file), allocate, expected.algorithm, whole=expected.whole, threads=threads
    )
    for (name, dtype, shape, begin, end), row in zip(entries, rows, strict=True):
        digest = Digest(expected.algorithm, row)
        digests[name] = TensorDigest(name, dtype, shape, end - begin, digest)
    if whole is None or expected.whole is None:
        return None
    return Digest(expected.whole, whole)


def _maker(framework: str) -> _Make:
    if framework == "torch":
        return _torch_maker()
    if framework == "numpy":
        return _numpy_maker()
    raise ConfigError(f"unknown framework {framework!r}", "known are 'torch' and 'numpy'")


def _torch_maker() -> _Make:
    try:
        import torch
    except ImportError as error:
        raise ConfigError(
            f"cannot load torch tensors: {error}", "install torch, or pass framework='numpy'"
        ) from error
    types = {row[0]: getattr(torch, row[2], None) for row in _core.dtypes() if row[2] is not None}

    def make(name: str, dtype: str, shape: tuple[int, ...]) -> Any:
        kind = types.get(dtype)
        packed = dtype == "F4"  # two in a byte, which is what torch counts
        if kind is None or (packed and (not shape or shape[-1] % 2)):
            raise _no_type(name, dtype, shape, "torch")
        size = (*shape[:-1], shape[-1] // 2) if packed else shape
        return torch.empty(size, dtype=kind, device="cpu")

    return make


def _numpy_maker() -> _Make:
    try:
        import numpy as np
    except ImportError as error:
        raise ConfigError(f"cannot load NumPy arrays: {error}", "install numpy") from error
    names = {row[0]: row[3] for row in _core.dtypes()}

    def make(name: str, dtype: str, shape: tuple[int, ...]) -> Any:
        kind = names.get(dtype)
        if kind is None:
            raise _no_type(name, dtype, shape, "NumPy")
        if not hasattr(np, kind):
            try:
                import ml_dtypes
            except ImportError as error:
                raise ConfigError(
                    f"cannot load tensor {name!r} as an array: {dtype} is a type of the package"
                    f" ml_dtypes ({error})",
                    "install it",
                ) from error
            return np.empty(shape, getattr(ml_dtypes, kind))
        return np.empty(shape, kind)

    return make


def _no_type(name: str, dtype: str, shape: Sequence[int], framework: str) -> ConfigError:
    return ConfigError(
        f"cannot load tensor {name!r}: {framework} has no type for {dtype} of shape {list(shape)}"
    )


# ---- filling a module ----


def _compare_names(
    live: Mapping[str, Any], tensors: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """What the file lacks (tied tensors have several names), and what the module lacks."""
    places = dict(zip(live, identify([*live], [*live.values()]), strict=True))
    filled = {places[name] for name in tensors if name in live}
    missing = [
        name for name, place in places.items() if name not in tensors and place not in filled
    ]
    return missing, [name for name in tensors if name not in live]


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "nothing"
    more = len(names) - _MOST_LISTED
    shown = ", ".join(map(repr, names[:_MOST_LISTED]))
    return shown + (f" and {more} more" if more > 0 else "")


def _check_place(name: str, place: Any, tensor: Any) -> None:
    """Whether a tensor can be copied there.

    Raises:
        ConfigError: it cannot.
    """
    torch = sys.modules["torch"]
    if place.layout is not torch.strided:
        raise ConfigError(
            f"cannot load tensor {name!r}, so nothing was loaded: that of the module is"
            f" {place.layout}, which a file has no tensor for",
            "take the tensors from mlprov.load_file, and make it of them",
        )
    seen = (tuple(tensor.shape), tensor.dtype)
    expected = (tuple(place.shape), place.dtype)
    if seen != expected:
        raise ConfigError(
            f"cannot load tensor {name!r}, so nothing was loaded: the file has {seen[1]}"
            f" {list(seen[0])}, the module {expected[1]} {list(expected[0])}",
            "make the module as it was when the file was saved",
        )
    overlaps = any(
        step == 0 and size > 1 for step, size in zip(place.stride(), place.shape, strict=True)
    )
    frozen = place.is_inference() and not torch.is_inference_mode_enabled()
    if overlaps or frozen:
        raise ConfigError(
            f"cannot load tensor {name!r}, so nothing was loaded: that of the module cannot be"
            " written in place",
            "give it memory of its own with .clone(), outside of inference mode",
        )


def _copy(pairs: Sequence[tuple[str, Any, Any]]) -> None:
    torch = sys.modules["torch"]
    with torch.no_grad():
        for _, place, tensor in pairs:
            place.copy_(tensor)

"""Plans: a model read once and hashed many times."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mlprov import models, modules, optimizers
from mlprov.digests import check_options
from mlprov.errors import ConfigError
from mlprov.model_digests import ModelDigest, NamedTensors

__all__ = ["CapturePlan", "capture_plan", "plan_of_model"]


class _Source(Protocol):
    """What a plan was made from."""

    enumerations: int

    def read(self) -> NamedTensors: ...


def _follow(obj: Any, what: str) -> Callable[[], Any]:
    """A weak reference that says so where the object is gone."""
    reference = weakref.ref(obj)

    def alive() -> Any:
        found = reference()
        if found is None:
            raise ConfigError(
                f"cannot hash the {what} of this plan: it is gone, and a plan does not keep it",
                f"keep a reference to the {what}, or make a plan of another one",
            )
        return found

    return alive


def _keep(obj: Any) -> Callable[[], Any]:
    return lambda: obj


class _Module:
    """A module. Its structure is remembered; the tensors are those of the moment."""

    def __init__(self, module: Any) -> None:
        self._module = _follow(module, "model")
        self._structure: modules.Structure | None = None
        self.enumerations = 0

    def read(self) -> NamedTensors:
        module = self._module()
        structure = self._structure
        held = None if structure is None else structure.tensors()
        if structure is None or held is None:
            self.enumerations += 1
            self._structure = structure = modules.read_structure(module)
            held = None if structure is None else structure.tree.tensors()
        if structure is None or held is None:
            state = modules.read_state_by_methods(module)
            return NamedTensors(list(state.tensors), list(state.tensors.values()))
        return NamedTensors(structure.tree.names, held[0])


class _StateDict:
    """A state dict: to look whether it is as before takes as long as to read it."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._state = state
        self.enumerations = 0

    def read(self) -> NamedTensors:
        self.enumerations += 1
        return NamedTensors(*models.named_tensors(self._state))


class _Optimizer:
    """An optimizer and the model that its parameters are named by, or a state dict of one."""

    def __init__(self, optimizer: Any, model: Any, algorithm: str) -> None:
        self._algorithm = algorithm
        optimizers.check_optimizer(optimizer)
        kept = isinstance(optimizer, Mapping)  # a dict cannot be referred to weakly
        self._optimizer = _keep(optimizer) if kept else _follow(optimizer, "optimizer")
        self._model = _keep(None) if model is None else _follow(model, "model")
        self.enumerations = 0

    def read(self) -> NamedTensors:
        self.enumerations += 1
        held = optimizers.read_optimizer(self._optimizer(), self._model())
        return models.state_tensors(held, self._algorithm)


class CapturePlan:
    """What to hash of a model again and again, made by :func:`capture_plan`.

    Of a module its names and types are remembered, not its tensors: each :meth:`digest` takes the
    tensors that stand under these names then, and their memory as it lies then. So a parameter
    that was replaced, moved, resized, tied or untied is hashed as it is. Where names or types are
    others, the model is read anew, which takes about four times as long as to look. A model with
    methods of its own for what it saves is read anew each time.

    A plan holds modules and optimizers weakly: it keeps nothing of them alive, be it a model that
    was dropped or a layer that was taken out. A state dict it holds, as any list of its tensors
    would.

    >>> import mlprov
    >>> weight = bytearray(b"abc")
    >>> plan = mlprov.capture_plan({"w": memoryview(weight)})
    >>> before = plan.digest()
    >>> weight[0] += 1
    >>> plan.digest() == before
    False
    """

    __slots__ = ("__weakref__", "_algorithm", "_source", "_threads")

    def __init__(self, source: _Source, algorithm: str, threads: int | None) -> None:
        self._source = source
        self._algorithm = algorithm
        self._threads = threads

    def __repr__(self) -> str:
        return f"<mlprov.CapturePlan, enumerated {self.enumerations} times>"

    @property
    def enumerations(self) -> int:
        """How often names were read. It grows where a module changed, else with each use."""
        return self._source.enumerations

    def named_tensors(self) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """The names, in no particular order, and the tensors that stand under them now.

        Raises:
            ConfigError: as :func:`mlprov.digest_model`; the module or optimizer is gone.
        """
        named = self._source.read()
        return tuple(named.names), tuple(named.tensors)

    def read(self) -> NamedTensors:
        """What :meth:`digest` hashes, as it is now: with the value leaves of an optimizer.

        Raises:
            ConfigError: as :meth:`named_tensors`; a value that no leaf can carry.
        """
        return self._source.read()

    def digest(self) -> ModelDigest:
        """The digest of the model as it is now, equal to what :func:`mlprov.digest_model` gives.

        Raises:
            UnsupportedTensorError, ConfigError: as :func:`mlprov.digest_model`; ConfigError also
                where the module or optimizer is gone.
        """
        return self._source.read().digest(self._algorithm, self._threads)


def capture_plan(
    obj: object, *, model: object = None, algorithm: str = "blake3", threads: int | None = None
) -> CapturePlan:
    """Prepare to hash a model many times, such as once for each epoch or step.

    Args:
        obj: a ``torch.nn.Module``; a state dict (name → tensor or array); a torch optimizer or its
            ``state_dict()``, whose digest has a leaf for each tensor of its state and each setting
            (docs/format.md section 4, "Names of optimizer state").
        model: with an optimizer, the module whose parameters it updates, for their names.
        algorithm: digest of each tensor.
        threads: as :func:`mlprov.digest_model` takes them, for every digest of this plan.

    Raises:
        ConfigError: something else; an unknown algorithm; ``threads`` that is none; ``model``
            without an optimizer.

    >>> import mlprov
    >>> mlprov.capture_plan({}).digest() == mlprov.digest_model({})
    True
    """
    if model is None and not optimizers.is_optimizer(obj):
        return plan_of_model(obj, algorithm, threads)
    check_options(algorithm, threads)
    return CapturePlan(_Optimizer(obj, model, algorithm), algorithm, threads)


def plan_of_model(model: object, algorithm: str, threads: int | None = None) -> CapturePlan:
    """The plan of a module or state dict, and of nothing else.

    Raises:
        ConfigError: something else; an unknown algorithm; ``threads`` that is none.
    """
    check_options(algorithm, threads)
    if modules.is_module(model):
        return CapturePlan(_Module(model), algorithm, threads)
    if isinstance(model, Mapping):
        return CapturePlan(_StateDict(model), algorithm, threads)
    raise models.model_expected(model, "a torch.nn.Module, a state dict or a torch optimizer")

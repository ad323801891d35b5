"""What an accountant of differential privacy says of a training (docs/format.md section 5).

Opacus counts in an accountant, which its ``PrivacyEngine`` holds and which its ``DPOptimizer``
tells of every step. Nothing of Opacus is imported here: what it made is recognised where its
modules are loaded. Neither the noise nor the state of the generator that draws it is ever read.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mlprov import records
from mlprov.errors import ConfigError
from mlprov.items import class_name
from mlprov.records import Json

__all__ = ["PrivacyAccount", "private_optimizer"]

_MAX_RUNS = 1000  # of one noise: accountants take 15 ms for each, at every epoch
_MAX_WRAPPERS = 4  # of an optimizer in others, such as Accelerate's and Lightning's
_POISSON = (  # batch samplers that take each sample for itself
    "opacus.utils.uniform_sampler.UniformWithReplacementSampler",
    "opacus.utils.uniform_sampler.DistributedUniformWithReplacementSampler",
)


@dataclass(frozen=True)
class PrivacyAccount:
    """Where a run finds how private its training is.

    Attributes:
        source: an accountant, an engine or a private optimizer that the user named; None: the run's
            own optimizer is asked, at every epoch.
        optimizer: of the run.
        delta: δ, at which ε is asked for.
    """

    source: Any = None
    optimizer: Any = None
    delta: float | None = None

    def check(self) -> None:
        """Refuse what accounts for nothing; nothing is read.

        Raises:
            ConfigError: an object of another kind, or no δ beside one that the user named.
        """
        if self.source is None:
            return
        if not _accountants(self.source):
            raise ConfigError(
                f"cannot record privacy={class_name(self.source)}: expected a PrivacyEngine of"
                " Opacus, its accountant, or an optimizer that make_private returned"
            )
        if self.delta is None:
            raise ConfigError(
                "cannot record privacy without delta: an ε holds at a δ",
                "add delta=1e-5, or what is well below one over the number of samples",
            )

    @property
    def is_private(self) -> bool:
        """Whether noise that has to stay unknown is drawn in this training."""
        return self.source is not None or any(True for _ in _private(self.optimizer))

    def read(self, streams: Sequence[Json]) -> tuple[Json, Exception | None]:
        """What the accountant says now, and what kept it from saying more.

        Args:
            streams: of the epoch, as they are recorded.

        Raises:
            ConfigError: several accountants, or a history that is too long.
            Exception: what the accountant raises while its history is read.
        """
        found = self._accountant()
        if found is None:
            return None, None
        history = _read_history(found)
        optimizer = next(self._private_optimizers(), None)
        spent, failure = _attempt(lambda: self._spent(found, history))
        epsilon, order = spent or (None, None)
        return {
            "mechanism": str(found.mechanism()),
            "history": history,
            "epsilon": epsilon,
            "delta": self.delta,
            "order": order,
            "noise_multiplier": _numbers(getattr(optimizer, "noise_multiplier", None)),
            "max_grad_norm": _clipping_norm(optimizer),
            "poisson": _is_poisson(streams),
        }, failure

    def _private_optimizers(self) -> Iterator[Any]:
        yield from _private(self.source)
        yield from _private(self.optimizer)

    def _accountant(self) -> Any:
        if self.source is not None:
            return _accountants(self.source)[0]
        found = {id(one): one for opt in _private(self.optimizer) for one in _accountants(opt)}
        if len(found) > 1:
            raise ConfigError(
                f"cannot record the privacy of {len(found)} optimizers, each with an accountant"
                " of its own: an epoch has one",
                "name the one that counts: mlprov.start(privacy=engine, delta=...)",
            )
        return next(iter(found.values()), None)

    def _spent(self, accountant: Any, history: Sequence[Json]) -> tuple[Json, Json] | None:
        """ε and the order that gives it, where it is of a kind that has one."""
        if self.delta is None:
            return None
        if not history:  # not every accountant has an answer before the first step
            return 0, None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of orders, which the user's own call gives, too
            spent = getattr(accountant, "get_privacy_spent", None)
            if accountant.mechanism() == "rdp" and callable(spent):
                epsilon, order = spent(delta=self.delta)
                return _number(epsilon), _number(order)
            return _number(accountant.get_epsilon(self.delta)), None


def private_optimizer(optimizer: Any) -> Any:
    """The private optimizer that steps by means of this one; else the same.

    torch reports the inner one's steps; only the outer one knows the inner. It is looked for among
    Python's live objects, which takes as long as a collection of garbage.
    """
    kind = _private_type()
    if kind is not None and not isinstance(optimizer, kind):
        # By type: isinstance would ask objects of any library for their __class__.
        for found in gc.get_objects():
            if issubclass(type(found), kind) and found.original_optimizer is optimizer:
                return found
    return optimizer


# ---- what Opacus made ----


def _private_type() -> Any:
    module = sys.modules.get("opacus.optimizers.optimizer")
    return getattr(module, "DPOptimizer", None)


def _private(optimizer: Any, depth: int = 0) -> Iterator[Any]:
    """The private optimizers that an optimizer is, or has within."""
    kind = _private_type()
    if kind is None or optimizer is None or depth > _MAX_WRAPPERS:
        return
    if isinstance(optimizer, kind):
        yield optimizer
        return
    inner = getattr(optimizer, "optimizers", None)
    several = inner if isinstance(inner, (list, tuple)) else [getattr(optimizer, "optimizer", None)]
    for one in several:
        yield from _private(one, depth + 1)


def _is_accountant(value: Any) -> bool:
    return (
        isinstance(getattr(value, "history", None), list)
        and callable(getattr(value, "mechanism", None))
        and callable(getattr(value, "get_epsilon", None))
    )


def _accountants(source: Any) -> list[Any]:
    """The accountant that something is, holds, or tells of its steps.

    ``DPOptimizer.attach_step_hook`` is given a function that the accountant made
    (``IAccountant.get_optimizer_hook_fn``): the accountant is what it closes over.
    """
    told = _closed_over(getattr(source, "step_hook", None))
    return [
        one for one in (source, getattr(source, "accountant", None), *told) if _is_accountant(one)
    ]


def _closed_over(function: Any) -> Iterator[Any]:
    for cell in getattr(function, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # a variable that has no value yet
            yield cell.cell_contents


# ---- what is recorded of it ----


def _read_history(accountant: Any) -> list[Json]:
    """The accountant's history; equal neighbours are one entry."""
    runs: list[tuple[float, float, int]] = []
    for noise, rate, steps in list(accountant.history):
        run = (float(noise), float(rate), int(steps))
        if runs and runs[-1][:2] == run[:2]:
            run = (*run[:2], runs.pop()[2] + run[2])
        runs.append(run)
        if len(runs) > _MAX_RUNS:
            raise ConfigError(
                f"cannot record a history of more than {_MAX_RUNS} changes of noise or sample rate",
                "change them once an epoch, not with every step",
            )
    return [
        {"noise_multiplier": _number(noise), "sample_rate": _number(rate), "steps": steps}
        for noise, rate, steps in runs
    ]


def _attempt(action: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return action(), None
    except Exception as error:  # noqa: BLE001  (whatever an accountant of anybody raises)
        return None, error


def _number(value: Any) -> Json:
    return records.json_number(float(value))


def _numbers(value: Any) -> Json:
    """A number, or several: per-layer clipping has a norm for each parameter."""
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return [_number(one) for one in value]
    return _number(value)


def _clipping_norm(optimizer: Any) -> Json:
    """The norm, or the norms of single parameters, beside which Opacus has that of all together."""
    several = getattr(optimizer, "max_grad_norms", None)
    return _numbers(getattr(optimizer, "max_grad_norm", None) if several is None else several)


def _is_poisson(streams: Sequence[Json]) -> bool | None:
    """Whether the loaders that gave the epoch's training batches took each sample for itself."""
    loaders = [
        stream.get("loader")
        for stream in streams
        if isinstance(stream, dict) and stream.get("role") == "train"
    ]
    if not loaders or not all(isinstance(loader, dict) for loader in loaders):
        return None
    return all(isinstance(one, dict) and one.get("batch_sampler") in _POISSON for one in loaders)

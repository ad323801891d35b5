"""How a torch DataLoader will give its batches: what a pass over it depends on.

A replay needs the generators' states before the pass begins: samplers and the workers' base seed
are drawn when it does (docs/format.md section 5, ``loader``).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from mlprov import generators, index_orders
from mlprov.index_orders import IndexOrder
from mlprov.items import class_name
from mlprov.recorder import Recorder
from mlprov.records import Json

__all__ = ["OwnIteration", "Pass", "begin_pass"]

T = TypeVar("T")

_SPLITTING = "opacus.utils.batch_memory_manager.BatchSplittingSampler"


class OwnIteration(Generic[T]):
    """A loader as its own class iterates it, where iterating the object itself is recorded.

    Attributes:
        loader: the object, whatever class it has at the moment.
        kind: the class that it had.
    """

    def __init__(self, loader: Any, kind: Any) -> None:
        self.loader = loader
        self.kind = kind

    def __iter__(self) -> Iterator[T]:
        own: Iterator[T] = self.kind.__iter__(self.loader)
        return own


class Pass(NamedTuple, Generic[T]):
    """A pass over a loader that has begun.

    Attributes:
        iterator: the loader's own.
        order: the indices that its sampler gives; None where they cannot be had.
        facts: what is recorded of a DataLoader; None of anything else.
    """

    iterator: Iterator[T]
    order: IndexOrder | None
    facts: Json


def begin_pass(
    loader: Iterable[T], recorder: Recorder, *, seeds: bool | str, secret: bool = False
) -> Pass[T]:
    """Begin to iterate a loader.

    Args:
        loader: of any kind; or how it is iterated, where that is not by ``iter``.
        recorder: what goes wrong in looking is a gap there; what the loader raises passes on.
        seeds: whether states are recorded, ``"values"``: themselves, not their digests alone.
        secret: whether noise is drawn that has to stay unknown, and who was in which batch, too:
            then nothing is recorded that torch's generators or the loader's own gave, and no
            order of indices.
    """
    own = loader if isinstance(loader, OwnIteration) else OwnIteration[T](loader, type(loader))
    facts = recorder.attempt("loader", lambda: _describe(own.loader, seeds, secret))
    iterator, order = index_orders.iterate_noted(own.loader, own.kind)
    if facts is not None and seeds and not secret:
        # Drawn when the pass began; worker k is seeded with it plus k (torch.utils.data).
        base = getattr(iterator, "_base_seed", None)
        facts["base_seed"] = str(int(base)) if isinstance(base, int) else None
    return Pass(iterator, None if secret else order, facts)


def _describe(loader: Any, seeds: bool | str, secret: bool) -> dict[str, Json] | None:
    data: Any = sys.modules.get("torch.utils.data")
    if data is None or not isinstance(loader, data.DataLoader):
        return None
    sampler = getattr(loader, "sampler", None)
    facts: dict[str, Json] = {
        "base_seed": None,
        "batch_sampler": _batch_sampler(loader, data),
        "batch_size": loader.batch_size,
        "class": class_name(loader),
        "drop_last": bool(loader.drop_last),
        "persistent_workers": bool(loader.persistent_workers),
        "prefetch_factor": loader.prefetch_factor,
        "sampler": None if sampler is None else class_name(sampler),
        "start_method": _start_method(loader),
        "worker_init": None if loader.worker_init_fn is None else _name(loader.worker_init_fn),
        "workers": loader.num_workers,
    }
    if seeds:
        values = seeds == "values"
        own = None if secret else getattr(sampler, "generator", None)
        facts["generator"] = (
            None if secret else generators.state_of(loader.generator, values=values)
        )
        facts["sampler_generator"] = generators.state_of(own, values=values)
        facts["rng"] = generators.capture_generators(secret=secret)
        if values:
            facts["rng_values"] = generators.capture_values(secret=secret)
    return facts


def _batch_sampler(loader: Any, data: Any) -> Json:
    """The class of a batch sampler that the user, or a library, put there."""
    sampler = getattr(loader, "batch_sampler", None)
    if sampler is not None and class_name(sampler) == _SPLITTING:
        sampler = sampler.sampler  # which says who is in a batch; this cuts it into pieces
    return None if sampler is None or type(sampler) is data.BatchSampler else class_name(sampler)


def _start_method(loader: Any) -> Json:
    if not loader.num_workers:
        return None
    context = loader.multiprocessing_context
    if context is None:
        import multiprocessing

        return multiprocessing.get_start_method(allow_none=True) or "fork"
    return str(context.get_start_method())


def _name(function: Any) -> str:
    name = getattr(function, "__qualname__", None)
    return f"{function.__module__}.{name}" if isinstance(name, str) else class_name(function)

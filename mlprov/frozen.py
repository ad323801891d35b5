"""Parameters that nobody trains, such as an adapter's base: hashed at the start and at the end.

``trust_version=True`` asks for this, because it is a matter of trust: an unchanged version counter
and address prove nothing (a write through NumPy or ``.data`` moves neither). The record says how
many leaves were taken on trust, and the last word is the digest at the end.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlprov.captures import Capture
from mlprov.errors import ConfigError, EvidenceError
from mlprov.items import class_name
from mlprov.model_digests import ModelDigest, NamedTensors
from mlprov.modules import is_module

__all__ = ["Frozen"]


@dataclass(frozen=True)
class _Known:
    """A frozen parameter as it was when it was hashed."""

    tensor: weakref.ref[Any]
    address: int
    version: int
    leaf: bytes

    def is_same(self, tensor: Any) -> bool:
        held = self.tensor()
        return bool(
            held is not None
            and held is tensor
            and held.data_ptr() == self.address
            and held._version == self.version
            and not held.requires_grad
        )


class Frozen:
    """The frozen parameters of one model, as far as they are trusted.

    Attributes:
        since: seq of the record with whose weights they were hashed; None before.
    """

    def __init__(self, model: Any, guarded: Callable[[], set[int]], optimizer: Any) -> None:
        if not is_module(model):
            raise ConfigError(
                f"cannot use trust_version=True with {class_name(model)}: only parameters of a"
                " torch module say that they are frozen",
                "leave it out",
            )
        self.since: int | None = None
        self._guarded = guarded
        self._optimizer = optimizer
        self._known: dict[str, _Known] = {}
        self._groups: tuple[tuple[str, ...], ...] = ()

    def learn(self, named: NamedTensors, model: ModelDigest, seq: int) -> None:
        """Remember what was hashed of parameters that need no gradient and that nobody optimizes.

        Args:
            named: what was hashed.
            model: their digest.
            seq: of the record that has it.
        """
        optimized = self._optimized()
        for name, tensor in zip(named.names, named.tensors, strict=True):
            if _is_frozen(tensor) and id(tensor) not in optimized:
                self._known[name] = _Known(
                    weakref.ref(tensor), tensor.data_ptr(), tensor._version, model.leaf(name)
                )
        self._groups = model.aliases
        self.since = seq

    def leave_out(self, named: NamedTensors) -> tuple[NamedTensors, int]:
        """Named tensors without those that are trusted, whose leaves are ready; how many these are.

        What is trained, moved or written since is trusted no longer.
        """
        optimized = self._optimized()
        names: list[str] = []
        tensors: list[Any] = []
        ready = list(named.ready)
        trusted: set[str] = set()
        for name, tensor in zip(named.names, named.tensors, strict=True):
            known = self._known.get(name)
            if known is not None and known.is_same(tensor) and id(tensor) not in optimized:
                ready.append((name, known.leaf))
                trusted.add(name)
                continue
            self._known.pop(name, None)
            names.append(name)
            tensors.append(tensor)
        tied = [group for group in self._groups if trusted.issuperset(group)]
        return NamedTensors(names, tensors, ready, tied), len(trusted)

    def recheck(
        self, named: NamedTensors, algorithm: str, timeout: float | None
    ) -> tuple[int, list[str]]:
        """Hash what was trusted to the end; how many these are, and names of those that changed.

        Args:
            named: what the model holds now.
            algorithm: of the run.
            timeout: seconds to take at most, where there is a worker to hash; None: no limit.

        Raises:
            EvidenceError: the time was not enough.
        """
        places = [place for place, name in enumerate(named.names) if name in self._known]
        names = [named.names[place] for place in places]
        trusted = NamedTensors(names, [named.tensors[place] for place in places])
        capture = Capture(trusted, algorithm, "hook", beside=range(len(names)))
        if not capture.wait(timeout):
            capture.cancel()
            raise EvidenceError(
                f"{len(names)} frozen tensors were not hashed again in {timeout:g} seconds: whether"
                " they are what they were at the start is not recorded",
                "call run.finish(), which waits for it, before the interpreter ends",
            )
        again = capture.result()
        changed = [name for name in names if again.leaf(name) != self._known[name].leaf]
        return len(names), sorted(changed)

    def _optimized(self) -> set[int]:
        """``id`` of what an optimizer has: never trusted, fused steps move no counter."""
        groups: Sequence[Any] = getattr(self._optimizer, "param_groups", None) or ()
        own = {id(parameter) for group in groups for parameter in group["params"]}
        return own | self._guarded()


def _is_frozen(tensor: Any) -> bool:
    """A parameter without gradient; buffers are written in forward, and others have no counter."""
    import torch

    return (
        isinstance(tensor, torch.nn.Parameter)
        and not tensor.requires_grad
        and not tensor.is_inference()
    )

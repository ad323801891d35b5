"""Tensors whose hashing has begun, and what keeps it apart from writes.

The guards are those of docs/format.md section 5: ``inline`` (hashed before the call returns),
``hook`` (in place beside training, until the next optimizer step), ``copy`` (copied, hashed later).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlprov import _core
from mlprov.composites import Row
from mlprov.digests import is_torch_tensor
from mlprov.errors import EvidenceError, UnsupportedTensorError
from mlprov.model_digests import ModelDigest, NamedTensors, identify, model_of_leaves
from mlprov.modules import check_name
from mlprov.wording import brief

__all__ = ["Capture", "Guard"]

_MAX_NAMES = 300  # characters of tensor names in a message


def _utf8(name: str) -> bytes:
    return name.encode("utf-8")


class Capture:
    """Named tensors, some of them hashed beside the caller.

    Attributes:
        guard: what keeps it apart from writes: ``"hook"``, ``"copy"`` or ``"inline"``.
        copied: bytes of the copies that were made for it.
    """

    def __init__(
        self,
        named: NamedTensors,
        algorithm: str,
        guard: str = "inline",
        *,
        beside: Sequence[int] = (),
        recheck: bool = False,
    ) -> None:
        self.guard = "inline"
        self.copied = 0
        self._named = named
        self._algorithm = algorithm
        self._ticket: _core.Ticket | None = None
        self._result: ModelDigest | None = None
        if beside:
            self._begin(guard, beside, recheck)
        if self._ticket is None:
            self._result = named.digest(algorithm)

    def _begin(self, guard: str, beside: Sequence[int], recheck: bool) -> None:
        """Queue what is hashed beside the caller, hash the others; nothing where that cannot be."""
        names, tensors = self._named.names, self._named.tensors
        identities = identify(names, tensors)
        first = {identities[place]: place for place in reversed(beside)}  # of aliases one
        values = [tensors[place] for place in first.values()]
        if guard == "copy":
            values = [tensor.detach().clone() for tensor in values]
            self.copied = sum(tensor.nbytes for tensor in values)
        try:
            ticket = _core.Ticket(values, self._algorithm, recheck=recheck)
        except UnsupportedTensorError:  # composites: hashed by parts, and others named, inline
            return
        self._places: dict[object, list[int]] = {identity: [] for identity in first}
        others: list[int] = []
        for place, identity in enumerate(identities):
            self._places.get(identity, others).append(place)
        self._aliases = [*_alias_groups(names, identities), *self._named.tied]
        self._leaves = self._hash_now(others)
        self._ticket = ticket
        if ticket.beside:
            self.guard = guard

    def _hash_now(self, places: Sequence[int]) -> list[tuple[str, bytes]]:
        """(name, leaf) of these tensors, and of what is ready."""
        names = [self._named.names[place] for place in places]
        tensors = [self._named.tensors[place] for place in places]
        ready = self._named.ready
        found = NamedTensors(names, tensors, ready).digest(self._algorithm)
        ordered = sorted([*names, *(name for name, _ in ready)], key=_utf8)
        return list(zip(ordered, found.leaves, strict=True))

    @property
    def is_beside(self) -> bool:
        """Whether digests are still being made."""
        return self._ticket is not None and not self._ticket.poll()

    def wait(self, timeout: float | None = None) -> bool:
        """Take part in hashing until it is done; false when ``timeout`` seconds are over."""
        return self._ticket is None or self._ticket.wait(timeout)

    def cancel(self) -> None:
        """Give up what is not hashed yet: :meth:`result` then raises."""
        if self._ticket is not None:
            self._ticket.cancel()

    def result(self) -> ModelDigest:
        """The digest of all tensors; waits.

        Raises:
            EvidenceError: (CHANGED) tensors were written under capture; it names them.
            StoreError: (CLOSED) it was cancelled.
        """
        if self._ticket is not None and self._result is None:
            self._result = self._join(self._ticket.result())
        assert self._result is not None  # without a ticket it was there from the start
        return self._result

    def _join(self, rows: Sequence[Row | None]) -> ModelDigest:
        leaves = list(self._leaves)
        changed: list[int] = []
        for places, row in zip(self._places.values(), rows, strict=True):
            if row is None:
                changed.append(places[0])
                continue
            for place in places:
                name = check_name(self._named.names[place])
                leaves.append((name, _core.tensor_leaf(name, row, self._algorithm)))
        if changed:
            raise _changed(", ".join(sorted(map(self._named.describe, changed))))
        return model_of_leaves(leaves, self._aliases)


def _alias_groups(names: Sequence[str], identities: Sequence[object]) -> list[tuple[str, ...]]:
    groups: dict[object, list[str]] = {}
    for name, identity in zip(names, identities, strict=True):
        groups.setdefault(identity, []).append(name)
    return [tuple(sorted(group, key=_utf8)) for group in groups.values() if len(group) > 1]


def _changed(names: str) -> EvidenceError:
    error = EvidenceError(
        f"{brief(names, _MAX_NAMES)} changed under capture: written before the next optimizer step",
        'mlprov.start(snapshot="copy") is for loops that do this',
    )
    error.status = "CHANGED"
    return error


class Guard:
    """How a run keeps captures apart from writes (``snapshot`` and ``check`` of mlprov.start).

    Attributes:
        snapshot: ``"overlap"``, ``"copy"`` or ``"inline"``. After a change under capture it is
            ``"inline"``: the loop writes where nobody expects it.
        guarded: gives the ``id`` of each tensor that optimizers write and nobody else.
    """

    def __init__(
        self, snapshot: str, check: str, algorithm: str, guarded: Callable[[], set[int]]
    ) -> None:
        self.snapshot = snapshot
        self._recheck = check == "twice"
        self._algorithm = algorithm
        self.guarded = guarded

    def capture(self, named: NamedTensors) -> Capture:
        """Begin to hash.

        Beside the caller: with ``"overlap"`` what optimizers that have stepped write and nobody
        else; with ``"copy"`` all tensors in host memory. The rest has no barrier and is hashed
        before this returns, and so is everything where there is one processor.

        Raises:
            UnsupportedTensorError: a tensor without values, by name.
        """
        if self.snapshot == "inline" or _core.hash_threads_beside() == 0:
            return Capture(named, self._algorithm)
        if self.snapshot == "copy":
            plain = [place for place, one in enumerate(named.tensors) if _is_plain(one)]
            return Capture(named, self._algorithm, "copy", beside=plain)
        guarded = self.guarded()
        beside = [place for place, one in enumerate(named.tensors) if id(one) in guarded]
        return Capture(named, self._algorithm, "hook", beside=beside, recheck=self._recheck)


def _is_plain(tensor: Any) -> bool:
    """Whether a copy is an ordinary tensor in host memory."""
    return bool(
        is_torch_tensor(tensor)
        and tensor.device.type == "cpu"
        and str(tensor.layout) == "torch.strided"
        and not tensor.is_quantized
        and not tensor.is_nested
    )

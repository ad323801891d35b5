"""Tensors whose hashing has begun, and what keeps it apart from writes.

The guards are those of docs/format.md section 5: ``inline`` (hashed before the call returns),
``hook`` (in place beside training, until the next optimizer step), ``copy`` (copied, hashed later).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from mlprov import _core
from mlprov.digests import Composite, Row, hash_tensors, is_torch_tensor
from mlprov.errors import EvidenceError, UnsupportedTensorError
from mlprov.models import Prepared
from mlprov.wording import brief

__all__ = ["Capture", "Guard"]

T = TypeVar("T")

_MAX_NAMES = 300  # characters of tensor names in a message


class Capture(Generic[T]):
    """Prepared tensors, some of them hashed beside the caller.

    Attributes:
        guard: what keeps it apart from writes: ``"hook"``, ``"copy"`` or ``"inline"``.
        copied: bytes of the copies that were made for it.
    """

    def __init__(
        self,
        prepared: Prepared[T],
        algorithm: str,
        guard: str = "inline",
        *,
        beside: Sequence[int] = (),
        recheck: bool = False,
        copied: int = 0,
    ) -> None:
        self.copied = copied
        self._prepared = prepared
        self._beside = list(beside)
        self._ticket = self._queue(algorithm, recheck)
        self.guard = guard if self._ticket is not None and self._ticket.beside else "inline"
        places = set(self._beside)
        self._others = [index for index in range(len(prepared.tensors)) if index not in places]
        self._rows: list[Row | Composite] = hash_tensors(
            [prepared.tensors[index] for index in self._others],
            algorithm,
            lambda index: prepared.describe(self._others[index]),
        )

    def _queue(self, algorithm: str, recheck: bool) -> _core.Ticket | None:
        tensors = [self._prepared.tensors[index] for index in self._beside]
        try:
            return _core.Ticket(tensors, algorithm, recheck=recheck) if tensors else None
        except UnsupportedTensorError:  # composites: hashed by parts, and others named, inline
            self._beside = []
            return None

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

    def result(self) -> T:
        """What the tensors were prepared for; waits.

        Raises:
            EvidenceError: (CHANGED) tensors were written under capture; it names them.
            StoreError: (CLOSED) it was cancelled.
        """
        rows: list[Any] = [None] * len(self._prepared.tensors)
        for index, row in zip(self._others, self._rows, strict=True):
            rows[index] = row
        if self._ticket is not None:
            for index, found in zip(self._beside, self._ticket.result(), strict=True):
                rows[index] = found
        changed = [index for index, row in enumerate(rows) if row is None]
        if changed:
            raise _changed(", ".join(self._prepared.describe(index) for index in changed))
        return self._prepared.finish(rows)


def _changed(names: str) -> EvidenceError:
    error = EvidenceError(
        f"{brief(names, _MAX_NAMES)} changed under capture: written before the next optimizer step;"
        ' mlprov.start(snapshot="copy") is for loops that do this'
    )
    error.status = "CHANGED"
    return error


class Guard:
    """How a run keeps captures apart from writes (``snapshot`` and ``check`` of mlprov.start).

    Attributes:
        snapshot: ``"overlap"``, ``"copy"`` or ``"inline"``. After a change under capture it is
            ``"inline"``: the loop writes where nobody expects it.
    """

    def __init__(
        self, snapshot: str, check: str, algorithm: str, guarded: Callable[[], set[int]]
    ) -> None:
        self.snapshot = snapshot
        self._recheck = check == "twice"
        self._algorithm = algorithm
        self._guarded = guarded

    def capture(self, prepared: Prepared[T]) -> Capture[T]:
        """Begin to hash.

        Beside the caller: with ``"overlap"`` what optimizers that have stepped write and nobody
        else; with ``"copy"`` all tensors in host memory. The rest has no barrier and is hashed
        before this returns, and so is everything where there is one processor.

        Raises:
            UnsupportedTensorError: a tensor without values, by name.
        """
        if self.snapshot == "inline" or _core.hash_threads_beside() == 0:
            return Capture(prepared, self._algorithm)
        if self.snapshot == "copy":
            return self._capture_copies(prepared)
        guarded = self._guarded()
        beside = [index for index, one in enumerate(prepared.tensors) if id(one) in guarded]
        return Capture(prepared, self._algorithm, "hook", beside=beside, recheck=self._recheck)

    def _capture_copies(self, prepared: Prepared[T]) -> Capture[T]:
        tensors = list(prepared.tensors)
        beside = [index for index, tensor in enumerate(tensors) if _is_plain(tensor)]
        copied = 0
        for index in beside:
            tensors[index] = tensors[index].detach().clone()
            copied += tensors[index].nbytes
        copies = Prepared(tensors, prepared.describe, prepared.finish)
        return Capture(copies, self._algorithm, "copy", beside=beside, copied=copied)


def _is_plain(tensor: Any) -> bool:
    """Whether a copy is an ordinary tensor in host memory."""
    return bool(
        is_torch_tensor(tensor)
        and tensor.device.type == "cpu"
        and str(tensor.layout) == "torch.strided"
        and not tensor.is_quantized
        and not tensor.is_nested
    )

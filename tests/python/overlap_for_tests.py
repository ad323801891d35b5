"""What the tests of capture beside training share: little trainings, a worker that is held up."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import mlprov
from mlprov import _core

torch = pytest.importorskip("torch")

WIDTH = 160  # two layers of 100 KiB: more than what is hashed at once (csrc/capture/ticket.h)

NEEDS_A_WORKER = pytest.mark.skipif(
    _core.torch_bridge() is None or _core.hash_threads_beside() == 0,
    reason="nothing is hashed beside training: one processor, or no mlprov._torch for this torch",
)


class Sparse(torch.nn.Module):
    """A model whose gradient is sparse."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(WIDTH, WIDTH, sparse=True)

    def forward(self, rows: Any) -> Any:
        return self.table((rows * WIDTH).long().clamp(0, WIDTH - 1))


def dense_model() -> Any:
    """Two layers of matrices, and running statistics that each forward pass changes."""
    return torch.nn.Sequential(
        torch.nn.Linear(WIDTH, WIDTH, bias=False),
        torch.nn.BatchNorm1d(WIDTH, affine=False),
        torch.nn.Linear(WIDTH, WIDTH, bias=False),
    )


@contextmanager
def one_worker() -> Iterator[None]:
    """One worker hashes beside; it takes jobs in the order in which they come."""
    before = _core.hash_threads()
    _core.set_hash_threads(1)
    try:
        yield
    finally:
        _core.set_hash_threads(before)


def hold_up(mib: int = 128) -> _core.Ticket:
    """Keep the one worker busy: what is queued next is still to be hashed at the barrier.

    SHA-256 cannot be cut: the worker leaves when it has all of it.
    """
    return _core.Ticket([torch.zeros(1).expand(mib << 18)], "sha256", threads=1)


@dataclasses.dataclass
class Training:
    """A training of three epochs of two batches, recorded.

    Attributes:
        model: makes the model.
        optimizer: makes the optimizer of a model.
        closure: whether ``step`` is given one.
        between: called with the model at the start of each epoch but the first, after the capture.
    """

    model: Callable[[], Any]
    optimizer: Callable[[Any], Any]
    closure: bool = False
    between: Callable[[Any], None] | None = None

    def run(self, store: Path, **settings: Any) -> mlprov.Run:
        """Train and record; the worker is held up at the end of each epoch."""
        torch.manual_seed(7)
        model = self.model()
        optimizer = self.optimizer(model)
        slow = []
        with (
            one_worker(),
            mlprov.start("t", model=model, optimizer=optimizer, store=store, **settings) as run,
        ):
            for epoch in run.epochs(3):
                if epoch.index and self.between is not None:
                    self.between(model)
                for batch in run.track([torch.rand(8, WIDTH) for _ in range(2)]):
                    self.step(model, optimizer, batch)
                slow.append(hold_up())
        return run

    def step(self, model: Any, optimizer: Any, batch: Any) -> None:
        """One step."""

        def loss_of_batch() -> Any:
            optimizer.zero_grad()
            loss = model(batch).square().mean()
            loss.backward()
            return loss

        if self.closure:
            optimizer.step(loss_of_batch)
        else:
            loss_of_batch()
            optimizer.step()


def of_type(run: mlprov.Run, kind: str) -> Sequence[Any]:
    """The records of a type."""
    return [record for record in run.records if record["type"] == kind]


def state(run: mlprov.Run) -> list[tuple[Any, ...]]:
    """What the epoch records say of tensors, whoever hashed them."""
    return [
        (record["weights"], record["aliases"], record["buffers"], record["optimizer"])
        for record in of_type(run, "epoch")
    ]


def guards(run: mlprov.Run) -> list[str]:
    """The guard of each epoch."""
    return [record["guard"] for record in of_type(run, "epoch")]


def sgd(model: Any, **options: Any) -> Any:
    """Plain gradient descent."""
    return torch.optim.SGD(model.parameters(), lr=0.1, **options)


def train_step(model: Any, optimizer: Any) -> None:
    """One step with a batch that nobody tracks."""
    optimizer.zero_grad()
    model(torch.rand(8, WIDTH)).square().mean().backward()
    optimizer.step()


def steps_and_skipped(run: mlprov.Run) -> list[tuple[int, int]]:
    """How many optimizer steps each epoch had, and how many of them wrote nothing."""
    return [(record["steps"], record["skipped"]) for record in of_type(run, "epoch")]

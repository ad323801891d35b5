"""What tests of faults share: a store with a run in it, and a training whose curve is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from training_for_tests import (
    loader,
    network,
    state,
    train_step,
)

import mlprov


def contents(path: Path) -> dict[str, bytes | None]:
    """Every file of a store; directories are None."""
    found = {
        p.relative_to(path).as_posix(): p.read_bytes() if p.is_file() else None
        for p in path.rglob("*")
    }
    found.pop("log/.lock", None)
    return found


def used_store(directory: Path) -> Path:
    """A store that has a run."""
    with mlprov.start("before", model=state(), store=directory / "store") as run:
        for epoch in run.epochs(1):
            epoch.log(loss=1)
    return directory / "store"


def names_it(error: BaseException, *words: str) -> bool:
    """Whether an error is one line that holds these words."""
    return "\n" not in str(error) and all(word in str(error) for word in words)


def losses(
    epochs: int = 4, *, during: Callable[[int], None] = lambda _: None, **start: Any
) -> list[float]:
    """The loss of every step of a small training; recorded where a store is named."""
    model, optimizer = network()
    curve = []
    run = None
    if start:
        run = mlprov.start("curve", model=model, optimizer=optimizer, **start)
    for index in run.epochs(epochs) if run else range(epochs):
        for number, batch in enumerate(run.track(loader()) if run else loader()):
            if number == 1:
                during(int(index.index) if run else index)
            curve.append(train_step(model, optimizer, batch))
        if run:
            index.log(loss=curve[-1])
    if run:
        run.finish()
    return curve

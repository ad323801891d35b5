"""What a step costs more under mlprov, MLflow and Weights & Biases: the loop of ``track_cost.py``.

A small model at some 2,000 steps a second, on batches of 16 KiB. All candidates train the same
model in one process and take turns every few steps; what one costs is the difference of the
means of rounds (batches of mlprov that waited are hashed together in one step of a dozen, which a
median would leave out).

MLflow's autologging does nothing in a loop of one's own (``mlflow.pytorch.autolog`` acts on
Lightning's trainer): its users log the loss of each step themselves. It writes to its file store,
without a database. W&B is offline. mlprov hashes every batch and counts every step; with
``run.log`` it records the loss of each as well, as the others do.

Then the same model and batches under Lightning, whose module logs the loss of each step: mlprov's
callback, MLflow's autologging, W&B's logger, each in fits of their own that take turns.

    python benchmarks/tracker_cost.py [--rounds N] [--quick]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import itertools
import logging
import os
import pathlib
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from _measure import Goal, processor, report, table
from torch.utils.data import DataLoader
from track_cost import BLOCK, STEPS, Training, time_steps

import mlprov

PEERS = {"mlflow": "MLflow, log_metric", "wandb": "W&B offline, log"}
OURS = ("mlprov, track", "mlprov, track and log")


@dataclass
class Side:
    """How one candidate trains.

    Attributes:
        batches: what a pass goes over.
        log: what it does with the loss of a step.
        turn: is entered while this side has its turn; what that takes is not counted.
    """

    batches: Iterable[Any]
    log: Callable[[Any], object]
    turn: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext


def ours(run: mlprov.Run, batches: Iterable[Any]) -> dict[str, Side]:
    """Two sides of one run; its hooks are there while one of them has its turn."""

    @contextlib.contextmanager
    def turn() -> Iterator[None]:
        run.barrier.watch.start()
        yield
        run.barrier.watch.stop()

    run.barrier.watch.stop()
    logs: list[Callable[[Any], object]] = [lambda _: None, lambda loss: run.log(loss=loss)]
    tracked = run.track(batches)
    return {name: Side(tracked, log, turn) for name, log in zip(OURS, logs, strict=True)}


def of_mlflow(folder: pathlib.Path, batches: Iterable[Any], stack: ExitStack) -> Side:
    """A run of MLflow's that is told the loss of each step."""
    os.environ |= {
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": (folder / "mlruns").as_uri(),
    }
    mlflow: Any = importlib.import_module("mlflow")
    stack.enter_context(mlflow.start_run())
    return Side(batches, lambda loss: mlflow.log_metric("loss", loss.item()))


def of_wandb(folder: pathlib.Path, batches: Iterable[Any], stack: ExitStack) -> Side:
    """A run of W&B's that is told the loss of each step."""
    os.environ |= {
        "WANDB_CACHE_DIR": str(folder),
        "WANDB_DIR": str(folder),
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
    }
    wandb: Any = importlib.import_module("wandb")
    run = stack.enter_context(wandb.init(project="cost"))
    return Side(batches, lambda loss: run.log({"loss": loss.item()}))


def measure(training: Training, sides: dict[str, Side], rounds: int) -> dict[str, list[float]]:
    """µs of a step, of each side and round: means."""

    def work(side: Side) -> Callable[[Any], None]:
        def step(batch: Any) -> None:
            side.log(training.step(batch))

        return step

    means: dict[str, list[float]] = {name: [] for name in sides}
    works = {name: work(side) for name, side in sides.items()}
    for _ in range(rounds):
        times: dict[str, list[float]] = {name: [] for name in sides}
        passes = {name: iter(side.batches) for name, side in sides.items()}
        for block in range(STEPS // BLOCK):
            for name in list(sides) if block % 2 else list(sides)[::-1]:
                with sides[name].turn():
                    times[name] += time_steps(passes[name], works[name])
        for name, of in times.items():
            means[name].append(statistics.fmean(of))
    return means


def compare(folder: pathlib.Path, rounds: int) -> list[Goal]:
    """Print the table of what is installed; goals to each that is."""
    training = Training()
    makers = {"mlflow": of_mlflow, "wandb": of_wandb}
    with ExitStack() as stack:
        run = stack.enter_context(
            mlprov.start("cost", model=training.model, optimizer=training.optimizer)
        )
        sides = {"nothing": Side(training.batches, lambda _: None)}
        sides |= ours(run, training.batches)
        for package, make in makers.items():
            if not is_installed(package):
                print(f"{package} is not installed: not compared (requirements/frameworks.txt)\n")
            else:
                sides[PEERS[package]] = make(folder, training.batches, stack)
        for _ in run.epochs(1):
            means = measure(training, sides, rounds)
        run.barrier.watch.start()
    return judge(means)


def in_lightning(folder: pathlib.Path, rounds: int) -> list[Goal]:
    """The same for Lightning's trainer; a goal to each tracker that is installed."""
    missing = [one for one in ("lightning", "pandas", *PEERS) if not is_installed(one)]
    if missing:
        print(f"\n{', '.join(missing)}: not installed, so that Lightning is not compared")
        return []
    fits = lightning_fits(folder, Training().batches[: STEPS // 2])
    for fit in fits.values():
        fit()
    means: dict[str, list[float]] = {name: [] for name in fits}
    for number in range(rounds):
        for name in list(fits) if number % 2 else list(fits)[::-1]:
            means[name].append(statistics.fmean(fits[name]()))
    print("\n### Under Lightning\n")
    return judge(means)


def lightning_fits(
    folder: pathlib.Path, batches: list[Any]
) -> dict[str, Callable[[], list[float]]]:
    """Name → a fit of one epoch that gives the µs of each of its steps."""
    lightning: Any = importlib.import_module("lightning")
    loggers: Any = importlib.import_module("lightning.pytorch.loggers")
    autolog: Any = importlib.import_module("mlflow.pytorch").autolog
    logging.disable(logging.WARNING)  # of a trainer that is made anew for each fit

    class Net(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = Training().model

        def training_step(self, batch: Any, _: int) -> Any:
            inputs, targets = batch
            loss = torch.nn.functional.cross_entropy(self.model(inputs), targets)
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    class Times(lightning.Callback):
        def __init__(self) -> None:
            self.begun: list[float] = []

        def on_train_batch_start(self, *_: Any) -> None:
            self.begun.append(time.perf_counter() * 1e6)

    def fit(*callbacks: Any, logger: Any = False) -> list[float]:
        times = Times()
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=logger,
            log_every_n_steps=1,
            callbacks=[times, *callbacks],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Net(), DataLoader(batches, batch_size=None))
        return [after - before for before, after in itertools.pairwise(times.begun)]

    def with_autologging() -> list[float]:
        autolog(log_every_n_step=1, log_models=False, checkpoint=False, silent=True)
        try:
            return fit()
        finally:
            autolog(disable=True, silent=True)

    return {
        "nothing": fit,
        "mlprov, Callback": lambda: fit(mlprov.integrations.lightning.Callback("cost")),
        "MLflow, pytorch.autolog": with_autologging,
        "W&B offline, WandbLogger": lambda: fit(
            logger=loggers.WandbLogger(project="cost", offline=True, save_dir=folder)
        ),
    }


def is_installed(package: str) -> bool:
    """Whether it can be imported."""
    return importlib.util.find_spec(package) is not None


def judge(means: dict[str, list[float]]) -> list[Goal]:
    """Print what each costs more than nothing; goals of our own to the others."""
    plain = means.pop("nothing")
    lost = {
        name: [a - b for a, b in zip(of, plain, strict=True)] for name, of in means.items()
    }  # fmt: skip
    show(statistics.median(plain), lost)
    cost = {name: statistics.median(of) for name, of in lost.items()}
    return [
        Goal(f"{own}: cost of a step to {peer}", cost[own] / cost[peer], 1, at_most=True)
        for own in cost
        for peer in cost
        if own.startswith("mlprov") and not peer.startswith("mlprov")
    ]


def show(plain: float, lost: dict[str, list[float]]) -> None:
    """The table: µs more a step, and the ratio of a step with it to one without."""
    rows = []
    for name, of in lost.items():
        low, middle, high = statistics.quantiles(of, n=4)
        ratio = (plain + middle) / plain
        rows.append([name, f"{middle:.1f}", f"{low:.1f} to {high:.1f}", f"{ratio:.2f}"])
    print(f"A step alone takes {plain:.1f} µs.\n")
    table(["beside it", "µs more a step", "quartiles", "step : step alone"], rows)


def main() -> None:
    """Print the table, and the goals."""
    parser = argparse.ArgumentParser(description="cost of a step beside that of trackers")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("## A step under mlprov, MLflow and W&B\n")
    print(f"{processor()}; torch {torch.__version__}, 1 thread\n")
    with tempfile.TemporaryDirectory() as directory:
        os.environ["MLPROV_HOME"] = f"{directory}/home"
        os.environ["MLPROV_STORE"] = f"{directory}/store"
        folder, rounds = pathlib.Path(directory), 3 if options.quick else options.rounds
        report(compare(folder, rounds) + in_lightning(folder, max(3, rounds // 3)))


if __name__ == "__main__":
    main()

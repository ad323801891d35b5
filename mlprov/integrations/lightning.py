"""A callback for Lightning.

    trainer = L.Trainer(callbacks=[mlprov.integrations.lightning.Callback("digits")])

Each ``fit``, ``validate``, ``test`` and ``predict`` is a run of its own; the later ones name the
fit as their parent. Hooks are those of Lightning 2 (``lightning.pytorch.callbacks.Callback``).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from mlprov.autologging import run_name
from mlprov.integrations import frameworks
from mlprov.integrations.recording import Recording, one_optimizer
from mlprov.runs import Run

__all__ = ["Callback", "record_automatically"]

_pytorch: Any = frameworks.load("lightning", "lightning.pytorch", "pytorch_lightning")


class Callback(_pytorch.Callback):  # type: ignore[misc]
    """Records what a Lightning trainer does.

    A fit: the module's weights before it and at the end of every training epoch, the state of its
    optimizers, batches of training and validation, the sanity check apart from them (role
    ``sanity``), what is logged, every checkpoint file that the trainer saves, and the checkpoint
    that it goes on from. An exception ends the run as failed, and passes on.

    Args:
        name: of the runs that are started.
        run: a run to record into instead, started with the module as its model; it stays open.
        **options: of :func:`mlprov.start`. ``config`` is the module's hyperparameters where it is
            not given.

    Attributes:
        recording: what is going on.

    Raises:
        ConfigError: neither or both of ``name`` and ``run``.
    """

    def __init__(self, name: str | None = None, *, run: Run | None = None, **options: Any) -> None:
        super().__init__()
        self.recording = Recording(name, run, options)
        self._fit: str | None = None  # id of the last fit's run
        self._resumed: str | None = None  # run that wrote the checkpoint which is loaded

    @property
    def run(self) -> Run | None:
        """The run of what is going on, or of the last that was; None before the first."""
        return self.recording.run

    # ---- beginning and end ----

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """A fit begins; weights of a checkpoint are loaded, optimizers are there."""
        if self._resumed is not None:
            self.recording.parents.append(self._resumed)
            self._resumed = None
        self._begin(trainer, pl_module, optimizer=one_optimizer(trainer.optimizers))
        self._fit = None if self.run is None else self.run.id
        self._watch_checkpoints(trainer)
        if trainer.ckpt_path is not None:
            self.recording.checkpoint(trainer.ckpt_path)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """A validation outside a fit begins."""
        self._begin_evaluation(trainer, pl_module)

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """A test begins."""
        self._begin_evaluation(trainer, pl_module)

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        """A prediction begins."""
        self._begin_evaluation(trainer, pl_module)

    def _begin_evaluation(self, trainer: Any, pl_module: Any) -> None:
        if trainer.state.fn == "fit":
            return
        if self._fit is not None:
            self.recording.parents.append(self._fit)
        self._begin(trainer, pl_module)
        if trainer.ckpt_path is not None:
            self.recording.checkpoint(trainer.ckpt_path)

    def _begin(self, trainer: Any, pl_module: Any, optimizer: Any = None) -> None:
        config = {"lightning": trainer.state.fn.value, **getattr(pl_module, "hparams", {})}
        self.recording.begin(
            model=pl_module, optimizer=optimizer, config=config, loggers=trainer.loggers
        )

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """What the trainer did is over."""
        trainer.__dict__.pop("save_checkpoint", None)
        if stage != "fit":
            self.recording.end_batches(_role(trainer))
            self.recording.log(trainer.callback_metrics)
        self.recording.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """What the trainer did has failed."""
        trainer.__dict__.pop("save_checkpoint", None)
        self.recording.end(exception)

    # ---- epochs and batches ----

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """An epoch of training begins."""
        self.recording.begin_epoch(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """An epoch of training is complete, its validation too."""
        self.recording.end_epoch(trainer.callback_metrics)

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """A batch goes into training, as it lies on the device."""
        if not self.recording.is_in_epoch:  # resumed in the middle of an epoch: no start is told
            self.recording.begin_epoch(trainer.current_epoch)
        self.recording.batch("train", batch)

    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A batch goes into a validation or a sanity check."""
        self.recording.batch(_role(trainer), batch)

    def on_test_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A batch goes into a test."""
        self.recording.batch("test", batch)

    def on_predict_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A batch goes into a prediction."""
        self.recording.batch("predict", batch)

    def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
        """The sanity check is over."""
        self.recording.end_batches("sanity")

    # ---- checkpoints ----

    def _watch_checkpoints(self, trainer: Any) -> None:
        """Record what ``trainer.save_checkpoint`` writes, which ModelCheckpoint calls too.

        ``on_save_checkpoint`` comes before there is a file, and does not say where it will be.
        """
        save = trainer.save_checkpoint

        @functools.wraps(save)
        def save_and_record(filepath: Any, *arguments: Any, **keywords: Any) -> None:
            save(filepath, *arguments, **keywords)
            self.recording.checkpoint(filepath)

        trainer.save_checkpoint = save_and_record

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this callback: the id of the run that wrote it."""
        return {} if self.run is None else {"run": self.run.id}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The trainer goes on from a checkpoint of this run."""
        self._resumed = state_dict.get("run")


def record_automatically(pytorch: ModuleType, name: str | None, options: Mapping[str, Any]) -> None:
    """Give every trainer that is made from now on a callback, if it has none."""
    trainer: Any = vars(pytorch)["Trainer"]
    construct = trainer.__init__

    @functools.wraps(construct)
    def construct_recorded(self: Any, *arguments: Any, **keywords: Any) -> None:
        construct(self, *arguments, **keywords)
        if not any(isinstance(one, Callback) for one in self.callbacks):
            # Those that write checkpoints stand last, as Lightning orders them.
            self.callbacks.insert(0, Callback(run_name(name), **options))

    trainer.__init__ = construct_recorded


def _role(trainer: Any) -> str:
    """What batches are used for, of the stage that the trainer is in."""
    if trainer.sanity_checking:
        return "sanity"
    stage = trainer.state.fn.value
    return str(stage) if stage in ("test", "predict") else "validation"

"""A callback for Hugging Face's Trainer.

    trainer = Trainer(..., callbacks=[mlprov.integrations.huggingface.Callback("sentiment")])

Loops of one's own with Accelerate need no callback: see docs/integrations.md. Hooks are those of
``transformers.TrainerCallback``.
"""

from __future__ import annotations

import contextlib
import functools
import pathlib
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from mlprov.autologging import run_name
from mlprov.integrations import frameworks, loaders_in_place
from mlprov.integrations.recording import Recording
from mlprov.runs import Run

__all__ = ["Callback", "record_automatically"]

_transformers: Any = frameworks.load("huggingface", "transformers")

_KEPT = "mlprov"  # where a checkpoint's trainer_state.json has the id of the run that wrote it


class Callback(_transformers.TrainerCallback):  # type: ignore[misc]
    """Records what a ``transformers.Trainer`` does in ``train()``.

    The model's weights before it and at the end of every epoch, the state of the optimizer, the
    batches of training and evaluation (role ``validation``), what the trainer logs, and each
    checkpoint directory that it writes. ``evaluate()`` and ``predict()`` outside of a training are
    runs of their own: model, batches and metrics, with the training as parent. Batches are taken
    before they go to a device; Accelerate reads one ahead, so that the record tells what was read.

    The trainer has no hook for exceptions: a run whose training ended in one is ended as failed by
    the next training, or when the interpreter exits.

    Args:
        name: of the runs that are started.
        run: a run to record into instead, started with the same model; it stays open.
        **options: of :func:`mlprov.start`. ``config`` are the training arguments where it is not
            given.

    Attributes:
        recording: what is going on.

    Raises:
        ConfigError: neither or both of ``name`` and ``run``.
    """

    def __init__(self, name: str | None = None, *, run: Run | None = None, **options: Any) -> None:
        self.recording = Recording(name, run, options)
        self._logged: dict[str, Any] = {}
        self._loader: Any = None
        self._is_alone = False  # the run that is open is an evaluation's own
        self._trained: str | None = None  # id of the last training's run

    @property
    def run(self) -> Run | None:
        """The run of the training that is going on, or of the last; None before the first."""
        return self.recording.run

    def on_train_begin(
        self,
        args: Any,
        state: Any,
        control: Any,
        model: Any = None,
        optimizer: Any = None,
        train_dataloader: Any = None,
        **others: Any,
    ) -> None:
        """Training begins, from scratch or from a checkpoint that is loaded."""
        config = {"arguments": args.to_dict(), "model": _configuration(model)}
        # torch's hooks tell of the optimizer that is inside Accelerate's.
        optimizer = getattr(optimizer, "optimizer", optimizer)
        if state.global_step:  # only a resumed training has made steps before it begins
            before = state.stateful_callbacks.get(_KEPT) or {}
            self.recording.parents.extend(before.values())
        self.recording.begin(model=model, optimizer=optimizer, config=config)
        if state.global_step:
            self._record_resumed(args, state)
        if self.run is not None:
            self._trained = self.run.id
            state.stateful_callbacks[_KEPT] = {"run": self.run.id}
        self._track(train_dataloader)

    def _record_resumed(self, args: Any, state: Any) -> None:
        self.recording.log({"resumed_at_step": state.global_step}, step=state.global_step)
        given = args.resume_from_checkpoint
        path = pathlib.Path(given if isinstance(given, str) else _directory(args, state))
        if path.exists():
            self.recording.checkpoint(path)

    def _track(self, loader: Any) -> None:
        """Record the batches of the loader that the trainer has taken hold of."""
        if loader is not None and self.recording.is_open and self.run is not None:
            self._loader = _torchs_own(loader)
            loaders_in_place.record_in_place(self._loader, self.run.track)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """An epoch begins."""
        self.recording.begin_epoch(int(state.epoch or 0))

    def on_epoch_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """An epoch is complete; its evaluation and checkpoint come afterwards."""
        logged, self._logged = self._logged, {}
        self.recording.end_epoch(logged)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **others: Any
    ) -> None:
        """The trainer logs: losses as it goes, evaluations, totals at the end."""
        logs = logs or {}
        if self._is_alone:  # on_evaluate has the same
            return
        if self.recording.is_in_epoch:
            self._logged.update(logs)
        self.recording.log(logs, step=state.global_step)

    @contextlib.contextmanager
    def evaluation(self, trainer: Any, loader: Any, what: str) -> Iterator[None]:
        """Record what an evaluation or a prediction reads; outside of a training as its own run.

        Args:
            trainer: that makes it.
            loader: as the trainer has prepared it.
            what: ``"evaluate"`` or ``"predict"``.
        """
        if not self.recording.is_open:
            self._begin_alone(what, trainer.args, trainer.model)
        held, role = _torchs_own(loader), "predict" if what == "predict" else "validation"
        if self.run is not None:
            loaders_in_place.record_in_place(held, functools.partial(self.run.track, role=role))
        try:
            yield
        except BaseException as error:
            if self._is_alone:
                self._end_alone({}, error)
            raise
        finally:
            loaders_in_place.stop_recording(held)

    def on_evaluate(
        self,
        args: Any,
        state: Any,
        control: Any,
        metrics: dict[str, Any] | None = None,
        model: Any = None,
        **others: Any,
    ) -> None:
        """An evaluation is over: what one within a training says is logged, another is a run."""
        self._record_alone("evaluate", args, model, metrics)

    def on_predict(
        self,
        args: Any,
        state: Any,
        control: Any,
        metrics: dict[str, Any] | None = None,
        model: Any = None,
        **others: Any,
    ) -> None:
        """A prediction is over."""
        self._record_alone("predict", args, model, metrics)

    def _record_alone(self, what: str, args: Any, model: Any, metrics: Any) -> None:
        if not self.recording.is_open:  # a trainer with an evaluation loop of its own
            self._begin_alone(what, args, model)
        if self._is_alone:
            self._end_alone(metrics or {}, None)

    def _begin_alone(self, what: str, args: Any, model: Any) -> None:
        if self._trained is not None:
            self.recording.parents.append(self._trained)
        config = {what: args.to_dict(), "model": _configuration(model)}
        self.recording.begin(model=model, config=config)
        self._is_alone = self.recording.is_open

    def _end_alone(self, metrics: Mapping[str, Any], error: BaseException | None) -> None:
        self._is_alone = False
        self.recording.log(metrics)
        self.recording.end(error)

    def on_save(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """The trainer has written a checkpoint directory."""
        path = _directory(args, state)
        if path.exists():
            self.recording.checkpoint(path)

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Training is over."""
        if self._loader is not None:
            loaders_in_place.stop_recording(self._loader)
            self._loader = None
        self.recording.end()


def _watch_evaluations() -> None:
    """Tell the callbacks of a trainer of an evaluation before its first batch is read.

    The trainer itself tells them of the loader when batches have been taken from it.
    """
    trainer: Any = _transformers.Trainer
    loop = trainer.evaluation_loop

    @functools.wraps(loop)
    def watched(self: Any, dataloader: Any, *arguments: Any, **keywords: Any) -> Any:
        description = keywords.get("description", arguments[0] if arguments else "")
        what = "predict" if description == "Prediction" else "evaluate"
        with contextlib.ExitStack() as stack:
            for one in self.callback_handler.callbacks:
                if isinstance(one, Callback):
                    stack.enter_context(one.evaluation(self, dataloader, what))
            return loop(self, dataloader, *arguments, **keywords)

    trainer.evaluation_loop = watched


_watch_evaluations()


def record_automatically(module: ModuleType, name: str | None, options: Mapping[str, Any]) -> None:
    """Give every trainer that is made from now on a callback, if it has none."""
    trainer: Any = vars(module)["Trainer"]
    construct = trainer.__init__

    @functools.wraps(construct)
    def construct_recorded(self: Any, *arguments: Any, **keywords: Any) -> None:
        construct(self, *arguments, **keywords)
        if not any(isinstance(one, Callback) for one in self.callback_handler.callbacks):
            self.add_callback(Callback(run_name(name), **options))

    trainer.__init__ = construct_recorded


def _torchs_own(loader: Any) -> Any:
    """Accelerate's loader has torch's inside, and moves what it yields to the device."""
    return getattr(loader, "__dict__", {}).get("base_dataloader", loader)


def _directory(args: Any, state: Any) -> pathlib.Path:
    """Where the trainer writes the checkpoint of this step (``Trainer._save_checkpoint``)."""
    return pathlib.Path(args.output_dir) / f"checkpoint-{state.global_step}"


def _configuration(model: Any) -> Any:
    config: Any = getattr(model, "config", None)
    return config.to_dict() if hasattr(config, "to_dict") else None

"""Experiment trackers that are active beside a run are told its id and, at its end, its root.

Only trackers that the script itself has loaded are looked at; what they answer never matters.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from mlprov.runs import Run

__all__ = ["Tags"]


class Tags:
    """The trackers' runs that were active while a run was recorded.

    MLflow: tags ``mlprov.run`` and ``mlprov.root``, set through a client, since its run may have
    ended before ours. Weights & Biases: ``mlprov.run`` and ``mlprov.root`` in the summary, which
    takes nothing after the end: the root there is that of the last look until then.

    Args:
        run: the one that is recorded.
        loggers: of Lightning's trainer. Its ``MLFlowLogger`` writes through a client, and MLflow
            knows of no active run.
    """

    def __init__(self, run: Run, loggers: Sequence[Any] = ()) -> None:
        self._run = run
        self._loggers = [one for one in loggers if type(one).__name__ == "MLFlowLogger"]
        self._mlflow: dict[str, Any] = {}  # id of a run of MLflow's → a client
        self._wandb: Any = None
        self.look()

    def look(self) -> None:
        """Tag with the run's id what is active now, if it is not tagged yet."""
        head = self._run.head
        if head is None:
            return
        with contextlib.suppress(Exception):
            for name, client in self._active_in_mlflow():
                if name not in self._mlflow:
                    self._mlflow[name] = client
                    client.set_tag(name, "mlprov.run", self._run.id)
        with contextlib.suppress(Exception):
            active = getattr(sys.modules.get("wandb"), "run", None)
            if active is not None and active is not self._wandb:
                self._wandb = active
                active.summary["mlprov.run"] = self._run.id
        self._tell_wandb(head[1])

    def conclude(self) -> None:
        """Tag with the root that the last head has."""
        self.look()
        head = self._run.head
        if head is None:
            return
        for name, client in self._mlflow.items():
            with contextlib.suppress(Exception):
                client.set_tag(name, "mlprov.root", head[1])

    def _active_in_mlflow(self) -> Iterator[tuple[str, Any]]:
        mlflow: Any = sys.modules.get("mlflow")
        active = None if mlflow is None else mlflow.active_run()
        if active is not None:
            yield active.info.run_id, mlflow.MlflowClient()
        for logger in self._loggers:
            yield logger.run_id, logger.experiment

    def _tell_wandb(self, root: str) -> None:
        with contextlib.suppress(Exception):
            if self._wandb is not None:
                self._wandb.summary["mlprov.root"] = root

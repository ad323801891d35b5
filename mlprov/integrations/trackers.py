"""Experiment trackers that are active beside a run are told its id and, at its end, its root.

Only trackers that the script itself has loaded are looked at; what they answer never matters.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from mlprov.runs import Run

__all__ = ["Tags"]


class Tags:
    """The tracker's runs that were active while a run was recorded.

    MLflow: tags ``mlprov.run`` and ``mlprov.root``, set through a client, since its run may have
    ended before ours. Weights & Biases: ``mlprov.run`` and ``mlprov.root`` in the summary.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._mlflow: str | None = None
        self._wandb: Any = None
        self.look()

    def look(self) -> None:
        """Tag with the run's id what is active now, if it is not tagged yet."""
        if self._run.head is None:
            return
        with contextlib.suppress(Exception):
            mlflow = sys.modules.get("mlflow")
            active = None if mlflow is None else mlflow.active_run()
            if active is not None and active.info.run_id != self._mlflow:
                self._mlflow = active.info.run_id
                self._set("mlprov.run", self._run.id)
        with contextlib.suppress(Exception):
            active = getattr(sys.modules.get("wandb"), "run", None)
            if active is not None and active is not self._wandb:
                self._wandb = active
                active.summary["mlprov.run"] = self._run.id

    def conclude(self) -> None:
        """Tag with the root that the last head has."""
        head = self._run.head
        if head is None:
            return
        self.look()
        with contextlib.suppress(Exception):
            self._set("mlprov.root", head[1])
        with contextlib.suppress(Exception):
            if self._wandb is not None:
                self._wandb.summary["mlprov.root"] = head[1]

    def _set(self, name: str, value: str) -> None:
        if self._mlflow is not None:
            sys.modules["mlflow"].MlflowClient().set_tag(self._mlflow, name, value)

"""What each record of a run holds (docs/format.md section 5); mlprov.runs says when it is made."""

from __future__ import annotations

import operator
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mlprov import (
    _core,
    brackets,
    checkpoints,
    datasets,
    environment,
    generators,
    left_streams,
    models,
    processes,
    pytrees,
    ranks,
    records,
    redaction,
    resumption,
    saved_models,
    torch_flags,
)
from mlprov._version import __version__
from mlprov.captures import Capture, Guard
from mlprov.configuration import Settings
from mlprov.epoch_captures import EpochCapture, guard_of
from mlprov.epochs import Epoch, metric_values
from mlprov.errors import Error, EvidenceError, StoreError
from mlprov.frozen import Frozen
from mlprov.kept_states import KeptStates
from mlprov.model_digests import ModelDigest, NamedTensors
from mlprov.models import Leaves
from mlprov.optimizers import read_optimizer
from mlprov.plans import CapturePlan, plan_of_model
from mlprov.privacy_accounts import PrivacyAccount
from mlprov.ranks import Rank
from mlprov.recorder import Owner, Recorder
from mlprov.records import Json
from mlprov.resumption import Past
from mlprov.saved_files import SavedFile
from mlprov.tree_references import TreeReference

__all__ = ["RunRecords"]

T = TypeVar("T")

_RECORDED_SETTINGS = ("check", "every", "on_error", "snapshot", "trust_version")
_MAX_NAMES = 100  # of frozen tensors that changed
_MAX_CONFIG = 4 << 20  # bytes of canonical JSON; a record has 16 MiB at most


def _aliases(model: ModelDigest | None) -> list[Json]:
    return [] if model is None else [list(group) for group in model.aliases]


class RunRecords:
    """Makes the records of one run and keeps the trees that they name."""

    def __init__(
        self,
        recorder: Recorder,
        settings: Settings,
        model: Any,
        optimizer: Any,
        kept: KeptStates,
        account: PrivacyAccount,
        guard: Guard,
    ) -> None:
        self._recorder = recorder
        self._guard = guard
        self._settings = settings
        self._model = model
        self._optimizer = optimizer
        self._kept = kept
        self._account = account
        self._random = generators.RandomStates(settings.seeds, lambda: self._account.is_private)
        self._algorithm = settings.algorithm
        self._plan: CapturePlan | None = None  # of the model, from the first time it is read
        self._frozen = Frozen(model, guard.guarded, optimizer) if settings.trust_version else None
        self._datasets: dict[str, bytes] = {}  # role → root of the last one recorded

    def _keep(self, leaves: Sequence[bytes]) -> Json:
        """Keep the leaves of a tree in the store; the reference is what a record names.

        Where they cannot be kept the record has the root all the same, and a gap says that nothing
        can be proved of single leaves (docs/format.md section 5, ``gap``).
        """
        try:
            root = self._recorder.store.put_leaves(leaves)
        except StoreError as error:
            if self._recorder.raises:
                raise
            root = _core.merkle_root(leaves)
            self._recorder.gap("leaves", error)
        return TreeReference(root, len(leaves)).json()

    def _keep_state(self, state: Leaves | ModelDigest | None) -> Json:
        return None if state is None else self._keep(state.leaves)

    @property
    def _model_plan(self) -> CapturePlan:
        if self._plan is None:
            self._plan = plan_of_model(self._model, self._algorithm)
        return self._plan

    def release(self) -> None:
        """The run has ended: model, optimizer and all else that it recorded may go."""
        self._model = self._optimizer = self._plan = self._frozen = None
        self._kept, self._account = KeptStates(), PrivacyAccount()

    def take_state(self, state: Any) -> Any:
        """Record this state as the weights from now on; returns it as the model of the run."""
        self._model = pytrees.named_state(state)
        self._plan = None
        return self._model

    # ---- the run ----

    def start(
        self, run_id: str, name: str, owner: Owner, config: Any, parents: Sequence[str]
    ) -> int:
        """``run.start``: who, what and with what. Returns its seq."""
        settings = self._settings
        found: list[str] = []
        return self._recorder.append(
            "run.start",
            version=1,
            run=run_id,
            name=name,
            project=settings.project,
            algorithm=settings.algorithm,
            owner=owner.statement,
            owner_key=owner.vkey,
            **self._circumstances(config, found),
            parents=[records.json_value(parent) for parent in parents],
            tags=redaction.redact(list(settings.tags), where="tags", found=found),
            group=redaction.redact(settings.group, where="group", found=found),
            notes=redaction.redact(settings.notes, where="notes", found=found),
            redacted=[records.json_value(where) for where in found],
            **brackets.not_before(settings.anchors),
        )

    def _circumstances(self, config: Any, found: list[str]) -> dict[str, Json]:
        """With what this process trains, as ``run.start`` and ``resume`` say it."""
        return {
            "mlprov": __version__,
            "process": processes.describe_process(),
            "ranks": None if (rank := ranks.own_rank()) is None else rank.json(),
            "config": self._configuration(config, found),
            "code": environment.capture_code(),
            "environment": environment.capture_environment(found),
            "seeds": self._random.at_start(),
            "settings": {name: getattr(self._settings, name) for name in _RECORDED_SETTINGS},
        }

    def resume(self, past: Past, config: Any) -> bool | None:
        """``resume``: at which head this process goes on, and with which weights.

        Returns:
            whether they are those that were recorded last; None where that cannot be told.

        Raises:
            StoreError: (BUSY) another process went on with the run first.
        """
        log, found = self._recorder.log, list[str]()
        head = next(head for head in past.run.heads if head.size == log.head[0])
        named, model = self._model_to_compare() or (None, None)
        now = records.next_time(None)
        seq = self._recorder.append(
            "resume",
            **{"from": head.note.decode()},
            **self._circumstances(config, found),
            weights=None if model is None else self._keep(model.leaves),
            aliases=_aliases(model),
            **(said := resumption.describe_weights(self._recorder.store, past, model)),
            clock=now if now <= (log.last_time or "") else None,
            redacted=[records.json_value(where) for where in found],
        )
        log.commit("running")  # whoever commits first has the run
        self._datasets = dict(past.data_roots)
        if self._frozen is not None and named is not None and model is not None:
            self._frozen.learn(named, model, seq)
        return None if said["equal"] is None else bool(said["equal"])

    def _model_to_compare(self) -> tuple[NamedTensors, ModelDigest] | None:
        """The loaded weights; None where there are none, and a gap where they cannot be read."""
        if self._model is None:
            return None
        try:
            named = self._model_plan.read()
            return named, named.digest(self._algorithm)
        except Error as error:
            if self._recorder.raises:
                raise
            self._recorder.gap("weights", error)
            return None

    def left_streams(self) -> int:
        """``batches``: where the streams stop that a killed process left open; how many batches."""
        names = left_streams.find_left(self._recorder.store, self._recorder.log.run_id)
        left = [left_streams.close_left(self._recorder, name) for name in names]
        found: list[Json] = [stream for stream in left if stream is not None]
        if found:
            self._recorder.append("batches", streams=found)
        return sum(int(str(stream["batches"])) for stream in found if isinstance(stream, dict))

    def _configuration(self, config: Any, found: list[str]) -> Json:
        """The user's configuration without secrets; of one that is too large its class alone."""
        value = records.json_value(config)
        size = len(records.canonical(value))
        if size <= _MAX_CONFIG:
            return redaction.redact(value, where="config", found=found)
        self._recorder.warn(
            f"the configuration has {size} bytes of {_MAX_CONFIG} and is not recorded",
            once="config",
        )
        return {"opaque": models.class_of_model(config)}

    def model(self) -> None:
        """``model``: the weights that training begins with, and the architecture."""
        named = self._model_plan.read()
        model = named.digest(self._algorithm)
        architecture = models.capture_architecture(self._model)
        seq = self._recorder.append(
            "model",
            weights=self._keep(model.leaves),
            aliases=_aliases(model),
            architecture=self._keep_state(architecture),
            **{"class": models.class_of_model(self._model)},
            parameters=models.count_parameters(self._model),
            tensors=model.size,
            bytes=sum(tensor.len for tensor in model.tensors),
        )
        if self._frozen is not None:
            self._frozen.learn(named, model, seq)

    def recheck(self, timeout: float | None) -> None:
        """``recheck``: whether what was taken on trust since the start is what it was."""
        if self._frozen is None or self._frozen.since is None:
            return
        count, changed = self._frozen.recheck(self._model_plan.read(), self._algorithm, timeout)
        self._recorder.append(
            "recheck", since=self._frozen.since, tensors=count, changed=len(changed),
            names=[records.json_value(name) for name in changed[:_MAX_NAMES]],
        )  # fmt: skip
        if changed:
            error = EvidenceError(
                f"{changed[0]!r} and {len(changed) - 1} other frozen tensors are not what they were"
                " at the start, and torch counted no write: their leaves between are of no use",
                "leave out trust_version=True",
            )
            error.status = "CHANGED"
            self._recorder.gap("weights", error, count=len(changed))

    def _read_weights(self) -> tuple[NamedTensors, Json]:
        """What is to be hashed of the model now, and what of it is taken on trust."""
        named = self._model_plan.read()
        if self._frozen is None or self._frozen.since is None:
            return named, None
        rest, count = self._frozen.leave_out(named)
        return rest, {"since": self._frozen.since, "tensors": count}

    def end(self, *, laid_down: bool, **facts: Json) -> None:
        """``run.end``, or ``interruption`` of a run that is laid down to be resumed."""
        self._recorder.append("interruption" if laid_down else "run.end", **facts)

    # ---- while it runs ----

    def ranks(self, rank: Rank) -> None:
        """``ranks``: a process group came, or is another, since the run was started."""
        self._recorder.append("ranks", ranks=rank.json())

    def data(self, role: str, data: Any) -> None:
        """``data``: one data set."""
        capture = datasets.capture_dataset(
            data, algorithm=self._algorithm, store=pathlib.Path(self._recorder.store.path)
        )
        self._warn_of_another(role, capture.root)
        self._recorder.append(
            "data",
            role=role,
            kind=capture.kind,
            tree=self._keep(capture.leaves),
            sorted=TreeReference(capture.sorted_root, capture.size).json(),
            count=capture.size,
            bytes=capture.bytes,
            fields=capture.fields,
            source=capture.source,
            weak=capture.weak,
        )

    def _warn_of_another(self, role: str, root: bytes) -> None:
        """Of the data sets of one role each is recorded, and the last one is what counts."""
        if self._datasets.setdefault(role, root) != root:
            self._recorder.warn(
                f"the role {role!r} has another data set now: both are recorded, and verification"
                " compares with the last; give each a role of its own, such as"
                f" {role + '_2'!r}, if both count",
                once=f"role {role}",
            )
            self._datasets[role] = root

    def epoch(self, epoch: Epoch, *, interrupted: bool) -> EpochCapture:
        """Begin ``epoch``: the state of everything at its end.

        A part that cannot be read is null, and a gap.
        """
        weights, trusted = None, None
        if self._model is not None:
            captured = self._part("weights", epoch, self._capture_weights)
            weights, trusted = captured or (None, None)
        return EpochCapture(
            epoch=epoch,
            interrupted=interrupted,
            weights=weights,
            trusted=trusted,
            optimizer=self._part("optimizer", epoch, self._capture_optimizer),
            ema=self._part("ema", epoch, self._capture_ema),
            scheduler=self._part("scheduler", epoch, lambda: self._keep_kept("scheduler")),
            scaler=self._part("scaler", epoch, lambda: self._keep_kept("scaler")),
            buffers=self._part("buffers", epoch, self._buffers),
            rng=self._part("rng", epoch, self._random.digests) or {},
            rng_values=self._part("rng", epoch, self._random.values),
            flags=self._part("flags", epoch, torch_flags.capture_flags),
            modes=self._part("flags", epoch, lambda: torch_flags.capture_modes(self._model)),
            privacy=self._part("privacy", epoch, lambda: self._privacy(epoch)),
        )

    def finish_epoch(self, capture: EpochCapture) -> bool:
        """``epoch``, with the digests that were made since; returns whether it was appended."""
        epoch = capture.epoch
        weights = self._finish("weights", epoch, capture.weights, self._keep_model)
        optimizer = self._finish("optimizer", epoch, capture.optimizer, self._keep_state)
        ema = self._finish("ema", epoch, capture.ema, self._keep_state)

        def append() -> bool:
            self._recorder.append(
                "epoch",
                epoch=epoch.index,
                interrupted=capture.interrupted,
                guard=guard_of(capture.captures),
                weights=weights and weights[0],
                aliases=weights[1] if weights else [],
                trusted=capture.trusted,
                buffers=capture.buffers,
                optimizer=optimizer,
                ema=ema,
                scheduler=capture.scheduler,
                scaler=capture.scaler,
                rng=capture.rng,
                rng_values=capture.rng_values,
                flags=capture.flags,
                modes=capture.modes,
                streams=epoch.streams,
                metrics=dict(epoch.metrics),
                privacy=capture.privacy,
                steps=epoch.steps,
                skipped=epoch.skipped,
            )
            return True

        return bool(self._part("epoch", epoch, append))

    def step(self, *, inline: bool) -> tuple[Capture, Json] | None:
        """Begin ``step``: the weights after an optimizer step, and what of them is trusted.

        None where there is no model.
        """
        if self._model is None:
            return None

        def capture() -> tuple[Capture, Json]:
            named, trusted = self._read_weights()
            if inline:
                return Capture(named, self._algorithm), trusted
            return self._guard.capture(named), trusted

        return self._recorder.attempt("step", capture)

    def finish_step(
        self, capture: Capture, trusted: Json, step: int, epoch: int | None, batches: int
    ) -> None:
        """``step``, with the digests that were made since."""

        def append() -> None:
            weights, aliases = self._keep_model(self._result_of(capture))
            self._recorder.append(
                "step",
                step=step,
                epoch=epoch,
                batches=batches,
                guard=capture.guard,
                weights=weights,
                aliases=aliases,
                trusted=trusted,
            )

        self._recorder.attempt("step", append, epoch=epoch)

    def _finish(
        self,
        what: str,
        epoch: Epoch,
        capture: Capture | None,
        keep: Callable[[ModelDigest], Any],
    ) -> Any:
        if capture is None:
            return None
        return self._part(what, epoch, lambda: keep(self._result_of(capture)))

    def _result_of(self, capture: Capture) -> ModelDigest:
        try:
            return capture.result()
        except EvidenceError:  # changed under capture: this loop writes where nobody expects it
            self._guard.snapshot = "inline"
            raise

    def _part(self, what: str, epoch: Epoch, action: Callable[[], T]) -> T | None:
        return self._recorder.attempt(what, action, epoch=epoch.index)

    def _capture_weights(self) -> tuple[Capture, Json]:
        named, trusted = self._read_weights()
        return self._guard.capture(named), trusted

    def _keep_model(self, model: ModelDigest) -> tuple[Json, list[Json]]:
        return self._keep(model.leaves), _aliases(model)

    def _capture_optimizer(self) -> Capture | None:
        if self._optimizer is None:
            return None
        held = read_optimizer(self._optimizer, self._model)
        return self._guard.capture(models.state_tensors(held, self._algorithm))

    def _capture_ema(self) -> Capture | None:
        named = self._kept.read("ema", self._algorithm)
        return None if named is None else self._guard.capture(named)

    def _keep_kept(self, name: str) -> Json:
        named = self._kept.read(name, self._algorithm)
        return None if named is None else self._keep(named.digest(self._algorithm).leaves)

    def _buffers(self) -> Json:
        return self._keep_state(models.capture_buffers(self._model, algorithm=self._algorithm))

    def _privacy(self, epoch: Epoch) -> Json:
        """What the accountant says; where it has no ε the rest is recorded, and a gap."""
        said, failure = self._account.read(epoch.streams)
        if failure is not None:
            if self._recorder.raises:
                raise failure
            self._recorder.gap("privacy", failure)
        return said

    def metrics(self, step: Any, values: dict[str, Any]) -> None:
        """``metrics``: values outside an epoch's own."""
        number = None if step is None else records.json_number(operator.index(step))
        self._recorder.append("metrics", step=number, metrics=metric_values(values))

    def save(self, path: pathlib.Path) -> SavedFile:
        """Write the model as safetensors; its tensors' digests are by the run's algorithm."""
        return saved_models.save_model(self._model, path, algorithm=self._algorithm)

    def checkpoint(
        self,
        path: str | os.PathLike[str],
        epoch: int | None,
        saved: SavedFile | None = None,
    ) -> None:
        """``checkpoint``: a saved model beside the live one.

        Args:
            path: of the file or directory.
            epoch: the last complete one.
            saved: what mlprov wrote there, which is not read again.
        """
        live = None
        if self._model is not None:
            live = self._model_plan.digest()
        captured = checkpoints.capture_checkpoint(
            saved or pathlib.Path(path), live, algorithm=self._algorithm
        )
        self._recorder.append(
            "checkpoint",
            path=records.json_text(checkpoints.shown_path(path)),
            format=captured.format,
            files=captured.files,
            epoch=epoch,
            weights=None if live is None else self._keep(live.leaves),
            aliases=_aliases(live),
            tensors=None if captured.leaves is None else self._keep(captured.leaves),
            mapping=captured.mapping,
        )

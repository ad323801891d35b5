"""Recording a training run: :func:`start` and the :class:`Run` that it returns."""

from __future__ import annotations

import functools
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from mlprov import configuration, optimizers, pytrees, records
from mlprov.activities import Activities
from mlprov.epochs import Epoch
from mlprov.errors import ConfigError
from mlprov.kept_states import KeptStates
from mlprov.privacy_accounts import PrivacyAccount
from mlprov.run_lives import RunLife
from mlprov.saved_files import SavedFile
from mlprov.streams import Tracked

__all__ = ["Run", "start"]

T = TypeVar("T")

_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def start(
    name: str,
    *,
    model: Any = None,
    optimizer: Any = None,
    ema: Any = None,
    scheduler: Any = None,
    scaler: Any = None,
    privacy: Any = None,
    delta: float | None = None,
    project: str | None = None,
    store: str | os.PathLike[str] | None = None,
    config: Any = None,
    parents: Sequence[str] = (),
    seeds: bool | str | None = None,
    anchors: Sequence[str] | None = None,
    publish: Sequence[str] | None = None,
    every: str | int | None = None,
    snapshot: str | None = None,
    check: str | None = None,
    trust_version: bool | None = None,
    algorithm: str | None = None,
    on_error: str | None = None,
    resume: str | None = None,
    run_id: str | None = None,
    tags: Sequence[str] | None = None,
    group: str | None = None,
    notes: str | None = None,
) -> Run:
    """Start to record a training run; the returned run is its own context manager.

    Keywords that are not given come from the configuration (:mod:`mlprov.configuration`). With
    ``MLPROV_DISABLED=1`` the run records nothing and every call on it does nothing. So it is on
    every rank but the first of a training under ``torch.distributed``: rank 0 records, and the
    record says which ranks it does not cover.

    Args:
        name: what the run is called; any text.
        model: a ``torch.nn.Module``, a state dict, or a nested state such as JAX's parameters; its
            weights are recorded now and at every epoch. What each step makes anew is handed to
            :meth:`Run.step`.
        optimizer: a torch optimizer; its state is recorded at every epoch.
        ema: averaged weights, a module or whatever has ``state_dict()``; recorded at every epoch,
            as are the next two, each under a root of its own.
        scheduler: of the learning rate.
        scaler: of the loss (``torch.amp.GradScaler``).
        privacy: the ``PrivacyEngine`` of Opacus with which the training was made private, or its
            accountant: what it says is recorded at every epoch, and neither seed nor states of
            torch's generators are, which draw the noise. An optimizer that ``make_private``
            returned is asked without it.
        delta: the δ at which ε is recorded; needed with ``privacy``.
        project: what the run belongs to.
        store: the store directory; by default the nearest ``.mlprov``, made here if there is none.
        config: the settings of the training: a dict, dataclass or namespace. Secrets are redacted.
        parents: root digests or run ids that this run builds upon.
        seeds: whether to record seeds and digests of the random generators' states; ``"values"``:
            the states themselves too, which a bit-exact replay begins with. Whoever has them can
            tell what is drawn next: not for generators of noise that has to stay unknown.
        anchors: kinds of anchors: ``"log"``, the local store log, is always on;
            ``"ethereum"`` puts its checkpoints on a chain, ``"ipfs"`` publishes them
            (docs/anchoring.md says what each proves; mlprov/anchor_servers.py where they go).
        publish: with ``anchors=["ipfs"]``, what else is published at the end, for everybody to
            read: ``"bundle"``, the run's records, which is the default then; ``"model"``, the
            checkpoint that was recorded last. ``[]``: nothing.
        every: ``"epoch"``: state is recorded at the end of each; a number: weights also after so
            many optimizer steps each time. torch's optimizers alone are seen to step.
        snapshot: how a capture is kept apart from writes. ``"overlap"``: what optimizers write is
            hashed in place while the next epoch begins, and its first step waits for what is left;
            large batches while the loop uses them; everything else is hashed before the call
            returns. ``"copy"``: tensors in host memory are copied and hashed later, for loops that
            write weights outside an optimizer. ``"inline"``: everything is hashed before the call
            returns.
        check: ``"once"``, or ``"twice"``: what was hashed beside training is hashed again before
            the step that waits for it, to notice writes that no counter shows.
        trust_version: whether parameters that need no gradient and that no optimizer has are hashed
            at the start and at the end alone, as long as torch counts no write to them. For the
            frozen base of an adapter; the records say how many leaves were taken on trust.
        algorithm: digest of tensors and batches: ``"blake3"``, or ``"sha256"``, ``"sha384"``,
            ``"sha512"``.
        on_error: ``"warn"``: training goes on when evidence fails, the gap is recorded;
            ``"raise"``: it raises.
        resume: ``"never"``: a new run. ``"auto"``: go on with the newest unfinished run of this
            name and project in the store whose process is gone; where there is none, a new run.
            ``"must"``: the same, and an error where there is none. Load the weights before: they
            are compared with those that were recorded last. A run that was started so and ends in
            an exception stays unfinished.
        run_id: with ``resume="must"``, which run, also one that another machine recorded.
        tags: words to find the run by.
        group: what it is grouped under.
        notes: free text.

    Raises:
        ConfigError: a setting of the wrong kind, an ``optimizer`` that is none, an object without
            state, ``privacy`` that accounts for nothing, or without ``delta``.
        StoreError: the store cannot be used and ``on_error="raise"``; with ``resume="must"`` there
            is no run to go on with, or it is not free.

    >>> import os, tempfile, unittest.mock
    >>> folder = tempfile.TemporaryDirectory()  # an owner and a store for the example alone
    >>> weight = bytearray(b"abc")
    >>> model = {"w": memoryview(weight)}
    >>> with unittest.mock.patch.dict(os.environ, MLPROV_HOME=folder.name + "/home"):
    ...     with start("digits", model=model, store=folder.name + "/store") as run:
    ...         for epoch in run.epochs(2):
    ...             for batch in run.track([b"first", b"second"]):
    ...                 weight[0] += 1
    ...             epoch.log(loss=0.5)
    >>> run.status, [record["type"] for record in run.records]
    ('finished', ['run.start', 'model', 'epoch', 'epoch', 'run.end'])
    >>> folder.cleanup()
    """
    if not records.json_key(name) or not name.strip():
        raise ConfigError(
            f"cannot start a run named {name!r}: expected Unicode text without U+0000, not blank"
        )
    arguments = {
        "project": project, "store": store, "seeds": seeds, "anchors": anchors, "publish": publish,
        "every": every, "delta": delta, "snapshot": snapshot, "check": check,
        "trust_version": trust_version, "algorithm": algorithm, "on_error": on_error,
        "resume": resume, "run_id": run_id, "tags": tags, "group": group, "notes": notes,
    }  # fmt: skip
    disabled = configuration.is_disabled()
    model = model if disabled else pytrees.as_model(model)
    settings = configuration.Settings() if disabled else configuration.resolve(arguments)
    if optimizer is not None and not disabled:
        optimizers.check_optimizer(optimizer)
    kept = KeptStates(ema, scheduler, scaler)
    account = PrivacyAccount(privacy, optimizer, settings.delta)
    if not disabled:
        kept.check()
        account.check()
    run = Run(
        name, settings, model=model, optimizer=optimizer, kept=kept, account=account,
        disabled=disabled,
    )  # fmt: skip
    run._begin(config, parents)
    return run


class Run(RunLife, Activities):
    """One recorded training run; made by :func:`start`.

    Calls from several threads wait for each other. Every method that records is a no-op when
    recording is disabled, and raises StoreError after :meth:`finish` and in forked children.

    Attributes:
        current_epoch: the one whose loop is running.

    >>> import os, tempfile, unittest.mock, mlprov
    >>> folder = tempfile.TemporaryDirectory()  # an owner and a store for the example alone
    >>> with unittest.mock.patch.dict(os.environ, MLPROV_HOME=folder.name + "/home"):
    ...     run = start("digits", store=folder.name + "/store")
    ...     run.track_data(train=pathlib.Path(__file__))
    ...     run.log(accuracy=0.5)
    ...     run.finish()
    ...     verdict = mlprov.verify(run.export(folder.name + "/digits.mlprov"))
    >>> run, verdict.result
    (<mlprov.Run ... 'digits' finished>, 'holds')
    >>> folder.cleanup()
    """

    # ---- what users call ----

    def track_data(self, **datasets_by_role: Any) -> None:
        """Record data sets by the digest of every sample, under roles such as ``train``.

        Args:
            **datasets_by_role: for each role an array or tensor (samples are rows), a tuple, list
                or dict of arrays, a ``TensorDataset`` or ``Subset`` of one, or a ``pathlib.Path``
                to a file or directory.

        Samples are read where they lie; ``__getitem__`` is never called. Of two data sets under
        one role both are recorded, and verification compares with the last.

        Raises:
            ConfigError: a role that is no plain word; with ``on_error="raise"`` also a data set of
                another kind.
            StoreError: the run has ended, or this is a forked child.
            Exception: whatever failed, with ``on_error="raise"``.
        """
        for role, data in datasets_by_role.items():
            self._check_role(role)
            self.recorder.attempt("data", functools.partial(self._make.data, role, data), role=role)
        self._commit()

    def _check_role(self, role: str) -> None:
        self.recorder.require(
            isinstance(role, str) and _ROLE.fullmatch(role) is not None,
            f"cannot use the role {role!r}: expected letters, digits, '_', '-' or '.', such as"
            " 'train'",
        )

    def epochs(self, epochs: int | Iterable[int]) -> Iterator[Epoch]:
        """Count epochs; record weights, optimizer state, batches and metrics at the end of each.

        Args:
            epochs: how many, or the indices themselves.

        Yields:
            one :class:`Epoch` per pass. Leaving the loop early records the last one as
            ``interrupted``.

        Raises:
            ConfigError: an index that is no integer from 0.
            StoreError: the run has ended, or this is a forked child.
            Exception: whatever failed, with ``on_error="raise"``.
        """
        for index in range(epochs) if isinstance(epochs, int) else epochs:
            self.recorder.refuse_ended_or_forked()
            self._check_index(index)
            self._commit_before_training()
            self.barrier.begin_epoch()
            epoch = Epoch(self, index, self.barrier.watch.steps)
            around, self.current_epoch = self.current_epoch, epoch
            interrupted = True
            try:
                yield epoch
                interrupted = False
            finally:
                self.current_epoch = around
                if not self.recorder.in_child and not self.ended:
                    self._end_epoch(epoch, interrupted)

    def _check_index(self, index: object) -> None:
        self.recorder.require(
            isinstance(index, int) and not isinstance(index, bool) and 0 <= index < 2**53,
            f"cannot count the epoch {index!r}: expected an integer from 0",
        )

    def track(
        self,
        loader: Iterable[T],
        *,
        role: str = "train",
        hash: str = "content",  # noqa: A002
    ) -> Tracked[T]:
        """Record the batches of a loader as they pass: the same objects, in the same order.

        They are hashed where they lie. With ``snapshot="overlap"`` torch tensors in host memory,
        where a batch has 64 KiB and more of them together, are hashed by a worker while the loop
        uses them: a batch that the loop wrote into meanwhile is recorded as changed. Everything
        else is hashed before it is yielded; what is small may be copied then and hashed with the
        batches that follow.
        Of a ``DataLoader`` with a map-style data set the order of indices is recorded, too.

        Args:
            loader: anything that can be iterated; a ``DataLoader`` as well as a list.
            role: what the batches are used for.
            hash: ``"content"``: every batch by its content; ``"index"``: only the order of indices,
                for data sets whose samples :meth:`track_data` recorded. Where a loader has no such
                order its batches are hashed, and a warning says so.

        Raises:
            ConfigError: a role that is no plain word; another ``hash``.
            StoreError: from the loop: the run has ended, or this is a forked child.
            Exception: from the loop: whatever failed, with ``on_error="raise"``.
        """
        self._check_role(role)
        self.recorder.require(
            hash in ("content", "index"),
            f'cannot track with hash={hash!r}: expected "content" or "index"',
        )
        self._commit_before_training()
        return Tracked(self, loader, role, hash)

    def step(self, state: Any, *, steps: int = 1) -> None:
        """Say what the weights are after a step that no hook of torch tells: JAX, NumPy, others.

        The end of the epoch records the last state, and with ``every=N`` every N-th call records it
        before it returns. Other calls take names and keep the arrays; they read no values.

        Args:
            state: a nested state of arrays (docs/integrations.md), a state dict or a module. An
                epoch has to end before its last state is destroyed, as JAX does with donated ones.
            steps: how many were made since the last call.

        """
        taken = self.recorder.attempt("step", lambda: self._make.take_state(state))
        if taken is not None:
            self._model = taken
            self.barrier.count_steps(steps)

    def log(self, *, step: int | None = None, **metrics: Any) -> None:
        """Record metrics outside an epoch's own; they are written with the next head.

        Args:
            step: where in the training it is, an integer of the caller's own counting.
            **metrics: numbers, text, truth values, None, or tensors of one element.

        Raises:
            StoreError: the run has ended, or this is a forked child.
            Exception: a metric of another kind, with ``on_error="raise"``.
        """
        self.recorder.attempt("metric", lambda: self._make.metrics(step, metrics))
        self.streams.sync_due()

    def save(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Write the model's persistent state dict as safetensors, and record the file.

        The file appears whole or not at all, and is not read again: its digests are taken as it is
        written, as :func:`mlprov.save_file` takes them. Of tied tensors one copy is written. The
        user asked for a file, so what goes wrong with it is never a gap. Of several ranks the first
        alone writes it.

        Args:
            path: ``NAME.safetensors``, in a directory that is there.

        Raises:
            ConfigError: the run has no model, the path is none of these, or safetensors has no
                place for a tensor.
            StoreError: the file cannot be written; the run has ended.
            UnsupportedTensorError: a tensor has no values.
        """
        self.recorder.refuse_ended_or_forked()
        if self.is_left_to_first:
            return pathlib.Path(path)
        self.recorder.require(
            self._model is not None,
            "cannot save: this run has no model",
            "give it to mlprov.start(model=...), or save it yourself and call run.checkpoint(path)",
        )
        saved = self._make.save(pathlib.Path(path))
        self._record_checkpoint(saved.path, saved)
        self._saved = os.fspath(path)
        return saved.path

    def checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Record a file or directory that something else wrote, beside the live model's root.

        Every file is read once, for BLAKE3 and SHA-256. For safetensors, sharded ones and what
        ``save_pretrained`` leaves too, the record maps each tensor to the live model, and an index
        has to agree with its shards. Pickles (``torch.save``, Lightning's ``.ckpt``,
        ``torch.distributed.checkpoint``) are recorded by their bytes and never opened.

        Raises:
            StoreError: the run has ended, or this is a forked child.
            Exception: there is no such file, or whatever else failed, with ``on_error="raise"``.
        """
        self._record_checkpoint(path, None)

    def _record_checkpoint(self, path: str | os.PathLike[str], saved: SavedFile | None) -> None:
        def record() -> None:
            self._make.checkpoint(path, self.last_epoch, saved)
            self._recorded = os.fspath(path)

        self.recorder.attempt("checkpoint", record)
        self._commit()

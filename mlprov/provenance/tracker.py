"""Recording a training and anchoring it before and after: the document's ProvenanceTracker."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mlprov import runs, stores
from mlprov.anchoring import AnchorRow
from mlprov.epochs import Epoch
from mlprov.errors import AnchorError, ConfigError, StoreError
from mlprov.provenance.blockchain import (
    BlockchainManager,
    describe_late,
    transaction_ids,
)
from mlprov.provenance.coverage import check_records
from mlprov.provenance.reports import ProvenanceReport, now
from mlprov.provenance.settings import Config, read_config
from mlprov.runs import Run

__all__ = ["ProvenanceTracker"]

_REPORT = "blockchain_report.json"


class ProvenanceTracker:
    """Records one training as a run and anchors it on the configured networks.

    The run begins at :meth:`store_merkle_on_blockchain_before_training`, or with the first epoch;
    what was tracked before is hashed then. Everything else that a run can do is there as
    :attr:`run`.

    Args:
        base_dir: a directory; its ``.mlprov`` is the store.
        config: settings of the training, recorded but for the sections ``blockchain`` (where to
            anchor) and ``hash_algorithm`` (of tensors and batches); or a JSON file that holds them.
        name: of the run.
        **settings: further keywords of :func:`mlprov.start`.

    Attributes:
        base_dir: as given.
        manager: stores and verifies.

    Raises:
        ConfigError: the configuration cannot be used (:class:`BlockchainManager`).

    >>> import os, tempfile, unittest.mock
    >>> folder = tempfile.TemporaryDirectory()  # an owner and a store for the example alone
    >>> with unittest.mock.patch.dict(os.environ, MLPROV_HOME=folder.name + "/home"):
    ...     tracker = ProvenanceTracker(folder.name, {"epochs": 2, "hash_algorithm": "sha256"})
    ...     tracker.track_model({"weight": memoryview(b"abc")})
    ...     stored = tracker.store_merkle_on_blockchain_before_training({"learning_rate": 0.1})
    ...     for epoch in tracker.epochs(2):
    ...         epoch.log(loss=1 / (epoch.index + 1))
    ...     stored = tracker.store_merkle_on_blockchain_after_training({"accuracy": 0.9})
    ...     report = tracker.verify_blockchain_provenance()
    >>> stored, report.records.state, report.result  # no network is configured
    ({}, 'holds', 'could not check')
    >>> folder.cleanup()
    """

    def __init__(
        self,
        base_dir: str | os.PathLike[str] = "artifacts",
        config: Config = None,
        *,
        name: str = "training",
        **settings: Any,
    ) -> None:
        self.base_dir = pathlib.Path(base_dir)
        self._config = dict(read_config(config))
        section = {"blockchain": self._config.pop("blockchain", {"enabled": False})}
        self.manager = BlockchainManager(section, store=self.base_dir / stores.STORE_NAME)
        algorithm = self._config.pop("hash_algorithm", None)
        self._settings = {"algorithm": algorithm, **settings}
        self._name = name
        self._model: Any = None
        self._data: dict[str, Any] = {}
        self._run: Run | None = None
        self._epochs = 0

    # ---- recording ----

    @property
    def run(self) -> Run:
        """The run that is recorded.

        Raises:
            ConfigError: it has not begun.
        """
        if self._run is None:
            raise ConfigError(
                "cannot use the run of this tracker: it has not begun",
                "call store_merkle_on_blockchain_before_training(), or loop over epochs()",
            )
        return self._run

    def track_data(self, train_data: Any, test_data: Any = None) -> None:
        """Record data sets by the digest of every sample, under the roles ``train`` and ``test``.

        Args:
            train_data: what :meth:`mlprov.Run.track_data` takes: arrays, tensors, data sets, paths.
            test_data: likewise; None: there is none.
        """
        given = {"train": train_data, "test": test_data}
        data = {role: value for role, value in given.items() if value is not None}
        if self._run is not None:
            self._run.track_data(**data)
        else:
            self._data |= data

    def track_model(self, model: Any) -> None:
        """Record a model's architecture, and its weights at the start and at every epoch.

        Raises:
            ConfigError: the run has begun without it.
        """
        if self._run is not None and model is not self._model:
            raise ConfigError(
                "cannot track another model: the run has begun",
                "track it before store_merkle_on_blockchain_before_training()",
            )
        self._model = model

    def _begin(self, config: Mapping[str, Any]) -> Run:
        try:
            self.base_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot make the directory {self.base_dir}: {error.strerror}",
                "name one that can be written as base_dir",
            ) from error
        self._run = runs.start(
            self._name, model=self._model, store=self.manager.store_path,
            config={**self._config, **config}, **self._settings,
        )  # fmt: skip
        if self._data:
            self._run.track_data(**self._data)
            self._data = {}
        return self._run

    def epochs(self, epochs: int | Iterable[int]) -> Iterator[Epoch]:
        """Count epochs as :meth:`mlprov.Run.epochs` does, which records each.

        With ``store_epoch_checkpoints`` each one's head is put into the outbox when the next epoch
        begins; threads deliver it, and training does not wait for them.
        """
        run = self._run or self._begin({})
        with contextlib.closing(_closable(run.epochs(epochs))) as passes:
            for epoch in passes:
                self._store_epoch()
                self._epochs += 1
                yield epoch
        self._store_epoch()

    def _store_epoch(self) -> None:
        if self._epochs and self.manager.settings.each_epoch and self.manager.networks:
            self.run.recorder.attempt("anchor", self._plan)

    def _plan(self) -> None:
        self.run.wait()
        self.manager.plan()

    # ---- storing ----

    def store_merkle_on_blockchain_before_training(
        self, training_config: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Begin the run and anchor what is known before training: data, model, configuration, code.

        Args:
            training_config: settings of the training, recorded with those of the constructor.

        Returns:
            ``run``, ``records``, ``merkle_root`` (of the run's head over these records),
            ``transaction_ids`` and ``states`` by network; empty where the configuration says not to
            store now, or nothing is recorded here (``MLPROV_DISABLED``, another rank).

        Raises:
            ConfigError: the run has begun already, or the account's key cannot be opened.
            AnchorError: a network has not taken it, and the run was started with
                ``on_error="raise"``; else a warning says so. It stays in the outbox.
            StoreError: the run could not be recorded.
        """
        if self._run is not None:
            raise ConfigError(
                "cannot store what is before training: the run has begun",
                "call store_merkle_on_blockchain_before_training() once, before epochs()",
            )
        run = self._begin(training_config or {})
        if not self.manager.settings.before_training:
            return {}
        run.wait()
        return self._store(run)

    def store_merkle_on_blockchain_after_training(
        self, training_results: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Record results, end the run and anchor all of it.

        Where the loop did not use :meth:`epochs`, the training is recorded as one epoch: its
        weights are those that the model has now.

        Args:
            training_results: metrics; nested ones are recorded under names with dots.

        Returns:
            as :meth:`store_merkle_on_blockchain_before_training`.

        Raises:
            ConfigError: nothing has begun, or the account's key cannot be opened.
            AnchorError, StoreError: as there.
        """
        run = self.run
        results = dict(_flat("", training_results or {}))
        if self._epochs or run.ended:
            run.log(**results)
        else:
            for epoch in self.epochs(1):
                epoch.log(**results)
        run.finish()
        return self._store(run) if self.manager.settings.after_training else {}

    def _store(self, run: Run) -> dict[str, Any]:
        if run.recorder.records_nothing or not self.manager.networks:
            if run.status == "unrecorded":
                raise StoreError("cannot store the run: it could not be recorded")
            return {}
        head = run.head
        assert head is not None  # the run was committed
        root = bytes.fromhex(head[1].removeprefix("sha256:"))
        rows = self.manager.deliver(self.manager.settings.networks, run.id, root)
        self._say_late(run, rows)
        return {
            "run": run.id,
            "records": head[0],
            "merkle_root": head[1],
            "transaction_ids": transaction_ids(rows),
            "states": {name: row.state for name, row in rows.items()},
        }

    def _say_late(self, run: Run, rows: Mapping[str, AnchorRow]) -> None:
        late = self.manager.late(rows)
        if not late:
            return
        what = f"an anchor of the run {run.id} is not on its network yet: {describe_late(late)}"
        remedy = f"it waits in the outbox: mlprov sync --store {self.manager.store_path} --retry"
        if run.recorder.raises:
            raise AnchorError(what, remedy)
        run.recorder.warn(f"{what}; {remedy}", once=f"anchor {sorted(late)}")

    # ---- asking ----

    def verify_blockchain_provenance(self) -> ProvenanceReport:
        """Verify the run, and every anchor of it, over all configured networks.

        The records are verified offline as a bundle is, each anchor's evidence against the
        checkpoint that covers them; Ethereum's node must have the block and call it final, IPFS'
        node give the checkpoint's note. Anchors that are on their way are delivered first, as far
        as they go at once.

        Returns:
            a report: true where all holds; its text is one table.

        Raises:
            StoreError: there is no run, or the store cannot be read.
        """
        manager = self.manager
        with contextlib.suppress(ConfigError):  # without the account's key others can verify, too
            manager.settle()
        with stores.open_with_log(manager.store_path) as store:
            which = self._run.id if self._run is not None else "@"
            row = stores.find_run(store, which)
            heads = stores.read_heads(store, row.id)
            if not heads:
                raise StoreError(f"cannot verify the run {row.id}: it has no signed head yet")
            covering = [
                (max(covered), finding)
                for finding in reversed(manager.check(store))
                if (covered := [h.size for h in heads if _has(finding.row, h.log_index)])
            ]
            last = heads[-1]
            return ProvenanceReport(
                row.id, row.name, f"sha256:{last.root.hex()}", last.size,
                check_records(store, row.id), tuple(covering), tuple(manager.networks), now(),
            )  # fmt: skip

    def save_blockchain_report(
        self, output_path: str | os.PathLike[str] | None = None
    ) -> pathlib.Path:
        """Verify, and write what was found.

        Args:
            output_path: a file that ends in ``.json``, ``.txt`` or ``.html``; by default
                ``blockchain_report.json`` in ``base_dir``.

        Returns:
            the file.

        Raises:
            ConfigError: another suffix.
            StoreError: it cannot be written, or as :meth:`verify_blockchain_provenance`.
        """
        path = self.base_dir / _REPORT if output_path is None else pathlib.Path(output_path)
        return self.verify_blockchain_provenance().save(path)

    def get_blockchain_status(self) -> dict[str, dict[str, Any]]:
        """Of each configured network its anchors by state, and what its node says of itself.

        Returns:
            network → ``anchors`` (state → how many), ``note`` (the last failure), and of Ethereum
            ``reachable``, ``chain_id``, ``finalized`` (the height) and ``problem``.

        Raises:
            StoreError: the store cannot be read.
        """
        return self.manager.get_status()


def _closable(epochs: Iterator[Epoch]) -> Any:
    """The generator that it is: closing it ends the epoch that a loop left."""
    return epochs


def _has(row: AnchorRow, index: int | None) -> bool:
    return index is not None and index < row.size


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Nested results under names with dots; lists by position."""
    if isinstance(value, Mapping):
        items: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        yield name, value
        return
    for key, item in items:
        yield from _flat(f"{name}.{key}" if name else str(key), item)

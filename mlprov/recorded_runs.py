"""A run as far as it is recorded: what it says of itself, its bundle, its proofs."""

from __future__ import annotations

import html
import os
import pathlib
import shlex
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlprov import records, stored_runs, stores
from mlprov.configuration import Settings
from mlprov.escapes import escape
from mlprov.ranks import describe_ranks, own_rank
from mlprov.recorder import Recorder
from mlprov.records import Json
from mlprov.streams import Streams
from mlprov.wording import plural

if TYPE_CHECKING:
    from mlprov.proofs import Proof

__all__ = ["RecordedRun"]


class RecordedRun:
    """What can be asked of a run while it is recorded and afterwards.

    Attributes:
        id: the run id, a lower-case UUIDv7.
        name: as given to :func:`mlprov.start`.
        algorithm: digest algorithm of tensors and batches.
        recorder: the seam between this run and its log.
        streams: batches that pass through tracked loaders.
        store_path: the store directory.
        ended: whether :meth:`mlprov.Run.finish` was called.
        rank: which of the processes of one training this is; None: it trains alone.
        is_left_to_first: whether nothing is recorded here, since rank 0 of the training does.
    """

    def __init__(self, name: str, settings: Settings, *, disabled: bool) -> None:
        self.rank = None if disabled else own_rank()
        self.is_left_to_first = self.rank is not None and not self.rank.is_first
        disabled = disabled or self.is_left_to_first
        self.id = records.new_run_id()
        self.name = name
        self.algorithm = settings.algorithm
        self.recorder = Recorder(settings.on_error, disabled=disabled)
        beside = settings.snapshot == "overlap"
        self.streams = Streams(
            self.recorder, self.id, self.algorithm, beside=beside, seeds=settings.seeds
        )
        self.ended = False
        path = settings.store
        self.store_path = pathlib.Path(path).absolute() if path is not None else stores.find_store()
        self._status = "disabled" if disabled else "running"
        self._started = time.perf_counter()
        self._seconds: float | None = None
        self._head: tuple[int, bytes] | None = None
        self._epochs = 0
        self._copied = 0  # bytes that snapshot="copy" took at once, at most
        self._saved: str | None = None  # the last file that save() wrote
        self._recorded: str | None = None  # the last that checkpoint() recorded
        self._exported: str | None = None

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``failed``, ``superseded``, ``interrupted``, or no good end.

        That is ``incomplete`` (the last records could not be written), ``unrecorded`` (recording
        could not begin) or ``disabled`` (also where another rank records).
        """
        return self._status

    @property
    def head(self) -> tuple[int, str] | None:
        """(records, root) of the last signed head: what is acknowledged. None: there is none."""
        return None if self._head is None else (self._head[0], f"sha256:{self._head[1].hex()}")

    @property
    def records(self) -> list[dict[str, Json]]:
        """The acknowledged records, as the store has them and the last head signed them.

        Raises:
            StoreError: the store is gone or damaged.
            VerificationError: they are not those that the head signed.
            EvidenceError: a record or head is malformed.
        """
        if self.recorder.records_nothing:
            return []
        self.recorder.catch_up()
        with self.reading() as store:
            return stored_runs.read_run(store, self.id).records

    @property
    def anchors(self) -> list[dict[str, Json]]:
        """Where the run's heads are: the store log by origin, index and head size, then the rest.

        Anchors outside the machine have ``kind``, ``log_size``, ``state``, ``since``, ``head`` and
        ``index`` (of the largest head that they cover); those that are proved or final also what
        their evidence shows: ``chain_id``, ``contract``, ``sender``, ``transaction``, ``block``,
        ``number``, ``time`` of Ethereum, relative to the block's hash; ``cid`` of IPFS.

        Raises:
            StoreError: the store is gone or damaged.
        """
        from mlprov import stored_anchors

        if self.recorder.records_nothing:
            return []
        with self.reading() as store:
            heads = stores.read_heads(store, self.id)
            logged: list[dict[str, Json]] = [
                {
                    "kind": "log",
                    "origin": store.log_origin,
                    "index": head.log_index,
                    "head": head.size,
                }
                for head in heads
                if head.log_index is not None
            ]
            return logged + stored_anchors.run_anchors(store, heads)

    @property
    def overhead(self) -> dict[str, float]:
        """What recording cost: ``seconds`` on the training thread, ``share`` of the wall time."""
        wall = self._seconds if self._seconds is not None else time.perf_counter() - self._started
        return {
            "seconds": round(self.recorder.seconds, 6),
            "share": round(self.recorder.seconds / wall, 6) if wall > 0 else 0.0,
        }

    def wait(self, timeout: float | None = None) -> bool:
        """Put every signed head into the store log; true when all of this run's are there.

        Args:
            timeout: seconds to wait at most for another process that holds the store; None: 30.

        Raises:
            StoreError: the run has ended, or this is a forked child.
            Exception: whatever failed, with ``on_error="raise"``.
        """
        ends = None if timeout is None else time.monotonic() + timeout
        self.recorder.catch_up()

        def publish_heads() -> bool:
            if self.recorder.unwritten:
                self.recorder.wait_at_most(timeout)
                self.recorder.commit()
            self.recorder.wait_at_most(None if ends is None else ends - time.monotonic())
            try:
                self.recorder.store.integrate()
            finally:
                self.recorder.wait_at_most(None)
            return not self.recorder.unwritten

        return bool(self.recorder.attempt("log", publish_heads))

    def reading(self) -> stores.Reading:
        """The store to read from in a ``with``: while the run goes on, the one that is open."""
        return stores.Reading(self.store_path, None if self.ended else self.recorder.store)

    def _nothing_to(self, verb: str) -> bool:
        if self.recorder.records_nothing and self._status != "disabled":
            self.recorder.warn(f"nothing to {verb}: the run is {self._status}", once=verb)
        return self.recorder.records_nothing

    def export(
        self, path: str | os.PathLike[str], *, disclose: Sequence[str] = (), revise: bool = False
    ) -> pathlib.Path | None:
        """Write the run as one file that verifies without the store (docs/format.md section 8).

        Inside a running run the bundle is marked open.

        Args:
            path: ``NAME.mlprov``; written whole or not at all, in place of a file of that name.
            disclose: what else to include: ``"batches"``, ``"samples"``, ``"optimizer"``.
            revise: make a new revision of the bundle that is there, which names the older one: for
                anchors that arrived since. Where there is nothing new it stays as it is.

        Returns:
            the path, or None when recording is disabled.

        Raises:
            ConfigError: ``disclose`` names something else, or the owner key is not at hand; with
                ``revise`` there is no such bundle, or it is of another run.
            StoreError: nothing is acknowledged yet, the store is gone or damaged, or the file
                cannot be written.
        """
        from mlprov import bundles

        if self._nothing_to("export"):
            return None
        if not self.ended:
            self.wait()
        with self.reading() as store:
            written = bundles.export_run(
                store, self.id, pathlib.Path(path), disclose=disclose, revise=revise
            )
        self._exported = os.fspath(path)
        return written

    def prove(
        self,
        *,
        tensor: str | None = None,
        batch: int | None = None,
        sample: int | str | None = None,
        record: int | None = None,
        epoch: int | None = None,
        step: int | None = None,
        role: str | None = None,
    ) -> Proof | None:
        """One claim with all that is needed to check it (docs/format.md section 9).

        Give one of ``tensor`` (name; at ``epoch``, after ``step``, or the last weights), ``batch``
        (number within ``epoch``), ``sample`` (index or path within the data set of ``role``) or
        ``record`` (its seq).

        Returns:
            the proof, or None when recording is disabled.

        Raises:
            ConfigError: none of these, several, or one without what it needs.
            StoreError: there is no such record, tensor, batch or sample, its leaves were not kept,
                or its head is not in the store log yet.
        """
        from mlprov import proofs

        if self._nothing_to("prove"):
            return None
        if not self.ended:
            self.wait()
        with self.reading() as store:
            return proofs.prove(
                store,
                self.id,
                tensor=tensor,
                batch=batch,
                sample=sample,
                record=record,
                epoch=epoch,
                step=step,
                role=role,
            )

    def __repr__(self) -> str:
        return f"<mlprov.Run {self.id} {self.name!r} {self._status}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the lines of ``print(run)`` as a table, escaped."""
        rows = []
        for line in str(self).splitlines():
            what, _, value = line.partition("  ")
            cells = (html.escape(escape(text.strip())) for text in (what, value))
            rows.append("".join(f'<td style="text-align:left">{cell}</td>' for cell in cells))
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"

    def __str__(self) -> str:
        if self._head is None:
            return f"run {self.id} ({self.name}): {self._status}; nothing recorded"
        size, root = self._head
        cost = self.overhead
        copies = f"; copies of {self._copied / 1e6:.1f} MB" if self._copied else ""
        waits = self.streams.waits
        waited = f"; waited for the hashing of {plural(waits, 'batch')}" if waits else ""
        return "\n".join(
            (
                f"run       {self.id} ({self.name}), {self._status}",
                f"head      sha256:{root.hex()} over {plural(size, 'record')}",
                f"recorded  {plural(self._epochs, 'epoch')}, "
                f"{plural(self.streams.batches, 'batch')}, {plural(self.recorder.gaps, 'gap')}"
                f"{self._coverage()}",
                f"cost      {cost['seconds']:.3f} s on the training thread, "
                f"{cost['share']:.1%} of the run{copies}{waited}",
                f"verify    {self._command()}",
            )
        )

    def _coverage(self) -> str:
        return "" if self.rank is None else f"; {describe_ranks(self.rank.json())}"

    def _command(self) -> str:
        """What to type next: a line for a shell in this directory."""
        bundle = _quote(self._exported or "NAME.mlprov")
        command = f"mlprov verify {bundle}"
        if (model := self._saved or self._recorded) is not None:
            command += f" --model {_quote(model)}"
        if self._exported is not None:
            return command
        elsewhere = self.store_path != stores.find_store()
        store = f" --store {_quote(str(self.store_path))}" if elsewhere else ""
        return f"mlprov export {self.id} {bundle}{store} && {command}"


def _quote(path: str) -> str:
    """A path as a shell reads it back; never taken for an option."""
    return shlex.quote(f"./{path}" if path.startswith("-") else path)

"""Proof files: one claim with all that is needed to check it (docs/format.md section 9)."""

from __future__ import annotations

import base64
import contextlib
import os
import pathlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlprov import _core, records, stored_runs
from mlprov._core import MerkleTree, Store
from mlprov.bundle_files import read_bundle_bytes
from mlprov.bundles import write_whole
from mlprov.errors import ConfigError, EvidenceError, StoreError
from mlprov.imported_runs import read_imported
from mlprov.record_values import Moment
from mlprov.records import Json
from mlprov.statements import read_json
from mlprov.stored_runs import StoredRun, prove_logged
from mlprov.wording import meant

if TYPE_CHECKING:
    from mlprov.verdicts import Verdict

__all__ = ["FIELDS", "KINDS", "Proof", "prove"]

# Section 9: what a proof may be of, and which records a field may lead from.
KINDS = ("tensor", "batch", "sample", "record")
FIELDS = {
    ("tensor", "weights"): ("model", "epoch", "step", "checkpoint", "resume"),
    ("tensor", "optimizer"): ("epoch",),
    ("tensor", "buffers"): ("epoch",),
    ("tensor", "ema"): ("epoch",),
    ("tensor", "scheduler"): ("epoch",),
    ("tensor", "scaler"): ("epoch",),
    ("tensor", "tensors"): ("checkpoint",),
    ("sample", "tree"): ("data",),
}


@dataclass(frozen=True)
class Proof:
    """One claim of a run, with its chain up to the store log and the owner's key.

    Attributes:
        value: the decoded proof file.

    >>> import os, tempfile, unittest.mock, mlprov
    >>> folder, model = tempfile.TemporaryDirectory(), {"w": memoryview(b"abc")}
    >>> with unittest.mock.patch.dict(os.environ, MLPROV_HOME=folder.name + "/home"):
    ...     with mlprov.start("digits", model=model, store=folder.name + "/store") as run:
    ...         pass
    ...     proof = run.prove(tensor="w")
    ...     verdict = Proof.from_bytes(bytes(proof)).verify(model=model)
    >>> proof.kind, proof.leaf["shape"], verdict.result
    ('tensor', [3], 'holds')
    >>> folder.cleanup()
    """

    value: dict[str, Any]

    @property
    def kind(self) -> str:
        """``tensor``, ``batch``, ``sample`` or ``record``."""
        return str(self.value["kind"])

    @property
    def leaf(self) -> dict[str, Any]:
        """What is proved: the claimed leaf, or the record itself."""
        text = self.value["claim" if "claim" in self.value else "record"]["leaf"]
        leaf: dict[str, Any] = _core.json_decode(text.encode())
        return leaf

    def __bytes__(self) -> bytes:
        return records.canonical(self.value)

    @classmethod
    def from_bytes(cls, data: bytes) -> Proof:
        """Read a proof file without checking what it claims.

        Raises:
            EvidenceError: not a proof file.
        """
        value = read_json(data, "the proof file")
        if not isinstance(value, dict) or value.get("format") != "mlprov-proof":
            raise EvidenceError("cannot read the proof: it is not of the format mlprov-proof")
        return cls(value)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Proof:
        """Read a proof file by path."""
        return cls.from_bytes(read_bundle_bytes(pathlib.Path(path)))

    def save(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Write the proof file, whole or not at all; a file of that name is replaced."""
        target = pathlib.Path(path)
        write_whole(target, bytes(self), what="proof")
        return target

    def verify(
        self,
        *,
        model: Any = None,
        keys: Sequence[str | os.PathLike[str]] | None = None,
        allow_unpinned: bool = False,
    ) -> Verdict:
        """Check the proof from its own bytes; see :func:`mlprov.verify`."""
        from mlprov.questions import Question
        from mlprov.verification import verify_bytes

        question = Question(model=model, keys=keys, allow_unpinned=allow_unpinned)
        return verify_bytes(bytes(self), "the proof", question)


_LOG_PROOF = re.compile(r"log/(?P<log>[0-9]+)/(?P<head>[0-9]+)\.proof")


def prove(
    store: Store,
    run_id: str,
    *,
    tensor: str | None = None,
    batch: int | None = None,
    sample: int | str | None = None,
    record: int | None = None,
    epoch: int | None = None,
    step: int | None = None,
    role: str | None = None,
) -> Proof:
    """Make a proof from a store; see :meth:`mlprov.Run.prove`.

    Raises:
        ConfigError: not exactly one of tensor, batch, sample, record was named, or ``role`` was
            not where there are several.
        StoreError: what it names is not recorded, or its leaves are not kept here.
        VerificationError: the run's records are not those that its heads signed.
        EvidenceError: a record, head or leaf is malformed; it is named.
        TypeError: a name that is no text, a number that is no integer.
    """
    _check_types(tensor=tensor, role=role, kind=str)
    _check_types(batch=batch, record=record, epoch=epoch, step=step, kind=int)
    if not isinstance(sample, str):
        _check_types(sample=sample, kind=int)
    named = {"tensor": tensor, "batch": batch, "sample": sample, "record": record}
    chosen = [kind for kind, value in named.items() if value is not None]
    if len(chosen) != 1:
        seen = f"{len(chosen)} things at once" if chosen else "nothing"
        raise ConfigError(f"cannot prove {seen}: name one of tensor, batch, sample, record")
    run = stored_runs.read_run(store, run_id)
    decoded = run.records
    if not decoded:
        raise StoreError(f"cannot prove anything of the run {run_id}: it has no records here")
    if tensor is not None:
        seq, field, index = _find_tensor(store, decoded, tensor, _moment(epoch, step))
    elif batch is not None:
        seq, field, index = _find_batch(decoded, batch, epoch, role)
    elif sample is not None:
        seq, field, index = _find_sample(store, decoded, sample, role)
    else:
        seq, field, index = _find_record(decoded, record or 0)
    value: dict[str, Any] = {"format": "mlprov-proof", "version": 1, "kind": chosen[0]}
    value |= _chain(store, run, seq)
    if field:
        value["claim"] = _claim(store, decoded[seq], field, index)
    return Proof(value)


_Place = tuple[int, list[Any], int]  # seq of the record, field to the tree, index of the leaf


def _check_types(*, kind: type, **arguments: object) -> None:
    for name, value in arguments.items():
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise TypeError(f"{name}: expected {kind.__name__}, not {type(value).__name__}")


def _find_record(decoded: list[Any], seq: int) -> _Place:
    if not 0 <= seq < len(decoded):
        raise StoreError(
            f"cannot prove record {seq}: the run has records 0 to {len(decoded) - 1}",
            "'mlprov log' lists them",
        )
    return seq, [], 0


def _leaves(store: Store, reference: dict[str, Any], what: str) -> list[bytes]:
    root = reference["root"]
    try:
        leaves = store.get_leaves(bytes.fromhex(root[7:]))
        if len(leaves) != reference["size"]:
            raise EvidenceError(
                f"cannot prove {what}: its record cites {reference['size']} leaves of the tree "
                f"{root}, which has {len(leaves)}",
                "its writer recorded what is not so",
            )
        return leaves
    except StoreError as error:
        if error.status != "NOT_FOUND":
            raise
        raise StoreError(
            f"cannot prove {what}: its tree is not kept in {store.path}",
            "an imported run has only "
            "the trees that its bundle discloses: ask its owner to disclose more, or for the proof",
        ) from error


def _decode_leaf(text: bytes, what: str) -> dict[str, Any]:
    value: Any = None
    with contextlib.suppress(EvidenceError):
        value = _core.json_decode(text)
    if not isinstance(value, dict):
        raise EvidenceError(
            f"cannot prove {what}: the tree that its record cites has the leaf {text!r:.60}, which "
            "is no JSON object",
            "its writer recorded something else",
        )
    return value


def _moment(epoch: int | None, step: int | None) -> Moment | None:
    if epoch is not None and step is not None:
        raise ConfigError(f"cannot prove of epoch {epoch} and step {step} at once: name one")
    if step is not None:
        return Moment("step", step)
    return None if epoch is None else Moment("epoch", epoch)


def _find_tensor(store: Store, decoded: list[Any], name: str, moment: Moment | None) -> _Place:
    """The newest tree of each kind is looked through: weights, buffers, optimizer state, file."""
    what = f"the tensor {name!r}" + ("" if moment is None else f" of {moment}")
    _check_moment(what, decoded, moment)
    no_tensor = False
    names: list[str] = []
    for (kind, member), types in FIELDS.items():
        for record in reversed(decoded):
            if kind != "tensor" or record["type"] not in types or not record.get(member):
                continue
            if moment is not None and not moment.is_of(record):
                continue
            for index, text in enumerate(_leaves(store, record[member], what)):
                leaf = _decode_leaf(text, what)
                is_tensor = "digest" in leaf or "parts" in leaf
                if leaf.get("name") == name and is_tensor:
                    return record["seq"], [member], index
                no_tensor |= leaf.get("name") == name
                names += [str(leaf.get("name"))] if is_tensor else []
            break
    if no_tensor:
        raise StoreError(
            f"cannot prove {what}: what is recorded under this name is no tensor",
            meant(name, names),
        )
    raise StoreError(f"cannot prove {what}: no record has one of that name", meant(name, names))


def _check_moment(what: str, decoded: list[Any], moment: Moment | None) -> None:
    """Whether there is a record of that epoch or step; if not, say which there are."""
    if moment is None or any(map(moment.is_of, decoded)):
        return
    kind = moment.kind
    told = [record.get(kind) for record in decoded if record["type"] == kind]
    numbers = [number for number in told if number is not None]
    seen = f"has the {kind}s {min(numbers)} to {max(numbers)}" if numbers else f"has no {kind}s"
    raise StoreError(
        f"cannot prove {what}: the run {seen}", "name one that is recorded, or leave it out"
    )


def _find_batch(decoded: list[Any], batch: int, epoch: int | None, role: str | None) -> _Place:
    """In the named epoch; without one in the last record that has batches, outside epochs too."""
    _check_moment(f"batch {batch} of epoch {epoch}", decoded, _moment(epoch, None))
    for record in reversed(decoded):
        kinds = ("epoch", "batches") if epoch is None else ("epoch",)
        if record["type"] not in kinds or epoch not in (None, record.get("epoch")):
            continue
        streams = [
            (position, stream)
            for position, stream in enumerate(record.get("streams") or ())
            if role in (None, stream.get("role")) and stream.get("tree") is not None
        ]
        if not streams:
            continue
        what = f"batch {batch} of record {record['seq']} ({record['type']})"
        _one_role(what, "loaders", [str(stream.get("role")) for _, stream in streams])
        for position, stream in streams:
            if 0 <= batch < stream["tree"]["size"]:
                return record["seq"], ["streams", position, "tree"], batch
        most = max(stream["tree"]["size"] for _, stream in streams)
        raise _none_of_that_number(f"{what}: it", "batches", most)
    where = "" if epoch is None else f" of epoch {epoch}"
    of_role = "" if role is None else f" under the role {role!r}"
    roles = {
        str(stream.get("role"))
        for record in decoded
        if record["type"] in ("epoch", "batches") and epoch in (None, record.get("epoch"))
        for stream in record.get("streams") or ()
        if stream.get("tree") is not None
    }
    remedy = meant(role, roles) if roles and role is not None else "run.track() records them"
    raise StoreError(f"cannot prove batch {batch}{where}: no batches are recorded{of_role}", remedy)


def _find_sample(store: Store, decoded: list[Any], sample: int | str, role: str | None) -> _Place:
    """In the last data set of the role."""
    what = f"the sample {sample!r}"
    kept = [record for record in decoded if record["type"] == "data" and record.get("tree")]
    found = {
        str(record.get("role")): record for record in kept if role in (None, record.get("role"))
    }
    if not found:
        of_role = "" if role is None else f" under the role {role!r}"
        roles = {str(record.get("role")) for record in kept}
        given = role is not None and bool(roles)
        remedy = meant(str(role), roles) if given else "run.track_data() records one"
        raise StoreError(f"cannot prove {what}: no data set is recorded{of_role}", remedy)
    _one_role(what, "data sets", list(found))
    ((role, record),) = found.items()
    size = record["tree"]["size"]
    if isinstance(sample, int):
        if 0 <= sample < size:
            return record["seq"], ["tree"], sample
        raise _none_of_that_number(f"{what}: the data set {role!r}", "samples", size)
    paths: list[str] = []
    for index, leaf in enumerate(_leaves(store, record["tree"], what)):
        path = _decode_leaf(leaf, what).get("path")
        if path == sample:
            return record["seq"], ["tree"], index
        paths += [path] if isinstance(path, str) else []
    remedy = meant(sample, paths) if paths else f"name it by its number, 0 to {size - 1}"
    raise StoreError(f"cannot prove {what}: the data set {role!r} has no file of that path", remedy)


def _none_of_that_number(where: str, things: str, size: int) -> StoreError:
    if size == 0:
        return StoreError(f"cannot prove {where} has no {things}")
    seen = f"has the {things} 0 to {size - 1}"
    return StoreError(f"cannot prove {where} {seen}", "name one of them")


def _one_role(what: str, things: str, roles: list[str]) -> None:
    if len(set(roles)) > 1:
        raise ConfigError(
            f"cannot prove {what}: there are {things} of several roles",
            f"name one with --role (role=): {', '.join(sorted(set(roles)))}",
        )


def _claim(store: Store, record: dict[str, Any], field: list[Any], index: int) -> dict[str, Any]:
    reference: Any = record
    for step in field:
        reference = reference[step]
    what = f"leaf {index} of the tree {reference['root']}"
    leaves = _leaves(store, reference, what)
    _decode_leaf(leaves[index], what)
    return {
        "field": field,
        "index": index,
        "leaf": leaves[index].decode(),
        "path": _encode(MerkleTree(leaves).prove_inclusion(index)),
        "size": len(leaves),
    }


def _chain(store: Store, run: StoredRun, seq: int) -> dict[str, Any]:
    """From the record to the owner: the newest head that covers it and is in the store log."""
    find = _imported_head if run.row.imported else _logged_head
    head, note, log = find(store, run, seq)
    lines, start = run.lines, run.records[0]
    return {
        "record": {
            "index": seq,
            "leaf": lines[seq].decode(),
            "path": _encode(MerkleTree(lines[:head]).prove_inclusion(seq)),
            "size": head,
        },
        "head": note.decode(),
        "log": log,
        "owner": start["owner"],
        "owner_key": start["owner_key"],
    }


_Head = tuple[int, bytes, dict[str, Any]]  # records covered, note, place in the store log


def _logged_head(store: Store, run: StoredRun, seq: int) -> _Head:
    run.check_heads()
    checkpoint = store.checkpoint()
    if checkpoint is not None:
        _, log_size, log_root = _core.parse_checkpoint(_core.note_text(checkpoint))
        for head in reversed(run.heads):
            index = head.log_index
            if head.size > seq and index is not None and index < log_size:
                path = prove_logged(store, run.row.id, head, log_size, log_root)
                log = {"checkpoint": checkpoint.decode(), "index": index, "path": _encode(path)}
                return head.size, head.note, log
    raise StoreError(
        f"cannot prove record {seq} of the run {run.row.id}: no signed head that covers it is in "
        "the store log yet",
        "call run.wait(), or run 'mlprov export' first",
    )


def _imported_head(store: Store, run: StoredRun, seq: int) -> _Head:
    """Of an imported run: its heads are in its own store's log, whose proofs its bundle has."""
    entries = read_imported(store, run)[1].entries
    found = [match for name in entries if (match := _LOG_PROOF.fullmatch(name))]
    sizes = {int(match["head"]): match["log"] for match in found if int(match["head"]) > seq}
    if not sizes:
        raise StoreError(
            f"cannot prove record {seq} of the run {run.row.id}: its bundle has no log proof of a "
            "head that covers it",
            "import a later bundle of this run",
        )
    head = max(sizes)
    folder = f"log/{sizes[head]}"
    place = _core.json_decode(entries[f"{folder}/{head}.proof"])
    checkpoint = entries[f"{folder}/checkpoint"].decode()
    return head, entries[f"heads/{head}.note"], {"checkpoint": checkpoint, **place}


def _encode(path: Sequence[bytes]) -> list[Json]:
    return [base64.b64encode(item).decode() for item in path]

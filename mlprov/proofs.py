"""Proof files: one claim with all that is needed to check it (docs/format.md section 9)."""

from __future__ import annotations

import base64
import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlprov import _core, keys, records, stores
from mlprov._core import MerkleTree, Store
from mlprov.bundle_checks import check_signer, decode_index, decode_path
from mlprov.bundles import _write_whole, read_bundle_bytes
from mlprov.errors import ConfigError, EvidenceError, StoreError, VerificationError
from mlprov.records import Json
from mlprov.statements import (
    Statement,
    check_owner_name,
    check_time,
    check_version,
    read_head,
    read_json,
    read_statement,
)
from mlprov.subjects import Subject, Weights, check_tensor
from mlprov.verdicts import Checks, NewerVersion, Unchecked, Verdict

__all__ = ["Proof", "check_proof", "prove"]

_KINDS = ("tensor", "batch", "sample", "record")
_FIELDS = {
    ("tensor", "weights"): ("model", "epoch", "checkpoint"),
    ("tensor", "optimizer"): ("epoch",),
    ("tensor", "buffers"): ("epoch",),
    ("tensor", "tensors"): ("checkpoint",),
    ("sample", "tree"): ("data",),
}


@dataclass(frozen=True)
class Proof:
    """One claim of a run, with its chain up to the store log and the owner's key.

    Attributes:
        value: the decoded proof file.
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
        """Write the proof file, whole or not at all."""
        target = pathlib.Path(path)
        _write_whole(target, bytes(self))
        return target

    def verify(self, *, keys: Sequence[str] | None = None, allow_unpinned: bool = False) -> Verdict:
        """Check the proof from its own bytes; see :func:`mlprov.verify`."""
        from mlprov import verification

        return verification.verify_bytes(bytes(self), "the proof", keys=keys, allow_unpinned=allow_unpinned)


# ---- making ----


def prove(
    store: Store,
    run_id: str,
    *,
    tensor: str | None = None,
    batch: int | None = None,
    sample: int | str | None = None,
    record: int | None = None,
    epoch: int | None = None,
    role: str | None = None,
) -> Proof:
    """Make a proof from a store; see :meth:`mlprov.Run.prove`.

    Raises:
        ConfigError: not exactly one of tensor, batch, sample, record was named.
        StoreError: what it names is not recorded, or its leaves are no longer kept.
    """
    named = {"tensor": tensor, "batch": batch, "sample": sample, "record": record}
    chosen = [kind for kind, value in named.items() if value is not None]
    if len(chosen) != 1:
        raise ConfigError(f"cannot prove {len(chosen)} things at once: name one of tensor, batch, sample, record")
    lines = stores.read_records(store, run_id)
    decoded = [_core.json_decode(line) for line in lines]
    if not decoded:
        raise StoreError(f"cannot prove anything of the run {run_id}: it has no records here")
    if tensor is not None:
        seq, field, index = _find_tensor(store, decoded, tensor, epoch)
    elif batch is not None:
        seq, field, index = _find_batch(decoded, batch, epoch, role)
    elif sample is not None:
        seq, field, index = _find_sample(store, decoded, sample, role)
    else:
        seq, field, index = record if record is not None else 0, [], 0
        if not 0 <= seq < len(lines):
            raise StoreError(f"cannot prove record {seq}: the run has the records 0 to {len(lines) - 1}")
    value: dict[str, Any] = {"format": "mlprov-proof", "version": 1, "kind": chosen[0]}
    value |= _chain(store, run_id, lines, decoded[0], seq)
    if field:
        value["claim"] = _claim(store, decoded[seq], field, index)
    return Proof(value)


def _follow(record: dict[str, Any], field: Sequence[Any]) -> dict[str, Any]:
    value: Any = record
    for step in field:
        value = value[step]
    reference: dict[str, Any] = value
    return reference


def _leaves(store: Store, reference: dict[str, Any]) -> list[bytes]:
    return store.get_leaves(bytes.fromhex(reference["root"][7:]))


def _find_tensor(store: Store, decoded: list[Any], name: str, epoch: int | None) -> tuple[int, list[Any], int]:
    for record in reversed(decoded):
        if epoch is not None and not (record["type"] == "epoch" and record["epoch"] == epoch):
            continue
        for member in ("weights", "buffers", "optimizer"):
            if record["type"] not in _FIELDS["tensor", member] or record.get(member) is None:
                continue
            for index, leaf in enumerate(_leaves(store, record[member])):
                if _core.json_decode(leaf)["name"] == name:
                    return record["seq"], [member], index
        if record.get("weights") is not None:
            break
    where = "" if epoch is None else f" at epoch {epoch}"
    raise StoreError(f"cannot prove the tensor {name!r}{where}: no record has one of that name")


def _find_batch(decoded: list[Any], batch: int, epoch: int | None, role: str | None) -> tuple[int, list[Any], int]:
    for record in reversed(decoded):
        if record["type"] != "epoch" or (epoch is not None and record["epoch"] != epoch):
            continue
        for position, stream in enumerate(record["streams"]):
            fits = role is None or stream["role"] == role
            if fits and stream["tree"] is not None and 0 <= batch < stream["tree"]["size"]:
                return record["seq"], ["streams", position, "tree"], batch
    raise StoreError(f"cannot prove batch {batch} of epoch {epoch}: no recorded stream has it")


def _find_sample(
    store: Store, decoded: list[Any], sample: int | str, role: str | None
) -> tuple[int, list[Any], int]:
    for record in reversed(decoded):
        if record["type"] != "data" or record["tree"] is None or (role is not None and record["role"] != role):
            continue
        if isinstance(sample, int):
            if 0 <= sample < record["tree"]["size"]:
                return record["seq"], ["tree"], sample
            continue
        for index, leaf in enumerate(_leaves(store, record["tree"])):
            if _core.json_decode(leaf).get("path") == sample:
                return record["seq"], ["tree"], index
    raise StoreError(f"cannot prove the sample {sample!r} of the data set {role!r}: no data record has it")


def _encode(path: Sequence[bytes]) -> list[Json]:
    return [base64.b64encode(item).decode() for item in path]


def _claim(store: Store, record: dict[str, Any], field: list[Any], index: int) -> dict[str, Any]:
    leaves = _leaves(store, _follow(record, field))
    path = MerkleTree(leaves).prove_inclusion(index)
    return {"field": field, "index": index, "leaf": leaves[index].decode(), "path": _encode(path), "size": len(leaves)}


def _chain(store: Store, run_id: str, lines: list[bytes], start: dict[str, Any], seq: int) -> dict[str, Any]:
    checkpoint = store.checkpoint()
    heads = [h for h in stores.read_heads(store, run_id) if h.size > seq and h.log_index is not None]
    if not heads or checkpoint is None:
        raise StoreError(
            f"cannot prove record {seq} of the run {run_id}: no signed head that covers it is in the store log yet; "
            "call run.wait(), or run 'mlprov export' first"
        )
    head = heads[-1]
    _, log_size, _ = _core.parse_checkpoint(_core.note_text(checkpoint))
    index = head.log_index if head.log_index is not None else 0
    return {
        "record": {
            "index": seq,
            "leaf": lines[seq].decode(),
            "path": _encode(MerkleTree(lines[: head.size]).prove_inclusion(seq)),
            "size": head.size,
        },
        "head": head.note.decode(),
        "log": {
            "checkpoint": checkpoint.decode(),
            "index": index,
            "path": _encode(store.log_proof(index, log_size)),
        },
        "owner": start["owner"],
        "owner_key": start["owner_key"],
    }


# ---- checking ----


class _ProofChecks:
    """Makes the checks of section 10 for a proof file, in order."""

    def __init__(self, data: bytes) -> None:
        self.checks = Checks()
        self.value: dict[str, Any] = {}
        self.public = b""
        self.statement = Statement("", "", "", "", "")
        self.head: tuple[int, bytes] = (0, b"")
        self.record: dict[str, Any] = {}
        self._data = data

    def make(self, named: dict[bytes, str] | None, pinned: dict[bytes, str]) -> Checks:
        checks = self.checks
        checks.run("proof", self._form)
        checks.run("owner", self._owner, needs=["proof"])
        checks.run("signer", lambda: check_signer(self.public, named, pinned), needs=["owner"])
        checks.run("head", self._head, needs=["owner"])
        checks.run("log", self._log, needs=["head"])
        checks.run("record", self._record, needs=["log"])
        if self.value.get("kind") != "record":
            checks.run("claim", self._claim, needs=["record"])
        return checks

    def _form(self) -> str:
        value = read_json(self._data, "the proof file")
        if not isinstance(value, dict) or value.get("format") != "mlprov-proof":
            raise EvidenceError("the file is not of the format mlprov-proof")
        try:
            check_version(value.get("version"), "the proof file")
        except NewerVersion as found:
            self.checks.stop_at(found.version)
            raise
        if value.get("kind") not in _KINDS:
            raise EvidenceError(f"the proof is of the kind {value.get('kind')!r}; expected one of {', '.join(_KINDS)}")
        expected = {"format", "version", "kind", "record", "head", "log", "owner", "owner_key"}
        if value["kind"] != "record":
            expected.add("claim")
            _members(value.get("claim"), {"field", "index", "leaf", "path", "size"}, "claim")
        _members(value.get("record"), {"index", "leaf", "path", "size"}, "record")
        _members(value.get("log"), {"checkpoint", "index", "path"}, "log")
        _members(value, expected, "the proof file")
        self._check_kinds(value)
        self.value = value
        return f"a proof of one {value['kind']}"

    def _check_kinds(self, value: dict[str, Any]) -> None:
        texts = [value["head"], value["owner"], value["owner_key"], value["record"]["leaf"], value["log"]["checkpoint"]]
        parts = [("record", value["record"]), ("log", value["log"])]
        if "claim" in value:
            texts.append(value["claim"]["leaf"])
            parts.append(("claim", value["claim"]))
            field = value["claim"]["field"]
            if not isinstance(field, list) or not all(
                isinstance(step, (str, int)) and not isinstance(step, bool) for step in field
            ):
                raise EvidenceError("claim has a field that is no list of keys and indices")
        if not all(isinstance(text, str) for text in texts):
            raise EvidenceError("the proof file has a member that is no text")
        for name, part in parts:
            index = decode_index(part["index"], name)
            decode_path(part["path"], name)
            if "size" in part and index >= decode_index(part["size"], name):
                raise EvidenceError(f"{name} has the index {index}, but {part['size']} leaves")

    def _owner(self) -> str:
        vkey = self.value["owner_key"]
        self.public = check_owner_name(vkey)
        self.statement = read_statement(self.value["owner"], vkey)
        return f"the owner's statement binds run {self.statement.run} to its keys"

    def _head(self) -> str:
        self.head = read_head(self.value["head"].encode(), self.statement.run_key)
        if self.head[0] != self.value["record"]["size"]:
            raise VerificationError(f"the head covers {self.head[0]} records; the proof says {self.value['record']['size']}")
        return f"signed by the run key, over {self.head[0]} records"

    def _log(self) -> str:
        log = self.value["log"]
        size, root = read_head(log["checkpoint"].encode(), self.statement.log_key)
        leaf = _core.merkle_leaf_hash(self.value["head"].encode())
        _core.merkle_verify_inclusion(root, leaf, log["index"], size, decode_path(log["path"], "log"))
        return f"the head is entry {log['index']} of {self.statement.log_origin} at size {size}"

    def _record(self) -> str:
        part = self.value["record"]
        text = part["leaf"].encode()
        _core.merkle_verify_inclusion(
            self.head[1], _core.merkle_leaf_hash(text), part["index"], part["size"], decode_path(part["path"], "record")
        )
        record = read_json(text, "the record")
        if not isinstance(record, dict) or not isinstance(record.get("type"), str):
            raise EvidenceError("the record is no JSON object with a type")
        if record.get("seq") != part["index"] or isinstance(record.get("seq"), bool):
            raise VerificationError(f"the record says that it is number {record.get('seq')!r}; it is {part['index']}")
        check_time(record.get("time"), "the record")
        self.record = record
        return f"record {part['index']} ({record['type']}) is in the run log"

    def _claim(self) -> str:
        claim, kind = self.value["claim"], self.value["kind"]
        reference = self._reference(kind, claim["field"])
        root = reference.get("root") if isinstance(reference, dict) else None
        if not isinstance(root, str) or not root.startswith("sha256:") or set(reference) != {"root", "size"}:
            raise EvidenceError(f"the record has no tree at {claim['field']}")
        if reference["size"] != claim["size"] or isinstance(reference["size"], bool):
            raise VerificationError(f"the record's tree has {reference['size']} leaves; the proof says {claim['size']}")
        try:
            root32 = bytes.fromhex(root[7:])
        except ValueError as error:
            raise EvidenceError(f"the record has no tree at {claim['field']}") from error
        if len(root32) != 32 or root32.hex() != root[7:]:
            raise EvidenceError(f"the record has no tree at {claim['field']}")
        text = claim["leaf"].encode()
        path = decode_path(claim["path"], "claim")
        _core.merkle_verify_inclusion(root32, _core.merkle_leaf_hash(text), claim["index"], claim["size"], path)
        return f"{_describe(kind, read_json(text, 'the leaf'), claim['index'])} is in the tree that the record names"

    def _reference(self, kind: str, field: list[Any]) -> Any:
        record = self.record
        if kind == "batch":
            streams = record.get("streams")
            if record["type"] == "epoch" and len(field) == 3 and field[0] == "streams" and field[2] == "tree":
                position = field[1]
                if isinstance(position, int) and isinstance(streams, list) and 0 <= position < len(streams):
                    stream = streams[position]
                    return stream.get("tree") if isinstance(stream, dict) else None
        elif len(field) == 1 and record["type"] in _FIELDS.get((kind, field[0]), ()):
            return record.get(field[0])
        raise EvidenceError(f"a proof of a {kind} cannot point at {field} of a record of type {record['type']}")


def _members(value: Any, expected: set[str], what: str) -> None:
    if not isinstance(value, dict) or set(value) != expected:
        seen = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise EvidenceError(f"{what} has the members {seen}; expected {sorted(expected)}")


def _describe(kind: str, leaf: Any, index: int) -> str:
    if not isinstance(leaf, dict):
        raise EvidenceError("the leaf is no JSON object")
    if kind == "tensor":
        if isinstance(leaf.get("name"), str) and (isinstance(leaf.get("digest"), str) or isinstance(leaf.get("parts"), dict)):
            return f"tensor {leaf['name']!r} {leaf.get('dtype', '')} {leaf.get('shape')} {leaf.get('digest', '')}"
        raise EvidenceError("the leaf is not that of a tensor")
    if kind == "batch":
        if "items" in leaf and leaf.get("batch") == index and not isinstance(leaf["batch"], bool):
            return f"batch {index}"
        raise EvidenceError("the leaf is not that of this batch")
    if isinstance(leaf.get("digest"), str):
        if "index" in leaf and leaf["index"] == index and not isinstance(leaf["index"], bool):
            return f"sample {index} {leaf['digest']}"
        if "index" not in leaf and isinstance(leaf.get("path"), str):
            return f"sample {leaf['path']!r} {leaf['digest']}"
    raise EvidenceError("the leaf is not that of this sample")


def check_proof(
    data: bytes,
    subject: str,
    *,
    model: Any,
    data_sets: dict[str, Any],
    tensors: Sequence[str],
    named: dict[bytes, str] | None,
    allow_unpinned: bool,
) -> Verdict:
    """All checks of a proof file, and those that the caller asked for."""
    proof = _ProofChecks(data)
    checks = proof.make(named, keys.pinned_keys() if named is None else {})
    proved = _proved_tensor(proof)
    last = "record" if proof.value.get("kind") == "record" else "claim"
    if model is not None and proof.value.get("kind") != "tensor":
        checks.run("model", _says_nothing)
    for role in data_sets:
        checks.run(f"data:{role}", _says_nothing)
    wanted = list(dict.fromkeys([*([proved] if model is not None and proved else []), *tensors]))
    for name in wanted:
        if name != proved:
            checks.run(f"tensor:{name}", _says_nothing)
            continue

        def compare(name: str = name) -> str:
            weights = Weights("the proof", {name: read_json(proof.value["claim"]["leaf"].encode(), "the leaf")}, {})
            read = None if model is None else Subject.read(model, str(weights.leaves[name].get("digest", "blake3:")).partition(":")[0])
            return check_tensor(name, weights, read)

        checks.run(f"tensor:{name}", compare, needs=[last])
    checks.run("time", _time)
    facts = {"run": proof.statement.run, "signer": proof.value.get("owner_key"), "kind": proof.value.get("kind")}
    return Verdict(subject, tuple(checks.list), allow_unpinned, checks.newer, facts)


def _proved_tensor(proof: _ProofChecks) -> str | None:
    if proof.value.get("kind") != "tensor":
        return None
    try:
        name = _core.json_decode(proof.value["claim"]["leaf"].encode()).get("name")
    except (EvidenceError, AttributeError):
        return None
    return name if isinstance(name, str) else None


def _says_nothing() -> str:
    raise Unchecked("a proof file says nothing about it; verify the bundle")


def _time() -> str:
    raise Unchecked("record times are claimed by the writer; no anchor bounds them")

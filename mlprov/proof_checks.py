"""Checking proof files: the file and the signer's key suffice (docs/format.md section 10)."""

from __future__ import annotations

import functools
from typing import Any

from mlprov import _core
from mlprov.bundle_checks import claimed_time
from mlprov.errors import EvidenceError, VerificationError
from mlprov.model_checks import check_tensor
from mlprov.proofs import FIELDS, KINDS
from mlprov.questions import Question
from mlprov.record_values import describe_record, is_count, plain, shown
from mlprov.recorded_weights import Weights, check_tensor_leaf
from mlprov.signers import Signers
from mlprov.statements import (
    Statement,
    check_owner_name,
    check_time,
    check_version,
    decode_index,
    decode_path,
    read_head,
    read_json,
    read_statement,
)
from mlprov.subjects import Subject
from mlprov.tree_references import read_reference
from mlprov.verdicts import Checks, NewerVersion, Unchecked, Verdict
from mlprov.wording import plural

__all__ = ["check_proof"]


class _ProofChecks:
    """Makes the checks of section 10 for a proof file, in order."""

    def __init__(self, data: bytes) -> None:
        self.checks = Checks()
        self.value: dict[str, Any] = {}
        self.statement = Statement("", "", "", "", "")
        self.head: tuple[int, bytes] = (0, b"")
        self.record: dict[str, Any] = {}
        self._data = data

    def make(self, signers: Signers) -> Checks:
        checks = self.checks
        checks.run("proof", self._form)
        checks.run("owner", self._owner, needs=["proof"])
        checks.run("signer", lambda: signers.check(self.value["owner_key"]), needs=["owner"])
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
        if value.get("kind") not in KINDS:
            raise EvidenceError(
                f"the proof is of the kind {shown(value.get('kind'))}; expected one of "
                f"{', '.join(KINDS)}"
            )
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
        texts = [
            value["head"],
            value["owner"],
            value["owner_key"],
            value["record"]["leaf"],
            value["log"]["checkpoint"],
        ]
        parts = [("record", value["record"]), ("log", value["log"])]
        if "claim" in value:
            texts.append(value["claim"]["leaf"])
            parts.append(("claim", value["claim"]))
            field = value["claim"]["field"]
            if not isinstance(field, list) or not all(
                isinstance(step, str) or is_count(step) for step in field
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
        check_owner_name(vkey)
        self.statement = read_statement(self.value["owner"], vkey)
        return f"the owner's statement binds run {self.statement.run} to its keys"

    def _head(self) -> str:
        self.head = read_head(self.value["head"].encode(), self.statement.run_key)
        if self.head[0] != self.value["record"]["size"]:
            raise VerificationError(
                f"the head covers {self.head[0]} records; the proof says "
                f"{self.value['record']['size']}"
            )
        return f"signed by the run key, over {plural(self.head[0], 'record')}"

    def _log(self) -> str:
        log = self.value["log"]
        size, root = read_head(log["checkpoint"].encode(), self.statement.log_key)
        leaf = _core.merkle_leaf_hash(self.value["head"].encode())
        _core.merkle_verify_inclusion(
            root, leaf, log["index"], size, decode_path(log["path"], "log")
        )
        return (
            f"the head is entry {log['index']} of the owner's own log "
            f"{self.statement.log_origin} of {plural(size, 'entry')} (its name is his claim; no "
            "witness)"
        )

    def _record(self) -> str:
        part = self.value["record"]
        text = part["leaf"].encode()
        _core.merkle_verify_inclusion(
            self.head[1],
            _core.merkle_leaf_hash(text),
            part["index"],
            part["size"],
            decode_path(part["path"], "record"),
        )
        record = read_json(text, "the record")
        if not isinstance(record, dict) or not isinstance(record.get("type"), str):
            raise EvidenceError("the record is no JSON object with a type")
        if record.get("seq") != part["index"] or isinstance(record.get("seq"), bool):
            raise VerificationError(
                f"the record says that it is number {plain(record.get('seq'))}; it is "
                f"{part['index']}"
            )
        check_time(record.get("time"), "the record")
        self.record = record
        member = "params" if record["type"] == "activity" else "metrics"
        held = record.get(member)
        told = f", {member} {shown(held)}" if held and isinstance(held, dict) else ""
        return f"{describe_record(record)} is in the run log{told}"

    def _claim(self) -> str:
        claim, kind = self.value["claim"], self.value["kind"]
        holder, member = self._holder(kind, claim["field"])
        where = describe_record(self.record)
        reference = read_reference(holder, member, where)
        if reference is None:
            raise EvidenceError(f"{where} has no tree at {shown(claim['field'])}")
        root, size = reference
        if size != claim["size"]:
            raise VerificationError(
                f"the record's tree has {size} leaves; the proof says {claim['size']}"
            )
        text = claim["leaf"].encode()
        path = decode_path(claim["path"], "claim")
        leaf_hash = _core.merkle_leaf_hash(text)
        _core.merkle_verify_inclusion(root, leaf_hash, claim["index"], size, path)
        leaf = read_json(text, "the leaf")
        field = ".".join(map(str, claim["field"]))  # one of section 9's forms: of few characters
        return f"{_describe(kind, leaf, claim['index'])} is in the {field} of {where}"

    def _holder(self, kind: str, field: list[Any]) -> tuple[dict[str, Any], str]:
        """The object and the member that ``field`` leads to."""
        record = self.record
        if kind == "batch" and record["type"] in ("epoch", "batches") and len(field) == 3:
            streams, position = record.get("streams"), field[1]
            if (
                (field[0], field[2]) == ("streams", "tree")
                and isinstance(position, int)
                and isinstance(streams, list)
                and 0 <= position < len(streams)
                and isinstance(streams[position], dict)
            ):
                return streams[position], "tree"
        elif len(field) == 1 and record["type"] in FIELDS.get((kind, field[0]), ()):
            return record, field[0]
        raise EvidenceError(
            f"a proof of a {kind} cannot point at {shown(field)} of a record of type "
            f"{plain(record['type'])}"
        )


def _members(value: Any, expected: set[str], what: str) -> None:
    if not isinstance(value, dict) or set(value) != expected:
        seen = shown(sorted(value)) if isinstance(value, dict) else type(value).__name__
        raise EvidenceError(f"{what} has the members {seen}; expected {shown(sorted(expected))}")


def _describe(kind: str, leaf: Any, index: int) -> str:
    if not isinstance(leaf, dict):
        raise EvidenceError("the leaf is no JSON object")
    if kind == "tensor":
        described = isinstance(leaf.get("digest"), str) or isinstance(leaf.get("parts"), dict)
        if isinstance(leaf.get("name"), str) and described:
            about = [plain(leaf[member]) for member in ("dtype", "shape") if member in leaf]
            about.append(plain(leaf.get("digest", "in parts")))
            return f"tensor {shown(leaf['name'])} {' '.join(about)}"
    elif kind == "batch":
        if "items" in leaf and _is_index(leaf.get("batch"), index):
            return f"batch {index}"
    elif isinstance(leaf.get("digest"), str):
        if "index" in leaf and _is_index(leaf["index"], index):
            return f"sample {index} {plain(leaf['digest'])}"
        if "index" not in leaf and isinstance(leaf.get("path"), str):
            return f"sample {shown(leaf['path'])} {plain(leaf['digest'])}"
    raise EvidenceError(f"the leaf is not that of this {kind}")


def _is_index(value: Any, index: int) -> bool:
    return value == index and not isinstance(value, bool)


def check_proof(data: bytes, subject: str, question: Question) -> Verdict:
    """All checks of a proof file, and those that the caller asked for."""
    proof = _ProofChecks(data)
    checks = proof.make(question.signers())
    claimed = _claimed_tensor(proof)
    if question.model is not None and claimed is None:
        checks.run("model", _says_nothing)
    for role in question.data_by_role:
        checks.run(f"data:{role}", _says_nothing)
    first = [claimed] if question.model is not None and claimed is not None else []
    for name in dict.fromkeys([*first, *question.tensors]):
        if name == claimed:
            check = functools.partial(_compare, proof, name, question)
            checks.run(f"tensor:{name}", check, needs=["claim"])
        else:
            checks.run(f"tensor:{name}", _says_nothing)
    checks.run("time", claimed_time)
    facts = {
        "run": proof.statement.run,
        "signer": proof.value.get("owner_key"),
        "kind": proof.value.get("kind"),
    }
    return Verdict(
        subject,
        tuple(checks.list),
        question.allow_unpinned,
        checks.newer,
        facts,
        question.block_trust.given,
    )


def _claimed_tensor(proof: _ProofChecks) -> str | None:
    """The name that the leaf has, whether or not the claim holds."""
    if proof.value.get("kind") != "tensor":
        return None
    try:
        name = _core.json_decode(proof.value["claim"]["leaf"].encode()).get("name")
    except (EvidenceError, AttributeError):
        return None
    return name if isinstance(name, str) else None


def _compare(proof: _ProofChecks, name: str, question: Question) -> str:
    """The proved tensor against that of the model at hand, if there is one."""
    field, record = proof.value["claim"]["field"], proof.record
    if field not in (["weights"], ["tensors"]):
        raise Unchecked(f"the proof is of a tensor of the {field[0]}, which no model file holds")
    moment, model = question.moment, question.model
    if moment is not None and not moment.is_of(record):
        raise Unchecked(f"the proof is of {describe_record(record)}, not of {moment}")
    leaf = read_json(proof.value["claim"]["leaf"].encode(), "the leaf")
    check_tensor_leaf(leaf, "the proof")
    # The run's algorithm is not in the proof: the digest names it. Parts are compared with nothing.
    algorithm = str(leaf.get("digest", "blake3")).partition(":")[0]
    read = None if model is None else Subject.read(model, algorithm)
    return check_tensor(name, Weights("the proof", {name: leaf}, {}), read)


def _says_nothing() -> str:
    raise Unchecked("a proof file says nothing about it; verify the bundle")

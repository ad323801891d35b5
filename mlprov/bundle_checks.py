"""The checks of a bundle's own evidence (docs/format.md section 10, from ``archive`` on)."""

from __future__ import annotations

import itertools
import math
import zlib
from typing import Any

from mlprov import _core
from mlprov.anchor_files import anchor_names
from mlprov.archives import Archive, read_archive
from mlprov.disclosed_trees import read_trees
from mlprov.errors import EvidenceError, VerificationError
from mlprov.log_checks import LogChecks
from mlprov.privacy_checks import check_privacy, has_privacy
from mlprov.ranks import describe_ranks
from mlprov.record_values import describe_record, is_count, is_hex64, is_integer, plain, shown
from mlprov.signers import Signers
from mlprov.statements import (
    RUN_ID,
    Statement,
    check_owner_name,
    check_time,
    check_version,
    open_note,
    read_head,
    read_json,
    read_statement,
)
from mlprov.verdicts import Checks, Mismatch, Unchecked
from mlprov.wording import plural

__all__ = ["BundleChecks", "claimed_time"]

_ALGORITHMS = ("blake3", "sha256", "sha384", "sha512")
_REQUIRED = (
    "SPEC.md",
    "keys/log.vkey",
    "keys/owner.vkey",
    "keys/run.vkey",
    "manifest.json",
    "manifest.sig",
    "run.jsonl",
)
_MAX_JSON = 16 << 20
_SHOWN = 5  # resumes that a detail tells of
_MANIFEST = {"entries", "format", "open", "previous", "revision", "run", "spec", "version"}
_WITH_RANKS = ("run.start", "resume", "ranks")


def claimed_time() -> str:
    """The check ``time`` of evidence without anchors."""
    raise Unchecked("record times are claimed by the writer; no anchor bounds them")


class BundleChecks:
    """Makes the checks in order; what each establishes is an attribute for those after it.

    Attributes:
        manifest: the decoded manifest.
        owner_vkey: who signed it.
        statement: the owner's statement.
        lines, decoded: the records, as bytes and as objects.
        heads: (size, root, note) of every head.
        trees: root → leaves of every disclosed tree.
        covered: log size → records under the largest head that this checkpoint has.
    """

    def __init__(self, data: bytes) -> None:
        self.checks = Checks()
        self.archive: Archive = read_archive(data)
        self.entries = self.archive.entries
        self.manifest: dict[str, Any] = {}
        self.owner_vkey = ""
        self.statement = Statement("", "", "", "", "")
        self.lines: list[bytes] = []
        self.decoded: list[dict[str, Any]] = []
        self.heads: list[tuple[int, bytes, bytes]] = []
        self.trees: dict[bytes, list[bytes]] = {}
        self.covered: dict[int, int] = {}

    @property
    def run(self) -> str:
        """The run id that owner and manifest agree on."""
        return self.statement.run

    @property
    def open(self) -> bool:
        """Whether the manifest says that the run goes on."""
        return self.manifest.get("open") is True

    def make(self, signers: Signers) -> Checks:
        """Make all checks of the evidence itself."""
        checks = self.checks
        newer = self._newer_manifest()
        checks.run("archive", lambda: self._archive(newer is not None))
        if checks.holds("archive") and newer is not None:
            checks.stop_at(newer)
        checks.run("manifest", self._manifest, needs=["archive"])
        checks.run("signature", self._signature, needs=["archive"])
        checks.run("signer", lambda: signers.check(self.owner_vkey), needs=["signature"])
        checks.run("owner", self._owner, needs=["manifest", "signature"])
        checks.run("records", self._records, needs=["manifest"])
        checks.run("heads", self._heads, needs=["owner", "records"])
        checks.run("log", self._log, needs=["heads"])
        checks.run("trees", self._trees, needs=["records"])
        checks.run("complete", self._complete, needs=["heads"])
        if has_privacy(self.decoded):
            checks.run("privacy", lambda: check_privacy(self.decoded), needs=["heads"])
        return checks

    # ---- archive and manifest ----

    def _archive(self, newer: bool) -> str:
        if self.archive.fault is None and self.archive.unknown and not newer:
            raise VerificationError(f"unknown entry {shown(self.archive.unknown[0])}")
        if self.archive.fault is not None:
            for name, content in self.entries.items():
                if zlib.crc32(content) != self.archive.checksums[name]:
                    raise VerificationError(
                        f"entry {shown(name)} was changed: its checksum is another"
                    )
            raise VerificationError(f"the archive is not the canonical one: {self.archive.fault}")
        if not newer and (missing := [name for name in _REQUIRED if name not in self.entries]):
            raise EvidenceError(f"the archive lacks the entry {missing[0]!r}")
        return f"{plural(len(self.entries), 'entry')}, byte for byte canonical"

    def _newer_manifest(self) -> int | None:
        try:
            manifest = read_json(self.entries.get("manifest.json", b""), "manifest.json")
        except EvidenceError:
            return None
        if not isinstance(manifest, dict) or manifest.get("format") != "mlprov-bundle":
            return None
        version = manifest.get("version")
        return version if is_integer(version) and version > 1 else None

    def _manifest(self) -> str:
        manifest = read_json(self.entries["manifest.json"], "manifest.json")
        if not isinstance(manifest, dict) or manifest.get("format") != "mlprov-bundle":
            raise EvidenceError("manifest.json is not of the format mlprov-bundle")
        check_version(manifest.get("version"), "manifest.json")
        if set(manifest) != _MANIFEST:
            raise EvidenceError(
                f"manifest.json has the members {shown(sorted(manifest))}; expected "
                f"{shown(sorted(_MANIFEST))}"
            )
        self._check_manifest_values(manifest)
        listed = manifest["entries"]
        present = set(self.entries) - {"manifest.json", "manifest.sig"}
        if set(listed) != present:
            odd = sorted(set(listed) ^ present)[0]
            raise VerificationError(
                f"entry {shown(odd)} is {'not in the manifest' if odd in present else 'missing'}"
            )
        for name in sorted(listed):
            self._check_entry(name, listed[name])
        if manifest["spec"] != _core.hash_bytes(self.entries["SPEC.md"], "sha256").hex():
            raise VerificationError("manifest.json names another specification than SPEC.md")
        self.manifest = manifest
        return f"{len(listed)} entries have the size and SHA-256 listed"

    def _check_manifest_values(self, manifest: dict[str, Any]) -> None:
        revision, previous = manifest["revision"], manifest["previous"]
        well_formed = (
            isinstance(manifest["entries"], dict)
            and isinstance(manifest["open"], bool)
            and is_integer(revision)
            and revision >= 1
            and (previous is None) == (revision == 1)
            and (previous is None or is_hex64(previous))
            and isinstance(manifest["spec"], str)
            and isinstance(manifest["run"], str)
            and RUN_ID.fullmatch(manifest["run"]) is not None
        )
        if not well_formed:
            raise EvidenceError("manifest.json has a member of the wrong kind")

    def _check_entry(self, name: str, listed: Any) -> None:
        if not isinstance(listed, dict) or set(listed) != {"sha256", "size"}:
            raise EvidenceError(f"manifest.json describes the entry {name!r} in another form")
        content = self.entries[name]
        digest = _core.hash_bytes(content, "sha256").hex()
        if listed["sha256"] != digest:
            raise Mismatch(
                f"entry {name!r} has the SHA-256 {digest}, the manifest says "
                f"{plain(listed['sha256'])}",
                seen=digest,
                expected=plain(listed["sha256"]),
            )
        if listed["size"] != len(content) or isinstance(listed["size"], bool):
            raise VerificationError(
                f"entry {name!r} has {len(content)} bytes, the manifest says "
                f"{plain(listed['size'])}"
            )

    def _vkey(self, which: str) -> str:
        text = self.entries[f"keys/{which}.vkey"]
        try:
            vkey = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise EvidenceError(f"keys/{which}.vkey is not UTF-8") from error
        if not vkey.endswith("\n") or "\n" in vkey[:-1]:
            raise EvidenceError(f"keys/{which}.vkey is not one line")
        _core.parse_vkey(vkey[:-1])
        return vkey[:-1]

    def _signature(self) -> str:
        vkey = self._vkey("owner")
        check_owner_name(vkey)
        text = open_note(self.entries["manifest.sig"], vkey)
        digest = _core.hash_bytes(self.entries["manifest.json"], "sha256").hex()
        expected = f"mlprov/manifest@v1\nsha256:{digest}\n"
        if text != expected:
            raise VerificationError(
                "manifest.sig is a signature of something else than this manifest.json"
            )
        self.owner_vkey = vkey
        return f"manifest.json is signed by {_core.parse_vkey(vkey)[0]}"

    # ---- run log ----

    def _first_record(self) -> dict[str, Any]:
        first = self.entries["run.jsonl"].partition(b"\n")[0]
        record = read_json(first, "the first record") if len(first) <= _MAX_JSON else None
        if not isinstance(record, dict):
            raise EvidenceError("the first record is no JSON object")
        return record

    def _owner(self) -> str:
        start = self._first_record()
        note, vkey = start.get("owner"), start.get("owner_key")
        if not isinstance(note, str) or not isinstance(vkey, str):
            raise EvidenceError("the first record has no owner's statement")
        if vkey != self.owner_vkey:
            raise VerificationError(
                f"the run was begun by the owner key {plain(vkey)}; the bundle is signed by "
                f"{self.owner_vkey}"
            )
        statement = read_statement(note, self.owner_vkey)
        compared = (
            ("keys/run.vkey", self._vkey("run"), statement.run_key),
            ("keys/log.vkey", self._vkey("log"), statement.log_key),
            ("the manifest's run", self.manifest["run"], statement.run),
            ("run.start's run", start.get("run"), statement.run),
        )
        for what, seen, expected in compared:
            if seen != expected:
                raise VerificationError(
                    f"{what} is {shown(seen)}; the owner's statement says {shown(expected)}"
                )
        self.statement = statement
        return f"the owner's statement binds run {statement.run} to its keys"

    def _records(self) -> str:
        text = self.entries["run.jsonl"]
        if not text.endswith(b"\n"):
            raise EvidenceError("run.jsonl does not end in a newline")
        lines = text[:-1].split(b"\n")
        decoded = [self._record(seq, line) for seq, line in enumerate(lines)]
        previous = ""
        for seq, record in enumerate(decoded):
            if record["time"] <= previous:
                raise VerificationError(
                    f"record {seq} has the time {record['time']}, not later than {previous}"
                )
            previous = record["time"]
            if (record["type"] == "run.start") != (seq == 0):
                raise VerificationError(
                    f"record {seq} is of type {plain(record['type'])}; run.start is the first, and "
                    "only it"
                )
            if record["type"] == "run.end" and seq != len(lines) - 1:
                raise VerificationError(
                    f"record {seq} is run.end, but {len(lines) - 1 - seq} records follow it"
                )
        self.lines, self.decoded = lines, decoded
        return f"{plural(len(lines), 'record')}, from {decoded[0]['time']} to {previous} (claimed)"

    def _record(self, seq: int, line: bytes) -> dict[str, Any]:
        record = read_json(line, f"record {seq}")
        if not isinstance(record, dict) or not isinstance(record.get("type"), str):
            raise EvidenceError(f"record {seq} is no JSON object with a type")
        if record.get("seq") != seq or isinstance(record.get("seq"), bool):
            raise VerificationError(
                f"record {seq} says that it is number {shown(record.get('seq'))}"
            )
        check_time(record.get("time"), f"record {seq}")
        if record["type"] == "run.start":
            check_version(record.get("version"), "run.start")
            if not isinstance(record.get("run"), str) or not RUN_ID.fullmatch(record["run"]):
                raise EvidenceError(
                    f"run.start names the run {shown(record.get('run'))}, which is no UUIDv7"
                )
            if record.get("algorithm") not in _ALGORITHMS:
                algorithm = shown(record.get("algorithm"))
                raise EvidenceError(f"run.start names the algorithm {algorithm}")
        return record

    def _heads(self) -> str:
        notes = {int(n[6:-5]): c for n, c in self.entries.items() if n.startswith("heads/")}
        if not notes:
            raise EvidenceError("the bundle has no signed head")
        tree = _core.MerkleTree(self.lines)
        for size, note in sorted(notes.items()):
            stated, root = read_head(note, self.statement.run_key)
            if stated != size:
                raise VerificationError(f"heads/{size}.note is a head of {stated} records")
            if not 1 <= size <= len(self.lines):
                raise VerificationError(
                    f"heads/{size}.note speaks of {size} records; the bundle has {len(self.lines)}"
                )
            if tree.root(size) != root:
                raise Mismatch(
                    f"the first {size} records have the root {tree.root(size).hex()}, the head "
                    f"says {root.hex()}",
                    seen=tree.root(size).hex(),
                    expected=root.hex(),
                )
            self.heads.append((size, root, note))
        if self.heads[-1][0] != len(self.lines):
            raise VerificationError(
                f"the last head covers {self.heads[-1][0]} of {len(self.lines)} records"
            )
        resumed = self._check_resumes()
        heads = plural(len(self.heads), "head")
        return f"{heads}, each signed by the run key over the records before it{resumed}"

    def _check_resumes(self) -> str:
        """Whether each ``resume`` names a head that stood before it; what they say of weights."""
        said: list[str] = []
        notes = {note: size for size, _, note in self.heads}
        for record in self.decoded:
            if record["type"] != "resume":
                continue
            where, note = describe_record(record), record.get("from")
            if not isinstance(note, str) or notes.get(note.encode(), math.inf) > record["seq"]:
                raise VerificationError(f"{where} goes on from a note that is no head before it")
            equal = record.get("equal")
            claim = "equal" if equal is True else "not equal" if equal is False else "not compared"
            said.append(f"{where}: loaded weights {claim}, as recorded")
        return "".join(f"; {text}" for text in said[:_SHOWN])

    # ---- store log ----

    def _log(self) -> str:
        anchored = {anchor.size for anchor in anchor_names(self.entries)}
        checks = LogChecks(self.entries, self.heads, self.statement, self.open, anchored)
        self.covered = checks.covered
        return checks.make()

    # ---- trees and end ----

    def _trees(self) -> str:
        self.trees = read_trees(self.entries, self.decoded)
        trees = plural(len(self.trees), "disclosed tree")
        return f"{trees}, of the roots and sizes that the records cite"

    def _complete(self) -> str:
        last = self.decoded[-1]
        if last["type"] != "run.end":
            raise Unchecked(
                f"the log ends with a record of type {plain(last['type'])}: the run goes on or was "
                "cut off"
            )
        if last.get("status") not in ("finished", "failed"):
            raise Unchecked(f"the run ended with the status {shown(last.get('status'))}")
        gaps = sum(1 for record in self.decoded if record["type"] == "gap")
        if gaps or not is_count(last.get("gaps")) or last["gaps"] != 0:
            raise Unchecked(
                f"evidence is missing: the end of the run says {plain(last.get('gaps'))} gaps, and "
                f"{gaps} gap records are there"
            )
        self._count_epochs(last)
        for record in self.decoded:
            said = record.get("ranks") if record["type"] in _WITH_RANKS else None
            if said is not None:
                raise Unchecked(describe_ranks(said))
        return (
            f"the run ended as {last['status']}: {plural(last['epochs'], 'epoch')} and "
            f"{plural(last['batches'], 'batch')}, as it counted them, and no gaps"
        )

    def _count_epochs(self, last: dict[str, Any]) -> None:
        """The end's counts against the records; what was never recorded shows nowhere."""
        numbers: list[Any] = [r.get("epoch") for r in self.decoded if r["type"] == "epoch"]
        lives: list[list[Any]] = [[]]
        for record in self.decoded:
            if record["type"] == "resume":  # it may count from an earlier epoch again
                lives.append([])
            elif record["type"] == "epoch":
                lives[-1].append(record.get("epoch"))
        if not all(is_integer(number) for number in numbers) or any(
            later <= earlier for life in lives for earlier, later in itertools.pairwise(life)
        ):
            raise Unchecked(f"the epoch numbers do not ascend: {shown(numbers[:20])}")
        batches = sum(map(_count_batches, self.decoded))
        seen = {"epochs": len(numbers), "batches": batches}
        for member, count in seen.items():
            if not is_count(last.get(member)) or last[member] != count:
                raise Unchecked(
                    f"the end of the run says {plain(last.get(member))} {member}; {count} are "
                    "recorded"
                )


def _count_batches(record: dict[str, Any]) -> int:
    """The batches of a record's streams. Unchecked: it does not say how many."""
    streams = record.get("streams")
    if record["type"] not in ("epoch", "batches") or streams is None:
        return 0
    listed = streams if isinstance(streams, list) else [None]
    counts = [stream.get("batches") if isinstance(stream, dict) else None for stream in listed]
    known = [count for count in counts if is_count(count)]
    if len(known) != len(counts):
        raise Unchecked(f"{describe_record(record)} does not count its batches")
    return sum(known)

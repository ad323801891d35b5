"""The check ``log``: heads of a run in checkpoints of a store log (docs/format.md section 8)."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from mlprov import _core
from mlprov.anchor_files import STATES_ENTRY
from mlprov.errors import EvidenceError, VerificationError
from mlprov.statements import Statement, decode_index, decode_path, read_head, read_json
from mlprov.verdicts import Unchecked
from mlprov.wording import plural

__all__ = ["LogChecks"]

_Head = tuple[int, bytes, bytes]  # size, root, note


@dataclass
class LogChecks:
    """Checks the folders of ``log/``; what it establishes are attributes.

    Attributes:
        entries: of the bundle.
        heads: every head, smallest first.
        statement: whose log key counts.
        is_open: whether the manifest says that the run goes on.
        anchored: the log sizes that anchors name.
        covered: log size → records under the largest head that this checkpoint was shown to have.
    """

    entries: Mapping[str, bytes]
    heads: Sequence[_Head]
    statement: Statement
    is_open: bool
    anchored: Collection[int]
    covered: dict[int, int] = field(default_factory=dict)

    @functools.cached_property
    def _notes(self) -> dict[int, bytes]:
        return {size: note for size, _, note in self.heads}

    def make(self) -> str:
        """Check every folder.

        Raises:
            VerificationError, EvidenceError: one is not as section 8 says.
            Unchecked: the run is open and heads wait for the log; nothing else is wrong.
        """
        if STATES_ENTRY in self.entries and not self.anchored:
            raise EvidenceError(f"the bundle has {STATES_ENTRY} and no anchor")
        folders = sorted({int(n.split("/")[1]) for n in self.entries if n.startswith("log/")})
        if not folders:
            if self.is_open:
                raise Unchecked("the run is open and no head is in the store log yet")
            raise EvidenceError("the bundle has no store-log checkpoint")
        *others, main = folders
        root, proofs = self._folder(main)
        if not proofs:
            raise EvidenceError(f"log/{main}/ has a checkpoint, but the proof of no head")
        indices = self._main(main, root, proofs)
        lacking = [size for size, _, _ in self.heads if size not in indices]
        newest = [size for size, _, _ in self.heads][len(self.heads) - len(lacking) :]
        if lacking and (not self.is_open or lacking != newest):
            raise EvidenceError(f"the head of {lacking[0]} records has no proof in the store log")
        self.covered[main] = max(indices)
        for size in others:
            self._other(size, indices)
        if lacking:
            raise Unchecked(
                f"the run is open and {len(lacking)} of its heads are not in the store log yet"
            )
        return (
            f"{plural(len(self.heads), 'head')} in the owner's own log {self.statement.log_origin} "
            f"of {plural(main, 'entry')} (its name is his claim; no witness)"
        )

    def _folder(self, size: int) -> tuple[bytes, dict[int, str]]:
        """The root of a folder's checkpoint, and its proofs by size of the head."""
        place = f"log/{size}"
        if f"{place}/checkpoint" not in self.entries:
            raise EvidenceError(f"{place}/ has no checkpoint")
        stated, root = read_head(self.entries[f"{place}/checkpoint"], self.statement.log_key)
        if stated != size:
            raise VerificationError(f"{place}/checkpoint is of a log of {stated} entries")
        proofs = {
            int(name.rpartition("/")[2][:-6]): name
            for name in self.entries
            if name.startswith(f"{place}/") and name.endswith(".proof")
        }
        if odd := sorted(set(proofs) - set(self._notes)):
            raise EvidenceError(f"{place}/{odd[0]}.proof is of a head that the bundle lacks")
        return root, proofs

    def _main(self, size: int, root: bytes, proofs: Mapping[int, str]) -> dict[int, int]:
        """Where in the log each head is that has a proof."""
        indices: dict[int, int] = {}
        previous = -1
        for head, name in sorted(proofs.items()):
            index = self._check_proof(name, head, size, root)
            if index <= previous:
                raise VerificationError(
                    f"the head of {head} records is entry {index} of the store log, not behind the "
                    f"smaller head at {previous}"
                )
            indices[head] = previous = index
        return indices

    def _other(self, size: int, indices: Mapping[int, int]) -> None:
        """A smaller checkpoint, which an anchor is of: it has the largest head that it can have."""
        if size not in self.anchored:
            raise EvidenceError(f"log/{size}/ is of a log size that no anchor is of")
        root, proofs = self._folder(size)
        had = [head for head, index in indices.items() if index < size]
        if list(proofs) != had[-1:] or not had:
            expected = f"the head of {had[-1]} records alone" if had else "none: it has no head"
            seen = ", ".join(map(str, sorted(proofs)[:5])) or "none"
            raise EvidenceError(f"log/{size}/ has proofs of the heads {seen}; expected {expected}")
        index = self._check_proof(proofs[had[-1]], had[-1], size, root)
        if index != indices[had[-1]]:
            raise VerificationError(
                f"the head of {had[-1]} records is entry {index} of the log of {size} entries, and "
                f"entry {indices[had[-1]]} of the larger one"
            )
        self.covered[size] = had[-1]

    def _check_proof(self, name: str, head: int, size: int, root: bytes) -> int:
        proof = read_json(self.entries[name], name)
        if not isinstance(proof, dict) or set(proof) != {"index", "path"}:
            raise EvidenceError(f"{name} has other members than index and path")
        path = decode_path(proof["path"], name)
        index = decode_index(proof["index"], name)
        leaf = _core.merkle_leaf_hash(self._notes[head])
        try:
            _core.merkle_verify_inclusion(root, leaf, index, size, path)
        except (VerificationError, EvidenceError) as error:
            raise type(error)(
                f"the head of {head} records is not entry {index} of the store log: {error}"
            ) from error
        return index

"""Model files that are no safetensors, compared as bytes (docs/format.md section 10, Model)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from mlprov.errors import EvidenceError, VerificationError
from mlprov.record_values import describe_record, is_count, is_hex64, plain, shown
from mlprov.subjects import Subject
from mlprov.verdicts import Mismatch, Unchecked
from mlprov.wording import plural

__all__ = ["check_files"]

_Facts: TypeAlias = tuple[str, str, int]  # BLAKE3, SHA-256, bytes
_MOST_LISTED = 3  # digests in a message


def check_files(subject: Subject, recorded: Sequence[dict[str, Any]]) -> str:
    """Whether the model's files are those of a checkpoint record.

    A directory has to have the same files by the same paths; a single file may be any of them.

    Args:
        subject: the model at hand, read as bytes.
        recorded: the checkpoint records that count.

    Raises:
        VerificationError: they are of none.
        Unchecked: there is nothing to compare.
        EvidenceError: a record lists its files in another form.
    """
    if not recorded:
        raise Unchecked("no checkpoint record has files to compare with")
    # All are read before one is taken: a malformed list is never passed over.
    listings = [(record, _listed_files(record)) for record in recorded]
    if not subject.files:
        raise Unchecked(f"{subject.shown} holds no file to compare")
    own = {file.path: _file_facts(file.as_record()) for file in subject.files}
    for record, listed in listings:
        same = own == listed if subject.directory else {*own.values()} <= {*listed.values()}
        if same:
            return (
                f"the bytes of {subject.shown} are those that {describe_record(record)} lists; "
                f"bytes, not tensors, were compared: {_beside(record)}"
            )
    raise _difference(subject, own, listings)


def _beside(record: Mapping[str, Any]) -> str:
    """What is not proved of files whose bytes are the recorded ones."""
    weights = record.get("weights")
    root, size = (weights.get(k) if isinstance(weights, dict) else None for k in ("root", "size"))
    if not isinstance(root, str) or not is_count(size):
        return "no live model is recorded beside them, and nothing was unpickled"
    return (
        f"the live model at that record is {plural(size, 'tensor')}, {plain(root)}; that the files "
        "hold it is the writer's word, since nothing is unpickled"
    )


def _difference(
    subject: Subject,
    own: Mapping[str, _Facts],
    listings: Sequence[tuple[dict[str, Any], Mapping[str, _Facts]]],
) -> VerificationError:
    """What differs from the last record that lists a file of such a name, else the last of all.

    Of a directory that is the first file by path; a single file of another name is held against
    all that the record lists.
    """
    listing = [(describe_record(record), listed) for record, listed in listings if listed]
    if not listing:
        return VerificationError("no checkpoint record lists a file")
    where, listed = next((one for one in reversed(listing) if {*own} & {*one[1]}), listing[-1])
    path = next(iter(own))
    if subject.directory:
        different = {path for path in {*own, *listed} if own.get(path) != listed.get(path)}
        path = min(different, key=str.encode)
        what, expected = f"{shown(path)} of {subject.shown}", _digests([listed.get(path)])
    else:
        candidates = [listed[path]] if path in listed else list(listed.values())
        what, expected = subject.shown, _digests(candidates)
    seen = _digests([own.get(path)])
    return Mismatch(
        f"{what} is {seen}, {where} says {expected}; bytes, not tensors, were compared, and no "
        "other checkpoint record lists these",
        seen=seen,
        expected=expected,
    )


def _digests(facts: Sequence[_Facts | None]) -> str:
    digests = ["absent" if one is None else f"sha256:{one[1]}" for one in facts]
    more = len(digests) - _MOST_LISTED
    return ", ".join(digests[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def _file_facts(entry: Any) -> _Facts:
    return entry["blake3"], entry["sha256"], entry["len"]


def _listed_files(record: dict[str, Any]) -> dict[str, _Facts]:
    """Path → facts of the files that a checkpoint record lists.

    Raises:
        EvidenceError: the list is of another form than section 5 gives it.
    """
    where, files = describe_record(record), record.get("files")
    listed: dict[str, _Facts] = {}
    for entry in [] if files is None else files if isinstance(files, list) else [None]:
        if (
            not isinstance(entry, dict)
            or set(entry) != {"blake3", "len", "path", "sha256"}
            or not is_count(entry["len"])
            or not isinstance(entry["path"], str)
            or not all(is_hex64(entry[k]) for k in ("blake3", "sha256"))
            or entry["path"] in listed
        ):
            raise EvidenceError(f"{where} lists its files in another form")
        listed[entry["path"]] = _file_facts(entry)
    return listed

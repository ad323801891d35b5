"""Model files that are no safetensors, compared as bytes (docs/format.md section 10, Model)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlprov.errors import EvidenceError, VerificationError
from mlprov.record_values import describe_record, is_count, is_hex64
from mlprov.subjects import Subject
from mlprov.verdicts import Unchecked

__all__ = ["check_files"]


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
                "bytes, not tensors, were compared"
            )
    raise VerificationError(
        f"the bytes of {subject.shown} are those of no recorded checkpoint; bytes, not tensors, "
        "were compared"
    )


def _file_facts(entry: Any) -> tuple[str, str, int]:
    return entry["blake3"], entry["sha256"], entry["len"]


def _listed_files(record: dict[str, Any]) -> dict[str, tuple[str, str, int]]:
    """Path → facts of the files that a checkpoint record lists.

    Raises:
        EvidenceError: the list is of another form than section 5 gives it.
    """
    where, files = describe_record(record), record.get("files")
    listed: dict[str, tuple[str, str, int]] = {}
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

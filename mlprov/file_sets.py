"""Sets of files: what is in them, in which order (docs/format.md section 4, "Sample leaf")."""

from __future__ import annotations

import os
import pathlib
import re
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mlprov.errors import ConfigError, EvidenceError
from mlprov.file_digests import hash_files
from mlprov.records import Json

__all__ = [
    "FileEntry",
    "check_file_name",
    "dvc_digests",
    "hash_entries",
    "list_files",
    "list_model_files",
]

_SKIPPED: Final = frozenset({".git", ".mlprov"})
_DVC_MAX: Final = 1024 * 1024  # bytes of a .dvc file that are looked at; they have a few hundred


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A regular file of a set.

    Attributes:
        path: relative to the set, ``/``-separated.
        location: where it lies.
        status: its state when it was listed.
    """

    path: str
    location: pathlib.Path
    status: os.stat_result


def list_files(root: pathlib.Path, store: pathlib.Path | None = None) -> list[FileEntry]:
    """Every regular file under a directory, sorted by the UTF-8 bytes of its relative path.

    Folders called ``.git`` or ``.mlprov`` are left out, but not files and links of these names.

    Args:
        root: the directory.
        store: a store that must not be in it under another name. It cannot just be left out:
            whoever verifies the set later sees a folder like any other (docs/format.md section 10).

    Raises:
        ConfigError: a link, a socket or another special file, a name that is not UTF-8, two paths
            that are one after Unicode NFC, the store; each is named.
    """
    refused = _place(store.stat()) if store is not None and store.exists() else None
    if refused == _place(root.stat()):
        raise _store_refusal(root, root)
    entries = list(_scan(root, "", refused))
    entries.sort(key=lambda entry: entry.path.encode("utf-8"))
    normal: dict[str, str] = {}
    for entry in entries:
        earlier = normal.setdefault(unicodedata.normalize("NFC", entry.path), entry.path)
        if earlier != entry.path:
            raise ConfigError(
                f"cannot record {root}: the paths {earlier!a} and {entry.path!a} are the same in"
                " Unicode normal form C",
                "rename one",
            )
    return entries


def _place(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _store_refusal(root: pathlib.Path, store: pathlib.Path) -> ConfigError:
    return ConfigError(
        f"cannot record {root}: {store} is the store that the run is written to, no data",
        "move it out of there and name its place with store= or MLPROV_STORE, or call it .mlprov,"
        " which is left out",
    )


def _scan(root: pathlib.Path, prefix: str, store: tuple[int, int] | None) -> Iterator[FileEntry]:
    todo = [(root, prefix)]
    while todo:
        folder, prefix = todo.pop()
        with os.scandir(folder) as listing:
            for item in listing:
                location = folder / item.name
                status = item.stat(follow_symlinks=False)
                if item.name in _SKIPPED and stat.S_ISDIR(status.st_mode):
                    continue
                path = prefix + check_file_name(location)
                if stat.S_ISDIR(status.st_mode):
                    if _place(status) == store:
                        raise _store_refusal(root, location)
                    todo.append((location, path + "/"))
                elif stat.S_ISREG(status.st_mode):
                    yield FileEntry(path, location, status)
                else:
                    raise _refusal(location, status)


def list_model_files(root: pathlib.Path) -> list[tuple[pathlib.Path, str]]:
    """Every file of a saved model's directory: where it lies, and its path within it, sorted.

    A link to a regular file is that file under the link's own name: the snapshots of a Hugging Face
    cache are links to its blobs. Nothing is left out (docs/format.md section 10, **Model**).

    Raises:
        ConfigError: a link to a directory, which might lead out of the model or round in a circle;
            a dangling link, a special file, a name that is not UTF-8; each is named.
        OSError: a directory that cannot be read.
    """
    found: list[tuple[pathlib.Path, str]] = []
    todo = [root]
    while todo:
        with os.scandir(todo.pop()) as listing:
            for item in listing:
                location = pathlib.Path(item.path)
                check_file_name(location)
                if item.is_dir(follow_symlinks=False):
                    todo.append(location)
                elif item.is_file():
                    found.append((location, location.relative_to(root).as_posix()))
                else:
                    raise _model_refusal(root, location)
    return sorted(found, key=lambda file: file[1].encode())


def _model_refusal(root: pathlib.Path, location: pathlib.Path) -> ConfigError:
    where = f"cannot list the files of {root}: {location.relative_to(root)}"
    if location.is_dir():
        return ConfigError(
            f"{where} is a link to a directory, which is not followed", "put the files there"
        )
    return ConfigError(
        f"{where} is a dangling link or no regular file", "remove it, or give the files one by one"
    )


def check_file_name(location: pathlib.Path) -> str:
    """The last part of a path, as leaves can carry it. ConfigError: it is not UTF-8."""
    try:
        location.name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"cannot list the file {location}: its name is not UTF-8", "rename it"
        ) from error
    return location.name


def _refusal(location: pathlib.Path, status: os.stat_result) -> ConfigError:
    if stat.S_ISLNK(status.st_mode):
        return ConfigError(
            f"cannot record {location}: it is a symbolic link, and what it points to may lie"
            " outside the set",
            "put the file itself there, or pass the directory that holds it",
        )
    return ConfigError(
        f"cannot record {location}: it is no regular file ({stat.filemode(status.st_mode)})"
    )


def hash_entries(
    entries: Sequence[FileEntry], algorithm: str, threads: int | None = None
) -> Iterator[tuple[bytes, int]]:
    """The digest and the length of files that were listed, in order.

    Raises:
        EvidenceError: one is not the file any more that was listed, or changed while it was read.
        OSError: one cannot be read.
    """
    names = [os.fsencode(entry.location) for entry in entries]
    outcomes = hash_files(names, algorithm, threads=threads)
    for entry, (outcome, length) in zip(entries, outcomes, strict=True):
        if isinstance(outcome, Exception):
            raise outcome
        now = entry.location.lstat()
        before = entry.status
        if (
            not stat.S_ISREG(now.st_mode)
            or _place(now) != _place(before)
            or (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns)
            or length != before.st_size
        ):
            raise EvidenceError(f"cannot record {entry.location}: it changed while it was read")
        yield outcome, length


def dvc_digests(location: pathlib.Path, folder: str = "") -> list[Json]:
    r"""What a ``.dvc`` file says of its outputs: weak digests, as ``data`` records list them.

    DVC writes YAML of a fixed form: ``outs:``, then for each output a list item with ``md5`` and
    ``path`` (dvc.org, ".dvc files"). Other lines, and files of another form, give nothing.

    Args:
        location: the file.
        folder: what its paths are relative to, as the record shows it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "a.csv.dvc")
    ...     _ = path.write_text("outs:\n- md5: 900150983cd24fb0d6963f7d28e17f72\n  path: a.csv")
    ...     dvc_digests(path)
    [{'algorithm': 'md5', 'digest': '900150983cd24fb0d6963f7d28e17f72', 'path': 'a.csv'}]
    """
    with location.open("rb") as file:
        text = file.read(_DVC_MAX).decode("utf-8", "replace")
    found: list[Json] = []
    md5 = path = None
    for line in [*text.splitlines(), "- end"]:
        if line.startswith(("-", "outs:", "deps:")):
            if md5 is not None and path is not None:
                found.append(
                    {
                        "algorithm": "md5",
                        "digest": md5,
                        "path": f"{folder}/{path}" if folder else path,
                    }
                )
            md5 = path = None
        match = re.fullmatch(r"(?:- |  )(md5|path): *(.+?) *", line)
        if match is not None and match[1] == "path":
            path = match[2].strip("'\"")
        elif match is not None and re.fullmatch(r"[0-9a-f]{32}(\.dir)?", match[2]):
            md5 = match[2]
    return found

"""The state of the git repository that a script lies in (docs/format.md section 5, ``code.git``).

A repository may come from somebody else, with its own ``.git/config``. Nothing that such a
configuration names is run: no hook, no file system monitor, no external diff, no text conversion,
no filter of its own, no helper of a remote; and no remote is asked for missing objects.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass, field

from mlprov import _core
from mlprov.records import Json, json_text
from mlprov.redaction import strip_credentials

__all__ = ["find_root", "read_repository"]

_TIMEOUT_S = 10
_MAX_UNTRACKED = 1000
_LISTING_LIMIT = 64 << 20  # bytes of a listing; beyond it the repository is not described
_PIECE = 1 << 20

# What of git's own environment the user may have set on purpose; the rest would name another
# repository.
_KEPT_GIT_VARIABLES = ("GIT_CONFIG", "GIT_CEILING_DIRECTORIES", "GIT_EXEC_PATH")
_OWN_SETTINGS = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.quotePath": "true",
    "diff.suppressBlankEmpty": "false",
}
_FILTER_KEY = re.compile(r"^filter\.(?s:.+)\.(clean|smudge|process|required)$")
# Every option that a user's configuration could change: the same change has the same digest
# everywhere.
_DIFF = (
    "diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--no-relative",
    "--binary", "--full-index", "--unified=3", "--inter-hunk-context=0", "--diff-algorithm=myers",
    "--no-indent-heuristic", "--src-prefix=a/", "--dst-prefix=b/", "--submodule=short",
    "--ignore-submodules=dirty", f"-O{os.devnull}", "HEAD", "--",
)  # fmt: skip
_STATUS = (
    "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames",
    "--no-ahead-behind", "--ignore-submodules=dirty",
)  # fmt: skip


def find_root(start: pathlib.Path) -> pathlib.Path | None:
    """The nearest directory upwards that has a ``.git``."""
    for directory in (start, *start.parents):
        if os.path.lexists(directory / ".git"):
            return directory
    return None


@dataclass
class _Git:
    """One repository as git's own commands see it, with what is not ours to run switched off."""

    program: str
    root: pathlib.Path
    settings: dict[str, str] = field(default_factory=lambda: dict(_OWN_SETTINGS))

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("GIT_") or name.startswith(_KEPT_GIT_VARIABLES)
        }
        given = kept.get("GIT_CONFIG_COUNT", "0")
        first = int(given) if given.isascii() and given.isdigit() else 0
        # In variables, not as -c name=value: the name of a filter may hold an equals sign.
        for number, (key, value) in enumerate(self.settings.items(), start=first):
            kept[f"GIT_CONFIG_KEY_{number}"] = key
            kept[f"GIT_CONFIG_VALUE_{number}"] = value
        kept["GIT_CONFIG_COUNT"] = str(first + len(self.settings))
        return kept | {
            "GIT_ALLOW_PROTOCOL": "none",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_SSH_COMMAND": "false",
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
        }

    def _start(self, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self.program, "--no-pager", *arguments],
            cwd=self.root,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def read(
        self, *arguments: str, limit: int | None = _LISTING_LIMIT
    ) -> tuple[bytes, bytes] | None:
        """Output (empty where ``limit`` is None) and its BLAKE3.

        None where the command failed, took too long or said more than ``limit``.
        """
        hasher = _core.Hasher()
        pieces: list[bytes] = []
        length = 0
        try:
            process = self._start(arguments)
        except OSError:
            return None
        deadline = threading.Timer(_TIMEOUT_S, process.kill)
        deadline.start()
        try:
            with process:
                assert process.stdout is not None
                while piece := process.stdout.read(_PIECE):
                    length += len(piece)
                    if limit is not None and length > limit:
                        process.kill()
                        return None
                    hasher.update(piece)
                    if limit is not None:
                        pieces.append(piece)
        finally:
            deadline.cancel()
        return (b"".join(pieces), hasher.digest()) if process.returncode == 0 else None


def _configuration(git: _Git) -> list[tuple[str, str, str]]:
    """(scope, key, value) of every setting that git would use here."""
    answer = git.read("config", "--list", "--show-scope", "-z")
    if answer is None:
        return []
    parts = answer[0].split(b"\0")
    found = []
    for scope, entry in zip(parts[::2], parts[1::2], strict=False):
        key, _, value = entry.partition(b"\n")
        found.append((scope.decode("ascii", "replace"), os.fsdecode(key), os.fsdecode(value)))
    return found


def _is_elsewhere(git: _Git) -> bool:
    """Whether ``core.worktree`` points to a directory that is not this one."""
    answer = git.read("rev-parse", "--show-toplevel")
    if answer is None:
        return True
    top = os.fsdecode(answer[0]).rstrip("\n")
    return not pathlib.Path(top).is_dir() or not git.root.samefile(top)


@dataclass
class _Status:
    commit: str | None = None
    branch: str | None = None
    dirty: bool = False
    untracked: list[bytes] = field(default_factory=list)


def _parse_status(output: bytes) -> _Status:
    """git-status(1), "Porcelain Format Version 2", -z; without renames each entry is one path."""
    status = _Status()
    for line in output.split(b"\0"):
        if line.startswith(b"# branch.oid "):
            text = line[13:].decode("ascii", "replace")
            status.commit = None if text == "(initial)" else text
        elif line.startswith(b"# branch.head "):
            status.branch = os.fsdecode(line[14:])
        elif line.startswith(b"? "):
            status.untracked.append(line[2:])
        elif line[:2] in (b"1 ", b"2 ", b"u "):
            status.dirty = True
    if status.branch == "(detached)":
        status.branch = None
    return status


def read_repository(root: pathlib.Path) -> dict[str, Json] | None:
    """Commit, branch, remote, the change of tracked files by its digest, untracked paths.

    Args:
        root: directory that has a ``.git`` (:func:`find_root`).

    Returns:
        the members of ``code.git``, or None where git is missing, refuses the repository (another
        user's), or cannot read it. ``diff`` is BLAKE3 over ``git diff HEAD`` with the options of
        ``_DIFF``.
    """
    program = shutil.which("git")
    if program is None or not pathlib.Path(program).is_absolute():
        return None
    git = _Git(program, root)
    configuration = _configuration(git)
    foreign = [
        (key, value) for scope, key, value in configuration if scope in ("local", "worktree")
    ]
    git.settings |= {
        key: "false" if key.endswith(".required") else ""
        for key, _ in foreign
        if _FILTER_KEY.match(key)
    }
    if any(key == "core.worktree" for key, _ in foreign) and _is_elsewhere(git):
        return None
    listing = git.read(*_STATUS)
    if listing is None:
        return None
    status = _parse_status(listing[0])
    diff = git.read(*_DIFF, limit=None) if status.dirty and status.commit else None
    remotes = [value for _, key, value in configuration if key == "remote.origin.url"]
    return {
        "branch": None if status.branch is None else json_text(status.branch),
        "commit": status.commit,
        "diff": None if diff is None else f"blake3:{diff[1].hex()}",
        "dirty": status.dirty,
        "remote": json_text(strip_credentials(remotes[-1])) if remotes else None,
        "untracked": [
            json_text(os.fsdecode(name)) for name in sorted(status.untracked)[:_MAX_UNTRACKED]
        ],
        "untracked_count": len(status.untracked),
    }

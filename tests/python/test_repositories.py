"""Git states: what a repository is said to be, and that reading one runs nothing of its own."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from repositories_for_tests import GIT, git

from mlprov import _core, repositories


def read(root: Path) -> dict[str, Any]:
    state = repositories.read_repository(root)
    assert state is not None
    return dict(state)


# ---- states of a repository ----


def test_a_directory_outside_of_any_repository_has_none(tmp_path: Path) -> None:
    assert repositories.find_root(tmp_path) is None


def test_a_repository_is_found_from_below(repository: Path) -> None:
    (repository / "a" / "b").mkdir(parents=True)
    assert repositories.find_root(repository / "a" / "b") == repository


def test_a_clean_repository_is_described(repository: Path) -> None:
    assert read(repository) == {
        "branch": "main", "commit": git(repository, "rev-parse", "HEAD"), "diff": None,
        "dirty": False,
        "remote": None, "untracked": [], "untracked_count": 0,
    }  # fmt: skip


def test_a_changed_file_makes_it_dirty_with_a_digest_of_the_change(repository: Path) -> None:
    (repository / "train.py").write_text("print('changed')\n")
    state = read(repository)
    assert state["dirty"] is True
    patch = subprocess.run(
        ["git", "diff", "--binary", "--full-index", "HEAD"],
        cwd=repository,
        capture_output=True,
        check=True,
    ).stdout
    assert state["diff"] == f"blake3:{_core.hash_bytes(patch).hex()}"
    (repository / "train.py").write_text("print('changed again')\n")
    assert read(repository)["diff"] not in (None, state["diff"])


@pytest.mark.parametrize("change", ["staged", "deleted", "mode", "renamed", "added", "conflict"])
def test_every_kind_of_change_is_dirty(change: str, repository: Path) -> None:
    file = repository / "train.py"
    if change == "staged":
        file.write_text("x\n")
        git(repository, "add", ".")
    elif change == "deleted":
        file.unlink()
    elif change == "mode":
        file.chmod(0o755)
    elif change == "renamed":
        git(repository, "mv", "train.py", "other.py")
    elif change == "added":
        (repository / "new.py").write_text("x\n")
        git(repository, "add", "new.py")
    else:
        git(repository, "checkout", "-q", "-b", "other")
        file.write_text("theirs\n")
        git(repository, "commit", "-q", "-a", "-m", "theirs")
        git(repository, "checkout", "-q", "main")
        file.write_text("ours\n")
        git(repository, "commit", "-q", "-a", "-m", "ours")
        subprocess.run(
            ["git", "merge", "other"],
            cwd=repository,
            env={**os.environ, **GIT},
            capture_output=True,
        )
    state = read(repository)
    assert state["dirty"] is True
    assert str(state["diff"]).startswith("blake3:")
    assert state["untracked"] == []


def test_untracked_files_are_listed_and_ignored_ones_are_not(repository: Path) -> None:
    (repository / ".gitignore").write_text("*.log\n")
    (repository / "a.log").write_text("x")
    (repository / "folder").mkdir()
    (repository / "folder" / "new file\n.py").write_text("x")
    os.close(os.open(os.fsencode(repository) + b"/\xff.bin", os.O_CREAT))
    state = read(repository)
    assert state["untracked"] == [".gitignore", "folder/new file\n.py", {"bytes": "/y5iaW4="}]
    assert (state["untracked_count"], state["dirty"], state["diff"]) == (3, False, None)


def test_many_untracked_files_are_counted_and_listed_up_to_a_limit(repository: Path) -> None:
    for number in range(1200):
        (repository / f"{number:04}.tmp").touch()
    state = read(repository)
    assert state["untracked_count"] == 1200
    assert state["untracked"] == [f"{number:04}.tmp" for number in range(1000)]


def test_a_repository_without_a_commit_is_described(tmp_path: Path, repository: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    git(new, "init", "-q", "-b", "start")
    (new / "a").write_text("x")
    git(new, "add", "a")
    state = read(new)
    assert (state["commit"], state["branch"], state["dirty"], state["diff"]) == (
        None,
        "start",
        True,
        None,
    )


def test_a_detached_head_has_no_branch(repository: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    state = read(repository)
    assert (state["branch"], state["commit"]) == (None, git(repository, "rev-parse", "HEAD"))


def test_a_linked_worktree_is_a_repository(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    assert repositories.find_root(tmp_path / "side") == tmp_path / "side"
    assert read(tmp_path / "side")["branch"] == "side"


def test_a_submodule_is_a_repository_of_its_own(repository: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q", "-b", "main")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "-q", "add", str(repository), "sub")
    git(outer, "commit", "-q", "-m", "sub")
    assert read(outer / "sub")["commit"] == git(repository, "rev-parse", "HEAD")
    assert read(outer)["dirty"] is False


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("https://ada:hunter2@github.com/a/b.git", "https://github.com/a/b.git"),
        (
            "https://ghp_0123456789012345678901234567890123456789@github.com/a/b",
            "https://github.com/a/b",
        ),
        ("https://ada:p@ss@host/a", "https://host/a"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ("https://host/a?access_token=hunter2", "https://host/a?access_token=[redacted]"),
        ("/srv/git/a.git", "/srv/git/a.git"),
    ],
)
def test_the_remote_is_recorded_without_credentials(
    remote: str, shown: str, repository: Path
) -> None:
    git(repository, "remote", "add", "origin", remote)
    assert read(repository)["remote"] == shown


def test_a_users_own_settings_do_not_change_the_digest_of_a_change(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "train.py").write_text("".join(f"{n}\n" for n in range(50)))
    before = read(repository)["diff"]
    (tmp_path / "gitconfig").write_text(
        "[diff]\nnoprefix=true\ncontext=9\nalgorithm=patience\nmnemonicPrefix=true\nrenames=copies\n"
        "[color]\nui=always\n[core]\nabbrev=5\nquotePath=false\npager=false\n[status]\nshowUntrackedFiles=no\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    (repository / "new").touch()
    after = read(repository)
    assert (after["diff"], after["untracked"]) == (before, ["new"])


def test_variables_of_another_repository_are_not_followed(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    (repository / "train.py").write_text("x\n")
    assert read(repository)["dirty"] is True


# ---- hostile repositories ----

HOSTILE = {
    "fsmonitor": "[core]\nfsmonitor = {evil}\n",
    "hooks": "[core]\nhooksPath = {folder}\n",
    "external diff": "[diff]\nexternal = {evil}\n",
    "diff driver": '[diff "d"]\ncommand = {evil}\n',
    "textconv": '[diff "d"]\ntextconv = {evil}\n',
    "clean filter": '[filter "f"]\nclean = {evil}\n',
    "process filter": '[filter "f"]\nprocess = {evil}\nrequired = true\n',
    "odd filter": '[filter "a=b.c"]\nclean = {evil}\nrequired = true\n',
    "smudge filter": '[filter "f"]\nsmudge = {evil}\n',
    "pager": "[core]\npager = {evil}\n[pager]\ndiff = {evil}\nstatus = {evil}\n",
    "ssh": "[core]\nsshCommand = {evil}\n",
    "askpass": "[core]\naskPass = {evil}\n[credential]\nhelper = !{evil}\n",
    "alias": "[alias]\nstatus = !{evil}\ndiff = !{evil}\nconfig = !{evil}\n",
    "submodule summary": "[status]\nsubmoduleSummary = true\n[submodule]\nrecurse = true\n",
    "included": "[include]\npath = more\n",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_repositorys_own_configuration_runs_nothing(
    kind: str, repository: Path, tmp_path: Path
) -> None:
    proof = tmp_path / "it-ran"
    folder = tmp_path / "evil"
    folder.mkdir()
    evil = folder / "evil.sh"
    evil.write_text(f"#!/bin/sh\ntouch '{proof}'\ncat\n")
    evil.chmod(0o755)
    for hook in (
        "post-index-change",
        "pre-commit",
        "post-checkout",
        "fsmonitor-watchman",
        "reference-transaction",
    ):
        for place in (folder, repository / ".git" / "hooks"):
            place.mkdir(exist_ok=True)
            (place / hook).write_text(evil.read_text())
            (place / hook).chmod(0o755)
    proof.unlink(missing_ok=True)
    text = HOSTILE[kind].format(evil=evil, folder=folder)
    if kind == "included":
        (repository / ".git" / "more").write_text(HOSTILE["clean filter"].format(evil=evil))
    with (repository / ".git" / "config").open("a") as file:
        file.write(text)
    (repository / ".gitattributes").write_text("* filter=f diff=d\n*.odd filter=a=b.c\n")
    (repository / "x.odd").write_text("x")
    (repository / "train.py").write_text("print('dirty')\n")
    os.utime(repository / "train.py", (1, 1))
    proof.unlink(missing_ok=True)
    state = read(repository)
    assert state["dirty"] is True
    assert str(state["diff"]).startswith("blake3:")
    assert not proof.exists()


def test_the_hostile_filter_does_run_under_plain_git(repository: Path, tmp_path: Path) -> None:
    """The test above would see it."""
    proof = tmp_path / "it-ran"
    (repository / ".gitattributes").write_text("* filter=f\n")
    git(repository, "config", "filter.f.clean", f"touch '{proof}'; cat")
    (repository / "train.py").write_text("print('dirty')\n")
    git(repository, "diff", "HEAD")
    assert proof.exists()


def test_no_remote_is_asked_for_missing_objects(repository: Path, tmp_path: Path) -> None:
    proof, helper = tmp_path / "it-ran", tmp_path / "helper.sh"
    helper.write_text(f"#!/bin/sh\ntouch '{proof}'\n")
    helper.chmod(0o755)
    blob = git(repository, "rev-parse", "HEAD:train.py")
    git(repository, "config", "core.repositoryFormatVersion", "1")
    git(repository, "config", "extensions.partialClone", "origin")
    git(repository, "config", "remote.origin.promisor", "true")
    git(repository, "config", "remote.origin.url", f"ext::{helper}")
    git(repository, "config", "protocol.ext.allow", "always")
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    (repository / "train.py").write_text("changed\n")
    state = read(repository)
    assert (state["dirty"], state["diff"]) == (True, None)
    assert not proof.exists()
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, "diff", "HEAD")
    assert proof.exists()  # plain git does run it: the assertion above would see it


def test_a_work_tree_elsewhere_is_not_listed(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "private").write_text("x")
    git(repository, "config", "core.worktree", str(tmp_path / "home"))
    assert repositories.read_repository(repository) is None


@pytest.mark.parametrize("content", ["", "gitdir: /nowhere\n", "\0", "gitdir: .\n"])
def test_a_broken_repository_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / ".git").write_text(content)
    assert repositories.read_repository(tmp_path) is None


def test_without_git_there_is_no_state(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert repositories.read_repository(repository) is None


def test_a_git_that_lies_in_the_working_directory_is_not_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "git").write_text(f"#!/bin/sh\ntouch '{tmp_path}/it-ran'\n")
    (repository / "git").chmod(0o755)
    monkeypatch.chdir(repository)
    monkeypatch.setenv("PATH", f".:{os.environ['PATH']}")
    repositories.read_repository(repository)
    assert not (tmp_path / "it-ran").exists()


def test_a_git_that_hangs_is_given_up(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "bin" / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(repositories, "_TIMEOUT_S", 0.2)
    started = time.monotonic()
    assert repositories.read_repository(repository) is None
    assert time.monotonic() - started < 30


def test_reading_leaves_the_repository_as_it_was(repository: Path) -> None:
    os.utime(repository / "train.py", (1, 1))  # git status would refresh the index here
    before = {p: p.read_bytes() for p in sorted((repository / ".git").rglob("*")) if p.is_file()}
    read(repository)
    assert {
        p: p.read_bytes() for p in sorted((repository / ".git").rglob("*")) if p.is_file()
    } == before

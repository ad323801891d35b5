"""What a run was made with: git states, loaded files, packages, variables, generators."""

from __future__ import annotations

import importlib.metadata
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlprov import _core, environment, repositories

GIT = {
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}  # fmt: skip


def git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=directory,
        env={**os.environ, **GIT},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit of one file."""
    try:
        subprocess.run(["git", "--version"], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("git is not installed")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    (root / "train.py").write_text("print('hello')\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "one")
    return root


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


# ---- loaded files ----


def test_the_script_and_the_modules_of_its_project_are_hashed(
    repository: Path, run_python: Callable[..., str]
) -> None:
    (repository / "package").mkdir()
    (repository / "package" / "__init__.py").write_text("")
    (repository / "package" / "model.py").write_text("X = 1\n")
    (repository / "unused.py").write_text("")
    (repository / "tools").mkdir()
    script = repository / "tools" / "run.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import json, package.model, mlprov.errors\nfrom mlprov import environment\n"
        "print(json.dumps(environment.capture_code()))\n"
    )
    done = subprocess.run(
        [sys.executable, script, repository], capture_output=True, text=True, check=True
    )
    code = json.loads(done.stdout)
    assert code["git"]["untracked"] == sorted(
        ["package/__init__.py", "package/model.py", "tools/run.py", "unused.py"]
        + [p.relative_to(repository).as_posix() for p in repository.rglob("*.pyc")]
    )
    paths = {module["path"]: module for module in code["modules"]}
    assert sorted(paths) == ["package/__init__.py", "package/model.py", "tools/run.py"]
    for name, module in paths.items():
        content = (repository / name).read_bytes()
        assert module == {
            "digest": f"blake3:{_core.hash_bytes(content).hex()}",
            "len": len(content),
            "path": name,
        }


def test_a_file_deleted_since_it_was_loaded_is_named(repository: Path) -> None:
    (repository / "gone.py").write_text("")
    script = repository / "run.py"
    script.write_text(
        "import sys; import os; sys.path.insert(0, os.path.dirname(__file__))\n"
        "import gone, json, os, mlprov.errors; os.unlink(gone.__file__)\n"
        "from mlprov import environment\n"
        "print(json.dumps(environment.capture_code()['modules']))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[0] == {"error": "FileNotFoundError", "path": "gone.py"}


def test_odd_entries_among_the_modules_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    class Angry:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError("no")

    for number, entry in enumerate((None, 3, Angry(), object())):
        monkeypatch.setitem(sys.modules, f"odd_{number}", entry)
    assert isinstance(environment.capture_code()["modules"], list)


def test_cells_of_a_notebook_are_hashed_but_for_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    cells = ["", "x = 1", "password = 'hunter2'"]
    shell = types.SimpleNamespace(user_ns={"In": cells})
    fake = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", fake)
    digests = [f"blake3:{_core.hash_bytes(cell.encode()).hex()}" for cell in cells]
    assert environment.capture_code()["cells"] == [*digests[:2], "[redacted]"]


# ---- packages, variables, platform ----


def test_the_packages_are_those_that_importlib_finds() -> None:
    expected: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        expected.setdefault(distribution.metadata["Name"], distribution.version)
    assert environment.capture_environment()["packages"] == dict(sorted(expected.items()))


def test_packages_in_old_and_in_broken_forms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "new-1.dist-info/METADATA": "Metadata: 2.1\nName: New\nVersion: 1.0+cpu\n\nName: Body\n",
        "old.egg-info/PKG-INFO": "Metadata-Version: 1.0\nName: old\nVersion: 2\n",
        "older.egg-info": "Name: older\nVersion: 3\n",
        "egg-4.egg/EGG-INFO/PKG-INFO": "Name: egg\nVersion: 4\n",
        "nameless-1.dist-info/METADATA": "Version: 1\n",
        "binary-1.dist-info/METADATA": "\0\xff",
        "empty-1.dist-info/RECORD": "",
        "late-1.dist-info/METADATA": "Summary: x\n\nName: late\nVersion: 1\n",
        "module.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "second" / "new-9.dist-info").mkdir(parents=True)
    (tmp_path / "second" / "new-9.dist-info" / "METADATA").write_text("Name: New\nVersion: 9\n")
    monkeypatch.setattr(
        sys,
        "path",
        [str(tmp_path), str(tmp_path / "second"), "/nowhere", str(tmp_path / "module.py")],
    )
    assert environment.capture_environment()["packages"] == {
        "New": "1.0+cpu",
        "egg": "4",
        "old": "2",
        "older": "3",
    }


def test_only_allow_listed_variables_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("NCCL_"):
            monkeypatch.delenv(name)
    before = set(environment.capture_environment()["variables"])  # type: ignore[arg-type]
    for name, value in {
        "OMP_NUM_THREADS": "2", "NCCL_DEBUG": "INFO", "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "HOME_SECRET": "x",
        "AWS_SECRET_ACCESS_KEY": "x", "PYTHONPATH_EXTRA": "x", "NCCL_AUTH_TOKEN": "hunter2",
        "XNCCL_": "x",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    found: list[str] = []
    variables = environment.capture_environment(found)["variables"]
    assert isinstance(variables, dict)
    assert set(variables) - before <= {
        "OMP_NUM_THREADS",
        "NCCL_DEBUG",
        "CUBLAS_WORKSPACE_CONFIG",
        "NCCL_AUTH_TOKEN",
    }
    assert (variables["NCCL_DEBUG"], variables["NCCL_AUTH_TOKEN"]) == ("INFO", "[redacted]")
    assert "variables.NCCL_AUTH_TOKEN" in found


def test_the_command_line_is_recorded_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--token", "hunter2", "b\udcff"])
    assert environment.capture_environment()["argv"] == [
        "train.py",
        "--token",
        "[redacted]",
        {"bytes": "Yv8="},
    ]
    monkeypatch.delattr(sys, "argv")
    assert environment.capture_environment()["argv"] == []


def test_the_environment_is_json_that_every_reader_accepts() -> None:
    from mlprov import records

    for value in (
        environment.capture_environment(),
        environment.capture_code(),
        environment.capture_seeds(),
    ):
        assert _core.json_decode(records.canonical(value)) == value


def test_platform_and_python_are_those_of_this_process() -> None:
    captured: dict[str, Any] = dict(environment.capture_environment())
    assert captured["python"]["version"] == sys.version.split()[0].rstrip("+")
    assert captured["platform"]["system"] == os.uname().sysname
    assert captured["platform"]["hash_kernel"] == _core.hash_kernel()


def test_torch_and_numpy_are_described_only_where_they_are_loaded(
    run_python: Callable[..., str],
) -> None:
    code = (
        "import json, sys, mlprov.errors\nfrom mlprov import environment\n"
        "e = environment.capture_environment(); s = environment.capture_seeds()\n"
        "environment.capture_code(); loaded = [name in sys.modules for name in ('torch', 'numpy')]\n"  # noqa: E501
        "print(json.dumps([e['torch'], s['torch'], sorted(s['rng']), *loaded]))"
    )
    torch_facts, seed, generators, *loaded = json.loads(run_python(code))
    assert (torch_facts, seed, loaded) == (None, None, [False, False])
    assert set(generators) <= {"python"}


TORCH_FLAGS = """
import json, sys, torch, mlprov
torch.use_deterministic_algorithms(sys.argv[1] == "yes")
torch.backends.cudnn.deterministic = sys.argv[1] == "yes"
torch.backends.cudnn.benchmark = sys.argv[1] != "yes"
torch.set_float32_matmul_precision(sys.argv[2])
torch.set_default_dtype(getattr(torch, sys.argv[3]))
torch.set_num_threads(int(sys.argv[4]))
with mlprov.start("flags", store=sys.argv[5]) as run:
    pass
print(json.dumps(run.records[0]["environment"]["torch"]))
"""


@pytest.mark.parametrize(
    ("deterministic", "precision", "dtype", "threads"),
    [("yes", "high", "float64", "1"), ("no", "medium", "bfloat16", "2")],
)
def test_the_record_has_the_flags_that_torch_was_given(
    deterministic: str,
    precision: str,
    dtype: str,
    threads: str,
    run_python: Callable[..., str],
    tmp_path: Path,
) -> None:
    torch = pytest.importorskip("torch")
    asked = (deterministic, precision, dtype, threads)
    facts = json.loads(run_python(TORCH_FLAGS, *asked, str(tmp_path / "store")))
    assert facts["deterministic_algorithms"] is (deterministic == "yes")
    assert facts["cudnn_deterministic"] is (deterministic == "yes")
    assert facts["cudnn_benchmark"] is (deterministic == "no")
    assert facts["float32_matmul_precision"] == precision
    assert facts["default_dtype"] == f"torch.{dtype}"
    assert facts["threads"] == int(threads)
    assert (facts["version"], facts["git"]) == (torch.__version__, torch.version.git_version)
    assert facts["cuda"] == torch.version.cuda
    assert len(facts["devices"]) == (torch.cuda.device_count() if torch.cuda.is_available() else 0)


# The two forms that NVIDIA's kernel modules write, proprietary and open.
DRIVERS = {
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n"
    "GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n": "535.104.05",
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build  (a@b)\n"
    "GCC version:  gcc version 13.2.0\n": "550.54.14",
    "GCC unknown\n13.2.0\n": None,
    "": None,
}


@pytest.mark.parametrize("text", DRIVERS)
def test_the_driver_of_the_devices_is_read_from_its_own_words(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    (tmp_path / "version").write_text(text)
    monkeypatch.setattr(environment, "_NVIDIA_DRIVER", str(tmp_path / "version"))
    captured: dict[str, Any] = dict(environment.capture_environment())
    assert captured["torch"]["driver"] == DRIVERS[text]


def test_without_a_driver_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(environment, "_NVIDIA_DRIVER", str(tmp_path / "nowhere"))
    captured: dict[str, Any] = dict(environment.capture_environment())
    assert captured["torch"]["driver"] is None


# ---- seeds ----


def _digest(data: bytes) -> str:
    return f"blake3:{_core.hash_bytes(data).hex()}"


def test_the_state_of_pythons_generator_is_hashed_as_documented() -> None:
    random.seed(7)
    words = random.getstate()[1]
    expected = _digest(b"".join(word.to_bytes(4, "little") for word in words))
    assert environment.capture_generators()["python"] == expected
    random.random()
    assert environment.capture_generators()["python"] != expected


def test_the_state_of_numpys_generator_is_hashed_as_documented() -> None:
    numpy = pytest.importorskip("numpy")
    numpy.random.seed(7)
    name, key, position, *_ = numpy.random.get_state()
    assert name == "MT19937"
    data = key.astype("<u4").tobytes() + int(position).to_bytes(4, "little")
    assert environment.capture_generators()["numpy"] == _digest(data)


def test_another_generator_under_numpys_functions_is_left_out() -> None:
    numpy = pytest.importorskip("numpy")
    before = numpy.random.get_bit_generator()
    numpy.random.set_bit_generator(numpy.random.PCG64(1))
    try:
        assert "numpy" not in environment.capture_generators()
    finally:
        numpy.random.set_bit_generator(before)


def test_torchs_seed_is_text_because_it_exceeds_what_json_holds() -> None:
    torch = pytest.importorskip("torch")
    state = torch.get_rng_state()
    torch.manual_seed(2**63 + 5)
    seeds = environment.capture_seeds()
    assert seeds["torch"] == str(2**63 + 5)
    rng = seeds["rng"]
    assert isinstance(rng, dict)
    assert rng["torch"] == _digest(torch.get_rng_state().numpy().tobytes())
    torch.set_rng_state(state)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", "0"), ("4294967295", "4294967295"), ("random", None), ("", None), (None, None)],
)
def test_the_hash_seed_is_a_number_or_null(
    value: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is None:
        monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    else:
        monkeypatch.setenv("PYTHONHASHSEED", value)
    assert environment.capture_seeds()["python_hash"] == expected


def test_looking_at_the_generators_does_not_move_them() -> None:
    random.seed(3)
    expected = random.random()
    random.seed(3)
    environment.capture_generators()
    environment.capture_environment()
    assert random.random() == expected


@pytest.mark.timing
def test_everything_is_captured_in_a_moment(repository: Path) -> None:
    def capture() -> float:
        started = time.perf_counter()
        environment.capture_environment()
        environment.capture_code()
        environment.capture_seeds()
        repositories.read_repository(repository)
        return time.perf_counter() - started

    assert min(capture() for _ in range(10)) < 0.15

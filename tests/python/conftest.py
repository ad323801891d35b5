"""What the tests share: third-party vectors, hash kernels, stores in temporary directories.

No test reads or writes the keys and the configuration of whoever runs it: ``isolated_user`` gives
every test a home of its own.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import popen_fork
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vectors_for_tests import vectors_folder

if TYPE_CHECKING:
    from runs_for_tests import Recorded

import mlprov.errors  # noqa: F401  (hands the exception classes to the core)
from mlprov import _core

ROOT = Path(__file__).resolve().parents[2]

# A process that a time limit ends names no test; .ci/run names the one that stands here.
LAST_TEST = ROOT / "build" / "last_test"

# Variables that say how the code under test was built or what engine it is to use; all others go.
KEPT_VARIABLES = ("MLPROV_HASH_IMPL", "MLPROV_THREADS", "MLPROV_BUILD_", "MLPROV_WITH_TORCH")

# Every length at which the BLAKE3 tree, a block or a SIMD group of chunks begins or ends.
BOUNDARY_LENGTHS = sorted(
    {0, 1, 2, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025}
    | {2**power + offset for power in range(11, 21) for offset in (-1, 0, 1)}
    | {3 * 1024, 5 * 1024 + 1, 7 * 1024 - 1, 9 * 1024, 17 * 1024 + 63, 31 * 1024}
)


def pytest_runtest_logstart(nodeid: str) -> None:
    LAST_TEST.parent.mkdir(exist_ok=True)
    LAST_TEST.write_text(nodeid, encoding="utf-8")


def pattern(length: int) -> bytes:
    """The input of the official BLAKE3 vectors: byte i is i mod 251."""
    period = bytes(range(251))
    return (period * (length // 251 + 1))[:length]


@pytest.fixture(autouse=True)
def isolated_user(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A user of the test's own: no owner key, trusted keys, configuration or default store."""
    for name in list(os.environ):
        if name.startswith("MLPROV_") and not name.startswith(KEPT_VARIABLES):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("user")
    monkeypatch.setenv("MLPROV_HOME", str(home / "mlprov"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    return home


@pytest.fixture(autouse=True)
def no_workers_are_forked_under_asan(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child forked beside busy threads may hang in gcc 12's malloc (scripts/sanitize.sh)."""

    def give_up(*_: object) -> None:
        pytest.skip("workers forked beside busy threads may hang under ASan")

    if os.environ.get("MLPROV_BUILD_VARIANT") == "sanitize":
        monkeypatch.setattr(popen_fork.Popen, "_launch", give_up)


@pytest.fixture
def no_hooks_of_others() -> None:
    """A run that another test left unfinished listens to optimizer steps no more."""
    from mlprov import optimizer_steps

    for watch in list(optimizer_steps.watches()):
        watch.stop()


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of third-party test vectors."""
    return vectors_folder()


@pytest.fixture(params=[name for name, _ in _core.hash_kernels()])
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each kernel of the build in turn, in use during the test."""
    name = str(request.param)
    if not dict(_core.hash_kernels())[name]:
        pytest.skip(f"this processor cannot use the kernel {name}")
    before = _core.hash_kernel()
    _core.set_hash_kernel(name)
    yield name
    _core.set_hash_kernel(before)


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """Where ``store`` is."""
    return tmp_path / "store"


@pytest.fixture
def store(store_path: Path) -> Iterator[_core.Store]:
    """A new store in a temporary directory, closed afterwards."""
    opened = _core.Store(store_path, create=True)
    yield opened
    opened.close()


@pytest.fixture
def run_python() -> Callable[..., str]:
    """Runs code in a new interpreter and gives what it printed; a failure shows its errors."""

    def run(code: str, *arguments: str, check: bool = True, **variables: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, **variables},
            cwd=ROOT,
        )
        if check:
            assert done.returncode == 0, done.stderr
            return done.stdout
        return done.stdout + done.stderr

    return run


@pytest.fixture(autouse=True)
def both_verifiers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the tests of the second verifier, mlprov is asked the same and must agree."""
    if "second_verifier" in request.module.__name__:
        import agreement

        monkeypatch.setattr(
            agreement.v, "verify_bytes", agreement.comparing(agreement.v.verify_bytes)
        )


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A small recorded run, made once; tests copy what they change."""
    from runs_for_tests import record

    return record(tmp_path_factory.mktemp("recorded"))


@pytest.fixture
def as_owner(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """The recorded run, seen by the user who recorded it."""
    monkeypatch.setenv("MLPROV_HOME", str(recorded.home))
    return recorded


@pytest.fixture
def mlp() -> Callable[..., object]:
    """Runs the command line in this process."""
    from cli_for_tests import run_command

    return run_command


@pytest.fixture
def here(as_owner: Recorded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recorded:
    """An empty working directory, with the recorded store named by the environment."""
    monkeypatch.setenv("MLPROV_STORE", str(as_owner.store))
    monkeypatch.chdir(tmp_path)
    return as_owner


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working directory of files with odd names, ``cli_for_tests.ODD_NAMES``."""
    from cli_for_tests import ODD_NAMES

    folder = tmp_path / "odd"
    folder.mkdir()
    for name in ODD_NAMES:
        (folder / os.fsdecode(name)).write_bytes(b"content of " + name)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit of one file."""
    from repositories_for_tests import git

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


@pytest.fixture
def nobody(tmp_path: Path) -> Path:
    """A directory of the user nobody; root alone can make one."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    folder = tmp_path / "nobody"
    folder.mkdir()
    for parent in folder.parents:
        if parent.stat().st_uid == 0 and not parent.stat().st_mode & stat.S_IXOTH:
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
    return folder

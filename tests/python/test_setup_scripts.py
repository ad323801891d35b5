"""What set-up does to a machine: scripts/setup.sh in a copy of the project, on a PATH of its own.

On that PATH stand the shell's tools and programs that write down how they were called: an apt-get
that "installs", a sudo, a C compiler that finds headers only afterwards, a Python that makes empty
environments. So nothing is installed, whoever runs the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from vectors_for_tests import vectors_folder

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("cat", "cksum", "cp", "dirname", "env", "grep", "mkdir", "sed", "tail", "touch")
LIBRARIES = (
    "libssl-dev",
    "libsqlite3-dev",
    "libjansson-dev",
    "libcurl4-openssl-dev",
    "libsecp256k1-dev",
)
BASH = shutil.which("bash")

pytestmark = pytest.mark.skipif(
    BASH is None or sys.platform != "linux", reason="set-up is a bash script for Linux"
)


class Machine:
    """A copy of what set-up reads, and the programs that it finds."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "tree"
        self.path = folder / "bin"
        self.calls_file = folder / "calls"
        self.installed = folder / "installed"
        self.path.mkdir()
        for name in ("setup.sh", "system_packages.sh", "native_libraries.py"):
            self.copy(f"scripts/{name}")
        for file in sorted((ROOT / "requirements").glob("*.txt")):
            self.copy(f"requirements/{file.name}")
        self.copy("pyproject.toml")
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, f"{tool} is not on the PATH"
            (self.path / tool).symlink_to(found)
        self.program("cc", f"[ -e '{self.installed}' ]", log=False)
        self.program("c++", "exit 0", log=False)
        self.program("sudo", 'exec "$@"')
        self.program(
            "python3",
            'case "$1 $2" in\n'
            '"-m venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python\n'
            '    for name in pip mlprov; do cp "$0" .venv/bin/$name; done ;;\n'
            '"-m pip" | "setup.py -q") ;;\n'
            f"*) exec '{sys.executable}' \"$@\" ;;\n"
            "esac",
        )

    def copy(self, name: str) -> None:
        (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, self.tree / name)

    def program(self, name: str, body: str, *, log: bool = True) -> None:
        note = f"printf '%s %s\\n' \"${{0##*/}}\" \"$*\" >>'{self.calls_file}'\n" if log else ""
        (self.path / name).write_text(f"#!{BASH}\n{note}{body}\n")
        (self.path / name).chmod(0o755)

    def user(self, number: int) -> None:
        self.program("id", f"echo {number}", log=False)

    def apt(self, body: str = "") -> None:
        self.program("apt-get", body or f"[ \"$1\" != install ] || touch '{self.installed}'")

    def set_up(self, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BASH), "scripts/setup.sh"],
            cwd=self.tree,
            env={"PATH": str(self.path), "HOME": str(self.tree), **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def calls(self, *programs: str) -> list[str]:
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        return [line for line in lines if line.split()[0] in programs]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine of root's with apt-get, where no library is installed."""
    made = Machine(tmp_path)
    made.user(0)
    made.apt()
    return made


def test_root_runs_apt_get_itself_and_sees_the_command(machine: Machine) -> None:
    done = machine.set_up()
    assert done.returncode == 0, done.stderr
    update, install = machine.calls("apt-get", "sudo")
    assert update == "apt-get update"
    assert install.startswith("apt-get install -y --no-install-recommends ")
    assert set(LIBRARIES) <= set(install.split())
    printed = next(line for line in done.stdout.splitlines() if "running" in line)
    assert "sudo" not in printed
    assert printed.endswith(install.removeprefix("apt-get "))
    assert "apt-get update && " in printed


def test_another_user_goes_through_sudo(machine: Machine) -> None:
    machine.user(1000)
    done = machine.set_up()
    assert done.returncode == 0, done.stderr
    update, install = machine.calls("sudo")
    assert update == "sudo apt-get update"
    assert install.startswith("sudo env DEBIAN_FRONTEND=noninteractive apt-get install ")
    assert f"running {update} && {install}" in done.stdout


def test_another_user_without_sudo_is_told_what_root_should_run(machine: Machine) -> None:
    machine.user(1000)
    (machine.path / "sudo").unlink()
    done = machine.set_up()
    assert done.returncode == 1
    assert machine.calls("apt-get") == []
    assert "as root run:\n    apt-get update && apt-get install libssl-dev" in done.stderr


@pytest.mark.parametrize("user", [0, 1000])
def test_with_no_sudo_the_command_is_printed_and_nothing_runs(machine: Machine, user: int) -> None:
    machine.user(user)
    done = machine.set_up(NO_SUDO="1")
    assert done.returncode == 1
    assert machine.calls("apt-get", "sudo") == []
    assert not (machine.tree / ".venv").exists()
    command = done.stderr.splitlines()[-1].strip()
    assert command.startswith("sudo apt-get update && " if user else "apt-get update && ")
    assert set(LIBRARIES) <= set(command.split())


def test_with_no_sudo_and_nothing_missing_set_up_goes_on(machine: Machine) -> None:
    machine.installed.touch()
    done = machine.set_up(NO_SUDO="1")
    assert done.returncode == 0, done.stderr
    assert machine.calls("apt-get", "sudo") == []


def test_without_apt_get_the_packages_of_four_systems_are_printed(machine: Machine) -> None:
    (machine.path / "apt-get").unlink()
    done = machine.set_up()
    assert done.returncode == 1
    assert not (machine.tree / ".venv").exists()
    lines = {line.partition(":")[0].strip(): line for line in done.stderr.splitlines()}
    expected = {
        "Debian, Ubuntu": "apt-get install libssl-dev libsqlite3-dev libjansson-dev "
        "libcurl4-openssl-dev libsecp256k1-dev python3",
        "Fedora": "dnf install openssl-devel sqlite-devel jansson-devel libcurl-devel "
        "libsecp256k1-devel python3-devel",
        "Homebrew": "brew install openssl@3 sqlite jansson curl secp256k1 python@3",
        "conda": "conda install -c conda-forge openssl sqlite jansson libcurl libsecp256k1 python",
    }
    for system, command in expected.items():
        assert command in lines[system]


def test_an_apt_get_that_fails_stops_set_up_with_its_message(machine: Machine) -> None:
    machine.apt("echo E: the disk is full >&2; exit 100")
    done = machine.set_up()
    assert done.returncode == 1
    assert "E: the disk is full" in done.stderr
    assert "apt-get failed; the full log is build/setup.log" in done.stderr
    assert not (machine.tree / ".venv").exists()


def test_packages_that_bring_no_headers_stop_set_up(machine: Machine) -> None:
    machine.apt("exit 0")
    done = machine.set_up()
    assert done.returncode == 1
    assert "the compiler still does not find the headers of: libssl-dev" in done.stderr


def test_torch_is_installed_before_all_else_and_bound_in_every_later_step(machine: Machine) -> None:
    done = machine.set_up()
    assert done.returncode == 0, done.stderr
    pip = [line for line in machine.calls("python") if " install " in line]
    assert "-r requirements/torch.txt" in pip[0]
    assert "-r requirements/dev.txt -c requirements/torch.txt" in pip[1]
    assert (
        "-r requirements/frameworks.txt -c requirements/dev.txt -c requirements/torch.txt" in pip[2]
    )
    assert all("--no-deps" in line for line in pip[3:])
    assert "--no-build-isolation --no-deps -e ." in pip[-1]
    assert (ROOT / "requirements/torch.txt").read_text() == "torch==2.13.0\n"


def test_set_up_says_where_its_log_is_and_how_long_it_took(machine: Machine) -> None:
    done = machine.set_up()
    assert done.stdout.startswith(f"Setting up {machine.tree} (log: build/setup.log)\n")
    assert done.stdout.splitlines()[-1].startswith("Set up in ")
    assert (machine.tree / "build/setup.log").stat().st_size > 0


def test_a_step_that_fails_is_named_with_the_log_and_tried_again(machine: Machine) -> None:
    machine.installed.touch()
    python = machine.path / "python3"
    sound = python.read_text()
    python.write_text(
        sound.replace('"-m pip" |', '"-m pip") echo ERROR: no such wheel; exit 1 ;;\n')
    )
    done = machine.set_up()
    assert done.returncode == 1
    assert "ERROR: no such wheel" in done.stderr
    assert 'set-up stopped at "torch (requirements/torch.txt)"' in done.stderr
    (machine.tree / ".venv/bin/python").write_text(sound)
    assert machine.set_up().returncode == 0


def test_a_changed_requirement_is_installed_by_the_next_set_up(machine: Machine) -> None:
    assert machine.set_up().returncode == 0
    with (machine.tree / "requirements/dev.txt").open("a") as file:
        file.write("one-more==1.0\n")
    machine.calls_file.unlink()
    assert machine.set_up().returncode == 0
    assert any("-r requirements/dev.txt" in line for line in machine.calls("python"))


@pytest.mark.timing
def test_a_second_set_up_does_nothing_in_under_two_seconds(machine: Machine) -> None:
    assert machine.set_up().returncode == 0
    machine.calls_file.unlink()
    begin = time.perf_counter()
    done = machine.set_up()
    took = time.perf_counter() - begin
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not machine.calls_file.exists(), machine.calls_file.read_text()
    assert took < 2


@pytest.mark.timing
def test_make_setup_in_this_tree_takes_under_two_seconds() -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    # With a Python that is none, a tree that is not set up says so and installs nothing.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    begin = time.perf_counter()
    done = subprocess.run(
        ["make", "--no-print-directory", "setup"],
        cwd=ROOT,
        env={**variables, "PYTHON": "false"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    took = time.perf_counter() - begin
    if "no Python 3.11 or newer was found (looked for: false)" in done.stderr:
        pytest.skip("this tree is not set up as its scripts are now: make setup")
    assert (done.returncode, done.stdout) == (0, "Next: make demo, make test\n"), done.stderr
    assert took < 2


# The tests' own vectors


def test_without_vectors_a_test_is_skipped_with_the_folder_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"not at {tmp_path}/blake3"):
        vectors_folder("blake3", root=tmp_path)


def test_where_ci_is_true_a_test_without_vectors_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI=true insists"):
        vectors_folder("blake3", root=tmp_path)
    (tmp_path / "blake3").mkdir()
    assert vectors_folder("blake3", root=tmp_path) == tmp_path / "blake3"


@pytest.mark.parametrize("goals", [["setup"], ["build"], ["demo"], ["test"], ["build", "demo"]])
def test_what_comes_next_is_said_at_the_end_or_not_at_all(goals: list[str]) -> None:
    # Not as a part of the make that runs the tests. GNU make 4.3 reads a byte too many, of which an
    # instrumented run is told.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "LD_PRELOAD" and not name.startswith("MAKE")
    }
    done = subprocess.run(
        ["make", "--dry-run", *goals],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    said = [number for number, line in enumerate(lines, start=1) if "Next:" in line]
    assert said == ([len(lines)] if goals[-1] in ("setup", "build") else [])

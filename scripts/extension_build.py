"""Commands of the build: incremental, parallel compilation of the extension modules.

setuptools compiles every file again, one after the other, when any of them changed. Here a file is
compiled again when its command line, itself or a header that it includes changed (the compiler
writes which: ``-MMD``), several at a time; a module is linked again when one of its objects was.
Objects and linked modules are kept under ``build/objects/VARIANT`` and serve ``make build`` and
pip alike.

Environment variables:
    MLPROV_BUILD_VARIANT: ``release`` (default), ``sanitize`` or ``coverage``.
    MLPROV_BUILD_JOBS: compilers at a time; by default the number of processors, at most 8.
    MLPROV_WITH_TORCH: ``1`` makes ``mlprov._torch`` mandatory, ``0`` leaves it out; by default it
        is built where torch can be imported.
"""

from __future__ import annotations

import contextlib
import fcntl
import filecmp
import hashlib
import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import native_libraries
from setuptools import Extension
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist
from setuptools.errors import CompileError

BUILD_DIRECTORY = Path("build")

# -fno-wrapv: CPython's own flags hold -fwrapv, under which UBSan cannot see signed overflow.
VARIANTS: dict[str, tuple[list[str], list[str]]] = {
    "release": (["-O3", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"], []),
    "sanitize": (
        [
            *("-O1", "-g", "-UNDEBUG", "-fno-wrapv", "-fno-omit-frame-pointer"),
            *("-U_FORTIFY_SOURCE", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
        ],
        # UBSan's runtime inside the module: as a library of its own it would take ASan's settings,
        # and its reports would go to standard error, which pytest holds.
        ["-fsanitize=address,undefined", "-static-libubsan"],
    ),
    "coverage": (
        ["-O0", "-g", "-U_FORTIFY_SOURCE", "--coverage", "-fprofile-update=atomic"],
        ["--coverage"],
    ),
}


def variant() -> str:
    """Give the name of the variant to build.

    Raises:
        SystemExit: ``MLPROV_BUILD_VARIANT`` names none.
    """
    name = os.environ.get("MLPROV_BUILD_VARIANT", "release")
    if name not in VARIANTS:
        raise SystemExit(f"MLPROV_BUILD_VARIANT is {name!r}; expected one of {', '.join(VARIANTS)}")
    return name


def hardening_compile_flags() -> list[str]:
    """Give the compiler's hardening flags for this processor."""
    flags = ["-fvisibility=hidden", "-fstack-protector-strong"]
    if platform.machine().lower() in ("x86_64", "amd64", "i686"):
        flags.append("-fcf-protection")
    elif platform.machine().lower() in ("aarch64", "arm64") and sys.platform == "linux":
        flags.append("-mbranch-protection=standard")
    return flags


def hardening_link_flags() -> list[str]:
    """Give the linker's flags: relocations read-only before our code runs, one symbol exported."""
    if sys.platform != "linux":
        return []
    hardening = ["-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack", "-Wl,--as-needed"]
    return [*hardening, "-Wl,--version-script=scripts/exports.map"]


def sources(pattern: str, *rooms: str) -> list[str]:
    """List the sources of ``rooms`` under csrc/, sorted, as paths relative to the project."""
    return [str(path) for room in rooms for path in sorted(Path("csrc", room).glob(pattern))]


@dataclass(frozen=True)
class TorchFacts:
    """What the build has to know of the installed torch.

    Attributes:
        version: its release, as ``torch.__version__`` gives it.
        directory: where the package stands.
        cxx11_abi: value of ``_GLIBCXX_USE_CXX11_ABI`` that it was compiled with.
    """

    version: str
    directory: str
    cxx11_abi: int

    @property
    def include_directories(self) -> list[str]:
        """The two header directories that libtorch documents."""
        include = Path(self.directory, "include")
        return [str(include), str(include / "torch/csrc/api/include")]

    @property
    def library_directory(self) -> str:
        """Where libtorch.so, libc10.so and libtorch_python.so stand."""
        return str(Path(self.directory, "lib"))


_ASK_TORCH = (
    "import json, os, torch; print(json.dumps({'version': str(torch.__version__), "
    "'directory': os.path.dirname(torch.__file__), "
    "'cxx11_abi': int(torch.compiled_with_cxx11_abi())}))"
)


def find_torch() -> TorchFacts | None:
    """Find the torch to build ``mlprov._torch`` against; None where it is to be left out.

    The answer is kept under build/ until torch changes: importing torch takes seconds.

    Raises:
        SystemExit: ``MLPROV_WITH_TORCH=1`` and torch cannot be imported.
    """
    wish = os.environ.get("MLPROV_WITH_TORCH", "")
    if wish not in ("", "0", "1"):
        raise SystemExit(f"MLPROV_WITH_TORCH is {wish!r}; expected 0, 1 or nothing")
    if wish == "0":
        return None
    facts, reason = _ask_torch()
    if facts is None and wish == "1":
        raise SystemExit(
            f"mlprov: MLPROV_WITH_TORCH=1, and torch cannot be imported by {sys.executable}: "
            f"{reason}; install torch first and build with: pip install --no-build-isolation ."
        )
    if facts is None and reason != "it is not installed":
        print(f"mlprov: mlprov._torch is left out: torch cannot be imported: {reason}")
    return facts


def _ask_torch() -> tuple[TorchFacts | None, str]:
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None, "it is not installed"
    version_file = Path(spec.origin).with_name("version.py")
    stat = version_file.stat() if version_file.exists() else Path(spec.origin).stat()
    key = f"{spec.origin} {stat.st_mtime_ns} {stat.st_size}"
    kept = BUILD_DIRECTORY / "torch.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        answer = json.loads(kept.read_text())
        if answer["key"] == key:
            return TorchFacts(**answer["facts"]), ""
    # Not from the project's own directory: a file there could shadow a module that torch imports.
    done = subprocess.run(
        [sys.executable, "-c", _ASK_TORCH], cwd="/", capture_output=True, text=True
    )
    if done.returncode != 0:
        return None, (done.stderr.strip().splitlines() or ["no message"])[-1]
    facts = json.loads(done.stdout)
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps({"key": key, "facts": facts}))
    return TorchFacts(**facts), ""


@dataclass(frozen=True)
class Compilation:
    """One source file to compile: its object and the whole command."""

    source: Path
    object: Path
    command: list[str]

    @property
    def dependencies(self) -> Path:
        """The makefile fragment that the compiler writes: the object and all that it includes."""
        return self.object.with_suffix(".d")

    @property
    def stamp(self) -> Path:
        """Holds the command that made the object."""
        return self.object.with_suffix(".command")

    def is_current(self) -> bool:
        """Tell whether the object is newer than all that it was made from, by the same command."""
        try:
            made = self.object.stat().st_mtime_ns
            if self.stamp.read_text() != shlex.join(self.command):
                return False
            rule = self.dependencies.read_text().replace("\\\n", " ").partition(":")[2]
            inputs = [name.replace("\0", " ") for name in rule.replace("\\ ", "\0").split()]
            return all(Path(name).stat().st_mtime_ns < made for name in inputs)
        except OSError:
            return False

    def run(self) -> str:
        """Compile; give what the compiler said.

        Raises:
            CompileError: the compiler failed; the text is what it said.
        """
        self.object.parent.mkdir(parents=True, exist_ok=True)
        self.stamp.unlink(missing_ok=True)
        done = subprocess.run(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode != 0:
            raise CompileError(f"{shlex.join(self.command)}\n{done.stdout}")
        self.stamp.write_text(shlex.join(self.command))
        return done.stdout


@contextlib.contextmanager
def _only_one_build() -> Iterator[None]:
    BUILD_DIRECTORY.mkdir(exist_ok=True)
    with (BUILD_DIRECTORY / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install_file(made: Path, target: Path) -> None:
    """Put a copy of ``made`` at ``target`` in one step: who has the old one mapped keeps it."""
    if target.exists() and filecmp.cmp(made, target, shallow=False):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copy2(made, temporary)
    temporary.replace(target)


class BuildExtensions(build_ext):
    """``build_ext`` that compiles what changed, several files at a time."""

    def build_extensions(self) -> None:
        """Compile and link every module; called by setuptools with the compiler configured."""
        with _only_one_build():
            self._build_all()

    def _build_all(self) -> None:
        self._objects = BUILD_DIRECTORY.absolute() / "objects" / variant()
        plans = {extension.name: self._plan(extension) for extension in self.extensions}
        # The longest first: one C++ file against torch takes longer than all of the core.
        stale = [
            compilation
            for plan in plans.values()
            for compilation in sorted(plan, key=lambda one: one.source.suffix != ".cpp")
            if not compilation.is_current()
        ]
        stale.sort(key=lambda one: one.source.suffix != ".cpp")
        if any(one.source.suffix != ".cpp" for one in stale):
            native_libraries.require()
        self._compile(stale)
        for extension in self.extensions:
            linked = self._link(extension, plans[extension.name])
            _install_file(linked, Path(self.get_ext_fullpath(extension.name)))

    def copy_extensions_to_source(self) -> None:
        """Put the modules beside the Python sources (``--inplace``), each in one step."""
        for extension in self.extensions:
            name = self._file_of(extension)
            _install_file(Path(self.build_lib, name), Path(name))

    def _file_of(self, extension: Extension) -> str:
        return str(self.get_ext_filename(extension.name))  # type: ignore[no-untyped-call]

    def _plan(self, extension: Extension) -> list[Compilation]:
        macros = [
            f"-D{name}" if value is None else f"-D{name}={value}"
            for name, value in extension.define_macros
        ]
        includes = [f"-I{name}" for name in [*extension.include_dirs, *self.include_dirs]]
        flags = [*macros, *includes, *extension.extra_compile_args, *VARIANTS[variant()][0]]
        cxx = extension.language == "c++"
        compiler = self.compiler.compiler_so_cxx if cxx else self.compiler.compiler_so
        plan = []
        for name in extension.sources:
            made = self._objects / extension.name / Path(name).with_suffix(".o")
            command = [*compiler, *flags, "-MMD", "-c", name, "-o", str(made)]
            plan.append(Compilation(Path(name), made, command))
        return plan

    def _compile(self, stale: list[Compilation]) -> None:
        if not stale:
            return
        asked = os.environ.get("MLPROV_BUILD_JOBS") or self.parallel
        jobs = int(asked) if asked else min(os.cpu_count() or 1, 8)
        if len(stale) > 1:
            print(f"compiling {len(stale)} files, {jobs} at a time", flush=True)
        with ThreadPoolExecutor(jobs) as pool:
            running = [(one, pool.submit(one.run)) for one in stale]
            try:
                for one, future in running:
                    said = future.result()
                    print(f"compiled {one.source}\n{said}".rstrip(), flush=True)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _link(self, extension: Extension, plan: list[Compilation]) -> Path:
        made = self._objects / self._file_of(extension)
        stamp = made.with_suffix(".command")
        objects = [str(one.object) for one in plan]
        options = [*extension.extra_link_args, *VARIANTS[variant()][1]]
        cxx = extension.language == "c++"
        linker = self.compiler.linker_so_cxx if cxx else self.compiler.linker_so
        command = [*linker, *objects, *options, "-o", str(made)]
        digest = hashlib.sha256(shlex.join(command).encode()).hexdigest()
        newest = max(one.object.stat().st_mtime_ns for one in plan)
        same = made.exists() and stamp.exists() and stamp.read_text() == digest
        if same and made.stat().st_mtime_ns > newest:
            return made
        made.parent.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        self.spawn(command)
        stamp.write_text(digest)
        print(f"linked {extension.name}", flush=True)
        return made


class Build(build):
    """``build`` into an empty directory: what an earlier build left there would be packed."""

    def run(self) -> None:
        """Empty the directory that the wheel is packed from, then build."""
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class SourceDistribution(sdist):
    """``sdist`` with the text of docs/format.md where the tree has a link to it."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Copy the tree, then put a file in the place of every link."""
        super().make_release_tree(base_dir, files)
        for name in files:
            copy = Path(base_dir, name)
            if copy.is_symlink():
                copy.unlink()
                shutil.copy2(Path(name).resolve(), copy)

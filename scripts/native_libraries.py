"""The native libraries that ``mlprov._core`` is built against, and what to install for them.

One table serves the set-up script (which packages are missing?), the extension build (include and
link flags) and the error that somebody sees who installs without them. Standard library only: it
runs before anything is installed.

    python3 scripts/native_libraries.py missing debian   # Debian packages still to install
    python3 scripts/native_libraries.py required debian  # those without which nothing can be built
    python3 scripts/native_libraries.py explain          # the packages under every system's names
    python3 scripts/native_libraries.py ldflags          # for the C tests
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

SYSTEMS = {
    "debian": ("Debian, Ubuntu", "apt-get install"),
    "fedora": ("Fedora", "dnf install"),
    "homebrew": ("Homebrew", "brew install"),
    "conda": ("conda", "conda install -c conda-forge"),
}


@dataclass(frozen=True)
class NativeLibrary:
    """One library: how to find it, how to link it, and the package that brings its headers.

    Attributes:
        pkg_config: its name for ``pkg-config``.
        probe: C source that compiles only where the header is present and new enough.
        link: the name after ``-l`` where ``pkg-config`` does not know it; empty for none.
        packages: system name (a key of ``SYSTEMS``) to package name.
        at_run_time: the core opens it when it is first needed and links nothing; without its
            headers that part alone is left out of the build.
    """

    pkg_config: str
    probe: str
    link: str
    packages: dict[str, str]
    at_run_time: bool = False


LIBRARIES = (
    NativeLibrary(
        "libcrypto",
        "#include <openssl/evp.h>\n#include <openssl/opensslv.h>\n"
        "#if OPENSSL_VERSION_NUMBER < 0x30000000L\n#error OpenSSL 3.0 or newer is needed\n#endif\n",
        "crypto",
        {
            "debian": "libssl-dev",
            "fedora": "openssl-devel",
            "homebrew": "openssl@3",
            "conda": "openssl",
        },
    ),
    NativeLibrary(
        "sqlite3",
        "#include <sqlite3.h>\n",
        "sqlite3",
        {
            "debian": "libsqlite3-dev",
            "fedora": "sqlite-devel",
            "homebrew": "sqlite",
            "conda": "sqlite",
        },
    ),
    NativeLibrary(
        "jansson",
        "#include <jansson.h>\n",
        "jansson",
        {
            "debian": "libjansson-dev",
            "fedora": "jansson-devel",
            "homebrew": "jansson",
            "conda": "jansson",
        },
    ),
    NativeLibrary(
        "libcurl",
        "#include <curl/curl.h>\n",
        "",
        {
            "debian": "libcurl4-openssl-dev",
            "fedora": "libcurl-devel",
            "homebrew": "curl",
            "conda": "libcurl",
        },
        at_run_time=True,
    ),
    NativeLibrary(
        "libsecp256k1",
        "#include <secp256k1.h>\n#include <secp256k1_recovery.h>\n",
        "",
        {
            "debian": "libsecp256k1-dev",
            "fedora": "libsecp256k1-devel",
            "homebrew": "secp256k1",
            "conda": "libsecp256k1",
        },
        at_run_time=True,
    ),
)


def _python_headers() -> NativeLibrary:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    system_python = Path(sys.base_prefix) == Path("/usr")
    return NativeLibrary(
        "",
        f'#include "{sysconfig.get_path("include")}/patchlevel.h"\n',
        "",
        {
            "debian": "python3-dev" if system_python else f"python{version}-dev",
            "fedora": "python3-devel",
            "homebrew": "python@" + version,
            "conda": "python",
        },
    )


def compiler() -> list[str]:
    """Give the C compiler's command: ``$CC``, or the first of cc, gcc and clang that is there."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    return [next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), "cc")]


def _pkg_config(option: str, library: NativeLibrary) -> list[str] | None:
    if not library.pkg_config:
        return []
    command = [os.environ.get("PKG_CONFIG", "pkg-config"), option, library.pkg_config]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return shlex.split(done.stdout)


def compile_flags() -> list[str]:
    """Give the ``-I`` flags of all libraries; none for one that stands on the default path."""
    return [flag for library in LIBRARIES for flag in _pkg_config("--cflags", library) or []]


def link_flags() -> list[str]:
    """Give the ``-L`` and ``-l`` flags of all libraries that are linked, and dlopen's."""
    flags: list[str] = ["-ldl"] if sys.platform == "linux" else []  # glibc before 2.34
    for library in LIBRARIES:
        if library.at_run_time:
            continue
        found = _pkg_config("--libs", library)
        flags += [f"-l{library.link}"] if found is None else found
    return flags


def missing_libraries() -> list[NativeLibrary]:
    """Compile each library's probe; give those that fail.

    Raises:
        FileNotFoundError: there is no C compiler.
    """
    command = [*compiler(), "-fsyntax-only", "-x", "c"]
    missing = []
    for library in (*LIBRARIES, _python_headers()):
        flags = [*(_pkg_config("--cflags", library) or []), *os.environ.get("CFLAGS", "").split()]
        probe = subprocess.run(
            [*command, *flags, "-"], input=library.probe, capture_output=True, text=True
        )
        if probe.returncode != 0:
            missing.append(library)
    return missing


def explain(libraries: list[NativeLibrary]) -> str:
    """Say how to install ``libraries``, one line for each system."""
    lines = []
    for system, (title, command) in SYSTEMS.items():
        names = " ".join(dict.fromkeys(library.packages[system] for library in libraries))
        lines.append(f"  {title + ':':<16} {command} {names}")
    return "\n".join(lines)


def require() -> None:
    """Stop with the list of packages to install where a header is missing.

    Raises:
        SystemExit: a library or the C compiler is missing; the text says what to install.
    """
    try:
        missing = [library for library in missing_libraries() if not library.at_run_time]
    except FileNotFoundError as error:
        raise SystemExit(
            "mlprov: cannot build mlprov._core: there is no C compiler "
            f"({error.filename} was looked for); install gcc or clang, or set CC"
        ) from None
    if missing:
        names = ", ".join(library.pkg_config or "Python.h" for library in missing)
        raise SystemExit(
            f"mlprov: cannot build mlprov._core: headers not found for {names}; install them, "
            f"then build again:\n{explain(missing)}"
        )


def main(arguments: list[str]) -> int:
    """Answer one question of the set-up script or the Makefile on standard output."""
    match arguments:
        case ["missing", system] if system in SYSTEMS:
            print(" ".join(library.packages[system] for library in missing_libraries()))
        case ["required", system] if system in SYSTEMS:
            missing = [library for library in missing_libraries() if not library.at_run_time]
            print(" ".join(library.packages[system] for library in missing))
        case ["explain"]:
            print(explain([*LIBRARIES, _python_headers()]))
        case ["cflags"]:
            print(shlex.join(compile_flags()))
        case ["ldflags"]:
            print(shlex.join(link_flags()))
        case _:
            questions = "missing SYSTEM | required SYSTEM | explain | cflags | ldflags"
            print(f"usage: {sys.argv[0]} {questions}")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

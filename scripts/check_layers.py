"""Reads every ``#include`` and every Python import; fails on an arrow that points the wrong way.

The layers are those of ARCHITECTURE.md. A room of ``csrc`` includes itself and what stands to its
left; an external library's headers belong to one room; the command line and the integrations use
the public names of mlprov and nothing imports them; the second verifier shares no code with mlprov.

    python scripts/check_layers.py [PROJECT]   # prints the wrong arrows; exit 1 where there is one
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# base -> hash -> merkle, codec -> tensor -> capture, files, sign, store, net -> anchor -> python:
# a room may include rooms of a lower level, never another one of its own.
LEVELS = {
    "base": 0,
    "hash": 1,
    "merkle": 2,
    "codec": 2,
    "tensor": 3,
    "capture": 4,
    "files": 4,
    "sign": 4,
    "store": 4,
    "net": 4,
    "anchor": 5,
    "python": 6,
}

# The bridge to libtorch stands apart: tensor -> torch is the only arrow into it, and what leads out
# is its contract, the capsule that the binding opens.
BRIDGE = "torch"
BRIDGE_INCLUDES = {"base", "tensor", BRIDGE}
BRIDGE_CONTRACT = "torch/bridge.h"

# Header (a whole match) -> the rooms that may include it.
EXTERNAL_HEADERS = (
    (r"openssl/(evp|err)\.h", {"hash", "sign"}),
    (r"openssl/.*", {"sign"}),
    (r"secp256k1.*\.h", {"sign"}),
    (r"jansson\.h", {"codec"}),
    (r"sqlite3(ext)?\.h", {"store"}),
    (r"curl/.*", {"net"}),
    (r"Python\.h|structmember\.h", {"python", BRIDGE}),
    (r"(torch|ATen|c10|caffe2|pybind11)/.*", {BRIDGE}),
)

# hash, merkle, codec, tensor and capture do no input or output: files are read in base.
PURE_ROOMS = {"hash", "merkle", "codec", "tensor", "capture"}
INPUT_OUTPUT_HEADERS = re.compile(
    r"fcntl\.h|dirent\.h|netdb\.h|aio\.h|sys/(stat|mman|socket|file|sendfile)\.h|netinet/.*"
)

# Parts of the package that are written against its public names alone.
OUTER_PACKAGES = {"cli", "integrations", "report", "ui"}
VERIFIER_IMPORTS = {"cryptography", "blake3"}

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:<([^>]+)>|"([^"]+)")')


@dataclass(frozen=True, order=True)
class WrongArrow:
    """One include or import that the layers forbid.

    Attributes:
        path: the file, relative to the project.
        line: where it stands, counted from 1.
        reason: what it does and what the rule is.
    """

    path: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


def check(project: Path) -> list[WrongArrow]:
    """Check the C rooms, the package and the second verifier under ``project``."""
    return sorted([*_check_c(project), *_check_package(project), *_check_verifier(project)])


# C


def _check_c(project: Path) -> Iterator[WrongArrow]:
    known = {*LEVELS, BRIDGE}
    for path in sorted((project / "csrc").rglob("*")):
        if path.suffix not in {".c", ".h", ".cpp", ".hpp", ".inc"}:
            continue
        name = path.relative_to(project).as_posix()
        parts = path.relative_to(project / "csrc").parts
        if len(parts) == 1 or parts[0] not in known:
            yield WrongArrow(name, 1, f"is in no known room; rooms are {', '.join(sorted(known))}")
            continue
        text = path.read_text(encoding="utf-8")
        for line, content in enumerate(text.splitlines(), start=1):
            found = INCLUDE.match(content)
            if found is None:
                continue
            system, own = found.groups()
            reason = _wrong_include(project, path, parts[0], system, own)
            if reason:
                yield WrongArrow(name, line, reason)


def _wrong_include(
    project: Path, path: Path, room: str, system: str | None, own: str | None
) -> str | None:
    header = system or own or ""
    if ".." in Path(header).parts:
        return f"includes {header}: name headers from csrc/, as in base/status.h"
    beside = own is not None and "/" not in header and (path.parent / header).exists()
    target = header.partition("/")[0]
    if beside:
        return None
    if own is not None and (target in LEVELS or target == BRIDGE):
        return _wrong_room(room, target, header)
    if system is not None and (project / "csrc" / header).exists():
        return f"includes <{header}>: a header of our own is included with quotes"
    return _wrong_external(room, header)


def _wrong_room(room: str, target: str, header: str) -> str | None:
    if room == target:
        return None
    if room == BRIDGE:
        allowed = target in BRIDGE_INCLUDES
    elif target == BRIDGE:
        allowed = room == "python" and header == BRIDGE_CONTRACT
    else:
        allowed = LEVELS[target] < LEVELS[room]
    if allowed:
        return None
    if BRIDGE in (room, target):
        return f"{room} includes {header}: tensor -> torch -> {BRIDGE_CONTRACT} is the only way"
    return f"{room} includes {header}: {room} stands left of {target} or beside it"


def _wrong_external(room: str, header: str) -> str | None:
    for pattern, rooms in EXTERNAL_HEADERS:
        if re.fullmatch(pattern, header):
            if room in rooms:
                return None
            return f"{room} includes {header}: that belongs to {', '.join(sorted(rooms))}"
    if room in PURE_ROOMS and INPUT_OUTPUT_HEADERS.fullmatch(header):
        return f"{room} includes {header}: {room} does no input or output; base reads files"
    return None


# Python


def _imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Give every imported module, and every name imported from one, with relative ones resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                keep = len(parts) - node.level + (1 if is_package else 0)
                base = ".".join([*parts[:keep], *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
        elif isinstance(node, ast.Call):
            target = _imported_by_call(node)
            if target:
                yield node.lineno, target
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "mlprov"
        ):
            yield node.lineno, f"mlprov.{node.attr}"


def _imported_by_call(node: ast.Call) -> str | None:
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name not in {"import_module", "__import__"} or not node.args:
        return None
    argument = node.args[0]
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return argument.value
    return None


def _modules(project: Path, folder: str) -> Iterator[tuple[Path, str, list[tuple[int, str]]]]:
    for path in sorted((project / folder).rglob("*.py")):
        relative = path.relative_to(project).with_suffix("")
        is_package = relative.name == "__init__"
        module = ".".join(relative.parent.parts if is_package else relative.parts)
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        yield path.relative_to(project), module, list(_imports(tree, module, is_package))


def _is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def _check_package(project: Path) -> Iterator[WrongArrow]:
    for path, module, imports in _modules(project, "mlprov"):
        own = module.split(".")[1] if module.count(".") else ""
        for line, target in dict.fromkeys(imports):
            parts = target.split(".")
            if parts[0] != "mlprov":
                continue
            into = parts[1] if len(parts) > 1 else ""
            reason = _wrong_import(own, into, parts[1:])
            if reason:
                yield WrongArrow(path.as_posix(), line, reason.format(target=target))


def _wrong_import(own: str, into: str, names: Iterable[str]) -> str | None:
    if own in OUTER_PACKAGES:
        if own != into and into in OUTER_PACKAGES:
            return f"{own} imports {{target}}: the outer parts do not see each other"
        if own != into and any(_is_private(name) for name in names):
            return f"{own} imports {{target}}: {own} uses the public names of mlprov only"
        return None
    # python -m mlprov is the one way in from inside.
    if into in OUTER_PACKAGES and not (own == "__main__" and into == "cli"):
        return f"imports {{target}}: nothing in mlprov imports mlprov.{into}"
    return None


def _check_verifier(project: Path) -> Iterator[WrongArrow]:
    own = {path.stem for path in (project / "verifier").glob("*.py")}
    allowed = {*sys.stdlib_module_names, *VERIFIER_IMPORTS, *own, "verifier"} - {"mlprov"}
    for path, _, imports in _modules(project, "verifier"):
        for line, target in dict.fromkeys(imports):
            if target.partition(".")[0] not in allowed:
                yield WrongArrow(
                    path.as_posix(),
                    line,
                    f"imports {target}: the second verifier uses the standard library, "
                    f"{' and '.join(sorted(VERIFIER_IMPORTS))}, and nothing of mlprov",
                )


def main(arguments: list[str]) -> int:
    """Print the wrong arrows; 1 where there is one, else 0."""
    project = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    if not (project / "csrc").is_dir() or not (project / "mlprov").is_dir():
        print(f"check_layers: {project} has no csrc/ and mlprov/: nothing was checked")
        return 2
    wrong = check(project)
    for arrow in wrong:
        print(arrow)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""``mlprov hash``: digests of files, tensors and models, in b3sum's and sha256sum's form."""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import Any

import mlprov
from mlprov.cli import output
from mlprov.errors import ConfigError, Error, EvidenceError

ALGORITHMS = ("blake3", "sha256", "sha384", "sha512")
_LINE = re.compile(r"(?P<mark>\\?)(?P<hex>[0-9a-fA-F]+) [ *](?P<path>.+)", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)")
_UNESCAPED = {"\\": "\\", "n": "\n", "r": "\r"}
_CHUNK = 1 << 20
_MOST_LINES_SAID = 5  # of a list that cannot be read: the wrong file has thousands


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="FILE|DIR",
        help="what to hash; of a directory every file, links not followed; - is standard input",
    )
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="blake3", help="default: blake3")
    parser.add_argument(
        "--tensors",
        action="store_true",
        help="list each tensor of .safetensors files, or of directories of shards, and the root",
    )
    parser.add_argument("--check", metavar="LIST", help="verify a list of digests as printed; or -")


def run(arguments: argparse.Namespace) -> int:
    """Hash, or check a list."""
    if arguments.check is not None:
        if arguments.paths or arguments.tensors:
            raise ConfigError("cannot hash and check at once; give --check LIST alone")
        return _check(arguments)
    if not arguments.paths:
        raise ConfigError("cannot hash nothing; name a file or directory, or - for standard input")
    if arguments.tensors:
        return _tensors(arguments)
    failures: list[str] = []
    files = []
    for path in _walk(arguments.paths, failures):
        try:
            digest = _digest(path, arguments.algorithm)
        except (Error, OSError) as error:
            _note(failures, error)
            continue
        if arguments.json:
            files.append({"digest": digest, "path": path})
        else:
            _print_line(digest, path)
    if arguments.json:
        facts = {"algorithm": arguments.algorithm, "errors": failures, "files": files}
        output.emit_json(facts)
    return 2 if failures else 0


def _note(failures: list[str], error: Error | OSError | str) -> None:
    """Say what is wrong with one file; the others go on."""
    output.error(error, attempt="hash")
    failures.append(str(error))


def _walk(paths: list[str], failures: list[str]) -> Iterator[str]:
    """Files in the order given; those of a directory sorted by the bytes of their paths."""
    for path in paths:
        if path == "-" or not pathlib.Path(path).is_dir():
            yield path
            continue
        found = []
        for directory, _, files in os.walk(path, onerror=lambda error: _note(failures, error)):
            found += [f"{directory.rstrip('/')}/{name}" for name in files]
        plain = (name for name in found if not pathlib.Path(name).is_symlink())
        yield from sorted(plain, key=os.fsencode)


def _digest(path: str, algorithm: str) -> str:
    if path != "-":
        _refuse_named_pipe(path)
        return mlprov.digest(pathlib.Path(path), algorithm=algorithm).hex()
    hasher = mlprov.Hasher(algorithm=algorithm)
    while chunk := sys.stdin.buffer.read(_CHUNK):
        hasher.update(chunk)
    return hasher.hexdigest()


def _refuse_named_pipe(path: str) -> None:
    """A named pipe that nobody writes to would hang the whole list; ``<(command)`` has no name."""
    place = pathlib.Path(path)
    if place.is_fifo() and place.resolve().is_fifo():
        raise ConfigError(f"cannot hash {path}: it is a named pipe; read it as standard input: -")


def _print_line(digest: str, path: str) -> None:
    # As coreutils and b3sum: a backslash in front says that the name is written with escapes.
    shown = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if shown != path else ""
    if sys.stdout.isatty():
        output.text(f"{mark}{digest}  {shown}")
    else:
        sys.stdout.buffer.write(os.fsencode(f"{mark}{digest}  {shown}\n"))


# ---- tensors ----


def _tensors(arguments: argparse.Namespace) -> int:
    failures: list[str] = []
    listed = []
    for path in arguments.paths:
        try:
            model = mlprov.digest_model(pathlib.Path(path), algorithm=arguments.algorithm)
        except EvidenceError as error:
            remedy = "name safetensors, or leave --tensors out"
            reason = str(error).removeprefix(f"{path}: ")
            _note(failures, f"cannot list the tensors of {path}: {reason}; {remedy}")
            continue
        except (Error, OSError) as error:
            _note(failures, error)
            continue
        if arguments.json:
            listed.append({"path": path, **_facts(model)})
        else:
            rows = [(t.digest.hex(), t.name, f"{t.dtype} {list(t.shape)}") for t in model.tensors]
            output.table(rows)
            tensors = output.plural(model.size, "tensor")
            output.text(f"{model.root}  model root of {path}, {tensors}")
    if arguments.json:
        facts = {"algorithm": arguments.algorithm, "errors": failures, "models": listed}
        output.emit_json(facts)
    return 2 if failures else 0


def _facts(model: mlprov.ModelDigest) -> dict[str, Any]:
    tensors = [
        {
            "digest": tensor.digest.hex(),
            "dtype": tensor.dtype,
            "len": tensor.len,
            "name": tensor.name,
            "shape": list(tensor.shape),
        }
        for tensor in model.tensors
    ]
    return {"root": str(model.root), "size": model.size, "tensors": tensors}


# ---- checking a list ----


def _parse(line: str) -> tuple[str, str] | None:
    """(digest, path) of a line of b3sum, sha256sum or ``mlprov hash``."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    path = match["path"]
    if match["mark"]:
        path = _ESCAPED.sub(lambda found: _UNESCAPED.get(found[1], found[0]), path)
    return match["hex"].lower(), path


def _read_list(path: str) -> list[str]:
    """Lines end in a newline alone: a name may hold every other character."""
    data = sys.stdin.buffer.read() if path == "-" else pathlib.Path(path).read_bytes()
    lines = os.fsdecode(data).split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _check(arguments: argparse.Namespace) -> int:
    lines = _read_list(arguments.check)
    if not lines:
        raise ConfigError(
            f"cannot check {arguments.check}: it has no lines; give a list as 'mlprov hash' or "
            "b3sum prints it"
        )
    results = []
    unreadable = 0
    for number, line in enumerate(lines, start=1):
        parsed = _parse(line)
        if parsed is None:
            unreadable += 1
            if unreadable <= _MOST_LINES_SAID:
                remedy = "; give a list as 'mlprov hash' or b3sum prints it"
                output.error(
                    f"cannot read line {number} of {arguments.check}: not '<hex>  <path>'"
                    f"{remedy if unreadable == 1 else ''}"
                )
            results.append({"line": number, "path": None, "result": "unreadable"})
            continue
        result = _check_file(*parsed, arguments.algorithm)
        results.append({"line": number, "path": parsed[1], "result": result})
        if not arguments.json and not (arguments.quiet and result == "OK"):
            output.text(f"{parsed[1]}: {result}")
    if unreadable > _MOST_LINES_SAID:
        more = output.plural(unreadable - _MOST_LINES_SAID, "more line")
        output.error(f"cannot read {more} of {arguments.check}")
    counts = {
        result: sum(1 for entry in results if entry["result"] == result)
        for result in ("FAILED", "unreadable")
    }
    if arguments.json:
        facts = {"failed": counts["FAILED"], "unreadable": counts["unreadable"]}
        output.emit_json({"algorithm": arguments.algorithm, "results": results, **facts})
    if counts["FAILED"]:
        do = "does" if counts["FAILED"] == 1 else "do"
        output.error(
            f"{counts['FAILED']} of {output.plural(len(lines), 'digest')} {do} not match; those "
            "files changed, or the list is not of --algorithm " + arguments.algorithm
        )
        return 1
    return 2 if counts["unreadable"] else 0


def _check_file(expected: str, path: str, algorithm: str) -> str:
    try:
        return "OK" if _digest(path, algorithm) == expected else "FAILED"
    except (Error, OSError) as error:
        output.error(error, attempt="hash")
        return "unreadable"

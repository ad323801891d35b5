"""``mlprov hash``: digests of files, tensors and models, in b3sum's and sha256sum's form.

Every call of the verb imports this, however small the file: what only some calls need is imported
where they need it.
"""

from __future__ import annotations

import argparse
import binascii
import codecs
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mlprov.cli import output
from mlprov.cli.listed_files import STDIN, ListedFiles, is_named_pipe
from mlprov.errors import ConfigError, Error, EvidenceError
from mlprov.explanations import explain
from mlprov.file_digests import hash_files, hash_one
from mlprov.threads import MOST_THREADS, set_threads

if TYPE_CHECKING:
    from mlprov.model_digests import ModelDigest

ALGORITHMS = ("blake3", "sha256", "sha384", "sha512")
_LINE = re.compile(r"(?P<mark>\\?)(?P<hex>[0-9a-fA-F]+) [ *](?P<path>.+)", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)")
_UNESCAPED = {"\\": "\\", "n": "\n", "r": "\r"}
_CHUNK = 1 << 20
_HASH = "hash"  # what is attempted
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
        "--threads",
        type=int,
        metavar="N",
        help="how many hash at once (default: MLPROV_THREADS, or one for each processor)",
    )
    parser.add_argument(
        "--tensors",
        action="store_true",
        help="list each tensor of .safetensors files, or of directories of shards, and the root",
    )
    parser.add_argument("--check", metavar="LIST", help="verify a list of digests as printed; or -")


def run(arguments: argparse.Namespace) -> int:
    """Hash, or check a list."""
    if arguments.threads is not None:
        _set_threads(arguments.threads)
    if arguments.check is not None:
        if arguments.paths or arguments.tensors:
            raise ConfigError("cannot hash and check at once", "give --check LIST alone")
        return _check(arguments)
    if not arguments.paths:
        raise ConfigError(
            "cannot hash nothing", "name a file or directory, or - for standard input"
        )
    return _tensors(arguments) if arguments.tensors else _files(arguments)


def _set_threads(threads: int) -> None:
    if not 1 <= threads <= MOST_THREADS:
        raise ConfigError(
            f"cannot hash on {threads} threads", f"give --threads a number from 1 to {MOST_THREADS}"
        )
    set_threads(threads)


def _note(failures: list[dict[str, str]], what: str, remedy: str) -> None:
    """Say what is wrong with one file; the others go on."""
    output.error(what, remedy)
    failures.append(output.in_json(what, remedy))


# ---- files ----


def _files(arguments: argparse.Namespace) -> int:
    failures: list[dict[str, str]] = []
    listed = ListedFiles()
    for path in arguments.paths:
        listed.add(os.fsencode(path))
    for error in listed.failures:
        _note(failures, *explain(error, _HASH))
    files = []
    on_terminal = sys.stdout.isatty()
    for path, outcome in _hash(listed, arguments.algorithm):
        if isinstance(outcome, Exception):
            _note(failures, *explain(outcome, _HASH))
        elif arguments.json:
            files.append({"digest": outcome.hex(), "path": os.fsdecode(path)})
        else:
            _print_line(outcome, path, on_terminal)
    if arguments.json:
        facts = {"algorithm": arguments.algorithm, "errors": failures, "files": files}
        output.emit_json(facts)
    return 2 if failures else 0


def _hash(listed: ListedFiles, algorithm: str) -> Iterator[tuple[bytes, bytes | Exception]]:
    """Each path with its digest, or with what is wrong with it."""
    progress = _Progress(listed)
    for paths in listed.runs():
        if len(paths) == 1 and paths[0] in listed.special:
            yield paths[0], _hash_special(paths[0], algorithm, progress)
            progress.add(1, 0)
            continue
        length_of_all = 0
        for path, (outcome, length) in zip(
            paths, hash_files(paths, algorithm, progress=progress), strict=True
        ):
            length_of_all += length
            yield path, outcome
        progress.add(len(paths), length_of_all)


def _hash_special(path: bytes, algorithm: str, progress: _Progress) -> bytes | Exception:
    """Standard input, a pipe, a device, or what can only be said to be missing."""
    if path == STDIN:
        if sys.stdin is None:
            return ConfigError(
                "cannot read standard input: it is closed", "give it a file or a pipe"
            )
        return _hash_standard_input(algorithm, progress)
    name = os.fsdecode(path)
    try:
        if is_named_pipe(path):
            return ConfigError(
                f"cannot hash {name}: it is a named pipe", "read it as standard input: -"
            )
    except OSError as error:
        error.filename = name
        return error
    return hash_one(path, algorithm, progress=progress)[0]


def _hash_standard_input(algorithm: str, progress: _Progress) -> bytes:
    from mlprov.digests import Hasher

    hasher = Hasher(algorithm=algorithm)
    length = 0
    while chunk := sys.stdin.buffer.read(_CHUNK):
        hasher.update(chunk)
        length += len(chunk)
        progress(0, length)
    return hasher.digest()


class _Progress:
    """How far the list is, for the line about waiting."""

    def __init__(self, listed: ListedFiles) -> None:
        self._count, self._bytes = len(listed.paths), listed.bytes
        self._files_before = self._bytes_before = 0

    def add(self, files: int, length: int) -> None:
        """A run is done: what is told next comes after it."""
        self._files_before += files
        self._bytes_before += length

    def __call__(self, files: int, length: int) -> None:
        files += self._files_before
        length += self._bytes_before
        done = f"{length / 1e9:.1f} GB"
        if self._bytes:
            output.progress(length / self._bytes, f"{done} of {self._bytes / 1e9:.1f} GB")
        elif self._count > 1:
            output.progress(
                files / self._count, f"{files:,} of {output.plural(self._count, 'file')}, {done}"
            )
        else:
            output.progress(None, done)


def _print_line(digest: bytes, path: bytes, on_terminal: bool) -> None:
    # As coreutils and b3sum: a backslash in front says that the name is written with escapes.
    shown = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    mark = b"\\" if shown != path else b""
    line = b"%s%s  %s" % (mark, binascii.hexlify(digest), shown)
    if on_terminal:
        output.text(os.fsdecode(line))
    else:
        sys.stdout.buffer.write(line + b"\n")


# ---- tensors ----


def _tensors(arguments: argparse.Namespace) -> int:
    import pathlib

    import mlprov

    failures: list[dict[str, str]] = []
    listed = []
    for path in arguments.paths:
        try:
            model = mlprov.digest_model(pathlib.Path(path), algorithm=arguments.algorithm)
        except EvidenceError as error:
            reason = error.what.removeprefix(f"{path}: ")
            remedy = "name safetensors, or leave --tensors out"
            _note(failures, f"cannot list the tensors of {path}: {reason}", remedy)
            continue
        except (Error, OSError) as error:
            _note(failures, *explain(error, _HASH))
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


def _facts(model: ModelDigest) -> dict[str, Any]:
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
    if match is None or "\0" in match["path"]:  # no file has such a name
        return None
    path = match["path"]
    if match["mark"]:
        path = _ESCAPED.sub(lambda found: _UNESCAPED.get(found[1], found[0]), path)
    return match["hex"].lower(), path


def _read_list(path: str) -> list[str]:
    """Lines end in a newline alone: a name may hold every other character.

    But where all end in CR LF, as editors on Windows write them, the CR is no part of the names; a
    byte order mark in front is none of the first digest.
    """
    if path == "-":
        data = sys.stdin.buffer.read()
    else:
        import pathlib

        data = pathlib.Path(path).read_bytes()
    lines = os.fsdecode(data.removeprefix(codecs.BOM_UTF8)).split("\n")
    lines = lines[:-1] if lines[-1] == "" else lines
    if all(line.endswith("\r") for line in lines):
        return [line[:-1] for line in lines]
    return lines


def _check(arguments: argparse.Namespace) -> int:
    lines = _read_list(arguments.check)
    if not lines:
        raise ConfigError(
            f"cannot check {arguments.check}: it has no lines",
            "give a list as 'mlprov hash' or b3sum prints it",
        )
    parsed = [_parse(line) for line in lines]
    _say_unreadable(arguments.check, [at for at, line in enumerate(parsed, start=1) if not line])
    results = list(_compare(parsed, arguments))
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
            f"{counts['FAILED']} of {output.plural(len(lines), 'digest')} {do} not match",
            f"those files changed, or the list is not of --algorithm {arguments.algorithm}",
        )
        return 1
    return 2 if counts["unreadable"] else 0


def _say_unreadable(name: str, numbers: Sequence[int]) -> None:
    """Which lines of a list are none; the first says what one looks like."""
    remedy = "give a list as 'mlprov hash' or b3sum prints it"
    for number in numbers[:_MOST_LINES_SAID]:
        output.error(f"cannot read line {number} of {name}: not '<hex>  <path>'", remedy)
        remedy = ""
    if len(numbers) > _MOST_LINES_SAID:
        more = output.plural(len(numbers) - _MOST_LINES_SAID, "more line")
        output.error(f"cannot read {more} of {name}")


def _compare(
    parsed: Sequence[tuple[str, str] | None], arguments: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Hash what the lines name, and print each result."""
    listed = ListedFiles()
    for line in parsed:
        if line is not None:
            listed.add_file(os.fsencode(line[1]))
    outcomes = _hash(listed, arguments.algorithm)
    for number, line in enumerate(parsed, start=1):
        if line is None:
            yield {"line": number, "path": None, "result": "unreadable"}
            continue
        expected, path = line
        _, outcome = next(outcomes)
        if isinstance(outcome, Exception):
            output.error(*explain(outcome, _HASH))
            result = "unreadable"
        else:
            result = "OK" if outcome.hex() == expected else "FAILED"
        if not arguments.json and not (arguments.quiet and result == "OK"):
            output.text(f"{path}: {result}")
        yield {"line": number, "path": path, "result": result}

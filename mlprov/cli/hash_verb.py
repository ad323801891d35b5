"""``mlprov hash``: digests of files, tensors and models, in b3sum's and sha256sum's form."""

from __future__ import annotations

import argparse
import hashlib
import os
import pathlib
import sys
from collections.abc import Iterator

import mlprov
from mlprov.cli import output
from mlprov.errors import Error

ALGORITHMS = ("blake3", "sha256", "sha384", "sha512")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "paths", nargs="*", metavar="FILE|DIR", help="what to hash; '-' is standard input"
    )
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="blake3", help="default: blake3")
    parser.add_argument(
        "--tensors",
        action="store_true",
        help="list each tensor of .safetensors files, and the model root",
    )
    parser.add_argument(
        "--check", metavar="LIST", help="verify the digests of a list that this command printed"
    )


def run(arguments: argparse.Namespace) -> int:
    """Hash, or check a list."""
    if arguments.check is not None:
        return _check(arguments)
    if not arguments.paths:
        raise mlprov.ConfigError(
            "cannot hash nothing; name a file or directory, or '-' for standard input"
        )
    if arguments.tensors:
        return _tensors(arguments)
    code = 0
    rows = {}
    for path in _walk(arguments.paths):
        try:
            digest = _digest(path, arguments.algorithm)
        except (Error, OSError) as error:
            output.error(error)
            code = 2
            continue
        rows[path] = digest
        if not arguments.json:
            _print_line(digest, path)
    if arguments.json:
        output.emit_json({"algorithm": arguments.algorithm, "digests": rows})
    return code


def _walk(paths: list[str]) -> Iterator[str]:
    """Files in the order given; those of a directory sorted by the bytes of their paths, links not followed."""
    for path in paths:
        if path == "-" or not os.path.isdir(path):
            yield path
            continue
        found = []
        for directory, names, files in os.walk(path):
            names.sort()
            found.extend(os.path.join(directory, name) for name in files)
        yield from sorted((p for p in found if not os.path.islink(p)), key=os.fsencode)


def _digest(path: str, algorithm: str) -> str:
    if path == "-":
        return hashlib.file_digest(
            sys.stdin.buffer, lambda: mlprov.Hasher(algorithm=algorithm)
        ).hexdigest()  # type: ignore[arg-type, return-value]
    return mlprov.digest(pathlib.Path(path), algorithm=algorithm).hex()


def _print_line(digest: str, path: str) -> None:
    # As coreutils and b3sum do: a backslash in front says that backslashes and newlines in the name are escaped.
    shown = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if shown != path else ""
    if sys.stdout.isatty():
        print(f"{mark}{digest}  {output.escape(shown)}")
    else:
        sys.stdout.buffer.write(os.fsencode(f"{mark}{digest}  {shown}\n"))


def _tensors(arguments: argparse.Namespace) -> int:
    code = 0
    listed = {}
    for path in arguments.paths:
        try:
            model = mlprov.digest_model(pathlib.Path(path), algorithm=arguments.algorithm)
        except (Error, OSError) as error:
            output.error(error)
            code = 2
            continue
        listed[path] = {
            "root": model.root,
            "size": model.size,
            "tensors": [
                {
                    "digest": t.digest.hex(),
                    "dtype": t.dtype,
                    "len": t.len,
                    "name": t.name,
                    "shape": list(t.shape),
                }
                for t in model.tensors
            ],
        }
        if not arguments.json:
            for tensor in model.tensors:
                print(
                    f"{tensor.digest.hex()}  {output.escape(tensor.name)}  {tensor.dtype} {list(tensor.shape)}"
                )
            print(f"{model.root}  model root of {output.escape(path)}, {model.size} tensors")
    if arguments.json:
        output.emit_json({"algorithm": arguments.algorithm, "models": listed})
    return code


# ---- checking a list ----


def _parse(line: str) -> tuple[str, str] | None:
    escaped = line.startswith("\\")
    digest, gap, path = line.removeprefix("\\").rstrip("\r\n").partition("  ")
    if not gap:
        digest, gap, path = line.removeprefix("\\").rstrip("\r\n").partition(" *")
    if not gap or not path or any(c not in "0123456789abcdefABCDEF" for c in digest):
        return None
    if escaped:
        path = (
            path.replace("\\\\", "\0").replace("\\n", "\n").replace("\\r", "\r").replace("\0", "\\")
        )
    return digest.lower(), path


def _check(arguments: argparse.Namespace) -> int:
    lines = (
        pathlib.Path(arguments.check)
        .read_text(encoding="utf-8", errors="surrogateescape")
        .splitlines()
    )
    results: dict[str, str] = {}
    failed = unreadable = 0
    for number, line in enumerate(lines, start=1):
        parsed = _parse(line)
        if parsed is None:
            output.error(
                f"cannot read line {number} of {arguments.check}: expected '<hex>  <path>'"
            )
            unreadable += 1
            continue
        expected, path = parsed
        try:
            result = "OK" if _digest(path, arguments.algorithm) == expected else "FAILED"
        except (Error, OSError) as error:
            output.error(error)
            result = "unreadable"
        failed += result == "FAILED"
        unreadable += result == "unreadable"
        results[path] = result
        if not arguments.json and not (arguments.quiet and result == "OK"):
            print(f"{output.escape(path)}: {result}")
    if not lines:
        output.error(f"cannot check {arguments.check}: it has no lines")
        unreadable += 1
    if arguments.json:
        output.emit_json(
            {
                "algorithm": arguments.algorithm,
                "failed": failed,
                "results": results,
                "unreadable": unreadable,
            }
        )
    if failed:
        output.error(f"{failed} of {len(lines)} digests do not match")
        return 1
    return 2 if unreadable else 0

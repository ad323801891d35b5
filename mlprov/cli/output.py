"""Printing: names from evidence are escaped, tables line up, errors take two lines."""

from __future__ import annotations

import binascii
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from mlprov.escapes import escape
from mlprov.explanations import explain
from mlprov.wording import brief, plural, shortened

__all__ = [
    "abandon_output",
    "brief",
    "emit_json",
    "error",
    "escape",
    "fail",
    "in_json",
    "plural",
    "progress",
    "table",
    "text",
    "waiting",
]

# A name may have megabytes; a line on a terminal should not.
_LONG_CELL = 120  # a verifier key has 84 characters
_LONG_LINE = 600
_LOCK = threading.Lock()
_SHOWN = threading.Event()  # a line about waiting stands on the terminal
_BAR = 20  # characters
_how_far = ""  # what the line about waiting says beside the seconds


def text(value: object) -> None:
    """A line on standard output, escaped."""
    _write(brief(escape(value), _LONG_LINE))


def _write(line: str) -> None:
    """Print a line; to nobody, quietly, once the reader has gone away (mlprov verify x | true).

    The command then ends with the exit code that it came to.
    """
    _clear()
    try:
        print(line)
    except BrokenPipeError:
        abandon_output()


def abandon_output() -> None:
    """From now on standard output leads nowhere, also what is still in its buffer."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def emit_json(value: Any) -> None:
    """One JSON object on standard output, keys sorted, in ASCII."""
    import json

    _write(json.dumps(_plain(value), sort_keys=True, ensure_ascii=True, default=str))


def _plain(value: Any) -> Any:
    """With text that is no Unicode (a file's name) as docs/format.md section 1 has it."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            data = binascii.b2a_base64(os.fsencode(value), newline=False)
            return {"bytes": data.decode()}
        return value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def table(rows: Sequence[Sequence[object]], *, header: Sequence[str] | None = None) -> None:
    """Rows in columns, two spaces apart, every cell escaped."""
    cells = [
        [
            *(brief(escape(cell), _LONG_CELL) for cell in row[:-1]),
            brief(escape(row[-1]), _LONG_LINE),
        ]
        for row in rows
    ]
    if header is not None:
        cells.insert(0, list(header))
    if not cells:
        return
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]) - 1)]
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        _write("  ".join([*padded, row[-1]]).rstrip())


# ---- errors ----


def error(
    problem: BaseException | str, remedy: str = "", *, attempt: str = "read or write"
) -> None:
    """What was attempted, seen and expected on standard error; what to do, on a line of its own.

    Args:
        problem: the exception, or what a sentence says of it.
        remedy: what to do, beside a sentence.
        attempt: what was attempted, for an error of the system that only names a file.
    """
    _clear()
    if isinstance(problem, BaseException):
        problem, remedy = explain(problem, attempt)
    for line in filter(None, (problem, remedy)):
        print(f"mlprov: {shortened(escape(line), _LONG_LINE)}", file=sys.stderr)


def fail(problem: BaseException, *, as_json: bool, expected: bool) -> None:
    """The error that ends a command; with ``--json`` also as the object on standard output."""
    what, remedy = explain(problem)
    if not expected:
        what = f"stopped by a defect of mlprov: {type(problem).__name__}: {problem}"
        remedy = "run it again with --debug, and please report the traceback"
    error(what, remedy)
    if as_json:
        emit_json({"error": {"class": type(problem).__name__, **in_json(what, remedy)}})


def in_json(what: str, remedy: str) -> dict[str, str]:
    """An error as JSON has it: its lines as they are printed, whole."""
    return {"remedy": escape(remedy), "what": escape(what)}


# ---- progress ----


def progress(fraction: float | None, text: str) -> None:
    """How far the verb is, for :func:`waiting` to show.

    Args:
        fraction: of the whole, for a bar; None where the whole is not known.
        text: what is done, such as ``"3 of 10 files"``.
    """
    global _how_far
    bar = ""
    if fraction is not None:
        filled = int(_BAR * min(fraction, 1.0))
        bar = f" [{'#' * filled}{'-' * (_BAR - filled)}]"
    _how_far = f"{bar} {text}"


@contextlib.contextmanager
def waiting(verb: str, *, quiet: bool) -> Iterator[None]:
    """Say on a terminal's standard error, each second, for how long the verb has been at work.

    And how far it is, where it says so by :func:`progress`.
    """
    if quiet or not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    began = time.monotonic()

    def count() -> None:
        while not done.wait(1):
            seconds = int(time.monotonic() - began)
            with _LOCK:
                if not done.is_set():
                    line = f"\r\x1b[Kmlprov {verb}: {seconds} s{_how_far}"
                    print(line, end="", file=sys.stderr, flush=True)
                    _SHOWN.set()

    counter = threading.Thread(target=count, daemon=True)
    counter.start()
    try:
        yield
    finally:
        done.set()
        counter.join()
        _clear()


def _clear() -> None:
    """Remove the line about waiting before something else is printed."""
    with _LOCK:
        if _SHOWN.is_set():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            _SHOWN.clear()

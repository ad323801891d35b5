"""Printing: names from evidence are escaped, tables line up, errors take two lines."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

__all__ = ["emit_json", "error", "escape", "progress", "table"]

# Characters that could move the cursor, change colours, or reorder what is read (Cc, Cf with the
# bidirectional controls among them, Cs, Zl, Zp): shown as escapes, since names come from evidence.
_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def escape(text: object) -> str:
    """A text that is safe to print on a terminal, on one line.

    >>> escape("a\\x1b[31mb\\u202e")
    'a\\\\x1b[31mb\\\\u202e'
    """
    shown = []
    for character in str(text):
        if unicodedata.category(character) in _UNSAFE:
            code = ord(character)
            shown.append(
                f"\\x{code:02x}"
                if code < 256
                else f"\\u{code:04x}"
                if code < 65536
                else f"\\U{code:08x}"
            )
        else:
            shown.append(character)
    return "".join(shown)


def emit_json(value: Any) -> None:
    """One JSON object on standard output, keys sorted."""
    print(json.dumps(value, sort_keys=True, ensure_ascii=True, default=str))


def table(rows: Sequence[Sequence[object]], *, header: Sequence[str] | None = None) -> None:
    """Rows in columns, two spaces apart, every cell escaped."""
    cells = [[escape(cell) for cell in row] for row in rows]
    if header is not None:
        cells.insert(0, list(header))
    if not cells:
        return
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def error(problem: BaseException | str) -> None:
    """An error on standard error: what was attempted, seen and expected; then what to do, on a line of its own."""
    text = str(problem)
    what, semicolon, remedy = text.partition("; ")
    print(f"mlprov: {escape(what)}", file=sys.stderr)
    if semicolon:
        print(f"mlprov: {escape(remedy)}", file=sys.stderr)


def progress(text: str, *, quiet: bool = False) -> None:
    """A line that replaces itself, when standard error is a terminal; an empty text removes it."""
    if not quiet and sys.stderr.isatty():
        print(f"\r\x1b[K{escape(text)}", end="", file=sys.stderr, flush=True)

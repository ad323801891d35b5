"""Text from evidence, made safe to print: names are whatever somebody else wrote."""

from __future__ import annotations

import unicodedata

__all__ = ["escape"]

# Characters that could move the cursor, change colours, or reorder what is read (Cc, Cf with the
# bidirectional controls among them, Cs, Co, Zl, Zp): shown as escapes. Cn: not assigned yet, so
# nobody knows what a terminal will make of it.
_UNSAFE = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}


def escape(text: object) -> str:
    r"""A text that is safe to print on a terminal, on one line.

    A byte of a name that is no UTF-8 is what :func:`os.fsdecode` and Python's own messages make of
    it, U+DC80 to U+DCFF, and :func:`os.fsencode` gives it back.

    >>> import os
    >>> print(escape("a\x1b[31mb\u202e\n"), escape(os.fsdecode(b"\xff")))
    a\x1b[31mb\u202e\x0a \udcff
    >>> os.fsencode("\udcff")
    b'\xff'
    """
    return "".join(map(_escape, str(text)))


def _escape(character: str) -> str:
    if unicodedata.category(character) not in _UNSAFE:
        return character
    code = ord(character)
    if code < 256:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"

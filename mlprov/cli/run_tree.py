"""Drawing the tree of a run (mlprov.run_trees) on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from mlprov.run_trees import Node

__all__ = ["draw"]

_NONE = "not recorded"
_UNICODE = ("├─ ", "│  ", "└─ ")
_ASCII = ("|- ", "|  ", "`- ")


def draw(root: Node) -> list[tuple[str, str, str]]:
    """Rows of the tree: branch and name, digest, what it says."""
    lines = _UNICODE if _can_print("".join(_UNICODE)) else _ASCII
    return [(root.name, root.digest or _NONE, root.says), *_draw_below(root, "", lines)]


def _draw_below(
    node: Node, indent: str, lines: tuple[str, str, str]
) -> Iterator[tuple[str, str, str]]:
    branch, bar, last = lines
    for place, child in enumerate(node.children, 1):
        is_last = place == len(node.children)
        yield indent + (last if is_last else branch) + child.name, child.digest or _NONE, child.says
        yield from _draw_below(child, indent + ("   " if is_last else bar), lines)


def _can_print(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True

"""Words of messages: counts with their nouns, long texts cut, names that may have been meant."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable

__all__ = ["brief", "meant", "nearest", "plural", "shortened"]

# Comparing names costs the product of their lengths: enough for what somebody types.
_LONGEST_NAME = 200
_MOST_NAMES = 5000
_MOST_LISTED = 5


def plural(count: int, thing: str) -> str:
    """A count with its noun.

    >>> plural(1, "run"), plural(3, "epoch"), plural(0, "batch"), plural(2, "entry")
    ('1 run', '3 epochs', '0 batches', '2 entries')
    """
    if count == 1:
        return f"1 {thing}"
    if thing.endswith("tch"):
        return f"{count} {thing}es"
    return f"{count} {thing[:-1]}ies" if thing.endswith("y") else f"{count} {thing}s"


def brief(value: str, most: int) -> str:
    """The text, or its beginning where it is longer than ``most`` characters."""
    return value if len(value) <= most else f"{value[: most - 1]}…"


def shortened(value: str, most: int) -> str:
    """The text, or its two ends where it is longer than ``most`` characters.

    For sentences: a long name stands in the middle, the reason at the end.

    >>> shortened("cannot read aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: no such file", 40)
    'cannot read aaaaaaaa…aaaaa: no such file'
    """
    if len(value) <= most:
        return value
    tail = (most - 1) // 2
    return f"{value[: most - 1 - tail]}…{value[len(value) - tail :]}"


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """At most three of the known names that look like the one given, the nearest first."""
    if len(name) > _LONGEST_NAME:
        return []
    import difflib

    names = [one for one in itertools.islice(known, _MOST_NAMES) if len(one) <= _LONGEST_NAME]
    return difflib.get_close_matches(name, dict.fromkeys(names), n=3)


def meant(name: str, known: Collection[str]) -> str:
    """What to do about a name that is none of those known: the nearest of them, else the first few.

    >>> meant("0.wieght", ["0.weight", "0.bias"])
    "did you mean '0.weight'?"
    >>> meant("x", ["train", "test"]), meant("x", [])
    ("there are: 'test', 'train'", 'there are none')
    """
    near = nearest(name, known)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    names = sorted(set(known))
    if not names:
        return "there are none"
    listed = ", ".join(repr(brief(one, _LONGEST_NAME)) for one in names[:_MOST_LISTED])
    more = len(names) - _MOST_LISTED
    return f"there are: {listed}{f' and {more} more' if more > 0 else ''}"

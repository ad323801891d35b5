"""Which of the processes of one distributed training this is (docs/format.md section 5, ``ranks``).

torch's process group says it where there is one; before that the variables from which torch makes
one (``env://``, which torchrun and others set). Nothing here talks to another process: a record
that waited for one could hang with it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from mlprov.record_values import is_count
from mlprov.records import Json

__all__ = ["Rank", "describe_ranks", "own_rank"]

_MAX_LISTED = 8  # numbers of ranks in one sentence
_MAX_DIGITS = 5  # of a variable: a larger training than any, whose ranks a record can still list


class Rank(NamedTuple):
    """One of several processes: its number, and how many there are (two at least)."""

    rank: int
    world_size: int

    @property
    def is_first(self) -> bool:
        """Whether it is the one that records."""
        return self.rank == 0

    def json(self) -> dict[str, Json]:
        """As a record of this process writes it: who records, and who is not covered.

        >>> Rank(0, 3).json()
        {'not_covered': [1, 2], 'rank': 0, 'world_size': 3}
        """
        others: list[Json] = [rank for rank in range(self.world_size) if rank != self.rank]
        return {"not_covered": others, "rank": self.rank, "world_size": self.world_size}


def own_rank() -> Rank | None:
    """This process among those that train together; None where it trains alone."""
    rank = _in_group() or _in_variables(os.environ)
    return rank if rank is not None and rank.world_size > 1 else None


def _in_group() -> Rank | None:
    distributed: Any = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return Rank(distributed.get_rank(), distributed.get_world_size())


def _in_variables(variables: Mapping[str, str]) -> Rank | None:
    """What torch would read for a group that is still to be made.

    >>> _in_variables({"RANK": "1", "WORLD_SIZE": "4"})
    Rank(rank=1, world_size=4)
    >>> _in_variables({"RANK": "4", "WORLD_SIZE": "4"}), _in_variables({"WORLD_SIZE": "4"})
    (None, None)
    """
    texts = [variables.get(name, "") for name in ("RANK", "WORLD_SIZE")]
    if not all(text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS for text in texts):
        return None
    rank, world_size = map(int, texts)
    return Rank(rank, world_size) if rank < world_size else None


def describe_ranks(said: Any) -> str:
    """What a record's ``ranks`` means, in words; whatever somebody else wrote there.

    >>> describe_ranks({"not_covered": [1, 2], "rank": 0, "world_size": 3})
    'rank 0 of 3 is recorded; not covered: 1, 2'
    """
    members = said if isinstance(said, dict) else {}
    rank, world_size = members.get("rank"), members.get("world_size")
    others = members.get("not_covered")
    if not is_count(rank) or not is_count(world_size) or not isinstance(others, list):
        return "several processes trained; which are not covered is not readable"
    if not all(map(is_count, others)):
        return f"rank {rank} of {world_size} is recorded; the others are not readable"
    listed = ", ".join(map(str, others[:_MAX_LISTED]))
    more = len(others) - _MAX_LISTED
    return (
        f"rank {rank} of {world_size} is recorded; not covered:"
        f" {listed}{f' and {more} more' if more > 0 else ''}"
    )

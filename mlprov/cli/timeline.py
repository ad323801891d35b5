"""A run as a timeline: when each record was written, as the writer claims, and what it took."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["timeline"]

_WIDTH = 24  # characters of the longest bar


def timeline(
    records: Sequence[dict[str, Any]], describe: Callable[[dict[str, Any]], str]
) -> list[tuple[str, str, str, str]]:
    """Rows: seconds since the start, a bar for the time since the record before, type, text.

    The longest pause of the run has the longest bar.
    """
    moments = [datetime.datetime.fromisoformat(record["time"]) for record in records]
    took = [0.0, *((b - a).total_seconds() for a, b in itertools.pairwise(moments))]
    most = max(took, default=0.0)
    rows = []
    for record, moment, seconds in zip(records, moments, took, strict=True):
        bar = "#" * round(_WIDTH * seconds / most) if most else ""
        since = f"{(moment - moments[0]).total_seconds():>10.3f} s"
        rows.append((since, bar, str(record["type"]), describe(record)))
    return rows

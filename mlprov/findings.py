"""What ``mlprov doctor`` found: one line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: ``ok``, ``note`` (worth knowing) or ``wrong`` (keeps mlprov from recording or a
            configured anchor from being made, or recorded evidence does not hold).
        what: what was looked at.
        detail: what was seen.
        remedy: what to do, where there is something.
    """

    state: Literal["ok", "note", "wrong"]
    what: str
    detail: str
    remedy: str = ""

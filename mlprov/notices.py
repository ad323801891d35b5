"""What a run says while it goes on: to somebody who watches, and to nobody else.

On standard error, where that is a terminal or a notebook; ``MLPROV_QUIET=1`` says nothing. One line
at the start, one now and then at the end of an epoch, five at the end.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Any

from mlprov.escapes import escape
from mlprov.ranks import Rank, describe_ranks

__all__ = ["Notices", "is_interactive", "say"]

_SECONDS = 10.0  # between two lines of progress

_left_to_first: set[Rank] = set()  # what this process was when it said so


def is_interactive() -> bool:
    """Whether cells or lines are typed in one after another, so that a run may be started again."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None or hasattr(sys, "ps1") or bool(sys.flags.interactive)


def _is_quiet() -> bool:
    return os.environ.get("MLPROV_QUIET", "").strip().lower() not in ("", "0", "false", "no")


def _is_watched() -> bool:
    if _is_quiet():
        return False
    stream = sys.stderr
    if stream is None:
        return False
    try:
        return stream.isatty() or type(stream).__module__.startswith("ipykernel")
    except ValueError:  # closed
        return False


def say(text: str) -> None:
    """Write whole lines; a bar of tqdm's is moved out of the way and drawn again below."""
    shown = "\n".join(escape(line) for line in text.splitlines())
    if sys.stderr is None:
        return
    bars: Any = getattr(sys.modules.get("tqdm"), "tqdm", None)
    try:
        if bars is not None and getattr(bars, "_instances", None):
            bars.write(shown, file=sys.stderr)
        else:
            print(shown, file=sys.stderr, flush=True)  # noqa: T201
    except (OSError, ValueError):  # the terminal has gone away: nobody watches any more
        pass


class Notices:
    """The lines of one run."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def begin(self, run: Any) -> None:
        """One line: what is recorded, and where."""
        if _is_watched():
            verb = "goes on with" if run.resumed else "records"
            alone = "" if run.rank is None else f"; {describe_ranks(run.rank.json())}"
            say(f"mlprov {verb} run {run.id} ({run.name}) in {run.store_path}{alone}")

    @staticmethod
    def leave_to_first(rank: Rank) -> None:
        """One line of a process whose trainings rank 0 records, however many; also in a log file.

        Whoever reads the output of all ranks has to see which of them a record does not cover.
        """
        if rank not in _left_to_first and not _is_quiet():
            _left_to_first.add(rank)
            say(
                f"mlprov: rank {rank.rank} of {rank.world_size} records nothing; rank 0 records,"
                " and its record says so"
            )

    def end_epoch(self, run: Any, epoch: Any) -> None:
        """At the end of an epoch, a line where the last one is long ago.

        The loop may be printing a line of its own, so that short epochs pass in silence.
        """
        now = time.monotonic()
        if now - self._last < _SECONDS or not _is_watched():
            return
        self._last = now
        cost, gaps = run.overhead, run.recorder.gaps
        lost = f", {gaps} not recorded" if gaps else ""
        say(f"mlprov: epoch {epoch.index}, recording takes {cost['share']:.1%} of the time{lost}")

    def end(self, run: Any) -> None:
        """Five lines: what ``print(run)`` prints."""
        if _is_watched():
            with contextlib.suppress(OSError):  # the working directory is gone
                say(str(run))

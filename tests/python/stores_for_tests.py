"""Runs written straight through the binding."""

from __future__ import annotations

from mlprov import _core

RUN = "019aa5c1-5a40-7000-8000-000000000001"
OTHER = "019aa5c1-5a40-7000-8000-000000000002"


def time(second: int) -> str:
    return f"2026-11-21T09:30:{second:02}.000Z"


def append(log: _core.RunLog, seq: int, kind: str = "epoch") -> int:
    number = log.size
    log.append(b'{"seq":%d}' % seq, seq=number, type=kind, time=time(seq))
    return number


def end(store: _core.Store, run: str = RUN) -> _core.RunLog:
    log = store.create_run(run, "name", None)
    append(log, 0, "run.start")
    append(log, 1, "run.end")
    log.commit("finished")
    return log

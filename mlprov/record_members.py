"""What the members of a record are (docs/format.md section 5), for those who read one.

A signed record may hold anything: a verifier refuses only what section 10 names. Whoever shows,
compares or proves from records asks here first, so that a member has its own kind, is null or is
not there. Members and types that section 5 does not know are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from mlprov.errors import EvidenceError
from mlprov.record_values import is_count, is_integer
from mlprov.statements import check_time
from mlprov.tree_references import read_reference

__all__ = ["check_members", "check_record"]

_Kind: TypeAlias = tuple[str, Callable[[Any], bool]]  # what it is called, and whether a value is it


def _is_text(value: Any) -> bool:
    """Section 1: text, or the bytes of what is not valid Unicode."""
    return isinstance(value, str) or (
        isinstance(value, dict) and set(value) == {"bytes"} and isinstance(value["bytes"], str)
    )


def _is_number(value: Any) -> bool:
    """A number, or the text of one that JSON has no number for (section 1)."""
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


def _is_any_integer(value: Any) -> bool:
    """An integer, or the decimal text of one that JSON cannot carry exactly (section 1)."""
    return is_integer(value) or (
        isinstance(value, str) and value.removeprefix("-").isascii() and value.lstrip("-").isdigit()
    )


def _is_object_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


_TEXT: _Kind = ("text", _is_text)
_NAME: _Kind = ("text", lambda value: isinstance(value, str))
_COUNT: _Kind = ("a whole number from 0", is_count)
_INTEGER: _Kind = ("a whole number", is_integer)
_ANY_INTEGER: _Kind = ("a whole number", _is_any_integer)
_NUMBER: _Kind = ("a number", _is_number)
_BOOL: _Kind = ("true or false", lambda value: isinstance(value, bool))
_LIST: _Kind = ("a list", lambda value: isinstance(value, list))
_OBJECT: _Kind = ("an object", lambda value: isinstance(value, dict))
_OBJECTS: _Kind = ("a list of objects", _is_object_list)
_TREE = "tree"

_LIVE: dict[str, _Kind | str] = {"weights": _TREE, "aliases": _LIST}
_END: dict[str, _Kind | str] = {
    **dict.fromkeys(("status", "exception"), _TEXT),
    **dict.fromkeys(("epochs", "batches", "gaps", "waits"), _COUNT),
    "overhead": _OBJECT,
    "seconds": _NUMBER,
}
_MEMBERS: dict[str, dict[str, _Kind | str]] = {
    "run.start": {
        **dict.fromkeys(("name", "project", "mlprov", "algorithm", "owner", "owner_key"), _NAME),
        **dict.fromkeys(
            ("code", "environment", "not_before", "process", "ranks", "seeds", "settings"), _OBJECT
        ),
        **dict.fromkeys(("parents", "tags", "redacted"), _LIST),
    },
    "data": {
        **dict.fromkeys(("role", "kind"), _NAME),
        **dict.fromkeys(("tree", "sorted"), _TREE),
        **dict.fromkeys(("count", "bytes"), _COUNT),
        "source": _TEXT,
        "weak": _LIST,
    },
    "model": {
        **_LIVE,
        "architecture": _TREE,
        "class": _TEXT,
        **dict.fromkeys(("parameters", "tensors", "bytes"), _COUNT),
    },
    "epoch": {
        **_LIVE,
        "epoch": _INTEGER,
        "interrupted": _BOOL,
        "guard": _NAME,
        "trusted": _OBJECT,
        **dict.fromkeys(("buffers", "optimizer", "ema", "scheduler", "scaler"), _TREE),
        **dict.fromkeys(("rng", "rng_values", "flags", "modes", "metrics", "privacy"), _OBJECT),
        "streams": _OBJECTS,
        **dict.fromkeys(("steps", "skipped"), _COUNT),
    },
    "step": {
        **_LIVE,
        **dict.fromkeys(("step", "batches"), _COUNT),
        "epoch": _INTEGER,
        "guard": _NAME,
        "trusted": _OBJECT,
    },
    "resume": {
        **_LIVE,
        **dict.fromkeys(("from", "mlprov", "clock"), _NAME),
        **dict.fromkeys(("process", "ranks", "code", "environment", "seeds", "settings"), _OBJECT),
        **dict.fromkeys(("last", "same", "differing"), _COUNT),
        "equal": _BOOL,
        "redacted": _LIST,
    },
    "recheck": {**dict.fromkeys(("since", "tensors", "changed"), _COUNT), "names": _LIST},
    "batches": {"streams": _OBJECTS},
    "ranks": {"ranks": _OBJECT},
    "activity": {
        "verb": _NAME,
        **dict.fromkeys(("inputs", "outputs"), _OBJECTS),
        "params": _OBJECT,
        "exception": _TEXT,
        "seconds": _NUMBER,
    },
    "metrics": {"step": _ANY_INTEGER, "metrics": _OBJECT},
    "checkpoint": {
        **_LIVE,
        "path": _TEXT,
        "format": _NAME,
        "files": _OBJECTS,
        "epoch": _INTEGER,
        "tensors": _TREE,
        "mapping": _OBJECT,
    },
    "gap": {
        **dict.fromkeys(("what", "error"), _NAME),
        "role": _NAME,
        "epoch": _INTEGER,
        "count": _COUNT,
        "reason": _TEXT,
    },
    "interruption": _END,
    "run.end": _END,
}
_CODE: dict[str, _Kind | str] = {"git": _OBJECT, "modules": _OBJECTS}
_ENVIRONMENT: dict[str, _Kind | str] = {"packages": _OBJECT}
_RANKS: dict[str, _Kind | str] = {
    **dict.fromkeys(("rank", "world_size"), _COUNT),
    "not_covered": _LIST,
}
_THING: dict[str, _Kind | str] = {
    "name": _TEXT,
    **dict.fromkeys(("kind", "digest"), _NAME),
    "tree": _TREE,
    **dict.fromkeys(("count", "bytes"), _COUNT),
}
_STREAM: dict[str, _Kind | str] = {
    **dict.fromkeys(("role", "guard", "hash"), _NAME),
    **dict.fromkeys(("batches", "bytes", "epoch", "samples"), _COUNT),
    "loader": _OBJECT,
    "stopped": _BOOL,
    **dict.fromkeys(("tree", "indices"), _TREE),
}


def check_record(value: Any, seq: int, where: str) -> dict[str, Any]:
    """A decoded record whose envelope and members are what section 5 says.

    Args:
        value: decoded.
        seq: its place in the run.
        where: what messages call it.

    Raises:
        EvidenceError: they are not; the message names the member, what it is and what it should be.
    """
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise EvidenceError(f"{where} is no JSON object with a type")
    if not is_integer(value.get("seq")) or value["seq"] != seq:
        raise EvidenceError(f"{where} says that it is number {_shown(value.get('seq'))}")
    check_time(value.get("time"), where)
    if (value["type"] == "run.start") != (seq == 0):
        raise EvidenceError(
            f"{where} is of type {_shown(value['type'])}, but run.start is the first, and only it"
        )
    check_members(value, where)
    return value


def check_members(record: Mapping[str, Any], where: str) -> None:
    """Whether each known member of a record is of its kind, null or not there.

    Raises:
        EvidenceError: one is something else.

    >>> check_members({"type": "model", "parameters": "x"}, "record 4")
    Traceback (most recent call last):
    mlprov.errors.EvidenceError: record 4 has the parameters 'x', expected a whole number from 0
    """
    kind = record["type"]
    _check(record, _MEMBERS.get(kind, {}), where)
    if kind in ("run.start", "resume"):
        _check(record.get("code") or {}, _CODE, f"the code of {where}")
        _check(record.get("environment") or {}, _ENVIRONMENT, f"the environment of {where}")
    if kind in ("run.start", "resume", "ranks"):
        _check(record.get("ranks") or {}, _RANKS, f"the ranks of {where}")
    if kind == "activity":
        for member in ("inputs", "outputs"):
            for number, thing in enumerate(record.get(member) or ()):
                _check(thing, _THING, f"{member} {number} of {where}")
    if kind in ("epoch", "batches"):
        for number, stream in enumerate(record.get("streams") or ()):
            _check(stream, _STREAM, f"stream {number} of {where}")


def _check(holder: Mapping[str, Any], kinds: Mapping[str, _Kind | str], where: str) -> None:
    for member, kind in kinds.items():
        value = holder.get(member)
        if isinstance(kind, str):
            read_reference({member: value}, member, where)
        elif value is not None and not kind[1](value):
            raise EvidenceError(f"{where} has the {member} {_shown(value)}, expected {kind[0]}")


def _shown(value: Any) -> str:
    return f"{value!r:.60}"

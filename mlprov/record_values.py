"""Decoded records as a reader meets them: anybody's JSON, of which nothing is known yet."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeGuard

from mlprov.wording import brief

__all__ = [
    "Moment",
    "describe_record",
    "is_count",
    "is_hex64",
    "is_integer",
    "plain",
    "same_json",
    "shown",
]

_MOST_SHOWN = 200  # characters of one text of the evidence in a verdict (section 10)
_HEX64 = re.compile(r"[0-9a-f]{64}")


def is_integer(value: Any) -> TypeGuard[int]:
    """Whether a JSON value is an integer; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_count(value: Any) -> TypeGuard[int]:
    """Whether a JSON value is an integer from 0."""
    return is_integer(value) and value >= 0


def is_hex64(value: Any) -> TypeGuard[str]:
    """Whether a JSON value is 64 lower-case hex digits: a digest of 32 bytes."""
    return isinstance(value, str) and _HEX64.fullmatch(value) is not None


class Moment(NamedTuple):
    """A moment of a run that a caller names: the end of an epoch, or what follows a step.

    >>> str(Moment("step", 100)), Moment("epoch", 1).is_of({"type": "epoch", "epoch": True})
    ('step 100', False)
    """

    kind: Literal["epoch", "step"]
    number: int

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"

    def is_of(self, record: Mapping[str, Any]) -> bool:
        """Whether a record is the one of this moment; true is not 1."""
        return bool(record["type"] == self.kind and self._numbers(record))

    def is_of_checkpoint(self, record: Mapping[str, Any]) -> bool:
        """Whether a ``checkpoint`` record names this epoch; it names no step."""
        return self.kind == "epoch" and self._numbers(record)

    def _numbers(self, record: Mapping[str, Any]) -> bool:
        value = record.get(self.kind)
        return is_integer(value) and value == self.number


def same_json(left: Any, right: Any) -> bool:
    """Equality of JSON values; in Python alone true is 1."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def shown(value: Any) -> str:
    """A JSON value as verdicts quote it: its text, or the beginning of it.

    >>> shown("train"), shown([1, None]), len(shown("x" * 1000))
    ("'train'", '[1, null]', 200)
    """
    if isinstance(value, str):
        return brief(repr(value[:_MOST_SHOWN]), _MOST_SHOWN)
    return brief(json.dumps(value, ensure_ascii=False), _MOST_SHOWN)


def plain(value: Any) -> str:
    """The same without quotation marks: of values that are not names.

    >>> plain("F32"), plain([2, 3])
    ('F32', '[2, 3]')
    """
    return brief(value if isinstance(value, str) else json.dumps(value), _MOST_SHOWN)


def describe_record(record: Mapping[str, Any]) -> str:
    """A record as messages name it: number, type, epoch or role.

    >>> describe_record({"seq": 4, "type": "epoch", "epoch": 1})
    'record 4 (epoch 1)'
    """
    of = {
        "epoch": "epoch",
        "step": "step",
        "data": "role",
        "checkpoint": "path",
        "activity": "verb",
    }.get(str(record["type"]))
    value = record.get(of) if of is not None else None
    about = f" {plain(value)}" if of is not None else ""
    return f"record {record['seq']} ({plain(record['type'])}{about})"

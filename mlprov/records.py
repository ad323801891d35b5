"""Records as bytes: canonical JSON, times and run ids (docs/format.md sections 1 and 5)."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import enum
import math
import os
import pathlib
import sys
import time
import types
import uuid
from collections.abc import Mapping
from typing import Any, TypeAlias

import rfc8785

from mlprov.errors import EvidenceError

__all__ = [
    "Json",
    "canonical",
    "json_key",
    "json_number",
    "json_text",
    "json_value",
    "new_run_id",
    "next_time",
]

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

_SAFE_INTEGER = 2**53 - 1
_MAX_VALUES = 100_000  # of a user's value, nested ones counted
_MAX_DEPTH = 32  # of a user's value; a record adds a few levels, and a reader allows 64 in all


def canonical(value: Any) -> bytes:
    """The RFC 8785 (JCS) bytes of a JSON value.

    Raises:
        EvidenceError: the value has no canonical form (NaN, an integer beyond 2^53 - 1, a lone
            surrogate).

    >>> canonical({"b": 1.0, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeError, RecursionError) as error:
        raise EvidenceError(f"cannot write a record as canonical JSON: {error}") from error


def json_number(value: float) -> Json:
    """A number as records carry it: non-finite floats by name, unsafe integers as decimal text.

    A float from 2^53 up to 10^21 is among the unsafe: RFC 8785 writes it as an integer.

    >>> json_number(float("nan")), json_number(2**60), json_number(0.5), json_number(1e17)
    ('NaN', '1152921504606846976', 0.5, '100000000000000000')
    """
    if isinstance(value, int):
        return int(value) if abs(value) <= _SAFE_INTEGER else str(int(value))
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if _SAFE_INTEGER < abs(value) < 1e21:  # RFC 8785 section 3.2.2.3: no exponent below 10^21
        return rfc8785.dumps(float(value)).decode("ascii")
    return float(value)


def json_text(text: str) -> Json:
    """Text, or ``{"bytes": base64}`` of it where it is not valid Unicode (a lone surrogate).

    >>> json_text("naïve"), json_text(chr(0xDCFF))
    ('naïve', {'bytes': '/w=='})
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        try:
            raw = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raw = text.encode("utf-8", "surrogatepass")
        return {"bytes": base64.b64encode(raw).decode("ascii")}
    return text


def _opaque(value: object) -> Json:
    kind = type(value)
    return {"opaque": f"{kind.__module__}.{kind.__qualname__}"}


def json_key(key: object) -> bool:
    """Whether it can be the key of an object: Unicode without U+0000 (docs/format.md section 1)."""
    return isinstance(key, str) and "\0" not in key and isinstance(json_text(key), str)


class _Converter:
    """One configuration value on its way to JSON: bounded in depth and number, free of cycles."""

    def __init__(self) -> None:
        self._left = _MAX_VALUES
        self._around: set[int] = set()  # ids of the containers that the value at hand lies in

    def convert(self, value: Any) -> Json:
        self._left -= 1
        if value is None or isinstance(value, bool):
            return value
        if self._left < 0 or id(value) in self._around or len(self._around) > _MAX_DEPTH:
            return _opaque(value)
        scalar = self._scalar(value)
        if scalar is not None:
            return scalar
        self._around.add(id(value))
        try:
            return self._container(value)
        except Exception:  # noqa: BLE001  (whatever a foreign mapping raises while it is read)
            return _opaque(value)
        finally:
            self._around.discard(id(value))

    def _scalar(self, value: Any) -> Json:
        generic = getattr(sys.modules.get("numpy"), "generic", ())
        if isinstance(value, generic):
            value = value.item()
            if not isinstance(value, (bool, int, float, str)):
                return None
        if isinstance(value, enum.Enum):
            return self.convert(value.value)
        if isinstance(value, bool):
            return value
        if isinstance(value, (int, float)):
            return json_number(value)
        if isinstance(value, str):
            return json_text(str.__str__(value))  # a subclass may print something else
        if isinstance(value, pathlib.PurePath):
            return json_text(str(value))
        return None

    def _container(self, value: Any) -> Json:
        if isinstance(value, Mapping):
            return self._members(value)
        if isinstance(value, (list, tuple)):
            return [self.convert(item) for item in value]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value)]
            return self._members(
                {name: getattr(value, name) for name in names if hasattr(value, name)}
            )
        if isinstance(value, types.SimpleNamespace) or type(value).__name__ == "Namespace":
            return self._members(vars(value))
        return _opaque(value)

    def _members(self, value: Mapping[Any, Any]) -> Json:
        if not all(json_key(key) for key in value):
            return _opaque(value)
        return {str.__str__(key): self.convert(item) for key, item in value.items()}


def json_value(value: Any) -> Json:
    """A configuration value as records carry it (docs/format.md section 1).

    Scalars (NumPy's, too), lists, dicts with text keys, dataclasses, namespaces, enums and paths
    are converted; anything else, and what is nested in itself, becomes ``{"opaque":
    "module.Class"}``. Values are never called, printed or pickled.

    >>> json_value({"lr": 1e-3, "path": pathlib.Path("a/b"), "f": print})
    {'lr': 0.001, 'path': 'a/b', 'f': {'opaque': 'builtins.builtin_function_or_method'}}
    """
    return _Converter().convert(value)


def next_time(previous: str | None) -> str:
    """The time of a new record: now, or a millisecond after ``previous`` if that is later.

    RFC 3339, UTC, milliseconds: ``max(now, previous + 1 ms)`` (docs/format.md section 5).
    """
    now_ms = time.time_ns() // 1_000_000
    if previous is not None:
        # Not strptime: it holds a lock, and a signal handler may record in the middle of it.
        parsed = datetime.datetime.fromisoformat(previous)
        epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        now_ms = max(now_ms, (parsed - epoch) // datetime.timedelta(milliseconds=1) + 1)
    seconds, milliseconds = divmod(now_ms, 1000)
    moment = datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


def new_run_id() -> str:
    """A UUIDv7 (RFC 9562 section 5.7): 48 bits of milliseconds, then 74 random bits; lower case."""
    milliseconds = (time.time_ns() // 1_000_000) & (2**48 - 1)
    random = int.from_bytes(os.urandom(10))
    value = milliseconds << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64 | 0b10 << 62
    return str(uuid.UUID(int=value | (random & (2**62 - 1))))

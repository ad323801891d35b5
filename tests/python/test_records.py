"""Records as bytes: canonical JSON, values of a configuration, times, run ids."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import json
import math
import re
import time
import types
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlprov import _core, records
from mlprov.errors import EvidenceError

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def decode(value: Any) -> Any:
    """A value as any reader of the record sees it."""
    return _core.json_decode(records.canonical(value))


@given(JSON_VALUES)
@settings(deadline=None, max_examples=200)
def test_whatever_a_user_configures_becomes_json_that_every_reader_accepts(value: Any) -> None:
    converted = records.json_value(value)
    assert decode(converted) == converted


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (2**53 - 1, 2**53 - 1),
        (2**53, "9007199254740992"),
        (-(2**53), "-9007199254740992"),
        (2**64 - 1, "18446744073709551615"),
        (1e16, "10000000000000000"),
        (1e21, 1e21),
        (-0.0, 0),
        (1.0, 1),
        (5e-324, 5e-324),
    ],
)
def test_numbers_that_json_cannot_carry_become_text(value: float, expected: object) -> None:
    assert decode(records.json_number(value)) == expected


@pytest.mark.parametrize("value", [math.nan, 2**53, "\ud800", {"a": object()}])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(EvidenceError, match="canonical JSON"):
        records.canonical(value)


def test_members_are_sorted_by_utf16_units() -> None:
    # RFC 8785 section 3.2.3: U+1F600 (surrogates d83d de00) stands before U+FB33.
    assert (
        records.canonical({"\ufb33": 1, "\U0001f600": 2, "a": 3}).decode()
        == '{"a":3,"\U0001f600":2,"\ufb33":1}'
    )


@pytest.mark.parametrize(
    ("text", "raw"), [("\udcff", b"\xff"), ("a\udc80", b"a\x80"), ("\ud800", b"\xed\xa0\x80")]
)
def test_text_that_is_not_unicode_is_kept_as_bytes(text: str, raw: bytes) -> None:
    import base64

    assert records.json_text(text) == {"bytes": base64.b64encode(raw).decode()}


class Mode(str, enum.Enum):  # noqa: UP042  (str() of its members is not their value)
    FAST = "fast"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Half:
    given: int
    missing: int = dataclasses.field(init=False)


class Shouting(str):
    def __str__(self) -> str:
        raise AssertionError("values are never called")


class Broken(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(["mandatory"])

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        ((1, 2.5), [1, 2.5]),
        (Path("a/b"), "a/b"),
        (Mode.FAST, "fast"),
        (Level.HIGH, 3),
        ({Mode.FAST: 1}, {"fast": 1}),
        (Half(1), {"given": 1}),
        (argparse.Namespace(lr=0.1), {"lr": 0.1}),
        (types.SimpleNamespace(a=[1]), {"a": [1]}),
        (Shouting("x"), "x"),
        (b"bytes", {"opaque": "builtins.bytes"}),
        ({1, 2}, {"opaque": "builtins.set"}),
        ({1: "a"}, {"opaque": "builtins.dict"}),
        ({"\ud800": 1}, {"opaque": "builtins.dict"}),
        ({"a\0b": 1}, {"opaque": "builtins.dict"}),
        (Half, {"opaque": "builtins.type"}),
    ],
)
def test_configuration_values_are_converted_or_named_by_their_class(
    value: object, expected: object
) -> None:
    assert records.json_value(value) == expected
    assert decode(records.json_value(value)) == expected


def test_a_mapping_that_cannot_be_read_is_named_by_its_class() -> None:
    assert records.json_value({"a": Broken()}) == {"a": {"opaque": f"{__name__}.Broken"}}


def test_numpy_scalars_are_numbers_and_arrays_are_not() -> None:
    numpy = pytest.importorskip("numpy")
    value = {
        "lr": numpy.float32(0.5), "steps": numpy.int64(7), "on": numpy.bool_(True),
        "nan": numpy.float64("nan"),
        "array": numpy.zeros(2), "when": numpy.datetime64("2026-01-01"),
    }  # fmt: skip
    assert records.json_value(value) == {
        "lr": 0.5, "steps": 7, "on": True, "nan": "NaN", "array": {"opaque": "numpy.ndarray"},
        "when": {"opaque": "numpy.datetime64"},
    }  # fmt: skip


def test_a_value_that_contains_itself_ends() -> None:
    loop: list[Any] = [1]
    loop += [loop, loop]
    opaque = {"opaque": "builtins.list"}
    assert records.json_value(loop) == [1, opaque, opaque]


def test_a_value_that_is_shared_is_written_each_time() -> None:
    shared = {"a": 1}
    assert records.json_value([shared, shared]) == [shared, shared]


def test_a_small_value_that_unfolds_without_end_is_cut() -> None:
    bomb: list[Any] = ["x"]
    for _ in range(30):
        bomb = [bomb] * 10
    started = time.perf_counter()
    converted = records.json_value(bomb)
    assert time.perf_counter() - started < 10
    assert len(records.canonical(converted)) < 16 << 20


def test_nesting_stays_below_what_a_reader_allows() -> None:
    deep: Any = "end"
    for _ in range(1000):
        deep = {"a": deep}
    converted = decode({"config": records.json_value(deep)})
    assert "opaque" in json.dumps(converted)


# ---- times ----

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_times_grow_by_a_millisecond_at_least() -> None:
    moments = [records.next_time(None)]
    for _ in range(2000):
        moments.append(records.next_time(moments[-1]))
    assert all(TIME.fullmatch(moment) for moment in moments)
    assert moments == sorted(set(moments))


@pytest.mark.parametrize(
    ("previous", "expected"),
    [
        ("2099-12-31T23:59:59.999Z", "2100-01-01T00:00:00.000Z"),
        ("2096-02-28T23:59:59.999Z", "2096-02-29T00:00:00.000Z"),
        ("2099-01-01T00:00:00.000Z", "2099-01-01T00:00:00.001Z"),
    ],
)
def test_a_clock_that_was_set_back_is_overruled(previous: str, expected: str) -> None:
    assert records.next_time(previous) == expected


def test_the_time_is_now_where_nothing_stands_against_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_795_253_400_250_999_999)
    assert records.next_time(None) == "2026-11-21T09:30:00.250Z"
    assert records.next_time("2026-11-21T09:30:00.249Z") == "2026-11-21T09:30:00.250Z"


# ---- run ids ----


def test_run_ids_are_uuids_of_version_7_that_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_795_253_400_250
    ids = []
    for step in range(50):
        monkeypatch.setattr(time, "time_ns", lambda at=now + step: at * 1_000_000)
        ids.append(records.new_run_id())
    assert ids == sorted(set(ids))
    for step, text in enumerate(ids):
        parsed = uuid.UUID(text)
        assert (text, parsed.version, parsed.variant) == (text.lower(), 7, uuid.RFC_4122)
        assert parsed.int >> 80 == now + step


def test_run_ids_of_one_millisecond_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_795_253_400_250_000_000)
    assert len({records.new_run_id() for _ in range(1000)}) == 1000

"""Strict JSON and leaves files of the core."""

from __future__ import annotations

import json
import math
import random
import struct
from pathlib import Path

import pytest
from conftest import ROOT

from mlprov import _core
from mlprov.errors import EvidenceError

PROFILE = json.loads((ROOT / "tests" / "json_profile.json").read_text())


def is_accepted(text: bytes) -> bool:
    try:
        _core.json_decode(text)
    except EvidenceError as error:
        return error.status != "MALFORMED"
    return True


def test_the_json_test_suite_is_accepted_and_refused_as_our_profile_says(vectors: Path) -> None:
    files = sorted((vectors / "JSONTestSuite/test_parsing").glob("*.json"))
    assert len(files) > 300
    for file in files:
        if file.name.startswith("n_"):
            expected = False
        elif file.name.startswith("y_"):
            expected = file.name not in PROFILE["y_refused"]
        else:
            expected = file.name in PROFILE["i_accepted"]
        assert is_accepted(file.read_bytes()) == expected, file.name


def test_accepted_files_of_the_suite_have_the_value_that_python_reads(vectors: Path) -> None:
    for file in sorted((vectors / "JSONTestSuite/test_parsing").glob("y_*.json")):
        if file.name not in PROFILE["y_refused"]:
            text = file.read_bytes()
            assert _core.json_decode(text) == json.loads(text), file.name


def test_values_have_the_types_of_python() -> None:
    value = _core.json_decode(
        b'{"z":[],"a":{"":null},"t":true,"f":false,"i":-9007199254740991,"r":1.0,"s":"\\u00e9\\ud83d\\ude00"}'
    )
    assert value == {
        "z": [],
        "a": {"": None},
        "t": True,
        "f": False,
        "i": -(2**53) + 1,
        "r": 1.0,
        "s": "\u00e9\U0001f600",
    }
    assert [type(item) for item in value.values()] == [list, dict, bool, bool, int, float, str]
    assert list(value) == ["z", "a", "t", "f", "i", "r", "s"], "members keep their order"


def test_random_documents_come_back_as_they_were() -> None:
    generator = random.Random(7)

    def make(depth: int) -> object:
        kind = generator.randrange(8 if depth < 6 else 6)
        if kind < 2:
            return generator.choice([None, True, False, 0, -1, 2**53 - 1])
        if kind == 2:
            return generator.uniform(-1, 1) * 10.0 ** generator.randrange(-300, 300)
        if kind < 6:
            return "".join(
                chr(generator.choice([0, 9, 34, 92, 65, 0x7F, 0xE9, 0x20AC, 0x1F600]))
                for _ in range(5)
            )
        if kind == 6:
            return [make(depth + 1) for _ in range(generator.randrange(6))]
        return {f"k{number}": make(depth + 1) for number in range(generator.randrange(6))}

    for _ in range(300):
        value = make(0)
        for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
            assert _core.json_decode(text.encode()) == value


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(EvidenceError, match="empty"):
        _core.json_decode(b"")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"a":1,"a":2}', "duplicate|twice|unique"),
        (b'{"a\\u0000":1}', "NUL|U\\+0000"),
        (b'"a\0"', "NUL|0x00|control"),
        (b"9007199254740992", "integer|2\\^53|range"),
        (b"-9007199254740992", "integer|2\\^53|range"),
        (b"1e400", "range|finite|large|big"),
        (b'"\\ud800"', "surrogate"),
        (b"\xff", "UTF-8"),
        (b"\xef\xbb\xbf1", "byte.order|BOM"),
        (b"1 2", "column 3: something follows"),
        (b"NaN", "line 1"),
    ],
)
def test_what_the_profile_refuses_is_refused_with_its_place_and_rule(
    text: bytes, words: str
) -> None:
    with pytest.raises(EvidenceError, match=r"(?i)" + words) as seen:
        _core.json_decode(text)
    assert "line" in str(seen.value)


def test_depth_and_length_have_limits() -> None:
    nested = b"[" * 64 + b"]" * 64
    assert is_accepted(nested)
    assert not is_accepted(b"[" + nested + b"]")
    assert not is_accepted(b"[" * 100_000)
    assert not is_accepted(b'{"a":' * 100_000)
    deep = _core.json_decode(b"[" * 512 + b"]" * 512, max_depth=512)
    for _ in range(511):
        deep = deep[0]
    assert deep == []
    assert _core.json_decode(b"[1]", 3) == [1]
    with pytest.raises(EvidenceError, match="2"):
        _core.json_decode(b"[1]", 2)
    for limits in (
        {"max_depth": 0},
        {"max_depth": 513},
        {"max_depth": -1},
        {"max_length": 0},
        {"max_length": -5},
    ):
        with pytest.raises(ValueError):
            _core.json_decode(b"1", **limits)


def test_numbers_keep_every_bit() -> None:
    for number in (0.1, 5e-324, 1.7976931348623157e308, 2.2250738585072014e-308, math.pi):
        assert _core.json_decode(repr(number).encode()) == number
    assert math.copysign(1, _core.json_decode(b"-0.0")) == -1


# ---- leaves files ----


def crc32c(data: bytes) -> int:
    """RFC 3720 appendix B.4, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame(leaf: bytes) -> bytes:
    head = struct.pack(">I", len(leaf)) + leaf
    return head + struct.pack(">I", crc32c(head))


LEAVES = [b"", b"a", b'{"digest":"blake3:00"}', bytes(300), b"last"]


def test_a_leaves_file_is_what_the_format_says() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    encoded = _core.encode_leaves(iter(LEAVES))
    assert encoded == b"".join(frame(leaf) for leaf in LEAVES)
    assert _core.decode_leaves(encoded) == LEAVES
    assert _core.encode_leaves([]) == b""
    assert _core.decode_leaves(b"") == []


def test_every_cut_and_every_flipped_bit_of_a_leaves_file_is_noticed() -> None:
    encoded = _core.encode_leaves(LEAVES)
    whole = {len(_core.encode_leaves(LEAVES[:count])) for count in range(len(LEAVES) + 1)}
    for end in range(len(encoded)):
        if end not in whole:
            with pytest.raises(EvidenceError):
                _core.decode_leaves(encoded[:end])
    for position in range(len(encoded)):
        for bit in range(8):
            bent = bytearray(encoded)
            bent[position] ^= 1 << bit
            with pytest.raises(EvidenceError):
                _core.decode_leaves(bent)


def test_a_leaf_that_claims_more_than_the_limit_is_refused() -> None:
    with pytest.raises(EvidenceError):
        _core.decode_leaves(struct.pack(">I", 2**32 - 1) + bytes(100))
    assert _core.decode_leaves(_core.encode_leaves([bytes(1 << 24)])) == [bytes(1 << 24)]
    with pytest.raises(ValueError):
        _core.encode_leaves([bytes((1 << 24) + 1)])

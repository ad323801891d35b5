#!/usr/bin/env python3
"""The second opinion: verifies mlprov bundles and proof files, written from docs/format.md alone.

One file, Python 3.11 or newer, the standard library and two packages from PyPI: ``cryptography``
(Ed25519) and ``blake3``. It shares no code with mlprov, opens no socket, unpickles nothing, maps no
file into memory, signs nothing, and is plain rather than fast: it is also the slow reference that
mlprov's tests compare with. "Section" in the comments is a section of docs/format.md.

    mlprov_verify.py digits.mlprov --key owner.vkey --model model.safetensors

Exit code: 0 holds, 1 does not hold, 2 could not check (or wrong use).
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import dataclasses
import datetime
import functools
import hashlib
import itertools
import json
import math
import os
import re
import stat
import struct
import sys
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol, TypeAlias, TypeGuard

try:
    from blake3 import blake3
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError as missing:
    sys.stderr.write(
        f"mlprov_verify: cannot start: {missing}\n"
        "mlprov_verify: install what it needs with: pip install cryptography blake3\n"
    )
    raise SystemExit(2) from None

# Section 1, "Limits".
MAX_JSON = 16 * 1024 * 1024
MAX_SAFETENSORS_HEADER = 100_000_000
MAX_LEAF = 16 * 1024 * 1024
MAX_NOTE = 65_535
MAX_BUNDLE = 1024 * 1024 * 1024
MAX_ENTRIES = 60_000
MAX_DEPTH = 64
MAX_PATH = 64
MAX_ANCHOR = 65_536
# Section 10, "Model" and "Data".
MAX_DIMENSIONS = 64
MAX_NPY_DIMENSIONS = 32
MAX_NPY_HEADER = 10_000
MAX_INTEGER = 2**53 - 1
# Section 10, "Privacy": values of a function that are computed at most, for a bundle and for one R.
MAX_POINTS = 5_000_000
MAX_POINTS_OF_ONE = 1_000_000
# Section 6: C2SP signed-note asks for a limit; Go's implementation has 100 too.
MAX_SIGNATURES = 100
MAX_NAME = 255

BUNDLE_MAGIC = b"PK\x03\x04"
READ_SIZE = 1024 * 1024
DIGEST_BYTES = {"blake3": 32, "sha256": 32, "sha384": 48, "sha512": 64}
EMPTY_ROOT = hashlib.sha256(b"").digest()

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"
Buffer: TypeAlias = "bytes | memoryview"


class RefusedError(Exception):
    """The evidence breaks a rule: the check that reads it fails."""

    def __init__(self, detail: str, seen: object = None, expected: object = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.seen = None if seen is None else str(seen)
        self.expected = None if expected is None else str(expected)

    def within(self, what: str) -> RefusedError:
        """The same refusal, saying first what it is about."""
        return RefusedError(f"{what}: {self.detail}", self.seen, self.expected)


class UncheckableError(Exception):
    """Nothing is wrong that could be seen, but the check cannot be made: it is unchecked."""


# ---------------------------------------------------------------------------------------------
# Text: everything that is printed goes through here
# ---------------------------------------------------------------------------------------------

_SHOWN = 200


def printable(text: str, limit: int = _SHOWN) -> str:
    r"""Escape what a terminal could obey or hide: control, bidi and format characters, surrogates.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    shown = text[:limit]
    escaped = "".join(
        character
        if character == " " or (unicodedata.category(character)[0] not in "CZ")
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in shown
    )
    return escaped + ("…" if len(text) > limit else "")


# ---------------------------------------------------------------------------------------------
# JSON: the profile of section 1 and RFC 8785 (JCS)
# ---------------------------------------------------------------------------------------------

# A string with its quotes. What is left after their removal has the structure alone.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def strict_json(data: bytes, *, limit: int = MAX_JSON) -> Json:
    """Read one JSON text under the profile of section 1, JCS form not asked for.

    Args:
        data: the whole text, UTF-8.
        limit: bytes that it may have.

    Raises:
        RefusedError: it is no JSON, or the profile forbids it.
    """
    if len(data) > limit:
        raise RefusedError("JSON text is too long", f"{len(data)} bytes", f"at most {limit}")
    if b"\0" in data:
        raise RefusedError("JSON text contains a zero byte")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError(f"JSON text is not UTF-8 at byte {error.start}") from None
    _check_structure(text)
    try:
        value: Json = json.loads(
            text,
            object_pairs_hook=_object_from_pairs,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except ValueError as error:
        raise RefusedError(f"not JSON: {error}") from None
    if "\\u" in text:
        _refuse_lone_surrogates(value)
    return value


def _check_structure(text: str) -> None:
    """Bound the nesting before the parser recurses; no byte outside ASCII between the strings."""
    outside = _STRING.sub("", text)
    if '"' in outside:
        raise RefusedError("not JSON: a string does not end")
    if not outside.isascii():
        raise RefusedError("not JSON: a byte outside ASCII between the values")
    depth = 0
    for match in _BRACKET.finditer(outside):
        depth += 1 if match.group() in "[{" else -1
        if depth > MAX_DEPTH:
            raise RefusedError("JSON is nested too deeply", expected=f"at most {MAX_DEPTH} levels")


def _object_from_pairs(pairs: list[tuple[str, Any]]) -> JsonObject:
    result: JsonObject = dict(pairs)
    if len(result) != len(pairs):
        # Each name is looked up once: an object may have a million.
        last = {name: place for place, (name, _) in enumerate(pairs)}
        twice = next(name for place, (name, _) in enumerate(pairs) if last[name] != place)
        raise RefusedError(f"JSON object has the key {printable(twice)!r} twice")
    if any("\0" in name for name in result):
        raise RefusedError("JSON key contains U+0000")
    return result


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
        raise RefusedError("JSON integer is outside ±(2^53 - 1)", printable(text, 40))
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise RefusedError("JSON number is not finite as binary64", printable(text, 40))
    return value


def _constant(text: str) -> NoReturn:
    raise RefusedError(f"not JSON: {text}")


def _refuse_lone_surrogates(value: Json) -> None:
    pending: list[Json] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending.extend(item.keys())
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
        elif isinstance(item, str):
            _utf(item, "utf-8")


def _utf(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        raise RefusedError(f"text has a lone surrogate: {printable(text)}") from None


def number_text(value: float) -> str:
    """ECMAScript's shortest form of a finite binary64 (RFC 8785 section 3.2.2.3).

    >>> [number_text(x) for x in (0.1, -0.0, 1e21, 1e-7, 123456789012345680000.0)]
    ['0.1', '0', '1e+21', '1e-7', '123456789012345680000']
    """
    if not math.isfinite(value):
        raise RefusedError(f"{value} is no JSON number")
    if value == 0:
        return "0"
    # repr gives the shortest digits that round-trip, as ECMAScript's Number::toString demands.
    _, digit_tuple, exponent = Decimal(repr(abs(value))).normalize().as_tuple()
    digits = "".join(map(str, digit_tuple))
    count = len(digits)
    point = count + int(exponent)
    if count <= point <= 21:
        text = digits + "0" * (point - count)
    elif 0 < point <= 21:
        text = digits[:point] + "." + digits[point:]
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        mantissa = digits[0] + ("." + digits[1:] if count > 1 else "")
        text = f"{mantissa}e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return ("-" if value < 0 else "") + text


def canonical_json(value: Json) -> bytes:
    """The JCS form (RFC 8785) of a value, UTF-8.

    Raises:
        RefusedError: the value has no form under the profile of section 1.
    """
    parts: list[str] = []
    _write_canonical(value, parts, 0)
    return _utf("".join(parts), "utf-8")


def _write_canonical(value: Json, parts: list[str], depth: int) -> None:
    if depth > MAX_DEPTH or (depth == MAX_DEPTH and isinstance(value, list | dict)):
        raise RefusedError("value is nested too deeply", expected=f"at most {MAX_DEPTH} levels")
    if value is None or isinstance(value, bool):
        parts.append({None: "null", True: "true", False: "false"}[value])
    elif isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise RefusedError("integer is outside ±(2^53 - 1)")
        parts.append(str(value))
    elif isinstance(value, float):
        parts.append(number_text(value))
    elif isinstance(value, str):
        parts.append(json.dumps(value, ensure_ascii=False))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            parts.append("," if index else "[")
            _write_canonical(item, parts, depth + 1)
        parts.append("]" if value else "[]")
    else:
        # RFC 8785 section 3.2.3: members in the order of the names' UTF-16 code units.
        for index, name in enumerate(sorted(value, key=lambda name: _utf(name, "utf-16-be"))):
            parts.append(("," if index else "{") + json.dumps(name, ensure_ascii=False) + ":")
            _write_canonical(value[name], parts, depth + 1)
        parts.append("}" if value else "{}")


def read_canonical(data: Buffer) -> Json:
    """Read a text that must be JCS: strict JSON that equals the JCS form of itself."""
    exact = bytes(data)
    value = strict_json(exact)
    if canonical_json(value) != exact:
        raise RefusedError("JSON text is not in its canonical form (RFC 8785)")
    return value


def read_canonical_object(data: Buffer, what: str) -> JsonObject:
    """Read a JCS object; the message of a refusal names ``what``."""
    try:
        value = read_canonical(data)
    except RefusedError as error:
        raise error.within(what) from None
    return _as_object(value, what)


def _as_object(value: Json, what: str) -> JsonObject:
    if not isinstance(value, dict):
        raise RefusedError(f"{what} is not a JSON object")
    return value


def _member(value: JsonObject, name: str, what: str) -> Json:
    if name not in value:
        raise RefusedError(f"{what} has no member {name!r}")
    return value[name]


def _text(value: JsonObject, name: str, what: str) -> str:
    member = _member(value, name, what)
    if not isinstance(member, str):
        raise RefusedError(f"{name!r} of {what} is not text")
    return member


def _whole(value: JsonObject, name: str, what: str) -> int:
    """A size or index: an integer from 0 to 2^53 - 1 (section 1)."""
    member = _member(value, name, what)
    if not _is_whole(member):
        raise RefusedError(f"{name!r} of {what} is not an integer of at least 0")
    return member


def _is_whole(value: Json) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _same(one: Json, other: Json) -> bool:
    """Equality of JSON values; Python alone takes true for 1."""
    return canonical_json(one) == canonical_json(other)


def _exactly(value: JsonObject, names: Iterable[str], what: str) -> None:
    expected = sorted(names)
    if sorted(value) != expected:
        seen = ", ".join(printable(name, 40) for name in sorted(value)[:20])
        raise RefusedError(f"{what} has other members", seen, ", ".join(expected))


# ---------------------------------------------------------------------------------------------
# Small texts: base64, hex, digests, times, run ids (section 1)
# ---------------------------------------------------------------------------------------------

_TIME = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})\.[0-9]{3}Z")
_RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_HEX32 = re.compile(r"[0-9a-f]{64}")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,15}")


def decode_base64(text: str, what: str) -> bytes:
    """RFC 4648 section 4 with padding; every other spelling of the same bytes is refused."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise RefusedError(f"{what} is not base64") from None
    if base64.b64encode(data).decode("ascii") != text:
        raise RefusedError(f"{what} is not the canonical base64 of its bytes")
    return data


def check_time(text: str, what: str) -> None:
    """Refuse a text that is not RFC 3339 in UTC with three digits of a second."""
    match = _TIME.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        year, month, day, hour, minute, second = map(int, match.groups())
        datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.UTC)
    except ValueError:
        raise RefusedError(f"time of {what} is malformed", printable(text, 40)) from None


def _decimal(text: str, what: str) -> int:
    if not _DECIMAL.fullmatch(text) or int(text) > MAX_INTEGER:
        raise RefusedError(f"{what} is not a decimal size", printable(text, 40))
    return int(text)


class TreeReference(NamedTuple):
    """A tree by root and size together (section 1)."""

    root: bytes
    size: int

    def __str__(self) -> str:
        return f"sha256:{self.root.hex()}, {self.size} leaves"


def tree_reference(value: Json) -> TreeReference | None:
    """The tree that a JSON value names, or None where it is no tree reference."""
    if not isinstance(value, dict) or set(value) != {"root", "size"}:
        return None
    root, size = value["root"], value["size"]
    if not isinstance(root, str) or not _is_whole(size) or not root.startswith("sha256:"):
        return None
    hexadecimal = root.removeprefix("sha256:")
    if not _HEX32.fullmatch(hexadecimal):
        return None
    return TreeReference(bytes.fromhex(hexadecimal), size)


def tree_member(record: JsonObject, name: str) -> TreeReference | None:
    """A member that section 5 calls a tree: None where it is null or absent.

    Raises:
        RefusedError: it is anything but null and a tree reference.
    """
    value = record.get(name)
    reference = tree_reference(value)
    if reference is None and value is not None:
        raise RefusedError(
            f"{name!r} of record {record['seq']} is no tree reference", printable(str(value))
        )
    return reference


# ---------------------------------------------------------------------------------------------
# Digests
# ---------------------------------------------------------------------------------------------


class Hash(Protocol):
    """The part of hashlib's shape that is used here."""

    def update(self, data: Any, /) -> object:
        """Take in more bytes."""

    def hexdigest(self) -> str:
        """The digest of what was taken in, lower-case hex."""


def new_hash(algorithm: str) -> Hash:
    """A hash object for one of the four algorithms of section 1."""
    if algorithm == "blake3":
        return blake3()
    if algorithm not in DIGEST_BYTES:
        raise RefusedError("unknown algorithm", printable(algorithm, 40), ", ".join(DIGEST_BYTES))
    return hashlib.new(algorithm)


def digest_text(data: Buffer, algorithm: str = "blake3") -> str:
    """The text form of a digest, ``<algorithm>:<hex>`` (section 1)."""
    state = new_hash(algorithm)
    state.update(data)
    return f"{algorithm}:{state.hexdigest()}"


# ---------------------------------------------------------------------------------------------
# Trees (section 3, RFC 6962 section 2.1): slow and plain
# ---------------------------------------------------------------------------------------------


def leaf_hash(leaf: Buffer) -> bytes:
    """SHA-256(0x00 || leaf)."""
    state = hashlib.sha256(b"\x00")
    state.update(leaf)
    return state.digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def split_point(size: int) -> int:
    """The largest power of two below ``size``, for sizes above 1."""
    return int(1 << (size - 1).bit_length() - 1)


def merkle_root(leaves: Sequence[Buffer]) -> bytes:
    """MTH of RFC 6962 section 2.1, as it is written there."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    k = split_point(len(leaves))
    return node_hash(merkle_root(leaves[:k]), merkle_root(leaves[k:]))


def _path_length(index: int, size: int) -> int:
    length = 0
    while size > 1:
        k = split_point(size)
        index, size = (index, k) if index < k else (index - k, size - k)
        length += 1
    return length


def _climb(index: int, size: int, start: bytes, path: Sequence[bytes]) -> bytes:
    if size == 1:
        return start
    k = split_point(size)
    if index < k:
        return node_hash(_climb(index, k, start, path[:-1]), path[-1])
    return node_hash(path[-1], _climb(index - k, size - k, start, path[:-1]))


def verify_inclusion_hash(
    hashed: bytes, index: int, size: int, root: bytes, path: Sequence[bytes]
) -> bool:
    """Whether the leaf with this leaf hash is leaf ``index`` of the tree (root, size)."""
    if not 0 <= index < size or any(len(item) != 32 for item in (hashed, root, *path)):
        return False
    if len(path) != _path_length(index, size):
        return False
    return _climb(index, size, hashed, path) == root


def verify_inclusion(
    leaf: Buffer, index: int, size: int, root: bytes, path: Sequence[bytes]
) -> bool:
    """Whether ``leaf`` is leaf ``index`` of the tree (root, size): bounds first, exact length."""
    return verify_inclusion_hash(leaf_hash(leaf), index, size, root, path)


class Frontier:
    """The full subtrees of a growing tree: its root after any leaf, in little memory."""

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[tuple[int, bytes]] = []

    def append(self, leaf: Buffer) -> None:
        """Add one leaf."""
        count, root = 1, leaf_hash(leaf)
        while self._subtrees and self._subtrees[-1][0] == count:
            root = node_hash(self._subtrees.pop()[1], root)
            count *= 2
        self._subtrees.append((count, root))
        self.size += 1

    def root(self) -> bytes:
        """The root over the leaves added so far."""
        if not self._subtrees:
            return EMPTY_ROOT
        root = self._subtrees[-1][1]
        for _, left in reversed(self._subtrees[:-1]):
            root = node_hash(left, root)
        return root

    def reference(self) -> TreeReference:
        """Root and size together."""
        return TreeReference(self.root(), self.size)


# ---------------------------------------------------------------------------------------------
# Leaves files (section 3)
# ---------------------------------------------------------------------------------------------


def _crc32c_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC32C = _crc32c_table()


def crc32c(data: Buffer) -> int:
    """CRC-32C (Castagnoli), reflected.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC32C[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def read_leaves(data: Buffer) -> Iterator[bytes]:
    """The leaves of a leaves file, in order.

    Raises:
        RefusedError: lengths or checksums are wrong, or something is left over.
    """
    view = memoryview(data)
    position = index = 0
    while position < len(view):
        if len(view) - position < 8:
            raise RefusedError(f"leaves file ends within leaf {index}")
        (length,) = struct.unpack_from(">I", view, position)
        if length > MAX_LEAF:
            raise RefusedError(f"leaf {index} is too long", f"{length} bytes", f"<= {MAX_LEAF}")
        end = position + 4 + length
        if len(view) < end + 4:
            raise RefusedError(f"leaves file ends within leaf {index}")
        (expected,) = struct.unpack_from(">I", view, end)
        seen = crc32c(view[position:end])
        if seen != expected:
            raise RefusedError(f"checksum of leaf {index}", f"{seen:08x}", f"{expected:08x}")
        yield bytes(view[position + 4 : end])
        position, index = end + 4, index + 1


# ---------------------------------------------------------------------------------------------
# Keys, signatures, notes, checkpoints (section 6)
# ---------------------------------------------------------------------------------------------

_FIELD_PRIME = 2**255 - 19
_GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


def verify_ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """RFC 8032 section 5.1.7 without the cofactor, S < L, canonical public key."""
    if len(public) != 32 or len(signature) != 64:
        return False
    sign, y = divmod(int.from_bytes(public, "little"), 2**255)
    # RFC 8032 section 5.1.3: y below p; x = 0 (that is y = 1 or -1) has no negative twin.
    if y >= _FIELD_PRIME or (sign and y in (1, _FIELD_PRIME - 1)):
        return False
    if int.from_bytes(signature[32:], "little") >= _GROUP_ORDER:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclasses.dataclass(frozen=True)
class Key:
    """A public key with its name: what a vkey says."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || 0x0A || 0x01 || public key)[:4]."""
        return hashlib.sha256(self.name.encode() + b"\n\x01" + self.public).digest()[:4]

    def __str__(self) -> str:
        encoded = base64.b64encode(b"\x01" + self.public).decode("ascii")
        return f"{self.name}+{self.key_id.hex()}+{encoded}"


def owner_name(public: bytes) -> str:
    """The name that an owner key must have: computed from its public key."""
    return f"mlprov/owner/{hashlib.sha256(public).hexdigest()[:16]}"


def _check_owner_name(key: Key) -> None:
    expected = owner_name(key.public)
    if key.name != expected:
        raise RefusedError("name of the owner key", printable(key.name), expected)


# What no key name has: control characters (C0, DEL, C1) and the character that ends a name.
_NO_NAME = re.compile(r"[\x00-\x1f\x7f-\x9f+]")


def _check_key_name(name: str) -> None:
    if _NO_NAME.search(name) or any(character.isspace() for character in name):
        raise RefusedError("malformed key name", printable(name))
    length = len(_utf(name, "utf-8"))
    if not 1 <= length <= MAX_NAME:
        raise RefusedError("key name is empty or too long", length, f"1 to {MAX_NAME} bytes")


def parse_vkey(text: str) -> Key:
    """Read a key text, ``<name>+<key id>+<base64>``.

    Raises:
        RefusedError: it is malformed, of another kind than Ed25519, or its id is wrong.
    """
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise RefusedError("key text is not <name>+<key id>+<base64>", printable(text))
    name, key_id, encoded = parts
    _check_key_name(name)
    material = decode_base64(encoded, "key")
    if len(material) != 33 or material[0] != 1:
        raise RefusedError(f"key {printable(name)} is not an Ed25519 key")
    key = Key(name, material[1:])
    if key.key_id.hex() != key_id:
        raise RefusedError(f"id of key {printable(name)}", printable(key_id), key.key_id.hex())
    return key


class Signature(NamedTuple):
    """One signature line of a note."""

    name: str
    key_id: bytes
    signature: bytes


class Note(NamedTuple):
    """A signed note: its text, final newline included, and its signature lines."""

    text: bytes
    signatures: list[Signature]


def parse_note(data: Buffer) -> Note:
    """Read a C2SP signed note; verifies nothing yet."""
    exact = bytes(data)
    if len(exact) > MAX_NOTE:
        raise RefusedError("note is too long", f"{len(exact)} bytes", f"at most {MAX_NOTE}")
    try:
        text = exact.decode("utf-8")
    except UnicodeDecodeError:
        raise RefusedError("note is not UTF-8") from None
    if any(character < " " and character != "\n" for character in text):
        raise RefusedError("note contains a control character")
    body, blank, tail = text.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise RefusedError("note has no signature lines")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise RefusedError("note has too many signatures", len(lines), f"<= {MAX_SIGNATURES}")
    return Note((body + "\n").encode(), [_parse_signature(line) for line in lines])


def _parse_signature(line: str) -> Signature:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "\u2014":
        raise RefusedError("malformed signature line of a note", printable(line))
    _check_key_name(parts[1])
    material = decode_base64(parts[2], "signature of a note")
    if len(material) <= 4:
        raise RefusedError("signature of a note is too short")
    return Signature(parts[1], material[:4], material[4:])


def open_note(data: Buffer, key: Key) -> bytes:
    """The text of a note, once its one signature by ``key`` has been verified."""
    note = parse_note(data)
    own = [s for s in note.signatures if s.name == key.name and s.key_id == key.key_id]
    if len(own) != 1:
        names = ", ".join(printable(s.name, 80) for s in note.signatures[:5])
        raise RefusedError(
            f"note has {len(own)} signatures by its key", f"signed by {names}", f"one by {key}"
        )
    if not verify_ed25519(key.public, note.text, own[0].signature):
        raise RefusedError(f"signature of {printable(key.name)} over a note is wrong")
    return note.text


class Checkpoint(NamedTuple):
    """The text of a C2SP checkpoint."""

    origin: str
    size: int
    root: bytes


def parse_checkpoint(text: bytes) -> Checkpoint:
    """Read the text of a checkpoint: three lines, no extension lines."""
    lines = text.decode("utf-8").split("\n")
    if len(lines) != 4 or lines[3] or not lines[0]:
        raise RefusedError("checkpoint is not origin, size and root, a line each")
    root = decode_base64(lines[2], "root of a checkpoint")
    if len(root) != 32:
        raise RefusedError("root of a checkpoint has not 32 bytes")
    return Checkpoint(lines[0], _decimal(lines[1], "size of a checkpoint"), root)


def open_checkpoint(data: Buffer, key: Key) -> Checkpoint:
    """The checkpoint in a note that ``key`` signed; its origin must be the key's name."""
    checkpoint = parse_checkpoint(open_note(data, key))
    if checkpoint.origin != key.name:
        raise RefusedError("origin of a checkpoint", printable(checkpoint.origin), key.name)
    return checkpoint


class Statement(NamedTuple):
    """What the owner's statement binds to the run."""

    run: str
    run_key: Key
    log_key: Key


STATEMENT_TYPE = b"mlprov/run-key@v1\n"
MANIFEST_TYPE = b"mlprov/manifest@v1\n"
_STATEMENT_MEMBERS = ("log_key", "log_origin", "run", "run_key", "time", "version")


def open_statement(note: bytes, owner: Key) -> Statement:
    """Verify the owner's statement and read it.

    Raises:
        RefusedError: the signature or one of the statement's rules does not hold.
        UncheckableError: the statement is of a later version.
    """
    what = "owner's statement"
    _check_owner_name(owner)
    text = open_note(note, owner)
    if not text.startswith(STATEMENT_TYPE):
        raise RefusedError(f"{what} has another type line", printable(repr(text[:40])))
    statement = read_canonical_object(text[len(STATEMENT_TYPE) : -1], what)
    check_version(statement, what)
    _exactly(statement, _STATEMENT_MEMBERS, what)
    check_time(_text(statement, "time", what), what)
    run = _run_id(statement, what)
    run_key = parse_vkey(_text(statement, "run_key", what))
    log_key = parse_vkey(_text(statement, "log_key", what))
    if run_key.name != f"mlprov/run/{run}":
        raise RefusedError("name of the run key", printable(run_key.name), f"mlprov/run/{run}")
    origin = _text(statement, "log_origin", what)
    if log_key.name != origin:
        raise RefusedError("name of the log key", printable(log_key.name), printable(origin))
    return Statement(run, run_key, log_key)


def _run_id(value: JsonObject, what: str) -> str:
    run = _text(value, "run", what)
    if not _RUN_ID.fullmatch(run):
        raise RefusedError(f"run id of {what} is not a lower-case UUIDv7", printable(run))
    return run


def check_version(value: JsonObject, what: str) -> None:
    """Version 1 passes, a later one cannot be checked, anything else is refused."""
    version = _member(value, "version", what)
    if not _is_whole(version) or version == 0:
        raise RefusedError(f"version of {what} is not an integer of at least 1")
    if version != 1:
        raise UncheckableError(f"{what} is of version {version}; this verifier knows version 1")


# ---------------------------------------------------------------------------------------------
# Ethereum (section 14): Keccak-256, RLP, tries, signatures
# ---------------------------------------------------------------------------------------------

_LANE = 2**64 - 1
_RATE = 136  # bytes of Keccak-256: 200 less twice 32


def _keccak_constants() -> tuple[list[int], list[int]]:
    """Of iota and rho: FIPS 202 sections 3.2.5 (a shift register) and 3.2.2."""
    register, iota = 1, []
    for _ in range(24):
        constant = 0
        for power in range(7):
            if register & 1:
                constant |= 1 << (2**power - 1)
            register <<= 1
            if register & 0x100:
                register ^= 0x171
        iota.append(constant)
    rho, x, y = [0] * 25, 1, 0
    for step in range(24):
        rho[x + 5 * y] = (step + 1) * (step + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5
    return iota, rho


_IOTA, _RHO = _keccak_constants()


def _rotated(lane: int, bits: int) -> int:
    return (lane << bits | lane >> (64 - bits)) & _LANE


def _keccak_rounds(a: list[int]) -> list[int]:
    """Keccak-f[1600]; lane (x, y) is a[x + 5y]."""
    for constant in _IOTA:
        c = [a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20] for x in range(5)]
        d = [c[x - 1] ^ _rotated(c[(x + 1) % 5], 1) for x in range(5)]
        b = [0] * 25
        for at, lane in enumerate(a):
            x, y = at % 5, at // 5
            b[y + 5 * ((2 * x + 3 * y) % 5)] = _rotated(lane ^ d[x], _RHO[at])
        a = [
            b[at] ^ (~b[at - at % 5 + (at + 1) % 5] & b[at - at % 5 + (at + 2) % 5])
            for at in range(25)
        ]
        a[0] ^= constant
    return a


def keccak256(data: bytes) -> bytes:
    """Keccak-256 with the padding of the submission to NIST: 0x01 … 0x80."""
    padded = bytearray(data) + b"\x01" + bytes(-(len(data) + 1) % _RATE)
    padded[-1] |= 0x80
    state = [0] * 25
    for begin in range(0, len(padded), _RATE):
        for at, (lane,) in enumerate(struct.iter_unpack("<Q", padded[begin : begin + _RATE])):
            state[at] ^= lane
        state = _keccak_rounds(state)
    return struct.pack("<4Q", *(lane & _LANE for lane in state[:4]))


class RlpItem(NamedTuple):
    """One item of RLP (Yellow Paper, appendix B): what it holds, and itself with its prefix."""

    is_list: bool
    payload: bytes
    encoded: bytes


def _rlp_first(data: bytes) -> RlpItem:
    """The item that stands first, in the only encoding that it has."""
    if not data:
        raise RefusedError("RLP ends where an item is expected")
    prefix = data[0]
    if prefix < 0x80:
        return RlpItem(False, data[:1], data[:1])
    is_list = prefix >= 0xC0
    length, begin = prefix - (0xC0 if is_list else 0x80), 1
    if length > 55:
        begin = 1 + length - 55
        digits = data[1:begin]
        if len(digits) < begin - 1 or digits[0] == 0:
            raise RefusedError("RLP has a length that is cut off or begins with 0")
        length = int.from_bytes(digits, "big")
        if length <= 55:
            raise RefusedError("RLP has a short length in the long form")
    payload = data[begin : begin + length]
    if len(payload) != length:
        raise RefusedError("RLP has an item that is longer than what holds it")
    if not is_list and length == 1 and payload[0] < 0x80:
        raise RefusedError("RLP has a small byte with a prefix")
    return RlpItem(is_list, payload, data[: begin + length])


def rlp_item(data: bytes) -> RlpItem:
    """Data that are one item and nothing else."""
    item = _rlp_first(data)
    if len(item.encoded) != len(data):
        raise RefusedError("RLP goes on after its item")
    return item


def rlp_items(item: RlpItem, what: str) -> list[RlpItem]:
    """The items of a list; what is inside of them is not looked at."""
    if not item.is_list:
        raise RefusedError(f"{what} is no list")
    items, rest = [], item.payload
    while rest:
        items.append(_rlp_first(rest))
        rest = rest[len(items[-1].encoded) :]
    return items


def _check_rlp_inside(item: RlpItem, depth: int = 1) -> None:
    if depth > MAX_DEPTH:
        raise RefusedError(f"RLP has lists more than {MAX_DEPTH} deep")
    for inner in rlp_items(item, "an item"):
        if inner.is_list:
            _check_rlp_inside(inner, depth + 1)


def _rlp_string(item: RlpItem, length: int, what: str) -> bytes:
    if item.is_list or len(item.payload) != length:
        raise RefusedError(f"{what} is no string of {length} bytes")
    return item.payload


def _rlp_number(item: RlpItem, what: str, bits: int = 64) -> int:
    if item.is_list or item.payload[:1] == b"\0" or len(item.payload) > bits // 8:
        raise RefusedError(f"{what} is no number below 2^{bits}, or has leading zeros")
    return int.from_bytes(item.payload, "big")


def _rlp_prefix(base: int, length: int) -> bytes:
    if length <= 55:
        return bytes([base + length])
    digits = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([base + 55 + len(digits)]) + digits


def _rlp_of_number(value: int) -> bytes:
    digits = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return digits if 0 < value < 0x80 else _rlp_prefix(0x80, len(digits)) + digits


def _nibbles(data: bytes) -> list[int]:
    return [half for byte in data for half in divmod(byte, 16)]


def _trie_node(node: bytes) -> list[RlpItem]:
    items = rlp_items(rlp_item(node), "a node of a trie")
    if len(items) not in (2, 17):
        raise RefusedError("a node of a trie has neither 2 nor 17 items")
    return items


def _trie_path(item: RlpItem) -> tuple[list[int], bool]:
    """The nibbles of a hex-prefix path, and whether it is a leaf's (appendix C)."""
    if item.is_list or not item.payload:
        raise RefusedError("a node of a trie has no path")
    first, *rest = _nibbles(item.payload)
    is_leaf, is_odd = first in (2, 3), first in (1, 3)
    if first > 3 or (not is_odd and rest[0] != 0):
        raise RefusedError("the path of a node has unknown flags")
    path = rest if is_odd else rest[1:]
    if not is_leaf and not path:
        raise RefusedError("an extension of a trie has no path")
    return path, is_leaf


class _TrieProof:
    """The nodes of a proof that are left, each to be named by the one before it."""

    def __init__(self, nodes: Sequence[bytes]) -> None:
        self.left = list(nodes)

    def take(self, name: bytes, *, is_root: bool = False) -> bytes:
        """The next node, whose hash must be the name."""
        if not self.left:
            raise RefusedError("a trie proof ends before its value")
        node = self.left.pop(0)
        if keccak256(node) != name:
            raise RefusedError("a node of a trie proof is not the one named")
        if len(node) < 32 and not is_root:
            raise RefusedError("a short node of a trie proof does not stand in its parent")
        return node

    def enter(self, child: RlpItem) -> bytes:
        """The node that an item of its parent is or names."""
        if not child.is_list:
            return self.take(_rlp_string(child, 32, "a child in a trie"))
        if len(child.encoded) > 31:
            raise RefusedError("a long node of a trie stands in its parent")
        return child.encoded


def _trie_step(node: bytes, wanted: list[int]) -> tuple[RlpItem, list[int], bool]:
    """What stands in a node on the way: a child or, at the end, the value; what is left of it."""
    items = _trie_node(node)
    if len(items) == 17:
        return (items[wanted[0]], wanted[1:], False) if wanted else (items[16], [], True)
    path, is_leaf = _trie_path(items[0])
    if wanted[: len(path)] != path or (is_leaf and len(path) != len(wanted)):
        raise RefusedError("a trie proof shows that nothing is under the key")
    return items[1], wanted[len(path) :], is_leaf


def trie_value(root: bytes, key: bytes, nodes: Sequence[bytes]) -> bytes:
    """The value under a key, by the nodes from the root on (appendix D)."""
    proof = _TrieProof(nodes)
    item, wanted, is_end = _trie_step(proof.take(root, is_root=True), _nibbles(key))
    while not is_end:
        item, wanted, is_end = _trie_step(proof.enter(item), wanted)
    if item.is_list or not item.payload:
        raise RefusedError("a trie has no value under the key, or a list")
    if proof.left:
        raise RefusedError("a trie proof goes on after its value")
    return item.payload


# secp256k1: SEC 2 section 2.4.1.
_FIELD = 2**256 - 2**32 - 977
_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_BASE = (
    0x79BE667E_F9DCBBAC_55A06295_CE870B07_029BFCDB_2DCE28D9_59F2815B_16F81798,
    0x483ADA77_26A3C465_5DA4FBFC_0E1108A8_FD17B448_A6855419_9C47D08F_FB10D4B8,
)
_Point: TypeAlias = "tuple[int, int] | None"


def _points_sum(one: _Point, other: _Point) -> _Point:
    """Of two points of the curve; None is the point at infinity (SEC 1 section 2.2.1)."""
    if one is None or other is None:
        return other if one is None else one
    (x, y), (u, v) = one, other
    if x == u and (y + v) % _FIELD == 0:
        return None
    if one == other:
        slope = 3 * x * x * pow(2 * y, -1, _FIELD)
    else:
        slope = (v - y) * pow(u - x, -1, _FIELD)
    at = (slope * slope - x - u) % _FIELD
    return at, (slope * (x - at) - y) % _FIELD


def _point_times(point: _Point, factor: int) -> _Point:
    total: _Point = None
    for digit in bin(factor)[2:]:
        total = _points_sum(total, total)
        if digit == "1":
            total = _points_sum(total, point)
    return total


def recover_sender(digest: bytes, parity: int, r: int, s: int) -> bytes:
    """The account whose signature it is: SEC 1 section 4.1.6, Yellow Paper appendix F."""
    if parity > 1 or not 0 < r < _ORDER or not 0 < s <= _ORDER // 2:
        raise RefusedError("the signature of a transaction is not canonical")
    square = (r**3 + 7) % _FIELD
    y = pow(square, (_FIELD + 1) // 4, _FIELD)
    if y * y % _FIELD != square:
        raise RefusedError("the signature of a transaction is nobody's")
    point = (r, y if y % 2 == parity else _FIELD - y)
    inverse = pow(r, -1, _ORDER)
    key = _points_sum(
        _point_times(point, s * inverse % _ORDER),
        _point_times(_BASE, -int.from_bytes(digest, "big") * inverse % _ORDER),
    )
    if key is None:
        raise RefusedError("the signature of a transaction is nobody's")
    return keccak256(key[0].to_bytes(32, "big") + key[1].to_bytes(32, "big"))[12:]


def address_text(address: bytes) -> str:
    """In the case of EIP-55."""
    digits = address.hex()
    nibbles = keccak256(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if nibble >= "8" else digit
        for digit, nibble in zip(digits, nibbles, strict=False)
    )


class BlockHeader(NamedTuple):
    """What an anchor needs of a block's header."""

    block: bytes
    transactions_root: bytes
    receipts_root: bytes
    number: int
    time: int


def read_header(raw: bytes) -> BlockHeader:
    """A block's header (Yellow Paper section 4.3; section 14, "Forms")."""
    what = "the block's header"
    fields = rlp_items(rlp_item(raw), what)
    if not 15 <= len(fields) <= 64:
        raise RefusedError(f"{what} has {len(fields)} items", len(fields), "15 to 64")
    lengths = {0: 32, 1: 32, 2: 20, 3: 32, 4: 32, 5: 32, 6: 256, 13: 32, 14: 8}
    for place, length in lengths.items():
        _rlp_string(fields[place], length, f"item {place} of {what}")
    for place in range(7, 12):
        _rlp_number(fields[place], f"item {place} of {what}", 64 if place in (8, 11) else 256)
    if fields[12].is_list or len(fields[12].payload) > 32:
        raise RefusedError(f"item 12 of {what} is no string of at most 32 bytes")
    number, time = (_rlp_number(fields[place], what) for place in (8, 11))
    return BlockHeader(keccak256(raw), fields[4].payload, fields[5].payload, number, time)


def _typed_list(raw: bytes, count: int, what: str) -> list[RlpItem]:
    """The items behind the type byte of EIP-1559 (EIP-2718)."""
    if raw[:1] != b"\x02":
        raise RefusedError(f"{what} is not of type 2 (EIP-1559)")
    items = rlp_items(rlp_item(raw[1:]), what)
    if len(items) != count:
        raise RefusedError(f"{what} has {len(items)} items", len(items), count)
    return items


class Call(NamedTuple):
    """What an anchor needs of a transaction."""

    chain_id: int
    to: bytes
    sender: bytes


def read_transaction(raw: bytes) -> Call:
    """A signed transaction of EIP-1559 that calls a contract."""
    what = "the transaction"
    items = _typed_list(raw, 12, what)
    for place in range(5):
        _rlp_number(items[place], f"item {place} of {what}")
    to = _rlp_string(items[5], 20, f"the receiver of {what}")
    _rlp_number(items[6], f"the value of {what}", 256)
    if items[7].is_list:
        raise RefusedError(f"the data of {what} is a list")
    _check_rlp_inside(items[8])
    parity = _rlp_number(items[9], f"the y parity of {what}")
    r, s = (_rlp_number(item, f"the signature of {what}", 256) for item in items[10:])
    signed = b"".join(item.encoded for item in items[:9])
    digest = keccak256(b"\x02" + _rlp_prefix(0xC0, len(signed)) + signed)
    return Call(_rlp_number(items[0], what), to, recover_sender(digest, parity, r, s))


def read_event(raw: bytes, place: int) -> tuple[bytes, list[bytes]]:
    """Address and topics of a log in the receipt of a transaction that did not fail."""
    what = "the receipt"
    status, gas, bloom, logs = _typed_list(raw, 4, what)
    _rlp_number(gas, f"gas used of {what}")
    _rlp_string(bloom, 256, f"the bloom of {what}")
    if _rlp_number(status, f"the status of {what}") != 1:
        raise RefusedError(f"{what} does not say that the transaction succeeded")
    listed = rlp_items(logs, f"logs of {what}")
    if place >= len(listed):
        raise RefusedError(f"{what} has no log at place {place}", len(listed))
    log = rlp_items(listed[place], "the log")
    if len(log) != 3 or log[2].is_list:
        raise RefusedError("the log is not address, topics and data")
    topics = [_rlp_string(topic, 32, "a topic") for topic in rlp_items(log[1], "topics")]
    if len(topics) > 4:
        raise RefusedError("the log has more than 4 topics")
    return _rlp_string(log[0], 20, "the address of the log"), topics


# ---------------------------------------------------------------------------------------------
# Anchors (sections 8, 14, 15)
# ---------------------------------------------------------------------------------------------

_ANCHOR_NAME = re.compile(r"anchors/((ethereum|ipfs)-([0-9]+)(?:-([0-9]+))?)\.json")
_ANCHOR_STATES = "anchors/states.json"
_ETHEREUM_MEMBERS = (
    *("block", "chain_id", "contract", "digest", "event", "format", "header", "index", "log"),
    *("receipt_proof", "sender", "transaction", "transaction_proof", "version"),
)
_ANCHORED = "Anchored(address,bytes32,uint256)"
_HASH_STORED = "HashStored(bytes32,string,uint256)"


class AnchorName(NamedTuple):
    """Kind, log size and n (1 where the name has none), which is the order of the checks."""

    kind: str
    size: int
    number: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.size}" + (f"-{self.number}" if self.number > 1 else "")


def anchor_names(entries: Iterable[str]) -> list[AnchorName]:
    """The anchors among a bundle's entries, in order."""
    matches = filter(None, map(_ANCHOR_NAME.fullmatch, entries))
    return sorted(AnchorName(match[2], int(match[3]), int(match[4] or 1)) for match in matches)


class BlockAnchor(NamedTuple):
    """What the evidence of an Ethereum anchor shows."""

    chain_id: int
    header: BlockHeader

    def __str__(self) -> str:
        header = self.header
        block = f"block {header.number} of chain {self.chain_id}, 0x{header.block.hex()}"
        return f"{block}, whose time is {block_time(header.time)}"


def block_time(seconds: int) -> str:
    """A block's time in the form of section 1."""
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return f"second {seconds} since 1970"
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _read_anchor(data: Buffer, what: str) -> JsonObject:
    anchor = read_canonical_object(data, what)
    if _is_whole(version := anchor.get("version")) and version > 1:
        raise UncheckableError(f"{what} is of version {version}; this verifier knows version 1")
    return anchor


def _hash32(value: JsonObject, name: str, prefix: str) -> bytes:
    text = _text(value, name, "the anchor")
    if not re.fullmatch(prefix + "[0-9a-f]{64}", text):
        raise RefusedError(f"{name!r} of the anchor is no {prefix} and 64 digits", printable(text))
    return bytes.fromhex(text[len(prefix) :])


def _nodes(value: JsonObject, name: str) -> list[bytes]:
    listed = value[name]
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise RefusedError(f"{name!r} of the anchor is no list of text")
    return [decode_base64(str(item), name) for item in listed]


def check_ethereum_anchor(data: Buffer, note: Buffer) -> BlockAnchor:
    """Section 14, "To check", for the checkpoint whose note is given."""
    what = "the anchor"
    anchor = _read_anchor(data, what)
    if len(data) > MAX_ANCHOR:
        raise RefusedError(f"{what} is too long", len(data), f"at most {MAX_ANCHOR}")
    if anchor.get("format") != "mlprov-ethereum-anchor":
        raise RefusedError(f"{what} is not of format mlprov-ethereum-anchor")
    check_version(anchor, what)
    _exactly(anchor, _ETHEREUM_MEMBERS, what)
    digest = hashlib.sha256(parse_note(note).text).digest()
    if (seen := _hash32(anchor, "digest", "sha256:")) != digest:
        raise RefusedError(f"{what} is of another checkpoint", seen.hex(), digest.hex())
    raw = decode_base64(_text(anchor, "header", what), "header")
    header = read_header(raw)
    if _hash32(anchor, "block", "0x") != header.block:
        raise RefusedError("the header does not have the block's hash", header.block.hex())
    key = _rlp_of_number(_whole(anchor, "index", what))
    transaction = trie_value(header.transactions_root, key, _nodes(anchor, "transaction_proof"))
    receipt = trie_value(header.receipts_root, key, _nodes(anchor, "receipt_proof"))
    call = read_transaction(transaction)
    address, topics = read_event(receipt, _whole(anchor, "log", what))
    _check_claims(anchor, call, _hash32(anchor, "transaction", "0x") == keccak256(transaction))
    expected = {
        "AnchorStore": [keccak256(_ANCHORED.encode()), bytes(12) + call.sender, digest],
        "MLProvenance": [keccak256(_HASH_STORED.encode()), digest],
    }.get(_text(anchor, "event", what))
    if expected is None:
        raise RefusedError("'event' of the anchor", printable(str(anchor["event"])))
    if address != call.to or topics != expected:
        raise RefusedError("the log is another event than the anchor says")
    return BlockAnchor(call.chain_id, header)


def _check_claims(anchor: JsonObject, call: Call, is_transaction: bool) -> None:
    what = "the anchor"
    if not is_transaction:
        raise RefusedError("another transaction stands at its place in the block")
    for name, seen in (
        ("chain_id", str(call.chain_id)),
        ("contract", address_text(call.to)),
        ("sender", address_text(call.sender)),
    ):
        if _text(anchor, name, what) != seen:
            raise RefusedError(f"{name!r} of {what}", seen, printable(str(anchor[name])))


def check_ipfs_anchor(data: Buffer, note: Buffer) -> str:
    """Section 15; the CID."""
    anchor = _read_anchor(data, "the anchor")
    check_version(anchor, "the anchor")
    _exactly(anchor, ("cid", "kind", "version"), "the anchor")
    block = bytes.fromhex("01551220") + hashlib.sha256(note).digest()
    cid = "b" + base64.b32encode(block).decode().rstrip("=").lower()
    if anchor["kind"] != "ipfs" or anchor["cid"] != cid:
        raise RefusedError("the anchor is not that of the note", printable(str(anchor)), cid)
    return cid


class TrustedBlock(NamedTuple):
    """A block that the caller trusts: the hash, and where he gave it the header."""

    chain_id: int
    block: bytes
    header: bytes | None = None

    @property
    def number(self) -> int | None:
        """The height, which a header alone says."""
        return None if self.header is None else read_header(self.header).number


def judge_block(chain_id: int, number: int, block: bytes, trusted: Sequence[TrustedBlock]) -> str:
    """Section 10, "Anchors": whether the caller trusts a block that evidence names."""
    shown = f"block {number} of chain {chain_id}, 0x{block.hex()}"
    same = [one for one in trusted if one.block == block]
    for one in same:
        if one.chain_id != chain_id:
            raise RefusedError(
                "the block is trusted as one of another chain", chain_id, one.chain_id
            )
        if one.number not in (None, number):
            raise RefusedError("the block has another height", number, one.number)
    for one in trusted:
        if (one.chain_id, one.number) == (chain_id, number) and one.block != block:
            raise RefusedError(
                "another block is trusted at this height", block.hex(), one.block.hex()
            )
    if same:
        return f"{shown} is trusted"
    raise UncheckableError(f"{shown}: whether it is one of that chain is the caller's to say")


def read_not_before(value: Json) -> tuple[int, int, bytes]:
    """The block that run.start names (section 5): chain id, number, hash."""
    named = _as_object(value, "not_before of run.start")
    if set(named) == {"unavailable"} and isinstance(named["unavailable"], str):
        raise UncheckableError(f"run.start names no block: {printable(named['unavailable'])}")
    _exactly(named, ("block", "chain_id", "number"), "not_before of run.start")
    numbers = []
    for name in ("chain_id", "number"):
        text = _text(named, name, "not_before")
        if not re.fullmatch("0|[1-9][0-9]{0,19}", text) or int(text) >= 2**64:
            raise RefusedError(f"{name!r} of not_before", printable(text), "a number below 2^64")
        numbers.append(int(text))
    return numbers[0], numbers[1], _hash32(named, "block", "0x")


# ---------------------------------------------------------------------------------------------
# Archive (section 8, "Archive bytes")
# ---------------------------------------------------------------------------------------------

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_DATE = 0x0021  # 1980-01-01
_MODE = 0o100600 << 16


def archive_chunks(entries: dict[str, Buffer]) -> Iterator[Buffer]:
    """The bytes of the archive of these entries, piece by piece."""
    offset = 0
    directory = []
    for name in sorted(entries, key=lambda name: name.encode("ascii")):
        content, raw = entries[name], name.encode("ascii")
        common = (zlib.crc32(content), len(content), len(content), len(raw))
        directory.append(
            _CENTRAL.pack(
                b"PK\x01\x02", 0x0314, 20, 0, 0, 0, _DATE, *common, 0, 0, 0, 0, _MODE, offset
            )
            + raw
        )
        yield _LOCAL.pack(BUNDLE_MAGIC, 20, 0, 0, 0, _DATE, *common, 0) + raw
        yield content
        offset += _LOCAL.size + len(raw) + len(content)
    yield from directory
    count, size = len(directory), sum(map(len, directory))
    yield _END.pack(b"PK\x05\x06", 0, 0, count, count, size, offset, 0)


def read_archive(data: Buffer) -> dict[str, Buffer]:
    """The entries of an archive that is byte for byte the one section 8 makes of them.

    The local headers say where the entries are; then the whole archive is made again from the
    entries and compared, so that nothing else in the file needs to be trusted or even read.
    """
    if len(data) > MAX_BUNDLE:
        raise RefusedError("bundle is too large", f"{len(data)} bytes", f"at most {MAX_BUNDLE}")
    view = memoryview(data)
    entries: dict[str, Buffer] = {}
    ends: list[tuple[int, str]] = []
    position = 0
    while view[position : position + 4] == BUNDLE_MAGIC:
        if len(view) - position < _LOCAL.size:
            raise RefusedError("archive ends within a local header")
        fields = _LOCAL.unpack_from(view, position)
        size, name_length = fields[7], fields[9]
        start = position + _LOCAL.size + name_length
        position = start + size
        if position > len(view):
            raise RefusedError("archive ends within an entry")
        name = bytes(view[start - name_length : start]).decode("latin-1")
        if name in entries or not name.isascii():
            raise RefusedError("archive has an entry twice or a name outside ASCII", name)
        entries[name] = view[start:position]
        if len(entries) > MAX_ENTRIES:
            raise RefusedError("archive has too many entries", expected=f"at most {MAX_ENTRIES}")
        ends.append((position, name))
    _compare_chunks(view, archive_chunks(entries), ends)
    return entries


def _compare_chunks(
    view: memoryview, chunks: Iterator[Buffer], ends: list[tuple[int, str]]
) -> None:
    """``ends``: where each entry ends, and its name."""
    position = 0
    for chunk in chunks:
        end = position + len(chunk)
        seen = view[position:end]
        if seen != chunk:
            pairs = enumerate(zip(seen, chunk, strict=False))
            first = next((at for at, (one, other) in pairs if one != other), len(seen))
            where = next(
                (printable(name) for at, name in ends if position + first < at), "directory"
            )
            raise RefusedError(
                f"archive differs at byte {position + first} ({where}) from the one made of its "
                "entries"
            )
        position = end
    if position != len(view):
        raise RefusedError("archive goes on after its end", f"{len(view)} bytes", position)


# ---------------------------------------------------------------------------------------------
# Files: read by position from one descriptor, compared before and after, never mapped
# ---------------------------------------------------------------------------------------------


def _cannot_read(path: object, error: OSError | ValueError) -> UncheckableError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return UncheckableError(f"cannot read {printable(str(path))}: {reason}")


class Source:
    """A regular file open for reading.

    Sizes come from the descriptor; a file that shrinks gives short reads, never a signal; a file
    that changes while it is read is noticed by :meth:`unchanged`.
    """

    def __init__(self, path: Path, *, follow: bool = True) -> None:
        self.path = path
        # Without O_NONBLOCK a FIFO would hold the verifier until somebody writes to it.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        try:
            self._descriptor = os.open(path, flags)
        except (OSError, ValueError) as error:
            raise _cannot_read(path, error) from None
        self._before = os.fstat(self._descriptor)
        if not stat.S_ISREG(self._before.st_mode):
            self.close()
            raise UncheckableError(f"{printable(str(path))} is not a regular file")
        self.size = self._before.st_size

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``."""
        parts = []
        while length:
            try:
                part = os.pread(self._descriptor, min(length, READ_SIZE), offset)
            except OSError as error:
                raise _cannot_read(self.path, error) from None
            if not part:
                raise UncheckableError(f"{printable(str(self.path))} ends sooner than it should")
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return b"".join(parts)

    def chunks(self, offset: int, length: int) -> Iterator[bytes]:
        """The bytes of a range, a piece at a time."""
        while length:
            part = self.read_at(offset, min(length, READ_SIZE))
            yield part
            offset, length = offset + len(part), length - len(part)

    def digests(self, offset: int, length: int, algorithms: Sequence[str]) -> list[str]:
        """Hex digests of a range by several algorithms, from one read."""
        states = [new_hash(algorithm) for algorithm in algorithms]
        for part in self.chunks(offset, length):
            for state in states:
                state.update(part)
        return [state.hexdigest() for state in states]

    def unchanged(self) -> None:
        """Raise UncheckableError where the file is no longer the one that was opened."""
        now = os.fstat(self._descriptor)
        for field in ("st_size", "st_mtime_ns", "st_ctime_ns"):
            if getattr(now, field) != getattr(self._before, field):
                raise UncheckableError(f"{printable(str(self.path))} changed while it was read")


def read_whole(path: Path, limit: int) -> bytes:
    """The bytes of a file of at most ``limit`` bytes."""
    with Source(path) as source:
        if source.size > limit:
            raise UncheckableError(f"{printable(str(path))} is larger than {limit} bytes")
        data = source.read_at(0, source.size)
        source.unchanged()
    return data


def walk_files(root: Path, *, follow: bool) -> dict[str, Path]:
    """All regular files below a directory: relative path with ``/`` → path.

    Where ``follow`` is false (data sets), folders called .git and .mlprov are left out.

    Raises:
        UncheckableError: something is neither file nor directory, or a name is no UTF-8; where
            ``follow`` is false, also for a symbolic link.
    """
    found: dict[str, Path] = {}
    pending = [root]
    try:
        while pending:
            for entry in sorted(os.scandir(pending.pop()), key=lambda entry: entry.name):
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    if follow or entry.name not in (".git", ".mlprov"):
                        pending.append(path)
                elif entry.is_file(follow_symlinks=follow):
                    found[_relative(path, root)] = path
                else:
                    raise UncheckableError(
                        f"{printable(entry.path)} is a link or a special file, not a file"
                    )
    except OSError as error:
        raise _cannot_read(error.filename, error) from None
    return found


def _relative(path: Path, root: Path) -> str:
    relative = path.relative_to(root).as_posix()
    try:
        relative.encode("utf-8")
    except UnicodeEncodeError:
        raise UncheckableError(f"name of {printable(str(path))} is not UTF-8") from None
    return relative


# ---------------------------------------------------------------------------------------------
# Tensors in files: safetensors (section 10, "Model") and .npy
# ---------------------------------------------------------------------------------------------

# Section 2: the element types that are not an own name, with their bits.
_NAMES_BY_BITS = {
    4: "F4",
    6: "F6_E2M3 F6_E3M2",
    8: "BOOL I8 U8 F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ",
    16: "I16 U16 F16 BF16",
    32: "I32 U32 F32",
    64: "I64 U64 F64 C64",
}
SAFETENSORS_BITS = {name: bits for bits, names in _NAMES_BY_BITS.items() for name in names.split()}


class FileTensor(NamedTuple):
    """A tensor in a file: where its bytes are."""

    source: Source
    dtype: str
    shape: list[int]
    offset: int
    length: int

    def digest(self, algorithm: str) -> str:
        """The text digest of its bytes."""
        digest = self.source.digests(self.offset, self.length, [algorithm])[0]
        self.source.unchanged()
        return f"{algorithm}:{digest}"

    def leaf(self, name: str, algorithm: str) -> JsonObject:
        """Its tensor leaf (section 4) under a name."""
        return {
            "digest": self.digest(algorithm),
            "dtype": self.dtype,
            "len": self.length,
            "name": name,
            "shape": list(self.shape),
        }


def read_safetensors(source: Source) -> dict[str, FileTensor]:
    """The tensors of a safetensors file by name; no data is read.

    Raises:
        RefusedError: it is not a safetensors file as section 10 defines one.
    """
    if source.size < 8:
        raise RefusedError("file is too short for safetensors")
    (length,) = struct.unpack("<Q", source.read_at(0, 8))
    if length > min(MAX_SAFETENSORS_HEADER, source.size - 8):
        raise RefusedError("header of the safetensors file is too long", length)
    header = _as_object(
        strict_json(source.read_at(8, length), limit=MAX_SAFETENSORS_HEADER), "safetensors header"
    )
    metadata = _as_object(header.pop("__metadata__", {}), "__metadata__")
    if not all(isinstance(value, str) for value in metadata.values()):
        raise RefusedError("__metadata__ of the safetensors file is not all text")
    start = 8 + length
    tensors = {name: _safetensor(source, name, header[name], start) for name in header}
    position = start
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.offset, tensor.length)):
        if tensor.offset != position:
            raise RefusedError("tensors of the safetensors file have gaps or overlap")
        position += tensor.length
    if position != source.size:
        raise RefusedError("safetensors file is longer or shorter than its tensors")
    return tensors


def _safetensor(source: Source, name: str, value: Json, start: int) -> FileTensor:
    what = f"tensor {printable(name)}"
    entry = _as_object(value, what)
    _exactly(entry, ("data_offsets", "dtype", "shape"), what)
    dtype, shape, offsets = _text(entry, "dtype", what), entry["shape"], entry["data_offsets"]
    if dtype not in SAFETENSORS_BITS:
        raise RefusedError(f"element type of {what}", printable(dtype, 40))
    dimensions, (begin, end) = _wholes(shape, what), _pair(_wholes(offsets, what), what)
    # From left to right, so that a later 0 does not hide a product that is too large.
    products = itertools.accumulate(dimensions, lambda product, length: product * length)
    if len(dimensions) > MAX_DIMENSIONS or any(product >= 2**64 for product in products):
        raise RefusedError(f"shape of {what} has too many dimensions or elements")
    bits = math.prod(dimensions) * SAFETENSORS_BITS[dtype]
    if begin > end or (end - begin) * 8 != bits:
        raise RefusedError(f"range of {what} does not fit its shape")
    return FileTensor(source, dtype, dimensions, start + begin, end - begin)


def _wholes(value: Json, what: str) -> list[int]:
    if not isinstance(value, list) or not all(_is_whole(item) for item in value):
        raise RefusedError(f"{what}: not a list of sizes")
    return [item for item in value if _is_whole(item)]


def _pair(value: list[int], what: str) -> tuple[int, int]:
    if len(value) != 2:
        raise RefusedError(f"{what}: not a pair of offsets")
    return value[0], value[1]


# Section 10, "Data": the header of a .npy file, in the one form that NumPy writes. Types: those
# without byte order, numbers, text, times.
_NPY_TYPE = (
    rb"(\|)([biu])(1)|(\|)([SV])([1-9][0-9]{0,8})|([<>])([iu])([248])|([<>])(f)([248])"
    rb"|([<>])(c)(8|16)|([<>])(U)([1-9][0-9]{0,8})"
    rb"|([<>])([mM])(8)(\[(?:[2-9]|[1-9][0-9]{1,8})?(?:[YMWDhms]|[munpfa]s)\])?"
)
_NPY_SIZE = rb"(?:0|[1-9][0-9]{0,15})"
_NPY_HEADER = re.compile(
    rb"\{'descr': '(?:" + _NPY_TYPE + rb")', 'fortran_order': (?P<fortran>True|False), 'shape': "
    rb"\((?P<shape>|" + _NPY_SIZE + rb",|" + _NPY_SIZE + rb"(?:, " + _NPY_SIZE + rb")+)\), \} *\n"
)
NPY_MAGIC = b"\x93NUMPY"
_NPY_VERSIONS = (b"\x01\x00", b"\x02\x00", b"\x03\x00")


class Rows(NamedTuple):
    """An array as samples along its first dimension."""

    source: Source
    dtype: str
    shape: list[int]
    row_length: int
    row: Callable[[int], bytes]


def read_npy(source: Source) -> Rows:
    """Read the header of a .npy file.

    Raises:
        UncheckableError: it is not one, or of a form that has no canonical bytes here.
    """
    what = printable(str(source.path))
    fixed = source.read_at(0, min(12, source.size))
    if fixed[:6] != NPY_MAGIC or len(fixed) < 12 or fixed[6:8] not in _NPY_VERSIONS:
        raise UncheckableError(f"{what} is not a .npy file")
    wide = fixed[6] > 1
    start = 12 if wide else 10
    (length,) = struct.unpack_from("<I" if wide else "<H", fixed, 8)
    if length > MAX_NPY_HEADER or start + length > source.size:
        raise UncheckableError(f"header of {what} is too long")
    match = _NPY_HEADER.fullmatch(source.read_at(start, length))
    if match is None:
        raise UncheckableError(f"{what}: an array of another form")
    *described, fortran, dimensions = match.groups()
    order, kind, width, *unit = (part.decode() for part in described if part is not None)
    dtype, item, swap = _npy_type(kind, int(width), "".join(unit))
    shape = [int(part) for part in dimensions.split(b",") if part]
    # A dimension of 0 does not hide the others: no array is so large.
    if len(shape) > MAX_NPY_DIMENSIONS or math.prod(n or 1 for n in shape) * item >= 2**63:
        raise UncheckableError(f"{what} has a shape that no array has")
    if math.prod(shape) * item != source.size - start - length:
        raise UncheckableError(f"{what} does not fit its shape")
    if not shape:
        raise UncheckableError("an array without dimensions has no samples")
    fetch = _fetch_rows(source, start + length, shape, item, columns_first=fortran == b"True")
    unit_length = swap if order == ">" else 1

    def row(index: int) -> bytes:
        return _little_endian(fetch(index), unit_length, boolean=kind == "b")

    return Rows(source, dtype, shape, item * math.prod(shape[1:]), row)


def _npy_type(kind: str, width: int, unit: str) -> tuple[str, int, int]:
    """Name, bytes an element, bytes of the unit that a big-endian array has the other way round."""
    if kind in "Mm":
        name = "DATETIME64" if kind == "M" else "TIMEDELTA64"
        return f"{name}{unit or '[generic]'}", 8, 8
    if kind in "SV":
        return f"{kind}{width}", width, 1
    if kind == "U":
        return f"U{width}_UCS4", 4 * width, 4
    name = "BOOL" if kind == "b" else f"{kind.upper()}{8 * width}"
    return name, width, width // 2 if kind == "c" else width


def _fetch_rows(
    source: Source, start: int, shape: list[int], item: int, *, columns_first: bool
) -> Callable[[int], bytes]:
    count = math.prod(shape[1:])
    if not columns_first or len(shape) == 1:
        return lambda index: source.read_at(start + index * count * item, count * item)
    if count * shape[0] * item > MAX_BUNDLE:
        raise UncheckableError("an array in Fortran order above 1 GiB")
    whole = source.read_at(start, count * shape[0] * item)
    strides = list(itertools.accumulate(shape[:-1], lambda a, b: a * b, initial=1))
    steps = [
        sum(i * stride for i, stride in zip(where, strides[1:], strict=True))
        for where in itertools.product(*map(range, shape[1:]))
    ]
    return lambda index: b"".join(
        whole[(index + step) * item : (index + step + 1) * item] for step in steps
    )


_BOOLEAN = bytes([0]) + bytes([1]) * 255


def _little_endian(row: bytes, unit: int, *, boolean: bool) -> bytes:
    if boolean:
        return row.translate(_BOOLEAN)
    if unit <= 1:
        return row
    swapped = bytearray(len(row))
    for byte in range(unit):
        swapped[byte::unit] = row[unit - 1 - byte :: unit]
    return bytes(swapped)


def safetensor_rows(tensor: FileTensor) -> Rows:
    """A tensor of a safetensors file as samples."""
    if not tensor.shape:
        raise UncheckableError("a tensor without dimensions has no samples")
    count = tensor.shape[0]
    if count and tensor.length % count:
        raise UncheckableError("samples that are not whole bytes")
    length = tensor.length // count if count else 0
    source, start = tensor.source, tensor.offset
    return Rows(
        source,
        tensor.dtype,
        tensor.shape,
        length,
        lambda index: source.read_at(start + index * length, length),
    )


# ---------------------------------------------------------------------------------------------
# Verdicts (section 10)
# ---------------------------------------------------------------------------------------------

HOLDS, FAILS, UNCHECKED = "holds", "fails", "unchecked"
EXIT_CODES = {"holds": 0, "does not hold": 1, "could not check": 2}


@dataclasses.dataclass
class Check:
    """One check: its state, what was seen and expected, and a line of detail."""

    name: str
    state: str
    seen: str | None = None
    expected: str | None = None
    detail: str = ""


@dataclasses.dataclass
class Request:
    """What the caller asks: paths, names and whose key he trusts."""

    keys: list[Key] = dataclasses.field(default_factory=list)
    allow_unpinned: bool = False
    model: Path | None = None
    data: dict[str, Path] = dataclasses.field(default_factory=dict)
    tensors: list[str] = dataclasses.field(default_factory=list)
    epoch: int | None = None
    step: int | None = None
    blocks: list[TrustedBlock] = dataclasses.field(default_factory=list)

    @property
    def moment(self) -> tuple[str, int] | None:
        """What names the weights that are meant: ``epoch`` or ``step``, and its number."""
        if self.step is not None:
            return "step", self.step
        return None if self.epoch is None else ("epoch", self.epoch)


class Verdict:
    """The checks made so far, and the result that they add up to.

    Where there was nothing to check, ``reason`` says why and there are no checks.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.checks: list[Check] = []
        self.required: list[str] = []
        self.requested: list[str] = []
        self.reason = ""
        self.excused: set[str] = {"signer"} if request.allow_unpinned else set()

    def state(self, name: str) -> str:
        """The state of an earlier check; unchecked where there was none."""
        return next((check.state for check in self.checks if check.name == name), UNCHECKED)

    def run(self, name: str, needs: Sequence[str], check: Callable[[], str]) -> None:
        """Make one check: ``check`` returns a detail, or raises what it found."""
        lacking = [need for need in needs if self.state(need) != HOLDS]
        try:
            if lacking:
                raise UncheckableError(f"needs {lacking[0]}, which does not hold")
            self.checks.append(Check(name, HOLDS, detail=check()))
        except RefusedError as error:
            self.checks.append(Check(name, FAILS, error.seen, error.expected, error.detail))
        except UncheckableError as error:
            self.checks.append(Check(name, UNCHECKED, detail=str(error)))

    @property
    def result(self) -> str:
        """Section 10's result: one of the keys of EXIT_CODES."""
        states = {check.name: check.state for check in self.checks}
        if FAILS in states.values():
            return "does not hold"
        for name in (*self.required, *self.requested):
            state = states.get(name, UNCHECKED)
            if state != HOLDS and not (state == UNCHECKED and name in self.excused):
                return "could not check"
        return "holds" if self.required else "could not check"


def _check_signer(owner: Key, request: Request) -> str:
    name = printable(owner.name)
    if not request.keys:
        raise UncheckableError(
            f"{name} signed; no key is pinned (--key gives one, --allow-unpinned does without)"
        )
    if owner.public not in {key.public for key in request.keys}:
        expected = ", ".join(printable(str(key)) for key in request.keys[:5])
        if len(request.keys) > 5:
            expected += f" and {len(request.keys) - 5} more"
        raise RefusedError("signed by a key that was not given", printable(str(owner)), expected)
    return name


# Section 10, "log": what a log of the owner's own does not say.
_OWN_LOG = "the owner's own log, its name his claim; it proves no time and that no other was shown"


def _claimed_times() -> str:
    raise UncheckableError("times are claimed by the writer; no anchor bounds them")


# ---------------------------------------------------------------------------------------------
# Bundles
# ---------------------------------------------------------------------------------------------

_ENTRY_NAME = re.compile(
    r"SPEC\.md|manifest\.json|manifest\.sig|run\.jsonl"
    r"|keys/(?:owner|run|log)\.vkey"
    r"|heads/(?:0|[1-9][0-9]{0,15})\.note"
    r"|log/(?:0|[1-9][0-9]{0,15})/(?:checkpoint|(?:0|[1-9][0-9]{0,15})\.proof)"
    r"|trees/[0-9a-f]{64}\.leaves"
    r"|anchors/(?:states|(?:ethereum|ipfs)-(?:0|[1-9][0-9]{0,15})(?:-(?:[2-9]|[1-9][0-9]{1,2}))?)\.json"
)
_REQUIRED_ENTRIES = (
    *("SPEC.md", "manifest.json", "manifest.sig", "run.jsonl"),
    *("keys/owner.vkey", "keys/run.vkey", "keys/log.vkey"),
)
_MANIFEST_MEMBERS = (
    *("entries", "format", "open", "previous", "revision", "run", "spec", "version"),
)
_KEPT_TYPES = {
    *("run.start", "data", "model", "epoch", "step", "batches", "checkpoint", "ranks", "resume"),
    "run.end",
}
_TRAINING_STATE = ("optimizer", "buffers", "ema", "scheduler", "scaler")
_WITH_WEIGHTS = ("model", "epoch", "step", "checkpoint", "resume")
_WITH_RANKS = ("run.start", "resume", "ranks")


class BundleVerifier:
    """The checks of a bundle, in the order of section 10."""

    def __init__(self, data: bytes, request: Request) -> None:
        self.verdict = Verdict(request)
        self._request = request
        self._data = data
        self._entries: dict[str, Buffer] = {}
        self._manifest: JsonObject = {}
        self._records: list[JsonObject] = []
        self._record_count = 0
        self._has_gap = False
        self._roots: dict[int, bytes] = {}
        self._cited: set[TreeReference] = set()
        self._reach: dict[int, int] = {}  # log size: the largest head that this checkpoint has
        self._bounds: list[tuple[int, BlockAnchor]] = []

    def verify(self) -> Verdict:
        """Make every check."""
        verdict, request = self.verdict, self._request
        verdict.run("archive", [], self._check_archive)
        verdict.run("manifest", ["archive"], self._check_manifest)
        # Of a later version nothing but the archive is known (section 10).
        known = ["manifest"] if verdict.state("manifest") == UNCHECKED else []
        verdict.run("signature", ["archive", *known], self._check_signature)
        verdict.run("signer", ["signature"], lambda: _check_signer(self._owner, request))
        verdict.run("owner", ["manifest", "signature"], self._check_owner)
        verdict.run("records", ["manifest"], self._check_records)
        verdict.run("heads", ["owner", "records"], self._check_heads)
        verdict.run("log", ["heads"], self._check_log)
        verdict.run("trees", ["records"], self._check_trees)
        verdict.required = [check.name for check in verdict.checks]
        if self._manifest.get("open") is True:
            verdict.excused.add("log")
        verdict.run("complete", ["heads"], self._check_complete)
        if verdict.state("records") == HOLDS and any(map(_is_private, self._records)):
            verdict.run("privacy", ["heads"], lambda: _check_privacy(self._records))
        self._run_anchors()
        self._run_requested()
        verdict.run("time", [], self._check_time)
        if request.blocks:
            verdict.requested.append("time")
        return verdict

    def _run_anchors(self) -> None:
        # In an open bundle heads may wait for the log; the others are in it.
        open_log = self._reach and self.verdict.state("log") == UNCHECKED
        for name in anchor_names(self._entries):
            found: list[BlockAnchor] = []
            check = functools.partial(self._check_anchor, name, found)
            self.verdict.run(f"anchor:{name}", ["heads" if open_log else "log"], check)
            if name.kind == "ethereum":
                check = functools.partial(self._check_block, name, found)
                self.verdict.run(f"block:{name}", [f"anchor:{name}"], check)

        has_records = self.verdict.state("records") == HOLDS
        if has_records and self._records[0].get("not_before") is not None:
            self.verdict.run("not_before", ["heads"], self._check_not_before)

    def _check_not_before(self) -> str:
        named = read_not_before(self._records[0]["not_before"])
        return f"no head was signed before {judge_block(*named, self._request.blocks)}"

    def _run_requested(self) -> None:
        verdict, request = self.verdict, self._request
        before = len(verdict.checks)
        model = request.model
        if model is not None:
            verdict.run("model", ["heads", "trees"], lambda: self._check_model(model))
        for role, path in request.data.items():
            check = functools.partial(self._check_data, role, path)
            verdict.run(f"data:{role}", ["heads"], check)
        for name in request.tensors:
            check = functools.partial(self._check_tensor, name)
            verdict.run(f"tensor:{name}", ["heads", "trees"], check)
        verdict.requested = [check.name for check in verdict.checks[before:]]

    # -- archive, manifest, signature, owner

    def _check_archive(self) -> str:
        self._entries = read_archive(self._data)
        detail = f"{len(self._entries)} entries, {len(self._data)} bytes"
        if self._is_of_later_version():
            return detail  # its names are not known here
        for name in self._entries:
            if not _ENTRY_NAME.fullmatch(name):
                raise RefusedError("entry with a name that no bundle has", printable(name))
        for name in _REQUIRED_ENTRIES:
            if name not in self._entries:
                raise RefusedError(f"entry {name} is missing")
        return detail

    def _is_of_later_version(self) -> bool:
        try:
            manifest = read_canonical_object(self._entries.get("manifest.json", b""), "manifest")
        except RefusedError:
            return False
        version = manifest.get("version")
        return manifest.get("format") == "mlprov-bundle" and _is_whole(version) and version > 1

    def _check_manifest(self) -> str:
        manifest = read_canonical_object(self._entries["manifest.json"], "manifest.json")
        if manifest.get("format") != "mlprov-bundle":
            raise RefusedError("manifest.json is not of format mlprov-bundle")
        check_version(manifest, "manifest.json")
        _exactly(manifest, _MANIFEST_MEMBERS, "manifest.json")
        if not isinstance(manifest["open"], bool):
            raise RefusedError("'open' of manifest.json is neither true nor false")
        _run_id(manifest, "manifest.json")
        _check_revision(manifest)
        self._check_listing(_as_object(manifest["entries"], "'entries' of manifest.json"))
        spec = hashlib.sha256(self._entries["SPEC.md"]).hexdigest()
        if manifest["spec"] != spec:
            raise RefusedError("SHA-256 of SPEC.md", spec, printable(str(manifest["spec"])))
        self._manifest = manifest
        state = "open" if manifest["open"] else "closed"
        return f"revision {manifest['revision']}, {state}"

    def _check_listing(self, listed: JsonObject) -> None:
        present = set(self._entries) - {"manifest.json", "manifest.sig"}
        for name in sorted(present ^ set(listed)):
            where = "the archive alone" if name in present else "manifest.json alone"
            raise RefusedError(f"entry {printable(name)} is in {where}")
        for name in sorted(present):
            what = f"entry {name} of manifest.json"
            entry = _as_object(listed[name], what)
            _exactly(entry, ("sha256", "size"), what)
            seen = hashlib.sha256(self._entries[name]).hexdigest()
            if _whole(entry, "size", what) != len(self._entries[name]):
                raise RefusedError(f"size of {name}", len(self._entries[name]), entry["size"])
            if _text(entry, "sha256", what) != seen:
                raise RefusedError(f"SHA-256 of {name}", seen, printable(str(entry["sha256"])))

    def _check_signature(self) -> str:
        self._owner = self._key("owner")
        _check_owner_name(self._owner)
        text = open_note(self._entries["manifest.sig"], self._owner)
        digest = hashlib.sha256(self._entries["manifest.json"]).hexdigest()
        if text != MANIFEST_TYPE + f"sha256:{digest}\n".encode():
            raise RefusedError(
                "manifest.sig signs something else",
                printable(text.decode("utf-8")),
                f"sha256:{digest}",
            )
        return printable(str(self._owner))

    def _key(self, name: str) -> Key:
        entry = self._entries[f"keys/{name}.vkey"]
        if len(entry) > MAX_NOTE:
            raise RefusedError(f"keys/{name}.vkey is too long")
        try:
            text = bytes(entry).decode("utf-8")
        except UnicodeDecodeError:
            raise RefusedError(f"keys/{name}.vkey is not UTF-8") from None
        if not text.endswith("\n"):
            raise RefusedError(f"keys/{name}.vkey does not end in a newline")
        return parse_vkey(text[:-1])

    def _check_owner(self) -> str:
        first = next(_lines(self._entries["run.jsonl"]), None)
        if first is None:
            raise RefusedError("run.jsonl has no first record")
        what = "run.start"
        start = read_canonical_object(first, what)
        if _text(start, "owner_key", what) != str(self._owner):
            raise RefusedError(
                "owner_key of run.start", printable(str(start["owner_key"])), self._owner
            )
        statement = open_statement(_utf(_text(start, "owner", what), "utf-8"), self._owner)
        for name, key in (("run", statement.run_key), ("log", statement.log_key)):
            if self._key(name) != key:
                raise RefusedError(f"keys/{name}.vkey is not the key of the owner's statement")
        for other, where in ((self._manifest, "manifest.json"), (start, what)):
            if other.get("run") != statement.run:
                raise RefusedError(f"run of {where} is not that of the owner's statement")
        self._statement = statement
        return f"run {statement.run}"

    # -- records, heads, log

    def _check_records(self) -> str:
        self._heads = self._numbers(re.compile(r"heads/([0-9]+)\.note"))
        tree, previous, last_type = Frontier(), "", ""
        for seq, line in enumerate(_lines(self._entries["run.jsonl"])):
            record = self._read_record(line, seq, previous, last_type)
            previous, last_type = str(record["time"]), str(record["type"])
            tree.append(line)
            if tree.size in self._heads:
                self._roots[tree.size] = tree.root()
            self._cite(record)
            self._has_gap = self._has_gap or last_type == "gap"
            if last_type in _KEPT_TYPES:
                self._records.append(record)
        if not tree.size:
            raise RefusedError("run.jsonl has no records")
        self._record_count = tree.size
        return f"{tree.size} records, {previous} the last"

    def _read_record(self, line: Buffer, seq: int, previous: str, last_type: str) -> JsonObject:
        what = f"record {seq}"
        record = read_canonical_object(line, what)
        kind, time = _check_record(record, seq, what)
        if time <= previous:
            raise RefusedError(f"time of {what} is not later than the one before", time, previous)
        if (kind == "run.start") != (seq == 0):
            raise RefusedError(f"{what}: run.start is first and only there", printable(kind))
        if last_type == "run.end":
            raise RefusedError(f"{what} follows run.end")
        if kind == "run.start":
            self._check_start(record)
        return record

    def _check_start(self, record: JsonObject) -> None:
        check_version(record, "run.start")
        _run_id(record, "run.start")
        algorithm = _text(record, "algorithm", "run.start")
        if algorithm not in DIGEST_BYTES:
            raise RefusedError("algorithm of run.start", printable(algorithm), list(DIGEST_BYTES))
        self._algorithm = algorithm

    def _cite(self, record: JsonObject) -> None:
        """Note every tree reference in a record, at any depth."""
        pending: list[Json] = [record]
        while pending:
            value = pending.pop()
            reference = tree_reference(value)
            if reference is not None:
                self._cited.add(reference)
            elif isinstance(value, dict):
                pending.extend(value.values())
            elif isinstance(value, list):
                pending.extend(value)

    def _numbers(self, pattern: re.Pattern[str]) -> dict[int, str]:
        """Entries whose names match, by the number in the name, ascending."""
        matches = [match for name in self._entries if (match := pattern.fullmatch(name))]
        return dict(sorted((int(match[1]), match[0]) for match in matches))

    def _check_heads(self) -> str:
        if not self._heads:
            raise RefusedError("bundle has no heads")
        for size, name in self._heads.items():
            try:
                head = open_checkpoint(self._entries[name], self._statement.run_key)
            except RefusedError as error:
                raise error.within(name) from None
            if head.size != size or size not in self._roots:
                raise RefusedError(f"size of {name}", head.size, f"1 to {self._record_count}")
            if head.root != self._roots[size]:
                raise RefusedError(f"root of {name}", head.root.hex(), self._roots[size].hex())
        largest = max(self._heads)
        if largest != self._record_count:
            raise RefusedError(
                "largest head does not cover all records", largest, self._record_count
            )
        resumes = [record for record in self._records if record["type"] == "resume"]
        notes = {bytes(self._entries[name]): size for size, name in self._heads.items()}
        said = "".join(f"; {_check_resume(record, notes)}" for record in resumes)
        return f"{len(self._heads)} heads, the last over all {largest} records{said}"

    def _check_log(self) -> str:
        if _ANCHOR_STATES in self._entries and not anchor_names(self._entries):
            raise RefusedError(f"{_ANCHOR_STATES} is there without an anchor")
        sizes = sorted({int(n.split("/")[1]) for n in self._entries if n.startswith("log/")})
        if not sizes and self._manifest["open"]:
            raise UncheckableError("open bundle: no head is in the store log yet")
        if not sizes:
            raise RefusedError("bundle has no log folder")
        log, proofs = self._read_folder(sizes[-1])
        if not proofs:
            raise RefusedError(f"log/{log.size} has no proofs")
        places: dict[int, int] = {}
        for size, name in proofs.items():
            index = self._check_log_proof(name, self._entries[self._heads[size]], log)
            if index <= max(places.values(), default=-1):
                raise RefusedError(f"{name}: a larger head is earlier in the log", index)
            places[size] = index
        lacking = sorted(set(self._heads) - set(proofs))
        if lacking and (not self._manifest["open"] or lacking[0] < max(proofs)):
            raise RefusedError(f"head {lacking[0]} has no proof in the store log")
        reach = {log.size: max(places)}
        for size in sizes[:-1]:
            reach[size] = self._check_smaller_log(size, places)
        self._reach = reach
        if lacking:
            raise UncheckableError(f"open bundle: head {lacking[0]} is not in the store log yet")
        return f"{len(proofs)} heads in {printable(log.origin)} of size {log.size}: {_OWN_LOG}"

    def _read_folder(self, size: int) -> tuple[Checkpoint, dict[int, str]]:
        folder = f"log/{size}"
        if f"{folder}/checkpoint" not in self._entries:
            raise RefusedError(f"{folder}/checkpoint is missing")
        log = open_checkpoint(self._entries[f"{folder}/checkpoint"], self._statement.log_key)
        if log.size != size:
            raise RefusedError(f"size of {folder}/checkpoint", log.size, size)
        proofs = self._numbers(re.compile(rf"{folder}/([0-9]+)\.proof"))
        if stray := sorted(set(proofs) - set(self._heads)):
            raise RefusedError(f"{folder} has proofs without a head", stray[:5])
        return log, proofs

    def _check_smaller_log(self, size: int, places: dict[int, int]) -> int:
        """The folder of an anchor's checkpoint: the largest head that it has."""
        if size not in {name.size for name in anchor_names(self._entries)}:
            raise RefusedError(f"log/{size} is a second folder, and no anchor names it")
        log, proofs = self._read_folder(size)
        had = [head for head, index in places.items() if index < size]
        if not had or list(proofs) != [max(had)]:
            raise RefusedError(f"proofs in log/{size}", list(proofs)[:5], had[-1:])
        index = self._check_log_proof(proofs[max(had)], self._entries[self._heads[max(had)]], log)
        if index != places[max(had)]:
            raise RefusedError(f"log/{size}: the head is elsewhere in the larger log", index)
        return max(had)

    def _check_log_proof(self, name: str, head: Buffer, log: Checkpoint) -> int:
        proof = read_canonical_object(self._entries[name], name)
        _exactly(proof, ("index", "path"), name)
        index, path = _whole(proof, "index", name), _hashes(proof, name)
        if not verify_inclusion(head, index, log.size, log.root, path):
            raise RefusedError(f"{name} does not prove that the head is entry {index} of the log")
        return index

    # -- anchors

    @functools.cached_property
    def _anchor_states(self) -> JsonObject:
        if _ANCHOR_STATES not in self._entries:
            raise RefusedError(f"{_ANCHOR_STATES} is missing")
        states = read_canonical_object(self._entries[_ANCHOR_STATES], _ANCHOR_STATES)
        _exactly(states, map(str, anchor_names(self._entries)), _ANCHOR_STATES)
        for name, state in states.items():
            if state not in ("proved", "final"):
                raise RefusedError(f"state of {name} in {_ANCHOR_STATES}", printable(str(state)))
        return states

    def _check_anchor(self, name: AnchorName, found: list[BlockAnchor]) -> str:
        if name.size not in self._reach:
            raise RefusedError(f"log/{name.size} is missing")
        state = self._anchor_states[str(name)]
        if name.number > 1 and name._replace(number=name.number - 1) not in anchor_names(
            self._entries
        ):
            raise RefusedError(f"anchor {name} is there without the one before it")
        data = self._entries[f"anchors/{name}.json"]
        note = self._entries[f"log/{name.size}/checkpoint"]
        reach = f"{self._reach[name.size]} records, {state} as the exporter says"
        if name.kind == "ipfs":
            return f"{check_ipfs_anchor(data, note)}, storage and not time; {reach}"
        found.append(check_ethereum_anchor(data, note))
        anchor = read_canonical_object(data, "the anchor")
        return f"{anchor['contract']}, sent by {anchor['sender']}, in {found[0]}; {reach}"

    def _check_block(self, name: AnchorName, found: list[BlockAnchor]) -> str:
        header = found[0].header
        said = judge_block(found[0].chain_id, header.number, header.block, self._request.blocks)
        self._bounds.append((self._reach[name.size], found[0]))
        return said

    def _check_time(self) -> str:
        if not self._bounds:
            return _claimed_times()
        most = max(records for records, _ in self._bounds)
        earliest = min(
            (anchor for records, anchor in self._bounds if records == most),
            key=lambda anchor: anchor.header.time,
        )
        bound = f"{most} of {self._record_count} records no later than the time of {earliest}"
        if most < self._record_count:
            raise UncheckableError(f"{bound}; nothing bounds the others")
        return bound

    # -- trees, completeness

    def _check_trees(self) -> str:
        names = [name for name in self._entries if name.startswith("trees/")]
        cited_as_sorted = {
            reference
            for record in self._records
            if record["type"] == "data" and (reference := tree_reference(record.get("sorted")))
        }
        total = 0
        for name in names:
            root = bytes.fromhex(name[len("trees/") : -len(".leaves")])
            is_sorted = False
            if any(reference.root == root for reference in cited_as_sorted):
                size = sum(1 for _ in read_leaves(self._entries[name]))
                is_sorted = TreeReference(root, size) in cited_as_sorted
            seen = _check_leaves_file(
                self._entries[name], name, DIGEST_BYTES[self._algorithm] if is_sorted else None
            )
            if seen.root != root:
                raise RefusedError(f"root of {name}", seen.root.hex(), root.hex())
            if seen not in self._cited:
                raise RefusedError(f"no record cites {name} with its size", seen.size)
            total += seen.size
        return f"{len(names)} trees, {total} leaves"

    def _check_complete(self) -> str:
        last = self._records[-1] if self._records else {}
        if last.get("seq") != self._record_count - 1 or last.get("type") != "run.end":
            raise UncheckableError("the run has not ended: its last record is not run.end")
        if last.get("status") not in ("finished", "failed"):
            raise UncheckableError("run.end has neither status finished nor failed")
        if self._has_gap or not _same(last.get("gaps"), 0):
            raise UncheckableError("something was not recorded: the run has gaps")
        numbers: list[Json] = []
        last_number: int | None = None
        for record in self._records:
            if record["type"] == "resume":
                last_number = None  # the process that went on may count from an earlier epoch
            if record["type"] != "epoch":
                continue
            number = record.get("epoch")
            if not _is_integer(number) or (last_number is not None and number <= last_number):
                raise UncheckableError("numbers of the epoch records do not ascend")
            numbers.append(number)
            last_number = number
        batches = sum(map(_count_batches, self._records))
        for member, counted in (("epochs", len(numbers)), ("batches", batches)):
            if not _same(last.get(member), counted):
                said = printable(str(last.get(member)))
                raise UncheckableError(f"{counted} {member} are recorded; run.end says {said}")
        for record in self._records:
            if record["type"] in _WITH_RANKS and record.get("ranks") is not None:
                raise UncheckableError(_describe_ranks(record["ranks"]))
        return (
            f"run.end, {last['status']}, {len(numbers)} epochs, {batches} batches: the record "
            "agrees with itself; what was never recorded shows nowhere"
        )

    # -- what was asked for

    @functools.cached_property
    def _weights(self) -> Weights:
        """The weights that are compared with (section 10, "Model"), found once.

        Raises:
            UncheckableError: they are not at hand.
            RefusedError: the record or its leaves are malformed.
        """
        moment = self._request.moment
        for record in reversed(self._records):
            if moment is None and record["type"] not in _WITH_WEIGHTS:
                continue
            if moment is not None and not _is_of(record, moment):
                continue
            reference = tree_member(record, "weights")
            if reference is not None:
                return Weights(record, self._tensor_leaves(reference, record))
            if moment is not None:
                break  # the last record of that moment decides, with weights or without
        which = "no record" if moment is None else "no last {} record {}".format(*moment)
        raise UncheckableError(f"{which} has a weights tree")

    def _checkpoints(self) -> list[JsonObject]:
        moment = self._request.moment
        recorded = [record for record in self._records if record["type"] == "checkpoint"]
        if moment is None:
            return recorded
        return [r for r in recorded if moment[0] == "epoch" and _has_number(r, moment)]

    def _leaves_at_hand(self, reference: TreeReference) -> list[bytes] | None:
        """The disclosed leaves of a tree: those of its root, if there are as many as it says."""
        entry = self._entries.get(f"trees/{reference.root.hex()}.leaves")
        leaves = None if entry is None else list(read_leaves(entry))
        return leaves if leaves is not None and len(leaves) == reference.size else None

    def _tensor_leaves(self, reference: TreeReference, record: JsonObject) -> dict[str, JsonObject]:
        leaves = self._leaves_at_hand(reference)
        if leaves is None:
            raise UncheckableError(f"weights tree of record {record['seq']} is not disclosed")
        by_name = {}
        for index, leaf in enumerate(leaves):
            what = f"leaf {index} of the weights of record {record['seq']}"
            value = read_canonical_object(leaf, what)
            by_name[_check_tensor_leaf(value, self._algorithm, what)] = value
        return by_name

    def _check_model(self, path: Path) -> str:
        with contextlib.ExitStack() as stack:
            tensors = open_model(path, stack)
            if tensors is None:
                return self._check_files(path)
            seen = {name: tensors[name].leaf(name, self._algorithm) for name in tensors}
        others = _other_files(path)
        beside = f"; {others} other files in the directory were not compared" if others else ""
        lacking: RefusedError | UncheckableError | None
        try:
            weights = self._weights
            lacking = _difference(seen, weights)
            if lacking is None:
                return f"{len(seen)} tensors equal those of {_cited(weights.record)}{beside}"
        except UncheckableError as error:
            lacking = error
        recorded = self._recorded_file(seen)
        if recorded is None:
            raise lacking
        return f"{recorded}{beside}"

    def _recorded_file(self, seen: dict[str, JsonObject]) -> str | None:
        """What the run recorded of a file with these tensors, where it recorded one."""
        tree = Frontier()
        for name in sorted(seen, key=str.encode):
            tree.append(canonical_json(seen[name]))
        # Every record is read, so that a malformed one fails wherever the right one stands.
        found = [
            record
            for record in self._checkpoints()
            if tree_member(record, "tensors") == tree.reference()
        ]
        if not found:
            return None
        mapping = found[-1].get("mapping")
        equal = mapping.get("equal") if isinstance(mapping, dict) else None
        live = "how many equal the live model's is not recorded"
        if _is_whole(equal) and equal <= len(seen):
            live = f"{equal} of {len(seen)} equal the live model's, as recorded"
        return f"not the live model, but the tensors of the file of {_cited(found[-1])}; {live}"

    def _check_files(self, path: Path) -> str:
        """Compare files that are not safetensors, as bytes, with the checkpoint records."""
        seen = {name: _file_identity(file) for name, file in _files_of_model(path)[0].items()}
        checkpoints = [(record, _listed_files(record)) for record in self._checkpoints()]
        if not checkpoints:
            raise UncheckableError("not safetensors, and no checkpoint record names files")
        if not seen:
            raise UncheckableError("the directory has no files")
        for record, listed in reversed(checkpoints):
            same = seen == listed if path.is_dir() else set(seen.values()) <= set(listed.values())
            if same:
                live = (
                    "" if record.get("weights") is None else ", whose weights nothing shows in them"
                )
                return f"bytes, not tensors, equal the files of {_cited(record)}{live}"
        raise _difference_of_files(seen, checkpoints, directory=path.is_dir())

    def _check_tensor(self, name: str) -> str:
        weights, path = self._weights, self._request.model
        where = _cited(weights.record)
        leaf = weights.leaves.get(name)
        if leaf is None:
            raise RefusedError(f"weights of {where} have no such tensor")
        summary = printable(str(leaf.get("digest", "composite")))
        if path is None:
            return f"{summary} in {where}"
        with contextlib.ExitStack() as stack:
            tensors = open_model(path, stack)
            if tensors is None:
                raise UncheckableError("the model's files are not safetensors")
            names = [name, *weights.aliases.get(name, [])]
            found = next((other for other in names if other in tensors), None)
            if found is None:
                raise RefusedError("the model has no tensor of that name")
            difference = _difference_of_tensor(
                name, tensors[found].leaf(name, self._algorithm), leaf
            )
        if difference is not None:
            raise difference
        return f"{summary} in {where} and in the file"

    def _check_data(self, role: str, path: Path) -> str:
        records = [r for r in self._records if r["type"] == "data" and r.get("role") == role]
        if not records:
            raise UncheckableError("no data record has that role")
        record = records[-1]
        reference, kind = tree_member(record, "tree"), record.get("kind")
        ordered = tree_member(record, "sorted")
        if reference is None:
            raise UncheckableError("its data record has no sample tree")
        if kind not in ("arrays", "files", "file"):
            raise UncheckableError(f"data of kind {printable(str(kind), 40)} cannot be recomputed")
        tree, leaves, digests = Frontier(), [], []
        with contextlib.ExitStack() as stack:
            for leaf in sample_leaves(record, path, self._algorithm, stack):
                digests.append(bytes.fromhex(json.loads(leaf)["digest"].partition(":")[2]))
                leaves.append(leaf)
                tree.append(leaf)
        if tree.reference() != reference:
            disclosed = None
            if self.verdict.state("trees") == HOLDS:
                disclosed = self._leaves_at_hand(reference)
            if disclosed is None:
                reason = "sample tree (its leaves are not disclosed, so no sample can be named)"
                raise RefusedError(reason, tree.reference(), reference)
            difference = _difference_of_samples(leaves, disclosed, kind)
            raise difference or RefusedError("sample order", tree.reference(), reference)
        if not _same(record.get("count"), tree.size):
            raise RefusedError("number of samples", tree.size, printable(str(record.get("count"))))
        if ordered is not None:
            _check_sorted(digests, ordered)
        several = f", the last of {len(records)} of that role" if len(records) > 1 else ""
        return f"{tree.size} samples equal {_cited(record)}{several}"


def _difference_of_samples(
    leaves: Sequence[bytes], disclosed: Sequence[bytes], kind: Json
) -> RefusedError | None:
    """The first sample that differs: of arrays by index, of files by order of their paths."""
    if kind == "arrays":
        own: dict[Any, bytes] = dict(enumerate(leaves))
        recorded: dict[Any, bytes] = dict(enumerate(disclosed))
        order = sorted({*own, *recorded})
    else:
        own, recorded = ({_path_of(leaf): leaf for leaf in side} for side in (leaves, disclosed))
        order = sorted({*own, *recorded}, key=str.encode)
    for name in order:
        one, other = own.get(name), recorded.get(name)
        if one == other:
            continue
        what = f"sample {name}" if kind == "arrays" else f"file {printable(name)!r}"
        seen, expected = _digest_of(one), _digest_of(other)
        if seen == expected:  # another member differs
            seen, expected = (printable((leaf or b"").decode("utf-8")) for leaf in (one, other))
        verb = "is not in the record" if other is None else "differs from the record's"
        return RefusedError(f"{what} {verb if one is not None else 'is missing'}", seen, expected)
    return None


def _path_of(leaf: bytes) -> str:
    path = json.loads(leaf).get("path")
    return path if isinstance(path, str) else leaf.decode("utf-8")


def _digest_of(leaf: bytes | None) -> str:
    return "absent" if leaf is None else printable(str(json.loads(leaf).get("digest")))


def _check_sorted(digests: Iterable[bytes], expected: TreeReference) -> None:
    tree = Frontier()
    for digest in sorted(digests):
        tree.append(digest)
    if tree.reference() != expected:
        raise RefusedError("sorted sample tree", tree.reference(), expected)


def _is_integer(value: Json) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _has_number(record: JsonObject, moment: tuple[str, int]) -> bool:
    return _is_integer(record.get(moment[0])) and record[moment[0]] == moment[1]


def _is_of(record: JsonObject, moment: tuple[str, int]) -> bool:
    """Whether the record is the ``epoch`` or ``step`` record that the caller named."""
    return record["type"] == moment[0] and _has_number(record, moment)


def _check_resume(record: JsonObject, notes: Mapping[bytes, int]) -> str:
    """Section 5, ``resume``: it goes on from a head that stood before it."""
    start = record.get("from")
    size = notes.get(_utf(start, "utf-8")) if isinstance(start, str) else None
    if size is None or size > _whole(record, "seq", "resume"):
        raise RefusedError(f"record {record['seq']} resumes from what is no head before it")
    equal = record.get("equal")
    said = "equal" if equal is True else "not equal" if equal is False else "not compared"
    return f"record {record['seq']} (resume) says that the loaded weights were {said}"


def _count_batches(record: JsonObject) -> int:
    """The batches of a record's streams (section 5).

    Raises:
        UncheckableError: the record does not say how many.
    """
    streams = record.get("streams")
    if record["type"] not in ("epoch", "batches") or streams is None:
        return 0
    total = 0
    for stream in streams if isinstance(streams, list) else [None]:
        batches = stream.get("batches") if isinstance(stream, dict) else None
        if not _is_whole(batches):
            raise UncheckableError(f"record {record['seq']} does not count its batches")
        total += batches
    return total


def _describe_ranks(said: Json) -> str:
    """Which processes of a training a record says that it does not cover (section 5)."""
    members = said if isinstance(said, dict) else {}
    rank, count, others = (members.get(name) for name in ("rank", "world_size", "not_covered"))
    if not _is_whole(rank) or not _is_whole(count) or not isinstance(others, list):
        return "several processes trained; the record does not say well which it does not cover"
    return f"{len(others)} of the {count} ranks that trained are not covered: rank {rank} recorded"


def _cited(record: JsonObject) -> str:
    """A record by number, type and what it is about."""
    about = [
        f"{key} {printable(str(record[key]), 80)}"
        for key in ("epoch", "step", "role")
        if record.get(key) is not None
    ]
    return f"record {record['seq']} ({', '.join([printable(str(record['type']), 40), *about])})"


def _lines(data: Buffer) -> Iterator[Buffer]:
    """The records of run.jsonl; every one must be followed by a newline."""
    # memoryview cannot search; one copy of a run's records is within the limit of a bundle.
    exact = bytes(data)
    start = 0
    while start < len(exact):
        end = exact.find(b"\n", start)
        if end < 0:
            raise RefusedError("run.jsonl does not end in a newline")
        yield exact[start:end]
        start = end + 1


def _check_record(record: JsonObject, seq: int, what: str) -> tuple[str, str]:
    """The rules of every record (section 5); its type and time."""
    kind, time = _text(record, "type", what), _text(record, "time", what)
    check_time(time, what)
    if _whole(record, "seq", what) != seq:
        raise RefusedError(f"seq of {what}", record["seq"], seq)
    return kind, time


def _check_revision(manifest: JsonObject) -> None:
    revision, previous = _whole(manifest, "revision", "manifest.json"), manifest["previous"]
    if revision == 0 or (revision == 1) != (previous is None):
        raise RefusedError("revision of manifest.json does not fit 'previous'", revision)
    if previous is not None and not (isinstance(previous, str) and _HEX32.fullmatch(previous)):
        raise RefusedError("'previous' of manifest.json is not a SHA-256 in hex")


def _hashes(value: JsonObject, what: str) -> list[bytes]:
    path = _member(value, "path", what)
    if not isinstance(path, list) or len(path) > MAX_PATH:
        raise RefusedError(f"'path' of {what} is not a list of at most {MAX_PATH} hashes")
    hashes = []
    for item in path:
        if not isinstance(item, str):
            raise RefusedError(f"'path' of {what} is not a list of text")
        hashes.append(decode_base64(item, f"'path' of {what}"))
        if len(hashes[-1]) != 32:
            raise RefusedError(f"hash in 'path' of {what} has not 32 bytes")
    return hashes


def _check_leaves_file(data: Buffer, name: str, raw_length: int | None) -> TreeReference:
    """Check the leaves of one file (sections 3 and 4) and compute its tree.

    Args:
        data: the leaves file.
        name: the entry's name, for messages.
        raw_length: bytes of a digest where this is a sorted sample tree, else None.
    """
    tree, previous, previous_name = Frontier(), b"", b""
    named = None
    for index, leaf in enumerate(read_leaves(data)):
        tree.append(leaf)
        what = f"leaf {index} of {name}"
        if raw_length is not None:
            if len(leaf) != raw_length or leaf < previous:
                raise RefusedError(f"{what}: not digests in ascending order")
            previous = leaf
            continue
        value = read_canonical_object(leaf, what)
        if named is not None and named != ("name" in value):
            raise RefusedError(f"{what}: some leaves have a name, others not")
        named = "name" in value
        if named:
            leaf_name = _text(value, "name", what).encode()
            if index and leaf_name <= previous_name:
                raise RefusedError(f"{what}: names are not unique and in ascending order")
            previous_name = leaf_name
    return tree.reference()


# ---------------------------------------------------------------------------------------------
# Differential privacy (section 10, "Privacy")
# ---------------------------------------------------------------------------------------------

_EPSILON_TOLERANCE = 1e-6


class Steps(NamedTuple):
    """An entry of a history: noise σ, rate q, and how many steps."""

    noise: float
    rate: float
    number: int


def _is_private(record: JsonObject) -> bool:
    return record["type"] == "epoch" and record.get("privacy") is not None


def _check_privacy(records: Sequence[JsonObject]) -> str:
    """Recompute the ε of every epoch record.

    Raises:
        RefusedError: a record is malformed, or its ε is another.
        UncheckableError: one cannot be recomputed, or a history does not go on from the last.
    """
    private = [record for record in records if _is_private(record)]
    # Everything is read first: what is malformed fails whatever else is unchecked.
    histories = [_read_privacy(record) for record in private]
    divergences, reason = Divergences(), ""
    for record, history in zip(private, histories, strict=True):
        try:
            _check_epsilon(record, history, divergences)
        except UncheckableError as error:
            reason = reason or f"{_cited(record)}: {error}"
    for earlier, later in itertools.pairwise(histories):
        if earlier is None or later is None or not _begins(earlier, later):
            reason = reason or "a history does not go on from the one before"
    if reason:
        raise UncheckableError(reason)
    said = _privacy(private[-1])
    steps = sum(entry.number for entry in histories[-1] or ())
    poisson = printable(canonical_json(said.get("poisson")).decode("utf-8"))
    return (
        f"ε of {len(private)} epochs was recomputed; the last is {said['epsilon']} at δ"
        f" {said['delta']} after {steps} steps, Poisson sampling as recorded: {poisson}"
    )


def _privacy(record: JsonObject) -> JsonObject:
    return _as_object(record["privacy"], f"'privacy' of {_cited(record)}")


def _real(value: Json) -> float | None:
    """A JSON number as a float, or None of anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _read_privacy(record: JsonObject) -> list[Steps] | None:
    """Check the form of a privacy object (section 10); its history."""
    said, what = _privacy(record), f"'privacy' of {_cited(record)}"
    _text(said, "mechanism", what)
    delta, order, epsilon = (said.get(name) for name in ("delta", "order", "epsilon"))
    if delta is not None and not 0 < (_real(delta) or 0) < 1:
        raise RefusedError(f"delta of {what}", printable(str(delta)), "above 0 and below 1")
    if order is not None and not (_real(order) or 0) > 1:
        raise RefusedError(f"order of {what}", printable(str(order)), "above 1")
    if epsilon is not None and epsilon != "Infinity" and _real(epsilon) is None:
        raise RefusedError(f"epsilon of {what}", printable(str(epsilon)), "a number")
    history = said.get("history")
    if history is None:
        return None
    if not isinstance(history, list):
        raise RefusedError(f"history of {what} is not a list")
    return [_read_steps(entry, what) for entry in history]


def _read_steps(entry: Json, what: str) -> Steps:
    members = _as_object(entry, f"an entry in the history of {what}")
    noise, rate = (_real(members.get(name)) for name in ("noise_multiplier", "sample_rate"))
    count = _whole(members, "steps", what)
    if noise is None or rate is None or noise < 0 or rate < 0 or count == 0:
        raise RefusedError(f"an entry in the history of {what}", printable(str(entry)))
    return Steps(noise, rate, count)


def _check_epsilon(
    record: JsonObject, history: list[Steps] | None, divergences: Divergences
) -> None:
    said = _privacy(record)
    if said["mechanism"] != "rdp":
        mechanism = printable(str(said["mechanism"]))
        raise UncheckableError(f"of the mechanism {mechanism} nothing is computed here")
    delta, order = _real(said.get("delta")), _real(said.get("order"))
    if history is None or delta is None or said.get("epsilon") is None:
        raise UncheckableError("history, epsilon or delta is not recorded")
    epsilon = 0.0
    if history:
        if order is None:
            raise UncheckableError("the order of epsilon is not recorded")
        epsilon = divergences.total(history, order) - (math.log(delta) + math.log(order)) / (
            order - 1
        )
        epsilon += math.log((order - 1) / order)
    claimed = math.inf if said["epsilon"] == "Infinity" else _real(said["epsilon"])
    if claimed is None or math.isnan(epsilon):
        raise UncheckableError("epsilon is beyond floats")
    if claimed != epsilon and not (
        abs(claimed - epsilon) <= _EPSILON_TOLERANCE * max(1.0, abs(epsilon)) < math.inf
    ):
        raise RefusedError(f"epsilon of {_cited(record)}", claimed, epsilon)


def _begins(earlier: Sequence[Steps], later: Sequence[Steps]) -> bool:
    """Whether a history is the beginning of another, step by step."""
    before, after = _runs(earlier), _runs(later)
    if len(before) > len(after):
        return False
    for place, (one, other) in enumerate(zip(before, after, strict=False)):
        is_last = place == len(before) - 1
        if one[:2] != other[:2] or not (one == other or (is_last and one.number < other.number)):
            return False
    return True


def _runs(history: Sequence[Steps]) -> list[Steps]:
    """The same with equal neighbours taken together."""
    return [
        Steps(*kind, sum(entry.number for entry in entries))
        for kind, entries in itertools.groupby(history, key=lambda entry: (entry.noise, entry.rate))
    ]


class Divergences:
    """R of section 10, remembered: the epochs of a run mostly have the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[float, float, float], float] = {}
        self._left = MAX_POINTS

    def total(self, history: Sequence[Steps], order: float) -> float:
        """Σ n·R(σ, q).

        Raises:
            UncheckableError: a rate is above 1, or it is beyond floats or MAX_POINTS.
        """
        if any(entry.rate > 1 for entry in history):
            raise UncheckableError("a sample rate is above 1")
        try:
            return math.fsum(
                entry.number * self._of_step(entry.noise, entry.rate, order) for entry in history
            )
        except (ArithmeticError, ValueError):
            raise UncheckableError("epsilon is beyond floats") from None

    def _of_step(self, noise: float, rate: float, order: float) -> float:
        kind = (noise, rate, order)
        if kind not in self._known:
            if rate == 0 or noise == 0:
                self._known[kind] = 0.0 if rate == 0 else math.inf
            elif rate == 1:
                self._known[kind] = order / (2 * noise * noise)
            else:
                self._known[kind] = self._log_expectation(noise, rate, order) / (order - 1)
        return self._known[kind]

    def _count(self, points: int) -> None:
        self._left -= points
        if self._left < 0 or points > MAX_POINTS_OF_ONE:
            raise UncheckableError("epsilon takes too many values of a function")

    def _log_expectation(self, noise: float, rate: float, order: float) -> float:
        """Logarithm of E[(1 − q + q·exp((2z − 1)/(2σ²)))^α], z normal with variance σ²."""
        log_rest, log_rate, width = math.log1p(-rate), math.log(rate), 2 * noise * noise
        if not order.is_integer():
            return self._integrate(noise, order, log_rest, log_rate)
        # The binomial theorem, and E[exp(k·(2z − 1)/(2σ²))] = exp((k² − k)/(2σ²)).
        whole = int(order)
        self._count(whole)
        logs, ways = [], 0.0
        for k in range(whole + 1):
            logs.append(ways + k * log_rate + (whole - k) * log_rest + (k * k - k) / width)
            ways += math.log(whole - k) - math.log(k + 1) if k < whole else 0.0
        return _log_of_sum(logs)

    def _integrate(self, noise: float, order: float, log_rest: float, log_rate: float) -> float:
        """The same expectation by the trapezoidal rule.

        The integrand has its masses around 0 and α, each as wide as σ, and is analytic but for
        points πσ² from the real line: the rule's error falls as exp(−2π²σ²/step). Where σ is below
        0.05 what lies near these points is less than exp(−50) of the whole, and need not be
        resolved.
        """
        width = 2 * noise * noise
        step = min(noise, max(noise * noise, 0.0025)) / 8
        first, last = math.floor(-12 * noise / step), math.ceil((order + 12 * noise) / step)
        self._count(last - first)
        logs = []
        for point in range(first, last + 1):
            z = point * step
            low, high = sorted((log_rest, log_rate + (2 * z - 1) / width))
            logs.append(order * (high + math.log1p(math.exp(low - high))) - z * z / width)
        return _log_of_sum(logs) + math.log(step / noise) - math.log(2 * math.pi) / 2


def _log_of_sum(logs: Sequence[float]) -> float:
    most = max(logs)
    return most + math.log(math.fsum(math.exp(log - most) for log in logs))


# ---------------------------------------------------------------------------------------------
# Models and data against records (section 10, "Model" and "Data")
# ---------------------------------------------------------------------------------------------


def _kind_of_path(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise _cannot_read(path, error) from None
    return "directory" if stat.S_ISDIR(mode) else "file"


def _files_of_model(path: Path) -> tuple[dict[str, Path], list[str]]:
    """The files of a model by name, and which of them may be safetensors: the one, or the shards.

    Raises:
        UncheckableError: the path cannot be read, or the directory has something else in it.
    """
    if _kind_of_path(path) != "directory":
        return {path.name: path}, [path.name]
    files = walk_files(path, follow=True)
    return files, sorted(n for n in files if "/" not in n and n.endswith(".safetensors"))


def open_model(path: Path, stack: contextlib.ExitStack) -> dict[str, FileTensor] | None:
    """The tensors of a safetensors file or of a directory's shards, or None for other files."""
    files, shards = _files_of_model(path)
    sources = [stack.enter_context(Source(files[shard])) for shard in shards]
    try:
        found = [read_safetensors(source) for source in sources]
    except RefusedError:
        return None
    tensors: dict[str, FileTensor] = {}
    for shard in found:
        for name in sorted(shard):
            if name in tensors:
                raise RefusedError(f"tensor {printable(name)} is in two files of the model")
        tensors.update(shard)
    return tensors if shards else None


def _other_files(path: Path) -> int:
    """How many files lie in a directory of shards that are none of the shards."""
    files, shards = _files_of_model(path)
    return len(files) - len(shards)


def alias_groups(record: JsonObject) -> list[list[str]]:
    """The alias groups of a record; none where ``aliases`` is null or absent.

    Raises:
        RefusedError: they break the rules of section 5.
    """
    what = f"aliases of record {record['seq']}"
    groups: list[list[str]] = []
    value = record.get("aliases")
    if value is not None and not isinstance(value, list):
        raise RefusedError(f"{what} are not a list")
    for item in value or []:
        names = [name for name in item if isinstance(name, str)] if isinstance(item, list) else []
        if len(names) < 2 or not isinstance(item, list) or len(names) != len(item):
            raise RefusedError(f"{what}: a group is not a list of two names or more")
        groups.append(names)
    # Each group and the groups by their first names: strictly ascending, so without repetition.
    for names in (*groups, [group[0] for group in groups]):
        keys = [name.encode() for name in names]
        if any(after <= before for before, after in itertools.pairwise(keys)):
            raise RefusedError(f"{what} are not sorted", printable(", ".join(names)))
    everything = [name for group in groups for name in group]
    if len(set(everything)) != len(everything):
        raise RefusedError(f"{what}: a name is in two groups")
    return groups


class Weights:
    """A record with weights, their leaves by name, and its alias groups."""

    def __init__(self, record: JsonObject, leaves: dict[str, JsonObject]) -> None:
        self.record = record
        self.leaves = leaves
        self.groups = alias_groups(record)
        # The whole group of each name that is in one.
        self.aliases = {name: group for group in self.groups for name in group}


def _check_tensor_leaf(leaf: JsonObject, algorithm: str | None, what: str) -> str:
    """Refuse what is no leaf of a tree of tensors (section 10); its name.

    The digest is of the algorithm given, or of any where none is.
    """
    name = _text(leaf, "name", what)
    if set(leaf) == {"digest", "dtype", "len", "name", "shape"}:
        _text(leaf, "dtype", what)
        _whole(leaf, "len", what)
        _wholes(leaf["shape"], what)
        digest = _text(leaf, "digest", what)
        named, _, hexadecimal = digest.partition(":")
        length = DIGEST_BYTES.get(named)
        if length is None or not re.fullmatch(rf"[0-9a-f]{{{2 * length}}}", hexadecimal):
            raise RefusedError(f"digest of {what} is malformed", printable(digest, 80))
        if algorithm not in (None, named):
            raise RefusedError(f"digest of {what}", printable(digest, 80), f"{algorithm}:…")
        return name
    _text(leaf, "layout", what)
    if not _as_object(_member(leaf, "parts", what), f"'parts' of {what}"):
        raise RefusedError(f"{what} has no parts")
    if not isinstance(_member(leaf, "shape", what), list) or "digest" in leaf:
        raise RefusedError(f"{what} has a shape that is no list, or a digest beside its parts")
    return name


def _difference_of_tensor(name: str, seen: JsonObject, leaf: JsonObject) -> RefusedError | None:
    """What differs between a tensor of a file and the leaf that was recorded of that name."""
    what = f"tensor {printable(name)} differs"
    if "digest" not in leaf:
        return RefusedError(f"{what}: it was recorded as a composite")
    for member in ("dtype", "shape", "len", "digest"):
        if not _same(seen[member], leaf.get(member)):
            where = "" if member == "digest" else f" in {member}"
            return RefusedError(what + where, seen[member], printable(str(leaf.get(member))))
    return None


def _difference(seen: dict[str, JsonObject], weights: Weights) -> RefusedError | None:
    """The first difference between a file and weights, by order of name (section 10)."""
    leaves, standing = weights.leaves, _missing_with_twin(seen, weights)
    for name in sorted({*seen, *leaves}, key=str.encode):
        if name not in leaves:
            return RefusedError(f"tensor {printable(name)} is extra: the record has none")
        if name in seen:
            difference = _difference_of_tensor(name, seen[name], leaves[name])
            if difference is not None:
                return difference
        elif name not in standing:
            return RefusedError(f"tensor {printable(name)} is missing")
    return None


def _missing_with_twin(seen: dict[str, JsonObject], weights: Weights) -> set[str]:
    """Names that a file lacks where it has another of the group whose leaf is the same."""
    found: set[str] = set()
    for group in weights.groups:
        nameless = {
            name: canonical_json({**weights.leaves[name], "name": None})
            for name in group
            if name in weights.leaves
        }
        present = {text for name, text in nameless.items() if name in seen}
        found.update(name for name, text in nameless.items() if text in present)
    return found


class FileIdentity(NamedTuple):
    """What a checkpoint record says of a file."""

    length: int
    sha256: str
    blake3: str


def _listed_files(record: JsonObject) -> dict[str, FileIdentity]:
    """The ``files`` of a checkpoint record by path; none where it is null or absent."""
    what = f"'files' of record {record['seq']}"
    listed = record.get("files")
    if listed is not None and not isinstance(listed, list):
        raise RefusedError(f"{what} is not a list")
    found: dict[str, FileIdentity] = {}
    for item in listed or []:
        file = _as_object(item, f"an entry of {what}")
        _exactly(file, ("blake3", "len", "path", "sha256"), f"an entry of {what}")
        path = _text(file, "path", what)
        identity = FileIdentity(
            _whole(file, "len", what), _text(file, "sha256", what), _text(file, "blake3", what)
        )
        if not (_HEX32.fullmatch(identity.sha256) and _HEX32.fullmatch(identity.blake3)):
            raise RefusedError(f"{what}: a digest is not 64 lower-case hex digits", printable(path))
        if path in found:
            raise RefusedError(f"{what} has a path twice", printable(path))
        found[path] = identity
    return found


def _difference_of_files(
    seen: dict[str, FileIdentity],
    checkpoints: Sequence[tuple[JsonObject, dict[str, FileIdentity]]],
    *,
    directory: bool,
) -> RefusedError:
    """Against the last record with such a path, else the last; of a directory the first file."""
    listings = [files for _, files in reversed(checkpoints) if files]
    if not listings:
        return RefusedError("no checkpoint record lists a file")
    listed = next((files for files in listings if {*files} & {*seen}), listings[0])
    name = next(iter(seen))
    if directory:
        differing = {name for name in {*seen, *listed} if seen.get(name) != listed.get(name)}
        name = min(differing, key=str.encode)
    expected = list(listed.values())
    if directory or name in listed:
        expected = [listed[name]] if name in listed else []
    return RefusedError(
        f"bytes (it is not safetensors) of {printable(name)!r} are in no checkpoint record",
        _sha256_texts([seen[name]] if name in seen else []),
        _sha256_texts(expected),
    )


def _sha256_texts(identities: Sequence[FileIdentity]) -> str:
    texts = [f"sha256:{identity.sha256}" for identity in identities]
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
    return (", ".join(texts[:3]) or "absent") + more


def _file_identity(path: Path) -> FileIdentity:
    with Source(path) as source:
        sha256, other = source.digests(0, source.size, ["sha256", "blake3"])
        source.unchanged()
        return FileIdentity(source.size, sha256, other)


def sample_leaves(
    record: JsonObject, path: Path, algorithm: str, stack: contextlib.ExitStack
) -> Iterator[bytes]:
    """The sample leaves (section 4) of what lies at ``path``, read as the data record says."""
    if record["kind"] == "arrays":
        yield from _array_leaves(record.get("fields"), path, algorithm, stack)
    else:
        yield from _file_leaves(path, algorithm)


def _file_leaves(path: Path, algorithm: str) -> Iterator[bytes]:
    if _kind_of_path(path) == "directory":
        files = walk_files(path, follow=False)
    else:
        files = {_relative(path, path.parent): path}
    if len({unicodedata.normalize("NFC", name) for name in files}) != len(files):
        raise UncheckableError("two paths are the same after Unicode NFC")
    for name in sorted(files, key=lambda name: name.encode("utf-8")):
        with Source(files[name]) as source:
            digest = source.digests(0, source.size, [algorithm])[0]
            source.unchanged()
        leaf: JsonObject = {"digest": f"{algorithm}:{digest}", "len": source.size, "path": name}
        yield canonical_json(leaf)


def _is_end(fields: Json) -> TypeGuard[JsonObject]:
    """Whether ``fields`` is an array of a sample, not a level of its nesting."""
    return isinstance(fields, dict) and isinstance(fields.get("dtype"), str)


def field_ends(fields: Json, where: tuple[str, ...] = ()) -> Iterator[tuple[str, JsonObject]]:
    """The ends of ``fields`` with the names that a safetensors file has for them.

    Raises:
        RefusedError: it is no nesting of ``{"dtype":text,"shape":[integers]}``.
        UncheckableError: it is one of a form that arrays in a file cannot have.
    """
    if _is_end(fields):
        _exactly(fields, ("dtype", "shape"), "an end of 'fields'")
        _wholes(fields["shape"], "'shape' in 'fields'")
        yield ".".join(where), fields
    elif isinstance(fields, dict):
        if any(key.startswith("$") and not key.startswith("$$") for key in fields):
            raise UncheckableError("samples of another form than lists and objects of arrays")
        for key in sorted(fields):
            yield from field_ends(fields[key], (*where, key.removeprefix("$")))
    elif isinstance(fields, list):
        for index, item in enumerate(fields):
            yield from field_ends(item, (*where, str(index)))
    else:
        raise RefusedError("'fields' of the data record is malformed", printable(str(fields)))


def _open_arrays(
    fields: Json, ends: dict[str, JsonObject], path: Path, stack: contextlib.ExitStack
) -> dict[str, Rows]:
    """The arrays of a file by the names of ``ends``; its content says of which form it is."""
    source = stack.enter_context(Source(path))
    if source.read_at(0, min(len(NPY_MAGIC), source.size)) == NPY_MAGIC:
        if not _is_end(fields):
            raise UncheckableError("a sample is no bare array; a .npy file holds one")
        return {"": read_npy(source)}
    try:
        tensors = read_safetensors(source)
    except RefusedError:
        raise UncheckableError(f"{printable(str(path))} is neither .npy nor safetensors") from None
    if _is_end(fields) and len(tensors) == 1:
        tensors = {"": next(iter(tensors.values()))}
    for name in sorted({*ends} ^ {*tensors}):
        where = "the record alone" if name in ends else "the file alone"
        raise RefusedError(f"array {printable(name)} is in {where}")
    return {name: safetensor_rows(tensor) for name, tensor in tensors.items()}


def _array_leaves(
    fields: Json, path: Path, algorithm: str, stack: contextlib.ExitStack
) -> Iterator[bytes]:
    found = list(field_ends(fields))
    ends = dict(found)
    if not ends:
        raise RefusedError("'fields' of the data record names no array")
    if len(ends) != len(found):
        raise UncheckableError("two arrays of a sample would have one name in a file")
    arrays = _open_arrays(fields, ends, path, stack)
    for name, end in ends.items():
        rows = arrays[name]
        seen: JsonObject = {"dtype": rows.dtype, "shape": list(rows.shape[1:])}
        if not _same(seen, end):
            raise RefusedError(
                f"samples of array {printable(name)!r}", printable(str(seen)), printable(str(end))
            )
    counts = {rows.shape[0] for rows in arrays.values()}
    if len(counts) != 1:
        raise RefusedError("arrays have different numbers of samples", sorted(counts))
    for index in range(counts.pop()):
        yield _array_leaf(index, fields, arrays, algorithm)
    for rows in arrays.values():
        rows.source.unchanged()


def _array_leaf(index: int, fields: Json, arrays: dict[str, Rows], algorithm: str) -> bytes:
    if _is_end(fields):
        row = arrays[""].row(index)
        digest, length = digest_text(row, algorithm), len(row)
    else:
        items = canonical_json(_sample_items(fields, (), index, arrays, algorithm))
        digest, length = digest_text(items, algorithm), len(items)
    leaf: JsonObject = {"digest": digest, "index": index, "len": length}
    return canonical_json(leaf)


def _sample_items(
    fields: Json, where: tuple[str, ...], index: int, arrays: dict[str, Rows], algorithm: str
) -> Json:
    """Items of one sample by the rules of a batch leaf; ``fields`` gives the nesting."""
    if isinstance(fields, dict) and not _is_end(fields):
        return {
            key: _sample_items(value, (*where, key.removeprefix("$")), index, arrays, algorithm)
            for key, value in fields.items()
        }
    if isinstance(fields, list):
        return [
            _sample_items(item, (*where, str(position)), index, arrays, algorithm)
            for position, item in enumerate(fields)
        ]
    rows = arrays[".".join(where)]
    row = rows.row(index)
    shape: list[Json] = list(rows.shape[1:])
    tensor: JsonObject = {
        "digest": digest_text(row, algorithm),
        "dtype": rows.dtype,
        "len": len(row),
        "shape": shape,
    }
    return {"$tensor": tensor}


# ---------------------------------------------------------------------------------------------
# Proof files (section 9)
# ---------------------------------------------------------------------------------------------

_PROOF_MEMBERS = ("format", "head", "kind", "log", "owner", "owner_key", "record", "version")
# Section 9: which record has which tree; "#" stands for a list index.
_FIELDS: dict[str, dict[tuple[str, ...], set[str]]] = {
    "tensor": {
        ("weights",): set(_WITH_WEIGHTS),
        **{(member,): {"epoch"} for member in _TRAINING_STATE},
        ("tensors",): {"checkpoint"},
    },
    "batch": {("streams", "#", "tree"): {"epoch", "batches"}},
    "sample": {("tree",): {"data"}},
}


class ProofVerifier:
    """The checks of a proof file, in the order of section 10."""

    def __init__(self, data: bytes, request: Request) -> None:
        self.verdict = Verdict(request)
        self._request = request
        self._data = data
        self._proof: JsonObject = {}

    def verify(self) -> Verdict:
        """Make every check."""
        verdict, request = self.verdict, self._request
        verdict.run("proof", [], self._check_proof)
        verdict.run("owner", ["proof"], self._check_owner)
        verdict.run("signer", ["owner"], lambda: _check_signer(self._owner, request))
        verdict.run("head", ["owner"], self._check_head)
        verdict.run("log", ["head"], self._check_log)
        verdict.run("record", ["log"], self._check_record)
        if self._proof.get("kind") != "record":
            verdict.run("claim", ["record"], self._check_claim)
        verdict.required = [check.name for check in verdict.checks]
        self._run_requested()
        verdict.run("time", [], _claimed_times)
        if request.blocks:
            verdict.requested.append("time")
        return verdict

    def _run_requested(self) -> None:
        verdict, request = self.verdict, self._request
        before = len(verdict.checks)
        name = self._leaf_name()
        if name is not None and (request.model is not None or name in request.tensors):
            verdict.run(f"tensor:{name}", ["claim"], lambda: self._check_asked_tensor(name))
        elif request.model is not None:
            verdict.run("model", [], self._says_nothing)
        for role in request.data:
            verdict.run(f"data:{role}", [], self._says_nothing)
        for asked in request.tensors:
            if asked != name:
                verdict.run(f"tensor:{asked}", [], self._says_nothing)
        verdict.requested = [check.name for check in verdict.checks[before:]]

    def _says_nothing(self) -> str:
        raise UncheckableError("a proof file of this kind says nothing about it")

    def _leaf_name(self) -> str | None:
        """The name of the claimed tensor, whether or not the claim holds."""
        if self._proof.get("kind") != "tensor":
            return None
        claim = _as_object(self._proof["claim"], "claim")
        try:
            leaf = strict_json(_utf(_text(claim, "leaf", "claim"), "utf-8"))
        except RefusedError:
            return None
        name = leaf.get("name") if isinstance(leaf, dict) else None
        return name if isinstance(name, str) else None

    def _check_proof(self) -> str:
        proof = read_canonical_object(self._data, "proof file")
        if proof.get("format") != "mlprov-proof":
            raise RefusedError("file is not of format mlprov-proof")
        check_version(proof, "proof file")
        kind = _text(proof, "kind", "proof file")
        if kind not in (*_FIELDS, "record"):
            raise RefusedError("kind of the proof file", printable(kind))
        extra = () if kind == "record" else ("claim",)
        _exactly(proof, (*_PROOF_MEMBERS, *extra), "proof file")
        for name in ("head", "owner", "owner_key"):
            _text(proof, name, "proof file")
        self._part(proof, "record", ("index", "leaf", "path", "size"))
        self._part(proof, "log", ("checkpoint", "index", "path"))
        if kind != "record":
            claim = self._part(proof, "claim", ("field", "index", "leaf", "path", "size"))
            _field_steps(claim)
        self._proof = proof
        return f"kind {kind}"

    @staticmethod
    def _part(proof: JsonObject, name: str, members: Sequence[str]) -> JsonObject:
        part = _as_object(proof[name], f"{name!r} of the proof file")
        _exactly(part, members, name)
        _whole(part, "index", name)
        _hashes(part, name)
        _text(part, "checkpoint" if name == "log" else "leaf", name)
        if "size" in members and _whole(part, "index", name) >= _whole(part, "size", name):
            raise RefusedError(f"index of {name} is not below its size", part["index"])
        return part

    def _check_owner(self) -> str:
        self._owner = parse_vkey(str(self._proof["owner_key"]))
        note = _utf(str(self._proof["owner"]), "utf-8")
        self._statement = open_statement(note, self._owner)
        return f"run {self._statement.run}"

    def _check_head(self) -> str:
        note = _utf(str(self._proof["head"]), "utf-8")
        # The run key's name is mlprov/run/<run id> of the statement: the origin has that run id.
        self._head = open_checkpoint(note, self._statement.run_key)
        size = _whole(_as_object(self._proof["record"], "record"), "size", "record")
        if size != self._head.size:
            raise RefusedError("size beside the record is not the head's", size, self._head.size)
        return f"{self._head.size} records"

    def _check_log(self) -> str:
        part = _as_object(self._proof["log"], "log")
        note = _utf(_text(part, "checkpoint", "log"), "utf-8")
        log = open_checkpoint(note, self._statement.log_key)
        index = _whole(part, "index", "log")
        head = _utf(str(self._proof["head"]), "utf-8")
        if not verify_inclusion(head, index, log.size, log.root, _hashes(part, "log")):
            raise RefusedError(f"the head is not entry {index} of the store log")
        return f"entry {index} of {log.size} in {printable(log.origin)}: {_OWN_LOG}"

    def _check_record(self) -> str:
        part = _as_object(self._proof["record"], "record")
        index, size = _whole(part, "index", "record"), _whole(part, "size", "record")
        leaf = _utf(_text(part, "leaf", "record"), "utf-8")
        if not verify_inclusion(leaf, index, size, self._head.root, _hashes(part, "record")):
            raise RefusedError(f"the record is not leaf {index} of the head's tree")
        self._record = read_canonical_object(leaf, "record")
        _, time = _check_record(self._record, index, "record")
        told = ""
        member = "params" if self._record["type"] == "activity" else "metrics"
        if self._proof["kind"] == "record" and member in self._record:
            text = canonical_json(self._record[member]).decode("utf-8")
            told = f", {member} {printable(text)}"
        return f"{_cited(self._record)}, claimed at {time}{told}"

    def _check_claim(self) -> str:
        part = _as_object(self._proof["claim"], "claim")
        kind, index = str(self._proof["kind"]), _whole(part, "index", "claim")
        tree = _cited_tree(self._record, _field_steps(part), kind)
        if tree.size != _whole(part, "size", "claim"):
            raise RefusedError("size of the claim is not the record's", part["size"], tree.size)
        leaf = _utf(_text(part, "leaf", "claim"), "utf-8")
        if not verify_inclusion(leaf, index, tree.size, tree.root, _hashes(part, "claim")):
            raise RefusedError(f"the claim is not leaf {index} of the tree in the record")
        self._leaf = read_canonical_object(leaf, "leaf of the claim")
        _check_leaf_shape(self._leaf, kind, index)
        name = printable(str(self._leaf.get("name", index)))
        field = printable(canonical_json(part["field"]).decode("utf-8"))
        return f"{kind} {name}, leaf {index} of {tree.size} at {field} of {_cited(self._record)}"

    def _check_asked_tensor(self, name: str) -> str:
        field = _as_object(self._proof["claim"], "claim")["field"]
        if field in [[member] for member in _TRAINING_STATE]:
            raise UncheckableError("the claim is about training state, not about the model")
        record, moment = self._record, self._request.moment
        if moment is not None and not _is_of(record, moment):
            wanted = "{} {}".format(*moment)
            raise UncheckableError(f"the claim is about {_cited(record)}, not {wanted}")
        _check_tensor_leaf(self._leaf, None, "leaf of the claim")
        path = self._request.model
        return "the claim of this proof" if path is None else self._check_file(name, path)

    def _check_file(self, name: str, path: Path) -> str:
        digest = str(self._leaf.get("digest", ""))
        with contextlib.ExitStack() as stack:
            tensors = open_model(path, stack)
            if tensors is None:
                raise UncheckableError("the model's files are not safetensors")
            if name not in tensors:
                raise RefusedError("the model has no tensor of that name")
            # The algorithm is the one that the claimed digest names: run.start is not in the proof.
            seen = tensors[name].leaf(name, digest.partition(":")[0])
        difference = _difference_of_tensor(name, seen, self._leaf)
        if difference is not None:
            raise difference
        return f"{printable(digest)} in the claim and in the file"


def _field_steps(claim: JsonObject) -> list[str | int]:
    field = claim["field"]
    steps: list[str | int] = []
    for step in field if isinstance(field, list) else [None]:
        if not (isinstance(step, str) or _is_whole(step)):
            raise RefusedError("'field' of the claim is not a list of keys and list indices")
        steps.append(step)
    return steps


def _field_shape(steps: Sequence[str | int]) -> tuple[str, ...]:
    return tuple("#" if isinstance(step, int) else step for step in steps)


def _cited_tree(record: JsonObject, steps: list[str | int], kind: str) -> TreeReference:
    record_type = str(record["type"])
    if _field_shape(steps) not in _FIELDS[kind]:
        raise RefusedError(f"'field' of the claim leads to no {kind}", printable(str(steps)))
    if record_type not in _FIELDS[kind][_field_shape(steps)]:
        raise RefusedError(
            f"a record of that type has no {kind} at 'field'", printable(record_type)
        )
    value: Json = record
    for step in steps:
        inner: Json = None
        if isinstance(value, dict) and isinstance(step, str):
            inner = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            inner = value[step]
        value = inner
    reference = tree_reference(value)
    if reference is None:
        raise RefusedError("'field' of the claim leads to no tree")
    return reference


def _check_leaf_shape(leaf: JsonObject, kind: str, index: int) -> None:
    """What the leaf must be for the kind of the proof (section 9)."""
    what = f"leaf of a {kind}"
    if kind == "tensor":
        _text(leaf, "name", what)
        if not isinstance(leaf.get("parts"), dict):
            _text(leaf, "digest", what)
    elif kind == "batch":
        _member(leaf, "items", what)
        if _whole(leaf, "batch", what) != index:
            raise RefusedError(f"batch of the {what} is not its index", leaf["batch"], index)
    else:
        _text(leaf, "digest", what)
        if "index" not in leaf:
            _text(leaf, "path", what)
        elif _whole(leaf, "index", what) != index:
            raise RefusedError(f"index of the {what} is not its place", leaf["index"], index)


# ---------------------------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------------------------


def verify_bytes(data: bytes, request: Request | None = None) -> Verdict:
    """Verify a bundle or proof file that is in memory."""
    asked = request or Request()
    if data.startswith(BUNDLE_MAGIC):
        return BundleVerifier(data, asked).verify()
    if data.startswith(b"{"):
        return ProofVerifier(data, asked).verify()
    return _not_checked("neither a bundle nor a proof file", asked)


def verify_file(path: Path, request: Request | None = None) -> Verdict:
    """Verify a bundle or proof file."""
    asked = request or Request()
    try:
        with Source(path) as source:
            is_bundle = source.read_at(0, min(4, source.size)) == BUNDLE_MAGIC
            # One byte more than it may have, so that a larger file is refused, not unreadable.
            limit = (MAX_BUNDLE if is_bundle else MAX_JSON) + 1
            data = source.read_at(0, min(source.size, limit))
            source.unchanged()
    except UncheckableError as error:
        return _not_checked(str(error), asked)
    return verify_bytes(data, asked)


def _not_checked(reason: str, request: Request) -> Verdict:
    verdict = Verdict(request)
    verdict.reason = reason
    return verdict


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mlprov_verify.py",
        description="Verify an mlprov bundle or proof file, from the specification alone.",
        epilog="Exit code: 0 holds, 1 does not hold, 2 could not check.",
    )
    parser.add_argument("file", type=Path, metavar="BUNDLE|PROOF")
    parser.add_argument("--model", type=Path, metavar="FILE|DIR", help="hold this model against it")
    parser.add_argument("--data", action="append", default=[], metavar="ROLE=PATH")
    parser.add_argument("--tensor", action="append", default=[], metavar="NAME")
    moment = parser.add_mutually_exclusive_group()
    moment.add_argument("--epoch", type=int, metavar="N", help="compare with this epoch's weights")
    moment.add_argument("--step", type=int, metavar="N", help="with those after this step")
    parser.add_argument(
        "--key", action="append", default=[], metavar="VKEY|FILE", help="a signer to accept"
    )
    parser.add_argument("--allow-unpinned", action="store_true", help="any signer will do")
    parser.add_argument(
        "--trusted-block",
        action="append",
        default=[],
        metavar="CHAIN:HASH",
        help="a block of Ethereum that you trust",
    )
    parser.add_argument(
        "--headers",
        type=Path,
        metavar="FILE",
        help='such blocks: a JSON list of {"chain_id":"1","hash":"0x…"}, or "header" for the hash',
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("-q", "--quiet", action="store_true", help="only the exit code")
    return parser.parse_args(arguments)


def _pinned_key(text: str) -> Key:
    """A key given as a vkey or as a file that holds one and a newline."""
    if text.count("+") >= 2 and not Path(text).exists():
        return parse_vkey(text)
    data = read_whole(Path(text), MAX_NOTE)
    try:
        return parse_vkey(data.decode("utf-8").removesuffix("\n"))
    except UnicodeDecodeError:
        raise RefusedError("key file is not text") from None


def _trusted_blocks(options: argparse.Namespace) -> list[TrustedBlock]:
    blocks = []
    for text in options.trusted_block:
        match = re.fullmatch(r"([0-9]{1,20}):(?:0x)?([0-9a-fA-F]{64})", text)
        if match is None:
            raise RefusedError("--trusted-block wants CHAIN:HASH", printable(text))
        blocks.append(TrustedBlock(int(match[1]), bytes.fromhex(match[2])))
    listed = [] if options.headers is None else strict_json(read_whole(options.headers, MAX_JSON))
    for item in listed if isinstance(listed, list) else [listed]:
        blocks.append(_listed_block(item))
    return blocks


def _listed_block(item: Json) -> TrustedBlock:
    what = "a block in --headers"
    block = _as_object(item, what)
    kind = "header" if "header" in block else "hash"
    _exactly(block, ("chain_id", kind), what)
    chain, text = _text(block, "chain_id", what), _text(block, kind, what)
    if not re.fullmatch("[0-9]{1,20}", chain) or not re.fullmatch("0x(?:[0-9a-fA-F]{2})+", text):
        raise RefusedError(f"{what} is no chain id and hexadecimal digits", printable(text))
    raw = bytes.fromhex(text[2:])
    if kind == "hash" and len(raw) != 32:
        raise RefusedError(f"{what} has a hash of {len(raw)} bytes")
    if kind == "hash":
        return TrustedBlock(int(chain), raw)
    return TrustedBlock(int(chain), read_header(raw).block, raw)


def _request(options: argparse.Namespace) -> Request:
    data: dict[str, Path] = {}
    for item in options.data:
        role, equals, path = item.partition("=")
        if not equals or not role or not path or role in data:
            raise RefusedError("--data wants ROLE=PATH, each role once", printable(item))
        data[role] = Path(path)
    return Request(
        keys=[_pinned_key(text) for text in options.key],
        allow_unpinned=options.allow_unpinned,
        model=options.model,
        data=data,
        tensors=list(dict.fromkeys(options.tensor)),
        epoch=options.epoch,
        step=options.step,
        blocks=_trusted_blocks(options),
    )


def format_json(verdict: Verdict) -> str:
    """One JSON object, ASCII, so that no name can reach a terminal unescaped."""
    checks = [dataclasses.asdict(check) for check in verdict.checks]
    members = {"result": verdict.result, "checks": checks}
    return json.dumps(members | ({"reason": verdict.reason} if verdict.reason else {}), indent=2)


def format_text(verdict: Verdict) -> str:
    """A line for each check, then the result."""
    width = min(32, max((len(printable(check.name, 80)) for check in verdict.checks), default=0))
    lines = [verdict.reason] if verdict.reason else []
    for check in verdict.checks:
        line = f"{check.state:<9}  {printable(check.name, 80):<{width}}  {check.detail}"
        if check.seen is not None:
            line += f"; seen {check.seen}"
        if check.expected is not None:
            line += f"; expected {check.expected}"
        lines.append(line)
    return "\n".join([*lines, f"result: {verdict.result}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _arguments(arguments)
    # Names in evidence are any Unicode; a terminal of another encoding must not end in a traceback.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        request = _request(options)
    except (RefusedError, UncheckableError) as error:
        seen = f": {error.seen}" if isinstance(error, RefusedError) and error.seen else ""
        sys.stderr.write(f"mlprov_verify: {error}{seen}\n")
        return EXIT_CODES["could not check"]
    verdict = verify_file(options.file, request)
    if options.json:
        sys.stdout.write(format_json(verdict) + "\n")
    elif not options.quiet:
        sys.stdout.write(format_text(verdict) + "\n")
    return EXIT_CODES[verdict.result]


if __name__ == "__main__":
    sys.exit(main())

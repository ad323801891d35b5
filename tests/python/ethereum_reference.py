"""Section 14 of docs/format.md once more, slowly, from its text alone: the core is not used.

Keccak-256, RLP, the trie and secp256k1 are written out from their specifications.
"""

from __future__ import annotations

import base64
import json
from typing import Any

# ---- Keccak-256: The Keccak reference, section 1.2 ----

_MASK = 2**64 - 1


def _round_constants() -> list[int]:
    register, constants = 1, []
    for _ in range(24):
        constant = 0
        for power in range(7):
            constant |= (register & 1) << (2**power - 1)
            register = register << 1 ^ (0x171 if register & 0x80 else 0)
        constants.append(constant)
    return constants


def _rotate(lane: int, bits: int) -> int:
    return (lane << bits | lane >> (64 - bits)) & _MASK


def _permute(a: list[list[int]]) -> list[list[int]]:
    for constant in _round_constants():
        c = [a[x][0] ^ a[x][1] ^ a[x][2] ^ a[x][3] ^ a[x][4] for x in range(5)]
        d = [c[(x - 1) % 5] ^ _rotate(c[(x + 1) % 5], 1) for x in range(5)]
        a = [[a[x][y] ^ d[x] for y in range(5)] for x in range(5)]
        b = [[0] * 5 for _ in range(5)]
        b[0][0] = a[0][0]
        x, y = 1, 0
        for t in range(24):
            b[y][(2 * x + 3 * y) % 5] = _rotate(a[x][y], (t + 1) * (t + 2) // 2 % 64)
            x, y = y, (2 * x + 3 * y) % 5
        a = [
            [b[x][y] ^ (~b[(x + 1) % 5][y] & b[(x + 2) % 5][y] & _MASK) for y in range(5)]
            for x in range(5)
        ]
        a[0][0] ^= constant
    return a


def keccak(data: bytes) -> bytes:
    padded = bytearray(data + b"\1" + bytes(-(len(data) + 1) % 136))
    padded[-1] |= 0x80
    state = [[0] * 5 for _ in range(5)]
    for begin in range(0, len(padded), 136):
        for lane in range(17):
            word = padded[begin + 8 * lane : begin + 8 * lane + 8]
            state[lane % 5][lane // 5] ^= int.from_bytes(word, "little")
        state = _permute(state)
    return b"".join(state[lane % 5][lane // 5].to_bytes(8, "little") for lane in range(4))


# ---- RLP: Yellow Paper, appendix B ----


def encode(item: Any) -> bytes:
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < 0x80:
            return item
        return _prefix(0x80, len(item)) + item
    inner = b"".join(map(encode, item))
    return _prefix(0xC0, len(inner)) + inner


def _prefix(base: int, length: int) -> bytes:
    if length < 56:
        return bytes([base + length])
    digits = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([base + 55 + len(digits)]) + digits


def decode(data: bytes) -> Any:
    item, rest = _take(data)
    assert rest == b""
    assert encode(item) == data, "another encoding of the same"
    return item


def _take(data: bytes) -> tuple[Any, bytes]:
    first = data[0]
    if first < 0x80:
        return data[:1], data[1:]
    base = 0xC0 if first >= 0xC0 else 0x80
    begin, length = 1, first - base
    if length > 55:
        begin = 1 + length - 55
        length = int.from_bytes(data[1:begin], "big")
    payload, rest = data[begin : begin + length], data[begin + length :]
    assert len(payload) == length
    if base == 0x80:
        return payload, rest
    items = []
    while payload:
        item, payload = _take(payload)
        items.append(item)
    return items, rest


def number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


# ---- the trie: Yellow Paper, appendices C and D ----


def _nibbles(data: bytes) -> list[int]:
    return [half for byte in data for half in (byte >> 4, byte & 15)]


def value_of(root: bytes, key: bytes, nodes: list[bytes]) -> bytes:
    path, left = _nibbles(key), list(nodes)
    assert keccak(left[0]) == root
    node = decode(left.pop(0))
    while True:
        if len(node) == 17:
            if not path:
                value = node[16]
                break
            child = node[path.pop(0)]
        else:
            prefix = _nibbles(node[0])
            prefix = prefix[1:] if prefix[0] & 1 else prefix[2:]
            assert path[: len(prefix)] == prefix
            path = path[len(prefix) :]
            child = node[1]
            if node[0][0] & 0x20:
                assert not path
                value = child
                break
        if isinstance(child, bytes):
            assert keccak(left[0]) == child
            assert len(left[0]) >= 32
            child = decode(left.pop(0))
        node = child
    assert value
    assert not left
    return bytes(value)


# ---- secp256k1: SEC 1 section 4.1.6, SEC 2 section 2.4.1 ----

_P = 2**256 - 2**32 - 977
_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
_Point = tuple[int, int] | None


def _add(one: _Point, two: _Point) -> _Point:
    if one is None or two is None:
        return one or two
    if one[0] == two[0]:
        if (one[1] + two[1]) % _P == 0:
            return None
        slope = 3 * one[0] * one[0] * pow(2 * one[1], -1, _P) % _P
    else:
        slope = (two[1] - one[1]) * pow(two[0] - one[0], -1, _P) % _P
    x = (slope * slope - one[0] - two[0]) % _P
    return x, (slope * (one[0] - x) - one[1]) % _P


def _multiply(point: _Point, times: int) -> _Point:
    total: _Point = None
    while times:
        if times & 1:
            total = _add(total, point)
        point = _add(point, point)
        times >>= 1
    return total


def recover(digest: bytes, parity: int, r: int, s: int) -> bytes:
    assert parity in (0, 1)
    assert 0 < r < _N
    assert 0 < s <= _N // 2
    y = pow(r**3 + 7, (_P + 1) // 4, _P)
    assert (y * y - r**3 - 7) % _P == 0
    point = (r, y if y % 2 == parity else _P - y)
    inverse = pow(r, -1, _N)
    key = _add(
        _multiply(point, s * inverse % _N),
        _multiply(_G, -int.from_bytes(digest, "big") * inverse % _N),
    )
    assert key is not None
    return keccak(key[0].to_bytes(32, "big") + key[1].to_bytes(32, "big"))[12:]


def address_text(address: bytes) -> str:
    """EIP-55."""
    digits = address.hex()
    check = keccak(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if int(nibble, 16) > 7 else digit
        for digit, nibble in zip(digits, check, strict=False)
    )


# ---- section 14 ----

MEMBERS = {
    "block", "chain_id", "contract", "digest", "event", "format", "header", "index", "log",
    "receipt_proof", "sender", "transaction", "transaction_proof", "version",
}  # fmt: skip


def check(evidence: bytes, digest: bytes) -> None:
    """Raise where the evidence does not show digest."""
    file = json.loads(evidence)
    assert set(file) == MEMBERS
    assert json.dumps(file, sort_keys=True, separators=(",", ":")).encode() == evidence
    assert (file["format"], file["version"]) == ("mlprov-ethereum-anchor", 1)
    assert file["digest"] == "sha256:" + digest.hex()

    raw_header = base64.b64decode(file["header"], validate=True)
    header = decode(raw_header)
    assert file["block"] == "0x" + keccak(raw_header).hex()
    key = encode(number(file["index"]))
    transaction, receipt = (
        value_of(root, key, [base64.b64decode(node, validate=True) for node in file[name]])
        for root, name in ((header[4], "transaction_proof"), (header[5], "receipt_proof"))
    )
    assert transaction[0] == receipt[0] == 2

    fields = decode(transaction[1:])
    assert len(fields) == 12
    assert file["transaction"] == "0x" + keccak(transaction).hex()
    assert str(int.from_bytes(fields[0], "big")) == file["chain_id"]
    assert address_text(fields[5]) == file["contract"]
    parity, r, s = (int.from_bytes(field, "big") for field in fields[9:])
    sender = recover(keccak(b"\2" + encode(fields[:9])), parity, r, s)
    assert address_text(sender) == file["sender"]

    status, _, _, logs = decode(receipt[1:])
    assert status == b"\1"
    address, topics, _ = logs[file["log"]]
    assert address == fields[5]
    assert topics == {
        "AnchorStore": [
            keccak(b"Anchored(address,bytes32,uint256)"), bytes(12) + sender, digest
        ],
        "MLProvenance": [keccak(b"HashStored(bytes32,string,uint256)"), digest],
    }[file["event"]]  # fmt: skip

"""CIDs as their specifications word them, slowly and with nothing of mlprov.

Protocol Buffers by hand (encoding.md, "Base 128 Varints"), dag-pb and UnixFS after
ipld.io/specs/codecs/dag-pb and specs.ipfs.tech/unixfs, the balanced layout by recursion from above.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """A block of a file, and what stands under it."""

    cid: bytes  # version 1
    data: bytes
    file_size: int
    blocks_size: int
    children: tuple[Block, ...] = ()

    def all_blocks(self) -> list[Block]:
        """Those under it, each after its own children; then itself."""
        return [block for child in self.children for block in child.all_blocks()] + [self]


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def number_field(field: int, number: int) -> bytes:
    return varint(field << 3) + varint(number)


def bytes_field(field: int, data: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(data)) + data


def cid_of(codec: int, block: bytes) -> bytes:
    return bytes([1, codec, 0x12, 32]) + hashlib.sha256(block).digest()


def leaf(chunk: bytes, *, raw: bool) -> Block:
    if raw:
        return Block(cid_of(0x55, chunk), chunk, len(chunk), len(chunk))
    data = number_field(1, 2) + (bytes_field(2, chunk) if chunk else b"")
    block = bytes_field(1, data + number_field(3, len(chunk)))
    return Block(cid_of(0x70, block), block, len(chunk), len(block))


def name_of(child: Block, version: int) -> bytes:
    """How a node names a child: version 0 is the multihash alone, and is for dag-pb only."""
    return child.cid[2:] if version == 0 and child.cid[1] == 0x70 else child.cid


def node(children: list[Block], version: int) -> Block:
    size = sum(child.file_size for child in children)
    data = number_field(1, 2) + number_field(3, size)
    data += b"".join(number_field(4, child.file_size) for child in children)
    links = b"".join(
        bytes_field(
            2,
            bytes_field(1, name_of(child, version))
            + bytes_field(2, b"")
            + number_field(3, child.blocks_size),
        )
        for child in children
    )
    block = links + bytes_field(1, data)
    total = len(block) + sum(child.blocks_size for child in children)
    return Block(cid_of(0x70, block), block, size, total, tuple(children))


def tree(leaves: list[Block], width: int, version: int) -> Block:
    """The smallest tree of one depth, filled from the left."""
    if len(leaves) == 1:
        return leaves[0]
    room = 1  # leaves under each child of the root
    while room * width < len(leaves):
        room *= width

    def under(some: list[Block], room: int) -> Block:
        if room == 0:
            return some[0]
        parts = [some[at : at + room] for at in range(0, len(some), room)]
        return node([under(part, room // width) for part in parts], version)

    return under(leaves, room)


def file_tree(content: bytes, chunk_size: int, width: int, *, raw: bool, version: int) -> Block:
    starts = range(0, len(content), chunk_size) if content else range(1)
    leaves = [leaf(content[at : at + chunk_size], raw=raw) for at in starts]
    return tree(leaves, width, version)


def car(root: Block) -> bytes:
    """A file as a CAR of version 1, blocks in the order in which they are made."""
    link = b"\xd8\x2a\x58\x25\x00" + root.cid  # tag 42 on 37 bytes
    header = b"\xa2\x65roots\x81" + link + b"\x67version\x01"
    frames = [varint(len(header)) + header]
    for block in root.all_blocks():
        frames.append(varint(36 + len(block.data)) + block.cid + block.data)
    return b"".join(frames)


def cbor_head(major: int, value: int) -> bytes:
    """RFC 8949 section 3, the shortest form."""
    if value < 24:
        return bytes([major << 5 | value])
    size = next(size for size in (1, 2, 4, 8) if value < 256**size)
    return bytes([major << 5 | 24 + size.bit_length() - 1]) + value.to_bytes(size, "big")


def cbor(value: object) -> bytes:
    """DAG-CBOR of a value (ipld.io/specs/codecs/dag-cbor/spec)."""
    if value is None or isinstance(value, bool):
        return bytes([0xF6 if value is None else 0xF5 if value else 0xF4])
    if isinstance(value, int):
        return cbor_head(0, value) if value >= 0 else cbor_head(1, -1 - value)
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, bytes):
        return cbor_head(2, len(value)) + value
    if isinstance(value, str):
        return cbor_head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return cbor_head(4, len(value)) + b"".join(map(cbor, value))
    assert isinstance(value, dict)
    pairs = sorted(value.items(), key=lambda pair: (len(pair[0].encode()), pair[0].encode()))
    return cbor_head(5, len(pairs)) + b"".join(cbor(k) + cbor(v) for k, v in pairs)

"""Anchors as files in a bundle (docs/format.md sections 8, 14 and 15)."""

from __future__ import annotations

import base64
import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mlprov import _core
from mlprov.errors import EvidenceError, VerificationError
from mlprov.record_values import is_integer, plain, shown
from mlprov.statements import read_json
from mlprov.verdicts import Mismatch, Unchecked

__all__ = [
    "STATES",
    "STATES_ENTRY",
    "AnchorName",
    "ChainBlock",
    "EthereumAnchor",
    "IpfsAnchor",
    "anchor_digest",
    "anchor_names",
    "block_name",
    "block_time",
    "read_ethereum",
    "read_ipfs",
    "read_states",
]

STATES_ENTRY = "anchors/states.json"
STATES = ("proved", "final")

_NAME = re.compile(r"anchors/((ethereum|ipfs)-([0-9]+)(?:-([0-9]+))?)\.json", re.ASCII)
_LAST_SECOND = 253_402_300_799  # of the year 9999: RFC 3339 ends there
_RAW_BLOCK = bytes.fromhex("01551220")  # CIDv1, raw, sha2-256, 32 bytes


@dataclass(frozen=True, order=True)
class AnchorName:
    """What the name of an anchor's entry says.

    Attributes:
        kind: ``ethereum`` or ``ipfs``.
        size: of the store log whose checkpoint is anchored.
        number: from 1: which of that kind and checkpoint.

    >>> str(AnchorName("ethereum", 7, 1)), AnchorName("ipfs", 7, 2).entry
    ('ethereum-7', 'anchors/ipfs-7-2.json')
    """

    kind: str
    size: int
    number: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.size}" + (f"-{self.number}" if self.number > 1 else "")

    @property
    def entry(self) -> str:
        """The entry's name in the bundle."""
        return f"anchors/{self}.json"

    @property
    def before(self) -> AnchorName | None:
        """The one whose number is one less."""
        if self.number == 1:
            return None
        return AnchorName(self.kind, self.size, self.number - 1)


def anchor_names(entries: Iterable[str]) -> list[AnchorName]:
    """The anchors among a bundle's entries, in the order of their checks."""
    matches = (match for name in entries if (match := _NAME.fullmatch(name)))
    return sorted(AnchorName(m[2], int(m[3]), int(m[4] or 1)) for m in matches)


def anchor_digest(note: bytes) -> bytes:
    """What every kind puts on record: the SHA-256 of a checkpoint's text, without signatures."""
    return _core.hash_bytes(_core.note_text(note).encode(), "sha256")


def read_states(content: bytes, names: Iterable[AnchorName]) -> dict[str, str]:
    """What the exporter knew of each anchor.

    Raises:
        EvidenceError: not one state for each anchor.
    """
    states = read_json(content, STATES_ENTRY)
    expected = sorted(map(str, names))
    if not isinstance(states, dict) or sorted(states) != expected:
        raise EvidenceError(f"{STATES_ENTRY} has not one state for each of: {', '.join(expected)}")
    for name, state in states.items():
        if state not in STATES:
            raise EvidenceError(
                f"{STATES_ENTRY} has the state {shown(state)} for {name}; expected "
                f"{' or '.join(STATES)}"
            )
    return states


def block_time(seconds: int) -> str:
    """A block's time as records have theirs.

    >>> block_time(0), block_time(2**60)
    ('1970-01-01T00:00:00.000Z', '1152921504606846976 seconds after 1970')
    """
    if seconds > _LAST_SECOND:
        return f"{seconds} seconds after 1970"
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


@dataclass(frozen=True)
class ChainBlock:
    """A block as evidence names it.

    Attributes:
        chain_id: of its chain.
        block: its hash.
        number: its height.
    """

    chain_id: int
    block: bytes
    number: int

    def __str__(self) -> str:
        return f"block {self.number} of chain {self.chain_id}"

    @property
    def hex(self) -> str:
        """The hash as text."""
        return f"0x{self.block.hex()}"


@dataclass(frozen=True)
class EthereumAnchor(ChainBlock):
    """What the evidence of an Ethereum anchor shows, relative to its block's hash.

    Attributes:
        contract: whose event it is: an address in the case of EIP-55.
        sender: the account that signed the transaction, which is for the block's chain.
        transaction: its hash.
        time: the block's, seconds since 1970.
        event: ``AnchorStore`` or ``MLProvenance``.
    """

    contract: str
    sender: str
    transaction: bytes
    time: int
    event: str

    def json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "chain_id": str(self.chain_id),
            "contract": self.contract,
            "sender": self.sender,
            "event": self.event,
            "transaction": f"0x{self.transaction.hex()}",
            "block": self.hex,
            "number": str(self.number),
            "time": block_time(self.time),
        }


@dataclass(frozen=True)
class IpfsAnchor:
    """What the evidence of an IPFS anchor shows: the name of the checkpoint's note there."""

    cid: str

    def json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"cid": self.cid}


def _refuse_newer(content: bytes, what: str) -> dict[str, Any]:
    value = read_json(content, what)
    if not isinstance(value, dict):
        raise EvidenceError(f"{what} is no JSON object")
    version = value.get("version")
    if is_integer(version) and version > 1:
        raise Unchecked(f"{what} is of version {version}, newer than this release")
    return value


def read_ethereum(content: bytes, note: bytes, what: str) -> EthereumAnchor:
    """Hold the evidence of an Ethereum anchor against the checkpoint that it is of.

    Args:
        content: the evidence (section 14).
        note: the checkpoint's note.
        what: what messages call the evidence.

    Raises:
        VerificationError: it does not hold, or is of another checkpoint.
        EvidenceError: malformed.
        Unchecked: of a newer version.
        Error: libsecp256k1, which recovers the sender, is not installed.
    """
    value, digest = _refuse_newer(content, what), anchor_digest(note)
    expected = f"sha256:{digest.hex()}"
    if value.get("digest") != expected:
        origin, size, _ = _core.parse_checkpoint(_core.note_text(note))
        seen = plain(value.get("digest"))
        raise Mismatch(
            f"{what} is about {seen}; the checkpoint of {origin} with {size} entries is {expected}",
            seen=seen,
            expected=expected,
        )
    try:
        found = _core.ethereum_verify(content, digest)
    except (VerificationError, EvidenceError) as error:
        raise type(error)(f"{what}: {error.what}", error.remedy) from error
    return EthereumAnchor(
        **{name: value for name, value in found.items() if name not in ("index", "log")}
    )


def block_name(block: bytes) -> str:
    """The CID of a block of plain bytes, in base32.

    >>> block_name(b"")
    'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'
    """
    cid = _RAW_BLOCK + _core.hash_bytes(block, "sha256")
    return "b" + base64.b32encode(cid).decode().rstrip("=").lower()


def read_ipfs(content: bytes, note: bytes, what: str) -> IpfsAnchor:
    """Hold the evidence of an IPFS anchor against the checkpoint that it is of.

    Args:
        content: the evidence (section 15).
        note: the checkpoint's note.
        what: what messages call the evidence.

    Raises:
        VerificationError: the name is another block's.
        EvidenceError: malformed.
        Unchecked: of a newer version.
    """
    value = _refuse_newer(content, what)
    if set(value) != {"cid", "kind", "version"} or value["kind"] != "ipfs":
        raise EvidenceError(f"{what} has not exactly cid, version and the kind ipfs")
    if value["version"] != 1 or isinstance(value["version"], bool):
        raise EvidenceError(f"{what} has version {shown(value['version'])}; expected 1")
    expected = block_name(note)
    if value["cid"] != expected:
        seen = plain(value["cid"])
        raise Mismatch(
            f"{what} names {seen}; the checkpoint's note is {expected}",
            seen=seen,
            expected=expected,
        )
    return IpfsAnchor(expected)

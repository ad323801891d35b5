"""Which blocks of Ethereum a verifier trusts; from him, never from evidence.

A local node makes blocks of any chain id and any time in seconds, and a header of proof of stake
carries no work: that a block belongs to the chain that everybody means has to come from elsewhere
(docs/format.md section 10, "Anchors").
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from mlprov import _core
from mlprov.anchor_files import ChainBlock
from mlprov.anchoring import Endpoint
from mlprov.chain_nodes import ChainNode
from mlprov.errors import ConfigError, Error, EvidenceError
from mlprov.verdicts import Mismatch, Unchecked
from mlprov.wording import brief

__all__ = ["BlockTrust", "Headers", "Judgement", "Online", "TrustedBlock"]

Headers: TypeAlias = str | os.PathLike[str] | Sequence[Any] | None
"""A file of headers, or the list that such a file has."""

Online: TypeAlias = str | Endpoint | None
"""A node of the verifier's own: its URL, or an endpoint with headers and certificates."""

_TRUSTED = re.compile(r"([0-9]{1,20}):(?:0x)?([0-9a-fA-F]{64})", re.ASCII)
_HEX = re.compile(r"0x((?:[0-9a-fA-F]{2})+)", re.ASCII)
_MAX_FILE = 64 << 20
_MAX_CHAIN = 2**64 - 1
_FORM = (
    'a JSON list of {"chain_id":"1","hash":"0x…"} and {"chain_id":"1","header":"0x…"}, the header '
    "as its RLP"
)


@dataclass(frozen=True)
class TrustedBlock:
    """A block that somebody vouches for.

    Attributes:
        chain_id: of its chain.
        hash: of the block.
        number: its height, where a header says it.
        time: its time in seconds since 1970, likewise.
    """

    chain_id: int
    hash: bytes
    number: int | None = None
    time: int | None = None

    @staticmethod
    def parse(text: str) -> TrustedBlock:
        """Read ``CHAIN:HASH``.

        Raises:
            ConfigError: it is none.

        >>> TrustedBlock.parse("1:0x" + "ab" * 32).chain_id
        1
        """
        match = _TRUSTED.fullmatch(text)
        if match is None or int(match[1]) > _MAX_CHAIN:
            raise ConfigError(
                f"cannot trust the block {brief(text, 100)!r}: expected CHAIN:HASH",
                "write the chain id and the block's hash, such as 1:0x and 64 hexadecimal digits",
            )
        return TrustedBlock(int(match[1]), bytes.fromhex(match[2]))


def _chain_id(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,20}", value, re.ASCII):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_CHAIN:
        return value
    return None


def _read_item(item: Any, what: str) -> TrustedBlock:
    members = set(item) if isinstance(item, dict) else set()
    chain_id = _chain_id(item.get("chain_id")) if members else None
    kind = next(iter(members - {"chain_id"}), None)
    text = item[kind] if kind in ("hash", "header") and len(members) == 2 else None
    match = _HEX.fullmatch(text) if isinstance(text, str) else None
    if chain_id is None or match is None:
        raise ConfigError(f"cannot use {what}: it is no block", f"write {_FORM}")
    raw = bytes.fromhex(match[1])
    if kind == "hash":
        if len(raw) != 32:
            raise ConfigError(f"cannot use {what}: its hash has {len(raw)} bytes; expected 32")
        return TrustedBlock(chain_id, raw)
    try:
        block, number, time = _core.ethereum_header(raw)
    except EvidenceError as error:
        raise ConfigError(f"cannot use {what}: {error.what}", f"write {_FORM}") from error
    return TrustedBlock(chain_id, block, number, time)


def _read_headers(headers: Headers) -> list[TrustedBlock]:
    where = "headers"
    if headers is None:
        return []
    if isinstance(headers, (str, os.PathLike)):
        path = pathlib.Path(headers)
        where = os.fspath(path)
        try:
            with path.open("rb") as file:
                text = file.read(_MAX_FILE + 1)
            headers = _core.json_decode(text, _MAX_FILE)
        except OSError as error:
            raise ConfigError(
                f"cannot read the headers {where}: {error.strerror}", f"name a file with {_FORM}"
            ) from error
        except EvidenceError as error:
            raise ConfigError(
                f"cannot read the headers {where}: {error.what}", f"write {_FORM}"
            ) from error
    if not isinstance(headers, (list, tuple)):
        raise ConfigError(f"cannot use the headers {where}: they are no list", f"write {_FORM}")
    return [_read_item(item, f"item {place} of {where}") for place, item in enumerate(headers)]


@dataclass(frozen=True)
class Judgement:
    """Why a block is accepted.

    Attributes:
        said: what says so.
        time: of the block, seconds since 1970, where that is known.
    """

    said: str
    time: int | None


@dataclass(frozen=True)
class BlockTrust:
    """All that a verifier gave about blocks.

    Attributes:
        blocks: that he trusts.
        node: of his own, which he trusts to know its chain.
    """

    blocks: tuple[TrustedBlock, ...] = ()
    node: ChainNode | None = None

    @staticmethod
    def read(trusted: Sequence[str], headers: Headers, online: Online) -> BlockTrust:
        """Read what a caller gave; no socket is opened.

        Raises:
            ConfigError: a block, header or URL that is none.
            TypeError: an argument of the wrong type.
        """
        if isinstance(trusted, (str, bytes)) or not isinstance(trusted, Sequence):
            raise TypeError(
                f"trusted_blocks: expected a list of texts, not {type(trusted).__name__}"
            )
        for text in trusted:
            if not isinstance(text, str):
                raise TypeError(f"trusted_blocks: expected texts, not {type(text).__name__}")
        if isinstance(online, str):
            online = Endpoint("ethereum", online)
        if online is not None and not isinstance(online, Endpoint):
            raise TypeError(f"online: expected a URL, not {type(online).__name__}")
        blocks = [*map(TrustedBlock.parse, trusted), *_read_headers(headers)]
        return BlockTrust(tuple(blocks), None if online is None else ChainNode(online))

    @property
    def given(self) -> bool:
        """Whether there is anything."""
        return bool(self.blocks) or self.node is not None

    def judge(self, block: ChainBlock) -> Judgement:
        """Whether a block that evidence names belongs to the chain that the caller means.

        Raises:
            Mismatch: something that he trusts says that it does not.
            Unchecked: nothing says it.
            Error: his node could not be asked.
        """
        named = self._named(block)
        if self.node is not None:
            try:
                return Judgement(
                    f"the node asked has {block}, and calls it final", self._ask(block)
                )
            except Mismatch:
                raise
            except (Unchecked, Error):  # what he named by hash needs no node
                if not named:
                    raise
        if named:
            time = next((one.time for one in named if one.time is not None), None)
            return Judgement(f"you trust {block.hex} as {block}", time)
        if self.blocks:
            raise Unchecked(f"{block.hex} is none of the blocks that you trust")
        raise Unchecked(
            f"whether {block.hex} is {block} is for you to say, with --trusted-block, --headers or "
            "--online: a node of one's own makes such a block, of any chain and time"
        )

    def _ask(self, block: ChainBlock) -> int:
        assert self.node is not None
        return self.node.judge(block)

    def _named(self, block: ChainBlock) -> list[TrustedBlock]:
        """Where the block is trusted by name; refuses one that contradicts what is trusted."""
        same = [one for one in self.blocks if one.hash == block.block]
        for one in same:
            if one.chain_id != block.chain_id:
                raise Mismatch(
                    f"you trust the block {block.hex} as one of chain {one.chain_id}; the evidence "
                    f"names chain {block.chain_id}",
                    seen=str(block.chain_id),
                    expected=str(one.chain_id),
                )
            if one.number not in (None, block.number):
                raise Mismatch(
                    f"the block {block.hex} has the height {one.number}; the evidence names "
                    f"{block.number}",
                    seen=str(block.number),
                    expected=str(one.number),
                )
        for one in self.blocks:
            is_there = (one.chain_id, one.number) == (block.chain_id, block.number)
            if is_there and one.hash != block.block:
                expected = f"0x{one.hash.hex()}"
                raise Mismatch(
                    f"the evidence names {block.hex} as {block}; the one that you trust there is "
                    f"{expected}",
                    seen=block.hex,
                    expected=expected,
                )
        return same

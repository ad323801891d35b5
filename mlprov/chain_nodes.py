"""Asking a verifier's own Ethereum node whether a block belongs to its chain, and is final.

Nothing else of mlprov asks a node while it verifies, and nothing does unless the verifier names
one. The node is believed: it is his. What it cannot or does not answer is never a verdict. The
beginning of a run asks its user's own node for a recent block (``brackets``).
"""

from __future__ import annotations

import os
import re
import time
from typing import Any, NamedTuple

from mlprov import _core
from mlprov.anchor_files import ChainBlock
from mlprov.anchoring import Endpoint, endpoint
from mlprov.errors import AnchorError, ConfigError
from mlprov.verdicts import Mismatch, Unchecked
from mlprov.wording import brief

__all__ = ["ChainNode", "own_node", "quantity", "unusable"]

_QUANTITY = re.compile(r"0x(?:0|[1-9a-f][0-9a-f]{0,15})", re.ASCII)  # execution-apis, base types
_HASH = re.compile(r"0x[0-9a-f]{64}", re.ASCII)
_MOST_SECONDS = 10.0
_MOST_SHOWN = 200


def own_node() -> Endpoint:
    """The user's own node: that of his Ethereum anchors, or ``MLPROV_ETHEREUM_URL`` alone.

    Raises:
        ConfigError: neither is there, or what is there cannot be used.
    """
    try:
        return endpoint("ethereum")
    except ConfigError:  # who only verifies has no contract and no account
        url, header = (os.environ.get(f"MLPROV_ETHEREUM_{name}") for name in ("URL", "HEADER"))
        if not url:
            raise
        return Endpoint("ethereum", url, (header,) if header else ())


class _Block(NamedTuple):
    number: int
    hash: bytes
    time: int


class ChainNode:
    """A node that answers Ethereum's JSON-RPC; what it said of itself is asked once."""

    def __init__(self, endpoint: Endpoint, *, ends: float | None = None) -> None:
        """``ends``: when to give up, by the monotonic clock; None: 10 seconds for each request."""
        self._endpoint = endpoint
        self._ends = ends
        self._chain_id: int | None = None
        self._finalized: _Block | None = None

    def judge(self, block: ChainBlock) -> int:
        """Whether a block is in the node's chain, and final there.

        Returns:
            its time, seconds since 1970.

        Raises:
            Mismatch: the node has another block at this height of the same chain, and calls it
                final.
            Unchecked: it is of another chain, has no such height yet, or does not call it final.
            AnchorError: it could not be asked, or its answer cannot be used.
        """
        chain_id = self._ask_chain_id()
        if chain_id != block.chain_id:
            raise Unchecked(f"the node asked is of chain {chain_id}; the evidence names {block}")
        # Finality first: what is final when it is asked stays so, and then the height is asked.
        finalized = self._ask_finalized()
        found = self._block(hex(block.number))
        if found is None:
            raise Unchecked(f"the node asked does not have the height of {block} yet")
        is_final = finalized is not None and finalized.number >= block.number
        if found.hash != block.block and not is_final:
            raise Unchecked(
                f"the node asked has another block in place of {block}, 0x{found.hash.hex()}, and "
                "calls neither final yet"
            )
        if found.hash != block.block:
            raise Mismatch(
                f"the evidence names {block.hex} as {block}; the node asked has another final "
                f"block there, 0x{found.hash.hex()}: the one named was given up, or never was in "
                "this chain",
                seen=block.hex,
                expected=f"0x{found.hash.hex()}",
            )
        if not is_final:
            said = "none" if finalized is None else f"block {finalized.number}"
            raise Unchecked(
                f"the node asked has {block}, but does not call it final yet (final is {said})"
            )
        return found.time

    def finalized_block(self) -> ChainBlock | None:
        """The last block that the node calls final; None where there is none yet.

        Raises:
            AnchorError: it could not be asked, or its answer cannot be used.
        """
        chain_id, found = self._ask_chain_id(), self._ask_finalized()
        return None if found is None else ChainBlock(chain_id, found.hash, found.number)

    def _ask_chain_id(self) -> int:
        if self._chain_id is None:
            self._chain_id = quantity(self._call("eth_chainId", "[]"), "eth_chainId")
        return self._chain_id

    def _ask_finalized(self) -> _Block | None:
        if self._finalized is None:
            self._finalized = self._block("finalized")
        return self._finalized

    def _block(self, which: str) -> _Block | None:
        method = "eth_getBlockByNumber"
        answer = self._call(method, f'["{which}",false]')
        if answer is None:
            return None
        if not isinstance(answer, dict):
            raise unusable(method, answer)
        block_hash = answer.get("hash")
        if not isinstance(block_hash, str) or not _HASH.fullmatch(block_hash):
            raise unusable(method, block_hash)
        number, seconds = (quantity(answer.get(name), method) for name in ("number", "timestamp"))
        if which != "finalized" and number != int(which, 16):
            raise unusable(method, answer.get("number"))
        return _Block(number, bytes.fromhex(block_hash[2:]), seconds)

    def _milliseconds(self) -> int:
        left = _MOST_SECONDS if self._ends is None else self._ends - time.monotonic()
        return max(1, int(1000 * min(self._endpoint.timeout, _MOST_SECONDS, left)))

    def _call(self, method: str, parameters: str) -> Any:
        endpoint = self._endpoint
        text = _core.json_rpc(
            endpoint.url,
            method,
            parameters,
            headers=endpoint.headers,
            ca_file=endpoint.ca_file,
            timeout_ms=self._milliseconds(),
        )
        answer = _core.json_decode(text)
        if answer.get("error") is not None:
            message = brief(str(answer["error"].get("message")), _MOST_SHOWN)
            raise AnchorError(
                f"the node asked answers to {method}: {message!r}", "ask another node"
            )
        return answer["result"]


def quantity(value: Any, what: str) -> int:
    """A number as the execution API writes it; ``what`` names the method that answered."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise unusable(what, value)
    return int(value, 16)


def unusable(what: str, value: Any) -> AnchorError:
    """The error about an answer to the method ``what`` that is none."""
    return AnchorError(
        f"the node's answer to {what} cannot be used: {brief(repr(value), _MOST_SHOWN)}",
        "check that the URL is that of an Ethereum node's JSON-RPC",
    )

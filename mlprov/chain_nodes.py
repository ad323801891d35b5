"""Asking a verifier's own Ethereum node whether a block belongs to its chain, and is final.

Nothing else of mlprov asks a node while it verifies, and nothing does unless the verifier names
one. The node is believed: it is his. What it cannot or does not answer is never a verdict.
"""

from __future__ import annotations

import re
from typing import Any

from mlprov import _core
from mlprov.anchor_files import EthereumAnchor
from mlprov.anchoring import Endpoint
from mlprov.errors import AnchorError
from mlprov.verdicts import Mismatch, Unchecked
from mlprov.wording import brief

__all__ = ["ChainNode"]

_QUANTITY = re.compile(r"0x(?:0|[1-9a-f][0-9a-f]{0,15})", re.ASCII)  # execution-apis, base types
_HASH = re.compile(r"0x[0-9a-f]{64}", re.ASCII)
_MOST_SECONDS = 10.0
_MOST_SHOWN = 200


class ChainNode:
    """A node that answers Ethereum's JSON-RPC; what it said of itself is asked once."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._chain_id: int | None = None
        self._finalized: int | None = None

    def judge(self, anchor: EthereumAnchor) -> str:
        """Whether the anchor's block is in the node's chain, and final there.

        Returns:
            what says so.

        Raises:
            Mismatch: the node has another block at this height of the same chain.
            Unchecked: it is of another chain, has no such height yet, or does not call it final.
            AnchorError: it could not be asked, or its answer cannot be used.
        """
        chain_id = self._ask_chain_id()
        if chain_id != anchor.chain_id:
            raise Unchecked(f"the node asked is of chain {chain_id}; the anchor is in {anchor}")
        # Finality first: what is final when it is asked stays so, and then the height is asked.
        finalized = self._ask_finalized()
        block = self._block(hex(anchor.number))
        if block is None:
            raise Unchecked(f"the node asked does not have the height of {anchor} yet")
        if block["hash"] != f"0x{anchor.block.hex()}":
            raise Mismatch(
                f"the anchor is in {anchor}; the node asked has another block there, "
                f"{block['hash']}: the anchor's was given up, or never was in this chain",
                seen=f"0x{anchor.block.hex()}",
                expected=str(block["hash"]),
            )
        if finalized is None or finalized < anchor.number:
            said = "none" if finalized is None else f"block {finalized}"
            raise Unchecked(
                f"the node asked has {anchor}, but does not call it final yet (final is {said})"
            )
        return f"the node asked has {anchor}, and calls it final"

    def _ask_chain_id(self) -> int:
        if self._chain_id is None:
            self._chain_id = _quantity(self._call("eth_chainId", "[]"), "eth_chainId")
        return self._chain_id

    def _ask_finalized(self) -> int | None:
        if self._finalized is None:
            block = self._block("finalized")
            self._finalized = None if block is None else _quantity(block["number"], "finalized")
        return self._finalized

    def _block(self, which: str) -> dict[str, Any] | None:
        method = "eth_getBlockByNumber"
        block = self._call(method, f'["{which}",false]')
        if block is None:
            return None
        if not isinstance(block, dict):
            raise _unusable(method, block)
        number, block_hash = block.get("number"), block.get("hash")
        if not isinstance(block_hash, str) or not _HASH.fullmatch(block_hash):
            raise _unusable(method, block_hash)
        if which != "finalized" and _quantity(number, method) != int(which, 16):
            raise _unusable(method, number)
        return {"number": number, "hash": block_hash}

    def _call(self, method: str, parameters: str) -> Any:
        endpoint = self._endpoint
        text = _core.json_rpc(
            endpoint.url,
            method,
            parameters,
            headers=endpoint.headers,
            ca_file=endpoint.ca_file,
            timeout_ms=int(1000 * min(endpoint.timeout, _MOST_SECONDS)),
        )
        answer = _core.json_decode(text)
        if answer.get("error") is not None:
            message = brief(str(answer["error"].get("message")), _MOST_SHOWN)
            raise AnchorError(
                f"the node asked answers to {method}: {message!r}", "ask another node"
            )
        return answer["result"]


def _quantity(value: Any, what: str) -> int:
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise _unusable(what, value)
    return int(value, 16)


def _unusable(what: str, value: Any) -> AnchorError:
    return AnchorError(
        f"the node's answer to {what} cannot be used: {brief(repr(value), _MOST_SHOWN)}",
        "check that the URL is that of an Ethereum node's JSON-RPC",
    )

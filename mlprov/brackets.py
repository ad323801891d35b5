"""What a run's heads are not older than: a block of a chain that ``run.start`` names.

Nobody knows a block's hash before there is the block, and every head is over ``run.start``: so none
was signed before (docs/format.md section 10, "Anchors"). It bounds heads, not training.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

from mlprov.anchor_files import ChainBlock
from mlprov.chain_nodes import ChainNode, own_node
from mlprov.errors import AnchorError, ConfigError, Error, EvidenceError
from mlprov.record_values import shown
from mlprov.records import Json
from mlprov.verdicts import Unchecked

__all__ = ["not_before", "read_not_before", "recent_block"]

PATIENCE = 0.5  # seconds that the beginning of a run gives a node in all
_HASH = re.compile(r"0x[0-9a-f]{64}", re.ASCII)
_NUMBER = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)
_MOST = 2**64 - 1


def recent_block() -> Json:
    """The last block that the user's node calls final, for ``run.start``.

    Returns:
        ``{"block","chain_id","number"}``; ``{"unavailable": why}`` where it cannot be had within
        half a second, which names no server.
    """
    ends = time.monotonic() + PATIENCE
    try:
        node = ChainNode(own_node(), ends=ends)
        block = node.finalized_block()
    except ConfigError:
        return {"unavailable": "no node is configured, or there is no libcurl"}
    except AnchorError as error:
        late = error.retryable or time.monotonic() >= ends
        return {
            "unavailable": "the node did not answer in time"
            if late
            else "the node's answer cannot be used"
        }
    except Error:
        return {"unavailable": "the node could not be asked"}
    if block is None:
        return {"unavailable": "the node calls no block final yet"}
    return {
        "block": f"0x{block.block.hex()}",
        "chain_id": str(block.chain_id),
        "number": str(block.number),
    }


def not_before(kinds: Sequence[str]) -> dict[str, Json]:
    """The member of ``run.start``; none where no anchor is on a chain.

    Args:
        kinds: of anchors that the run has.
    """
    return {"not_before": recent_block()} if "ethereum" in kinds else {}


def _number(value: Any) -> int | None:
    if isinstance(value, str) and _NUMBER.fullmatch(value) and int(value) <= _MOST:
        return int(value)
    return None


def read_not_before(value: Any) -> ChainBlock:
    """The block that ``run.start`` names.

    Raises:
        EvidenceError: the member is of another form.
        Unchecked: none could be had when the run began.
    """
    members = set(value) if isinstance(value, dict) else set()
    if members == {"unavailable"} and isinstance(value["unavailable"], str):
        raise Unchecked(f"run.start names no block: {shown(value['unavailable'])}")
    if members == {"block", "chain_id", "number"}:
        block, chain_id, number = (
            value["block"],
            *map(_number, (value["chain_id"], value["number"])),
        )
        if isinstance(block, str) and _HASH.fullmatch(block) and None not in (chain_id, number):
            return ChainBlock(
                int(value["chain_id"]), bytes.fromhex(block[2:]), int(value["number"])
            )
    raise EvidenceError(f"run.start has the not_before {shown(value)}, which is no block")

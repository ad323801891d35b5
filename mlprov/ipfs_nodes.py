"""Asking a verifier's own IPFS node whether it gives a block.

Only where he names one. What it does not give, or cannot be asked for, is never a verdict; that it
gives other bytes under the name is one: not of the anchor, of the node.
"""

from __future__ import annotations

from mlprov import _core
from mlprov.anchor_files import IpfsAnchor, block_name
from mlprov.anchoring import Endpoint
from mlprov.verdicts import Mismatch

__all__ = ["read_back"]

_MOST_BYTES = 1 << 20  # a checkpoint's note has some hundred
_MOST_SECONDS = 10.0


def read_back(node: Endpoint, anchor: IpfsAnchor) -> str:
    """Ask a node for an anchored note.

    Returns:
        what was found.

    Raises:
        Mismatch: the node gives other bytes.
        AnchorError: it could not be asked, or does not give the block.
    """
    block = _core.ipfs_block(
        node.url,
        anchor.cid,
        _MOST_BYTES,
        headers=node.headers,
        ca_file=node.ca_file,
        timeout_ms=max(1, int(1000 * min(node.timeout, _MOST_SECONDS))),
    )
    if (seen := block_name(block)) != anchor.cid:
        raise Mismatch(
            f"the node asked gives other bytes for {anchor.cid}: theirs are {seen}",
            seen=seen,
            expected=anchor.cid,
        )
    return f"the node asked gives {anchor.cid}"

"""The items of a batch leaf, read back."""

from __future__ import annotations

import json
from typing import Any

from mlprov.batches import capture_batch


def _number(text: str) -> int | float:
    """JCS has one form for a number: 1e20 is written like an integer, and is a float."""
    value = int(text)
    return value if abs(value) <= 2**53 - 1 else float(text)


def batch_items(batch: object) -> Any:
    """What the leaf of a batch says is in it."""
    return json.loads(capture_batch(0, batch).leaf, parse_int=_number)["items"]

"""The index of a sharded model (``*.safetensors.index.json``), held against its shards.

Source: huggingface_hub, "Serialization", ``split_torch_state_dict_into_shards``: the member
``weight_map`` names for each tensor the shard beside the index that holds it.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from mlprov.errors import EvidenceError
from mlprov.record_values import shown

__all__ = ["check_index", "is_index"]

_SUFFIX = ".safetensors.index.json"
_LONGEST = 100_000_000  # bytes; as much as a safetensors header may have


def is_index(name: str) -> bool:
    """Whether a file of this name is the index of a sharded model.

    >>> is_index("model.safetensors.index.json"), is_index("config.json")
    (True, False)
    """
    return name.endswith(_SUFFIX)


def check_index(path: pathlib.Path, shards: Mapping[str, Collection[str]]) -> None:
    """Whether an index says of every tensor what the shards beside it say.

    Args:
        path: the index.
        shards: names of the tensors in each safetensors file of its directory, by file name.

    Raises:
        EvidenceError: it is malformed, names a shard that is not there, or a shard that it names
            lacks one of its tensors or holds another one.
        OSError: it cannot be read.
    """
    listed: dict[str, set[str]] = {}
    for tensor, shard in _read_weight_map(path).items():
        listed.setdefault(shard, set()).add(tensor)
    for shard, tensors in sorted(listed.items()):
        if shard not in shards:
            raise _wrong(path, f"names the shard {shown(shard)}, which is not there")
        held = set(shards[shard])
        for tensor in sorted(tensors ^ held, key=str.encode):
            what = "is not there" if tensor in tensors else "is there too"
            raise _wrong(path, f"lists the tensors of {shown(shard)}, and {shown(tensor)} {what}")


def _read_weight_map(path: pathlib.Path) -> dict[str, str]:
    with path.open("rb") as file:
        content = file.read(_LONGEST + 1)
    if len(content) > _LONGEST:
        raise _wrong(path, f"is longer than {_LONGEST} bytes")
    try:
        index = json.loads(content, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"is no JSON: {error}") from error
    found = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise _wrong(path, "has no weight_map of tensor → shard")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return members


def _wrong(path: pathlib.Path, what: str) -> EvidenceError:
    return EvidenceError(
        f"the index {path} {what}; save the model again, or remove what is left of another save"
    )

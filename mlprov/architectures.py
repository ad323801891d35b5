"""The architecture of torch modules: what each is and how it is set (docs/format.md section 4)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from mlprov.errors import ConfigError
from mlprov.items import class_name
from mlprov.modules import Node, check_name, walk
from mlprov.records import Json, canonical, json_text

__all__ = ["architecture_leaves", "class_of", "unwrap"]


def class_of(module: Any) -> str:
    """The class that the user wrote: fully_shard() puts a class of its own in front of it."""
    sharded = getattr(sys.modules.get("torch.distributed.fsdp"), "FSDPModule", None)
    kind = type(module)
    if sharded is not None and sharded in kind.__bases__ and len(kind.__bases__) == 2:
        kind = next(base for base in kind.__bases__ if base is not sharded)
        return f"{kind.__module__}.{kind.__qualname__}"
    return class_name(module)


def unwrap(module: Any) -> Any:
    """The module inside any wrappers at the top."""
    return next(node.module for node in _outermost(module) if node.wraps is None)


def _outermost(module: Any) -> Iterator[Node]:
    return (node for node in walk(module) if node.name == "")


def architecture_leaves(module: Any) -> list[bytes]:
    """The module leaves of a model (docs/format.md section 4), wrappers left out, sorted by name.

    Raises:
        ConfigError: two modules have one name once the wrappers' part is removed.
    """
    leaves: dict[str, bytes] = {}
    origins: dict[str, str] = {}
    for node in walk(module):
        if node.wraps is not None:
            continue
        name = check_name(node.name, "module")
        if name in leaves:
            raise ConfigError(
                f"cannot name the model's modules: {origins[name]!r} and {node.full_name!r} are"
                f" both {name!r} once the wrappers' part is removed",
                "rename one",
            )
        origins[name] = node.full_name
        leaves[name] = canonical(_module_json(node))
    return [leaves[name] for name in sorted(leaves, key=lambda name: name.encode("utf-8"))]


def _module_json(node: Node) -> dict[str, Json]:
    describe: Callable[[], object] = node.module.extra_repr
    return {
        "class": class_of(node.module),
        "name": node.name,
        "text": json_text(str(describe())),
    }

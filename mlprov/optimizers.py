"""The state of optimizers as named leaves (docs/format.md section 4, "Optimizer state")."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from mlprov.digests import is_torch_tensor
from mlprov.errors import ConfigError
from mlprov.items import class_name
from mlprov.modules import flatten, is_module, parameter_names

__all__ = ["check_optimizer", "is_optimizer", "read_optimizer"]


def is_optimizer(value: Any) -> bool:
    """Whether something has what optimizers have, or is the ``state_dict()`` of one."""
    if _is_state(value):
        return True
    groups = getattr(value, "param_groups", None)
    return isinstance(groups, list) and isinstance(getattr(value, "state", None), Mapping)


def check_optimizer(optimizer: Any) -> None:
    """Refuse what is no optimizer; nothing is read.

    Raises:
        ConfigError: it is neither a torch optimizer nor the ``state_dict()`` of one.
    """
    if not is_optimizer(optimizer):
        raise ConfigError(
            "cannot record the optimizer: expected a torch optimizer or its state_dict(), seen"
            f" {class_name(optimizer)}"
        )


def _is_state(optimizer: Any) -> bool:
    return isinstance(optimizer, Mapping) and {"state", "param_groups"} <= optimizer.keys()


def read_optimizer(optimizer: Any, model: Any = None) -> Iterator[tuple[str, Any]]:
    """(name, tensor or value) of everything that an optimizer holds.

    Names: ``class``; ``param_groups.<g>.<key>`` for each setting of group g, where ``params`` lists
    the names of its parameters; ``state.<parameter>.<key>`` for each parameter's state,
    ``state.<key>`` for state that belongs to none. A parameter is called by its name in the model
    where the very object is found there (the first name by UTF-8 bytes if it is tied), else
    ``<g>/<i>``: its group and its place in it. Lists and dicts that hold tensors are taken apart:
    ``state.<parameter>.<key>.<index>``.

    Args:
        optimizer: an optimizer, or its ``state_dict()``, where parameters have no names
            (``<g>/<i>``) unless it lists them by name.
        model: the module whose parameters it updates.

    Raises:
        ConfigError: it is neither.
    """
    check_optimizer(optimizer)
    if _is_state(optimizer):
        groups, state = optimizer["param_groups"], optimizer["state"]
        names: dict[Any, str] = {}
    else:
        groups, state = optimizer.param_groups, optimizer.state
        names = dict(parameter_names(model)) if is_module(model) else {}
        yield "class", class_name(optimizer)
    yield from _read_groups(groups, names)
    yield from _read_state(state, names)


def _key(parameter: Any) -> Any:
    """What finds a parameter's name: its identity; in a state dict its index or its name."""
    return parameter if isinstance(parameter, (int, str)) else id(parameter)


def _read_groups(groups: list[Any], names: dict[Any, str]) -> Iterator[tuple[str, Any]]:
    for place, group in enumerate(groups):
        for index, parameter in enumerate(group["params"]):
            unnamed = parameter if isinstance(parameter, str) else f"{place}/{index}"
            names.setdefault(_key(parameter), unnamed)
        yield (
            f"param_groups.{place}.params",
            [names[_key(parameter)] for parameter in group["params"]],
        )
        for setting, value in group.items():
            if setting != "params":
                yield from flatten(f"param_groups.{place}.{setting}", value)


def _read_state(state: Mapping[Any, Any], names: dict[Any, str]) -> Iterator[tuple[str, Any]]:
    tensor = getattr(sys.modules.get("torch"), "Tensor", ())
    for place, (owner, held) in enumerate(state.items()):
        name = names.get(_key(owner))
        if name is None:  # of no parameter, or of one that no group lists any more
            name = f"unlisted/{place}" if is_torch_tensor(owner) else str(owner)
        if not isinstance(held, Mapping):
            yield from flatten(f"state.{name}", held)
            continue
        for key, value in held.items():
            if isinstance(value, tensor):  # nearly always, and there are three for each parameter
                yield f"state.{name}.{key}", value
            else:
                yield from flatten(f"state.{name}.{key}", value)

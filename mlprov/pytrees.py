"""States that are nested, as JAX's are: their arrays under the path that leads to each.

JAX's models are trees of containers and arrays (pytrees), and each step makes another one. What is
no module and no flat state dict is read as such a tree: by JAX where it is loaded, which knows the
containers that were registered with it (Flax, Equinox, Optax), else by the containers of Python.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from mlprov.errors import ConfigError
from mlprov.items import class_name
from mlprov.modules import is_module

__all__ = ["as_model", "named_state"]

_MAX_LEVELS = 100


def named_state(state: Any) -> Any:
    """A model as it is hashed: of a nested state its arrays by name, else the model itself.

    Args:
        state: anything; what is no container is returned as it is. Names are the keys, indices and
            attributes on the way, joined by dots. Numbers are arrays without dimensions where NumPy
            is loaded; keys of JAX's random generators are their data; what is neither (text,
            functions, None) is left out.

    Raises:
        ConfigError: two arrays have one name; a container holds itself, or JAX refuses it.

    >>> named_state({"dense": {"kernel": memoryview(b"ab")}, "layers": [memoryview(b"c")]})
    {'dense.kernel': <memory at ...>, 'layers.0': <memory at ...>}
    """
    if is_module(state) or not _is_nested(state):
        return state
    named: dict[str, Any] = {}
    for name, value in _leaves(state):
        array = _array(value)
        if array is None:
            continue
        if name in named:
            raise ConfigError(
                f"cannot read the state of type {class_name(state)}: two of its arrays are called"
                f" {name!r}",
                "rename a key that holds a dot",
            )
        named[name] = array
    return named


def as_model(state: Any) -> Any:
    """The same, but what cannot be read is returned: that it is not recorded is said elsewhere."""
    try:
        return named_state(state)
    except ConfigError:
        return state


def _is_nested(state: Any) -> bool:
    """Whether this is a container, and no flat state dict, which keeps its own names."""
    if isinstance(state, Mapping):
        return any(isinstance(value, (Mapping, list, tuple)) for value in state.values())
    if isinstance(state, (list, tuple)):
        return True
    jax = sys.modules.get("jax")
    return jax is not None and state is not None and not jax.tree_util.all_leaves([state])


def _leaves(state: Any) -> Iterator[tuple[str, Any]]:
    jax = sys.modules.get("jax")
    if jax is None:
        yield from _walk("", state, 0)
        return
    try:
        leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    except (RecursionError, SystemError, ValueError, TypeError) as error:  # as JAX says it
        raise ConfigError(f"cannot read the state of type {class_name(state)}: {error}") from error
    for path, leaf in leaves:
        yield ".".join(map(_part, path)), leaf


def _part(key: Any) -> str:
    """A key of JAX's: DictKey and FlattenedIndexKey have ``key``, others ``name`` or ``idx``."""
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def _walk(path: str, state: Any, level: int) -> Iterator[tuple[str, Any]]:
    if level > _MAX_LEVELS:
        raise ConfigError(f"cannot read the state at {path[:80]!r}: it is nested too deep")
    if isinstance(state, Mapping):
        parts: Any = state.items()
    elif isinstance(state, tuple) and hasattr(state, "_asdict"):
        parts = state._asdict().items()
    elif isinstance(state, (list, tuple)):
        parts = enumerate(state)
    else:
        yield path, state
        return
    for key, value in parts:
        yield from _walk(f"{path}.{key}" if path else str(key), value, level + 1)


def _array(value: Any) -> Any:
    """A leaf as something with elements; None of what has none."""
    jax, numpy = sys.modules.get("jax"), sys.modules.get("numpy")
    if jax is not None and isinstance(value, jax.Array):
        is_key = jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(value) if is_key else value
    if hasattr(value, "dtype") or isinstance(value, memoryview):
        return value
    if numpy is not None and isinstance(value, (bool, int, float, complex)):
        return numpy.asarray(value)
    return None

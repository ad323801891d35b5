"""Torch modules as mlprov reads them: names without wrappers, persistent state.

What is read is what the modules hold: registered parameters and persistent buffers (docs/format.md
section 5, "Persistent state dict"). ``state_dict()`` is not called, because hooks that other
libraries put there gather, rename or drop entries. Two methods of a module are:
``_save_to_state_dict`` where its class has one of its own (quantised layers keep their weights
behind it), and ``get_extra_state``. Models without such modules, which is nearly all, are walked by
the core, in a tenth of the time.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mlprov import _core
from mlprov.digests import is_torch_tensor
from mlprov.errors import ConfigError, UnsupportedTensorError

__all__ = [
    "ModuleState",
    "Node",
    "Structure",
    "check_name",
    "flatten",
    "is_module",
    "parameter_names",
    "read_state",
    "read_state_by_methods",
    "read_structure",
    "walk",
]

# Module that defines the class, class, name under which it holds what it wraps. Subclasses count.
_WRAPPERS: Final = (
    ("torch.nn.parallel.distributed", "DistributedDataParallel", "module"),
    ("torch.nn.parallel.data_parallel", "DataParallel", "module"),
    ("torch._dynamo.eval_frame", "OptimizedModule", "_orig_mod"),
    (
        "torch.distributed.fsdp.fully_sharded_data_parallel",
        "FullyShardedDataParallel",
        "_fsdp_wrapped_module",
    ),
    (
        "torch.distributed.algorithms._checkpoint.checkpoint_wrapper",
        "ActivationWrapper",
        "_checkpoint_wrapped_module",
    ),
    ("opacus.grad_sample.gsm_base", "AbstractGradSampleModule", "_module"),
)
_UNREADABLE: Final = frozenset({"UninitializedTensorMixin", "FlatParameter"})
_MAX_LEVELS: Final = 500  # of modules within modules; only a module that contains itself gets there


def is_module(value: object) -> bool:
    """Whether the value is a ``torch.nn.Module``; torch is not imported for it."""
    module = getattr(sys.modules.get("torch.nn"), "Module", None)
    return module is not None and isinstance(value, module)


@dataclass(frozen=True, slots=True)
class Node:
    """A module at one place of a model.

    Attributes:
        name: its name without the parts of wrappers; "" at the top.
        full_name: the name that torch gives it.
        module: the module.
        wraps: the name under which it holds what it wraps, or None where it is no wrapper.
    """

    name: str
    full_name: str
    module: Any
    wraps: str | None


def _wrapper_types() -> list[tuple[type, str]]:
    """The wrapper classes that can have instances: those whose module is loaded."""
    found = []
    for module, name, child in _WRAPPERS:
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type):
            found.append((kind, child))
    return found


def walk(module: Any) -> Iterator[Node]:
    """Every module of a model, the model itself first; shared modules at each of their places.

    Raises:
        ConfigError: a module contains itself.
    """
    wrappers = _wrapper_types()
    todo: list[tuple[str, str, Any, int]] = [("", "", module, 0)]
    while todo:
        name, full_name, one, level = todo.pop()
        if level > _MAX_LEVELS:
            raise ConfigError(
                f"cannot read the model: the module {full_name[:60]!r}… contains itself"
            )
        wraps = next((child for kind, child in wrappers if isinstance(one, kind)), None)
        yield Node(name, full_name, one, wraps)
        for child, inner in one._modules.items():
            if inner is not None:
                clean = name if child == wraps else _join(name, child)
                todo.append((clean, _join(full_name, child), inner, level + 1))


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def check_name(name: object, what: str = "tensor") -> str:
    """A name that a leaf can carry: text, valid Unicode, without U+0000.

    Raises:
        ConfigError: naming it.
    """
    if not isinstance(name, str):
        raise ConfigError(f"cannot record the {what} named {name!r:.200}: its name is not text")
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"cannot record the {what} named {name!r:.200}: its name is not valid Unicode",
            "rename it",
        ) from error
    if "\0" in name:
        raise ConfigError(
            f"cannot record the {what} named {name!r:.200}: its name contains U+0000", "rename it"
        )
    return str.__str__(name)


@dataclass(slots=True)
class ModuleState:
    """What a model holds, by names without wrappers.

    Attributes:
        tensors: the persistent state dict: parameters, persistent buffers.
        buffers: non-persistent buffers.
        values: what modules save that is no tensor (extra state, packed settings).
    """

    tensors: dict[str, Any] = field(default_factory=dict)
    buffers: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


class _Reader:
    """Collects the state of modules, and refuses a name that comes twice."""

    def __init__(self) -> None:
        self.state = ModuleState()
        self._origins: dict[str, str] = {}

    def add(self, kind: dict[str, Any], node: Node, name: str, value: Any) -> None:
        full_name = _join(node.full_name, name)
        clean = check_name(_join(node.name, name))
        earlier = self._origins.setdefault(clean, full_name)
        if earlier != full_name or clean in kind:
            raise ConfigError(
                f"cannot name the model's tensors: {earlier!r} and {full_name!r} are both"
                f" {clean!r} once the wrappers' part is removed",
                "rename one",
            )
        if is_torch_tensor(value):
            _refuse_unreadable(value, full_name)
        kind[clean] = value

    def add_value(self, node: Node, name: str, value: Any) -> None:
        """Something that a module saves: the tensors in it as tensors, the rest as values."""
        for place, part in flatten(name, value):
            kind = self.state.tensors if is_torch_tensor(part) else self.state.values
            self.add(kind, node, place, part)

    def read(self, node: Node) -> None:
        module = node.module
        transient = getattr(module, "_non_persistent_buffers_set", ())
        for name, buffer in module._buffers.items():
            if buffer is not None and name in transient:
                self.add(self.state.buffers, node, name, buffer)
        if _saves_its_own_way(module):
            saved: OrderedDict[str, Any] = OrderedDict()
            saved._metadata = OrderedDict()  # type: ignore[attr-defined]
            module._save_to_state_dict(saved, "", True)
            for name, value in saved.items():
                self.add_value(node, name, value)
            return
        for name, parameter in module._parameters.items():
            if parameter is not None:
                self.add(self.state.tensors, node, name, parameter)
        for name, buffer in module._buffers.items():
            if buffer is not None and name not in transient:
                self.add(self.state.tensors, node, name, buffer)
        base = sys.modules["torch.nn"].Module.get_extra_state
        if getattr(type(module), "get_extra_state", base) is not base:
            self.add_value(node, "_extra_state", module.get_extra_state())


def _saves_its_own_way(module: Any) -> bool:
    base = sys.modules["torch.nn"].Module
    # Functions in the instance's dictionary count as well: bitsandbytes and others put them there.
    return (
        type(module)._save_to_state_dict is not base._save_to_state_dict
        or "_save_to_state_dict" in module.__dict__
    )


def _saves_by_methods(kind: Any) -> bool:
    base = sys.modules["torch.nn"].Module
    return (
        kind._save_to_state_dict is not base._save_to_state_dict
        or kind.get_extra_state is not base.get_extra_state
    )


def _refuse_unreadable(tensor: Any, full_name: str) -> None:
    """Refuse tensors that have no values yet, and parameters that hide behind another one."""
    kinds = [kind.__name__ for kind in type(tensor).__mro__]
    if "UninitializedTensorMixin" in kinds:
        raise UnsupportedTensorError(
            f"cannot hash tensor {full_name!r}: it is not initialised yet", "run one forward pass"
        )
    if "FlatParameter" in kinds or hasattr(tensor, "_is_flat_param"):
        raise ConfigError(
            f"cannot read the tensor {full_name!r}: FSDP keeps the parameters behind it flattened",
            "use fully_shard, or FullyShardedDataParallel with use_orig_params=True",
        )


def flatten(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The tensors in a nested value, each under ``name.<index or key>``, and the values between.

    A container without tensors is one value.

    >>> list(flatten("betas", (0.9, 0.999)))
    [('betas', (0.9, 0.999))]
    """
    if is_torch_tensor(value) or not _holds_tensors(value, 0):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from flatten(f"{name}.{key}", item)
    else:
        for index, item in enumerate(value):
            yield from flatten(f"{name}.{index}", item)


def _holds_tensors(value: Any, level: int) -> bool:
    if is_torch_tensor(value):
        return True
    if level > _MAX_LEVELS // 10:
        raise ConfigError("cannot record a state that contains itself")
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return False
    return any(_holds_tensors(item, level + 1) for item in value)


def read_state(module: Any) -> ModuleState:
    """All that a model holds.

    Raises:
        ConfigError: two entries have one name once the wrappers' part is removed (both are named),
            or a name cannot be written.
    """
    structure = read_structure(module)
    held = None if structure is None else structure.tree.tensors()
    if structure is None or held is None:
        return read_state_by_methods(module)
    tensors, buffers = held
    return ModuleState(
        dict(zip(structure.tree.names, tensors, strict=True)),
        dict(zip(structure.tree.buffer_names, buffers, strict=True)),
    )


def read_state_by_methods(module: Any) -> ModuleState:
    """The same of any model: asks modules that save in their own way, and says what is wrong.

    A model for which :func:`read_structure` has an answer is read the same by either.
    """
    reader = _Reader()
    for node in walk(module):
        reader.read(node)
    return reader.state


class _Kinds(dict[type, str | None]):
    """What the core asks of a type: None: not ordinary; "": ordinary; or what a wrapper wraps."""

    def __init__(self) -> None:
        super().__init__()
        self._wrappers = _wrapper_types()
        self._module = sys.modules["torch.nn"].Module

    def __missing__(self, kind: type) -> str | None:
        self[kind] = answer = self._ask(kind)
        return answer

    def _ask(self, kind: type) -> str | None:
        if issubclass(kind, sys.modules["torch"].Tensor):
            return "" if _UNREADABLE.isdisjoint(base.__name__ for base in kind.__mro__) else None
        if not issubclass(kind, self._module) or _saves_by_methods(kind):
            return None
        return next((child for base, child in self._wrappers if issubclass(kind, base)), "")


@dataclass(frozen=True, slots=True)
class Structure:
    """The names of an ordinary model, and what finds its tensors again without naming them.

    Attributes:
        tree: the core's, which knows keys and types.
        kinds: what was said of each type when the tree was made.
    """

    tree: _core.ModuleTree
    kinds: Mapping[type, str | None]

    def tensors(self) -> tuple[list[Any], list[Any]] | None:
        """The tensors and the other buffers as they are now; None where the model is another."""
        fresh = _Kinds()  # a class may have been given methods of its own since
        if any(fresh[kind] != said for kind, said in self.kinds.items()):
            return None
        return self.tree.tensors()


def read_structure(module: Any) -> Structure | None:
    """The structure of an ordinary model.

    Ordinary is a model of modules that save what they have registered: no ``get_extra_state``, no
    ``_save_to_state_dict`` of their own, no lazy or flattened parameters, no TorchScript.

    Returns:
        None of any other model, and of one that :func:`read_state_by_methods` refuses.
    """
    kinds = _Kinds()
    tree = _core.module_tree(module, kinds)
    if tree is None:
        return None
    names = (*tree.names, *tree.buffer_names)
    distinct = len(set(names)) == len(names)
    return Structure(tree, kinds) if distinct and _are_names("\0".join(names), len(names)) else None


def _are_names(text: str, count: int) -> bool:
    """Whether :func:`check_name` passes names that are joined by U+0000."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return text.count("\0") == max(0, count - 1)


def parameter_names(module: Any) -> dict[int, str]:
    """The name of each parameter by ``id``; of a tied one the first name by UTF-8 bytes."""
    names: dict[int, str] = {}
    for node in walk(module):
        for name, parameter in node.module._parameters.items():
            if parameter is None:
                continue
            clean = _join(node.name, name)
            earlier = names.setdefault(id(parameter), clean)
            if _utf8(clean) < _utf8(earlier):
                names[id(parameter)] = clean
    return names


def _utf8(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")

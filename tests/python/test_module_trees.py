"""ModuleTree, the core's walk over a torch module: what it takes, what it refuses, what it keeps.

Modules are imitated where torch's own cannot be what is needed; real ones are test_plans.py's.
"""

from __future__ import annotations

import gc
import random
import sys
import weakref
from typing import Any

import pytest
from core_calls_for_tests import KINDS, Kinds, Module

from mlprov import _core


def make_model() -> Module:
    model = Module()
    model._modules = {"a": Module(), "none": None, "b": Module()}  # type: ignore[dict-item]
    model._modules["b"]._modules["inner"] = Module()
    model._modules["b"]._buffers["cache"] = 3.5
    model._modules["b"]._non_persistent_buffers_set.add("cache")
    return model


@pytest.fixture
def model() -> Module:
    return make_model()


def test_names_and_tensors_have_one_order(model: Module) -> None:
    tree = _core.module_tree(model, KINDS)
    assert tree is not None
    assert tree.names == (
        *("weight", "mean", "a.weight", "a.mean", "b.weight", "b.mean"),
        *("b.inner.weight", "b.inner.mean"),
    )
    assert tree.buffer_names == ("b.cache",)
    model._modules["b"]._parameters["weight"] = 9.5
    assert tree.tensors() == ([1.5, 2.5, 1.5, 2.5, 9.5, 2.5, 1.5, 2.5], [3.5])


class Own(dict[str, Any]):
    """A dict that may hand out what it likes."""


class Text(str):
    __slots__ = ()


def break_parameters(model: Any) -> None:
    model._parameters = Own(model._parameters)


def break_key(model: Any) -> None:
    model._parameters = {Text("weight"): 1.5}


CHANGES = [
    lambda model: model._modules["a"]._parameters.update(more=1.5),
    lambda model: model._modules["a"]._parameters.pop("bias"),
    lambda model: model._modules["a"]._parameters.update(bias=1.5),
    lambda model: model._modules["a"]._parameters.update(weight=None),
    lambda model: model._modules["a"]._parameters.update(weight="another type"),
    lambda model: model._modules["b"]._non_persistent_buffers_set.clear(),
    lambda model: model._non_persistent_buffers_set.add("mean"),
    lambda model: model._modules.update(more=Module()),
    lambda model: model._modules.update(none=Module()),
    lambda model: model._modules.update(a=None),
    lambda model: model._modules.pop("b"),
    lambda model: model._modules["b"]._modules.clear(),
    lambda model: model._modules["b"]._modules.update(inner=object()),
    lambda model: setattr(model, "_save_to_state_dict", print),
    lambda model: delattr(model, "_buffers"),
    lambda model: setattr(model, "_modules", None),
    lambda model: setattr(model, "_non_persistent_buffers_set", ["mean"]),
    lambda model: setattr(model._modules["a"], "__class__", type("Other", (Module,), {})),
    break_parameters,
    break_key,
]


@pytest.mark.parametrize("change", CHANGES)
def test_another_structure_is_said_to_be_one(model: Module, change: Any) -> None:
    tree = _core.module_tree(model, KINDS)
    assert tree is not None
    assert tree.tensors() is not None
    change(model)
    assert tree.tensors() is None


@pytest.mark.parametrize("change", CHANGES[-3:-1] + CHANGES[-7:-3])
def test_what_is_not_ordinary_has_no_tree(model: Module, change: Any) -> None:
    change(model)
    assert _core.module_tree(model, KINDS) is None


def test_a_type_that_is_not_known_has_no_tree(model: Module) -> None:
    model._modules["a"]._parameters["weight"] = b"bytes"  # type: ignore[assignment]
    assert _core.module_tree(model, KINDS) is None
    assert _core.module_tree(model, Kinds({Module: "", float: "", bytes: ""})) is not None


def test_the_part_of_a_wrapper_is_left_out_of_the_names(model: Module) -> None:
    kinds = Kinds({Module: "b", float: ""})
    tree = _core.module_tree(model, kinds)
    assert tree is not None
    assert tree.names[4:] == ("weight", "mean", "inner.weight", "inner.mean")


def test_a_module_within_itself_has_no_tree(model: Module) -> None:
    model._modules["a"]._modules["up"] = model
    assert _core.module_tree(model, KINDS) is None


def test_what_kinds_raises_is_raised(model: Module) -> None:
    assert _core.module_tree(model, {Module: ""}) is None  # it does not know float

    class Failing(dict[type, Any]):
        def __missing__(self, kind: type) -> None:
            raise RuntimeError("asked for " + kind.__name__)

    with pytest.raises(RuntimeError, match="asked for float"):
        _core.module_tree(model, Failing({Module: ""}))
    with pytest.raises(TypeError):
        _core.module_tree(5, Kinds({int: ""}))  # an int cannot be referred to weakly


def test_a_tree_holds_neither_modules_nor_tensors() -> None:
    model = make_model()
    value = float("7.25")
    model._parameters["weight"] = value
    before = sys.getrefcount(value)
    tree = _core.module_tree(model, KINDS)
    assert tree is not None
    assert sys.getrefcount(value) == before
    found = tree.tensors()
    assert sys.getrefcount(value) == before + 1
    del found
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    assert tree.tensors() is None


def test_a_tree_in_a_cycle_with_a_type_is_collected() -> None:
    kind = type("Kind", (Module,), {})
    model = kind()
    kind.tree = _core.module_tree(model, Kinds({kind: "", float: "", Module: ""}))  # type: ignore[attr-defined]
    assert kind.tree is not None  # type: ignore[attr-defined]
    gone = weakref.ref(kind)
    del kind, model
    gc.collect()
    assert gone() is None


def test_keys_and_names_survive_what_they_came_from() -> None:
    model = Module()
    for number in range(2000):
        model._parameters["parameter" + str(number)] = float(number)
    tree = _core.module_tree(model, KINDS)
    assert tree is not None
    model._parameters = {
        "".join(list(key)): value for key, value in model._parameters.items()
    }  # equal keys that are other objects
    gc.collect()
    found = tree.tensors()
    assert found is not None
    assert found[0][1:-1] == [float(number) for number in range(2000)]


class Meddler:
    """Changes a model from within the collector's run."""

    def __init__(self, model: Module, seed: int) -> None:
        self.model, self.chance = model, random.Random(seed)
        self.cycle = self

    def __del__(self) -> None:
        modules = [self.model, *filter(None, self.model._modules.values())]
        chosen = self.chance.choice(modules)
        for place in (chosen._parameters, chosen._buffers):
            for number in range(self.chance.randrange(40)):
                place[f"new{number}"] = 1.5
            if place and self.chance.random() < 0.5:
                place.pop(next(iter(place)))


@pytest.mark.parametrize("seed", range(30))
def test_finalizers_that_change_the_model_during_a_walk_break_nothing(seed: int) -> None:
    model = Module()
    model._modules = {f"layer{number}": Module() for number in range(50)}
    old = gc.get_threshold()
    gc.set_threshold(1 + seed % 5)
    try:
        for number in range(20):
            tree = _core.module_tree(model, KINDS)
            Meddler(model, seed * 100 + number)
            found = tree.tensors() if tree is not None else None
            if tree is not None and found is not None:
                assert len(found[0]) == len(tree.names)
    finally:
        gc.set_threshold(*old)

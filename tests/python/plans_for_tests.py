"""What a model may go through, and what a plan's digest must be afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import mlprov
from mlprov import capture_plan, digest_model, modules
from mlprov.plans import CapturePlan

torch = pytest.importorskip("torch")
nn = torch.nn


def by_methods(model: Any) -> mlprov.ModelDigest:
    return digest_model(modules.read_state_by_methods(model).tensors)


def check(plan: CapturePlan, model: Any) -> mlprov.ModelDigest:
    """The plan's digest, which must be that of the model as it is now."""
    found = plan.digest()
    assert found == by_methods(model)
    assert found == digest_model(model)
    state = modules.read_state(model)
    again = modules.read_state_by_methods(model)
    for one, other in ((state.tensors, again.tensors), (state.buffers, again.buffers)):
        assert {name: id(tensor) for name, tensor in one.items()} == {
            name: id(tensor) for name, tensor in other.items()
        }
    return found


def tie(net: Any) -> None:
    net.inner[0].bias = net.module.bias


def untie(net: Any) -> None:
    net.head.weight = nn.Parameter(net.head.weight.detach().clone())


def replace_data(net: Any) -> None:
    net.module.weight.data = torch.randn(3, 4)


def replace_data_by_another_shape(net: Any) -> None:
    net.module.bias.data = torch.randn(7)


def assign_state(net: Any) -> None:
    state = {name: tensor + 1 for name, tensor in net.state_dict().items()}
    net.load_state_dict(state, assign=True)


def load_state(net: Any) -> None:
    net.load_state_dict({name: tensor + 1 for name, tensor in net.state_dict().items()})


def change_values(net: Any) -> None:
    with torch.no_grad():
        net.module.weight.add_(1)


def resize_storage(net: Any) -> None:
    net.module.bias.data = net.module.bias.data.clone()
    net.module.bias.untyped_storage().resize_(400)
    net.module.bias.data.resize_(100).zero_()


def strided(net: Any) -> None:
    net.module.weight.data = torch.randn(4, 3).T


def put_in_and_take_out(net: Any) -> None:
    net.extra = nn.Linear(2, 2)
    net.extra.inner = nn.BatchNorm1d(3)
    del net.extra.inner


def replace_by_one_of_the_same_kind(net: Any) -> None:
    net.inner[0] = nn.Linear(3, 4)


def replace_by_another_kind(net: Any) -> None:
    net.inner[0] = nn.Conv1d(3, 4, 1)


def rename(net: Any) -> None:
    net.other_head = net.head
    del net.head


def move_to_another_place(net: Any) -> None:
    net.inner.append(net.inner[0])
    del net.inner[0]


def drop_parameter(net: Any) -> None:
    net.module.bias = None


def make_persistent(net: Any) -> None:
    net.register_buffer("mask", net.mask, persistent=True)


def make_transient(net: Any) -> None:
    net._non_persistent_buffers_set.add("scale")


def fill_absent(net: Any) -> None:
    net.absent = torch.ones(2)


def swap_order(net: Any) -> None:
    weight = net.module._parameters.pop("weight")
    net.module._parameters["weight"] = weight


def replace_the_dict(net: Any) -> None:
    net.module._parameters = dict(net.module._parameters)


def parametrize(net: Any) -> None:
    nn.utils.parametrizations.weight_norm(net.inner[0])


def prune(net: Any) -> None:
    from torch.nn.utils import prune

    prune.l1_unstructured(net.inner[0], "weight", 0.5)


def compile_within(net: Any) -> None:
    net.inner = torch.compile(net.inner, backend="eager")


def wrap_within(net: Any) -> None:
    net.inner = nn.DataParallel(net.inner)


def save_in_an_own_way(net: Any) -> None:
    layer = net.module
    layer._save_to_state_dict = lambda saved, prefix, keep: saved.update(own=layer.weight)


TABLE = torch.arange(3)


class WithExtra(nn.Linear):
    def get_extra_state(self) -> Any:
        return {"table": TABLE, "note": "text"}


def extra_state_within(net: Any) -> None:
    net.inner.append(WithExtra(4, 4))


def another_class(net: Any) -> None:
    class Own(type(net.module)):  # type: ignore[misc]
        pass

    net.module.__class__ = Own


def give_the_class_a_method(net: Any) -> None:
    class Own(nn.Linear):
        pass

    net.module.__class__ = Own
    capture_plan(net).digest()
    Own.get_extra_state = WithExtra.get_extra_state


def sparse_parameter(net: Any) -> None:
    net.module.weight = nn.Parameter(torch.eye(4).to_sparse())


CHANGES: list[Callable[[Any], Any]] = [
    tie, untie, replace_data, replace_data_by_another_shape, assign_state, load_state,
    change_values, resize_storage, strided, put_in_and_take_out, replace_by_one_of_the_same_kind,
    replace_by_another_kind, rename, move_to_another_place, drop_parameter, make_persistent,
    make_transient, fill_absent, swap_order, replace_the_dict, parametrize, prune, compile_within,
    wrap_within, save_in_an_own_way, extra_state_within, another_class, give_the_class_a_method,
    sparse_parameter,
    lambda net: net.double(), lambda net: net.to(torch.bfloat16), lambda net: net.eval(),
    lambda net: net.requires_grad_(False), lambda net: net.to(memory_format=torch.channels_last),
    lambda net: net.share_memory(), lambda net: net.apply(lambda module: None),
]  # fmt: skip

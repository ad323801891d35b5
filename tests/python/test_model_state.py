"""The state around a model: architecture, buffers, optimizer."""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np
import pytest
import rfc8785
from models_for_tests import Net, decoded, names, slow_leaf

from mlprov.errors import ConfigError
from mlprov.models import (
    capture_architecture,
    capture_buffers,
    capture_optimizer,
    count_parameters,
    digest_model,
    persistent_tensors,
)

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
nn = torch.nn


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


# ---- architecture, buffers, optimizer ----


def test_the_architecture_says_class_and_settings_of_each_module(net):
    leaves = decoded(capture_architecture(net))
    assert list(leaves) == ["", "head", "inner", "inner.0", "inner.1", "module"]
    assert leaves["head"] == {
        "class": "torch.nn.modules.linear.Linear",
        "name": "head",
        "text": net.head.extra_repr(),
    }
    assert leaves[""]["class"] == f"{Net.__module__}.Net"
    assert capture_architecture({"a": torch.ones(1)}) is None


def test_a_change_of_settings_changes_the_architecture_but_not_the_weights(net):
    before = digest_model(net), capture_architecture(net)
    net.inner[1].momentum = 0.5
    assert digest_model(net) == before[0]
    assert capture_architecture(net) != before[1]


def test_only_non_persistent_buffers_are_in_the_buffers_tree(net):
    assert capture_buffers(net).leaves == [slow_leaf("mask", net.mask)]
    assert "mask" not in names(net)
    assert capture_buffers(nn.Linear(1, 1)) is None
    assert capture_buffers({"a": torch.ones(1)}) is None
    assert capture_buffers(None) is None


def step(net: Any, make: Any) -> Any:
    optimizer = make(
        [{"params": list(net.module.parameters())}, {"params": net.inner.parameters()}]
    )
    net(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    return optimizer


@pytest.mark.parametrize(
    "make",
    [
        functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        functools.partial(torch.optim.AdamW, lr=0.1),
        functools.partial(torch.optim.AdamW, lr=torch.tensor(0.1), foreach=False),
        functools.partial(torch.optim.Adam, lr=0.1, fused=True),
        functools.partial(torch.optim.Adagrad, lr=0.1),
        functools.partial(torch.optim.Rprop, lr=0.1),
    ],
)
def test_every_tensor_and_setting_of_an_optimizer_has_a_leaf(net, make):
    optimizer = step(net, make)
    leaves = decoded(capture_optimizer(optimizer, net))
    named = {**dict(net.named_parameters()), "head.weight": net.module.weight}
    named.pop("module.weight")  # tied: the first name by UTF-8 bytes counts
    expected: dict[str, Any] = {}
    for name, parameter in named.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            expected[f"state.{name}.{key}"] = value
    assert expected
    for group, settings in enumerate(optimizer.param_groups):
        for key, value in settings.items():
            if key != "params":
                expected[f"param_groups.{group}.{key}"] = value
    tensors = {name: value for name, value in expected.items() if torch.is_tensor(value)}
    for name, tensor in tensors.items():
        assert rfc8785.dumps(leaves[name]) == slow_leaf(name, tensor)
    for name in expected.keys() - tensors.keys():
        value = expected[name]
        assert leaves[name]["value"] == (list(value) if isinstance(value, tuple) else value)
    assert leaves["param_groups.0.params"]["value"] == ["head.weight", "module.bias"]
    assert leaves["class"]["value"].endswith(type(optimizer).__name__)
    extra = {"class", "param_groups.0.params", "param_groups.1.params"}
    assert leaves.keys() == expected.keys() | extra


def test_state_in_lists_is_taken_apart():
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.LBFGS([weight], max_iter=3)

    def closure():
        optimizer.zero_grad()
        loss = (weight**4).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    leaves = decoded(capture_optimizer(optimizer, None))
    assert "digest" in leaves["state.0/0.old_dirs.0"]
    assert leaves["state.0/0.n_iter"]["value"] == optimizer.state[weight]["n_iter"]


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_a_tied_parameter_is_called_by_its_first_name_by_utf_8_bytes(order):
    weight = nn.Parameter(torch.ones(1))
    model = nn.ParameterDict(dict.fromkeys(order, weight))
    leaves = decoded(capture_optimizer(torch.optim.SGD([weight], lr=0.1), model))
    assert leaves["param_groups.0.params"]["value"] == ["a"]


def test_parameters_that_the_model_does_not_have_are_named_by_group_and_place(net):
    stranger = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([stranger, net.scale.requires_grad_()], lr=0.1, momentum=0.9)
    (stranger.sum() + net.scale.sum()).backward()
    optimizer.step()
    leaves = decoded(capture_optimizer(optimizer, net))
    assert leaves["param_groups.0.params"]["value"] == ["0/0", "0/1"]
    assert "state.0/0.momentum_buffer" in leaves


def test_the_wrappers_of_the_model_leave_no_trace_in_the_optimizer(net):
    optimizer = step(net, functools.partial(torch.optim.Adam, lr=0.1))
    wrapped = torch.compile(nn.DataParallel(net), backend="eager")
    assert capture_optimizer(optimizer, wrapped) == capture_optimizer(optimizer, net)


def test_a_state_dict_of_an_optimizer_holds_the_same_digests(net):
    optimizer = step(net, functools.partial(torch.optim.Adam, lr=0.1))
    live = decoded(capture_optimizer(optimizer, net))
    stored = decoded(capture_optimizer(optimizer.state_dict(), net))
    digests = [{leaf.get("digest") for leaf in side.values()} for side in (live, stored)]
    assert digests[0] == digests[1]
    assert stored["param_groups.0.params"]["value"] == ["0/0", "0/1"]
    assert "state.1/0.exp_avg" in stored


def test_what_is_no_optimizer_is_refused_and_none_is_none():
    assert capture_optimizer(None, None) is None
    for obj in (5, {"state": {}}, nn.Linear(1, 1), object()):
        with pytest.raises(ConfigError, match="expected a torch optimizer"):
            capture_optimizer(obj, None)


def test_persistent_tensors_are_the_live_objects_in_order(net):
    found = persistent_tensors(nn.DataParallel(net))
    assert list(found) == sorted(net.state_dict(), key=str.encode)
    assert found["head.weight"] is net.module.weight
    assert found["scale"] is net.scale


def test_parameters_are_counted_once(net):
    assert count_parameters(net) == sum(p.numel() for p in net.parameters())
    assert count_parameters({"a": torch.ones(2, 3), "b": np.ones(4)}) == 10


def test_digests_of_several_threads_agree(net):
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(digest_model(net))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [digest_model(net)] * 4

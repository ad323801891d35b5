"""Plans: whatever happens to a model between two digests, the second is that of the model as it is.

What a plan says is held against ``read_state_by_methods``, which walks the model in Python and
remembers nothing, and against leaves written from docs/format.md alone.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import Net, slow_leaves
from plans_for_tests import (
    CHANGES,
    WithExtra,
    assign_state,
    by_methods,
    change_values,
    check,
    rename,
    replace_by_one_of_the_same_kind,
    replace_data,
    replace_data_by_another_shape,
    tie,
    untie,
)

from mlprov import ConfigError, UnsupportedTensorError, capture_plan, digest_model
from mlprov.models import capture_optimizer

torch = pytest.importorskip("torch")
nn = torch.nn


@pytest.fixture
def net() -> Any:
    torch.manual_seed(0)
    return Net()


@pytest.mark.parametrize("change", CHANGES)
def test_after_any_change_a_plan_has_the_digest_of_the_model_as_it_is(
    net: Any, change: Callable[[Any], Any]
) -> None:
    plan = capture_plan(net)
    before = check(plan, net)
    assert list(before.leaves) == slow_leaves(net.state_dict())
    assert plan.digest() == before
    change(net)
    check(plan, net)
    assert check(plan, net) == plan.digest()


class Grown(nn.Module):
    """What the changes above need, under the names that they use."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Net()


@given(steps=st.lists(st.sampled_from(CHANGES), max_size=6))
@settings(max_examples=40, deadline=None)
def test_after_any_row_of_changes_a_plan_has_the_digest_of_the_model_as_it_is(
    steps: list[Callable[[Any], Any]],
) -> None:
    net = Net()
    plan, above = capture_plan(net), Grown()
    above.inner = net
    outer = capture_plan(above)
    for step in steps:
        try:
            step(net)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
            continue  # what an earlier change left does not admit this one
        check(plan, net)
        check(outer, above)


def test_values_are_found_without_reading_the_names_again(net: Any) -> None:
    plan = capture_plan(net)
    for change in (
        change_values,
        replace_data,
        replace_data_by_another_shape,
        untie,
        tie,
        assign_state,
        replace_by_one_of_the_same_kind,
        lambda net: net.half(),
        lambda net: net.eval(),
    ):
        check(plan, net)
        change(net)
    check(plan, net)
    assert plan.enumerations == 1
    rename(net)
    check(plan, net)
    check(plan, net)
    assert plan.enumerations == 2


def test_tensors_without_values_are_refused_by_name_until_they_have_some(net: Any) -> None:
    plan = capture_plan(net)
    before = plan.digest()
    kept = net.inner[0].weight
    net.inner[0].weight = nn.Parameter(torch.empty(4, 3, device="meta"))
    with pytest.raises(UnsupportedTensorError, match=r"'inner\.0\.weight'.*meta"):
        plan.digest()
    net.inner[0].weight = kept
    assert plan.digest() == before
    gone = net.scale
    gone.untyped_storage().resize_(0)
    with pytest.raises(UnsupportedTensorError, match="'scale'"):
        plan.digest()
    gone.untyped_storage().resize_(12)
    gone.copy_(torch.arange(3.0))
    assert plan.digest() == before
    net.lazy = nn.LazyLinear(2)
    with pytest.raises(UnsupportedTensorError, match=r"'lazy\.weight'.*forward pass"):
        plan.digest()
    net.lazy(torch.ones(1, 5))
    check(plan, net)


def test_what_is_wrong_with_a_model_is_said_as_digest_model_says_it(net: Any) -> None:
    plan = capture_plan(net)
    plan.digest()
    net.inner.add_module("up", net)
    with pytest.raises(ConfigError, match="contains itself"):
        plan.digest()
    del net.inner.up
    net.module._parameters["\ud800"] = nn.Parameter(torch.ones(1))
    with pytest.raises(ConfigError, match="not valid Unicode"):
        plan.digest()
    del net.module._parameters["\ud800"]
    net.module._parameters["a\0b"] = nn.Parameter(torch.ones(1))
    with pytest.raises(ConfigError, match=r"U\+0000"):
        plan.digest()
    del net.module._parameters["a\0b"]
    check(plan, net)


def test_wrappers_leave_no_trace_and_clashes_are_named(net: Any) -> None:
    expected = digest_model(net)
    wrapped = nn.DataParallel(torch.compile(net, backend="eager"))
    plan = capture_plan(wrapped)
    assert plan.digest() == expected
    wrapped.register_buffer("scale", torch.ones(3))
    with pytest.raises(ConfigError, match=r"'scale' and|and 'scale'"):
        plan.digest()
    wrapped.register_buffer("scale", torch.ones(3), persistent=False)
    with pytest.raises(ConfigError, match=r"'scale' and|and 'scale'"):
        plan.digest()
    del wrapped.scale
    assert plan.digest() == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_models_that_are_not_ordinary_are_read_anew_each_time(net: Any) -> None:
    for model in (
        torch.jit.script(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))),
        nn.Sequential(WithExtra(2, 2)),
    ):
        plan = capture_plan(model)
        for rounds in range(1, 4):
            with torch.no_grad():
                next(iter(model.parameters())).add_(1)
            check(plan, model)
            assert plan.enumerations == rounds


def test_a_class_that_is_given_a_method_later_is_asked_for_what_it_saves(net: Any) -> None:
    class Own(nn.Linear):
        pass

    net.inner.append(Own(4, 4))
    plan = capture_plan(net)
    before = check(plan, net)
    Own.get_extra_state = WithExtra.get_extra_state
    found = check(plan, net)
    assert found.size == before.size + 1
    assert found.leaf("inner.2._extra_state.table")
    del Own.get_extra_state
    assert check(plan, net) == before


# ---- state dicts, optimizers ----


def test_a_state_dict_is_read_as_it_is() -> None:
    state: dict[str, Any] = {"b": torch.ones(2), "a": np.zeros(3)}
    for one in (state, OrderedDict(state)):
        plan = capture_plan(one)
        assert plan.digest() == digest_model(one)
        one["c"] = torch.eye(2).to_sparse()
        del one["b"]
        assert plan.digest() == digest_model(one)
        one["a"] = one["c"]
        assert plan.digest() == digest_model(one)
        names, tensors = plan.named_tensors()
        assert dict(zip(names, tensors, strict=True)) == one


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD, torch.optim.LBFGS])
def test_the_state_of_an_optimizer_is_the_tree_that_a_run_records(net: Any, kind: Any) -> None:
    optimizer = kind(net.parameters(), lr=0.1)
    plan = capture_plan(optimizer, model=net)
    for _ in range(3):

        def loss() -> Any:
            optimizer.zero_grad()
            value = net(torch.ones(2, 4)).sum()
            value.backward()
            return value

        optimizer.step(loss)
        expected = capture_optimizer(optimizer, net)
        found = plan.digest()
        assert expected is not None
        assert (bytes(found.root), list(found.leaves)) == (expected.root, expected.leaves)
        assert found.prove("param_groups.0.lr").verify(root=found.root)
        assert {tensor.name for tensor in found.tensors} == set(plan.named_tensors()[0])
        stored = capture_plan(optimizer.state_dict())
        assert stored.digest().size == found.size - 1  # it has no class


# ---- what a plan holds ----


def test_a_plan_keeps_neither_model_nor_optimizer_alive() -> None:
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters())
    plan, of_optimizer = capture_plan(net), capture_plan(optimizer, model=net)
    plan.digest()
    of_optimizer.digest()
    weight = weakref.ref(net.inner[0].weight)
    layer = weakref.ref(net.inner[0])
    storage = weakref.ref(net.module.bias.data)
    del net.inner[0]
    optimizer.param_groups[0]["params"].clear()
    optimizer.state.clear()
    gc.collect()
    assert (weight(), layer(), storage()) == (None, None, None)
    whole = weakref.ref(net)
    del net, optimizer
    gc.collect()
    assert whole() is None
    for one, what in ((plan, "model"), (of_optimizer, "optimizer")):
        with pytest.raises(ConfigError, match=f"the {what} of this plan: it is gone"):
            one.digest()


def test_a_model_may_hold_its_plan_and_a_class_too() -> None:
    class Own(nn.Module):
        plan: Any

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

    model = Own()
    model.mine = capture_plan(model)  # type: ignore[assignment]
    Own.plan = capture_plan(model)
    assert model.mine.digest() == Own.plan.digest() == by_methods(model)
    references = [weakref.ref(one) for one in (model, Own)]
    del model, Own
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_many_digests_leave_nothing_behind(net: Any) -> None:
    import tracemalloc

    plan = capture_plan(net)
    for _ in range(50):
        plan.digest()
    gc.collect()
    tracemalloc.start()
    for number in range(200):
        if number % 20 == 0:
            rename(net) if hasattr(net, "head") else setattr(net, "head", net.other_head)
        plan.digest()
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 100_000


def test_threads_may_share_a_plan_while_the_model_changes(net: Any) -> None:
    plan = capture_plan(net)
    known = set()
    for change in (rename, lambda net: setattr(net, "head", net.other_head)) * 2:
        known.add(plan.digest().size)
        change(net)
    known.add(plan.digest().size)
    done = threading.Event()
    seen: list[int] = []
    failures: list[Exception] = []

    def work() -> None:
        try:
            while not done.is_set():
                seen.append(plan.digest().size)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        rename(net)
        net.head = net.other_head
        del net.other_head
    done.set()
    for thread in threads:
        thread.join()
    # RuntimeError: a dict of the model was changed while Python went over it, as state_dict() says.
    assert all(isinstance(error, RuntimeError) for error in failures), failures
    assert set(seen) <= known | {size + 1 for size in known} | {size - 2 for size in known}


# ---- options ----


@pytest.mark.parametrize("obj", [5, None, [torch.ones(1)], torch.ones(1), "model.safetensors"])
def test_what_is_no_model_is_refused(obj: Any) -> None:
    with pytest.raises(ConfigError, match="expected a torch"):
        capture_plan(obj)


def test_options_are_those_of_digest_model(net: Any) -> None:
    assert capture_plan(net, algorithm="sha256", threads=2).digest() == digest_model(
        net, algorithm="sha256"
    )
    for options in ({"algorithm": "md5"}, {"threads": 0}, {"threads": -1}, {"threads": 10**6}):
        with pytest.raises(ConfigError):
            capture_plan(net, **options)
    with pytest.raises(ConfigError, match="expected a torch optimizer"):
        capture_plan(net, model=net)

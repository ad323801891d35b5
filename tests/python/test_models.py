"""Models: names, wrappers and aliases, against torch's own words."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any

import blake3
import numpy as np
import pytest
import rfc8785
from models_for_tests import Net, decoded, names, slow_leaf, slow_leaves

from mlprov import _core, models
from mlprov.errors import ConfigError, UnsupportedTensorError
from mlprov.models import (
    capture_architecture,
    capture_buffers,
    count_parameters,
    digest_model,
)

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
nn = torch.nn


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


# ---- modules ----


def test_the_root_is_that_of_the_state_dict_s_leaves_sorted_by_name(net):
    model = digest_model(net)
    expected = slow_leaves(net.state_dict())
    assert list(model.leaves) == expected
    assert bytes(model.root) == _core.merkle_root(expected)
    assert str(model.root).startswith("sha256:")
    assert model.size == len(expected) == len(model.tensors)
    assert digest_model(net.state_dict()) == model
    assert str(model) == str(model.root)
    assert str(model.size) in repr(model)


def test_names_are_sorted_by_their_utf_8_bytes():
    tensors = {name: torch.ones(1) for name in ("b", "\U0001f600", "\uffff", "a.b", "a", "B", "é")}
    found = names(tensors)
    assert found == sorted(tensors, key=str.encode)
    assert found.index("\uffff") < found.index("\U0001f600")


def test_tied_tensors_are_one_group_with_a_leaf_under_each_name(net):
    model = digest_model(net)
    assert model.aliases == (("head.weight", "module.weight"),)
    one, other = json.loads(model.leaf("head.weight")), json.loads(model.leaf("module.weight"))
    assert one["digest"] == other["digest"]
    assert one["name"] == "head.weight"


def test_views_of_one_storage_that_differ_are_no_aliases():
    base = torch.arange(6.0)
    complex_one = torch.view_as_complex(torch.arange(4.0).reshape(2, 2))
    state = {
        "all": base,
        "same": base.view(6),
        "part": base[:3],
        "shape": base.view(2, 3),
        "column": base.view(2, 3).t(),
        "bits": base.view(torch.int32),
        "empty": torch.empty(0),
        "void": torch.empty(0),
        "copy": base.clone(),
        "plain": complex_one,
        "conj": complex_one.conj(),
    }
    model = digest_model(state)
    assert model.aliases == (("all", "same"),)
    digests = {tensor.name: tensor.digest for tensor in model.tensors}
    assert digests["copy"] == digests["all"]
    assert digests["conj"] != digests["plain"]


def test_a_composite_parameter_has_a_parts_leaf_and_its_aliases():
    sparse = torch.eye(3).to_sparse()
    model = digest_model({"a": sparse, "b": sparse, "c": torch.ones(2)})
    assert model.aliases == (("a", "b"),)
    leaf = json.loads(model.leaf("a"))
    assert leaf["layout"] == "sparse_coo"
    assert set(leaf["parts"]) == {"indices", "values"}
    assert leaf["name"] == "a"
    bare = {key: value for key, value in leaf.items() if key != "name"}
    digest = model.tensors[0].digest
    assert digest.hex() == blake3.blake3(rfc8785.dumps(bare)).hexdigest()
    assert model.prove("b").verify(root=model.root)


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        functools.partial(torch.compile, backend="eager"),
        lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
        lambda model: torch.compile(nn.DataParallel(nn.DataParallel(model)), backend="eager"),
    ],
)
def test_a_wrapper_leaves_no_trace(net, wrap):
    wrapped = wrap(net)
    assert list(wrapped.state_dict()) != list(net.state_dict())
    assert digest_model(wrapped) == digest_model(net)
    assert capture_architecture(wrapped) == capture_architecture(net)
    assert capture_buffers(wrapped) == capture_buffers(net)
    assert count_parameters(wrapped) == count_parameters(net)
    assert models.class_of_model(wrapped) == models.class_of_model(net) == f"{Net.__module__}.Net"


def test_wrappers_within_a_model_leave_no_trace(net):
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
        checkpoint_wrapper,
        offload_wrapper,
    )

    before = digest_model(net), capture_architecture(net)
    net.inner = torch.compile(checkpoint_wrapper(net.inner), backend="eager")
    net.inner._orig_mod._checkpoint_wrapped_module[0] = offload_wrapper(
        net.inner._orig_mod._checkpoint_wrapped_module[0]
    )
    assert "inner._orig_mod" in next(iter(net.inner.state_dict(prefix="inner.")))
    assert (digest_model(net), capture_architecture(net)) == before


@pytest.fixture
def process_group(tmp_path):
    from torch import distributed

    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed")
def test_distributed_wrappers_leave_no_trace(net, process_group):
    from torch.nn.parallel import DistributedDataParallel

    class Own(DistributedDataParallel):
        """A subclass is a wrapper too."""

    before = digest_model(net), capture_architecture(net)
    for wrap in (DistributedDataParallel, Own):
        wrapped = wrap(net)
        assert (digest_model(wrapped), capture_architecture(wrapped)) == before


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed")
def test_fully_sharded_wrappers_leave_no_trace(net, process_group):
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

    before = digest_model(net), capture_architecture(net)
    wrapped = FullyShardedDataParallel(net, use_orig_params=True, device_id=torch.device("cpu"))
    assert capture_architecture(wrapped) == before[1]
    assert names(wrapped) == [tensor.name for tensor in before[0].tensors]
    flat = FullyShardedDataParallel(nn.Linear(2, 2), device_id=torch.device("cpu"))
    with pytest.raises(ConfigError, match="flattened"):
        digest_model(flat)
    sharded = nn.Linear(2, 2)
    before = digest_model(sharded), capture_architecture(sharded)
    mesh = torch.distributed.init_device_mesh("cpu", (1,))
    fully_shard(sharded, mesh=mesh)
    assert (digest_model(sharded), capture_architecture(sharded)) == before


def test_a_user_s_own_attribute_called_module_stays(net):
    assert "module.weight" in names(net)
    assert "module.module.weight" in names(nn.ModuleDict({"module": net}))

    class DataParallel(nn.Module):  # the name alone makes no wrapper
        def __init__(self, module):
            super().__init__()
            self.module = module

    assert "module.module.weight" in names(DataParallel(net))
    assert "_orig_mod.weight" in names({"_orig_mod.weight": torch.ones(1)})


def test_two_tensors_of_one_name_after_unwrapping_are_refused_by_both_names(net):
    wrapped = nn.DataParallel(net)
    wrapped.register_buffer("scale", torch.ones(3))
    with pytest.raises(
        ConfigError, match=r"'scale' and 'module\.scale'|'module\.scale' and 'scale'"
    ):
        digest_model(wrapped)
    wrapped = nn.DataParallel(net)
    wrapped.add_module("inner", nn.Sequential())
    with pytest.raises(ConfigError, match=r"module\.inner"):
        capture_architecture(wrapped)


def test_a_module_that_contains_itself_is_refused(net):
    net.inner.add_module("up", net)
    with pytest.raises(ConfigError, match="contains itself"):
        digest_model(net)


def test_a_shared_module_has_leaves_at_each_of_its_places():
    shared = nn.Linear(2, 2)
    model = nn.Sequential(shared, shared)
    assert names(model) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    assert digest_model(model).aliases == (("0.bias", "1.bias"), ("0.weight", "1.weight"))
    assert count_parameters(model) == 6


def test_hooks_on_the_state_dict_are_not_called(net):
    expected = digest_model(net)

    def fail(*arguments):
        raise AssertionError("a hook was called")

    net.register_state_dict_pre_hook(fail)
    net._register_state_dict_hook(fail)
    assert digest_model(net) == expected


class WithExtra(nn.Module):
    def __init__(self, extra: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.extra = extra

    def get_extra_state(self) -> Any:
        return self.extra


def test_extra_state_is_recorded_as_tensors_and_values():
    model = nn.Sequential(WithExtra({"count": 3, "table": torch.arange(2)}), WithExtra("note"))
    assert names(model) == ["0._extra_state.table", "0.weight", "1.weight"]
    assert decoded(capture_buffers(model)) == {
        "0._extra_state.count": {"name": "0._extra_state.count", "value": 3},
        "1._extra_state": {"name": "1._extra_state", "value": "note"},
    }
    assert digest_model(model.state_dict()) == digest_model(model)


class Packed(nn.Module):
    """As torch's quantised layers: its weights are saved by a method of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.bits = 8

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "packed"] = (torch.ones(2), None)
        destination[prefix + "bits"] = self.bits


def test_a_module_that_saves_in_its_own_way_is_asked():
    model = nn.Sequential(nn.Linear(1, 1), Packed())
    assert names(model) == ["0.bias", "0.weight", "1.packed.0"]
    assert [leaf["value"] for leaf in decoded(capture_buffers(model)).values()] == [8, None]


def test_a_method_that_was_put_into_one_object_is_asked_too():
    layer = nn.Linear(1, 1)

    def save(destination, prefix, keep_vars):
        destination[prefix + "renamed"] = layer.weight

    layer._save_to_state_dict = save
    assert names(nn.Sequential(layer)) == ["0.renamed"]


def test_a_scripted_module_has_the_names_of_the_original(net):
    scripted = torch.jit.script(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
    assert list(digest_model(scripted).leaves) == slow_leaves(scripted.state_dict())


def test_meta_tensors_are_refused_by_name(net):
    net.inner[0].weight = nn.Parameter(torch.empty(4, 3, device="meta"))
    with pytest.raises(UnsupportedTensorError, match=r"'inner\.0\.weight'.*meta"):
        digest_model(net)
    with torch.device("meta"):
        model = nn.Linear(2, 2)
    with pytest.raises(UnsupportedTensorError, match="'bias'"):
        digest_model(model)


def test_fake_tensors_are_refused_by_name():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        fake = torch.ones(3)
    for state in (
        {"good": torch.ones(2), "bad": fake},
        {"a": torch.eye(2).to_sparse(), "bad": fake},
    ):
        with pytest.raises(UnsupportedTensorError, match="'bad'"):
            digest_model(state)


@pytest.mark.parametrize(
    ("make", "name"), [(nn.LazyLinear, "weight"), (nn.LazyBatchNorm1d, "running_mean")]
)
def test_tensors_that_are_not_initialised_are_refused_by_name(make, name):
    model = nn.Sequential(make(3) if make is nn.LazyLinear else make(affine=False))
    with pytest.raises(UnsupportedTensorError, match=rf"'0\.{name}'.*forward pass"):
        digest_model(model)


@pytest.mark.parametrize("name", ["a\udcff", "\ud800", "a\0b", 5, None])
def test_a_name_that_no_leaf_can_carry_is_refused_by_name(name):
    for read in (digest_model, models.persistent_tensors):
        with pytest.raises(ConfigError) as caught:
            read({"good": torch.ones(1), name: torch.ones(1)})
        assert repr(name) in str(caught.value)


def test_names_with_quotes_and_controls_are_escaped():
    name = 'a"b\\c\n\u2028é\U0001f600'
    model = digest_model({name: torch.ones(1)})
    assert model.leaf(name) == slow_leaf(name, torch.ones(1))


# ---- what is no module ----


def test_arrays_are_a_state_dict_too():
    model = digest_model({"a": np.ones(3, dtype=np.float32)})
    assert model == digest_model({"a": torch.ones(3)})


def test_an_empty_model_has_the_root_of_the_empty_tree():
    assert digest_model({}).root.hex() == _core.merkle_root([]).hex()


def test_a_checkpoint_that_holds_more_than_weights_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"'epoch' is builtins\.int.*checkpoint\['model'\]"):
        digest_model({"model.weight": torch.ones(1), "epoch": 3})
    with pytest.raises(ConfigError, match="'model' is"):
        digest_model({"model": {"weight": torch.ones(1)}})


@pytest.mark.parametrize("obj", [5, None, [torch.ones(1)], torch.ones(1), b"abc"])
def test_what_is_no_model_is_refused(obj):
    with pytest.raises(ConfigError, match="expected a torch"):
        digest_model(obj)


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_another_algorithm_makes_another_root(net, algorithm):
    model = digest_model(net, algorithm=algorithm)
    assert model.root != digest_model(net).root
    assert all(tensor.digest.algorithm == algorithm for tensor in model.tensors)
    with pytest.raises(ConfigError):
        digest_model(net, threads=0)


# ---- proofs ----


def test_each_tensor_is_proved_from_the_proof_and_the_root_alone(net):
    model = digest_model(net)
    for tensor in model.tensors:
        proof = type(model.prove(tensor.name)).from_bytes(model.prove(tensor.name).to_bytes())
        assert proof.verify(root=str(model.root))
        assert json.loads(proof.leaf)["digest"] == str(tensor.digest)
        forged = dataclasses.replace(proof, leaf=proof.leaf.replace(b"blake3:", b"blake3:0"))
        assert not forged.verify(root=model.root)
    for name in ("", "zzz", "module", "\ud800"):
        with pytest.raises(KeyError):
            model.prove(name)
        with pytest.raises(KeyError):
            model.leaf(name)

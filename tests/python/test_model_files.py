"""Model files: what is read, what is refused, and files that change meanwhile."""

from __future__ import annotations

import pytest
from models_for_tests import Net

from mlprov import _core
from mlprov.errors import ConfigError, EvidenceError
from mlprov.models import (
    digest_model,
)

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
nn = torch.nn


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


# ---- files ----


def test_a_safetensors_file_has_the_root_of_what_was_saved(net, tmp_path):
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    path = tmp_path / "model.safetensors"
    safetensors_torch.save_file(state, path)
    for form in (path, str(path)):
        model = digest_model(form)
        assert model.root == digest_model(net).root
        assert model.tensors == digest_model(net).tensors
        assert model.aliases == ()


def test_nothing_but_the_tensors_of_a_file_is_hashed(net, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    safetensors_torch.save_file(state, path)
    real = _core.hash_file_ranges
    asked = []

    def note(name, ranges, algorithm, whole, **options):
        asked.append((algorithm, list(whole), len(ranges)))
        return real(name, ranges, algorithm, whole, **options)

    monkeypatch.setattr(_core, "hash_file_ranges", note)
    model = digest_model(path, algorithm="sha256")
    assert asked == [("sha256", [], model.size)]


def test_the_shards_of_a_directory_are_one_model(net, tmp_path):
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    ordered = sorted(state)
    for number, part in enumerate((ordered[:5], ordered[5:])):
        shard = {name: state[name] for name in part}
        safetensors_torch.save_file(shard, tmp_path / f"model-{number}.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    assert digest_model(tmp_path).root == digest_model(net).root
    safetensors_torch.save_file({ordered[0]: state[ordered[0]]}, tmp_path / "z.safetensors")
    with pytest.raises(EvidenceError, match=r"model-0\.safetensors and z\.safetensors both"):
        digest_model(tmp_path)


def test_pickles_are_never_read(tmp_path):
    for suffix in (".pt", ".bin", ".ckpt"):
        path = tmp_path / f"model{suffix}"
        torch.save({"a": torch.ones(1)}, path)
        with pytest.raises(ConfigError, match="pickles, which are never loaded"):
            digest_model(path)
    with pytest.raises(ConfigError, match=r"holds no \*\.safetensors"):
        digest_model(tmp_path)


def test_a_file_that_is_no_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"not a model at all")
    with pytest.raises(EvidenceError):
        digest_model(path)


@pytest.mark.parametrize("name", ["gone.safetensors", "x" * 100_000, "a\0b", "\ud800"])
def test_a_path_without_a_file_is_a_wrong_argument_with_a_remedy(tmp_path, name):
    with pytest.raises(ConfigError, match=r"cannot read the model .*; name a safetensors") as error:
        digest_model(str(tmp_path / name))
    assert len(str(error.value)) < 500


def test_a_file_that_is_swapped_between_header_and_tensors_is_noticed(tmp_path, monkeypatch):
    path, other = tmp_path / "model.safetensors", tmp_path / "other"
    safetensors_torch.save_file({"a": torch.ones(4)}, path)
    safetensors_torch.save_file({"a": torch.zeros(4)}, other)
    real = _core.hash_file_ranges

    def swap(*arguments, **options):
        other.replace(path)
        return real(*arguments, **options)

    monkeypatch.setattr(_core, "hash_file_ranges", swap)
    with pytest.raises(EvidenceError, match="changed while it was read"):
        digest_model(path)

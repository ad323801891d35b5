"""``mlprov show --tree`` and ``--timeline``."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cli_for_tests import run_command
from runs_for_tests import record, user

from mlprov import _core, records, stored_runs, stores


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return record(tmp_path_factory.mktemp("pictures"))


def show(run: Any, *words: str) -> Any:
    with user(run.home, run.store):
        return run_command("show", run.run, *words)


def stored(run: Any) -> Any:
    with user(run.home, run.store), stores.open_store(read_only=True) as store:
        return stored_runs.read_run(store, run.run)


def test_the_tree_has_data_model_and_training_each_with_its_digest(run: Any) -> None:
    lines = show(run, "--tree").out.splitlines()
    names = [line.split("  sha256:")[0].split("  not")[0].rstrip() for line in lines]
    assert names[:8] == [
        "run little", "├─ data", "│  ├─ train", "│  ├─ test", "│  └─ files", "├─ model",
        "│  ├─ architecture", "│  └─ weights",
    ]  # fmt: skip
    assert "│  └─ epoch 1" in names
    assert names[-3:] == ["└─ checkpoints", *names[-2:]]
    assert all("sha256:" in line or "not recorded" in line for line in lines)


def test_every_digest_of_the_tree_is_recomputed_from_the_records(run: Any) -> None:
    tree = show(run, "--tree", "--json").json["tree"]
    read = stored(run)
    by_type: dict[str, list[int]] = {}
    for entry in read.records:
        by_type.setdefault(entry["type"], []).append(entry["seq"])
    assert tree["digest"] == f"sha256:{read.heads[-1].root.hex()}"
    children = {child["name"]: child for child in tree["children"]}
    for name, kind in (("data", "data"), ("model", "model"), ("training", "epoch")):
        lines = [read.lines[seq] for seq in by_type[kind]]
        assert children[name]["digest"] == f"sha256:{_core.merkle_root(lines).hex()}"
    first = read.records[by_type["epoch"][0]]
    epoch = children["training"]["children"][0]
    parts = {part["name"]: part["digest"] for part in epoch["children"]}
    leaf = hashlib.sha256(b"\0" + read.lines[first["seq"]]).hexdigest()
    metrics = hashlib.sha256(records.canonical(first["metrics"])).hexdigest()
    assert epoch["digest"] == f"sha256:{leaf}"
    assert parts == {
        "state": first["weights"]["root"],
        "batches": first["streams"][0]["tree"]["root"],
        "metrics": f"sha256:{metrics}",
        "privacy": None,
    }


def test_the_timeline_ascends_and_its_longest_pause_has_the_longest_bar(run: Any) -> None:
    lines = show(run, "--timeline").out.splitlines()
    assert len(lines) == len(stored(run).records)
    seconds = [float(line.split()[0]) for line in lines]
    assert seconds == sorted(seconds)
    assert seconds[0] == 0
    assert max(line.count("#") for line in lines) == 24
    assert "run.end" in lines[-1]


def test_the_two_pictures_are_not_drawn_at_once(run: Any) -> None:
    assert show(run, "--tree", "--timeline").code == 2

"""What is seen of plain loops that know nothing of mlprov: batches, steps, epochs, models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from autolog_for_tests import DATA, recorded, runs, script, streams
from training_for_tests import of_type, the

pytest.importorskip("torch")

pytestmark = pytest.mark.frameworks


def of_loop(tmp_path: Path, body: str) -> list[list[dict[str, Any]]]:
    done = recorded(tmp_path, "python", script(tmp_path, DATA + body))
    assert done.returncode == 0, done.stderr
    return runs(tmp_path)


STEP = """
def step(model, optimizer, batch):
    optimizer.zero_grad()
    loss_of(model, batch).backward()
    optimizer.step()
"""


def test_a_batch_is_recorded_as_the_loop_was_given_it(tmp_path: Path) -> None:
    body = """
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in DataLoader(data, batch_size=4):
    WRITE
    step(model, optimizer, (x, y))
"""
    trees = []
    for write in ("pass", "x.mul_(10)"):
        folder = tmp_path / write[0]
        folder.mkdir()
        (records,) = of_loop(folder, STEP + body.replace("WRITE", write))
        leaves = the(records, "epoch")["streams"][0]
        trees.append(leaves["tree"])
        assert leaves["guard"] == "inline"
    assert trees[0] == trees[1]


def test_a_step_that_gradient_scaling_skips_is_said_to_be_skipped(tmp_path: Path) -> None:
    body = """
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=FUSED)
scaler = torch.amp.GradScaler("cpu")
for _epoch in range(2):
    for number, batch in enumerate(DataLoader(data, batch_size=4)):
        optimizer.zero_grad()
        factor = float("inf") if number == 1 else 1.0
        scaler.scale(loss_of(model, batch) * factor).backward()
        scaler.step(optimizer)
        scaler.update()
"""
    # Of an optimizer that takes no part in scaling, a step that is skipped is not even tried.
    for fused, counted in (("True", (4, 1)), ("False", (3, 0))):
        folder = tmp_path / fused
        folder.mkdir()
        (records,) = of_loop(folder, body.replace("FUSED", fused))
        epochs = of_type(records, "epoch")
        assert [streams(epoch) for epoch in epochs] == [{"train": 4}] * 2
        assert [(epoch["steps"], epoch["skipped"]) for epoch in epochs] == [counted] * 2


def test_trainings_one_after_another_are_runs_of_their_own(tmp_path: Path) -> None:
    body = """
import gc, weakref
live = []
for _fold in range(3):
    gc.collect()
    assert sum(one() is not None for one in live) <= 1
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    live.append(weakref.ref(model))
    for _epoch in range(2):
        for batch in DataLoader(data, batch_size=4):
            step(model, optimizer, batch)
"""
    found = of_loop(tmp_path, STEP + body)
    assert len(found) == 3
    for records in found:
        epochs = of_type(records, "epoch")
        assert [epoch["epoch"] for epoch in epochs] == [0, 1]
        assert [streams(epoch) for epoch in epochs] == [{"train": 4}] * 2
        assert [epoch["steps"] for epoch in epochs] == [4, 4]
        assert the(records, "run.end")["status"] == "finished"


def test_an_optimizer_of_an_explicit_run_is_recorded_after_it(tmp_path: Path) -> None:
    body = """
import mlprov
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with mlprov.start("own", model=model, optimizer=optimizer):
    step(model, optimizer, data.tensors)
for batch in DataLoader(data, batch_size=4):
    step(model, optimizer, batch)
"""
    own, after = of_loop(tmp_path, STEP + body)
    assert (own[0]["name"], after[0]["name"]) == ("own", "train")
    assert streams(the(after, "epoch")) == {"train": 4}


def test_a_forked_child_that_trains_is_a_run(tmp_path: Path) -> None:
    body = """
import os
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for batch in DataLoader(data, batch_size=4):
    step(model, optimizer, batch)
torch.set_num_threads(1)
child = os.fork()
for batch in DataLoader(data, batch_size=8):
    step(model, optimizer, batch)
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    parent, child = of_loop(tmp_path, STEP + body)
    assert [streams(epoch) for epoch in of_type(parent, "epoch")] == [{"train": 4}, {"train": 2}]
    assert [streams(epoch) for epoch in of_type(child, "epoch")] == [{"train": 2}]


def test_a_loop_without_a_loader_is_one_epoch_until_the_end(tmp_path: Path) -> None:
    text = (
        DATA
        + """
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(5):
    loss_of(model, data.tensors).backward()
    optimizer.step()
"""
    )
    recorded(tmp_path, "python", script(tmp_path, text), MLPROV_EVERY="2")
    (records,) = runs(tmp_path)
    epoch = the(records, "epoch")
    assert (epoch["steps"], epoch["interrupted"], epoch["streams"]) == (5, False, [])
    assert [step["step"] for step in of_type(records, "step")] == [2, 4]


@pytest.mark.forks_beside_threads
def test_batches_before_the_first_step_are_recorded_too(tmp_path: Path) -> None:
    text = (
        DATA
        + """
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for number, batch in enumerate(DataLoader(data, batch_size=2, num_workers=2)):
    loss_of(model, batch).backward()
    if number % 3 == 2:
        optimizer.step()
        optimizer.zero_grad()
"""
    )
    recorded(tmp_path, "python", script(tmp_path, text))
    (records,) = runs(tmp_path)
    epoch = the(records, "epoch")
    assert (streams(epoch), epoch["steps"]) == ({"train": 8}, 2)


def test_two_models_that_are_trained_in_turn_are_two_runs(tmp_path: Path) -> None:
    text = (
        DATA
        + """
models = [torch.nn.Linear(4, 2), torch.nn.Sequential(torch.nn.Linear(4, 2))]
optimizers = [torch.optim.Adam(model.parameters()) for model in models]
for _ in range(2):
    for batch in DataLoader(data, batch_size=4):
        for model, optimizer in zip(models, optimizers):
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
"""
    )
    recorded(tmp_path, "python", script(tmp_path, text))
    first, second = runs(tmp_path)
    assert {the(records, "model")["class"] for records in (first, second)} == {
        "torch.nn.modules.linear.Linear",
        "torch.nn.modules.container.Sequential",
    }
    for records in (first, second):
        assert [epoch["steps"] for epoch in of_type(records, "epoch")] == [4, 4]


def test_the_outermost_module_of_several_is_what_is_recorded(tmp_path: Path) -> None:
    text = (
        DATA
        + """
class Whole(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.frozen, self.head = torch.nn.Linear(4, 4), torch.nn.Linear(4, 2)
    def forward(self, x):
        return self.head(self.frozen(x))
other, model = torch.nn.Linear(4, 2), Whole()
optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1)
loss_of(model, data.tensors).backward()
optimizer.step()
"""
    )
    recorded(tmp_path, "python", script(tmp_path, text))
    (records,) = runs(tmp_path)
    model = the(records, "model")
    assert (model["class"], model["tensors"]) == ("__main__.Whole", 4)

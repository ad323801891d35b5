"""Of several processes that train together one records, and the record says so; none waits."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_for_tests import run_command
from runs_for_tests import ask_both
from training_for_tests import ROOT, of_type, the

from mlprov import bundles, keys, ranks, record_members, stored_runs, stores
from mlprov.errors import EvidenceError

torch = pytest.importorskip("torch")

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.skipif(
        not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
        reason="this torch has no gloo",
    ),
]

SECONDS = 240.0  # for processes to end by themselves, on a slow machine

# One rank: which, of how many, where they meet; the rest is what a script does.
BEGIN = """
import os, signal, sys, datetime
import torch, mlprov
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
rank, world_size, meeting = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
def meet():
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank,
        world_size=world_size, timeout=datetime.timedelta(seconds=60))
torch.manual_seed(0)
data = TensorDataset(torch.randn(24, 4), torch.randint(0, 2, (24,)))
loader = lambda: DataLoader(data, 2, sampler=DistributedSampler(data, world_size, rank))
model = torch.nn.Linear(4, 2)
def step(model, optimizer, batch):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
    optimizer.step()
"""
RECORDED = """
meet()
model = DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with mlprov.start("together", model=model, optimizer=optimizer, every=2) as run:
    run.track_data(train=data.tensors)
    for epoch in run.epochs(2):
        for batch in run.track(loader()):
            step(model, optimizer, batch)
            LATER
        epoch.log(loss=0.5)
        run.log(step=1, more=1)
    path = run.save(f"{meeting}.{rank}.safetensors")
    run.checkpoint(path)
bundle = run.export(f"{meeting}.{rank}.mlprov")
assert run.prove(record=0) is None or rank == 0
print(run.status, path.exists(), bundle)
distributed.destroy_process_group()
"""


def begin(code: str, rank: int, world_size: int, tmp_path: Path) -> subprocess.Popen[str]:
    """One rank of a training, in a process of its own that no launcher started."""
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    environment["MLPROV_STORE"] = str(tmp_path / "store")
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN + code, str(rank), str(world_size), str(tmp_path / "meeting")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "OMP_NUM_THREADS": "1", "MLPROV_THREADS": "1"},
        cwd=ROOT,
    )


def end(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each, which end by themselves or are a failure."""
    until = time.monotonic() + SECONDS
    try:
        said = [one.communicate(timeout=max(1.0, until - time.monotonic())) for one in processes]
    finally:
        for one in processes:
            one.kill()
    return [(one.returncode, *texts) for one, texts in zip(processes, said, strict=True)]


def together(code: str, world_size: int, tmp_path: Path) -> list[tuple[int, str, str]]:
    """All ranks of a training."""
    return end([begin(code, rank, world_size, tmp_path) for rank in range(world_size)])


def runs(store_path: Path) -> list[list[dict[str, Any]]]:
    """The records of every run of a store."""
    with stores.open_store(store_path, read_only=True) as store:
        return [stored_runs.read_run(store, row.id).records for row in stores.read_runs(store)]


@pytest.mark.parametrize("world_size", [2, 3])
def test_rank_0_records_and_its_record_says_who_is_not_covered(
    world_size: int, tmp_path: Path
) -> None:
    done = together(RECORDED.replace("LATER", ""), world_size, tmp_path)
    assert [code for code, _, _ in done] == [0] * world_size, done
    assert done[0][1].split()[:2] == ["finished", "True"]
    for rank, (_, said, errors) in enumerate(done[1:], 1):
        assert said.split() == ["disabled", "False", "None"]
        assert errors.count("mlprov") == 1
        assert f"mlprov: rank {rank} of {world_size} records nothing" in errors
    (records,) = runs(tmp_path / "store")
    others = list(range(1, world_size))
    assert records[0]["ranks"] == {"not_covered": others, "rank": 0, "world_size": world_size}
    epochs = of_type(records, "epoch")
    share = 24 // world_size // 2
    assert [(e["steps"], e["streams"][0]["batches"]) for e in epochs] == [(share, share)] * 2
    assert the(records, "run.end")["gaps"] == 0

    verdict = ask_both(tmp_path / "meeting.0.mlprov", keys=[str(keys.owner_vkey())])
    assert verdict.result == "holds"
    listed = ", ".join(map(str, others))
    said = f"rank 0 of {world_size} is recorded; not covered: {listed}"
    assert (verdict["complete"].state, verdict["complete"].detail) == ("unchecked", said)
    shown = run_command("show", records[0]["run"], "--store", str(tmp_path / "store"))
    assert said in shown.out


def test_a_rank_0_that_is_killed_ends_the_others_as_torch_does(tmp_path: Path) -> None:
    """The others meet torch's own error in their next collective; the log goes on to be read."""
    killed = "(epoch.index, rank) == (1, 0) and os.kill(os.getpid(), signal.SIGKILL)"
    done = together(RECORDED.replace("LATER", killed), 3, tmp_path)
    assert done[0][0] == -signal.SIGKILL
    for code, _, errors in done[1:]:
        assert code == 1, done
        last = errors.rstrip().splitlines()[-1]
        assert "Error" in last
        assert "mlprov" not in last
    (records,) = runs(tmp_path / "store")
    assert [epoch["epoch"] for epoch in of_type(records, "epoch")] == [0]
    assert records[0]["ranks"]["not_covered"] == [1, 2]
    path = tmp_path / "open.mlprov"
    with stores.open_store(tmp_path / "store") as store:
        store.integrate()
        bundles.export_run(store, records[0]["run"], path)
    assert ask_both(path, keys=[str(keys.owner_vkey())]).result == "holds"


def test_a_group_that_is_made_during_a_run_is_recorded_in_it(tmp_path: Path) -> None:
    code = """
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with mlprov.start(f"rank {rank}", model=model, optimizer=optimizer) as run:
    for epoch in run.epochs(2):
        for batch in run.track(loader()):
            step(model, optimizer, batch)
        if epoch.index == 0:
            meet()
print(run.status)
"""
    done = together(code, 2, tmp_path)
    assert [(code, said) for code, said, _ in done] == [(0, "finished\n")] * 2, done
    for records in runs(tmp_path / "store"):
        rank = int(records[0]["name"][-1])
        assert records[0]["ranks"] is None
        said = {"not_covered": [1 - rank], "rank": rank, "world_size": 2}
        assert the(records, "ranks")["ranks"] == said
        assert "Make the process group before" in done[rank][2]


def test_what_is_wrong_with_the_settings_is_said_on_every_rank(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else rank 0 alone would end, and the others wait for it."""
    import mlprov

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(mlprov.ConfigError):
        mlprov.start("x", snapshot="sideways")
    with pytest.raises(mlprov.ConfigError):
        mlprov.start("x", optimizer=object())


SCRIPTS = {
    "plain": """
import torch
from torch import distributed
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
distributed.init_process_group("gloo")
torch.manual_seed(0)
data = TensorDataset(torch.randn(16, 4), torch.randint(0, 2, (16,)))
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 2))
optimizer = torch.optim.Adam(model.parameters())
for _epoch in range(2):
    for x, y in DataLoader(data, 2, sampler=DistributedSampler(data)):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
distributed.destroy_process_group()
""",
    "lightning": """
import torch, lightning as L
from torch.utils.data import DataLoader, TensorDataset
class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(4, 2)
    def training_step(self, batch, index):
        return torch.nn.functional.cross_entropy(self.body(batch[0]), batch[1])
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
data = TensorDataset(torch.randn(16, 4), torch.randint(0, 2, (16,)))
trainer = L.Trainer(max_epochs=2, accelerator="cpu", devices=2, strategy="ddp", logger=False,
    enable_progress_bar=False)
trainer.fit(Net(), DataLoader(data, batch_size=2))
""",
    "transformers": """
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
model = BertForSequenceClassification(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
    num_attention_heads=1, intermediate_size=8))
rows = [{"input_ids": torch.tensor([1, 2, 3]), "labels": torch.tensor(n % 2)} for n in range(16)]
arguments = TrainingArguments("out", num_train_epochs=2, per_device_train_batch_size=2,
    use_cpu=True, report_to=[], disable_tqdm=True, save_strategy="epoch")
Trainer(model, arguments, train_dataset=rows).train()
""",
}


@pytest.mark.parametrize("kind", SCRIPTS)
def test_of_an_unmodified_script_under_torchrun_rank_0_is_recorded(
    kind: str, tmp_path: Path
) -> None:
    if kind != "plain" and importlib.util.find_spec(kind) is None:
        pytest.skip(f"{kind} is not installed")
    (tmp_path / "train.py").write_text(SCRIPTS[kind])
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "train.py"]
    done = subprocess.run(
        [sys.executable, "-m", "mlprov", "run", "--", sys.executable, *launcher],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MLPROV_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("mlprov: rank 1 of 2 records nothing") == 1
    (records,) = runs(tmp_path / ".mlprov")
    assert records[0]["ranks"] == {"not_covered": [1], "rank": 0, "world_size": 2}
    epochs = of_type(records, "epoch")
    streams = [[(one["role"], one["batches"]) for one in epoch["streams"]] for epoch in epochs]
    assert streams == [[("train", 4)]] * 2
    assert the(records, "run.end")["status"] == "finished"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"not_covered": list(range(1, 12)), "rank": 0, "world_size": 12}, "7, 8 and 3 more"),
        ({"not_covered": ["1"], "rank": 0, "world_size": 2}, "not readable"),
        ({"not_covered": None, "rank": 0, "world_size": 2}, "not readable"),
        ({"rank": True}, "not readable"),
        ([0, 1], "not readable"),
    ],
)
def test_ranks_are_described_whatever_a_record_says(said: Any, shown: str) -> None:
    assert shown in ranks.describe_ranks(said)


@pytest.mark.parametrize("said", [[], {"rank": -1}, {"world_size": "2"}, {"not_covered": 1}])
def test_ranks_of_another_kind_are_named_to_who_reads_the_record(said: Any) -> None:
    with pytest.raises(EvidenceError, match="expected"):
        record_members.check_members({"type": "run.start", "ranks": said or [1]}, "record 0")

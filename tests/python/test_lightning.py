"""What Lightning's trainer does is recorded as what it is, and trains as it does without."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from training_for_tests import assert_log_holds, of_type, stored, the

import mlprov
from mlprov import stores

torch = pytest.importorskip("torch")
L = pytest.importorskip("lightning")

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore:::lightning"),
]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch, store_path: Path) -> Iterator[None]:
    """A store of the test's own, and training on one thread."""
    monkeypatch.setenv("MLPROV_STORE", str(store_path))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Net(L.LightningModule):  # type: ignore[misc,name-defined]
    def __init__(self, hidden: int = 8, fail_at: int | None = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.fail_at = fail_at
        self.body = torch.nn.Sequential(
            torch.nn.Linear(4, hidden), torch.nn.BatchNorm1d(hidden), torch.nn.Linear(hidden, 2)
        )

    def loss(self, batch: Any) -> Any:
        return torch.nn.functional.cross_entropy(self.body(batch[0]), batch[1])

    def training_step(self, batch: Any, index: int) -> Any:
        if self.fail_at is not None and self.global_step == self.fail_at:
            raise KeyError("a secret")
        loss = self.loss(batch)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch: Any, index: int) -> None:
        self.log("test_loss", self.loss(batch))

    def predict_step(self, batch: Any, index: int) -> Any:
        return self.body(batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.05)


class Watcher(L.Callback):  # type: ignore[misc,name-defined]
    """An oracle: the model's digest at each epoch's end, by the public function."""

    def __init__(self) -> None:
        self.roots: list[str] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.roots.append(str(mlprov.digest_model(pl_module).root))


def loader(samples: int = 16) -> Any:
    source = torch.Generator().manual_seed(1)
    data = torch.utils.data.TensorDataset(
        torch.randn(samples, 4, generator=source),
        torch.randint(0, 2, (samples,), generator=source),
    )
    return torch.utils.data.DataLoader(data, batch_size=4)


def trainer(directory: Path, *callbacks: Any, **options: Any) -> Any:
    return L.Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": 2,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": directory,
            "callbacks": list(callbacks),
            **options,
        }
    )


def net(**options: Any) -> Any:
    L.seed_everything(0, verbose=False)
    return Net(**options)


def streams(record: Any) -> dict[str, int]:
    return {stream["role"]: stream["batches"] for stream in record["streams"]}


def test_a_fit_is_recorded_epoch_by_epoch_and_verifies(tmp_path: Path, store_path: Path) -> None:
    model, watcher = net(), Watcher()
    callback = mlprov.integrations.lightning.Callback("net")
    trainer(tmp_path, callback, watcher).fit(model, loader(), loader(8))
    run = callback.run
    records = stored(run)
    assert [record["type"] for record in records] == [
        "run.start", "model", "batches", "epoch", "checkpoint", "epoch", "checkpoint", "run.end",
    ]  # fmt: skip
    epochs = of_type(records, "epoch")
    assert [epoch["weights"]["root"] for epoch in epochs] == watcher.roots
    assert [epoch["epoch"] for epoch in epochs] == [0, 1]
    assert [streams(epoch) for epoch in epochs] == [{"train": 4, "validation": 2}] * 2
    assert [epoch["steps"] for epoch in epochs] == [4, 4]
    assert all({"loss", "val_loss"} == set(epoch["metrics"]) for epoch in epochs)
    assert all(epoch["optimizer"] for epoch in epochs)
    assert streams(the(records, "batches")) == {"sanity": 2}
    assert the(records, "run.start")["config"]["hidden"] == 8
    assert the(records, "run.end")["status"] == "finished"
    assert_log_holds(store_path, run.id, tmp_path)
    assert mlprov.verify(run.export(tmp_path / "net.mlprov"), model=model).ok


def test_training_is_bit_for_bit_what_it_is_without_the_callback(tmp_path: Path) -> None:
    roots = []
    for callbacks in ((), (mlprov.integrations.lightning.Callback("net"),)):
        model = net()
        trainer(tmp_path, *callbacks).fit(model, loader(), loader())
        roots.append(mlprov.digest_model(model).root)
    assert roots[0] == roots[1]


@pytest.mark.parametrize("snapshot", ["overlap", "copy", "inline"])
def test_what_is_hashed_beside_the_next_epoch_is_the_epochs_own(
    snapshot: str, tmp_path: Path
) -> None:
    """Lightning always steps with a closure, in which forward and backward run."""
    watcher = Watcher()
    callback = mlprov.integrations.lightning.Callback("net", snapshot=snapshot, check="twice")
    trainer(tmp_path, callback, watcher, max_epochs=4, enable_checkpointing=False).fit(
        net(hidden=50_000), loader(), loader(8)
    )
    records = stored(callback.run)
    epochs = of_type(records, "epoch")
    assert [epoch["weights"]["root"] for epoch in epochs] == watcher.roots
    guard = {"overlap": "hook"}.get(snapshot, snapshot)
    if os.cpu_count() == 1:
        guard = "inline"
    assert [epoch["guard"] for epoch in epochs] == [guard] * 4
    assert not of_type(records, "gap")


def test_two_fits_with_one_callback_are_two_runs(tmp_path: Path) -> None:
    callback = mlprov.integrations.lightning.Callback("net")
    runs = []
    for _ in range(2):
        trainer(tmp_path, callback, max_epochs=1).fit(net(), loader())
        runs.append(callback.run)
    assert runs[0].id != runs[1].id
    assert [run.status for run in runs] == ["finished", "finished"]
    for run in runs:
        assert [epoch["epoch"] for epoch in of_type(stored(run), "epoch")] == [0]


def test_two_trainers_with_one_callback_in_a_run_of_the_users_count_on(tmp_path: Path) -> None:
    model = net()
    with mlprov.start("all", model=model) as run:
        callback = mlprov.integrations.lightning.Callback(run=run)
        for _ in range(2):
            trainer(tmp_path, callback).fit(model, loader())
    assert run.status == "finished"
    assert [epoch["epoch"] for epoch in of_type(stored(run), "epoch")] == [0, 1, 2, 3]


def test_an_exception_ends_the_run_as_failed_and_passes_on(tmp_path: Path) -> None:
    callback = mlprov.integrations.lightning.Callback("net")
    with pytest.raises(KeyError, match="a secret"):
        trainer(tmp_path, callback).fit(net(fail_at=5), loader())
    records = stored(callback.run)
    end = the(records, "run.end")
    assert (end["status"], end["exception"]) == ("failed", "builtins.KeyError")
    assert [epoch["interrupted"] for epoch in of_type(records, "epoch")] == [False, True]
    assert "a secret" not in str(records)
    again = trainer(tmp_path, callback, max_epochs=1)
    again.fit(net(), loader())
    assert callback.run.status == "finished"


def test_a_fit_from_a_checkpoint_names_the_run_that_wrote_it(tmp_path: Path) -> None:
    first = mlprov.integrations.lightning.Callback("net")
    one = trainer(tmp_path, first, max_epochs=1)
    one.fit(net(), loader())
    path = one.checkpoint_callback.best_model_path
    second = mlprov.integrations.lightning.Callback("net")
    trainer(tmp_path, second, max_epochs=3).fit(net(), loader(), ckpt_path=path, weights_only=False)
    records = stored(second.run)
    assert the(records, "run.start")["parents"] == [first.run.id]
    assert [epoch["epoch"] for epoch in of_type(records, "epoch")] == [1, 2]
    written = the(stored(first.run), "checkpoint")
    assert of_type(records, "checkpoint")[0]["files"] == written["files"]
    assert the(records, "model")["weights"] == written["weights"]


def test_test_validate_and_predict_are_runs_of_their_own_that_name_the_fit(tmp_path: Path) -> None:
    callback = mlprov.integrations.lightning.Callback("net")
    model, train = net(), trainer(tmp_path, callback, max_epochs=1)
    train.fit(model, loader())
    fit = callback.run
    for verb, role, metric in (
        ("test", "test", "test_loss"),
        ("validate", "validation", "val_loss"),
        ("predict", "predict", None),
    ):
        getattr(train, verb)(model, loader(8))
        records = stored(callback.run)
        start = the(records, "run.start")
        assert start["parents"] == [fit.id]
        assert start["config"]["lightning"] == verb
        assert streams(the(records, "batches")) == {role: 2}
        assert the(records, "model")["weights"] == of_type(stored(fit), "epoch")[0]["weights"]
        assert not of_type(records, "epoch")
        logged = [set(record["metrics"]) for record in of_type(records, "metrics")]
        assert logged == ([{metric}] if metric else [])


def test_accumulated_batches_are_counted_beside_the_steps(tmp_path: Path) -> None:
    callback = mlprov.integrations.lightning.Callback("net")
    trainer(
        tmp_path, callback, max_epochs=1, accumulate_grad_batches=3, precision="bf16-mixed"
    ).fit(net(), loader())
    epoch = the(stored(callback.run), "epoch")
    assert (streams(epoch), epoch["steps"]) == ({"train": 4}, 2)


def test_an_epoch_with_several_optimizers_has_the_state_of_all(tmp_path: Path) -> None:
    class Two(Net):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, index: int) -> None:
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                self.manual_backward(self.loss(batch))
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return [
                torch.optim.Adam(self.body[0].parameters()),
                torch.optim.SGD(self.body[2].parameters(), lr=0.1, momentum=0.9),
            ]

    callback = mlprov.integrations.lightning.Callback("net")
    trainer(tmp_path, callback, max_epochs=1).fit(Two(), loader())
    run = callback.run
    assert the(stored(run), "epoch")["steps"] == 4
    with stores.open_store(run.store_path, read_only=True) as store:
        root = bytes.fromhex(the(stored(run), "epoch")["optimizer"]["root"].removeprefix("sha256:"))
        leaves = b"\n".join(store.get_leaves(root)).decode()
    assert '"state.body.0.weight.exp_avg"' in leaves
    assert '"state.body.2.weight.momentum_buffer"' in leaves


def test_a_store_that_cannot_be_written_ends_no_training(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    callback = mlprov.integrations.lightning.Callback("net", store=blocked / "store")
    model = net()
    with pytest.warns(mlprov.RecordingWarning):
        trainer(tmp_path, callback, max_epochs=1).fit(model, loader(), loader())
    assert callback.run.status == "unrecorded"


def test_nothing_is_recorded_where_recording_is_disabled(
    tmp_path: Path, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPROV_DISABLED", "1")
    callback = mlprov.integrations.lightning.Callback("net")
    trainer(tmp_path, callback).fit(net(), loader(), loader())
    assert not store_path.exists()


@pytest.mark.parametrize(("name", "run"), [(None, None), ("net", "run")])
def test_a_callback_takes_either_a_name_or_a_run(
    name: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPROV_DISABLED", "1")
    given = None if run is None else mlprov.start("x")
    with pytest.raises(mlprov.ConfigError, match="either a name"):
        mlprov.integrations.lightning.Callback(name, run=given)

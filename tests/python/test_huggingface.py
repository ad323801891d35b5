"""What Hugging Face's Trainer does is recorded, whatever it was asked to do."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from training_for_tests import assert_log_holds, of_type, stored, the

import mlprov

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

pytestmark = pytest.mark.frameworks


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch, store_path: Path) -> Iterator[None]:
    """A store of the test's own, and training on one thread."""
    monkeypatch.setenv("MLPROV_STORE", str(store_path))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def bert() -> Any:
    """A BERT of two thousand parameters; no weights are loaded."""
    torch.manual_seed(0)
    configuration = transformers.BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=8,
    )
    return transformers.BertForSequenceClassification(configuration)


def sentences(count: int = 16) -> list[dict[str, Any]]:
    source = torch.Generator().manual_seed(1)
    return [
        {
            "input_ids": torch.randint(0, 30, (5,), generator=source),
            "labels": torch.tensor(number % 2),
        }
        for number in range(count)
    ]


def trainer(directory: Path, model: Any, *callbacks: Any, kind: Any = None, **options: Any) -> Any:
    arguments = transformers.TrainingArguments(
        **{
            "output_dir": str(directory / "out"),
            "num_train_epochs": 2,
            "per_device_train_batch_size": 2,
            "logging_steps": 2,
            "save_strategy": "epoch",
            "use_cpu": True,
            "report_to": [],
            "disable_tqdm": True,
            **options,
        }
    )
    return (kind or transformers.Trainer)(
        model=model,
        args=arguments,
        train_dataset=sentences(),
        eval_dataset=sentences(4),
        callbacks=list(callbacks),
    )


class Watcher(transformers.TrainerCallback):  # type: ignore[misc,name-defined]
    """An oracle: the model's digest at each epoch's end, by the public function."""

    def __init__(self) -> None:
        self.roots: list[str] = []

    def on_epoch_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.roots.append(str(mlprov.digest_model(others["model"]).root))


def batches(epoch: Any) -> list[tuple[str, int]]:
    return [(stream["role"], stream["batches"]) for stream in epoch["streams"]]


def test_a_training_is_recorded_epoch_by_epoch_and_verifies(
    tmp_path: Path, store_path: Path
) -> None:
    model, watcher = bert(), Watcher()
    callback = mlprov.integrations.huggingface.Callback("bert")
    training = trainer(
        tmp_path, model, callback, watcher, eval_strategy="epoch", per_device_eval_batch_size=2
    )
    training.train()
    run = callback.run
    records = stored(run)
    epochs = of_type(records, "epoch")
    assert [epoch["weights"]["root"] for epoch in epochs] == watcher.roots
    assert [batches(epoch) for epoch in epochs] == [[("train", 8)]] * 2
    assert [epoch["steps"] for epoch in epochs] == [8, 8]
    assert all("loss" in epoch["metrics"] and epoch["optimizer"] for epoch in epochs)
    assert [batches(one) for one in of_type(records, "batches")] == [[("validation", 2)]] * 2
    logged = of_type(records, "metrics")
    assert [record["step"] for record in logged if "eval_loss" in record["metrics"]] == [8, 16]
    assert "train_loss" in logged[-1]["metrics"]
    checkpoints = of_type(records, "checkpoint")
    assert [Path(record["path"]).name for record in checkpoints] == [
        "checkpoint-8",
        "checkpoint-16",
    ]
    assert [record["weights"]["root"] for record in checkpoints] == watcher.roots
    config = the(records, "run.start")["config"]
    assert (config["arguments"]["num_train_epochs"], config["model"]["model_type"]) == (2, "bert")
    assert the(records, "run.end")["status"] == "finished"
    assert_log_holds(store_path, run.id, tmp_path)
    bundle = run.export(tmp_path / "bert.mlprov")
    assert mlprov.verify(bundle, model=tmp_path / "out" / "checkpoint-16" / "model.safetensors").ok


def test_training_is_bit_for_bit_what_it_is_without_the_callback(tmp_path: Path) -> None:
    roots = []
    for callbacks in ((), (mlprov.integrations.huggingface.Callback("bert"),)):
        model = bert()
        trainer(tmp_path, model, *callbacks).train()
        roots.append(mlprov.digest_model(model).root)
    assert roots[0] == roots[1]


def test_the_loader_is_given_back_as_it_was(tmp_path: Path) -> None:
    kept = []

    class Keeping(transformers.Trainer):  # type: ignore[misc,name-defined]
        def get_train_dataloader(self) -> Any:
            kept.append(super().get_train_dataloader())
            return kept[-1]

    callback = mlprov.integrations.huggingface.Callback("bert")
    trainer(tmp_path, bert(), callback, kind=Keeping, save_strategy="no").train()
    seen = callback.run.streams.batches
    assert seen == 16
    for epoch in of_type(stored(callback.run), "epoch"):
        (stream,) = epoch["streams"]
        assert stream["indices"]["size"] == 8
        assert stream["loader"]["class"] == "torch.utils.data.dataloader.DataLoader"
        assert stream["loader"]["base_seed"]
    assert type(kept[0].base_dataloader) is torch.utils.data.DataLoader
    assert len(list(kept[0])) == 8
    assert callback.run.streams.batches == seen


def test_accumulated_batches_are_counted_beside_the_steps(tmp_path: Path) -> None:
    callback = mlprov.integrations.huggingface.Callback("bert")
    trainer(
        tmp_path, bert(), callback, gradient_accumulation_steps=3, save_strategy="no", bf16=True
    ).train()
    epochs = of_type(stored(callback.run), "epoch")
    assert [(batches(epoch), epoch["steps"]) for epoch in epochs] == [([("train", 8)], 3)] * 2


def test_two_trainings_with_one_callback_are_two_runs(tmp_path: Path) -> None:
    callback = mlprov.integrations.huggingface.Callback("bert")
    training = trainer(tmp_path, bert(), callback, save_strategy="no")
    runs = []
    for _ in range(2):
        training.train()
        runs.append(callback.run)
    assert runs[0].id != runs[1].id
    assert [len(of_type(stored(run), "epoch")) for run in runs] == [2, 2]


def test_a_training_from_a_checkpoint_names_the_run_that_wrote_it(tmp_path: Path) -> None:
    first = mlprov.integrations.huggingface.Callback("bert")
    trainer(tmp_path, bert(), first, num_train_epochs=1).train()
    second = mlprov.integrations.huggingface.Callback("bert")
    trainer(tmp_path, bert(), second, num_train_epochs=3).train(resume_from_checkpoint=True)
    records = stored(second.run)
    assert the(records, "run.start")["parents"] == [first.run.id]
    assert [epoch["epoch"] for epoch in of_type(records, "epoch")] == [1, 2]
    resumed, written = of_type(records, "checkpoint")[0], the(stored(first.run), "checkpoint")
    assert resumed["files"] == written["files"]
    assert the(records, "model")["weights"] == written["weights"]


def test_an_evaluation_of_its_own_is_a_run_that_names_the_training(tmp_path: Path) -> None:
    callback = mlprov.integrations.huggingface.Callback("bert")
    training = trainer(tmp_path, bert(), callback, save_strategy="no")
    training.train()
    trained = callback.run
    for verb, data, metric in (
        ("evaluate", (), "eval_loss"),
        ("predict", (sentences(4),), "test_loss"),
    ):
        getattr(training, verb)(*data)
        records = stored(callback.run)
        assert the(records, "run.start")["parents"] == [trained.id]
        assert verb in the(records, "run.start")["config"]
        assert the(records, "model")["weights"] == of_type(stored(trained), "epoch")[-1]["weights"]
        assert metric in the(records, "metrics")["metrics"]
        role = "validation" if verb == "evaluate" else verb
        assert batches(the(records, "batches")) == [(role, 1)]
        assert the(records, "run.end")["status"] == "finished"


def test_evaluations_within_an_epoch_are_passes_of_their_own(tmp_path: Path) -> None:
    kept = []

    class Keeping(transformers.Trainer):  # type: ignore[misc,name-defined]
        def get_eval_dataloader(self, *arguments: Any) -> Any:
            kept.append(super().get_eval_dataloader(*arguments))
            return kept[-1]

    callback = mlprov.integrations.huggingface.Callback("bert")
    options = {"eval_strategy": "steps", "eval_steps": 3, "save_strategy": "no"}
    trainer(tmp_path, bert(), callback, kind=Keeping, num_train_epochs=1, **options).train()
    # After steps 3 and 6 and, as this trainer does, after the last.
    assert sorted(batches(the(stored(callback.run), "epoch"))) == [
        ("train", 8), *[("validation", 1)] * 3,
    ]  # fmt: skip
    assert all(type(one.base_dataloader) is torch.utils.data.DataLoader for one in kept)


def test_batches_of_an_evaluation_need_not_come_from_a_loader(tmp_path: Path) -> None:
    class Listing(transformers.Trainer):  # type: ignore[misc,name-defined]
        def get_eval_dataloader(self, *arguments: Any) -> Any:
            return list(super().get_eval_dataloader(*arguments))

    callback = mlprov.integrations.huggingface.Callback("bert")
    plain = trainer(tmp_path, bert(), kind=Listing).evaluate()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mlprov.RecordingWarning)  # a list is left alone
        recorded = trainer(tmp_path, bert(), callback, kind=Listing).evaluate()
    assert recorded["eval_loss"] == plain["eval_loss"]


def test_an_evaluation_that_raises_is_a_run_that_failed(tmp_path: Path) -> None:
    class Failing(transformers.Trainer):  # type: ignore[misc,name-defined]
        def prediction_step(self, *arguments: Any, **keywords: Any) -> Any:
            raise KeyError("a secret")

    callback = mlprov.integrations.huggingface.Callback("bert")
    with pytest.raises(KeyError, match="a secret"):
        trainer(tmp_path, bert(), callback, kind=Failing).evaluate()
    end = the(stored(callback.run), "run.end")
    assert (end["status"], end["exception"]) == ("failed", "builtins.KeyError")


def test_a_training_that_raised_is_failed_when_the_next_begins(tmp_path: Path) -> None:
    class Failing(transformers.Trainer):  # type: ignore[misc,name-defined]
        def training_step(self, *arguments: Any, **keywords: Any) -> Any:
            if self.state.global_step == 3:
                raise KeyError("a secret")
            return super().training_step(*arguments, **keywords)

    callback = mlprov.integrations.huggingface.Callback("bert")
    with pytest.raises(KeyError):
        trainer(tmp_path, bert(), callback, kind=Failing).train()
    failed = callback.run
    assert failed.status == "running"
    trainer(tmp_path, bert(), callback, save_strategy="no").train()
    assert (failed.status, callback.run.status) == ("failed", "finished")
    assert the(stored(failed), "epoch")["interrupted"]


def test_a_store_that_cannot_be_written_ends_no_training(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    callback = mlprov.integrations.huggingface.Callback("bert", store=blocked / "store")
    with pytest.warns(mlprov.RecordingWarning):
        trainer(tmp_path, bert(), callback).train()
    assert callback.run.status == "unrecorded"


class Odd(transformers.TrainerCallback):  # type: ignore[misc,name-defined]
    """Hands on what raises when it is looked at."""

    @property
    def size(self) -> int:
        raise RuntimeError("not to be looked at")

    def on_log(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        others["logs"]["odd"] = self


class Removing(transformers.TrainerCallback):  # type: ignore[misc,name-defined]
    """Removes the store in the middle of the second epoch."""

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if state.global_step == 10:
            shutil.rmtree(os.environ["MLPROV_STORE"])


@pytest.mark.parametrize("fault", [Odd, Removing])
def test_what_goes_wrong_in_recording_never_reaches_training(fault: Any, tmp_path: Path) -> None:
    model, again = bert(), bert()
    trainer(tmp_path, model).train()
    callback = mlprov.integrations.huggingface.Callback("bert")
    with pytest.warns(mlprov.RecordingWarning):
        trainer(tmp_path, again, fault(), callback).train()
    assert mlprov.digest_model(model).root == mlprov.digest_model(again).root
    assert callback.run.recorder.gaps
    if fault is Odd:
        records = stored(callback.run)
        assert {gap["what"] for gap in of_type(records, "gap")} == {"metric"}
        assert "not to be looked at" not in str(records)


def test_a_loop_of_ones_own_with_accelerate_needs_no_callback(tmp_path: Path) -> None:
    import accelerate

    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = torch.nn.Linear(4, 2)
    data = torch.utils.data.TensorDataset(torch.randn(16, 4), torch.randint(0, 2, (16,)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model, optimizer, loader = accelerator.prepare(
        model, optimizer, torch.utils.data.DataLoader(data, batch_size=4)
    )
    with mlprov.start("own loop", model=model, optimizer=optimizer) as run:
        for _epoch in run.epochs(2):
            for inputs, labels in run.track(loader):
                with accelerator.accumulate(model):
                    loss = torch.nn.functional.cross_entropy(model(inputs), labels)
                    accelerator.backward(loss)
                    optimizer.step()
                    optimizer.zero_grad()
    epochs = of_type(stored(run), "epoch")
    assert [(batches(epoch), epoch["steps"]) for epoch in epochs] == [([("train", 4)], 2)] * 2
    assert all(epoch["optimizer"] for epoch in epochs)

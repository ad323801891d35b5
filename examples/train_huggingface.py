"""Hugging Face: a small BERT, made from a configuration, trained by the Trainer and recorded.

    python examples/train_huggingface.py     (pip install transformers accelerate; no download)

It learns whether a sequence of tokens rises or falls.
"""

from __future__ import annotations

import torch
from torch.utils.data import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    EvalPrediction,
    Trainer,
    TrainingArguments,
)

import mlprov


class Sequences(Dataset):
    """Twelve tokens each, in order; label 1 where they rise."""

    def __init__(self, count: int, seed: int) -> None:
        source = torch.Generator().manual_seed(seed)
        ordered = torch.randint(1, 100, (count, 12), generator=source).sort(dim=1).values
        self.labels = torch.randint(0, 2, (count,), generator=source)
        self.tokens = torch.where(self.labels[:, None] == 1, ordered, ordered.flip(1))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.tokens[index], "labels": self.labels[index]}


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """The share of sequences that were told right."""
    return {"accuracy": float((prediction.predictions.argmax(1) == prediction.label_ids).mean())}


def main() -> None:
    """Train, export, verify the checkpoint that the trainer wrote."""
    torch.manual_seed(0)
    configuration = BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=16,
    )  # fmt: skip
    arguments = TrainingArguments(
        "huggingface-out", num_train_epochs=3, per_device_train_batch_size=32, learning_rate=3e-3,
        eval_strategy="epoch", save_strategy="epoch", logging_steps=10, use_cpu=True, report_to=[],
        disable_tqdm=True,
    )  # fmt: skip

    callback = mlprov.integrations.huggingface.Callback("bert-huggingface")
    trainer = Trainer(
        model=BertForSequenceClassification(configuration), args=arguments,
        train_dataset=Sequences(512, 1), eval_dataset=Sequences(128, 2), compute_metrics=accuracy,
        callbacks=[callback],
    )  # fmt: skip
    trainer.train()

    run = callback.run
    bundle = run.export("huggingface.mlprov")
    print(run)
    checkpoint = f"huggingface-out/checkpoint-{trainer.state.global_step}/model.safetensors"
    print(mlprov.verify(bundle, model=checkpoint))


if __name__ == "__main__":
    main()

"""Lightning: two lines record a training, its test, and its checkpoints.

    python examples/train_lightning.py     (pip install lightning)

What it records is written into the working directory.
"""

from __future__ import annotations

from typing import Any

import lightning as L  # noqa: N812  (as Lightning's own pages have it)
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import mlprov


class Digits(L.LightningModule):
    """A small network on images of 8 × 8 pixels."""

    def __init__(self, hidden: int = 32, lr: float = 3e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.net = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

    def _loss(self, name: str, batch: Any) -> torch.Tensor:
        images, labels = batch
        scores = self.net(images)
        self.log(f"{name}_accuracy", (scores.argmax(1) == labels).float().mean())
        return nn.functional.cross_entropy(scores, labels)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """The loss of one batch."""
        return self._loss("train", batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log the accuracy."""
        self._loss("val", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Log the accuracy."""
        self._loss("test", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def main() -> None:
    """Fit, test, export, verify."""
    L.seed_everything(0, verbose=False)
    data = load_digits()
    images = torch.tensor(data.data / 16.0, dtype=torch.float32)
    parts = random_split(TensorDataset(images, torch.tensor(data.target)), [1200, 300, 297])
    train, validation, test = (DataLoader(part, batch_size=64) for part in parts)
    model = Digits()

    callback = mlprov.integrations.lightning.Callback("digits-lightning")
    trainer = L.Trainer(
        max_epochs=3, callbacks=[callback], accelerator="cpu", logger=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, train, validation)
    fit = callback.run
    bundle = fit.export("lightning.mlprov")
    print(fit)
    print(mlprov.verify(bundle, model=model))

    trainer.test(model, test, verbose=False)
    print(f"the test is run {callback.run.id}; its parent is the fit, {fit.id}")


if __name__ == "__main__":
    main()

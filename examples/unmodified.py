"""A script that knows nothing of mlprov, and is recorded all the same.

    mlprov run -- python examples/unmodified.py     (then: mlprov log @)

There is no line for mlprov in it, and no import.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main() -> None:
    """Two epochs, and the accuracy on what was held back after each."""
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.data / 16.0, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    train = DataLoader(TensorDataset(images[:1500], labels[:1500]), batch_size=64, shuffle=True)
    test = DataLoader(TensorDataset(images[1500:], labels[1500:]), batch_size=99)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(2):
        for batch, target in train:
            loss = nn.functional.cross_entropy(model(batch), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            right = sum(int((model(batch).argmax(1) == target).sum()) for batch, target in test)
        print(f"epoch {epoch}: {right} of 297 right")


if __name__ == "__main__":
    main()

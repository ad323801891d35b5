"""Differential privacy: Opacus' accountant at every epoch, its ε recomputed by the verifier.

    python examples/train_private.py     (pip install opacus)

What it records is written into the working directory.
"""

from __future__ import annotations

import warnings

import torch
from opacus import PrivacyEngine
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import mlprov

DELTA = 1e-5  # the chance that ε does not hold; well below one over the number of samples


def main() -> None:
    """Train, export, verify."""
    warnings.filterwarnings("ignore", message="Secure RNG|Full backward hook")
    digits = load_digits()
    images = torch.tensor(digits.data / 16.0, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    loader = DataLoader(TensorDataset(images, labels), batch_size=64)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

    engine = PrivacyEngine(accountant="rdp")  # the one whose ε a verifier recomputes
    private, optimizer, loader = engine.make_private(
        module=model, optimizer=optimizer, data_loader=loader,
        noise_multiplier=1.1, max_grad_norm=1.0,
    )  # fmt: skip
    with mlprov.start(
        "digits-private", model=private, optimizer=optimizer, privacy=engine, delta=DELTA
    ) as run:
        for epoch in run.epochs(3):
            for batch, target in run.track(loader):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(private(batch), target)
                loss.backward()
                optimizer.step()
            epoch.log(seen=len(loader))  # a loss would tell of the data, and ε does not cover it
        run.save("private.safetensors")
    bundle = run.export("private.mlprov")
    print(run)
    print(mlprov.verify(bundle, model="private.safetensors"))
    print(f"the engine says: ε {engine.get_epsilon(DELTA):.6g} at δ {DELTA:g}")


if __name__ == "__main__":
    main()

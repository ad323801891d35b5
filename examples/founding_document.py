"""A training as the founding architecture document describes it: anchored before and after.

    MLPROV_ETHEREUM_KEYSTORE=account.json python examples/founding_document.py CONFIG.json

CONFIG.json is the document's configuration (docs/founding.md): where to anchor. Who signs comes
from the environment. Waits until the anchors are final, which takes a quarter of an hour on a
public chain, and exits with 1 where the report does not hold.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time

import torch

from mlprov.provenance import ProvenanceTracker

PATIENCE = 1800  # seconds


def main() -> int:
    """Train, anchor, verify."""
    config = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    config |= {"epochs": 3, "batch_size": 16, "hash_algorithm": "blake3"}

    torch.manual_seed(0)
    model = torch.nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    inputs, targets = torch.randn(64, 8), torch.randn(64, 1)
    data = torch.utils.data.TensorDataset(inputs, targets)
    loader = torch.utils.data.DataLoader(data, config["batch_size"], shuffle=True)

    tracker = ProvenanceTracker("artifacts", config, optimizer=optimizer)
    tracker.track_data(data)
    tracker.track_model(model)
    before = tracker.store_merkle_on_blockchain_before_training({"learning_rate": 0.1})
    print("before training:", before["transaction_ids"])

    for epoch in tracker.epochs(config["epochs"]):
        for batch, wanted in tracker.run.track(loader):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(model(batch), wanted)
            loss.backward()
            optimizer.step()
        epoch.log(loss=loss)

    after = tracker.store_merkle_on_blockchain_after_training({"loss": float(loss)})
    print("after training:", after["transaction_ids"])

    ends = time.monotonic() + PATIENCE
    while (report := tracker.verify_blockchain_provenance()).result == "could not check":
        if time.monotonic() > ends:
            break
        time.sleep(1)
    print(report)
    print("report:", tracker.save_blockchain_report("artifacts/report.html"))
    tracker.run.export("artifacts/training.mlprov")
    return 0 if report else 1


if __name__ == "__main__":
    sys.exit(main())

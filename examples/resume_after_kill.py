"""A training that is killed in the middle of an epoch and goes on in the same log.

    python examples/resume_after_kill.py DIRECTORY

starts ``train`` in a process of its own, which dies of SIGKILL in its second epoch, and again,
which goes on from the checkpoint of the first one; then it verifies the bundle of the one run.
"""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

EPOCHS = 4


def train(directory: pathlib.Path, *, dies: bool) -> None:
    """Train from the last checkpoint on, if there is one; record every epoch."""
    import torch

    import mlprov

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    data = torch.utils.data.TensorDataset(torch.randn(256, 8), torch.randn(256, 1))
    loader = torch.utils.data.DataLoader(data, batch_size=16, shuffle=True)

    checkpoint, first = directory / "checkpoint.pt", 0
    if checkpoint.exists():  # before start: mlprov compares what is loaded with what it recorded
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["epoch"] + 1

    store = directory / "store"
    with mlprov.start(
        "resumable", model=model, optimizer=optimizer, store=store, resume="auto"
    ) as run:
        print("goes on" if run.resumed else "begins", run.id, flush=True)
        for epoch in run.epochs(range(first, EPOCHS)):
            for number, (inputs, targets) in enumerate(run.track(loader)):
                if dies and epoch.index == 1 and number == 7:
                    os.kill(os.getpid(), signal.SIGKILL)
                optimizer.zero_grad()
                loss = torch.nn.functional.mse_loss(model(inputs), targets)
                loss.backward()
                optimizer.step()
            epoch.log(loss=loss)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "epoch": epoch.index}, directory / "new.pt")
            (directory / "new.pt").replace(checkpoint)  # whole or not at all
        run.save(directory / "model.safetensors")
    run.export(directory / "resumable.mlprov")


def main() -> int:
    """Train twice, the first time until the kill; verify."""
    directory = pathlib.Path(sys.argv[1])
    if len(sys.argv) > 2:
        train(directory, dies=sys.argv[2] == "dies")
        return 0
    directory.mkdir(parents=True, exist_ok=True)
    own = [sys.executable, __file__, str(directory)]
    if subprocess.run([*own, "dies"], check=False).returncode != -signal.SIGKILL:
        raise SystemExit("the first training was to be killed")
    subprocess.run([*own, "lives"], check=True)
    bundle, model = directory / "resumable.mlprov", directory / "model.safetensors"
    show = ["show", "--store", str(directory / "store")]
    subprocess.run([sys.executable, "-m", "mlprov", *show], check=True)
    verify = ["verify", str(bundle), "--model", str(model)]
    return subprocess.run([sys.executable, "-m", "mlprov", *verify], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

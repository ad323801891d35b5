"""A small run that mlprov itself records, and asking both verifiers the same of it.

The model is a state dict of NumPy arrays, so nothing here needs torch. Two of its names are one
array (tied weights); the saved file has one copy of it, as files of tied models do.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agreement import v
from bundles_for_tests import write_safetensors

import mlprov
from mlprov import archives, keys
from mlprov.questions import Question

DTYPES = {"float32": "F32", "float64": "F64", "int64": "I64"}
NEEDED = ("archive", "manifest", "signature", "signer", "owner", "records", "heads", "log", "trees")


def little_model(step: int = 0) -> dict[str, np.ndarray]:
    """Four names, three arrays: ``embed.weight`` and ``head.weight`` are tied."""
    tied = np.arange(8, dtype=np.float32).reshape(4, 2) / 4 + step
    return {
        "bias": np.array([step, -step], dtype=np.float32),
        "counter": np.array(step, dtype=np.int64),
        "embed.weight": tied,
        "head.weight": tied,
    }


def write_model(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """A safetensors file of these arrays."""
    path.write_bytes(
        write_safetensors(
            {
                name: (np.ascontiguousarray(a).tobytes(), DTYPES[a.dtype.name], list(a.shape))
                for name, a in arrays.items()
            }
        )
    )
    return path


def saved(arrays: dict[str, np.ndarray], without: str = "head.weight") -> dict[str, np.ndarray]:
    """The model as a file has it: one of the tied names is left out."""
    return {name: array for name, array in arrays.items() if name != without}


@dataclasses.dataclass(frozen=True)
class Recorded:
    """Where everything of the recorded run is; tests copy what they change."""

    directory: Path
    home: Path
    store: Path
    run: str
    vkey: str
    bundle: Path
    full: Path
    model: Path
    pickle: Path
    files: Path
    epochs: list[dict[str, np.ndarray]]
    train: tuple[np.ndarray, np.ndarray]
    test: np.ndarray
    batches: list[Any]

    @property
    def data(self) -> bytes:
        """The bundle."""
        return self.bundle.read_bytes()

    def entries(self) -> dict[str, bytes]:
        """The bundle's entries."""
        return dict(archives.read_archive(self.data).entries)


@contextmanager
def user(home: Path, store: Path | None = None) -> Iterator[None]:
    """Work as the user whose directory this is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLPROV_HOME", str(home))
        if store is not None:
            patch.setenv("MLPROV_STORE", str(store))
        yield


def record(directory: Path, home: Path | None = None, name: str = "little") -> Recorded:
    """Train nothing for two epochs, and record it."""
    home = home or directory / "home"
    store = directory / "store"
    train = (np.arange(12, dtype=np.float32).reshape(6, 2), np.arange(6, dtype=np.int64))
    test = np.arange(6, dtype=np.float32).reshape(3, 2)
    files = directory / "files"
    (files / "sub").mkdir(parents=True)
    (files / "a.txt").write_bytes(b"first\n")
    (files / "sub" / "ü.bin").write_bytes(bytes(range(256)))
    pickle = directory / "model.pkl"
    pickle.write_bytes(b"\x80\x04not to be unpickled.")
    model = little_model()
    batches = [(train[0][:4], train[1][:4]), (train[0][4:], train[1][4:])]
    epochs = []
    with user(home, store):
        with mlprov.start(name, model=model, config={"lr": 0.5, "layers": [4, 2]}) as run:
            run.track_data(train=train, test=test, files=files)
            for epoch in run.epochs(2):
                for _ in run.track(batches):
                    pass
                for key, array in little_model(epoch.index + 1).items():
                    model[key][...] = array
                epoch.log(loss=1 / (epoch.index + 1))
                epochs.append({key: array.copy() for key, array in model.items()})
            run.checkpoint(pickle)
            path = write_model(directory / "model.safetensors", saved(model))
            run.checkpoint(path)
        bundle = run.export(directory / "little.mlprov")
        full = run.export(directory / "full.mlprov", disclose=["batches", "samples", "optimizer"])
        vkey = keys.owner_vkey()
    assert bundle is not None
    assert full is not None
    assert vkey is not None
    return Recorded(
        directory,
        home,
        store,
        run.id,
        vkey,
        bundle,
        full,
        path,
        pickle,
        files,
        epochs,
        train,
        test,
        batches,
    )


def ask_both(evidence: bytes | Path, *, keys: list[str] | None = None, **asked: Any) -> Any:
    """mlprov's verdict, after the second verifier gave the same result, check by check."""
    data = evidence if isinstance(evidence, bytes) else evidence.read_bytes()
    verdict = mlprov.verification.verify_bytes(data, "it", Question(keys=keys, **asked))
    request = v.Request(keys=[v.parse_vkey(key) for key in keys or []], **asked)
    theirs = v.verify_bytes(data, request)
    assert verdict.result == theirs.result, (str(verdict), [str(c) for c in theirs.checks])
    states = {check.name: check.state for check in verdict.checks}
    assert states == {check.name: check.state for check in theirs.checks}
    return verdict


def refused_by_both(data: bytes, **asked: Any) -> None:
    """Neither verifier says that it holds, and neither ends in anything but an answer."""
    request = {**asked, "keys": [v.parse_vkey(key) for key in asked.get("keys") or []]}
    theirs = v.verify_bytes(data, v.Request(**request))
    try:
        verdict = mlprov.verification.verify_bytes(data, "it", Question(**asked))
    except mlprov.EvidenceError:
        assert theirs.result == "could not check"
        return
    assert verdict.result != "holds"
    assert verdict.result == theirs.result, (str(verdict), [str(c) for c in theirs.checks])
    states = {check.name: check.state for check in verdict.checks}
    assert states == {check.name: check.state for check in theirs.checks}


def needs_no_root() -> None:
    """Skip a test of permissions where the user is root, whom they do not bind."""
    if os.geteuid() == 0:
        pytest.skip("root may read and write everything")

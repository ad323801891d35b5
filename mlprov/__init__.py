"""mlprov proves how a machine-learning model came to be.

A training script starts a run, and weights, batches, metrics, code and environment are hashed where
they lie and kept in one append-only, signed log. Anyone can later check a model file, one tensor,
one sample, one batch or one metric against it, offline.

    import mlprov

    with mlprov.start("digits-mlp", model=model, optimizer=optimizer) as run:
        for epoch in run.epochs(10):
            for x, y in run.track(loader):
                ...
            epoch.log(loss=loss)
        run.save("model.safetensors")
    run.export("digits.mlprov")

The names below are the public interface; importing this package imports neither torch nor NumPy.
"""

from __future__ import annotations

import importlib
import os
import threading
from typing import TYPE_CHECKING, Any

from mlprov._version import __version__

if TYPE_CHECKING:
    from mlprov.autologging import autolog
    from mlprov.comparison import Difference, diff
    from mlprov.digests import Digest, Hasher, TensorDigest, blake3, digest, digest_many
    from mlprov.epochs import Epoch
    from mlprov.errors import (
        AnchorError,
        ConfigError,
        Error,
        EvidenceError,
        StoreError,
        UnsupportedTensorError,
        VerificationError,
    )
    from mlprov.loaded_files import load_file, load_model
    from mlprov.model_digests import ModelDigest
    from mlprov.models import digest_model
    from mlprov.plans import CapturePlan, capture_plan
    from mlprov.proofs import Proof
    from mlprov.recorder import RecordingWarning
    from mlprov.runs import Run, start
    from mlprov.saved_files import SavedFile, save_file
    from mlprov.threads import get_threads, set_threads
    from mlprov.trees import (
        ConsistencyProof,
        InclusionProof,
        MerkleTree,
        verify_consistency,
        verify_inclusion,
    )
    from mlprov.verdicts import Check, Verdict
    from mlprov.verification import verify

_HOMES = {
    "autologging": ("autolog",),
    "comparison": ("Difference", "diff"),
    "digests": ("Digest", "Hasher", "TensorDigest", "blake3", "digest", "digest_many"),
    "epochs": ("Epoch",),
    "errors": (
        "AnchorError",
        "ConfigError",
        "Error",
        "EvidenceError",
        "StoreError",
        "UnsupportedTensorError",
        "VerificationError",
    ),
    "loaded_files": ("load_file", "load_model"),
    "model_digests": ("ModelDigest",),
    "models": ("digest_model",),
    "plans": ("CapturePlan", "capture_plan"),
    "proofs": ("Proof",),
    "recorder": ("RecordingWarning",),
    "runs": ("Run", "start"),
    "saved_files": ("SavedFile", "save_file"),
    "threads": ("get_threads", "set_threads"),
    "trees": (
        "ConsistencyProof",
        "InclusionProof",
        "MerkleTree",
        "verify_consistency",
        "verify_inclusion",
    ),
    "verdicts": ("Check", "Verdict"),
    "verification": ("verify",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AnchorError",
    "CapturePlan",
    "Check",
    "ConfigError",
    "ConsistencyProof",
    "Difference",
    "Digest",
    "Epoch",
    "Error",
    "EvidenceError",
    "Hasher",
    "InclusionProof",
    "MerkleTree",
    "ModelDigest",
    "Proof",
    "RecordingWarning",
    "Run",
    "SavedFile",
    "StoreError",
    "TensorDigest",
    "UnsupportedTensorError",
    "Verdict",
    "VerificationError",
    "__version__",
    "autolog",
    "blake3",
    "capture_plan",
    "diff",
    "digest",
    "digest_many",
    "digest_model",
    "get_threads",
    "integrations",
    "load_file",
    "load_model",
    "save_file",
    "set_threads",
    "start",
    "verify",
    "verify_consistency",
    "verify_inclusion",
]


_loading = threading.RLock()
_held_for_fork: dict[int, bool] = {}
_LONGEST_WAIT = 10  # seconds; who forks within an import that a loading thread waits for gets on


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that ``import mlprov`` stays fast (PEP 562)."""
    if name == "integrations":  # a package: each framework's module is imported when it is used
        return importlib.import_module(f"mlprov.{name}")
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'mlprov' has no attribute {name!r}")
    with _loading:
        value = getattr(importlib.import_module(f"mlprov.{module}"), name)
    globals()[name] = value
    return value


def _before_fork() -> None:
    """Wait until no other thread loads a name.

    A child would inherit the lock of the module that is being imported, which nobody in it holds
    and CPython does not make anew, and would wait for it for ever.
    """
    _held_for_fork[threading.get_ident()] = _loading.acquire(timeout=_LONGEST_WAIT)


def _after_fork() -> None:
    if _held_for_fork.pop(threading.get_ident(), False):
        _loading.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

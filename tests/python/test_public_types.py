"""What a type checker says of calls whose answer depends on their arguments."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

CODE = """
import hashlib
import hmac
import io
import mlprov

reveal_type(mlprov.digest(b""))
reveal_type(mlprov.digest(b"", algorithms=("blake3", "sha256")))
reveal_type(mlprov.digest_many([b""], algorithm="sha256", threads=2))
reveal_type(mlprov.digest_many([b""], algorithms=["blake3"]))
reveal_type(mlprov.blake3(b""))
reveal_type(mlprov.capture_plan({}).digest())
reveal_type(mlprov.digest_model({}).tensors)
hmac.new(b"", b"", mlprov.blake3)
hashlib.file_digest(io.BytesIO(), mlprov.blake3)
"""

SEEN = [
    "mlprov.digests.Digest",
    "tuple[mlprov.digests.Digest, ...]",
    "list[mlprov.digests.Digest]",
    "list[tuple[mlprov.digests.Digest, ...]]",
    "mlprov._core.Hasher",
    "mlprov.model_digests.ModelDigest",
    "tuple[mlprov.digests.TensorDigest, ...]",
]


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
@pytest.mark.skipif(
    os.environ.get("MLPROV_BUILD_VARIANT") == "sanitize", reason="mypy itself is not under test"
)
def test_mypy_sees_what_each_call_gives(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(CODE, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(script)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert re.findall(r'Revealed type is "(.*)"', result.stdout) == SEEN, result.stdout
    assert result.returncode == 0, result.stdout + result.stderr

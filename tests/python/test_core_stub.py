"""The stub of the core says what the core has: names, arguments, defaults, kinds of methods."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
@pytest.mark.skipif(
    os.environ.get("MLPROV_BUILD_VARIANT") == "sanitize", reason="mypy itself is not under test"
)
def test_the_stub_agrees_with_the_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "mlprov._core", "--concise"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr

"""The examples run, and say what their readers are told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from training_for_tests import ROOT


def test_a_training_that_is_killed_goes_on_in_the_same_log(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "resume_after_kill.py", tmp_path / "out"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    begun, gone_on, *shown = done.stdout.splitlines()
    assert begun.split() == ["begins", gone_on.split()[-1]]
    assert any("the loaded weights equal those of record" in line for line in shown)
    assert shown[-1].endswith("holds")

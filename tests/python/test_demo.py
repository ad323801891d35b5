"""The demonstrations, as `make demo` and `make demo-chain` run them."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nodes_for_tests import node_package, require_secp256k1
from test_docs import as_pattern, blocks

pytest.importorskip("torch")
pytest.importorskip("sklearn")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DEMO = EXAMPLES / "digits.py"


def processor_seconds() -> float:
    """Of all processes that ended: another load on the machine does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.timing
@pytest.mark.skipif(shutil.which("b3sum") is None, reason="b3sum is not installed")
def test_the_demo_records_verifies_and_refuses_in_90_seconds(tmp_path: Path) -> None:
    began = processor_seconds()
    done = subprocess.run(
        [sys.executable, DEMO, tmp_path / "a b"],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    took = processor_seconds() - began
    assert done.returncode == 0, done.stdout + done.stderr
    for said in (
        "digits.mlprov (digits-mlp): holds",
        "b3sum over the byte ranges agrees on all 104 tensors",
        "demo passed in",
    ):
        assert said in done.stdout
    refused = [line for line in done.stdout.splitlines() if " fails " in line]
    assert [
        name in line
        for name, line in zip(("3.weight", "run.jsonl", "signer"), refused, strict=True)
    ]
    assert took < 90


@pytest.mark.frameworks
def test_the_walk_through_on_a_chain_prints_what_its_page_shows(tmp_path: Path) -> None:
    require_secp256k1()
    node_package("@foundry-rs")
    done = subprocess.run(
        [sys.executable, EXAMPLES / "anchor_digits.py", tmp_path / "a b"],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = [text for language, _, text in blocks("docs/anchoring.md") if language == "console"]
    assert len(shown) == 4
    at = 0
    for text in shown:
        found = as_pattern(text.splitlines()).search(done.stdout, at)
        assert found, f"{text}\n---\n{done.stdout[at:]}"
        at = found.end()
    assert "the second verifier: result: holds" in done.stdout

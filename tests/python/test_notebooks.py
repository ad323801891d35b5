"""Cells that are run again, and what a run says to somebody who watches."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from training_for_tests import ROOT, assert_log_holds, loader, network, of_type, stored, train_step

import mlprov
from mlprov import optimizer_steps, stores

pytestmark = pytest.mark.usefixtures("no_hooks_of_others")


def on_a_terminal(
    code: str, *arguments: object, interactive: bool = False, **variables: str
) -> str:
    """What a process prints whose standard streams are a terminal."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, "-c", code, *map(str, arguments)]
    if interactive:
        command = [sys.executable, "-i", "-q", "-", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), **variables}
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, cwd=ROOT, env=environment
    )
    os.close(terminal)
    if interactive:
        os.write(controller, (code + "\nexit()\n").encode())
    seen = b""
    try:
        while part := os.read(controller, 65536):
            seen += part
    except OSError:  # the terminal is closed with the process
        pass
    os.close(controller)
    assert process.wait(timeout=60) == 0, seen
    return seen.decode().replace("\r\n", "\n")


CELL = 'import sys, mlprov; run = mlprov.start("cell", store=sys.argv[1]); list(run.epochs(1)); 0'


def test_a_run_of_the_same_name_supersedes_the_one_of_an_earlier_cell(tmp_path: Path) -> None:
    store = tmp_path / "s"
    other = CELL.replace('"cell"', '"another"')
    on_a_terminal("\n".join([CELL, other, CELL, CELL, "run.finish()"]), store, interactive=True)
    with stores.open_store(store, read_only=True) as opened:
        rows = list(reversed(stores.read_runs(opened)))
    assert [(row.name, row.status) for row in rows] == [
        ("cell", "superseded"), ("another", "finished"), ("cell", "superseded"),
        ("cell", "finished"),
    ]  # fmt: skip
    for row in rows:
        assert_log_holds(store, row.id, tmp_path)


def test_in_a_script_two_runs_of_one_name_are_two_runs(tmp_path: Path) -> None:
    with mlprov.start("same", store=tmp_path / "s") as first:
        with mlprov.start("same", store=tmp_path / "s") as second:
            assert first.status == second.status == "running"
        assert first.status == "running"


def test_hooks_are_not_doubled_by_cells_that_are_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer = network()
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    for _ in range(3):
        run = mlprov.start("cell", model=model, optimizer=optimizer, store=tmp_path / "s")
        for _ in run.epochs(1):
            for batch in run.track(loader()):
                train_step(model, optimizer, batch)
        assert len(optimizer_steps._watches) == 1
    run.finish()
    assert [epoch["steps"] for epoch in of_type(stored(run), "epoch")] == [3]
    assert not optimizer_steps._watches


def test_a_cell_of_a_run_that_may_be_resumed_goes_on_in_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    first = mlprov.start("cell", store=tmp_path / "s", resume="auto")
    list(first.epochs(2))
    again = mlprov.start("cell", store=tmp_path / "s", resume="auto")
    assert (first.status, again.resumed, again.id) == ("interrupted", True, first.id)
    assert again.last_epoch == 1
    again.finish()
    assert_log_holds(tmp_path / "s", again.id, tmp_path)


def test_cells_of_ipython_supersede_too(tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    code = f"""
import sys
from IPython.testing.globalipapp import start_ipython
shell = start_ipython()
sys.argv[1:] = [{str(tmp_path / "s")!r}]
for _ in range(2):
    assert shell.run_cell({CELL!r}).success
shell.run_cell("run.finish()")
"""
    on_a_terminal(code)
    with stores.open_store(tmp_path / "s", read_only=True) as opened:
        assert [row.status for row in stores.read_runs(opened)] == ["finished", "superseded"]


# ---- what is said ----

WATCHED = """
import sys, mlprov
with mlprov.start("watched \\x1b[31m", store=sys.argv[1]) as run:
    for epoch in run.epochs(3):
        print("the loop's own", epoch.index)
"""


def test_a_terminal_sees_one_line_at_the_start_and_five_at_the_end(tmp_path: Path) -> None:
    lines = on_a_terminal(WATCHED, tmp_path / "s").splitlines()
    assert len(lines) == 1 + 3 + 5
    assert lines[0].startswith("mlprov records run ")
    assert "\\x1b[31m" in lines[0]
    assert [line.split()[0] for line in lines[4:]] == ["run", "head", "recorded", "cost", "verify"]
    assert "\x1b" not in "".join(lines)


def test_who_does_not_want_to_watch_sees_nothing(tmp_path: Path) -> None:
    lines = on_a_terminal(WATCHED, tmp_path / "s", MLPROV_QUIET="1").splitlines()
    assert len(lines) == 3


def test_nothing_is_said_into_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with mlprov.start("silent", store=tmp_path / "s") as run:
        list(run.epochs(1))
    assert capfd.readouterr() == ("", "")


PROGRESS = """
import sys, mlprov
from mlprov import notices
notices._SECONDS = 0.0
{before}
with mlprov.start("progress", store=sys.argv[1]) as run:
    for epoch in run.epochs({epochs}):
        pass
"""


def test_progress_stands_on_lines_of_its_own(tmp_path: Path) -> None:
    seen = on_a_terminal(PROGRESS.format(before="", epochs=3), tmp_path / "s")
    told = re.findall(r"^mlprov: epoch (\d), recording takes [\d.]+% of the time$", seen, re.M)
    assert told == ["0", "1", "2"]


def test_progress_moves_a_bar_of_tqdms_out_of_the_way(tmp_path: Path) -> None:
    pytest.importorskip("tqdm")
    code = PROGRESS.format(before="import tqdm", epochs="tqdm.tqdm(range(3), leave=True)")
    seen = on_a_terminal(code, tmp_path / "s")
    for line in re.split("[\r\n]", seen):
        assert not ("mlprov: epoch" in line and "it/s" in line)
    assert seen.count("mlprov: epoch") == 3
    assert "100%" in seen


def test_a_notebook_shows_a_run_as_a_table(tmp_path: Path) -> None:
    with mlprov.start("<script>alert(1)</script>", store=tmp_path / "s") as run:
        pass
    shown: Any = run._repr_html_()
    assert shown.startswith("<table><tr><td")
    assert shown.count("<tr>") == 5
    assert "<script>" not in shown
    assert run.id in shown

"""The second verifier's command line: exit codes, output, and what it imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bundles_for_tests import (
    CORE,
    FLOATS,
    OTHER_SEED,
    ROOT,
    BundleBuilder,
    standard_run,
    v,
    verify,
    w,
)


def run_verifier(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "verifier" / "mlprov_verify.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    path = tmp_path / "digits.mlprov"
    path.write_bytes(standard_run().build())
    return path


def test_the_exit_code_says_what_the_result_is(bundle_path: Path, tmp_path: Path) -> None:
    key_file = tmp_path / "owner.vkey"
    key_file.write_text(f"{BundleBuilder().owner_key}\n")
    assert run_verifier(bundle_path, "--key", key_file).returncode == 0
    assert run_verifier(bundle_path, "--key", str(BundleBuilder().owner_key)).returncode == 0
    assert run_verifier(bundle_path).returncode == 2
    assert run_verifier(bundle_path, "--allow-unpinned").returncode == 0
    other = str(v.Key("other", w.public_key(OTHER_SEED)))
    assert run_verifier(bundle_path, "--key", other).returncode == 1
    assert run_verifier(tmp_path / "absent").returncode == 2


def test_the_output_has_a_line_for_each_check(bundle_path: Path) -> None:
    lines = run_verifier(bundle_path, "--allow-unpinned").stdout.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == [*CORE, "complete", "time"]
    assert lines[-1] == "result: holds"


def test_details_say_what_a_check_does_not_prove() -> None:
    details = {check.name: check.detail for check in verify(standard_run().build()).checks}
    assert "the owner's own log" in details["log"]
    assert "no time" in details["log"]
    assert "2 epochs, 4 batches" in details["complete"]
    assert "never recorded" in details["complete"]


def test_the_json_output_is_one_object_with_every_check(bundle_path: Path) -> None:
    report = json.loads(run_verifier(bundle_path, "--json").stdout)
    assert report["result"] == "could not check"
    assert [check["name"] for check in report["checks"]] == [*CORE, "complete", "time"]
    assert set(report["checks"][0]) == {"name", "state", "seen", "expected", "detail"}


def test_quiet_prints_nothing(bundle_path: Path) -> None:
    done = run_verifier(bundle_path, "-q", "--allow-unpinned")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@pytest.mark.parametrize(
    "arguments",
    [["--key", "no+such+key"], ["--key", "/absent"], ["--data", "train"], ["--data", "=x"]],
)
def test_wrong_use_is_a_line_and_exit_code_two(bundle_path: Path, arguments: list[str]) -> None:
    done = run_verifier(bundle_path, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("mlprov_verify: ")
    assert len(done.stderr.splitlines()) == 1


def test_names_with_escapes_and_bidi_reach_no_terminal(bundle_path: Path) -> None:
    builder = standard_run()
    evil = "\x1b[2J\u202egnp.\u2066\x07\x9b"
    builder.records[-3]["weights"] = builder.named({evil: (FLOATS, "F32", [4])})
    bundle_path.write_bytes(builder.build())
    arguments = ["--allow-unpinned", "--tensor", evil, "--tensor", evil + "x"]
    for more in ([], ["--json"]):
        shown = run_verifier(bundle_path, *arguments, *more).stdout
        assert not set(shown) & set(evil[0] + "\u202e\u2066\x07\x9b")


def test_the_verifier_imports_nothing_of_mlprov_and_opens_no_socket() -> None:
    text = (ROOT / "verifier" / "mlprov_verify.py").read_text()
    modules = {line.split()[1].split(".")[0] for line in text.splitlines() if is_import(line)}
    allowed = set(sys.stdlib_module_names) | {"blake3", "cryptography"}
    forbidden = {"socket", "pickle", "mmap", "subprocess", "urllib", "http", "zipfile"}
    assert modules <= allowed - forbidden


def is_import(line: str) -> bool:
    return line.strip().startswith(("import ", "from "))

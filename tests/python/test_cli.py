"""The command line as a whole: errors, exit codes, pipes, safe printing, stores of others."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_for_tests import as_nobody, give_to_nobody, is_error, shell
from conftest import ROOT
from runs_for_tests import little_model, user

import mlprov
from mlprov import keys
from mlprov.cli import output
from mlprov.cli.__main__ import VERBS

# ---- the whole ----


def test_every_verb_has_help_and_the_common_options(mlp):
    for verb in VERBS:
        help_text = mlp(verb, "--help")
        assert help_text.code == 0
        for option in ("--json", "--store", "-q", "--debug", "exit codes: 0"):
            assert option in help_text.out, verb
        assert max(map(len, help_text.out.splitlines())) <= 120
    listed = mlp("--help").out
    assert all(f"    {verb} " in listed for verb in VERBS)


def test_every_verb_has_one_file():
    files = {path.stem.removesuffix("_verb") for path in (ROOT / "mlprov/cli").glob("*_verb.py")}
    assert files == set(VERBS)


def test_the_version_is_printed(mlp):
    for option in ("--version", "-V"):
        result = mlp(option)
        assert result.out.strip() == f"mlprov {mlprov.__version__}"
        assert result.code == 0


@pytest.mark.timing
def test_the_version_takes_less_than_150_ms():
    def seconds():
        began = time.perf_counter()
        assert shell("--version").returncode == 0
        return time.perf_counter() - began

    assert min(seconds() for _ in range(5)) < 0.15


def test_no_verb_of_files_imports_torch_or_numpy(here):
    code = (
        "import sys; from mlprov.cli.__main__ import main; code = main(sys.argv[1:]);"
        "sys.exit(3 if {'torch', 'numpy'} & set(sys.modules) else code)"
    )
    for command in (
        ["hash", here.model],
        ["hash", "--tensors", here.model],
        ["verify", here.bundle, "--model", here.model],
        ["ls"],
        ["show"],
        ["diff", here.run, here.model],
    ):
        done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True)
        assert done.returncode in (0, 1), done.stderr


@pytest.mark.parametrize(
    ("command", "part"),
    [
        (["frob"], "'frob'"),
        (["verify"], "BUNDLE|PROOF"),
        (["verify", "x", "--modle", "y"], "--modle"),
        (["verify", "x", "--allow"], "--allow"),
        (["verify", "x", "--epoch", "one"], "'one'"),
        (["hash", "--algorithm", "md5", "x"], "'md5'"),
        (["prove", "--tensor", "a", "--batch", "1"], "not allowed"),
        (["prove"], "--tensor"),
        (["hash"], "cannot hash nothing"),
        (["hash", "--check", "l", "x"], "at once"),
        (["ls", "-n", "-3"], "-3"),
        (["verify", "x", "--data", "a", "--data", "b"], "--data ROLE=a"),
        (["verify", "x", "--data", "r=a", "--data", "r=b"], "role r"),
        (["trust", "--remove"], "name a verifier key"),
        (["trust", "--label", "alice"], "name a verifier key"),
        (["trust", "x", "--remove", "--list"], "--list"),
    ],
    ids=" ".join,
)
def test_wrong_use_takes_two_lines_and_the_exit_code_2(mlp, here, command, part):
    result = mlp(*command)
    assert is_error(result, part)
    assert result.out == ""


def test_a_traceback_is_shown_with_debug_alone_and_the_code_stays(mlp, here):
    assert is_error(mlp("verify", "nowhere"), "cannot read nowhere: No such file")
    result = mlp("verify", "nowhere", "--debug")
    assert result.code == 2
    assert "Traceback" in result.err


def test_a_defect_takes_two_lines_and_does_not_say_that_a_check_failed(mlp, here, monkeypatch):
    def broken(_):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("mlprov.cli.ls_verb.run", broken)
    assert is_error(mlp("ls"), "defect of mlprov: ZeroDivisionError", "--debug")


def test_an_error_is_an_object_too_where_json_is_asked_for(mlp, here):
    result = mlp("show", "nope", "--json")
    assert is_error(result, "cannot find the run 'nope'")
    assert set(result.json["error"]) == {"class", "remedy", "what"}
    assert result.json["error"]["class"] == "StoreError"


def test_a_reader_that_goes_away_ends_the_command_quietly(here):
    done = subprocess.run(
        f"{sys.executable} -m mlprov log --raw | head -c 10 >/dev/null; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")


def test_a_verdict_keeps_its_code_when_nobody_reads_it(here, tmp_path):
    """mlprov verify x | true must not turn "does not hold" into 0."""
    (tmp_path / "bad.mlprov").write_bytes(here.data[:-1])
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "mlprov", "verify", "bad.mlprov"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr == b""


def test_an_interrupt_is_the_exit_code_130(mlp, here, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mlprov.cli.ls_verb.run", interrupted)
    result = mlp("ls")
    assert (result.code, result.out, result.err) == (130, "", "")


def test_a_terminal_that_knows_ascii_alone_is_no_error(here):
    done = shell("log", env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()


# ---- without a verb ----


def test_mlprov_alone_says_what_to_do_next(mlp, here, tmp_path, monkeypatch):
    result = mlp()
    assert result.code == 0
    for command in ("mlprov ls", "mlprov show", "mlprov export", "mlprov --help"):
        assert command in result.out
    shutil.copy(here.bundle, "my run.mlprov")
    assert "mlprov verify 'my run.mlprov'" in mlp().out
    monkeypatch.delenv("MLPROV_STORE")
    result = mlp()
    assert "no store here" in result.out
    assert "mlprov init" in result.out
    assert not (tmp_path / ".mlprov").exists()


# ---- what is printed is safe to print ----

HOSTILE = "\x1b[31mred\x1b[0m\u202eevil\u2066\u2028next\x07\x9b"


def test_escapes_and_bidirectional_controls_are_shown_as_escapes(mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = {f"w{HOSTILE}": little_model()["bias"]}
    config = {f"key{HOSTILE}": HOSTILE}
    with mlprov.start(
        f"name {HOSTILE}", model=model, config=config, project=HOSTILE, notes=HOSTILE
    ) as run:
        for epoch in run.epochs(1):
            epoch.log(**{f"m{HOSTILE}": 1.0})
    run.export("x.mlprov")
    evil = f"evil{HOSTILE}"
    Path(evil).write_bytes(b"x")
    commands = [
        ["ls"],
        ["show"],
        ["log"],
        [],
        ["verify", "x.mlprov", "--tensor", f"w{HOSTILE}"],
        ["verify", "x.mlprov", "--tensor", HOSTILE],
        ["verify", HOSTILE],
        ["show", HOSTILE],
        ["diff", "@", evil],
        ["prove", "--tensor", HOSTILE],
        ["prove", "--tensor", f"w{HOSTILE}", "-o", evil + "2"],
        ["export", "@", evil + ".mlprov"],
        ["hash", evil + "missing"],
        ["trust", HOSTILE],
        [HOSTILE],
        ["verify", "--epoch", HOSTILE, "x"],
    ]
    for command in commands:
        result = mlp(*command)
        for character in "\x1b\u202e\u2066\u2028\x07\x9b":
            assert character not in result.out + result.err, command
    assert "\\x1b[31mred" in mlp("ls").out
    for command in (["ls"], ["show"], ["verify", "x.mlprov"], ["log"]):
        assert mlp(*command, "--json").out.isascii()


def test_a_name_of_a_megabyte_does_not_flood_the_terminal(mlp, here):
    result = mlp("verify", here.bundle, "--tensor", "n" * 100_000)
    assert result.code == 1
    assert len(result.out) < 10_000
    result = mlp("show", "n" * 100_000)
    assert len(result.err) < 10_000


# ---- progress ----


def test_waiting_is_shown_on_a_terminal_and_removed(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with output.waiting("verify", quiet=False):
        time.sleep(1.2)
        output.text("hello")
    captured = capsys.readouterr()
    assert "mlprov verify: 1 s" in captured.err
    assert captured.err.endswith("\r\x1b[K")
    assert captured.out == "hello\n"


@pytest.mark.parametrize("quiet", [True, False])
def test_waiting_is_silent_elsewhere(capsys, quiet):
    with output.waiting("verify", quiet=quiet):
        time.sleep(1.1 if not quiet else 0)
    assert capsys.readouterr().err == ""


def test_python_dash_m_is_the_same_command(here):
    done = shell("verify", here.bundle)
    assert done.returncode == 0
    script = Path(sys.executable).with_name("mlprov")
    if script.exists():
        direct = subprocess.run([script, "verify", here.bundle], capture_output=True)
        assert direct.stdout == done.stdout


def test_a_run_from_another_store_s_owner_is_not_exported(mlp, here, tmp_path, monkeypatch):
    monkeypatch.setenv("MLPROV_HOME", str(tmp_path / "stranger"))
    with user(tmp_path / "stranger"):
        keys.owner_key()
    assert is_error(mlp("export", here.run), "begun by the owner key", "MLPROV_OWNER_KEY")


def test_a_corrupt_store_is_said_and_left_alone(mlp, here, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(here.store, store)
    content = bytearray((store / "store.db").read_bytes())
    content[0:16] = b"not a database!!"
    (store / "store.db").write_bytes(content)
    for command in (["ls"], ["show"], ["export"], ["import", here.bundle]):
        assert is_error(mlp(*command, "--store", store), "store")
    assert (store / "store.db").read_bytes() == content


# ---- stores that cannot be written or trusted ----


def test_a_read_only_store_is_read_exported_and_proved_from(here, nobody):
    shutil.copytree(here.home, nobody / "home")
    shutil.copytree(here.store, nobody / "store")
    (nobody / "out").mkdir()
    give_to_nobody(nobody)
    for folder, _, _ in os.walk(nobody / "store"):
        Path(folder).chmod(0o500)
    for command in (
        ["ls"],
        ["show"],
        ["log"],
        ["diff", "@:0", "@:1"],
        ["export", here.run, "out/x.mlprov"],
        ["prove", here.run, "--tensor", "bias", "-o", "out/p.json"],
    ):
        done = as_nobody(nobody, *command, "--store", nobody / "store")
        assert done.returncode == (1 if command[0] == "diff" else 0), (command, done.stderr)
    assert (nobody / "out" / "x.mlprov").read_bytes() == here.data
    done = as_nobody(nobody, "import", here.bundle, "--store", nobody / "store")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_directory_that_is_not_writable_is_said(nobody):
    nobody.chmod(0o555)
    done = as_nobody(nobody, "init")
    assert done.returncode == 2
    assert "Permission denied" in done.stderr or "not writable" in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_a_store_of_another_user_is_refused(mlp, here, nobody):
    store = nobody / "store"
    shutil.copytree(here.store, store)
    give_to_nobody(store)
    for command in (["ls"], ["show"], ["export"], ["prove", "--record", "0"], ["diff", "@", "@"]):
        result = mlp(*command, "--store", store)
        assert is_error(result, str(store))
    assert is_error(mlp("import", here.bundle, "--store", store), str(store))

"""The command line as a user has it: every verb, its options, output and exit codes."""

import io
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT
from runs_for_tests import little_model, needs_no_root, record, user

import mlprov
from mlprov import bundles, keys, stores
from mlprov.cli import output
from mlprov.cli.__main__ import VERBS, main

HEX = set("0123456789abcdef")


class Result:
    """What one command said and did."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def mlp(capfdbinary, monkeypatch):
    """Runs the command line in this process."""

    def run(*arguments, stdin=None):
        stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        errors = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "stderr", errors)
            if stdin is not None:
                patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            try:
                code = main([os.fspath(argument) for argument in arguments])
            except SystemExit as ended:
                code = ended.code
        written = [s.buffer.getvalue().decode("utf-8", "surrogateescape") for s in (stream, errors)]
        return Result(code or 0, *written)

    return run


@pytest.fixture
def here(as_owner, monkeypatch, tmp_path):
    """An empty working directory, with the recorded store named by the environment."""
    monkeypatch.setenv("MLPROV_STORE", str(as_owner.store))
    monkeypatch.chdir(tmp_path)
    return as_owner


def shell(*arguments, **options):
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "mlprov", *map(os.fspath, arguments)]
    return subprocess.run(command, capture_output=True, timeout=120, **options)


def is_error(result, *parts):
    """Exit code 2, at most two lines, no traceback, and each part in them."""
    assert result.code == 2
    lines = result.err.splitlines()
    assert 1 <= len(lines) <= 2, result.err
    assert all(line.startswith("mlprov: ") for line in lines)
    assert "Traceback" not in result.err
    for part in parts:
        assert part in result.err
    return True


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


# ---- hash ----

ODD_NAMES = [
    b"plain",
    b"with space",
    "ümläut".encode(),
    b"new\nline",
    b"back\\slash",
    b"back\\nslash",
    b"car\rriage",
    b"\xff\xfe not utf-8",
    b"-dash",
    b"*star",
    b"\x1b[31mred",
]


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """A directory of files with odd names."""
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in ODD_NAMES:
        with open(os.fsencode(folder) + b"/" + name, "wb") as file:
            file.write(b"content of " + name)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("program", "algorithm"),
    [
        ("b3sum", "blake3"),
        ("sha256sum", "sha256"),
        ("sha384sum", "sha384"),
        ("sha512sum", "sha512"),
    ],
)
def test_hash_prints_what_the_known_programs_print(odd, program, algorithm):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    names = [os.fsdecode(b"./" + name) for name in ODD_NAMES]
    # b3sum replaces what is not UTF-8, and cannot be checked then: names of other bytes are ours.
    if program == "b3sum":
        names = [name for name in names if "\udcff" not in name and "\r" not in name]
    ours = shell("hash", "--algorithm", algorithm, "--", *names)
    theirs = subprocess.run([program, *names], capture_output=True)
    assert ours.returncode == 0, ours.stderr
    assert ours.stdout == theirs.stdout


def test_a_list_that_hash_printed_is_checked_by_it_and_by_sha256sum(mlp, odd, tmp_path):
    listed = shell("hash", "--algorithm", "sha256", ".")
    assert listed.returncode == 0
    assert len(listed.stdout.splitlines()) >= len(ODD_NAMES)
    path = tmp_path / "list"
    path.write_bytes(listed.stdout)
    result = mlp("hash", "--algorithm", "sha256", "--check", path)
    assert result.code == 0, result.err
    assert result.out.count(": OK") == len(ODD_NAMES)
    assert "\x1b" not in result.out
    if shutil.which("sha256sum"):
        assert subprocess.run(["sha256sum", "--quiet", "--check", path]).returncode == 0
    done = mlp("hash", "--algorithm", "sha256", "--check", "-", stdin=listed.stdout)
    assert done.code == 0


def test_check_says_what_failed_and_what_it_could_not_read(mlp, odd, tmp_path):
    path = tmp_path / "list"
    path.write_bytes(shell("hash", "plain", "with space", "*star").stdout)
    Path("plain").write_bytes(b"changed")
    result = mlp("hash", "--check", path)
    assert result.code == 1
    assert "plain: FAILED" in result.out
    assert "with space: OK" in result.out
    assert "1 of 3 digests do not match" in result.err
    quiet = mlp("hash", "--check", path, "-q")
    assert "OK" not in quiet.out
    assert "plain: FAILED" in quiet.out
    found = mlp("hash", "--check", path, "--json").json
    assert set(found) == {"algorithm", "failed", "results", "unreadable"}
    assert found["results"][0] == {"line": 1, "path": "plain", "result": "FAILED"}
    Path("plain").unlink()
    result = mlp("hash", "--check", path)
    assert result.code == 2
    assert "plain: unreadable" in result.out
    path.write_text("no digest here\n")
    assert is_error(mlp("hash", "--check", path), "line 1")
    path.write_text("")
    assert is_error(mlp("hash", "--check", path), "no lines")
    assert is_error(mlp("hash", "--check", "nowhere"), "nowhere: No such file")


def test_standard_input_is_hashed(mlp):
    digest = str(mlprov.digest(b"abc")).partition(":")[2]
    assert mlp("hash", "-", stdin=b"abc").out == f"{digest}  -\n"


def test_one_bad_file_leaves_the_rest_hashed_with_exit_code_2(mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("a fifo")
    Path("b").write_bytes(b"b")
    Path("dangling").symlink_to("nowhere")
    Path("z").write_bytes(b"z")
    result = mlp("hash", "a fifo", "b", "missing", "dangling", "z")
    assert result.code == 2
    assert [line.partition("  ")[2] for line in result.out.splitlines()] == ["b", "z"]
    for name in ("a fifo", "missing", "dangling"):
        assert name in result.err
    found = mlp("hash", "a fifo", "b", "--json").json
    assert set(found) == {"algorithm", "errors", "files"}
    assert len(found["errors"]) == 1
    assert [file["path"] for file in found["files"]] == ["b"]


def test_an_unreadable_file_or_folder_leaves_the_rest_hashed(mlp, tmp_path, monkeypatch):
    needs_no_root()
    monkeypatch.chdir(tmp_path)
    Path("closed").mkdir()
    Path("closed", "x").write_bytes(b"x")
    Path("secret").write_bytes(b"x")
    Path("open").write_bytes(b"x")
    Path("closed").chmod(0)
    Path("secret").chmod(0)
    result = mlp("hash", ".")
    Path("closed").chmod(0o700)
    assert result.code == 2
    assert "./open" in result.out
    assert "closed" in result.err
    assert "secret" in result.err


def test_the_same_for_a_user_who_is_not_root(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("as this user the test above was run")
    folder = tmp_path / "of nobody"
    folder.mkdir()
    (folder / "closed").mkdir(mode=0o700)
    (folder / "secret").write_bytes(b"x")
    (folder / "secret").chmod(0)
    (folder / "open").write_bytes(b"x")
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from mlprov.cli.__main__ import main;"
        "os.chdir(sys.argv[2]); os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "import mlprov.cli.hash_verb, mlprov.digests, mlprov.models; sys.exit(main(['hash', '.']))"
    )
    preloaded = "import mlprov.cli.hash_verb, mlprov.digests, mlprov.models;"
    done = subprocess.run(
        [sys.executable, "-c", preloaded + code, str(ROOT), str(folder)], capture_output=True
    )
    assert done.returncode == 2, done.stderr
    assert b"./open" in done.stdout
    assert b"closed" in done.stderr
    assert b"secret" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_directory_is_hashed_in_the_order_of_its_paths_without_links(mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("d/b", "d/a/z", "d/a.txt", "d/.hidden", "d/ü"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")
    Path("d/link").symlink_to("b")
    Path("d/loop").symlink_to(".")
    result = mlp("hash", "d")
    names = [line.partition("  ")[2] for line in result.out.splitlines()]
    assert names == ["d/.hidden", "d/a.txt", "d/a/z", "d/b", "d/ü"]
    assert result.code == 0


def test_tensors_equal_b3sum_over_their_byte_ranges(mlp, here, recorded):
    result = mlp("hash", "--tensors", here.model)
    assert result.code == 0
    lines = [line.split() for line in result.out.splitlines()]
    data = here.model.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert [line[1] for line in lines[:-1]] == sorted(header)
    for digest, name, *_ in lines[:-1]:
        begin, end = (8 + length + offset for offset in header[name]["data_offsets"])
        if shutil.which("b3sum"):
            command = ["b3sum", "--no-names"]
            done = subprocess.run(command, input=data[begin:end], capture_output=True)
            assert done.stdout.decode().strip() == digest
        assert str(mlprov.digest(data[begin:end])) == f"blake3:{digest}"
    assert lines[-1][0] == str(mlprov.digest_model(here.model).root)
    found = mlp("hash", "--tensors", here.model, "--json").json
    assert set(found) == {"algorithm", "errors", "models"}
    assert set(found["models"][0]) == {"path", "root", "size", "tensors"}
    assert set(found["models"][0]["tensors"][0]) == {"digest", "dtype", "len", "name", "shape"}
    both = mlp("hash", "--tensors", here.pickle, here.model)
    assert both.code == 2
    assert "model root" in both.out


def test_names_that_are_no_unicode_are_bytes_in_json(mlp, odd):
    found = mlp("hash", "--json", ".").json
    paths = [file["path"] for file in found["files"]]
    assert {"bytes": "Li//3yBub3QgdXRmLTg="} not in paths  # that would be other bytes
    (odd_one,) = [path for path in paths if isinstance(path, dict)]
    import base64

    assert base64.b64decode(odd_one["bytes"]) == b"./\xff\xfe not utf-8"


# ---- stores and runs ----


def test_init_makes_a_store_once(mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = mlp("init")
    assert result.code == 0
    assert "made the store" in result.out
    assert keys.owner_vkey() in result.out
    assert stat.S_IMODE((tmp_path / ".mlprov").stat().st_mode) == 0o700
    assert (tmp_path / ".mlprov" / ".gitignore").read_text().strip() == "*"
    again = mlp("init", "--json").json
    assert set(again) == {"existed", "log", "owner", "store"}
    assert again["existed"] is True
    assert mlp("init", "--store", tmp_path / "elsewhere", "-q").out == ""
    assert (tmp_path / "elsewhere" / "store.db").exists()
    assert "no runs in" in mlp("ls").out


def test_ls_lists_runs_newest_first(mlp, here):
    result = mlp("ls")
    assert result.code == 0
    header, *lines = result.out.splitlines()
    assert header.split()[:3] == ["RUN", "NAME", "PROJECT"]
    assert lines[-1].startswith(here.run)
    found = mlp("ls", "--json").json
    assert set(found) == {"runs", "store"}
    assert set(found["runs"][0]) == {
        "bundle", "created", "id", "imported", "name", "project", "records", "status", "updated",
    }  # fmt: skip
    assert mlp("ls", "-q").out.split()[-1] == here.run
    assert mlp("ls", "-n", "0", "-q").out == ""
    assert mlp("ls", "--project", "nobody's").out.startswith("no runs")


@pytest.mark.parametrize("which", ["id", "prefix", "name", "@", None])
def test_a_run_is_named_by_id_prefix_name_or_at(mlp, here, which, tmp_path):
    store = tmp_path / "copy"
    shutil.copytree(here.store, store)
    given = {"id": here.run, "prefix": here.run[:30], "name": "little", "@": "@"}.get(which)
    arguments = [] if given is None else [given]
    for verb in ("show", "log"):
        result = mlp(verb, *arguments, "--store", store)
        assert result.code == 0, result.err
    assert here.run in mlp("show", *arguments, "--store", store).out or which in ("@", None)


def test_a_run_that_is_not_there_or_not_alone_is_said(mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_error(mlp("show"), "mlprov init")
    mlp("init")
    assert is_error(mlp("show"), "it has no runs yet")
    for _ in range(2):
        with mlprov.start("twice"):
            pass
    assert is_error(mlp("show", "twice"), "2 of", "name one by its id")
    assert is_error(mlp("show", "nobody"), "cannot find the run 'nobody'", "mlprov ls")
    assert is_error(mlp("show", "nobody", "--store", tmp_path / "other"), "there is none")


def test_show_tells_a_run_in_a_screenful(mlp, here):
    result = mlp("show", here.run)
    for part in ("little", here.vkey, "lr 0.5", "train: 6 samples", "0: 2 batches", "loss 0.5"):
        assert part in result.out
    assert "model.pkl: 1 file, opaque" in result.out
    assert len(result.out.splitlines()) < 25
    found = mlp("show", here.run, "--json").json
    assert {"heads", "id", "in_log", "imported", "name", "records", "status"} <= set(found)
    assert found["in_log"] == found["heads"] == 7
    assert [r["type"] for r in found["records"]][:2] == ["run.start", "model"]


def test_log_lists_every_record(mlp, here):
    result = mlp("log", here.run)
    lines = result.out.splitlines()
    assert [line.split()[0] for line in lines] == [str(n) for n in range(10)]
    assert [line.split()[2] for line in lines][-1] == "run.end"
    assert len(mlp("log", here.run, "--type", "epoch").out.splitlines()) == 2
    raw = mlp("log", here.run, "--raw").out.encode()
    assert raw == here.entries()["run.jsonl"]
    found = mlp("log", here.run, "--json").json
    assert set(found) == {"records", "run"}
    assert len(found["records"]) == 10


def test_every_type_of_record_has_a_line(mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.warns(mlprov.RecordingWarning), mlprov.start("all", model=little_model()) as run:
        run.log(step=3, loss=0.123456789)
        run.log(note="x")
        run.checkpoint("nowhere")
    out = mlp("log").out
    assert "step 3: loss 0.123457" in out
    assert "not recorded: 1 × checkpoint" in out
    assert "1 gap" in out


# ---- bundles ----


def test_verify_prints_every_check_and_the_result(mlp, here):
    result = mlp("verify", here.bundle, "--model", here.model, "--data", f"files={here.files}")
    assert result.code == 0
    *checks, last = result.out.splitlines()
    assert all(line.split()[0] in ("holds", "unchecked") for line in checks)
    assert last == f"{here.bundle} (little): holds"
    found = mlp("verify", here.bundle, "--json").json
    assert set(found) == {"checks", "facts", "result", "subject"}
    assert set(found["checks"][0]) == {"detail", "expected", "name", "seen", "state"}
    assert {"name", "open", "records", "run", "signer"} <= set(found["facts"])
    assert mlp("verify", here.bundle, "-q").out == ""


def test_verify_exits_with_1_where_something_fails_and_2_where_it_cannot_say(
    mlp, here, tmp_path, monkeypatch
):
    bad = tmp_path / "bad.mlprov"
    bad.write_bytes(here.data[:-1])
    result = mlp("verify", bad)
    assert result.code == 1
    assert result.out.endswith("bad.mlprov: does not hold (archive)\n")
    assert mlp("verify", here.bundle, "--tensor", "nothing").code == 1
    assert mlp("verify", here.bundle, "--model", "nowhere").code == 2
    assert mlp("verify", here.bundle, "--epoch", "9", "--model", here.model).code == 2
    assert mlp("verify", here.bundle, "--epoch", "1", "--model", here.model).code == 0
    assert is_error(mlp("verify", here.model), "neither a bundle", "--model")
    monkeypatch.setenv("MLPROV_HOME", str(tmp_path / "stranger"))
    assert mlp("verify", here.bundle).code == 2
    assert mlp("verify", here.bundle, "--allow-unpinned").code == 0
    assert mlp("verify", here.bundle, "--key", here.vkey).code == 0
    with user(tmp_path / "third"):
        other = keys.owner_key().vkey
    assert mlp("verify", here.bundle, "--key", other).code == 1
    assert not (tmp_path / "stranger").exists()  # verifying makes no key


def test_data_without_a_role_stand_for_the_only_one(mlp, here, tmp_path):
    result = mlp("verify", here.bundle, "--data", here.files)
    assert result.code == 2
    assert "files, test, train" in result.out
    (tmp_path / "a=b").mkdir()
    result = mlp("verify", here.bundle, "--data", "./a=b")
    assert "say of which role" in result.out


def test_export_writes_the_same_bytes_as_the_run_did(mlp, here, tmp_path):
    result = mlp("export", here.run)
    assert result.code == 0
    assert (tmp_path / "little.mlprov").read_bytes() == here.data
    assert "mlprov verify little.mlprov" in result.out
    everything = ["--disclose", "batches", "--disclose", "samples", "--disclose", "optimizer"]
    found = mlp("export", here.run, "full.mlprov", *everything, "--json").json
    assert set(found) == {"path", "run", "size"}
    assert Path("full.mlprov").read_bytes() == here.full.read_bytes()
    assert is_error(mlp("export", here.run, "nowhere/x.mlprov"), "nowhere/x.mlprov")
    assert is_error(mlp("export", here.run, "."), "directory")


def test_export_names_the_file_after_the_run_whatever_that_is_called(mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("../../etc/x y", "...", "-rf", "ü" * 300, "a\nb\x1b[31m"):
        with mlprov.start(name) as run:
            pass
        found = mlp("export", run.id, "--json").json
        path = Path(found["path"])
        assert path.parent == Path()
        assert path.exists()
        assert not path.name.startswith(("-", "."))
        path.unlink()


def test_import_takes_a_run_and_exports_it_again(mlp, here, tmp_path, monkeypatch):
    store = tmp_path / "theirs"
    monkeypatch.setenv("MLPROV_HOME", str(tmp_path / "stranger"))
    assert is_error(mlp("import", here.bundle, "--store", store), "not pinned", "mlprov trust")
    assert is_error(mlp("import", "nowhere", "--store", tmp_path / "new"), "nowhere")
    assert not (tmp_path / "new").exists()
    assert mlp("trust", here.vkey, "--label", "alice").code == 0
    found = mlp("import", here.bundle, "--store", store, "--json").json
    assert set(found) == {"run", "store"}
    assert "(imported)" in mlp("ls", "--store", store).out
    assert "(imported)" in mlp("show", "--store", store).out
    assert mlp("export", "@", tmp_path / "again.mlprov", "--store", store).code == 0
    assert (tmp_path / "again.mlprov").read_bytes() == here.data
    assert mlp("prove", "--tensor", "bias", "--store", store).code == 0
    assert mlp("verify", "tensor.proof.json").code == 0
    assert is_error(mlp("import", here.bundle, "--store", store), "already")
    (tmp_path / "bad.mlprov").write_bytes(here.data[:-1])
    result = mlp("import", tmp_path / "bad.mlprov", "--store", store)
    assert result.code == 1
    assert "archive" in result.err


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        (["--tensor", "bias"], "tensor"),
        (["--tensor", "bias", "--epoch", "0"], "tensor"),
        (["--batch", "1", "--epoch", "1", "--role", "train"], "batch"),
        (["--sample", "3", "--role", "train"], "sample"),
        (["--sample", "sub/ü.bin", "--role", "files"], "sample"),
        (["--record", "9"], "record"),
    ],
    ids=" ".join,
)
def test_prove_then_verify(mlp, here, what, kind):
    result = mlp("prove", here.run, *what)
    assert result.code == 0, result.err
    assert f"mlprov verify {kind}.proof.json" in result.out
    assert mlp("verify", f"{kind}.proof.json").code == 0
    found = mlp("prove", here.run, *what, "-o", "other.json", "--json").json
    assert set(found) == {"kind", "leaf", "path", "run", "size"}
    assert found["size"] == Path("other.json").stat().st_size


@pytest.mark.parametrize(
    ("what", "part"),
    [
        (["--tensor", "nothing"], "'nothing'"),
        (["--batch", "9"], "batches 0 to 1"),
        (["--sample", "3"], "files, test, train"),
        (["--sample", "²", "--role", "train"], "'²'"),
        (["--record", "99"], "records 0 to 9"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_proved_is_said(mlp, here, what, part):
    assert is_error(mlp("prove", here.run, *what), part)


def test_diff_exits_with_1_where_something_differs(mlp, here, tmp_path):
    same = mlp("diff", here.run, here.bundle)
    assert same.code == 0
    assert "the same: 4 tensors, 3 data sets" in same.out
    differs = mlp("diff", f"{here.run}:0", f"{here.run}:1")
    assert differs.code == 1
    assert "~  tensor  bias" in differs.out
    assert "→" in differs.out
    assert max(map(len, differs.out.splitlines())) < 120
    found = mlp("diff", f"{here.run}:0", f"{here.run}:1", "--json").json
    assert set(found) == {"changes", "left", "right", "same", "unknown"}
    assert set(found["changes"][0]) == {"after", "before", "change", "kind", "name"}
    model = mlp("diff", here.run, here.model)
    assert model.code == 1
    assert "not compared: data, setting" in model.out
    assert mlp("diff", here.run, here.model, "-q").out == ""
    assert is_error(mlp("diff", here.run, "nope"), "'nope'")


# ---- keys ----


def test_keys_are_shown_and_made_once(mlp, tmp_path):
    assert is_error(mlp("keys"), "mlprov keys new")
    assert mlp("keys", "--json").json["owner"] is None
    made = mlp("keys", "new", "-q")
    assert made.out.strip() == keys.owner_vkey()
    assert stat.S_IMODE(keys.owner_key_path().stat().st_mode) == 0o600
    assert mlp("keys").out.startswith(keys.owner_vkey())
    found = mlp("keys", "--json").json
    assert set(found) == {"owner", "path", "trusted"}
    assert is_error(mlp("keys", "new"), "there is one at", "move it away")
    assert mlp("keys", "new").out == ""


def test_trusted_keys_are_pinned_listed_and_removed(mlp, here, tmp_path, monkeypatch):
    monkeypatch.setenv("MLPROV_HOME", str(tmp_path / "stranger"))
    assert "no pinned keys" in mlp("trust").out
    Path("key.txt").write_text(f"{here.vkey}\n")
    assert mlp("trust", "key.txt", "--label", "alice").code == 0
    assert mlp("verify", here.bundle).code == 0
    assert mlp("trust", "--list").out.split() == [here.vkey, "alice"]
    found = mlp("trust", "--json").json
    assert found == {"trusted": [{"label": "alice", "vkey": here.vkey}]}
    assert set(mlp("trust", here.vkey, "--json").json) == {"key", "pinned"}
    assert mlp("trust", here.vkey, "--remove").out.startswith("unpinned")
    assert mlp("verify", here.bundle).code == 2
    assert is_error(mlp("trust", "hello"), "neither a verifier key")
    assert is_error(mlp("trust", here.vkey, "--label", "a\x1bb"), "control characters")
    assert is_error(mlp("trust", "bob", "--remove"), "bob")


def test_doctor_says_what_is_wrong_with_exit_code_2(mlp, here):
    result = mlp("doctor")
    assert result.code == 0
    assert "kernel" in result.out
    found = mlp("doctor", "--json").json
    assert set(found) == {"findings"}
    assert set(found["findings"][0]) == {"detail", "remedy", "state", "what"}
    assert mlp("doctor", "-q").out == ""


def test_doctor_notices_an_open_key(mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys.owner_key()
    keys.owner_key_path().chmod(0o644)
    result = mlp("doctor", "-q")
    assert result.code == 2
    assert result.out.startswith("wrong  owner key")


# ---- stores that cannot be written or trusted ----


def as_nobody(folder, *arguments):
    """The command line as a user without rights, who may read and not write."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import importlib, os;"
        "from mlprov.cli.__main__ import main, VERBS;"
        "[importlib.import_module(f'mlprov.cli.{verb}_verb') for verb in VERBS];"
        "import mlprov.verification, mlprov.comparison, mlprov.cli.output, multiprocessing;"
        "os.chdir(sys.argv[2]); os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "os.environ['MLPROV_HOME'] = sys.argv[2] + '/home';"
        "sys.exit(main(sys.argv[3:]))"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(ROOT), str(folder), *map(str, arguments)],
        capture_output=True,
        text=True,
    )


def give_to_nobody(folder):
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, 65534, 65534)


@pytest.fixture
def nobody(tmp_path):
    """A directory of the user nobody; root alone can make one."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    folder = tmp_path / "nobody"
    folder.mkdir()
    for parent in folder.parents:
        if parent.stat().st_uid == 0 and not parent.stat().st_mode & stat.S_IXOTH:
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
    return folder


def test_a_read_only_store_is_read_exported_and_proved_from(here, nobody):
    shutil.copytree(here.home, nobody / "home")
    shutil.copytree(here.store, nobody / "store")
    (nobody / "out").mkdir()
    give_to_nobody(nobody)
    for folder, _, _ in os.walk(nobody / "store"):
        os.chmod(folder, 0o500)
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


def test_the_modules_of_the_verbs_use_no_private_part():
    assert bundles
    assert stores
    assert record

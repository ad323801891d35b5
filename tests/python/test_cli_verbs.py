"""Every verb of the command line over a recorded run: output, JSON and exit codes."""

import shutil
import stat
from pathlib import Path

import pytest
from cli_for_tests import is_error
from runs_for_tests import little_model, user

import mlprov
from mlprov import keys

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
    none = mlp("log", here.run, "--type", "epohc").out
    assert "no records of the type epohc; this run has: checkpoint, data, epoch" in none
    raw = mlp("log", here.run, "--raw").out.encode()
    assert raw == here.entries()["run.jsonl"]
    found = mlp("log", here.run, "--json").json
    assert set(found) == {"records", "run"}
    assert len(found["records"]) == 10


def test_every_type_of_record_has_a_line(mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with mlprov.start("all", model=little_model()) as run:
        run.log(step=3, loss=0.123456789)
        run.log(note="x")
        for _ in run.track([little_model()["bias"]]):
            pass
        with pytest.warns(mlprov.RecordingWarning):
            run.checkpoint("nowhere")
    out = mlp("log").out
    assert "outside epochs: train 1 batch" in out
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


def test_the_role_of_data_ends_at_the_first_equals_sign(mlp, here, tmp_path):
    there = tmp_path / "a=b=c"
    shutil.copytree(here.files, there)
    for path in (there, "a=b=c", "./a=b=c"):
        assert mlp("verify", here.bundle, "--data", f"files={path}").code == 0
    result = mlp("verify", here.bundle, "--data", f"flies={there}")
    assert result.code == 2
    assert "no data record of the role 'flies'; did you mean 'files'?" in result.out
    result = mlp("verify", here.bundle, "--data", "a=b=c")
    assert "no data record of the role 'a'; there are: 'files', 'test', 'train'" in result.out


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
    assert set(found) == {"path", "run", "size", "status"}
    assert Path("full.mlprov").read_bytes() == here.full.read_bytes()
    assert is_error(mlp("export", here.run, "nowhere/x.mlprov"), "nowhere/x.mlprov")
    assert is_error(mlp("export", here.run, "."), "directory")


def test_export_and_prove_replace_a_file_with_force_alone(mlp, here):
    for command in (
        ["export", here.run, "out.mlprov"],
        ["prove", here.run, "--tensor", "bias", "-o", "out.mlprov"],
    ):
        Path("out.mlprov").write_bytes(b"precious")
        assert is_error(mlp(*command), "cannot write the", "out.mlprov", "--force")
        assert Path("out.mlprov").read_bytes() == b"precious"
        assert mlp(*command, "--force").code == 0
        assert mlp("verify", "out.mlprov").code == 0
    assert is_error(mlp("export", here.run, "/dev/null", "--force"), "/dev/null", "device")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_bundle_of_a_run_that_goes_on_says_so_from_export_to_verdict(mlp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with mlprov.start("endless", model=little_model()):
        exported = mlp("export", "@", "open.mlprov")
        assert exported.code == 0
        assert "has not ended" in exported.out
        result = mlp("verify", "open.mlprov")
        assert result.out.splitlines()[-1] == (
            "open.mlprov (endless): holds; the run had not ended when this was exported"
        )
    assert "has not ended" not in mlp("export", "@", "whole.mlprov").out
    assert mlp("verify", "whole.mlprov").out.splitlines()[-1] == "whole.mlprov (endless): holds"


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


def test_import_counts_a_named_key_without_pinning_it(mlp, here, tmp_path, monkeypatch):
    monkeypatch.setenv("MLPROV_HOME", str(tmp_path / "stranger"))
    store = ["--store", tmp_path / "theirs"]
    with user(tmp_path / "third"):
        other = keys.owner_key().vkey
    assert mlp("import", here.bundle, "--key", other, *store).code == 1
    assert mlp("ls", "-q", *store).out == ""
    assert mlp("import", here.bundle, "--key", here.vkey, *store).code == 0
    assert mlp("ls", "-q", *store).out.strip() == here.run
    assert "no pinned keys" in mlp("trust").out


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


def test_diff_exits_with_1_where_something_differs(mlp, here, tmp_path):
    same = mlp("diff", here.run, here.bundle)
    assert same.code == 0
    assert same.out.startswith("nothing differs\n")
    assert "the same: 4 tensors, 3 data sets" in same.out
    differs = mlp("diff", f"{here.run}:0", f"{here.run}:1")
    assert differs.code == 1
    assert "~  tensor  bias" in differs.out
    assert "→" in differs.out
    assert max(map(len, differs.out.splitlines())) < 120
    found = mlp("diff", f"{here.run}:0", f"{here.run}:1", "--json").json
    assert set(found) == {"changes", "left", "right", "same", "tied", "unknown"}
    assert set(found["changes"][0]) == {"after", "before", "change", "kind", "name"}
    model = mlp("diff", here.run, here.model)
    assert model.code == 0  # of the tied tensors the file has one
    assert "tied, and one copy is enough: " in model.out
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

"""Stores that somebody edited or made up: nothing of them is shown, proved or signed as it were."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from bundles_for_tests import BundleBuilder, replaced, standard_run
from cli_for_tests import is_error
from runs_for_tests import user

import mlprov
from mlprov import _core, bundles, diagnosis, keys, proofs, record_members, stored_runs, stores

READERS = (
    ("show", "@"),
    ("log", "@"),
    ("log", "@", "--raw"),
    ("diff", "@", "@"),
    ("export", "@", "out.mlprov"),
    ("prove", "@", "--tensor", "bias", "-o", "out.json"),
    ("prove", "@", "--record", "0", "-o", "out.json"),
)


def edit(store: Path, *statements: str | tuple[str, tuple[object, ...]]) -> None:
    """Change the database behind mlprov's back."""
    with sqlite3.connect(store / "store.db") as database:
        for statement in statements:
            text, values = (statement, ()) if isinstance(statement, str) else statement
            database.execute(text, values)
    database.close()


@pytest.fixture
def copy(here: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the recorded store, of which the owner's key is at hand."""
    store = tmp_path / "copy"
    shutil.copytree(here.store, store)
    monkeypatch.setenv("MLPROV_STORE", str(store))
    return store


def replace(old: str, new: str) -> str:
    return (
        f"UPDATE records SET bytes = CAST(replace(CAST(bytes AS TEXT), '{old}', '{new}') AS BLOB)"
    )


EDITS = {
    "a setting": (replace('"lr":0.5', '"lr":0.7'),),
    "a metric": (replace('"loss":0.5', '"loss":0.1'),),
    "a record that is no JSON": ("UPDATE records SET bytes = x'ff' WHERE seq = 5",),
    "a record that is a list": ("UPDATE records SET bytes = CAST('[]' AS BLOB) WHERE seq = 5",),
    "a record without a type": ("UPDATE records SET bytes = CAST('{}' AS BLOB) WHERE seq = 5",),
    "a first record that is a number": (
        "UPDATE records SET bytes = CAST('7' AS BLOB) WHERE seq = 0",
    ),
    "a first record without an owner": (replace('"owner":', '"other":'),),
    "an epoch of other members": (replace('"streams":[', '"streams":3,"x":['),),
    "a record that is gone": ("DELETE FROM records WHERE seq = 6",),
    "a last record that is gone": ("DELETE FROM records WHERE seq = 9",),
    "records that are gone": ("DELETE FROM records",),
    "heads that are gone": ("DELETE FROM heads",),
    "a record more": (
        "INSERT INTO records SELECT run, 10, type, time, bytes FROM records WHERE seq = 9",
    ),
    "the order": (
        "UPDATE records SET seq = 100 WHERE seq = 5",
        "UPDATE records SET seq = 5 WHERE seq = 6",
        "UPDATE records SET seq = 6 WHERE seq = 100",
    ),
    "the root": ("UPDATE heads SET root = zeroblob(32)",),
    "the name": ("UPDATE runs SET name = 'better'",),
    "the status": ("UPDATE runs SET status = 'failed'",),
    "the time": ("UPDATE runs SET created = '2020-01-01T00:00:00.000Z'",),
}


@pytest.mark.parametrize("edited", EDITS)
def test_an_edited_run_does_not_hold_whatever_is_asked_of_it(mlp, here, copy, edited):
    edit(copy, *EDITS[edited])
    for verb in READERS:
        result = mlp(*verb)
        assert result.code == 1, (verb, result.err)
        assert result.err.startswith("mlprov: does not hold: "), verb
        assert here.run in result.err, verb
        assert "restore the store from a copy" in result.err, verb
        assert result.out == "", verb
    assert not list(Path().glob("out.*"))


def test_what_was_seen_and_expected_of_an_edited_run_is_said(mlp, here, copy):
    with stores.open_store(copy, read_only=True) as store:
        expected = stores.read_heads(store, here.run)[-1].root.hex()
    edit(copy, *EDITS["a setting"])
    said = mlp("show", "@").err
    with stores.open_store(copy, read_only=True) as store:
        seen = _core.merkle_root(stores.read_records(store, here.run)).hex()
    assert seen != expected
    assert f"(seen sha256:{seen}, expected sha256:{expected})" in said


def test_a_root_that_was_recomputed_is_not_the_signed_one(mlp, here, copy):
    edit(copy, *EDITS["a setting"])
    with stores.open_store(copy, read_only=True) as store:
        lines = stores.read_records(store, here.run)
    edit(copy, ("UPDATE heads SET root = ? WHERE size = 10", (_core.merkle_root(lines),)))
    for verb in READERS:
        result = mlp(*verb)
        assert result.code == 1, verb
        assert "are not those that its head signed" in result.err


def test_a_head_that_another_key_signed_does_not_hold(mlp, here, copy, tmp_path):
    with stores.open_store(copy, read_only=True) as store:
        head = stores.read_heads(store, here.run)[-1]
    text = _core.note_text(head.note)
    with user(tmp_path / "other"):
        forged = keys.owner_key().sign_note(text)
    edit(copy, ("UPDATE heads SET note = ? WHERE size = 10", (forged,)))
    for verb in READERS:
        assert mlp(*verb).code == 1, verb


@pytest.mark.parametrize("which", [0, -1])
def test_a_malformed_head_is_named_and_is_no_defect(mlp, here, copy, which):
    with stores.open_store(copy, read_only=True) as store:
        size = stores.read_heads(store, here.run)[which].size
    edit(copy, f"UPDATE heads SET note = x'00ff' WHERE size = {size}")
    for verb in (("export", "@", "out.mlprov"), ("prove", "@", "--record", "0")):
        result = mlp(*verb)
        assert is_error(result, f"the head of {size} record", here.run), verb
        assert "defect" not in result.err


def test_an_index_that_is_another_entry_s_is_not_exported(mlp, here, copy):
    edit(
        copy,
        "UPDATE heads SET log_index = NULL WHERE size = 10",
        "UPDATE heads SET log_index = (SELECT MAX(log_index) FROM heads) + 1 WHERE size = 10"
        " AND (SELECT COUNT(*) FROM log_entries) > (SELECT MAX(log_index) FROM heads) + 1",
        "UPDATE heads SET log_index = -1 - log_index WHERE log_index IS NOT NULL",
        "UPDATE heads SET log_index = -1 - log_index + 1 WHERE size = 1",
    )
    for verb in (("export", "@", "out.mlprov"), ("prove", "@", "--record", "0")):
        result = mlp(*verb)
        assert result.code == 2, (verb, result.out)
        assert "defect" not in result.err
    assert not Path("out.mlprov").exists()


def test_doctor_finds_an_edited_run(mlp, here, copy):
    (finding,) = [f for f in diagnosis.diagnose(copy) if f.what == "runs"]
    assert finding.state == "ok"
    edit(copy, *EDITS["a setting"])
    (finding,) = [f for f in diagnosis.diagnose(copy) if f.what == "runs"]
    assert finding.state == "wrong"
    assert here.run in finding.detail
    assert finding.remedy.startswith("restore the store from a copy")


def test_a_table_that_is_none_is_said(mlp, here, copy):
    edit(copy, "ALTER TABLE runs RENAME TO others", "CREATE VIEW runs AS SELECT * FROM others")
    for verb in (("ls",), *READERS):
        result = mlp(*verb)
        assert result.code == 2, verb
        assert "defect" not in result.err, verb
    shutil.copytree(here.store, copy.parent / "again")
    edit(copy.parent / "again", "UPDATE runs SET name = x'ff'")
    result = mlp("ls", "--store", copy.parent / "again")
    assert is_error(result, "column that is no text", here.run)


def test_records_in_python_are_held_against_the_head_too(here, copy):
    edit(copy, *EDITS["a setting"])
    with (
        stores.open_store(copy, read_only=True) as store,
        pytest.raises(mlprov.VerificationError, match="its head signed"),
    ):
        stored_runs.read_run(store, here.run)


# ---- imported runs ----


def imported(here: Any, folder: Path) -> Path:
    """A store of somebody else's making, with the run imported."""
    store = folder / "theirs"
    with user(here.home), stores.open_store(store, create=True) as opened:
        bundles.import_bundle(opened, here.bundle)
    return store


def name_the_key(store: Path, kept: Path, secret: Path) -> None:
    edit(store, ("UPDATE runs SET bundle = ?", (str(secret),)))


def name_the_key_relatively(store: Path, kept: Path, secret: Path) -> None:
    edit(store, ("UPDATE runs SET bundle = ?", (os.path.relpath(secret, store),)))


def link_the_file(store: Path, kept: Path, secret: Path) -> None:
    kept.unlink()
    kept.symlink_to(secret)


def link_the_folder(store: Path, kept: Path, secret: Path) -> None:
    folder = store.parent / "elsewhere"
    kept.parent.rename(folder)
    (folder / kept.name).write_bytes(secret.read_bytes())
    kept.parent.symlink_to(folder)


def copy_the_file(store: Path, kept: Path, secret: Path) -> None:
    kept.write_bytes(secret.read_bytes())


def make_a_pipe(store: Path, kept: Path, secret: Path) -> None:
    kept.unlink()
    os.mkfifo(kept)


def take_another_run(store: Path, kept: Path, secret: Path) -> None:
    kept.write_bytes(standard_run().build())


@pytest.mark.parametrize(
    "trick",
    [
        name_the_key,
        name_the_key_relatively,
        link_the_file,
        link_the_folder,
        copy_the_file,
        make_a_pipe,
        take_another_run,
    ],
)
def test_no_file_but_the_run_s_own_bundle_leaves_a_store(mlp, here, tmp_path, trick):
    store = imported(here, tmp_path)
    secret = here.home / "owner.pem"
    trick(store, store / "imports" / f"{here.run}.mlprov", secret)
    for verb in (("export", "@", "out.mlprov"), ("prove", "@", "--record", "0", "-o", "out.json")):
        result = mlp(*verb, "--store", store)
        assert result.code in (1, 2), verb
        assert "defect" not in result.err
        assert "PRIVATE" not in result.err
    assert not list(Path().glob("out.*"))


def test_a_recorded_run_that_is_called_imported_hands_out_no_file(mlp, here, copy):
    secret = here.home / "owner.pem"
    edit(copy, ("UPDATE runs SET bundle = ?", (str(secret),)))
    result = mlp("export", "@", "out.mlprov")
    assert is_error(result, "no file but imports/<run id>.mlprov", "import the run again")
    assert not Path("out.mlprov").exists()


def test_a_run_id_that_is_a_path_names_no_file(mlp, here, tmp_path):
    store = imported(here, tmp_path)
    edit(store, *(f"UPDATE {table} SET {column} = '../../x'" for table, column in
                  (("runs", "id"), ("records", "run"), ("heads", "run"))),
         "UPDATE runs SET bundle = 'imports/../../x.mlprov'")  # fmt: skip
    assert mlp("export", "@", "out.mlprov", "--store", store).code == 1


# ---- signed records of other kinds ----

ODD: list[tuple[int, str, Any]] = [
    (0, "code", "x"),
    (0, "code", {"modules": [1]}),
    (0, "environment", 7),
    (0, "environment", {"packages": [1]}),
    (0, "name", 5),
    (1, "count", "x"),
    (1, "bytes", [1]),
    (1, "role", {"a": 1}),
    (1, "tree", 5),
    (4, "parameters", "x"),
    (4, "weights", "x"),
    (5, "epoch", "1"),
    (5, "streams", 5),
    (5, "streams", [5]),
    (5, "streams", [{"batches": "x"}]),
    (5, "streams", [{"tree": {"root": "sha256:00", "size": 1}}]),
    (5, "metrics", [1]),
    (7, "files", 7),
    (7, "tensors", [1]),
    (8, "overhead", [1]),
    (8, "gaps", "x"),
]


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user who trusts whoever signs the odd bundles; the store to import them into."""
    keys.trust(str(BundleBuilder().owner_key))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLPROV_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.mark.parametrize(("seq", "member", "value"), ODD)
def test_a_signed_record_of_another_kind_is_not_imported(mlp, trusting, seq, member, value):
    path = Path("odd.mlprov")
    path.write_bytes(replaced(seq, member, value))
    Path("good.mlprov").write_bytes(standard_run().build())
    for verb in (("import", path), ("diff", path, "good.mlprov")):
        result = mlp(*verb)
        assert is_error(result, f"record {seq}"), verb
        assert "defect" not in result.err
    assert mlp("ls", "-q").out == ""


def force(store: Path, bundle: bytes) -> str:
    """Import as a release did that looked at no members."""
    path = store.parent / "forced.mlprov"
    path.write_bytes(bundle)
    with pytest.MonkeyPatch.context() as patch, stores.open_store(store, create=True) as opened:
        patch.setattr(bundles, "check_members", lambda *_: None)
        return bundles.import_bundle(opened, path)


@pytest.mark.parametrize(("seq", "member", "value"), ODD)
def test_a_stored_record_of_another_kind_is_named_by_every_verb(mlp, trusting, seq, member, value):
    run = force(trusting, replaced(seq, member, value))
    for verb in READERS:
        result = mlp(*verb)
        assert is_error(result, run, f"record {seq}"), verb
        assert "defect" not in result.err, verb
        assert "mlprov verify" in result.err, verb
    assert mlp("ls").code == 0
    assert mlp("doctor", "-q").code == 2


SCARCE = [
    (1, ("tree", "sorted", "count", "bytes", "role", "fields", "kind")),
    (4, ("weights", "aliases", "architecture", "parameters")),
    (5, ("weights", "aliases", "streams", "metrics", "optimizer", "epoch")),
    (7, ("files", "path", "format", "weights", "tensors", "mapping", "epoch")),
    (8, ("overhead", "seconds", "status", "gaps", "epochs", "batches", "exception")),
    (0, ("name", "config", "code", "environment", "seeds", "settings", "parents", "tags")),
]


@pytest.mark.parametrize("how", ["absent", "null"])
@pytest.mark.parametrize(("seq", "members"), SCARCE)
def test_what_a_record_does_not_say_breaks_no_verb(mlp, trusting, seq, members, how):
    builder = standard_run()
    for member in members:
        for gone in (builder.records[seq].pop(member, None),):
            if isinstance(gone, dict) and "root" in gone:
                builder.trees.pop(gone["root"].removeprefix("sha256:"), None)
        if how == "null":
            builder.records[seq][member] = None
    if seq == 5:
        cited = str(builder.records)
        builder.trees = {root: kept for root, kept in builder.trees.items() if root in cited}
    path = Path("scarce.mlprov")
    path.write_bytes(builder.build())
    assert mlp("import", path).code == 0
    for verb in (
        *READERS,
        ("prove", "@", "--batch", "0"),
        ("prove", "@", "--batch", "0", "--epoch", "1"),
        ("prove", "@", "--sample", "0", "--role", "train"),
        ("prove", "@", "--sample", "a.txt", "--role", "files"),
        ("prove", "@", "--tensor", "bias", "--epoch", "0"),
        ("diff", "@:0", "@:1"),
        ("diff", path, "@"),
    ):
        result = mlp(*verb, *(["--force"] if verb[0] in ("prove", "export") else []))
        assert result.code in (0, 1, 2), verb
        assert "defect" not in result.err, (verb, result.err)


@pytest.mark.parametrize("leaf", [b"\xff\xfe", b"[1]", b"7", b"{"])
def test_a_leaf_of_something_else_proves_nothing(leaf):
    with pytest.raises(mlprov.EvidenceError, match=r"cannot prove the batch 0: .* no JSON object"):
        proofs._decode_leaf(leaf, "the batch 0")


def test_a_tree_of_fewer_leaves_than_cited_proves_nothing(here, copy):
    with stores.open_store(copy, read_only=True) as store:
        records = stored_runs.read_run(store, here.run).records
        tree = next(record["tree"] for record in records if record.get("role") == "train")
        with pytest.raises(mlprov.EvidenceError, match=r"cites 7 leaves .* which has 6"):
            proofs._leaves(store, {**tree, "size": 7}, "the sample 6")


def test_unknown_members_and_types_are_nobody_s_business():
    record_members.check_members({"type": "mood", "verb": 5}, "record 1")
    record_members.check_members({"type": "epoch", "mood": []}, "record 1")
    for status in (None, "finished", {"bytes": "/w=="}):
        record_members.check_members({"type": "run.end", "status": status}, "record 1")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "no JSON object with a type"),
        ({"type": 5}, "no JSON object with a type"),
        ({"type": "epoch", "seq": True}, "says that it is number True"),
        ({"type": "epoch", "seq": 2}, "says that it is number 2"),
        ({"type": "epoch", "seq": 1, "time": "now"}, "the time 'now'"),
        ({"type": "run.start", "seq": 1, "time": "2026-11-21T09:30:00.000Z"}, "is the first"),
    ],
)
def test_an_envelope_of_another_kind_is_named(value, said):
    with pytest.raises(mlprov.EvidenceError, match=said):
        record_members.check_record(value, 1, "record 1")

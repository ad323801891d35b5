"""Stores and run logs through the binding."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from stores_for_tests import OTHER, RUN, append, end, time

from mlprov import _core
from mlprov.errors import ConfigError, StoreError, VerificationError

# ---- the directory ----


def test_a_store_is_made_once_and_opened_again(store_path: Path) -> None:
    store = _core.Store(store_path, create=True)
    facts = store.path, store.id, store.log_origin, store.log_vkey
    assert Path(store.path).samefile(store_path)
    assert store.log_origin == f"mlprov/store/{store.id}"
    assert _core.parse_vkey(store.log_vkey)[0] == store.log_origin
    assert not store.read_only
    assert not store.newer
    store.close()
    store.close()
    for again in (_core.Store(os.fsencode(store_path)), _core.Store(str(store_path), create=True)):
        assert (again.path, again.id, again.log_origin, again.log_vkey) == facts
        again.close()
    assert stat.S_IMODE((store_path / "keys").stat().st_mode) == 0o700


def test_a_new_store_has_every_directory_of_the_layout(
    store: _core.Store, store_path: Path
) -> None:
    """csrc/store/store.h lists them; an import must not be the first to find one missing."""
    assert not store.read_only
    folders = {path.name for path in store_path.iterdir() if path.is_dir()}
    assert folders == {"imports", "keys", "log", "trees"}
    assert (store_path / ".gitignore").read_text().split() == ["*"]


def test_a_closed_store_says_so(store: _core.Store) -> None:
    store.close()
    for call in (
        lambda: store.query("SELECT 1"),
        lambda: store.create_run(RUN, "n", None),
        lambda: store.open_run(RUN),
        lambda: store.put_leaves([b"a"]),
        lambda: store.get_leaves(bytes(32)),
        lambda: store.has_leaves(bytes(32)),
        lambda: store.open_stream(RUN, "s"),
        store.integrate,
        store.checkpoint,
        lambda: store.log_proof(0, 1),
    ):
        with pytest.raises(StoreError) as seen:
            call()
        assert seen.value.status == "CLOSED"


def test_what_is_no_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as missing:
        _core.Store(tmp_path / "missing")
    assert missing.value.status == "NOT_FOUND"
    assert "missing" in str(missing.value)
    (tmp_path / "file").write_text("text")
    with pytest.raises((StoreError, ConfigError)):
        _core.Store(tmp_path / "file", create=True)


def test_a_read_only_store_is_read_and_not_written(store: _core.Store, store_path: Path) -> None:
    end(store).close()
    size = store.integrate()
    reader = _core.Store(store_path, read_only=True)
    assert reader.read_only
    assert reader.query("SELECT count(*) FROM records") == [(2,)]
    assert reader.log_vkey == store.log_vkey
    assert reader.checkpoint() == store.checkpoint()
    assert reader.log_proof(0, size) == store.log_proof(0, size)
    for call in (lambda: reader.create_run(OTHER, "n", None), lambda: reader.put_leaves([b"a"])):
        with pytest.raises(StoreError) as seen:
            call()
        assert seen.value.status == "READONLY"


# ---- queries ----


def test_values_of_every_type_go_in_and_come_out(store: _core.Store) -> None:
    values = (None, -(2**63), 2**63 - 1, 0.1, "", "\u00e9\0x", b"", b"\0\xff", True)
    sql = "SELECT " + ",".join("?" for _ in values)
    assert store.query(sql, values) == [(*values[:-1], 1)]
    assert store.query("SELECT 1 UNION SELECT 2 ORDER BY 1") == [(1,), (2,)]
    assert store.query("SELECT id FROM runs") == []
    assert store.query("SELECT value FROM meta WHERE key = ?", ["store_id"]) == [(store.id,)]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM runs",
        "DROP TABLE runs",
        "INSERT INTO meta VALUES('a','b')",
        "UPDATE meta SET value=''",
        "ATTACH 'x' AS y",
        "PRAGMA journal_mode=WAL",
        "PRAGMA user_version=9",
        "VACUUM",
        "BEGIN",
        "SELECT",
        "SELECT 1; DELETE FROM runs",
        "SELECT load_extension('x')",
        "CREATE TEMP TABLE t(a)",
        "",
        "SELECT ?",
        "\0",
    ],
)
def test_whatever_could_write_or_is_no_query_is_refused(store: _core.Store, sql: str) -> None:
    before = store.query("SELECT * FROM meta")
    with pytest.raises(ValueError) as seen:
        store.query(sql)
    assert seen.value.status == "ARGUMENT"  # type: ignore[attr-defined]
    assert store.query("SELECT * FROM meta") == before


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ([2**63], ValueError),
        (["\ud800"], ValueError),
        ([[]], TypeError),
        ([1, 2], ValueError),
        (5, TypeError),
        ("a", TypeError),
        (b"a", TypeError),
        ([bytearray(b"a")], TypeError),
    ],
)
def test_parameters_that_sqlite_cannot_hold_are_refused(
    store: _core.Store, parameters: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        store.query("SELECT ?", parameters)  # type: ignore[arg-type]


# ---- runs ----


def test_a_commit_acknowledges_what_was_appended(store: _core.Store, store_path: Path) -> None:
    log = store.create_run(RUN, "name", "project")
    assert (log.run_id, log.size, log.head) == (RUN, 0, (0, _core.merkle_root([])))
    assert [append(log, 0, "run.start"), append(log, 1)] == [0, 1]
    assert (log.size, log.head[0]) == (2, 0)
    assert store.query("SELECT count(*) FROM runs") == [(0,)], (
        "nothing is there before the first commit"
    )
    note = log.commit()
    records = [bytes(row) for (row,) in store.query("SELECT bytes FROM records ORDER BY seq")]
    assert records == [b'{"seq":0}', b'{"seq":1}']
    assert log.head == (2, _core.merkle_root(records))
    text = _core.verify_note(note, log.vkey)
    assert _core.parse_checkpoint(text) == (f"mlprov/run/{RUN}", *log.head)
    assert store.query("SELECT name, project, status, vkey FROM runs") == [
        ("name", "project", "running", log.vkey)
    ]
    other = _core.Store(store_path)
    assert other.query("SELECT count(*) FROM records") == [(2,)]


def test_a_rollback_drops_what_is_pending(store: _core.Store) -> None:
    log = store.create_run(RUN, "name", None)
    append(log, 0, "run.start")
    log.commit()
    append(log, 1)
    assert log.rollback() == log.size == 1
    assert append(log, 2) == 1
    log.commit()
    assert log.head[0] == 2


def test_a_run_goes_on_after_it_was_closed(store: _core.Store) -> None:
    log = store.create_run(RUN, "name", None)
    append(log, 0, "run.start")
    log.commit()
    append(log, 1)
    facts = log.run_id, log.vkey, log.head
    log.close()
    log.close()
    assert (log.run_id, log.vkey, log.head, log.size) == (*facts, 1)
    for call in (lambda: append(log, 2), log.commit, log.rollback, log.destroy_key):
        with pytest.raises(StoreError, match="open_run") as seen:
            call()
        assert seen.value.status == "CLOSED"
    again = store.open_run(RUN)
    assert (again.run_id, again.vkey, again.head) == facts
    assert append(again, 1) == 1
    again.commit()


def test_a_log_outlives_the_store_object_that_it_came_from(store_path: Path) -> None:
    log = _core.Store(store_path, create=True).create_run(RUN, "name", None)
    append(log, 0, "run.start")
    assert _core.verify_note(log.commit(), log.vkey)


@pytest.mark.parametrize(
    ("run_id", "name"),
    [("", "n"), ("../../etc/passwd", "n"), (RUN.upper(), "n"), (RUN + "\n", "n"), (RUN, "")],
)
def test_run_ids_and_names_that_cannot_be_are_refused(
    store: _core.Store, run_id: str, name: str
) -> None:
    with pytest.raises(ValueError):
        store.create_run(run_id, name, None)


def test_records_out_of_order_and_runs_that_are_not_there_are_refused(store: _core.Store) -> None:
    with pytest.raises(StoreError) as seen:
        store.open_run(RUN)
    assert seen.value.status == "NOT_FOUND"
    log = store.create_run(RUN, "name", None)
    with pytest.raises(ValueError):
        log.commit()
    append(log, 5, "run.start")
    for when in (time(5), time(4), "yesterday", ""):
        with pytest.raises(ValueError):
            log.append(b"{}", seq=1, type="epoch", time=when)
    with pytest.raises(ValueError):
        log.append(bytes(2**24 + 1), seq=1, type="epoch", time=time(6))
    for seq in (0, 2, 2**62, -1):
        with pytest.raises(StoreError, match="next record is number 1") as seen:
            log.append(b"{}", seq=seq, type="epoch", time=time(7))
        assert seen.value.status == "BUSY"
    assert log.size == 1


# ---- the store log ----


def test_heads_enter_the_log_and_can_be_proved(store: _core.Store, store_path: Path) -> None:
    assert store.checkpoint() is None
    logs = [end(store, run) for run in (RUN, OTHER)]
    assert store.integrate() == 2
    assert store.integrate() == 2
    checkpoint = store.checkpoint()
    assert checkpoint is not None
    assert checkpoint == (store_path / "log" / "checkpoint").read_bytes()
    origin, size, root = _core.parse_checkpoint(_core.verify_note(checkpoint, store.log_vkey))
    assert (origin, size) == (store.log_origin, 2)
    for index, note in store.query("SELECT log_index, note FROM heads"):
        path = store.log_proof(index, size)
        _core.merkle_verify_inclusion(root, _core.merkle_leaf_hash(note), index, size, path)
        with pytest.raises(VerificationError):
            _core.merkle_verify_inclusion(root, _core.merkle_leaf_hash(note), 1 - index, size, path)
    for arguments in ((2, 2), (0, 3), (-1, 2), (0, -1), (0, 0)):
        with pytest.raises(IndexError):
            store.log_proof(*arguments)
    for log in logs:
        log.destroy_key()
        log.destroy_key()
    assert not list((store_path / "keys").glob(f"*{RUN}*"))


def test_the_key_of_a_run_that_has_not_ended_is_not_destroyed(store: _core.Store) -> None:
    log = store.create_run(RUN, "name", None)
    append(log, 0, "run.start")
    log.commit()
    with pytest.raises(ValueError):
        log.destroy_key()


def test_threads_share_one_store_and_one_log(store: _core.Store) -> None:
    log = store.create_run(RUN, "name", None)
    append(log, 0, "run.start")
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(5):
                log.commit()
                store.query("SELECT count(*) FROM records")
                root = store.put_leaves([b"leaf %d" % number])
                assert store.get_leaves(root) == [b"leaf %d" % number]
                store.integrate()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_store_that_closes_under_a_query_ends_it_cleanly(store_path: Path) -> None:
    ends: list[str] = []
    for _ in range(5):
        store = _core.Store(store_path, create=True)

        def ask(shared: _core.Store = store) -> None:
            try:
                while True:
                    shared.query("SELECT * FROM meta, runs")
            except StoreError as error:
                ends.append(error.status)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        store.close()
        for thread in threads:
            thread.join()
    assert ends == ["CLOSED"] * 15


# ---- imports ----


def test_an_imported_run_is_there_and_stays_out_of_the_log(store: _core.Store) -> None:
    records = [("run.start", time(1), b'{"seq":0}'), ("run.end", time(2), b'{"seq":1}')]
    heads = [(2, _core.merkle_root([record[2] for record in records]), b"a note\n")]
    store.put_import(RUN, "name", None, "finished", time(1), records, heads, "/tmp/a.mlprov")
    assert store.query("SELECT type, time, bytes FROM records ORDER BY seq") == records
    assert store.query("SELECT size, root, note, imported FROM heads") == [(*heads[0], 1)]
    assert store.integrate() == 0
    store.put_import(RUN, "name", None, "finished", time(1), records, heads, "/tmp/a.mlprov")
    changed = [records[0], ("run.end", time(2), b'{"seq":9}')]
    with pytest.raises(VerificationError):
        store.put_import(RUN, "name", None, "finished", time(1), changed, heads, "/tmp/a.mlprov")
    with pytest.raises(ValueError):
        store.open_run(RUN)


@pytest.mark.parametrize(
    ("records", "heads", "error"),
    [
        ([("t", "time")], [], TypeError),
        ([["t", "time", b""]], [], TypeError),
        ([("t", "time", "text")], [], TypeError),
        ([("t", 5, b"")], [], TypeError),
        ([("t\0", "time", b"")], [], ValueError),
        ([("t", "2026-11-21T09:30:00.000Z", b"")], [(1, b"short", b"")], ValueError),
        ([("t", "2026-11-21T09:30:00.000Z", b"")], [(-1, bytes(32), b"")], ValueError),
        ([("t", "2026-11-21T09:30:00.000Z", b"")], [(1, bytes(32))], TypeError),
        (5, [], TypeError),
        ([], None, TypeError),
        ([], [], ValueError),
    ],
)
def test_rows_of_another_shape_are_not_imported(
    store: _core.Store, records: object, heads: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        store.put_import(RUN, "n", None, "finished", time(1), records, heads, "p")  # type: ignore[arg-type]
    assert store.query("SELECT count(*) FROM runs") == [(0,)]


def test_patience_is_a_number_of_milliseconds(tmp_path: Path) -> None:
    store = _core.Store(tmp_path / "s", create=True)
    for good in (0, 1, 30_000, 2**63):
        store.set_patience(good)
    for bad in (-1, 1.5, "1", None):
        with pytest.raises((ValueError, TypeError), match=r"patience|int"):
            store.set_patience(bad)  # type: ignore[arg-type]
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.set_patience(1)

/* Run logs and the store log (csrc/anchor/runlog.h, tlog.h). */
#include "log_audit.h"

#include "anchor/tiles.h"
#include "store/log_rows.h"
#include "store/runs.h"
#include "store/store_internal.h"

#include <sys/wait.h>

static char path[PATH_MAX];
static struct mlp_store *store;
static struct mlp_tlog *tlog;

static void set_up(void)
{
    struct mlp_error error = {0};
    fixture_path(path, "store");
    store = open_store(path, MLP_STORE_CREATE);
    tlog = NULL;
    if (!FINE(mlp_tlog_open(&tlog, store, &error)))
        exit(1);
}

static void tear_down(void)
{
    mlp_tlog_free(tlog);
    mlp_store_free(store);
    fixture_remove(path);
}

static void open_again(void)
{
    struct mlp_error error = {0};
    mlp_tlog_free(tlog);
    mlp_store_free(store);
    store = open_store(path, MLP_STORE_CREATE);
    tlog = NULL;
    if (!FINE(mlp_tlog_open(&tlog, store, &error)))
        exit(1);
}

static struct mlp_runlog *new_run(unsigned n)
{
    struct mlp_error error = {0};
    struct mlp_runlog *log = NULL;
    if (!FINE(mlp_runlog_create(&log, store, run_id(n), "digits", "project", &error)))
        exit(1);
    return log;
}

/* A run of `commits` commits, ended where asked. */
static void record_run(unsigned n, unsigned commits, bool end)
{
    struct mlp_error error = {0};
    struct mlp_runlog *log = new_run(n);
    for (unsigned i = 0; i < commits; i++) {
        bool last = end && i + 1 == commits;
        CHECK(FINE(add_record(log, last ? "run.end" : "epoch", &error)));
        CHECK(FINE(mlp_runlog_commit(log, NULL, last ? "finished" : NULL, &error)));
    }
    mlp_runlog_free(log);
}

static uint64_t integrate(void)
{
    struct mlp_error error = {0};
    uint64_t size = UINT64_MAX;
    CHECK(FINE(mlp_tlog_integrate(tlog, &size, &error)));
    return size;
}

static void key_path_of(char name[64], unsigned n)
{
    (void)snprintf(name, 64, "keys/%s.pem", run_id(n));
}

/* ---- run logs ---- */

static void nothing_is_in_the_database_before_the_first_commit(void)
{
    struct mlp_error error = {0};
    char key[64];
    set_up();
    struct mlp_runlog *log = new_run(1);
    key_path_of(key, 1);
    CHECK(file_exists(path, key));
    CHECK(mlp_runlog_commit(log, NULL, NULL, &error) == MLP_E_ARGUMENT);
    CHECK(FINE(add_record(log, "run.start", &error)) && mlp_runlog_size(log) == 1);
    CHECK(query_number(store, "SELECT count(*) FROM runs") == 0);
    mlp_runlog_free(log);
    CHECK(!file_exists(path, key)); /* it never was a run */
    tear_down();
}

static void a_commit_writes_run_records_and_a_head_that_verifies(void)
{
    struct mlp_error error = {0};
    struct mlp_buffer bytes = {0};
    struct mlp_vkey vkey;
    struct mlp_note note;
    struct mlp_checkpoint head;
    uint64_t seq = 9;
    uint64_t size = 9;
    uint8_t root32[32];
    uint8_t expected32[32];
    set_up();
    struct mlp_runlog *log = new_run(1);
    CHECK(FINE(mlp_runlog_append(log, &seq, "{}", 2, "run.start", time_text(0), &error)) &&
          seq == 0);
    CHECK(FINE(mlp_runlog_append(log, &seq, "[]", 2, "data", time_text(1), &error)) && seq == 1);
    mlp_runlog_head(log, &size, root32);
    CHECK(size == 0 && mlp_runlog_size(log) == 2);
    CHECK(FINE(mlp_runlog_commit(log, &bytes, NULL, &error)));
    CHECK(query_number(store, "SELECT count(*) FROM records") == 2);
    CHECK(query_number(store, "SELECT count(*) FROM runs WHERE status = 'running'") == 1);
    CHECK(FINE(mlp_vkey_decode(&vkey, mlp_runlog_vkey(log), strlen(mlp_runlog_vkey(log)), &error)));
    CHECK(FINE(mlp_note_parse(&note, bytes.data, bytes.len, &error)));
    CHECK(FINE(mlp_note_verify(NULL, &note, &vkey, 1, &error)));
    CHECK(FINE(mlp_checkpoint_decode(&head, note.text, note.text_len, &error)));
    uint8_t hashes[64];
    CHECK(mlp_merkle_leaf_hash(hashes, "{}", 2, NULL) == 0);
    CHECK(mlp_merkle_leaf_hash(hashes + 32, "[]", 2, NULL) == 0);
    CHECK(mlp_merkle_root(expected32, hashes, 2, NULL) == 0);
    mlp_runlog_head(log, &size, root32);
    CHECK(size == 2 && head.size == 2 && memcmp(head.root32, expected32, 32) == 0 &&
          memcmp(root32, expected32, 32) == 0);
    CHECK(FINE(mlp_runlog_commit(log, NULL, "failed", &error))); /* a new status alone */
    CHECK(query_number(store, "SELECT count(*) FROM heads") == 1);
    CHECK(query_number(store, "SELECT count(*) FROM runs WHERE status = 'failed'") == 1);
    mlp_buffer_clear(&bytes);
    mlp_runlog_free(log);
    tear_down();
}

static void rolled_back_records_leave_no_trace(void)
{
    struct mlp_error error = {0};
    uint64_t size = 9;
    set_up();
    struct mlp_runlog *log = new_run(1);
    CHECK(FINE(add_record(log, "run.start", &error)) &&
          FINE(mlp_runlog_commit(log, NULL, NULL, &error)));
    CHECK(FINE(add_record(log, "run.end", &error)) && mlp_runlog_size(log) == 2);
    CHECK(FINE(mlp_runlog_rollback(log, &size, &error)) && size == 1);
    CHECK(FINE(add_record(log, "epoch", &error)) &&
          FINE(mlp_runlog_commit(log, NULL, NULL, &error)));
    CHECK(query_number(store, "SELECT count(*) FROM records WHERE type = 'run.end'") == 0);
    CHECK(query_number(store, "SELECT max(seq) FROM records WHERE type = 'epoch'") == 1);
    mlp_runlog_free(log);
    tear_down();
}

static void a_record_must_be_later_than_the_one_before(void)
{
    static const char *const malformed[] = {"", "2026-11-21T00:00:00Z", "2026-11-21 00:00:01.000Z",
                                            "2026-11-21T00:00:01.0000Z",
                                            "2026-11-21T00:00:01.000+"};
    struct mlp_error error = {0};
    set_up();
    struct mlp_runlog *log = new_run(1);
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++)
        CHECK(mlp_runlog_append(log, NULL, "{}", 2, "a", malformed[i], &error) == MLP_E_ARGUMENT);
    CHECK(FINE(mlp_runlog_append(log, NULL, "{}", 2, "a", time_text(5), &error)));
    CHECK(mlp_runlog_append(log, NULL, "{}", 2, "a", time_text(5), &error) == MLP_E_ARGUMENT);
    CHECK(mlp_runlog_append(log, NULL, "{}", 2, "a", time_text(4), &error) == MLP_E_ARGUMENT);
    CHECK(FINE(mlp_runlog_append(log, NULL, "{}", 2, "run.end", time_text(6), &error)));
    CHECK(mlp_runlog_append(log, NULL, "{}", 2, "a", time_text(7), &error) == MLP_E_CLOSED);
    CHECK(mlp_runlog_size(log) == 2);
    mlp_runlog_free(log);
    tear_down();
}

static void a_run_goes_on_after_it_was_closed(void)
{
    struct mlp_error error = {0};
    struct mlp_runlog *log = NULL;
    uint64_t size = 0;
    uint8_t before32[32];
    uint8_t after32[32];
    set_up();
    log = new_run(1);
    for (int i = 0; i < 5; i++)
        CHECK(FINE(add_record(log, "epoch", &error)) &&
              FINE(mlp_runlog_commit(log, NULL, NULL, &error)));
    mlp_runlog_head(log, &size, before32);
    mlp_runlog_free(log);
    open_again();
    CHECK(FINE(mlp_runlog_open(&log, store, run_id(1), &error)));
    mlp_runlog_head(log, &size, after32);
    CHECK(size == 5 && mlp_runlog_size(log) == 5 && memcmp(before32, after32, 32) == 0);
    CHECK(mlp_runlog_append(log, NULL, "{}", 2, "a", time_text(4), &error) == MLP_E_ARGUMENT);
    CHECK(FINE(add_record(log, "run.end", &error)) &&
          FINE(mlp_runlog_commit(log, NULL, "finished", &error)));
    mlp_runlog_free(log);
    CHECK(mlp_runlog_open(&log, store, run_id(1), &error) == MLP_E_ARGUMENT);
    SAYS("has ended");
    CHECK(mlp_runlog_open(&log, store, run_id(2), &error) == MLP_E_NOT_FOUND);
    CHECK(mlp_runlog_open(&log, store, "no-id", &error) == MLP_E_ARGUMENT);
    tear_down();
}

/* As somebody with another program would. */
static void change_database(const char *sql)
{
    char name[PATH_MAX];
    sqlite3 *db = NULL;
    mlp_store_close(store);
    beneath(name, path, "store.db");
    CHECK(sqlite3_open(name, &db) == SQLITE_OK);
    CHECK(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK);
    CHECK(sqlite3_close(db) == SQLITE_OK);
    open_again();
}

static void changed_records_are_noticed_when_a_run_is_opened(void)
{
    static const char *const changes[] = {
        "UPDATE records SET bytes = x'7b7d' WHERE seq = 1",
        "DELETE FROM records WHERE seq = 1",
        "DELETE FROM records WHERE seq = 2",
        "UPDATE heads SET root = zeroblob(32) WHERE size = 3",
        "DELETE FROM heads WHERE size = 3",
        "UPDATE heads SET note = (SELECT note FROM heads WHERE size = 2) WHERE size = 3",
    };
    struct mlp_error error = {0};
    struct mlp_runlog *log = NULL;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        set_up();
        record_run(1, 3, false);
        change_database(changes[i]);
        int status = mlp_runlog_open(&log, store, run_id(1), &error);
        /* A head that was taken away leaves an older, valid one: its commit then fails. */
        if (i == 4) {
            CHECK(status == 0 && mlp_runlog_size(log) == 2);
            CHECK(add_record(log, "epoch", &error) != 0 ||
                  mlp_runlog_commit(log, NULL, NULL, &error) == MLP_E_BUSY);
            mlp_runlog_free(log);
        } else {
            CHECK(status == MLP_E_CORRUPT);
        }
        tear_down();
    }
}

static void a_missing_or_other_key_cannot_go_on(void)
{
    struct mlp_error error = {0};
    struct mlp_runlog *log = NULL;
    char one[64];
    char two[64];
    char from[PATH_MAX];
    char to[PATH_MAX];
    set_up();
    record_run(1, 1, false);
    record_run(2, 1, false);
    key_path_of(one, 1);
    key_path_of(two, 2);
    beneath(from, path, two);
    beneath(to, path, one);
    CHECK(rename(from, to) == 0);
    CHECK(mlp_runlog_open(&log, store, run_id(1), &error) == MLP_E_KEY);
    SAYS("not the key");
    CHECK(mlp_runlog_open(&log, store, run_id(2), &error) == MLP_E_KEY);
    SAYS("missing");
    tear_down();
}

static void two_that_record_one_run_do_not_fork_it(void)
{
    struct mlp_error error = {0};
    struct mlp_runlog *first = NULL;
    struct mlp_runlog *second = NULL;
    set_up();
    record_run(1, 2, false);
    struct mlp_store *other = open_store(path, 0);
    CHECK(FINE(mlp_runlog_open(&first, store, run_id(1), &error)));
    CHECK(FINE(mlp_runlog_open(&second, other, run_id(1), &error)));
    CHECK(FINE(add_record(first, "epoch", &error)) && FINE(add_record(second, "metrics", &error)));
    CHECK(FINE(mlp_runlog_commit(first, NULL, NULL, &error)));
    CHECK(mlp_runlog_commit(second, NULL, NULL, &error) == MLP_E_BUSY);
    SAYS("another process");
    uint64_t size = 9;
    CHECK(FINE(mlp_runlog_rollback(second, &size, &error)) && size == 2);
    CHECK(query_number(store, "SELECT count(*) FROM records WHERE type = 'metrics'") == 0);
    CHECK(query_number(store, "SELECT count(*) FROM heads") == 3);
    CHECK(FINE(add_record(first, "epoch", &error)) &&
          FINE(mlp_runlog_commit(first, NULL, NULL, &error)));
    mlp_runlog_free(first);
    mlp_runlog_free(second);
    CHECK(mlp_runlog_create(&first, store, run_id(1), "n", NULL, &error) == MLP_E_ARGUMENT);
    mlp_store_free(other);
    tear_down();
}

static void a_child_cannot_record_its_parents_run(void)
{
    struct mlp_error error = {0};
    char key[64];
    set_up();
    struct mlp_runlog *log = new_run(1);
    key_path_of(key, 1);
    CHECK(FINE(add_record(log, "run.start", &error)));
    pid_t child = fork();
    if (child == 0) {
        uint64_t size;
        int wrong = add_record(log, "epoch", &error) != MLP_E_FORKED;
        wrong += mlp_runlog_commit(log, NULL, NULL, &error) != MLP_E_FORKED;
        wrong += mlp_runlog_rollback(log, &size, &error) != MLP_E_FORKED;
        wrong += mlp_runlog_destroy_key(log, &error) != MLP_E_FORKED;
        wrong += mlp_tlog_integrate(tlog, &size, &error) != MLP_E_FORKED;
        mlp_runlog_free(log);
        mlp_tlog_free(tlog);
        mlp_store_free(store);
        _exit(wrong);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(file_exists(path, key));
    CHECK(FINE(mlp_runlog_commit(log, NULL, NULL, &error)));
    mlp_runlog_free(log);
    tear_down();
}

static void the_run_key_goes_when_its_last_head_is_in_the_log(void)
{
    struct mlp_error error = {0};
    char key[64];
    set_up();
    struct mlp_runlog *log = new_run(1);
    key_path_of(key, 1);
    CHECK(FINE(add_record(log, "run.start", &error)) &&
          FINE(mlp_runlog_commit(log, NULL, NULL, &error)));
    CHECK(mlp_runlog_destroy_key(log, &error) == MLP_E_ARGUMENT);
    SAYS("has not ended");
    CHECK(FINE(add_record(log, "run.end", &error)) &&
          FINE(mlp_runlog_commit(log, NULL, "finished", &error)));
    CHECK(mlp_runlog_destroy_key(log, &error) == MLP_E_ARGUMENT);
    SAYS("not in the store log");
    CHECK(file_exists(path, key));
    CHECK(integrate() == 2);
    CHECK(FINE(mlp_runlog_destroy_key(log, &error)) && !file_exists(path, key));
    CHECK(FINE(mlp_runlog_destroy_key(log, &error)));
    mlp_runlog_free(log);
    tear_down();
}

/* ---- imported runs ---- */

static void an_imported_run_may_grow_and_never_change(void)
{
    struct mlp_error error = {0};
    struct mlp_record records[3] = {
        {.type = "run.start", .time = "a", .bytes = "0", .bytes_len = 1},
        {.type = "epoch", .time = "b", .bytes = "1", .bytes_len = 1},
        {.type = "run.end", .time = "c", .bytes = "2", .bytes_len = 1}};
    struct mlp_head heads[2] = {{.size = 2, .note = "note", .note_len = 4},
                                {.size = 3, .note = "note", .note_len = 4}};
    struct mlp_run_import import = {.run_id = run_id(1),
                                    .name = "theirs",
                                    .status = "open",
                                    .created = "a",
                                    .records = records,
                                    .records_count = 2,
                                    .heads = heads,
                                    .heads_count = 1,
                                    .bundle_path = "/tmp/a.mlprov"};
    struct mlp_runlog *log = NULL;
    set_up();
    CHECK(FINE(mlp_store_run_import(store, &import, &error)));
    CHECK(FINE(mlp_store_run_import(store, &import, &error)));
    import.records_count = 3;
    import.heads_count = 2;
    import.status = "finished";
    CHECK(FINE(mlp_store_run_import(store, &import, &error)));
    CHECK(query_number(store, "SELECT count(*) FROM records") == 3);
    CHECK(query_number(
              store, "SELECT count(*) FROM runs WHERE status = 'finished' AND imported = 1") == 1);
    import.records_count = 2;
    CHECK(mlp_store_run_import(store, &import, &error) == MLP_E_ARGUMENT);
    import.records_count = 3;
    records[1].bytes = "x";
    CHECK(mlp_store_run_import(store, &import, &error) == MLP_E_MISMATCH);
    CHECK(mlp_runlog_open(&log, store, run_id(1), &error) == MLP_E_ARGUMENT);
    CHECK(integrate() == 0); /* their heads are not this log's */
    record_run(2, 1, false);
    import.run_id = run_id(2);
    CHECK(mlp_store_run_import(store, &import, &error) == MLP_E_ARGUMENT);
    SAYS("recorded it itself");
    tear_down();
}

/* ---- the store log ---- */

static void tile_names_are_those_of_the_specification(void)
{
    char name[MLP_TILE_PATH_MAX];
    mlp_tile_path(name, 0, 1234067, 256); /* the example of C2SP tlog-tiles */
    CHECK(strcmp(name, "log/tile/0/x001/x234/067") == 0);
    mlp_tile_path(name, 63, 0, 256);
    CHECK(strcmp(name, "log/tile/63/000") == 0);
    mlp_tile_path(name, 1, 999, 17);
    CHECK(strcmp(name, "log/tile/1/999.p/17") == 0);
    mlp_tile_path(name, MLP_TILE_ENTRIES, 1000, 255);
    CHECK(strcmp(name, "log/tile/entries/x001/000.p/255") == 0);
    mlp_tile_path(name, MLP_TILE_ENTRIES, UINT64_MAX, 1);
    CHECK(strcmp(name, "log/tile/entries/x018/x446/x744/x073/x709/x551/615.p/1") == 0);
}

static void an_empty_log_signs_nothing(void)
{
    struct mlp_error error = {0};
    struct mlp_buffer note = {0};
    set_up();
    CHECK(integrate() == 0);
    CHECK(FINE(mlp_tlog_checkpoint(tlog, &note, &error)) && note.len == 0);
    CHECK(!file_exists(path, "log/checkpoint"));
    tear_down();
}

static void every_head_of_every_run_enters_in_order(void)
{
    uint64_t size = 0;
    struct mlp_error error = {0};
    set_up();
    record_run(1, 3, true);
    CHECK(integrate() == 3 && integrate() == 3);
    record_run(2, 2, false);
    record_run(3, 1, false);
    CHECK(integrate() == 6);
    CHECK(query_number(store, "SELECT count(*) FROM heads WHERE log_index = id - 1") == 6);
    CHECK(audit_log(path, mlp_tlog_vkey(tlog), &size) && size == 6);
    struct mlp_buffer signed_note = {0};
    struct mlp_buffer published = {0};
    CHECK(FINE(mlp_tlog_checkpoint(tlog, &signed_note, &error)));
    CHECK(read_file(&published, path, "log/checkpoint") && published.len == signed_note.len &&
          memcmp(published.data, signed_note.data, published.len) == 0);
    mlp_buffer_clear(&signed_note);
    mlp_buffer_clear(&published);
    tear_down();
}

/* count heads of one run at once: what the log sees of as many commits. */
static void put_heads(uint64_t first, uint64_t count)
{
    struct mlp_error error = {0};
    CHECK(FINE(mlp_store_begin(store, &error)));
    int status = mlp_sqlite_execute(store, &error,
                                    "INSERT INTO runs(id, name, status, created, updated)"
                                    " VALUES(?1, 'n', 'running', 'a', 'a')",
                                    "t", run_id((unsigned)(1000000 + first)));
    if (status == 0)
        status = mlp_sqlite_execute(store, &error,
                                    "WITH RECURSIVE n(i) AS (VALUES(?2) UNION ALL"
                                    " SELECT i + 1 FROM n WHERE i + 1 < ?2 + ?3)"
                                    "INSERT INTO heads(run, size, root, note)"
                                    " SELECT ?1, i + 1, zeroblob(32),"
                                    " CAST('entry ' || i || char(10) AS BLOB) FROM n",
                                    "tii", run_id((unsigned)(1000000 + first)), (int64_t)first,
                                    (int64_t)count);
    CHECK(FINE(mlp_store_end(store, status, &error)));
}

static void tiles_hold_at_every_boundary(void)
{
    static const uint64_t sizes[] = {1, 2, 255, 256, 257, 300, 511, 512, 513};
    uint64_t before = 0;
    uint64_t size = 0;
    set_up();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        put_heads(before, sizes[i] - before);
        CHECK(integrate() == sizes[i]);
        CHECK(audit_log(path, mlp_tlog_vkey(tlog), &size) && size == sizes[i]);
        before = sizes[i];
    }
    CHECK(file_exists(path, "log/tile/0/000") && !file_exists(path, "log/tile/0/000.p"));
    CHECK(!file_exists(path, "log/tile/entries/001.p"));
    CHECK(file_exists(path, "log/tile/1/000.p/2") && file_exists(path, "log/tile/1/000.p/1"));
    CHECK(file_exists(path, "log/tile/0/002.p/1"));
    tear_down();
}

static void every_proof_of_every_size_verifies(void)
{
    struct mlp_error error = {0};
    struct mlp_buffer hashes = {0};
    uint8_t path_hashes[MLP_MERKLE_PATH_MAX * 32];
    uint8_t root32[32];
    size_t count = 0;
    uint64_t wrong = 0;
    set_up();
    put_heads(0, 300);
    CHECK(integrate() == 300);
    CHECK(audit_entries(path, 300, &hashes));
    static const uint64_t sizes[] = {1, 2, 3, 7, 8, 100, 255, 256, 257, 299, 300};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        CHECK(mlp_merkle_root(root32, hashes.data, sizes[i], NULL) == 0);
        for (uint64_t index = 0; index < sizes[i]; index += index < 8 || index > 250 ? 1 : 11) {
            CHECK(FINE(mlp_tlog_proof(tlog, path_hashes, &count, index, sizes[i], &error)));
            CHECK(FINE(mlp_merkle_verify_inclusion(root32, hashes.data + 32 * index, index,
                                                   sizes[i], path_hashes, count, &error)));
            uint64_t other = (index + 1) % sizes[i];
            wrong += sizes[i] > 1 &&
                     mlp_merkle_verify_inclusion(root32, hashes.data + 32 * other, index, sizes[i],
                                                 path_hashes, count, NULL) != MLP_E_MISMATCH;
        }
    }
    CHECK(wrong == 0);
    CHECK(mlp_tlog_proof(tlog, path_hashes, &count, 0, 301, &error) == MLP_E_RANGE);
    CHECK(mlp_tlog_proof(tlog, path_hashes, &count, 5, 5, &error) == MLP_E_RANGE);
    CHECK(mlp_tlog_proof(tlog, path_hashes, &count, 0, 0, &error) == MLP_E_RANGE);
    mlp_buffer_clear(&hashes);
    tear_down();
}

static void what_a_crash_left_out_of_the_directory_is_written_again(void)
{
    uint64_t size = 0;
    char name[PATH_MAX];
    struct mlp_buffer old = {0};
    set_up();
    put_heads(0, 10);
    CHECK(integrate() == 10 && read_file(&old, path, "log/checkpoint"));
    put_heads(10, 290);
    CHECK(integrate() == 300);
    /* as if killed after signing and before any tile */
    CHECK(write_file(path, "log/checkpoint", old.data, old.len));
    beneath(name, path, "log/tile/0/000");
    CHECK(unlink(name) == 0);
    CHECK(write_file(path, "log/tile/0/001.p/44", "torn", 4)); /* or written ahead, otherwise */
    CHECK(integrate() == 300);
    CHECK(audit_log(path, mlp_tlog_vkey(tlog), &size) && size == 300);
    /* the whole directory gone */
    beneath(name, path, "log");
    remove_tree(name);
    CHECK(integrate() == 300);
    CHECK(audit_log(path, mlp_tlog_vkey(tlog), &size) && size == 300);
    mlp_buffer_clear(&old);
    tear_down();
}

static void copy_file(const char *from, const char *to)
{
    struct mlp_buffer bytes = {0};
    CHECK(read_file(&bytes, path, from) && write_file(path, to, bytes.data, bytes.len));
    mlp_buffer_clear(&bytes);
}

static void an_older_database_put_back_is_refused(void)
{
    struct mlp_error error = {0};
    struct mlp_buffer before = {0};
    struct mlp_buffer after = {0};
    uint64_t size = 0;
    set_up();
    put_heads(0, 3);
    CHECK(integrate() == 3);
    copy_file("store.db", "trees/backup.db");
    put_heads(3, 2);
    CHECK(integrate() == 5 && read_file(&before, path, "log/checkpoint"));
    mlp_store_close(store);
    copy_file("trees/backup.db", "store.db");
    open_again();
    put_heads(100, 1);
    CHECK(mlp_tlog_integrate(tlog, &size, &error) == MLP_E_CORRUPT);
    SAYS("older copy of store.db");
    CHECK(read_file(&after, path, "log/checkpoint") && after.len == before.len &&
          memcmp(after.data, before.data, after.len) == 0);
    CHECK(query_number(store, "SELECT count(*) FROM log_entries") == 3);
    mlp_buffer_clear(&before);
    mlp_buffer_clear(&after);
    tear_down();
}

static void a_forked_history_is_refused(void)
{
    struct mlp_error error = {0};
    uint64_t size = 0;
    set_up();
    put_heads(0, 3);
    CHECK(integrate() == 3);
    copy_file("store.db", "trees/backup.db");
    put_heads(3, 2);
    CHECK(integrate() == 5);
    copy_file("log/checkpoint", "trees/published");
    mlp_store_close(store);
    copy_file("trees/backup.db", "store.db");
    CHECK(remove(strcat(strcpy((char[PATH_MAX]){0}, path), "/log/checkpoint")) == 0);
    open_again();
    put_heads(100, 4); /* another history, signed by the same key */
    CHECK(integrate() == 7);
    copy_file("trees/published", "log/checkpoint");
    CHECK(mlp_tlog_integrate(tlog, &size, &error) == MLP_E_CORRUPT);
    SAYS("different histories");
    tear_down();
}

static void a_changed_database_is_not_signed(void)
{
    static const char *const changes[] = {
        "UPDATE log_entries SET leaf_hash = zeroblob(32) WHERE idx = 299",
        "UPDATE log_nodes SET hash = zeroblob(32) WHERE idx = 0",
        "DELETE FROM log_entries WHERE idx = 299",
        "DELETE FROM log_entries WHERE idx = 256",
        "DELETE FROM log_nodes",
        "UPDATE log_checkpoint SET root = zeroblob(32)",
        "UPDATE log_checkpoint SET note = x'00'",
        "DELETE FROM log_checkpoint",
        "UPDATE log_checkpoint SET size = 299",
    };
    struct mlp_error error = {0};
    uint64_t size = 0;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        set_up();
        put_heads(0, 300);
        CHECK(integrate() == 300);
        change_database(changes[i]);
        put_heads(300, 1);
        int status = mlp_tlog_integrate(tlog, &size, &error);
        if (!CHECK(status == MLP_E_CORRUPT))
            printf("  after: %s\n", changes[i]);
        CHECK(query_number(store, "SELECT count(*) FROM heads WHERE log_index IS NULL") == 1);
        CHECK(audit_log(path, mlp_tlog_vkey(tlog), &size) && size == 300);
        tear_down();
    }
}

static void a_checkpoint_that_is_none_is_kept_and_refused(void)
{
    struct mlp_error error = {0};
    struct mlp_buffer after = {0};
    uint64_t size = 0;
    set_up();
    put_heads(0, 1);
    CHECK(write_file(path, "log/checkpoint", "garbage", 7));
    CHECK(mlp_tlog_integrate(tlog, &size, &error) == MLP_E_CORRUPT);
    SAYS("log/checkpoint");
    CHECK(read_file(&after, path, "log/checkpoint") && after.len == 7);
    mlp_buffer_clear(&after);
    tear_down();
}

static void the_log_keeps_its_key(void)
{
    struct mlp_error error = {0};
    char vkey[MLP_VKEY_TEXT_MAX + 1];
    char name[PATH_MAX];
    char run_key[64];
    char from[PATH_MAX];
    uint64_t size = 0;
    set_up();
    (void)snprintf(vkey, sizeof vkey, "%s", mlp_tlog_vkey(tlog));
    CHECK(strncmp(mlp_tlog_origin(tlog), "mlprov/store/", 13) == 0 &&
          strcmp(mlp_tlog_origin(tlog) + 13, mlp_store_id(store)) == 0);
    open_again();
    CHECK(strcmp(vkey, mlp_tlog_vkey(tlog)) == 0);
    record_run(1, 1, false);
    beneath(name, path, "keys/log.pem");
    CHECK(unlink(name) == 0);
    open_again(); /* reading still works */
    CHECK(strcmp(vkey, mlp_tlog_vkey(tlog)) == 0);
    CHECK(mlp_tlog_integrate(tlog, &size, &error) == MLP_E_KEY);
    SAYS("keys/log.pem");
    key_path_of(run_key, 1);
    beneath(from, path, run_key);
    CHECK(rename(from, name) == 0);
    mlp_tlog_free(tlog);
    tlog = NULL;
    CHECK(mlp_tlog_open(&tlog, store, &error) == MLP_E_KEY && tlog == NULL);
    tear_down();
}

static void a_read_only_store_shows_its_log(void)
{
    struct mlp_error error = {0};
    struct mlp_buffer note = {0};
    uint8_t proof[MLP_MERKLE_PATH_MAX * 32];
    size_t count = 0;
    uint64_t size = 0;
    set_up();
    put_heads(0, 5);
    CHECK(integrate() == 5);
    mlp_tlog_free(tlog);
    mlp_store_free(store);
    store = open_store(path, MLP_STORE_READ_ONLY);
    CHECK(FINE(mlp_tlog_open(&tlog, store, &error)));
    CHECK(strlen(mlp_tlog_vkey(tlog)) > 60);
    CHECK(FINE(mlp_tlog_checkpoint(tlog, &note, &error)) && note.len > 100);
    CHECK(FINE(mlp_tlog_proof(tlog, proof, &count, 2, 5, &error)) && count == 3);
    CHECK(mlp_tlog_integrate(tlog, &size, &error) == MLP_E_READONLY);
    mlp_buffer_clear(&note);
    tear_down();
}

int main(void)
{
    RUN(nothing_is_in_the_database_before_the_first_commit);
    RUN(a_commit_writes_run_records_and_a_head_that_verifies);
    RUN(rolled_back_records_leave_no_trace);
    RUN(a_record_must_be_later_than_the_one_before);
    RUN(a_run_goes_on_after_it_was_closed);
    RUN(changed_records_are_noticed_when_a_run_is_opened);
    RUN(a_missing_or_other_key_cannot_go_on);
    RUN(two_that_record_one_run_do_not_fork_it);
    RUN(a_child_cannot_record_its_parents_run);
    RUN(the_run_key_goes_when_its_last_head_is_in_the_log);
    RUN(an_imported_run_may_grow_and_never_change);
    RUN(tile_names_are_those_of_the_specification);
    RUN(an_empty_log_signs_nothing);
    RUN(every_head_of_every_run_enters_in_order);
    RUN(tiles_hold_at_every_boundary);
    RUN(every_proof_of_every_size_verifies);
    RUN(what_a_crash_left_out_of_the_directory_is_written_again);
    RUN(an_older_database_put_back_is_refused);
    RUN(a_forked_history_is_refused);
    RUN(a_changed_database_is_not_signed);
    RUN(a_checkpoint_that_is_none_is_kept_and_refused);
    RUN(the_log_keeps_its_key);
    RUN(a_read_only_store_shows_its_log);
    return check_finish();
}

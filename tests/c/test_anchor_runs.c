/* Run logs and imported runs (csrc/anchor/runlog.h, csrc/store/runs.h). */
#include "anchor_fixture.h"

#include "store/runs.h"

#include <sys/wait.h>

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
    uint64_t size = 9;
    uint8_t root32[32];
    uint8_t expected32[32];
    set_up();
    struct mlp_runlog *log = new_run(1);
    CHECK(FINE(mlp_runlog_append(log, 0, "{}", 2, "run.start", time_text(0), &error)));
    CHECK(FINE(mlp_runlog_append(log, 1, "[]", 2, "data", time_text(1), &error)));
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
        CHECK(mlp_runlog_append(log, 0, "{}", 2, "a", malformed[i], &error) == MLP_E_ARGUMENT);
    CHECK(FINE(mlp_runlog_append(log, 0, "{}", 2, "a", time_text(5), &error)));
    CHECK(mlp_runlog_append(log, 1, "{}", 2, "a", time_text(5), &error) == MLP_E_ARGUMENT);
    CHECK(mlp_runlog_append(log, 1, "{}", 2, "a", time_text(4), &error) == MLP_E_ARGUMENT);
    CHECK(FINE(mlp_runlog_append(log, 1, "{}", 2, "run.end", time_text(6), &error)));
    CHECK(mlp_runlog_append(log, 2, "{}", 2, "a", time_text(7), &error) == MLP_E_CLOSED);
    CHECK(mlp_runlog_size(log) == 2);
    mlp_runlog_free(log);
    tear_down();
}

static void a_record_says_which_one_of_the_log_it_is(void)
{
    struct mlp_error error = {0};
    set_up();
    struct mlp_runlog *log = new_run(1);
    CHECK(FINE(mlp_runlog_append(log, 0, "{}", 2, "a", time_text(1), &error)));
    static const uint64_t others[] = {0, 2, UINT64_MAX};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        CHECK(mlp_runlog_append(log, others[i], "{}", 2, "a", time_text(2), &error) == MLP_E_BUSY);
    SAYS("its next record is number 1");
    CHECK(FINE(mlp_runlog_append(log, 1, "{}", 2, "a", time_text(2), &error)));
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
    CHECK(mlp_runlog_append(log, 5, "{}", 2, "a", time_text(4), &error) == MLP_E_ARGUMENT);
    CHECK(FINE(add_record(log, "run.end", &error)) &&
          FINE(mlp_runlog_commit(log, NULL, "finished", &error)));
    mlp_runlog_free(log);
    CHECK(mlp_runlog_open(&log, store, run_id(1), &error) == MLP_E_ARGUMENT);
    SAYS("has ended");
    CHECK(mlp_runlog_open(&log, store, run_id(2), &error) == MLP_E_NOT_FOUND);
    CHECK(mlp_runlog_open(&log, store, "no-id", &error) == MLP_E_ARGUMENT);
    tear_down();
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

int main(void)
{
    RUN(nothing_is_in_the_database_before_the_first_commit);
    RUN(a_commit_writes_run_records_and_a_head_that_verifies);
    RUN(rolled_back_records_leave_no_trace);
    RUN(a_record_must_be_later_than_the_one_before);
    RUN(a_record_says_which_one_of_the_log_it_is);
    RUN(a_run_goes_on_after_it_was_closed);
    RUN(changed_records_are_noticed_when_a_run_is_opened);
    RUN(a_missing_or_other_key_cannot_go_on);
    RUN(two_that_record_one_run_do_not_fork_it);
    RUN(a_child_cannot_record_its_parents_run);
    RUN(the_run_key_goes_when_its_last_head_is_in_the_log);
    RUN(an_imported_run_may_grow_and_never_change);
    return check_finish();
}

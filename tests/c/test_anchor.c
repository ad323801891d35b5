/* The store log (csrc/anchor/tlog.h, tiles.h). */
#include "anchor_fixture.h"

#include "anchor/tiles.h"
#include "store/lock.h"

#include <fcntl.h>
#include <pthread.h>
#include <time.h>

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

/* ---- the lock ---- */

static void *integrate_in_a_thread(void *context)
{
    struct mlp_error error = {0};
    uint64_t *size = context;
    CHECK(FINE(mlp_tlog_integrate(tlog, size, &error)));
    return NULL;
}

static void heads_enter_only_under_the_lock(void)
{
    struct mlp_error error = {0};
    struct timespec while_held = {.tv_nsec = 60000000};
    pthread_t thread;
    char name[PATH_MAX];
    uint64_t size = 0;
    int lock = -1;
    set_up();
    put_heads(0, 1);
    beneath(name, path, "log/.lock");
    CHECK(FINE(mlp_lock_acquire(&lock, AT_FDCWD, name, 0, &error)));
    CHECK(pthread_create(&thread, NULL, integrate_in_a_thread, &size) == 0);
    (void)nanosleep(&while_held, NULL);
    CHECK(query_number(store, "SELECT count(*) FROM log_entries") == 0);
    mlp_lock_release(&lock);
    CHECK(pthread_join(thread, NULL) == 0 && size == 1);
    tear_down();
}

int main(void)
{
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
    RUN(heads_enter_only_under_the_lock);
    return check_finish();
}

/* Opening, permissions, migration, damage (csrc/store/store.h). */
#include "store_fixture.h"

#include "store/runs.h"
#include "store/store_internal.h"

static char path[PATH_MAX];

static int query(struct mlp_store *store, struct mlp_rows **rows, const char *sql,
                 struct mlp_error *error)
{
    return mlp_store_query(rows, store, sql, strlen(sql), NULL, 0, error);
}

/* ---- creating ---- */

static void a_new_store_is_private_whatever_the_umask(void)
{
    static const char *const names[] = {"keys", "trees", "log"};
    struct stat facts;
    char name[PATH_MAX];
    fixture_path(path, "store");
    mode_t old = umask(0);
    mlp_store_free(open_store(path, MLP_STORE_CREATE));
    umask(old);
    CHECK(stat(path, &facts) == 0 && (facts.st_mode & 07777) == 0700);
    for (size_t i = 0; i < 3; i++) {
        beneath(name, path, names[i]);
        CHECK(stat(name, &facts) == 0 && S_ISDIR(facts.st_mode) && (facts.st_mode & 07777) == 0700);
    }
    beneath(name, path, "store.db");
    CHECK(stat(name, &facts) == 0 && (facts.st_mode & 07777) == 0600);
    struct mlp_buffer text = {0};
    CHECK(read_file(&text, path, ".gitignore") && text.len == 2 &&
          memcmp(text.data, "*\n", 2) == 0);
    mlp_buffer_clear(&text);
    fixture_remove(path);
}

static void a_store_keeps_its_id_and_its_settings(void)
{
    char id[MLP_STORE_ID_LEN + 1];
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    memcpy(id, mlp_store_id(store), sizeof id);
    CHECK(strlen(id) == MLP_STORE_ID_LEN && !mlp_store_read_only(store) && !mlp_store_newer(store));
    mlp_store_free(store);
    for (unsigned flags = 0; flags < 3; flags++) {
        store = open_store(path, flags);
        CHECK(strcmp(mlp_store_id(store), id) == 0);
        CHECK(mlp_store_read_only(store) == ((flags & MLP_STORE_READ_ONLY) != 0));
        CHECK(query_number(store, "PRAGMA user_version") == MLP_STORE_VERSION);
        CHECK(query_number(store, "PRAGMA application_id") == MLP_STORE_APPLICATION_ID);
        mlp_store_free(store);
    }
    fixture_remove(path);
}

static void a_missing_store_is_not_made_unasked(void)
{
    struct mlp_error error = {0};
    struct mlp_store *store = NULL;
    fixture_path(path, "store");
    CHECK(mlp_store_open(&store, path, 0, &error) == MLP_E_NOT_FOUND && store == NULL);
    CHECK(mlp_store_open(&store, path, MLP_STORE_CREATE | MLP_STORE_READ_ONLY, &error) ==
          MLP_E_NOT_FOUND);
    CHECK(mkdir(path, 0700) == 0);
    CHECK(mlp_store_open(&store, path, 0, &error) == MLP_E_NOT_FOUND);
    SAYS("mlprov init");
    CHECK(rmdir(path) == 0); /* nothing was left in it */
    fixture_remove(path);
}

static void a_directory_that_holds_other_things_is_refused(void)
{
    struct mlp_error error = {0};
    struct mlp_store *store = NULL;
    fixture_path(path, "store");
    CHECK(mkdir(path, 0700) == 0 && write_file(path, "thesis.tex", "x", 1));
    CHECK(mlp_store_open(&store, path, MLP_STORE_CREATE, &error) == MLP_E_CONFIG);
    SAYS("thesis.tex");
    CHECK(!file_exists(path, "store.db") && !file_exists(path, "keys"));
    fixture_remove(path);
}

/* ---- whose it is ---- */

static void a_store_that_others_can_write_is_refused(void)
{
    struct mlp_error error = {0};
    struct mlp_store *store = NULL;
    char database[PATH_MAX];
    fixture_path(path, "store");
    mlp_store_free(open_store(path, MLP_STORE_CREATE));
    beneath(database, path, "store.db");
    static const mode_t open_modes[] = {0720, 0702, 0777};
    for (size_t i = 0; i < 3; i++) {
        CHECK(chmod(path, open_modes[i]) == 0);
        CHECK(mlp_store_open(&store, path, 0, &error) == MLP_E_CONFIG);
        SAYS("chmod go-w");
    }
    CHECK(chmod(path, 0700) == 0 && chmod(database, 0620) == 0);
    CHECK(mlp_store_open(&store, path, 0, &error) == MLP_E_CONFIG);
    SAYS("store.db");
    CHECK(chmod(database, 0600) == 0);
    mlp_store_free(open_store(path, 0));
    fixture_remove(path);
}

static void a_foreign_store_is_refused(void)
{
    struct mlp_error error = {0};
    struct mlp_store *store = NULL;
    char database[PATH_MAX];
    if (geteuid() != 0) {
        SKIP("giving a file to another user needs root");
        return;
    }
    fixture_path(path, "store");
    mlp_store_free(open_store(path, MLP_STORE_CREATE));
    CHECK(chown(path, 12345, 0) == 0);
    CHECK(mlp_store_open(&store, path, 0, &error) == MLP_E_CONFIG);
    SAYS("12345");
    CHECK(chown(path, 0, 0) == 0);
    beneath(database, path, "store.db");
    CHECK(chown(database, 12345, 0) == 0);
    CHECK(mlp_store_open(&store, path, 0, &error) == MLP_E_CONFIG);
    fixture_remove(path);
}

static void a_link_in_place_of_the_database_is_refused(void)
{
    struct mlp_error error = {0};
    struct mlp_store *store = NULL;
    char from[PATH_MAX];
    char to[PATH_MAX];
    fixture_path(path, "store");
    mlp_store_free(open_store(path, MLP_STORE_CREATE));
    beneath(from, path, "store.db");
    beneath(to, path, "other.db");
    CHECK(rename(from, to) == 0 && symlink("other.db", from) == 0);
    CHECK(mlp_store_open(&store, path, 0, &error) == MLP_E_CONFIG);
    fixture_remove(path);
}

/* ---- versions ---- */

static void a_migration_takes_each_step_once(void)
{
    static const char *const steps[] = {
        NULL,
        NULL, /* never asked for: the database is at MLP_STORE_VERSION */
        "CREATE TABLE second(x); INSERT INTO second VALUES(2);",
        "CREATE TABLE third(x); INSERT INTO third SELECT x + 1 FROM second;",
    };
    struct mlp_error error = {0};
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    CHECK(FINE(mlp_database_migrate(store, steps, MLP_STORE_VERSION + 2, &error)));
    CHECK(query_number(store, "PRAGMA user_version") == MLP_STORE_VERSION + 2);
    CHECK(query_number(store, "SELECT x FROM third") == 3);
    CHECK(FINE(mlp_database_migrate(store, steps, MLP_STORE_VERSION + 2,
                                    &error))); /* nothing left to do */
    CHECK(query_number(store, "SELECT count(*) FROM second") == 1);
    mlp_store_free(store);
    fixture_remove(path);
}

static void a_migration_that_fails_leaves_the_old_version(void)
{
    static const char *const steps[] = {NULL, NULL, "CREATE TABLE second(x);",
                                        "CREATE TABLE second(x);"};
    struct mlp_error error = {0};
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    CHECK(mlp_database_migrate(store, steps, MLP_STORE_VERSION + 2, &error) != 0);
    CHECK(query_number(store, "PRAGMA user_version") == MLP_STORE_VERSION);
    CHECK(query_number(store, "SELECT count(*) FROM sqlite_master WHERE name = 'second'") == 0);
    mlp_store_free(store);
    fixture_remove(path);
}

static void a_store_of_version_1_keeps_its_runs_and_gets_an_outbox(void)
{
    static const char before[] = "DROP TABLE anchor_attempts; DROP TABLE anchor_intents;"
                                 "DROP TABLE anchor_leases; PRAGMA user_version = 1;"
                                 "INSERT INTO runs(id, name, status, created, updated)"
                                 " VALUES('a', 'b', 'c', 'd', 'e')";
    sqlite3 *db = NULL;
    char name[PATH_MAX];
    fixture_path(path, "store");
    mlp_store_free(open_store(path, MLP_STORE_CREATE));
    beneath(name, path, "store.db");
    CHECK(sqlite3_open(name, &db) == SQLITE_OK);
    CHECK(sqlite3_exec(db, before, NULL, NULL, NULL) == SQLITE_OK);
    CHECK(sqlite3_close(db) == SQLITE_OK);
    struct mlp_store *store = open_store(path, MLP_STORE_READ_ONLY); /* not touched */
    CHECK(query_number(store, "PRAGMA user_version") == 1);
    mlp_store_free(store);
    store = open_store(path, 0);
    CHECK(query_number(store, "PRAGMA user_version") == 2);
    CHECK(query_number(store, "SELECT count(*) FROM runs") == 1);
    CHECK(query_number(store, "SELECT count(*) FROM anchor_intents") == 0);
    mlp_store_free(store);
    fixture_remove(path);
}

static void a_newer_store_opens_for_reading_alone(void)
{
    static const char *const steps[] = {NULL, NULL, "ALTER TABLE runs ADD COLUMN colour TEXT;"};
    struct mlp_error error = {0};
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    CHECK(FINE(mlp_database_migrate(store, steps, MLP_STORE_VERSION + 1, &error)));
    mlp_store_free(store);
    store = open_store(path, MLP_STORE_CREATE);
    CHECK(mlp_store_newer(store) && mlp_store_read_only(store));
    CHECK(query_number(store, "SELECT count(colour) FROM runs") == 0);
    CHECK(mlp_store_begin(store, &error) == MLP_E_READONLY);
    SAYS("update mlprov");
    mlp_store_free(store);
    fixture_remove(path);
}

/* ---- damage ---- */

static void fill(struct mlp_store *store, unsigned records)
{
    struct mlp_error error = {0};
    struct mlp_runlog *log = NULL;
    CHECK(FINE(mlp_runlog_create(&log, store, run_id(1), "name", NULL, &error)));
    for (unsigned i = 0; i < records; i++)
        CHECK(FINE(add_record(log, i == 0 ? "run.start" : "metrics", &error)));
    CHECK(FINE(mlp_runlog_commit(log, NULL, NULL, &error)));
    mlp_runlog_free(log);
}

/* Opens and reads everything; whatever is wrong must be said, never crash. Returns: the status. */
static int read_everything(struct mlp_error *error)
{
    struct mlp_store *store = NULL;
    struct mlp_rows *rows = NULL;
    int status = mlp_store_open(&store, path, 0, error);
    if (status == 0)
        status = query(store, &rows, "SELECT * FROM records", error);
    mlp_rows_free(rows);
    rows = NULL;
    if (status == 0)
        status = query(store, &rows, "PRAGMA integrity_check", error);
    if (status == 0 && (mlp_rows_count(rows) != 1 || mlp_rows_at(rows, 0, 0)->bytes_len != 2))
        status = MLP_E_CORRUPT;
    mlp_rows_free(rows);
    mlp_store_free(store);
    return status;
}

static void a_truncated_database_is_named_and_left_alone(void)
{
    struct mlp_error error = {0};
    struct mlp_buffer whole = {0};
    char name[PATH_MAX];
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    fill(store, 200);
    mlp_store_free(store);
    beneath(name, path, "store.db");
    CHECK(read_file(&whole, path, "store.db") && whole.len > 16384);
    static const size_t cuts[] = {1, 99, 100, 512, 4095, 4096, 4097, 8192, 12288};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        CHECK(truncate(name, (off_t)cuts[i]) == 0);
        error.message[0] = '\0';
        CHECK(read_everything(&error) == MLP_E_CORRUPT);
        SAYS(name);
        SAYS("backup");
        struct stat facts;
        CHECK(stat(name, &facts) == 0 && (size_t)facts.st_size == cuts[i]);
        CHECK(write_file(path, "store.db", whole.data, whole.len) && chmod(name, 0600) == 0);
    }
    CHECK(truncate(name, 0) == 0);
    CHECK(read_everything(&error) == MLP_E_CORRUPT);
    mlp_buffer_clear(&whole);
    fixture_remove(path);
}

static void an_empty_database_beside_a_published_log_is_not_begun_anew(void)
{
    struct mlp_error error = {0};
    struct mlp_store *store = NULL;
    char name[PATH_MAX];
    fixture_path(path, "store");
    mlp_store_free(open_store(path, MLP_STORE_CREATE));
    CHECK(write_file(path, "log/checkpoint", "x", 1));
    beneath(name, path, "store.db");
    CHECK(truncate(name, 0) == 0);
    CHECK(mlp_store_open(&store, path, MLP_STORE_CREATE, &error) == MLP_E_CORRUPT);
    SAYS("log/checkpoint");
    CHECK(unlink(name) == 0);
    CHECK(mlp_store_open(&store, path, MLP_STORE_CREATE, &error) == MLP_E_CORRUPT);
    CHECK(!file_exists(path, "store.db"));
    fixture_remove(path);
}

static void flipped_bytes_never_crash(void)
{
    struct mlp_buffer whole = {0};
    struct mlp_error error = {0};
    char name[PATH_MAX];
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    fill(store, 50);
    mlp_store_free(store);
    beneath(name, path, "store.db");
    CHECK(read_file(&whole, path, "store.db"));
    unsigned seed = 20261121;
    size_t said = 0;
    for (int i = 0; i < 400; i++) {
        seed = seed * 1103515245U + 12345U;
        size_t at = i < 100 ? (size_t)i : (seed >> 4) % whole.len;
        uint8_t before = whole.data[at];
        whole.data[at] ^= (uint8_t)(1U << (seed >> 28 & 7));
        CHECK(write_file(path, "store.db", whole.data, whole.len));
        int status = read_everything(&error);
        CHECK(status == 0 || status == MLP_E_CORRUPT || status == MLP_E_IO ||
              status == MLP_E_MEMORY || status == MLP_E_ARGUMENT || status == MLP_E_READONLY ||
              status == MLP_E_NOT_FOUND);
        said += status == MLP_E_CORRUPT;
        whole.data[at] = before;
        CHECK(write_file(path, "store.db", whole.data, whole.len) && chmod(name, 0600) == 0);
    }
    CHECK(said > 20); /* a check that finds nothing checks nothing */
    CHECK(read_everything(&error) == 0);
    mlp_buffer_clear(&whole);
    fixture_remove(path);
}

static void another_programs_database_is_refused(void)
{
    struct mlp_error error = {0};
    struct mlp_store *store = NULL;
    sqlite3 *db = NULL;
    char name[PATH_MAX];
    fixture_path(path, "store");
    CHECK(mkdir(path, 0700) == 0);
    beneath(name, path, "store.db");
    CHECK(sqlite3_open(name, &db) == SQLITE_OK);
    CHECK(sqlite3_exec(db, "CREATE TABLE theirs(x)", NULL, NULL, NULL) == SQLITE_OK);
    CHECK(mlp_store_open(&store, path, MLP_STORE_CREATE, &error) == MLP_E_CORRUPT);
    SAYS("not a database of mlprov");
    CHECK(sqlite3_exec(db, "PRAGMA user_version = 1", NULL, NULL, NULL) == SQLITE_OK);
    CHECK(mlp_store_open(&store, path, MLP_STORE_CREATE, &error) == MLP_E_CORRUPT);
    CHECK(sqlite3_close(db) == SQLITE_OK);
    fixture_remove(path);
}

static void triggers_and_views_that_somebody_put_in_do_not_run(void)
{
    struct mlp_error error = {0};
    struct mlp_rows *rows = NULL;
    sqlite3 *db = NULL;
    char name[PATH_MAX];
    fixture_path(path, "store");
    mlp_store_free(open_store(path, MLP_STORE_CREATE));
    beneath(name, path, "store.db");
    CHECK(sqlite3_open(name, &db) == SQLITE_OK);
    CHECK(
        sqlite3_exec(db,
                     "CREATE TRIGGER hostile AFTER INSERT ON records BEGIN DELETE FROM heads; END;"
                     "CREATE VIEW hostile_view AS SELECT randomblob(9)",
                     NULL, NULL, NULL) == SQLITE_OK);
    CHECK(sqlite3_close(db) == SQLITE_OK);
    struct mlp_store *store = open_store(path, 0);
    fill(store, 3);
    CHECK(query_number(store, "SELECT count(*) FROM heads") == 1);
    CHECK(query(store, &rows, "SELECT * FROM hostile_view", &error) == MLP_E_ARGUMENT);
    mlp_store_free(store);
    fixture_remove(path);
}

int main(void)
{
    RUN(a_new_store_is_private_whatever_the_umask);
    RUN(a_store_keeps_its_id_and_its_settings);
    RUN(a_missing_store_is_not_made_unasked);
    RUN(a_directory_that_holds_other_things_is_refused);
    RUN(a_store_that_others_can_write_is_refused);
    RUN(a_foreign_store_is_refused);
    RUN(a_link_in_place_of_the_database_is_refused);
    RUN(a_migration_takes_each_step_once);
    RUN(a_migration_that_fails_leaves_the_old_version);
    RUN(a_store_of_version_1_keeps_its_runs_and_gets_an_outbox);
    RUN(a_newer_store_opens_for_reading_alone);
    RUN(a_truncated_database_is_named_and_left_alone);
    RUN(an_empty_database_beside_a_published_log_is_not_begun_anew);
    RUN(flipped_bytes_never_crash);
    RUN(another_programs_database_is_refused);
    RUN(triggers_and_views_that_somebody_put_in_do_not_run);
    return check_finish();
}

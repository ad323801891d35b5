/* A store in use: moved, closed, forked, queried, shared (csrc/store/store.h, lock.h). */
#include "store_fixture.h"

#include "store/lock.h"
#include "store/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

static char path[PATH_MAX];

static int query(struct mlp_store *store, struct mlp_rows **rows, const char *sql,
                 struct mlp_error *error)
{
    return mlp_store_query(rows, store, sql, strlen(sql), NULL, 0, error);
}

/* ---- in use ---- */

static void a_directory_deleted_in_use_is_an_error(void)
{
    struct mlp_error error = {0};
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    remove_tree(path);
    CHECK(mlp_store_begin(store, &error) == MLP_E_NOT_FOUND);
    SAYS("moved or deleted");
    mlp_store_free(store);
    fixture_remove(path);
}

static void a_directory_moved_in_use_is_an_error(void)
{
    struct mlp_error error = {0};
    char moved[PATH_MAX + 8];
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    (void)snprintf(moved, sizeof moved, "%s-moved", path);
    CHECK(rename(path, moved) == 0);
    CHECK(mlp_store_begin(store, &error) == MLP_E_NOT_FOUND);
    mlp_store_free(open_store(path, MLP_STORE_CREATE)); /* another one in its place */
    CHECK(mlp_store_begin(store, &error) == MLP_E_NOT_FOUND);
    CHECK(rename(moved, path) != 0);
    mlp_store_free(store);
    store = open_store(moved, 0);
    mlp_store_free(store);
    fixture_remove(path);
}

static void a_closed_store_says_so(void)
{
    struct mlp_error error = {0};
    struct mlp_rows *rows = NULL;
    int fd = -1;
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    mlp_store_close(store);
    mlp_store_close(store);
    CHECK(mlp_store_begin(store, &error) == MLP_E_CLOSED);
    CHECK(query(store, &rows, "SELECT 1", &error) == MLP_E_CLOSED);
    CHECK(mlp_store_open_directory(store, &fd, false, &error) == MLP_E_CLOSED && fd == -1);
    mlp_store_free(store);
    fixture_remove(path);
}

static void a_read_only_store_is_not_written(void)
{
    struct mlp_error error = {0};
    struct mlp_runlog *log = NULL;
    fixture_path(path, "store");
    mlp_store_free(open_store(path, MLP_STORE_CREATE));
    struct mlp_store *store = open_store(path, MLP_STORE_READ_ONLY);
    CHECK(mlp_store_begin(store, &error) == MLP_E_READONLY);
    CHECK(mlp_runlog_create(&log, store, run_id(1), "n", NULL, &error) == MLP_E_READONLY);
    CHECK(mlp_store_begin_read(store, &error) == 0);
    CHECK(mlp_store_meta_put(store, "a", "b", &error) == MLP_E_READONLY); /* SQLite refuses too */
    CHECK(mlp_store_end(store, 0, &error) == 0);
    mlp_store_free(store);
    fixture_remove(path);
}

/* ---- fork ---- */

static int in_child(int (*work)(struct mlp_store *store), struct mlp_store *store)
{
    pid_t child = fork();
    if (child == 0)
        _exit(work(store));
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int everything_is_refused(struct mlp_store *store)
{
    struct mlp_error error = {0};
    struct mlp_rows *rows = NULL;
    int fd = -1;
    int wrong = 0;
    wrong += mlp_store_begin(store, &error) != MLP_E_FORKED;
    wrong += mlp_store_begin_read(store, &error) != MLP_E_FORKED;
    wrong += query(store, &rows, "SELECT 1", &error) != MLP_E_FORKED;
    wrong += mlp_store_open_directory(store, &fd, false, &error) != MLP_E_FORKED;
    wrong += strstr(error.message, "child") == NULL;
    mlp_store_close(store);
    mlp_store_free(store);
    return wrong;
}

static void a_forked_child_touches_nothing_even_while_the_mutex_is_held(void)
{
    struct mlp_error error = {0};
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    CHECK(mlp_store_begin(store, &error) == 0); /* the child's mutex is locked for ever */
    CHECK(mlp_store_meta_put(store, "key", "value", &error) == 0);
    CHECK(in_child(everything_is_refused, store) == 0);
    CHECK(mlp_store_end(store, 0, &error) == 0);
    CHECK(query_number(store, "SELECT count(*) FROM meta WHERE key = 'key'") == 1);
    mlp_store_free(store);
    fixture_remove(path);
}

static int child_opens_again(struct mlp_store *store)
{
    struct mlp_error error = {0};
    struct mlp_store *own = NULL;
    int status = mlp_store_open(&own, mlp_store_path(store), 0, &error);
    if (status == 0)
        status = mlp_store_begin(own, &error);
    if (status == 0)
        status = mlp_store_end(own, mlp_store_meta_put(own, "child", "1", &error), &error);
    mlp_store_free(own);
    return status == 0 ? 0 : 1;
}

static void a_forked_child_may_open_the_store_itself(void)
{
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    CHECK(in_child(child_opens_again, store) == 0);
    CHECK(query_number(store, "SELECT count(*) FROM meta WHERE key = 'child'") == 1);
    mlp_store_free(store);
    fixture_remove(path);
}

/* ---- queries ---- */

static void a_query_gives_every_type_and_takes_parameters(void)
{
    struct mlp_error error = {0};
    struct mlp_rows *rows = NULL;
    const char *sql = "SELECT ?1, ?2, ?3, ?4, ?5 UNION ALL SELECT 1, 2, 3, 4, 5";
    struct mlp_value in[5] = {
        {.type = MLP_VALUE_NULL},
        {.type = MLP_VALUE_INTEGER, .integer = INT64_MIN},
        {.type = MLP_VALUE_REAL, .real = 0.5},
        {.type = MLP_VALUE_TEXT, .bytes = "a\0b", .bytes_len = 3},
        {.type = MLP_VALUE_BLOB, .bytes = NULL, .bytes_len = 0},
    };
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    CHECK(FINE(mlp_store_query(&rows, store, sql, strlen(sql), in, 5, &error)));
    CHECK(mlp_rows_count(rows) == 2 && mlp_rows_columns(rows) == 5);
    for (size_t i = 0; i < 5; i++) {
        const struct mlp_value *out = mlp_rows_at(rows, 0, i);
        CHECK(out->type == in[i].type && out->integer == in[i].integer &&
              out->bytes_len == in[i].bytes_len);
        CHECK(in[i].bytes_len == 0 || memcmp(out->bytes, in[i].bytes, in[i].bytes_len) == 0);
    }
    mlp_rows_free(rows);
    CHECK(mlp_store_query(&rows, store, sql, strlen(sql), in, 4, &error) == MLP_E_ARGUMENT);
    mlp_store_free(store);
    fixture_remove(path);
}

static void a_query_that_could_write_is_refused(void)
{
    static const char *const refused[] = {
        "DELETE FROM meta",
        "INSERT INTO meta VALUES('a', 'b') RETURNING *",
        "CREATE TABLE t(x)",
        "DROP TABLE meta",
        "VACUUM",
        "BEGIN",
        "COMMIT",
        "SAVEPOINT s",
        "ATTACH ':memory:' AS other",
        "DETACH main",
        "PRAGMA journal_mode = WAL",
        "PRAGMA user_version = 9",
        "PRAGMA writable_schema = ON",
        "PRAGMA query_only = OFF",
        "PRAGMA temp_store_directory = '/'",
        "SELECT load_extension('x')",
        "SELECT 1; SELECT 2",
        "SELECT 1; DELETE FROM meta",
        "",
        ";",
        "-- only a comment",
        "SELEC 1",
        "SELECT * FROM no_such_table",
    };
    struct mlp_error error = {0};
    struct mlp_rows *rows = NULL;
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        int status = query(store, &rows, refused[i], &error);
        if (!CHECK(status == MLP_E_ARGUMENT && rows == NULL))
            printf("  %s: %d %s\n", refused[i], status, error.message);
    }
    CHECK(query_number(store, "WITH t(x) AS (SELECT 7) SELECT x FROM t;  ") == 7);
    CHECK(mlp_store_begin(store, &error) == 0); /* our own statements are free again */
    CHECK(mlp_store_end(store, mlp_store_meta_put(store, "a", "b", &error), &error) == 0);
    mlp_store_free(store);
    fixture_remove(path);
}

/* ---- the lock file ---- */

static void a_lock_excludes_threads_as_well_as_processes(void)
{
    struct mlp_error error = {0};
    int first = -1;
    int second = -1;
    char name[PATH_MAX];
    fixture_path(path, "store");
    mlp_store_free(open_store(path, MLP_STORE_CREATE));
    beneath(name, path, "log/.lock");
    CHECK(FINE(mlp_lock_acquire(&first, AT_FDCWD, name, 0, &error)));
    CHECK(mlp_lock_acquire(&second, AT_FDCWD, name, 20, &error) == MLP_E_BUSY && second == -1);
    int other = open(name, O_RDWR);
    CHECK(other >= 0 && close(other) == 0); /* would drop a plain POSIX lock */
    CHECK(mlp_lock_acquire(&second, AT_FDCWD, name, 0, &error) == MLP_E_BUSY);
    pid_t child = fork();
    if (child == 0)
        _exit(mlp_lock_acquire(&second, AT_FDCWD, name, 0, &error) != MLP_E_BUSY);
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    mlp_lock_release(&first);
    mlp_lock_release(&first);
    CHECK(first == -1 && FINE(mlp_lock_acquire(&second, AT_FDCWD, name, 0, &error)));
    mlp_lock_release(&second);
    fixture_remove(path);
}

static void a_link_in_place_of_the_lock_file_is_refused(void)
{
    struct mlp_error error = {0};
    int fd = -1;
    char name[PATH_MAX];
    fixture_path(path, "store");
    mlp_store_free(open_store(path, MLP_STORE_CREATE));
    beneath(name, path, "log/.lock");
    (void)unlink(name);
    CHECK(symlink("/tmp/somewhere-else", name) == 0);
    CHECK(mlp_lock_acquire(&fd, AT_FDCWD, name, 0, &error) == MLP_E_IO && fd == -1);
    CHECK(error.system_errno == ELOOP);
    fixture_remove(path);
}

/* ---- many at once ---- */

#define THREADS 4
#define ROUNDS  25

static void *count_up(void *context)
{
    struct mlp_store *store = context;
    struct mlp_error error = {0};
    char text[24];
    for (int i = 0; i < ROUNDS; i++) {
        int status = mlp_store_begin(store, &error);
        if (status == 0) {
            long now = 0;
            if (mlp_store_meta_get(store, text, sizeof text, "count", &error) == 0)
                now = strtol(text, NULL, 10);
            (void)snprintf(text, sizeof text, "%ld", now + 1);
            status = mlp_store_end(store, mlp_store_meta_put(store, "count", text, &error), &error);
        }
        if (status != 0)
            return store;
    }
    return NULL;
}

static void threads_share_one_store(void)
{
    pthread_t threads[THREADS];
    fixture_path(path, "store");
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, count_up, store) == 0);
    for (int i = 0; i < THREADS; i++) {
        void *failed = NULL;
        CHECK(pthread_join(threads[i], &failed) == 0 && failed == NULL);
    }
    CHECK(query_number(store, "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'count'") ==
          THREADS * ROUNDS);
    mlp_store_free(store);
    fixture_remove(path);
}

static void processes_make_one_store_together(void)
{
    pid_t children[16];
    fixture_path(path, "store");
    for (size_t i = 0; i < 16; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            struct mlp_error error = {0};
            struct mlp_store *store = NULL;
            struct mlp_tlog *tlog = NULL;
            int status = mlp_store_open(&store, path, MLP_STORE_CREATE, &error);
            if (status == 0)
                status = mlp_tlog_open(&tlog, store, &error);
            if (status != 0)
                printf("  child: %s\n", error.message);
            (void)fflush(stdout);
            _exit(status != 0);
        }
    }
    for (size_t i = 0; i < 16; i++) {
        int status = 0;
        CHECK(waitpid(children[i], &status, 0) == children[i] && status == 0);
    }
    struct mlp_store *store = open_store(path, 0);
    CHECK(query_number(store, "SELECT count(*) FROM meta WHERE key = 'store_id'") == 1);
    CHECK(query_number(store, "SELECT count(*) FROM meta WHERE key = 'log_vkey'") == 1);
    mlp_store_free(store);
    fixture_remove(path);
}

int main(void)
{
    RUN(a_directory_deleted_in_use_is_an_error);
    RUN(a_directory_moved_in_use_is_an_error);
    RUN(a_closed_store_says_so);
    RUN(a_read_only_store_is_not_written);
    RUN(a_forked_child_touches_nothing_even_while_the_mutex_is_held);
    RUN(a_forked_child_may_open_the_store_itself);
    RUN(a_query_gives_every_type_and_takes_parameters);
    RUN(a_query_that_could_write_is_refused);
    RUN(a_lock_excludes_threads_as_well_as_processes);
    RUN(a_link_in_place_of_the_lock_file_is_refused);
    RUN(threads_share_one_store);
    RUN(processes_make_one_store_together);
    return check_finish();
}

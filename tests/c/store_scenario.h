/* store_scenario.h - one run recorded from opening a store to its last head in the log, step by
 * step, and what must hold of the store wherever that was cut short.
 */
#ifndef MLP_TESTS_STORE_SCENARIO_H
#define MLP_TESTS_STORE_SCENARIO_H

#include "log_audit.h"
#include "store/leaves.h"
#include "store/stream.h"
#include "system_faults.h"

static char path[PATH_MAX];

/* What is open, and what was said to be safe. */
struct scene {
    struct mlp_store *store;
    struct mlp_tlog *tlog;
    struct mlp_runlog *log;
    struct mlp_stream *stream;
    unsigned run;
    uint64_t committed; /* records acknowledged */
    uint64_t logged;    /* entries of the store log acknowledged */
    bool leaves_kept;
    uint8_t leaves32[32];
    bool stream_kept;
    uint8_t stream32[32];
    bool again; /* a call that fails is made once more and must then succeed */
};

static const struct mlp_leaf leaves[] = {{"one", 3}, {"two", 3}, {"three", 5}};

/* OpenSSL 3.0 answers "does not hold" where it has no memory to verify a signature with. */
static inline bool verification_ran_out(int status, const struct mlp_error *error)
{
    return status == MLP_E_CORRUPT && fault_kind == ALLOCATIONS &&
           strstr(error->message, "that does not hold") != NULL;
}

static inline bool expected(int status)
{
    return status == MLP_E_FULL || status == MLP_E_IO || status == MLP_E_READONLY ||
           status == MLP_E_MEMORY || status == MLP_E_CRYPTO || status == MLP_E_KEY;
}

static inline void check_said(int status, const struct mlp_error *error, const char *step)
{
    if (!CHECK((expected(status) || verification_ran_out(status, error)) &&
               error->message[0] != '\0' && error->status == status))
        printf("  %s: status %d, %s\n", step, status, error->message);
}

static inline int step_open(struct scene *scene, struct mlp_error *error)
{
    if (scene->store == NULL) {
        int status = mlp_store_open(&scene->store, path, MLP_STORE_CREATE, error);
        if (status != 0)
            return status;
    }
    /* Where store.db could not be opened for writing SQLite takes it for write-protected. */
    if (mlp_store_read_only(scene->store)) {
        mlp_store_free(scene->store);
        scene->store = NULL;
        return mlp_fail(error, MLP_E_READONLY, "opened for reading alone");
    }
    return 0;
}

static inline int step_tlog(struct scene *scene, struct mlp_error *error)
{
    return mlp_tlog_open(&scene->tlog, scene->store, error);
}

static inline int step_create(struct scene *scene, struct mlp_error *error)
{
    return mlp_runlog_create(&scene->log, scene->store, run_id(scene->run), "name", "p", error);
}

static inline int step_append(struct scene *scene, struct mlp_error *error)
{
    return add_record(scene->log, "epoch", error);
}

static inline int step_commit(struct scene *scene, struct mlp_error *error)
{
    uint64_t size = mlp_runlog_size(scene->log);
    struct mlp_buffer note = {0};
    int status = mlp_runlog_commit(scene->log, &note, "finished", error);
    mlp_buffer_clear(&note);
    if (status == 0)
        scene->committed = size;
    else if (mlp_runlog_size(scene->log) != size)
        CHECK(false); /* the pending records are still pending */
    return status;
}

/* After a failed commit, records are dropped, or turn out to be there: both are consistent. */
static inline int step_commit_or_roll_back(struct scene *scene, struct mlp_error *error)
{
    uint64_t size = 0;
    if (step_commit(scene, error) == 0)
        return 0;
    failing = NOTHING;
    CHECK(mlp_runlog_rollback(scene->log, &size, error) == 0);
    CHECK(size == scene->committed || size == scene->committed + 1);
    scene->committed = size;
    int status = step_append(scene, error);
    return status == 0 ? step_commit(scene, error) : status;
}

static inline int step_put(struct scene *scene, struct mlp_error *error)
{
    int status = mlp_store_put_leaves(scene->store, scene->leaves32, leaves, 2, error);
    scene->leaves_kept = status == 0;
    return status;
}

static inline int step_stream_open(struct scene *scene, struct mlp_error *error)
{
    return mlp_stream_open(&scene->stream, scene->store, run_id(scene->run), "train", error);
}

static inline int fill_stream(struct scene *scene, struct mlp_error *error)
{
    int status = 0;
    while (status == 0 && mlp_stream_size(scene->stream) < 3) {
        const struct mlp_leaf *leaf = &leaves[mlp_stream_size(scene->stream)];
        status = mlp_stream_append(scene->stream, NULL, leaf->bytes, leaf->len, error);
    }
    return status == 0 ? mlp_stream_sync(scene->stream, error) : status;
}

/* A failed fsync spoils a stream for good: it is abandoned and written anew. */
static inline int step_stream(struct scene *scene, struct mlp_error *error)
{
    int status = fill_stream(scene, error);
    if (status == 0)
        status = mlp_stream_close(scene->stream, scene->stream32, error);
    scene->stream_kept = status == 0;
    struct mlp_error next = {0};
    if (status != 0 && scene->again && mlp_stream_sync(scene->stream, &next) != 0 &&
        strstr(next.message, "abandon it") != NULL) {
        mlp_stream_abandon(scene->stream);
        mlp_stream_free(scene->stream);
        scene->stream = NULL;
        CHECK(step_stream_open(scene, &next) == 0);
    }
    return status;
}

static inline int step_end(struct scene *scene, struct mlp_error *error)
{
    return add_record(scene->log, "run.end", error);
}

static inline int step_integrate(struct scene *scene, struct mlp_error *error)
{
    uint64_t size = 0;
    int status = mlp_tlog_integrate(scene->tlog, &size, error);
    if (status == 0)
        scene->logged = size;
    return status;
}

static inline int step_destroy_key(struct scene *scene, struct mlp_error *error)
{
    return mlp_runlog_destroy_key(scene->log, error);
}

static const struct step {
    const char *name;
    int (*take)(struct scene *scene, struct mlp_error *error);
} steps[] = {
    {"open", step_open},
    {"tlog", step_tlog},
    {"create", step_create},
    {"append", step_append},
    {"commit", step_commit},
    {"put", step_put},
    {"stream open", step_stream_open},
    {"integrate", step_integrate},
    {"append", step_append},
    {"commit or roll back", step_commit_or_roll_back},
    {"stream", step_stream},
    {"end", step_end},
    {"commit", step_commit},
    {"integrate", step_integrate},
    {"destroy key", step_destroy_key},
};

/* Returns: whether it came to its end. */
static inline bool play(struct scene *scene)
{
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct mlp_error error = {0};
        int status = steps[i].take(scene, &error);
        if (status == 0)
            continue;
        failing = NOTHING;
        check_said(status, &error, steps[i].name);
        if (!scene->again)
            return false;
        status = steps[i].take(scene, &error);
        if (status != 0) {
            printf("  %s, again: ", steps[i].name);
            return FINE(status);
        }
    }
    return true;
}

static inline void clear_scene(struct scene *scene)
{
    failing = NOTHING;
    mlp_stream_free(scene->stream);
    mlp_runlog_free(scene->log);
    mlp_tlog_free(scene->tlog);
    mlp_store_free(scene->store);
}

/* ---- what must hold afterwards ---- */

static inline void no_temporary_file_is_left(const char *directory)
{
    char name[PATH_MAX];
    beneath(name, path, directory);
    DIR *listing = opendir(name);
    const struct dirent *entry;
    while (listing != NULL && (entry = readdir(listing)) != NULL)
        CHECK(strncmp(entry->d_name, ".tmp-", 5) != 0);
    if (listing != NULL)
        (void)closedir(listing);
}

static inline void kept_leaves_are_there(struct mlp_store *store, bool kept,
                                         const uint8_t root32[32])
{
    struct mlp_error error = {0};
    struct mlp_leaves read = {0};
    if (kept && FINE(mlp_store_get_leaves(store, &read, root32, &error)))
        mlp_leaves_clear(&read);
}

/* The run under its last head, from the database alone. */
static inline void run_is_whole(struct mlp_store *store, const struct scene *scene)
{
    struct mlp_error error = {0};
    char sql[160];
    (void)snprintf(sql, sizeof sql, "SELECT coalesce(max(size), 0) FROM heads WHERE run = '%s'",
                   run_id(scene->run));
    int64_t size = query_number(store, sql);
    CHECK(size >= (int64_t)scene->committed);
    (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM records WHERE run = '%s'",
                   run_id(scene->run));
    CHECK(query_number(store, sql) == size);
    struct mlp_runlog *log = NULL;
    if (size > 0 && size < 3) { /* not ended: its tree is rebuilt and held against its head */
        if (FINE(mlp_runlog_open(&log, store, run_id(scene->run), &error)))
            CHECK(mlp_runlog_size(log) == (uint64_t)size);
        mlp_runlog_free(log);
    }
}

static inline void check_whole(const struct scene *scene)
{
    struct mlp_error error = {0};
    struct mlp_tlog *tlog = NULL;
    uint64_t size = 0;
    struct mlp_store *store = open_store(path, MLP_STORE_CREATE);
    CHECK(!mlp_store_read_only(store));
    run_is_whole(store, scene);
    kept_leaves_are_there(store, scene->leaves_kept, scene->leaves32);
    kept_leaves_are_there(store, scene->stream_kept, scene->stream32);
    if (!fault_dies) { /* the dead clean nothing up */
        no_temporary_file_is_left("");
        no_temporary_file_is_left("trees");
        no_temporary_file_is_left("log");
        no_temporary_file_is_left("log/tile/0/000.p");
    }
    if (CHECK(FINE(mlp_tlog_open(&tlog, store, &error)))) {
        CHECK(audit_log(path, mlp_tlog_vkey(tlog), &size) && size >= scene->logged);
        CHECK(FINE(mlp_tlog_integrate(tlog, &size, &error)));
        CHECK((int64_t)size == query_number(store, "SELECT count(*) FROM heads"));
        CHECK(audit_log(path, mlp_tlog_vkey(tlog), &size));
    }
    mlp_tlog_free(tlog);
    mlp_store_free(store);
}

#endif

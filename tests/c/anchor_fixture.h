/* anchor_fixture.h - a store with its log, and runs in it. */
#ifndef MLP_TESTS_ANCHOR_FIXTURE_H
#define MLP_TESTS_ANCHOR_FIXTURE_H

#include "log_audit.h"
#include "store/store_internal.h"

static char path[PATH_MAX];
static struct mlp_store *store;
static struct mlp_tlog *tlog;

static inline void set_up(void)
{
    struct mlp_error error = {0};
    fixture_path(path, "store");
    store = open_store(path, MLP_STORE_CREATE);
    tlog = NULL;
    if (!FINE(mlp_tlog_open(&tlog, store, &error)))
        exit(1);
}

static inline void tear_down(void)
{
    mlp_tlog_free(tlog);
    mlp_store_free(store);
    fixture_remove(path);
}

static inline void open_again(void)
{
    struct mlp_error error = {0};
    mlp_tlog_free(tlog);
    mlp_store_free(store);
    store = open_store(path, MLP_STORE_CREATE);
    tlog = NULL;
    if (!FINE(mlp_tlog_open(&tlog, store, &error)))
        exit(1);
}

static inline struct mlp_runlog *new_run(unsigned n)
{
    struct mlp_error error = {0};
    struct mlp_runlog *log = NULL;
    if (!FINE(mlp_runlog_create(&log, store, run_id(n), "digits", "project", &error)))
        exit(1);
    return log;
}

/* A run of `commits` commits, ended where asked. */
static inline void record_run(unsigned n, unsigned commits, bool end)
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

static inline uint64_t integrate(void)
{
    struct mlp_error error = {0};
    uint64_t size = UINT64_MAX;
    CHECK(FINE(mlp_tlog_integrate(tlog, &size, &error)));
    return size;
}

static inline void key_path_of(char name[64], unsigned n)
{
    (void)snprintf(name, 64, "keys/%s.pem", run_id(n));
}

/* As somebody with another program would. */
static inline void change_database(const char *sql)
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

#endif

/* store_internal.h - what the files of the store room share: the handle, SQLite in small words.
 * Other rooms include store.h.
 *
 * Functions on statements expect the store's mutex to be held (mlp_store_begin, mlp_store_hold).
 */
#ifndef MLP_STORE_STORE_INTERNAL_H
#define MLP_STORE_STORE_INTERNAL_H

#include "base/bytes.h"
#include "store/store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/types.h>

#define MLP_STORE_DATABASE "store.db"
/* "MLPr": marks store.db as ours (SQLite's application_id, which file(1) shows). */
#define MLP_STORE_APPLICATION_ID 0x4D4C5072

struct mlp_store {
    sqlite3 *db; /* NULL once closed */
    int directory_fd;
    char *path; /* absolute */
    char id[MLP_STORE_ID_LEN + 1];
    pid_t pid; /* of the process that opened it */
    bool read_only;
    bool newer;
    atomic_int patience_ms; /* written with the mutex held, read by any thread */
    bool answering;         /* a query runs: the authorizer lets only reading through */
    pthread_mutex_t mutex;
};

/* ---- schema.c ---- */

/* One step from user_version i to i + 1 is element i. */
extern const char *const mlp_store_migrations[];
#define MLP_STORE_VERSION 2

/* ---- database.c ---- */

/* Opens store->directory's store.db on store->db and sets it up; reads nothing of ours yet.
 * Returns: 0, or as in store.h.
 */
int mlp_database_open(struct mlp_store *store, struct mlp_error *error);

/* Brings a database from its version to `version` in one transaction, one step each. A version that
 * is already there or newer is left alone.
 * Returns: 0, or as in store.h.
 */
int mlp_database_migrate(struct mlp_store *store, const char *const *steps, int version,
                         struct mlp_error *error);

/* Checks fork and closing and takes the mutex. write: also refuses a read-only store.
 * Returns: 0 (mlp_store_let_go must follow).
 */
int mlp_store_hold(struct mlp_store *store, bool write, struct mlp_error *error);
void mlp_store_let_go(struct mlp_store *store);

/* Turns an SQLite result into a status; the text has what was attempted, the store's path, SQLite's
 * own words, and what to do.
 * Returns: the status.
 */
int mlp_sqlite_fail(const struct mlp_store *store, int result, const char *attempted,
                    struct mlp_error *error);

/* Prepares and binds. What is bound must live until the statement is finalised. Finalise with
 * sqlite3_finalize, also after a failure (*statement is then NULL).
 * In:      format: one letter for each parameter: t (const char *, NULL for NULL), i (int64_t), b
 *          (const void *, size_t).
 * Returns: 0, or as mlp_sqlite_fail.
 */
int mlp_sqlite_prepare(struct mlp_store *store, sqlite3_stmt **statement, struct mlp_error *error,
                       const char *sql, const char *format, ...);

/* Returns: 1 (a row), 0 (done), or a negative status. */
int mlp_sqlite_step(struct mlp_store *store, sqlite3_stmt *statement, struct mlp_error *error);

/* Prepares, binds, runs to the end, finalises.
 * Returns: 0, or as mlp_sqlite_fail.
 */
int mlp_sqlite_execute(struct mlp_store *store, struct mlp_error *error, const char *sql,
                       const char *format, ...);

/* The integer that a statement of one row answers; 0 where it answers none.
 * Returns: 0, or as mlp_sqlite_fail.
 */
int mlp_sqlite_number(struct mlp_store *store, int64_t *number, struct mlp_error *error,
                      const char *sql, const char *format, ...);

/* Copies a 32-byte blob.
 * Returns: 0 or MLP_E_CORRUPT.
 */
int mlp_sqlite_hash(const struct mlp_store *store, uint8_t hash32[32], sqlite3_stmt *statement,
                    int column, struct mlp_error *error);

/* Appends a blob (or a text); nothing for NULL.
 * Returns: 0 or MLP_E_MEMORY.
 */
int mlp_sqlite_append(struct mlp_buffer *bytes, sqlite3_stmt *statement, int column,
                      struct mlp_error *error);

/* The database says something that no mlprov writes.
 * Returns: MLP_E_CORRUPT (MLP_E_MEMORY where SQLite had none).
 */
int mlp_store_corrupt(const struct mlp_store *store, struct mlp_error *error, const char *format,
                      ...) __attribute__((format(printf, 3, 4)));

#endif

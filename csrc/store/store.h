/* store.h - one open store directory: opening, closing, transactions, read-only queries.
 *
 *     store.db       SQLite (schema.c), rollback journal, synchronous EXTRA
 *     log/           the store log, a C2SP tlog-tiles directory (anchor/tlog.h); log/.lock
 *     trees/         kept leaves and open streams (leaves.h, stream.h)
 *     imports/       bundles of imported runs, <run id>.mlprov (mlprov writes them)
 *     keys/          0700: private keys of the runs and of the log (anchor writes them)
 *     .gitignore     "*"
 *
 * Threads: a struct mlp_store may be used from any thread. It has one connection, and one mutex
 * that is held from mlp_store_begin to mlp_store_end and during each other call that reads or
 * writes the database: the one mutex here that is held across disk, because one connection has one
 * transaction. Never wait for another lock (the GIL, log/.lock) while holding it; release the GIL
 * before every call.
 * Processes: any number may have one store open; SQLite's locks decide, waiting at most
 * MLP_STORE_BUSY_MS or what mlp_store_set_patience said. Within a process nothing else may open store.db, not even to read a byte:
 * closing any descriptor of it drops the process's POSIX locks.
 * Fork: in a child every call answers MLP_E_FORKED and touches neither handle nor file;
 * mlp_store_close and mlp_store_free do nothing there.
 *
 * Errors, where nothing else is said: MLP_E_FORKED, MLP_E_CLOSED (after mlp_store_close),
 * MLP_E_BUSY (another process held the database for that long), MLP_E_FULL, MLP_E_READONLY,
 * MLP_E_IO, MLP_E_MEMORY, MLP_E_CORRUPT (store.db is damaged; the text names it and says what to
 * do), MLP_E_NOT_FOUND (the directory was moved or deleted while open). After a failed write the
 * database is as it was before.
 */
#ifndef MLP_STORE_STORE_H
#define MLP_STORE_STORE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MLP_STORE_BUSY_MS 30000
#define MLP_STORE_ID_LEN  32 /* lower-case hex digits of 128 random bits */

struct mlp_store; /* opaque, heap */

enum mlp_store_flag {
    MLP_STORE_CREATE = 1,    /* make directory, database and store id where they are missing */
    MLP_STORE_READ_ONLY = 2, /* write nothing (an interrupted transaction is still rolled back) */
};

/* Opens the store directory at path. A database of an older version is migrated (unless read-only),
 * one of a newer version opens read-only (mlp_store_newer). The directory's parent must exist.
 * Returns: 0 (mlp_store_free); MLP_E_NOT_FOUND (no store there); MLP_E_CONFIG (directory or
 *          store.db is another user's, writable by group or others, a link, or a directory that
 *          holds other things); MLP_E_CORRUPT (not a database, truncated, not mlprov's, empty
 *          beside a published log); or as at the top.
 */
int mlp_store_open(struct mlp_store **store, const char *path, unsigned flags,
                   struct mlp_error *error);

/* Closes database and directory; every later call answers MLP_E_CLOSED. Waits for a call in another
 * thread. May be called again. */
void mlp_store_close(struct mlp_store *store);

/* Closes and frees. No other thread, run log or stream may still use the store. NULL is allowed. */
void mlp_store_free(struct mlp_store *store);

const char *mlp_store_path(const struct mlp_store *store); /* absolute, links resolved */
const char *mlp_store_id(const struct mlp_store *store);   /* MLP_STORE_ID_LEN digits */
bool mlp_store_read_only(const struct mlp_store *store);   /* asked for, forced by files, newer */
bool mlp_store_newer(const struct mlp_store *store);       /* written by a newer version */

/* Whether the store can be used here. write: also whether it may be written.
 * Returns: 0, MLP_E_FORKED, MLP_E_CLOSED, MLP_E_READONLY.
 */
int mlp_store_usable(struct mlp_store *store, bool write, struct mlp_error *error);

/* From now on wait at most patience_ms for another process, in place of MLP_STORE_BUSY_MS: once for
 * the database in each transaction, once for log/.lock. 0: do not wait. Waits for a transaction of
 * another thread.
 * Returns: 0, MLP_E_FORKED, MLP_E_CLOSED.
 */
int mlp_store_set_patience(struct mlp_store *store, int patience_ms, struct mlp_error *error);

/* What was set last. */
int mlp_store_patience(const struct mlp_store *store);

/* A descriptor of the store's directory, for files beside the database; the caller closes it. It
 * stays good when another thread closes the store.
 * Returns: 0; as mlp_store_usable; MLP_E_IO.
 */
int mlp_store_open_directory(struct mlp_store *store, int *fd, bool write, struct mlp_error *error);

/* Puts "<store path>: " in front of error's text, so that a relative file name can be found.
 * Returns: status.
 */
int mlp_store_explain(const struct mlp_store *store, int status, struct mlp_error *error);

/* ---- transactions: for the functions of runs.h and log_rows.h that say "in a transaction" ---- */

/* BEGIN IMMEDIATE; takes the store's mutex.
 * Returns: 0 (mlp_store_end must follow, in the same thread), or as at the top (nothing to end).
 */
int mlp_store_begin(struct mlp_store *store, struct mlp_error *error);

/* The same for reading alone: all reads until mlp_store_end see one state.
 * Returns: as mlp_store_begin.
 */
int mlp_store_begin_read(struct mlp_store *store, struct mlp_error *error);

/* Commits where status is 0, else rolls back; gives the mutex back.
 * Returns: status, or why the commit failed. After a failed commit the transaction is undone, but
 *          for one case: the journal was deleted and the directory could not be synced; then it is
 *          in the database, and a caller that repeats must look first (runs.h, log_rows.h do).
 */
int mlp_store_end(struct mlp_store *store, int status, struct mlp_error *error);

/* ---- meta: small texts by key ---- */

/* In a transaction.
 * Out:     value: value_size bytes with the NUL.
 * Returns: 0; MLP_E_NOT_FOUND (no such key: no text in error); MLP_E_CORRUPT (longer).
 */
int mlp_store_meta_get(struct mlp_store *store, char *value, size_t value_size, const char *key,
                       struct mlp_error *error);

/* In a write transaction; replaces.
 * Returns: 0, or as at the top.
 */
int mlp_store_meta_put(struct mlp_store *store, const char *key, const char *value,
                       struct mlp_error *error);

/* ---- queries ---- */

enum mlp_value_type {
    MLP_VALUE_NULL = 0,
    MLP_VALUE_INTEGER,
    MLP_VALUE_REAL,
    MLP_VALUE_TEXT, /* UTF-8; bytes_len counts, no NUL is promised */
    MLP_VALUE_BLOB,
};

struct mlp_value {
    enum mlp_value_type type;
    int64_t integer;
    double real;
    const void *bytes;
    size_t bytes_len;
};

struct mlp_rows; /* opaque, heap: the whole answer, independent of the store */

/* Runs one read-only statement to its end. Allowed are SELECT, WITH, VALUES, EXPLAIN and the
 * pragmas that only answer; whatever could write, attach, load or change a setting is refused
 * before it runs. The rows are copied, so that no lock is held while the caller converts them.
 * In:      parameters: for ?1, ?2, ...: exactly as many as the statement has.
 * Returns: 0 (mlp_rows_free); MLP_E_ARGUMENT (SQL error, refused, more than one statement, wrong
 *          number of parameters; with SQLite's text); or as at the top.
 */
int mlp_store_query(struct mlp_rows **rows, struct mlp_store *store, const char *sql,
                    size_t sql_len, const struct mlp_value *parameters, size_t parameters_count,
                    struct mlp_error *error);

size_t mlp_rows_count(const struct mlp_rows *rows);
size_t mlp_rows_columns(const struct mlp_rows *rows);
/* Lives as long as rows; row < mlp_rows_count, column < mlp_rows_columns. */
const struct mlp_value *mlp_rows_at(const struct mlp_rows *rows, size_t row, size_t column);
void mlp_rows_free(struct mlp_rows *rows); /* NULL is allowed */

const char *mlp_sqlite_version(void);

#endif

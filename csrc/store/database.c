#include "store/store_internal.h"

#include "base/file.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- status ---- */

static int status_of_io(int system_errno)
{
    struct mlp_error mapped;
    return system_errno == 0 ? MLP_E_IO : mlp_fail_errno(&mapped, system_errno, "SQLite");
}

/* The directory itself may be gone while its descriptor lives on. */
static bool still_there(const struct mlp_store *store)
{
    struct stat held;
    struct stat named;
    return fstat(store->directory_fd, &held) == 0 && stat(store->path, &named) == 0 &&
           held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

/* Where SQLite cannot make its journal it tries to open one instead, and errno is that second
 * try's: ENOENT says nothing. */
static int status_of_unopened(const struct mlp_store *store)
{
    int system_errno = store->db != NULL ? sqlite3_system_errno(store->db) : 0;
    if (system_errno != ENOENT)
        return status_of_io(system_errno);
    if (!still_there(store))
        return MLP_E_NOT_FOUND;
    return faccessat(store->directory_fd, ".", W_OK, 0) != 0 ? MLP_E_READONLY : MLP_E_IO;
}

static int status_of_result(const struct mlp_store *store, int result)
{
    if (result == SQLITE_READONLY_DBMOVED)
        return MLP_E_NOT_FOUND;
    if (result == SQLITE_IOERR_NOMEM)
        return MLP_E_MEMORY;
    switch (result & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return MLP_E_BUSY;
    case SQLITE_FULL:
        return MLP_E_FULL;
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return MLP_E_READONLY;
    case SQLITE_NOMEM:
        return MLP_E_MEMORY;
    case SQLITE_CANTOPEN:
        return status_of_unopened(store);
    case SQLITE_IOERR:
        return status_of_io(store->db != NULL ? sqlite3_system_errno(store->db) : 0);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* our own statements are right: what is wrong is the schema they meet */
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
        return MLP_E_CORRUPT;
    default:
        return MLP_E_IO;
    }
}

struct advice {
    int status;
    const char *seen; /* what else is known */
    const char *remedy;
};

static const struct advice advices[] = {
    {MLP_E_CORRUPT, " (it was left as it is)",
     "restore it from a backup, or move the store aside and begin a new one (trees/ and log/ in it "
     "can still be read)"},
    {MLP_E_BUSY, " (another process holds it)", "try again later"},
    {MLP_E_FULL, " (nothing was written)", "free some space and try again"},
    {MLP_E_NOT_FOUND, " (it was moved or deleted while in use)", "put it back"},
    {MLP_E_READONLY, "", "make it writable or choose another place"},
    {MLP_E_IO, "", "look whether the disk is full or failing, and try again"},
    {MLP_OK, "", ""}, /* of every other status */
};

static const struct advice *advice_for(int status)
{
    const struct advice *advice = advices;
    while (advice->status != status && advice->status != MLP_OK)
        advice++;
    return advice;
}

int mlp_sqlite_fail(const struct mlp_store *store, int result, const char *attempted,
                    struct mlp_error *error)
{
    int status = status_of_result(store, result);
    const char *detail = store->db != NULL ? sqlite3_errmsg(store->db) : sqlite3_errstr(result);
    int system_errno = status == MLP_E_IO || status == MLP_E_FULL || status == MLP_E_READONLY
                           ? (store->db != NULL ? sqlite3_system_errno(store->db) : 0)
                           : 0;
    const struct advice *advice = advice_for(status);
    (void)mlp_fail(error, status, "cannot %s %s/" MLP_STORE_DATABASE ": %s%s; %s", attempted,
                   store->path, detail, advice->seen, advice->remedy);
    if (error != NULL)
        error->system_errno = system_errno;
    return status;
}

int mlp_store_corrupt(const struct mlp_store *store, struct mlp_error *error, const char *format,
                      ...)
{
    char what[256];
    va_list arguments;
    /* A column that SQLite had no memory to hand over looks like one that is not there. */
    if (sqlite3_errcode(store->db) == SQLITE_NOMEM)
        return mlp_sqlite_fail(store, SQLITE_NOMEM, "read", error);
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    const struct advice *advice = advice_for(MLP_E_CORRUPT);
    return mlp_fail(error, MLP_E_CORRUPT, "%s/" MLP_STORE_DATABASE ": %s%s; %s", store->path, what,
                    advice->seen, advice->remedy);
}

/* ---- the mutex ---- */

static int fail_forked(const struct mlp_store *store, struct mlp_error *error)
{
    return mlp_fail(error, MLP_E_FORKED,
                    "the store %s was opened by process %ld and this is its child %ld; open it "
                    "again here, or record in the parent alone",
                    store->path, (long)store->pid, (long)getpid());
}

int mlp_store_hold(struct mlp_store *store, bool write, struct mlp_error *error)
{
    /* The fork check comes first: a child's copy of the mutex may be locked for ever. */
    if (getpid() != store->pid)
        return fail_forked(store, error);
    pthread_mutex_lock(&store->mutex);
    int status = 0;
    if (store->db == NULL)
        status = mlp_fail(error, MLP_E_CLOSED, "the store %s is closed", store->path);
    else if (write && store->read_only)
        status = mlp_fail(error, MLP_E_READONLY, "cannot write to the store %s: %s", store->path,
                          store->newer ? "a newer mlprov wrote it; update mlprov"
                                       : "it is open for reading only");
    if (status != 0)
        pthread_mutex_unlock(&store->mutex);
    return status;
}

void mlp_store_let_go(struct mlp_store *store)
{
    pthread_mutex_unlock(&store->mutex);
}

int mlp_store_set_patience(struct mlp_store *store, int patience_ms, struct mlp_error *error)
{
    int status = mlp_store_hold(store, false, error);
    if (status != 0)
        return status;
    store->patience_ms = patience_ms;
    (void)sqlite3_busy_timeout(store->db, patience_ms);
    mlp_store_let_go(store);
    return 0;
}

int mlp_store_patience(const struct mlp_store *store)
{
    return store->patience_ms;
}

/* ---- statements ---- */

static int bind_all(sqlite3_stmt *statement, const char *format, va_list arguments)
{
    int result = SQLITE_OK;
    for (int i = 0; format[i] != '\0' && result == SQLITE_OK; i++) {
        if (format[i] == 't') {
            const char *text = va_arg(arguments, const char *);
            result = sqlite3_bind_text(statement, i + 1, text, -1, SQLITE_STATIC);
        } else if (format[i] == 'i') {
            result = sqlite3_bind_int64(statement, i + 1, va_arg(arguments, int64_t));
        } else {
            const void *bytes = va_arg(arguments, const void *);
            size_t len = va_arg(arguments, size_t);
            /* A NULL pointer would bind NULL; an empty blob is meant. */
            result = sqlite3_bind_blob64(statement, i + 1, bytes != NULL ? bytes : "", len,
                                         SQLITE_STATIC);
        }
    }
    return result;
}

static int prepare_and_bind(struct mlp_store *store, sqlite3_stmt **statement, const char *sql,
                            const char *format, va_list arguments, struct mlp_error *error)
{
    *statement = NULL;
    int result = sqlite3_prepare_v2(store->db, sql, -1, statement, NULL);
    if (result == SQLITE_OK)
        result = bind_all(*statement, format, arguments);
    if (result == SQLITE_OK)
        return 0;
    int status = mlp_sqlite_fail(store, result, "use", error);
    sqlite3_finalize(*statement);
    *statement = NULL;
    return status;
}

int mlp_sqlite_prepare(struct mlp_store *store, sqlite3_stmt **statement, struct mlp_error *error,
                       const char *sql, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int status = prepare_and_bind(store, statement, sql, format, arguments, error);
    va_end(arguments);
    return status;
}

int mlp_sqlite_step(struct mlp_store *store, sqlite3_stmt *statement, struct mlp_error *error)
{
    int result = sqlite3_step(statement);
    if (result == SQLITE_ROW)
        return 1;
    if (result == SQLITE_DONE)
        return 0;
    return mlp_sqlite_fail(store, sqlite3_extended_errcode(store->db),
                           sqlite3_stmt_readonly(statement) ? "read" : "write", error);
}

int mlp_sqlite_execute(struct mlp_store *store, struct mlp_error *error, const char *sql,
                       const char *format, ...)
{
    sqlite3_stmt *statement;
    va_list arguments;
    va_start(arguments, format);
    int status = prepare_and_bind(store, &statement, sql, format, arguments, error);
    va_end(arguments);
    if (status == 0) {
        do {
            status = mlp_sqlite_step(store, statement, error);
        } while (status > 0);
    }
    sqlite3_finalize(statement);
    return status;
}

int mlp_sqlite_number(struct mlp_store *store, int64_t *number, struct mlp_error *error,
                      const char *sql, const char *format, ...)
{
    sqlite3_stmt *statement;
    va_list arguments;
    va_start(arguments, format);
    int status = prepare_and_bind(store, &statement, sql, format, arguments, error);
    va_end(arguments);
    if (status == 0)
        status = mlp_sqlite_step(store, statement, error);
    if (status >= 0) {
        *number = status > 0 ? sqlite3_column_int64(statement, 0) : 0;
        status = 0;
    }
    sqlite3_finalize(statement);
    return status;
}

int mlp_sqlite_hash(const struct mlp_store *store, uint8_t hash32[32], sqlite3_stmt *statement,
                    int column, struct mlp_error *error)
{
    const void *bytes = sqlite3_column_blob(statement, column);
    if (bytes == NULL || sqlite3_column_bytes(statement, column) != 32)
        return mlp_store_corrupt(store, error, "a hash in it is not 32 bytes long");
    memcpy(hash32, bytes, 32);
    return 0;
}

int mlp_sqlite_append(struct mlp_buffer *bytes, sqlite3_stmt *statement, int column,
                      struct mlp_error *error)
{
    const void *found = sqlite3_column_blob(statement, column);
    if (found == NULL && sqlite3_column_type(statement, column) != SQLITE_NULL &&
        sqlite3_errcode(sqlite3_db_handle(statement)) == SQLITE_NOMEM)
        return mlp_fail(error, MLP_E_MEMORY, "cannot read the store: out of memory");
    if (found != NULL)
        mlp_buffer_append(bytes, found, (size_t)sqlite3_column_bytes(statement, column));
    if (mlp_buffer_status(bytes) != 0)
        return mlp_fail(error, MLP_E_MEMORY, "cannot read the store: out of memory");
    return 0;
}

/* ---- transactions ---- */

static int check_still_there(struct mlp_store *store, struct mlp_error *error)
{
    if (!still_there(store))
        return mlp_fail(error, MLP_E_NOT_FOUND,
                        "the store directory %s was moved or deleted while in use; put it back, or "
                        "open the store where it is now",
                        store->path);
    return 0;
}

/* SQLite rolls back by itself after some failures (full disk, out of memory), not after others; a
 * rollback that fails is made again before the next transaction. */
static void leave_transaction(struct mlp_store *store)
{
    if (!sqlite3_get_autocommit(store->db))
        (void)mlp_sqlite_execute(store, NULL, "ROLLBACK", "");
}

static int begin(struct mlp_store *store, bool write, struct mlp_error *error)
{
    int status = mlp_store_hold(store, write, error);
    if (status != 0)
        return status;
    leave_transaction(store);
    if (write)
        status = check_still_there(store, error);
    /* IMMEDIATE: a deferred transaction that turns into a writing one fails at once where another
     * process writes; this one waits. */
    if (status == 0)
        status = mlp_sqlite_execute(store, error, write ? "BEGIN IMMEDIATE" : "BEGIN", "");
    if (status != 0) {
        leave_transaction(store);
        mlp_store_let_go(store);
    }
    return status;
}

int mlp_store_begin(struct mlp_store *store, struct mlp_error *error)
{
    return begin(store, true, error);
}

int mlp_store_begin_read(struct mlp_store *store, struct mlp_error *error)
{
    return begin(store, false, error);
}

int mlp_store_end(struct mlp_store *store, int status, struct mlp_error *error)
{
    if (status == 0)
        status = mlp_sqlite_execute(store, error, "COMMIT", "");
    if (status != 0)
        leave_transaction(store);
    mlp_store_let_go(store);
    return status;
}

/* ---- opening ---- */

/* While a query runs: reading only, and none of the functions that reach outside. */
static int authorize(void *context, int action, const char *first, const char *second,
                     const char *schema, const char *trigger)
{
    static const char *const answering_pragmas[] = {
        "application_id", "data_version", "freelist_count", "integrity_check", "journal_mode",
        "page_count",     "page_size",    "quick_check",    "synchronous",     "user_version",
    };
    (void)schema;
    (void)trigger;
    const struct mlp_store *store = context;
    if (!store->answering)
        return SQLITE_OK;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_RECURSIVE:
        return SQLITE_OK;
    case SQLITE_FUNCTION:
        return second != NULL && strcmp(second, "load_extension") == 0 ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_PRAGMA:
        for (size_t i = 0; i < sizeof answering_pragmas / sizeof answering_pragmas[0]; i++) {
            if (second == NULL && first != NULL && strcmp(first, answering_pragmas[i]) == 0)
                return SQLITE_OK;
        }
        return SQLITE_DENY;
    default:
        return SQLITE_DENY;
    }
}

/* "Defense Against The Dark Arts", sqlite.org/security.html: a database that others may have
 * touched. */
static int harden(struct mlp_store *store, struct mlp_error *error)
{
    int result = sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_db_config(store->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_db_config(store->db, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_set_authorizer(store->db, authorize, store);
    if (result != SQLITE_OK)
        return mlp_sqlite_fail(store, result, "set up", error);
    (void)sqlite3_limit(store->db, SQLITE_LIMIT_ATTACHED, 0);
    int status = mlp_sqlite_execute(store, error, "PRAGMA cell_size_check = ON", "");
    if (status == 0) /* nothing of a store in /tmp */
        status = mlp_sqlite_execute(store, error, "PRAGMA temp_store = MEMORY", "");
    return status;
}

/* A rollback journal, never WAL (network file systems). EXTRA is FULL and also syncs the directory
 * after the journal was deleted: without that a power loss can bring the journal back, and with it
 * the state before an acknowledged commit (sqlite.org/pragma.html, synchronous). */
static int choose_durability(struct mlp_store *store, struct mlp_error *error)
{
    sqlite3_stmt *statement;
    int status = mlp_sqlite_prepare(store, &statement, error, "PRAGMA journal_mode = DELETE", "");
    if (status == 0)
        status = mlp_sqlite_step(store, statement, error);
    if (status > 0) {
        const char *mode = (const char *)sqlite3_column_text(statement, 0);
        status = 0;
        if (mode == NULL || strcmp(mode, "delete") != 0)
            status = mlp_store_corrupt(store, error, "its journal mode is %s and cannot be changed",
                                       mode != NULL ? mode : "unknown");
    }
    sqlite3_finalize(statement);
    if (status == 0)
        status = mlp_sqlite_execute(store, error, "PRAGMA synchronous = EXTRA", "");
    return status;
}

int mlp_database_open(struct mlp_store *store, struct mlp_error *error)
{
    char path[PATH_MAX];
    int written = snprintf(path, sizeof path, "%s/" MLP_STORE_DATABASE, store->path);
    if (written < 0 || (size_t)written >= sizeof path)
        return mlp_fail(error, MLP_E_CONFIG, "the store's path is too long: %zu bytes",
                        strlen(store->path));
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_PRIVATECACHE;
#ifdef SQLITE_OPEN_NOFOLLOW /* 3.31; the path before store.db is resolved already */
    flags |= SQLITE_OPEN_NOFOLLOW;
#endif
    int result = sqlite3_open_v2(path, &store->db, flags, NULL);
    if (result != SQLITE_OK) {
        int status = mlp_sqlite_fail(store, result, "open", error);
        (void)sqlite3_close(store->db);
        store->db = NULL;
        return status;
    }
    (void)sqlite3_extended_result_codes(store->db, 1);
    store->patience_ms = MLP_STORE_BUSY_MS;
    (void)sqlite3_busy_timeout(store->db, MLP_STORE_BUSY_MS);
    int status = harden(store, error);
    if (status == 0 && sqlite3_db_readonly(store->db, "main") == 1)
        store->read_only = true; /* write-protected: SQLite fell back to reading */
    if (status == 0 && !store->read_only)
        status = choose_durability(store, error);
    return status;
}

static int migrate_one(struct mlp_store *store, const char *step, int to, struct mlp_error *error)
{
    char sql[80];
    (void)snprintf(sql, sizeof sql, "PRAGMA user_version = %d; PRAGMA application_id = %d", to,
                   MLP_STORE_APPLICATION_ID);
    int result = sqlite3_exec(store->db, step, NULL, NULL, NULL);
    if (result == SQLITE_OK)
        result = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    if (result != SQLITE_OK)
        return mlp_sqlite_fail(store, sqlite3_extended_errcode(store->db), "migrate", error);
    return 0;
}

int mlp_database_migrate(struct mlp_store *store, const char *const *steps, int version,
                         struct mlp_error *error)
{
    int status = mlp_store_begin(store, error);
    if (status != 0)
        return status;
    /* Read again under the write lock: another process may just have done it. */
    int64_t now = 0;
    status = mlp_sqlite_number(store, &now, error, "PRAGMA user_version", "");
    for (; status == 0 && now < version; now++)
        status = migrate_one(store, steps[now], (int)now + 1, error);
    return mlp_store_end(store, status, error);
}

const char *mlp_sqlite_version(void)
{
    return sqlite3_libversion();
}

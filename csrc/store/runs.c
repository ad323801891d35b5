#include "store/runs.h"

#include "store/store_internal.h"

#include <string.h>

/* ---- shapes ---- */

/* pattern: 'h' a lower-case hex digit, 'v' one of 8 9 a b, 'd' a decimal digit, else itself. */
static bool matches(const char *text, const char *pattern)
{
    for (; *pattern != '\0'; pattern++, text++) {
        const char *set = *pattern == 'h'   ? "0123456789abcdef"
                          : *pattern == 'v' ? "89ab"
                          : *pattern == 'd' ? "0123456789"
                                            : NULL;
        if (*text == '\0' || (set != NULL ? strchr(set, *text) == NULL : *text != *pattern))
            return false;
    }
    return *text == '\0';
}

bool mlp_run_id_valid(const char *text)
{
    return matches(text, "hhhhhhhh-hhhh-7hhh-vhhh-hhhhhhhhhhhh");
}

bool mlp_record_time_valid(const char *text)
{
    return matches(text, "dddd-dd-ddTdd:dd:dd.dddZ");
}

/* ---- reading ---- */

/* The last head of a run; *size is 0 where there is none. */
static int last_head(struct mlp_store *store, const char *run_id, uint64_t *size,
                     uint8_t root32[32], struct mlp_buffer *note, struct mlp_error *error)
{
    sqlite3_stmt *statement;
    *size = 0;
    int status = mlp_sqlite_prepare(store, &statement, error,
                                    "SELECT size, root, note FROM heads WHERE run = ?1"
                                    " ORDER BY size DESC LIMIT 1",
                                    "t", run_id);
    if (status == 0)
        status = mlp_sqlite_step(store, statement, error);
    if (status > 0) {
        status = mlp_sqlite_hash(store, root32, statement, 1, error);
        if (status == 0) {
            *size = (uint64_t)sqlite3_column_int64(statement, 0);
            if (note != NULL)
                status = mlp_sqlite_append(note, statement, 2, error);
        }
    }
    sqlite3_finalize(statement);
    return status;
}

/* How many records a run has; that none is missing is seen when they are read. */
static int count_records(struct mlp_store *store, const char *run_id, uint64_t *count,
                         struct mlp_error *error)
{
    int64_t number = 0;
    int status = mlp_sqlite_number(store, &number, error,
                                   "SELECT coalesce(max(seq) + 1, 0) FROM records WHERE run = ?1",
                                   "t", run_id);
    *count = (uint64_t)number;
    return status;
}

/* Returns: 0; MLP_E_NOT_FOUND without text. */
static int read_run(struct mlp_store *store, const char *run_id, bool *imported,
                    struct mlp_buffer *vkey, struct mlp_error *error)
{
    sqlite3_stmt *statement;
    int status = mlp_sqlite_prepare(store, &statement, error,
                                    "SELECT imported, vkey FROM runs WHERE id = ?1", "t", run_id);
    if (status != 0)
        return status;
    status = mlp_sqlite_step(store, statement, error);
    if (status > 0) {
        *imported = sqlite3_column_int(statement, 0) != 0;
        status = vkey != NULL ? mlp_sqlite_append(vkey, statement, 1, error) : 0;
    } else if (status == 0) {
        status = MLP_E_NOT_FOUND;
    }
    sqlite3_finalize(statement);
    return status;
}

static int read_last_record(struct mlp_store *store, struct mlp_run_facts *facts,
                            const char *run_id, struct mlp_error *error)
{
    sqlite3_stmt *statement;
    int status = mlp_sqlite_prepare(
        store, &statement, error,
        "SELECT type, time FROM records WHERE run = ?1 ORDER BY seq DESC LIMIT 1", "t", run_id);
    if (status == 0)
        status = mlp_sqlite_step(store, statement, error);
    if (status > 0) {
        const char *type = (const char *)sqlite3_column_text(statement, 0);
        const char *time = (const char *)sqlite3_column_text(statement, 1);
        status = 0;
        if (type == NULL || time == NULL || strlen(time) >= sizeof facts->last_time) {
            status = mlp_store_corrupt(store, error, "a record of run %s has no time", run_id);
        } else {
            facts->ended = strcmp(type, "run.end") == 0;
            memcpy(facts->last_time, time, strlen(time) + 1);
        }
    }
    sqlite3_finalize(statement);
    return status;
}

static int count_pending(struct mlp_store *store, struct mlp_run_facts *facts, const char *run_id,
                         struct mlp_error *error)
{
    int64_t number = 0;
    int status = mlp_sqlite_number(store, &number, error,
                                   "SELECT count(*) FROM heads"
                                   " WHERE run = ?1 AND log_index IS NULL AND imported = 0",
                                   "t", run_id);
    facts->heads_pending = (uint64_t)number;
    return status;
}

int mlp_store_run_facts(struct mlp_run_facts *facts, struct mlp_buffer *note,
                        struct mlp_buffer *vkey, struct mlp_store *store, const char *run_id,
                        struct mlp_error *error)
{
    struct mlp_run_facts found = {0};
    int status = mlp_store_begin_read(store, error);
    if (status != 0)
        return status;
    status = read_run(store, run_id, &found.imported, vkey, error);
    if (status == MLP_E_NOT_FOUND)
        (void)mlp_fail(error, status, "the store %s has no run %s", mlp_store_path(store), run_id);
    if (status == 0)
        status = last_head(store, run_id, &found.size, found.root32, note, error);
    if (status == 0)
        status = read_last_record(store, &found, run_id, error);
    if (status == 0)
        status = count_pending(store, &found, run_id, error);
    status = mlp_store_end(store, status, error);
    if (status == 0)
        *facts = found;
    return status;
}

int mlp_store_run_records(struct mlp_store *store, const char *run_id,
                          int (*visit)(void *context, uint64_t seq, const void *bytes,
                                       size_t bytes_len, struct mlp_error *error),
                          void *context, struct mlp_error *error)
{
    sqlite3_stmt *statement = NULL;
    int status = mlp_store_begin_read(store, error);
    if (status != 0)
        return status;
    status = mlp_sqlite_prepare(store, &statement, error,
                                "SELECT seq, bytes FROM records WHERE run = ?1 ORDER BY seq", "t",
                                run_id);
    uint64_t seq = 0;
    while (status == 0 && (status = mlp_sqlite_step(store, statement, error)) > 0) {
        if ((uint64_t)sqlite3_column_int64(statement, 0) != seq) {
            status = mlp_store_corrupt(store, error, "record %llu of run %s is missing",
                                       (unsigned long long)seq, run_id);
            break;
        }
        const void *bytes = sqlite3_column_blob(statement, 1);
        status = visit(context, seq++, bytes, (size_t)sqlite3_column_bytes(statement, 1), error);
    }
    sqlite3_finalize(statement);
    return mlp_store_end(store, status, error);
}

/* ---- writing ---- */

static int insert_record(struct mlp_store *store, const char *run_id, uint64_t seq,
                         const struct mlp_record *record, struct mlp_error *error)
{
    return mlp_sqlite_execute(
        store, error, "INSERT INTO records(run, seq, type, time, bytes) VALUES(?1, ?2, ?3, ?4, ?5)",
        "tittb", run_id, (int64_t)seq, record->type, record->time, record->bytes,
        record->bytes_len);
}

static int insert_head(struct mlp_store *store, const char *run_id, const struct mlp_head *head,
                       bool imported, struct mlp_error *error)
{
    return mlp_sqlite_execute(
        store, error,
        "INSERT INTO heads(run, size, root, note, imported) VALUES(?1, ?2, ?3, ?4, ?5)", "tibbi",
        run_id, (int64_t)head->size, head->root32, (size_t)32, head->note, head->note_len,
        (int64_t)imported);
}

/* What the database has of this run before a commit. *done: it has this very commit already. */
static int compare_with_database(struct mlp_store *store, const struct mlp_run_commit *commit,
                                 bool *done, struct mlp_error *error)
{
    uint64_t old_size = commit->head.size - commit->records_count;
    uint64_t size = 0;
    uint64_t count = 0;
    uint8_t root32[32] = {0};
    bool imported = false;
    int status = read_run(store, commit->run_id, &imported, NULL, error);
    if (status == MLP_E_NOT_FOUND)
        status = 0;
    if (status == 0)
        status = last_head(store, commit->run_id, &size, root32, NULL, error);
    if (status == 0)
        status = count_records(store, commit->run_id, &count, error);
    if (status != 0)
        return status;
    *done = size == commit->head.size && count == size && !imported &&
            memcmp(root32, commit->head.root32, 32) == 0;
    if (*done)
        return 0;
    if (imported || size > old_size || count > old_size)
        return mlp_fail(error, MLP_E_BUSY,
                        "cannot commit to run %s: the store %s has %llu records of it where this "
                        "process left %llu: another process went on with it, and nothing of this "
                        "one was written; let one process at a time record a run",
                        commit->run_id, store->path, (unsigned long long)count,
                        (unsigned long long)old_size);
    if (size < old_size || count < old_size || memcmp(root32, commit->old_root32, 32) != 0) {
        if (old_size > 0)
            return mlp_fail(error, MLP_E_CORRUPT,
                            "cannot commit to run %s: %llu records were committed and the store %s "
                            "has %llu, or others: its database was replaced by another copy; put "
                            "the right one back",
                            commit->run_id, (unsigned long long)old_size, store->path,
                            (unsigned long long)count);
    }
    return 0;
}

static int upsert_run(struct mlp_store *store, const struct mlp_run_commit *commit,
                      struct mlp_error *error)
{
    size_t count = commit->records_count;
    if (commit->head.size > count || count == 0)
        return mlp_sqlite_execute(store, error,
                                  "UPDATE runs SET status = coalesce(?2, status),"
                                  " updated = coalesce(?3, updated) WHERE id = ?1",
                                  "ttt", commit->run_id, commit->status,
                                  count > 0 ? commit->records[count - 1].time : NULL);
    return mlp_sqlite_execute(store, error,
                              "INSERT INTO runs(id, name, project, status, created, updated, vkey)"
                              " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                              "ttttttt", commit->run_id, commit->name, commit->project,
                              commit->status != NULL ? commit->status : MLP_RUN_STATUS_NEW,
                              commit->records[0].time, commit->records[count - 1].time,
                              commit->vkey);
}

int mlp_store_run_commit(struct mlp_store *store, const struct mlp_run_commit *commit,
                         struct mlp_error *error)
{
    bool done = false;
    int status = mlp_store_begin(store, error);
    if (status != 0)
        return status;
    status = compare_with_database(store, commit, &done, error);
    if (status == 0 && done) {
        /* Without new records only the status is news. */
        struct mlp_run_commit again = *commit;
        again.records_count = 0;
        status = upsert_run(store, &again, error);
        return mlp_store_end(store, status, error);
    }
    uint64_t seq = commit->head.size - commit->records_count;
    if (status == 0)
        status = upsert_run(store, commit, error);
    for (size_t i = 0; status == 0 && i < commit->records_count; i++)
        status = insert_record(store, commit->run_id, seq + i, &commit->records[i], error);
    if (status == 0)
        status = insert_head(store, commit->run_id, &commit->head, false, error);
    return mlp_store_end(store, status, error);
}

/* ---- imported runs ---- */

/* Returns: 1 (a row of that key is there and its blob is equal), 0 (none), or a status. */
static int compare_blob(struct mlp_store *store, const char *sql, const char *run_id, uint64_t key,
                        const void *bytes, size_t bytes_len, struct mlp_error *error)
{
    sqlite3_stmt *statement;
    int status = mlp_sqlite_prepare(store, &statement, error, sql, "ti", run_id, (int64_t)key);
    if (status == 0)
        status = mlp_sqlite_step(store, statement, error);
    if (status > 0) {
        const void *kept = sqlite3_column_blob(statement, 0);
        size_t kept_len = (size_t)sqlite3_column_bytes(statement, 0);
        if (kept_len != bytes_len || (kept_len > 0 && memcmp(kept, bytes, kept_len) != 0))
            status = mlp_fail(error, MLP_E_MISMATCH,
                              "cannot import run %s: its record or head %llu differs from the one "
                              "that was imported before",
                              run_id, (unsigned long long)key);
    }
    sqlite3_finalize(statement);
    return status;
}

static int import_records(struct mlp_store *store, const struct mlp_run_import *import,
                          struct mlp_error *error)
{
    int status = 0;
    for (size_t i = 0; status == 0 && i < import->records_count; i++) {
        const struct mlp_record *record = &import->records[i];
        status = compare_blob(store, "SELECT bytes FROM records WHERE run = ?1 AND seq = ?2",
                              import->run_id, i, record->bytes, record->bytes_len, error);
        if (status == 0)
            status = insert_record(store, import->run_id, i, record, error);
        status = status > 0 ? 0 : status;
    }
    return status;
}

static int import_heads(struct mlp_store *store, const struct mlp_run_import *import,
                        struct mlp_error *error)
{
    int status = 0;
    for (size_t i = 0; status == 0 && i < import->heads_count; i++) {
        const struct mlp_head *head = &import->heads[i];
        status = compare_blob(store, "SELECT root FROM heads WHERE run = ?1 AND size = ?2",
                              import->run_id, head->size, head->root32, 32, error);
        if (status == 0)
            status = insert_head(store, import->run_id, head, true, error);
        status = status > 0 ? 0 : status;
    }
    return status;
}

static int check_import(struct mlp_store *store, const struct mlp_run_import *import,
                        struct mlp_error *error)
{
    bool imported = false;
    uint64_t count = 0;
    int status = read_run(store, import->run_id, &imported, NULL, error);
    if (status == MLP_E_NOT_FOUND)
        return 0;
    if (status == 0 && !imported)
        status =
            mlp_fail(error, MLP_E_ARGUMENT, "cannot import run %s: the store %s recorded it itself",
                     import->run_id, store->path);
    if (status == 0)
        status = count_records(store, import->run_id, &count, error);
    if (status == 0 && count > import->records_count)
        status =
            mlp_fail(error, MLP_E_ARGUMENT,
                     "cannot import run %s: the store %s has %llu records of it and the bundle "
                     "%zu, so it is an older one; ask for the newest bundle of the run",
                     import->run_id, store->path, (unsigned long long)count, import->records_count);
    return status;
}

int mlp_store_run_import(struct mlp_store *store, const struct mlp_run_import *import,
                         struct mlp_error *error)
{
    if (import->records_count == 0 || !mlp_run_id_valid(import->run_id))
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "cannot import run \"%s\": it has no records, or its id is no lower-case "
                        "UUIDv7",
                        import->run_id);
    int status = mlp_store_begin(store, error);
    if (status != 0)
        return status;
    status = check_import(store, import, error);
    if (status == 0)
        status = mlp_sqlite_execute(
            store, error,
            "INSERT INTO runs(id, name, project, status, created, updated, imported, bundle)"
            " VALUES(?1, ?2, ?3, ?4, ?5, ?6, 1, ?7) ON CONFLICT(id) DO UPDATE SET"
            " status = excluded.status, updated = excluded.updated, bundle = excluded.bundle",
            "ttttttt", import->run_id, import->name, import->project, import->status,
            import->created, import->records[import->records_count - 1].time, import->bundle_path);
    if (status == 0)
        status = import_records(store, import, error);
    if (status == 0)
        status = import_heads(store, import, error);
    return mlp_store_end(store, status, error);
}

#include "store/log_rows.h"

#include "store/store_internal.h"

#include <string.h>

#define TILE_HEIGHT 8 /* tree levels that a tile spans: 2^8 = MLP_LOG_TILE_WIDTH */

int mlp_store_log_size(struct mlp_store *store, uint64_t *size, struct mlp_error *error)
{
    int64_t number = 0;
    int status = mlp_sqlite_number(store, &number, error,
                                   "SELECT coalesce(max(idx) + 1, 0) FROM log_entries", "");
    if (status == 0)
        *size = (uint64_t)number;
    return status;
}

/* ---- hashes ---- */

int mlp_store_log_hashes(struct mlp_store *store, uint8_t *hashes, unsigned level, uint64_t first,
                         size_t count, struct mlp_error *error)
{
    sqlite3_stmt *statement;
    int status = mlp_sqlite_prepare(
        store, &statement, error,
        level == 0
            ? "SELECT idx, leaf_hash FROM log_entries WHERE idx >= ?1 AND idx < ?2 AND ?3 = 0"
              " ORDER BY idx"
            : "SELECT idx, hash FROM log_nodes WHERE idx >= ?1 AND idx < ?2 AND level = ?3"
              " ORDER BY idx",
        "iii", (int64_t)first, (int64_t)(first + count), (int64_t)level);
    if (status != 0)
        return status;
    size_t found = 0;
    while ((status = mlp_sqlite_step(store, statement, error)) > 0) {
        if (found == count || (uint64_t)sqlite3_column_int64(statement, 0) != first + found)
            break;
        status = mlp_sqlite_hash(store, hashes + 32 * found, statement, 1, error);
        if (status != 0)
            break;
        found++;
    }
    sqlite3_finalize(statement);
    if (status >= 0 && found != count)
        status =
            mlp_store_corrupt(store, error, "hash %llu of level %u of the store log is missing",
                              (unsigned long long)(first + found), level);
    return status;
}

static int subtree(void *context, uint8_t hash32[32], unsigned level, uint64_t index,
                   struct mlp_error *error)
{
    uint8_t hashes[MLP_LOG_TILE_WIDTH / 2 * 32];
    unsigned inner = level % TILE_HEIGHT;
    size_t count = (size_t)1 << inner;
    int status =
        mlp_store_log_hashes(context, hashes, level / TILE_HEIGHT, index << inner, count, error);
    return status != 0 ? status : mlp_merkle_root(hash32, hashes, count, error);
}

struct mlp_merkle_source mlp_store_log_source(struct mlp_store *store)
{
    return (struct mlp_merkle_source){.subtree = subtree, .context = store};
}

/* ---- entering heads ---- */

/* Keeps the root of every tile that entry index completed, level by level. */
static int put_full_tiles(struct mlp_store *store, uint64_t index, struct mlp_error *error)
{
    uint8_t hashes[MLP_LOG_TILE_WIDTH * 32];
    uint8_t root32[32];
    int status = 0;
    for (unsigned level = 0; status == 0; level++) {
        if (index % MLP_LOG_TILE_WIDTH != MLP_LOG_TILE_WIDTH - 1)
            return 0;
        index /= MLP_LOG_TILE_WIDTH;
        status = mlp_store_log_hashes(store, hashes, level, index * MLP_LOG_TILE_WIDTH,
                                      MLP_LOG_TILE_WIDTH, error);
        if (status == 0)
            status = mlp_merkle_root(root32, hashes, MLP_LOG_TILE_WIDTH, error);
        if (status == 0)
            status = mlp_sqlite_execute(
                store, error, "INSERT INTO log_nodes(level, idx, hash) VALUES(?1, ?2, ?3)", "iib",
                (int64_t)level + 1, (int64_t)index, root32, sizeof root32);
    }
    return status;
}

/* The three statements of entering, prepared once for any number of heads. */
struct entering {
    sqlite3_stmt *next;
    sqlite3_stmt *insert;
    sqlite3_stmt *mark;
};

static int prepare_entering(struct mlp_store *store, struct entering *entering,
                            struct mlp_error *error)
{
    /* INDEXED BY: only pending heads are looked at, however many there are in all. Entering one
     * takes it out of that index, so the first is always the next. */
    int status = mlp_sqlite_prepare(store, &entering->next, error,
                                    "SELECT id, note FROM heads INDEXED BY heads_pending"
                                    " WHERE log_index IS NULL AND imported = 0"
                                    " ORDER BY id LIMIT 1",
                                    "");
    if (status == 0)
        status = mlp_sqlite_prepare(store, &entering->insert, error,
                                    "INSERT INTO log_entries(idx, leaf_hash, entry)"
                                    " SELECT ?1, ?2, note FROM heads WHERE id = ?3",
                                    "");
    if (status == 0)
        status = mlp_sqlite_prepare(store, &entering->mark, error,
                                    "UPDATE heads SET log_index = ?1 WHERE id = ?2", "");
    return status;
}

static int run_bound(struct mlp_store *store, sqlite3_stmt *statement, int result,
                     struct mlp_error *error)
{
    int status = result == SQLITE_OK ? mlp_sqlite_step(store, statement, error)
                                     : mlp_sqlite_fail(store, result, "write", error);
    (void)sqlite3_reset(statement);
    return status;
}

/* Returns: 1 (a head became entry index), 0 (none is pending), or a status. */
static int enter_one(struct mlp_store *store, const struct entering *entering, uint64_t index,
                     struct mlp_error *error)
{
    uint8_t leaf_hash32[32];
    int status = mlp_sqlite_step(store, entering->next, error);
    if (status <= 0)
        return status;
    int64_t id = sqlite3_column_int64(entering->next, 0);
    const void *note = sqlite3_column_blob(entering->next, 1);
    size_t note_len = (size_t)sqlite3_column_bytes(entering->next, 1);
    status = 0;
    if (note_len == 0 || note_len > MLP_LOG_ENTRY_MAX)
        status = mlp_store_corrupt(store, error, "a head's note is %zu bytes long", note_len);
    if (status == 0)
        status = mlp_merkle_leaf_hash(leaf_hash32, note, note_len, error);
    (void)sqlite3_reset(entering->next);
    if (status != 0)
        return status;
    int result = sqlite3_bind_int64(entering->insert, 1, (int64_t)index);
    if (result == SQLITE_OK)
        result = sqlite3_bind_blob(entering->insert, 2, leaf_hash32, 32, SQLITE_STATIC);
    if (result == SQLITE_OK)
        result = sqlite3_bind_int64(entering->insert, 3, id);
    status = run_bound(store, entering->insert, result, error);
    if (status != 0)
        return status;
    result = sqlite3_bind_int64(entering->mark, 1, (int64_t)index);
    if (result == SQLITE_OK)
        result = sqlite3_bind_int64(entering->mark, 2, id);
    status = run_bound(store, entering->mark, result, error);
    return status != 0 ? status : 1;
}

int mlp_store_log_sequence(struct mlp_store *store, uint64_t *size, struct mlp_error *error)
{
    struct entering entering = {0};
    uint64_t next = 0;
    int status = mlp_store_log_size(store, &next, error);
    if (status == 0)
        status = prepare_entering(store, &entering, error);
    if (status == 0) {
        while ((status = enter_one(store, &entering, next, error)) > 0) {
            status = put_full_tiles(store, next, error);
            if (status != 0)
                break;
            next++;
        }
    }
    sqlite3_finalize(entering.next);
    sqlite3_finalize(entering.insert);
    sqlite3_finalize(entering.mark);
    if (status == 0)
        *size = next;
    return status;
}

/* ---- entries and checkpoints ---- */

static int append_entry(struct mlp_store *store, struct mlp_buffer *bundle, sqlite3_stmt *statement,
                        struct mlp_error *error)
{
    const void *entry = sqlite3_column_blob(statement, 1);
    size_t len = (size_t)sqlite3_column_bytes(statement, 1);
    uint8_t len_be[2];
    if (len > MLP_LOG_ENTRY_MAX)
        return mlp_store_corrupt(store, error, "an entry of the store log is %zu bytes long", len);
    mlp_store_be16(len_be, (uint16_t)len);
    mlp_buffer_append(bundle, len_be, sizeof len_be);
    mlp_buffer_append(bundle, entry, len);
    return 0;
}

int mlp_store_log_bundle(struct mlp_store *store, struct mlp_buffer *bundle, uint64_t first,
                         size_t count, struct mlp_error *error)
{
    sqlite3_stmt *statement;
    int status = mlp_sqlite_prepare(store, &statement, error,
                                    "SELECT idx, entry FROM log_entries"
                                    " WHERE idx >= ?1 AND idx < ?2 ORDER BY idx",
                                    "ii", (int64_t)first, (int64_t)(first + count));
    size_t found = 0;
    while (status == 0 && (status = mlp_sqlite_step(store, statement, error)) > 0) {
        if ((uint64_t)sqlite3_column_int64(statement, 0) != first + found)
            break;
        found++;
        status = append_entry(store, bundle, statement, error);
    }
    sqlite3_finalize(statement);
    if (status >= 0 && found != count)
        status = mlp_store_corrupt(store, error, "entry %llu of the store log is missing",
                                   (unsigned long long)(first + found));
    if (status == 0 && mlp_buffer_status(bundle) != 0)
        status = mlp_fail(error, MLP_E_MEMORY, "cannot read the store log: out of memory");
    return status;
}

int mlp_store_log_checkpoint(struct mlp_store *store, uint64_t *size, uint8_t root32[32],
                             struct mlp_buffer *note, struct mlp_error *error)
{
    sqlite3_stmt *statement;
    int status = mlp_sqlite_prepare(store, &statement, error,
                                    "SELECT size, root, note FROM log_checkpoint"
                                    " ORDER BY size DESC LIMIT 1",
                                    "");
    if (status == 0)
        status = mlp_sqlite_step(store, statement, error);
    if (status > 0) {
        status = mlp_sqlite_hash(store, root32, statement, 1, error);
        if (status == 0) {
            *size = (uint64_t)sqlite3_column_int64(statement, 0);
            status = mlp_sqlite_append(note, statement, 2, error);
        }
    } else if (status == 0) {
        *size = 0;
    }
    sqlite3_finalize(statement);
    return status;
}

int mlp_store_log_checkpoint_put(struct mlp_store *store, uint64_t size, const uint8_t root32[32],
                                 const void *note, size_t note_len, struct mlp_error *error)
{
    return mlp_sqlite_execute(store, error,
                              "INSERT INTO log_checkpoint(size, root, note) VALUES(?1, ?2, ?3)",
                              "ibb", (int64_t)size, root32, (size_t)32, note, note_len);
}

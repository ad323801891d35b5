#include "anchor/tlog.h"

#include "anchor/tiles.h"
#include "base/file.h"
#include "merkle/merkle.h"
#include "sign/checkpoint.h"
#include "sign/key.h"
#include "sign/keystore.h"
#include "sign/note.h"
#include "store/lock.h"
#include "store/log_rows.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_PREFIX      "mlprov/store/"
#define LOG_KEY         "keys/log.pem"
#define LOG_CHECKPOINT  "log/checkpoint"
#define META_VKEY       "log_vkey"
#define CHECKPOINT_SIZE 65536 /* docs/format.md section 1, "Limits": a note */

struct mlp_tlog {
    struct mlp_store *store;
    bool known; /* vkey is there: a log was begun */
    struct mlp_vkey vkey;
    char vkey_text[MLP_VKEY_TEXT_MAX + 1];
    struct mlp_signing_key *key; /* NULL: public half only */
};

/* What a checkpoint of this log says. */
struct log_state {
    uint64_t size; /* 0: there is none */
    uint8_t root32[32];
};

/* ---- the key ---- */

/* Returns: 0 also where no log was begun yet (tlog->known says). */
static int read_vkey(struct mlp_tlog *tlog, struct mlp_error *error)
{
    int status = mlp_store_begin_read(tlog->store, error);
    if (status != 0)
        return status;
    status =
        mlp_store_meta_get(tlog->store, tlog->vkey_text, sizeof tlog->vkey_text, META_VKEY, error);
    if (status == 0) {
        status = mlp_vkey_decode(&tlog->vkey, tlog->vkey_text, strlen(tlog->vkey_text), error);
        if (status == MLP_E_MALFORMED)
            status =
                mlp_fail(error, MLP_E_CORRUPT, "the store %s names a log key that is none: \"%s\"",
                         mlp_store_path(tlog->store), tlog->vkey_text);
        tlog->known = status == 0;
    } else if (status == MLP_E_NOT_FOUND) {
        tlog->vkey_text[0] = '\0';
        status = 0;
    }
    return mlp_store_end(tlog->store, status, error);
}

/* The private half of a log that was begun. A missing file is no error here: the log can still be
 * read. */
static int load_key(struct mlp_tlog *tlog, int directory_fd, struct mlp_error *error)
{
    struct mlp_error detail = {0};
    int status = mlp_keystore_load(&tlog->key, directory_fd, LOG_KEY, tlog->vkey.name,
                                   tlog->vkey.name_len, NULL, 0, &detail);
    if (status == MLP_E_NOT_FOUND)
        return 0;
    if (status != 0) {
        if (error != NULL)
            *error = detail;
        return mlp_store_explain(tlog->store, status, error);
    }
    if (!mlp_vkey_equal(mlp_signing_key_vkey(tlog->key), &tlog->vkey))
        return mlp_fail(error, MLP_E_KEY,
                        "%s/" LOG_KEY " is not the key that this store's log was begun with (%s): "
                        "put the right file back",
                        mlp_store_path(tlog->store), tlog->vkey_text);
    return 0;
}

/* A key file without a log is one whose making was interrupted: it is taken. */
static int find_or_make_key(struct mlp_tlog *tlog, int directory_fd, struct mlp_error *error)
{
    char name[sizeof LOG_PREFIX + MLP_STORE_ID_LEN];
    (void)snprintf(name, sizeof name, LOG_PREFIX "%s", mlp_store_id(tlog->store));
    struct mlp_error detail = {0};
    int status =
        mlp_keystore_load(&tlog->key, directory_fd, LOG_KEY, name, strlen(name), NULL, 0, &detail);
    if (status != MLP_E_NOT_FOUND) {
        if (status != 0 && error != NULL)
            *error = detail;
        return mlp_store_explain(tlog->store, status, error);
    }
    status = mlp_signing_key_generate(&tlog->key, name, strlen(name), error);
    /* Under another name first: whoever is killed while it is written leaves no half key. The lock
     * makes sure that nobody else is at it. */
    mlp_file_unlink_quietly(directory_fd, LOG_KEY ".new");
    if (status == 0)
        status = mlp_keystore_save(directory_fd, LOG_KEY ".new", tlog->key, NULL, 0, error);
    if (status == 0)
        status = mlp_file_rename_durable(directory_fd, LOG_KEY ".new", LOG_KEY, error);
    if (status != 0)
        mlp_file_unlink_quietly(directory_fd, LOG_KEY ".new");
    return mlp_store_explain(tlog->store, status, error);
}

/* The file is durable before the database names it. */
static int keep_vkey(struct mlp_tlog *tlog, struct mlp_error *error)
{
    struct mlp_buffer text;
    mlp_buffer_init(&text);
    int status = mlp_vkey_encode(&text, mlp_signing_key_vkey(tlog->key), error);
    if (status == 0) {
        (void)snprintf(tlog->vkey_text, sizeof tlog->vkey_text, "%.*s", (int)text.len,
                       (char *)text.data);
        status = mlp_store_begin(tlog->store, error);
    }
    mlp_buffer_clear(&text);
    if (status != 0)
        return status;
    status = mlp_store_meta_put(tlog->store, META_VKEY, tlog->vkey_text, error);
    status = mlp_store_end(tlog->store, status, error);
    if (status == 0) {
        tlog->vkey = *mlp_signing_key_vkey(tlog->key);
        tlog->known = true;
    }
    return status;
}

/* One process begins the log; the others find its key. */
static int begin_log(struct mlp_tlog *tlog, int directory_fd, struct mlp_error *error)
{
    int lock = -1;
    int status =
        mlp_lock_acquire(&lock, directory_fd, MLP_LOG_LOCK, mlp_store_patience(tlog->store), error);
    if (status != 0)
        return mlp_store_explain(tlog->store, status, error);
    status = read_vkey(tlog, error);
    if (status == 0 && tlog->known) {
        status = load_key(tlog, directory_fd, error);
    } else if (status == 0) {
        status = find_or_make_key(tlog, directory_fd, error);
        if (status == 0)
            status = keep_vkey(tlog, error);
    }
    mlp_lock_release(&lock);
    return status;
}

int mlp_tlog_open(struct mlp_tlog **tlog, struct mlp_store *store, struct mlp_error *error)
{
    struct mlp_tlog *opened = calloc(1, sizeof *opened);
    int directory = -1;
    if (opened == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot open the store log: out of memory");
    opened->store = store;
    int status = read_vkey(opened, error);
    if (status == 0 && !mlp_store_read_only(store)) {
        status = mlp_store_open_directory(store, &directory, true, error);
        if (status == 0)
            status = opened->known ? load_key(opened, directory, error)
                                   : begin_log(opened, directory, error);
        mlp_file_close(&directory);
    }
    if (status != 0)
        mlp_tlog_free(opened);
    else
        *tlog = opened;
    return status;
}

void mlp_tlog_free(struct mlp_tlog *tlog)
{
    if (tlog == NULL)
        return;
    mlp_signing_key_free(tlog->key);
    free(tlog);
}

const char *mlp_tlog_origin(const struct mlp_tlog *tlog)
{
    return tlog->known ? tlog->vkey.name : "";
}

const char *mlp_tlog_vkey(const struct mlp_tlog *tlog)
{
    return tlog->vkey_text;
}

/* ---- checkpoints ---- */

/* Reads a note as a checkpoint of this log, signed by its key.
 * Returns: 0, or MLP_E_CORRUPT naming `where`. */
static int read_checkpoint(const struct mlp_tlog *tlog, struct log_state *state,
                           const struct mlp_buffer *bytes, const char *where,
                           struct mlp_error *error)
{
    struct mlp_note note;
    struct mlp_checkpoint checkpoint;
    struct mlp_error detail = {0};
    int status = mlp_note_parse(&note, bytes->data, bytes->len, &detail);
    if (status == 0)
        status = mlp_note_verify(NULL, &note, &tlog->vkey, 1, &detail);
    if (status == 0)
        status = mlp_checkpoint_decode(&checkpoint, note.text, note.text_len, &detail);
    if (status == 0 && (checkpoint.origin_len != tlog->vkey.name_len || checkpoint.size == 0 ||
                        memcmp(checkpoint.origin, tlog->vkey.name, tlog->vkey.name_len) != 0))
        status = mlp_fail(&detail, MLP_E_MISMATCH, "it is of another log");
    if (status == MLP_E_CRYPTO || status == MLP_E_MEMORY) {
        if (error != NULL)
            *error = detail;
        return status;
    }
    if (status != 0)
        return mlp_fail(
            error, MLP_E_CORRUPT,
            "%s in the store %s is no checkpoint signed by its log key: %.*s. Nothing was "
            "written, and it stays as evidence; move it aside to publish the log again",
            where, mlp_store_path(tlog->store), (int)mlp_error_what_len(&detail), detail.message);
    state->size = checkpoint.size;
    memcpy(state->root32, checkpoint.root32, 32);
    return 0;
}

static int read_published(const struct mlp_tlog *tlog, struct log_state *state, int directory_fd,
                          struct mlp_error *error)
{
    struct mlp_buffer bytes;
    mlp_buffer_init(&bytes);
    state->size = 0;
    int status = mlp_file_read_path(&bytes, directory_fd, LOG_CHECKPOINT, CHECKPOINT_SIZE, error);
    if (status == 0)
        status = read_checkpoint(tlog, state, &bytes, LOG_CHECKPOINT, error);
    else if (status == MLP_E_NOT_FOUND)
        status = 0;
    else if (status == MLP_E_MALFORMED) /* larger than any note */
        status = mlp_fail(error, MLP_E_CORRUPT, "%s/" LOG_CHECKPOINT " is no checkpoint: too large",
                          mlp_store_path(tlog->store));
    else
        status = mlp_store_explain(tlog->store, status, error);
    mlp_buffer_clear(&bytes);
    return status;
}

/* ---- entering heads: the database ---- */

/* In a transaction: the last signed checkpoint, held against the entries.
 * note: appended. Returns: 0; MLP_E_CORRUPT. */
static int check_signed(const struct mlp_tlog *tlog, struct log_state *state,
                        struct mlp_buffer *note, struct mlp_error *error)
{
    struct mlp_merkle_source source = mlp_store_log_source(tlog->store);
    struct log_state said = {0};
    uint8_t root32[32];
    uint64_t entries = 0;
    int status = mlp_store_log_checkpoint(tlog->store, &state->size, state->root32, note, error);
    if (status == 0)
        status = mlp_store_log_size(tlog->store, &entries, error);
    if (status == 0 && state->size > 0)
        status = read_checkpoint(tlog, &said, note, "the last checkpoint", error);
    if (status == 0 && state->size > 0 && entries == state->size)
        status = mlp_merkle_source_root(root32, state->size, &source, error);
    if (status != 0)
        return status;
    if (entries == state->size &&
        (state->size == 0 ||
         (said.size == state->size && memcmp(said.root32, state->root32, 32) == 0 &&
          memcmp(root32, state->root32, 32) == 0)))
        return 0;
    return mlp_fail(error, MLP_E_CORRUPT,
                    "the store log in %s/store.db has %llu entries that are not those of the last "
                    "checkpoint signed (%llu): the database was changed, and nothing was signed; "
                    "put back the store.db that belongs to this store",
                    mlp_store_path(tlog->store), (unsigned long long)entries,
                    (unsigned long long)state->size);
}

/* In a transaction: what was published must be a beginning of what the database has. */
static int check_published(const struct mlp_tlog *tlog, const struct log_state *published,
                           const struct log_state *last, struct mlp_error *error)
{
    struct mlp_merkle_source source = mlp_store_log_source(tlog->store);
    uint8_t root32[32];
    if (published->size == 0)
        return 0;
    if (published->size > last->size)
        return mlp_fail(
            error, MLP_E_CORRUPT,
            "log/checkpoint in the store %s, signed by its log key, has %llu entries, and "
            "store.db only %llu: an older copy of store.db was put in place. Nothing was "
            "written; put the newer one back, or begin a new store: going on would fork "
            "the log. log/ stays as evidence",
            mlp_store_path(tlog->store), (unsigned long long)published->size,
            (unsigned long long)last->size);
    int status = mlp_merkle_source_root(root32, published->size, &source, error);
    if (status == 0 && memcmp(root32, published->root32, 32) != 0)
        status =
            mlp_fail(error, MLP_E_CORRUPT,
                     "log/checkpoint in the store %s, signed by its log key, and store.db have "
                     "different histories of the first %llu entries: the log was forked, such as "
                     "by two copies of one store. Nothing was written, and log/ stays as evidence; "
                     "put the other copy back, or begin a new store",
                     mlp_store_path(tlog->store), (unsigned long long)published->size);
    return status;
}

/* The grown log begins with the last one signed (RFC 6962 section 2.1.2), proved from its own rows
 * before anything is signed. */
static int check_consistent(const struct mlp_tlog *tlog, const struct log_state *last,
                            const struct log_state *next, struct mlp_error *error)
{
    struct mlp_merkle_source source = mlp_store_log_source(tlog->store);
    uint8_t path[MLP_MERKLE_PATH_MAX * 32];
    size_t count = 0;
    if (last->size == 0)
        return 0;
    int status =
        mlp_merkle_source_consistency(path, &count, last->size, next->size, &source, error);
    if (status == 0)
        status = mlp_merkle_verify_consistency(last->root32, last->size, next->root32, next->size,
                                               path, count, error);
    if (status == MLP_E_MISMATCH || status == MLP_E_MALFORMED)
        status = mlp_fail(
            error, MLP_E_CORRUPT,
            "the store log in %s/store.db does not begin with the %llu entries signed "
            "last: the database was changed, and nothing was signed; put back the store.db "
            "that belongs to this store",
            mlp_store_path(tlog->store), (unsigned long long)last->size);
    return status;
}

static int sign(const struct mlp_tlog *tlog, struct mlp_buffer *note, const struct log_state *state,
                struct mlp_error *error)
{
    const struct mlp_signing_key *key = tlog->key;
    struct mlp_buffer text;
    mlp_buffer_init(&text);
    int status = mlp_checkpoint_encode(&text, tlog->vkey.name, tlog->vkey.name_len, state->size,
                                       state->root32, error);
    if (status == 0) {
        note->len = 0;
        status = mlp_note_sign(note, text.data, text.len, &key, 1, error);
    }
    mlp_buffer_clear(&text);
    return status;
}

/* In a transaction. state: the last signed one before, the newest after; note likewise. */
static int enter_pending(const struct mlp_tlog *tlog, struct log_state *state,
                         struct mlp_buffer *note, struct mlp_error *error)
{
    struct mlp_merkle_source source = mlp_store_log_source(tlog->store);
    struct log_state next = {0};
    int status = mlp_store_log_sequence(tlog->store, &next.size, error);
    if (status != 0 || next.size == state->size)
        return status;
    status = mlp_merkle_source_root(next.root32, next.size, &source, error);
    if (status == 0)
        status = check_consistent(tlog, state, &next, error);
    if (status == 0)
        status = sign(tlog, note, &next, error);
    /* Kept before it is published: SQLite has the last one signed (a crash here publishes it at the
     * next call). */
    if (status == 0)
        status = mlp_store_log_checkpoint_put(tlog->store, next.size, next.root32, note->data,
                                              note->len, error);
    if (status == 0)
        *state = next;
    return status;
}

static int enter_and_sign(const struct mlp_tlog *tlog, struct log_state *state,
                          struct mlp_buffer *note, const struct log_state *published,
                          struct mlp_error *error)
{
    int status = mlp_store_begin(tlog->store, error);
    if (status != 0)
        return status;
    status = check_signed(tlog, state, note, error);
    if (status == 0)
        status = check_published(tlog, published, state, error);
    if (status == 0)
        status = enter_pending(tlog, state, note, error);
    return mlp_store_end(tlog->store, status, error);
}

/* ---- entering heads: the directory ---- */

/* Under the lock. published: what log/checkpoint says; up to there every tile is on the disk, since
 * it is written last. */
static int integrate(const struct mlp_tlog *tlog, uint64_t *size, int directory_fd,
                     struct mlp_error *error)
{
    struct log_state published;
    struct log_state state = {0};
    struct mlp_buffer note;
    mlp_buffer_init(&note);
    int status = read_published(tlog, &published, directory_fd, error);
    if (status == 0)
        status = enter_and_sign(tlog, &state, &note, &published, error);
    if (status == 0)
        status = mlp_tiles_write(tlog->store, directory_fd, published.size, state.size, error);
    if (status == 0 && state.size > published.size)
        status = mlp_store_explain(
            tlog->store, mlp_file_replace(directory_fd, LOG_CHECKPOINT, note.data, note.len, error),
            error);
    mlp_buffer_clear(&note);
    if (status == 0)
        *size = state.size;
    return status;
}

static int take_lock(const struct mlp_tlog *tlog, int *lock, int directory_fd,
                     struct mlp_error *error)
{
    int status = mlp_file_make_private_directory(directory_fd, "log", error);
    if (status == 0)
        status = mlp_lock_acquire(lock, directory_fd, MLP_LOG_LOCK, mlp_store_patience(tlog->store),
                                  error);
    return mlp_store_explain(tlog->store, status, error);
}

int mlp_tlog_integrate(struct mlp_tlog *tlog, uint64_t *size, struct mlp_error *error)
{
    int lock = -1;
    int directory = -1;
    int status = mlp_store_open_directory(tlog->store, &directory, true, error);
    if (status != 0)
        return status;
    if (tlog->key == NULL)
        status = mlp_fail(error, MLP_E_KEY,
                          "cannot sign the store log: its key %s/%s is missing; put it back",
                          mlp_store_path(tlog->store), LOG_KEY);
    if (status == 0)
        status = take_lock(tlog, &lock, directory, error);
    if (status == 0)
        status = integrate(tlog, size, directory, error);
    mlp_lock_release(&lock);
    mlp_file_close(&directory);
    return status;
}

/* ---- reading ---- */

int mlp_tlog_checkpoint(struct mlp_tlog *tlog, struct mlp_buffer *note, struct mlp_error *error)
{
    uint64_t size = 0;
    uint8_t root32[32];
    int status = mlp_store_begin_read(tlog->store, error);
    if (status != 0)
        return status;
    status = mlp_store_log_checkpoint(tlog->store, &size, root32, note, error);
    return mlp_store_end(tlog->store, status, error);
}

int mlp_tlog_proof(struct mlp_tlog *tlog, uint8_t *path, size_t *path_count, uint64_t index,
                   uint64_t size, struct mlp_error *error)
{
    struct mlp_merkle_source source = mlp_store_log_source(tlog->store);
    uint64_t entries = 0;
    int status = mlp_store_begin_read(tlog->store, error);
    if (status != 0)
        return status;
    status = mlp_store_log_size(tlog->store, &entries, error);
    if (status == 0 && (size > entries || index >= size))
        status = mlp_fail(error, MLP_E_RANGE,
                          "the store log has %llu entries: entry %llu of its first %llu is none",
                          (unsigned long long)entries, (unsigned long long)index,
                          (unsigned long long)size);
    if (status == 0)
        status = mlp_merkle_source_inclusion(path, path_count, index, size, &source, error);
    return mlp_store_end(tlog->store, status, error);
}

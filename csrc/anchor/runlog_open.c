#include "anchor/runlog_internal.h"

#include "base/file.h"
#include "sign/checkpoint.h"
#include "sign/keystore.h"
#include "sign/note.h"
#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct mlp_runlog *new_log(struct mlp_store *store, const char *run_id)
{
    struct mlp_runlog *log = calloc(1, sizeof *log);
    if (log == NULL)
        return NULL;
    log->store = store;
    log->pid = getpid();
    (void)snprintf(log->run_id, sizeof log->run_id, "%s", run_id);
    (void)snprintf(log->key_name, sizeof log->key_name, MLP_RUN_PREFIX "%s", run_id);
    (void)snprintf(log->key_path, sizeof log->key_path, "keys/%s.pem", run_id);
    mlp_merkle_frontier_init(&log->now.frontier);
    return log;
}

/* Checks the arguments that name a file and the store's state before anything is made. */
static int begin_log(struct mlp_runlog **log, struct mlp_store *store, const char *run_id,
                     struct mlp_error *error)
{
    if (!mlp_run_id_valid(run_id))
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "\"%s\" is no run id: a lower-case UUIDv7 is one (RFC 9562 section 5.7)",
                        run_id);
    int status = mlp_store_usable(store, true, error);
    if (status != 0)
        return status;
    *log = new_log(store, run_id);
    if (*log == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot begin run %s: out of memory", run_id);
    return mlp_merkle_empty_root((*log)->committed_root32, error);
}

static int keep_vkey_text(struct mlp_runlog *log, struct mlp_error *error)
{
    struct mlp_buffer text;
    mlp_buffer_init(&text);
    int status = mlp_vkey_encode(&text, mlp_signing_key_vkey(log->key), error);
    if (status == 0)
        (void)snprintf(log->vkey, sizeof log->vkey, "%.*s", (int)text.len, (char *)text.data);
    mlp_buffer_clear(&text);
    return status;
}

/* ---- a new run ---- */

static int make_key(struct mlp_runlog *log, struct mlp_error *error)
{
    int directory = -1;
    int status = mlp_signing_key_generate(&log->key, log->key_name, strlen(log->key_name), error);
    if (status == 0)
        status = keep_vkey_text(log, error);
    if (status == 0)
        status = mlp_store_open_directory(log->store, &directory, true, error);
    if (status == 0) {
        status = mlp_keystore_save(directory, log->key_path, log->key, NULL, 0, error);
        log->fresh = status == 0;
        status = mlp_store_explain(log->store, status, error);
    }
    mlp_file_close(&directory);
    return status;
}

static int check_new(struct mlp_store *store, const char *run_id, struct mlp_error *error)
{
    struct mlp_run_facts facts;
    struct mlp_error detail;
    int status = mlp_store_run_facts(&facts, NULL, NULL, store, run_id, &detail);
    if (status == MLP_E_NOT_FOUND)
        return 0;
    if (status == 0)
        return mlp_fail(error, MLP_E_ARGUMENT, "the store %s has a run %s already",
                        mlp_store_path(store), run_id);
    if (error != NULL)
        *error = detail;
    return status;
}

int mlp_runlog_create(struct mlp_runlog **log, struct mlp_store *store, const char *run_id,
                      const char *name, const char *project, struct mlp_error *error)
{
    struct mlp_runlog *made = NULL;
    if (name[0] == '\0')
        return mlp_fail(error, MLP_E_ARGUMENT, "cannot begin run %s: its name is empty", run_id);
    int status = begin_log(&made, store, run_id, error);
    if (made == NULL)
        return status;
    if (status == 0)
        status = check_new(store, run_id, error);
    if (status == 0) {
        made->name = strdup(name);
        made->project = project != NULL ? strdup(project) : NULL;
        if (made->name == NULL || (project != NULL && made->project == NULL))
            status = mlp_fail(error, MLP_E_MEMORY, "cannot begin run %s: out of memory", run_id);
    }
    if (status == 0)
        status = make_key(made, error);
    if (status != 0) {
        mlp_runlog_free(made);
        return status;
    }
    made->committed = made->now;
    *log = made;
    return 0;
}

/* ---- an unfinished run ---- */

static int load_key(struct mlp_runlog *log, const struct mlp_buffer *vkey, struct mlp_error *error)
{
    int directory = -1;
    int status = mlp_store_open_directory(log->store, &directory, false, error);
    if (status != 0)
        return status;
    struct mlp_error detail = {0};
    status = mlp_keystore_load(&log->key, directory, log->key_path, log->key_name,
                               strlen(log->key_name), NULL, 0, &detail);
    mlp_file_close(&directory);
    if (status == MLP_E_NOT_FOUND)
        return mlp_fail(error, MLP_E_KEY, "cannot go on with run %s: its key %s/%s is missing",
                        log->run_id, mlp_store_path(log->store), log->key_path);
    if (status != 0) {
        if (error != NULL)
            *error = detail;
        return mlp_store_explain(log->store, status, error);
    }
    status = keep_vkey_text(log, error);
    if (status == 0 && (vkey->len != strlen(log->vkey) || memcmp(vkey->data, log->vkey, vkey->len)))
        status = mlp_fail(error, MLP_E_KEY,
                          "cannot go on with run %s: %s/%s is not the key that the run began with",
                          log->run_id, mlp_store_path(log->store), log->key_path);
    return status;
}

struct rebuild {
    struct mlp_merkle_frontier *frontier;
    uint64_t size; /* of the last head: what another process may just add is not looked at */
};

static int add_record(void *context, uint64_t seq, const void *bytes, size_t bytes_len,
                      struct mlp_error *error)
{
    struct rebuild *rebuild = context;
    uint8_t hash32[32];
    if (seq >= rebuild->size)
        return 0;
    int status = mlp_merkle_leaf_hash(hash32, bytes, bytes_len, error);
    return status != 0 ? status : mlp_merkle_frontier_append(rebuild->frontier, hash32, error);
}

/* That the last head's note says what the row says, signed by the run key. */
static int check_note(const struct mlp_runlog *log, const struct mlp_run_facts *facts,
                      struct mlp_error *error)
{
    struct mlp_note note;
    struct mlp_checkpoint head;
    int status = mlp_note_parse(&note, log->note.data, log->note.len, error);
    if (status == 0)
        status = mlp_note_verify(NULL, &note, mlp_signing_key_vkey(log->key), 1, error);
    if (status == 0)
        status = mlp_checkpoint_decode(&head, note.text, note.text_len, error);
    if (status == 0 && (head.origin_len != strlen(log->key_name) ||
                        memcmp(head.origin, log->key_name, head.origin_len) != 0 ||
                        head.size != facts->size || memcmp(head.root32, facts->root32, 32) != 0))
        status = MLP_E_MISMATCH;
    return status;
}

static int rebuild_log(struct mlp_runlog *log, const struct mlp_run_facts *facts,
                       struct mlp_error *error)
{
    struct rebuild rebuild = {.frontier = &log->now.frontier, .size = facts->size};
    int status = mlp_store_run_records(log->store, log->run_id, add_record, &rebuild, error);
    if (status == 0)
        status = mlp_merkle_frontier_root(log->committed_root32, &log->now.frontier, error);
    if (status != 0)
        return status;
    status = check_note(log, facts, error);
    if (status != 0 && status != MLP_E_MISMATCH && status != MLP_E_MALFORMED &&
        status != MLP_E_NOT_FOUND)
        return status;
    if (status != 0 || log->now.frontier.size != facts->size ||
        memcmp(log->committed_root32, facts->root32, 32) != 0)
        return mlp_fail(
            error, MLP_E_CORRUPT,
            "cannot go on with run %s: its records in the store %s are not those of its "
            "last signed head (%llu records): the database was "
            "changed; put back the store.db that belongs to this store",
            log->run_id, mlp_store_path(log->store), (unsigned long long)facts->size);
    memcpy(log->now.last_time, facts->last_time, MLP_TIME_SIZE);
    log->committed = log->now;
    return 0;
}

static int check_unfinished(const struct mlp_runlog *log, const struct mlp_run_facts *facts,
                            struct mlp_error *error)
{
    if (facts->imported)
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "cannot go on with run %s: it was imported, and its key is elsewhere",
                        log->run_id);
    if (facts->ended)
        return mlp_fail(error, MLP_E_ARGUMENT, "cannot go on with run %s: it has ended",
                        log->run_id);
    return 0;
}

int mlp_runlog_open(struct mlp_runlog **log, struct mlp_store *store, const char *run_id,
                    struct mlp_error *error)
{
    struct mlp_runlog *opened = NULL;
    struct mlp_run_facts facts;
    struct mlp_buffer vkey;
    mlp_buffer_init(&vkey);
    int status = begin_log(&opened, store, run_id, error);
    if (opened == NULL)
        return status;
    if (status == 0)
        status = mlp_store_run_facts(&facts, &opened->note, &vkey, store, run_id, error);
    if (status == 0)
        status = check_unfinished(opened, &facts, error);
    if (status == 0)
        status = load_key(opened, &vkey, error);
    if (status == 0)
        status = rebuild_log(opened, &facts, error);
    mlp_buffer_clear(&vkey);
    if (status != 0) {
        mlp_runlog_free(opened);
        return status;
    }
    *log = opened;
    return 0;
}

/* ---- the end ---- */

static int delete_key_file(const struct mlp_runlog *log, struct mlp_error *error)
{
    int directory = -1;
    int status = mlp_store_open_directory(log->store, &directory, true, error);
    if (status != 0)
        return status;
    if (unlinkat(directory, log->key_path, 0) != 0 && errno != ENOENT)
        status = mlp_fail_errno(error, errno, "cannot delete %s", log->key_path);
    if (status == 0)
        status = mlp_file_sync_parent(directory, log->key_path, error);
    mlp_file_close(&directory);
    return mlp_store_explain(log->store, status, error);
}

int mlp_runlog_destroy_key(struct mlp_runlog *log, struct mlp_error *error)
{
    struct mlp_run_facts facts;
    int status = mlp_runlog_check_process(log, error);
    if (status == 0)
        status = mlp_store_run_facts(&facts, NULL, NULL, log->store, log->run_id, error);
    if (status == 0 && (!facts.ended || facts.heads_pending > 0))
        status = mlp_fail(
            error, MLP_E_ARGUMENT, "the key of run %s is still needed: %s", log->run_id,
            facts.ended ? "its last head is not in the store log yet" : "the run has not ended");
    if (status == 0)
        status = delete_key_file(log, error);
    if (status == 0) {
        mlp_signing_key_free(log->key);
        log->key = NULL;
    }
    return status;
}

void mlp_runlog_free(struct mlp_runlog *log)
{
    if (log == NULL)
        return;
    if (log->fresh && getpid() == log->pid)
        (void)delete_key_file(log, NULL);
    mlp_runlog_drop_pending(log);
    free(log->pending);
    mlp_signing_key_free(log->key);
    mlp_buffer_clear(&log->note);
    free(log->name);
    free(log->project);
    free(log);
}

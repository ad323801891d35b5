#include "anchor/runlog_internal.h"

#include "sign/checkpoint.h"
#include "sign/note.h"
#include "store/store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int mlp_runlog_check_process(const struct mlp_runlog *log, struct mlp_error *error)
{
    if (getpid() == log->pid)
        return 0;
    return mlp_fail(error, MLP_E_FORKED,
                    "run %s is recorded by process %ld and this is its child %ld: record in the "
                    "parent alone",
                    log->run_id, (long)log->pid, (long)getpid());
}

void mlp_runlog_drop_pending(struct mlp_runlog *log)
{
    for (size_t i = 0; i < log->pending_count; i++)
        free((void *)(uintptr_t)log->pending[i].type); /* one block: bytes, type, time */
    log->pending_count = 0;
}

/* ---- facts ---- */

const char *mlp_runlog_run_id(const struct mlp_runlog *log)
{
    return log->run_id;
}

const char *mlp_runlog_vkey(const struct mlp_runlog *log)
{
    return log->vkey;
}

uint64_t mlp_runlog_size(const struct mlp_runlog *log)
{
    return log->now.frontier.size;
}

const char *mlp_runlog_last_time(const struct mlp_runlog *log)
{
    return log->now.last_time;
}

void mlp_runlog_head(const struct mlp_runlog *log, uint64_t *size, uint8_t root32[32])
{
    *size = log->committed.frontier.size;
    memcpy(root32, log->committed_root32, 32);
}

/* ---- records ---- */

static int check_record(const struct mlp_runlog *log, size_t record_len, const char *time,
                        struct mlp_error *error)
{
    int status = mlp_runlog_check_process(log, error);
    if (status != 0)
        return status;
    if (log->now.ended)
        return mlp_fail(error, MLP_E_CLOSED, "cannot add a record to run %s: it has ended",
                        log->run_id);
    if (record_len > MLP_RECORD_MAX)
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "cannot add a record of %zu bytes to run %s: at most %d are allowed",
                        record_len, log->run_id, MLP_RECORD_MAX);
    /* Fixed width, so that the order of the texts is that of the times. */
    if (!mlp_record_time_valid(time) || strcmp(time, log->now.last_time) <= 0)
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "cannot add a record to run %s: its time \"%s\" is not of the form "
                        "2026-11-21T09:30:00.000Z, or not later than \"%s\" of the record before",
                        log->run_id, time, log->now.last_time);
    return 0;
}

/* One block: type, time, bytes. */
static int copy_record(struct mlp_record *copy, const void *record, size_t record_len,
                       const char *type, const char *time)
{
    size_t type_size = strlen(type) + 1;
    size_t time_size = strlen(time) + 1;
    char *block = malloc(type_size + time_size + record_len);
    if (block == NULL)
        return MLP_E_MEMORY;
    memcpy(block, type, type_size);
    memcpy(block + type_size, time, time_size);
    if (record_len > 0)
        memcpy(block + type_size + time_size, record, record_len);
    *copy = (struct mlp_record){.type = block,
                                .time = block + type_size,
                                .bytes = block + type_size + time_size,
                                .bytes_len = record_len};
    return 0;
}

static int reserve_pending(struct mlp_runlog *log)
{
    if (log->pending_count < log->pending_capacity)
        return 0;
    size_t capacity = log->pending_capacity * 2 + 16;
    struct mlp_record *pending = realloc(log->pending, capacity * sizeof *pending);
    if (pending == NULL)
        return MLP_E_MEMORY;
    log->pending = pending;
    log->pending_capacity = capacity;
    return 0;
}

int mlp_runlog_append(struct mlp_runlog *log, uint64_t seq, const void *record, size_t record_len,
                      const char *type, const char *time, struct mlp_error *error)
{
    uint8_t hash32[32];
    if (seq != log->now.frontier.size)
        return mlp_fail(error, MLP_E_BUSY,
                        "cannot add record %" PRIu64
                        " to run %s: its next record is number %" PRIu64
                        "; another caller added one in between: write the record anew",
                        seq, log->run_id, log->now.frontier.size);
    int status = check_record(log, record_len, time, error);
    if (status == 0)
        status = mlp_merkle_leaf_hash(hash32, record, record_len, error);
    if (status != 0)
        return status;
    if (reserve_pending(log) != 0 ||
        copy_record(&log->pending[log->pending_count], record, record_len, type, time) != 0)
        return mlp_fail(error, MLP_E_MEMORY, "cannot add a record to run %s: out of memory",
                        log->run_id);
    log->pending_count++;
    status = mlp_merkle_frontier_append(&log->now.frontier, hash32, error);
    if (status != 0) {
        free((void *)(uintptr_t)log->pending[--log->pending_count].type);
        return status;
    }
    memcpy(log->now.last_time, time, MLP_TIME_SIZE);
    log->now.ended = strcmp(type, "run.end") == 0;
    return 0;
}

/* ---- committing ---- */

static void adopt(struct mlp_runlog *log, const uint8_t root32[32])
{
    log->committed = log->now;
    memcpy(log->committed_root32, root32, 32);
    mlp_runlog_drop_pending(log);
    log->commit_failed = false;
}

/* A commit can fail after it reached the disk (store.h, mlp_store_end). Returns: whether the
 * database has the pending records under the head that they make. */
static bool pending_are_committed(struct mlp_runlog *log, uint8_t root32[32])
{
    struct mlp_run_facts facts;
    struct mlp_buffer note;
    mlp_buffer_init(&note);
    bool there = mlp_store_run_facts(&facts, &note, NULL, log->store, log->run_id, NULL) == 0 &&
                 mlp_merkle_frontier_root(root32, &log->now.frontier, NULL) == 0 &&
                 !facts.imported && facts.size == log->now.frontier.size &&
                 memcmp(facts.root32, root32, 32) == 0 && mlp_buffer_status(&note) == 0;
    if (there) {
        mlp_buffer_clear(&log->note);
        log->note = note;
    } else {
        mlp_buffer_clear(&note);
    }
    return there;
}

int mlp_runlog_rollback(struct mlp_runlog *log, uint64_t *size, struct mlp_error *error)
{
    uint8_t root32[32];
    int status = mlp_runlog_check_process(log, error);
    if (status != 0)
        return status;
    if (log->pending_count > 0 && log->commit_failed && pending_are_committed(log, root32)) {
        adopt(log, root32);
    } else {
        mlp_runlog_drop_pending(log);
        log->now = log->committed;
    }
    if (size != NULL)
        *size = log->now.frontier.size;
    return 0;
}

/* The head over all records: root and signed note. */
static int sign_head(const struct mlp_runlog *log, uint8_t root32[32], struct mlp_buffer *note,
                     struct mlp_error *error)
{
    struct mlp_buffer text;
    const struct mlp_signing_key *key = log->key;
    mlp_buffer_init(&text);
    int status = mlp_merkle_frontier_root(root32, &log->now.frontier, error);
    if (status == 0)
        status = mlp_checkpoint_encode(&text, log->key_name, strlen(log->key_name),
                                       log->now.frontier.size, root32, error);
    if (status == 0)
        status = mlp_note_sign(note, text.data, text.len, &key, 1, error);
    mlp_buffer_clear(&text);
    return status;
}

static int write_commit(struct mlp_runlog *log, const uint8_t root32[32],
                        const struct mlp_buffer *note, const char *status_text,
                        struct mlp_error *error)
{
    struct mlp_run_commit commit = {
        .run_id = log->run_id,
        .name = log->name,
        .project = log->project,
        .vkey = log->vkey,
        .status = status_text,
        .records = log->pending,
        .records_count = log->pending_count,
        .head = {.size = log->now.frontier.size, .note = note->data, .note_len = note->len},
    };
    memcpy(commit.old_root32, log->committed_root32, 32);
    memcpy(commit.head.root32, root32, 32);
    log->fresh = false;
    return mlp_store_run_commit(log->store, &commit, error);
}

/* Room for the caller's copy is made before anything is written. */
static int make_room(struct mlp_buffer *copy, const struct mlp_buffer *note,
                     struct mlp_error *error)
{
    if (copy != NULL && mlp_buffer_reserve(copy, note->len) != 0)
        return mlp_fail(error, MLP_E_MEMORY, "cannot hand over a head note: out of memory");
    return 0;
}

static int commit_pending(struct mlp_runlog *log, struct mlp_buffer *copy, const char *status_text,
                          struct mlp_error *error)
{
    struct mlp_buffer note;
    uint8_t root32[32];
    if (log->key == NULL)
        return mlp_fail(error, MLP_E_KEY, "cannot sign a head of run %s: its key was deleted",
                        log->run_id);
    mlp_buffer_init(&note);
    int status = sign_head(log, root32, &note, error);
    if (status == 0)
        status = make_room(copy, &note, error);
    if (status == 0) {
        status = write_commit(log, root32, &note, status_text, error);
        log->commit_failed = status != 0;
    }
    if (status != 0) {
        mlp_buffer_clear(&note);
        return status;
    }
    adopt(log, root32);
    mlp_buffer_clear(&log->note);
    log->note = note;
    return 0;
}

int mlp_runlog_commit(struct mlp_runlog *log, struct mlp_buffer *note, const char *status,
                      struct mlp_error *error)
{
    int outcome = mlp_runlog_check_process(log, error);
    if (outcome != 0)
        return outcome;
    if (log->now.frontier.size == 0)
        return mlp_fail(error, MLP_E_ARGUMENT, "cannot commit run %s: it has no record yet",
                        log->run_id);
    if (log->pending_count > 0) {
        outcome = commit_pending(log, note, status, error);
    } else {
        outcome = make_room(note, &log->note, error);
        if (outcome == 0)
            outcome = write_commit(log, log->committed_root32, &log->note, status, error);
    }
    if (outcome == 0 && note != NULL)
        mlp_buffer_append(note, log->note.data, log->note.len);
    return outcome;
}

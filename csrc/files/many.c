/* many.c - many files: each task of the pool reads some, and hashes together what it has read. */
#include "files/digest.h"
#include "hash/pool.h"
#include "hash/read_buffers.h"

#include <stdlib.h>
#include <string.h>

/* Figures: docs/hashing.md, "Bounds". */

/* What a task reads before it hashes stays in the second-level cache; longer files come in pieces of
 * this length. [measured: 64 KiB to 1 MiB alike] */
#define PIECE_LEN ((size_t)256 << 10)

/* Files of a task: enough to fill all lanes with their chunks. [measured: 8 to 32 give 0.94 to 0.96 of the
 * rate, more nothing] */
#define TASK_FILES_MAX 64

/* The more, the more evenly threads end; the fewer, the more files share lanes. [measured: 4 to 32 alike, 2
 * and 64 down to 0.90] */
#define TASKS_PER_THREAD 16

/* Waking a thread takes as long as hashing some files of a few KiB. [measured: two threads take 12 files
 * 1.3 times as fast as one where both processors are idle, 40 files 1.6 times] */
#define FILES_PER_THREAD 8

/* From which length on a file is left to all threads together: where there are few files, as soon as it
 * is worth it [measured: 2 MiB instead gives one to three files of 1 MiB 0.41 to 0.57 of the rate]; among
 * many, when it would hold up the end [64 MiB among 2,000: 0.70 where it is not; 32 MiB instead of 16:
 * 0.92 for one of 16]. SHA-2 cannot be cut: all threads can but read it ahead, 1.1 times as fast, and
 * the other files wait for the end of it. */
#define LARGE_OF_FEW  ((uint64_t)1 << 20)
#define LARGE_OF_MANY ((uint64_t)16 << 20)
#define LARGE_OF_SHA2 ((uint64_t)256 << 20)

struct job {
    struct mlp_file_entry *entries;
    size_t entries_count;
    size_t task_files;
    int algorithm;
    uint64_t large;
    struct mlp_read_buffers buffers;
    struct mlp_files_watch watch;
};

/* The files that one task has read and not yet hashed: their bytes, one after another. */
struct batch {
    struct job *job;
    uint8_t *piece;
    size_t piece_used;
    struct mlp_hash_input inputs[TASK_FILES_MAX];
    struct mlp_file_entry *entries[TASK_FILES_MAX];
    size_t count;
};

/* ---- outcomes ---- */

/* The detail is lost where there is no memory for it. */
static void set_failed(struct mlp_file_entry *entry, const struct mlp_error *error)
{
    entry->outcome = MLP_FILE_FAILED;
    entry->error = malloc(sizeof *error);
    if (entry->error != NULL)
        *entry->error = *error;
}

static void set_hashed(struct job *job, struct mlp_file_entry *entry, const uint8_t *digest,
                       uint64_t len)
{
    memcpy(entry->digest, digest, mlp_algorithm_digest_len(job->algorithm));
    entry->len = len;
    entry->outcome = MLP_FILE_HASHED;
    mlp_files_watch_add(&job->watch, 1, 0);
}

/* ---- small files ---- */

static void hash_batch(struct batch *batch)
{
    uint8_t digests[TASK_FILES_MAX * MLP_HASH_MAX_LEN];
    struct mlp_error error;
    size_t digest_len = mlp_algorithm_digest_len(batch->job->algorithm);
    if (batch->count == 0)
        return;
    int status =
        mlp_hash_many_alone(batch->job->algorithm, digests, batch->inputs, batch->count, &error);
    for (size_t i = 0; i < batch->count; i++) {
        if (status == MLP_OK)
            set_hashed(batch->job, batch->entries[i], digests + i * digest_len,
                       batch->inputs[i].len);
        else
            set_failed(batch->entries[i], &error);
    }
    batch->count = 0;
    batch->piece_used = 0;
}

/* Reads a file whose length is known and fits in a piece, to be hashed with others. */
static int add_to_batch(struct batch *batch, struct mlp_file_entry *entry,
                        const struct mlp_reader *reader, struct mlp_error *error)
{
    size_t len = (size_t)mlp_reader_len(reader);
    if (batch->piece_used + len > PIECE_LEN || batch->count == TASK_FILES_MAX)
        hash_batch(batch);
    uint8_t *bytes = batch->piece + batch->piece_used;
    int status = mlp_reader_at(reader, 0, bytes, len, error);
    if (status == MLP_OK)
        status = mlp_reader_check(reader, error);
    if (status != MLP_OK)
        return status;
    batch->inputs[batch->count] = (struct mlp_hash_input){.data = bytes, .len = len};
    batch->entries[batch->count++] = entry;
    batch->piece_used += len;
    mlp_files_watch_add(&batch->job->watch, 0, len);
    return MLP_OK;
}

/* ---- longer ones, and those that do not say how long they are ---- */

/* Of a file that does not say how long it is. It will be read from the start. */
static int find_empty(bool *is_empty, struct mlp_reader *reader, struct mlp_error *error)
{
    uint8_t byte;
    size_t got = 0;
    int status = mlp_reader_next(reader, &got, &byte, 1, NULL, error);
    *is_empty = got == 0;
    reader->at = 0;
    return status;
}

static int hash_pieces(struct batch *batch, struct mlp_hasher *hasher, struct mlp_reader *reader,
                       struct mlp_error *error)
{
    const struct mlp_reader_ask ask = mlp_files_watch_ask(&batch->job->watch);
    for (;;) {
        size_t got = 0;
        int status = mlp_files_watch_check(&batch->job->watch);
        if (status == MLP_OK)
            status = mlp_reader_next(reader, &got, batch->piece, PIECE_LEN, &ask, error);
        if (status != MLP_OK || got == 0)
            return status;
        status = mlp_hasher_update_by(hasher, batch->piece, got, 1, error);
        if (status != MLP_OK)
            return status;
        mlp_files_watch_add(&batch->job->watch, 0, got);
    }
}

static int hash_by_pieces(struct batch *batch, struct mlp_file_entry *entry,
                          struct mlp_reader *reader, struct mlp_error *error)
{
    uint8_t digest[MLP_HASH_MAX_LEN];
    struct mlp_hasher *hasher = NULL;
    hash_batch(batch); /* its bytes lie where these go */
    int status = mlp_hasher_new(&hasher, batch->job->algorithm, NULL, error);
    if (status == MLP_OK)
        status = hash_pieces(batch, hasher, reader, error);
    if (status == MLP_OK)
        status = mlp_reader_check(reader, error);
    if (status == MLP_OK)
        status = mlp_hasher_digest(hasher, digest, error);
    if (status == MLP_OK)
        set_hashed(batch->job, entry, digest, reader->at);
    mlp_hasher_free(hasher);
    return status;
}

/* ---- tasks ---- */

static int hash_opened(struct batch *batch, struct mlp_file_entry *entry, struct mlp_reader *reader,
                       struct mlp_error *error)
{
    uint64_t len = reader->facts.len;
    bool fits = len <= PIECE_LEN;
    int status = reader->has_len ? MLP_OK : find_empty(&fits, reader, error);
    if (status != MLP_OK)
        return status;
    if (fits)
        return add_to_batch(batch, entry, reader, error);
    if (len < batch->job->large)
        return hash_by_pieces(batch, entry, reader, error);
    entry->outcome = MLP_FILE_LARGE;
    return MLP_OK;
}

static void hash_file(struct batch *batch, struct mlp_file_entry *entry)
{
    struct mlp_error error = {0};
    struct mlp_reader reader = {.fd = -1};
    const struct mlp_reader_ask ask = mlp_files_watch_ask(&batch->job->watch);
    int status = mlp_reader_open(&reader, entry->path, true, &ask, &error);
    if (status == MLP_OK)
        status = hash_opened(batch, entry, &reader, &error);
    mlp_reader_close(&reader);
    if (status != MLP_OK)
        set_failed(entry, &error);
}

static void run_task(void *context, size_t index)
{
    struct job *job = context;
    size_t end = (index + 1) * job->task_files;
    struct batch batch = {.job = job, .piece = mlp_read_buffers_take(&job->buffers)};
    for (size_t i = index * job->task_files; i < end && i < job->entries_count; i++) {
        if (mlp_files_watch_check(&job->watch) != 0)
            break;
        hash_file(&batch, &job->entries[i]);
    }
    hash_batch(&batch);
    mlp_read_buffers_give(&job->buffers, batch.piece);
}

/* ---- the face ---- */

static size_t within(size_t value, size_t least, size_t most)
{
    return value < least ? least : value > most ? most : value;
}

static uint64_t large_of(int algorithm, size_t entries_count, size_t threads)
{
    if (algorithm != MLP_BLAKE3)
        return LARGE_OF_SHA2;
    return entries_count < threads * TASKS_PER_THREAD ? LARGE_OF_FEW : LARGE_OF_MANY;
}

int mlp_file_digest_many(struct mlp_file_entry *entries, size_t entries_count, int algorithm,
                         size_t threads, const struct mlp_files_look *look, struct mlp_error *error)
{
    if (mlp_algorithm_digest_len(algorithm) == 0)
        return mlp_fail(error, MLP_E_ARGUMENT, "unknown digest algorithm %d", algorithm);
    if (threads == 0)
        threads = mlp_pool_threads();
    size_t worth = within(entries_count / FILES_PER_THREAD, 1, threads);
    struct job job = {.entries = entries,
                      .entries_count = entries_count,
                      .task_files =
                          within(entries_count / (worth * TASKS_PER_THREAD), 1, TASK_FILES_MAX),
                      .algorithm = algorithm,
                      .large = large_of(algorithm, entries_count, threads)};
    int status = mlp_read_buffers_new(&job.buffers, PIECE_LEN, worth, error);
    if (status != MLP_OK)
        return status;
    mlp_files_watch_init(&job.watch, look);
    mlp_pool_run(run_task, &job, (entries_count + job.task_files - 1) / job.task_files,
                 job.buffers.count);
    mlp_read_buffers_free(&job.buffers);
    return mlp_files_watch_check(&job.watch);
}

void mlp_file_entries_clear(struct mlp_file_entry *entries, size_t entries_count)
{
    for (size_t i = 0; i < entries_count; i++) {
        free(entries[i].error);
        entries[i].error = NULL;
    }
}

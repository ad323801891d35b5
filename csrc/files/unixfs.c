#include "files/unixfs.h"

#include "base/first_failure.h"
#include "hash/hash.h"
#include "hash/pool.h"
#include "hash/read_buffers.h"
#include "hash/task_size.h"

#include <stdlib.h>
#include <string.h>

/* Leaves wait in batches, of at most so many tasks and chunks, to be put into the tree in order. */
#define BATCH_TASKS  256
#define BATCH_CHUNKS 16384

struct cutting {
    const struct mlp_reader *reader;
    const struct mlp_unixfs *unixfs;
    uint64_t chunks_count;
    size_t task_chunks;
    uint64_t batch_start; /* its first chunk */
    size_t batch_count;
    uint8_t *digests; /* of the batch's blocks */
    struct mlp_read_buffers buffers;
    struct mlp_first_failure failure;
    struct mlp_files_watch watch;
};

/* ---- one leaf ---- */

static size_t chunk_len(const struct cutting *cutting, uint64_t index)
{
    uint64_t left = mlp_reader_len(cutting->reader) - index * cutting->unixfs->chunk_len;
    return left < cutting->unixfs->chunk_len ? (size_t)left : cutting->unixfs->chunk_len;
}

/* Reads a chunk, and writes around it what makes it a block.
 * Out:     block: lies in buffer. */
static int read_leaf(const struct cutting *cutting, uint64_t index, uint8_t *buffer,
                     const uint8_t **block, size_t *block_len, struct mlp_error *error)
{
    struct mlp_unixfs_wrapping wrapping = {0};
    size_t len = chunk_len(cutting, index);
    if (!cutting->unixfs->raw_leaves)
        mlp_unixfs_wrap(&wrapping, len);
    uint8_t *chunk = buffer + wrapping.head_len;
    int status =
        mlp_reader_at(cutting->reader, index * cutting->unixfs->chunk_len, chunk, len, error);
    if (status != 0)
        return status;
    memcpy(buffer, wrapping.head, wrapping.head_len);
    memcpy(chunk + len, wrapping.tail, wrapping.tail_len);
    *block = buffer;
    *block_len = wrapping.head_len + len + wrapping.tail_len;
    return 0;
}

static struct mlp_unixfs_link link_to(const struct cutting *cutting, uint64_t index,
                                      const uint8_t digest32[32])
{
    struct mlp_unixfs_wrapping wrapping = {0};
    bool raw = cutting->unixfs->raw_leaves;
    struct mlp_unixfs_link link = {.file_len = chunk_len(cutting, index)};
    if (!raw)
        mlp_unixfs_wrap(&wrapping, (size_t)link.file_len);
    link.blocks_len = wrapping.head_len + link.file_len + wrapping.tail_len;
    mlp_cid_of_digest(link.cid36, raw ? MLP_CID_RAW : MLP_CID_DAG_PB, digest32);
    return link;
}

/* ---- many at once ---- */

static void hash_task(void *context, size_t index)
{
    struct cutting *cutting = context;
    struct mlp_error error = {0};
    size_t at = index * cutting->task_chunks, end = at + cutting->task_chunks;
    uint8_t *buffer = mlp_read_buffers_take(&cutting->buffers);
    int status = mlp_files_watch_check(&cutting->watch) != 0
                     ? 0
                     : mlp_first_failure_status(&cutting->failure);
    for (; status == 0 && at < end && at < cutting->batch_count; at++) {
        const uint8_t *block = NULL;
        size_t block_len = 0;
        status = read_leaf(cutting, cutting->batch_start + at, buffer, &block, &block_len, &error);
        if (status == 0)
            status = mlp_hash(MLP_SHA256, cutting->digests + 32 * at, block, block_len, &error);
        mlp_files_watch_add(&cutting->watch, 0, status == 0 ? block_len : 0);
    }
    mlp_first_failure_note(&cutting->failure, status, &error);
    mlp_read_buffers_give(&cutting->buffers, buffer);
}

static int hash_batch(struct cutting *cutting, struct mlp_unixfs_tree *tree,
                      struct mlp_error *error)
{
    mlp_pool_run(hash_task, cutting,
                 (cutting->batch_count + cutting->task_chunks - 1) / cutting->task_chunks,
                 cutting->buffers.count);
    int status = mlp_files_watch_check(&cutting->watch);
    if (status == 0)
        status = mlp_first_failure_take(&cutting->failure, error);
    for (size_t i = 0; status == 0 && i < cutting->batch_count; i++) {
        struct mlp_unixfs_link leaf =
            link_to(cutting, cutting->batch_start + i, cutting->digests + 32 * i);
        status = mlp_unixfs_tree_add(tree, &leaf, error);
    }
    return status;
}

static int hash_all(struct cutting *cutting, struct mlp_unixfs_tree *tree, struct mlp_error *error)
{
    size_t most = cutting->task_chunks * BATCH_TASKS;
    most = most < BATCH_CHUNKS ? most : BATCH_CHUNKS;
    int status = 0;
    cutting->digests = malloc(most * 32);
    if (cutting->digests == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot compute the CID of a file: out of memory");
    for (; status == 0 && cutting->batch_start < cutting->chunks_count;
         cutting->batch_start += most) {
        uint64_t left = cutting->chunks_count - cutting->batch_start;
        cutting->batch_count = left < most ? (size_t)left : most;
        status = hash_batch(cutting, tree, error);
    }
    free(cutting->digests);
    return status;
}

/* ---- one after another ---- */

static int give_all(struct cutting *cutting, struct mlp_unixfs_tree *tree,
                    const struct mlp_unixfs_sink *sink, struct mlp_error *error)
{
    uint8_t *buffer = mlp_read_buffers_take(&cutting->buffers);
    int status = 0;
    for (uint64_t i = 0; status == 0 && i < cutting->chunks_count; i++) {
        uint8_t digest32[32];
        const uint8_t *block = NULL;
        size_t block_len = 0;
        struct mlp_unixfs_link leaf = {0};
        status = read_leaf(cutting, i, buffer, &block, &block_len, error);
        if (status == 0)
            status = mlp_hash(MLP_SHA256, digest32, block, block_len, error);
        if (status == 0) {
            leaf = link_to(cutting, i, digest32);
            status = sink->put(sink->context, leaf.cid36, block, block_len, error);
        }
        if (status == 0)
            status = mlp_unixfs_tree_add(tree, &leaf, error);
        mlp_files_watch_add(&cutting->watch, 0, block_len);
        if (status == 0)
            status = mlp_files_watch_check(&cutting->watch);
    }
    mlp_read_buffers_give(&cutting->buffers, buffer);
    return status;
}

/* ---- the face ---- */

static int cut_opened(struct cutting *cutting, struct mlp_unixfs_link *root,
                      const struct mlp_unixfs_sink *sink, size_t threads, struct mlp_error *error)
{
    struct mlp_unixfs_tree *tree = NULL;
    size_t chunk = cutting->unixfs->chunk_len;
    uint64_t len = mlp_reader_len(cutting->reader);
    size_t room = (chunk + MLP_UNIXFS_HEAD_MAX + MLP_UNIXFS_TAIL_MAX + MLP_READ_BUFFER_ALIGN - 1) /
                  MLP_READ_BUFFER_ALIGN * MLP_READ_BUFFER_ALIGN;
    cutting->chunks_count = len > 0 ? (len - 1) / chunk + 1 : 1;
    cutting->task_chunks = chunk < MLP_TASK_MAX ? MLP_TASK_MAX / chunk : 1;
    size_t worth =
        sink != NULL ? 1 : mlp_task_threads(len < SIZE_MAX ? (size_t)len : SIZE_MAX, threads);
    int status = mlp_read_buffers_new(&cutting->buffers, room, worth, error);
    if (status != 0)
        return status;
    mlp_reader_expect_sequence(cutting->reader);
    status = mlp_unixfs_tree_new(&tree, cutting->unixfs, sink, error);
    if (status == 0)
        status =
            sink != NULL ? give_all(cutting, tree, sink, error) : hash_all(cutting, tree, error);
    if (status == 0)
        status = mlp_unixfs_tree_finish(tree, root, error);
    mlp_unixfs_tree_free(tree);
    mlp_read_buffers_free(&cutting->buffers);
    return status;
}

/* An empty file does not say how long it is, either; what else does not (/proc) cannot be cut. */
static int check_length(struct mlp_reader *reader, struct mlp_error *error)
{
    uint8_t byte;
    size_t got = 0;
    int status = reader->has_len ? 0 : mlp_reader_next(reader, &got, &byte, 1, NULL, error);
    if (status != 0 || got == 0)
        return status;
    return mlp_fail(error, MLP_E_CONFIG,
                    "cannot compute the CID of %s: it does not say how long it is (a file of the "
                    "system's, or one that is all holes); copy it first",
                    reader->path);
}

static int cut(struct mlp_unixfs_link *root, const char *path, const struct mlp_unixfs *unixfs,
               const struct mlp_unixfs_sink *sink, size_t threads,
               const struct mlp_files_look *look, struct mlp_error *error)
{
    struct mlp_reader reader = {.fd = -1};
    struct mlp_unixfs_link made = {0};
    struct cutting cutting = {.reader = &reader, .unixfs = unixfs};
    int status = mlp_unixfs_check(unixfs, error);
    if (status != 0)
        return status;
    mlp_first_failure_init(&cutting.failure);
    mlp_files_watch_init(&cutting.watch, look);
    const struct mlp_reader_ask ask = mlp_files_watch_ask(&cutting.watch);
    status = mlp_reader_open(&reader, path, true, &ask, error);
    if (status != 0)
        return status;
    status = check_length(&reader, error);
    if (status == 0)
        status = cut_opened(&cutting, &made, sink, threads, error);
    if (status == 0)
        status = mlp_reader_check(&reader, error);
    if (status == 0)
        *root = made;
    mlp_reader_close(&reader);
    return status;
}

int mlp_file_cid(struct mlp_unixfs_link *root, const char *path, const struct mlp_unixfs *unixfs,
                 size_t threads, const struct mlp_files_look *look, struct mlp_error *error)
{
    return cut(root, path, unixfs, NULL, threads, look, error);
}

int mlp_file_blocks(struct mlp_unixfs_link *root, const char *path, const struct mlp_unixfs *unixfs,
                    const struct mlp_unixfs_sink *sink, const struct mlp_files_look *look,
                    struct mlp_error *error)
{
    return cut(root, path, unixfs, sink, 1, look, error);
}

#include "store/stream.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/process.h"
#include "codec/base64.h"
#include "merkle/merkle.h"
#include "store/leaves.h"
#include "store/lock.h"
#include "store/runs.h"
#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WRITE_AT 65536 /* bytes gathered before they are written */

struct mlp_stream {
    int directory_fd; /* -1 once closed */
    int fd;
    pid_t pid;
    char path[6 + MLP_RUN_ID_LEN + 1 + MLP_STREAM_NAME_MAX + 5 + 1];
    uint64_t size;                       /* leaves */
    struct mlp_merkle_frontier frontier; /* over those that were hashed */
    struct mlp_buffer buffer;            /* appended and not yet written */
    size_t hashed_len;                   /* of buffer: leaves that are in the frontier */
    uint64_t written_len; /* of the file: whole leaves; what stands after it is written over */
    int64_t synced_ms;    /* when everything was last on the disk */
    bool unsynced;
    bool broken; /* an fsync failed: nobody knows what the disk has */
};

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int mlp_stream_check(const struct mlp_stream *stream, struct mlp_error *error)
{
    if (mlp_process_id() != stream->pid)
        return mlp_fail(error, MLP_E_FORKED,
                        "%s was opened by process %ld and this is its child; record in the parent "
                        "alone",
                        stream->path, (long)stream->pid);
    if (stream->fd < 0)
        return mlp_fail(error, MLP_E_CLOSED, "%s is closed", stream->path);
    if (stream->broken)
        return mlp_fail(error, MLP_E_IO,
                        "%s cannot be used any more: an fsync failed, and what is on the disk is "
                        "unknown; abandon it",
                        stream->path);
    return 0;
}

/* ---- opening ---- */

static bool name_valid(const char *name)
{
    size_t len = strlen(name);
    return len >= 1 && len <= MLP_STREAM_NAME_MAX && name[0] != '.' &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

/* The leaves that an earlier process left; what is torn is cut. */
static int recover(struct mlp_stream *stream, struct mlp_error *error)
{
    struct mlp_buffer bytes;
    struct mlp_leaves leaves = {0};
    uint64_t count = 0;
    uint8_t hash32[32];
    mlp_buffer_init(&bytes);
    int status = mlp_file_read_capped(&bytes, stream->fd, MLP_LEAVES_FILE_MAX, stream->path, error);
    size_t whole_len = status == 0 ? mlp_leaves_whole_len(&count, bytes.data, bytes.len) : 0;
    if (status == 0)
        status = mlp_leaves_decode(&leaves, bytes.data, whole_len, error);
    for (size_t i = 0; status == 0 && i < leaves.count; i++) {
        status = mlp_merkle_leaf_hash(hash32, leaves.leaf[i].bytes, leaves.leaf[i].len, error);
        if (status == 0)
            status = mlp_merkle_frontier_append(&stream->frontier, hash32, error);
    }
    if (status == 0 && bytes.len > whole_len && ftruncate(stream->fd, (off_t)whole_len) != 0)
        status = mlp_fail_errno(error, errno, "cannot cut the torn end of %s", stream->path);
    stream->size = stream->frontier.size;
    stream->written_len = whole_len;
    stream->unsynced = bytes.len > 0;
    mlp_leaves_clear(&leaves);
    mlp_buffer_clear(&bytes);
    return status;
}

static int open_flags(struct mlp_stream *stream, int flags)
{
    do {
        stream->fd = openat(stream->directory_fd, stream->path,
                            O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | flags, 0600);
    } while (stream->fd < 0 && errno == EINTR);
    return stream->fd;
}

static int open_file(struct mlp_stream *stream, struct mlp_error *error)
{
    bool made = open_flags(stream, O_CREAT | O_EXCL) >= 0;
    if (!made && (errno != EEXIST || open_flags(stream, 0) < 0))
        return mlp_fail_errno(error, errno, "cannot open %s", stream->path);
    int status = mlp_lock_descriptor(stream->fd, stream->path, 0, error);
    if (status != 0)
        return status;
    status = mlp_file_sync_parent(stream->directory_fd, stream->path, error);
    if (status == 0)
        status = recover(stream, error);
    if (status != 0 && made)
        mlp_file_unlink_quietly(stream->directory_fd, stream->path);
    return status;
}

int mlp_stream_open(struct mlp_stream **stream, struct mlp_store *store, const char *run_id,
                    const char *name, struct mlp_error *error)
{
    if (!mlp_run_id_valid(run_id) || !name_valid(name))
        return mlp_fail(
            error, MLP_E_ARGUMENT,
            "cannot open stream \"%s\" of run \"%s\": a run id is a lower-case UUIDv7, a "
            "stream's name 1 to %d of A-Z a-z 0-9 . _ -, not beginning with a dot",
            name, run_id, MLP_STREAM_NAME_MAX);
    struct mlp_stream *opened = calloc(1, sizeof *opened);
    if (opened == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot open stream %s: out of memory", name);
    opened->directory_fd = -1;
    opened->fd = -1;
    opened->pid = mlp_process_id();
    opened->synced_ms = now_ms();
    mlp_merkle_frontier_init(&opened->frontier);
    (void)snprintf(opened->path, sizeof opened->path, "trees/%s-%s.open", run_id, name);
    int status = mlp_store_open_directory(store, &opened->directory_fd, true, error);
    if (status == 0)
        status = mlp_store_explain(store, open_file(opened, error), error);
    if (status != 0) {
        mlp_file_close(&opened->fd);
        mlp_stream_free(opened);
        return status;
    }
    *stream = opened;
    return 0;
}

/* ---- writing ---- */

/* Many together, before they are written: one at a time, between two steps of a training, each would
 * find the hash gone from the processor's caches [measured: 5 us instead of half a one]. */
static int hash_buffered(struct mlp_stream *stream, struct mlp_error *error)
{
    int status = 0;
    while (status == 0 && stream->hashed_len < stream->buffer.len) {
        const uint8_t *frame = stream->buffer.data + stream->hashed_len;
        size_t leaf_len = mlp_load_be32(frame);
        uint8_t hash32[32];
        status = mlp_merkle_leaf_hash(hash32, frame + 4, leaf_len, error);
        if (status == 0)
            status = mlp_merkle_frontier_append(&stream->frontier, hash32, error);
        if (status == 0)
            stream->hashed_len += leaf_len + MLP_LEAF_FRAME_LEN;
    }
    return status;
}

/* Always from written_len on, so that a write that failed half-way is simply made again. */
static int write_buffer(struct mlp_stream *stream, struct mlp_error *error)
{
    if (stream->buffer.len == 0)
        return 0;
    int status = hash_buffered(stream, error);
    if (status != 0)
        return status;
    if (lseek(stream->fd, (off_t)stream->written_len, SEEK_SET) < 0)
        return mlp_fail_errno(error, errno, "cannot write %s", stream->path);
    status = mlp_file_write_all(stream->fd, stream->buffer.data, stream->buffer.len, stream->path,
                                error);
    if (status != 0)
        return status;
    stream->written_len += stream->buffer.len;
    stream->buffer.len = 0;
    stream->hashed_len = 0;
    stream->unsynced = true;
    return 0;
}

static int sync_all(struct mlp_stream *stream, struct mlp_error *error)
{
    int status = write_buffer(stream, error);
    if (status == 0 && stream->unsynced) {
        status = mlp_file_sync(stream->fd, stream->path, error);
        stream->broken = status != 0; /* Linux forgets the pages that it could not write */
    }
    if (status == 0) {
        stream->unsynced = false;
        stream->synced_ms = now_ms();
    }
    return status;
}

/* Before the new leaf, so that a failure leaves the stream without it. */
static int make_way(struct mlp_stream *stream, struct mlp_error *error)
{
    bool waiting = stream->unsynced || stream->buffer.len > 0;
    if (waiting && now_ms() - stream->synced_ms >= MLP_STREAM_SYNC_MS)
        return sync_all(stream, error);
    if (!waiting)
        stream->synced_ms = now_ms(); /* everything is on the disk: the clock starts now */
    return stream->buffer.len >= WRITE_AT ? write_buffer(stream, error) : 0;
}

int mlp_stream_append(struct mlp_stream *stream, uint64_t *index, const void *leaf, size_t leaf_len,
                      struct mlp_error *error)
{
    int status = mlp_stream_check(stream, error);
    if (status == 0)
        status = make_way(stream, error);
    if (status == 0) {
        status = mlp_leaves_encode(&stream->buffer, leaf, leaf_len, error);
        stream->buffer.failed = 0; /* it is as it was: memory may come back */
    }
    if (status != 0)
        return status;
    if (index != NULL)
        *index = stream->size;
    stream->size++;
    return 0;
}

int mlp_stream_sync(struct mlp_stream *stream, struct mlp_error *error)
{
    int status = mlp_stream_check(stream, error);
    return status == 0 ? sync_all(stream, error) : status;
}

uint64_t mlp_stream_size(const struct mlp_stream *stream)
{
    return stream->size;
}

int mlp_stream_root(struct mlp_stream *stream, uint8_t root32[32], struct mlp_error *error)
{
    int status = hash_buffered(stream, error);
    return status == 0 ? mlp_merkle_frontier_root(root32, &stream->frontier, error) : status;
}

/* ---- closing ---- */

static void release(struct mlp_stream *stream)
{
    mlp_lock_release(&stream->fd);
    mlp_file_close(&stream->directory_fd);
    mlp_buffer_clear(&stream->buffer);
}

/* Also where an earlier try renamed the file and could not sync the directory. */
static int rename_to_root(const struct mlp_stream *stream, const char *name,
                          struct mlp_error *error)
{
    struct stat own;
    struct stat named;
    if (fstat(stream->fd, &own) == 0 &&
        fstatat(stream->directory_fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
        own.st_ino == named.st_ino && own.st_dev == named.st_dev)
        return mlp_file_sync_parent(stream->directory_fd, name, error);
    return mlp_file_rename_durable(stream->directory_fd, stream->path, name, error);
}

/* A write that failed may have left bytes behind the whole leaves. */
static int cut_rest(struct mlp_stream *stream, struct mlp_error *error)
{
    if (ftruncate(stream->fd, (off_t)stream->written_len) != 0)
        return mlp_fail_errno(error, errno, "cannot cut the end of %s", stream->path);
    return 0;
}

int mlp_stream_close(struct mlp_stream *stream, uint8_t root32[32], struct mlp_error *error)
{
    char name[6 + 64 + 7 + 1] = "trees/";
    uint8_t root[32];
    int status = mlp_stream_check(stream, error);
    if (status == 0)
        status = mlp_stream_root(stream, root, error);
    if (status == 0)
        status = write_buffer(stream, error);
    if (status == 0)
        status = cut_rest(stream, error);
    if (status == 0) {
        stream->unsynced = true; /* the cut, too */
        status = sync_all(stream, error);
    }
    if (status != 0)
        return status;
    mlp_hex_encode(name + 6, root, 32);
    memcpy(name + 70, ".leaves", 8);
    status = rename_to_root(stream, name, error);
    if (status != 0)
        return status;
    release(stream);
    memcpy(root32, root, 32);
    return 0;
}

void mlp_stream_abandon(struct mlp_stream *stream)
{
    if (mlp_process_id() != stream->pid || stream->fd < 0)
        return;
    mlp_file_unlink_quietly(stream->directory_fd, stream->path);
    release(stream);
}

void mlp_stream_free(struct mlp_stream *stream)
{
    if (stream == NULL)
        return;
    if (mlp_process_id() == stream->pid) {
        if (stream->fd >= 0 && !stream->broken)
            (void)sync_all(stream, NULL);
        release(stream);
    }
    /* In a child: unlocking would unlock the parent's file, closing only ends the child's share. */
    mlp_file_close(&stream->fd);
    mlp_file_close(&stream->directory_fd);
    mlp_buffer_clear(&stream->buffer);
    free(stream);
}

/* stream.h - an open stream: a leaves file that is still being written.
 *
 * trees/<run id>-<stream>.open while open; on closing it gets its root's name (docs/format.md
 * section 11). Leaves are buffered, written as they come, and fsynced at least every
 * MLP_STREAM_SYNC_MS while leaves arrive (looked at when one is appended: no thread). They are
 * hashed before they are written, in O(log n) memory.
 *
 * Threads: one thread at a time.
 * Processes: one has it open (a lock on the file; a forked child that lives on after its parent was
 * killed keeps it until it ends).
 * Fork: in a child every call answers MLP_E_FORKED and touches no file.
 * Errors besides those named: MLP_E_CLOSED, MLP_E_FORKED, MLP_E_IO, MLP_E_FULL, MLP_E_READONLY,
 * MLP_E_NOT_FOUND (directory gone), MLP_E_MEMORY. A failed write may be tried again; after a failed
 * fsync nobody knows what is on the disk, and every later call but abandon answers MLP_E_IO.
 */
#ifndef MLP_STORE_STREAM_H
#define MLP_STORE_STREAM_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

#define MLP_STREAM_SYNC_MS  5000
#define MLP_STREAM_NAME_MAX 100

struct mlp_store;
struct mlp_stream; /* opaque, heap; uses no part of the store after it was opened */

/* Opens a stream of a run, making its file. Where the file is there already (the process before was
 * killed), the longest prefix of whole leaves with right checksums counts, the rest is cut, and the
 * stream goes on after them: mlp_stream_size says how many there are.
 * In:      name: 1 to MLP_STREAM_NAME_MAX of A-Z a-z 0-9 . _ -, not beginning with a dot.
 * Returns: 0 (mlp_stream_free); MLP_E_ARGUMENT (run id, name); MLP_E_BUSY (open elsewhere).
 */
int mlp_stream_open(struct mlp_stream **stream, struct mlp_store *store, const char *run_id,
                    const char *name, struct mlp_error *error);

/* Returns: 0, or why no leaf can be appended, whatever it is: MLP_E_CLOSED, MLP_E_FORKED, MLP_E_IO.
 */
int mlp_stream_check(const struct mlp_stream *stream, struct mlp_error *error);

/* Returns: 0 and the leaf's index; MLP_E_ARGUMENT (leaf too long); or an error: then the leaf is
 *          not in the stream. index may be NULL.
 */
int mlp_stream_append(struct mlp_stream *stream, uint64_t *index, const void *leaf, size_t leaf_len,
                      struct mlp_error *error);

/* Writes and fsyncs what was appended.
 * Returns: 0.
 */
int mlp_stream_sync(struct mlp_stream *stream, struct mlp_error *error);

uint64_t mlp_stream_size(const struct mlp_stream *stream); /* leaves; stays after closing */

/* The root over the leaves so far; stays after closing.
 * Returns: 0 or MLP_E_CRYPTO.
 */
int mlp_stream_root(struct mlp_stream *stream, uint8_t root32[32], struct mlp_error *error);

/* Fsyncs, renames to trees/<root>.leaves. After a failure the stream is still open.
 * Returns: 0 and the root; MLP_E_CRYPTO.
 */
int mlp_stream_close(struct mlp_stream *stream, uint8_t root32[32], struct mlp_error *error);

/* Closes and deletes without keeping. Nothing to do on a closed one. */
void mlp_stream_abandon(struct mlp_stream *stream);

/* Frees; a stream still open is flushed as well as it can be and its file stays for recovery. NULL
 * is allowed. */
void mlp_stream_free(struct mlp_stream *stream);

#endif

/* takers.h - bytes that come once, every piece of them taken by one taker or several: hashes, a file.
 *
 * With several threads each piece goes to all takers at the same time, while the next piece is read:
 * SHA-256 on one thread, BLAKE3 and the reading on another. For what cannot be cut (SHA-2, pipes), and
 * for what is taken in more than one way; blake3_reading.h serves BLAKE3 of a regular file.
 *
 * Threads: those of the pool, and the caller's, on which alone is read what another thread may not read:
 * whoever waits for a pipe has to hear signals.
 * Memory: two pieces, of at most 4 MiB each.
 */
#ifndef MLP_FILES_TAKERS_H
#define MLP_FILES_TAKERS_H

#include "files/watch.h"

struct mlp_taker {
    /* The bytes after those of the call before. threads: how many it may use; 1 within a task.
     * Returns: 0, or a status that ends the reading.
     */
    int (*take)(void *context, const void *piece, size_t piece_len, size_t threads,
                struct mlp_error *error);
    void *context;
};

/* Where pieces come from. */
struct mlp_piece_source {
    /* Writes the bytes after those of the call before to out, as many as it likes up to out_len.
     * Returns: 0 and *got, which is 0 at the end alone; or a status that ends the reading.
     */
    int (*next)(void *context, size_t *got, void *out, size_t out_len, struct mlp_error *error);
    void *context;
    uint64_t len;    /* of all pieces; 0: it may be wrong (/proc); UINT64_MAX: not known */
    bool any_thread; /* next may be called on a worker, while the piece before is taken */
};

/* Reads the source to its end. Whether what it reads changed meanwhile is the caller's to check.
 * In:      takers: at least one; the slowest first.
 *          threads: as mlp_pool_run.
 * Returns: 0; MLP_E_MEMORY; what next, a taker or the watch returned.
 */
int mlp_takers_run(const struct mlp_taker *takers, size_t takers_count,
                   const struct mlp_piece_source *source, size_t threads,
                   struct mlp_files_watch *watch, struct mlp_error *error);

#endif

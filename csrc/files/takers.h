/* takers.h - one reading of a file, pipe or device, every piece of it taken by one hash or several.
 *
 * With several threads each piece goes to all takers at the same time, while the next piece of a regular
 * file is read: SHA-256 on one thread, BLAKE3 and the reading on another. For what cannot be cut (SHA-2,
 * pipes), and for what is hashed in more than one way; blake3_reading.h serves BLAKE3 of a regular file.
 *
 * Threads: those of the pool, and the caller's, on which alone pipes and devices are read: whoever waits
 * for a pipe has to hear signals.
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

/* Reads what the reader has opened to its end. Whether it changed meanwhile is the caller's to check.
 * In:      takers: at least one; the slowest first.
 *          threads: as mlp_pool_run.
 * Returns: 0; MLP_E_MEMORY; as mlp_reader_next; what a taker or the watch returned.
 */
int mlp_takers_run(const struct mlp_taker *takers, size_t takers_count, struct mlp_reader *reader,
                   size_t threads, struct mlp_files_watch *watch, struct mlp_error *error);

#endif

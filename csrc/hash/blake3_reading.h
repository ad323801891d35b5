/* blake3_reading.h - BLAKE3 of an input that is read piece by piece, instead of lying in memory.
 *
 * Every thread reads pieces of its own and hashes them as subtrees: reading and hashing overlap, and
 * nothing is handed from one thread to another. The room that knows where the input lies gives the
 * function that reads it; this one does no input or output.
 *
 * Threads: those of the pool, and the caller's.
 * Memory: 34 KiB, and a piece for each thread, at most 32 MiB in all (64 KiB each where that is more);
 * with less memory, fewer threads.
 */
#ifndef MLP_HASH_BLAKE3_READING_H
#define MLP_HASH_BLAKE3_READING_H

#include "hash/hash.h"

struct mlp_blake3_reading {
    /* Writes exactly out_len bytes of the input, those from offset on, to out. Called on any thread, by
     * several at once, for pieces from front to back.
     * Returns: 0, or a status that ends the hashing.
     */
    int (*read)(void *context, void *out, size_t out_len, uint64_t offset, struct mlp_error *error);
    /* May be NULL. Called before each piece, on the thread that reads it.
     * Returns: 0, or a status that ends the hashing.
     */
    int (*check)(void *context);
    void *context;
};

/* In:      len: of the whole input.
 *          threads: as mlp_pool_run.
 * Returns: 0; MLP_E_MEMORY; what read or check returned.
 */
int mlp_blake3_of_reading(uint8_t digest32[32], const struct mlp_blake3_reading *reading,
                          uint64_t len, size_t threads, struct mlp_error *error);

#endif

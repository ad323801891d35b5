/* blake3_parallel.h - an update whose subtrees are computed by several threads.
 *
 * Internal to the hash room.
 *
 * Threads: the state belongs to the caller; the pool's workers read the data until the call returns.
 * Memory: 40 KiB while several threads take part; where there is none, the calling thread does all.
 */
#ifndef MLP_HASH_BLAKE3_PARALLEL_H
#define MLP_HASH_BLAKE3_PARALLEL_H

#include "hash/blake3_tree.h"

/* As mlp_blake3_update, with the same state afterwards as far as any digest goes.
 * In:      threads: as mlp_pool_run.
 */
void mlp_blake3_update_parallel(struct mlp_blake3_state *state, const void *data, size_t data_len,
                                size_t threads);

#endif

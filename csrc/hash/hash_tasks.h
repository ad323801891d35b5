/* hash_tasks.h - N inputs by one algorithm or several, cut into tasks for the pool.
 *
 * Internal to the hash room.
 *
 * Small inputs share a task, so that they share lanes too (blake3_many.h); a large input of BLAKE3 is
 * cut into subtrees, which are joined at the end; SHA-2 cannot be cut.
 *
 * Threads: the pool's; the caller's inputs are read until the call returns.
 * Memory: 64 bytes for each task, at most about 10 MiB. Where there is none, the calling thread
 * does all.
 */
#ifndef MLP_HASH_HASH_TASKS_H
#define MLP_HASH_HASH_TASKS_H

#include "hash/hash.h"

/* As mlp_hash_many_by, for known algorithms. */
int mlp_hash_tasks(const struct mlp_hash_request *requests, size_t requests_count,
                   const struct mlp_hash_input *inputs, size_t inputs_count, size_t threads,
                   struct mlp_error *error);

#endif

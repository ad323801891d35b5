/* hash_tasks.h - N inputs by one algorithm or several, cut into tasks for the pool.
 *
 * For the rooms that hand work to the pool (pool.h): hash, which waits for it at once, and capture,
 * which waits later.
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

/* ---- a plan whose tasks the caller has run ---- */

struct mlp_hash_plan; /* opaque, heap */

/* In:      request, inputs: kept until mlp_hash_plan_free; a known algorithm.
 *          threads: how many the tasks are meant for, at least 1.
 * Returns: 0 (free with mlp_hash_plan_free) or MLP_E_MEMORY.
 */
int mlp_hash_plan_new(struct mlp_hash_plan **plan, const struct mlp_hash_request *request,
                      const struct mlp_hash_input *inputs, size_t inputs_count, size_t threads,
                      struct mlp_error *error);

size_t mlp_hash_plan_tasks(const struct mlp_hash_plan *plan); /* how many there are */
size_t mlp_hash_plan_size(const struct mlp_hash_plan *plan);  /* bytes of memory that it takes */

/* Runs one task; in any order, on any thread, each once. */
void mlp_hash_plan_run(struct mlp_hash_plan *plan, size_t index);

/* Writes the request's digests; when every task has been run.
 * Returns: 0 or MLP_E_CRYPTO.
 */
int mlp_hash_plan_finish(struct mlp_hash_plan *plan, struct mlp_error *error);

void mlp_hash_plan_free(struct mlp_hash_plan *plan); /* NULL is allowed */

#endif

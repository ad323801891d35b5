/* task_size.h - how much is worth another thread, and how long a task is.
 *
 * For the rooms that cut work into tasks for the pool: hash and files.
 *
 * Threads: pure functions.
 */
#ifndef MLP_HASH_TASK_SIZE_H
#define MLP_HASH_TASK_SIZE_H

#include <stddef.h>

/* Bytes. Below the first nothing is threaded: waking a thread takes as long as hashing half of it
 * [measured: two threads break even between 320 and 400 KiB with AVX2 on Zen 3, between 512 KiB and 1 MiB
 * with AVX-512 on Zen 4]. */
#define MLP_TASKS_TOTAL_MIN ((size_t)768 << 10)
#define MLP_TASK_MIN        ((size_t)64 << 10)
#define MLP_TASK_MAX        ((size_t)1 << 20)

/* Tasks of larger totals grow, so that a plan stays below some 10 MiB. */
#define MLP_TASKS_COUNT_MAX ((size_t)1 << 17)

/* Returns: how many threads total_len bytes are worth, at most threads (0: the pool's setting). */
size_t mlp_task_threads(size_t total_len, size_t threads);

/* Returns: bytes of a task, a power of two: some eight tasks for each thread, so that one that is
 *          held up leaves the others to its peers. */
size_t mlp_task_len(size_t total_len, size_t threads);

#endif

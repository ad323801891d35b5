/* read_buffers.h - memory for the tasks of a job that read what they hash: one for each thread.
 *
 * For the rooms that hand such tasks to the pool: hash and files.
 *
 * Threads: mlp_read_buffers_take and mlp_read_buffers_give may be called by all threads of a job at once; no lock.
 */
#ifndef MLP_HASH_READ_BUFFERS_H
#define MLP_HASH_READ_BUFFERS_H

#include "base/status.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define MLP_READ_BUFFER_ALIGN ((size_t)4096)

struct mlp_read_buffers {
    uint8_t *memory;
    size_t buffer_len;
    size_t count;
    atomic_flag *taken; /* of each buffer */
};

/* Makes count buffers, or as many as there is memory for, at least one; free with mlp_read_buffers_free.
 * In:      buffer_len: a multiple of MLP_READ_BUFFER_ALIGN, at which buffers are aligned.
 * Returns: 0 or MLP_E_MEMORY.
 */
int mlp_read_buffers_new(struct mlp_read_buffers *buffers, size_t buffer_len, size_t count,
                         struct mlp_error *error);

/* Returns: a buffer that no other thread has; give it back with mlp_read_buffers_give. At most count are taken
 *          at a time: a job runs on that many threads.
 */
uint8_t *mlp_read_buffers_take(struct mlp_read_buffers *buffers);
void mlp_read_buffers_give(struct mlp_read_buffers *buffers, const uint8_t *buffer);

void mlp_read_buffers_free(struct mlp_read_buffers *buffers);

#endif

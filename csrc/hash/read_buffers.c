#include "hash/read_buffers.h"

#include <stdlib.h>

static int make(struct mlp_read_buffers *buffers, size_t buffer_len, size_t count)
{
    struct mlp_read_buffers made = {.buffer_len = buffer_len, .count = count};
    made.memory = aligned_alloc(MLP_READ_BUFFER_ALIGN, count * buffer_len);
    made.taken = calloc(count, sizeof *made.taken);
    if (made.memory == NULL || made.taken == NULL) {
        mlp_read_buffers_free(&made);
        return MLP_E_MEMORY;
    }
    for (size_t i = 0; i < count; i++)
        atomic_flag_clear(&made.taken[i]);
    *buffers = made;
    return MLP_OK;
}

int mlp_read_buffers_new(struct mlp_read_buffers *buffers, size_t buffer_len, size_t count,
                         struct mlp_error *error)
{
    for (; count > 0; count /= 2) {
        if (make(buffers, buffer_len, count) == MLP_OK)
            return MLP_OK;
    }
    return mlp_fail(error, MLP_E_MEMORY, "no memory to read into (%zu bytes)", buffer_len);
}

uint8_t *mlp_read_buffers_take(struct mlp_read_buffers *buffers)
{
    for (size_t i = 0;; i = (i + 1) % buffers->count) {
        if (!atomic_flag_test_and_set_explicit(&buffers->taken[i], memory_order_acquire))
            return buffers->memory + i * buffers->buffer_len;
    }
}

void mlp_read_buffers_give(struct mlp_read_buffers *buffers, const uint8_t *buffer)
{
    size_t index = (size_t)(buffer - buffers->memory) / buffers->buffer_len;
    atomic_flag_clear_explicit(&buffers->taken[index], memory_order_release);
}

void mlp_read_buffers_free(struct mlp_read_buffers *buffers)
{
    free(buffers->memory);
    free(buffers->taken);
    buffers->memory = NULL;
    buffers->taken = NULL;
}

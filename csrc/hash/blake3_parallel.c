#include "hash/blake3_parallel.h"

#include "hash/pool.h"
#include "hash/task_size.h"

#include <stdlib.h>

/* Of one job: what they become is joined before the next begins. */
#define SUBTREES_MAX 1024
#define ALIGN_CHUNKS (MLP_TASK_MIN / MLP_BLAKE3_CHUNK_LEN)

/* Neighbouring whole subtrees of one update. */
struct subtrees {
    const struct mlp_blake3_state *state;
    const uint8_t *data;
    size_t count;
    size_t begins[SUBTREES_MAX + 1]; /* in chunks after chunks_done; the last is where they end */
    uint8_t cvs[SUBTREES_MAX][MLP_BLAKE3_OUT_LEN];
};

static void hash_subtree(void *context, size_t index)
{
    struct subtrees *subtrees = context;
    const struct mlp_blake3_state *state = subtrees->state;
    size_t begin = subtrees->begins[index];
    size_t chunks_count = subtrees->begins[index + 1] - begin;
    mlp_blake3_subtree_value(subtrees->cvs[index], subtrees->data + begin * MLP_BLAKE3_CHUNK_LEN,
                             chunks_count * MLP_BLAKE3_CHUNK_LEN,
                             state->first_chunk + state->chunks_done + begin, state->key,
                             state->flags);
}

/* Subtrees of at most most_chunks, none below ALIGN_CHUNKS, which leave at least one byte of data: what
 * is pushed is then never the root. */
static void lay_out_subtrees(struct subtrees *subtrees, size_t data_len, size_t most_chunks)
{
    size_t whole = (data_len - 1) / MLP_BLAKE3_CHUNK_LEN;
    size_t done = 0;
    subtrees->count = 0;
    while (subtrees->count < SUBTREES_MAX && whole - done >= ALIGN_CHUNKS) {
        size_t left = whole - done < most_chunks ? whole - done : most_chunks;
        subtrees->begins[subtrees->count++] = done;
        done += mlp_blake3_aligned_subtree(subtrees->state->chunks_done + done, left);
    }
    subtrees->begins[subtrees->count] = done;
}

/* subtrees: memory for them. Returns: bytes taken. */
static size_t add_subtrees(struct mlp_blake3_state *state, struct subtrees *subtrees,
                           const uint8_t *data, size_t data_len, size_t threads)
{
    subtrees->state = state;
    subtrees->data = data;
    lay_out_subtrees(subtrees, data_len, mlp_task_len(data_len, threads) / MLP_BLAKE3_CHUNK_LEN);
    mlp_pool_run(hash_subtree, subtrees, subtrees->count, threads);
    for (size_t i = 0; i < subtrees->count; i++)
        mlp_blake3_push_subtree(state, subtrees->cvs[i],
                                subtrees->begins[i + 1] - subtrees->begins[i]);
    return subtrees->begins[subtrees->count] * MLP_BLAKE3_CHUNK_LEN;
}

/* Whole chunks up to where subtrees of ALIGN_CHUNKS begin. Returns: bytes taken. */
static size_t align(struct mlp_blake3_state *state, const uint8_t *data, size_t data_len)
{
    size_t beyond = (size_t)(state->chunks_done % ALIGN_CHUNKS);
    if (beyond == 0)
        return 0;
    size_t wanted = (ALIGN_CHUNKS - beyond) * MLP_BLAKE3_CHUNK_LEN;
    return wanted < data_len ? mlp_blake3_add_chunks(state, data, wanted) : 0;
}

/* Returns: bytes taken; the rest is too short to be shared, or there was no memory. */
static size_t share(struct mlp_blake3_state *state, const uint8_t *data, size_t data_len,
                    size_t threads)
{
    struct subtrees *subtrees = malloc(sizeof *subtrees);
    if (subtrees == NULL)
        return 0;
    size_t done = mlp_blake3_finish_chunk(state, data, data_len);
    done += align(state, data + done, data_len - done);
    while (data_len - done >= MLP_TASKS_TOTAL_MIN)
        done += add_subtrees(state, subtrees, data + done, data_len - done, threads);
    free(subtrees);
    return done;
}

void mlp_blake3_update_parallel(struct mlp_blake3_state *state, const void *data, size_t data_len,
                                size_t threads)
{
    const uint8_t *next = data;
    threads = mlp_task_threads(data_len, threads);
    if (threads > 1) {
        size_t shared = share(state, next, data_len, threads);
        next += shared;
        data_len -= shared;
    }
    mlp_blake3_update(state, next, data_len);
}

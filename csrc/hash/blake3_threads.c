#include "hash/blake3_threads.h"

#include "hash/pool.h"
#include "hash/task_size.h"

#define SPANS_MAX    1024
#define ALIGN_CHUNKS (MLP_TASK_MIN / MLP_BLAKE3_CHUNK_LEN)

/* Neighbouring whole subtrees of one update. */
struct spans {
    const struct mlp_blake3_state *state;
    const uint8_t *data;
    size_t count;
    size_t
        begins[SPANS_MAX + 1]; /* in chunks after state->chunks_done; the last is where they end */
    uint8_t cvs[SPANS_MAX][MLP_BLAKE3_OUT_LEN];
};

static void hash_span(void *context, size_t index)
{
    struct spans *spans = context;
    const struct mlp_blake3_state *state = spans->state;
    size_t begin = spans->begins[index];
    size_t chunks_count = spans->begins[index + 1] - begin;
    mlp_blake3_subtree_value(spans->cvs[index], spans->data + begin * MLP_BLAKE3_CHUNK_LEN,
                             chunks_count * MLP_BLAKE3_CHUNK_LEN,
                             state->first_chunk + state->chunks_done + begin, state->key,
                             state->flags);
}

/* Subtrees of at most most_chunks, none below ALIGN_CHUNKS, which leave at least one byte of data: what
 * is pushed is then never the root. */
static void lay_out_spans(struct spans *spans, size_t data_len, size_t most_chunks)
{
    size_t whole = (data_len - 1) / MLP_BLAKE3_CHUNK_LEN;
    size_t done = 0;
    spans->count = 0;
    while (spans->count < SPANS_MAX && whole - done >= ALIGN_CHUNKS) {
        size_t left = whole - done < most_chunks ? whole - done : most_chunks;
        spans->begins[spans->count++] = done;
        done += mlp_blake3_aligned_subtree(spans->state->chunks_done + done, left);
    }
    spans->begins[spans->count] = done;
}

/* Returns: bytes taken, 0 where there is no whole subtree that is worth it. */
static size_t add_spans(struct mlp_blake3_state *state, const uint8_t *data, size_t data_len,
                        size_t threads)
{
    struct spans spans;
    spans.state = state;
    spans.data = data;
    lay_out_spans(&spans, data_len, mlp_task_len(data_len, threads) / MLP_BLAKE3_CHUNK_LEN);
    mlp_pool_run(hash_span, &spans, spans.count, threads);
    for (size_t i = 0; i < spans.count; i++)
        mlp_blake3_push_subtree(state, spans.cvs[i], spans.begins[i + 1] - spans.begins[i]);
    return spans.begins[spans.count] * MLP_BLAKE3_CHUNK_LEN;
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

void mlp_blake3_update_threads(struct mlp_blake3_state *state, const void *data, size_t data_len,
                               size_t threads)
{
    const uint8_t *next = data;
    threads = mlp_task_threads(data_len, threads);
    if (threads > 1) {
        size_t taken = mlp_blake3_finish_chunk(state, next, data_len);
        taken += align(state, next + taken, data_len - taken);
        next += taken;
        data_len -= taken;
    }
    while (threads > 1 && data_len >= MLP_TASKS_TOTAL_MIN) {
        size_t taken = add_spans(state, next, data_len, threads);
        next += taken;
        data_len -= taken;
    }
    mlp_blake3_update(state, next, data_len);
}

#include "hash/blake3_groups.h"

#include "hash/blake3_lanes.h"
#include "hash/blake3_parallel.h"
#include "hash/pool.h"
#include "hash/task_size.h"

static void init_plain(struct mlp_blake3_state *state)
{
    mlp_blake3_init(state, mlp_blake3_iv, 0, 0);
}

uint64_t mlp_blake3_groups_count(uint64_t data_len)
{
    return data_len > MLP_BLAKE3_GROUP_LEN ? (data_len - 1) / MLP_BLAKE3_GROUP_LEN + 1 : 0;
}

/* ---- one pass ---- */

/* The chaining values of groups_count groups, a power of two of at most MLP_BLAKE3_RUN_CVS. */
static void compress_groups(const struct mlp_blake3_kernel *kernel, uint8_t *cvs,
                            const uint8_t *data, size_t groups_count, uint64_t counter)
{
    size_t chunks_count = groups_count * MLP_BLAKE3_GROUP_CHUNKS;
    if (kernel->compress_run != NULL && chunks_count >= MLP_BLAKE3_RUN_MIN) {
        kernel->compress_run(cvs, data, chunks_count, counter, mlp_blake3_iv, 0);
        chunks_count = MLP_BLAKE3_RUN_CVS;
    } else {
        mlp_blake3_compress_chunks(kernel, cvs, data, data + MLP_BLAKE3_CHUNK_LEN, chunks_count,
                                   counter, mlp_blake3_iv, 0);
    }
    mlp_blake3_reduce_to(kernel, cvs, chunks_count, groups_count, mlp_blake3_iv, 0);
}

/* The chaining values of count whole groups that begin at first_chunk. */
static void hash_whole_groups(uint8_t *cvs, const uint8_t *data, size_t count, uint64_t first_chunk)
{
    const struct mlp_blake3_kernel *kernel = mlp_blake3_kernel();
    uint8_t batch[MLP_BLAKE3_RUN_CVS * MLP_BLAKE3_GROUP_CHUNKS * MLP_BLAKE3_OUT_LEN];
    for (size_t done = 0; done < count;) {
        size_t left = count - done;
        size_t taken =
            mlp_blake3_aligned_subtree(0, left < MLP_BLAKE3_RUN_CVS ? left : MLP_BLAKE3_RUN_CVS);
        compress_groups(kernel, batch, data + done * MLP_BLAKE3_GROUP_LEN, taken,
                        first_chunk + done * MLP_BLAKE3_GROUP_CHUNKS);
        memcpy(cvs + done * MLP_BLAKE3_OUT_LEN, batch, taken * MLP_BLAKE3_OUT_LEN);
        done += taken;
    }
}

struct pass {
    const uint8_t *data;
    size_t data_len;
    size_t task_len; /* a multiple of MLP_BLAKE3_GROUP_LEN where there are several tasks */
    uint8_t *cvs;
};

static void hash_groups(void *context, size_t index)
{
    const struct pass *pass = context;
    size_t offset = index * pass->task_len, left = pass->data_len - offset;
    const uint8_t *data = pass->data + offset;
    uint8_t *cvs = pass->cvs + offset / MLP_BLAKE3_GROUP_LEN * MLP_BLAKE3_OUT_LEN;
    uint64_t first_chunk = offset / MLP_BLAKE3_CHUNK_LEN;
    size_t len = left < pass->task_len ? left : pass->task_len;
    size_t whole = len / MLP_BLAKE3_GROUP_LEN, whole_len = whole * MLP_BLAKE3_GROUP_LEN;
    hash_whole_groups(cvs, data, whole, first_chunk);
    if (whole_len < len)
        mlp_blake3_subtree_value(cvs + whole * MLP_BLAKE3_OUT_LEN, data + whole_len,
                                 len - whole_len, first_chunk + whole * MLP_BLAKE3_GROUP_CHUNKS,
                                 mlp_blake3_iv, 0);
}

void mlp_blake3_with_groups(uint8_t digest32[32], uint8_t *group_cvs, const void *data,
                            size_t data_len, size_t threads)
{
    size_t count = (size_t)mlp_blake3_groups_count(data_len);
    if (count == 0) {
        mlp_blake3(digest32, data, data_len);
        return;
    }
    struct pass pass = {data, data_len, data_len, group_cvs};
    threads = mlp_task_threads(data_len, threads);
    if (threads > 1) {
        pass.task_len = mlp_task_len(data_len, threads);
        mlp_pool_run(hash_groups, &pass, (data_len - 1) / pass.task_len + 1, threads);
    } else {
        hash_groups(&pass, 0);
    }
    struct mlp_blake3_state state;
    init_plain(&state);
    mlp_blake3_add_subtrees(&state, group_cvs, count, MLP_BLAKE3_GROUP_CHUNKS);
    mlp_blake3_output(&state, 0, digest32, MLP_BLAKE3_OUT_LEN);
}

void mlp_blake3_subtree_of_groups(uint8_t cv32[32], const uint8_t *group_cvs, size_t count)
{
    if (count == 1) {
        memcpy(cv32, group_cvs, MLP_BLAKE3_OUT_LEN);
        return;
    }
    struct mlp_blake3_state state;
    init_plain(&state);
    mlp_blake3_add_subtrees(&state, group_cvs, count, MLP_BLAKE3_GROUP_CHUNKS);
    mlp_blake3_chaining_value(&state, cv32);
}

/* ---- the root from a part ---- */

size_t mlp_blake3_spans_around(struct mlp_blake3_span *spans, uint64_t first, uint64_t end,
                               uint64_t chunks_count)
{
    size_t count = 0;
    /* On the left, whole subtrees: one for each one bit of first, the largest first. */
    for (uint64_t begin = 0; begin < first; count++) {
        uint64_t left = first - begin;
        spans[count].first = begin;
        spans[count].count = UINT64_C(1) << (63 - __builtin_clzll(left));
        begin += spans[count].count;
    }
    /* On the right, as far as the place where each begins lets it reach. */
    for (uint64_t begin = end; begin < chunks_count; count++) {
        uint64_t reach = begin & (~begin + 1), left = chunks_count - begin;
        spans[count].first = begin;
        spans[count].count = reach < left ? reach : left;
        begin += spans[count].count;
    }
    return count;
}

void mlp_blake3_root_around(uint8_t digest32[32], const uint8_t *span_cvs, uint64_t first,
                            uint64_t end, uint64_t chunks_count, const struct mlp_hash_input *parts,
                            size_t parts_count)
{
    struct mlp_blake3_span spans[MLP_BLAKE3_SPANS_MAX];
    size_t count = mlp_blake3_spans_around(spans, first, end, chunks_count), i = 0;
    struct mlp_blake3_state state;
    init_plain(&state);
    for (; i < count && spans[i].first < first; i++)
        mlp_blake3_push_subtree(&state, span_cvs + i * MLP_BLAKE3_OUT_LEN, spans[i].count);
    for (size_t part = 0; part < parts_count; part++)
        mlp_blake3_update_parallel(&state, parts[part].data, parts[part].len, 0);
    if (i < count) /* else the last chunk given may be the root */
        mlp_blake3_end_chunk(&state);
    for (; i < count; i++)
        mlp_blake3_push_subtree(&state, span_cvs + i * MLP_BLAKE3_OUT_LEN, spans[i].count);
    mlp_blake3_output(&state, 0, digest32, MLP_BLAKE3_OUT_LEN);
    explicit_bzero(&state, sizeof state); /* it holds input bytes */
}

#include "hash/blake3_lanes.h"

static size_t smaller(size_t left, size_t right)
{
    return left < right ? left : right;
}

void mlp_blake3_compress_chunks(const struct mlp_blake3_kernel *kernel, uint8_t *cvs,
                                const uint8_t *first, const uint8_t *others, size_t count,
                                uint64_t counter, const uint32_t key[8], uint32_t flags)
{
    struct mlp_blake3_work work;
    work.blocks_count = MLP_BLAKE3_CHUNK_BLOCKS;
    work.key = key;
    work.flags = flags;
    work.flags_start = MLP_BLAKE3_CHUNK_START;
    work.resumed = 0;
    for (size_t i = 0; i < MLP_BLAKE3_LANES_MAX; i++) {
        work.last_len[i] = MLP_BLAKE3_BLOCK_LEN;
        work.flags_end[i] = MLP_BLAKE3_CHUNK_END;
    }
    for (size_t done = 0; done < count; done += work.count) {
        work.count = smaller(count - done, MLP_BLAKE3_LANES_MAX);
        for (size_t i = 0; i < work.count; i++) {
            const uint8_t *chunk = first;
            if (done + i > 0)
                chunk = others + (done + i - 1) * MLP_BLAKE3_CHUNK_LEN;
            work.blocks[i] = chunk;
            work.last_block[i] = chunk + MLP_BLAKE3_CHUNK_LEN - MLP_BLAKE3_BLOCK_LEN;
            work.cvs[i] = cvs + (done + i) * MLP_BLAKE3_OUT_LEN;
            work.ahead[i] = (uintptr_t)chunk + MLP_BLAKE3_AHEAD;
            work.counter_low[i] = (uint32_t)(counter + done + i);
            work.counter_high[i] = (uint32_t)((counter + done + i) >> 32);
        }
        kernel->compress_lanes(&work);
    }
}

/* Section 2.5: a parent's counter is 0 and its block two chaining values. */
static void init_parents(struct mlp_blake3_work *work, const uint32_t key[8], uint32_t flags)
{
    memset(work, 0, sizeof *work);
    work->blocks_count = 1;
    work->key = key;
    work->flags = flags | MLP_BLAKE3_PARENT;
    for (size_t i = 0; i < MLP_BLAKE3_LANES_MAX; i++)
        work->last_len[i] = MLP_BLAKE3_BLOCK_LEN;
}

static void place_pairs(struct mlp_blake3_work *work, uint8_t *cvs, size_t first, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        work->blocks[i] = cvs + (first + i) * MLP_BLAKE3_BLOCK_LEN;
        work->last_block[i] = work->blocks[i];
        work->ahead[i] = (uintptr_t)work->blocks[i]; /* nothing to fetch: it is in the cache */
        work->cvs[i] = cvs + (first + i) * MLP_BLAKE3_OUT_LEN;
    }
}

void mlp_blake3_reduce_to(const struct mlp_blake3_kernel *kernel, uint8_t *cvs, size_t count,
                          size_t wanted, const uint32_t key[8], uint32_t flags)
{
    struct mlp_blake3_work work;
    if (count <= wanted)
        return;
    init_parents(&work, key, flags);
    for (size_t pairs_count = count / 2; pairs_count >= wanted; pairs_count /= 2) {
        for (size_t done = 0; done < pairs_count; done += work.count) {
            work.count = smaller(pairs_count - done, MLP_BLAKE3_LANES_MAX);
            /* On the last levels the pairs lie where those of the level before did. */
            if (pairs_count == count / 2 || pairs_count > MLP_BLAKE3_LANES_MAX / 2)
                place_pairs(&work, cvs, done, work.count);
            kernel->compress_lanes(&work);
        }
    }
}

/* blake3_selftest.c - holds a kernel to the portable one before it is used.
 *
 * A kernel that is wrong in one lane only, or in the high half of a counter only, gives digests
 * that look like any other: nothing downstream would notice before a verifier elsewhere disagrees.
 */
#include "hash/blake3_kernel.h"

#define LANES  MLP_BLAKE3_LANES_MAX
#define STRIDE (MLP_BLAKE3_CHUNK_LEN + 4) /* lanes do not lie as chunks of one input do */

/* No lane's last block is full: a kernel that ignores a length shows in every lane. */
#define LAST_LEN(lane) (MLP_BLAKE3_BLOCK_LEN - 1 - 3 * (lane))

struct bench {
    uint8_t input[LANES * STRIDE];
    uint8_t last[LANES][MLP_BLAKE3_BLOCK_LEN];
    uint8_t expected[LANES][MLP_BLAKE3_OUT_LEN];
    uint8_t seen[LANES][MLP_BLAKE3_OUT_LEN];
    struct mlp_blake3_work work;
};

/* A linear congruential generator (Numerical Recipes, section 7.1): any bytes that differ will do.
 */
static void fill(uint8_t *bytes, size_t bytes_len, uint32_t seed)
{
    for (size_t i = 0; i < bytes_len; i++) {
        seed = seed * 1664525U + 1013904223U;
        bytes[i] = (uint8_t)(seed >> 24);
    }
}

static bool agree_on_one_block(const struct mlp_blake3_kernel *kernel, const struct bench *bench,
                               const uint32_t key[8])
{
    static const uint64_t counters[] = {0, 1, 0xFFFFFFFFU, (uint64_t)0x9ABCDEF1 << 32 | 7};
    for (uint32_t block_len = 0; block_len <= MLP_BLAKE3_BLOCK_LEN; block_len += 16) {
        for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
            uint32_t expected[16], seen[16];
            uint32_t flags = (0x2BU << i) & 0x7FU;
            mlp_blake3_portable.compress(expected, key, bench->last[i], counters[i], block_len,
                                         flags);
            memcpy(seen, key, 32);
            kernel->compress(seen, seen, bench->last[i], counters[i], block_len, flags);
            if (memcmp(seen, expected, sizeof seen) != 0)
                return false;
        }
    }
    return true;
}

static bool agree_on_lanes(const struct mlp_blake3_kernel *kernel, struct bench *bench)
{
    struct mlp_blake3_work *work = &bench->work;
    /* Lanes that go on begin with what is there; what lies beyond count stays as it was. */
    fill(bench->expected[0], sizeof bench->expected, 20);
    memcpy(bench->seen, bench->expected, sizeof bench->seen);
    for (size_t i = 0; i < LANES; i++)
        work->cvs[i] = bench->expected[i];
    mlp_blake3_portable.compress_lanes(work);
    for (size_t i = 0; i < LANES; i++)
        work->cvs[i] = bench->seen[i];
    kernel->compress_lanes(work);
    return memcmp(bench->seen, bench->expected, sizeof bench->seen) == 0;
}

/* Low counter words straddle a carry; no lane's words are 0, so that one that is lost shows. */
static void lay_out_lanes(struct bench *bench, const uint32_t key[8])
{
    struct mlp_blake3_work *work = &bench->work;
    work->key = key;
    for (size_t i = 0; i < LANES; i++) {
        uint64_t counter =
            (i % 2 == 0 ? UINT64_C(0x1FFFFFFF7) : (uint64_t)0x31 << 56) + i * 0x100000001U;
        work->blocks[i] = bench->input + i * STRIDE;
        work->last_block[i] = bench->last[i];
        work->ahead[i] = (uintptr_t)work->blocks[i];
        work->last_len[i] = (uint32_t)LAST_LEN(i);
        work->flags_end[i] = MLP_BLAKE3_CHUNK_END | (i % 3 == 0 ? MLP_BLAKE3_ROOT : 0U);
        work->counter_low[i] = (uint32_t)counter;
        work->counter_high[i] = (uint32_t)(counter >> 32);
    }
}

static bool agree_on_every_count(const struct mlp_blake3_kernel *kernel, struct bench *bench,
                                 const uint32_t key[8])
{
    static const size_t blocks[] = {1, 2, 3, MLP_BLAKE3_CHUNK_BLOCKS};
    static const uint32_t resumed[] = {0, 0x5555, 0xAAAA,
                                       0xFFFF}; /* bits beyond count mean nothing */
    struct mlp_blake3_work *work = &bench->work;
    lay_out_lanes(bench, key);
    for (work->count = 1; work->count <= LANES; work->count++) {
        for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
            work->blocks_count = blocks[i];
            work->flags = MLP_BLAKE3_KEYED_HASH;
            work->flags_start = MLP_BLAKE3_CHUNK_START;
            work->resumed = resumed[(work->count + i) % (sizeof resumed / sizeof resumed[0])];
            if (work->count % 2 == 0)
                work->flags = MLP_BLAKE3_DERIVE_KEY_CONTEXT | MLP_BLAKE3_DERIVE_KEY_MATERIAL;
            if (!agree_on_lanes(kernel, bench))
                return false;
        }
    }
    return true;
}

/* Parents are written over their own children (blake3_kernel.h). */
static bool agree_on_parents_in_place(const struct mlp_blake3_kernel *kernel, struct bench *bench)
{
    struct mlp_blake3_work *work = &bench->work;
    uint8_t results[2][LANES * MLP_BLAKE3_BLOCK_LEN];
    for (size_t round = 0; round < 2; round++) {
        memcpy(results[round], bench->input, sizeof results[round]);
        *work = (struct mlp_blake3_work){
            .count = LANES, .blocks_count = 1, .key = mlp_blake3_iv, .flags = MLP_BLAKE3_PARENT};
        for (size_t i = 0; i < LANES; i++) {
            work->blocks[i] = results[round] + i * MLP_BLAKE3_BLOCK_LEN;
            work->last_block[i] = work->blocks[i];
            work->ahead[i] = (uintptr_t)work->blocks[i];
            work->last_len[i] = MLP_BLAKE3_BLOCK_LEN;
            work->cvs[i] = results[round] + i * MLP_BLAKE3_OUT_LEN;
        }
        (round == 0 ? &mlp_blake3_portable : kernel)->compress_lanes(work);
    }
    return memcmp(results[0], results[1], sizeof results[0]) == 0;
}

/* ---- runs of chunks ---- */

#define RUN_LONGEST 64 /* chunks: twice the least, and a level more of parents */

/* What compress_run is to give, chunk by chunk and parent by parent. */
static void run_by_nodes(uint8_t cvs[RUN_LONGEST * MLP_BLAKE3_OUT_LEN], const uint8_t *data,
                         size_t count, uint64_t counter, const uint32_t key[8], uint32_t flags)
{
    struct mlp_blake3_work work = {
        .count = 1,
        .blocks_count = MLP_BLAKE3_CHUNK_BLOCKS,
        .key = key,
        .flags = flags,
        .flags_start = MLP_BLAKE3_CHUNK_START,
        .flags_end = {MLP_BLAKE3_CHUNK_END},
        .last_len = {MLP_BLAKE3_BLOCK_LEN},
    };
    for (size_t i = 0; i < count; i++) {
        work.blocks[0] = data + i * MLP_BLAKE3_CHUNK_LEN;
        work.last_block[0] = work.blocks[0] + MLP_BLAKE3_CHUNK_LEN - MLP_BLAKE3_BLOCK_LEN;
        work.cvs[0] = cvs + i * MLP_BLAKE3_OUT_LEN;
        work.counter_low[0] = (uint32_t)(counter + i);
        work.counter_high[0] = (uint32_t)((counter + i) >> 32);
        mlp_blake3_portable.compress_lanes(&work);
    }
    for (; count > MLP_BLAKE3_RUN_CVS; count /= 2) {
        for (size_t i = 0; i < count / 2; i++) {
            uint32_t words[16];
            mlp_blake3_portable.compress(words, key, cvs + i * MLP_BLAKE3_BLOCK_LEN, 0,
                                         MLP_BLAKE3_BLOCK_LEN, flags | MLP_BLAKE3_PARENT);
            memcpy(cvs + i * MLP_BLAKE3_OUT_LEN, words, MLP_BLAKE3_OUT_LEN);
        }
    }
}

/* A counter carries into its high half within the run. */
static bool agree_on_runs(const struct mlp_blake3_kernel *kernel, const uint32_t key[8])
{
    uint8_t data[RUN_LONGEST * MLP_BLAKE3_CHUNK_LEN];
    uint8_t expected[RUN_LONGEST * MLP_BLAKE3_OUT_LEN];
    uint8_t seen[MLP_BLAKE3_RUN_CVS * MLP_BLAKE3_OUT_LEN];
    uint64_t counter = UINT64_C(0x5FFFFFFED);
    uint32_t flags = MLP_BLAKE3_KEYED_HASH;
    fill(data, sizeof data, 20);
    for (size_t count = MLP_BLAKE3_RUN_MIN; count <= RUN_LONGEST; count *= 2) {
        run_by_nodes(expected, data, count, counter, key, flags);
        kernel->compress_run(seen, data, count, counter, key, flags);
        if (memcmp(seen, expected, sizeof seen) != 0)
            return false;
        counter = 0;
        flags = MLP_BLAKE3_DERIVE_KEY_CONTEXT | MLP_BLAKE3_DERIVE_KEY_MATERIAL;
    }
    return true;
}

bool mlp_blake3_self_test(const struct mlp_blake3_kernel *kernel)
{
    struct bench bench;
    uint32_t key[8];
    fill(bench.input, sizeof bench.input, 1);
    fill((uint8_t *)key, sizeof key, 2);
    memset(bench.last, 0, sizeof bench.last);
    for (size_t i = 0; i < LANES; i++)
        fill(bench.last[i], LAST_LEN(i), (uint32_t)(3 + i));
    return agree_on_one_block(kernel, &bench, key) && agree_on_every_count(kernel, &bench, key) &&
           agree_on_parents_in_place(kernel, &bench) &&
           (kernel->compress_run == NULL || agree_on_runs(kernel, key));
}

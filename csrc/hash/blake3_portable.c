/* blake3_portable.c - the BLAKE3 kernel in plain C: the reference that every other kernel is held
 * to.
 *
 * Words are read one by one from where they lie. Compilers copy arrays in vectors, and the load of a
 * vector waits for the single words that the block before stored there.
 */
#include "hash/blake3_rounds.h"

const uint32_t mlp_blake3_iv[8] = {
    MLP_BLAKE3_IV_0, MLP_BLAKE3_IV_1, MLP_BLAKE3_IV_2, MLP_BLAKE3_IV_3,
    MLP_BLAKE3_IV_4, MLP_BLAKE3_IV_5, MLP_BLAKE3_IV_6, MLP_BLAKE3_IV_7,
};

static inline uint32_t rotate_right(uint32_t word, unsigned count)
{
    return word >> count | word << (32 - count);
}

/* Little-endian, as the processor is. */
static inline uint32_t load_word(const uint8_t *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

#define ADD(a, b)   ((a) + (b))
#define XOR(a, b)   ((a) ^ (b))
#define ROTATE16(x) rotate_right(x, 16)
#define ROTATE12(x) rotate_right(x, 12)
#define ROTATE8(x)  rotate_right(x, 8)
#define ROTATE7(x)  rotate_right(x, 7)
#define MESSAGE(i)  load_word(block + 4 * (i))
#define PREFETCH(step)

void mlp_blake3_compress_portable(uint32_t out[16], const uint32_t cv[8], const uint8_t block[64],
                                  uint64_t counter, uint32_t block_len, uint32_t flags)
{
    uint32_t v0 = cv[0], v1 = cv[1], v2 = cv[2], v3 = cv[3];
    uint32_t v4 = cv[4], v5 = cv[5], v6 = cv[6], v7 = cv[7];
    uint32_t v8 = MLP_BLAKE3_IV_0, v9 = MLP_BLAKE3_IV_1;
    uint32_t v10 = MLP_BLAKE3_IV_2, v11 = MLP_BLAKE3_IV_3;
    uint32_t v12 = (uint32_t)counter, v13 = (uint32_t)(counter >> 32);
    uint32_t v14 = block_len, v15 = flags;

    MLP_BLAKE3_VECTOR_ROUNDS

    /* The upper half first: out may be cv. */
    out[8] = v8 ^ cv[0];
    out[9] = v9 ^ cv[1];
    out[10] = v10 ^ cv[2];
    out[11] = v11 ^ cv[3];
    out[12] = v12 ^ cv[4];
    out[13] = v13 ^ cv[5];
    out[14] = v14 ^ cv[6];
    out[15] = v15 ^ cv[7];
    MLP_BLAKE3_FEED_FORWARD(out)
}

static void compress_lanes(const struct mlp_blake3_work *work)
{
    for (size_t lane = 0; lane < work->count; lane++)
        mlp_blake3_lane_by_blocks(work, lane, &mlp_blake3_portable);
}

const struct mlp_blake3_kernel mlp_blake3_portable = {
    .name = "portable",
    .lanes = 1,
    .compress = mlp_blake3_compress_portable,
    .compress_lanes = compress_lanes,
};

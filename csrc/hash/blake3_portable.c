/* blake3_portable.c - the BLAKE3 kernel in plain C: the reference that every other kernel is held
 * to. */
#include "hash/blake3_kernel.h"

const uint32_t mlp_blake3_iv[8] = {
    MLP_BLAKE3_IV_0, MLP_BLAKE3_IV_1, MLP_BLAKE3_IV_2, MLP_BLAKE3_IV_3,
    MLP_BLAKE3_IV_4, MLP_BLAKE3_IV_5, MLP_BLAKE3_IV_6, MLP_BLAKE3_IV_7,
};

static inline uint32_t rotate_right(uint32_t word, unsigned count)
{
    return word >> count | word << (32 - count);
}

/* Section 2.2, the quarter-round G. */
#define G(a, b, c, d, x, y)                                                                        \
    do {                                                                                           \
        v##a += v##b + m[x];                                                                       \
        v##d = rotate_right(v##d ^ v##a, 16);                                                      \
        v##c += v##d;                                                                              \
        v##b = rotate_right(v##b ^ v##c, 12);                                                      \
        v##a += v##b + m[y];                                                                       \
        v##d = rotate_right(v##d ^ v##a, 8);                                                       \
        v##c += v##d;                                                                              \
        v##b = rotate_right(v##b ^ v##c, 7);                                                       \
    } while (0);

#define ROUND(r, m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15)             \
    G(0, 4, 8, 12, m0, m1)                                                                         \
    G(1, 5, 9, 13, m2, m3)                                                                         \
    G(2, 6, 10, 14, m4, m5)                                                                        \
    G(3, 7, 11, 15, m6, m7)                                                                        \
    G(0, 5, 10, 15, m8, m9)                                                                        \
    G(1, 6, 11, 12, m10, m11)                                                                      \
    G(2, 7, 8, 13, m12, m13)                                                                       \
    G(3, 4, 9, 14, m14, m15)

void mlp_blake3_compress_portable(uint32_t out[16], const uint32_t cv[8], const uint8_t block[64],
                                  uint64_t counter, uint32_t block_len, uint32_t flags)
{
    uint32_t m[16];
    memcpy(m, block, sizeof m);
    uint32_t h[8];
    memcpy(h, cv, sizeof h); /* out may be cv */
    uint32_t v0 = h[0], v1 = h[1], v2 = h[2], v3 = h[3];
    uint32_t v4 = h[4], v5 = h[5], v6 = h[6], v7 = h[7];
    uint32_t v8 = MLP_BLAKE3_IV_0, v9 = MLP_BLAKE3_IV_1;
    uint32_t v10 = MLP_BLAKE3_IV_2, v11 = MLP_BLAKE3_IV_3;
    uint32_t v12 = (uint32_t)counter, v13 = (uint32_t)(counter >> 32);
    uint32_t v14 = block_len, v15 = flags;

    MLP_BLAKE3_SEVEN_ROUNDS(ROUND)

    const uint32_t low[8] = {v0, v1, v2, v3, v4, v5, v6, v7};
    const uint32_t high[8] = {v8, v9, v10, v11, v12, v13, v14, v15};
    for (size_t i = 0; i < 8; i++) {
        out[i] = low[i] ^ high[i];
        out[8 + i] = high[i] ^ h[i];
    }
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

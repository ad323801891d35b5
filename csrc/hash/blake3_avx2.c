/* blake3_avx2.c - the BLAKE3 kernel for AVX2: eight lanes, one state word of all lanes in a ymm register. */
#if defined(__x86_64__)

#define TARGET __attribute__((target("avx2")))

/* Rotations by whole bytes are one shuffle; the others are two shifts and an or. */
/* clang-format off */
#define SUM_8(s, from) "vpaddd " from ", " V(s) ", " V(8) "\n\t"
#define ROTATE_16(d)   "vpshufb " CONSTANT(rotate16, 0) ", " V(d) ", " V(d) "\n\t"
#define ROTATE_8(d)    "vpshufb " CONSTANT(rotate8, 0) ", " V(d) ", " V(d) "\n\t"
#define ROTATE_12(d)   ROTATE_BY_SHIFTS(d, 12)
#define ROTATE_7(d)    ROTATE_BY_SHIFTS(d, 7)
#define ROTATE_BY_SHIFTS(d, n)                                                                     \
    "vpsrld $" #n ", " V(d) ", " V(8) "\n\t"                                                       \
    "vpslld $32-" #n ", " V(d) ", " V(d) "\n\t"                                                    \
    "vpor " V(8) ", " V(d) ", " V(d) "\n\t"
/* clang-format on */

#include "hash/blake3_ymm.h"

static void compress_lanes(const struct mlp_blake3_work *work)
{
    for (size_t first = 0; first < work->count; first += LANES) {
        size_t count = work->count - first < LANES ? work->count - first : LANES;
        if (count == 1)
            mlp_blake3_lane_by_blocks(work, first, &mlp_blake3_portable);
        else
            compress_columns(work, first, count);
    }
}

const struct mlp_blake3_kernel mlp_blake3_avx2 = {
    .name = "avx2",
    .lanes = LANES,
    .compress = mlp_blake3_compress_portable,
    .compress_lanes = compress_lanes,
};

#else
typedef int mlp_blake3_avx2_is_for_x86_64; /* ISO C forbids an empty file */
#endif

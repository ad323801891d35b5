/* blake3_avx2.c - the BLAKE3 kernel for AVX2: eight lanes, one state word of all lanes in a ymm register;
 * up to four lanes in pairs. */
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

#define ROTATE16(x)         _mm256_shuffle_epi8(x, *(const __m256i *)constants.rotate16)
#define ROTATE8(x)          _mm256_shuffle_epi8(x, *(const __m256i *)constants.rotate8)
#define ROTATE12(x)         SHIFTED_ROUND(x, 12)
#define ROTATE7(x)          SHIFTED_ROUND(x, 7)
#define SHIFTED_ROUND(x, n) _mm256_or_si256(_mm256_srli_epi32(x, n), _mm256_slli_epi32(x, 32 - (n)))

#include "hash/blake3_pairs.h"

static void compress_lanes(const struct mlp_blake3_work *work)
{
    for (size_t first = 0; first < work->count; first += LANES) {
        size_t count = work->count - first < LANES ? work->count - first : LANES;
        if (count <= 4)
            compress_few(work, first, count);
        else
            compress_columns(work, first, count);
    }
}

TARGET static void compress(uint32_t out[16], const uint32_t cv[8], const uint8_t block[64],
                            uint64_t counter, uint32_t block_len, uint32_t flags)
{
    compress_one_block(out, cv, block, counter, block_len, flags);
}

const struct mlp_blake3_kernel mlp_blake3_avx2 = {
    .name = "avx2",
    .lanes = LANES,
    .compress = compress,
    .compress_lanes = compress_lanes,
};

#else
typedef int mlp_blake3_avx2_is_for_x86_64; /* ISO C forbids an empty file */
#endif

/* blake3_avx512_narrow.c - up to eight lanes with AVX-512VL: vectors as in AVX2, but twice the registers,
 * and a rotation is one instruction (vprord). */
#if defined(__x86_64__)

#include "hash/blake3_avx512_narrow.h"

#define TARGET __attribute__((target("avx512f,avx512vl")))

/* clang-format off */
#define THIRTY_TWO_REGISTERS
#define ROTATE_16(d) ROTATE(d, 16)
#define ROTATE_12(d) ROTATE(d, 12)
#define ROTATE_8(d)  ROTATE(d, 8)
#define ROTATE_7(d)  ROTATE(d, 7)
#define ROTATE(d, n) "vprord $" #n ", " V(d) ", " V(d) "\n\t"
/* clang-format on */

#include "hash/blake3_ymm.h"

#define ROTATE16(x) _mm256_ror_epi32(x, 16)
#define ROTATE12(x) _mm256_ror_epi32(x, 12)
#define ROTATE8(x)  _mm256_ror_epi32(x, 8)
#define ROTATE7(x)  _mm256_ror_epi32(x, 7)

#include "hash/blake3_pairs.h"

void mlp_blake3_avx512_narrow(const struct mlp_blake3_work *work)
{
    if (work->count <= 4)
        compress_few(work, 0, work->count);
    else
        compress_columns(work, 0, work->count);
}

TARGET void mlp_blake3_compress_avx512(uint32_t out[16], const uint32_t cv[8],
                                       const uint8_t block[64], uint64_t counter,
                                       uint32_t block_len, uint32_t flags)
{
    compress_one_block(out, cv, block, counter, block_len, flags);
}

#else
typedef int mlp_blake3_avx512_narrow_is_for_x86_64; /* ISO C forbids an empty file */
#endif

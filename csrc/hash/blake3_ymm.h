/* blake3_ymm.h - what the kernels with vectors of eight words share: AVX2, and AVX-512 with few lanes.
 *
 * Included once by a kernel that has defined TARGET and, for blake3_columns.h, ROTATE_16 and the like and
 * SUM_8 or THIRTY_TWO_REGISTERS. Gives it compress_columns.
 *
 * Threads: what it defines touches nothing but its arguments.
 */
#ifndef MLP_HASH_BLAKE3_YMM_H
#define MLP_HASH_BLAKE3_YMM_H

#include "hash/blake3_kernel.h"

#define LANES           8
#define VECTOR          __m256i
#define INTRINSIC(name) _mm256_##name

/* clang-format off */
#define BYTES                "32"
#define V(i)                 YMM(i)
#define YMM(i)               "%%ymm" #i
#define MOVE(from, to)       "vmovdqa " from ", " to "\n\t"
#define ADD_FROM(d, from)    "vpaddd " from ", " V(d) ", " V(d) "\n\t"
#define XOR(d, s)            "vpxor " V(s) ", " V(d) ", " V(d) "\n\t"
#define UNPACK(how, d, s, t) "vpunpck" how " " V(t) ", " V(s) ", " V(d) "\n\t"
#define LOAD_ROW(d, at, low, high)                                                                 \
    "vmovdqu " #at "(%%" low ",%%rax), %%xmm" #d "\n\t"                                            \
    "vinserti128 $1, " #at "(%%" high ",%%rax), " V(d) ", " V(d) "\n\t"
/* clang-format on */

#include "hash/blake3_transpose.h"

TARGET static inline __m256i splat(uint32_t word)
{
    return _mm256_set1_epi32((int)word);
}

TARGET static inline __m256i load(const uint32_t words[LANES])
{
    return _mm256_loadu_si256((const __m256i *)words);
}

/* Eight vectors of words to rows of 32 bytes. */
TARGET static inline void store_lanes(const __m256i cv[8], uint8_t *const *cvs, size_t count)
{
    __m256i low[4], high[4], lanes[LANES];
    transpose(low, cv);
    transpose(high, cv + 4);
    for (size_t i = 0; i < 4; i++) {
        lanes[i] = _mm256_permute2x128_si256(low[i], high[i], 0x20);
        lanes[4 + i] = _mm256_permute2x128_si256(low[i], high[i], 0x31);
    }
    for (size_t i = 0; i < count; i++)
        _mm256_storeu_si256((__m256i *)cvs[i], lanes[i]);
}

/* Words offset / 4 to offset / 4 + 3 of rows of 32 bytes. */
TARGET static inline void load_words(__m256i words[4], const uint8_t *const rows[LANES],
                                     size_t offset)
{
    __m256i pairs[4];
    for (size_t i = 0; i < 4; i++) {
        const __m128i *low = (const __m128i *)(rows[i] + offset);
        const __m128i *high = (const __m128i *)(rows[4 + i] + offset);
        pairs[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(low)),
                                           _mm_loadu_si128(high), 1);
    }
    transpose(words, pairs);
}

#include "hash/blake3_columns.h"

#endif

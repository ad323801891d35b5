/* blake3_sse41.c - the BLAKE3 kernel for SSE4.1: four lanes, one state word of all lanes in an xmm
 * register. */
#if defined(__x86_64__)

#include "hash/blake3_kernel.h"

#define TARGET          __attribute__((target("sse4.1")))
#define LANES           4
#define VECTOR          __m128i
#define INTRINSIC(name) _mm_##name

/* Instructions have two operands here: what must be kept is copied first. */
/* clang-format off */
#define BYTES                "16"
#define V(i)                 "%%xmm" #i
#define MOVE(from, to)       "movdqa " from ", " to "\n\t"
#define ADD_FROM(d, from)    "paddd " from ", " V(d) "\n\t"
#define XOR(d, s)            "pxor " V(s) ", " V(d) "\n\t"
#define SUM_8(s, from)       MOVE(from, V(8)) ADD_FROM(8, V(s))
#define ROTATE_16(d)         "pshufb " CONSTANT(rotate16, 0) ", " V(d) "\n\t"
#define ROTATE_8(d)          "pshufb " CONSTANT(rotate8, 0) ", " V(d) "\n\t"
#define ROTATE_12(d)         ROTATE_BY_SHIFTS(d, 12)
#define ROTATE_7(d)          ROTATE_BY_SHIFTS(d, 7)
#define ROTATE_BY_SHIFTS(d, n)                                                                     \
    MOVE(V(d), V(8))                                                                               \
    "psrld $" #n ", " V(8) "\n\t"                                                                  \
    "pslld $32-" #n ", " V(d) "\n\t"                                                               \
    "por " V(8) ", " V(d) "\n\t"
#define UNPACK(how, d, s, t) MOVE(V(s), V(d)) "punpck" how " " V(t) ", " V(d) "\n\t"
#define LOAD_ROW(d, at, low, high) "movdqu " #at "(%%" low ",%%rax), " V(d) "\n\t"
/* clang-format on */

#include "hash/blake3_transpose.h"

TARGET static inline __m128i splat(uint32_t word)
{
    return _mm_set1_epi32((int)word);
}

TARGET static inline __m128i load(const uint32_t words[LANES])
{
    return _mm_loadu_si128((const __m128i *)words);
}

TARGET static inline void store_lanes(const __m128i cv[8], uint8_t *const *cvs, size_t count)
{
    __m128i low[4], high[4];
    transpose(low, cv);
    transpose(high, cv + 4);
    for (size_t i = 0; i < count; i++) {
        _mm_storeu_si128((__m128i *)cvs[i], low[i]);
        _mm_storeu_si128((__m128i *)(cvs[i] + 16), high[i]);
    }
}

/* Words offset / 4 to offset / 4 + 3 of rows of 32 bytes. */
TARGET static inline void load_words(__m128i words[4], const uint8_t *const rows[LANES],
                                     size_t offset)
{
    __m128i parts[4];
    for (size_t i = 0; i < 4; i++)
        parts[i] = _mm_loadu_si128((const __m128i *)(rows[i] + offset));
    transpose(words, parts);
}

#include "hash/blake3_columns.h"

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

const struct mlp_blake3_kernel mlp_blake3_sse41 = {
    .name = "sse41",
    .lanes = LANES,
    .compress = mlp_blake3_compress_portable,
    .compress_lanes = compress_lanes,
};

#else
typedef int mlp_blake3_sse41_is_for_x86_64; /* ISO C forbids an empty file */
#endif

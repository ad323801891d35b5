/* blake3_sse41.c - the BLAKE3 kernel for SSE4.1: four lanes, one state word of all lanes in an xmm
 * register. */
#if defined(__x86_64__)

#include "hash/blake3_rounds.h"

#include <smmintrin.h>

#define TARGET __attribute__((target("sse4.1")))
#define INLINE static inline __attribute__((always_inline))
#define LANES  4

#define ADD(a, b) _mm_add_epi32(a, b)
#define XOR(a, b) _mm_xor_si128(a, b)
/* Rotations by whole bytes are one shuffle; the others are two shifts and an or. */
#define ROTATE16(x)            _mm_shuffle_epi8(x, rotate16)
#define ROTATE8(x)             _mm_shuffle_epi8(x, rotate8)
#define ROTATE12(x)            ROTATE_BY_SHIFTS(x, 12)
#define ROTATE7(x)             ROTATE_BY_SHIFTS(x, 7)
#define ROTATE_BY_SHIFTS(x, n) _mm_or_si128(_mm_srli_epi32(x, n), _mm_slli_epi32(x, 32 - n))
#define MESSAGE(i)             m[i]
#define PREFETCH(step)

#define SPLAT(word) _mm_set1_epi32((int)(word))

TARGET INLINE __m128i load(const void *from)
{
    return _mm_loadu_si128((const __m128i *)from);
}

/* Four rows of four words to four vectors of one word each, or back. */
TARGET INLINE void transpose(__m128i columns[4], __m128i row0, __m128i row1, __m128i row2,
                             __m128i row3)
{
    __m128i low01 = _mm_unpacklo_epi32(row0, row1);
    __m128i high01 = _mm_unpackhi_epi32(row0, row1);
    __m128i low23 = _mm_unpacklo_epi32(row2, row3);
    __m128i high23 = _mm_unpackhi_epi32(row2, row3);
    columns[0] = _mm_unpacklo_epi64(low01, low23);
    columns[1] = _mm_unpackhi_epi64(low01, low23);
    columns[2] = _mm_unpacklo_epi64(high01, high23);
    columns[3] = _mm_unpackhi_epi64(high01, high23);
}

TARGET INLINE void load_four_words(__m128i m[4], const uint8_t *const blocks[LANES], size_t offset)
{
    transpose(m, load(blocks[0] + offset), load(blocks[1] + offset), load(blocks[2] + offset),
              load(blocks[3] + offset));
}

/* One block of four lanes. */
TARGET INLINE void compress_four(__m128i h[8], const uint8_t *const blocks[LANES], size_t offset,
                                 __m128i counter_low, __m128i counter_high, __m128i block_len,
                                 __m128i flags)
{
    const __m128i rotate16 = _mm_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    const __m128i rotate8 = _mm_setr_epi8(1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12);
    __m128i m[16];
    load_four_words(m, blocks, offset);
    load_four_words(m + 4, blocks, offset + 16);
    load_four_words(m + 8, blocks, offset + 32);
    load_four_words(m + 12, blocks, offset + 48);
    __m128i v0 = h[0], v1 = h[1], v2 = h[2], v3 = h[3];
    __m128i v4 = h[4], v5 = h[5], v6 = h[6], v7 = h[7];
    __m128i v8 = SPLAT(MLP_BLAKE3_IV_0), v9 = SPLAT(MLP_BLAKE3_IV_1);
    __m128i v10 = SPLAT(MLP_BLAKE3_IV_2), v11 = SPLAT(MLP_BLAKE3_IV_3);
    __m128i v12 = counter_low, v13 = counter_high, v14 = block_len, v15 = flags;

    MLP_BLAKE3_VECTOR_ROUNDS

    h[0] = XOR(v0, v8);
    h[1] = XOR(v1, v9);
    h[2] = XOR(v2, v10);
    h[3] = XOR(v3, v11);
    h[4] = XOR(v4, v12);
    h[5] = XOR(v5, v13);
    h[6] = XOR(v6, v14);
    h[7] = XOR(v7, v15);
}

TARGET INLINE void store_lanes(const __m128i h[8], uint8_t *const cvs[LANES], size_t count)
{
    __m128i low[4], high[4];
    transpose(low, h[0], h[1], h[2], h[3]);
    transpose(high, h[4], h[5], h[6], h[7]);
    for (size_t i = 0; i < count; i++) {
        _mm_storeu_si128((__m128i *)cvs[i], low[i]);
        _mm_storeu_si128((__m128i *)(cvs[i] + 16), high[i]);
    }
}

/* Lanes first to first + count - 1, count at most four. Idle lanes read what lane first reads. */
TARGET static void compress_up_to_four(const struct mlp_blake3_work *work, size_t first,
                                       size_t count)
{
    const uint8_t *blocks[LANES];
    const uint8_t *last[LANES];
    for (size_t i = 0; i < LANES; i++) {
        blocks[i] = work->blocks[i < count ? first + i : first];
        last[i] = work->last_block[i < count ? first + i : first];
    }
    const uint8_t *starts[LANES];
    uint32_t start_flags[LANES];
    __m128i h[8];
    mlp_blake3_lane_starts(starts, start_flags, work, first, LANES);
    load_four_words(h, starts, 0);
    load_four_words(h + 4, starts, 16);
    __m128i counter_low = load(work->counter_low + first);
    __m128i counter_high = load(work->counter_high + first);
    __m128i flags = load(start_flags);
    for (size_t i = 0; i + 1 < work->blocks_count; i++) {
        compress_four(h, blocks, i * MLP_BLAKE3_BLOCK_LEN, counter_low, counter_high,
                      SPLAT(MLP_BLAKE3_BLOCK_LEN), flags);
        flags = SPLAT(work->flags);
    }
    flags = _mm_or_si128(flags, load(work->flags_end + first));
    compress_four(h, last, 0, counter_low, counter_high, load(work->last_len + first), flags);
    store_lanes(h, work->cvs + first, count);
}

static void compress_lanes(const struct mlp_blake3_work *work)
{
    for (size_t first = 0; first < work->count; first += LANES) {
        size_t count = work->count - first < LANES ? work->count - first : LANES;
        if (count == 1)
            mlp_blake3_lane_by_blocks(work, first, &mlp_blake3_portable);
        else
            compress_up_to_four(work, first, count);
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

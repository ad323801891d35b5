/* blake3_avx512.c - the BLAKE3 kernel for AVX-512: sixteen lanes, one state word of all lanes in a
 * zmm register. State and message fill the 32 registers; a rotation is one instruction (vprord).
 */
#if defined(__x86_64__)

#include "hash/blake3_avx512_narrow.h"
#include "hash/blake3_rounds.h"

#if !defined(MLP_BLAKE3_AVX512_EMULATED) /* a test compiles this file over emulated intrinsics */
#include <immintrin.h>
#define TARGET    __attribute__((target("avx512f,avx512vl")))
#define WIDE_FROM (MLP_BLAKE3_AVX512_NARROW_MAX + 1) /* fewer lanes than this go elsewhere */
#endif

#define INLINE static inline __attribute__((always_inline))
#define LANES  16

#define ADD(a, b)   _mm512_add_epi32(a, b)
#define XOR(a, b)   _mm512_xor_si512(a, b)
#define ROTATE16(x) _mm512_ror_epi32(x, 16)
#define ROTATE12(x) _mm512_ror_epi32(x, 12)
#define ROTATE8(x)  _mm512_ror_epi32(x, 8)
#define ROTATE7(x)  _mm512_ror_epi32(x, 7)
#define MESSAGE(i)  m[i]

/* One line of each lane per block, spread over the 28 half rounds: four in every seven steps. */
#define PREFETCH(step)                                                                             \
    if ((step) % 7 < 4)                                                                            \
        fetch_ahead(blocks[(step) / 7 * 4 + (step) % 7], ahead);

#define SPLAT(word) _mm512_set1_epi32((int)(word))

/* A prefetch of an address outside the input does not fault; the sum is made as a number because a
 * pointer there would not be valid C. */
static inline void fetch_ahead(const uint8_t *block, uintptr_t ahead)
{
    __builtin_prefetch((const void *)((uintptr_t)block + ahead), 0, 2);
}

TARGET INLINE __m512i load(const uint32_t words[16])
{
    return _mm512_loadu_si512(words);
}

/* Half a block of two lanes, the second in the upper half. */
TARGET INLINE __m512i load_pair(const uint8_t *low, const uint8_t *high)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)low)),
                              _mm256_loadu_si256((const __m256i *)high), 1);
}

/* 4x4 words within each quarter of four vectors. */
TARGET INLINE void transpose_quarters(__m512i columns[4], __m512i row0, __m512i row1, __m512i row2,
                                      __m512i row3)
{
    __m512i low01 = _mm512_unpacklo_epi32(row0, row1);
    __m512i high01 = _mm512_unpackhi_epi32(row0, row1);
    __m512i low23 = _mm512_unpacklo_epi32(row2, row3);
    __m512i high23 = _mm512_unpackhi_epi32(row2, row3);
    columns[0] = _mm512_unpacklo_epi64(low01, low23);
    columns[1] = _mm512_unpackhi_epi64(low01, low23);
    columns[2] = _mm512_unpacklo_epi64(high01, high23);
    columns[3] = _mm512_unpackhi_epi64(high01, high23);
}

/* Eight words of eight lanes. columns[i] receives, in quarters: word i of lanes 0-3, word 4 + i of
 * lanes 0-3, word i of lanes 4-7, word 4 + i of lanes 4-7. */
TARGET INLINE void load_eight_lanes(__m512i columns[4], const uint8_t *const blocks[8],
                                    size_t offset)
{
    transpose_quarters(columns, load_pair(blocks[0] + offset, blocks[4] + offset),
                       load_pair(blocks[1] + offset, blocks[5] + offset),
                       load_pair(blocks[2] + offset, blocks[6] + offset),
                       load_pair(blocks[3] + offset, blocks[7] + offset));
}

/* Half of the message: eight words of sixteen lanes, a vector each. */
TARGET INLINE void load_eight_words(__m512i m[8], const uint8_t *const blocks[LANES], size_t offset)
{
    __m512i low[4], high[4];
    load_eight_lanes(low, blocks, offset);
    load_eight_lanes(high, blocks + 8, offset);
    m[0] = _mm512_shuffle_i32x4(low[0], high[0], 0x88); /* quarters 0 and 2 of both */
    m[1] = _mm512_shuffle_i32x4(low[1], high[1], 0x88);
    m[2] = _mm512_shuffle_i32x4(low[2], high[2], 0x88);
    m[3] = _mm512_shuffle_i32x4(low[3], high[3], 0x88);
    m[4] = _mm512_shuffle_i32x4(low[0], high[0], 0xDD); /* quarters 1 and 3 */
    m[5] = _mm512_shuffle_i32x4(low[1], high[1], 0xDD);
    m[6] = _mm512_shuffle_i32x4(low[2], high[2], 0xDD);
    m[7] = _mm512_shuffle_i32x4(low[3], high[3], 0xDD);
}

/* What is equal in all blocks of a call. */
struct constants {
    __m512i counter_low;
    __m512i counter_high;
    __m512i block_len;
    __m512i later_flags; /* of every block but the first */
    size_t distance;     /* how far ahead is prefetched */
};

/* Compresses count blocks of sixteen lanes into cv. */
TARGET static void compress_blocks(__m512i cv[8], const uint8_t *const blocks[LANES], size_t count,
                                   __m512i flags, const struct constants *constants)
{
    __m512i v0 = cv[0], v1 = cv[1], v2 = cv[2], v3 = cv[3];
    __m512i v4 = cv[4], v5 = cv[5], v6 = cv[6], v7 = cv[7];
    for (size_t offset = 0; offset < count * MLP_BLAKE3_BLOCK_LEN; offset += MLP_BLAKE3_BLOCK_LEN) {
        const size_t ahead = offset + constants->distance;
        __m512i m[16];
        load_eight_words(m, blocks, offset);
        load_eight_words(m + 8, blocks, offset + 32);
        __m512i v8 = SPLAT(MLP_BLAKE3_IV_0), v9 = SPLAT(MLP_BLAKE3_IV_1);
        __m512i v10 = SPLAT(MLP_BLAKE3_IV_2), v11 = SPLAT(MLP_BLAKE3_IV_3);
        __m512i v12 = constants->counter_low, v13 = constants->counter_high;
        __m512i v14 = constants->block_len, v15 = flags;

        MLP_BLAKE3_VECTOR_ROUNDS

        v0 = XOR(v0, v8);
        v1 = XOR(v1, v9);
        v2 = XOR(v2, v10);
        v3 = XOR(v3, v11);
        v4 = XOR(v4, v12);
        v5 = XOR(v5, v13);
        v6 = XOR(v6, v14);
        v7 = XOR(v7, v15);
        flags = constants->later_flags;
    }
    cv[0] = v0;
    cv[1] = v1;
    cv[2] = v2;
    cv[3] = v3;
    cv[4] = v4;
    cv[5] = v5;
    cv[6] = v6;
    cv[7] = v7;
}

/* Eight vectors of words to sixteen rows of 32 bytes. After the transposition within quarters,
 * quarter i of rows[j] and of rows[4 + j] are the halves of lane 4i + j. */
TARGET INLINE void store_lanes(const __m512i cv[8], uint8_t *const cvs[LANES], size_t count)
{
    __m512i rows[8];
    transpose_quarters(rows, cv[0], cv[1], cv[2], cv[3]);
    transpose_quarters(rows + 4, cv[4], cv[5], cv[6], cv[7]);
    __m256i lanes[LANES];
    for (size_t j = 0; j < 4; j++) {
        /* Quarters 0, 1 of both, then 2, 3 of both; 0xD8 puts equal lanes side by side. */
        __m512i front = _mm512_shuffle_i32x4(rows[j], rows[4 + j], 0x44);
        __m512i back = _mm512_shuffle_i32x4(rows[j], rows[4 + j], 0xEE);
        front = _mm512_shuffle_i32x4(front, front, 0xD8);
        back = _mm512_shuffle_i32x4(back, back, 0xD8);
        lanes[j] = _mm512_castsi512_si256(front);
        lanes[4 + j] = _mm512_extracti64x4_epi64(front, 1);
        lanes[8 + j] = _mm512_castsi512_si256(back);
        lanes[12 + j] = _mm512_extracti64x4_epi64(back, 1);
    }
    for (size_t i = 0; i < count; i++)
        _mm256_storeu_si256((__m256i *)cvs[i], lanes[i]);
}

/* Idle lanes read what lane 0 reads. */
static inline void set_blocks(const uint8_t *blocks[LANES], const uint8_t *const *from,
                              size_t count)
{
    for (size_t i = 0; i < LANES; i++)
        blocks[i] = from[i < count ? i : 0];
}

TARGET static void compress_up_to_sixteen(const struct mlp_blake3_work *work)
{
    const uint8_t *blocks[LANES];
    __m512i cv[8];
    for (size_t i = 0; i < 8; i++)
        cv[i] = SPLAT(work->key[i]);
    struct constants constants = {
        .counter_low = load(work->counter_low),
        .counter_high = load(work->counter_high),
        .block_len = SPLAT(MLP_BLAKE3_BLOCK_LEN),
        .later_flags = SPLAT(work->flags),
        .distance = work->blocks_count == MLP_BLAKE3_CHUNK_BLOCKS ? MLP_BLAKE3_AHEAD : 0,
    };
    __m512i flags = SPLAT(work->flags | work->flags_start);
    if (work->blocks_count > 1) {
        set_blocks(blocks, work->blocks, work->count);
        compress_blocks(cv, blocks, work->blocks_count - 1, flags, &constants);
        flags = constants.later_flags;
    }
    set_blocks(blocks, work->last_block, work->count);
    constants.block_len = load(work->last_len);
    compress_blocks(cv, blocks, 1, _mm512_or_si512(flags, load(work->flags_end)), &constants);
    store_lanes(cv, work->cvs, work->count);
}

static void compress_lanes(const struct mlp_blake3_work *work)
{
    if (work->count < WIDE_FROM)
        mlp_blake3_avx512_narrow(work);
    else
        compress_up_to_sixteen(work);
}

const struct mlp_blake3_kernel mlp_blake3_avx512 = {
    .name = "avx512",
    .lanes = LANES,
    .compress = mlp_blake3_compress_avx512,
    .compress_lanes = compress_lanes,
};

#else
typedef int mlp_blake3_avx512_is_for_x86_64; /* ISO C forbids an empty file */
#endif

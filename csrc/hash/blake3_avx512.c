/* blake3_avx512.c - the BLAKE3 kernel for AVX-512: sixteen lanes, one state word of all lanes in a
 * zmm register. A rotation is one instruction (vprord). The transposed message goes through memory: the
 * first rounds then begin while the rest of it is still being transposed, which a lone block gains most
 * from (535 cycles instead of 640, against 535 and 545 a block in a whole chunk [measured: Zen 4]).
 */
#if defined(__x86_64__)

#include "hash/blake3_rounds.h"

#if !defined(MLP_BLAKE3_AVX512_EMULATED) /* a test compiles this file over emulated intrinsics */
#include <immintrin.h>
#define TARGET    __attribute__((target("avx512f,avx512vl")))
#define WIDE_FROM 9 /* fewer lanes than this go through the AVX2 kernel */
#endif

#define INLINE static inline __attribute__((always_inline))
#define LANES  16

#define ADD(a, b)   _mm512_add_epi32(a, b)
#define XOR(a, b)   _mm512_xor_si512(a, b)
#define ROTATE16(x) _mm512_ror_epi32(x, 16)
#define ROTATE12(x) _mm512_ror_epi32(x, 12)
#define ROTATE8(x)  _mm512_ror_epi32(x, 8)
#define ROTATE7(x)  _mm512_ror_epi32(x, 7)
#define MESSAGE(i)  message[i]

/* One line of each lane per block, spread over the 28 half rounds: four in every seven steps. */
#define PREFETCH(step)                                                                             \
    if ((step) % 7 < 4)                                                                            \
        __builtin_prefetch((const void *)(work->ahead[(step) / 7 * 4 + (step) % 7] + ahead), 0, 2);

#define SPLAT(word) _mm512_set1_epi32((int)(word))

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

/* Compresses count blocks of sixteen lanes into cv; the first of them is the lanes' first-th. flags: of
 * that block; those after it have work->flags. */
TARGET static void compress_blocks(__m512i cv[8], const struct mlp_blake3_work *work,
                                   const uint8_t *const blocks[LANES], size_t first, size_t count,
                                   __m512i block_len, __m512i flags)
{
    __m512i message[16];
    __m512i v0 = cv[0], v1 = cv[1], v2 = cv[2], v3 = cv[3];
    __m512i v4 = cv[4], v5 = cv[5], v6 = cv[6], v7 = cv[7];
    for (size_t offset = 0; offset < count * MLP_BLAKE3_BLOCK_LEN; offset += MLP_BLAKE3_BLOCK_LEN) {
        const size_t ahead = first * MLP_BLAKE3_BLOCK_LEN + offset;
        load_eight_words(message, blocks, offset);
        load_eight_words(message + 8, blocks, offset + 32);
        __asm__ volatile("" : : "r"(message) : "memory");
        __m512i v8 = SPLAT(MLP_BLAKE3_IV_0), v9 = SPLAT(MLP_BLAKE3_IV_1);
        __m512i v10 = SPLAT(MLP_BLAKE3_IV_2), v11 = SPLAT(MLP_BLAKE3_IV_3);
        __m512i v12 = load(work->counter_low), v13 = load(work->counter_high);
        __m512i v14 = block_len, v15 = flags;

        MLP_BLAKE3_VECTOR_ROUNDS

        v0 = XOR(v0, v8);
        v1 = XOR(v1, v9);
        v2 = XOR(v2, v10);
        v3 = XOR(v3, v11);
        v4 = XOR(v4, v12);
        v5 = XOR(v5, v13);
        v6 = XOR(v6, v14);
        v7 = XOR(v7, v15);
        flags = SPLAT(work->flags);
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

/* Chaining values and flags before the first block. */
TARGET static void start_lanes(__m512i cv[8], __m512i *flags, const struct mlp_blake3_work *work)
{
    if (work->resumed == 0) {
        for (size_t i = 0; i < 8; i++)
            cv[i] = SPLAT(work->key[i]);
        *flags = SPLAT(work->flags | work->flags_start);
        return;
    }
    const uint8_t *starts[LANES];
    uint32_t start_flags[LANES];
    mlp_blake3_lane_starts(starts, start_flags, work, 0, LANES);
    load_eight_words(cv, starts, 0);
    *flags = load(start_flags);
}

/* All sixteen rows are used; the chaining values of count lanes are stored. */
TARGET static void compress_sixteen(const struct mlp_blake3_work *work, size_t count)
{
    __m512i cv[8], flags;
    start_lanes(cv, &flags, work);
    size_t before_last = work->blocks_count - 1;
    if (before_last > 0) {
        compress_blocks(cv, work, work->blocks, 0, before_last, SPLAT(MLP_BLAKE3_BLOCK_LEN), flags);
        flags = SPLAT(work->flags);
    }
    compress_blocks(cv, work, work->last_block, before_last, 1, load(work->last_len),
                    _mm512_or_si512(flags, load(work->flags_end)));
    store_lanes(cv, work->cvs, count);
}

/* Idle lanes do what lane 0 does. */
static void compress_padded(const struct mlp_blake3_work *work)
{
    struct mlp_blake3_work padded = *work;
    for (size_t i = work->count; i < LANES; i++) {
        padded.blocks[i] = work->blocks[0];
        padded.last_block[i] = work->last_block[0];
        padded.ahead[i] = work->ahead[0];
    }
    compress_sixteen(&padded, work->count);
}

static void compress_lanes(const struct mlp_blake3_work *work)
{
    if (work->count == 1)
        mlp_blake3_lane_by_blocks(work, 0, &mlp_blake3_portable);
    else if (work->count < WIDE_FROM)
        mlp_blake3_avx2.compress_lanes(work);
    else if (work->count < LANES)
        compress_padded(work);
    else
        compress_sixteen(work, LANES);
}

const struct mlp_blake3_kernel mlp_blake3_avx512 = {
    .name = "avx512",
    .lanes = LANES,
    .compress = mlp_blake3_compress_portable,
    .compress_lanes = compress_lanes,
};

#else
typedef int mlp_blake3_avx512_is_for_x86_64; /* ISO C forbids an empty file */
#endif

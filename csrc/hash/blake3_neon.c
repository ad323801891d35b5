/* blake3_neon.c - the BLAKE3 kernel for AArch64: eight lanes in pairs of vectors, or four.
 *
 * Half a G is a chain of seven dependent instructions, about fourteen cycles where additions,
 * exclusive ors, shifts and table lookups take two. Four Gs of four lanes are 32 instructions:
 * sixteen cycles for two vector pipes (Neoverse N1), which they keep busy, but eight for four pipes
 * (Neoverse V1, Apple), which would wait for the chain: these need the second, independent chain
 * that eight lanes give. Cycles for one block of eight lanes by LLVM 19's models of the processors,
 * for no machine was at hand:
 *
 *                            N1     V1     V2  Apple M1
 *     four lanes, twice    1077    970    964       984
 *     eight, compiled      1288    622    592       758
 *     eight, assembly      1140    574    544       736
 *
 * Eight lanes are written in assembly: 32 registers must hold 32 vectors of state and temporaries,
 * and gcc and clang spill about eight of them at every half round. Nothing is prefetched: whether
 * that gains anything can only be seen on a machine.
 */
#if defined(__aarch64__)

#include "hash/blake3_rounds.h"

#include <arm_neon.h>
#include <stddef.h>

#define INLINE static inline __attribute__((always_inline))
#define FOUR   4
#define EIGHT  8

/* ---- both widths ---- */

/* The bytes may have any alignment. */
INLINE uint32x4_t load_words(const uint8_t *bytes)
{
    return vreinterpretq_u32_u8(vld1q_u8(bytes));
}

INLINE uint32x4_t low_pairs(uint32x4_t a, uint32x4_t b)
{
    return vreinterpretq_u32_u64(vzip1q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b)));
}

INLINE uint32x4_t high_pairs(uint32x4_t a, uint32x4_t b)
{
    return vreinterpretq_u32_u64(vzip2q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b)));
}

/* Four rows of four words to four vectors of one word each, or back. */
INLINE void transpose(uint32x4_t columns[4], uint32x4_t row0, uint32x4_t row1, uint32x4_t row2,
                      uint32x4_t row3)
{
    uint32x4_t even01 = vtrn1q_u32(row0, row1);
    uint32x4_t odd01 = vtrn2q_u32(row0, row1);
    uint32x4_t even23 = vtrn1q_u32(row2, row3);
    uint32x4_t odd23 = vtrn2q_u32(row2, row3);
    columns[0] = low_pairs(even01, even23);
    columns[1] = low_pairs(odd01, odd23);
    columns[2] = high_pairs(even01, even23);
    columns[3] = high_pairs(odd01, odd23);
}

INLINE void store_lanes(uint8_t *const *cvs, const uint32x4_t low_words[4],
                        const uint32x4_t high_words[4], size_t count)
{
    uint32x4_t low[4], high[4];
    transpose(low, low_words[0], low_words[1], low_words[2], low_words[3]);
    transpose(high, high_words[0], high_words[1], high_words[2], high_words[3]);
    for (size_t i = 0; i < count; i++) {
        vst1q_u8(cvs[i], vreinterpretq_u8_u32(low[i]));
        vst1q_u8(cvs[i] + 16, vreinterpretq_u8_u32(high[i]));
    }
}

/* A rotation rightwards by 8, as a lookup of bytes. */
static const uint8_t rotate8_order[16] = {1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12};

/* Pointers of lanes lanes; the idle ones' are like the first. */
INLINE void pad_rows(const uint8_t **padded, size_t lanes, const uint8_t *const *rows, size_t count)
{
    for (size_t i = 0; i < lanes; i++)
        padded[i] = rows[i < count ? i : 0];
}

/* ---- eight lanes ---- */

/* What the assembly works on; it finds the members by their offsets, none beyond what ldp reaches.
 * A row is one word of lanes 0 to 3, then of lanes 4 to 7. */
struct frame {
    uint32x4_t message[16][2];
    uint32x4_t cv[8][2];
    uint32x4_t words[8][2]; /* state words 8 to 15 before the rounds; word 8 during them */
    uint8x16_t rotate8;
};

/* The macros below are read as assembly. State word i is in register i (lanes 0 to 3) and register
 * 16 + i (lanes 4 to 7), except that word 8 lives in memory between its uses: registers 8 and 24 are
 * temporaries. */
/* clang-format off */
#define A(i) #i
#define B(i) B_##i
#define B_0  "16"
#define B_1  "17"
#define B_2  "18"
#define B_3  "19"
#define B_4  "20"
#define B_5  "21"
#define B_6  "22"
#define B_7  "23"
#define B_8  "24"
#define B_9  "25"
#define B_10 "26"
#define B_11 "27"
#define B_12 "28"
#define B_13 "29"
#define B_14 "30"
#define B_15 "31"

#define AT(place, i)         "[%[frame], #%c[" #place "]+32*" #i "]\n\t"
#define LOAD(i, place, j)    "ldp q" A(i) ", q" B(i) ", " AT(place, j)
#define STORE(i, place, j)   "stp q" A(i) ", q" B(i) ", " AT(place, j)
#define ADD_VECTOR(d, s)     "add v" d ".4s, v" d ".4s, v" s ".4s\n\t"
#define XOR_VECTOR(d, s, t)  "eor v" d ".16b, v" s ".16b, v" t ".16b\n\t"
#define ADD_TO(d, s)         ADD_VECTOR(A(d), A(s)) ADD_VECTOR(B(d), B(s))
#define XOR_BOTH(d, s, t)    XOR_VECTOR(A(d), A(s), A(t)) XOR_VECTOR(B(d), B(s), B(t))
#define ADD_MESSAGE(d, i)    LOAD(8, message, i) ADD_TO(d, 8)

/* Rotations rightwards. By 16: the halves of each word change places. By 8: a lookup of bytes, whose
 * table is loaded into register 8 first. By 12 and 7: from the temporaries, a shift leftwards and
 * one rightwards that inserts. */
#define REV32(d)             "rev32 v" d ".8h, v" d ".8h\n\t"
#define TBL(d)               "tbl v" d ".16b, {v" d ".16b}, v8.16b\n\t"
#define ROTATE_16(d)         REV32(A(d)) REV32(B(d))
#define ROTATE_8(d)          TBL(A(d)) TBL(B(d))
#define PREPARE_16
#define PREPARE_8            "ldr q8, " AT(rotate8, 0)
#define SHIFTS(d, t, n)      "shl v" d ".4s, v" t ".4s, #32-" #n "\n\t"                            \
                             "sri v" d ".4s, v" t ".4s, #" #n "\n\t"
#define XOR_ROTATE(b, c, n)  XOR_BOTH(8, b, c) SHIFTS(A(b), A(8), n) SHIFTS(B(b), B(8), n)

/* Section 2.2, half a G: a += b + m; d = (d ^ a) >>> r; then c += d; b = (b ^ c) >>> n. */
#define A_AND_D(b0, b1, b2, b3, d0, d1, d2, d3, m0, m1, m2, m3, r)                                 \
    ADD_MESSAGE(0, m0) ADD_MESSAGE(1, m1) ADD_MESSAGE(2, m2) ADD_MESSAGE(3, m3)                    \
    ADD_TO(0, b0) ADD_TO(1, b1) ADD_TO(2, b2) ADD_TO(3, b3)                                        \
    XOR_BOTH(d0, d0, 0) XOR_BOTH(d1, d1, 1) XOR_BOTH(d2, d2, 2) XOR_BOTH(d3, d3, 3)                \
    PREPARE_##r ROTATE_##r(d0) ROTATE_##r(d1) ROTATE_##r(d2) ROTATE_##r(d3)
#define WORD_8_AND_B(b, d, n)                                                                      \
    LOAD(8, words, 0) ADD_TO(8, d) STORE(8, words, 0) XOR_ROTATE(b, 8, n)
#define C_AND_B(b, c, d, n)                                                                        \
    ADD_TO(c, d) XOR_ROTATE(b, c, n)
#define COLUMNS_C_AND_B(n)                                                                         \
    WORD_8_AND_B(4, 12, n) C_AND_B(5, 9, 13, n) C_AND_B(6, 10, 14, n) C_AND_B(7, 11, 15, n)
#define DIAGONALS_C_AND_B(n)                                                                       \
    C_AND_B(5, 10, 15, n) C_AND_B(6, 11, 12, n) WORD_8_AND_B(7, 13, n) C_AND_B(4, 9, 14, n)

#define ROUND_OF_EIGHT(r, m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15)    \
    A_AND_D(4, 5, 6, 7, 12, 13, 14, 15, m0, m2, m4, m6, 16)                                        \
    COLUMNS_C_AND_B(12)                                                                            \
    A_AND_D(4, 5, 6, 7, 12, 13, 14, 15, m1, m3, m5, m7, 8)                                         \
    COLUMNS_C_AND_B(7)                                                                             \
    A_AND_D(5, 6, 7, 4, 15, 12, 13, 14, m8, m10, m12, m14, 16)                                     \
    DIAGONALS_C_AND_B(12)                                                                          \
    A_AND_D(5, 6, 7, 4, 15, 12, 13, 14, m9, m11, m13, m15, 8)                                      \
    DIAGONALS_C_AND_B(7)
/* clang-format on */

INLINE uint32x4_t splat(uint32_t word)
{
    return vdupq_n_u32(word);
}

/* Sixteen bytes of eight blocks to rows of message words. */
INLINE void load_rows(uint32x4_t rows[4][2], const uint8_t *const blocks[EIGHT], size_t offset)
{
    for (size_t half = 0; half < 2; half++) {
        const uint8_t *const *four = blocks + half * FOUR;
        uint32x4_t columns[4];
        transpose(columns, load_words(four[0] + offset), load_words(four[1] + offset),
                  load_words(four[2] + offset), load_words(four[3] + offset));
        rows[0][half] = columns[0];
        rows[1][half] = columns[1];
        rows[2][half] = columns[2];
        rows[3][half] = columns[3];
    }
}

#define OFFSET(member) [member] "i"(offsetof(struct frame, member))

/* Compresses frame->message into frame->cv. */
INLINE void compress_eight(struct frame *frame)
{
    /* clang-format off */
    __asm__ volatile(
        LOAD(0, cv, 0) LOAD(1, cv, 1) LOAD(2, cv, 2) LOAD(3, cv, 3)
        LOAD(4, cv, 4) LOAD(5, cv, 5) LOAD(6, cv, 6) LOAD(7, cv, 7)
        LOAD(9, words, 1) LOAD(10, words, 2) LOAD(11, words, 3)
        LOAD(12, words, 4) LOAD(13, words, 5) LOAD(14, words, 6) LOAD(15, words, 7)
        MLP_BLAKE3_SEVEN_ROUNDS(ROUND_OF_EIGHT)
        LOAD(8, words, 0)
        XOR_BOTH(0, 0, 8) XOR_BOTH(1, 1, 9) XOR_BOTH(2, 2, 10) XOR_BOTH(3, 3, 11)
        XOR_BOTH(4, 4, 12) XOR_BOTH(5, 5, 13) XOR_BOTH(6, 6, 14) XOR_BOTH(7, 7, 15)
        STORE(0, cv, 0) STORE(1, cv, 1) STORE(2, cv, 2) STORE(3, cv, 3)
        STORE(4, cv, 4) STORE(5, cv, 5) STORE(6, cv, 6) STORE(7, cv, 7)
        :
        : [frame] "r"(frame), OFFSET(message), OFFSET(cv), OFFSET(words), OFFSET(rotate8)
        : "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11",
          "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23",
          "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
    /* clang-format on */
}

INLINE void set_row(uint32x4_t row[2], uint32x4_t both)
{
    row[0] = both;
    row[1] = both;
}

INLINE void load_row(uint32x4_t row[2], const uint32_t *words)
{
    row[0] = vld1q_u32(words);
    row[1] = vld1q_u32(words + FOUR);
}

/* Lanes first to first + count - 1, count at most eight. */
static void compress_up_to_eight(const struct mlp_blake3_work *work, size_t first, size_t count)
{
    const uint8_t *blocks[EIGHT], *last[EIGHT];
    pad_rows(blocks, EIGHT, work->blocks + first, count);
    pad_rows(last, EIGHT, work->last_block + first, count);
    const uint8_t *starts[EIGHT];
    uint32_t start_flags[EIGHT];
    mlp_blake3_lane_starts(starts, start_flags, work, first, EIGHT);
    struct frame frame;
    frame.rotate8 = vld1q_u8(rotate8_order);
    load_rows(frame.cv, starts, 0);
    load_rows(frame.cv + 4, starts, 16);
    for (size_t i = 1; i < 4; i++)
        set_row(frame.words[i], splat(mlp_blake3_iv[i]));
    load_row(frame.words[4], work->counter_low + first);
    load_row(frame.words[5], work->counter_high + first);
    set_row(frame.words[6], splat(MLP_BLAKE3_BLOCK_LEN));
    load_row(frame.words[7], start_flags);
    const uint8_t *const *from = blocks;
    size_t offset = 0;
    for (size_t left = work->blocks_count; left > 0; left--) {
        if (left == 1) {
            uint32x4_t end[2];
            load_row(end, work->flags_end + first);
            load_row(frame.words[6], work->last_len + first);
            frame.words[7][0] = vorrq_u32(frame.words[7][0], end[0]);
            frame.words[7][1] = vorrq_u32(frame.words[7][1], end[1]);
            from = last;
            offset = 0;
        }
        load_rows(frame.message, from, offset);
        load_rows(frame.message + 4, from, offset + 16);
        load_rows(frame.message + 8, from, offset + 32);
        load_rows(frame.message + 12, from, offset + 48);
        set_row(frame.words[0], splat(MLP_BLAKE3_IV_0));
        compress_eight(&frame);
        set_row(frame.words[7], splat(work->flags));
        offset += MLP_BLAKE3_BLOCK_LEN;
    }
    for (size_t half = 0; half < 2 && half * FOUR < count; half++) {
        uint32x4_t h[8];
        for (size_t i = 0; i < 8; i++)
            h[i] = frame.cv[i][half];
        size_t left = count - half * FOUR;
        store_lanes(work->cvs + first + half * FOUR, h, h + 4, left < FOUR ? left : FOUR);
    }
}

/* ---- four lanes ---- */

#define ADD(a, b)   vaddq_u32(a, b)
#define XOR(a, b)   veorq_u32(a, b)
#define ROTATE16(x) vreinterpretq_u32_u16(vrev32q_u16(vreinterpretq_u16_u32(x)))
#define ROTATE12(x) vsriq_n_u32(vshlq_n_u32(x, 32 - 12), x, 12)
#define ROTATE8(x)  vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_u32(x), rotate8))
#define ROTATE7(x)  vsriq_n_u32(vshlq_n_u32(x, 32 - 7), x, 7)
#define MESSAGE(i)  m[i]
#define PREFETCH(step)

INLINE void load_four_words(uint32x4_t m[4], const uint8_t *const blocks[FOUR], size_t offset)
{
    transpose(m, load_words(blocks[0] + offset), load_words(blocks[1] + offset),
              load_words(blocks[2] + offset), load_words(blocks[3] + offset));
}

/* One block of four lanes. */
INLINE void compress_four(uint32x4_t h[8], const uint8_t *const blocks[FOUR], size_t offset,
                          uint32x4_t counter_low, uint32x4_t counter_high, uint32x4_t block_len,
                          uint32x4_t flags)
{
    const uint8x16_t rotate8 = vld1q_u8(rotate8_order);
    uint32x4_t m[16];
    load_four_words(m, blocks, offset);
    load_four_words(m + 4, blocks, offset + 16);
    load_four_words(m + 8, blocks, offset + 32);
    load_four_words(m + 12, blocks, offset + 48);
    uint32x4_t v0 = h[0], v1 = h[1], v2 = h[2], v3 = h[3];
    uint32x4_t v4 = h[4], v5 = h[5], v6 = h[6], v7 = h[7];
    uint32x4_t v8 = splat(MLP_BLAKE3_IV_0), v9 = splat(MLP_BLAKE3_IV_1);
    uint32x4_t v10 = splat(MLP_BLAKE3_IV_2), v11 = splat(MLP_BLAKE3_IV_3);
    uint32x4_t v12 = counter_low, v13 = counter_high, v14 = block_len, v15 = flags;

    MLP_BLAKE3_VECTOR_ROUNDS

    MLP_BLAKE3_FEED_FORWARD(h)
}

/* Lanes first to first + count - 1, count at most four. */
static void compress_up_to_four(const struct mlp_blake3_work *work, size_t first, size_t count)
{
    const uint8_t *blocks[FOUR], *last[FOUR];
    pad_rows(blocks, FOUR, work->blocks + first, count);
    pad_rows(last, FOUR, work->last_block + first, count);
    const uint8_t *starts[FOUR];
    uint32_t start_flags[FOUR];
    mlp_blake3_lane_starts(starts, start_flags, work, first, FOUR);
    uint32x4_t h[8];
    load_four_words(h, starts, 0);
    load_four_words(h + 4, starts, 16);
    uint32x4_t counter_low = vld1q_u32(work->counter_low + first);
    uint32x4_t counter_high = vld1q_u32(work->counter_high + first);
    uint32x4_t block_len = splat(MLP_BLAKE3_BLOCK_LEN);
    uint32x4_t flags = vld1q_u32(start_flags);
    const uint8_t *const *from = blocks;
    size_t offset = 0;
    for (size_t left = work->blocks_count; left > 0; left--) {
        if (left == 1) {
            from = last;
            offset = 0;
            block_len = vld1q_u32(work->last_len + first);
            flags = vorrq_u32(flags, vld1q_u32(work->flags_end + first));
        }
        compress_four(h, from, offset, counter_low, counter_high, block_len, flags);
        flags = splat(work->flags);
        offset += MLP_BLAKE3_BLOCK_LEN;
    }
    store_lanes(work->cvs + first, h, h + 4, count);
}

static void compress_lanes(const struct mlp_blake3_work *work)
{
    for (size_t first = 0; first < work->count; first += EIGHT) {
        size_t count = work->count - first < EIGHT ? work->count - first : EIGHT;
        if (count == 1)
            mlp_blake3_lane_by_blocks(work, first, &mlp_blake3_portable);
        else if (count <= FOUR)
            compress_up_to_four(work, first, count);
        else
            compress_up_to_eight(work, first, count);
    }
}

const struct mlp_blake3_kernel mlp_blake3_neon = {
    .name = "neon",
    .lanes = EIGHT,
    .compress = mlp_blake3_compress_portable,
    .compress_lanes = compress_lanes,
};

#else
typedef int mlp_blake3_neon_is_for_aarch64; /* ISO C forbids an empty file */
#endif

/* blake3_avx2.c - the BLAKE3 kernel for AVX2: eight lanes, one state word of all lanes in a ymm
 * register.
 *
 * The loop over blocks is written in assembly: sixteen registers must hold sixteen state words and
 * a temporary, and compilers spill two to four words at every half round, which costs a fifth of
 * the speed. Here register i holds state word i, except that word 8 lives in memory between its
 * uses; ymm8 is the temporary of the rotations that are no shuffle. Between blocks registers 0 to 7
 * keep the chaining values while 8 to 15 transpose the next message; the processor overlaps that
 * with the rounds before it.
 */
#if defined(__x86_64__)

#include "hash/blake3_kernel.h"

#include <immintrin.h>
#include <stddef.h>

#define TARGET __attribute__((target("avx2")))
#define LANES  8

#define SPLAT(word) _mm256_set1_epi32((int)(word))

/* What the assembly works on; it finds the members by their offsets. */
struct frame {
    __m256i message[16];
    __m256i cv[8];
    __m256i word8;
    __m256i counter_low;
    __m256i counter_high;
    __m256i block_len;
    __m256i flags;       /* of the first block */
    __m256i later_flags; /* of the others */
};

#define EIGHT_TIMES(word)                                                                          \
    {                                                                                              \
        word, word, word, word, word, word, word, word                                             \
    }

static const struct constants {
    uint32_t iv[4][LANES];
    uint8_t rotate16[32]; /* shuffles of bytes, for rotations rightwards */
    uint8_t rotate8[32];
} constants __attribute__((aligned(32))) = {
    .iv = {EIGHT_TIMES(MLP_BLAKE3_IV_0), EIGHT_TIMES(MLP_BLAKE3_IV_1), EIGHT_TIMES(MLP_BLAKE3_IV_2),
           EIGHT_TIMES(MLP_BLAKE3_IV_3)},
    .rotate16 = {2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13,
                 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13},
    .rotate8 = {1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12,
                1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12},
};

/* The macros below are read as assembly: a line is one step of four independent Gs. */
/* clang-format off */
#define Y(i)               "%%ymm" #i
#define AT(place, i)       "32*" #i "+%c[" #place "](%%rdi)"
#define CONSTANT(place, i) "32*" #i "+%c[" #place "](%%rsi)"
#define LOAD(d, place, i)  "vmovdqa " AT(place, i) ", " Y(d) "\n\t"
#define LOAD_IV(d, i)      "vmovdqa " CONSTANT(iv, i) ", " Y(d) "\n\t"
#define STORE(d, place, i) "vmovdqa " Y(d) ", " AT(place, i) "\n\t"
#define ADD(d, s)          "vpaddd " Y(s) ", " Y(d) ", " Y(d) "\n\t"
#define XOR(d, s)          "vpxor " Y(s) ", " Y(d) ", " Y(d) "\n\t"
#define ADD_MESSAGE(d, i)  "vpaddd " AT(message, i) ", " Y(d) ", " Y(d) "\n\t"
#define SHUFFLE(d, by)     "vpshufb " CONSTANT(by, 0) ", " Y(d) ", " Y(d) "\n\t"
#define ADD_TO_8(s, from)  "vpaddd " from ", " Y(s) ", " Y(8) "\n\t"
#define WORD_8             AT(word8, 0)
#define PUT_8_AWAY         STORE(8, word8, 0)
#define ROTATE(d, n)                                                                               \
    "vpsrld $" #n ", " Y(d) ", " Y(8) "\n\t"                                                       \
    "vpslld $32-" #n ", " Y(d) ", " Y(d) "\n\t"                                                    \
    "vpor " Y(8) ", " Y(d) ", " Y(d) "\n\t"
#define PREFETCH(lane)                                                                             \
    "movq 8*" #lane "(%%rbx), %%rdx\n\t"                                                           \
    "prefetcht1 (%%rdx,%%rax)\n\t"

/* Section 2.2, half a G: a += b + m; d = (d ^ a) >>> r; then c += d; b = (b ^ c) >>> n. */
#define A_AND_D(b0, b1, b2, b3, d0, d1, d2, d3, m0, m1, m2, m3, r)                                 \
    ADD_MESSAGE(0, m0) ADD_MESSAGE(1, m1) ADD_MESSAGE(2, m2) ADD_MESSAGE(3, m3)                    \
    ADD(0, b0) ADD(1, b1) ADD(2, b2) ADD(3, b3)                                                    \
    XOR(d0, 0) XOR(d1, 1) XOR(d2, 2) XOR(d3, 3)                                                    \
    SHUFFLE(d0, r) SHUFFLE(d1, r) SHUFFLE(d2, r) SHUFFLE(d3, r)
#define C_AND_B_OF_COLUMNS(n, from)                                                                \
    ADD_TO_8(12, from) ADD(9, 13) ADD(10, 14) ADD(11, 15)                                          \
    XOR(4, 8) PUT_8_AWAY XOR(5, 9) XOR(6, 10) XOR(7, 11)                                           \
    ROTATE(4, n) ROTATE(5, n) ROTATE(6, n) ROTATE(7, n)
#define C_AND_B_OF_DIAGONALS(n)                                                                    \
    ADD(10, 15) ADD(11, 12) ADD_TO_8(13, WORD_8) ADD(9, 14)                                         \
    XOR(5, 10) XOR(6, 11) XOR(7, 8) PUT_8_AWAY XOR(4, 9)                                           \
    ROTATE(5, n) ROTATE(6, n) ROTATE(7, n) ROTATE(4, n)

#define ROUND(r, m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15)             \
    A_AND_D(4, 5, 6, 7, 12, 13, 14, 15, m0, m2, m4, m6, rotate16)                                  \
    C_AND_B_OF_COLUMNS(12, FROM_##r)                                                               \
    AHEAD_##r##_0                                                                                  \
    A_AND_D(4, 5, 6, 7, 12, 13, 14, 15, m1, m3, m5, m7, rotate8)                                   \
    C_AND_B_OF_COLUMNS(7, WORD_8)                                                                   \
    A_AND_D(5, 6, 7, 4, 15, 12, 13, 14, m8, m10, m12, m14, rotate16)                               \
    C_AND_B_OF_DIAGONALS(12)                                                                       \
    AHEAD_##r##_1                                                                                  \
    A_AND_D(5, 6, 7, 4, 15, 12, 13, 14, m9, m11, m13, m15, rotate8)                                \
    C_AND_B_OF_DIAGONALS(7)

/* Where a round's first addition to word 8 finds it. */
#define FROM_0 CONSTANT(iv, 0)
#define FROM_1 WORD_8
#define FROM_2 WORD_8
#define FROM_3 WORD_8
#define FROM_4 WORD_8
#define FROM_5 WORD_8
#define FROM_6 WORD_8

/* One line of every lane, spread over the rounds: in a burst it gains little. */
#define AHEAD_0_0
#define AHEAD_0_1 PREFETCH(0)
#define AHEAD_1_0 PREFETCH(1)
#define AHEAD_1_1
#define AHEAD_2_0 PREFETCH(2)
#define AHEAD_2_1 PREFETCH(3)
#define AHEAD_3_0
#define AHEAD_3_1 PREFETCH(4)
#define AHEAD_4_0 PREFETCH(5)
#define AHEAD_4_1
#define AHEAD_5_0 PREFETCH(6)
#define AHEAD_5_1 PREFETCH(7)
#define AHEAD_6_0
#define AHEAD_6_1

/* Sixteen bytes of lanes i and 4 + i in the halves of a register. */
#define LOAD_TWO(d, at, low, high)                                                                 \
    "vmovdqu " #at "(%%" low ",%%rax), %%xmm" #d "\n\t"                                            \
    "vinserti128 $1, " #at "(%%" high ",%%rax), " Y(d) ", " Y(d) "\n\t"
#define UNPACK(how, d, s, t) "vpunpck" how " " Y(t) ", " Y(s) ", " Y(d) "\n\t"
/* Message words i0 to i3, bytes at to at + 15 of a block: 4x4 words transposed in either half. */
#define TRANSPOSE(at, i0, i1, i2, i3)                                                              \
    LOAD_TWO(8, at, "r8", "r12") LOAD_TWO(9, at, "r9", "r13")                                      \
    LOAD_TWO(10, at, "r10", "r14") LOAD_TWO(11, at, "r11", "r15")                                  \
    UNPACK("ldq", 12, 8, 9) UNPACK("hdq", 13, 8, 9)                                                \
    UNPACK("ldq", 14, 10, 11) UNPACK("hdq", 15, 10, 11)                                            \
    UNPACK("lqdq", 8, 12, 14) UNPACK("hqdq", 9, 12, 14)                                            \
    UNPACK("lqdq", 10, 13, 15) UNPACK("hqdq", 11, 13, 15)                                          \
    STORE(8, message, i0) STORE(9, message, i1) STORE(10, message, i2) STORE(11, message, i3)

#define OFFSET(member)          [member] "i"(offsetof(struct frame, member))
#define CONSTANT_OFFSET(member) [member] "i"(offsetof(struct constants, member))

/* Compresses count > 0 blocks of every lane into frame->cv. blocks, ahead: of the eight lanes. In the
 * loop: rdi: frame; rsi: constants; r8 to r15: the lanes' blocks; rbx: where their addresses ahead are;
 * rax: offset in both; rcx: blocks left. */
TARGET static void compress_blocks(struct frame *frame, const uint8_t *const *blocks,
                                   const uintptr_t *ahead, size_t count)
{
    __asm__ volatile(
        "movq 0(%%rax), %%r8\n\t"
        "movq 8(%%rax), %%r9\n\t"
        "movq 16(%%rax), %%r10\n\t"
        "movq 24(%%rax), %%r11\n\t"
        "movq 32(%%rax), %%r12\n\t"
        "movq 40(%%rax), %%r13\n\t"
        "movq 48(%%rax), %%r14\n\t"
        "movq 56(%%rax), %%r15\n\t"
        LOAD(0, cv, 0) LOAD(1, cv, 1) LOAD(2, cv, 2) LOAD(3, cv, 3)
        LOAD(4, cv, 4) LOAD(5, cv, 5) LOAD(6, cv, 6) LOAD(7, cv, 7)
        "xorl %%eax, %%eax\n\t"
        ".p2align 5\n"
        "0:\n\t"
        TRANSPOSE(0, 0, 1, 2, 3) TRANSPOSE(16, 4, 5, 6, 7)
        TRANSPOSE(32, 8, 9, 10, 11) TRANSPOSE(48, 12, 13, 14, 15)
        LOAD_IV(9, 1) LOAD_IV(10, 2) LOAD_IV(11, 3)
        LOAD(12, counter_low, 0) LOAD(13, counter_high, 0) LOAD(14, block_len, 0) LOAD(15, flags, 0)
        MLP_BLAKE3_SEVEN_ROUNDS(ROUND)
        LOAD(8, later_flags, 0) STORE(8, flags, 0)
        LOAD(8, word8, 0)
        XOR(0, 8) XOR(1, 9) XOR(2, 10) XOR(3, 11)
        XOR(4, 12) XOR(5, 13) XOR(6, 14) XOR(7, 15)
        "addq $64, %%rax\n\t"
        "decq %%rcx\n\t"
        "jnz 0b\n\t"
        STORE(0, cv, 0) STORE(1, cv, 1) STORE(2, cv, 2) STORE(3, cv, 3)
        STORE(4, cv, 4) STORE(5, cv, 5) STORE(6, cv, 6) STORE(7, cv, 7)
        : "+a"(blocks), "+c"(count)
        : "D"(frame), "S"(&constants), "b"(ahead), OFFSET(message), OFFSET(cv), OFFSET(word8),
          OFFSET(counter_low), OFFSET(counter_high), OFFSET(block_len), OFFSET(flags),
          OFFSET(later_flags), CONSTANT_OFFSET(iv), CONSTANT_OFFSET(rotate16),
          CONSTANT_OFFSET(rotate8)
        : "memory", "cc", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
          "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
          "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}
/* clang-format on */

TARGET static inline __m256i load(const void *from)
{
    return _mm256_loadu_si256((const __m256i *)from);
}

/* Sixteen bytes each, the second in the upper half. */
TARGET static inline __m256i load_pair(const uint8_t *low, const uint8_t *high)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)),
                                   _mm_loadu_si128((const __m128i *)high), 1);
}

/* 4x4 words within each half of four vectors. */
TARGET static inline void transpose_halves(__m256i rows[4], const __m256i words[4])
{
    __m256i low01 = _mm256_unpacklo_epi32(words[0], words[1]);
    __m256i high01 = _mm256_unpackhi_epi32(words[0], words[1]);
    __m256i low23 = _mm256_unpacklo_epi32(words[2], words[3]);
    __m256i high23 = _mm256_unpackhi_epi32(words[2], words[3]);
    rows[0] = _mm256_unpacklo_epi64(low01, low23);
    rows[1] = _mm256_unpackhi_epi64(low01, low23);
    rows[2] = _mm256_unpacklo_epi64(high01, high23);
    rows[3] = _mm256_unpackhi_epi64(high01, high23);
}

/* Eight vectors of words to rows of 32 bytes. */
TARGET static inline void store_lanes(const __m256i cv[8], uint8_t *const cvs[LANES], size_t count)
{
    __m256i low[4], high[4], lanes[LANES];
    transpose_halves(low, cv);
    transpose_halves(high, cv + 4);
    for (size_t i = 0; i < 4; i++) {
        lanes[i] = _mm256_permute2x128_si256(low[i], high[i], 0x20);
        lanes[4 + i] = _mm256_permute2x128_si256(low[i], high[i], 0x31);
    }
    for (size_t i = 0; i < count; i++)
        _mm256_storeu_si256((__m256i *)cvs[i], lanes[i]);
}

/* Rows of eight pointers, the idle lanes' like the first. Returns: rows, or padded where count is
 * less. */
static inline const uint8_t *const *eight_rows(const uint8_t *padded[LANES],
                                               const uint8_t *const *rows, size_t count)
{
    if (count == LANES)
        return rows;
    for (size_t i = 0; i < LANES; i++)
        padded[i] = rows[i < count ? i : 0];
    return padded;
}

/* Where lines are fetched from while the block-th block is compressed. */
static inline void set_ahead(uintptr_t ahead[LANES], const uintptr_t *rows, size_t count,
                             size_t block)
{
    for (size_t i = 0; i < LANES; i++)
        ahead[i] = rows[i < count ? i : 0] + block * MLP_BLAKE3_BLOCK_LEN;
}

/* Chaining values and flags before the first block. */
TARGET static inline void start_lanes(struct frame *frame, const struct mlp_blake3_work *work,
                                      size_t first)
{
    if (work->resumed >> first == 0) {
        for (size_t i = 0; i < 8; i++)
            frame->cv[i] = SPLAT(work->key[i]);
        frame->flags = SPLAT(work->flags | work->flags_start);
        return;
    }
    const uint8_t *starts[LANES];
    uint32_t start_flags[LANES];
    __m256i low[4], high[4];
    mlp_blake3_lane_starts(starts, start_flags, work, first, LANES);
    for (size_t i = 0; i < 4; i++) {
        low[i] = load_pair(starts[i], starts[4 + i]);
        high[i] = load_pair(starts[i] + 16, starts[4 + i] + 16);
    }
    transpose_halves(frame->cv, low);
    transpose_halves(frame->cv + 4, high);
    frame->flags = load(start_flags);
}

/* Lanes first to first + count - 1, count at most eight. */
TARGET static void compress_up_to_eight(const struct mlp_blake3_work *work, size_t first,
                                        size_t count)
{
    struct frame frame;
    const uint8_t *padded[LANES];
    uintptr_t ahead[LANES];
    size_t before_last = work->blocks_count - 1;
    set_ahead(ahead, work->ahead + first, count, 0);
    start_lanes(&frame, work, first);
    frame.counter_low = load(work->counter_low + first);
    frame.counter_high = load(work->counter_high + first);
    frame.later_flags = SPLAT(work->flags);
    if (before_last > 0) {
        frame.block_len = SPLAT(MLP_BLAKE3_BLOCK_LEN);
        compress_blocks(&frame, eight_rows(padded, work->blocks + first, count), ahead,
                        before_last);
    }
    frame.block_len = load(work->last_len + first);
    frame.flags = _mm256_or_si256(frame.flags, load(work->flags_end + first));
    set_ahead(ahead, work->ahead + first, count, before_last);
    compress_blocks(&frame, eight_rows(padded, work->last_block + first, count), ahead, 1);
    store_lanes(frame.cv, work->cvs + first, count);
}

static void compress_lanes(const struct mlp_blake3_work *work)
{
    for (size_t first = 0; first < work->count; first += LANES) {
        size_t count = work->count - first < LANES ? work->count - first : LANES;
        if (count == 1)
            mlp_blake3_lane_by_blocks(work, first, &mlp_blake3_portable);
        else
            compress_up_to_eight(work, first, count);
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

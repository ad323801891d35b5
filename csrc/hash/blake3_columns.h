/* blake3_columns.h - the loop over blocks of the x86-64 kernels that hold a state word of every lane in a
 * vector: SSE4.1, AVX2, and AVX-512 with few lanes.
 *
 * It is written in assembly: sixteen registers must hold sixteen state words and a temporary, and
 * compilers spill two to four words at every half round, which costs a fifth to a quarter of the speed.
 * Here register i holds state word i, except that where there are sixteen registers word 8 lives in
 * memory between its uses, and register 8 is the temporary of the rotations. Between blocks registers 0
 * to 7 keep the chaining values while 8 to 15 transpose the next message; the processor overlaps that
 * with the rounds before it.
 *
 * Included once by a kernel that has defined:
 * - TARGET; LANES, 4 or 8; VECTOR, the C type of LANES words; BYTES, its size as text;
 * - THIRTY_TWO_REGISTERS where there are as many and a rotation is one instruction;
 * - instructions as assembly text, where d, s and t are numbers of registers, "from" and "to" operands: V(i),
 *   register i; MOVE(from, to); ADD_FROM(d, from); XOR(d, s); ROTATE_16(d), ROTATE_12(d), ROTATE_8(d),
 *   ROTATE_7(d), rightwards; UNPACK(how, d, s, t); LOAD_ROW(d, at, low, high), bytes at to at + 15 of the
 *   block at register low and, in the upper half of a longer vector, of that at high; with sixteen
 *   registers SUM_8(s, from), register 8 = from + s;
 * - functions: splat(word); load(words); store_lanes(cv, cvs, count), vectors of the eight words to rows
 *   of 32 bytes.
 *
 * Threads: what it defines touches nothing but its arguments.
 */
#ifndef MLP_HASH_BLAKE3_COLUMNS_H
#define MLP_HASH_BLAKE3_COLUMNS_H

#include "hash/blake3_kernel.h"

#include <stddef.h>

/* What the assembly works on; it finds the members by their offsets. */
struct frame {
    VECTOR cv[8];
#if !defined(THIRTY_TWO_REGISTERS)
    VECTOR message[16];
    VECTOR word8;
#endif
    VECTOR counter_low;
    VECTOR counter_high;
    VECTOR block_len;
    VECTOR flags;       /* of the first block */
    VECTOR later_flags; /* of the others */
};

#if LANES == 4
#define FOR_LANES(...)                                                                             \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define HIGH_LANES(text)
#else
#define FOR_LANES(...)                                                                             \
    {                                                                                              \
        __VA_ARGS__, __VA_ARGS__                                                                   \
    }
#define HIGH_LANES(text) text
#endif
#define FOUR_TIMES(word) word, word, word, word

static const struct constants {
    uint32_t iv[4][LANES];
#if !defined(THIRTY_TWO_REGISTERS)
    uint8_t rotate16[4 * LANES]; /* shuffles of bytes, for rotations rightwards */
    uint8_t rotate8[4 * LANES];
#endif
} constants __attribute__((aligned(32))) = {
    .iv = {FOR_LANES(FOUR_TIMES(MLP_BLAKE3_IV_0)), FOR_LANES(FOUR_TIMES(MLP_BLAKE3_IV_1)),
           FOR_LANES(FOUR_TIMES(MLP_BLAKE3_IV_2)), FOR_LANES(FOUR_TIMES(MLP_BLAKE3_IV_3))},
#if !defined(THIRTY_TWO_REGISTERS)
    .rotate16 = FOR_LANES(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13),
    .rotate8 = FOR_LANES(1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12),
#endif
};

/* The macros below are read as assembly: a line is one step of four independent Gs. */
/* clang-format off */
#define AT(place, i)       BYTES "*" #i "+%c[" #place "](%%rdi)"
#define CONSTANT(place, i) BYTES "*" #i "+%c[" #place "](%%rsi)"
#define LOAD(d, place, i)  MOVE(AT(place, i), V(d))
#define LOAD_IV(d, i)      MOVE(CONSTANT(iv, i), V(d))
#define STORE(d, place, i) MOVE(V(d), AT(place, i))
#define ADD(d, s)          ADD_FROM(d, V(s))
#define PREFETCH(lane)                                                                             \
    "movq 8*" #lane "(%%rbx), %%rdx\n\t"                                                           \
    "prefetcht1 (%%rdx,%%rax)\n\t"

#if defined(THIRTY_TWO_REGISTERS)
#define ADD_MESSAGE(d, i)               ADD(d, M_##i)
#define UNPACK_MESSAGE(how, i, d, s, t) UNPACK(how, M_##i, s, t)
#define ADD_TO_8(s, from)               ADD(8, s)
#define PUT_8_AWAY
#define BEGIN_8                         LOAD_IV(8, 0)
#define END_8
#define M_0  16
#define M_1  17
#define M_2  18
#define M_3  19
#define M_4  20
#define M_5  21
#define M_6  22
#define M_7  23
#define M_8  24
#define M_9  25
#define M_10 26
#define M_11 27
#define M_12 28
#define M_13 29
#define M_14 30
#define M_15 31
#else
#define ADD_MESSAGE(d, i)               ADD_FROM(d, AT(message, i))
#define UNPACK_MESSAGE(how, i, d, s, t) UNPACK(how, d, s, t) STORE(d, message, i)
#define ADD_TO_8(s, from)               SUM_8(s, from)
#define PUT_8_AWAY                      STORE(8, word8, 0)
#define BEGIN_8
#define END_8                           LOAD(8, word8, 0)
#endif

/* Where a round's first addition to word 8 finds it, and the later ones. */
#define WORD_8 AT(word8, 0)
#define FROM_0 CONSTANT(iv, 0)
#define FROM_1 WORD_8
#define FROM_2 WORD_8
#define FROM_3 WORD_8
#define FROM_4 WORD_8
#define FROM_5 WORD_8
#define FROM_6 WORD_8

/* Section 2.2, half a G: a += b + m; d = (d ^ a) >>> r; then c += d; b = (b ^ c) >>> s. */
#define A_AND_D(r, b0, b1, b2, b3, d0, d1, d2, d3, m0, m1, m2, m3)                                 \
    ADD_MESSAGE(0, m0) ADD_MESSAGE(1, m1) ADD_MESSAGE(2, m2) ADD_MESSAGE(3, m3)                    \
    ADD(0, b0) ADD(1, b1) ADD(2, b2) ADD(3, b3)                                                    \
    XOR(d0, 0) XOR(d1, 1) XOR(d2, 2) XOR(d3, 3)                                                    \
    ROTATE_##r(d0) ROTATE_##r(d1) ROTATE_##r(d2) ROTATE_##r(d3)
#define C_AND_B_OF_COLUMNS(s, from)                                                                \
    ADD_TO_8(12, from) ADD(9, 13) ADD(10, 14) ADD(11, 15)                                          \
    XOR(4, 8) PUT_8_AWAY XOR(5, 9) XOR(6, 10) XOR(7, 11)                                           \
    ROTATE_##s(4) ROTATE_##s(5) ROTATE_##s(6) ROTATE_##s(7)
#define C_AND_B_OF_DIAGONALS(s)                                                                    \
    ADD(10, 15) ADD(11, 12) ADD_TO_8(13, WORD_8) ADD(9, 14)                                        \
    XOR(5, 10) XOR(6, 11) XOR(7, 8) PUT_8_AWAY XOR(4, 9)                                           \
    ROTATE_##s(5) ROTATE_##s(6) ROTATE_##s(7) ROTATE_##s(4)

#define ROUND(r, m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15)             \
    A_AND_D(16, 4, 5, 6, 7, 12, 13, 14, 15, m0, m2, m4, m6)                                        \
    C_AND_B_OF_COLUMNS(12, FROM_##r)                                                               \
    A_AND_D(8, 4, 5, 6, 7, 12, 13, 14, 15, m1, m3, m5, m7)                                         \
    C_AND_B_OF_COLUMNS(7, WORD_8)                                                                  \
    A_AND_D(16, 5, 6, 7, 4, 15, 12, 13, 14, m8, m10, m12, m14)                                     \
    C_AND_B_OF_DIAGONALS(12)                                                                       \
    A_AND_D(8, 5, 6, 7, 4, 15, 12, 13, 14, m9, m11, m13, m15)                                      \
    C_AND_B_OF_DIAGONALS(7)

/* One line of every lane when a block has been loaded: until the next one is, they have been taken up.
 * Spread over the rounds they would stand in its loads' way. */
#define PREFETCH_LANES                                                                             \
    PREFETCH(0) PREFETCH(1) PREFETCH(2) PREFETCH(3)                                                \
    HIGH_LANES(PREFETCH(4)) HIGH_LANES(PREFETCH(5)) HIGH_LANES(PREFETCH(6)) HIGH_LANES(PREFETCH(7))

/* Message words i0 to i3, bytes at to at + 15 of a block: 4x4 words transposed in every 16 bytes. */
#define TRANSPOSE(at, i0, i1, i2, i3)                                                              \
    LOAD_ROW(8, at, "r8", "r12") LOAD_ROW(9, at, "r9", "r13")                                      \
    LOAD_ROW(10, at, "r10", "r14") LOAD_ROW(11, at, "r11", "r15")                                  \
    UNPACK("ldq", 12, 8, 9) UNPACK("hdq", 13, 8, 9)                                                \
    UNPACK("ldq", 14, 10, 11) UNPACK("hdq", 15, 10, 11)                                            \
    UNPACK_MESSAGE("lqdq", i0, 8, 12, 14) UNPACK_MESSAGE("hqdq", i1, 9, 12, 14)                    \
    UNPACK_MESSAGE("lqdq", i2, 10, 13, 15) UNPACK_MESSAGE("hqdq", i3, 11, 13, 15)

#define OFFSET(member)          [member] "i"(offsetof(struct frame, member))
#define CONSTANT_OFFSET(member) [member] "i"(offsetof(struct constants, member))
#if defined(THIRTY_TWO_REGISTERS)
#define MORE_OFFSETS
#define MORE_REGISTERS                                                                             \
        , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",                  \
          "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31"
#else
#define MORE_OFFSETS                                                                               \
        , OFFSET(message), OFFSET(word8), CONSTANT_OFFSET(rotate16), CONSTANT_OFFSET(rotate8)
#define MORE_REGISTERS
#endif

/* Compresses count > 0 blocks of every lane into frame->cv. blocks, ahead: of the lanes. In the loop: rdi:
 * frame; rsi: constants; r8 to r15: the lanes' blocks; rbx: their addresses ahead; rdx: one of these; rax:
 * offset in both; rcx: blocks left. */
TARGET static void compress_blocks(struct frame *frame, const uint8_t *const *blocks,
                                   const uintptr_t *ahead, size_t count)
{
    __asm__ volatile(
        "movq 0(%%rax), %%r8\n\t"
        "movq 8(%%rax), %%r9\n\t"
        "movq 16(%%rax), %%r10\n\t"
        "movq 24(%%rax), %%r11\n\t"
        HIGH_LANES("movq 32(%%rax), %%r12\n\t")
        HIGH_LANES("movq 40(%%rax), %%r13\n\t")
        HIGH_LANES("movq 48(%%rax), %%r14\n\t")
        HIGH_LANES("movq 56(%%rax), %%r15\n\t")
        LOAD(0, cv, 0) LOAD(1, cv, 1) LOAD(2, cv, 2) LOAD(3, cv, 3)
        LOAD(4, cv, 4) LOAD(5, cv, 5) LOAD(6, cv, 6) LOAD(7, cv, 7)
        "xorl %%eax, %%eax\n\t"
        ".p2align 5\n"
        "0:\n\t"
        TRANSPOSE(0, 0, 1, 2, 3) TRANSPOSE(16, 4, 5, 6, 7)
        TRANSPOSE(32, 8, 9, 10, 11) TRANSPOSE(48, 12, 13, 14, 15)
        PREFETCH_LANES
        BEGIN_8 LOAD_IV(9, 1) LOAD_IV(10, 2) LOAD_IV(11, 3)
        LOAD(12, counter_low, 0) LOAD(13, counter_high, 0) LOAD(14, block_len, 0) LOAD(15, flags, 0)
        MLP_BLAKE3_SEVEN_ROUNDS(ROUND)
        END_8
        XOR(0, 8) XOR(1, 9) XOR(2, 10) XOR(3, 11)
        XOR(4, 12) XOR(5, 13) XOR(6, 14) XOR(7, 15)
        LOAD(8, later_flags, 0) STORE(8, flags, 0)
        "addq $64, %%rax\n\t"
        "decq %%rcx\n\t"
        "jnz 0b\n\t"
        STORE(0, cv, 0) STORE(1, cv, 1) STORE(2, cv, 2) STORE(3, cv, 3)
        STORE(4, cv, 4) STORE(5, cv, 5) STORE(6, cv, 6) STORE(7, cv, 7)
        : "+a"(blocks), "+c"(count)
        : "D"(frame), "S"(&constants), "b"(ahead), OFFSET(cv), OFFSET(counter_low), OFFSET(counter_high),
          OFFSET(block_len), OFFSET(flags), OFFSET(later_flags), CONSTANT_OFFSET(iv) MORE_OFFSETS
        : "memory", "cc", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
          "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
          "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15" MORE_REGISTERS);
}
/* clang-format on */

/* Rows of LANES pointers, the idle lanes' like the first. Returns: rows, or padded where count is less. */
static inline const uint8_t *const *all_rows(const uint8_t *padded[LANES],
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
            frame->cv[i] = splat(work->key[i]);
        frame->flags = splat(work->flags | work->flags_start);
        return;
    }
    const uint8_t *starts[LANES];
    uint32_t start_flags[LANES];
    mlp_blake3_lane_starts(starts, start_flags, work, first, LANES);
    load_words(frame->cv, starts, 0);
    load_words(frame->cv + 4, starts, 16);
    frame->flags = load(start_flags);
}

/* Lanes first to first + count - 1, count at most LANES. */
TARGET static void compress_columns(const struct mlp_blake3_work *work, size_t first, size_t count)
{
    struct frame frame;
    const uint8_t *padded[LANES];
    uintptr_t ahead[LANES];
    size_t before_last = work->blocks_count - 1;
    start_lanes(&frame, work, first);
    frame.counter_low = load(work->counter_low + first);
    frame.counter_high = load(work->counter_high + first);
    frame.later_flags = splat(work->flags);
    if (before_last > 0) {
        frame.block_len = splat(MLP_BLAKE3_BLOCK_LEN);
        set_ahead(ahead, work->ahead + first, count, 0);
        compress_blocks(&frame, all_rows(padded, work->blocks + first, count), ahead, before_last);
    }
    frame.block_len = load(work->last_len + first);
    frame.flags |= load(work->flags_end + first);
    set_ahead(ahead, work->ahead + first, count, before_last);
    compress_blocks(&frame, all_rows(padded, work->last_block + first, count), ahead, 1);
    store_lanes(frame.cv, work->cvs + first, count);
}

#endif

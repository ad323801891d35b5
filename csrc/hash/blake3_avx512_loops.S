/* blake3_avx512_loops.S - the loops of the AVX-512 kernels.
 *
 * Assembly, because the order of instructions decides: state and message, or the states of two halves
 * of a slab, fill all 32 registers, and what feeds the next block is handed out evenly over the
 * arithmetic of this one. Compilers spill, and gather what is alike. [measured on Zen 4: gcc 12 makes
 * 0.89 of this rate from the same steps written with intrinsics]
 *
 * The C preprocessor writes the rounds, the assembler the copies in between; blake3_avx512_frames.h is
 * the contract of every function. System V calling convention. AT&T syntax: the destination is last.
 */
#if defined(__x86_64__) && defined(__ELF__)

#include "hash/blake3_avx512_frames.h"
#include "hash/blake3_schedule.h"

#if defined(__CET__)
#include <cet.h>
#else
#define _CET_ENDBR
#endif

#define FUNCTION(name) .globl name; .hidden name; .type name, @function; .p2align 6; name: _CET_ENDBR
#define END(name) .size name, . - name

#define Z(i) %zmm##i
#define Y(i) %ymm##i

/* Words of half A are registers 0 to 15, those of half B the same numbers and 16 more. */
#define A(i) Z(i)
#define B(i) B_##i
#define B_0 Z(16)
#define B_1 Z(17)
#define B_2 Z(18)
#define B_3 Z(19)
#define B_4 Z(20)
#define B_5 Z(21)
#define B_6 Z(22)
#define B_7 Z(23)
#define B_8 Z(24)
#define B_9 Z(25)
#define B_10 Z(26)
#define B_11 Z(27)
#define B_12 Z(28)
#define B_13 Z(29)
#define B_14 Z(30)
#define B_15 Z(31)

/* One step of four independent Gs. */
#define FOUR(op, G, d0, d1, d2, d3, s0, s1, s2, s3)                                                \
    op G(s0), G(d0), G(d0); op G(s1), G(d1), G(d1);                                                \
    op G(s2), G(d2), G(d2); op G(s3), G(d3), G(d3);
#define FOUR_ROTATIONS(G, n, d0, d1, d2, d3)                                                       \
    vprord $n, G(d0), G(d0); vprord $n, G(d1), G(d1);                                              \
    vprord $n, G(d2), G(d2); vprord $n, G(d3), G(d3);

/* Section 2.2, half of four Gs: a += b + m; d = (d ^ a) >>> r; c += d; b = (b ^ c) >>> s. */
#define HALF(r, s, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3, m0, m1, m2, m3)                 \
    ADD_MESSAGE(m0, m1, m2, m3) GAP                                                                \
    ADD(0, 1, 2, 3, b0, b1, b2, b3) GAP                                                            \
    XOR(d0, d1, d2, d3, 0, 1, 2, 3) GAP                                                            \
    ROTATE(r, d0, d1, d2, d3) GAP                                                                  \
    ADD(c0, c1, c2, c3, d0, d1, d2, d3) GAP                                                        \
    XOR(b0, b1, b2, b3, c0, c1, c2, c3) GAP                                                        \
    ROTATE(s, b0, b1, b2, b3) GAP
#define COLUMNS(r, s, m0, m1, m2, m3)                                                              \
    HALF(r, s, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, m0, m1, m2, m3)
#define DIAGONALS(r, s, m0, m1, m2, m3)                                                            \
    HALF(r, s, 5, 6, 7, 4, 10, 11, 8, 9, 15, 12, 13, 14, m0, m1, m2, m3)
#define ROUND(r, m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15)             \
    COLUMNS(16, 12, m0, m2, m4, m6)                                                                \
    COLUMNS(8, 7, m1, m3, m5, m7)                                                                  \
    DIAGONALS(16, 12, m8, m10, m12, m14)                                                           \
    DIAGONALS(8, 7, m9, m11, m13, m15)
#define GAPS 196 /* 7 rounds of 4 halves of 7 steps */

#define EIGHT(each) each(0) each(1) each(2) each(3) each(4) each(5) each(6) each(7)
#define FEED_FORWARD(G)                                                                            \
    vpxord G(8), G(0), G(0); vpxord G(9), G(1), G(1); vpxord G(10), G(2), G(2);                    \
    vpxord G(11), G(3), G(3); vpxord G(12), G(4), G(4); vpxord G(13), G(5), G(5);                  \
    vpxord G(14), G(6), G(6); vpxord G(15), G(7), G(7);
#define LOAD_IV(G)                                                                                 \
    vpbroadcastd iv(%rip), G(8); vpbroadcastd iv+4(%rip), G(9);                                    \
    vpbroadcastd iv+8(%rip), G(10); vpbroadcastd iv+12(%rip), G(11);

    .text

/* ---- a slab, thirty-two chunks: two halves, the message in memory ---- */

#define ADD_MESSAGE_OF(G, at, m0, m1, m2, m3)                                                      \
    vpaddd at+64*m0(%rdi), G(0), G(0); vpaddd at+64*m1(%rdi), G(1), G(1);                          \
    vpaddd at+64*m2(%rdi), G(2), G(2); vpaddd at+64*m3(%rdi), G(3), G(3);
#define ADD_MESSAGE(...) ADD_MESSAGE_OF(A, RUN_MESSAGE, __VA_ARGS__) ADD_MESSAGE_OF(B, RUN_MESSAGE+1024, __VA_ARGS__)
#define ADD(...) FOUR(vpaddd, A, __VA_ARGS__) FOUR(vpaddd, B, __VA_ARGS__)
#define XOR(...) FOUR(vpxord, A, __VA_ARGS__) FOUR(vpxord, B, __VA_ARGS__)
#define ROTATE(...) FOUR_ROTATIONS(A, __VA_ARGS__) FOUR_ROTATIONS(B, __VA_ARGS__)
#define GAP gap;

#define LOAD_KEY(i) vpbroadcastd RUN_KEY+4*i(%rdi), A(i); vmovdqa32 A(i), B(i);
#define STORE_CV(i) vmovdqa32 A(i), RUN_CV+64*i(%rdi); vmovdqa32 B(i), RUN_CV+512+64*i(%rdi);
#define LOAD_REST(G, g)                                                                            \
    LOAD_IV(G)                                                                                     \
    vmovdqa32 RUN_COUNTER_LOW+64*g(%rdi), G(12);                                                   \
    vmovdqa32 RUN_COUNTER_HIGH+64*g(%rdi), G(13);                                                  \
    vpbroadcastd block_len(%rip), G(14);                                                           \
    vpbroadcastd (%r8), G(15);

/* Between two steps: what the counters say is due. Symbols count, for the assembler. */
.macro begin_gaps copies
    .set COPIES, \copies
    .set copies_due, GAPS / 2
    .set lane, 0
    .set pair, 0
.endm

/* One line of each lane, when the block has been loaded: until the next one is, they have been taken up. Spread
 * over the steps, or before the loads, they stand in the way of loads. */
.macro fetch_lines
    .set line, 0
    .rept 32
    prefetcht1 32768 + line * 1024(%rax)
    .set line, line + 1
    .endr
.endm

/* Words 2 * pair and 2 * pair + 1 of a lane to their place in run->pairs. */
.macro copy_pair
    movq lane * 1024 + pair * 8(%rax), %rcx
    movq %rcx, RUN_PAIRS + (lane >> 4) * 1024 + pair * 128 + ((lane & 2) << 5) + ((lane & 12) << 2) + ((lane & 1) << 3)(%rdi)
    .set pair, pair + 1
    .if pair == 8
        .set pair, 0
        .set lane, lane + 1
    .endif
.endm

.macro gap
    .set copies_due, copies_due + COPIES
    .rept 2
    .if copies_due >= GAPS
        copy_pair
        .set copies_due, copies_due - GAPS
    .endif
    .endr
.endm

/* A block whose message is ready, those after it, and the end of the function. */
#define REST_OF_CHUNKS                                                                             \
    MLP_BLAKE3_SEVEN_ROUNDS(ROUND)                                                                 \
    FEED_FORWARD(A) FEED_FORWARD(B)                                                                \
    addq $4, %r8; decl %r9d; jnz 1b;                                                               \
    EIGHT(STORE_CV)                                                                                \
    vzeroupper; ret;

/* A pair of rows of copied words to two words of the message. */
#define UNPAIR(g, p, even, odd)                                                                    \
    vmovdqa32 RUN_PAIRS+1024*g+128*p(%rdi), even;                                                  \
    vshufps $0xDD, RUN_PAIRS+1024*g+128*p+64(%rdi), even, odd;                                     \
    vshufps $0x88, RUN_PAIRS+1024*g+128*p+64(%rdi), even, even;                                    \
    vmovdqa32 even, RUN_MESSAGE+1024*g+128*p(%rdi);                                                \
    vmovdqa32 odd, RUN_MESSAGE+1024*g+128*p+64(%rdi);
#define UNPAIR_HALF(g)                                                                            \
    UNPAIR(g, 0, A(8), A(9)) UNPAIR(g, 1, A(10), A(11)) UNPAIR(g, 2, A(12), A(13))                 \
    UNPAIR(g, 3, A(14), A(15)) UNPAIR(g, 4, B(8), B(9)) UNPAIR(g, 5, B(10), B(11))                 \
    UNPAIR(g, 6, B(12), B(13)) UNPAIR(g, 7, B(14), B(15))

/* rdi: run; rsi: the blocks being compressed; rdx: next; rax: the blocks being copied; rcx: a pair of
 * words; r8: flags of the block; r9d: blocks left. */
FUNCTION(mlp_blake3_avx512_chunks_copied)
    EIGHT(LOAD_KEY)
    leaq RUN_FLAGS(%rdi), %r8
    movl $16, %r9d
    .p2align 6
1:
    UNPAIR_HALF(0)
    UNPAIR_HALF(1)
    LOAD_REST(A, 0)
    LOAD_REST(B, 1)
    addq $64, %rsi
    movq %rsi, %rax
    cmpl $1, %r9d
    cmoveq %rdx, %rax
    fetch_lines
    begin_gaps 256
    REST_OF_CHUNKS
END(mlp_blake3_avx512_chunks_copied)

/* Half a block of two lanes. */
#define LOAD_TWO(d, low, high) vmovdqu32 low, Y(d); vinserti64x4 $1, high, Z(d), Z(d);
/* Half blocks of lanes i and 4 + i in register ri, for i from 0 to 3: afterwards ri has, in quarters, words i
 * and 4 + i of lanes 0-3, then of lanes 4-7. t0 to t3 are used. */
#define QUARTERS(r0, r1, r2, r3, t0, t1, t2, t3)                                                   \
    vpunpckldq Z(r1), Z(r0), Z(t0); vpunpckhdq Z(r1), Z(r0), Z(t1);                                \
    vpunpckldq Z(r3), Z(r2), Z(t2); vpunpckhdq Z(r3), Z(r2), Z(t3);                                \
    vpunpcklqdq Z(t2), Z(t0), Z(r0); vpunpckhqdq Z(t2), Z(t0), Z(r1);                              \
    vpunpcklqdq Z(t3), Z(t1), Z(r2); vpunpckhqdq Z(t3), Z(t1), Z(r3);

/* Of the chunks at rsi. */
#define LOAD_CHUNKS(at, r0, r1, r2, r3)                                                            \
    LOAD_TWO(r0, at(%rsi), at+4096(%rsi)) LOAD_TWO(r1, at+1024(%rsi), at+5120(%rsi))               \
    LOAD_TWO(r2, at+2048(%rsi), at+6144(%rsi)) LOAD_TWO(r3, at+3072(%rsi), at+7168(%rsi))
#define MERGE(g, w, how, low, high)                                                                \
    vshufi32x4 $how, high, low, Z(15);                                                             \
    vmovdqa32 Z(15), RUN_MESSAGE+1024*g+64*(w)(%rdi);
/* Words w to w + 7 of half g; its free registers are 8 to 15 and 24 to 31. */
#define SHUFFLE_WORDS(g, w)                                                                        \
    LOAD_CHUNKS(16384*g+4*w, 8, 9, 10, 11) QUARTERS(8, 9, 10, 11, 12, 13, 14, 15)                  \
    LOAD_CHUNKS(16384*g+8192+4*w, 24, 25, 26, 27) QUARTERS(24, 25, 26, 27, 28, 29, 30, 31)         \
    MERGE(g, w, 0x88, Z(8), Z(24)) MERGE(g, w+1, 0x88, Z(9), Z(25))                                \
    MERGE(g, w+2, 0x88, Z(10), Z(26)) MERGE(g, w+3, 0x88, Z(11), Z(27))                            \
    MERGE(g, w+4, 0xDD, Z(8), Z(24)) MERGE(g, w+5, 0xDD, Z(9), Z(25))                              \
    MERGE(g, w+6, 0xDD, Z(10), Z(26)) MERGE(g, w+7, 0xDD, Z(11), Z(27))

/* rdi: run; rsi: the blocks being compressed; rax: those after them; r8: flags of the block; r9d: blocks
 * left. */
FUNCTION(mlp_blake3_avx512_chunks_shuffled)
    EIGHT(LOAD_KEY)
    leaq RUN_FLAGS(%rdi), %r8
    movl $16, %r9d
    .p2align 6
1:
    SHUFFLE_WORDS(0, 0)
    SHUFFLE_WORDS(0, 8)
    SHUFFLE_WORDS(1, 0)
    SHUFFLE_WORDS(1, 8)
    LOAD_REST(A, 0)
    LOAD_REST(B, 1)
    addq $64, %rsi
    movq %rsi, %rax
    fetch_lines
    begin_gaps 0
    REST_OF_CHUNKS
END(mlp_blake3_avx512_chunks_shuffled)

/* ---- sixteen lanes: one half, the message in registers 16 to 31 ---- */

#undef ADD_MESSAGE
#undef ADD
#undef XOR
#undef ROTATE
#undef GAP
#define ADD_MESSAGE(m0, m1, m2, m3)                                                                \
    vpaddd B(m0), A(0), A(0); vpaddd B(m1), A(1), A(1);                                            \
    vpaddd B(m2), A(2), A(2); vpaddd B(m3), A(3), A(3);
#define ADD(...) FOUR(vpaddd, A, __VA_ARGS__)
#define XOR(...) FOUR(vpxord, A, __VA_ARGS__)
#define ROTATE(...) FOUR_ROTATIONS(A, __VA_ARGS__)
#define GAP

#define LOAD_PARENTS_KEY(i) vpbroadcastd 4*i(%rcx), A(i);
#define LOAD_CHILDREN(i)                                                                           \
    vmovdqa32 64*i(%rsi), B(i); vmovdqa32 B(i), A(i);                                              \
    vpermt2d 64*i(%rdx), Z(8), B(i); vpermt2d 64*i(%rdx), Z(9), A(i);
#define MOVE_RIGHT(i, to) vmovdqa32 A(i), B(to);
#define STORE_PARENTS(i) vmovdqa32 A(i), 64*i(%rdi);

/* Parents: rdi; left: rsi; right: rdx; key: rcx; flags: r8d. */
FUNCTION(mlp_blake3_avx512_parents)
    vmovdqa32 even_lanes(%rip), Z(8)
    vmovdqa32 odd_lanes(%rip), Z(9)
    EIGHT(LOAD_CHILDREN)
    MOVE_RIGHT(0, 8) MOVE_RIGHT(1, 9) MOVE_RIGHT(2, 10) MOVE_RIGHT(3, 11)
    MOVE_RIGHT(4, 12) MOVE_RIGHT(5, 13) MOVE_RIGHT(6, 14) MOVE_RIGHT(7, 15)
    EIGHT(LOAD_PARENTS_KEY)
    LOAD_IV(A)
    vpxord Z(12), Z(12), Z(12)
    vpxord Z(13), Z(13), Z(13)
    vpbroadcastd block_len(%rip), Z(14)
    vpbroadcastd %r8d, Z(15)
    MLP_BLAKE3_SEVEN_ROUNDS(ROUND)
    FEED_FORWARD(A)
    EIGHT(STORE_PARENTS)
    vzeroupper
    ret
END(mlp_blake3_avx512_parents)

/* Eight words, from byte at on, of the eight lanes at r8 to r15. */
#define LOAD_LANES(at, r0, r1, r2, r3)                                                             \
    LOAD_TWO(r0, at(%r8,%rax), at(%r12,%rax)) LOAD_TWO(r1, at(%r9,%rax), at(%r13,%rax))            \
    LOAD_TWO(r2, at(%r10,%rax), at(%r14,%rax)) LOAD_TWO(r3, at(%r11,%rax), at(%r15,%rax))
#define LOAD_POINTERS(at)                                                                          \
    movq at(%rsi), %r8; movq at+8(%rsi), %r9; movq at+16(%rsi), %r10; movq at+24(%rsi), %r11;      \
    movq at+32(%rsi), %r12; movq at+40(%rsi), %r13; movq at+48(%rsi), %r14; movq at+56(%rsi), %r15;
/* Quarters of lanes 0-7 (low) and 8-15 (high) to two words of all sixteen; first may be low. */
#define MERGE_LANES(low, high, first, second)                                                      \
    vshufi32x4 $0xDD, Z(high), Z(low), second; vshufi32x4 $0x88, Z(high), Z(low), first;
#define LOAD_LANES_CV(i) vmovdqa32 LANES_CV+64*i(%rdi), A(i);
#define STORE_LANES_CV(i) vmovdqa32 A(i), LANES_CV+64*i(%rdi);

/* As fetch_lines. */
#define FETCH(i) movq 8*i(%rcx), %rbx; prefetcht1 (%rbx,%rbp);
#define FETCH_LANES                                                                                \
    EIGHT(FETCH) FETCH(8) FETCH(9) FETCH(10) FETCH(11) FETCH(12) FETCH(13) FETCH(14) FETCH(15)

/* rdi: lanes; rsi: their pointers; rax: offset of the block; rdx: blocks left; rcx: their addresses ahead;
 * rbp: offset from these; rbx: one of them. */
FUNCTION(mlp_blake3_avx512_blocks)
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %r8, %rbp
    EIGHT(LOAD_LANES_CV)
    xorl %eax, %eax
    .p2align 6
1:
    LOAD_POINTERS(0)
    LOAD_LANES(0, 16, 17, 18, 19) QUARTERS(16, 17, 18, 19, 8, 9, 10, 11)
    LOAD_POINTERS(64)
    LOAD_LANES(0, 8, 9, 10, 11) QUARTERS(8, 9, 10, 11, 12, 13, 14, 15)
    MERGE_LANES(16, 8, Z(16), Z(20))
    MERGE_LANES(17, 9, Z(17), Z(21))
    MERGE_LANES(18, 10, Z(18), Z(22))
    MERGE_LANES(19, 11, Z(19), Z(23))
    LOAD_LANES(32, 8, 9, 10, 11) QUARTERS(8, 9, 10, 11, 12, 13, 14, 15)
    LOAD_POINTERS(0)
    LOAD_LANES(32, 24, 25, 26, 27) QUARTERS(24, 25, 26, 27, 12, 13, 14, 15)
    MERGE_LANES(24, 8, Z(24), Z(28))
    MERGE_LANES(25, 9, Z(25), Z(29))
    MERGE_LANES(26, 10, Z(26), Z(30))
    MERGE_LANES(27, 11, Z(27), Z(31))
    LOAD_IV(A)
    vmovdqa32 LANES_COUNTER_LOW(%rdi), Z(12)
    vmovdqa32 LANES_COUNTER_HIGH(%rdi), Z(13)
    vmovdqa32 LANES_BLOCK_LEN(%rdi), Z(14)
    vmovdqa32 LANES_FLAGS(%rdi), Z(15)
    FETCH_LANES
    MLP_BLAKE3_SEVEN_ROUNDS(ROUND)
    FEED_FORWARD(A)
    vmovdqa32 LANES_LATER_FLAGS(%rdi), Z(8)
    vmovdqa32 Z(8), LANES_FLAGS(%rdi)
    addq $64, %rax
    addq $64, %rbp
    decq %rdx
    jnz 1b
    EIGHT(STORE_LANES_CV)
    vzeroupper
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret
END(mlp_blake3_avx512_blocks)

    .section .rodata
    .p2align 6
even_lanes:
    .long 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
odd_lanes:
    .long 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
iv:
    .long MLP_BLAKE3_IV_0, MLP_BLAKE3_IV_1, MLP_BLAKE3_IV_2, MLP_BLAKE3_IV_3
block_len:
    .long 64

#endif

#if defined(__ELF__)
    .section .note.GNU-stack, "", @progbits
#endif

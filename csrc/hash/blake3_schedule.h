/* blake3_schedule.h - the constants of the compression function, for C and for assembly.
 *
 * Source: BLAKE3 (2021): table 1 (IV), table 2 (message permutation).
 *
 * Threads: macros alone.
 */
#ifndef MLP_HASH_BLAKE3_SCHEDULE_H
#define MLP_HASH_BLAKE3_SCHEDULE_H

#if defined(__ASSEMBLER__)
#define MLP_BLAKE3_WORD(word) word
#else
#define MLP_BLAKE3_WORD(word) word##U
#endif

/* Table 1: the IV, which is also the key of the unkeyed mode. It equals SHA-256's initial value. */
#define MLP_BLAKE3_IV_0 MLP_BLAKE3_WORD(0x6A09E667)
#define MLP_BLAKE3_IV_1 MLP_BLAKE3_WORD(0xBB67AE85)
#define MLP_BLAKE3_IV_2 MLP_BLAKE3_WORD(0x3C6EF372)
#define MLP_BLAKE3_IV_3 MLP_BLAKE3_WORD(0xA54FF53A)
#define MLP_BLAKE3_IV_4 MLP_BLAKE3_WORD(0x510E527F)
#define MLP_BLAKE3_IV_5 MLP_BLAKE3_WORD(0x9B05688C)
#define MLP_BLAKE3_IV_6 MLP_BLAKE3_WORD(0x1F83D9AB)
#define MLP_BLAKE3_IV_7 MLP_BLAKE3_WORD(0x5BE0CD19)

/* The message words of the seven rounds: table 2's permutation applied 0 to 6 times. ROUND(r, w0 ..
 * w15) is the kernel's own macro; words 2i and 2i+1 go to the i-th G (0-3: columns, 4-7:
 * diagonals). */
#define MLP_BLAKE3_SEVEN_ROUNDS(ROUND)                                                             \
    ROUND(0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)                                 \
    ROUND(1, 2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)                                 \
    ROUND(2, 3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1)                                 \
    ROUND(3, 10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6)                                 \
    ROUND(4, 12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4)                                 \
    ROUND(5, 9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7)                                 \
    ROUND(6, 11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13)

#endif

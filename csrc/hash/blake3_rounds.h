/* blake3_rounds.h - the seven rounds on state words in sixteen variables: words of one lane, or vectors of a
 * word of every lane.
 *
 * Included by a kernel that has defined, for its type: ADD, XOR (two operands), ROTATE16, ROTATE12,
 * ROTATE8, ROTATE7 (rightwards), and in whose function v0 to v15 are the state and MESSAGE(i) is the i-th
 * message word. PREFETCH(step), step 0 to 27, is a place between two half rounds for fetching what is
 * compressed later; it may be empty. The four Gs of a half round are independent; their instructions
 * alternate, so that one waits for none of the others, also where a compiler keeps the order.
 *
 * Threads: macros alone.
 */
#ifndef MLP_HASH_BLAKE3_ROUNDS_H
#define MLP_HASH_BLAKE3_ROUNDS_H

#include "hash/blake3_kernel.h"

/* Half of four Gs (section 2.2): a += b + m; d = (d ^ a) >>> r; c += d; b = (b ^ c) >>> s. */
#define HALF_OF_FOUR(ROTATE_D, ROTATE_B, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3, m0, m1,   \
                     m2, m3)                                                                       \
    v0 = ADD(ADD(v0, MESSAGE(m0)), v##b0);                                                         \
    v1 = ADD(ADD(v1, MESSAGE(m1)), v##b1);                                                         \
    v2 = ADD(ADD(v2, MESSAGE(m2)), v##b2);                                                         \
    v3 = ADD(ADD(v3, MESSAGE(m3)), v##b3);                                                         \
    v##d0 = XOR(v##d0, v0);                                                                        \
    v##d1 = XOR(v##d1, v1);                                                                        \
    v##d2 = XOR(v##d2, v2);                                                                        \
    v##d3 = XOR(v##d3, v3);                                                                        \
    v##d0 = ROTATE_D(v##d0);                                                                       \
    v##d1 = ROTATE_D(v##d1);                                                                       \
    v##d2 = ROTATE_D(v##d2);                                                                       \
    v##d3 = ROTATE_D(v##d3);                                                                       \
    v##c0 = ADD(v##c0, v##d0);                                                                     \
    v##c1 = ADD(v##c1, v##d1);                                                                     \
    v##c2 = ADD(v##c2, v##d2);                                                                     \
    v##c3 = ADD(v##c3, v##d3);                                                                     \
    v##b0 = XOR(v##b0, v##c0);                                                                     \
    v##b1 = XOR(v##b1, v##c1);                                                                     \
    v##b2 = XOR(v##b2, v##c2);                                                                     \
    v##b3 = XOR(v##b3, v##c3);                                                                     \
    v##b0 = ROTATE_B(v##b0);                                                                       \
    v##b1 = ROTATE_B(v##b1);                                                                       \
    v##b2 = ROTATE_B(v##b2);                                                                       \
    v##b3 = ROTATE_B(v##b3);

#define COLUMNS(ROTATE_D, ROTATE_B, m0, m1, m2, m3)                                                \
    HALF_OF_FOUR(ROTATE_D, ROTATE_B, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, m0, m1, m2, m3)
#define DIAGONALS(ROTATE_D, ROTATE_B, m0, m1, m2, m3)                                              \
    HALF_OF_FOUR(ROTATE_D, ROTATE_B, 5, 6, 7, 4, 10, 11, 8, 9, 15, 12, 13, 14, m0, m1, m2, m3)

#define VECTOR_ROUND(r, m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15)      \
    COLUMNS(ROTATE16, ROTATE12, m0, m2, m4, m6)                                                    \
    PREFETCH(4 * r)                                                                                \
    COLUMNS(ROTATE8, ROTATE7, m1, m3, m5, m7)                                                      \
    PREFETCH(4 * r + 1)                                                                            \
    DIAGONALS(ROTATE16, ROTATE12, m8, m10, m12, m14)                                               \
    PREFETCH(4 * r + 2)                                                                            \
    DIAGONALS(ROTATE8, ROTATE7, m9, m11, m13, m15)                                                 \
    PREFETCH(4 * r + 3)

#define MLP_BLAKE3_VECTOR_ROUNDS MLP_BLAKE3_SEVEN_ROUNDS(VECTOR_ROUND)

/* Section 2.2: the chaining value is one half of the state XOR the other. */
#define MLP_BLAKE3_FEED_FORWARD(cv)                                                                \
    cv[0] = XOR(v0, v8);                                                                           \
    cv[1] = XOR(v1, v9);                                                                           \
    cv[2] = XOR(v2, v10);                                                                          \
    cv[3] = XOR(v3, v11);                                                                          \
    cv[4] = XOR(v4, v12);                                                                          \
    cv[5] = XOR(v5, v13);                                                                          \
    cv[6] = XOR(v6, v14);                                                                          \
    cv[7] = XOR(v7, v15);

#endif

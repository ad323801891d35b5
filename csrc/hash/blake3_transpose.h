/* blake3_transpose.h - words of four lanes transposed, for vectors of 16 bytes and of several times 16:
 * SSE4.1, AVX2, AVX-512.
 *
 * Included once by a kernel that has defined TARGET, VECTOR and INTRINSIC(name), the intrinsic of that name
 * for its vectors.
 *
 * Threads: what it defines touches nothing but its arguments.
 */
#ifndef MLP_HASH_BLAKE3_TRANSPOSE_H
#define MLP_HASH_BLAKE3_TRANSPOSE_H

#include <immintrin.h>

/* 4x4 words within every 16 bytes of four vectors; columns may be rows. */
TARGET static inline __attribute__((always_inline)) void transpose(VECTOR columns[4],
                                                                   const VECTOR rows[4])
{
    VECTOR low01 = INTRINSIC(unpacklo_epi32)(rows[0], rows[1]);
    VECTOR high01 = INTRINSIC(unpackhi_epi32)(rows[0], rows[1]);
    VECTOR low23 = INTRINSIC(unpacklo_epi32)(rows[2], rows[3]);
    VECTOR high23 = INTRINSIC(unpackhi_epi32)(rows[2], rows[3]);
    columns[0] = INTRINSIC(unpacklo_epi64)(low01, low23);
    columns[1] = INTRINSIC(unpackhi_epi64)(low01, low23);
    columns[2] = INTRINSIC(unpacklo_epi64)(high01, high23);
    columns[3] = INTRINSIC(unpackhi_epi64)(high01, high23);
}

#endif

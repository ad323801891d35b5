/* blake3_avx512_narrow.h - the AVX-512 kernel's code for one block and for few lanes (AVX-512VL).
 *
 * Internal to the AVX-512 kernel.
 *
 * Threads: pure functions of their arguments; they allocate nothing and never fail.
 */
#ifndef MLP_HASH_BLAKE3_AVX512_NARROW_H
#define MLP_HASH_BLAKE3_AVX512_NARROW_H

#include "hash/blake3_kernel.h"

#define MLP_BLAKE3_AVX512_NARROW_MAX 8

/* struct mlp_blake3_kernel's compress_lanes, for work of at most MLP_BLAKE3_AVX512_NARROW_MAX lanes.
 *
 * Cycles a block on Zen 4 [measured], with the BLAKE3 C library's AVX-512 beside them: one or two lanes,
 * which are a pair of rows, 226 (225); three or four, two pairs, 262 (449, 283); five to eight, a vector
 * for each word, 310 (507 to 730, of eight 306). Three or four pairs take 312 or 392.
 */
void mlp_blake3_avx512_narrow(const struct mlp_blake3_work *work);

/* Its compress.
 *
 * The chain of a block's instructions is 224 cycles on Zen 4, whose rotations of vectors take two; the
 * function takes 238, the portable one 252 [measured]. For Ice Lake and Sapphire Rapids LLVM's models say
 * 200 and 238. On Zen 5 the portable one is faster, for there every vector instruction takes two cycles: the
 * C library's, which does the same as this, reaches 0.66 of the C library's portable one [measured].
 */
void mlp_blake3_compress_avx512(uint32_t out[16], const uint32_t cv[8], const uint8_t block[64],
                                uint64_t counter, uint32_t block_len, uint32_t flags);

#endif

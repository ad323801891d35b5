/* blake3_avx512_frames.h - what the assembly of blake3_avx512_loops.S works on, for both sides.
 *
 * Vectors are word-major: row i holds word i of sixteen lanes. All frames lie at multiples of 64
 * bytes. Internal to the AVX-512 kernels.
 *
 * Threads: the functions touch nothing but their arguments, and the chunks that they are told of.
 */
#ifndef MLP_HASH_BLAKE3_AVX512_FRAMES_H
#define MLP_HASH_BLAKE3_AVX512_FRAMES_H

/* Offsets of the members of struct mlp_blake3_avx512_run ... */
#define RUN_CV           0
#define RUN_COUNTER_LOW  1024
#define RUN_COUNTER_HIGH 1152
#define RUN_MESSAGE      1280
#define RUN_PAIRS        3328
#define RUN_FLAGS        5376
#define RUN_KEY          5440

/* ... and of struct mlp_blake3_avx512_lanes. */
#define LANES_CV           0
#define LANES_COUNTER_LOW  512
#define LANES_COUNTER_HIGH 576
#define LANES_BLOCK_LEN    640
#define LANES_FLAGS        704
#define LANES_LATER_FLAGS  768

#if !defined(__ASSEMBLER__)

#include "hash/blake3_kernel.h"

#include <stddef.h>

/* Sixteen chaining values. */
struct mlp_blake3_avx512_set {
    uint32_t words[8][16];
} __attribute__((aligned(64)));

/* A slab: thirty-two chunks that lie one after another, in two halves of sixteen. */
struct mlp_blake3_avx512_run {
    struct mlp_blake3_avx512_set cvs[2]; /* out */
    uint32_t counter_low[2][16];
    uint32_t counter_high[2][16];
    uint32_t message[2][16][16]; /* of the block that is compressed */
    /* The block after it, as it was copied: of a half's pair p, words 2p and 2p + 1 of lanes
     * 4c and 4c + 1 are in quarter c of row 0, those of lanes 4c + 2 and 4c + 3 in that of row 1. */
    uint32_t pairs[2][8][2][16];
    uint32_t flags[MLP_BLAKE3_CHUNK_BLOCKS]; /* of each block */
    uint32_t key[8];
} __attribute__((aligned(64)));

/* Sixteen lanes anywhere. */
struct mlp_blake3_avx512_lanes {
    struct mlp_blake3_avx512_set cvs; /* in and out */
    uint32_t counter_low[16];
    uint32_t counter_high[16];
    uint32_t block_len[16];
    uint32_t flags[16];       /* of the first block */
    uint32_t later_flags[16]; /* of the others; flags are these afterwards */
} __attribute__((aligned(64)));

#define MLP_BLAKE3_AT(type, member, offset)                                                        \
    _Static_assert(offsetof(struct type, member) == (offset), "the assembly looks for it there")
MLP_BLAKE3_AT(mlp_blake3_avx512_run, cvs, RUN_CV);
MLP_BLAKE3_AT(mlp_blake3_avx512_run, counter_low, RUN_COUNTER_LOW);
MLP_BLAKE3_AT(mlp_blake3_avx512_run, counter_high, RUN_COUNTER_HIGH);
MLP_BLAKE3_AT(mlp_blake3_avx512_run, message, RUN_MESSAGE);
MLP_BLAKE3_AT(mlp_blake3_avx512_run, pairs, RUN_PAIRS);
MLP_BLAKE3_AT(mlp_blake3_avx512_run, flags, RUN_FLAGS);
MLP_BLAKE3_AT(mlp_blake3_avx512_run, key, RUN_KEY);
MLP_BLAKE3_AT(mlp_blake3_avx512_lanes, cvs, LANES_CV);
MLP_BLAKE3_AT(mlp_blake3_avx512_lanes, counter_low, LANES_COUNTER_LOW);
MLP_BLAKE3_AT(mlp_blake3_avx512_lanes, counter_high, LANES_COUNTER_HIGH);
MLP_BLAKE3_AT(mlp_blake3_avx512_lanes, block_len, LANES_BLOCK_LEN);
MLP_BLAKE3_AT(mlp_blake3_avx512_lanes, flags, LANES_FLAGS);
MLP_BLAKE3_AT(mlp_blake3_avx512_lanes, later_flags, LANES_LATER_FLAGS);

/* Thirty-two chunks at data, transposed by shuffles when a block begins. */
void mlp_blake3_avx512_chunks_shuffled(struct mlp_blake3_avx512_run *run, const uint8_t *data);

/* The same, transposed by copies in pairs of words while the block before is compressed.
 * In:      run->pairs: the first block of each chunk.
 *          next: the chunks of the next call, whose first blocks are in run->pairs afterwards;
 *          32 readable chunks (data itself where there is no next call).
 */
void mlp_blake3_avx512_chunks_copied(struct mlp_blake3_avx512_run *run, const uint8_t *data,
                                     const uint8_t *next);

/* The parents of sixteen pairs of neighbours: of left's (lanes 0 and 1, 2 and 3, ...) in lanes 0 to 7,
 * of right's in lanes 8 to 15. parents may be left or right. flags: PARENT and the mode's. */
void mlp_blake3_avx512_parents(struct mlp_blake3_avx512_set *parents,
                               const struct mlp_blake3_avx512_set *left,
                               const struct mlp_blake3_avx512_set *right, const uint32_t key[8],
                               uint32_t flags);

/* count > 0 blocks of sixteen lanes. blocks: where each lane's are. ahead: what is prefetched: of the first
 * block the line at ahead[i] + offset, of the others those after it. */
void mlp_blake3_avx512_blocks(struct mlp_blake3_avx512_lanes *lanes,
                              const uint8_t *const blocks[16], size_t count,
                              const uintptr_t ahead[16], size_t offset);

#endif
#endif

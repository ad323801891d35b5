/* blake3_lanes.h - neighbouring chunks and parents to chaining values, as many at a time as fill the lanes.
 *
 * Internal to the hash room.
 *
 * Threads: any thread. Nothing here allocates or fails. Stack: 1 KiB, and the kernel's.
 */
#ifndef MLP_HASH_BLAKE3_LANES_H
#define MLP_HASH_BLAKE3_LANES_H

#include "hash/blake3_kernel.h"

/* Chaining values of count whole chunks, count * 32 bytes.
 * In:      first: the first chunk. others: those after it, one after another.
 *          counter: of the first chunk. flags: of the mode.
 */
void mlp_blake3_compress_chunks(const struct mlp_blake3_kernel *kernel, uint8_t *cvs,
                                const uint8_t *first, const uint8_t *others, size_t count,
                                uint64_t counter, const uint32_t key[8], uint32_t flags);

/* Reduces chaining values of count subtrees to those of wanted ones, at the front of the same memory;
 * count is wanted times a power of two, or less than wanted: then nothing is done. */
void mlp_blake3_reduce_to(const struct mlp_blake3_kernel *kernel, uint8_t *cvs, size_t count,
                          size_t wanted, const uint32_t key[8], uint32_t flags);

#endif

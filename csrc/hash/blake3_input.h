/* blake3_input.h - BLAKE3 of one input or of a part of it, wherever its bytes are.
 *
 * Internal to the hash room.
 *
 * Threads, memory: as input_bytes.h. Stack: 40 KiB; 20 KiB without a source where the input is whole.
 */
#ifndef MLP_HASH_BLAKE3_INPUT_H
#define MLP_HASH_BLAKE3_INPUT_H

#include "hash/hash.h"

void mlp_blake3_input(uint8_t digest32[32], const struct mlp_hash_input *input);

/* The chaining value of a subtree that is not the root: len bytes from offset on, aligned as
 * mlp_blake3_subtree says. */
void mlp_blake3_input_part(uint8_t cv32[32], const struct mlp_hash_input *input, size_t offset,
                           size_t len);

#endif

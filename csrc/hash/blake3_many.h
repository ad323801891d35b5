/* blake3_many.h - many inputs in one call, their chunks and parents sharing lanes.
 *
 * Internal to the hash room.
 *
 * Threads: any thread.
 * Stack: 52 KiB for the queue, and for an input that goes to the tree what blake3_input.h says.
 * Memory: none, but while there are inputs that have a source: 256 KiB for all short ones and what input_bytes.h says for a long one, or less where there is no more.
 */
#ifndef MLP_HASH_BLAKE3_MANY_H
#define MLP_HASH_BLAKE3_MANY_H

#include "hash/hash.h"

/* digests receives inputs_count rows of 32 bytes, which overlap no input. */
void mlp_blake3_many(uint8_t *digests, const struct mlp_hash_input *inputs, size_t inputs_count);

#endif

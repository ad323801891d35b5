/* input_bytes.h - the bytes of an input, wherever they are.
 *
 * Internal to the hash room.
 *
 * Threads: any thread. Memory: while a source is read, a piece of it; where there is none for that, a
 * smaller one on the stack. Stack: 16 KiB for that, beside the sink's.
 */
#ifndef MLP_HASH_INPUT_BYTES_H
#define MLP_HASH_INPUT_BYTES_H

#include "hash/hash.h"

#include <stdbool.h>

/* Takes the next bytes: a multiple of MLP_BLAKE3_CHUNK_LEN of them, except the last ones. */
typedef void (*mlp_input_sink)(void *context, const uint8_t *bytes, size_t bytes_len, bool last);

/* Hands len bytes from offset on to the sink, in order, at least once: in one go where they lie in
 * memory, else by the source's pieces. */
void mlp_input_pieces(const struct mlp_hash_input *input, size_t offset, size_t len,
                      mlp_input_sink sink, void *context);

/* Returns: where len bytes from offset on are. buffer: room for them; not used without a source. */
static inline const uint8_t *mlp_input_bytes(const struct mlp_hash_input *input, size_t offset,
                                             size_t len, uint8_t *buffer)
{
    if (input->source != NULL)
        return input->source->read(input->source->context, offset, len, buffer);
    return (const uint8_t *)input->data + offset;
}

#endif

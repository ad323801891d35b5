#include "hash/input_bytes.h"

#include <stdlib.h>

#define SPARE_LEN (16 * MLP_BLAKE3_CHUNK_LEN)

static void read_pieces(const struct mlp_hash_input *input, size_t offset, size_t len,
                        uint8_t *piece, size_t piece_len, mlp_input_sink sink, void *context)
{
    for (; len > piece_len; offset += piece_len, len -= piece_len)
        sink(context, mlp_input_bytes(input, offset, piece_len, piece), piece_len, false);
    sink(context, mlp_input_bytes(input, offset, len, piece), len, true);
}

void mlp_input_pieces(const struct mlp_hash_input *input, size_t offset, size_t len,
                      mlp_input_sink sink, void *context)
{
    uint8_t spare[SPARE_LEN];
    if (input->source == NULL || len == 0) {
        sink(context, len > 0 ? mlp_input_bytes(input, offset, len, NULL) : spare, len, true);
        return;
    }
    size_t piece_len = input->source->piece_len < len ? input->source->piece_len : len;
    uint8_t *piece = piece_len > sizeof spare ? malloc(piece_len) : NULL;
    if (piece != NULL)
        read_pieces(input, offset, len, piece, piece_len, sink, context);
    else
        read_pieces(input, offset, len, spare, sizeof spare, sink, context);
    free(piece);
}

#include "hash/blake3_input.h"
#include "hash/blake3_tree.h"
#include "hash/input_bytes.h"

/* All chunks of a piece that is not the last go through the lanes; mlp_blake3_update would keep one
 * back, which might be the root. */
static void add_piece(void *context, const uint8_t *bytes, size_t bytes_len, bool last)
{
    struct mlp_blake3_state *state = context;
    while (!last && bytes_len > 0) {
        size_t taken = mlp_blake3_add_chunks(state, bytes, bytes_len);
        bytes += taken;
        bytes_len -= taken;
    }
    mlp_blake3_update(state, bytes, bytes_len);
}

void mlp_blake3_input(uint8_t digest32[32], const struct mlp_hash_input *input)
{
    if (input->source == NULL) {
        mlp_blake3(digest32, input->data, input->len);
        return;
    }
    struct mlp_blake3_state state;
    mlp_blake3_init(&state, mlp_blake3_iv, 0, 0);
    mlp_input_pieces(input, 0, input->len, add_piece, &state);
    mlp_blake3_output(&state, 0, digest32, MLP_BLAKE3_OUT_LEN);
}

void mlp_blake3_input_part(uint8_t cv32[32], const struct mlp_hash_input *input, size_t offset,
                           size_t len)
{
    struct mlp_blake3_state state;
    mlp_blake3_init(&state, mlp_blake3_iv, 0, offset / MLP_BLAKE3_CHUNK_LEN);
    mlp_input_pieces(input, offset, len, add_piece, &state);
    mlp_blake3_chaining_value(&state, cv32);
}

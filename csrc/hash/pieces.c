#include "hash/pieces.h"

#include <stdlib.h>

static int make(struct mlp_pieces *pieces, size_t piece_len, size_t count)
{
    struct mlp_pieces made = {.piece_len = piece_len, .count = count};
    made.memory = aligned_alloc(MLP_PIECE_ALIGN, count * piece_len);
    made.taken = calloc(count, sizeof *made.taken);
    if (made.memory == NULL || made.taken == NULL) {
        mlp_pieces_free(&made);
        return MLP_E_MEMORY;
    }
    for (size_t i = 0; i < count; i++)
        atomic_flag_clear(&made.taken[i]);
    *pieces = made;
    return MLP_OK;
}

int mlp_pieces_new(struct mlp_pieces *pieces, size_t piece_len, size_t count,
                   struct mlp_error *error)
{
    for (; count > 0; count /= 2) {
        if (make(pieces, piece_len, count) == MLP_OK)
            return MLP_OK;
    }
    return mlp_fail(error, MLP_E_MEMORY, "no memory to read into (%zu bytes)", piece_len);
}

uint8_t *mlp_pieces_take(struct mlp_pieces *pieces)
{
    for (size_t i = 0;; i = (i + 1) % pieces->count) {
        if (!atomic_flag_test_and_set_explicit(&pieces->taken[i], memory_order_acquire))
            return pieces->memory + i * pieces->piece_len;
    }
}

void mlp_pieces_give(struct mlp_pieces *pieces, const uint8_t *piece)
{
    size_t index = (size_t)(piece - pieces->memory) / pieces->piece_len;
    atomic_flag_clear_explicit(&pieces->taken[index], memory_order_release);
}

void mlp_pieces_free(struct mlp_pieces *pieces)
{
    free(pieces->memory);
    free(pieces->taken);
    pieces->memory = NULL;
    pieces->taken = NULL;
}

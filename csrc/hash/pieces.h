/* pieces.h - memory for the tasks of a job that read what they hash: a piece for each thread.
 *
 * For the rooms that hand such tasks to the pool: hash and files.
 *
 * Threads: mlp_pieces_take and mlp_pieces_give may be called by all threads of a job at once; no lock.
 */
#ifndef MLP_HASH_PIECES_H
#define MLP_HASH_PIECES_H

#include "base/status.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define MLP_PIECE_ALIGN ((size_t)4096)

struct mlp_pieces {
    uint8_t *memory;
    size_t piece_len;
    size_t count;
    atomic_flag *taken; /* of each piece */
};

/* Makes count pieces, or as many as there is memory for, at least one; free with mlp_pieces_free.
 * In:      piece_len: a multiple of MLP_PIECE_ALIGN, at which pieces are aligned.
 * Returns: 0 or MLP_E_MEMORY.
 */
int mlp_pieces_new(struct mlp_pieces *pieces, size_t piece_len, size_t count,
                   struct mlp_error *error);

/* Returns: a piece that no other thread has; give it back with mlp_pieces_give. At most count are taken
 *          at a time: a job runs on that many threads.
 */
uint8_t *mlp_pieces_take(struct mlp_pieces *pieces);
void mlp_pieces_give(struct mlp_pieces *pieces, const uint8_t *piece);

void mlp_pieces_free(struct mlp_pieces *pieces);

#endif

/* gather.h - reading a strided view in row-major order, piece by piece. Part of the tensor room.
 *
 * The view is taken apart into parts (mlp_dtype_info.part_len bytes: real and imaginary part, code
 * point, byte of text), so that an element is never larger than 16 bytes; neighbouring dimensions
 * that lie as one are joined.
 *
 * Threads: a cursor belongs to one thread. Owns nothing.
 */
#ifndef MLP_TENSOR_GATHER_H
#define MLP_TENSOR_GATHER_H

#include "tensor/view.h"

#define MLP_GATHER_DIMS_MAX (MLP_VIEW_DIMS_MAX + 1) /* one more: the parts of an element */

struct mlp_gather {
    const uint8_t *data;
    size_t part_len; /* 1, 2, 4, 8 or 16 */
    int ndim;        /* at least 1 */
    int64_t shape[MLP_GATHER_DIMS_MAX];
    int64_t strides[MLP_GATHER_DIMS_MAX];
    int64_t index[MLP_GATHER_DIMS_MAX]; /* of the next part */
    uint64_t left;                      /* parts still to be read */
};

/* The view passed mlp_view_check and has no stage. */
void mlp_gather_init(struct mlp_gather *cursor, const struct mlp_view *view);

/* Returns: whether all parts lie densely from data on. */
bool mlp_gather_is_dense(const struct mlp_gather *cursor);

/* The bytes that lie densely at the cursor, up to the end of the innermost dimension: *run and its
 * length, or 0 where single parts do not lie densely. Does not move the cursor. */
size_t mlp_gather_run(const uint8_t **run, const struct mlp_gather *cursor);

/* Moves on by len bytes of a run. */
void mlp_gather_skip(struct mlp_gather *cursor, size_t len);

/* Copies the next bytes, at most out_len (a multiple of part_len), densely into out and moves on.
 * Returns: the bytes copied; less than out_len only at the end.
 */
size_t mlp_gather_copy(struct mlp_gather *cursor, uint8_t *out, size_t out_len);

#endif

/* gather.h - reading a strided view in row-major order, from any place on. Part of the tensor room.
 *
 * The view is taken apart into parts (mlp_dtype_info.part_len bytes: real and imaginary part, code
 * point, byte of text), so that an element is never larger than 16 bytes; neighbouring dimensions
 * that lie as one are joined.
 *
 * Threads: a gather is read-only once it is made. Owns nothing.
 */
#ifndef MLP_TENSOR_GATHER_H
#define MLP_TENSOR_GATHER_H

#include "tensor/view.h"

#define MLP_GATHER_DIMS_MAX (MLP_VIEW_DIMS_MAX + 1) /* one more: the parts of an element */

/* Where a view's parts lie. */
struct mlp_gather {
    const uint8_t *data;
    size_t part_len; /* 1, 2, 4, 8 or 16 */
    int ndim;        /* at least 1 */
    int64_t shape[MLP_GATHER_DIMS_MAX];
    int64_t strides[MLP_GATHER_DIMS_MAX]; /* bytes */
    uint64_t steps[MLP_GATHER_DIMS_MAX];  /* parts from one index of a dimension to the next */
    uint64_t count;                       /* of all parts */
};

/* The view passed mlp_view_check and has no stage. */
void mlp_gather_init(struct mlp_gather *gather, const struct mlp_view *view);

/* Returns: whether all parts lie densely from data on. */
bool mlp_gather_is_dense(const struct mlp_gather *gather);

/* Returns: how many parts lie densely one after another, again and again from the first on; 0 where
 *          single parts do not. */
uint64_t mlp_gather_run_parts(const struct mlp_gather *gather);

/* Returns: where count > 0 parts lie, from the first-th on, if densely within one run; else NULL. */
const uint8_t *mlp_gather_in_place(const struct mlp_gather *gather, uint64_t first, uint64_t count);

/* Copies count parts, from the first-th on, densely into out; first + count is at most
 * gather->count. A long stretch is read fastest: of a transposed matrix it takes 64 bytes' worth of
 * rows to use all of each cache line that is read. */
void mlp_gather_copy(const struct mlp_gather *gather, uint64_t first, uint64_t count, uint8_t *out);

#endif

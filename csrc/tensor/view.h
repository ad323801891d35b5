/* view.h - where a tensor's values lie: the one form in which the core sees a tensor.
 *
 * A view owns nothing. Whoever fills it (csrc/torch, csrc/python) keeps the memory, and the context
 * of a stage callback, alive and unmoved until the last function that takes the view has returned.
 *
 * Threads: a view is read-only for the core; several threads may hash the same one, except a staged
 * one, whose callback belongs to one thread at a time.
 */
#ifndef MLP_TENSOR_VIEW_H
#define MLP_TENSOR_VIEW_H

#include "base/status.h"
#include "tensor/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MLP_VIEW_DIMS_MAX 64 /* NumPy 2's NPY_MAXDIMS */

/* Pending transformations: the values are what the memory holds after these. */
#define MLP_VIEW_CONJ     1u /* the imaginary parts' signs are flipped (torch's conj bit) */
#define MLP_VIEW_NEG      2u /* every part is negated (torch's neg bit) */
#define MLP_VIEW_BYTESWAP 4u /* the parts are big-endian */
#define MLP_VIEW_FLAGS    7u

/* Copies count elements, item_len bytes each, that begin at logical (row-major) element
 * first_element, densely into out. Called without the GIL.
 * Returns: 0, or a status with the detail in error.
 */
typedef int (*mlp_view_stage)(void *context, uint64_t first_element, size_t count, void *out,
                              struct mlp_error *error);

struct mlp_view {
    const void *data; /* element (0, ..., 0); may be NULL where there are no elements */
    int dtype;        /* enum mlp_dtype */
    int ndim;         /* 0 .. MLP_VIEW_DIMS_MAX */
    size_t item_len;  /* stored bytes of one element */
    unsigned flags;   /* MLP_VIEW_... */

    bool version_known; /* false: no counter (arrays, inference tensors) */
    uint64_t version;

    /* Where the values lie: views that agree in these two, dtype, flags, shape and strides are
     * aliases (docs/format.md section 5, "Aliases"). An address on the storage's device, to be
     * compared; values are read through data or stage. */
    const void *storage;
    int64_t storage_offset; /* bytes */

    mlp_view_stage stage; /* not NULL: values not in host memory; data, strides are unused */
    void *stage_context;

    char unit[MLP_DTYPE_UNIT_MAX]; /* DATETIME64, TIMEDELTA64: "[ns]"; otherwise "" */

    /* The head ends here. Of the arrays the first ndim members count; nobody reads the others. */
    int64_t shape[MLP_VIEW_DIMS_MAX];
    int64_t strides[MLP_VIEW_DIMS_MAX]; /* bytes; zero and negative ones are allowed */
};

/* Bytes of a view before its arrays, which are a kilobyte that most tensors have no use for: what a
 * filler sets to zero first. */
#define MLP_VIEW_HEAD_LEN offsetof(struct mlp_view, shape)

/* Whether the view can be hashed: dtype known, item_len agrees with it, dimensions and lengths in
 * range (every byte offset fits int64_t), flags that the dtype admits, data present.
 * Returns: 0, MLP_E_TENSOR (what is wrong, for the user), MLP_E_ARGUMENT (a filler's mistake).
 */
int mlp_view_check(const struct mlp_view *view, struct mlp_error *error);

/* Number of elements.
 * Returns: 0 or MLP_E_TENSOR (does not fit).
 */
int mlp_view_count(uint64_t *count, const struct mlp_view *view, struct mlp_error *error);

/* Sets row-major strides; ndim, shape and item_len are set.
 * Returns: 0 or MLP_E_TENSOR (overflow).
 */
int mlp_view_set_dense_strides(struct mlp_view *view, struct mlp_error *error);

/* The dtype's name with its parameter, as leaves spell it: "F32", "DATETIME64[ns]", "S12",
 * "U3_UCS4". Writes "" for an unknown dtype. */
void mlp_view_dtype_name(char name[MLP_DTYPE_NAME_MAX], const struct mlp_view *view);

/* The shape as leaves write it: the view's, except F4, whose last dimension counts values, not
 * bytes (0-d becomes one dimension of 2).
 * Out:     shape: room for MLP_VIEW_DIMS_MAX.
 * Returns: its dimensions.
 */
int mlp_view_leaf_shape(int64_t *shape, const struct mlp_view *view);

#endif

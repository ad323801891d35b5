/* leaf.h - tensor leaves: RFC 8785 (JCS) objects, written directly (docs/format.md section 4).
 *
 * Threads: reentrant. Everything is appended to the caller's buffer; on failure its length is as
 * before.
 */
#ifndef MLP_TENSOR_LEAF_H
#define MLP_TENSOR_LEAF_H

#include "base/bytes.h"
#include "tensor/view.h"

/* One tensor. Nothing is owned. */
struct mlp_tensor_leaf {
    const char *name; /* UTF-8; NULL: the object has no "name" */
    size_t name_len;
    int algorithm;         /* enum mlp_algorithm */
    const uint8_t *digest; /* mlp_algorithm_digest_len(algorithm) bytes */
    const char *dtype;     /* as mlp_view_dtype_name or a safetensors header spells it */
    uint64_t len;          /* canonical bytes */
    int ndim;
    const int64_t *shape; /* as mlp_view_leaf_shape gives it */
};

/* Appends
 * {"digest":"blake3:...","dtype":"F32","len":37632,"name":"conv1.weight","shape":[64,3,7,7]}.
 * Returns: 0, MLP_E_MEMORY, MLP_E_ARGUMENT (name not UTF-8, unknown algorithm, a number that JSON
 *          cannot carry exactly: above 2^53 - 1).
 */
int mlp_tensor_leaf_append(struct mlp_buffer *out, const struct mlp_tensor_leaf *leaf,
                           struct mlp_error *error);

#endif

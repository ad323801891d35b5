/* leaf.h - tensor leaves: RFC 8785 (JCS) objects, written directly (docs/format.md, "Leaf and
 * tree").
 *
 * Threads: reentrant. Everything is appended to the caller's buffer; on failure its length is
 * restored.
 */
#ifndef MLP_TENSOR_LEAF_H
#define MLP_TENSOR_LEAF_H

#include "base/bytes.h"
#include "tensor/view.h"

/* One tensor, or one part of a composite. Nothing is owned. */
struct mlp_leaf {
    const char *name; /* UTF-8; NULL: the object has no "name" (parts, batch items) */
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
 * cannot carry exactly: above 2^53 - 1). */
int mlp_leaf_append(struct mlp_buffer *out, const struct mlp_leaf *leaf, struct mlp_error *error);

struct mlp_leaf_part {
    const char *name;     /* ASCII: "indices", "values" */
    struct mlp_leaf leaf; /* its own name is not written */
};

struct mlp_leaf_field {
    const char *name;  /* ASCII: "coalesced", "qscheme" */
    const char *value; /* a JCS value as text: "true", "0", "\"per_tensor_affine\"" */
};

/* A sparse, quantised or nested tensor: named parts under one name. Nothing is owned. */
struct mlp_leaf_composite {
    const char *name; /* NULL: without "name", the form whose hash is the composite's digest */
    size_t name_len;
    const char *layout;                /* ASCII: "sparse_coo" */
    const struct mlp_leaf_part *parts; /* any order; names distinct */
    size_t parts_count;
    const struct mlp_leaf_field *fields; /* any order; names distinct and none of the fixed four */
    size_t fields_count;
    int ndim;
    const int64_t *shape; /* -1 is written as null: a dimension without one size */
};

/* Appends {"layout":...,"name":...,"parts":{...},"shape":[...]} with the fields sorted in.
 * Returns: as mlp_leaf_append; MLP_E_ARGUMENT also for two equal names. */
int mlp_leaf_append_composite(struct mlp_buffer *out, const struct mlp_leaf_composite *composite,
                              struct mlp_error *error);

/* The digest of a composite: the hash of its object without "name". */
int mlp_leaf_composite_digest(uint8_t *digest, const struct mlp_leaf_composite *composite,
                              int algorithm, struct mlp_error *error);

#endif

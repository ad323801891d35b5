/* model.h - the tree over named tensors: digests, leaves in order of name, root, in one call.
 *
 * For a model's persistent state dict and for the state of an optimizer (docs/format.md sections 4
 * and 5): leaves sorted by the UTF-8 bytes of the name, the root of RFC 6962 over them.
 *
 * Threads: reentrant; hashing is shared among threads as mlp_tensor_digest_many says.
 */
#ifndef MLP_TENSOR_MODEL_H
#define MLP_TENSOR_MODEL_H

#include "base/bytes.h"
#include "tensor/view_set.h"

/* One name, and what stands under it. Nothing is owned. */
struct mlp_model_entry {
    const char *name; /* UTF-8 */
    size_t name_len;
    size_t view;      /* index in the set of views; names of one view are aliases */
    const void *leaf; /* not NULL: the leaf is ready (parts, a value), and there is no view */
    size_t leaf_len;
};

/* Zero-initialise; mlp_model_clear releases. Position i is that of leaf i. */
struct mlp_model {
    size_t size;   /* leaves */
    size_t *order; /* the index of the entry at a position */
    size_t *ends;  /* where its leaf ends in leaves; it begins where the one before ends */
    struct mlp_buffer leaves; /* one after another */
    uint8_t root32[32];
};

/* Hashes every view of the set once, writes a leaf for each entry and makes the tree.
 * Out:     model: zero before; to be cleared in any case.
 *          failed: the index of an entry that failed, entries_count where it was none; may be NULL.
 * In:      threads: as mlp_hash_many_by.
 * Returns: 0; what mlp_tensor_digest_many returns; MLP_E_CONFIG (two entries of one name);
 *          MLP_E_ARGUMENT (a name that is not UTF-8, a number that JSON cannot carry).
 */
int mlp_model_digest(struct mlp_model *model, const struct mlp_model_entry *entries,
                     size_t entries_count, const struct mlp_view_set *views, int algorithm,
                     size_t threads, size_t *failed, struct mlp_error *error);

void mlp_model_clear(struct mlp_model *model);

#endif

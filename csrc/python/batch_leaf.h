/* batch_leaf.h - the leaf of a plain batch (docs/format.md section 4, "Batch leaf").
 *
 * Plain is what most loaders give: lists, tuples and dicts with ASCII keys, of torch tensors, NumPy
 * arrays (once one was hashed), text, integers that JSON carries, true, false and None, of these very
 * types, whose tensors agree in their first dimension. mlprov.items knows all the rest, and what to
 * say where a value has no form: here it is only left alone.
 */
#ifndef MLP_PYTHON_BATCH_LEAF_H
#define MLP_PYTHON_BATCH_LEAF_H

#include "base/bytes.h"
#include "python/held_views.h"

#include <stdbool.h>

#define MLP_PY_BATCH_SOURCES_MAX 64

/* A batch's text with a gap for each tensor, and the tensors, held. */
struct mlp_py_batch {
    const struct mlp_py_view_state *view;
    struct mlp_buffer text;
    size_t gaps[MLP_PY_BATCH_SOURCES_MAX];       /* where in text */
    PyObject *sources[MLP_PY_BATCH_SOURCES_MAX]; /* borrowed: of use in mlp_py_batch_take alone */
    size_t count;
    struct mlp_py_held_views held;
    int64_t samples; /* the first dimension of its tensors */
    uint64_t len;    /* their canonical bytes */
};

/* The leaf of a list of indices, where it needs no care: whole numbers, text, lists of them.
 * Threads: with the GIL held.
 * Returns: 1 and the leaf appended; 0 where it is not plain; -1 with an exception set.
 */
int mlp_py_index_leaf(struct mlp_buffer *leaf, uint64_t number, PyObject *indices);

/* Walks a batch and holds its tensors; no Python code of the batch runs. Release it in every case.
 * Threads: with the GIL held.
 * Returns: 1; 0 where it is not plain; -1 with an exception set.
 */
int mlp_py_batch_take(struct mlp_py_state *state, struct mlp_py_batch *batch, PyObject *value);

/* Hashes the tensors and appends the leaf.
 * Threads: any, without the GIL.
 * Returns: 0, or as mlp_tensor_digest_many; MLP_E_MEMORY.
 */
int mlp_py_batch_hash(struct mlp_buffer *leaf, const struct mlp_py_batch *batch, uint64_t number,
                      int algorithm, struct mlp_error *error);

/* Threads: with the GIL held. */
void mlp_py_batch_release(struct mlp_py_batch *batch);

#endif

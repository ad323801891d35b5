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
#include "hash/hash.h"
#include "python/held_views.h"

#include <stdbool.h>

#define MLP_PY_BATCH_SOURCES_MAX 64

/* A batch's text with a gap for each tensor, and the tensors. */
struct mlp_py_batch {
    const struct mlp_py_view_state *view;
    struct mlp_buffer text;
    size_t count;                                /* of tensors */
    struct mlp_py_held_views held;               /* nothing before mlp_py_batch_hold */
    int64_t samples;                             /* the first dimension of its tensors */
    uint64_t len;                                /* their canonical bytes */
    size_t gaps[MLP_PY_BATCH_SOURCES_MAX];       /* where in text; the first count */
    PyObject *sources[MLP_PY_BATCH_SOURCES_MAX]; /* the first count; references */
};

/* What a leaf is written from; nothing is owned. The tensors are those of views from first on. */
struct mlp_py_batch_form {
    const char *member; /* "items" or "indices" */
    const uint8_t *text;
    size_t text_len;
    const size_t *gaps;
    size_t count;
    const struct mlp_view_set *views;
    size_t first;
};

/* The text of a list of indices, where it needs no care: whole numbers, text, lists of them.
 * Threads: with the GIL held.
 * Returns: 1 and the text appended; 0 where it is not plain; -1 with an exception set. But for 1 the
 *          text is as it was.
 */
int mlp_py_index_text(struct mlp_buffer *text, PyObject *indices);

/* Walks a batch, which the caller keeps; no Python code of it runs. Release it in every case.
 * Threads: with the GIL held.
 * Returns: whether it is plain, as far as can be seen without a look at its tensors.
 */
bool mlp_py_batch_walk(struct mlp_py_state *state, struct mlp_py_batch *batch, PyObject *value);

/* Holds the tensors of a batch that was walked. Python code may run: a lock that it could want is not
 * taken.
 * Returns: 1; 0 where it is not plain; -1 with an exception set.
 */
int mlp_py_batch_hold(struct mlp_py_state *state, struct mlp_py_batch *batch);

/* Hashes the tensors that are held and appends the leaf.
 * Threads: any, without the GIL.
 * Returns: 0, or as mlp_tensor_digest_many; MLP_E_MEMORY.
 */
int mlp_py_batch_hash(struct mlp_buffer *leaf, const struct mlp_py_batch *batch, uint64_t number,
                      int algorithm, struct mlp_error *error);

/* Appends the leaf, once there are digests.
 * In:      request: of all views of the form's set.
 * Threads: any.
 * Returns: 0, MLP_E_MEMORY, or as mlp_tensor_leaf_append.
 */
int mlp_py_batch_write(struct mlp_buffer *leaf, const struct mlp_py_batch_form *form,
                       uint64_t number, const struct mlp_hash_request *request,
                       struct mlp_error *error);

/* Threads: with the GIL held. */
void mlp_py_batch_release(struct mlp_py_batch *batch);

#endif

/* held_views.h - the views of many objects, held together while the core works on them.
 *
 * Threads: with the GIL held; the set may be hashed without it.
 */
#ifndef MLP_PYTHON_HELD_VIEWS_H
#define MLP_PYTHON_HELD_VIEWS_H

#include "python/module.h"
#include "tensor/view_set.h"

/* Zero-initialise; release also after a failure. */
struct mlp_py_held_views {
    struct mlp_view_set set;
    struct mlp_py_refs *refs; /* one for each object */
    size_t *places;           /* of each object: the index of its view in the set */
    size_t count;             /* objects */
    size_t work_len;          /* how much there is to hash, for mlp_py_gil_release */
};

/* Takes the view of each item of a tuple.
 * In:      aliases: as mlp_view_set_init.
 * Returns: 0, or -1 with an exception set, whose index is that of the item which failed.
 */
int mlp_py_held_views_take(struct mlp_py_state *state, struct mlp_py_held_views *held,
                           PyObject *items, bool aliases);

/* The view of one torch tensor as of one on a device (MLP_PY_VIEW_STAGED). */
int mlp_py_held_views_take_staged(struct mlp_py_state *state, struct mlp_py_held_views *held,
                                  PyObject *tensor);

void mlp_py_held_views_release(struct mlp_py_held_views *held);

/* (digest, dtype, shape, length) of the view at index of a set: a new tuple. */
PyObject *mlp_py_digest_row(const struct mlp_view_set *set, size_t index, const uint8_t *digest,
                            size_t digest_len);

/* Whether the view of an object can be had: nothing is kept.
 * Returns: 1, 0, or -1 with an exception set (what is no failure of the object).
 */
int mlp_py_has_view(struct mlp_py_state *state, PyObject *object);

/* A list of tensors as a tuple, a new reference. A tensor is a sequence of its rows too: taking it
 * as the list would hash something else, so it is TypeError.
 * In:      what: names the argument.
 */
int mlp_py_tensor_items(struct mlp_py_state *state, PyObject **items, PyObject *sequence,
                        const char *what);

#endif

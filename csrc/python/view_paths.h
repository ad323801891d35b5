/* view_paths.h - the paths behind mlp_py_view_take, one file each. Part of view.
 *
 * Each fills *view, whose head is zero, and *refs, which is zero, and returns as mlp_py_view_take; on
 * failure the caller releases what a path has put into *refs.
 */
#ifndef MLP_PYTHON_VIEW_PATHS_H
#define MLP_PYTHON_VIEW_PATHS_H

#include "python/view.h"

/* A path does not apply; another may. No exception is set. */
#define MLP_PY_NOT_MINE 2

/* view_torch.c. MLP_PY_NOT_MINE: torch is not loaded, or object is none of its tensors. */
int mlp_py_view_torch(struct mlp_py_view_state *state, PyObject *object, unsigned options,
                      struct mlp_view *view, struct mlp_py_refs *refs, struct mlp_error *error);

/* view_numpy.c. MLP_PY_NOT_MINE: NumPy is not loaded, or object is no array or scalar of it. */
int mlp_py_view_numpy(struct mlp_py_view_state *state, PyObject *object, struct mlp_view *view,
                      struct mlp_py_refs *refs, struct mlp_error *error);

/* view_buffer.c. MLP_PY_NOT_MINE: the exporter offers no buffer, or one whose format says less than
 * its type does (records, padding, custom types); refusal then tells which, for an error of the
 * caller's. */
int mlp_py_view_buffer(PyObject *object, struct mlp_view *view, struct mlp_py_refs *refs,
                       char refusal[128]);

/* The module if it is loaded already.
 * Returns: a new reference, or NULL without an exception.
 */
PyObject *mlp_py_loaded_module(PyObject *name);

/* Returns: 1 or 0; 0 also where the module has no such class. Never fails. */
int mlp_py_is_instance_of(PyObject *object, PyObject *module, PyObject *class_name);

/* An attribute's UTF-8 text, str() of it where it is none, cut to text_len - 1 bytes.
 * Returns: 0, or -1 with an exception set.
 */
int mlp_py_attribute_text(char *text, size_t text_len, PyObject *object, PyObject *attribute);

/* Turns the exception that is set into MLP_E_TENSOR with its text; MemoryError, KeyboardInterrupt
 * and others that are no failure of the tensor stay set.
 * Returns: MLP_E_TENSOR or MLP_PY_RAISED.
 */
int mlp_py_tensor_failure(struct mlp_error *error, PyObject *object, const char *doing);

#endif

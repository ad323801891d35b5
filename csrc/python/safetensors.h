/* safetensors.h - what a safetensors header says, as Python objects.
 *
 * Threads: with the GIL held.
 */
#ifndef MLP_PYTHON_SAFETENSORS_H
#define MLP_PYTHON_SAFETENSORS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "tensor/safetensors.h"

/* Returns: a new list of (name, dtype, shape, begin, end), sorted by name, or NULL with an exception set. */
PyObject *mlp_py_safetensors_entries(const struct mlp_safetensors *file);

/* Returns: a new dict, or NULL with an exception set. */
PyObject *mlp_py_safetensors_metadata(const struct mlp_safetensors *file);

#endif

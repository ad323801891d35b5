/* dlpack.h - taking tensors from other frameworks through DLPack (dmlc/dlpack, version 1.3).
 *
 * Two routes: the C exchange API (`type(t).__dlpack_c_exchange_api__`), and the capsules of
 * `t.__dlpack__()`, versioned and unversioned. The element type's name is the framework's own
 * (`t.dtype`) where mlprov knows it: DLPack reports 8 bits for types of fewer.
 *
 * Threads: with the GIL held; a deleter may run Python code.
 */
#ifndef MLP_PYTHON_DLPACK_H
#define MLP_PYTHON_DLPACK_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "base/status.h"
#include "python/names.h"
#include "tensor/view.h"

/* A consumed tensor; zero: nothing is held. */
struct mlp_dlpack {
    void *managed;
    int versioned;
};

/* Returns: whether type(object) offers either route. Never fails. */
int mlp_dlpack_is_offered(const struct mlp_py_names *names, PyObject *object);

/* Fills view and *held from object.
 * In:      dtype: the enum's code where the caller knows it, otherwise MLP_DTYPE_NONE: then it is
 *          found from object.dtype, and failing that from DLPack's own type.
 * Returns: 0; MLP_E_TENSOR (the framework refused, a device that is not host memory, an element
 *          type that mlprov does not know, a malformed answer); 1 with an exception set (view.h).
 */
int mlp_dlpack_take(const struct mlp_py_names *names, PyObject *object, int dtype,
                    struct mlp_view *view, struct mlp_dlpack *held, struct mlp_error *error);

/* Calls the deleter. A second call does nothing. */
void mlp_dlpack_release(struct mlp_dlpack *held);

#endif

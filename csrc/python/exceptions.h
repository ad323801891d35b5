/* exceptions.h - the one place where a status becomes a Python exception.
 *
 * Which class answers a status stands in base/status.h's table. MemoryError, ValueError and
 * IndexError are the builtins; mlprov.errors hands over the others at its import (set_exceptions).
 * Until then RuntimeError stands in for them. Every exception raised here has the attributes status
 * (the code's name, "MISMATCH"), retryable and remedy (what to do, with which its text ends; or "").
 *
 * Threads: with the GIL held.
 */
#ifndef MLP_PYTHON_EXCEPTIONS_H
#define MLP_PYTHON_EXCEPTIONS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "base/status.h"

struct mlp_py_exceptions {
    PyObject *classes; /* dict: class name -> class; NULL until set_exceptions */
};

int mlp_py_exceptions_traverse(struct mlp_py_exceptions *exceptions, visitproc visit, void *arg);
void mlp_py_exceptions_clear(struct mlp_py_exceptions *exceptions);

/* Takes a dict that names a class for every name of the table that is no builtin.
 * Returns: 0, or -1 with TypeError or ValueError set.
 */
int mlp_py_exceptions_set(struct mlp_py_exceptions *exceptions, PyObject *classes);

/* Returns: a new reference to the exception that error->status stands for, which is not raised; or NULL
 * with another one set.
 */
PyObject *mlp_py_exception(struct mlp_py_exceptions *exceptions, const struct mlp_error *error);

/* Raises the exception that error->status stands for. An exception that is set already (a callback
 * raised it) is kept.
 * Returns: NULL.
 */
void *mlp_py_raise(struct mlp_py_exceptions *exceptions, const struct mlp_error *error);

/* mlp_py_exception for what failed with a file of the caller's: a failed system call is the OSError that
 * open() would raise (FileNotFoundError, PermissionError ...), with errno and filename; the store's
 * own files are StoreError.
 * In:      path: the file.
 */
PyObject *mlp_py_exception_of_file(struct mlp_py_exceptions *exceptions,
                                   const struct mlp_error *error, const char *path);

/* Raises it, as mlp_py_raise does.
 * Returns: NULL.
 */
void *mlp_py_raise_of_file(struct mlp_py_exceptions *exceptions, const struct mlp_error *error,
                           const char *path);

/* mlp_py_raise with an exception of another class.
 * Returns: NULL.
 */
void *mlp_py_raise_class(PyObject *class, const struct mlp_error *error);

/* The same as mlp_py_raise, with one more attribute, index.
 * Returns: NULL.
 */
void *mlp_py_raise_at(struct mlp_py_exceptions *exceptions, const struct mlp_error *error,
                      Py_ssize_t index);

#endif

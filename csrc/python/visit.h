/* visit.h - a long call of the core without the GIL, which is taken from time to time for a look.
 *
 * Threads: the one that called from Python.
 */
#ifndef MLP_PYTHON_VISIT_H
#define MLP_PYTHON_VISIT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "files/watch.h"

struct mlp_py_visit {
    PyThreadState *released;
    PyObject *progress; /* what to call with files and bytes, or None */
};

/* Takes what is to be called. object: NULL, None or what can be called; kept while the visit is.
 * Returns: 0, or -1 with an exception set. */
int mlp_py_visit_progress(struct mlp_py_visit *visit, PyObject *object, const char *what);

/* For a struct mlp_files_look; context: a visit that has begun. Lets Ctrl-C through, and says how far
 * it is. Returns: 0, or MLP_PY_RAISED with an exception set. */
int mlp_py_visit_look(void *context, uint64_t files, uint64_t bytes);

/* Release the GIL, and take it again. */
void mlp_py_visit_begin(struct mlp_py_visit *visit);
void mlp_py_visit_end(struct mlp_py_visit *visit);

#endif

/* store_object.h - what the files of Store, RunLog and LeafStream share.
 *
 * A RunLog holds a reference to its Store, so the core's store outlives its log. struct mlp_store
 * and struct mlp_tlog may be used from any thread, and are freed only when nothing refers to the
 * object: no lock is needed around them.
 *
 * Threads: with the GIL held.
 */
#ifndef MLP_PYTHON_STORE_OBJECT_H
#define MLP_PYTHON_STORE_OBJECT_H

#include "python/module.h"

struct mlp_runlog;
struct mlp_store;
struct mlp_stream;

/* Borrowed from a Store object. */
struct mlp_store *mlp_py_store_of(PyObject *store);
const char *mlp_py_log_origin_of(PyObject *store);

/* New objects; log and stream are taken in any case.
 * Returns: NULL with an exception set.
 */
PyObject *mlp_py_run_log_wrap(PyObject *store, struct mlp_runlog *log);
PyObject *mlp_py_leaf_stream_wrap(struct mlp_py_state *state, struct mlp_stream *stream);

/* Methods of Store that stand in files of their own. */
PyObject *MlpCore_Store_query(PyObject *self, PyObject *args);
PyObject *MlpCore_Store_put_import(PyObject *self, PyObject *args);
PyObject *MlpCore_Store_plan_anchor(PyObject *self, PyObject *args);
PyObject *MlpCore_Store_plan_file(PyObject *self, PyObject *args);
PyObject *MlpCore_Store_resume_anchors(PyObject *self, PyObject *ignored);

#endif

/* module.h - what the files of mlprov._core share: the module's state and its groups.
 *
 * Everything that changes lives in the state or in objects; the method tables are constant in use.
 * Types are heap types and final, so that the state of an object's module is found through its
 * type.
 *
 * Threads: with the GIL held, unless a function says otherwise.
 */
#ifndef MLP_PYTHON_MODULE_H
#define MLP_PYTHON_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "python/exceptions.h"
#include "python/view.h"

struct mlp_py_captured;

struct mlp_py_state {
    struct mlp_py_exceptions exceptions;
    struct mlp_py_view_state view;
    PyTypeObject *hasher_type;
    PyTypeObject *merkle_tree_type;
    PyTypeObject *signing_key_type;
    PyTypeObject *ethereum_key_type;
    PyTypeObject *store_type;
    PyTypeObject *run_log_type;
    PyTypeObject *leaf_stream_type;
    PyTypeObject *module_tree_type;
    PyTypeObject *ticket_type;
    PyTypeObject *anchor_workers_type;
    PyTypeObject *step_gate_type;
    struct mlp_py_captured *leaving; /* captured.h: let go of when no worker is inside any more */
};

/* Never NULL while the module or an object of it lives. */
static inline struct mlp_py_state *mlp_py_state_of_module(PyObject *module)
{
    return PyModule_GetState(module);
}

static inline struct mlp_py_state *mlp_py_state_of_type(PyObject *type)
{
    return PyType_GetModuleState((PyTypeObject *)type);
}

static inline struct mlp_py_state *mlp_py_state_of(PyObject *object)
{
    return PyType_GetModuleState(Py_TYPE(object));
}

/* For method tables: a function that takes keywords as a PyCFunction. */
#define MLP_PY_WITH_KEYWORDS(function) (PyCFunction)(void (*)(void))(function)

/* Makes a final heap type of the module; with publish also its attribute.
 * Returns: 0, or -1 with an exception set.
 */
int mlp_py_add_type(PyObject *module, PyTypeObject **type, PyType_Spec *spec, int publish);

/* The groups: each adds its functions and types to the module, one file each.
 * Returns: 0, or -1 with an exception set.
 */
int mlp_py_hash_functions_add(PyObject *module);
int mlp_py_file_functions_add(PyObject *module);
int mlp_py_hasher_add(PyObject *module);
int mlp_py_merkle_functions_add(PyObject *module);
int mlp_py_merkle_tree_add(PyObject *module);
int mlp_py_slices_add(PyObject *module);
int mlp_py_codec_add(PyObject *module);
int mlp_py_tensors_add(PyObject *module);
int mlp_py_model_add(PyObject *module);
int mlp_py_module_tree_add(PyObject *module);
int mlp_py_safetensors_add(PyObject *module);
int mlp_py_safetensors_save_add(PyObject *module);
int mlp_py_safetensors_load_add(PyObject *module);
int mlp_py_notes_add(PyObject *module);
int mlp_py_signing_key_add(PyObject *module);
int mlp_py_ethereum_add(PyObject *module);
int mlp_py_ethereum_blocks_add(PyObject *module);
int mlp_py_ethereum_deploy_add(PyObject *module);
int mlp_py_ethereum_key_add(PyObject *module);
int mlp_py_store_add(PyObject *module);
int mlp_py_run_log_add(PyObject *module);
int mlp_py_leaf_stream_add(PyObject *module);
int mlp_py_ticket_add(PyObject *module);
int mlp_py_anchor_workers_add(PyObject *module);
int mlp_py_ipfs_add(PyObject *module);
int mlp_py_car_add(PyObject *module);
int mlp_py_step_gate_add(PyObject *module);

#endif

/* module.c - mlprov._core: its state, its groups, and what its import refuses. */
#include "python/module.h"

#include "hash/hash.h"
#include "hash/pool.h"
#include "python/captured.h"

int mlp_py_add_type(PyObject *module, PyTypeObject **type, PyType_Spec *spec, int publish)
{
    PyObject *made = PyType_FromModuleAndSpec(module, spec, NULL);
    if (made == NULL)
        return -1;
    *type = (PyTypeObject *)made; /* the state owns it */
    return publish ? PyModule_AddType(module, *type) : 0;
}

/* ---- functions of the module itself ---- */

static PyObject *MlpCore_set_exceptions(PyObject *module, PyObject *classes)
{
    if (mlp_py_exceptions_set(&mlp_py_state_of_module(module)->exceptions, classes) != 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef module_functions[] = {
    {"set_exceptions", MlpCore_set_exceptions, METH_O,
     PyDoc_STR("set_exceptions($module, classes, /)\n--\n\n"
               "Tell the core which class answers each name of base/status.h's table.")},
    {NULL, NULL, 0, NULL},
};

/* ---- import ---- */

/* All state of the core is the process's; a second interpreter would share it unguarded. */
static int refuse_subinterpreter(void)
{
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) == 0)
        return 0;
    PyErr_SetString(PyExc_ImportError,
                    "mlprov._core cannot be loaded in a subinterpreter; import mlprov in the "
                    "main interpreter");
    return -1;
}

static int refuse_wrong_environment(void)
{
    struct mlp_error error;
    if (mlp_hash_kernel_check_environment(&error) == 0 && mlp_pool_check_environment(&error) == 0)
        return 0;
    (void)mlp_fail_in(&error, error.status, "mlprov._core");
    mlp_py_raise_class(PyExc_ImportError, &error);
    return -1;
}

static int MlpCore_exec(PyObject *module)
{
    static int (*const groups[])(PyObject *) = {
        mlp_py_hash_functions_add,
        mlp_py_file_functions_add,
        mlp_py_hasher_add,
        mlp_py_merkle_functions_add,
        mlp_py_merkle_tree_add,
        mlp_py_codec_add,
        mlp_py_tensors_add,
        mlp_py_safetensors_add,
        mlp_py_notes_add,
        mlp_py_signing_key_add,
        mlp_py_store_add,
        mlp_py_run_log_add,
        mlp_py_leaf_stream_add,
        mlp_py_slices_add,
        mlp_py_model_add,
        mlp_py_module_tree_add,
        mlp_py_ticket_add,
        mlp_py_safetensors_save_add,
        mlp_py_safetensors_load_add,
        mlp_py_ethereum_add,
        mlp_py_ethereum_key_add,
        mlp_py_anchor_workers_add,
        mlp_py_ethereum_blocks_add,
        mlp_py_step_gate_add,
        mlp_py_ipfs_add,
        mlp_py_car_add,
        mlp_py_ethereum_deploy_add,
    };
    if (refuse_subinterpreter() != 0 || refuse_wrong_environment() != 0)
        return -1;
    if (mlp_py_view_state_init(&mlp_py_state_of_module(module)->view) != 0)
        return -1;
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        if (groups[i](module) != 0)
            return -1;
    }
    return 0;
}

/* ---- the module ---- */

static int MlpCore_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    Py_VISIT(state->hasher_type);
    Py_VISIT(state->merkle_tree_type);
    Py_VISIT(state->signing_key_type);
    Py_VISIT(state->ethereum_key_type);
    Py_VISIT(state->store_type);
    Py_VISIT(state->run_log_type);
    Py_VISIT(state->leaf_stream_type);
    Py_VISIT(state->module_tree_type);
    Py_VISIT(state->ticket_type);
    Py_VISIT(state->anchor_workers_type);
    Py_VISIT(state->step_gate_type);
    int result = mlp_py_exceptions_traverse(&state->exceptions, visit, arg);
    return result != 0 ? result : mlp_py_view_state_traverse(&state->view, visit, arg);
}

static int MlpCore_clear(PyObject *module)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    Py_CLEAR(state->hasher_type);
    Py_CLEAR(state->merkle_tree_type);
    Py_CLEAR(state->signing_key_type);
    Py_CLEAR(state->ethereum_key_type);
    Py_CLEAR(state->store_type);
    Py_CLEAR(state->run_log_type);
    Py_CLEAR(state->leaf_stream_type);
    Py_CLEAR(state->module_tree_type);
    Py_CLEAR(state->ticket_type);
    Py_CLEAR(state->anchor_workers_type);
    Py_CLEAR(state->step_gate_type);
    mlp_py_captured_free(state, NULL); /* those that have a worker inside stay as they are */
    mlp_py_exceptions_clear(&state->exceptions);
    mlp_py_view_state_clear(&state->view);
    return 0;
}

static void MlpCore_free(void *module)
{
    if (PyModule_GetState(module) != NULL) /* NULL where the import failed before exec */
        MlpCore_clear(module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, MlpCore_exec},
    {0, NULL},
};

static PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "mlprov._core",
    .m_doc = "The C core of mlprov; see mlprov/_core.pyi.",
    .m_size = sizeof(struct mlp_py_state),
    .m_methods = module_functions,
    .m_slots = module_slots,
    .m_traverse = MlpCore_traverse,
    .m_clear = MlpCore_clear,
    .m_free = MlpCore_free,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&module_definition);
}

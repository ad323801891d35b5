/* module_tree.c - ModuleTree: the tensors of an ordinary torch module, found again without naming them. */
#include "python/module_tree.h"

static struct mlp_py_module_tree *as_tree(PyObject *object)
{
    return (struct mlp_py_module_tree *)object;
}

/* ---- one module ---- */

void mlp_py_module_parts_release(struct mlp_py_module_parts *parts)
{
    Py_CLEAR(parts->parameters);
    Py_CLEAR(parts->buffers);
    Py_CLEAR(parts->modules);
    Py_CLEAR(parts->transient);
}

/* A new reference, or NULL; with an exception set only where the look-up failed. */
static PyObject *part(PyObject *attributes, PyObject *name)
{
    return Py_XNewRef(PyDict_GetItemWithError(attributes, name));
}

int mlp_py_module_parts_take(struct mlp_py_module_parts *parts, const struct mlp_py_names *names,
                             PyObject *module)
{
    PyObject *attributes = PyObject_GenericGetDict(module, NULL);
    if (attributes == NULL)
        return -1;
    parts->parameters = part(attributes, names->parameters);
    parts->buffers = part(attributes, names->buffers);
    parts->modules = part(attributes, names->modules);
    parts->transient = part(attributes, names->transient);
    int own_way = PyDict_Contains(attributes, names->save); /* put into the object itself */
    Py_DECREF(attributes);
    if (PyErr_Occurred())
        return -1;
    bool ordinary = own_way == 0 && parts->parameters != NULL && parts->buffers != NULL &&
                    parts->modules != NULL && parts->transient != NULL &&
                    PyDict_CheckExact(parts->parameters) && PyDict_CheckExact(parts->buffers) &&
                    PyDict_CheckExact(parts->modules) && PyAnySet_Check(parts->transient);
    return ordinary ? 0 : MLP_PY_NOT_ORDINARY;
}

int mlp_py_key_in(PyObject *set, PyObject *key)
{
    return set != NULL ? PySet_Contains(set, key) : 0;
}

/* ---- looking: the tensors of the model as it is now ---- */

struct looking {
    const struct mlp_py_names *names;
    const struct mlp_py_module_tree *tree;
    size_t node; /* the next */
    size_t slot;
    PyObject *tensors; /* lists */
    PyObject *buffers;
};

/* The next slot if the entry is of its kind, else NULL. Bounds are asked although a module has as
 * many entries as it had slots: the collector may run while the walk goes on, and finalizers may do
 * what they like to the dicts. */
static const struct mlp_py_slot *next_slot(struct looking *looking, PyObject *key, PyObject *value)
{
    if (looking->slot == mlp_py_slots_count(looking->tree) || !PyUnicode_CheckExact(key))
        return NULL;
    const struct mlp_py_slot *slot = &mlp_py_slots(looking->tree)[looking->slot++];
    if (key != slot->key && PyUnicode_Compare(key, slot->key) != 0)
        return NULL;
    bool same = slot->type == NULL ? Py_IsNone(value) : Py_IS_TYPE(value, slot->type);
    return same ? slot : NULL;
}

/* Returns: 0; MLP_PY_NOT_ORDINARY: the structure is another one; -1. */
static int look_at_tensors(struct looking *looking, PyObject *dict, PyObject *transient)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    while (PyDict_Next(dict, &position, &key, &value)) {
        const struct mlp_py_slot *slot = next_slot(looking, key, value);
        if (slot == NULL)
            return MLP_PY_NOT_ORDINARY;
        if (slot->type != NULL &&
            PyList_Append(slot->transient ? looking->buffers : looking->tensors, value) != 0)
            return -1;
        int is_transient = mlp_py_key_in(transient, slot->key);
        if (is_transient < 0)
            return -1;
        if ((is_transient != 0) != slot->transient)
            return MLP_PY_NOT_ORDINARY;
    }
    return 0;
}

static int look_at_module(struct looking *looking, PyObject *module);

static int look_at_children(struct looking *looking, PyObject *modules)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    int result = 0;
    while (result == 0 && PyDict_Next(modules, &position, &key, &value)) {
        const struct mlp_py_slot *slot = next_slot(looking, key, value);
        if (slot == NULL)
            return MLP_PY_NOT_ORDINARY;
        if (slot->type == NULL)
            continue;
        Py_INCREF(value);
        result = look_at_module(looking, value);
        Py_DECREF(value);
    }
    return result;
}

static int look_at_module(struct looking *looking, PyObject *module)
{
    if (looking->node == mlp_py_nodes_count(looking->tree))
        return MLP_PY_NOT_ORDINARY;
    const struct mlp_py_node *node = &mlp_py_nodes(looking->tree)[looking->node++];
    struct mlp_py_module_parts parts = {0};
    int result = Py_IS_TYPE(module, node->type)
                     ? mlp_py_module_parts_take(&parts, looking->names, module)
                     : MLP_PY_NOT_ORDINARY;
    if (result == 0 && (PyDict_Size(parts.parameters) != node->parameters_count ||
                        PyDict_Size(parts.buffers) != node->buffers_count ||
                        PyDict_Size(parts.modules) != node->modules_count))
        result = MLP_PY_NOT_ORDINARY;
    if (result == 0)
        result = look_at_tensors(looking, parts.parameters, NULL);
    if (result == 0)
        result = look_at_tensors(looking, parts.buffers, parts.transient);
    if (result == 0)
        result = look_at_children(looking, parts.modules);
    mlp_py_module_parts_release(&parts);
    return result;
}

/* Whether every name has its tensor: no entry was lost on the way. */
static bool is_complete(const struct looking *looking)
{
    return looking->slot == mlp_py_slots_count(looking->tree) &&
           PyList_Size(looking->tensors) == PyTuple_Size(looking->tree->names) &&
           PyList_Size(looking->buffers) == PyTuple_Size(looking->tree->buffer_names);
}

static PyObject *MlpCore_ModuleTree_tensors(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *root = Py_NewRef(PyWeakref_GetObject(as_tree(self)->root));
    struct looking looking = {.names = &mlp_py_state_of(self)->view.names, .tree = as_tree(self)};
    looking.tensors = PyList_New(0);
    looking.buffers = PyList_New(0);
    int result = -1;
    if (looking.tensors != NULL && looking.buffers != NULL)
        result = Py_IsNone(root) ? MLP_PY_NOT_ORDINARY : look_at_module(&looking, root);
    Py_DECREF(root);
    PyObject *answer = NULL;
    if (result == 0 && !is_complete(&looking))
        result = MLP_PY_NOT_ORDINARY;
    if (result == 0)
        answer = PyTuple_Pack(2, looking.tensors, looking.buffers);
    else if (result == MLP_PY_NOT_ORDINARY)
        answer = Py_NewRef(Py_None);
    Py_XDECREF(looking.tensors);
    Py_XDECREF(looking.buffers);
    return answer;
}

static PyObject *MlpCore_ModuleTree_names(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(as_tree(self)->names);
}

static PyObject *MlpCore_ModuleTree_buffer_names(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(as_tree(self)->buffer_names);
}

/* ---- the type ---- */

static int MlpCore_ModuleTree_traverse(PyObject *self, visitproc visit, void *arg)
{
    const struct mlp_py_module_tree *tree = as_tree(self);
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(tree->root);
    Py_VISIT(tree->names);
    Py_VISIT(tree->buffer_names);
    for (size_t i = 0; i < mlp_py_nodes_count(tree); i++)
        Py_VISIT(mlp_py_nodes(tree)[i].type);
    for (size_t i = 0; i < mlp_py_slots_count(tree); i++)
        Py_VISIT(mlp_py_slots(tree)[i].type);
    return 0;
}

static int MlpCore_ModuleTree_clear(PyObject *self)
{
    struct mlp_py_module_tree *tree = as_tree(self);
    struct mlp_buffer nodes = tree->nodes;
    struct mlp_buffer slots = tree->slots;
    mlp_buffer_init(&tree->nodes); /* nobody meets what is being let go */
    mlp_buffer_init(&tree->slots);
    Py_CLEAR(tree->root);
    Py_CLEAR(tree->names);
    Py_CLEAR(tree->buffer_names);
    for (size_t i = 0; i < nodes.len / sizeof(struct mlp_py_node); i++)
        Py_DECREF((PyObject *)((struct mlp_py_node *)(void *)nodes.data)[i].type);
    for (size_t i = 0; i < slots.len / sizeof(struct mlp_py_slot); i++) {
        Py_DECREF(((struct mlp_py_slot *)(void *)slots.data)[i].key);
        Py_XDECREF((PyObject *)((struct mlp_py_slot *)(void *)slots.data)[i].type);
    }
    mlp_buffer_clear(&nodes);
    mlp_buffer_clear(&slots);
    return 0;
}

static void MlpCore_ModuleTree_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)MlpCore_ModuleTree_clear(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"tensors", MlpCore_ModuleTree_tensors, METH_NOARGS,
     PyDoc_STR("tensors($self, /)\n--\n\n"
               "(tensors, buffers) in the order of the names; None where the model is another.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"names", MlpCore_ModuleTree_names, NULL, PyDoc_STR("Of the tensors that are saved."), NULL},
    {"buffer_names", MlpCore_ModuleTree_buffer_names, NULL,
     PyDoc_STR("Of the buffers that are not."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot type_slots[] = {
    {Py_tp_doc, PyDoc_STR("The structure of an ordinary torch module; made by module_tree.")},
    {Py_tp_traverse, MlpCore_ModuleTree_traverse},
    {Py_tp_clear, MlpCore_ModuleTree_clear},
    {Py_tp_dealloc, MlpCore_ModuleTree_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "mlprov._core.ModuleTree",
    .basicsize = sizeof(struct mlp_py_module_tree),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = type_slots,
};

static PyObject *MlpCore_module_tree(PyObject *module, PyObject *args)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *root, *kinds;
    if (!PyArg_ParseTuple(args, "OO:module_tree", &root, &kinds))
        return NULL;
    allocfunc alloc = (allocfunc)PyType_GetSlot(state->module_tree_type, Py_tp_alloc);
    PyObject *tree = alloc(state->module_tree_type, 0);
    if (tree == NULL)
        return NULL;
    int result = mlp_py_module_tree_make(as_tree(tree), &state->view.names, root, kinds);
    if (result == 0)
        return tree;
    Py_DECREF(tree);
    if (result == MLP_PY_NOT_ORDINARY)
        Py_RETURN_NONE;
    return NULL;
}

static PyMethodDef functions[] = {
    {"module_tree", MlpCore_module_tree, METH_VARARGS,
     PyDoc_STR("module_tree($module, root, kinds, /)\n--\n\n"
               "The ModuleTree of a torch module; None of one that is not ordinary.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_module_tree_add(PyObject *module)
{
    if (mlp_py_add_type(module, &mlp_py_state_of_module(module)->module_tree_type, &spec, 1) != 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}

/* module_tree_make.c - reading a model once: names, keys and types. */
#include "python/module_tree.h"

#define LEVELS_MAX 500 /* of modules within modules, as mlprov/modules.py */

struct making {
    const struct mlp_py_names *names;
    struct mlp_py_module_tree *tree;
    PyObject *kinds; /* as mlp_py_module_tree_make takes it */
    PyObject *tensor_names;
    PyObject *buffer_names;
};

/* What kinds says of a type, a new reference: None of one that it does not know. */
static PyObject *kind_of(const struct making *making, PyTypeObject *type)
{
    PyObject *kind = PyObject_GetItem(making->kinds, (PyObject *)type);
    if (kind != NULL || !PyErr_ExceptionMatches(PyExc_KeyError))
        return kind;
    PyErr_Clear();
    return Py_NewRef(Py_None);
}

/* In:      transient: NULL, or the set of keys whose values are not saved.
 * Returns: 0, MLP_PY_NOT_ORDINARY, -1.
 */
static int keep_slot(struct making *making, PyObject *key, PyObject *value, PyObject *transient)
{
    if (!PyUnicode_CheckExact(key))
        return MLP_PY_NOT_ORDINARY;
    struct mlp_buffer *slots = &making->tree->slots;
    if (mlp_buffer_reserve(slots, sizeof(struct mlp_py_slot)) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    struct mlp_py_slot slot = {Py_NewRef(key), Py_IsNone(value) ? NULL : Py_TYPE(value), false};
    Py_XINCREF((PyObject *)slot.type);
    int is_transient = mlp_py_key_in(transient, key);
    slot.transient = is_transient > 0;
    mlp_buffer_append(slots, &slot, sizeof slot);
    return is_transient < 0 ? -1 : 0;
}

static int append_name(PyObject *list, PyObject *prefix, PyObject *key)
{
    PyObject *name = PyUnicode_Concat(prefix, key);
    int result = name != NULL ? PyList_Append(list, name) : -1;
    Py_XDECREF(name);
    return result;
}

/* Writes the name of the value in the last slot, and asks what kind of value it is. What is looked
 * at is the slot's own: kinds runs Python code, during which the dict may change. */
static int name_value(struct making *making, PyObject *prefix)
{
    struct mlp_py_module_tree *tree = making->tree;
    const struct mlp_py_slot slot = mlp_py_slots(tree)[mlp_py_slots_count(tree) - 1];
    if (slot.type == NULL)
        return 0;
    if (PyUnicode_Compare(slot.key, making->names->flat_parameter) == 0)
        return MLP_PY_NOT_ORDINARY; /* FSDP hides others behind it */
    if (append_name(slot.transient ? making->buffer_names : making->tensor_names, prefix,
                    slot.key) != 0)
        return -1;
    PyObject *kind = kind_of(making, slot.type);
    int result = kind == NULL ? -1 : Py_IsNone(kind) ? MLP_PY_NOT_ORDINARY : 0;
    Py_XDECREF(kind);
    return result;
}

static int make_tensors(struct making *making, PyObject *dict, PyObject *transient,
                        PyObject *prefix)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    int result = 0;
    while (result == 0 && PyDict_Next(dict, &position, &key, &value)) {
        result = keep_slot(making, key, value, transient);
        if (result == 0)
            result = name_value(making, prefix);
    }
    return result;
}

static int make_module(struct making *making, PyObject *module, PyObject *prefix, int level);

/* The part of the name that belongs to a wrapper is left out. */
static int make_child(struct making *making, PyObject *module, PyObject *prefix, PyObject *key,
                      PyObject *wraps, int level)
{
    if (PyUnicode_Compare(key, wraps) == 0)
        return make_module(making, module, prefix, level);
    PyObject *longer = PyUnicode_FromFormat("%U%U.", prefix, key);
    int result = longer != NULL ? make_module(making, module, longer, level) : -1;
    Py_XDECREF(longer);
    return result;
}

static int make_children(struct making *making, PyObject *modules, PyObject *prefix,
                         PyObject *wraps, int level)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    int result = 0;
    while (result == 0 && PyDict_Next(modules, &position, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        result = keep_slot(making, key, value, NULL);
        if (result == 0 && !Py_IsNone(value))
            result = make_child(making, value, prefix, key, wraps, level + 1);
        Py_DECREF(value);
        Py_DECREF(key);
    }
    return result;
}

static int keep_node(struct making *making, const struct mlp_py_module_parts *parts,
                     PyObject *module)
{
    const struct mlp_py_node node = {Py_TYPE(module), PyDict_Size(parts->parameters),
                                     PyDict_Size(parts->buffers), PyDict_Size(parts->modules)};
    mlp_buffer_append(&making->tree->nodes, &node, sizeof node);
    if (mlp_buffer_status(&making->tree->nodes) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF((PyObject *)node.type);
    return 0;
}

/* prefix: "" at the top, else it ends in ".". Returns: 0, MLP_PY_NOT_ORDINARY, -1. */
static int make_module(struct making *making, PyObject *module, PyObject *prefix, int level)
{
    if (level > LEVELS_MAX)
        return MLP_PY_NOT_ORDINARY; /* it contains itself */
    PyObject *wraps = kind_of(making, Py_TYPE(module));
    if (wraps == NULL)
        return -1;
    struct mlp_py_module_parts parts = {0};
    int result = PyUnicode_Check(wraps) ? mlp_py_module_parts_take(&parts, making->names, module)
                                        : MLP_PY_NOT_ORDINARY;
    if (result == 0)
        result = keep_node(making, &parts, module);
    if (result == 0)
        result = make_tensors(making, parts.parameters, NULL, prefix);
    if (result == 0)
        result = make_tensors(making, parts.buffers, parts.transient, prefix);
    if (result == 0)
        result = make_children(making, parts.modules, prefix, wraps, level);
    mlp_py_module_parts_release(&parts);
    Py_DECREF(wraps);
    return result;
}

int mlp_py_module_tree_make(struct mlp_py_module_tree *tree, const struct mlp_py_names *names,
                            PyObject *root, PyObject *kinds)
{
    struct making making = {.names = names, .tree = tree, .kinds = kinds};
    making.tensor_names = PyList_New(0);
    making.buffer_names = PyList_New(0);
    PyObject *prefix = PyUnicode_FromString("");
    tree->root = PyWeakref_NewRef(root, NULL);
    int result = -1;
    if (making.tensor_names != NULL && making.buffer_names != NULL && prefix != NULL &&
        tree->root != NULL)
        result = make_module(&making, root, prefix, 0);
    if (result == 0) {
        tree->names = PyList_AsTuple(making.tensor_names);
        tree->buffer_names = PyList_AsTuple(making.buffer_names);
        if (tree->names == NULL || tree->buffer_names == NULL)
            result = -1;
    }
    Py_XDECREF(prefix);
    Py_XDECREF(making.tensor_names);
    Py_XDECREF(making.buffer_names);
    return result;
}

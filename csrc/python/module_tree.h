/* module_tree.h - what module_tree.c and module_tree_make.c share: ModuleTree, and one module's parts.
 *
 * A torch module holds its parameters, buffers and submodules in three dicts. A tree keeps, for each
 * module of a model, its type, the keys of these dicts and the types of what they hold: never the
 * modules or tensors themselves. Asked for the tensors, it walks the model as it is now and compares.
 * Whatever stands under the same keys is handed out, so a parameter that was replaced is found; a
 * model of another structure is said to be one.
 *
 * Threads: with the GIL held. A tree is constant once it is made.
 */
#ifndef MLP_PYTHON_MODULE_TREE_H
#define MLP_PYTHON_MODULE_TREE_H

#include "python/arguments.h"

#include <stdbool.h>

/* A model that Python must read: a method of its own decides what a module saves, a container is no
 * dict, a tensor is of a kind that may have no values. No exception is set. */
#define MLP_PY_NOT_ORDINARY 1

/* One entry of a module's dicts. */
struct mlp_py_slot {
    PyObject *key;      /* an exact str */
    PyTypeObject *type; /* of the value; NULL: None */
    bool transient;     /* a buffer that is not saved */
};

/* One module: its slots follow those of the module before. */
struct mlp_py_node {
    PyTypeObject *type;
    Py_ssize_t parameters_count;
    Py_ssize_t buffers_count;
    Py_ssize_t modules_count;
};

struct mlp_py_module_tree {
    PyObject_HEAD PyObject *root; /* weak reference */
    PyObject *names;              /* tuple: of the tensors that are saved, in order of the walk */
    PyObject *buffer_names;       /* tuple: of the buffers that are not */
    struct mlp_buffer nodes;      /* struct mlp_py_node */
    struct mlp_buffer slots;      /* struct mlp_py_slot */
};

static inline struct mlp_py_node *mlp_py_nodes(const struct mlp_py_module_tree *tree)
{
    return (struct mlp_py_node *)(void *)tree->nodes.data;
}

static inline size_t mlp_py_nodes_count(const struct mlp_py_module_tree *tree)
{
    return tree->nodes.len / sizeof(struct mlp_py_node);
}

static inline struct mlp_py_slot *mlp_py_slots(const struct mlp_py_module_tree *tree)
{
    return (struct mlp_py_slot *)(void *)tree->slots.data;
}

static inline size_t mlp_py_slots_count(const struct mlp_py_module_tree *tree)
{
    return tree->slots.len / sizeof(struct mlp_py_slot);
}

/* Fills a tree that is zero but for its head.
 * In:      kinds: type -> None: not ordinary; "": ordinary; of a module type that is a wrapper, the
 *          key of what it wraps.
 * Returns: 0, MLP_PY_NOT_ORDINARY, or -1 with an exception set.
 */
int mlp_py_module_tree_make(struct mlp_py_module_tree *tree, const struct mlp_py_names *names,
                            PyObject *root, PyObject *kinds);

/* ---- one module ---- */

struct mlp_py_module_parts {
    PyObject *parameters; /* dicts */
    PyObject *buffers;
    PyObject *modules;
    PyObject *transient; /* set: keys of buffers that are not saved */
};

/* Zero-initialise; release in any case.
 * Returns: 0, MLP_PY_NOT_ORDINARY, or -1 with an exception set.
 */
int mlp_py_module_parts_take(struct mlp_py_module_parts *parts, const struct mlp_py_names *names,
                             PyObject *module);
void mlp_py_module_parts_release(struct mlp_py_module_parts *parts);

/* Whether a key is in a set, which may be NULL. Returns: as PySet_Contains. */
int mlp_py_key_in(PyObject *set, PyObject *key);

#endif

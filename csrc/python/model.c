/* model.c - the tree over named tensors: leaves, root and aliases in one call. */
#include "tensor/model.h"

#include "python/arguments.h"
#include "python/held_views.h"

/* ---- entries ---- */

/* What tensor_tree is given, in the core's form. */
struct named {
    PyObject *names;   /* tuple */
    PyObject *tensors; /* tuple, as long */
    PyObject *ready;   /* tuple of (name, leaf) */
    struct mlp_py_held_views held;
    struct mlp_model_entry *entries; /* the tensors, then what is ready */
    size_t count;
};

static void release_named(struct named *named)
{
    mlp_py_held_views_release(&named->held);
    PyMem_Free(named->entries);
    Py_CLEAR(named->names);
    Py_CLEAR(named->tensors);
    Py_CLEAR(named->ready);
}

static int read_name(struct mlp_py_state *state, struct mlp_model_entry *entry, PyObject *name)
{
    if (mlp_py_text(&entry->name, &entry->name_len, name, "tensor_tree: names") != 0)
        return -1;
    if (memchr(entry->name, '\0', entry->name_len) == NULL)
        return 0;
    struct mlp_error error; /* leaves are JSON without U+0000 (docs/format.md section 1) */
    mlp_fail(&error, MLP_E_ARGUMENT, "tensor_tree: names: one contains U+0000");
    mlp_py_raise(&state->exceptions, &error);
    return -1;
}

static int read_names(struct mlp_py_state *state, struct named *named)
{
    Py_ssize_t count = PyTuple_Size(named->names);
    if (count != PyTuple_Size(named->tensors)) {
        PyErr_Format(PyExc_TypeError, "tensor_tree: %zd names for %zd tensors", count,
                     PyTuple_Size(named->tensors));
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (read_name(state, &named->entries[named->count++], PyTuple_GetItem(named->names, i)) !=
            0)
            return -1;
    }
    return 0;
}

static int read_ready(struct mlp_py_state *state, struct named *named)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(named->ready); i++) {
        struct mlp_model_entry *entry = &named->entries[named->count++];
        PyObject *pair = PyTuple_GetItem(named->ready, i);
        PyObject *name, *leaf;
        if (!PyTuple_Check(pair)) {
            PyErr_SetString(PyExc_TypeError, "tensor_tree: ready must be pairs (name, leaf)");
            return -1;
        }
        if (!PyArg_ParseTuple(pair, "OS;tensor_tree: ready must be pairs (name, leaf)", &name,
                              &leaf) ||
            read_name(state, entry, name) != 0)
            return -1;
        entry->leaf = PyBytes_AsString(leaf);
        entry->leaf_len = (size_t)PyBytes_Size(leaf);
    }
    return 0;
}

static int read_named(struct mlp_py_state *state, struct named *named, PyObject *names,
                      PyObject *tensors, PyObject *ready)
{
    if (mlp_py_items(&named->names, names, "tensor_tree: names") != 0 ||
        mlp_py_tensor_items(state, &named->tensors, tensors, "tensor_tree: tensors") != 0)
        return -1;
    named->ready = ready == NULL ? PyTuple_New(0) : NULL;
    if (ready != NULL && mlp_py_items(&named->ready, ready, "tensor_tree: ready") != 0)
        return -1;
    size_t count = (size_t)PyTuple_Size(named->names) + (size_t)PyTuple_Size(named->ready);
    named->entries = PyMem_Calloc(count + 1, sizeof *named->entries);
    if (named->entries == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (read_names(state, named) != 0 || read_ready(state, named) != 0 ||
        mlp_py_held_views_take(state, &named->held, named->tensors, true) != 0)
        return -1;
    for (size_t i = 0; i < named->held.count; i++)
        named->entries[i].view = named->held.places[i];
    return 0;
}

/* ---- answers ---- */

static PyObject *leaves_of(const struct mlp_model *model)
{
    PyObject *leaves = PyTuple_New((Py_ssize_t)model->size);
    size_t begin = 0;
    for (size_t i = 0; leaves != NULL && i < model->size; i++) {
        PyObject *leaf = mlp_py_bytes(model->leaves.data + begin, model->ends[i] - begin);
        if (leaf == NULL || PyTuple_SetItem(leaves, (Py_ssize_t)i, leaf) != 0)
            Py_CLEAR(leaves);
        begin = model->ends[i];
    }
    return leaves;
}

/* Appends each name whose view has several to its view's list; the lists are in order of their
 * first name, because the names come in order. */
static int list_aliases(PyObject *groups, PyObject **lists, const size_t *names_count,
                        const struct named *named, const struct mlp_model *model)
{
    for (size_t i = 0; i < model->size; i++) {
        size_t entry = model->order[i];
        size_t view = named->entries[entry].view;
        if (named->entries[entry].leaf != NULL || names_count[view] < 2)
            continue;
        if (lists[view] == NULL) {
            PyObject *list = PyList_New(0);
            if (list == NULL || PyList_Append(groups, list) != 0) {
                Py_XDECREF(list);
                return -1;
            }
            lists[view] = list; /* groups has it */
            Py_DECREF(list);
        }
        if (PyList_Append(lists[view], PyTuple_GetItem(named->names, (Py_ssize_t)entry)) != 0)
            return -1;
    }
    return 0;
}

static int fill_aliases(PyObject *groups, const struct named *named, const struct mlp_model *model)
{
    size_t views = named->held.set.count;
    PyObject **lists = PyMem_Calloc(views + 1, sizeof *lists);
    size_t *names_count = PyMem_Calloc(views + 1, sizeof *names_count);
    int result = -1;
    if (lists != NULL && names_count != NULL) {
        for (size_t i = 0; i < named->held.count; i++)
            names_count[named->held.places[i]]++;
        result = list_aliases(groups, lists, names_count, named, model);
    } else {
        PyErr_NoMemory();
    }
    PyMem_Free(lists);
    PyMem_Free(names_count);
    return result;
}

static PyObject *aliases_of(const struct named *named, const struct mlp_model *model)
{
    PyObject *groups = PyList_New(0);
    if (groups == NULL ||
        (named->held.set.count < named->held.count && fill_aliases(groups, named, model) != 0)) {
        Py_XDECREF(groups);
        return NULL;
    }
    for (Py_ssize_t i = 0; groups != NULL && i < PyList_Size(groups); i++) {
        PyObject *group = PyList_AsTuple(PyList_GetItem(groups, i));
        if (group == NULL || PyList_SetItem(groups, i, group) != 0)
            Py_CLEAR(groups);
    }
    PyObject *aliases = groups != NULL ? PyList_AsTuple(groups) : NULL;
    Py_XDECREF(groups);
    return aliases;
}

/* ---- the calls ---- */

static int digest_named(struct mlp_py_state *state, struct mlp_model *model,
                        const struct named *named, int algorithm, size_t threads)
{
    struct mlp_error error;
    size_t failed = named->count;
    size_t leaves_len = named->count * 256; /* about; their hashing counts as work, too */
    size_t work_len = named->held.work_len > MLP_PY_LONG_WORK - leaves_len
                          ? MLP_PY_LONG_WORK
                          : named->held.work_len + leaves_len;
    PyThreadState *released = mlp_py_gil_release(work_len);
    int status = mlp_model_digest(model, named->entries, named->count, &named->held.set, algorithm,
                                  threads, &failed, &error);
    mlp_py_gil_take(released);
    if (status == 0)
        return 0;
    if (failed < named->count)
        mlp_py_raise_at(&state->exceptions, &error, (Py_ssize_t)failed);
    else
        mlp_py_raise(&state->exceptions, &error);
    return -1;
}

static PyObject *MlpCore_tensor_tree(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"", "", "algorithm", "threads", "ready", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *names, *tensors, *algorithm_name = NULL, *threads_number = NULL, *ready = NULL;
    int algorithm;
    size_t threads;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O$OO:tensor_tree", keywords, &names,
                                     &tensors, &algorithm_name, &threads_number, &ready) ||
        mlp_py_algorithm(state, &algorithm, algorithm_name, "tensor_tree: algorithm") != 0 ||
        mlp_py_threads(state, &threads, threads_number, "tensor_tree: threads") != 0)
        return NULL;
    struct named named = {0};
    struct mlp_model model = {0};
    PyObject *aliases = NULL, *answer = NULL;
    if (read_named(state, &named, names, tensors, ready) == 0 &&
        digest_named(state, &model, &named, algorithm, threads) == 0)
        aliases = aliases_of(&named, &model);
    release_named(&named); /* before the leaves are made: both are as large as the names */
    if (aliases != NULL)
        answer = Py_BuildValue("NNN", mlp_py_bytes(model.root32, sizeof model.root32),
                               leaves_of(&model), aliases);
    mlp_model_clear(&model);
    return answer;
}

static PyObject *MlpCore_tensors_without_view(PyObject *module, PyObject *tensors)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *items;
    if (mlp_py_tensor_items(state, &items, tensors, "tensors_without_view: tensors") != 0)
        return NULL;
    PyObject *places = PyList_New(0);
    for (Py_ssize_t i = 0; places != NULL && i < PyTuple_Size(items); i++) {
        int has_view = mlp_py_has_view(state, PyTuple_GetItem(items, i));
        PyObject *place = has_view == 0 ? PyLong_FromSsize_t(i) : NULL;
        if (has_view < 0 || (has_view == 0 && (place == NULL || PyList_Append(places, place) != 0)))
            Py_CLEAR(places);
        Py_XDECREF(place);
    }
    Py_DECREF(items);
    return places;
}

static PyMethodDef functions[] = {
    {"tensor_tree", MLP_PY_WITH_KEYWORDS(MlpCore_tensor_tree), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("tensor_tree($module, names, tensors, /, algorithm='blake3', *, threads=None, "
               "ready=())\n--\n\n"
               "(root, leaves, aliases) of named tensors, hashed in place.")},
    {"tensors_without_view", MlpCore_tensors_without_view, METH_O,
     PyDoc_STR("tensors_without_view($module, tensors, /)\n--\n\n"
               "Positions of those that tensor_tree and tensor_digests refuse.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_model_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}

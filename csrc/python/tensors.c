/* tensors.c - digests, identities and leaves of tensors. */
#include "hash/hash.h"
#include "python/arguments.h"
#include "tensor/digest.h"
#include "tensor/leaf.h"

/* ---- views, held together ---- */

struct held_views {
    struct mlp_py_view *views;
    size_t count;
};

static void release_views(struct held_views *held)
{
    for (size_t i = 0; i < held->count; i++)
        mlp_py_view_release(&held->views[i]);
    PyMem_Free(held->views);
    held->views = NULL;
    held->count = 0;
}

/* A tensor is a sequence of its rows too: taking it as the list would hash something else. */
static int refuse_tensor_as_list(struct mlp_py_state *state, PyObject *object, const char *what)
{
    if (!PyObject_CheckBuffer(object) && !PyObject_HasAttr(object, state->view.names.dlpack))
        return 0;
    PyErr_Format(PyExc_TypeError, "%s must be a list of tensors, not %R: write [tensor]", what,
                 (PyObject *)Py_TYPE(object));
    return -1;
}

static int hold_views(struct mlp_py_state *state, struct held_views *held, PyObject *items)
{
    size_t count = (size_t)PyTuple_Size(items);
    held->views = PyMem_Calloc(count + 1, sizeof *held->views);
    if (held->views == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        struct mlp_error error;
        int status = mlp_py_view_from_object(&state->view, PyTuple_GetItem(items, (Py_ssize_t)i), 0,
                                             &held->views[i], &error);
        if (status != 0) {
            mlp_py_raise_at(&state->exceptions, &error, (Py_ssize_t)i);
            return -1;
        }
        held->count = i + 1;
    }
    return 0;
}

/* Release held also after a failure. */
static int take_views(struct mlp_py_state *state, struct held_views *held, PyObject *tensors,
                      const char *what)
{
    PyObject *items;
    if (refuse_tensor_as_list(state, tensors, what) != 0 ||
        mlp_py_items(&items, tensors, what) != 0)
        return -1;
    int result = hold_views(state, held, items);
    Py_DECREF(items);
    return result;
}

/* ---- digests ---- */

/* What hashing answers for each view, filled without the GIL. */
struct digest_rows {
    int algorithm;
    size_t threads; /* 0: the setting */
    size_t digest_len;
    uint8_t *digests;
    uint64_t *lens;
    const struct mlp_view **views;
};

static void free_rows(struct digest_rows *rows)
{
    PyMem_Free(rows->digests);
    PyMem_Free(rows->lens);
    PyMem_Free(rows->views);
}

/* How to hash. */
struct digest_options {
    int algorithm;
    size_t threads;
};

static int make_rows(struct digest_rows *rows, const struct digest_options *options,
                     const struct held_views *held)
{
    rows->algorithm = options->algorithm;
    rows->threads = options->threads;
    rows->digest_len = mlp_algorithm_digest_len(options->algorithm);
    rows->digests = PyMem_Calloc(held->count + 1, rows->digest_len);
    rows->lens = PyMem_Calloc(held->count + 1, sizeof *rows->lens);
    rows->views = PyMem_Calloc(held->count + 1, sizeof *rows->views);
    if (rows->digests == NULL || rows->lens == NULL || rows->views == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < held->count; i++)
        rows->views[i] = &held->views[i].view;
    return 0;
}

/* Returns: a status; *failed: whose. *work_len: how much there is to hash. */
static int measure(struct digest_rows *rows, size_t count, size_t *work_len, size_t *failed,
                   struct mlp_error *error)
{
    *work_len = 0;
    for (size_t i = 0; i < count; i++) {
        int status = mlp_tensor_len(&rows->lens[i], rows->views[i], error);
        if (status != 0) {
            *failed = i;
            return status;
        }
        /* A stage callback must run without the GIL, however little it copies. */
        uint64_t len = rows->views[i]->stage != NULL ? MLP_PY_LONG_WORK : rows->lens[i];
        *work_len = len > MLP_PY_LONG_WORK - *work_len ? MLP_PY_LONG_WORK : *work_len + len;
    }
    return 0;
}

static int hash_rows(struct mlp_py_state *state, struct digest_rows *rows, size_t count)
{
    struct mlp_error error;
    size_t work_len;
    size_t failed = count;
    int status = measure(rows, count, &work_len, &failed, &error);
    if (status == 0) {
        PyThreadState *released = mlp_py_gil_release(work_len);
        status = mlp_tensor_digest_many(rows->digests, rows->views, count, rows->algorithm,
                                        rows->threads, &failed, &error);
        mlp_py_gil_take(released);
    }
    if (status == 0)
        return 0;
    if (failed < count)
        mlp_py_raise_at(&state->exceptions, &error, (Py_ssize_t)failed);
    else
        mlp_py_raise(&state->exceptions, &error);
    return -1;
}

static PyObject *row_of(const struct digest_rows *rows, size_t index)
{
    const struct mlp_view *view = rows->views[index];
    char dtype[MLP_DTYPE_NAME_MAX];
    int64_t shape[MLP_VIEW_DIMS_MAX];
    mlp_view_dtype_name(dtype, view);
    int ndim = mlp_view_leaf_shape(shape, view);
    return Py_BuildValue(
        "NsNK", mlp_py_bytes(rows->digests + index * rows->digest_len, rows->digest_len), dtype,
        mlp_py_numbers_to_tuple(shape, ndim), (unsigned long long)rows->lens[index]);
}

static PyObject *digest_list(struct mlp_py_state *state, const struct digest_options *options,
                             const struct held_views *held)
{
    struct digest_rows rows = {0};
    PyObject *list = NULL;
    if (make_rows(&rows, options, held) == 0 && hash_rows(state, &rows, held->count) == 0)
        list = PyList_New((Py_ssize_t)held->count);
    for (size_t i = 0; list != NULL && i < held->count; i++) {
        PyObject *row = row_of(&rows, i);
        if (row == NULL || PyList_SetItem(list, (Py_ssize_t)i, row) != 0)
            Py_CLEAR(list);
    }
    free_rows(&rows);
    return list;
}

static PyObject *MlpCore_tensor_digests(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "algorithm", "threads", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *tensors, *algorithm_name = NULL, *threads = NULL;
    struct digest_options options;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$O:tensor_digests", names, &tensors,
                                     &algorithm_name, &threads) ||
        mlp_py_algorithm(state, &options.algorithm, algorithm_name, "tensor_digests: algorithm") !=
            0 ||
        mlp_py_threads(state, &options.threads, threads, "tensor_digests: threads") != 0)
        return NULL;
    struct held_views held = {0};
    PyObject *list = NULL;
    if (take_views(state, &held, tensors, "tensor_digests: tensors") == 0)
        list = digest_list(state, &options, &held);
    release_views(&held);
    return list;
}

static PyObject *MlpCore_tensor_digest_staged(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "algorithm", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *tensor, *algorithm_name = NULL;
    struct digest_options options = {.threads = 1};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:tensor_digest_staged", names, &tensor,
                                     &algorithm_name) ||
        mlp_py_algorithm(state, &options.algorithm, algorithm_name,
                         "tensor_digest_staged: algorithm") != 0)
        return NULL;
    struct mlp_py_view view;
    struct mlp_error error;
    if (mlp_py_view_from_object(&state->view, tensor, MLP_PY_VIEW_STAGED, &view, &error) != 0)
        return mlp_py_raise_at(&state->exceptions, &error, 0);
    const struct held_views held = {&view, 1};
    PyObject *list = digest_list(state, &options, &held);
    mlp_py_view_release(&view);
    if (list == NULL)
        return NULL;
    PyObject *row = Py_NewRef(PyList_GetItem(list, 0));
    Py_DECREF(list);
    return row;
}

/* ---- identities ---- */

/* The dtype, and what is pending: a conjugated view of the same memory is another value. */
static PyObject *identity_dtype(const struct mlp_view *view)
{
    char dtype[MLP_DTYPE_NAME_MAX];
    mlp_view_dtype_name(dtype, view);
    return PyUnicode_FromFormat("%s%s%s%s", dtype, view->flags & MLP_VIEW_CONJ ? " conj" : "",
                                view->flags & MLP_VIEW_NEG ? " neg" : "",
                                view->flags & MLP_VIEW_BYTESWAP ? " byteswap" : "");
}

static PyObject *identity(struct mlp_py_state *state, const struct mlp_view *view, size_t index)
{
    uint64_t count;
    struct mlp_error error;
    if (mlp_view_count(&count, view, &error) != 0)
        return mlp_py_raise_at(&state->exceptions, &error, (Py_ssize_t)index);
    if (count == 0)
        Py_RETURN_NONE;
    return Py_BuildValue("KLNNN", (unsigned long long)(uintptr_t)view->storage,
                         (long long)view->storage_offset, identity_dtype(view),
                         mlp_py_numbers_to_tuple(view->shape, view->ndim),
                         mlp_py_numbers_to_tuple(view->strides, view->ndim));
}

static PyObject *MlpCore_tensor_identities(PyObject *module, PyObject *tensors)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    struct held_views held = {0};
    PyObject *list = NULL;
    if (take_views(state, &held, tensors, "tensor_identities: tensors") == 0)
        list = PyList_New((Py_ssize_t)held.count);
    for (size_t i = 0; list != NULL && i < held.count; i++) {
        PyObject *row = identity(state, &held.views[i].view, i);
        if (row == NULL || PyList_SetItem(list, (Py_ssize_t)i, row) != 0)
            Py_CLEAR(list);
    }
    release_views(&held);
    return list;
}

/* ---- leaves ---- */

static int read_shape(struct mlp_py_state *state, struct mlp_tensor_leaf *leaf,
                      int64_t shape[MLP_VIEW_DIMS_MAX], PyObject *object)
{
    struct mlp_error error;
    if (!PyTuple_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "tensor_leaf: shape must be a tuple of int");
        return -1;
    }
    Py_ssize_t count = PyTuple_Size(object);
    int status = 0;
    if (count > MLP_VIEW_DIMS_MAX)
        status = mlp_fail(&error, MLP_E_ARGUMENT,
                          "tensor_leaf: shape has %zd dimensions: at most %d are possible", count,
                          MLP_VIEW_DIMS_MAX);
    for (Py_ssize_t i = 0; status == 0 && i < count; i++) {
        uint64_t size;
        if (mlp_py_uint64(state, &size, PyTuple_GetItem(object, i), "tensor_leaf: shape",
                          MLP_E_ARGUMENT) != 0)
            return -1;
        if (size > INT64_MAX)
            status = mlp_fail(&error, MLP_E_ARGUMENT, "tensor_leaf: shape is above 2^63 - 1");
        shape[i] = (int64_t)size;
    }
    leaf->ndim = (int)count;
    leaf->shape = shape;
    if (status != 0)
        mlp_py_raise(&state->exceptions, &error);
    return status == 0 ? 0 : -1;
}

/* Fills leaf from (digest, dtype, shape, length); what it points to lives in row and the arrays. */
static int read_row(struct mlp_py_state *state, struct mlp_tensor_leaf *leaf,
                    uint8_t digest[MLP_HASH_MAX_LEN], int64_t shape[MLP_VIEW_DIMS_MAX],
                    PyObject *row)
{
    PyObject *digest_object, *shape_object, *len_object;
    if (!PyTuple_Check(row)) {
        PyErr_SetString(PyExc_TypeError,
                        "tensor_leaf: row must be a tuple (digest, dtype, shape, length)");
        return -1;
    }
    if (!PyArg_ParseTuple(row, "OsOO;tensor_leaf: row must be (digest, dtype, shape, length)",
                          &digest_object, &leaf->dtype, &shape_object, &len_object))
        return -1;
    leaf->digest = digest;
    if (mlp_py_bytes_exact(state, digest, mlp_algorithm_digest_len(leaf->algorithm), digest_object,
                           "tensor_leaf: digest", MLP_E_ARGUMENT) != 0 ||
        mlp_py_uint64(state, &leaf->len, len_object, "tensor_leaf: length", MLP_E_ARGUMENT) != 0)
        return -1;
    return read_shape(state, leaf, shape, shape_object);
}

static PyObject *MlpCore_tensor_leaf(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "", "algorithm", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *name, *row, *algorithm_name = NULL;
    struct mlp_tensor_leaf leaf = {0};
    uint8_t digest[MLP_HASH_MAX_LEN];
    int64_t shape[MLP_VIEW_DIMS_MAX];
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O:tensor_leaf", names, &name, &row,
                                     &algorithm_name) ||
        mlp_py_text(&leaf.name, &leaf.name_len, name, "tensor_leaf: name") != 0 ||
        mlp_py_algorithm(state, &leaf.algorithm, algorithm_name, "tensor_leaf: algorithm") != 0 ||
        read_row(state, &leaf, digest, shape, row) != 0)
        return NULL;
    struct mlp_buffer bytes = {0};
    struct mlp_error error;
    if (mlp_tensor_leaf_append(&bytes, &leaf, &error) != 0) {
        mlp_buffer_clear(&bytes);
        return mlp_py_raise(&state->exceptions, &error);
    }
    return mlp_py_bytes_of_buffer(&bytes);
}

/* ---- what there is ---- */

static PyObject *MlpCore_dtypes(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *list = PyList_New(0);
    for (int dtype = MLP_DTYPE_NONE + 1; list != NULL && dtype < MLP_DTYPE_END; dtype++) {
        const struct mlp_dtype_info *info = mlp_dtype_info(dtype);
        PyObject *row = Py_BuildValue("sI", info->name, info->bits);
        if (row == NULL || PyList_Append(list, row) != 0)
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    return list;
}

static PyObject *MlpCore_torch_bridge(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    const char *release = mlp_py_view_torch_release(&mlp_py_state_of_module(module)->view);
    if (release == NULL)
        Py_RETURN_NONE;
    return PyUnicode_FromString(release);
}

static PyObject *MlpCore_describe_torch_bridge(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    return mlp_py_view_describe(&mlp_py_state_of_module(module)->view);
}

static PyMethodDef functions[] = {
    {"tensor_digests", MLP_PY_WITH_KEYWORDS(MlpCore_tensor_digests), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("tensor_digests($module, tensors, /, algorithm='blake3', *, threads=None)\n--\n\n"
               "(digest, dtype, shape, length) of each tensor, hashed in place.")},
    {"tensor_digest_staged", MLP_PY_WITH_KEYWORDS(MlpCore_tensor_digest_staged),
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("tensor_digest_staged($module, tensor, /, algorithm='blake3')\n--\n\n"
               "The path of device tensors, forced.")},
    {"tensor_identities", MlpCore_tensor_identities, METH_O,
     PyDoc_STR("tensor_identities($module, tensors, /)\n--\n\n"
               "(storage, byte offset, dtype, shape, byte strides) of each; None for empty ones.")},
    {"tensor_leaf", MLP_PY_WITH_KEYWORDS(MlpCore_tensor_leaf), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("tensor_leaf($module, name, row, /, algorithm='blake3')\n--\n\n"
               "The leaf of a row of tensor_digests.")},
    {"dtypes", MlpCore_dtypes, METH_NOARGS,
     PyDoc_STR("dtypes($module, /)\n--\n\n(name, bits) of every element type.")},
    {"torch_bridge", MlpCore_torch_bridge, METH_NOARGS,
     PyDoc_STR("torch_bridge($module, /)\n--\n\n"
               "The torch release that the bridge in use was built for, or None.")},
    {"describe_torch_bridge", MlpCore_describe_torch_bridge, METH_NOARGS,
     PyDoc_STR("describe_torch_bridge($module, /)\n--\n\nOne line about the bridge, for doctor.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_tensors_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}

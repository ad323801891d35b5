/* tensors.c - digests, identities and leaves of tensors. */
#include "hash/hash.h"
#include "python/arguments.h"
#include "python/held_views.h"
#include "tensor/digest.h"
#include "tensor/leaf.h"

/* ---- digests ---- */

/* How to hash, and what comes of it: a row for each view of a set and each request. */
struct digests {
    struct mlp_hash_request requests[MLP_HASH_REQUESTS_MAX];
    size_t requests_count;
    size_t threads; /* 0: the setting */
};

static void free_digests(struct digests *digests)
{
    for (size_t i = 0; i < digests->requests_count; i++)
        PyMem_Free(digests->requests[i].digests);
}

/* Room for the rows, and hashing without the GIL. */
static int hash_views(struct mlp_py_state *state, struct digests *digests,
                      const struct mlp_py_held_views *held)
{
    for (size_t i = 0; i < digests->requests_count; i++) {
        struct mlp_hash_request *request = &digests->requests[i];
        size_t digest_len = mlp_algorithm_digest_len(request->algorithm);
        request->digests = PyMem_Calloc(held->set.count + 1, digest_len);
        if (request->digests == NULL) {
            PyErr_NoMemory();
            return -1;
        }
    }
    struct mlp_error error;
    size_t failed = held->set.count;
    PyThreadState *released = mlp_py_gil_release(held->work_len);
    int status = mlp_tensor_digest_many(digests->requests, digests->requests_count, &held->set,
                                        digests->threads, &failed, &error);
    mlp_py_gil_take(released);
    if (status == 0)
        return 0;
    if (failed < held->count)
        mlp_py_raise_at(&state->exceptions, &error, (Py_ssize_t)failed);
    else
        mlp_py_raise(&state->exceptions, &error);
    return -1;
}

/* Of the view at index of the set. */
static PyObject *first_digest_row(const struct digests *digests,
                                  const struct mlp_py_held_views *held, size_t index)
{
    const struct mlp_hash_request *request = &digests->requests[0];
    size_t digest_len = mlp_algorithm_digest_len(request->algorithm);
    return mlp_py_digest_row(&held->set, index, request->digests + index * digest_len, digest_len);
}

static PyObject *list_rows(const struct digests *digests, const struct mlp_py_held_views *held)
{
    PyObject *list = PyList_New((Py_ssize_t)held->count);
    for (size_t i = 0; list != NULL && i < held->count; i++) {
        PyObject *row = first_digest_row(digests, held, held->places[i]);
        if (row == NULL || PyList_SetItem(list, (Py_ssize_t)i, row) != 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *MlpCore_tensor_digests(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "algorithm", "threads", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *tensors, *items, *algorithm_name = NULL, *threads = NULL;
    struct digests digests = {.requests_count = 1};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$O:tensor_digests", names, &tensors,
                                     &algorithm_name, &threads) ||
        mlp_py_algorithm(state, &digests.requests[0].algorithm, algorithm_name,
                         "tensor_digests: algorithm") != 0 ||
        mlp_py_threads(state, &digests.threads, threads, "tensor_digests: threads") != 0 ||
        mlp_py_tensor_items(state, &items, tensors, "tensor_digests: tensors") != 0)
        return NULL;
    struct mlp_py_held_views held = {0};
    PyObject *list = NULL;
    if (mlp_py_held_views_take(state, &held, items, false) == 0 &&
        hash_views(state, &digests, &held) == 0)
        list = list_rows(&digests, &held);
    free_digests(&digests);
    mlp_py_held_views_release(&held);
    Py_DECREF(items);
    return list;
}

static PyObject *MlpCore_tensor_digest_staged(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "algorithm", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *tensor, *algorithm_name = NULL;
    struct digests digests = {.requests_count = 1, .threads = 1};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:tensor_digest_staged", names, &tensor,
                                     &algorithm_name) ||
        mlp_py_algorithm(state, &digests.requests[0].algorithm, algorithm_name,
                         "tensor_digest_staged: algorithm") != 0)
        return NULL;
    struct mlp_py_held_views held = {0};
    PyObject *row = NULL;
    if (mlp_py_held_views_take_staged(state, &held, tensor) == 0 &&
        hash_views(state, &digests, &held) == 0)
        row = first_digest_row(&digests, &held, 0);
    free_digests(&digests);
    mlp_py_held_views_release(&held);
    return row;
}

/* ---- digests alone, by several algorithms ---- */

/* A list for each algorithm. */
static PyObject *list_values(const struct digests *digests, const struct mlp_py_held_views *held)
{
    PyObject *lists = PyList_New((Py_ssize_t)digests->requests_count);
    for (size_t i = 0; lists != NULL && i < digests->requests_count; i++) {
        const struct mlp_hash_request *request = &digests->requests[i];
        PyObject *list = mlp_py_rows_to_list(request->digests, held->count,
                                             mlp_algorithm_digest_len(request->algorithm));
        if (list == NULL || PyList_SetItem(lists, (Py_ssize_t)i, list) != 0)
            Py_CLEAR(lists);
    }
    return lists;
}

static PyObject *MlpCore_digest_values(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "", "threads", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *objects, *items, *algorithms, *threads = NULL;
    struct digests digests = {.requests_count = 0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$O:digest_values", names, &objects,
                                     &algorithms, &threads) ||
        mlp_py_algorithms(state, digests.requests, &digests.requests_count, 1, algorithms,
                          "digest_values: algorithms") != 0 ||
        mlp_py_threads(state, &digests.threads, threads, "digest_values: threads") != 0 ||
        mlp_py_tensor_items(state, &items, objects, "digest_values: objects") != 0)
        return NULL;
    struct mlp_py_held_views held = {0};
    PyObject *lists = NULL;
    if (mlp_py_held_views_take(state, &held, items, false) == 0 &&
        hash_views(state, &digests, &held) == 0)
        lists = list_values(&digests, &held);
    free_digests(&digests);
    mlp_py_held_views_release(&held);
    Py_DECREF(items);
    return lists;
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
    PyObject *items;
    if (mlp_py_tensor_items(state, &items, tensors, "tensor_identities: tensors") != 0)
        return NULL;
    struct mlp_py_held_views held = {0};
    struct mlp_view view;
    PyObject *list = NULL;
    if (mlp_py_held_views_take(state, &held, items, false) == 0)
        list = PyList_New((Py_ssize_t)held.count);
    for (size_t i = 0; list != NULL && i < held.count; i++) {
        mlp_view_set_get(&view, &held.set, i);
        PyObject *row = identity(state, &view, i);
        if (row == NULL || PyList_SetItem(list, (Py_ssize_t)i, row) != 0)
            Py_CLEAR(list);
    }
    mlp_py_held_views_release(&held);
    Py_DECREF(items);
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
        PyObject *row =
            Py_BuildValue("sIzz", info->name, info->bits, info->torch_name, info->numpy_name);
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
    {"digest_values", MLP_PY_WITH_KEYWORDS(MlpCore_digest_values), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("digest_values($module, objects, algorithms, /, *, threads=None)\n--\n\n"
               "Digests of objects, a list for each algorithm.")},
    {"tensor_identities", MlpCore_tensor_identities, METH_O,
     PyDoc_STR("tensor_identities($module, tensors, /)\n--\n\n"
               "(storage, byte offset, dtype, shape, byte strides) of each; None for empty ones.")},
    {"tensor_leaf", MLP_PY_WITH_KEYWORDS(MlpCore_tensor_leaf), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("tensor_leaf($module, name, row, /, algorithm='blake3')\n--\n\n"
               "The leaf of a row of tensor_digests.")},
    {"dtypes", MlpCore_dtypes, METH_NOARGS,
     PyDoc_STR(
         "dtypes($module, /)\n--\n\n(name, bits, torch's name, NumPy's) of every element type.")},
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

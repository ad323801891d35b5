/* hash_functions.c - kernels, threads, one-shot hashes, BLAKE3 subtrees. */
#include "hash/hash.h"
#include "hash/pool.h"
#include "python/arguments.h"

/* ---- kernels ---- */

static PyObject *MlpCore_hash_kernels(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    const char *names[MLP_KERNELS_MAX];
    bool usable[MLP_KERNELS_MAX];
    size_t count = mlp_hash_kernels(names, usable);
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *row = Py_BuildValue("sO", names[i], usable[i] ? Py_True : Py_False);
        if (row == NULL || PyList_SetItem(list, (Py_ssize_t)i, row) != 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *MlpCore_hash_kernel(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyUnicode_FromString(mlp_hash_kernel_name());
}

static PyObject *MlpCore_hash_kernel_reason(PyObject *Py_UNUSED(module),
                                            PyObject *Py_UNUSED(ignored))
{
    return PyUnicode_FromString(mlp_hash_kernel_reason());
}

static PyObject *MlpCore_set_hash_kernel(PyObject *module, PyObject *object)
{
    const char *name;
    size_t name_len;
    if (mlp_py_text(&name, &name_len, object, "set_hash_kernel: name") != 0)
        return NULL;
    struct mlp_error error;
    if (mlp_hash_kernel_force(name, &error) != 0)
        return mlp_py_raise(&mlp_py_state_of_module(module)->exceptions, &error);
    Py_RETURN_NONE;
}

/* ---- threads ---- */

static PyObject *MlpCore_hash_threads(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSize_t(mlp_pool_threads());
}

static PyObject *MlpCore_set_hash_threads(PyObject *module, PyObject *object)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    uint64_t threads;
    struct mlp_error error;
    if (mlp_py_uint64(state, &threads, object, "set_hash_threads: threads", MLP_E_CONFIG) != 0)
        return NULL;
    if (mlp_pool_set_threads(threads, &error) != 0)
        return mlp_py_raise(&state->exceptions, &error);
    Py_RETURN_NONE;
}

/* ---- one shot ---- */

static PyObject *MlpCore_hash_bytes(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "algorithm", "threads", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *data, *algorithm_name = NULL, *threads_number = NULL;
    uint8_t digest[MLP_HASH_MAX_LEN];
    struct mlp_hash_request request = {.digests = digest};
    size_t threads;
    Py_buffer buffer;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$O:hash_bytes", names, &data,
                                     &algorithm_name, &threads_number) ||
        mlp_py_algorithm(state, &request.algorithm, algorithm_name, "hash_bytes: algorithm") != 0 ||
        mlp_py_threads(state, &threads, threads_number, "hash_bytes: threads") != 0 ||
        mlp_py_buffer(&buffer, data, "hash_bytes: data") != 0)
        return NULL;
    const struct mlp_hash_input input = {.data = buffer.buf, .len = (size_t)buffer.len};
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(input.len);
    int status = mlp_hash_many_by(&request, 1, &input, 1, threads, &error);
    mlp_py_gil_take(released);
    PyBuffer_Release(&buffer);
    if (status != 0)
        return mlp_py_raise(&state->exceptions, &error);
    return mlp_py_bytes(digest, mlp_algorithm_digest_len(request.algorithm));
}

/* Many buffers by one algorithm or several. */
struct many {
    struct mlp_hash_request *requests;
    size_t requests_count;
    struct mlp_hash_input *inputs;
    size_t threads;
    struct mlp_py_buffers buffers;
};

static void free_many(struct many *many)
{
    for (size_t i = 0; many->requests != NULL && i < many->requests_count; i++)
        PyMem_Free(many->requests[i].digests);
    PyMem_Free(many->requests);
    PyMem_Free(many->inputs);
    mlp_py_buffers_release(&many->buffers);
}

static int make_requests(struct many *many, size_t count)
{
    many->requests = PyMem_Calloc(count + 1, sizeof *many->requests);
    if (many->requests == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    many->requests_count = count;
    return 0;
}

static int make_room(struct many *many)
{
    size_t count = many->buffers.count;
    many->inputs = PyMem_Malloc((count + 1) * sizeof *many->inputs);
    bool made = many->inputs != NULL;
    for (size_t i = 0; made && i < count; i++)
        many->inputs[i] = (struct mlp_hash_input){.data = many->buffers.items[i].buf,
                                                  .len = (size_t)many->buffers.items[i].len};
    for (size_t i = 0; made && i < many->requests_count; i++) {
        struct mlp_hash_request *request = &many->requests[i];
        request->digests = PyMem_Malloc((count + 1) * mlp_algorithm_digest_len(request->algorithm));
        made = request->digests != NULL;
    }
    if (!made)
        PyErr_NoMemory();
    return made ? 0 : -1;
}

/* Takes the buffers of items and hashes them, without the GIL where it is worth it. */
static int hash_many(struct mlp_py_state *state, struct many *many, PyObject *items,
                     const char *what)
{
    struct mlp_error error;
    if (mlp_py_buffers_take(&many->buffers, items, what) != 0 || make_room(many) != 0)
        return -1;
    PyThreadState *released =
        mlp_py_gil_release(many->buffers.total_len + 64 * many->buffers.count);
    int status = mlp_hash_many_by(many->requests, many->requests_count, many->inputs,
                                  many->buffers.count, many->threads, &error);
    mlp_py_gil_take(released);
    if (status != 0)
        mlp_py_raise(&state->exceptions, &error);
    return status == 0 ? 0 : -1;
}

static PyObject *digests_of(const struct many *many, size_t index)
{
    const struct mlp_hash_request *request = &many->requests[index];
    return mlp_py_rows_to_list(request->digests, many->buffers.count,
                               mlp_algorithm_digest_len(request->algorithm));
}

static PyObject *MlpCore_hash_many(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "algorithm", "threads", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *items, *algorithm_name = NULL, *threads = NULL;
    struct many many = {0};
    PyObject *list = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$O:hash_many", names, &items,
                                     &algorithm_name, &threads) ||
        make_requests(&many, 1) != 0)
        return NULL;
    if (mlp_py_algorithm(state, &many.requests[0].algorithm, algorithm_name,
                         "hash_many: algorithm") == 0 &&
        mlp_py_threads(state, &many.threads, threads, "hash_many: threads") == 0 &&
        hash_many(state, &many, items, "hash_many: items") == 0)
        list = digests_of(&many, 0);
    free_many(&many);
    return list;
}

static int read_requests(struct mlp_py_state *state, struct many *many, PyObject *algorithms)
{
    PyObject *items;
    if (mlp_py_items(&items, algorithms, "hash_many_by: algorithms") != 0)
        return -1;
    size_t count = (size_t)PyTuple_Size(items);
    int result = make_requests(many, count);
    for (size_t i = 0; result == 0 && i < count; i++)
        result =
            mlp_py_algorithm(state, &many->requests[i].algorithm,
                             PyTuple_GetItem(items, (Py_ssize_t)i), "hash_many_by: algorithms");
    Py_DECREF(items);
    return result;
}

static PyObject *MlpCore_hash_many_by(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "algorithms", "threads", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *items, *algorithms, *threads = NULL;
    struct many many = {0};
    PyObject *lists = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$O:hash_many_by", names, &items, &algorithms,
                                     &threads))
        return NULL;
    if (read_requests(state, &many, algorithms) == 0 &&
        mlp_py_threads(state, &many.threads, threads, "hash_many_by: threads") == 0 &&
        hash_many(state, &many, items, "hash_many_by: items") == 0)
        lists = PyList_New((Py_ssize_t)many.requests_count);
    for (size_t i = 0; lists != NULL && i < many.requests_count; i++) {
        PyObject *list = digests_of(&many, i);
        if (list == NULL || PyList_SetItem(lists, (Py_ssize_t)i, list) != 0)
            Py_CLEAR(lists);
    }
    free_many(&many);
    return lists;
}

/* ---- BLAKE3 subtrees ---- */

/* *key: key32 filled from object, or NULL for None. */
static int read_key(struct mlp_py_state *state, const uint8_t **key, uint8_t key32[32],
                    PyObject *object, const char *what)
{
    *key = NULL;
    if (object == NULL || Py_IsNone(object))
        return 0;
    *key = key32;
    return mlp_py_bytes_exact(state, key32, MLP_BLAKE3_KEY_LEN, object, what, MLP_E_ARGUMENT);
}

static PyObject *MlpCore_blake3_subtree(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "", "key", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *data, *offset, *key_bytes = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O:blake3_subtree", names, &data, &offset,
                                     &key_bytes))
        return NULL;
    uint64_t chunk_offset;
    uint8_t key32[MLP_BLAKE3_KEY_LEN];
    const uint8_t *key;
    Py_buffer buffer;
    if (mlp_py_uint64(state, &chunk_offset, offset, "blake3_subtree: chunk_offset",
                      MLP_E_ARGUMENT) != 0 ||
        read_key(state, &key, key32, key_bytes, "blake3_subtree: key") != 0 ||
        mlp_py_buffer(&buffer, data, "blake3_subtree: data") != 0)
        return NULL;
    uint8_t cv[MLP_BLAKE3_OUT_LEN];
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release((size_t)buffer.len);
    int status = mlp_blake3_subtree(cv, buffer.buf, (size_t)buffer.len, chunk_offset, key, &error);
    mlp_py_gil_take(released);
    PyBuffer_Release(&buffer);
    if (status != 0)
        return mlp_py_raise(&state->exceptions, &error);
    return mlp_py_bytes(cv, sizeof cv);
}

static PyObject *MlpCore_blake3_parent(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "", "root", "key", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *left, *right, *key_bytes = NULL;
    int is_root = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$pO:blake3_parent", names, &left, &right,
                                     &is_root, &key_bytes))
        return NULL;
    uint8_t left32[MLP_BLAKE3_OUT_LEN], right32[MLP_BLAKE3_OUT_LEN], key32[MLP_BLAKE3_KEY_LEN];
    const uint8_t *key;
    if (mlp_py_bytes_exact(state, left32, sizeof left32, left, "blake3_parent: left",
                           MLP_E_ARGUMENT) != 0 ||
        mlp_py_bytes_exact(state, right32, sizeof right32, right, "blake3_parent: right",
                           MLP_E_ARGUMENT) != 0 ||
        read_key(state, &key, key32, key_bytes, "blake3_parent: key") != 0)
        return NULL;
    uint8_t out[MLP_BLAKE3_OUT_LEN];
    if (is_root)
        mlp_blake3_root_of_parents(out, left32, right32, key);
    else
        mlp_blake3_parent(out, left32, right32, key);
    return mlp_py_bytes(out, sizeof out);
}

/* ---- the group ---- */

static PyMethodDef functions[] = {
    {"hash_kernels", MlpCore_hash_kernels, METH_NOARGS,
     PyDoc_STR("hash_kernels($module, /)\n--\n\n"
               "(name, usable) of every kernel, in order of preference.")},
    {"hash_kernel", MlpCore_hash_kernel, METH_NOARGS,
     PyDoc_STR("hash_kernel($module, /)\n--\n\nName of the kernel in use.")},
    {"hash_kernel_reason", MlpCore_hash_kernel_reason, METH_NOARGS,
     PyDoc_STR("hash_kernel_reason($module, /)\n--\n\nWhy that kernel is in use.")},
    {"set_hash_kernel", MlpCore_set_hash_kernel, METH_O,
     PyDoc_STR("set_hash_kernel($module, name, /)\n--\n\nForce a kernel.")},
    {"hash_threads", MlpCore_hash_threads, METH_NOARGS,
     PyDoc_STR("hash_threads($module, /)\n--\n\n"
               "How many threads hash at once unless a call says otherwise.")},
    {"set_hash_threads", MlpCore_set_hash_threads, METH_O,
     PyDoc_STR("set_hash_threads($module, threads, /)\n--\n\nSet it, 1 to 1024.")},
    {"hash_bytes", MLP_PY_WITH_KEYWORDS(MlpCore_hash_bytes), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("hash_bytes($module, data, /, algorithm='blake3', *, threads=None)\n--\n\n"
               "Digest of a buffer.")},
    {"hash_many", MLP_PY_WITH_KEYWORDS(MlpCore_hash_many), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("hash_many($module, items, /, algorithm='blake3', *, threads=None)\n--\n\n"
               "Digests of many buffers in one call.")},
    {"hash_many_by", MLP_PY_WITH_KEYWORDS(MlpCore_hash_many_by), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("hash_many_by($module, items, /, algorithms, *, threads=None)\n--\n\n"
               "Digests of many buffers by several algorithms at once, a list for each.")},
    {"blake3_subtree", MLP_PY_WITH_KEYWORDS(MlpCore_blake3_subtree), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("blake3_subtree($module, data, chunk_offset, /, key=None)\n--\n\n"
               "Chaining value of a complete subtree that is not the root.")},
    {"blake3_parent", MLP_PY_WITH_KEYWORDS(MlpCore_blake3_parent), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("blake3_parent($module, left, right, /, *, root=False, key=None)\n--\n\n"
               "Joins two chaining values; with root, into the digest.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_hash_functions_add(PyObject *module)
{
    if (PyModule_AddIntConstant(module, "MOST_ALGORITHMS", MLP_HASH_REQUESTS_MAX) != 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}

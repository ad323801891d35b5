/* hash_functions.c - kernels, one-shot hashes, BLAKE3 subtrees. */
#include "hash/hash.h"
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

/* ---- one shot ---- */

static PyObject *MlpCore_hash_bytes(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "algorithm", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *data, *algorithm_name = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:hash_bytes", names, &data, &algorithm_name))
        return NULL;
    int algorithm;
    if (mlp_py_algorithm(state, &algorithm, algorithm_name, "hash_bytes: algorithm") != 0)
        return NULL;
    Py_buffer buffer;
    if (mlp_py_buffer(&buffer, data, "hash_bytes: data") != 0)
        return NULL;
    uint8_t digest[MLP_HASH_MAX_LEN];
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release((size_t)buffer.len);
    int status = mlp_hash(algorithm, digest, buffer.buf, (size_t)buffer.len, &error);
    mlp_py_gil_take(released);
    PyBuffer_Release(&buffer);
    if (status != 0)
        return mlp_py_raise(&state->exceptions, &error);
    return mlp_py_bytes(digest, mlp_algorithm_digest_len(algorithm));
}

/* digests: room for a row of digest_len for each buffer; inputs: for each buffer. */
static int hash_buffers(int algorithm, uint8_t *digests, struct mlp_hash_input *inputs,
                        const struct mlp_py_buffers *buffers, struct mlp_error *error)
{
    for (size_t i = 0; i < buffers->count; i++)
        inputs[i] = (struct mlp_hash_input){buffers->items[i].buf, (size_t)buffers->items[i].len};
    PyThreadState *released = mlp_py_gil_release(buffers->total_len + 64 * buffers->count);
    int status = mlp_hash_many(algorithm, digests, inputs, buffers->count, error);
    mlp_py_gil_take(released);
    return status;
}

static PyObject *hash_many(struct mlp_py_state *state, int algorithm,
                           const struct mlp_py_buffers *buffers)
{
    size_t digest_len = mlp_algorithm_digest_len(algorithm);
    uint8_t *digests = PyMem_Malloc((buffers->count + 1) * digest_len);
    struct mlp_hash_input *inputs = PyMem_Malloc((buffers->count + 1) * sizeof *inputs);
    PyObject *list = NULL;
    struct mlp_error error;
    if (digests == NULL || inputs == NULL)
        PyErr_NoMemory();
    else if (hash_buffers(algorithm, digests, inputs, buffers, &error) != 0)
        mlp_py_raise(&state->exceptions, &error);
    else
        list = mlp_py_rows_to_list(digests, buffers->count, digest_len);
    PyMem_Free(inputs);
    PyMem_Free(digests);
    return list;
}

static PyObject *MlpCore_hash_many(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "algorithm", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *items, *algorithm_name = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:hash_many", names, &items, &algorithm_name))
        return NULL;
    int algorithm;
    if (mlp_py_algorithm(state, &algorithm, algorithm_name, "hash_many: algorithm") != 0)
        return NULL;
    struct mlp_py_buffers buffers = {0};
    PyObject *list = NULL;
    if (mlp_py_buffers_take(&buffers, items, "hash_many: items") == 0)
        list = hash_many(state, algorithm, &buffers);
    mlp_py_buffers_release(&buffers);
    return list;
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
    {"set_hash_kernel", MlpCore_set_hash_kernel, METH_O,
     PyDoc_STR("set_hash_kernel($module, name, /)\n--\n\nForce a kernel.")},
    {"hash_bytes", MLP_PY_WITH_KEYWORDS(MlpCore_hash_bytes), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("hash_bytes($module, data, /, algorithm='blake3')\n--\n\nDigest of a buffer.")},
    {"hash_many", MLP_PY_WITH_KEYWORDS(MlpCore_hash_many), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("hash_many($module, items, /, algorithm='blake3')\n--\n\n"
               "Digests of many buffers in one call.")},
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
    return PyModule_AddFunctions(module, functions);
}

/* hasher.c - Hasher: hashlib's shape. */
#include "hash/hash.h"
#include "python/arguments.h"
#include "python/lock.h"

struct hasher_object {
    PyObject_HEAD struct mlp_py_lock lock; /* guards hasher */
    struct mlp_hasher *hasher;
    int algorithm;
};

static struct hasher_object *as_hasher(PyObject *object)
{
    return (struct hasher_object *)object;
}

/* ---- making ---- */

struct hasher_options {
    PyObject *data;
    PyObject *algorithm;
    PyObject *key;
    PyObject *context;
};

static PyObject *allocate(PyTypeObject *type)
{
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *object = alloc(type, 0);
    if (object != NULL && mlp_py_lock_init(&as_hasher(object)->lock) != 0)
        Py_CLEAR(object);
    return object;
}

static int make_derive_key(struct mlp_py_state *state, struct hasher_object *self,
                           const struct hasher_options *options)
{
    const char *context;
    size_t context_len;
    struct mlp_error error;
    if (mlp_py_text(&context, &context_len, options->context, "Hasher: context") != 0)
        return -1;
    int status = 0;
    if (self->algorithm != MLP_BLAKE3)
        status = mlp_fail(&error, MLP_E_ARGUMENT, "Hasher: only blake3 takes a context, not %s",
                          mlp_algorithm_name(self->algorithm));
    else if (options->key != NULL && !Py_IsNone(options->key))
        status = mlp_fail(&error, MLP_E_ARGUMENT, "Hasher: give a key or a context, not both");
    else
        status = mlp_hasher_new_derive_key(&self->hasher, context, context_len, &error);
    if (status != 0)
        mlp_py_raise(&state->exceptions, &error);
    return status == 0 ? 0 : -1;
}

static int make_plain_or_keyed(struct mlp_py_state *state, struct hasher_object *self,
                               const struct hasher_options *options)
{
    uint8_t key32[MLP_BLAKE3_KEY_LEN];
    const uint8_t *key = NULL;
    if (options->key != NULL && !Py_IsNone(options->key)) {
        if (mlp_py_bytes_exact(state, key32, sizeof key32, options->key, "Hasher: key",
                               MLP_E_ARGUMENT) != 0)
            return -1;
        key = key32;
    }
    struct mlp_error error;
    int status = mlp_hasher_new(&self->hasher, self->algorithm, key, &error);
    explicit_bzero(key32, sizeof key32);
    if (status != 0)
        mlp_py_raise(&state->exceptions, &error);
    return status == 0 ? 0 : -1;
}

static PyObject *MlpCore_Hasher_update(PyObject *self, PyObject *data);

static int make(struct mlp_py_state *state, PyObject *object, const struct hasher_options *options)
{
    struct hasher_object *self = as_hasher(object);
    if (mlp_py_algorithm(state, &self->algorithm, options->algorithm, "Hasher: algorithm") != 0)
        return -1;
    int has_context = options->context != NULL && !Py_IsNone(options->context);
    int result = has_context ? make_derive_key(state, self, options)
                             : make_plain_or_keyed(state, self, options);
    if (result != 0 || options->data == NULL)
        return result;
    PyObject *none = MlpCore_Hasher_update(object, options->data);
    Py_XDECREF(none);
    return none != NULL ? 0 : -1;
}

static PyObject *MlpCore_Hasher_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "algorithm", "key", "context", NULL};
    struct hasher_options options = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$OOO:Hasher", names, &options.data,
                                     &options.algorithm, &options.key, &options.context))
        return NULL;
    PyObject *object = allocate(type);
    if (object != NULL && make(PyType_GetModuleState(type), object, &options) != 0)
        Py_CLEAR(object);
    return object;
}

static void MlpCore_Hasher_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    mlp_hasher_free(as_hasher(object)->hasher);
    mlp_py_lock_clear(&as_hasher(object)->lock);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* ---- using ---- */

static PyObject *MlpCore_Hasher_update(PyObject *self, PyObject *data)
{
    struct mlp_py_state *state = mlp_py_state_of(self);
    Py_buffer buffer;
    if (mlp_py_buffer(&buffer, data, "Hasher.update: data") != 0)
        return NULL;
    if (mlp_py_lock_take(&as_hasher(self)->lock, state, "this Hasher") != 0) {
        PyBuffer_Release(&buffer);
        return NULL;
    }
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release((size_t)buffer.len);
    int status = mlp_hasher_update(as_hasher(self)->hasher, buffer.buf, (size_t)buffer.len, &error);
    mlp_py_gil_take(released);
    mlp_py_lock_give(&as_hasher(self)->lock);
    PyBuffer_Release(&buffer);
    if (status != 0)
        return mlp_py_raise(&state->exceptions, &error);
    Py_RETURN_NONE;
}

/* length NULL: the digest; otherwise extendable output. Returns: a status. */
static int write_output(const struct hasher_object *self, uint8_t *out, size_t out_len, bool plain,
                        uint64_t seek, struct mlp_error *error)
{
    if (plain)
        return mlp_hasher_digest(self->hasher, out, error);
    if (seek > UINT64_MAX - out_len)
        return mlp_fail(error, MLP_E_ARGUMENT,
                        "Hasher.digest: seek %llu and length %zu lead beyond 2^64 bytes of output",
                        (unsigned long long)seek, out_len);
    return mlp_hasher_xof(self->hasher, seek, out, out_len, error);
}

static PyObject *output(PyObject *self, size_t out_len, bool plain, uint64_t seek)
{
    struct mlp_py_state *state = mlp_py_state_of(self);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)out_len);
    if (bytes == NULL)
        return NULL;
    if (mlp_py_lock_take(&as_hasher(self)->lock, state, "this Hasher") != 0) {
        Py_DECREF(bytes);
        return NULL;
    }
    uint8_t *out = (uint8_t *)PyBytes_AsString(bytes);
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(out_len);
    int status = write_output(as_hasher(self), out, out_len, plain, seek, &error);
    mlp_py_gil_take(released);
    mlp_py_lock_give(&as_hasher(self)->lock);
    if (status == 0)
        return bytes;
    Py_DECREF(bytes);
    return mlp_py_raise(&state->exceptions, &error);
}

static PyObject *read_and_output(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"length", "seek", NULL};
    struct mlp_py_state *state = mlp_py_state_of(self);
    PyObject *length = Py_None, *seek_number = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$O:digest", names, &length, &seek_number))
        return NULL;
    uint64_t out_len = mlp_algorithm_digest_len(as_hasher(self)->algorithm);
    uint64_t seek = 0;
    if (!Py_IsNone(length) &&
        mlp_py_uint64(state, &out_len, length, "Hasher.digest: length", MLP_E_ARGUMENT) != 0)
        return NULL;
    if (seek_number != NULL &&
        mlp_py_uint64(state, &seek, seek_number, "Hasher.digest: seek", MLP_E_ARGUMENT) != 0)
        return NULL;
    if (out_len > PY_SSIZE_T_MAX)
        return PyErr_NoMemory();
    return output(self, (size_t)out_len, Py_IsNone(length) && seek == 0, seek);
}

static PyObject *MlpCore_Hasher_digest(PyObject *self, PyObject *args, PyObject *kwargs)
{
    return read_and_output(self, args, kwargs);
}

static PyObject *MlpCore_Hasher_hexdigest(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *bytes = read_and_output(self, args, kwargs);
    if (bytes == NULL)
        return NULL;
    PyObject *hex = PyObject_CallMethod(bytes, "hex", NULL);
    Py_DECREF(bytes);
    return hex;
}

static PyObject *MlpCore_Hasher_copy(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct mlp_py_state *state = mlp_py_state_of(self);
    PyObject *copy = allocate(Py_TYPE(self));
    if (copy == NULL)
        return NULL;
    if (mlp_py_lock_take(&as_hasher(self)->lock, state, "this Hasher") != 0) {
        Py_DECREF(copy);
        return NULL;
    }
    struct mlp_error error;
    int status = mlp_hasher_copy(&as_hasher(copy)->hasher, as_hasher(self)->hasher, &error);
    mlp_py_lock_give(&as_hasher(self)->lock);
    as_hasher(copy)->algorithm = as_hasher(self)->algorithm;
    if (status == 0)
        return copy;
    Py_DECREF(copy);
    return mlp_py_raise(&state->exceptions, &error);
}

static PyObject *MlpCore_Hasher_name(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(mlp_algorithm_name(as_hasher(self)->algorithm));
}

static PyObject *MlpCore_Hasher_digest_size(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(mlp_algorithm_digest_len(as_hasher(self)->algorithm));
}

static PyObject *MlpCore_Hasher_block_size(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(mlp_algorithm_block_len(as_hasher(self)->algorithm));
}

/* ---- the type ---- */

static PyMethodDef methods[] = {
    {"update", MlpCore_Hasher_update, METH_O,
     PyDoc_STR("update($self, data, /)\n--\n\nAdd bytes.")},
    {"digest", MLP_PY_WITH_KEYWORDS(MlpCore_Hasher_digest), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("digest($self, length=None, *, seek=0)\n--\n\n"
               "Digest of the bytes so far; length and seek: BLAKE3's extendable output.")},
    {"hexdigest", MLP_PY_WITH_KEYWORDS(MlpCore_Hasher_hexdigest), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("hexdigest($self, length=None, *, seek=0)\n--\n\ndigest in hexadecimal.")},
    {"copy", MlpCore_Hasher_copy, METH_NOARGS,
     PyDoc_STR("copy($self, /)\n--\n\nA hasher in the same state.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"name", MlpCore_Hasher_name, NULL, PyDoc_STR("Name of the algorithm."), NULL},
    {"digest_size", MlpCore_Hasher_digest_size, NULL, PyDoc_STR("Bytes of a digest."), NULL},
    {"block_size", MlpCore_Hasher_block_size, NULL, PyDoc_STR("Bytes of a block."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, PyDoc_STR("Hasher(data=b'', /, *, algorithm='blake3', key=None, context=None)\n"
                          "--\n\nhashlib's shape. key (32 bytes) and context (derive-key) are for "
                          "blake3 alone.")},
    {Py_tp_new, MlpCore_Hasher_new},
    {Py_tp_dealloc, MlpCore_Hasher_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "mlprov._core.Hasher",
    .basicsize = sizeof(struct hasher_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

int mlp_py_hasher_add(PyObject *module)
{
    return mlp_py_add_type(module, &mlp_py_state_of_module(module)->hasher_type, &spec, 1);
}

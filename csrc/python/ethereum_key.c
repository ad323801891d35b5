/* ethereum_key.c - EthereumKey: an account's key that never leaves the core's locked memory. */
#include "base/file.h"
#include "python/ethereum.h"
#include "sign/web3_keystore.h"

struct key_object {
    PyObject_HEAD struct mlp_ethereum_key *key; /* unchanged once made: usable from any thread */
};

static const struct mlp_ethereum_key *key_of(PyObject *self)
{
    return ((struct key_object *)self)->key;
}

const struct mlp_ethereum_key *mlp_py_ethereum_key_of(struct mlp_py_state *state, PyObject *object)
{
    return Py_IS_TYPE(object, state->ethereum_key_type) ? key_of(object) : NULL;
}

/* Takes key in any case; status: that of making it. */
static PyObject *wrap(PyObject *type_object, struct mlp_ethereum_key *key, int status,
                      const struct mlp_error *error)
{
    PyTypeObject *type = (PyTypeObject *)type_object;
    if (status != 0)
        return mlp_py_raise(&mlp_py_state_of_type(type_object)->exceptions, error);
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *self = alloc(type, 0);
    if (self == NULL)
        mlp_ethereum_key_free(key);
    else
        ((struct key_object *)self)->key = key;
    return self;
}

/* ---- making ---- */

static PyObject *MlpCore_EthereumKey_generate(PyObject *type, PyObject *Py_UNUSED(ignored))
{
    struct mlp_ethereum_key *key = NULL;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_ethereum_key_generate(&key, &error);
    mlp_py_gil_take(released);
    return wrap(type, key, status, &error);
}

static PyObject *MlpCore_EthereumKey_from_secret(PyObject *type, PyObject *secret)
{
    struct mlp_ethereum_key *key = NULL;
    struct mlp_error error;
    Py_buffer buffer;
    if (mlp_py_buffer(&buffer, secret, "EthereumKey.from_secret: secret") != 0)
        return NULL;
    int status;
    if (buffer.len == 32)
        status = mlp_ethereum_key_from_secret(&key, buffer.buf, &error);
    else
        status =
            mlp_fail(&error, MLP_E_ARGUMENT,
                     "EthereumKey.from_secret: secret has %zd bytes, 32 are expected", buffer.len);
    PyBuffer_Release(&buffer);
    return wrap(type, key, status, &error);
}

/* Without the GIL. */
static int create_file(struct mlp_ethereum_key **key, const char *path, const Py_buffer *passphrase,
                       struct mlp_error *error)
{
    int status = mlp_ethereum_key_generate(key, error);
    if (status == 0)
        status = mlp_web3_keystore_save(AT_FDCWD, path, *key, passphrase->buf,
                                        (size_t)passphrase->len, error);
    if (status != 0)
        mlp_ethereum_key_free(*key);
    return status;
}

/* A key that is missing is a setting to be mended, not a fault of the store's. */
static int load_file(struct mlp_ethereum_key **key, const char *path, const Py_buffer *passphrase,
                     struct mlp_error *error)
{
    int status = mlp_web3_keystore_load(key, AT_FDCWD, path, passphrase->buf,
                                        (size_t)passphrase->len, error);
    if (status == MLP_E_NOT_FOUND || status == MLP_E_READONLY)
        status = error->status = MLP_E_KEY;
    return status;
}

typedef int (*key_source)(struct mlp_ethereum_key **key, const char *path,
                          const Py_buffer *passphrase, struct mlp_error *error);

static PyObject *key_from(PyObject *type, PyObject *args, const char *format, key_source source)
{
    PyObject *path_object, *passphrase_object, *path;
    Py_buffer passphrase;
    if (!PyArg_ParseTuple(args, format, &path_object, &passphrase_object) ||
        mlp_py_path(&path, path_object) != 0)
        return NULL;
    if (mlp_py_buffer(&passphrase, passphrase_object, "EthereumKey: passphrase") != 0) {
        Py_DECREF(path);
        return NULL;
    }
    struct mlp_ethereum_key *key = NULL;
    struct mlp_error error;
    const char *path_bytes = PyBytes_AsString(path);
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = source(&key, path_bytes, &passphrase, &error);
    mlp_py_gil_take(released);
    PyBuffer_Release(&passphrase);
    Py_DECREF(path);
    return wrap(type, key, status, &error);
}

static PyObject *MlpCore_EthereumKey_create(PyObject *type, PyObject *args)
{
    return key_from(type, args, "OO:create", create_file);
}

static PyObject *MlpCore_EthereumKey_load(PyObject *type, PyObject *args)
{
    return key_from(type, args, "OO:load", load_file);
}

static void MlpCore_EthereumKey_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    mlp_ethereum_key_free(((struct key_object *)self)->key);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

/* ---- using ---- */

static PyObject *MlpCore_EthereumKey_sign_transaction(PyObject *self, PyObject *object)
{
    struct mlp_py_state *state = mlp_py_state_of(self);
    struct mlp_py_intent read;
    PyObject *answer = NULL;
    if (mlp_py_intent(state, &read, object) == 0) {
        struct mlp_buffer raw = {0};
        struct mlp_error error;
        uint8_t hash[32];
        PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
        int status = mlp_ethereum_transaction_sign(&raw, hash, &read.intent, key_of(self), &error);
        mlp_py_gil_take(released);
        if (status == 0) {
            answer =
                Py_BuildValue("NN", mlp_py_bytes_of_buffer(&raw), mlp_py_bytes(hash, sizeof hash));
        } else {
            mlp_buffer_clear(&raw);
            mlp_py_raise(&state->exceptions, &error);
        }
    }
    mlp_py_intent_release(&read);
    return answer;
}

static PyObject *MlpCore_EthereumKey_address(PyObject *self, void *Py_UNUSED(closure))
{
    return mlp_py_address_text(mlp_ethereum_key_address(key_of(self)));
}

/* ---- the type ---- */

static PyMethodDef methods[] = {
    {"generate", MlpCore_EthereumKey_generate, METH_CLASS | METH_NOARGS,
     PyDoc_STR("generate($type, /)\n--\n\nA new key in memory alone.")},
    {"from_secret", MlpCore_EthereumKey_from_secret, METH_CLASS | METH_O,
     PyDoc_STR("from_secret($type, secret, /)\n--\n\nThe key of 32 secret bytes.")},
    {"create", MlpCore_EthereumKey_create, METH_CLASS | METH_VARARGS,
     PyDoc_STR("create($type, path, passphrase, /)\n--\n\n"
               "A new key in a new file (0600) that other Ethereum tools open.")},
    {"load", MlpCore_EthereumKey_load, METH_CLASS | METH_VARARGS,
     PyDoc_STR("load($type, path, passphrase, /)\n--\n\nThe key of a Web3 key file.")},
    {"sign_transaction", MlpCore_EthereumKey_sign_transaction, METH_O,
     PyDoc_STR("sign_transaction($self, intent, /)\n--\n\n(transaction as it is sent, its hash).")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"address", MlpCore_EthereumKey_address, NULL, PyDoc_STR("The account, in the case of EIP-55."),
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, PyDoc_STR("An Ethereum account's key in the core's locked memory.")},
    {Py_tp_dealloc, MlpCore_EthereumKey_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "mlprov._core.EthereumKey",
    .basicsize = sizeof(struct key_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

int mlp_py_ethereum_key_add(PyObject *module)
{
    return mlp_py_add_type(module, &mlp_py_state_of_module(module)->ethereum_key_type, &spec, 1);
}

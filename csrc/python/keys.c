/* keys.c - SigningKey: a private key that never leaves the core's locked memory. */
#include "base/file.h"
#include "python/arguments.h"
#include "sign/keystore.h"
#include "sign/note.h"

struct key_object {
    PyObject_HEAD struct mlp_signing_key *key; /* unchanged once made: usable from any thread */
};

static const struct mlp_signing_key *key_of(PyObject *self)
{
    return ((struct key_object *)self)->key;
}

/* Takes key in any case. */
static PyObject *wrap(PyObject *type_object, struct mlp_signing_key *key)
{
    PyTypeObject *type = (PyTypeObject *)type_object;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *self = alloc(type, 0);
    if (self == NULL)
        mlp_signing_key_free(key);
    else
        ((struct key_object *)self)->key = key;
    return self;
}

/* ---- making ---- */

/* The arguments of create and load; release also after a failure. */
struct key_arguments {
    PyObject *path;
    const char *name; /* NULL: an owner key's */
    size_t name_len;
    Py_buffer passphrase; /* obj NULL: none */
};

static void release_arguments(struct key_arguments *arguments)
{
    Py_XDECREF(arguments->path);
    if (arguments->passphrase.obj != NULL)
        PyBuffer_Release(&arguments->passphrase);
}

static int read_arguments(struct key_arguments *arguments, PyObject *args, PyObject *kwargs,
                          const char *format)
{
    static char *names[] = {"", "", "passphrase", NULL};
    PyObject *path, *name, *passphrase = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &path, &name, &passphrase) ||
        mlp_py_path(&arguments->path, path) != 0 ||
        mlp_py_optional_text(&arguments->name, &arguments->name_len, name, "SigningKey: name") != 0)
        return -1;
    if (Py_IsNone(passphrase))
        return 0;
    return mlp_py_buffer(&arguments->passphrase, passphrase, "SigningKey: passphrase");
}

static const char *passphrase_of(const struct key_arguments *arguments)
{
    if (arguments->passphrase.obj == NULL)
        return NULL;
    return arguments->passphrase.buf != NULL ? arguments->passphrase.buf : "";
}

/* Without the GIL. */
static int create_file(struct mlp_signing_key **key, const struct key_arguments *arguments,
                       const char *path, struct mlp_error *error)
{
    int status = mlp_signing_key_generate(key, arguments->name, arguments->name_len, error);
    if (status != 0)
        return status;
    status = mlp_keystore_save(AT_FDCWD, path, *key, passphrase_of(arguments),
                               (size_t)arguments->passphrase.len, error);
    if (status != 0)
        mlp_signing_key_free(*key);
    return status;
}

/* A key that is missing is a setting to be mended, not a fault of the store's. */
static int load_file(struct mlp_signing_key **key, const struct key_arguments *arguments,
                     const char *path, struct mlp_error *error)
{
    int status =
        mlp_keystore_load(key, AT_FDCWD, path, arguments->name, arguments->name_len,
                          passphrase_of(arguments), (size_t)arguments->passphrase.len, error);
    if (status == MLP_E_NOT_FOUND || status == MLP_E_READONLY)
        status = error->status = MLP_E_KEY;
    return status;
}

typedef int (*key_source)(struct mlp_signing_key **key, const struct key_arguments *arguments,
                          const char *path, struct mlp_error *error);

static PyObject *key_from(PyObject *type, PyObject *args, PyObject *kwargs, const char *format,
                          key_source source)
{
    struct key_arguments arguments = {0};
    struct mlp_signing_key *key = NULL;
    PyObject *self = NULL;
    if (read_arguments(&arguments, args, kwargs, format) == 0) {
        struct mlp_error error;
        const char *path = PyBytes_AsString(arguments.path);
        PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
        int status = source(&key, &arguments, path, &error);
        mlp_py_gil_take(released);
        self = status == 0 ? wrap(type, key)
                           : mlp_py_raise(&mlp_py_state_of_type(type)->exceptions, &error);
    }
    release_arguments(&arguments);
    return self;
}

static PyObject *MlpCore_SigningKey_create(PyObject *type, PyObject *args, PyObject *kwargs)
{
    return key_from(type, args, kwargs, "OO|O:create", create_file);
}

static PyObject *MlpCore_SigningKey_load(PyObject *type, PyObject *args, PyObject *kwargs)
{
    return key_from(type, args, kwargs, "OO|O:load", load_file);
}

static void MlpCore_SigningKey_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    mlp_signing_key_free(((struct key_object *)self)->key);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

/* ---- using ---- */

static PyObject *MlpCore_SigningKey_sign_note(PyObject *self, PyObject *object)
{
    const char *text;
    size_t text_len;
    if (mlp_py_text(&text, &text_len, object, "SigningKey.sign_note: text") != 0)
        return NULL;
    const struct mlp_signing_key *key = key_of(self);
    struct mlp_buffer note = {0};
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_note_sign(&note, text, text_len, &key, 1, &error);
    mlp_py_gil_take(released);
    if (status == 0)
        return mlp_py_bytes_of_buffer(&note);
    mlp_buffer_clear(&note);
    return mlp_py_raise(&mlp_py_state_of(self)->exceptions, &error);
}

static PyObject *MlpCore_SigningKey_name(PyObject *self, void *Py_UNUSED(closure))
{
    const struct mlp_vkey *vkey = mlp_signing_key_vkey(key_of(self));
    return PyUnicode_DecodeUTF8(vkey->name, (Py_ssize_t)vkey->name_len, "strict");
}

static PyObject *MlpCore_SigningKey_vkey(PyObject *self, void *Py_UNUSED(closure))
{
    struct mlp_buffer text = {0};
    struct mlp_error error;
    if (mlp_vkey_encode(&text, mlp_signing_key_vkey(key_of(self)), &error) == 0)
        return mlp_py_text_of_buffer(&text);
    mlp_buffer_clear(&text);
    return mlp_py_raise(&mlp_py_state_of(self)->exceptions, &error);
}

static PyObject *MlpCore_SigningKey_public_key(PyObject *self, void *Py_UNUSED(closure))
{
    const struct mlp_vkey *vkey = mlp_signing_key_vkey(key_of(self));
    return mlp_py_bytes(vkey->public32, sizeof vkey->public32);
}

/* ---- the type ---- */

static PyMethodDef methods[] = {
    {"create", MLP_PY_WITH_KEYWORDS(MlpCore_SigningKey_create),
     METH_CLASS | METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("create($type, path, name, /, passphrase=None)\n--\n\n"
               "A new key in a new file (0600).")},
    {"load", MLP_PY_WITH_KEYWORDS(MlpCore_SigningKey_load),
     METH_CLASS | METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("load($type, path, name, /, passphrase=None)\n--\n\nThe key of a file.")},
    {"sign_note", MlpCore_SigningKey_sign_note, METH_O,
     PyDoc_STR("sign_note($self, text, /)\n--\n\nA signed note over text.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"name", MlpCore_SigningKey_name, NULL, PyDoc_STR("C2SP key name."), NULL},
    {"vkey", MlpCore_SigningKey_vkey, NULL, PyDoc_STR("Text of the verifier key."), NULL},
    {"public_key", MlpCore_SigningKey_public_key, NULL, PyDoc_STR("32 bytes."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, PyDoc_STR("An Ed25519 private key in the core's locked memory, under a C2SP key "
                          "name.")},
    {Py_tp_dealloc, MlpCore_SigningKey_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "mlprov._core.SigningKey",
    .basicsize = sizeof(struct key_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

int mlp_py_signing_key_add(PyObject *module)
{
    return mlp_py_add_type(module, &mlp_py_state_of_module(module)->signing_key_type, &spec, 1);
}

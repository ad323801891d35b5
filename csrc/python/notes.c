/* notes.c - signed notes, verifier keys, checkpoints, bare signatures. */
#include "python/arguments.h"
#include "sign/checkpoint.h"
#include "sign/ed25519.h"
#include "sign/note.h"

static PyObject *text_of(const void *utf8, size_t utf8_len)
{
    return PyUnicode_DecodeUTF8(utf8, (Py_ssize_t)utf8_len, "strict");
}

static int read_vkey(struct mlp_vkey *vkey, struct mlp_py_state *state, PyObject *object,
                     const char *what)
{
    const char *text;
    size_t text_len;
    struct mlp_error error;
    if (mlp_py_text(&text, &text_len, object, what) != 0)
        return -1;
    if (mlp_vkey_decode(vkey, text, text_len, &error) == 0)
        return 0;
    mlp_py_raise(&state->exceptions, &error);
    return -1;
}

/* ---- notes ---- */

/* vkey: NULL checks no signature. Without the GIL. */
static int read_note(struct mlp_note *note, const struct mlp_vkey *vkey, const void *bytes,
                     size_t bytes_len, struct mlp_error *error)
{
    int status = mlp_note_parse(note, bytes, bytes_len, error);
    if (status == 0 && vkey != NULL)
        status = mlp_note_verify(NULL, note, vkey, 1, error);
    /* The key was named by the caller: that it did not sign is an answer, not a missing thing. */
    if (status == MLP_E_NOT_FOUND)
        status = error->status = MLP_E_MISMATCH;
    return status;
}

static PyObject *note_answer(struct mlp_py_state *state, PyObject *object,
                             const struct mlp_vkey *vkey, const char *what)
{
    Py_buffer buffer;
    if (mlp_py_buffer(&buffer, object, what) != 0)
        return NULL;
    struct mlp_note *note = PyMem_Malloc(sizeof *note);
    if (note == NULL) {
        PyBuffer_Release(&buffer);
        return PyErr_NoMemory();
    }
    struct mlp_error error;
    PyThreadState *released =
        mlp_py_gil_release(vkey != NULL ? MLP_PY_LONG_WORK : (size_t)buffer.len);
    int status = read_note(note, vkey, buffer.buf, (size_t)buffer.len, &error);
    mlp_py_gil_take(released);
    PyObject *text = status == 0 ? text_of(note->text, note->text_len)
                                 : mlp_py_raise(&state->exceptions, &error);
    PyMem_Free(note);
    PyBuffer_Release(&buffer);
    return text;
}

static PyObject *MlpCore_verify_note(PyObject *module, PyObject *args)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *note, *vkey_object;
    struct mlp_vkey vkey;
    if (!PyArg_ParseTuple(args, "OO:verify_note", &note, &vkey_object) ||
        read_vkey(&vkey, state, vkey_object, "verify_note: vkey") != 0)
        return NULL;
    return note_answer(state, note, &vkey, "verify_note: note");
}

static PyObject *MlpCore_note_text(PyObject *module, PyObject *note)
{
    return note_answer(mlp_py_state_of_module(module), note, NULL, "note_text: note");
}

/* ---- checkpoints ---- */

static PyObject *MlpCore_parse_checkpoint(PyObject *module, PyObject *object)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    const char *text;
    size_t text_len;
    if (mlp_py_text(&text, &text_len, object, "parse_checkpoint: text") != 0)
        return NULL;
    struct mlp_checkpoint checkpoint;
    struct mlp_error error;
    int status = mlp_checkpoint_decode(&checkpoint, text, text_len, &error);
    if (status == 0 && checkpoint.extensions_len > 0)
        status = mlp_fail(&error, MLP_E_MALFORMED,
                          "a checkpoint of mlprov has three lines: this one has more after the "
                          "root (docs/format.md section 6)");
    if (status != 0)
        return mlp_py_raise(&state->exceptions, &error);
    return Py_BuildValue("NKN", text_of(checkpoint.origin, checkpoint.origin_len),
                         (unsigned long long)checkpoint.size,
                         mlp_py_bytes(checkpoint.root32, sizeof checkpoint.root32));
}

static PyObject *MlpCore_format_checkpoint(PyObject *module, PyObject *args)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *origin_object, *size_object, *root_object;
    const char *origin;
    size_t origin_len;
    uint64_t size;
    uint8_t root[32];
    if (!PyArg_ParseTuple(args, "OOO:format_checkpoint", &origin_object, &size_object,
                          &root_object) ||
        mlp_py_text(&origin, &origin_len, origin_object, "format_checkpoint: origin") != 0 ||
        mlp_py_uint64(state, &size, size_object, "format_checkpoint: size", MLP_E_ARGUMENT) != 0 ||
        mlp_py_bytes_exact(state, root, sizeof root, root_object, "format_checkpoint: root",
                           MLP_E_ARGUMENT) != 0)
        return NULL;
    struct mlp_buffer text = {0};
    struct mlp_error error;
    if (mlp_checkpoint_encode(&text, origin, origin_len, size, root, &error) != 0) {
        mlp_buffer_clear(&text);
        return mlp_py_raise(&state->exceptions, &error);
    }
    return mlp_py_text_of_buffer(&text);
}

/* ---- verifier keys ---- */

static PyObject *MlpCore_parse_vkey(PyObject *module, PyObject *object)
{
    struct mlp_vkey vkey;
    if (read_vkey(&vkey, mlp_py_state_of_module(module), object, "parse_vkey: vkey") != 0)
        return NULL;
    return Py_BuildValue("NN", text_of(vkey.name, vkey.name_len),
                         mlp_py_bytes(vkey.public32, sizeof vkey.public32));
}

static PyObject *MlpCore_format_vkey(PyObject *module, PyObject *args)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *name_object, *key_object;
    const char *name;
    size_t name_len;
    uint8_t public_key[MLP_ED25519_PUBLIC_LEN];
    if (!PyArg_ParseTuple(args, "OO:format_vkey", &name_object, &key_object) ||
        mlp_py_optional_text(&name, &name_len, name_object, "format_vkey: name") != 0 ||
        mlp_py_bytes_exact(state, public_key, sizeof public_key, key_object,
                           "format_vkey: public_key", MLP_E_ARGUMENT) != 0)
        return NULL;
    struct mlp_vkey vkey;
    struct mlp_buffer text = {0};
    struct mlp_error error;
    int status = mlp_vkey_init(&vkey, name, name_len, public_key, &error);
    if (status == 0)
        status = mlp_vkey_encode(&text, &vkey, &error);
    if (status == 0)
        return mlp_py_text_of_buffer(&text);
    mlp_buffer_clear(&text);
    return mlp_py_raise(&state->exceptions, &error);
}

/* ---- bare signatures ---- */

static PyObject *MlpCore_ed25519_verify(PyObject *module, PyObject *args)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *key_object, *signature_object, *message_object;
    uint8_t public_key[MLP_ED25519_PUBLIC_LEN];
    if (!PyArg_ParseTuple(args, "OOO:ed25519_verify", &key_object, &signature_object,
                          &message_object) ||
        mlp_py_bytes_exact(state, public_key, sizeof public_key, key_object,
                           "ed25519_verify: public_key", MLP_E_ARGUMENT) != 0)
        return NULL;
    Py_buffer signature, message;
    if (mlp_py_buffer(&signature, signature_object, "ed25519_verify: signature") != 0)
        return NULL;
    if (mlp_py_buffer(&message, message_object, "ed25519_verify: message") != 0) {
        PyBuffer_Release(&signature);
        return NULL;
    }
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_ed25519_verify(public_key, signature.buf, (size_t)signature.len, message.buf,
                                    (size_t)message.len, &error);
    mlp_py_gil_take(released);
    PyBuffer_Release(&message);
    PyBuffer_Release(&signature);
    if (status != 0 && status != MLP_E_MISMATCH)
        return mlp_py_raise(&state->exceptions, &error);
    return PyBool_FromLong(status == 0);
}

static PyObject *MlpCore_openssl_version(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyUnicode_FromString(mlp_openssl_version());
}

static PyMethodDef functions[] = {
    {"openssl_version", MlpCore_openssl_version, METH_NOARGS,
     PyDoc_STR("openssl_version($module, /)\n--\n\nRelease of OpenSSL in use.")},
    {"verify_note", MlpCore_verify_note, METH_VARARGS,
     PyDoc_STR("verify_note($module, note, vkey, /)\n--\n\n"
               "The text of a note signed by that key.")},
    {"note_text", MlpCore_note_text, METH_O,
     PyDoc_STR("note_text($module, note, /)\n--\n\n"
               "The unverified text of a well-formed note.")},
    {"parse_checkpoint", MlpCore_parse_checkpoint, METH_O,
     PyDoc_STR("parse_checkpoint($module, text, /)\n--\n\n"
               "(origin, size, root) of a checkpoint's text.")},
    {"format_checkpoint", MlpCore_format_checkpoint, METH_VARARGS,
     PyDoc_STR("format_checkpoint($module, origin, size, root, /)\n--\n\n"
               "The text that parse_checkpoint reads.")},
    {"parse_vkey", MlpCore_parse_vkey, METH_O,
     PyDoc_STR("parse_vkey($module, vkey, /)\n--\n\n(name, 32-byte public key).")},
    {"format_vkey", MlpCore_format_vkey, METH_VARARGS,
     PyDoc_STR("format_vkey($module, name, public_key, /)\n--\n\nThe text of a verifier key.")},
    {"ed25519_verify", MlpCore_ed25519_verify, METH_VARARGS,
     PyDoc_STR("ed25519_verify($module, public_key, signature, message, /)\n--\n\n"
               "Whether a bare signature holds.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_notes_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}

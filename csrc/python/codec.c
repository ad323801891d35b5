/* codec.c - strict JSON to Python objects; leaves files. */
#include "codec/json.h"
#include "python/arguments.h"
#include "store/leaves.h"

/* ---- JSON ---- */

#define JSON_MAX_LEN ((uint64_t)16777216) /* docs/format.md section 1, "Limits" */

static PyObject *convert(const struct mlp_json_value *value);

static PyObject *convert_text(const char *text, size_t text_len)
{
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)text_len, "strict");
}

static PyObject *convert_string(const struct mlp_json_value *value)
{
    size_t text_len;
    const char *text = mlp_json_string(value, &text_len);
    return convert_text(text, text_len);
}

static PyObject *convert_array(const struct mlp_json_value *value)
{
    size_t count = mlp_json_count(value);
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *item = convert(mlp_json_at(value, i));
        if (item == NULL || PyList_SetItem(list, (Py_ssize_t)i, item) != 0)
            Py_CLEAR(list);
    }
    return list;
}

static int put_member(PyObject *dict, const struct mlp_json_member *member)
{
    PyObject *key = convert_text(member->key, member->key_len);
    PyObject *item = key != NULL ? convert(member->value) : NULL;
    int result = item != NULL ? PyDict_SetItem(dict, key, item) : -1;
    Py_XDECREF(item);
    Py_XDECREF(key);
    return result;
}

static PyObject *convert_object(const struct mlp_json_value *value)
{
    PyObject *dict = PyDict_New();
    struct mlp_json_member member = {0};
    while (dict != NULL && mlp_json_next(value, &member)) {
        if (put_member(dict, &member) != 0)
            Py_CLEAR(dict);
    }
    return dict;
}

/* The nesting is bounded by what was read: MLP_JSON_DEPTH_MAX. */
static PyObject *convert(const struct mlp_json_value *value)
{
    switch (mlp_json_type(value)) {
    case MLP_JSON_NULL:
        return Py_NewRef(Py_None);
    case MLP_JSON_BOOLEAN:
        return PyBool_FromLong(mlp_json_boolean(value));
    case MLP_JSON_INTEGER:
        return PyLong_FromLongLong(mlp_json_integer(value));
    case MLP_JSON_REAL:
        return PyFloat_FromDouble(mlp_json_real(value));
    case MLP_JSON_STRING:
        return convert_string(value);
    case MLP_JSON_ARRAY:
        return convert_array(value);
    case MLP_JSON_OBJECT:
        return convert_object(value);
    }
    PyErr_SetString(PyExc_SystemError, "json_decode: a value of no known type");
    return NULL;
}

static int read_limit(struct mlp_py_state *state, size_t *limit, PyObject *object,
                      size_t limit_default, const char *what)
{
    *limit = limit_default;
    if (object == NULL)
        return 0;
    uint64_t number;
    if (mlp_py_uint64(state, &number, object, what, MLP_E_ARGUMENT) != 0)
        return -1;
    if (number >= 1) {
        *limit = (size_t)number;
        return 0;
    }
    struct mlp_error error;
    mlp_fail(&error, MLP_E_ARGUMENT, "%s is 0: at least 1 is needed", what);
    mlp_py_raise(&state->exceptions, &error);
    return -1;
}

static PyObject *MlpCore_json_decode(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "max_length", "max_depth", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    PyObject *text, *length_object = NULL, *depth_object = NULL;
    size_t max_len, max_depth;
    Py_buffer buffer;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO:json_decode", names, &text, &length_object,
                                     &depth_object) ||
        read_limit(state, &max_len, length_object, JSON_MAX_LEN, "json_decode: max_length") != 0 ||
        read_limit(state, &max_depth, depth_object, MLP_JSON_DEPTH_DEFAULT,
                   "json_decode: max_depth") != 0 ||
        mlp_py_buffer(&buffer, text, "json_decode: text") != 0)
        return NULL;
    struct mlp_json_document *document = NULL;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release((size_t)buffer.len);
    int status =
        mlp_json_read(&document, buffer.buf, (size_t)buffer.len, max_len, max_depth, &error);
    mlp_py_gil_take(released);
    PyBuffer_Release(&buffer);
    if (status != 0)
        return mlp_py_raise(&state->exceptions, &error);
    PyObject *value = convert(mlp_json_root(document));
    mlp_json_free(document);
    return value;
}

/* ---- leaves ---- */

static PyObject *encode_each(struct mlp_py_state *state, PyObject *iterator)
{
    struct mlp_buffer bytes = {0};
    PyObject *leaf;
    while ((leaf = PyIter_Next(iterator)) != NULL) {
        Py_buffer buffer;
        int result = mlp_py_buffer(&buffer, leaf, "encode_leaves: a leaf");
        Py_DECREF(leaf);
        if (result != 0)
            break;
        struct mlp_error error;
        int status = mlp_leaves_encode(&bytes, buffer.buf, (size_t)buffer.len, &error);
        PyBuffer_Release(&buffer);
        if (status != 0) {
            mlp_py_raise(&state->exceptions, &error);
            break;
        }
    }
    if (!PyErr_Occurred())
        return mlp_py_bytes_of_buffer(&bytes);
    mlp_buffer_clear(&bytes);
    return NULL;
}

static PyObject *MlpCore_encode_leaves(PyObject *module, PyObject *leaves)
{
    PyObject *iterator = PyObject_GetIter(leaves);
    if (iterator == NULL)
        return NULL;
    PyObject *bytes = encode_each(mlp_py_state_of_module(module), iterator);
    Py_DECREF(iterator);
    return bytes;
}

static PyObject *MlpCore_decode_leaves(PyObject *module, PyObject *data)
{
    Py_buffer buffer;
    if (mlp_py_buffer(&buffer, data, "decode_leaves: data") != 0)
        return NULL;
    struct mlp_leaves leaves = {0};
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release((size_t)buffer.len);
    int status = mlp_leaves_decode(&leaves, buffer.buf, (size_t)buffer.len, &error);
    mlp_py_gil_take(released);
    PyObject *list = status == 0
                         ? mlp_py_leaves_to_list(&leaves)
                         : mlp_py_raise(&mlp_py_state_of_module(module)->exceptions, &error);
    mlp_leaves_clear(&leaves);
    PyBuffer_Release(&buffer);
    return list;
}

/* ---- the group ---- */

static PyMethodDef functions[] = {
    {"json_decode", MLP_PY_WITH_KEYWORDS(MlpCore_json_decode), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("json_decode($module, text, /, max_length=16777216, max_depth=64)\n--\n\n"
               "Strict reading of JSON (docs/format.md section 1).")},
    {"encode_leaves", MlpCore_encode_leaves, METH_O,
     PyDoc_STR("encode_leaves($module, leaves, /)\n--\n\nA leaves file.")},
    {"decode_leaves", MlpCore_decode_leaves, METH_O,
     PyDoc_STR("decode_leaves($module, data, /)\n--\n\nStrict reading of a leaves file.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_codec_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}

/* arguments.c - reading single arguments, and building answers. */
#include "python/arguments.h"

#include "hash/hash.h"
#include "hash/pool.h"

/* ---- single values ---- */

static int fail_type(PyObject *object, const char *what, const char *expected)
{
    PyErr_Format(PyExc_TypeError, "%s must be %s, not %R", what, expected,
                 (PyObject *)Py_TYPE(object));
    return -1;
}

static int fail_value(struct mlp_py_state *state, struct mlp_error *error)
{
    mlp_py_raise(&state->exceptions, error);
    return -1;
}

int mlp_py_buffer(Py_buffer *buffer, PyObject *object, const char *what)
{
    if (PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError,
                     "%s must be bytes or another buffer, not str: encode text first "
                     "(text.encode()), or read the file that it names",
                     what);
        return -1;
    }
    if (!PyObject_CheckBuffer(object))
        return fail_type(object, what, "bytes or another buffer");
    return PyObject_GetBuffer(object, buffer, PyBUF_SIMPLE);
}

int mlp_py_bytes_exact(struct mlp_py_state *state, uint8_t *out, size_t out_len, PyObject *object,
                       const char *what, int bad_status)
{
    Py_buffer buffer;
    if (mlp_py_buffer(&buffer, object, what) != 0)
        return -1;
    size_t seen_len = (size_t)buffer.len;
    if (seen_len == out_len)
        memcpy(out, buffer.buf, out_len);
    PyBuffer_Release(&buffer);
    if (seen_len == out_len)
        return 0;
    struct mlp_error error;
    mlp_fail(&error, bad_status, "%s has %zu bytes: %zu are needed", what, seen_len, out_len);
    return fail_value(state, &error);
}

int mlp_py_uint64(struct mlp_py_state *state, uint64_t *value, PyObject *object, const char *what,
                  int bad_status)
{
    PyObject *number = PyNumber_Index(object);
    if (number == NULL) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Clear();
            return fail_type(object, what, "an int");
        }
        return -1;
    }
    unsigned long long read = PyLong_AsUnsignedLongLong(number);
    Py_DECREF(number);
    if (read != (unsigned long long)-1 || !PyErr_Occurred()) {
        *value = read;
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_OverflowError))
        return -1;
    PyErr_Clear();
    struct mlp_error error;
    mlp_fail(&error, bad_status, "%s is negative or above 2^64 - 1", what);
    return fail_value(state, &error);
}

int mlp_py_text(const char **text, size_t *text_len, PyObject *object, const char *what)
{
    if (!PyUnicode_Check(object))
        return fail_type(object, what, "a str");
    Py_ssize_t len;
    const char *utf8 = PyUnicode_AsUTF8AndSize(object, &len);
    if (utf8 == NULL)
        return -1;
    *text = utf8;
    *text_len = (size_t)len;
    return 0;
}

int mlp_py_optional_text(const char **text, size_t *text_len, PyObject *object, const char *what)
{
    if (!Py_IsNone(object))
        return mlp_py_text(text, text_len, object, what);
    *text = NULL;
    *text_len = 0;
    return 0;
}

int mlp_py_algorithm(struct mlp_py_state *state, int *algorithm, PyObject *object, const char *what)
{
    if (object == NULL) {
        *algorithm = MLP_BLAKE3;
        return 0;
    }
    const char *name;
    size_t name_len;
    if (mlp_py_text(&name, &name_len, object, what) != 0)
        return -1;
    int found = mlp_algorithm_from_name(name, name_len);
    if (found != 0) {
        *algorithm = found;
        return 0;
    }
    struct mlp_error error;
    mlp_fail(&error, MLP_E_ARGUMENT,
             "%s: unknown algorithm \"%.40s\"; choose blake3, sha256, sha384 or sha512", what,
             name);
    return fail_value(state, &error);
}

int mlp_py_algorithms(struct mlp_py_state *state, struct mlp_hash_request *requests, size_t *count,
                      size_t count_min, PyObject *sequence, const char *what)
{
    PyObject *items;
    struct mlp_error error;
    if (mlp_py_items(&items, sequence, what) != 0)
        return -1;
    int result = 0;
    size_t seen = (size_t)PyTuple_Size(items);
    if (seen < count_min || seen > MLP_HASH_REQUESTS_MAX) {
        mlp_fail(&error, MLP_E_ARGUMENT, "%s has %zu names: %zu to %d are possible", what, seen,
                 count_min, MLP_HASH_REQUESTS_MAX);
        result = fail_value(state, &error);
    }
    for (size_t i = 0; result == 0 && i < seen; i++)
        result = mlp_py_algorithm(state, &requests[i].algorithm,
                                  PyTuple_GetItem(items, (Py_ssize_t)i), what);
    Py_DECREF(items);
    if (result == 0)
        *count = seen;
    return result;
}

int mlp_py_threads(struct mlp_py_state *state, size_t *threads, PyObject *object, const char *what)
{
    *threads = 0;
    if (object == NULL || Py_IsNone(object))
        return 0;
    uint64_t number;
    struct mlp_error error;
    if (mlp_py_uint64(state, &number, object, what, MLP_E_CONFIG) != 0)
        return -1;
    if (mlp_pool_check_threads(number, what, &error) != 0)
        return fail_value(state, &error);
    *threads = (size_t)number;
    return 0;
}

int mlp_py_path(PyObject **path, PyObject *object)
{
    return PyUnicode_FSConverter(object, path) ? 0 : -1;
}

/* ---- answers ---- */

PyObject *mlp_py_bytes(const uint8_t *bytes, size_t bytes_len)
{
    return PyBytes_FromStringAndSize((const char *)bytes, (Py_ssize_t)bytes_len);
}

PyObject *mlp_py_rows_to_list(const uint8_t *rows, size_t count, size_t row_len)
{
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *row = mlp_py_bytes(rows + i * row_len, row_len);
        if (row == NULL || PyList_SetItem(list, (Py_ssize_t)i, row) != 0)
            Py_CLEAR(list);
    }
    return list;
}

PyObject *mlp_py_numbers_to_tuple(const int64_t *numbers, int count)
{
    PyObject *tuple = PyTuple_New(count);
    for (int i = 0; tuple != NULL && i < count; i++) {
        PyObject *number = PyLong_FromLongLong(numbers[i]);
        if (number == NULL || PyTuple_SetItem(tuple, i, number) != 0)
            Py_CLEAR(tuple);
    }
    return tuple;
}

PyObject *mlp_py_bytes_of_buffer(struct mlp_buffer *buffer)
{
    PyObject *bytes =
        mlp_buffer_status(buffer) != 0 ? PyErr_NoMemory() : mlp_py_bytes(buffer->data, buffer->len);
    mlp_buffer_clear(buffer);
    return bytes;
}

PyObject *mlp_py_text_of_buffer(struct mlp_buffer *buffer)
{
    PyObject *text = NULL;
    if (mlp_buffer_status(buffer) != 0)
        PyErr_NoMemory();
    else
        text = PyUnicode_DecodeUTF8(buffer->len > 0 ? (const char *)buffer->data : "",
                                    (Py_ssize_t)buffer->len, "strict");
    mlp_buffer_clear(buffer);
    return text;
}

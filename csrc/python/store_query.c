/* store_query.c - Store.query: read-only SQL, its parameters and rows. */
#include "python/arguments.h"
#include "python/store_object.h"
#include "store/store.h"

/* ---- parameters: they point into the Python objects, which args keeps ---- */

static int read_integer(struct mlp_value *value, PyObject *object)
{
    int overflow;
    value->type = MLP_VALUE_INTEGER;
    value->integer = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow == 0)
        return PyErr_Occurred() ? -1 : 0;
    PyErr_SetString(PyExc_ValueError,
                    "Store.query: an integer parameter is outside 64 bits; pass it as text");
    return -1;
}

static int read_bytes(struct mlp_value *value, PyObject *object)
{
    char *bytes;
    Py_ssize_t bytes_len;
    if (PyBytes_AsStringAndSize(object, &bytes, &bytes_len) != 0)
        return -1;
    value->type = MLP_VALUE_BLOB;
    value->bytes = bytes;
    value->bytes_len = (size_t)bytes_len;
    return 0;
}

static int read_parameter(struct mlp_value *value, PyObject *object)
{
    if (Py_IsNone(object)) {
        value->type = MLP_VALUE_NULL;
        return 0;
    }
    if (PyLong_Check(object))
        return read_integer(value, object);
    if (PyFloat_Check(object)) {
        value->type = MLP_VALUE_REAL;
        value->real = PyFloat_AsDouble(object);
        return 0;
    }
    if (PyBytes_Check(object))
        return read_bytes(value, object);
    if (PyUnicode_Check(object)) {
        const char *text;
        value->type = MLP_VALUE_TEXT;
        int result = mlp_py_text(&text, &value->bytes_len, object, "Store.query: a parameter");
        value->bytes = result == 0 ? text : NULL;
        return result;
    }
    PyErr_Format(PyExc_TypeError,
                 "Store.query: parameters are None, int, float, str or bytes, not %R",
                 (PyObject *)Py_TYPE(object));
    return -1;
}

static struct mlp_value *read_parameters(PyObject *items)
{
    Py_ssize_t count = PyTuple_Size(items);
    struct mlp_value *values = PyMem_Calloc((size_t)count + 1, sizeof *values);
    if (values == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (read_parameter(&values[i], PyTuple_GetItem(items, i)) != 0) {
            PyMem_Free(values);
            return NULL;
        }
    }
    return values;
}

/* ---- rows ---- */

static PyObject *convert_value(const struct mlp_value *value)
{
    switch (value->type) {
    case MLP_VALUE_NULL:
        return Py_NewRef(Py_None);
    case MLP_VALUE_INTEGER:
        return PyLong_FromLongLong(value->integer);
    case MLP_VALUE_REAL:
        return PyFloat_FromDouble(value->real);
    case MLP_VALUE_TEXT:
        /* SQLite does not check text; a damaged database must stay readable. */
        return PyUnicode_DecodeUTF8(value->bytes_len > 0 ? value->bytes : "",
                                    (Py_ssize_t)value->bytes_len, "replace");
    case MLP_VALUE_BLOB:
        return mlp_py_bytes(value->bytes, value->bytes_len);
    }
    PyErr_SetString(PyExc_SystemError, "Store.query: a value of no known type");
    return NULL;
}

static PyObject *convert_row(const struct mlp_rows *rows, size_t row)
{
    size_t columns = mlp_rows_columns(rows);
    PyObject *tuple = PyTuple_New((Py_ssize_t)columns);
    for (size_t column = 0; tuple != NULL && column < columns; column++) {
        PyObject *value = convert_value(mlp_rows_at(rows, row, column));
        if (value == NULL || PyTuple_SetItem(tuple, (Py_ssize_t)column, value) != 0)
            Py_CLEAR(tuple);
    }
    return tuple;
}

static PyObject *convert_rows(const struct mlp_rows *rows)
{
    size_t count = mlp_rows_count(rows);
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t row = 0; list != NULL && row < count; row++) {
        PyObject *tuple = convert_row(rows, row);
        if (tuple == NULL || PyList_SetItem(list, (Py_ssize_t)row, tuple) != 0)
            Py_CLEAR(list);
    }
    return list;
}

/* ---- the method ---- */

static PyObject *run_query(PyObject *self, const char *sql, size_t sql_len, PyObject *items)
{
    struct mlp_value *values = read_parameters(items);
    if (values == NULL)
        return NULL;
    struct mlp_rows *rows = NULL;
    struct mlp_error error;
    struct mlp_store *store = mlp_py_store_of(self);
    size_t count = (size_t)PyTuple_Size(items);
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_store_query(&rows, store, sql, sql_len, values, count, &error);
    mlp_py_gil_take(released);
    PyMem_Free(values);
    if (status != 0)
        return mlp_py_raise(&mlp_py_state_of(self)->exceptions, &error);
    PyObject *list = convert_rows(rows);
    mlp_rows_free(rows);
    return list;
}

PyObject *MlpCore_Store_query(PyObject *self, PyObject *args)
{
    PyObject *sql_object, *parameters = NULL, *items;
    const char *sql;
    size_t sql_len;
    if (!PyArg_ParseTuple(args, "O|O:query", &sql_object, &parameters) ||
        mlp_py_text(&sql, &sql_len, sql_object, "Store.query: sql") != 0)
        return NULL;
    if (parameters == NULL)
        items = PyTuple_New(0);
    else if (mlp_py_items(&items, parameters, "Store.query: parameters") != 0)
        return NULL;
    if (items == NULL)
        return NULL;
    PyObject *list = run_query(self, sql, sql_len, items);
    Py_DECREF(items);
    return list;
}

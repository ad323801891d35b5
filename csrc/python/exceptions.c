/* exceptions.c - from status to exception. */
#include "python/exceptions.h"

#include <string.h>

/* ---- the table ---- */

static const char *status_name(int status)
{
    switch (status) {
#define STATUS_NAME(name, value, python_class, retryable, text)                                    \
    case MLP_E_##name:                                                                             \
        return #name;
        MLP_STATUS_TABLE(STATUS_NAME)
#undef STATUS_NAME
    default:
        return "";
    }
}

static const char *const class_names[] = {
#define CLASS_NAME(name, value, python_class, retryable, text) python_class,
    MLP_STATUS_TABLE(CLASS_NAME)
#undef CLASS_NAME
};

#define CLASS_NAMES_COUNT (sizeof class_names / sizeof class_names[0])

/* Returns: a borrowed builtin, or NULL where mlprov.errors has the class. */
static PyObject *builtin_class(const char *name)
{
    if (strcmp(name, "MemoryError") == 0)
        return PyExc_MemoryError;
    if (strcmp(name, "ValueError") == 0)
        return PyExc_ValueError;
    if (strcmp(name, "IndexError") == 0)
        return PyExc_IndexError;
    return NULL;
}

/* ---- the classes ---- */

int mlp_py_exceptions_traverse(struct mlp_py_exceptions *exceptions, visitproc visit, void *arg)
{
    Py_VISIT(exceptions->classes);
    return 0;
}

void mlp_py_exceptions_clear(struct mlp_py_exceptions *exceptions)
{
    Py_CLEAR(exceptions->classes);
}

static int check_class(PyObject *name, PyObject *class)
{
    if (!PyUnicode_Check(name)) {
        PyErr_SetString(PyExc_TypeError, "set_exceptions: names of classes must be str");
        return -1;
    }
    if (!PyType_Check(class) ||
        !PyType_IsSubtype((PyTypeObject *)class, (PyTypeObject *)PyExc_Exception)) {
        PyErr_Format(PyExc_TypeError, "set_exceptions: %R must be a subclass of Exception, not %R",
                     name, class);
        return -1;
    }
    for (size_t i = 0; i < CLASS_NAMES_COUNT; i++) {
        if (builtin_class(class_names[i]) == NULL &&
            PyUnicode_CompareWithASCIIString(name, class_names[i]) == 0)
            return 0;
    }
    PyErr_Format(PyExc_ValueError, "set_exceptions: no status is answered by a class named %R",
                 name);
    return -1;
}

static int check_complete(PyObject *classes)
{
    for (size_t i = 0; i < CLASS_NAMES_COUNT; i++) {
        if (builtin_class(class_names[i]) == NULL &&
            PyDict_GetItemString(classes, class_names[i]) == NULL) {
            PyErr_Format(PyExc_ValueError, "set_exceptions: the class %s is missing",
                         class_names[i]);
            return -1;
        }
    }
    return 0;
}

int mlp_py_exceptions_set(struct mlp_py_exceptions *exceptions, PyObject *classes)
{
    if (!PyDict_Check(classes)) {
        PyErr_SetString(PyExc_TypeError, "set_exceptions: a dict of name to class is needed");
        return -1;
    }
    PyObject *copy = PyDict_Copy(classes);
    if (copy == NULL)
        return -1;
    PyObject *name, *class;
    Py_ssize_t position = 0;
    while (PyDict_Next(copy, &position, &name, &class)) {
        if (check_class(name, class) != 0)
            goto check_failed;
    }
    if (check_complete(copy) != 0)
        goto check_failed;
    PyObject *old = exceptions->classes;
    exceptions->classes = copy;
    Py_XDECREF(old);
    return 0;

check_failed:
    Py_DECREF(copy);
    return -1;
}

/* ---- raising ---- */

/* Returns: a new reference. */
static PyObject *class_of_status(struct mlp_py_exceptions *exceptions, int status)
{
    const char *name = mlp_status_python_class(status);
    PyObject *class = builtin_class(name);
    if (class == NULL && exceptions->classes != NULL)
        class = PyDict_GetItemString(exceptions->classes, name);
    if (class == NULL)
        class = PyExc_RuntimeError;
    return Py_NewRef(class);
}

/* Steals value. Returns: 0, or -1 with an exception set. */
static int set_attribute(PyObject *object, const char *name, PyObject *value)
{
    if (value == NULL)
        return -1;
    int result = PyObject_SetAttrString(object, name, value);
    Py_DECREF(value);
    return result;
}

/* Names in it may be no UTF-8: they look as Python itself shows them (os.fsdecode). */
static PyObject *decode(const char *text)
{
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "surrogateescape");
}

/* Steals exception. Returns: it with the attributes that all have, or NULL with another one set. */
static PyObject *describe(PyObject *exception, const struct mlp_error *error)
{
    if (exception == NULL)
        return NULL;
    PyObject *retryable = mlp_status_retryable(error->status) ? Py_True : Py_False;
    if (set_attribute(exception, "status", PyUnicode_FromString(status_name(error->status))) != 0 ||
        set_attribute(exception, "retryable", Py_NewRef(retryable)) != 0 ||
        set_attribute(exception, "remedy", decode(mlp_error_remedy(error))) != 0) {
        Py_DECREF(exception);
        return NULL;
    }
    return exception;
}

/* Returns: a new exception object, or NULL with an exception set. */
static PyObject *make_exception(PyObject *class, const struct mlp_error *error)
{
    const char *text = error->message[0] != 0 ? error->message : mlp_status_text(error->status);
    PyObject *message = decode(text);
    if (message == NULL)
        return NULL;
    PyObject *exception = PyObject_CallFunctionObjArgs(class, message, NULL);
    Py_DECREF(message);
    return describe(exception, error);
}

PyObject *mlp_py_exception(struct mlp_py_exceptions *exceptions, const struct mlp_error *error)
{
    PyObject *class = class_of_status(exceptions, error->status);
    PyObject *exception = make_exception(class, error);
    Py_DECREF(class);
    return exception;
}

PyObject *mlp_py_exception_of_file(struct mlp_py_exceptions *exceptions,
                                   const struct mlp_error *error, const char *path)
{
    if (error->system_errno == 0 || error->status == MLP_E_MEMORY)
        return mlp_py_exception(exceptions, error);
    PyObject *name = PyUnicode_DecodeFSDefault(path);
    PyObject *reason = name != NULL ? decode(strerror(error->system_errno)) : NULL;
    PyObject *exception = reason != NULL ? PyObject_CallFunction(PyExc_OSError, "iOO",
                                                                 error->system_errno, reason, name)
                                         : NULL;
    Py_XDECREF(reason);
    Py_XDECREF(name);
    return describe(exception, error);
}

/* Steals exception, which may be NULL with another one set. */
static void *raise_it(PyObject *exception)
{
    if (exception != NULL)
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_XDECREF(exception);
    return NULL;
}

void *mlp_py_raise(struct mlp_py_exceptions *exceptions, const struct mlp_error *error)
{
    return PyErr_Occurred() ? NULL : raise_it(mlp_py_exception(exceptions, error));
}

void *mlp_py_raise_of_file(struct mlp_py_exceptions *exceptions, const struct mlp_error *error,
                           const char *path)
{
    return PyErr_Occurred() ? NULL : raise_it(mlp_py_exception_of_file(exceptions, error, path));
}

void *mlp_py_raise_class(PyObject *class, const struct mlp_error *error)
{
    return PyErr_Occurred() ? NULL : raise_it(make_exception(class, error));
}

void *mlp_py_raise_at(struct mlp_py_exceptions *exceptions, const struct mlp_error *error,
                      Py_ssize_t index)
{
    if (PyErr_Occurred())
        return NULL;
    PyObject *exception = mlp_py_exception(exceptions, error);
    if (exception != NULL && set_attribute(exception, "index", PyLong_FromSsize_t(index)) != 0)
        Py_CLEAR(exception);
    return raise_it(exception);
}

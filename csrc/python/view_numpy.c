/* view_numpy.c - NumPy arrays and scalars: the buffer where it says everything, otherwise the array
 * interface (numpy.org, "The array interface protocol", version 3), which has every dtype. */
#include "python/view_paths.h"

#include <stdio.h>
#include <string.h>

/* What dtype's attributes say. */
struct numpy_dtype {
    char name[64];
    char kind[8];
    char order[8];
    char str[64]; /* "<M8[25s]" */
    long item_len;
    int has_fields;
};

static int read_dtype(struct numpy_dtype *dtype, const struct mlp_py_names *names, PyObject *array)
{
    PyObject *type = PyObject_GetAttr(array, names->dtype);
    if (type == NULL)
        return -1;
    PyObject *fields = NULL;
    PyObject *size = NULL;
    int status = -1;
    if (mlp_py_attribute_text(dtype->name, sizeof dtype->name, type, names->name) == 0 &&
        mlp_py_attribute_text(dtype->kind, sizeof dtype->kind, type, names->kind) == 0 &&
        mlp_py_attribute_text(dtype->order, sizeof dtype->order, type, names->byteorder) == 0 &&
        mlp_py_attribute_text(dtype->str, sizeof dtype->str, type, names->str) == 0 &&
        (fields = PyObject_GetAttr(type, names->names)) != NULL &&
        (size = PyObject_GetAttr(type, names->itemsize)) != NULL) {
        dtype->has_fields = fields != Py_None;
        dtype->item_len = PyLong_AsLong(size);
        status = dtype->item_len == -1 && PyErr_Occurred() ? -1 : 0;
    }
    Py_XDECREF(size);
    Py_XDECREF(fields);
    Py_DECREF(type);
    return status;
}

static int dtype_of_kind(struct mlp_view *view, const struct numpy_dtype *dtype)
{
    const char *unit;
    switch (dtype->kind[0]) {
    case 'f':
    case 'c':
        return mlp_dtype_long_double(dtype->kind[0], view->item_len);
    case 'M':
    case 'm':
        /* "<M8[ns]"; without a unit NumPy writes "<M8" and calls it generic. */
        unit = strchr(dtype->str, '[');
        (void)snprintf(view->unit, sizeof view->unit, "%.*s", MLP_DTYPE_UNIT_MAX - 1,
                       unit != NULL ? unit : "[generic]");
        return dtype->kind[0] == 'M' ? MLP_DTYPE_DATETIME64 : MLP_DTYPE_TIMEDELTA64;
    case 'S':
        return MLP_DTYPE_TEXT_BYTES;
    case 'U':
        return MLP_DTYPE_TEXT_UCS4;
    case 'V':
        return strncmp(dtype->name, "void", 4) == 0 ? MLP_DTYPE_VOID : MLP_DTYPE_NONE;
    default:
        return MLP_DTYPE_NONE;
    }
}

static int fill_dtype(struct mlp_view *view, const struct numpy_dtype *dtype,
                      struct mlp_error *error)
{
    if (dtype->has_fields)
        return mlp_fail(error, MLP_E_TENSOR,
                        "an array of structured dtype %.40s has fields of their own types: hash "
                        "them one by one (array[\"field\"])",
                        dtype->str);
    if (dtype->kind[0] == 'O')
        return mlp_fail(error, MLP_E_TENSOR,
                        "an array of dtype object holds references, not values: convert it to a "
                        "dtype with values first");
    view->item_len = (size_t)dtype->item_len;
    view->dtype = mlp_dtype_from_numpy(dtype->name, strlen(dtype->name));
    if (view->dtype == MLP_DTYPE_NONE)
        view->dtype = dtype_of_kind(view, dtype);
    const struct mlp_dtype_info *info = mlp_dtype_info(view->dtype);
    if (info == NULL || (info->item_len != 0 && info->item_len != view->item_len))
        return mlp_fail(error, MLP_E_TENSOR,
                        "an array of dtype %.40s (%ld bytes an element) has no one canonical form "
                        "in mlprov: convert it, or hash array.view(\"uint8\")",
                        dtype->name, dtype->item_len);
    if (dtype->order[0] == '>')
        view->flags |= MLP_VIEW_BYTESWAP;
    return 0;
}

/* Reads a tuple of integers. Returns: its length, or -1 with an exception set. */
static Py_ssize_t read_integers(int64_t *numbers, PyObject *tuple)
{
    Py_ssize_t count = PyTuple_Size(tuple);
    if (count > MLP_VIEW_DIMS_MAX) {
        PyErr_SetString(PyExc_ValueError, "more dimensions than NumPy has");
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        numbers[i] = PyLong_AsLongLong(PyTuple_GetItem(tuple, i));
        if (numbers[i] == -1 && PyErr_Occurred())
            return -1;
    }
    return count;
}

/* data, shape, strides of the interface's dictionary. Returns: 0, or -1 with an exception set. */
static int fill_memory(struct mlp_view *view, const struct mlp_py_names *names, PyObject *interface,
                       int *dense)
{
    PyObject *data = PyDict_GetItemWithError(interface, names->data); /* borrowed, as all here */
    PyObject *shape = PyDict_GetItemWithError(interface, names->shape);
    PyObject *strides = PyDict_GetItemWithError(interface, names->strides);
    if (data == NULL || !PyTuple_Check(data) || shape == NULL || !PyTuple_Check(shape)) {
        PyErr_SetString(PyExc_TypeError, "an array interface without data and shape");
        return -1;
    }
    PyObject *address = PyTuple_GetItem(data, 0);
    if (address == NULL)
        return -1;
    view->data = PyLong_AsVoidPtr(address);
    if (view->data == NULL && PyErr_Occurred())
        return -1;
    view->storage = view->data;
    Py_ssize_t ndim = read_integers(view->shape, shape);
    if (ndim < 0)
        return -1;
    view->ndim = (int)ndim;
    *dense = strides == NULL || strides == Py_None;
    return *dense || read_integers(view->strides, strides) == ndim ? 0 : -1;
}

static int by_interface(const struct mlp_py_names *names, PyObject *array, struct mlp_view *view,
                        struct mlp_py_refs *refs, struct mlp_error *error)
{
    struct numpy_dtype dtype;
    if (read_dtype(&dtype, names, array) != 0)
        return mlp_py_tensor_failure(error, array, "reading its dtype");
    int status = fill_dtype(view, &dtype, error);
    if (status != 0)
        return status;
    PyObject *interface = PyObject_GetAttr(array, names->array_interface);
    if (interface == NULL)
        return mlp_py_tensor_failure(error, array, "reading its array interface");
    int dense = 0;
    status = fill_memory(view, names, interface, &dense);
    refs->keeper = interface; /* NumPy keeps the array alive through it as well */
    if (status != 0)
        return mlp_py_tensor_failure(error, array, "reading its array interface");
    return dense ? mlp_view_set_dense_strides(view, error) : 0;
}

/* Values under a mask are undefined: a digest of the data alone would hide the mask. */
static int is_masked(const struct mlp_py_names *names, PyObject *object)
{
    PyObject *module = mlp_py_loaded_module(names->numpy_ma);
    int masked = module != NULL && mlp_py_is_instance_of(object, module, names->masked_array);
    Py_XDECREF(module);
    return masked;
}

enum { NO_ARRAY, SCALAR, ARRAY };

/* Remembers the type of arrays: most objects are told by it alone. */
static int kind_of(struct mlp_py_view_state *state, PyObject *object)
{
    if (Py_IS_TYPE(object, (PyTypeObject *)state->ndarray))
        return ARRAY;
    PyObject *numpy = mlp_py_loaded_module(state->names.numpy);
    if (numpy == NULL)
        return NO_ARRAY;
    int kind = mlp_py_is_instance_of(object, numpy, state->names.ndarray)   ? ARRAY
               : mlp_py_is_instance_of(object, numpy, state->names.generic) ? SCALAR
                                                                            : NO_ARRAY;
    if (kind == ARRAY && state->ndarray == NULL) {
        state->ndarray = PyObject_GetAttr(numpy, state->names.ndarray);
        PyErr_Clear();
    }
    Py_DECREF(numpy);
    return kind;
}

int mlp_py_view_numpy(struct mlp_py_view_state *state, PyObject *object, struct mlp_view *view,
                      struct mlp_py_refs *refs, struct mlp_error *error)
{
    const struct mlp_py_names *names = &state->names;
    int kind = kind_of(state, object);
    if (kind == NO_ARRAY)
        return MLP_PY_NOT_MINE;
    if (kind == ARRAY && !Py_IS_TYPE(object, (PyTypeObject *)state->ndarray) &&
        is_masked(names, object))
        return mlp_fail(error, MLP_E_TENSOR,
                        "a masked array has undefined values: hash its .data and .mask");

    /* A scalar's own memory is not to be pointed at: a 0-d array has it. */
    PyObject *array =
        kind == ARRAY ? Py_NewRef(object) : PyObject_CallMethodObjArgs(object, names->array, NULL);
    if (array == NULL)
        return mlp_py_tensor_failure(error, object, "making an array of it");
    char refusal[128];
    int status = mlp_py_view_buffer(array, view, refs, refusal);
    refs->owner = array;
    if (status != MLP_PY_NOT_MINE)
        return status;
    return by_interface(names, array, view, refs, error);
}

#include "python/view.h"

#include "python/view_paths.h"
#include "torch/bridge.h"

#include <stdio.h>
#include <string.h>

/* ---- small helpers of the paths ---- */

PyObject *mlp_py_loaded_module(PyObject *name)
{
    PyObject *module = PyImport_GetModule(name);
    PyErr_Clear();
    return module;
}

int mlp_py_is_instance_of(PyObject *object, PyObject *module, PyObject *class_name)
{
    PyObject *class = PyObject_GetAttr(module, class_name);
    int is_instance = class != NULL ? PyObject_IsInstance(object, class) : 0;
    Py_XDECREF(class);
    if (class == NULL || is_instance < 0)
        PyErr_Clear();
    return is_instance > 0;
}

/* Appends a str's UTF-8 text; a str that is none is left out. */
static void copy_text(char *text, size_t text_len, PyObject *str)
{
    Py_ssize_t utf8_len;
    const char *utf8 = str != NULL ? PyUnicode_AsUTF8AndSize(str, &utf8_len) : NULL;
    (void)snprintf(text, text_len, "%s", utf8 != NULL ? utf8 : "");
    if (utf8 == NULL)
        PyErr_Clear();
}

/* Takes value, which may be NULL with an exception set. Returns: as mlp_py_attribute_text. */
static int take_text(char *text, size_t text_len, PyObject *value)
{
    PyObject *str = value != NULL ? PyObject_Str(value) : NULL;
    Py_XDECREF(value);
    if (str == NULL)
        return -1;
    copy_text(text, text_len, str);
    Py_DECREF(str);
    return 0;
}

int mlp_py_attribute_text(char *text, size_t text_len, PyObject *object, PyObject *attribute)
{
    return take_text(text, text_len, PyObject_GetAttr(object, attribute));
}

/* For errors. */
static void type_name(char *text, size_t text_len, PyObject *object)
{
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(object), "__qualname__");
    if (take_text(text, text_len, name) != 0) {
        PyErr_Clear();
        (void)snprintf(text, text_len, "object");
    }
}

int mlp_py_tensor_failure(struct mlp_error *error, PyObject *object, const char *doing)
{
    if (PyErr_ExceptionMatches(PyExc_MemoryError) || !PyErr_ExceptionMatches(PyExc_Exception))
        return MLP_PY_RAISED;
    PyObject *type;
    PyObject *value;
    PyObject *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *str = value != NULL ? PyObject_Str(value) : NULL;
    char reason[256];
    char name[96];
    copy_text(reason, sizeof reason, str);
    type_name(name, sizeof name, object);
    Py_XDECREF(str);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    PyErr_Clear();
    return mlp_fail(error, MLP_E_TENSOR, "a %s refused while %s: %s", name, doing, reason);
}

/* ---- the order of the paths ---- */

/* Types whose buffer says everything, known without a look at what torch and NumPy are. */
static int is_plain_buffer(PyObject *object)
{
    return PyBytes_CheckExact(object) || PyByteArray_CheckExact(object) ||
           PyMemoryView_Check(object);
}

static int by_dlpack_or_buffer(const struct mlp_py_names *names, PyObject *object,
                               struct mlp_view *view, struct mlp_py_refs *refs,
                               struct mlp_error *error)
{
    char refusal[128];
    int offered = !is_plain_buffer(object) && mlp_dlpack_is_offered(names, object);
    int status = MLP_PY_NOT_MINE;
    if (offered) {
        status = mlp_dlpack_take(names, object, MLP_DTYPE_NONE, view, &refs->dlpack, error);
        if (status != MLP_E_TENSOR) {
            refs->owner = Py_NewRef(object);
            return status;
        }
        memset(view, 0, MLP_VIEW_HEAD_LEN); /* refs is released; the buffer may still do */
    }
    int buffer_status = mlp_py_view_buffer(object, view, refs, refusal);
    if (buffer_status != MLP_PY_NOT_MINE)
        return buffer_status;
    if (status == MLP_E_TENSOR)
        return status; /* what DLPack said is the better reason */
    char name[96];
    type_name(name, sizeof name, object);
    if (PyObject_CheckBuffer(object))
        return mlp_fail(error, MLP_E_TENSOR, "a %s cannot be hashed: %s", name, refusal);
    PyErr_Format(PyExc_TypeError,
                 "cannot hash a %s: expected a tensor, an array, or an object with the buffer "
                 "protocol or __dlpack__",
                 name);
    return MLP_PY_RAISED;
}

static int by_any_path(struct mlp_py_view_state *state, PyObject *object, unsigned options,
                       struct mlp_view *view, struct mlp_py_refs *refs, struct mlp_error *error)
{
    int is_array = Py_IS_TYPE(object, (PyTypeObject *)state->ndarray);
    int status = MLP_PY_NOT_MINE;
    if (!is_array && !is_plain_buffer(object))
        status = mlp_py_view_torch(state, object, options, view, refs, error);
    if (status == MLP_PY_NOT_MINE && (options & MLP_PY_VIEW_STAGED) != 0)
        return mlp_fail(error, MLP_E_TENSOR, "only torch tensors can be staged");
    if (status == MLP_PY_NOT_MINE && !is_plain_buffer(object))
        status = mlp_py_view_numpy(state, object, view, refs, error);
    if (status == MLP_PY_NOT_MINE)
        status = by_dlpack_or_buffer(&state->names, object, view, refs, error);
    return status;
}

int mlp_py_view_take(struct mlp_py_view_state *state, PyObject *object, unsigned options,
                     struct mlp_view *view, struct mlp_py_refs *refs, struct mlp_error *error)
{
    memset(view, 0, MLP_VIEW_HEAD_LEN);
    memset(refs, 0, sizeof *refs);
    int status = by_any_path(state, object, options, view, refs, error);
    if (status != 0)
        mlp_py_refs_release(refs);
    return status;
}

int mlp_py_view_from_object(struct mlp_py_view_state *state, PyObject *object, unsigned options,
                            struct mlp_py_view *held, struct mlp_error *error)
{
    int status = mlp_py_view_take(state, object, options, &held->view, &held->refs, error);
    if (status == 0)
        status = mlp_view_check(&held->view, error);
    if (status != 0)
        mlp_py_refs_release(&held->refs);
    return status;
}

void mlp_py_refs_release(struct mlp_py_refs *refs)
{
    PyObject *type;
    PyObject *value;
    PyObject *traceback;
    PyErr_Fetch(&type, &value, &traceback); /* a deleter may run Python code */
    if (refs->torch_held != NULL)
        refs->bridge->release(refs->torch_held);
    refs->torch_held = NULL;
    mlp_dlpack_release(&refs->dlpack);
    if (refs->buffer != NULL) {
        PyBuffer_Release(refs->buffer);
        PyMem_Free(refs->buffer);
        refs->buffer = NULL;
    }
    Py_CLEAR(refs->keeper);
    Py_CLEAR(refs->owner);
    PyErr_Restore(type, value, traceback);
}

void mlp_py_view_release(struct mlp_py_view *held)
{
    mlp_py_refs_release(&held->refs);
}

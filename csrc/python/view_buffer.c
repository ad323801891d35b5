/* view_buffer.c - the buffer protocol (PEP 3118): bytes, memoryview, array.array, mmap, NumPy
 * arrays. */
#include "python/view_paths.h"

#include <stdio.h>
#include <string.h>

/* What a format character stands for; the exporter's itemsize picks the width (l is 8 bytes in
 * native and 4 in standard size). */
static int dtype_of_format(const char *format, size_t item_len)
{
    static const int signed_types[] = {MLP_DTYPE_I8, MLP_DTYPE_I16, MLP_DTYPE_I32, MLP_DTYPE_I64};
    static const int unsigned_types[] = {MLP_DTYPE_U8, MLP_DTYPE_U16, MLP_DTYPE_U32, MLP_DTYPE_U64};
    int log2_len = item_len == 1   ? 0
                   : item_len == 2 ? 1
                   : item_len == 4 ? 2
                   : item_len == 8 ? 3
                                   : -1;
    if (strlen(format) == 1 && log2_len >= 0) {
        if (strchr("bhilqn", format[0]) != NULL)
            return signed_types[log2_len];
        if (strchr("BHILQNc", format[0]) != NULL) /* c: a byte as bytes of length 1 */
            return unsigned_types[log2_len];
    }
    if (strcmp(format, "?") == 0)
        return MLP_DTYPE_BOOL;
    if (strcmp(format, "e") == 0)
        return MLP_DTYPE_F16;
    if (strcmp(format, "f") == 0)
        return MLP_DTYPE_F32;
    if (strcmp(format, "d") == 0)
        return MLP_DTYPE_F64;
    if (strcmp(format, "Zf") == 0)
        return MLP_DTYPE_C64;
    if (strcmp(format, "Zd") == 0)
        return MLP_DTYPE_C128;
    if (strcmp(format, "g") == 0)
        return mlp_dtype_long_double('f', item_len);
    if (strcmp(format, "Zg") == 0)
        return mlp_dtype_long_double('c', item_len);
    return MLP_DTYPE_NONE;
}

/* "5s" and "3w": text of a fixed length; "u" and "w": one character. */
static int dtype_of_text(const char *format, size_t item_len)
{
    const char *letter = format + strspn(format, "0123456789");
    if (strcmp(letter, "s") == 0)
        return MLP_DTYPE_TEXT_BYTES;
    if ((strcmp(letter, "w") == 0 || strcmp(letter, "u") == 0) && item_len % 4 == 0)
        return MLP_DTYPE_TEXT_UCS4;
    return MLP_DTYPE_NONE;
}

/* Returns: 0, or -1: the format is none of those that have one meaning. */
static int fill_dtype(struct mlp_view *view, const Py_buffer *buffer)
{
    const char *format = buffer->format != NULL ? buffer->format : "B";
    if (*format == '>' || *format == '!')
        view->flags |= MLP_VIEW_BYTESWAP;
    if (*format != '\0' && strchr("@=<>!", *format) != NULL)
        format++;
    view->item_len = (size_t)buffer->itemsize;
    view->dtype = dtype_of_format(format, view->item_len);
    if (view->dtype == MLP_DTYPE_NONE)
        view->dtype = dtype_of_text(format, view->item_len);
    const struct mlp_dtype_info *info = mlp_dtype_info(view->dtype);
    return info != NULL && (info->item_len == 0 || info->item_len == view->item_len) ? 0 : -1;
}

/* Returns: a buffer, to be released and freed; or NULL with *status MLP_PY_NOT_MINE and why in
 * refusal, or MLP_PY_RAISED. */
static Py_buffer *take_buffer(PyObject *object, int *status, char refusal[128])
{
    Py_buffer *buffer = PyMem_Malloc(sizeof *buffer);
    *status = MLP_PY_RAISED;
    if (buffer == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    if (PyObject_GetBuffer(object, buffer, PyBUF_STRIDED_RO | PyBUF_FORMAT) == 0)
        return buffer;
    PyMem_Free(buffer);
    /* Others are MemoryError, KeyboardInterrupt; a closed mmap is a ValueError. */
    if (PyErr_ExceptionMatches(PyExc_BufferError) || PyErr_ExceptionMatches(PyExc_ValueError)) {
        struct mlp_error error;
        (void)mlp_py_tensor_failure(&error, object, "taking its buffer");
        (void)snprintf(refusal, 128, "%.127s", error.message);
        *status = MLP_PY_NOT_MINE;
    }
    return NULL;
}

static void fill_memory(struct mlp_view *view, const Py_buffer *buffer)
{
    view->ndim = buffer->ndim;
    for (int i = 0; i < view->ndim; i++) {
        view->shape[i] = buffer->shape[i];
        if (buffer->strides != NULL)
            view->strides[i] = buffer->strides[i];
    }
    /* ctypes gives none, although they were asked for: dense. Its lengths fit, it has the memory.
     */
    if (buffer->strides == NULL)
        (void)mlp_view_set_dense_strides(view, NULL);
    view->data = buffer->buf;
    view->storage = buffer->buf;
}

int mlp_py_view_buffer(PyObject *object, struct mlp_view *view, struct mlp_py_refs *refs,
                       char refusal[128])
{
    (void)snprintf(refusal, 128, "it has no buffer");
    if (!PyObject_CheckBuffer(object))
        return MLP_PY_NOT_MINE;
    int status;
    Py_buffer *buffer = take_buffer(object, &status, refusal);
    if (buffer == NULL)
        return status;
    if (fill_dtype(view, buffer) == 0 && buffer->ndim <= MLP_VIEW_DIMS_MAX &&
        (buffer->ndim == 0 || buffer->shape != NULL)) {
        fill_memory(view, buffer);
        refs->buffer = buffer;
        return 0;
    }
    (void)snprintf(refusal, 128, "its buffer has the format \"%.64s\"",
                   buffer->format != NULL ? buffer->format : "B");
    PyBuffer_Release(buffer);
    PyMem_Free(buffer);
    memset(view, 0, MLP_VIEW_HEAD_LEN);
    return MLP_PY_NOT_MINE;
}

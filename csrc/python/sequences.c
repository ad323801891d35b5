/* sequences.c - reading arguments that are lists of buffers. */
#include "merkle/merkle.h"
#include "python/arguments.h"
#include "store/leaves.h"

#include <stdio.h>

#define WHAT_MAX 128

static const char *item_what(char text[WHAT_MAX], const char *what, size_t index)
{
    snprintf(text, WHAT_MAX, "%s[%zu]", what, index);
    return text;
}

int mlp_py_items(PyObject **items, PyObject *sequence, const char *what)
{
    if (!PySequence_Check(sequence) || PyUnicode_Check(sequence) || PyBytes_Check(sequence)) {
        PyErr_Format(PyExc_TypeError, "%s must be a list or another sequence, not %R", what,
                     (PyObject *)Py_TYPE(sequence));
        return -1;
    }
    *items = PySequence_Tuple(sequence);
    return *items != NULL ? 0 : -1;
}

/* ---- all at once ---- */

void mlp_py_buffers_release(struct mlp_py_buffers *buffers)
{
    for (size_t i = 0; i < buffers->count; i++)
        PyBuffer_Release(&buffers->items[i]);
    PyMem_Free(buffers->items);
    memset(buffers, 0, sizeof *buffers);
}

static int take_each(struct mlp_py_buffers *buffers, PyObject *items, const char *what)
{
    size_t count = (size_t)PyTuple_Size(items);
    buffers->items = PyMem_Calloc(count + 1, sizeof *buffers->items);
    if (buffers->items == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        char text[WHAT_MAX];
        if (mlp_py_buffer(&buffers->items[i], PyTuple_GetItem(items, (Py_ssize_t)i),
                          item_what(text, what, i)) != 0)
            return -1;
        buffers->count = i + 1;
        buffers->total_len += (size_t)buffers->items[i].len;
    }
    return 0;
}

int mlp_py_buffers_take(struct mlp_py_buffers *buffers, PyObject *sequence, const char *what)
{
    PyObject *items;
    if (mlp_py_items(&items, sequence, what) != 0)
        return -1;
    int result = take_each(buffers, items, what);
    Py_DECREF(items);
    return result;
}

/* ---- lists of hashes ---- */

int mlp_py_hash_rows(struct mlp_py_state *state, struct mlp_buffer *rows, PyObject *sequence,
                     const char *what, int bad_status)
{
    PyObject *items;
    if (mlp_py_items(&items, sequence, what) != 0)
        return -1;
    int result = 0;
    Py_ssize_t count = PyTuple_Size(items);
    for (Py_ssize_t i = 0; i < count && result == 0; i++) {
        char text[WHAT_MAX];
        uint8_t row[MLP_MERKLE_HASH_LEN];
        result = mlp_py_bytes_exact(state, row, sizeof row, PyTuple_GetItem(items, i),
                                    item_what(text, what, (size_t)i), bad_status);
        if (result == 0)
            mlp_buffer_append(rows, row, sizeof row);
    }
    Py_DECREF(items);
    if (result == 0 && mlp_buffer_status(rows) != 0) {
        PyErr_NoMemory();
        result = -1;
    }
    return result;
}

/* ---- leaves ---- */

#define BATCH_MAX 256

/* What one hash costs beside its bytes, in bytes of work: so that many small leaves count too. */
#define HASH_WORK 64

struct leaf_batch {
    Py_buffer leaves[BATCH_MAX];
    size_t count;
    size_t work_len;
};

/* Fills the batch from the iterator. Returns: 0 (an empty batch: no more), or -1. */
static int fill_batch(struct leaf_batch *batch, PyObject *iterator, size_t batch_max, size_t index,
                      const char *what)
{
    batch->count = 0;
    batch->work_len = 0;
    while (batch->count < batch_max) {
        PyObject *leaf = PyIter_Next(iterator);
        if (leaf == NULL)
            return PyErr_Occurred() ? -1 : 0;
        char text[WHAT_MAX];
        int result = mlp_py_buffer(&batch->leaves[batch->count], leaf,
                                   item_what(text, what, index + batch->count));
        Py_DECREF(leaf);
        if (result != 0)
            return -1;
        batch->work_len += (size_t)batch->leaves[batch->count].len + HASH_WORK;
        batch->count++;
    }
    return 0;
}

/* Without the GIL. */
static int hash_batch(struct mlp_buffer *hashes, const struct leaf_batch *batch,
                      struct mlp_error *error)
{
    for (size_t i = 0; i < batch->count; i++) {
        uint8_t hash[MLP_MERKLE_HASH_LEN];
        int status =
            mlp_merkle_leaf_hash(hash, batch->leaves[i].buf, (size_t)batch->leaves[i].len, error);
        if (status != 0)
            return status;
        mlp_buffer_append(hashes, hash, sizeof hash);
    }
    if (mlp_buffer_status(hashes) != 0)
        return mlp_fail(error, MLP_E_MEMORY, "hashing leaves: out of memory");
    return 0;
}

static int hash_all(struct mlp_py_state *state, struct mlp_buffer *hashes, PyObject *iterator,
                    size_t batch_max, struct leaf_batch *batch, const char *what)
{
    size_t done = 0;
    for (;;) {
        int result = fill_batch(batch, iterator, batch_max, done, what);
        int status = 0;
        struct mlp_error error;
        if (result == 0 && batch->count > 0) {
            PyThreadState *released = mlp_py_gil_release(batch->work_len);
            status = hash_batch(hashes, batch, &error);
            mlp_py_gil_take(released);
        }
        for (size_t i = 0; i < batch->count; i++)
            PyBuffer_Release(&batch->leaves[i]);
        if (status != 0) {
            mlp_py_raise(&state->exceptions, &error);
            return -1;
        }
        if (result != 0 || batch->count == 0)
            return result;
        done += batch->count;
    }
}

int mlp_py_leaf_hash(struct mlp_py_state *state, uint8_t hash32[32], PyObject *leaf,
                     const char *what)
{
    Py_buffer buffer;
    if (mlp_py_buffer(&buffer, leaf, what) != 0)
        return -1;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release((size_t)buffer.len);
    int status = mlp_merkle_leaf_hash(hash32, buffer.buf, (size_t)buffer.len, &error);
    mlp_py_gil_take(released);
    PyBuffer_Release(&buffer);
    if (status != 0)
        mlp_py_raise(&state->exceptions, &error);
    return status == 0 ? 0 : -1;
}

int mlp_py_leaf_hashes(struct mlp_py_state *state, struct mlp_buffer *hashes, PyObject *leaves,
                       const char *what)
{
    PyObject *iterator = PyObject_GetIter(leaves);
    if (iterator == NULL && PyErr_ExceptionMatches(PyExc_TypeError))
        PyErr_Format(PyExc_TypeError, "%s must be buffers, one after another, not %R", what,
                     (PyObject *)Py_TYPE(leaves));
    if (iterator == NULL)
        return -1;
    struct leaf_batch *batch = PyMem_Malloc(sizeof *batch);
    if (batch == NULL) {
        Py_DECREF(iterator);
        PyErr_NoMemory();
        return -1;
    }
    size_t old_len = hashes->len;
    /* The items of a list live side by side; an iterator may refill one buffer for each leaf. */
    size_t batch_max = PyList_CheckExact(leaves) || PyTuple_CheckExact(leaves) ? BATCH_MAX : 1;
    int result = hash_all(state, hashes, iterator, batch_max, batch, what);
    if (result != 0) {
        hashes->len = old_len;
        hashes->failed = 0; /* what was there before is whole */
    }
    PyMem_Free(batch);
    Py_DECREF(iterator);
    return result;
}

PyObject *mlp_py_leaves_to_list(const struct mlp_leaves *leaves)
{
    PyObject *list = PyList_New((Py_ssize_t)leaves->count);
    for (size_t i = 0; list != NULL && i < leaves->count; i++) {
        PyObject *leaf = mlp_py_bytes(leaves->leaf[i].bytes, leaves->leaf[i].len);
        if (leaf == NULL || PyList_SetItem(list, (Py_ssize_t)i, leaf) != 0)
            Py_CLEAR(list);
    }
    return list;
}

/* stream.c - LeafStream: an open leaves file. */
#include "store/stream.h"

#include "merkle/merkle.h"
#include "python/arguments.h"
#include "python/batch_leaf.h"
#include "python/lock.h"
#include "python/store_object.h"

struct stream_object {
    PyObject_HEAD struct mlp_py_lock lock; /* guards stream */
    struct mlp_stream *stream;
};

static struct stream_object *as_stream(PyObject *object)
{
    return (struct stream_object *)object;
}

static PyObject *fail(PyObject *self, const struct mlp_error *error)
{
    return mlp_py_raise(&mlp_py_state_of(self)->exceptions, error);
}

static int enter(PyObject *self)
{
    return mlp_py_lock_take_here(&as_stream(self)->lock, mlp_py_state_of(self), "this LeafStream");
}

/* ---- making and ending ---- */

static void free_stream(struct mlp_stream *stream)
{
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    mlp_stream_free(stream);
    mlp_py_gil_take(released);
}

PyObject *mlp_py_leaf_stream_wrap(struct mlp_py_state *state, struct mlp_stream *stream)
{
    PyTypeObject *type = state->leaf_stream_type;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *self = alloc(type, 0);
    if (self == NULL) {
        free_stream(stream);
        return NULL;
    }
    as_stream(self)->stream = stream;
    if (mlp_py_lock_init(&as_stream(self)->lock) != 0)
        Py_CLEAR(self);
    return self;
}

static void MlpCore_LeafStream_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    free_stream(as_stream(self)->stream);
    mlp_py_lock_clear(&as_stream(self)->lock);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

/* ---- using ---- */

static PyObject *MlpCore_LeafStream_append(PyObject *self, PyObject *leaf)
{
    Py_buffer buffer;
    if (mlp_py_buffer(&buffer, leaf, "LeafStream.append: leaf") != 0)
        return NULL;
    if (enter(self) != 0) {
        PyBuffer_Release(&buffer);
        return NULL;
    }
    uint64_t index = 0;
    struct mlp_error error;
    /* Small as the leaf may be: every few seconds it is fsynced. */
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status =
        mlp_stream_append(as_stream(self)->stream, &index, buffer.buf, (size_t)buffer.len, &error);
    mlp_py_gil_take(released);
    mlp_py_lock_give(&as_stream(self)->lock);
    PyBuffer_Release(&buffer);
    return status == 0 ? PyLong_FromUnsignedLongLong(index) : fail(self, &error);
}

/* Without the GIL, with the lock: hashes and appends. */
static int append_batch(struct mlp_stream *stream, const struct mlp_py_batch *batch, int algorithm,
                        struct mlp_error *error)
{
    struct mlp_buffer leaf = {0};
    int status = mlp_py_batch_hash(&leaf, batch, mlp_stream_size(stream), algorithm, error);
    if (status == 0)
        status = mlp_stream_append(stream, NULL, leaf.data, leaf.len, error);
    mlp_buffer_clear(&leaf);
    return status;
}

/* Returns: (samples, bytes), or NULL with an exception set. */
static PyObject *take_batch(PyObject *self, const struct mlp_py_batch *batch, int algorithm)
{
    if (enter(self) != 0)
        return NULL;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = append_batch(as_stream(self)->stream, batch, algorithm, &error);
    mlp_py_gil_take(released);
    mlp_py_lock_give(&as_stream(self)->lock);
    if (status != 0)
        return fail(self, &error);
    return Py_BuildValue("LK", (long long)batch->samples, (unsigned long long)batch->len);
}

static PyObject *MlpCore_LeafStream_append_batch(PyObject *self, PyObject *args)
{
    struct mlp_py_state *state = mlp_py_state_of(self);
    PyObject *value, *algorithm_name, *most_object;
    int algorithm;
    uint64_t most;
    if (!PyArg_ParseTuple(args, "OOO:append_batch", &value, &algorithm_name, &most_object) ||
        mlp_py_algorithm(state, &algorithm, algorithm_name, "LeafStream.append_batch: algorithm") !=
            0 ||
        mlp_py_uint64(state, &most, most_object, "LeafStream.append_batch: most", MLP_E_ARGUMENT) !=
            0)
        return NULL;
    struct mlp_py_batch batch;
    int plain = mlp_py_batch_take(state, &batch, value);
    PyObject *answer = NULL;
    if (plain == 1 && batch.len <= most)
        answer = take_batch(self, &batch, algorithm);
    else if (plain >= 0)
        answer = Py_NewRef(Py_None);
    mlp_py_batch_release(&batch);
    return answer;
}

/* With the lock. Returns: 1, 0 where the list is not plain, or -1 with an exception set. */
static int append_indices(PyObject *self, PyObject *indices)
{
    struct mlp_stream *stream = as_stream(self)->stream;
    struct mlp_buffer leaf = {0};
    struct mlp_error error;
    int plain = mlp_py_index_leaf(&leaf, mlp_stream_size(stream), indices);
    int status = 0;
    if (plain == 1) {
        PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
        status = mlp_stream_append(stream, NULL, leaf.data, leaf.len, &error);
        mlp_py_gil_take(released);
    }
    mlp_buffer_clear(&leaf);
    if (status == 0)
        return plain;
    fail(self, &error);
    return -1;
}

static PyObject *MlpCore_LeafStream_append_indices(PyObject *self, PyObject *indices)
{
    if (enter(self) != 0)
        return NULL;
    int plain = append_indices(self, indices);
    mlp_py_lock_give(&as_stream(self)->lock);
    return plain < 0 ? NULL : PyBool_FromLong(plain);
}

static PyObject *MlpCore_LeafStream_sync(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (enter(self) != 0)
        return NULL;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_stream_sync(as_stream(self)->stream, &error);
    mlp_py_gil_take(released);
    mlp_py_lock_give(&as_stream(self)->lock);
    return status == 0 ? Py_NewRef(Py_None) : fail(self, &error);
}

static PyObject *MlpCore_LeafStream_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (enter(self) != 0)
        return NULL;
    uint8_t root[MLP_MERKLE_HASH_LEN];
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_stream_close(as_stream(self)->stream, root, &error);
    mlp_py_gil_take(released);
    mlp_py_lock_give(&as_stream(self)->lock);
    return status == 0 ? mlp_py_bytes(root, sizeof root) : fail(self, &error);
}

static PyObject *MlpCore_LeafStream_abandon(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (enter(self) != 0)
        return NULL;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    mlp_stream_abandon(as_stream(self)->stream);
    mlp_py_gil_take(released);
    mlp_py_lock_give(&as_stream(self)->lock);
    Py_RETURN_NONE;
}

static PyObject *MlpCore_LeafStream_size(PyObject *self, void *Py_UNUSED(closure))
{
    if (enter(self) != 0)
        return NULL;
    uint64_t size = mlp_stream_size(as_stream(self)->stream);
    mlp_py_lock_give(&as_stream(self)->lock);
    return PyLong_FromUnsignedLongLong(size);
}

static PyObject *MlpCore_LeafStream_root(PyObject *self, void *Py_UNUSED(closure))
{
    if (enter(self) != 0)
        return NULL;
    uint8_t root[MLP_MERKLE_HASH_LEN];
    struct mlp_error error;
    int status = mlp_stream_root(as_stream(self)->stream, root, &error);
    mlp_py_lock_give(&as_stream(self)->lock);
    return status == 0 ? mlp_py_bytes(root, sizeof root) : fail(self, &error);
}

/* ---- the type ---- */

static PyMethodDef methods[] = {
    {"append", MlpCore_LeafStream_append, METH_O,
     PyDoc_STR("append($self, leaf, /)\n--\n\nAdd a leaf; returns its index.")},
    {"append_batch", MlpCore_LeafStream_append_batch, METH_VARARGS,
     PyDoc_STR("append_batch($self, batch, algorithm, most, /)\n--\n\n"
               "Hash a plain batch and add its leaf; (samples, bytes), None of any other.")},
    {"append_indices", MlpCore_LeafStream_append_indices, METH_O,
     PyDoc_STR("append_indices($self, indices, /)\n--\n\n"
               "Add the leaf of a plain list of indices; False of any other.")},
    {"sync", MlpCore_LeafStream_sync, METH_NOARGS,
     PyDoc_STR("sync($self, /)\n--\n\nWrite and fsync what was appended.")},
    {"close", MlpCore_LeafStream_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nKeep it under its root's name; returns the root.")},
    {"abandon", MlpCore_LeafStream_abandon, METH_NOARGS,
     PyDoc_STR("abandon($self, /)\n--\n\nClose and delete.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"size", MlpCore_LeafStream_size, NULL, PyDoc_STR("Leaves so far."), NULL},
    {"root", MlpCore_LeafStream_root, NULL, PyDoc_STR("Root over the leaves so far."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, PyDoc_STR("An open leaves file; made by Store.open_stream.")},
    {Py_tp_dealloc, MlpCore_LeafStream_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "mlprov._core.LeafStream",
    .basicsize = sizeof(struct stream_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

int mlp_py_leaf_stream_add(PyObject *module)
{
    return mlp_py_add_type(module, &mlp_py_state_of_module(module)->leaf_stream_type, &spec, 1);
}

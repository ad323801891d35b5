/* stream.c - LeafStream: an open leaves file. */
#include "store/stream.h"

#include "base/clock.h"
#include "base/process.h"
#include "merkle/merkle.h"
#include "python/arguments.h"
#include "python/batch_queue.h"
#include "python/lock.h"
#include "python/store_object.h"

struct stream_object {
    PyObject_HEAD struct mlp_py_lock lock; /* guards the others */
    struct mlp_stream *stream;
    struct mlp_py_batch_queue queue; /* of batches that come behind what is in stream */
    PyObject *algorithm_name; /* the last one that was given, and which it is; NULL: none yet */
    int algorithm;
    int64_t oldest_ms; /* when the first came of what may not be on the disk; 0: all is */
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

/* With the lock and without the GIL. Everything else comes behind the batches that wait. */
static int drain(struct stream_object *self, struct mlp_error *error)
{
    return mlp_py_batch_queue_drain(&self->queue, self->stream, error);
}

static int64_t read_clock(void)
{
    return mlp_clock_now() / 1000000;
}

/* Something is appended: from now on it is not all on the disk. With the lock. */
static void start_clock(struct stream_object *self, int64_t now_ms)
{
    if (self->oldest_ms == 0)
        self->oldest_ms = now_ms;
}

static bool is_older(const struct stream_object *self, int64_t now_ms, uint64_t age_ms)
{
    return self->oldest_ms != 0 && (uint64_t)(now_ms - self->oldest_ms) >= age_ms;
}

static int drain_and_sync(struct stream_object *self, struct mlp_error *error)
{
    int status = drain(self, error);
    if (status == 0)
        status = mlp_stream_sync(self->stream, error);
    if (status == 0)
        self->oldest_ms = 0;
    return status;
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
    if (as_stream(self)->lock.process ==
        mlp_process_id()) { /* what waits in a child is its parent's */
        PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
        (void)drain(as_stream(self), NULL);
        mlp_py_gil_take(released);
    }
    mlp_py_batch_queue_clear(&as_stream(self)->queue);
    Py_XDECREF(as_stream(self)->algorithm_name);
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
    int status = drain(as_stream(self), &error);
    if (status == 0)
        status = mlp_stream_append(as_stream(self)->stream, &index, buffer.buf, (size_t)buffer.len,
                                   &error);
    if (status == 0)
        start_clock(as_stream(self), read_clock());
    mlp_py_gil_take(released);
    mlp_py_lock_give(&as_stream(self)->lock);
    PyBuffer_Release(&buffer);
    return status == 0 ? PyLong_FromUnsignedLongLong(index) : fail(self, &error);
}

/* Without the GIL, with the lock: hashes and appends. */
static int append_held(struct stream_object *self, const struct mlp_py_batch *batch, int algorithm,
                       struct mlp_error *error)
{
    struct mlp_buffer leaf = {0};
    int status = drain(self, error);
    if (status == 0)
        status = mlp_py_batch_hash(&leaf, batch, mlp_stream_size(self->stream), algorithm, error);
    if (status == 0)
        status = mlp_stream_append(self->stream, NULL, leaf.data, leaf.len, error);
    mlp_buffer_clear(&leaf);
    return status;
}

/* Room for a batch, and what came long ago on the disk: what cannot be appended is said here, before
 * anything waits. With the lock.
 * Returns: 0, or what the caller raises once it has given the lock back: an exception is made by
 *          Python code, within which a signal handler may run that ends the run and wants the lock.
 */
static int make_way(struct stream_object *self, int algorithm, struct mlp_error *error)
{
    int status = mlp_stream_check(self->stream, error);
    if (status != 0)
        return status;
    int64_t now_ms = read_clock();
    bool due = is_older(self, now_ms, MLP_STREAM_SYNC_MS);
    if (due || mlp_py_batch_queue_is_full(&self->queue, algorithm)) {
        PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
        status = due ? drain_and_sync(self, error) : drain(self, error);
        mlp_py_gil_take(released);
    }
    if (status == 0)
        start_clock(self, now_ms);
    return status;
}

/* A batch that cannot wait is hashed where it lies. Returns: as take_batch. */
static int hash_batch(PyObject *self, struct mlp_py_batch *batch, int algorithm, uint64_t most)
{
    int plain = mlp_py_batch_hold(mlp_py_state_of(self), batch);
    if (plain != 1 || batch->len > most)
        return plain < 0 ? -1 : 0;
    if (enter(self) != 0)
        return -1;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = append_held(as_stream(self), batch, algorithm, &error);
    mlp_py_gil_take(released);
    mlp_py_lock_give(&as_stream(self)->lock);
    if (status == 0)
        return 1;
    fail(self, &error);
    return -1;
}

/* Of a batch that was walked.
 * Returns: 1, 0 where it is not plain or too long, or -1 with an exception set.
 */
static int take_batch(PyObject *self, struct mlp_py_batch *batch, int algorithm, uint64_t most)
{
    struct stream_object *stream = as_stream(self);
    if (enter(self) != 0)
        return -1;
    int taken = 0;
    struct mlp_error error;
    int status = make_way(stream, algorithm, &error);
    if (status == 0)
        taken =
            mlp_py_batch_queue_add(&stream->queue, mlp_py_state_of(self), batch, algorithm, most);
    mlp_py_lock_give(&stream->lock);
    if (status == 0)
        return taken != 0 ? taken : hash_batch(self, batch, algorithm, most);
    fail(self, &error);
    return -1;
}

/* All calls name the same object: it is read once. Returns: 0, or -1 with an exception set. */
static int read_algorithm(PyObject *self, PyObject *name)
{
    struct stream_object *stream = as_stream(self);
    if (name == stream->algorithm_name)
        return 0;
    if (mlp_py_algorithm(mlp_py_state_of(self), &stream->algorithm, name,
                         "LeafStream.append_batch: algorithm") != 0)
        return -1;
    PyObject *old = stream->algorithm_name;
    stream->algorithm_name = Py_NewRef(name);
    Py_XDECREF(old);
    return 0;
}

static PyObject *MlpCore_LeafStream_append_batch(PyObject *self, PyObject *const *args,
                                                 Py_ssize_t args_count)
{
    uint64_t most;
    if (args_count != 3) {
        PyErr_Format(PyExc_TypeError, "append_batch takes 3 arguments, not %zd", args_count);
        return NULL;
    }
    if (read_algorithm(self, args[1]) != 0 ||
        mlp_py_uint64(mlp_py_state_of(self), &most, args[2], "LeafStream.append_batch: most",
                      MLP_E_ARGUMENT) != 0)
        return NULL;
    struct mlp_py_batch batch;
    int taken = mlp_py_batch_walk(mlp_py_state_of(self), &batch, args[0])
                    ? take_batch(self, &batch, as_stream(self)->algorithm, most)
                    : 0;
    mlp_py_batch_release(&batch);
    if (taken <= 0)
        return taken < 0 ? NULL : Py_NewRef(Py_None);
    return Py_BuildValue("LK", (long long)batch.samples, (unsigned long long)batch.len);
}

static PyObject *MlpCore_LeafStream_append_indices(PyObject *self, PyObject *indices)
{
    if (enter(self) != 0)
        return NULL;
    int plain = 0;
    struct mlp_error error;
    int status = make_way(as_stream(self), MLP_BLAKE3, &error);
    if (status == 0)
        plain = mlp_py_batch_queue_add_indices(&as_stream(self)->queue, indices);
    mlp_py_lock_give(&as_stream(self)->lock);
    if (status != 0)
        return fail(self, &error);
    return plain < 0 ? NULL : PyBool_FromLong(plain);
}

/* With the lock; gives it back. Returns: None, or NULL with an exception set. */
static PyObject *sync_and_leave(PyObject *self)
{
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = drain_and_sync(as_stream(self), &error);
    mlp_py_gil_take(released);
    mlp_py_lock_give(&as_stream(self)->lock);
    return status == 0 ? Py_NewRef(Py_None) : fail(self, &error);
}

static PyObject *MlpCore_LeafStream_sync(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return enter(self) == 0 ? sync_and_leave(self) : NULL;
}

static PyObject *MlpCore_LeafStream_sync_older(PyObject *self, PyObject *age)
{
    uint64_t age_ms;
    if (mlp_py_uint64(mlp_py_state_of(self), &age_ms, age, "LeafStream.sync_older: ms",
                      MLP_E_ARGUMENT) != 0 ||
        enter(self) != 0)
        return NULL;
    if (is_older(as_stream(self), read_clock(), age_ms))
        return sync_and_leave(self);
    mlp_py_lock_give(&as_stream(self)->lock);
    Py_RETURN_NONE;
}

static PyObject *MlpCore_LeafStream_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (enter(self) != 0)
        return NULL;
    uint8_t root[MLP_MERKLE_HASH_LEN];
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = drain(as_stream(self), &error);
    if (status == 0)
        status = mlp_stream_close(as_stream(self)->stream, root, &error);
    mlp_py_gil_take(released);
    mlp_py_lock_give(&as_stream(self)->lock);
    return status == 0 ? mlp_py_bytes(root, sizeof root) : fail(self, &error);
}

static PyObject *MlpCore_LeafStream_abandon(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (enter(self) != 0)
        return NULL;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    mlp_py_batch_queue_clear(&as_stream(self)->queue);
    mlp_stream_abandon(as_stream(self)->stream);
    mlp_py_gil_take(released);
    mlp_py_lock_give(&as_stream(self)->lock);
    Py_RETURN_NONE;
}

static PyObject *MlpCore_LeafStream_size(PyObject *self, void *Py_UNUSED(closure))
{
    if (enter(self) != 0)
        return NULL;
    uint64_t size = mlp_stream_size(as_stream(self)->stream) +
                    mlp_py_batch_queue_waiting(&as_stream(self)->queue);
    mlp_py_lock_give(&as_stream(self)->lock);
    return PyLong_FromUnsignedLongLong(size);
}

static PyObject *MlpCore_LeafStream_root(PyObject *self, void *Py_UNUSED(closure))
{
    if (enter(self) != 0)
        return NULL;
    uint8_t root[MLP_MERKLE_HASH_LEN];
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = drain(as_stream(self), &error);
    if (status == 0)
        status = mlp_stream_root(as_stream(self)->stream, root, &error);
    mlp_py_gil_take(released);
    mlp_py_lock_give(&as_stream(self)->lock);
    return status == 0 ? mlp_py_bytes(root, sizeof root) : fail(self, &error);
}

/* ---- the type ---- */

static PyMethodDef methods[] = {
    {"append", MlpCore_LeafStream_append, METH_O,
     PyDoc_STR("append($self, leaf, /)\n--\n\nAdd a leaf; returns its index.")},
    {"append_batch", (PyCFunction)(void (*)(void))MlpCore_LeafStream_append_batch, METH_FASTCALL,
     PyDoc_STR("append_batch($self, batch, algorithm, most, /)\n--\n\n"
               "Hash a plain batch and add its leaf; (samples, bytes), None of any other.")},
    {"append_indices", MlpCore_LeafStream_append_indices, METH_O,
     PyDoc_STR("append_indices($self, indices, /)\n--\n\n"
               "Add the leaf of a plain list of indices; False of any other.")},
    {"sync", MlpCore_LeafStream_sync, METH_NOARGS,
     PyDoc_STR("sync($self, /)\n--\n\nWrite and fsync what was appended.")},
    {"sync_older", MlpCore_LeafStream_sync_older, METH_O,
     PyDoc_STR("sync_older($self, ms, /)\n--\n\n"
               "Sync, if something was appended so many milliseconds ago.")},
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

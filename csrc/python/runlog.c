/* runlog.c - RunLog: the append-only log of one run. */
#include "anchor/runlog.h"

#include "merkle/merkle.h"
#include "python/arguments.h"
#include "python/lock.h"
#include "python/store_object.h"
#include "store/runs.h"

struct run_log_object {
    PyObject_HEAD struct mlp_py_lock lock; /* guards log */
    struct mlp_runlog *log;                /* NULL once closed */
    PyObject *store;                       /* the Store, which must outlive log */
    /* What is answered from the last call on, also after closing and in a forked child. */
    PyObject *run_id;
    PyObject *vkey;
    uint64_t size;
    char last_time[MLP_TIME_SIZE];
    uint64_t head_size;
    uint8_t head_root[MLP_MERKLE_HASH_LEN];
};

static struct run_log_object *as_log(PyObject *object)
{
    return (struct run_log_object *)object;
}

static void remember(struct run_log_object *self)
{
    self->size = mlp_runlog_size(self->log);
    memcpy(self->last_time, mlp_runlog_last_time(self->log), MLP_TIME_SIZE);
    mlp_runlog_head(self->log, &self->head_size, self->head_root);
}

/* ---- making and ending ---- */

static int fill(struct run_log_object *self, PyObject *store)
{
    self->store = Py_NewRef(store);
    self->run_id = PyUnicode_FromString(mlp_runlog_run_id(self->log));
    self->vkey = PyUnicode_FromString(mlp_runlog_vkey(self->log));
    remember(self);
    if (self->run_id == NULL || self->vkey == NULL)
        return -1;
    return mlp_py_lock_init(&self->lock);
}

static void free_log(struct mlp_runlog *log)
{
    if (log == NULL)
        return;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    mlp_runlog_free(log);
    mlp_py_gil_take(released);
}

PyObject *mlp_py_run_log_wrap(PyObject *store, struct mlp_runlog *log)
{
    PyTypeObject *type = mlp_py_state_of(store)->run_log_type;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *self = alloc(type, 0);
    if (self == NULL) {
        free_log(log);
        return NULL;
    }
    as_log(self)->log = log;
    if (fill(as_log(self), store) != 0)
        Py_CLEAR(self);
    return self;
}

static void MlpCore_RunLog_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    free_log(as_log(self)->log);
    mlp_py_lock_clear(&as_log(self)->lock);
    Py_XDECREF(as_log(self)->store);
    Py_XDECREF(as_log(self)->run_id);
    Py_XDECREF(as_log(self)->vkey);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

/* ---- one call at a time ---- */

/* Returns: 0 (mlp_py_lock_give must follow), or -1 with StoreError FORKED or CLOSED set. */
static int enter(PyObject *self)
{
    struct mlp_py_state *state = mlp_py_state_of(self);
    if (mlp_py_lock_take_here(&as_log(self)->lock, state, "this RunLog") != 0)
        return -1;
    if (as_log(self)->log != NULL)
        return 0;
    mlp_py_lock_give(&as_log(self)->lock);
    struct mlp_error error;
    mlp_fail(&error, MLP_E_CLOSED, "this RunLog is closed; open the run again with open_run");
    mlp_py_raise(&state->exceptions, &error);
    return -1;
}

/* Ends what enter began. Returns: 0, or -1 with the exception of a failed status set. */
static int leave(PyObject *self, int status, const struct mlp_error *error)
{
    remember(as_log(self));
    mlp_py_lock_give(&as_log(self)->lock);
    if (status != 0)
        mlp_py_raise(&mlp_py_state_of(self)->exceptions, error);
    return status == 0 ? 0 : -1;
}

static PyObject *MlpCore_RunLog_append(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "seq", "type", "time", NULL};
    PyObject *record;
    Py_ssize_t seq;
    const char *type, *time;
    Py_buffer buffer;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O$nss:append", names, &record, &seq, &type,
                                     &time) ||
        mlp_py_buffer(&buffer, record, "RunLog.append: record") != 0)
        return NULL;
    if (enter(self) != 0) {
        PyBuffer_Release(&buffer);
        return NULL;
    }
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release((size_t)buffer.len);
    int status = mlp_runlog_append(as_log(self)->log, (uint64_t)seq, buffer.buf, (size_t)buffer.len,
                                   type, time, &error);
    mlp_py_gil_take(released);
    PyBuffer_Release(&buffer);
    if (leave(self, status, &error) != 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *MlpCore_RunLog_rollback(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (enter(self) != 0)
        return NULL;
    uint64_t size = 0;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_runlog_rollback(as_log(self)->log, &size, &error);
    mlp_py_gil_take(released);
    return leave(self, status, &error) == 0 ? PyLong_FromUnsignedLongLong(size) : NULL;
}

static PyObject *MlpCore_RunLog_commit(PyObject *self, PyObject *args)
{
    const char *run_status = NULL;
    if (!PyArg_ParseTuple(args, "|z:commit", &run_status) || enter(self) != 0)
        return NULL;
    struct mlp_buffer note = {0};
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_runlog_commit(as_log(self)->log, &note, run_status, &error);
    mlp_py_gil_take(released);
    if (leave(self, status, &error) == 0)
        return mlp_py_bytes_of_buffer(&note);
    mlp_buffer_clear(&note);
    return NULL;
}

static PyObject *MlpCore_RunLog_destroy_key(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (enter(self) != 0)
        return NULL;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_runlog_destroy_key(as_log(self)->log, &error);
    mlp_py_gil_take(released);
    if (leave(self, status, &error) != 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *MlpCore_RunLog_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct mlp_py_state *state = mlp_py_state_of(self);
    if (mlp_py_lock_take_here(&as_log(self)->lock, state, "this RunLog") != 0)
        return NULL;
    struct mlp_runlog *log = as_log(self)->log;
    as_log(self)->log = NULL;
    as_log(self)->size = as_log(self)->head_size; /* pending records are dropped */
    mlp_py_lock_give(&as_log(self)->lock);
    free_log(log);
    Py_RETURN_NONE;
}

/* ---- what it is ---- */

static PyObject *MlpCore_RunLog_run_id(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(as_log(self)->run_id);
}

static PyObject *MlpCore_RunLog_vkey(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(as_log(self)->vkey);
}

static PyObject *MlpCore_RunLog_size(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(as_log(self)->size);
}

static PyObject *MlpCore_RunLog_last_time(PyObject *self, void *Py_UNUSED(closure))
{
    if (as_log(self)->last_time[0] == '\0')
        Py_RETURN_NONE;
    return PyUnicode_FromString(as_log(self)->last_time);
}

static PyObject *MlpCore_RunLog_head(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_BuildValue("KN", (unsigned long long)as_log(self)->head_size,
                         mlp_py_bytes(as_log(self)->head_root, sizeof as_log(self)->head_root));
}

/* ---- the type ---- */

static PyMethodDef methods[] = {
    {"append", MLP_PY_WITH_KEYWORDS(MlpCore_RunLog_append), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("append($self, record, /, *, seq, type, time)\n--\n\n"
               "Add a record to the pending ones.")},
    {"rollback", MlpCore_RunLog_rollback, METH_NOARGS,
     PyDoc_STR("rollback($self, /)\n--\n\nDrop pending records; returns the size.")},
    {"commit", MlpCore_RunLog_commit, METH_VARARGS,
     PyDoc_STR("commit($self, status=None, /)\n--\n\n"
               "Write pending records and a signed head; returns the head note.")},
    {"destroy_key", MlpCore_RunLog_destroy_key, METH_NOARGS,
     PyDoc_STR("destroy_key($self, /)\n--\n\nDelete the run key.")},
    {"close", MlpCore_RunLog_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nDrop pending records and close.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"run_id", MlpCore_RunLog_run_id, NULL, PyDoc_STR("The run's id."), NULL},
    {"vkey", MlpCore_RunLog_vkey, NULL, PyDoc_STR("Verifier key of the run."), NULL},
    {"size", MlpCore_RunLog_size, NULL, PyDoc_STR("Records, acknowledged or not."), NULL},
    {"last_time", MlpCore_RunLog_last_time, NULL, PyDoc_STR("Time of the last record, or None."),
     NULL},
    {"head", MlpCore_RunLog_head, NULL, PyDoc_STR("(size, root) of the committed head."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, PyDoc_STR("The append-only log of one run; made by Store.create_run and "
                          "Store.open_run.")},
    {Py_tp_dealloc, MlpCore_RunLog_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "mlprov._core.RunLog",
    .basicsize = sizeof(struct run_log_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

int mlp_py_run_log_add(PyObject *module)
{
    return mlp_py_add_type(module, &mlp_py_state_of_module(module)->run_log_type, &spec, 1);
}

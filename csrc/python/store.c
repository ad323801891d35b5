/* store.c - Store: one open store directory. */
#include "store/store.h"

#include "anchor/runlog.h"
#include "anchor/tlog.h"
#include "merkle/merkle.h"
#include "python/arguments.h"
#include "python/store_object.h"
#include "store/leaves.h"
#include "store/stream.h"

#include <limits.h>

struct store_object {
    PyObject_HEAD struct mlp_store *store;
    struct mlp_tlog *tlog;
};

static struct store_object *as_store(PyObject *object)
{
    return (struct store_object *)object;
}

struct mlp_store *mlp_py_store_of(PyObject *store)
{
    return as_store(store)->store;
}

const char *mlp_py_log_origin_of(PyObject *store)
{
    return mlp_tlog_origin(as_store(store)->tlog);
}

static PyObject *raise_error(PyObject *self, const struct mlp_error *error)
{
    return mlp_py_raise(&mlp_py_state_of(self)->exceptions, error);
}

/* ---- opening and closing ---- */

static int open_store(struct store_object *self, const char *path, unsigned flags,
                      struct mlp_error *error)
{
    int status = mlp_store_open(&self->store, path, flags, error);
    if (status != 0)
        return status;
    return mlp_tlog_open(&self->tlog, self->store, error);
}

static PyObject *MlpCore_Store_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "create", "read_only", NULL};
    PyObject *path_object, *path;
    int create = 0, read_only = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$pp:Store", names, &path_object, &create,
                                     &read_only) ||
        mlp_py_path(&path, path_object) != 0)
        return NULL;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *self = alloc(type, 0);
    if (self != NULL) {
        unsigned flags = (create ? MLP_STORE_CREATE : 0u) | (read_only ? MLP_STORE_READ_ONLY : 0u);
        struct mlp_error error;
        PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
        int status = open_store(as_store(self), PyBytes_AsString(path), flags, &error);
        mlp_py_gil_take(released);
        if (status != 0) {
            raise_error(self, &error);
            Py_CLEAR(self);
        }
    }
    Py_DECREF(path);
    return self;
}

static void MlpCore_Store_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    mlp_tlog_free(as_store(self)->tlog);
    mlp_store_free(as_store(self)->store);
    mlp_py_gil_take(released);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyObject *MlpCore_Store_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    mlp_store_close(as_store(self)->store);
    mlp_py_gil_take(released);
    Py_RETURN_NONE;
}

static PyObject *MlpCore_Store_enter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Py_INCREF(self);
    return self;
}

static PyObject *MlpCore_Store_exit(PyObject *self, PyObject *Py_UNUSED(exception))
{
    return MlpCore_Store_close(self, NULL);
}

/* ---- what it is ---- */

static PyObject *MlpCore_Store_path(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_DecodeFSDefault(mlp_store_path(as_store(self)->store));
}

static PyObject *MlpCore_Store_id(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(mlp_store_id(as_store(self)->store));
}

static PyObject *MlpCore_Store_read_only(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(mlp_store_read_only(as_store(self)->store));
}

static PyObject *MlpCore_Store_newer(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(mlp_store_newer(as_store(self)->store));
}

static PyObject *MlpCore_Store_log_origin(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(mlp_tlog_origin(as_store(self)->tlog));
}

static PyObject *MlpCore_Store_log_vkey(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(mlp_tlog_vkey(as_store(self)->tlog));
}

static PyObject *MlpCore_Store_set_patience(PyObject *self, PyObject *milliseconds)
{
    struct mlp_py_state *state = mlp_py_state_of(self);
    uint64_t given = 0;
    if (mlp_py_uint64(state, &given, milliseconds, "Store.set_patience: milliseconds",
                      MLP_E_ARGUMENT) != 0)
        return NULL;
    int patience = given < INT_MAX ? (int)given : INT_MAX;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_store_set_patience(as_store(self)->store, patience, &error);
    mlp_py_gil_take(released);
    return status == 0 ? Py_NewRef(Py_None) : raise_error(self, &error);
}

/* ---- runs and streams ---- */

static PyObject *MlpCore_Store_create_run(PyObject *self, PyObject *args)
{
    const char *run_id, *name, *project;
    if (!PyArg_ParseTuple(args, "ssz:create_run", &run_id, &name, &project))
        return NULL;
    struct mlp_runlog *log = NULL;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_runlog_create(&log, as_store(self)->store, run_id, name, project, &error);
    mlp_py_gil_take(released);
    return status == 0 ? mlp_py_run_log_wrap(self, log) : raise_error(self, &error);
}

static PyObject *MlpCore_Store_open_run(PyObject *self, PyObject *args)
{
    const char *run_id;
    if (!PyArg_ParseTuple(args, "s:open_run", &run_id))
        return NULL;
    struct mlp_runlog *log = NULL;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_runlog_open(&log, as_store(self)->store, run_id, &error);
    mlp_py_gil_take(released);
    return status == 0 ? mlp_py_run_log_wrap(self, log) : raise_error(self, &error);
}

static PyObject *MlpCore_Store_open_stream(PyObject *self, PyObject *args)
{
    const char *run_id, *name;
    if (!PyArg_ParseTuple(args, "ss:open_stream", &run_id, &name))
        return NULL;
    struct mlp_stream *stream = NULL;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_stream_open(&stream, as_store(self)->store, run_id, name, &error);
    mlp_py_gil_take(released);
    return status == 0 ? mlp_py_leaf_stream_wrap(mlp_py_state_of(self), stream)
                       : raise_error(self, &error);
}

/* ---- kept leaves ---- */

static int put_buffers(struct mlp_store *store, uint8_t root32[32],
                       const struct mlp_py_buffers *buffers, struct mlp_error *error)
{
    struct mlp_leaf *leaves = PyMem_Calloc(buffers->count + 1, sizeof *leaves);
    if (leaves == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "Store.put_leaves: out of memory");
    for (size_t i = 0; i < buffers->count; i++)
        leaves[i] = (struct mlp_leaf){buffers->items[i].buf, (size_t)buffers->items[i].len};
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_store_put_leaves(store, root32, leaves, buffers->count, error);
    mlp_py_gil_take(released);
    PyMem_Free(leaves);
    return status;
}

static PyObject *MlpCore_Store_put_leaves(PyObject *self, PyObject *leaves)
{
    struct mlp_py_buffers buffers = {0};
    PyObject *answer = NULL;
    if (mlp_py_buffers_take(&buffers, leaves, "Store.put_leaves: leaves") == 0) {
        uint8_t root[MLP_MERKLE_HASH_LEN];
        struct mlp_error error;
        int status = put_buffers(as_store(self)->store, root, &buffers, &error);
        answer = status == 0 ? mlp_py_bytes(root, sizeof root) : raise_error(self, &error);
    }
    mlp_py_buffers_release(&buffers);
    return answer;
}

static PyObject *MlpCore_Store_get_leaves(PyObject *self, PyObject *root_object)
{
    uint8_t root[MLP_MERKLE_HASH_LEN];
    if (mlp_py_bytes_exact(mlp_py_state_of(self), root, sizeof root, root_object,
                           "Store.get_leaves: root", MLP_E_ARGUMENT) != 0)
        return NULL;
    struct mlp_leaves leaves = {0};
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_store_get_leaves(as_store(self)->store, &leaves, root, &error);
    mlp_py_gil_take(released);
    PyObject *list = status == 0 ? mlp_py_leaves_to_list(&leaves) : raise_error(self, &error);
    mlp_leaves_clear(&leaves);
    return list;
}

static PyObject *MlpCore_Store_has_leaves(PyObject *self, PyObject *root_object)
{
    uint8_t root[MLP_MERKLE_HASH_LEN];
    if (mlp_py_bytes_exact(mlp_py_state_of(self), root, sizeof root, root_object,
                           "Store.has_leaves: root", MLP_E_ARGUMENT) != 0)
        return NULL;
    bool there = false;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_store_has_leaves(as_store(self)->store, &there, root, &error);
    mlp_py_gil_take(released);
    return status == 0 ? PyBool_FromLong(there) : raise_error(self, &error);
}

/* ---- the store log ---- */

static PyObject *MlpCore_Store_integrate(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    uint64_t size = 0;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_tlog_integrate(as_store(self)->tlog, &size, &error);
    mlp_py_gil_take(released);
    return status == 0 ? PyLong_FromUnsignedLongLong(size) : raise_error(self, &error);
}

static PyObject *MlpCore_Store_checkpoint(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct mlp_buffer note = {0};
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_tlog_checkpoint(as_store(self)->tlog, &note, &error);
    mlp_py_gil_take(released);
    if (status == 0 && note.len > 0)
        return mlp_py_bytes_of_buffer(&note);
    mlp_buffer_clear(&note);
    return status == 0 ? Py_NewRef(Py_None) : raise_error(self, &error);
}

static PyObject *MlpCore_Store_log_proof(PyObject *self, PyObject *args)
{
    struct mlp_py_state *state = mlp_py_state_of(self);
    PyObject *index_object, *size_object;
    uint64_t index, size;
    if (!PyArg_ParseTuple(args, "OO:log_proof", &index_object, &size_object) ||
        mlp_py_uint64(state, &index, index_object, "Store.log_proof: index", MLP_E_RANGE) != 0 ||
        mlp_py_uint64(state, &size, size_object, "Store.log_proof: size", MLP_E_RANGE) != 0)
        return NULL;
    uint8_t path[MLP_MERKLE_PATH_MAX * MLP_MERKLE_HASH_LEN];
    size_t path_count = 0;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_tlog_proof(as_store(self)->tlog, path, &path_count, index, size, &error);
    mlp_py_gil_take(released);
    if (status != 0)
        return raise_error(self, &error);
    return mlp_py_rows_to_list(path, path_count, MLP_MERKLE_HASH_LEN);
}

static PyObject *MlpCore_sqlite_version(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyUnicode_FromString(mlp_sqlite_version());
}

/* ---- the type ---- */

static PyMethodDef methods[] = {
    {"query", MlpCore_Store_query, METH_VARARGS,
     PyDoc_STR("query($self, sql, parameters=(), /)\n--\n\nRows of one read-only statement.")},
    {"create_run", MlpCore_Store_create_run, METH_VARARGS,
     PyDoc_STR("create_run($self, run_id, name, project, /)\n--\n\nA new run with a new key.")},
    {"open_run", MlpCore_Store_open_run, METH_VARARGS,
     PyDoc_STR("open_run($self, run_id, /)\n--\n\nAn unfinished run, to continue its log.")},
    {"open_stream", MlpCore_Store_open_stream, METH_VARARGS,
     PyDoc_STR("open_stream($self, run_id, stream, /)\n--\n\nAn open leaves file of a run.")},
    {"put_leaves", MlpCore_Store_put_leaves, METH_O,
     PyDoc_STR("put_leaves($self, leaves, /)\n--\n\nKeep a tree's leaves; returns the root.")},
    {"get_leaves", MlpCore_Store_get_leaves, METH_O,
     PyDoc_STR("get_leaves($self, root, /)\n--\n\nLeaves of a kept tree, root checked.")},
    {"has_leaves", MlpCore_Store_has_leaves, METH_O,
     PyDoc_STR("has_leaves($self, root, /)\n--\n\nWhether a tree's leaves are kept.")},
    {"put_import", MlpCore_Store_put_import, METH_VARARGS,
     PyDoc_STR("put_import($self, run_id, name, project, status, created, records, heads, "
               "bundle_path, /)\n--\n\nEnter an imported run in one transaction.")},
    {"integrate", MlpCore_Store_integrate, METH_NOARGS,
     PyDoc_STR("integrate($self, /)\n--\n\nEnter pending heads; returns the log's size.")},
    {"checkpoint", MlpCore_Store_checkpoint, METH_NOARGS,
     PyDoc_STR("checkpoint($self, /)\n--\n\nThe last signed checkpoint of the store log.")},
    {"log_proof", MlpCore_Store_log_proof, METH_VARARGS,
     PyDoc_STR("log_proof($self, index, size, /)\n--\n\nInclusion path in the store log.")},
    {"plan_anchor", MlpCore_Store_plan_anchor, METH_VARARGS,
     PyDoc_STR("plan_anchor($self, kind, chain='', target='', account='', /)\n--\n\n"
               "Plan an anchor of the last checkpoint.")},
    {"plan_file", MlpCore_Store_plan_file, METH_VARARGS,
     PyDoc_STR("plan_file($self, kind, origin, size, digest, payload, /)\n--\n\n"
               "Plan a file's publication; whether it is new.")},
    {"resume_anchors", MlpCore_Store_resume_anchors, METH_NOARGS,
     PyDoc_STR("resume_anchors($self, /)\n--\n\nLet all that waits go on; how many waited for "
               "somebody.")},
    {"set_patience", MlpCore_Store_set_patience, METH_O,
     PyDoc_STR("set_patience($self, milliseconds, /)\n--\n\nHow long to wait for others.")},
    {"close", MlpCore_Store_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nClose; later calls raise StoreError.")},
    {"__enter__", MlpCore_Store_enter, METH_NOARGS, NULL},
    {"__exit__", MlpCore_Store_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"path", MlpCore_Store_path, NULL, PyDoc_STR("Absolute path of the directory."), NULL},
    {"id", MlpCore_Store_id, NULL, PyDoc_STR("32 hex digits."), NULL},
    {"read_only", MlpCore_Store_read_only, NULL, PyDoc_STR("Whether nothing is written."), NULL},
    {"newer", MlpCore_Store_newer, NULL, PyDoc_STR("Whether a newer version of mlprov wrote it."),
     NULL},
    {"log_origin", MlpCore_Store_log_origin, NULL, PyDoc_STR("Origin of the log."), NULL},
    {"log_vkey", MlpCore_Store_log_vkey, NULL, PyDoc_STR("Verifier key of the log."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, PyDoc_STR("Store(path, /, *, create=False, read_only=False)\n--\n\n"
                          "One open store directory. Thread-safe; not usable in a forked child.")},
    {Py_tp_new, MlpCore_Store_new},
    {Py_tp_dealloc, MlpCore_Store_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "mlprov._core.Store",
    .basicsize = sizeof(struct store_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

static PyMethodDef functions[] = {
    {"sqlite_version", MlpCore_sqlite_version, METH_NOARGS,
     PyDoc_STR("sqlite_version($module, /)\n--\n\nRelease of SQLite in use.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_store_add(PyObject *module)
{
    if (PyModule_AddFunctions(module, functions) != 0)
        return -1;
    return mlp_py_add_type(module, &mlp_py_state_of_module(module)->store_type, &spec, 1);
}

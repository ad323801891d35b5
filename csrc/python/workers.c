/* workers.c - AnchorWorkers: the threads of anchor/workers.h; and what Store has of the outbox. */
#include "anchor/workers.h"

#include "anchor/deliver.h"
#include "anchor/tlog.h"
#include "python/endpoints.h"
#include "python/store_object.h"

#include <limits.h>

struct workers_object {
    PyObject_HEAD struct mlp_workers *workers; /* NULL once stopped */
};

static struct workers_object *as_workers(PyObject *object)
{
    return (struct workers_object *)object;
}

static PyObject *raise_error(PyObject *self, const struct mlp_error *error)
{
    return mlp_py_raise(&mlp_py_state_of(self)->exceptions, error);
}

/* ---- the object ---- */

/* Without the GIL where that is long. */
static PyObject *start_with(PyTypeObject *type, const char *path,
                            const struct mlp_py_endpoints *endpoints, int64_t every_ms)
{
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *self = alloc(type, 0);
    if (self == NULL)
        return NULL;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_workers_start(&as_workers(self)->workers, path, endpoints->items,
                                   endpoints->count, every_ms, &error);
    mlp_py_gil_take(released);
    if (status != 0) {
        raise_error(self, &error);
        Py_CLEAR(self);
    }
    return self;
}

static PyObject *start(PyTypeObject *type, const char *path, PyObject *items, int64_t every_ms)
{
    struct mlp_py_endpoints endpoints = {0};
    PyObject *self = NULL;
    if (mlp_py_endpoints_read(mlp_py_state_of_type((PyObject *)type), &endpoints, items) == 0)
        self = start_with(type, path, &endpoints, every_ms);
    mlp_py_endpoints_release(&endpoints);
    return self;
}

static PyObject *MlpCore_AnchorWorkers_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "", "every_ms", NULL};
    PyObject *path_object, *endpoints, *path, *items, *self = NULL;
    long long every_ms = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$L:AnchorWorkers", names, &path_object,
                                     &endpoints, &every_ms))
        return NULL;
    if (every_ms < 0 || every_ms > INT_MAX) {
        PyErr_SetString(PyExc_ValueError, "AnchorWorkers: every_ms is out of range");
        return NULL;
    }
    if (mlp_py_path(&path, path_object) != 0)
        return NULL;
    if (mlp_py_items(&items, endpoints, "AnchorWorkers: endpoints") == 0) {
        self = start(type, PyBytes_AsString(path), items, every_ms);
        Py_DECREF(items);
    }
    Py_DECREF(path);
    return self;
}

/* Takes the handle out of the object first: two threads may stop. */
static int stop(PyObject *self, long timeout_ms)
{
    struct mlp_workers *workers = as_workers(self)->workers;
    as_workers(self)->workers = NULL;
    if (workers == NULL)
        return 1;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    bool ended = mlp_workers_stop(workers, timeout_ms);
    mlp_py_gil_take(released);
    return ended;
}

static void MlpCore_AnchorWorkers_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    (void)stop(self, 0);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyObject *MlpCore_AnchorWorkers_hand_over(PyObject *self, PyObject *at_once)
{
    int now = PyObject_IsTrue(at_once);
    if (now < 0)
        return NULL;
    if (as_workers(self)->workers != NULL)
        mlp_workers_hand_over(as_workers(self)->workers, now != 0);
    Py_RETURN_NONE;
}

static int milliseconds(PyObject *self, long *answer, PyObject *object, const char *what)
{
    uint64_t given = 0;
    if (mlp_py_uint64(mlp_py_state_of(self), &given, object, what, MLP_E_ARGUMENT) != 0)
        return -1;
    *answer = given < INT_MAX ? (long)given : INT_MAX;
    return 0;
}

/* The object must not be stopped by another thread meanwhile: mlprov/anchoring.py sees to that. */
static PyObject *MlpCore_AnchorWorkers_wait(PyObject *self, PyObject *object)
{
    long timeout_ms = 0;
    if (milliseconds(self, &timeout_ms, object, "AnchorWorkers.wait: milliseconds") != 0)
        return NULL;
    struct mlp_workers *workers = as_workers(self)->workers;
    if (workers == NULL)
        Py_RETURN_TRUE;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    bool idle = mlp_workers_wait(workers, timeout_ms);
    mlp_py_gil_take(released);
    return PyBool_FromLong(idle);
}

static PyObject *MlpCore_AnchorWorkers_stop(PyObject *self, PyObject *object)
{
    long timeout_ms = 0;
    if (milliseconds(self, &timeout_ms, object, "AnchorWorkers.stop: milliseconds") != 0)
        return NULL;
    return PyBool_FromLong(stop(self, timeout_ms));
}

static PyMethodDef methods[] = {
    {"hand_over", MlpCore_AnchorWorkers_hand_over, METH_O,
     PyDoc_STR("hand_over($self, at_once, /)\n--\n\nThere is something new in the store.")},
    {"wait", MlpCore_AnchorWorkers_wait, METH_O,
     PyDoc_STR("wait($self, milliseconds, /)\n--\n\nUntil nobody has anything to do now.")},
    {"stop", MlpCore_AnchorWorkers_stop, METH_O,
     PyDoc_STR("stop($self, milliseconds, /)\n--\n\nEnd all; whether they have ended.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, PyDoc_STR("AnchorWorkers(store_path, endpoints, /, *, every_ms=0)\n--\n\n"
                          "Threads that deliver what is in a store's outbox.")},
    {Py_tp_new, MlpCore_AnchorWorkers_new},
    {Py_tp_dealloc, MlpCore_AnchorWorkers_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "mlprov._core.AnchorWorkers",
    .basicsize = sizeof(struct workers_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

/* ---- what Store has of the outbox ---- */

PyObject *MlpCore_Store_plan_anchor(PyObject *self, PyObject *args)
{
    const char *kind = NULL;
    struct mlp_anchor_endpoint endpoint = {.chain = "", .target = "", .account = ""};
    if (!PyArg_ParseTuple(args, "s|sss:plan_anchor", &kind, &endpoint.chain, &endpoint.target,
                          &endpoint.account))
        return NULL;
    endpoint.kind = mlp_anchor_kind_named(kind, strlen(kind));
    if (endpoint.kind == NULL)
        return PyErr_Format(PyExc_ValueError, "Store.plan_anchor: no such kind of anchor: %s",
                            kind);
    if (endpoint.kind->chain != NULL)
        endpoint.chain = endpoint.kind->chain;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status =
        mlp_deliver_plan(mlp_py_store_of(self), &endpoint, mlp_py_log_origin_of(self), &error);
    mlp_py_gil_take(released);
    return status == 0 ? Py_NewRef(Py_None) : raise_error(self, &error);
}

PyObject *MlpCore_Store_resume_anchors(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    int64_t count = 0;
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_outbox_resume(mlp_py_store_of(self), &count, &error);
    if (status == 0)
        status = mlp_outbox_hasten(mlp_py_store_of(self), mlp_deliver_now_ms(), &error);
    mlp_py_gil_take(released);
    return status == 0 ? PyLong_FromLongLong(count) : raise_error(self, &error);
}

int mlp_py_anchor_workers_add(PyObject *module)
{
    return mlp_py_add_type(module, &mlp_py_state_of_module(module)->anchor_workers_type, &spec, 1);
}

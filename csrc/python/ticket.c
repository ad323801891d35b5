/* ticket.c - Ticket: tensors that workers hash while Python goes on. */
#include "base/clock.h"
#include "hash/pool.h"
#include "python/arguments.h"
#include "python/captured.h"
#include "python/held_views.h"
#include "python/lock.h"

/* Signals of the program are answered this often while it waits. */
#define SIGNALS_MS 50

struct ticket_object {
    PyObject_HEAD struct mlp_py_lock lock; /* held by who waits; guards the step to an answer */
    struct mlp_py_captured *captured;      /* NULL once there is an answer */
    bool recheck;
    size_t beside_count;
    uint64_t beside_len;
    PyObject *rows;    /* the answer */
    PyObject *changed; /* ... a tuple of indices */
    bool cancelled;
};

static struct ticket_object *as_ticket(PyObject *object)
{
    return (struct ticket_object *)object;
}

/* ---- making ---- */

static PyObject *allocate(PyTypeObject *type)
{
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *object = alloc(type, 0);
    if (object != NULL && mlp_py_lock_init(&as_ticket(object)->lock) != 0)
        Py_CLEAR(object);
    return object;
}

/* Without tensors beside there is nothing to wait for, nor to compare. */
static int answer(struct mlp_py_state *state, struct ticket_object *self)
{
    struct mlp_py_captured *captured = self->captured;
    int result =
        mlp_py_captured_answer(state, captured, self->recheck, &self->rows, &self->changed);
    self->captured = NULL;
    mlp_py_captured_free(state, captured);
    return result;
}

static int make(struct mlp_py_state *state, struct ticket_object *self, PyObject *tensors,
                int algorithm, size_t threads)
{
    PyObject *items;
    if (mlp_py_tensor_items(state, &items, tensors, "Ticket: tensors") != 0)
        return -1;
    self->captured = mlp_py_captured_new(state, items, algorithm, threads);
    Py_DECREF(items);
    if (self->captured == NULL)
        return -1;
    self->beside_count = mlp_py_captured_beside(self->captured);
    self->beside_len = mlp_py_captured_beside_len(self->captured);
    return self->beside_count == 0 ? answer(state, self) : 0;
}

static PyObject *MlpCore_Ticket_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "algorithm", "recheck", "threads", NULL};
    struct mlp_py_state *state = PyType_GetModuleState(type);
    PyObject *tensors, *algorithm_name = NULL, *threads_object = NULL;
    int recheck = 0, algorithm;
    size_t threads;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$pO:Ticket", names, &tensors,
                                     &algorithm_name, &recheck, &threads_object) ||
        mlp_py_algorithm(state, &algorithm, algorithm_name, "Ticket: algorithm") != 0 ||
        mlp_py_threads(state, &threads, threads_object, "Ticket: threads") != 0)
        return NULL;
    PyObject *object = allocate(type);
    if (object == NULL)
        return NULL;
    as_ticket(object)->recheck = recheck != 0;
    if (make(state, as_ticket(object), tensors, algorithm, threads) != 0)
        Py_CLEAR(object);
    return object;
}

static void MlpCore_Ticket_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    struct ticket_object *self = as_ticket(object);
    mlp_py_captured_free(PyType_GetModuleState(type), self->captured);
    Py_XDECREF(self->rows);
    Py_XDECREF(self->changed);
    mlp_py_lock_clear(&self->lock);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* ---- waiting ---- */

/* With the lock. Returns: 1 when nobody hashes any more, 0 when time is up, -1 with the exception of a
 * signal handler. */
static int wait_for_workers(struct ticket_object *self, int64_t until)
{
    struct mlp_ticket *ticket = mlp_py_captured_ticket(self->captured);
    for (;;) {
        long timeout_ms = mlp_clock_left_ms(until, SIGNALS_MS);
        bool done = false;
        PyThreadState *released = PyEval_SaveThread();
        int status = mlp_ticket_wait(ticket, &done, timeout_ms, NULL);
        PyEval_RestoreThread(released);
        if (status != 0 || done)
            return 1; /* what went wrong is the answer's to raise */
        if (timeout_ms == 0)
            return 0;
        if (PyErr_CheckSignals() != 0)
            return -1;
    }
}

static int raise_without_answer(struct mlp_py_state *state, const struct ticket_object *self)
{
    struct mlp_error error;
    mlp_fail(&error, MLP_E_CLOSED, "this Ticket has no digests: it %s before; make a new one",
             self->cancelled ? "was cancelled" : "failed");
    mlp_py_raise(&state->exceptions, &error);
    return -1;
}

/* Returns: 1 with an answer, 0 when time is up, -1 with an exception set. */
static int wait_for_answer(PyObject *object, int64_t until)
{
    struct mlp_py_state *state = mlp_py_state_of(object);
    struct ticket_object *self = as_ticket(object);
    if (mlp_py_lock_take_here(&self->lock, state, "this Ticket") != 0)
        return -1;
    int result = 1;
    if (self->captured != NULL)
        result = wait_for_workers(self, until);
    if (result == 1 && self->captured != NULL && answer(state, self) != 0)
        result = -1;
    else if (result == 1 && self->rows == NULL)
        result = raise_without_answer(state, self);
    mlp_py_lock_give(&self->lock);
    return result;
}

/* Returns: 0, or -1 with an exception set. */
static int read_timeout(int64_t *until, PyObject *seconds)
{
    const double longest = 1e9; /* some thirty years: no long of milliseconds overflows */
    if (Py_IsNone(seconds)) {
        *until = MLP_CLOCK_NEVER;
        return 0;
    }
    double timeout = PyFloat_AsDouble(seconds);
    if (timeout == -1 && PyErr_Occurred())
        return -1;
    if (!(timeout >= 0)) {
        PyErr_SetString(PyExc_ValueError, "Ticket.wait: timeout must be None or at least 0");
        return -1;
    }
    *until = mlp_clock_after_ms((long)((timeout < longest ? timeout : longest) * 1e3));
    return 0;
}

static PyObject *MlpCore_Ticket_wait(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timeout", NULL};
    PyObject *seconds = Py_None;
    int64_t until;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:wait", names, &seconds) ||
        read_timeout(&until, seconds) != 0)
        return NULL;
    int result = wait_for_answer(self, until);
    return result < 0 ? NULL : PyBool_FromLong(result);
}

static PyObject *MlpCore_Ticket_poll(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct mlp_py_captured *captured = as_ticket(self)->captured;
    if (captured != NULL && mlp_ticket_poll(mlp_py_captured_ticket(captured)) == MLP_TICKET_HASHING)
        Py_RETURN_FALSE;
    return wait_for_answer(self, MLP_CLOCK_NEVER) < 0 ? NULL : Py_NewRef(Py_True);
}

static PyObject *MlpCore_Ticket_result(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return wait_for_answer(self, MLP_CLOCK_NEVER) < 0 ? NULL : Py_NewRef(as_ticket(self)->rows);
}

static PyObject *MlpCore_Ticket_cancel(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    struct mlp_py_state *state = mlp_py_state_of(object);
    struct ticket_object *self = as_ticket(object);
    if (self->captured != NULL) /* who waits with the lock then stops */
        (void)mlp_ticket_cancel(mlp_py_captured_ticket(self->captured), 0);
    if (mlp_py_lock_take_here(&self->lock, state, "this Ticket") != 0)
        return NULL;
    struct mlp_py_captured *captured = self->captured;
    if (captured != NULL &&
        mlp_ticket_poll(mlp_py_captured_ticket(captured)) == MLP_TICKET_CANCELLED) {
        self->captured = NULL;
        self->cancelled = true;
        mlp_py_captured_free(state, captured);
    }
    mlp_py_lock_give(&self->lock);
    Py_RETURN_NONE;
}

/* ---- properties ---- */

static PyObject *MlpCore_Ticket_beside(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(as_ticket(self)->beside_count);
}

static PyObject *MlpCore_Ticket_bytes(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(as_ticket(self)->beside_len);
}

static PyObject *MlpCore_Ticket_changed(PyObject *self, void *Py_UNUSED(closure))
{
    return wait_for_answer(self, MLP_CLOCK_NEVER) < 0 ? NULL : Py_NewRef(as_ticket(self)->changed);
}

/* ---- of all tickets ---- */

static PyObject *MlpCore_ticket_load(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return Py_BuildValue("nn", (Py_ssize_t)mlp_tickets_kept(), (Py_ssize_t)mlp_tickets_pressed());
}

static PyObject *MlpCore_hash_threads_beside(PyObject *Py_UNUSED(module),
                                             PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSize_t(mlp_pool_threads_beside());
}

/* ---- the type ---- */

static PyMethodDef methods[] = {
    {"wait", MLP_PY_WITH_KEYWORDS(MlpCore_Ticket_wait), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("wait($self, timeout=None)\n--\n\n"
               "The barrier: take part until every digest is there; False when time is up.")},
    {"poll", MlpCore_Ticket_poll, METH_NOARGS,
     PyDoc_STR("poll($self, /)\n--\n\nWhether every digest is there; waits for nobody.")},
    {"result", MlpCore_Ticket_result, METH_NOARGS,
     PyDoc_STR("result($self, /)\n--\n\n"
               "Wait; rows as those of tensor_digests, None for a tensor that changed.")},
    {"cancel", MlpCore_Ticket_cancel, METH_NOARGS,
     PyDoc_STR("cancel($self, /)\n--\n\nGive up what is not done yet.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"beside", MlpCore_Ticket_beside, NULL,
     PyDoc_STR("How many tensors are hashed beside the caller; 0: all were hashed at once."), NULL},
    {"bytes", MlpCore_Ticket_bytes, NULL, PyDoc_STR("How many bytes those have."), NULL},
    {"changed", MlpCore_Ticket_changed, NULL,
     PyDoc_STR("Indices of tensors that changed under capture; waits."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, PyDoc_STR("Ticket(tensors, /, algorithm='blake3', *, recheck=False, threads=None)\n"
                          "--\n\nTensors that workers hash in place while the caller goes on.")},
    {Py_tp_new, MlpCore_Ticket_new},
    {Py_tp_dealloc, MlpCore_Ticket_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "mlprov._core.Ticket",
    .basicsize = sizeof(struct ticket_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

static PyMethodDef functions[] = {
    {"ticket_load", MlpCore_ticket_load, METH_NOARGS,
     PyDoc_STR("ticket_load($module, /)\n--\n\n"
               "(bytes that tickets keep now, tickets that found no room so far).")},
    {"hash_threads_beside", MlpCore_hash_threads_beside, METH_NOARGS,
     PyDoc_STR("hash_threads_beside($module, /)\n--\n\n"
               "How many workers hash while nobody waits.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_ticket_add(PyObject *module)
{
    if (PyModule_AddFunctions(module, functions) != 0)
        return -1;
    return mlp_py_add_type(module, &mlp_py_state_of_module(module)->ticket_type, &spec, 1);
}

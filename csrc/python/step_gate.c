/* step_gate.c - StepGate: what torch's optimizer hooks call, and mostly need not go beyond.
 *
 * A step of torch leaves nothing of what was called after the last one in the processor's caches, so
 * two hooks of Python code cost a step ten microseconds [measured]. Here a hook is a look at a flag,
 * and the count of a step one addition; whatever is more goes to the functions in Python.
 *
 * Threads: with the GIL held; nothing here gives it up but the functions that are called.
 */
#include "python/arguments.h"

struct step_gate {
    PyObject_HEAD PyObject *before; /* the long way: called as torch calls a hook */
    PyObject *after;
    bool busy;           /* before has to be called */
    PyObject *optimizer; /* a weak reference to the one whose steps are counted here, or NULL */
    bool may_skip;       /* one that is given a flag where it is to write nothing */
    uint64_t quiet;      /* so many of its steps need no more than to be counted */
    uint64_t passed;     /* so many were */
    PyObject *note;      /* the caller's, for when they are taken; NULL: none */
};

static struct step_gate *as_gate(PyObject *object)
{
    return (struct step_gate *)object;
}

/* ---- the hooks ---- */

static PyObject *go_on(PyObject *function, PyObject *const *args, Py_ssize_t args_count)
{
    if (args_count != 3) {
        PyErr_Format(PyExc_TypeError, "a hook has 3 arguments, not %zd", args_count);
        return NULL;
    }
    return PyObject_CallFunctionObjArgs(function, args[0], args[1], args[2], NULL);
}

static PyObject *MlpCore_StepGate_before(PyObject *self, PyObject *const *args,
                                         Py_ssize_t args_count)
{
    if (!as_gate(self)->busy)
        Py_RETURN_NONE;
    return go_on(as_gate(self)->before, args, args_count);
}

/* Whether a GradScaler gave the optimizer a flag for this step (torch/amp/grad_scaler.py,
 * _maybe_opt_step). What cannot be told counts as one. */
static bool has_flag(struct step_gate *gate, PyObject *optimizer)
{
    if (!gate->may_skip)
        return false;
    PyObject *members = PyObject_GenericGetDict(optimizer, NULL);
    PyObject *flag = members == NULL ? NULL : PyDict_GetItemString(members, "found_inf");
    bool has = members == NULL || flag != NULL;
    Py_XDECREF(members);
    PyErr_Clear();
    return has;
}

static bool is_quiet(struct step_gate *gate, PyObject *optimizer)
{
    return gate->passed < gate->quiet && gate->optimizer != NULL &&
           PyWeakref_GetObject(gate->optimizer) == optimizer && !has_flag(gate, optimizer);
}

static PyObject *MlpCore_StepGate_after(PyObject *self, PyObject *const *args,
                                        Py_ssize_t args_count)
{
    struct step_gate *gate = as_gate(self);
    if (args_count != 3 || !is_quiet(gate, args[0]))
        return go_on(gate->after, args, args_count);
    gate->passed++;
    Py_RETURN_NONE;
}

/* ---- what the functions in Python say of it ---- */

static PyObject *MlpCore_StepGate_arm(PyObject *self, PyObject *args)
{
    struct step_gate *gate = as_gate(self);
    PyObject *optimizer, *quiet_object, *note;
    uint64_t quiet;
    int may_skip;
    if (!PyArg_ParseTuple(args, "OOpO:arm", &optimizer, &quiet_object, &may_skip, &note) ||
        mlp_py_uint64(mlp_py_state_of(self), &quiet, quiet_object, "StepGate.arm: quiet",
                      MLP_E_ARGUMENT) != 0)
        return NULL;
    PyObject *reference = PyWeakref_NewRef(optimizer, NULL);
    if (reference == NULL)
        return NULL;
    if (gate->optimizer != NULL) { /* what was counted of it belongs to another note */
        Py_DECREF(reference);
        Py_RETURN_FALSE;
    }
    gate->optimizer = reference;
    gate->note = Py_NewRef(note);
    gate->quiet = quiet;
    gate->passed = 0;
    gate->may_skip = may_skip != 0;
    Py_RETURN_TRUE;
}

static PyObject *MlpCore_StepGate_take(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct step_gate *gate = as_gate(self);
    PyObject *reference = gate->optimizer;
    PyObject *note = gate->note;
    uint64_t passed = gate->passed;
    gate->optimizer = gate->note = NULL;
    gate->quiet = gate->passed = 0;
    if (reference == NULL)
        Py_RETURN_NONE;
    PyObject *optimizer = PyWeakref_GetObject(reference);
    PyObject *answer = Py_BuildValue("OKN", optimizer, (unsigned long long)passed, note);
    Py_DECREF(reference);
    return answer;
}

static PyObject *MlpCore_StepGate_get_busy(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(as_gate(self)->busy);
}

static int MlpCore_StepGate_set_busy(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError, "StepGate.busy cannot be deleted");
        return -1;
    }
    int busy = PyObject_IsTrue(value);
    if (busy < 0)
        return -1;
    as_gate(self)->busy = busy != 0;
    return 0;
}

/* ---- the type ---- */

static PyObject *MlpCore_StepGate_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"before", "after", NULL};
    PyObject *before, *after;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OO:StepGate", names, &before, &after))
        return NULL;
    if (!PyCallable_Check(before) || !PyCallable_Check(after)) {
        PyErr_SetString(PyExc_TypeError, "StepGate: before and after must be callable");
        return NULL;
    }
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *self = alloc(type, 0);
    if (self == NULL)
        return NULL;
    as_gate(self)->before = Py_NewRef(before);
    as_gate(self)->after = Py_NewRef(after);
    as_gate(self)->busy = true;
    return self;
}

static int MlpCore_StepGate_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(as_gate(self)->before);
    Py_VISIT(as_gate(self)->after);
    Py_VISIT(as_gate(self)->optimizer);
    Py_VISIT(as_gate(self)->note);
    return 0;
}

static int MlpCore_StepGate_clear(PyObject *self)
{
    Py_CLEAR(as_gate(self)->before);
    Py_CLEAR(as_gate(self)->after);
    Py_CLEAR(as_gate(self)->optimizer);
    Py_CLEAR(as_gate(self)->note);
    return 0;
}

static void MlpCore_StepGate_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)MlpCore_StepGate_clear(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

#define FAST(function) (PyCFunction)(void (*)(void))(function)

static PyMethodDef methods[] = {
    {"before", FAST(MlpCore_StepGate_before), METH_FASTCALL,
     PyDoc_STR("before($self, optimizer, arguments, keywords, /)\n--\n\n"
               "A hook before steps: None unless busy.")},
    {"after", FAST(MlpCore_StepGate_after), METH_FASTCALL,
     PyDoc_STR("after($self, optimizer, arguments, keywords, /)\n--\n\n"
               "A hook after steps: counts a quiet one.")},
    {"arm", MlpCore_StepGate_arm, METH_VARARGS,
     PyDoc_STR("arm($self, optimizer, quiet, may_skip, note, /)\n--\n\n"
               "From now on so many steps of it are only counted; False while others are.")},
    {"take", MlpCore_StepGate_take, METH_NOARGS,
     PyDoc_STR("take($self, /)\n--\n\nCount no more; None, or (optimizer or None, steps counted, "
               "note).")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"busy", MlpCore_StepGate_get_busy, MlpCore_StepGate_set_busy,
     PyDoc_STR("Whether a step has to be told of before it writes."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, PyDoc_STR("StepGate(before, after)\n--\n\nThe hooks around optimizer steps.")},
    {Py_tp_new, MlpCore_StepGate_new},
    {Py_tp_traverse, MlpCore_StepGate_traverse},
    {Py_tp_clear, MlpCore_StepGate_clear},
    {Py_tp_dealloc, MlpCore_StepGate_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "mlprov._core.StepGate",
    .basicsize = sizeof(struct step_gate),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int mlp_py_step_gate_add(PyObject *module)
{
    return mlp_py_add_type(module, &mlp_py_state_of_module(module)->step_gate_type, &spec, 1);
}

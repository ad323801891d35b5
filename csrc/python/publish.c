/* publish.c - Store.plan_file: a file that is to be published goes into the outbox. */
#include "anchor/anchor.h"
#include "python/arguments.h"
#include "python/store_object.h"

/* The numbers of a plan, and the kind's name. */
static int read_plan(struct mlp_py_state *state, struct mlp_intent_subject *subject,
                     uint8_t *root32, PyObject *size, PyObject *root)
{
    const struct mlp_anchor_kind *kind =
        mlp_anchor_kind_named(subject->kind, strlen(subject->kind));
    if (kind == NULL || !kind->takes_files) {
        PyErr_Format(PyExc_ValueError, "Store.plan_file: no kind of anchor that takes files: %s",
                     subject->kind);
        return -1;
    }
    subject->chain = kind->chain;
    subject->root32 = root32;
    return mlp_py_uint64(state, &subject->size, size, "Store.plan_file: size", MLP_E_ARGUMENT) ==
                       0 &&
                   mlp_py_bytes_exact(state, root32, 32, root, "Store.plan_file: digest",
                                      MLP_E_ARGUMENT) == 0
               ? 0
               : -1;
}

PyObject *MlpCore_Store_plan_file(PyObject *self, PyObject *args)
{
    struct mlp_py_state *state = mlp_py_state_of(self);
    struct mlp_intent_subject subject = {.target = "", .account = ""};
    PyObject *size, *root, *payload;
    uint8_t root32[32];
    Py_buffer buffer;
    int64_t id = 0;
    bool made = false;
    struct mlp_error error;
    if (!PyArg_ParseTuple(args, "ssOOO:plan_file", &subject.kind, &subject.origin, &size, &root,
                          &payload) ||
        read_plan(state, &subject, root32, size, root) != 0 ||
        mlp_py_buffer(&buffer, payload, "Store.plan_file: payload") != 0)
        return NULL;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = mlp_outbox_plan(mlp_py_store_of(self), &id, &made, &subject, buffer.buf,
                                 (size_t)buffer.len, &error);
    mlp_py_gil_take(released);
    PyBuffer_Release(&buffer);
    return status == 0 ? PyBool_FromLong(made) : mlp_py_raise(&state->exceptions, &error);
}

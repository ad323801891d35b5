#include "python/signer_callback.h"

#include "anchor/ethereum_signature.h"
#include "python/ethereum.h"

#include <string.h>

#define RS_LEN  64
#define RSV_LEN 65 /* with a last byte that the account makes superfluous */

/* What a callable answered: taken out of Python before the GIL goes. */
static int take_bytes(struct mlp_buffer *answer, PyObject *object, struct mlp_error *error)
{
    char *bytes = NULL;
    Py_ssize_t bytes_len = 0;
    int later = 0;
    const char *text = NULL;
    if (object != NULL && PyBytes_Check(object)) {
        (void)PyBytes_AsStringAndSize(object, &bytes, &bytes_len);
        mlp_buffer_append(answer, bytes, (size_t)bytes_len);
        return mlp_buffer_status(answer) == 0
                   ? 0
                   : mlp_fail(error, MLP_E_MEMORY, "cannot sign a transaction: out of memory");
    }
    if (object != NULL && PyTuple_Check(object) &&
        PyArg_ParseTuple(object, "ps:signer", &later, &text))
        return mlp_fail(error, later ? MLP_E_NETWORK : MLP_E_REMOTE, "%s", text);
    PyErr_Clear();
    return mlp_fail(error, MLP_E_REMOTE, "the program's signer cannot be called");
}

static int ask(PyObject *callable, struct mlp_buffer *answer,
               const struct mlp_ethereum_intent *intent, const uint8_t sender20[20],
               const uint8_t digest32[32], struct mlp_error *error)
{
    /* A worker may outlive the interpreter by a moment; the intent stays in the outbox. */
    if (!Py_IsInitialized())
        return mlp_fail(error, MLP_E_NETWORK, "Python ended before the program's signer was asked");
    PyGILState_STATE held = PyGILState_Ensure();
    PyObject *given =
        PyObject_CallFunction(callable, "NNN", mlp_py_intent_tuple(intent),
                              mlp_py_address_text(sender20), mlp_py_bytes(digest32, 32));
    int status = take_bytes(answer, given, error);
    PyErr_Clear();
    Py_XDECREF(given);
    PyGILState_Release(held);
    return status;
}

static int sign(void *context, struct mlp_buffer *raw, const struct mlp_ethereum_intent *intent,
                const uint8_t sender20[20], struct mlp_error *error)
{
    struct mlp_buffer answer = {0};
    uint8_t digest32[32];
    int status = mlp_ethereum_signing_hash(digest32, intent, error);
    if (status == 0)
        status = ask(context, &answer, intent, sender20, digest32, error);
    if (status == 0 && (answer.len == RS_LEN || answer.len == RSV_LEN))
        status = mlp_ethereum_signature_apply(raw, answer.data, intent, sender20, error);
    else if (status == 0)
        mlp_buffer_append(raw, answer.data, answer.len);
    mlp_buffer_clear(&answer);
    return status;
}

/* On whatever thread lets go last; after the interpreter's end there is nothing to free it in. */
static void release(void *context)
{
    if (!Py_IsInitialized())
        return;
    PyGILState_STATE held = PyGILState_Ensure();
    Py_DECREF((PyObject *)context);
    PyGILState_Release(held);
}

int mlp_py_signer_of_callable(struct mlp_py_state *state, struct mlp_ethereum_signer **signer,
                              PyObject *callable)
{
    struct mlp_error error;
    Py_INCREF(callable);
    if (mlp_ethereum_signer_of_function(signer, sign, release, callable, &error) == 0)
        return 0;
    Py_DECREF(callable);
    mlp_py_raise(&state->exceptions, &error);
    return -1;
}

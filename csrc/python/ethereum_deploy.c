/* ethereum_deploy.c - a contract's deployment, signed by whoever signs the anchors of an endpoint. */
#include "anchor/ethereum_deploy.h"

#include "python/endpoints.h"
#include "python/ethereum.h"

#include <string.h>

/* Without the GIL. A client of its own: it is called once. */
static int sign(struct mlp_ethereum_deployment *deployment,
                const struct mlp_anchor_endpoint *endpoint, const Py_buffer *bytecode,
                struct mlp_error *error)
{
    struct mlp_http_client *client = NULL;
    int status = mlp_http_client_new(&client, error);
    if (status == 0)
        status = mlp_ethereum_deploy_sign(deployment, endpoint, client, bytecode->buf,
                                          (size_t)bytecode->len, error);
    mlp_http_client_free(client);
    return status;
}

static PyObject *deployment_at(struct mlp_py_state *state,
                               const struct mlp_anchor_endpoint *endpoint,
                               const Py_buffer *bytecode)
{
    struct mlp_ethereum_deployment deployment = {0};
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = sign(&deployment, endpoint, bytecode, &error);
    mlp_py_gil_take(released);
    if (status != 0) {
        mlp_buffer_clear(&deployment.raw);
        return mlp_py_raise(&state->exceptions, &error);
    }
    return Py_BuildValue("NNNKK", mlp_py_bytes_of_buffer(&deployment.raw),
                         mlp_py_bytes(deployment.hash32, sizeof deployment.hash32),
                         mlp_py_address_text(deployment.contract20),
                         (unsigned long long)deployment.gas,
                         (unsigned long long)deployment.max_fee);
}

static PyObject *MlpCore_ethereum_deployment(PyObject *module, PyObject *args)
{
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    struct mlp_py_endpoints endpoints = {0};
    PyObject *endpoint, *bytecode, *answer = NULL;
    Py_buffer buffer;
    if (!PyArg_ParseTuple(args, "OO:ethereum_deployment", &endpoint, &bytecode))
        return NULL;
    PyObject *items = PyTuple_Pack(1, endpoint);
    if (items == NULL)
        return NULL;
    if (mlp_py_endpoints_read(state, &endpoints, items) == 0 &&
        mlp_py_buffer(&buffer, bytecode, "ethereum_deployment: bytecode") == 0) {
        if (endpoints.items[0].signer != NULL)
            answer = deployment_at(state, &endpoints.items[0], &buffer);
        else
            PyErr_SetString(PyExc_ValueError, "ethereum_deployment: the endpoint has no account");
        PyBuffer_Release(&buffer);
    }
    mlp_py_endpoints_release(&endpoints);
    Py_DECREF(items);
    return answer;
}

static PyMethodDef functions[] = {
    {"ethereum_deployment", MlpCore_ethereum_deployment, METH_VARARGS,
     PyDoc_STR("ethereum_deployment($module, endpoint, bytecode, /)\n--\n\n"
               "(transaction, its hash, contract's address, gas, fee) at most; sends nothing.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_ethereum_deploy_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}

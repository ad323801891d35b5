#include "python/endpoints.h"

#include "anchor/ethereum_evidence.h"
#include "anchor/ethereum_signer.h"
#include "python/ethereum.h"
#include "python/signer_callback.h"

#include <limits.h>

const char *mlp_py_plain_text(PyObject *object, const char *what)
{
    const char *text = NULL;
    size_t text_len = 0;
    if (mlp_py_text(&text, &text_len, object, what) != 0)
        return NULL;
    if (strlen(text) == text_len)
        return text;
    PyErr_Format(PyExc_ValueError, "%s: there is a NUL in it", what);
    return NULL;
}

static int read_headers(size_t *count, const char **headers, PyObject *tuple)
{
    Py_ssize_t size = PyTuple_Check(tuple) ? PyTuple_Size(tuple) : -1;
    if (size < 0 || size > MLP_PY_HEADERS_MAX) {
        PyErr_Format(PyExc_ValueError, "AnchorWorkers: headers: a tuple of at most %d texts",
                     MLP_PY_HEADERS_MAX);
        return -1;
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        headers[i] = mlp_py_plain_text(PyTuple_GetItem(tuple, i), "AnchorWorkers: header");
        if (headers[i] == NULL)
            return -1;
    }
    *count = (size_t)size;
    return 0;
}

/* ---- signers ---- */

static int signer_of_key(struct mlp_py_state *state, struct mlp_ethereum_signer **signer,
                         const struct mlp_ethereum_key *key)
{
    struct mlp_ethereum_key *copy = NULL;
    struct mlp_error error;
    int status = mlp_ethereum_key_copy(&copy, key, &error);
    if (status == 0)
        status = mlp_ethereum_signer_of_key(signer, copy, &error);
    if (status != 0)
        mlp_py_raise(&state->exceptions, &error);
    return status == 0 ? 0 : -1;
}

/* service: (url, headers, ca_file or None, timeout in milliseconds). */
static int signer_of_service(struct mlp_py_state *state, struct mlp_ethereum_signer **signer,
                             PyObject *service)
{
    const char *headers[MLP_PY_HEADERS_MAX];
    PyObject *url, *tuple;
    struct mlp_http_request request = {.headers = headers};
    struct mlp_error error;
    if (!PyArg_ParseTuple(service, "UOzl:signer", &url, &tuple, &request.ca_file,
                          &request.timeout_ms) ||
        read_headers(&request.headers_count, headers, tuple) != 0)
        return -1;
    request.url = mlp_py_plain_text(url, "AnchorWorkers: signer");
    if (request.url == NULL)
        return -1;
    if (request.timeout_ms <= 0) {
        PyErr_SetString(PyExc_ValueError, "AnchorWorkers: a signer has no time");
        return -1;
    }
    if (mlp_ethereum_signer_of_service(signer, &request, &error) == 0)
        return 0;
    mlp_py_raise(&state->exceptions, &error);
    return -1;
}

static int read_signer(struct mlp_py_state *state, struct mlp_ethereum_signer **signer,
                       PyObject *object)
{
    const struct mlp_ethereum_key *key = mlp_py_ethereum_key_of(state, object);
    if (key != NULL)
        return signer_of_key(state, signer, key);
    if (PyTuple_Check(object))
        return signer_of_service(state, signer, object);
    if (PyCallable_Check(object))
        return mlp_py_signer_of_callable(state, signer, object);
    PyErr_SetString(PyExc_TypeError,
                    "AnchorWorkers: a signer must be an EthereumKey, a tuple or a callable");
    return -1;
}

/* ---- accounts ---- */

static int read_limits(struct mlp_anchor_limits *limits, PyObject *tuple)
{
    unsigned long long max_fee, min_tip, max_gas;
    long long bump_ms;
    if (!PyTuple_Check(tuple) ||
        !PyArg_ParseTuple(tuple, "KKKLii:limits", &max_fee, &min_tip, &max_gas, &bump_ms,
                          &limits->bumps, &limits->confirmations)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "AnchorWorkers: limits must be a tuple");
        return -1;
    }
    limits->max_fee = max_fee;
    limits->min_tip = min_tip;
    limits->max_gas = max_gas;
    limits->bump_ms = bump_ms;
    if (bump_ms > 0 && limits->bumps >= 0 && limits->bumps < MLP_ATTEMPTS_MAX &&
        limits->confirmations > 0)
        return 0;
    PyErr_SetString(PyExc_ValueError, "AnchorWorkers: a limit is out of range");
    return -1;
}

static int contract_named(const char *name)
{
    for (int i = 0; i < MLP_ETHEREUM_EVENTS_COUNT; i++) {
        if (strcmp(name, mlp_ethereum_event_name((enum mlp_ethereum_event)i)) == 0)
            return i;
    }
    PyErr_Format(PyExc_ValueError, "AnchorWorkers: no such contract: %s", name);
    return -1;
}

/* account: (chain, contract's address, account, contract's name, signer, limits). */
static int read_account(struct mlp_py_state *state, struct mlp_anchor_endpoint *endpoint,
                        PyObject *account)
{
    const char *contract;
    PyObject *signer, *limits;
    if (!PyTuple_Check(account)) {
        PyErr_SetString(PyExc_TypeError, "AnchorWorkers: an account must be a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(account, "ssssOO:account", &endpoint->chain, &endpoint->target,
                          &endpoint->account, &contract, &signer, &limits))
        return -1;
    endpoint->contract = contract_named(contract);
    if (endpoint->contract < 0 || read_limits(&endpoint->limits, limits) != 0)
        return -1;
    return read_signer(state, &endpoint->signer, signer);
}

/* ---- endpoints ---- */

static int read_endpoint(struct mlp_py_state *state, struct mlp_anchor_endpoint *endpoint,
                         const char **headers, PyObject *item)
{
    const char *kind;
    PyObject *url, *tuple, *account = NULL;
    if (!PyTuple_Check(item)) {
        PyErr_SetString(PyExc_TypeError, "AnchorWorkers: an endpoint must be a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(item, "sUOzl|O:endpoint", &kind, &url, &tuple, &endpoint->ca_file,
                          &endpoint->timeout_ms, &account))
        return -1;
    endpoint->kind = mlp_anchor_kind_named(kind, strlen(kind));
    endpoint->url = mlp_py_plain_text(url, "AnchorWorkers: url");
    if (endpoint->url == NULL)
        return -1;
    if (endpoint->kind == NULL || endpoint->timeout_ms <= 0) {
        PyErr_Format(PyExc_ValueError, "AnchorWorkers: no such kind of anchor, or no time: %s",
                     kind);
        return -1;
    }
    endpoint->headers = headers;
    endpoint->chain = endpoint->kind->chain;
    endpoint->target = endpoint->account = "";
    if (read_headers(&endpoint->headers_count, headers, tuple) != 0)
        return -1;
    if (endpoint->chain == NULL && account == NULL) {
        PyErr_Format(PyExc_ValueError, "AnchorWorkers: %s needs an account", kind);
        return -1;
    }
    return endpoint->chain == NULL ? read_account(state, endpoint, account) : 0;
}

int mlp_py_endpoints_read(struct mlp_py_state *state, struct mlp_py_endpoints *endpoints,
                          PyObject *items)
{
    Py_ssize_t count = PyTuple_Size(items);
    if (count > MLP_WORKERS_MAX) {
        PyErr_SetString(PyExc_ValueError, "AnchorWorkers: too many endpoints");
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        endpoints->count = (size_t)i + 1;
        if (read_endpoint(state, &endpoints->items[i], endpoints->headers[i],
                          PyTuple_GetItem(items, i)) != 0)
            return -1;
    }
    return 0;
}

void mlp_py_endpoints_release(struct mlp_py_endpoints *endpoints)
{
    for (size_t i = 0; i < endpoints->count; i++)
        mlp_ethereum_signer_release(endpoints->items[i].signer);
}

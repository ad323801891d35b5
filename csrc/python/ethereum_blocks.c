/* ethereum_blocks.c - what a verifier asks about blocks: of a header, and of a node of his own. */
#include "anchor/ethereum_block.h"
#include "net/json_rpc.h"
#include "python/arguments.h"

#include <limits.h>
#include <string.h>

/* A block's header and hashes of its transactions; mainnet's have at most some hundred KB. */
#define ANSWER_MAX  (4U << 20)
#define HEADERS_MAX 8
#define TIMEOUT_MS  10000

static PyObject *MlpCore_ethereum_header(PyObject *module, PyObject *raw)
{
    Py_buffer buffer;
    struct mlp_ethereum_header header;
    struct mlp_error error;
    if (mlp_py_buffer(&buffer, raw, "ethereum_header: raw") != 0)
        return NULL;
    int status = mlp_ethereum_header_decode(&header, buffer.buf, (size_t)buffer.len, &error);
    PyBuffer_Release(&buffer);
    if (status != 0)
        return mlp_py_raise(&mlp_py_state_of_module(module)->exceptions, &error);
    return Py_BuildValue("NKK", mlp_py_bytes(header.hash32, sizeof header.hash32),
                         (unsigned long long)header.number, (unsigned long long)header.timestamp);
}

/* ---- JSON-RPC ---- */

/* Points into objects that the caller holds. */
struct call {
    struct mlp_http_request endpoint;
    const char *headers[HEADERS_MAX];
    const char *method;
    const char *parameters;
};

static const char *text_of(PyObject *object, const char *what)
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

/* headers: a tuple, which holds the texts. */
static int read_headers(struct call *call, PyObject *headers)
{
    Py_ssize_t count = PyTuple_Size(headers);
    if (count > HEADERS_MAX) {
        PyErr_Format(PyExc_ValueError, "json_rpc: headers: at most %d", HEADERS_MAX);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        call->headers[i] = text_of(PyTuple_GetItem(headers, i), "json_rpc: header");
        if (call->headers[i] == NULL)
            return -1;
    }
    call->endpoint.headers = call->headers;
    call->endpoint.headers_count = (size_t)count;
    return 0;
}

/* Without the GIL. A client of its own for each call: these are few. */
static int ask(struct mlp_buffer *body, const struct call *call, struct mlp_error *error)
{
    struct mlp_http_client *client = NULL;
    struct mlp_json_rpc_answer answer = {0};
    int status = mlp_http_client_new(&client, error);
    if (status != 0)
        return status;
    status = mlp_json_rpc_call(client, &answer, &call->endpoint, call->method, call->parameters, 1,
                               error);
    if (status == 0)
        mlp_buffer_append(body, answer.http.body.data, answer.http.body.len);
    mlp_json_rpc_answer_clear(&answer);
    mlp_http_client_free(client);
    return status;
}

static PyObject *call_and_answer(struct mlp_py_state *state, const struct call *call)
{
    struct mlp_buffer body = {0};
    struct mlp_error error;
    PyThreadState *released = mlp_py_gil_release(MLP_PY_LONG_WORK);
    int status = ask(&body, call, &error);
    mlp_py_gil_take(released);
    if (status == 0)
        return mlp_py_bytes_of_buffer(&body);
    mlp_buffer_clear(&body);
    return mlp_py_raise(&state->exceptions, &error);
}

static PyObject *MlpCore_json_rpc(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "", "", "headers", "ca_file", "timeout_ms", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    struct call call = {.endpoint = {.answer_max = ANSWER_MAX}};
    PyObject *url, *method, *parameters, *items = NULL;
    PyObject *headers = NULL, *ca_file = Py_None, *timeout = NULL;
    size_t ca_file_len = 0;
    uint64_t timeout_ms = TIMEOUT_MS;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|$OOO:json_rpc", names, &url, &method,
                                     &parameters, &headers, &ca_file, &timeout) ||
        (timeout != NULL &&
         mlp_py_uint64(state, &timeout_ms, timeout, "json_rpc: timeout_ms", MLP_E_ARGUMENT) != 0))
        return NULL;
    if (timeout_ms == 0)
        return PyErr_Format(PyExc_ValueError, "json_rpc: timeout_ms must be above 0");
    call.endpoint.timeout_ms = timeout_ms < INT_MAX ? (long)timeout_ms : INT_MAX;
    call.endpoint.url = text_of(url, "json_rpc: url");
    call.method = text_of(method, "json_rpc: method");
    call.parameters = text_of(parameters, "json_rpc: parameters");
    if (call.endpoint.url == NULL || call.method == NULL || call.parameters == NULL ||
        mlp_py_optional_text(&call.endpoint.ca_file, &ca_file_len, ca_file, "json_rpc: ca_file") !=
            0)
        return NULL;
    if (headers == NULL)
        return call_and_answer(state, &call);
    if (mlp_py_items(&items, headers, "json_rpc: headers") != 0)
        return NULL;
    PyObject *answer = read_headers(&call, items) == 0 ? call_and_answer(state, &call) : NULL;
    Py_DECREF(items);
    return answer;
}

static PyMethodDef functions[] = {
    {"ethereum_header", MlpCore_ethereum_header, METH_O,
     PyDoc_STR("ethereum_header($module, raw, /)\n--\n\n"
               "(hash, number, time) of a block's header as its RLP.")},
    {"json_rpc", MLP_PY_WITH_KEYWORDS(MlpCore_json_rpc), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("json_rpc($module, url, method, parameters, /, *, headers=(), ca_file=None, "
               "timeout_ms=10000)\n--\n\nThe whole answer of a JSON-RPC server, as it came.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_ethereum_blocks_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}

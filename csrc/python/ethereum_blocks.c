/* ethereum_blocks.c - what a verifier asks about blocks: of a header, and of nodes of his own (IPFS has
 * blocks too). */
#include "anchor/ethereum_block.h"
#include "codec/cid.h"
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
        PyErr_Format(PyExc_ValueError, "headers: at most %d", HEADERS_MAX);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        call->headers[i] = text_of(PyTuple_GetItem(headers, i), "header");
        if (call->headers[i] == NULL)
            return -1;
    }
    call->endpoint.headers = call->headers;
    call->endpoint.headers_count = (size_t)count;
    return 0;
}

/* An IPFS block is asked for without a method (POST alone; docs.ipfs.tech/reference/kubo/rpc). */
static int send(struct mlp_buffer *body, struct mlp_http_client *client, const struct call *call,
                struct mlp_error *error)
{
    struct mlp_json_rpc_answer answer = {0};
    int status = call->method == NULL ? mlp_http_send(client, &answer.http, &call->endpoint, error)
                                      : mlp_json_rpc_call(client, &answer, &call->endpoint,
                                                          call->method, call->parameters, 1, error);
    if (status == 0)
        mlp_buffer_append(body, answer.http.body.data, answer.http.body.len);
    mlp_json_rpc_answer_clear(&answer);
    return status;
}

/* Without the GIL. A client of its own for each call: these are few. */
static int ask(struct mlp_buffer *body, const struct call *call, struct mlp_error *error)
{
    struct mlp_http_client *client = NULL;
    int status = mlp_http_client_new(&client, error);
    if (status == 0)
        status = send(body, client, call, error);
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

/* What both functions take by keyword; NULL: not given. */
struct options {
    PyObject *headers;
    PyObject *ca_file;
    PyObject *timeout;
};

static PyObject *call_server(struct mlp_py_state *state, struct call *call,
                             const struct options *options)
{
    size_t ca_file_len = 0;
    uint64_t timeout_ms = TIMEOUT_MS;
    PyObject *items = NULL;
    if (options->timeout != NULL &&
        mlp_py_uint64(state, &timeout_ms, options->timeout, "timeout_ms", MLP_E_ARGUMENT) != 0)
        return NULL;
    if (timeout_ms == 0)
        return PyErr_Format(PyExc_ValueError, "timeout_ms must be above 0");
    call->endpoint.timeout_ms = timeout_ms < INT_MAX ? (long)timeout_ms : INT_MAX;
    if (options->ca_file != NULL && mlp_py_optional_text(&call->endpoint.ca_file, &ca_file_len,
                                                         options->ca_file, "ca_file") != 0)
        return NULL;
    if (options->headers == NULL)
        return call_and_answer(state, call);
    if (mlp_py_items(&items, options->headers, "headers") != 0)
        return NULL;
    PyObject *answer = read_headers(call, items) == 0 ? call_and_answer(state, call) : NULL;
    Py_DECREF(items);
    return answer;
}

static PyObject *MlpCore_json_rpc(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "", "", "headers", "ca_file", "timeout_ms", NULL};
    struct call call = {.endpoint = {.answer_max = ANSWER_MAX}};
    struct options options = {0};
    PyObject *url, *method, *parameters;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|$OOO:json_rpc", names, &url, &method,
                                     &parameters, &options.headers, &options.ca_file,
                                     &options.timeout))
        return NULL;
    call.endpoint.url = text_of(url, "json_rpc: url");
    call.method = text_of(method, "json_rpc: method");
    call.parameters = text_of(parameters, "json_rpc: parameters");
    if (call.endpoint.url == NULL || call.method == NULL || call.parameters == NULL)
        return NULL;
    return call_server(mlp_py_state_of_module(module), &call, &options);
}

/* POST block/get to Kubo's RPC interface. Only a CID comes into the URL. */
static int block_url(struct mlp_buffer *url, const char *base, const char *cid,
                     struct mlp_error *error)
{
    uint8_t cid36[MLP_CID_LEN];
    size_t base_len = strlen(base);
    if (mlp_cid_decode(cid36, cid, strlen(cid), error) != 0)
        return error->status;
    while (base_len > 0 && base[base_len - 1] == '/')
        base_len--;
    mlp_buffer_append(url, base, base_len);
    mlp_buffer_append_text(url, "/api/v0/block/get?arg=");
    mlp_buffer_append(url, cid, strlen(cid) + 1);
    return mlp_buffer_status(url) == 0
               ? 0
               : mlp_fail(error, MLP_E_MEMORY, "cannot ask an IPFS node: out of memory");
}

static PyObject *MlpCore_ipfs_block(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "", "", "headers", "ca_file", "timeout_ms", NULL};
    struct mlp_py_state *state = mlp_py_state_of_module(module);
    struct call call = {.endpoint = {.post = true}};
    struct options options = {0};
    struct mlp_buffer address = {0};
    struct mlp_error error;
    PyObject *url, *cid, *most, *block = NULL;
    uint64_t size = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|$OOO:ipfs_block", names, &url, &cid, &most,
                                     &options.headers, &options.ca_file, &options.timeout) ||
        mlp_py_uint64(state, &size, most, "ipfs_block: most", MLP_E_ARGUMENT) != 0)
        return NULL;
    const char *base = text_of(url, "ipfs_block: url");
    const char *name = base != NULL ? text_of(cid, "ipfs_block: cid") : NULL;
    if (name == NULL)
        return NULL;
    if (size == 0 || size > ANSWER_MAX)
        return PyErr_Format(PyExc_ValueError, "ipfs_block: most: from 1 to %u", ANSWER_MAX);
    call.endpoint.answer_max = (size_t)size;
    if (block_url(&address, base, name, &error) == 0) {
        call.endpoint.url = (const char *)address.data;
        block = call_server(state, &call, &options);
    } else {
        mlp_py_raise(&state->exceptions, &error);
    }
    mlp_buffer_clear(&address);
    return block;
}

static PyMethodDef functions[] = {
    {"ethereum_header", MlpCore_ethereum_header, METH_O,
     PyDoc_STR("ethereum_header($module, raw, /)\n--\n\n"
               "(hash, number, time) of a block's header as its RLP.")},
    {"json_rpc", MLP_PY_WITH_KEYWORDS(MlpCore_json_rpc), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("json_rpc($module, url, method, parameters, /, *, headers=(), ca_file=None, "
               "timeout_ms=10000)\n--\n\nThe whole answer of a JSON-RPC server, as it came.")},
    {"ipfs_block", MLP_PY_WITH_KEYWORDS(MlpCore_ipfs_block), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("ipfs_block($module, url, cid, most, /, *, headers=(), ca_file=None, "
               "timeout_ms=10000)\n--\n\nA block as an IPFS node gives it.")},
    {NULL, NULL, 0, NULL},
};

int mlp_py_ethereum_blocks_add(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}

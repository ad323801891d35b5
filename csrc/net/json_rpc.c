#include "net/json_rpc.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 32

void mlp_json_rpc_answer_clear(struct mlp_json_rpc_answer *answer)
{
    mlp_http_answer_clear(&answer->http);
    mlp_json_free(answer->document);
    memset(answer, 0, sizeof *answer);
}

static int write_call(struct mlp_buffer *body, const char *method, const char *parameters,
                      uint64_t id)
{
    mlp_buffer_append_text(body, "{\"id\":");
    mlp_buffer_append_u64(body, id);
    mlp_buffer_append_text(body, ",\"jsonrpc\":\"2.0\",\"method\":\"");
    mlp_buffer_append_text(body, method);
    mlp_buffer_append_text(body, "\",\"params\":");
    mlp_buffer_append_text(body, parameters);
    mlp_buffer_append_text(body, "}");
    return mlp_buffer_status(body);
}

static int read_error(struct mlp_json_rpc_answer *answer, const struct mlp_json_value *value,
                      struct mlp_error *detail)
{
    const struct mlp_json_value *code = NULL;
    const char *message = NULL;
    size_t message_len = 0;
    int status = mlp_json_require(&code, value, "code", MLP_JSON_INTEGER, "\"error\"", detail);
    if (status == 0)
        status =
            mlp_json_require_string(&message, &message_len, value, "message", "\"error\"", detail);
    if (status != 0)
        return status;
    answer->code = mlp_json_integer(code);
    answer->message = message;
    answer->message_len = message_len;
    return 0;
}

/* The specification's section 5, "Response object". */
static int read_answer(struct mlp_json_rpc_answer *answer, uint64_t id, struct mlp_error *detail)
{
    const struct mlp_json_value *root = mlp_json_root(answer->document);
    const struct mlp_json_value *answered = NULL;
    const char *version = NULL;
    size_t version_len = 0;
    int status =
        mlp_json_require_string(&version, &version_len, root, "jsonrpc", "the answer", detail);
    if (status == 0 && (version_len != 3 || memcmp(version, "2.0", 3) != 0))
        return mlp_fail(detail, MLP_E_MALFORMED, "\"jsonrpc\" is not \"2.0\"");
    if (status == 0)
        status = mlp_json_require(&answered, root, "id", MLP_JSON_INTEGER, "the answer", detail);
    if (status == 0 && mlp_json_integer(answered) != (int64_t)id)
        return mlp_fail(detail, MLP_E_MALFORMED, "its \"id\" is %lld, and %llu was asked",
                        (long long)mlp_json_integer(answered), (unsigned long long)id);
    if (status != 0)
        return status;
    const struct mlp_json_value *failed = mlp_json_get(root, "error");
    answer->result = mlp_json_get(root, "result");
    /* Some servers send the other one too, as null. */
    if (failed != NULL && mlp_json_type(failed) == MLP_JSON_NULL && answer->result != NULL)
        failed = NULL;
    if (failed != NULL && answer->result != NULL && mlp_json_type(answer->result) == MLP_JSON_NULL)
        answer->result = NULL;
    if ((failed == NULL) == (answer->result == NULL))
        return mlp_fail(detail, MLP_E_MALFORMED,
                        "it has not exactly one of \"result\" and "
                        "\"error\"");
    return failed != NULL ? read_error(answer, failed, detail) : 0;
}

int mlp_json_rpc_call(struct mlp_http_client *client, struct mlp_json_rpc_answer *answer,
                      const struct mlp_http_request *endpoint, const char *method,
                      const char *parameters, uint64_t id, struct mlp_error *error)
{
    struct mlp_buffer body = {0};
    const char *headers[9] = {"Content-Type: application/json"};
    struct mlp_http_request request = *endpoint;
    if (endpoint->headers_count > 8)
        return mlp_fail(error, MLP_E_ARGUMENT, "an endpoint has more than 8 headers");
    for (size_t i = 0; i < endpoint->headers_count; i++)
        headers[i + 1] = endpoint->headers[i];
    mlp_json_free(answer->document);
    answer->document = NULL;
    answer->result = NULL;
    answer->message = NULL;
    answer->message_len = 0;
    answer->code = 0;
    if (write_call(&body, method, parameters, id) != 0) {
        mlp_buffer_clear(&body);
        return mlp_fail(error, MLP_E_MEMORY, "cannot call %s: out of memory", method);
    }
    request.post = true;
    request.body = body.data;
    request.body_len = body.len;
    request.headers = headers;
    request.headers_count = endpoint->headers_count + 1;
    int status = mlp_http_send(client, &answer->http, &request, error);
    mlp_buffer_clear(&body);
    if (status != 0)
        return status;

    struct mlp_error detail = {0};
    status = mlp_json_read(&answer->document, answer->http.body.data, answer->http.body.len,
                           endpoint->answer_max, DEPTH_MAX, &detail);
    if (status == 0)
        status = read_answer(answer, id, &detail);
    if (status != 0)
        answer->result = NULL;
    if (status == MLP_E_MALFORMED)
        return mlp_fail(error, MLP_E_REMOTE,
                        "the answer to %s is no JSON-RPC answer to it: %s; check the endpoint",
                        method, detail.message);
    return status == 0 ? 0
                       : mlp_fail(error, status, "cannot read the answer to %s: %s", method,
                                  detail.message);
}

/* json_rpc.h - one JSON-RPC 2.0 call over HTTP, its answer read strictly.
 *
 * Source: jsonrpc.org/specification. The answer is one object with "jsonrpc": "2.0", the id of the
 * request, and exactly one of "result" and "error"; it is read by codec/json.h, so that a page of HTML
 * with status 200, a cut-off body, a doubled key or another call's answer are each an error.
 *
 * Threads: as http.h.
 */
#ifndef MLP_NET_JSON_RPC_H
#define MLP_NET_JSON_RPC_H

#include "codec/json.h"
#include "net/http.h"

/* What a call takes besides method and parameters: a struct mlp_http_request whose post, body and
 * body_len are set by the call. */
struct mlp_json_rpc_answer {
    struct mlp_http_answer http;
    struct mlp_json_document *document;  /* owned; NULL before a call */
    const struct mlp_json_value *result; /* NULL where the server answered with an error */
    int64_t code;                        /* of that error */
    const char *message;                 /* the server's text: untrusted, lives in document */
    size_t message_len;
};
/* Zero-initialise before; may be used again. */
void mlp_json_rpc_answer_clear(struct mlp_json_rpc_answer *answer);

/* Calls method.
 * In:      endpoint: where, and its limits.
 *          method: letters and "_" alone. parameters: a JSON array, as text.
 *          id: of this call; the answer must have it.
 * Returns: 0 (answer->result, or code and message: the server did understand);
 *          MLP_E_NETWORK, MLP_E_REMOTE as mlp_http_send; MLP_E_REMOTE also for what is no JSON-RPC
 *          answer to this call, with answer->http.class MLP_HTTP_OK; MLP_E_MEMORY.
 */
int mlp_json_rpc_call(struct mlp_http_client *client, struct mlp_json_rpc_answer *answer,
                      const struct mlp_http_request *endpoint, const char *method,
                      const char *parameters, uint64_t id, struct mlp_error *error);

#endif

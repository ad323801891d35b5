#include "anchor/ethereum_rpc.h"

#include "anchor/ethereum_values.h"
#include "hash/hash.h"
#include "sign/ethereum_key.h"
#include "sign/note.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX       (64U << 20) /* a block with its transactions: a few MB on mainnet */
#define BAD_ANSWERS_MAX  5           /* in a row, before somebody has to look */
#define METHOD_NOT_FOUND (-32601)    /* JSON-RPC 2.0, section 5.1 */
#define INVALID_PARAMS   (-32602)
#define UNKNOWN_BLOCK    (-39001) /* what geth answers for a tag that has no block */

/* ---- what an intent is about ---- */

int mlp_ethereum_digest(uint8_t digest32[32], const void *note, size_t note_len,
                        struct mlp_error *error)
{
    struct mlp_note parsed;
    int status = mlp_note_parse(&parsed, note, note_len, error);
    if (status != 0)
        return status;
    return mlp_hash(MLP_SHA256, digest32, parsed.text, parsed.text_len, error);
}

static int read_chain_id(uint64_t *chain_id, const char *text)
{
    char *end = NULL;
    errno = 0;
    unsigned long long read = strtoull(text, &end, 10);
    bool digits = text[0] >= '1' && text[0] <= '9';
    *chain_id = read;
    return digits && *end == '\0' && errno == 0 ? 0 : -1;
}

int mlp_ethereum_payer_of(struct mlp_ethereum_place *place,
                          const struct mlp_anchor_endpoint *endpoint, struct mlp_error *error)
{
    if (read_chain_id(&place->chain_id, endpoint->chain) == 0 &&
        mlp_ethereum_address_decode(place->account20, endpoint->account, strlen(endpoint->account),
                                    NULL) == 0)
        return 0;
    return mlp_fail(error, MLP_E_REMOTE,
                    "cannot use Ethereum: chain id \"%.40s\" or account \"%.60s\" is none; mend "
                    "the configuration",
                    endpoint->chain, endpoint->account);
}

int mlp_ethereum_place_of(struct mlp_ethereum_place *place, const struct mlp_anchor_work *work,
                          struct mlp_error *error)
{
    const struct mlp_anchor_endpoint *endpoint = work->endpoint;
    const struct mlp_intent *intent = work->intent;
    int status = mlp_ethereum_payer_of(place, endpoint, error);
    if (status != 0)
        return status;
    if (mlp_ethereum_address_decode(place->contract20, endpoint->target, strlen(endpoint->target),
                                    NULL) != 0)
        return mlp_fail(error, MLP_E_REMOTE,
                        "cannot anchor on Ethereum: contract \"%.60s\" is no address; mend the "
                        "configuration",
                        endpoint->target);
    place->event = (enum mlp_ethereum_event)endpoint->contract;
    return mlp_ethereum_digest(place->digest32, intent->payload.data, intent->payload.len, error);
}

/* ---- calls ---- */

int mlp_ethereum_call(struct mlp_anchor_work *work, struct mlp_json_rpc_answer *answer,
                      const char *method, const char *parameters, struct mlp_error *error)
{
    const struct mlp_anchor_endpoint *endpoint = work->endpoint;
    struct mlp_http_request request = {.url = endpoint->url,
                                       .headers = endpoint->headers,
                                       .headers_count = endpoint->headers_count,
                                       .ca_file = endpoint->ca_file,
                                       .answer_max = ANSWER_MAX,
                                       .timeout_ms = endpoint->timeout_ms};
    if (parameters == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot call %s: out of memory", method);
    int status =
        mlp_json_rpc_call(work->client, answer, &request, method, parameters, ++work->asked, error);
    work->answer.class = answer->http.class;
    work->answer.retry_after_ms = status != 0 ? answer->http.retry_after_ms : -1;
    bool was_no_answer = status == MLP_E_REMOTE && answer->http.class == MLP_HTTP_OK;
    if (was_no_answer && work->intent->failures < BAD_ANSWERS_MAX) {
        if (error != NULL)
            error->status = MLP_E_NETWORK;
        return MLP_E_NETWORK;
    }
    return status;
}

/* Returns: 0 where the node answered with a result. */
static int fail_with_answer(const struct mlp_json_rpc_answer *answer, const char *method,
                            struct mlp_error *error)
{
    if (answer->result != NULL)
        return 0;
    char said[MLP_ETHEREUM_SAID_MAX];
    mlp_ethereum_said(said, answer->message, answer->message_len);
    if (answer->code == METHOD_NOT_FOUND)
        return mlp_fail(error, MLP_E_REMOTE,
                        "the Ethereum node does not offer %s (%s); use a node that does", method,
                        said);
    return mlp_fail(error, MLP_E_NETWORK, "the Ethereum node answered to %s with error %lld: %s",
                    method, (long long)answer->code, said);
}

int mlp_ethereum_ask(struct mlp_anchor_work *work, struct mlp_json_rpc_answer *answer,
                     const char *method, const char *parameters, struct mlp_error *error)
{
    int status = mlp_ethereum_call(work, answer, method, parameters, error);
    return status != 0 ? status : fail_with_answer(answer, method, error);
}

int mlp_ethereum_ask_quantity(struct mlp_anchor_work *work, uint64_t *number, const char *method,
                              const char *parameters, struct mlp_error *error)
{
    struct mlp_json_rpc_answer answer = {0};
    int status = mlp_ethereum_ask(work, &answer, method, parameters, error);
    if (status == 0)
        status = mlp_ethereum_quantity(number, answer.result, method, error);
    mlp_json_rpc_answer_clear(&answer);
    return status;
}

void mlp_ethereum_open_parameters(struct mlp_buffer *text, const uint8_t *bytes, size_t bytes_len)
{
    mlp_buffer_append_text(text, "[\"0x");
    mlp_buffer_append_hex(text, bytes, bytes_len);
    mlp_buffer_append_text(text, "\"");
}

const char *mlp_ethereum_close_text(struct mlp_buffer *text, const char *end)
{
    mlp_buffer_append(text, end, strlen(end) + 1);
    return mlp_buffer_status(text) == 0 ? (const char *)text->data : NULL;
}

/* ---- what is asked often ---- */

int mlp_ethereum_check_chain(struct mlp_anchor_work *work, const struct mlp_ethereum_place *place,
                             struct mlp_error *error)
{
    uint64_t chain_id = 0;
    int status = mlp_ethereum_ask_quantity(work, &chain_id, "eth_chainId", "[]", error);
    if (status == 0 && chain_id != place->chain_id)
        status = mlp_fail(error, MLP_E_REMOTE,
                          "the Ethereum node is at the chain with id %" PRIu64
                          ", the configuration says %" PRIu64
                          ": nothing was sent; name the node of that chain, or the chain of that "
                          "node, then run 'mlprov sync --retry'",
                          chain_id, place->chain_id);
    return status;
}

int mlp_ethereum_count(struct mlp_anchor_work *work, uint64_t *count,
                       const struct mlp_ethereum_place *place, struct mlp_error *error)
{
    struct mlp_buffer parameters = {0};
    mlp_ethereum_open_parameters(&parameters, place->account20, 20);
    int status =
        mlp_ethereum_ask_quantity(work, count, "eth_getTransactionCount",
                                  mlp_ethereum_close_text(&parameters, ",\"latest\"]"), error);
    mlp_buffer_clear(&parameters);
    return status;
}

static int read_block(struct mlp_ethereum_block_name *block, const struct mlp_json_value *value,
                      struct mlp_error *error)
{
    int status = mlp_ethereum_quantity(&block->number, mlp_json_get(value, "number"),
                                       "a block's number", error);
    if (status == 0)
        status = mlp_ethereum_fixed(block->hash32, 32, mlp_json_get(value, "hash"),
                                    "a block's hash", error);
    return status;
}

/* Nodes that do not know a tag, or have no block for it, answer null or one of these errors. Any other,
 * such as a limit on requests, says nothing about the tag. */
static bool has_no_such_block(const struct mlp_json_rpc_answer *answer)
{
    char said[MLP_ETHEREUM_SAID_MAX];
    if (answer->result != NULL)
        return mlp_ethereum_is_nothing(answer->result);
    mlp_ethereum_said(said, answer->message, answer->message_len);
    return answer->code == METHOD_NOT_FOUND || answer->code == INVALID_PARAMS ||
           answer->code == UNKNOWN_BLOCK || strstr(said, "block not found") != NULL;
}

int mlp_ethereum_block_named(struct mlp_anchor_work *work, bool *found,
                             struct mlp_ethereum_block_name *block, const char *tag,
                             struct mlp_error *error)
{
    char parameters[64];
    struct mlp_json_rpc_answer answer = {0};
    (void)snprintf(parameters, sizeof parameters, "[\"%s\",false]", tag);
    int status = mlp_ethereum_call(work, &answer, "eth_getBlockByNumber", parameters, error);
    bool nothing = status == 0 && has_no_such_block(&answer);
    if (status == 0 && !nothing)
        status = fail_with_answer(&answer, "eth_getBlockByNumber", error);
    if (status == 0 && !nothing)
        status = read_block(block, answer.result, error);
    if (status == 0)
        *found = !nothing;
    mlp_json_rpc_answer_clear(&answer);
    return status;
}

int mlp_ethereum_block_at(struct mlp_anchor_work *work, bool *found,
                          struct mlp_ethereum_block_name *block, uint64_t number,
                          struct mlp_error *error)
{
    char parameters[64];
    struct mlp_json_rpc_answer answer = {0};
    (void)snprintf(parameters, sizeof parameters, "[\"0x%" PRIx64 "\",false]", number);
    int status = mlp_ethereum_ask(work, &answer, "eth_getBlockByNumber", parameters, error);
    bool nothing = mlp_ethereum_is_nothing(answer.result);
    if (status == 0 && !nothing)
        status = read_block(block, answer.result, error);
    if (status == 0)
        *found = !nothing && block->number == number;
    mlp_json_rpc_answer_clear(&answer);
    return status;
}

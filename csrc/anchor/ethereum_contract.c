#include "anchor/ethereum_contract.h"

#include "anchor/ethereum_values.h"
#include "hash/keccak.h"

#include <string.h>

#define CALL_FAILED 3 /* the execution API's code for a call that reverts */

static const struct {
    const char *call; /* (digest), or (digest, "") */
    const char *seen; /* (account, digest) or (digest): a time, 0 for never */
    bool by_account;  /* seen and the event name the account */
    bool has_text;
} contracts[MLP_ETHEREUM_EVENTS_COUNT] = {
    [MLP_ETHEREUM_ANCHOR_STORE] = {"anchor(bytes32)", "firstSeen(address,bytes32)", true, false},
    [MLP_ETHEREUM_ML_PROVENANCE] = {"storeHash(bytes32,string)", "timestamps(bytes32)", false,
                                    true},
};

/* ---- the ABI ---- */

static void append_selector(struct mlp_buffer *data, const char *signature)
{
    uint8_t hash32[MLP_KECCAK256_LEN];
    mlp_keccak256(hash32, signature, strlen(signature));
    mlp_buffer_append(data, hash32, 4);
}

static void append_word(struct mlp_buffer *data, const uint8_t *bytes, size_t bytes_len)
{
    static const uint8_t zeros[32];
    mlp_buffer_append(data, zeros, 32 - bytes_len);
    mlp_buffer_append(data, bytes, bytes_len);
}

void mlp_ethereum_contract_call(struct mlp_buffer *data, const struct mlp_ethereum_place *place)
{
    static const uint8_t offset = 0x40, empty = 0; /* of the text: after two words; its length */
    append_selector(data, contracts[place->event].call);
    append_word(data, place->digest32, 32);
    if (contracts[place->event].has_text) {
        append_word(data, &offset, 1);
        append_word(data, &empty, 1);
    }
}

/* The topics of the event: its signature, the account where it has one, the digest.
 * Returns: how many. */
static size_t topics_of(uint8_t topics32[3][32], const struct mlp_ethereum_place *place)
{
    size_t count = 0;
    mlp_ethereum_event_topic(topics32[count++], place->event);
    if (contracts[place->event].by_account) {
        memset(topics32[count], 0, 12);
        memcpy(topics32[count++] + 12, place->account20, 20);
    }
    memcpy(topics32[count++], place->digest32, 32);
    return count;
}

/* ---- asking ---- */

/* Appends ,"key":"0x...". */
static void append_data(struct mlp_buffer *text, const char *before, const uint8_t *bytes,
                        size_t bytes_len)
{
    mlp_buffer_append_text(text, before);
    mlp_buffer_append_hex(text, bytes, bytes_len);
    mlp_buffer_append_text(text, "\"");
}

/* [{"from":...,"to":...,"data":...}: a call of the contract by the account. */
static void open_call(struct mlp_buffer *text, const struct mlp_ethereum_place *place,
                      const struct mlp_buffer *data)
{
    append_data(text, "[{\"from\":\"0x", place->account20, 20);
    append_data(text, ",\"to\":\"0x", place->contract20, 20);
    append_data(text, ",\"data\":\"0x", data->data, data->len);
    text->failed |= mlp_buffer_status(data) != 0;
}

int mlp_ethereum_contract_check(struct mlp_anchor_work *work,
                                const struct mlp_ethereum_place *place, struct mlp_error *error)
{
    struct mlp_buffer parameters = {0}, code = {0};
    struct mlp_json_rpc_answer answer = {0};
    mlp_ethereum_open_parameters(&parameters, place->contract20, 20);
    int status = mlp_ethereum_ask(work, &answer, "eth_getCode",
                                  mlp_ethereum_close_text(&parameters, ",\"latest\"]"), error);
    if (status == 0)
        status = mlp_ethereum_data(&code, answer.result, "the contract's code", error);
    if (status == 0 && code.len == 0)
        status = mlp_fail(error, MLP_E_REMOTE,
                          "there is no contract at %s on chain %s: nothing was sent; deploy one "
                          "there, or name the right address, then run 'mlprov sync --retry'",
                          work->endpoint->target, work->endpoint->chain);
    mlp_json_rpc_answer_clear(&answer);
    mlp_buffer_clear(&code);
    mlp_buffer_clear(&parameters);
    return status;
}

int mlp_ethereum_contract_has(struct mlp_anchor_work *work, bool *has,
                              const struct mlp_ethereum_place *place, struct mlp_error *error)
{
    struct mlp_buffer data = {0}, parameters = {0};
    uint64_t time = 0;
    append_selector(&data, contracts[place->event].seen);
    if (contracts[place->event].by_account)
        append_word(&data, place->account20, 20);
    append_word(&data, place->digest32, 32);
    open_call(&parameters, place, &data);
    int status = mlp_ethereum_ask_quantity(
        work, &time, "eth_call", mlp_ethereum_close_text(&parameters, "},\"latest\"]"), error);
    if (status == 0)
        *has = time != 0;
    mlp_buffer_clear(&parameters);
    mlp_buffer_clear(&data);
    return status;
}

int mlp_ethereum_contract_find(struct mlp_anchor_work *work, bool *found, uint8_t transaction32[32],
                               const struct mlp_ethereum_place *place, struct mlp_error *error)
{
    uint8_t topics32[3][32];
    struct mlp_buffer parameters = {0};
    struct mlp_json_rpc_answer answer = {0};
    size_t count = topics_of(topics32, place);
    append_data(&parameters, "[{\"address\":\"0x", place->contract20, 20);
    for (size_t i = 0; i < count; i++)
        append_data(&parameters, i == 0 ? ",\"topics\":[\"0x" : ",\"0x", topics32[i], 32);
    mlp_buffer_append_text(&parameters, "],\"fromBlock\":\"0x0\",\"toBlock\":\"latest\"}");
    int status = mlp_ethereum_ask(work, &answer, "eth_getLogs",
                                  mlp_ethereum_close_text(&parameters, "]"), error);
    const struct mlp_json_value *first = status == 0 ? mlp_json_at(answer.result, 0) : NULL;
    if (first != NULL)
        status = mlp_ethereum_fixed(transaction32, 32, mlp_json_get(first, "transactionHash"),
                                    "a log's transaction", error);
    if (status == 0)
        *found = first != NULL;
    mlp_json_rpc_answer_clear(&answer);
    mlp_buffer_clear(&parameters);
    return status;
}

static bool is_bytes(const struct mlp_json_value *value, const uint8_t *bytes, size_t bytes_len)
{
    uint8_t read[32];
    return mlp_ethereum_fixed(read, bytes_len, value, "", NULL) == 0 &&
           memcmp(read, bytes, bytes_len) == 0;
}

bool mlp_ethereum_contract_emitted(const struct mlp_json_value *receipt,
                                   const struct mlp_ethereum_place *place)
{
    uint8_t topics32[3][32];
    size_t count = topics_of(topics32, place);
    const struct mlp_json_value *logs = mlp_json_get(receipt, "logs");
    if (!is_bytes(mlp_json_get(receipt, "from"), place->account20, 20))
        return false;
    for (size_t i = 0; i < mlp_json_count(logs); i++) {
        const struct mlp_json_value *log = mlp_json_at(logs, i);
        const struct mlp_json_value *topics = mlp_json_get(log, "topics");
        bool same = is_bytes(mlp_json_get(log, "address"), place->contract20, 20) &&
                    mlp_json_count(topics) == count;
        for (size_t j = 0; same && j < count; j++)
            same = is_bytes(mlp_json_at(topics, j), topics32[j], 32);
        if (same)
            return true;
    }
    return false;
}

/* A call that fails is the contract's answer; anything else may pass. */
static int fail_estimate(const struct mlp_anchor_work *work,
                         const struct mlp_json_rpc_answer *answer, struct mlp_error *error)
{
    char said[MLP_ETHEREUM_SAID_MAX];
    bool reverted = answer->code == CALL_FAILED ||
                    mlp_ethereum_says(answer->message, answer->message_len, "revert");
    mlp_ethereum_said(said, answer->message, answer->message_len);
    if (!reverted)
        return mlp_fail(error, MLP_E_NETWORK,
                        "the Ethereum node answered to eth_estimateGas with error %lld: %s",
                        (long long)answer->code, said);
    return mlp_fail(
        error, MLP_E_REMOTE,
        "the contract would refuse the anchor of %s: %s; nothing was sent: check "
        "contract and account (MLProvenance stores for authorised ones alone), then run "
        "'mlprov sync --retry'",
        work->endpoint->account, said);
}

int mlp_ethereum_contract_gas(struct mlp_anchor_work *work, uint64_t *gas,
                              const struct mlp_ethereum_place *place, struct mlp_error *error)
{
    struct mlp_buffer data = {0}, parameters = {0};
    struct mlp_json_rpc_answer answer = {0};
    mlp_ethereum_contract_call(&data, place);
    open_call(&parameters, place, &data);
    int status = mlp_ethereum_call(work, &answer, "eth_estimateGas",
                                   mlp_ethereum_close_text(&parameters, "}]"), error);
    if (status == 0 && answer.result == NULL)
        status = fail_estimate(work, &answer, error);
    if (status == 0)
        status = mlp_ethereum_quantity(gas, answer.result, "the gas of the call", error);
    if (status == 0)
        *gas += *gas / 5;
    mlp_json_rpc_answer_clear(&answer);
    mlp_buffer_clear(&parameters);
    mlp_buffer_clear(&data);
    return status;
}

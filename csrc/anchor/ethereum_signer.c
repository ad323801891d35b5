#include "anchor/ethereum_signer.h"

#include "anchor/ethereum_values.h"
#include "base/secret.h"
#include "net/json_rpc.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define ANSWER_MAX  1048576
#define HEADERS_MAX 8

/* A service's texts, owned: they may be credentials. */
struct service {
    char *url;
    char *ca_file;
    const char *headers[HEADERS_MAX];
    size_t headers_count;
    long timeout_ms;
};

struct mlp_ethereum_signer {
    atomic_size_t holders;
    atomic_ulong asked;
    struct mlp_ethereum_key *key; /* one of these three */
    struct service service;
    mlp_ethereum_sign_function *sign;
    mlp_ethereum_free_function *release;
    void *context;
};

/* ---- making ---- */

static struct mlp_ethereum_signer *new_signer(struct mlp_error *error)
{
    struct mlp_ethereum_signer *made = calloc(1, sizeof *made);
    if (made == NULL)
        (void)mlp_fail(error, MLP_E_MEMORY, "cannot make a signer: out of memory");
    else
        atomic_init(&made->holders, 1);
    return made;
}

int mlp_ethereum_signer_of_key(struct mlp_ethereum_signer **signer, struct mlp_ethereum_key *key,
                               struct mlp_error *error)
{
    struct mlp_ethereum_signer *made = new_signer(error);
    if (made == NULL) {
        mlp_ethereum_key_free(key);
        return MLP_E_MEMORY;
    }
    made->key = key;
    *signer = made;
    return 0;
}

/* Returns: whether there was memory. */
static bool copy_service(struct service *copy, const struct mlp_http_request *service)
{
    copy->timeout_ms = service->timeout_ms;
    copy->url = strdup(service->url);
    copy->ca_file = service->ca_file != NULL ? strdup(service->ca_file) : NULL;
    bool whole = copy->url != NULL && (copy->ca_file != NULL) == (service->ca_file != NULL);
    for (; whole && copy->headers_count < service->headers_count; copy->headers_count++) {
        copy->headers[copy->headers_count] = strdup(service->headers[copy->headers_count]);
        whole = copy->headers[copy->headers_count] != NULL;
    }
    return whole;
}

int mlp_ethereum_signer_of_service(struct mlp_ethereum_signer **signer,
                                   const struct mlp_http_request *service, struct mlp_error *error)
{
    if (service->headers_count > HEADERS_MAX)
        return mlp_fail(error, MLP_E_ARGUMENT, "a signer has more than %d headers", HEADERS_MAX);
    struct mlp_ethereum_signer *made = new_signer(error);
    if (made == NULL)
        return MLP_E_MEMORY;
    if (!copy_service(&made->service, service)) {
        mlp_ethereum_signer_release(made);
        return mlp_fail(error, MLP_E_MEMORY, "cannot make a signer: out of memory");
    }
    *signer = made;
    return 0;
}

int mlp_ethereum_signer_of_function(struct mlp_ethereum_signer **signer,
                                    mlp_ethereum_sign_function *sign,
                                    mlp_ethereum_free_function *release, void *context,
                                    struct mlp_error *error)
{
    struct mlp_ethereum_signer *made = new_signer(error);
    if (made == NULL)
        return MLP_E_MEMORY;
    made->sign = sign;
    made->release = release;
    made->context = context;
    *signer = made;
    return 0;
}

struct mlp_ethereum_signer *mlp_ethereum_signer_hold(struct mlp_ethereum_signer *signer)
{
    if (signer != NULL)
        atomic_fetch_add(&signer->holders, 1);
    return signer;
}

static void free_secret_text(const char *text)
{
    if (text == NULL)
        return;
    mlp_secret_wipe((char *)(uintptr_t)text, strlen(text));
    free((char *)(uintptr_t)text);
}

void mlp_ethereum_signer_release(struct mlp_ethereum_signer *signer)
{
    if (signer == NULL || atomic_fetch_sub(&signer->holders, 1) != 1)
        return;
    mlp_ethereum_key_free(signer->key);
    free_secret_text(signer->service.url);
    free_secret_text(signer->service.ca_file);
    for (size_t i = 0; i < signer->service.headers_count; i++)
        free_secret_text(signer->service.headers[i]);
    if (signer->release != NULL)
        signer->release(signer->context);
    free(signer);
}

/* ---- a service ---- */

/* Appends ,"key":"0x...": the quantities of the execution API. */
static void append_quantity(struct mlp_buffer *text, const char *key, uint64_t value)
{
    char member[64];
    (void)snprintf(member, sizeof member, ",\"%s\":\"0x%llx\"", key, (unsigned long long)value);
    mlp_buffer_append_text(text, member);
}

static void append_address(struct mlp_buffer *text, const char *before, const uint8_t address20[20])
{
    mlp_buffer_append_text(text, before);
    mlp_buffer_append_hex(text, address20, 20);
    mlp_buffer_append_text(text, "\"");
}

/* A transaction sends no value here, so that the service needs to be asked for none. */
static void write_parameters(struct mlp_buffer *text, const struct mlp_ethereum_intent *intent,
                             const uint8_t sender20[20])
{
    append_address(text, "[{\"from\":\"0x", sender20);
    if (!intent->creates_contract)
        append_address(text, ",\"to\":\"0x", intent->to20);
    append_quantity(text, "type", 2);
    append_quantity(text, "chainId", intent->chain_id);
    append_quantity(text, "nonce", intent->nonce);
    append_quantity(text, "gas", intent->gas);
    append_quantity(text, "maxFeePerGas", intent->max_fee);
    append_quantity(text, "maxPriorityFeePerGas", intent->max_priority_fee);
    append_quantity(text, "value", 0);
    mlp_buffer_append_text(text, ",\"data\":\"0x");
    mlp_buffer_append_hex(text, intent->data, intent->data_len);
    mlp_buffer_append_text(text, "\"}]");
    mlp_buffer_append(text, "", 1);
}

/* web3signer and anvil answer the transaction itself, clef and geth an object with "raw". */
static int read_raw(struct mlp_buffer *raw, const struct mlp_json_rpc_answer *answer,
                    struct mlp_error *error)
{
    if (answer->result == NULL) {
        char said[MLP_ETHEREUM_SAID_MAX];
        mlp_ethereum_said(said, answer->message, answer->message_len);
        return mlp_fail(
            error, MLP_E_REMOTE,
            "the signer refuses to sign: %s (error %lld); unlock the account there, then "
            "run 'mlprov sync --retry'",
            said, (long long)answer->code);
    }
    const struct mlp_json_value *value = mlp_json_get(answer->result, "raw");
    return mlp_ethereum_data(raw, value != NULL ? value : answer->result,
                             "what the signer answered", error);
}

static int sign_by_service(struct mlp_ethereum_signer *signer, struct mlp_buffer *raw,
                           const struct mlp_ethereum_intent *intent, const uint8_t sender20[20],
                           struct mlp_http_client *client, struct mlp_error *error)
{
    const struct service *service = &signer->service;
    struct mlp_json_rpc_answer answer = {0};
    struct mlp_buffer parameters = {0};
    struct mlp_http_request request = {.url = service->url,
                                       .headers = service->headers,
                                       .headers_count = service->headers_count,
                                       .ca_file = service->ca_file,
                                       .answer_max = ANSWER_MAX,
                                       .timeout_ms = service->timeout_ms};
    write_parameters(&parameters, intent, sender20);
    int status = mlp_buffer_status(&parameters);
    if (status != 0)
        (void)mlp_fail(error, status, "cannot ask the signer: out of memory");
    else
        status = mlp_json_rpc_call(client, &answer, &request, "eth_signTransaction",
                                   (const char *)parameters.data,
                                   atomic_fetch_add(&signer->asked, 1) + 1, error);
    if (status == 0)
        status = read_raw(raw, &answer, error);
    mlp_json_rpc_answer_clear(&answer);
    mlp_buffer_clear(&parameters);
    return status;
}

/* ---- signing ---- */

static int sign(struct mlp_ethereum_signer *signer, struct mlp_buffer *raw,
                const struct mlp_ethereum_intent *intent, const uint8_t sender20[20],
                struct mlp_http_client *client, struct mlp_error *error)
{
    uint8_t hash32[32];
    if (signer->key != NULL)
        return mlp_ethereum_transaction_sign(raw, hash32, intent, signer->key, error);
    if (signer->sign != NULL)
        return signer->sign(signer->context, raw, intent, sender20, error);
    return sign_by_service(signer, raw, intent, sender20, client, error);
}

int mlp_ethereum_signer_sign(struct mlp_ethereum_signer *signer, struct mlp_buffer *raw,
                             uint8_t hash32[32], const struct mlp_ethereum_intent *intent,
                             const uint8_t sender20[20], struct mlp_http_client *client,
                             struct mlp_error *error)
{
    struct mlp_ethereum_transaction transaction;
    size_t begin = raw->len;
    int status = sign(signer, raw, intent, sender20, client, error);
    if (status == 0 && mlp_buffer_status(raw) != 0)
        status = mlp_fail(error, MLP_E_MEMORY, "cannot sign a transaction: out of memory");
    if (status == 0) {
        status = mlp_ethereum_transaction_decode(&transaction, raw->data + begin, raw->len - begin,
                                                 error);
        /* What the signer gave is no evidence: it is no transaction, which somebody has to see. */
        if (status == MLP_E_MALFORMED)
            status = mlp_fail_in(error, MLP_E_MISMATCH, "what the signer gave cannot be sent");
    }
    if (status == 0)
        status = mlp_ethereum_transaction_compare(&transaction, intent, sender20, error);
    if (status == 0)
        memcpy(hash32, transaction.hash32, 32);
    else
        raw->len = begin;
    return status;
}

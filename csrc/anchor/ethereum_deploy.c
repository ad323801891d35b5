#include "anchor/ethereum_deploy.h"

#include "anchor/ethereum_fees.h"
#include "anchor/ethereum_signer.h"
#include "anchor/ethereum_values.h"
#include "codec/rlp.h"
#include "hash/keccak.h"

#include <inttypes.h>
#include <string.h>

#define GWEI  1e9
#define ETHER 1e18

/* ---- asking ---- */

static int check_chain(struct mlp_anchor_work *work, uint64_t expected, struct mlp_error *error)
{
    uint64_t seen = 0;
    int status = mlp_ethereum_ask_quantity(work, &seen, "eth_chainId", "[]", error);
    if (status == 0 && seen != expected)
        status = mlp_fail(error, MLP_E_REMOTE,
                          "the Ethereum node is at the chain with id %" PRIu64
                          ", the configuration says %" PRIu64
                          ": nothing was sent; name the node of that chain, or the chain of that "
                          "node",
                          seen, expected);
    return status;
}

static int ask_about_account(struct mlp_anchor_work *work, uint64_t *answer, const char *method,
                             const char *block, const uint8_t account20[20],
                             struct mlp_error *error)
{
    struct mlp_buffer parameters = {0};
    mlp_ethereum_open_parameters(&parameters, account20, 20);
    int status = mlp_ethereum_ask_quantity(work, answer, method,
                                           mlp_ethereum_close_text(&parameters, block), error);
    mlp_buffer_clear(&parameters);
    return status;
}

/* The account's next nonce, where nothing of it is on its way. */
static int ask_nonce(struct mlp_anchor_work *work, uint64_t *nonce, const uint8_t account20[20],
                     struct mlp_error *error)
{
    static const char method[] = "eth_getTransactionCount";
    uint64_t waiting = 0;
    int status = ask_about_account(work, nonce, method, ",\"latest\"]", account20, error);
    if (status == 0)
        status = ask_about_account(work, &waiting, method, ",\"pending\"]", account20, error);
    if (status == 0 && waiting > *nonce)
        status = mlp_fail(error, MLP_E_REMOTE,
                          "the account %s has %" PRIu64
                          " transactions that wait for a block: nothing was sent; wait until they "
                          "are in one ('mlprov sync' for anchors), then deploy",
                          work->endpoint->account, waiting - *nonce);
    return status;
}

static int ask_gas(struct mlp_anchor_work *work, struct mlp_ethereum_intent *intent,
                   const uint8_t account20[20], struct mlp_error *error)
{
    struct mlp_buffer parameters = {0};
    mlp_buffer_append_text(&parameters, "[{\"from\":\"0x");
    mlp_buffer_append_hex(&parameters, account20, 20);
    mlp_buffer_append_text(&parameters, "\",\"data\":\"0x");
    mlp_buffer_append_hex(&parameters, intent->data, intent->data_len);
    int status = mlp_ethereum_ask_quantity(work, &intent->gas, "eth_estimateGas",
                                           mlp_ethereum_close_text(&parameters, "\"}]"), error);
    mlp_buffer_clear(&parameters);
    intent->gas += intent->gas / 5; /* as for anchors: ethereum_contract.c */
    return status;
}

static int ask_fees(struct mlp_anchor_work *work, struct mlp_ethereum_intent *intent,
                    struct mlp_error *error)
{
    const struct mlp_anchor_limits *limits = &work->endpoint->limits;
    struct mlp_ethereum_fees fees = {0};
    int status = mlp_ethereum_fees_ask(work, &fees, limits->min_tip, error);
    if (status == 0 && fees.least > limits->max_fee)
        return mlp_fail(error, MLP_E_REMOTE,
                        "a deployment needs %.3f gwei for a unit of gas now, and max_fee_gwei "
                        "allows %.3f: nothing was sent; raise it in the configuration or wait",
                        (double)fees.least / GWEI, (double)limits->max_fee / GWEI);
    intent->max_fee = fees.max < limits->max_fee ? fees.max : limits->max_fee;
    intent->max_priority_fee = fees.tip;
    return status;
}

static int check_balance(struct mlp_anchor_work *work, const struct mlp_ethereum_intent *intent,
                         const uint8_t account20[20], struct mlp_error *error)
{
    uint64_t balance = 0, cost = 0;
    if (__builtin_mul_overflow(intent->gas, intent->max_fee, &cost))
        cost = UINT64_MAX;
    int status =
        ask_about_account(work, &balance, "eth_getBalance", ",\"latest\"]", account20, error);
    if (status == 0 && balance < cost)
        status = mlp_fail(error, MLP_E_REMOTE,
                          "the account %s has %.9f ether on chain %s, and the deployment may cost "
                          "%.9f: nothing was sent; send it ether",
                          work->endpoint->account, (double)balance / ETHER, work->endpoint->chain,
                          (double)cost / ETHER);
    return status;
}

/* ---- signing ---- */

static int address_of_contract(uint8_t contract20[20], const uint8_t sender20[20], uint64_t nonce,
                               struct mlp_error *error)
{
    struct mlp_buffer items = {0}, list = {0};
    uint8_t hash32[MLP_KECCAK256_LEN];
    mlp_rlp_append_string(&items, sender20, 20);
    mlp_rlp_append_uint64(&items, nonce);
    mlp_rlp_append_list(&list, &items);
    int status = mlp_buffer_status(&list);
    if (status == 0) {
        mlp_keccak256(hash32, list.data, list.len);
        memcpy(contract20, hash32 + 12, 20);
    } else {
        (void)mlp_fail(error, status, "cannot name a contract: out of memory");
    }
    mlp_buffer_clear(&list);
    mlp_buffer_clear(&items);
    return status;
}

int mlp_ethereum_deploy_sign(struct mlp_ethereum_deployment *deployment,
                             const struct mlp_anchor_endpoint *endpoint,
                             struct mlp_http_client *client, const void *bytecode,
                             size_t bytecode_len, struct mlp_error *error)
{
    struct mlp_intent none = {0};
    struct mlp_anchor_work work = {.endpoint = endpoint, .client = client, .intent = &none};
    struct mlp_ethereum_place place = {0};
    struct mlp_ethereum_intent intent = {
        .creates_contract = true, .data = bytecode, .data_len = bytecode_len};
    int status = mlp_ethereum_payer_of(&place, endpoint, error);
    if (status == 0)
        status = check_chain(&work, place.chain_id, error);
    if (status == 0)
        status = ask_nonce(&work, &intent.nonce, place.account20, error);
    if (status == 0)
        status = ask_fees(&work, &intent, error);
    if (status == 0)
        status = ask_gas(&work, &intent, place.account20, error);
    if (status == 0)
        status = check_balance(&work, &intent, place.account20, error);
    if (status == 0)
        status = address_of_contract(deployment->contract20, place.account20, intent.nonce, error);
    intent.chain_id = place.chain_id;
    deployment->gas = intent.gas;
    deployment->max_fee = intent.max_fee;
    if (status == 0)
        status = mlp_ethereum_signer_sign(endpoint->signer, &deployment->raw, deployment->hash32,
                                          &intent, place.account20, client, error);
    return status;
}

/* ethereum.c - a checkpoint's digest on record in a contract on an Ethereum chain: what, who, by when.
 *
 * The order of an anchor's life, and what guards it:
 *   - reserve: the right chain, a contract, the digest not there already; the nonce is what the chain
 *     has counted (`latest`), never less than what this store used;
 *   - plan: fees and gas of the moment, within the user's bounds; signed, decoded, compared;
 *   - submit: chain id again, then the bytes; what the node refuses is sorted by its words, since the
 *     execution API has no codes for it;
 *   - ethereum_follow.c looks what became of it, ethereum_gather.c fetches the evidence.
 *
 * Sources: the execution API's JSON-RPC; the nodes' own texts (geth, reth, anvil, hardhat, nethermind,
 * besu).
 */
#include "anchor/ethereum_contract.h"
#include "anchor/ethereum_fees.h"
#include "anchor/ethereum_follow.h"
#include "anchor/ethereum_gather.h"
#include "anchor/ethereum_signer.h"
#include "anchor/ethereum_values.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define GWEI  1e9
#define ETHER 1e18

/* ---- reserving ---- */

/* The event may be there though this store knows nothing of it: a copy of the store, or a lost one. */
static int find_anchor(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                       const struct mlp_ethereum_place *place, struct mlp_error *error)
{
    bool has = false;
    int status = mlp_ethereum_contract_has(work, &has, place, error);
    if (status != 0 || !has)
        return status;
    status = mlp_ethereum_search(work, outcome, place, error);
    if (status == 0 && outcome->next == MLP_ANCHOR_PLANNED)
        status = mlp_fail(error, MLP_E_REMOTE,
                          "the contract %s has the digest already, and the node gives no event of "
                          "it by the account %s: nothing was sent; use a node that keeps the logs "
                          "of the whole chain, then run 'mlprov sync --retry'",
                          work->endpoint->target, work->endpoint->account);
    return status;
}

static int reserve(struct mlp_anchor_work *work, int64_t *nonce, int64_t known,
                   struct mlp_anchor_outcome *outcome, struct mlp_error *error)
{
    struct mlp_ethereum_place place = {0};
    uint64_t count = 0;
    int status = mlp_ethereum_place_of(&place, work, error);
    if (status == 0)
        status = mlp_ethereum_check_chain(work, &place, error);
    if (status == 0)
        status = mlp_ethereum_contract_check(work, &place, error);
    if (status == 0)
        status = find_anchor(work, outcome, &place, error);
    if (status == 0)
        status = mlp_ethereum_count(work, &count, &place, error);
    if (status != 0 || outcome->next != MLP_ANCHOR_PLANNED)
        return status;
    if (count < (uint64_t)known)
        return mlp_fail(
            error, MLP_E_NETWORK,
            "the Ethereum node counts %" PRIu64
            " transactions of %s, and this store has used %" PRId64
            " nonces: the node is behind, or it is another chain with the same id; wait, "
            "or use a new account for a chain that began anew",
            count, work->endpoint->account, known);
    if (count > INT64_MAX)
        return mlp_fail(error, MLP_E_REMOTE, "the Ethereum node's transaction count is no count");
    *nonce = (int64_t)count;
    return 0;
}

/* ---- signing ---- */

static int check_balance(struct mlp_anchor_work *work, const struct mlp_ethereum_place *place,
                         const struct mlp_ethereum_intent *intent, struct mlp_error *error)
{
    struct mlp_buffer parameters = {0};
    uint64_t balance = 0, cost = 0;
    mlp_ethereum_open_parameters(&parameters, place->account20, 20);
    int status =
        mlp_ethereum_ask_quantity(work, &balance, "eth_getBalance",
                                  mlp_ethereum_close_text(&parameters, ",\"latest\"]"), error);
    mlp_buffer_clear(&parameters);
    if (__builtin_mul_overflow(intent->gas, intent->max_fee, &cost))
        cost = UINT64_MAX;
    if (status == 0 && balance < cost)
        status = mlp_fail(error, MLP_E_REMOTE,
                          "the account %s has %.9f ether on chain %s, and an anchor may cost %.9f: "
                          "nothing was sent; send it ether, then run 'mlprov sync --retry'",
                          work->endpoint->account, (double)balance / ETHER, work->endpoint->chain,
                          (double)cost / ETHER);
    return status;
}

static int cap_gas(uint64_t gas, uint64_t max_gas, struct mlp_error *error)
{
    if (gas <= max_gas)
        return 0;
    return mlp_fail(error, MLP_E_REMOTE,
                    "an anchor needs %" PRIu64 " gas, and max_gas allows %" PRIu64
                    "; raise it in the configuration, then run 'mlprov sync --retry'",
                    gas, max_gas);
}

/* Fees and gas for the first attempt, or for one that replaces the last. */
static int price(struct mlp_anchor_work *work, struct mlp_ethereum_intent *intent,
                 const struct mlp_ethereum_place *place, struct mlp_error *error)
{
    const struct mlp_anchor_limits *limits = &work->endpoint->limits;
    const struct mlp_buffer *last = &mlp_intent_last(work->intent)->bytes;
    struct mlp_ethereum_fees fees = {0};
    struct mlp_ethereum_transaction before = {0};
    int status = mlp_ethereum_fees_ask(work, &fees, limits->min_tip, error);
    if (status == 0 && last->len > 0) {
        status = mlp_ethereum_transaction_decode(&before, last->data, last->len, error);
        mlp_ethereum_fees_replace(&fees, before.fields.max_priority_fee, before.fields.max_fee);
        intent->gas = before.fields.gas;
    } else if (status == 0) {
        status = mlp_ethereum_contract_gas(work, &intent->gas, place, error);
    }
    if (status == 0)
        status = cap_gas(intent->gas, limits->max_gas, error);
    if (status == 0)
        status = mlp_ethereum_fees_cap(&fees, limits->max_fee, error);
    intent->max_fee = fees.max;
    intent->max_priority_fee = fees.tip;
    return status;
}

static int plan(struct mlp_anchor_work *work, struct mlp_buffer *reference,
                struct mlp_buffer *bytes, struct mlp_error *error)
{
    const struct mlp_anchor_endpoint *endpoint = work->endpoint;
    struct mlp_ethereum_place place = {0};
    struct mlp_buffer data = {0};
    uint8_t hash32[32];
    int status = mlp_ethereum_place_of(&place, work, error);
    if (status == 0 && endpoint->signer == NULL)
        status = mlp_fail(error, MLP_E_REMOTE,
                          "nobody is named to sign for the account %s; name a key "
                          "file or a signer in the configuration",
                          endpoint->account);
    if (status == 0 && work->intent->attempts_count > (size_t)endpoint->limits.bumps)
        status =
            mlp_fail(error, MLP_E_REMOTE,
                     "the anchor's transaction was replaced %d times and is in no block; raise "
                     "bumps or max_fee_gwei in the configuration, then run 'mlprov sync "
                     "--retry', which also finds it if it was mined meanwhile",
                     endpoint->limits.bumps);
    if (status == 0)
        status = mlp_ethereum_check_chain(work, &place, error);
    if (status != 0)
        return status;
    mlp_ethereum_contract_call(&data, &place);
    struct mlp_ethereum_intent intent = {.chain_id = place.chain_id,
                                         .nonce = (uint64_t)work->intent->nonce,
                                         .data = data.data,
                                         .data_len = data.len};
    memcpy(intent.to20, place.contract20, sizeof intent.to20);
    status = mlp_buffer_status(&data) != 0
                 ? mlp_fail(error, MLP_E_MEMORY, "cannot plan an anchor: out of memory")
                 : price(work, &intent, &place, error);
    if (status == 0)
        status = check_balance(work, &place, &intent, error);
    if (status == 0)
        status = mlp_ethereum_signer_sign(endpoint->signer, bytes, hash32, &intent, place.account20,
                                          work->client, error);
    if (status == 0)
        mlp_buffer_append(reference, hash32, sizeof hash32);
    mlp_buffer_clear(&data);
    return status;
}

/* ---- sending ---- */

enum refusal {
    KNOWN,       /* the node has it already */
    USED,        /* the nonce is taken: by an attempt of ours, or not */
    UNDERPRICED, /* to be replaced */
    HOPELESS,    /* as it is, it will never be taken */
    UNKNOWN,
};

/* Parts of the nodes' texts, in the order in which they are looked for. */
static const struct {
    const char *part;
    enum refusal refusal;
} refusals[] = {
    {"already known", KNOWN},
    {"already imported", KNOWN},
    {"known transaction", KNOWN},
    {"alreadyknown", KNOWN},
    {"nonce too low", USED},
    {"nonce is too low", USED},
    {"oldnonce", USED},
    {"underpriced", UNDERPRICED},
    {"max fee per gas less than block base fee", UNDERPRICED},
    {"maxfeepergas", UNDERPRICED},
    {"feetoolow", UNDERPRICED},
    {"gas price below", UNDERPRICED},
    {"replacementnotallowed", UNDERPRICED},
    {"insufficient funds", HOPELESS},
    {"insufficientfunds", HOPELESS},
    {"enough funds", HOPELESS},
    {"configured cap", HOPELESS},
    {"chain id", HOPELESS},
    {"chainid", HOPELESS},
    {"intrinsic gas", HOPELESS},
    {"gas limit", HOPELESS},
    {"revert", HOPELESS},
};

static enum refusal refusal_of(const struct mlp_json_rpc_answer *answer)
{
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        if (mlp_ethereum_says(answer->message, answer->message_len, refusals[i].part))
            return refusals[i].refusal;
    }
    return UNKNOWN;
}

static int refuse(const struct mlp_json_rpc_answer *answer, struct mlp_anchor_outcome *outcome,
                  struct mlp_error *error)
{
    char said[MLP_ETHEREUM_SAID_MAX];
    mlp_ethereum_said(said, answer->message, answer->message_len);
    switch (refusal_of(answer)) {
    case KNOWN:
        outcome->accepted = true;
        return 0;
    case USED:
        outcome->next = MLP_ANCHOR_REPLACED;
        return 0;
    case UNDERPRICED:
        outcome->replace = true;
        return 0;
    case HOPELESS:
        return mlp_fail(
            error, MLP_E_REMOTE,
            "the Ethereum node does not take the anchor's transaction: %s; mend that, then "
            "run 'mlprov sync --retry'",
            said);
    default:
        return mlp_fail(error, MLP_E_NETWORK,
                        "the Ethereum node answered to eth_sendRawTransaction with error %lld: %s",
                        (long long)answer->code, said);
    }
}

static int check_sent(const struct mlp_json_rpc_answer *answer, const struct mlp_attempt *last,
                      struct mlp_error *error)
{
    uint8_t hash32[32];
    int status = mlp_ethereum_fixed(hash32, 32, answer->result, "the transaction's hash", error);
    if (status == 0 && (last->reference.len != 32 || memcmp(hash32, last->reference.data, 32) != 0))
        status =
            mlp_fail(error, MLP_E_MISMATCH,
                     "the Ethereum node names the anchor's transaction otherwise than its bytes "
                     "do; use a node that you trust, then run 'mlprov sync --retry'");
    return status;
}

static int submit(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                  struct mlp_error *error)
{
    const struct mlp_attempt *last = mlp_intent_last(work->intent);
    struct mlp_ethereum_place place = {0};
    struct mlp_buffer parameters = {0};
    struct mlp_json_rpc_answer answer = {0};
    int status = mlp_ethereum_place_of(&place, work, error);
    if (status == 0)
        status = mlp_ethereum_check_chain(work, &place, error);
    mlp_ethereum_open_parameters(&parameters, last->bytes.data, last->bytes.len);
    if (status == 0)
        status = mlp_ethereum_call(work, &answer, "eth_sendRawTransaction",
                                   mlp_ethereum_close_text(&parameters, "]"), error);
    if (status == 0 && answer.result == NULL)
        status = refuse(&answer, outcome, error);
    else if (status == 0) {
        status = check_sent(&answer, last, error);
        outcome->accepted = status == 0;
    }
    mlp_json_rpc_answer_clear(&answer);
    mlp_buffer_clear(&parameters);
    return status;
}

/* ---- evidence ---- */

static int verify(const void *evidence, size_t evidence_len, const void *payload,
                  size_t payload_len, struct mlp_error *error)
{
    uint8_t digest32[32];
    struct mlp_ethereum_anchor anchor;
    int status = mlp_ethereum_digest(digest32, payload, payload_len, error);
    if (status == 0)
        status = mlp_ethereum_evidence_verify(&anchor, evidence, evidence_len, digest32, error);
    return status;
}

const struct mlp_anchor_kind mlp_anchor_ethereum = {.name = "ethereum",
                                                    .chain = NULL,
                                                    .reserve = reserve,
                                                    .plan = plan,
                                                    .submit = submit,
                                                    .poll = mlp_ethereum_poll,
                                                    .prove = mlp_ethereum_gather,
                                                    .verify = verify};

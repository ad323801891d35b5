#include "anchor/ethereum_follow.h"

#include "anchor/deliver.h"
#include "anchor/ethereum_contract.h"
#include "anchor/ethereum_values.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_MAX 4096

/* ---- what is written down ---- */

static void append_hash(struct mlp_buffer *json, const char *before, const uint8_t hash32[32])
{
    mlp_buffer_append_text(json, before);
    mlp_buffer_append_hex(json, hash32, 32);
    mlp_buffer_append_text(json, "\"");
}

/* The product of two numbers of 64 bits takes up to 39 digits. */
static void append_product(struct mlp_buffer *json, uint64_t left, uint64_t right)
{
    char digits[40];
    size_t at = sizeof digits - 1;
    unsigned __int128 product = (unsigned __int128)left * right;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + (int)(product % 10));
        product /= 10;
    } while (product != 0);
    mlp_buffer_append_text(json, digits + at);
}

static void write_shown(struct mlp_buffer *json, const struct mlp_ethereum_shown *shown,
                        uint64_t gas_used, uint64_t price)
{
    append_hash(json, "{\"block\":\"0x", shown->block.hash32);
    mlp_buffer_append_text(json, ",\"cost\":\"");
    append_product(json, gas_used, price);
    mlp_buffer_append_text(json, "\",\"gas_used\":");
    mlp_buffer_append_u64(json, gas_used);
    mlp_buffer_append_text(json, ",\"number\":");
    mlp_buffer_append_u64(json, shown->block.number);
    append_hash(json, ",\"transaction\":\"0x", shown->transaction32);
    mlp_buffer_append_text(json, "}");
}

int mlp_ethereum_shown_read(struct mlp_ethereum_shown *shown, const struct mlp_buffer *json,
                            struct mlp_error *error)
{
    struct mlp_json_document *document = NULL;
    int status = mlp_json_read(&document, json->data, json->len, SHOWN_MAX, 2, error);
    const struct mlp_json_value *root = status == 0 ? mlp_json_root(document) : NULL;
    if (status == 0 &&
        (mlp_ethereum_fixed(shown->block.hash32, 32, mlp_json_get(root, "block"), "", NULL) != 0 ||
         mlp_ethereum_fixed(shown->transaction32, 32, mlp_json_get(root, "transaction"), "",
                            NULL) != 0 ||
         mlp_json_get(root, "number") == NULL))
        status = MLP_E_MALFORMED;
    if (status == 0)
        shown->block.number = (uint64_t)mlp_json_integer(mlp_json_get(root, "number"));
    mlp_json_free(document);
    if (status == MLP_E_MALFORMED)
        status = mlp_fail(error, MLP_E_CORRUPT,
                          "what the outbox says of an Ethereum anchor's block cannot be read");
    return status;
}

/* ---- one transaction ---- */

int mlp_ethereum_is_canonical(struct mlp_anchor_work *work, bool *there,
                              const struct mlp_ethereum_block_name *block, struct mlp_error *error)
{
    struct mlp_ethereum_block_name now = {0};
    bool found = false;
    int status = mlp_ethereum_block_at(work, &found, &now, block->number, error);
    if (status == 0)
        *there = found && memcmp(now.hash32, block->hash32, 32) == 0;
    return status;
}

struct receipt {
    struct mlp_ethereum_shown shown;
    uint64_t succeeded;
    uint64_t gas_used;
    uint64_t price;
};

static int read_receipt(struct receipt *receipt, const struct mlp_json_value *value,
                        const uint8_t transaction32[32], struct mlp_error *error)
{
    struct mlp_ethereum_shown *shown = &receipt->shown;
    int status =
        mlp_ethereum_fixed(shown->transaction32, 32, mlp_json_get(value, "transactionHash"),
                           "a receipt's transaction", error);
    if (status == 0)
        status = mlp_ethereum_fixed(shown->block.hash32, 32, mlp_json_get(value, "blockHash"),
                                    "a receipt's block", error);
    const struct {
        const char *key;
        const char *what;
        uint64_t *number;
    } numbers[] = {{"blockNumber", "a receipt's height", &shown->block.number},
                   {"status", "a receipt's status", &receipt->succeeded},
                   {"gasUsed", "a receipt's gas", &receipt->gas_used},
                   {"effectiveGasPrice", "a receipt's price", &receipt->price}};
    for (size_t i = 0; status == 0 && i < sizeof numbers / sizeof numbers[0]; i++)
        status = mlp_ethereum_quantity(numbers[i].number, mlp_json_get(value, numbers[i].key),
                                       numbers[i].what, error);
    if (status == 0 && memcmp(shown->transaction32, transaction32, 32) != 0)
        status = mlp_fail(error, MLP_E_MISMATCH,
                          "the Ethereum node answered the receipt of another transaction than was "
                          "asked for; use a node that you trust");
    return status;
}

static void conclude(struct mlp_anchor_outcome *outcome, const struct receipt *receipt,
                     enum mlp_anchor_state next)
{
    outcome->next = next;
    mlp_buffer_append(&outcome->reference, receipt->shown.transaction32, 32);
    write_shown(&outcome->shown, &receipt->shown, receipt->gas_used, receipt->price);
}

/* Out: receipt: where there is one of a block of the chain (found). emitted: it has the event. */
static int ask_receipt(struct mlp_anchor_work *work, struct receipt *receipt, bool *found,
                       bool *emitted, const struct mlp_ethereum_place *place,
                       const uint8_t transaction32[32], struct mlp_error *error)
{
    struct mlp_buffer parameters = {0};
    struct mlp_json_rpc_answer answer = {0};
    *found = false;
    mlp_ethereum_open_parameters(&parameters, transaction32, 32);
    int status = mlp_ethereum_ask(work, &answer, "eth_getTransactionReceipt",
                                  mlp_ethereum_close_text(&parameters, "]"), error);
    bool nothing = status != 0 || mlp_ethereum_is_nothing(answer.result);
    if (!nothing)
        status = read_receipt(receipt, answer.result, transaction32, error);
    if (!nothing && status == 0) {
        *emitted = mlp_ethereum_contract_emitted(answer.result, place);
        status = mlp_ethereum_is_canonical(work, found, &receipt->shown.block, error);
    }
    mlp_json_rpc_answer_clear(&answer);
    mlp_buffer_clear(&parameters);
    return status;
}

int mlp_ethereum_search(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                        const struct mlp_ethereum_place *place, struct mlp_error *error)
{
    uint8_t transaction32[32];
    struct receipt receipt = {0};
    bool found = false, emitted = false;
    int status = mlp_ethereum_contract_find(work, &found, transaction32, place, error);
    if (status == 0 && found)
        status = ask_receipt(work, &receipt, &found, &emitted, place, transaction32, error);
    if (status == 0 && found && emitted)
        conclude(outcome, &receipt, MLP_ANCHOR_INCLUDED);
    return status;
}

int mlp_ethereum_look(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                      const struct mlp_ethereum_place *place, const uint8_t transaction32[32],
                      struct mlp_error *error)
{
    struct receipt receipt = {0};
    bool found = false, emitted = false;
    int status = ask_receipt(work, &receipt, &found, &emitted, place, transaction32, error);
    if (status != 0 || !found)
        return status;
    /* The contract keeps silent about what it has: another transaction may have been first. */
    if (receipt.succeeded == 1 && !emitted)
        status = mlp_ethereum_search(work, outcome, place, error);
    if (status == 0 && outcome->next == work->intent->state)
        conclude(outcome, &receipt,
                 receipt.succeeded == 1 && emitted ? MLP_ANCHOR_INCLUDED : MLP_ANCHOR_REVERTED);
    return status;
}

/* ---- an intent ---- */

/* Whether the node knows a transaction, in a block or waiting. */
static int is_known(struct mlp_anchor_work *work, bool *known, const struct mlp_buffer *reference,
                    struct mlp_error *error)
{
    struct mlp_buffer parameters = {0};
    struct mlp_json_rpc_answer answer = {0};
    mlp_ethereum_open_parameters(&parameters, reference->data, reference->len);
    int status = mlp_ethereum_ask(work, &answer, "eth_getTransactionByHash",
                                  mlp_ethereum_close_text(&parameters, "]"), error);
    if (status == 0)
        *known = !mlp_ethereum_is_nothing(answer.result);
    mlp_json_rpc_answer_clear(&answer);
    mlp_buffer_clear(&parameters);
    return status;
}

/* Every attempt, the last first: any that is mined wins. */
static int look_at_attempts(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                            const struct mlp_ethereum_place *place, struct mlp_error *error)
{
    const struct mlp_intent *intent = work->intent;
    int status = 0;
    for (size_t i = intent->attempts_count; status == 0 && i > 0; i--) {
        const struct mlp_buffer *reference = &intent->attempts[i - 1].reference;
        if (outcome->next == intent->state && reference->len == 32)
            status = mlp_ethereum_look(work, outcome, place, reference->data, error);
    }
    return status;
}

static int look_at_last(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                        struct mlp_error *error)
{
    const struct mlp_attempt *last = mlp_intent_last(work->intent);
    int status = is_known(work, &outcome->found, &last->reference, error);
    if (status != 0)
        return status;
    if (!outcome->found && last->accepted_ms != 0)
        outcome->next = MLP_ANCHOR_DROPPED;
    if (outcome->found && last->accepted_ms == 0)
        outcome->accepted = true; /* the answer to an earlier send was lost */
    if (outcome->found && last->accepted_ms != 0)
        outcome->replace =
            mlp_deliver_now_ms() - last->accepted_ms > work->endpoint->limits.bump_ms;
    return 0;
}

static int poll_sent(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                     const struct mlp_ethereum_place *place, struct mlp_error *error)
{
    uint64_t count = 0;
    /* Before the receipts: a nonce that is used and an attempt that is mined in between agree. */
    int status = mlp_ethereum_count(work, &count, place, error);
    if (status == 0)
        status = look_at_attempts(work, outcome, place, error);
    if (status != 0 || outcome->next != MLP_ANCHOR_SENT)
        return status;
    if (count > (uint64_t)work->intent->nonce) {
        outcome->next = MLP_ANCHOR_REPLACED;
        return 0;
    }
    return look_at_last(work, outcome, error);
}

/* Another transaction has the nonce: did it, or any other, anchor the digest? */
static int poll_replaced(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                         const struct mlp_ethereum_place *place, struct mlp_error *error)
{
    int status = look_at_attempts(work, outcome, place, error);
    if (status == 0 && outcome->next == MLP_ANCHOR_REPLACED)
        status = mlp_ethereum_search(work, outcome, place, error);
    if (status == 0 && outcome->next == MLP_ANCHOR_REPLACED)
        outcome->next = MLP_ANCHOR_FOREIGN;
    return status;
}

/* At the finalized tag or below; where the node says that it knows no such tag, by confirmations. */
static int is_final(struct mlp_anchor_work *work, bool *final, uint64_t number,
                    struct mlp_error *error)
{
    struct mlp_ethereum_block_name block = {0};
    bool found = false;
    int status = mlp_ethereum_block_named(work, &found, &block, "finalized", error);
    if (status != 0 || found) {
        *final = status == 0 && block.number >= number;
        return status;
    }
    status = mlp_ethereum_block_named(work, &found, &block, "latest", error);
    if (status == 0)
        *final = found && block.number >= number &&
                 block.number - number + 1 >= (uint64_t)work->endpoint->limits.confirmations;
    return status;
}

static int poll_proved(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                       struct mlp_error *error)
{
    struct mlp_ethereum_shown shown = {0};
    bool final = false, there = false;
    int status = mlp_ethereum_shown_read(&shown, &work->intent->shown, error);
    if (status == 0)
        status = is_final(work, &final, shown.block.number, error);
    /* After that: a block below the finalized one that is ours stays ours. */
    if (status == 0)
        status = mlp_ethereum_is_canonical(work, &there, &shown.block, error);
    if (status == 0 && !there)
        outcome->next = MLP_ANCHOR_REORGED;
    else if (status == 0 && final)
        outcome->next = MLP_ANCHOR_FINAL;
    return status;
}

static int fail_reverted(const struct mlp_anchor_work *work, const struct mlp_ethereum_place *place,
                         struct mlp_error *error)
{
    return mlp_fail(error, MLP_E_REMOTE,
                    "the contract %s refused the anchor or recorded nothing, and the gas is spent; "
                    "check that it is %s and lets the account %s store, then run 'mlprov sync "
                    "--retry'",
                    work->endpoint->target, mlp_ethereum_event_name(place->event),
                    work->endpoint->account);
}

static int fail_foreign(const struct mlp_anchor_work *work, struct mlp_error *error)
{
    return mlp_fail(
        error, MLP_E_REMOTE,
        "another transaction of the account %s took the nonce of this anchor, and the chain "
        "has no event of it; give mlprov an account that nothing else sends from, then "
        "run 'mlprov sync --retry', which looks once more and else sends anew",
        work->endpoint->account);
}

int mlp_ethereum_poll(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                      struct mlp_error *error)
{
    struct mlp_ethereum_place place = {0};
    int status = mlp_ethereum_place_of(&place, work, error);
    if (status != 0)
        return status;
    if (work->intent->state == MLP_ANCHOR_REVERTED)
        return fail_reverted(work, &place, error);
    if (work->intent->state == MLP_ANCHOR_FOREIGN)
        return fail_foreign(work, error);
    status = mlp_ethereum_check_chain(work, &place, error);
    if (status != 0)
        return status;
    if (work->intent->state == MLP_ANCHOR_SENT)
        return poll_sent(work, outcome, &place, error);
    if (work->intent->state == MLP_ANCHOR_REPLACED)
        return poll_replaced(work, outcome, &place, error);
    return poll_proved(work, outcome, error);
}

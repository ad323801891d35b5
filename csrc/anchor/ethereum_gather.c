#include "anchor/ethereum_gather.h"

#include "anchor/ethereum_follow.h"
#include "anchor/ethereum_json.h"
#include "anchor/ethereum_prove.h"
#include "anchor/ethereum_values.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- receipts ---- */

/* Of all transactions of a block: from one answer, or from one for each. */
struct receipts {
    struct mlp_json_rpc_answer *answers;
    size_t answers_count;
    const struct mlp_json_value **each;
    size_t count;
};

static void clear_receipts(struct receipts *receipts)
{
    for (size_t i = 0; i < receipts->answers_count; i++)
        mlp_json_rpc_answer_clear(&receipts->answers[i]);
    free(receipts->answers);
    free(receipts->each);
}

/* Out: offered: whether the node has eth_getBlockReceipts. */
static int ask_at_once(struct mlp_anchor_work *work, struct receipts *receipts, bool *offered,
                       const struct mlp_ethereum_block_name *block, struct mlp_error *error)
{
    struct mlp_buffer parameters = {0};
    struct mlp_json_rpc_answer *answer = &receipts->answers[0];
    mlp_ethereum_open_parameters(&parameters, block->hash32, 32);
    int status = mlp_ethereum_call(work, answer, "eth_getBlockReceipts",
                                   mlp_ethereum_close_text(&parameters, "]"), error);
    mlp_buffer_clear(&parameters);
    receipts->answers_count = 1;
    *offered = status == 0 && mlp_json_count(answer->result) == receipts->count;
    for (size_t i = 0; *offered && i < receipts->count; i++)
        receipts->each[i] = mlp_json_at(answer->result, i);
    return status;
}

static int ask_each(struct mlp_anchor_work *work, struct receipts *receipts,
                    const struct mlp_json_value *transactions, struct mlp_error *error)
{
    int status = 0;
    for (size_t i = 0; status == 0 && i < receipts->count; i++) {
        uint8_t hash32[32];
        struct mlp_buffer parameters = {0};
        const struct mlp_json_value *transaction = mlp_json_at(transactions, i);
        status = mlp_ethereum_fixed(hash32, 32, mlp_json_get(transaction, "hash"),
                                    "a transaction's hash", error);
        mlp_ethereum_open_parameters(&parameters, hash32, 32);
        if (status == 0)
            status = mlp_ethereum_ask(work, &receipts->answers[i], "eth_getTransactionReceipt",
                                      mlp_ethereum_close_text(&parameters, "]"), error);
        receipts->each[i] = receipts->answers[i].result;
        mlp_buffer_clear(&parameters);
    }
    receipts->answers_count = receipts->count;
    return status;
}

static int ask_receipts(struct mlp_anchor_work *work, struct receipts *receipts,
                        const struct mlp_ethereum_block_name *block,
                        const struct mlp_json_value *transactions, struct mlp_error *error)
{
    bool offered = false;
    receipts->count = mlp_json_count(transactions);
    receipts->answers = calloc(receipts->count + 1, sizeof *receipts->answers);
    receipts->each = calloc(receipts->count + 1, sizeof *receipts->each);
    if (receipts->answers == NULL || receipts->each == NULL)
        return mlp_fail(error, MLP_E_MEMORY, "cannot ask for receipts: out of memory");
    int status = ask_at_once(work, receipts, &offered, block, error);
    if (status == 0 && !offered)
        status = ask_each(work, receipts, transactions, error);
    return status;
}

/* ---- header ---- */

/* Its RLP: of the block's members, or as the node keeps it, where a fork added members that are not
 * known here. */
static int take_header(struct mlp_anchor_work *work, struct mlp_buffer *header,
                       const struct mlp_json_value *block,
                       const struct mlp_ethereum_block_name *name, struct mlp_error *error)
{
    char parameters[32];
    struct mlp_json_rpc_answer answer = {0};
    struct mlp_error detail = {0};
    int status = mlp_ethereum_json_header(header, block, &detail);
    if (status == 0)
        return 0;
    header->len = 0;
    if (status != MLP_E_MISMATCH)
        return mlp_fail(error, status, "%s", detail.message);
    (void)snprintf(parameters, sizeof parameters, "[\"0x%" PRIx64 "\"]", name->number);
    status = mlp_ethereum_ask(work, &answer, "debug_getRawHeader", parameters, error);
    if (status == 0)
        status = mlp_ethereum_data(header, answer.result, "the raw header", error);
    mlp_json_rpc_answer_clear(&answer);
    return status;
}

/* ---- all of it ---- */

/* Evidence of another chain, contract or account would hold, and be no anchor of ours. */
static int check_anchor(const struct mlp_ethereum_anchor *anchor,
                        const struct mlp_ethereum_place *place,
                        const struct mlp_ethereum_shown *shown, struct mlp_error *error)
{
    const char *what = NULL;
    if (anchor->chain_id != place->chain_id)
        what = "its transaction is for another chain";
    else if (memcmp(anchor->contract20, place->contract20, 20) != 0)
        what = "another contract emitted the event";
    else if (memcmp(anchor->sender20, place->account20, 20) != 0)
        what = "another account sent the transaction";
    else if (memcmp(anchor->block32, shown->block.hash32, 32) != 0)
        what = "the block is another";
    if (what == NULL)
        return 0;
    return mlp_fail(
        error, MLP_E_MISMATCH,
        "the Ethereum node's proof is not that of the anchor: %s; use a node that you trust", what);
}

static int make(struct mlp_anchor_work *work, struct mlp_buffer *evidence,
                const struct mlp_json_value *block, const struct mlp_ethereum_shown *shown,
                const struct mlp_ethereum_place *place, struct mlp_error *error)
{
    struct receipts receipts = {0};
    struct mlp_buffer header = {0};
    struct mlp_ethereum_anchor anchor;
    int status = take_header(work, &header, block, &shown->block, error);
    if (status == 0)
        status = ask_receipts(work, &receipts, &shown->block, mlp_json_get(block, "transactions"),
                              error);
    if (status == 0) {
        struct mlp_trie_bytes raw_header = {header.data, header.len};
        status = mlp_ethereum_prove(evidence, &anchor, block, receipts.each, receipts.count,
                                    raw_header, shown->transaction32, place->digest32, error);
    }
    if (status == 0)
        status = check_anchor(&anchor, place, shown, error);
    clear_receipts(&receipts);
    mlp_buffer_clear(&header);
    return status;
}

int mlp_ethereum_gather(struct mlp_anchor_work *work, struct mlp_buffer *evidence,
                        struct mlp_anchor_outcome *outcome, struct mlp_error *error)
{
    struct mlp_ethereum_place place = {0};
    struct mlp_ethereum_shown shown = {0};
    struct mlp_buffer parameters = {0};
    struct mlp_json_rpc_answer answer = {0};
    bool there = false;
    int status = mlp_ethereum_place_of(&place, work, error);
    if (status == 0)
        status = mlp_ethereum_shown_read(&shown, &work->intent->shown, error);
    if (status == 0)
        status = mlp_ethereum_check_chain(work, &place, error);
    if (status == 0)
        status = mlp_ethereum_is_canonical(work, &there, &shown.block, error);
    if (status == 0 && !there)
        outcome->next = MLP_ANCHOR_REORGED;
    mlp_ethereum_open_parameters(&parameters, shown.block.hash32, 32);
    if (status == 0 && there)
        status = mlp_ethereum_ask(work, &answer, "eth_getBlockByHash",
                                  mlp_ethereum_close_text(&parameters, ",true]"), error);
    if (status == 0 && there)
        status = make(work, evidence, answer.result, &shown, &place, error);
    mlp_json_rpc_answer_clear(&answer);
    mlp_buffer_clear(&parameters);
    return status;
}

#include "anchor/ethereum_fees.h"

#include "anchor/ethereum_values.h"

#include <stdlib.h>

#define BLOCKS "0xa"
#define GWEI   1e9

static uint64_t add(uint64_t left, uint64_t right)
{
    uint64_t sum;
    return __builtin_add_overflow(left, right, &sum) ? UINT64_MAX : sum;
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* The median of rewards: an array with an array of one for each block. Empty blocks say 0. */
static int read_tip(uint64_t *tip, const struct mlp_json_value *rewards, struct mlp_error *error)
{
    uint64_t tips[16];
    size_t count = mlp_json_count(rewards);
    count = count < 16 ? count : 16;
    for (size_t i = 0; i < count; i++) {
        int status = mlp_ethereum_quantity(&tips[i], mlp_json_at(mlp_json_at(rewards, i), 0),
                                           "a block's tip", error);
        if (status != 0)
            return status;
    }
    qsort(tips, count, sizeof tips[0], compare);
    *tip = count > 0 ? tips[count / 2] : 0;
    return 0;
}

int mlp_ethereum_fees_ask(struct mlp_anchor_work *work, struct mlp_ethereum_fees *fees,
                          uint64_t min_tip, struct mlp_error *error)
{
    struct mlp_json_rpc_answer answer = {0};
    struct mlp_ethereum_fees read = {0};
    uint64_t base = 0;
    int status = mlp_ethereum_ask(work, &answer, "eth_feeHistory",
                                  "[\"" BLOCKS "\",\"latest\",[50]]", error);
    if (status == 0) {
        const struct mlp_json_value *bases = mlp_json_get(answer.result, "baseFeePerGas");
        size_t count = mlp_json_count(bases);
        /* The last is the next block's. */
        status = mlp_ethereum_quantity(&base, count > 0 ? mlp_json_at(bases, count - 1) : NULL,
                                       "the next base fee", error);
    }
    if (status == 0)
        status = read_tip(&read.tip, mlp_json_get(answer.result, "reward"), error);
    mlp_json_rpc_answer_clear(&answer);
    if (status != 0)
        return status;
    read.tip = read.tip > min_tip ? read.tip : min_tip;
    read.least = add(base, read.tip);
    read.max = add(base, read.least);
    *fees = read;
    return 0;
}

static uint64_t raised(uint64_t old)
{
    return add(old, old / 10 + (old % 10 != 0) + 1);
}

static uint64_t larger(uint64_t left, uint64_t right)
{
    return left > right ? left : right;
}

void mlp_ethereum_fees_replace(struct mlp_ethereum_fees *fees, uint64_t old_tip, uint64_t old_max)
{
    fees->tip = larger(fees->tip, raised(old_tip));
    fees->max = larger(fees->max, raised(old_max));
    fees->least = larger(fees->least, raised(old_max));
}

int mlp_ethereum_fees_cap(struct mlp_ethereum_fees *fees, uint64_t max_fee, struct mlp_error *error)
{
    if (fees->least > max_fee)
        return mlp_fail(error, MLP_E_REMOTE,
                        "an anchor needs %.3f gwei for a unit of gas now, and max_fee_gwei allows "
                        "%.3f; raise it in the configuration or wait, then run 'mlprov sync "
                        "--retry'",
                        (double)fees->least / GWEI, (double)max_fee / GWEI);
    fees->max = fees->max < max_fee ? fees->max : max_fee;
    return 0;
}

/* ethereum_fees.h - what to offer for gas: the market, replacements, the user's bounds.
 *
 * Source: EIP-1559 (what a block takes is its base fee and the tip, at most max; the base fee rises by
 * an eighth a block at most). max is twice the next base fee and the tip: enough for five full blocks.
 * geth and others replace a waiting transaction where both fees are a tenth higher.
 *
 * Threads: as ethereum_rpc.h.
 */
#ifndef MLP_ANCHOR_ETHEREUM_FEES_H
#define MLP_ANCHOR_ETHEREUM_FEES_H

#include "anchor/ethereum_rpc.h"

/* Wei for a unit of gas. */
struct mlp_ethereum_fees {
    uint64_t tip;   /* maxPriorityFeePerGas */
    uint64_t max;   /* maxFeePerGas */
    uint64_t least; /* below it max gets nowhere: the next block's base fee and the tip */
};

/* What the last blocks say: the median of their median tips, not below min_tip.
 * Returns: as ethereum_rpc.h.
 */
int mlp_ethereum_fees_ask(struct mlp_anchor_work *work, struct mlp_ethereum_fees *fees,
                          uint64_t min_tip, struct mlp_error *error);

/* Raises all to what replaces a transaction: a tenth more, rounded up, and 1. */
void mlp_ethereum_fees_replace(struct mlp_ethereum_fees *fees, uint64_t old_tip, uint64_t old_max);

/* Lowers max to the user's cap, as long as that is not below least.
 * Returns: 0, or MLP_E_REMOTE (it is: says what to raise).
 */
int mlp_ethereum_fees_cap(struct mlp_ethereum_fees *fees, uint64_t max_fee,
                          struct mlp_error *error);

#endif

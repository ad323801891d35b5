/* ethereum_gather.h - the evidence of an anchor, asked of a node when its transaction is in a block.
 *
 * Threads, returns: as ethereum_rpc.h.
 */
#ifndef MLP_ANCHOR_ETHEREUM_GATHER_H
#define MLP_ANCHOR_ETHEREUM_GATHER_H

#include "anchor/ethereum_rpc.h"

/* Struct mlp_anchor_kind's prove: block, receipts and header become evidence that holds, about the
 * endpoint's chain, contract and account. */
int mlp_ethereum_gather(struct mlp_anchor_work *work, struct mlp_buffer *evidence,
                        struct mlp_anchor_outcome *outcome, struct mlp_error *error);

#endif

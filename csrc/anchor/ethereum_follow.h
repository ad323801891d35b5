/* ethereum_follow.h - what became of an intent on the chain.
 *
 * A receipt counts only where the chain has its block at its height: nodes keep receipts of blocks
 * that a reorganisation put aside. What is there is written down as JSON (JCS) for outbox and people:
 *
 *     {"block":"0x...","cost":"<wei>","gas_used":n,"number":n,"transaction":"0x..."}
 *
 * Threads, returns: as ethereum_rpc.h.
 */
#ifndef MLP_ANCHOR_ETHEREUM_FOLLOW_H
#define MLP_ANCHOR_ETHEREUM_FOLLOW_H

#include "anchor/ethereum_rpc.h"

/* A transaction of a block, as that JSON says. */
struct mlp_ethereum_shown {
    struct mlp_ethereum_block_name block;
    uint8_t transaction32[32];
};

/* Reads what was written down. Returns: 0; MLP_E_CORRUPT (not what is written here); MLP_E_MEMORY. */
int mlp_ethereum_shown_read(struct mlp_ethereum_shown *shown, const struct mlp_buffer *json,
                            struct mlp_error *error);

/* Whether the chain has a block at its height.
 * Out:     there: so it is. */
int mlp_ethereum_is_canonical(struct mlp_anchor_work *work, bool *there,
                              const struct mlp_ethereum_block_name *block, struct mlp_error *error);

/* Looks for one transaction.
 * Out:     outcome: `included` where the chain has it and it made the event; where another of the
 *          account did that earlier, `included` by that one; `reverted` where it failed or made none;
 *          otherwise unchanged. */
int mlp_ethereum_look(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                      const struct mlp_ethereum_place *place, const uint8_t transaction32[32],
                      struct mlp_error *error);

/* Searches the event in the whole chain.
 * Out:     outcome: `included`, or unchanged. */
int mlp_ethereum_search(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                        const struct mlp_ethereum_place *place, struct mlp_error *error);

/* Struct mlp_anchor_kind's poll. */
int mlp_ethereum_poll(struct mlp_anchor_work *work, struct mlp_anchor_outcome *outcome,
                      struct mlp_error *error);

#endif

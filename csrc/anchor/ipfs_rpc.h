/* ipfs_rpc.h - what is asked of an IPFS node: keep a block, pin, give a block back.
 *
 * CIDs are computed here, from the bytes, before anything is sent; whatever the node answers is compared
 * with them as bytes. A block's name is its content: sending it again changes nothing, so there is nothing
 * to look up before.
 *
 * Source: docs.ipfs.tech/reference/kubo/rpc: POST only; add, block/put, pin/add, pin/ls, block/get.
 *
 * Threads: those of struct mlp_anchor_work.
 * Errors: every function: MLP_E_NETWORK; MLP_E_REMOTE; MLP_E_MISMATCH (the node names another CID, or
 * gives other bytes); MLP_E_MEMORY; MLP_E_CRYPTO.
 */
#ifndef MLP_ANCHOR_IPFS_RPC_H
#define MLP_ANCHOR_IPFS_RPC_H

#include "anchor/anchor.h"
#include "codec/cid.h"

/* Has the node keep a block, which it answers with the block's CID. */
int mlp_ipfs_put(struct mlp_anchor_work *work, const uint8_t cid36[MLP_CID_LEN], const void *block,
                 size_t block_len, struct mlp_error *error);

/* Has it pin a block and all that are under it. */
int mlp_ipfs_pin(struct mlp_anchor_work *work, const uint8_t cid36[MLP_CID_LEN],
                 struct mlp_error *error);

/* Whether it lists the CID among its pins; MLP_E_REMOTE where not. */
int mlp_ipfs_check_pin(struct mlp_anchor_work *work, const uint8_t cid36[MLP_CID_LEN],
                       struct mlp_error *error);

/* Has it give a block of at most block_len_max bytes, whose hash is checked.
 * Out:     work->answer.body: the block, until the next request.
 */
int mlp_ipfs_get(struct mlp_anchor_work *work, const uint8_t cid36[MLP_CID_LEN],
                 size_t block_len_max, struct mlp_error *error);

#endif

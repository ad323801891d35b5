/* ethereum_prove.h - evidence of an anchor, made of what a node answered about its block.
 *
 * To be asked at inclusion: nodes forget. Nothing of the answers is believed: whatever does not make
 * the block's hash and the header's roots ends in an error.
 *
 * Threads: functions touch only what they are given.
 */
#ifndef MLP_ANCHOR_ETHEREUM_PROVE_H
#define MLP_ANCHOR_ETHEREUM_PROVE_H

#include "anchor/ethereum_evidence.h"
#include "codec/json.h"

/* In:      block: the result of eth_getBlockByHash or -ByNumber with whole transactions.
 *          receipts: those of all its transactions, in any order (eth_getBlockReceipts, or
 *          eth_getTransactionReceipt for each).
 *          raw_header: the header's RLP where the node gave it (debug_getRawHeader); data NULL: it is
 *          rebuilt from the block's members.
 * Returns: as mlp_ethereum_evidence_make, mlp_ethereum_json_header, _transaction and _receipt.
 */
int mlp_ethereum_prove(struct mlp_buffer *json, struct mlp_ethereum_anchor *anchor,
                       const struct mlp_json_value *block,
                       const struct mlp_json_value *const *receipts, size_t receipts_count,
                       struct mlp_trie_bytes raw_header, const uint8_t transaction32[32],
                       const uint8_t digest32[32], struct mlp_error *error);

#endif

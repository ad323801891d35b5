/* ethereum_json.h - blocks, transactions and receipts as nodes answer them, made into the bytes that
 * Ethereum hashes.
 *
 * Source: the execution API's JSON-RPC (eth_getBlockByHash with whole transactions,
 * eth_getBlockReceipts, eth_getTransactionReceipt); EIP-2718, 2930, 1559, 4844 and 7702 for the types.
 * Nothing here is believed: a header made so is compared with the block's hash, and transactions and
 * receipts must make the header's roots (ethereum_evidence.h).
 *
 * Threads: functions touch only what they are given.
 */
#ifndef MLP_ANCHOR_ETHEREUM_JSON_H
#define MLP_ANCHOR_ETHEREUM_JSON_H

#include "base/bytes.h"
#include "base/status.h"
#include "codec/json.h"

/* Each appends.
 * Returns: 0; MLP_E_MALFORMED (a member is missing or no hexadecimal text; a type that is not known
 *          here); MLP_E_MEMORY; for the header also MLP_E_MISMATCH (it does not make the block's
 *          "hash": a fork that is not known here appended fields; the node's debug_getRawHeader has
 *          the bytes).
 */
int mlp_ethereum_json_header(struct mlp_buffer *rlp, const struct mlp_json_value *block,
                             struct mlp_error *error);
int mlp_ethereum_json_transaction(struct mlp_buffer *raw, const struct mlp_json_value *transaction,
                                  struct mlp_error *error);
int mlp_ethereum_json_receipt(struct mlp_buffer *bytes, const struct mlp_json_value *receipt,
                              struct mlp_error *error);

#endif

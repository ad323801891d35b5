/* ethereum_block.h - what an Ethereum block consists of, as its hashes take it: header and receipts.
 *
 * Sources: the Yellow Paper, section 4.3 (header: its hash is the Keccak-256 of its RLP; forks append
 * fields); EIP-2718 and EIP-658 (receipts: a type byte, then status, gas, bloom, logs).
 *
 * Threads: functions touch only what they are given.
 */
#ifndef MLP_ANCHOR_ETHEREUM_BLOCK_H
#define MLP_ANCHOR_ETHEREUM_BLOCK_H

#include "base/status.h"
#include "codec/rlp.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mlp_ethereum_header {
    uint8_t hash32[32];
    uint8_t transactions_root32[32];
    uint8_t receipts_root32[32];
    uint64_t number;
    uint64_t timestamp; /* seconds since 1970, as the proposer says */
};

/* Returns: 0 or MLP_E_MALFORMED (fewer than the 15 fields of the first blocks, or one of a wrong
 *          length).
 */
int mlp_ethereum_header_decode(struct mlp_ethereum_header *header, const void *rlp, size_t rlp_len,
                               struct mlp_error *error);

#define MLP_ETHEREUM_TOPICS_MAX 4

/* Points into the receipt's bytes, owns nothing. */
struct mlp_ethereum_log {
    const uint8_t *address20;
    const uint8_t *topics32[MLP_ETHEREUM_TOPICS_MAX];
    size_t topics_count;
};

struct mlp_ethereum_receipt {
    uint8_t type; /* 0 for transactions older than EIP-2718 */
    bool succeeded;
    struct mlp_rlp_item logs;
};

/* Reads a receipt as the trie has it.
 * Returns: 0 or MLP_E_MALFORMED.
 */
int mlp_ethereum_receipt_decode(struct mlp_ethereum_receipt *receipt, const void *bytes,
                                size_t bytes_len, struct mlp_error *error);

/* The log at a place of the receipt, counted from 0.
 * Returns: 0; MLP_E_MISMATCH (the receipt has fewer); MLP_E_MALFORMED.
 */
int mlp_ethereum_receipt_log(struct mlp_ethereum_log *log,
                             const struct mlp_ethereum_receipt *receipt, uint64_t place,
                             struct mlp_error *error);

#endif

/* ethereum_evidence.h - that a block of Ethereum contains an anchor, shown and checked without a node.
 *
 * The format is docs/format.md section 14: one JCS object with the block's header, the proofs of one
 * transaction and of its receipt at the same index, and what follows from them. It holds relative to
 * the block's hash: whether that block belongs to the chain that everybody means, is final, and what
 * its time is worth, is not said here and has to come from whoever verifies.
 *
 * Threads: functions touch only what they are given.
 * Errors: MLP_E_MISMATCH says that a check was made and does not hold; MLP_E_MALFORMED that the
 * evidence cannot be read; MLP_E_CRYPTO that a signature could not be checked (secp256k1.h).
 */
#ifndef MLP_ANCHOR_ETHEREUM_EVIDENCE_H
#define MLP_ANCHOR_ETHEREUM_EVIDENCE_H

#include "anchor/trie.h"
#include "base/bytes.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MLP_ETHEREUM_EVIDENCE_MAX                                                                  \
    65536 /* bytes; an anchor in a full block of mainnet has about 6,000 */

/* The contracts whose events are anchors: mlprov/contracts. */
enum mlp_ethereum_event {
    MLP_ETHEREUM_ANCHOR_STORE = 0,
    MLP_ETHEREUM_ML_PROVENANCE,
    MLP_ETHEREUM_EVENTS_COUNT,
};

/* "AnchorStore" or "MLProvenance". */
const char *mlp_ethereum_event_name(enum mlp_ethereum_event event);

/* The first topic of the event: the Keccak-256 of its signature. */
void mlp_ethereum_event_topic(uint8_t topic32[32], enum mlp_ethereum_event event);

/* What evidence shows. */
struct mlp_ethereum_anchor {
    uint8_t digest32[32];
    uint64_t chain_id;
    uint8_t contract20[20];
    uint8_t sender20[20];
    uint8_t transaction32[32];
    uint8_t block32[32];
    enum mlp_ethereum_event event;
    uint64_t index; /* of the transaction in the block */
    uint64_t log;   /* the event's place in the receipt */
    /* From the header; filled by mlp_ethereum_evidence_verify and _make. */
    uint64_t block_number;
    uint64_t block_time; /* seconds since 1970 */
};

/* Checks evidence, all of it: every byte is bound to the block's hash or must be what our writer
 * makes. The caller compares chain, contract, sender and block with those that he trusts.
 * In:      digest32: the anchor digest that the evidence has to be about.
 * Returns: 0; MLP_E_MISMATCH (says what differs); MLP_E_MALFORMED; MLP_E_CRYPTO; MLP_E_MEMORY.
 */
int mlp_ethereum_evidence_verify(struct mlp_ethereum_anchor *anchor, const void *json,
                                 size_t json_len, const uint8_t digest32[32],
                                 struct mlp_error *error);

/* A block as its hashes take it: ethereum_json.h makes these bytes of what a node answers. */
struct mlp_ethereum_block_parts {
    struct mlp_trie_bytes header;
    const struct mlp_trie_bytes *transactions;
    const struct mlp_trie_bytes *receipts; /* in the same order */
    size_t count;
};

/* Writes the evidence of the anchor that a transaction of a block made, and verifies it.
 * Out:     json: appended to.
 * Returns: 0; MLP_E_MISMATCH (no such transaction in the block; the parts do not make the header's
 *          roots; it failed; it has no event about digest32: each is said); otherwise as
 *          mlp_ethereum_evidence_verify.
 */
int mlp_ethereum_evidence_make(struct mlp_buffer *json, struct mlp_ethereum_anchor *anchor,
                               const struct mlp_ethereum_block_parts *block,
                               const uint8_t transaction32[32], const uint8_t digest32[32],
                               struct mlp_error *error);

#endif

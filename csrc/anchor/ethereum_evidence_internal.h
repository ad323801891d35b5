/* ethereum_evidence_internal.h - evidence taken apart: what its reader, writer and checks share. */
#ifndef MLP_ANCHOR_ETHEREUM_EVIDENCE_INTERNAL_H
#define MLP_ANCHOR_ETHEREUM_EVIDENCE_INTERNAL_H

#include "anchor/ethereum_block.h"
#include "anchor/ethereum_evidence.h"

/* Zero-initialise; mlp_ethereum_evidence_clear releases. */
struct mlp_ethereum_evidence {
    struct mlp_ethereum_anchor claims; /* block_number and block_time are not in the text */
    struct mlp_buffer header;          /* RLP */
    struct mlp_buffer transaction_proof;
    struct mlp_buffer receipt_proof;
};

void mlp_ethereum_evidence_clear(struct mlp_ethereum_evidence *evidence);

/* Appends the JCS text.
 * Returns: 0 or MLP_E_MEMORY.
 */
int mlp_ethereum_evidence_encode(struct mlp_buffer *json,
                                 const struct mlp_ethereum_evidence *evidence,
                                 struct mlp_error *error);

/* Reads the text; strict: exactly the bytes that the encoder writes.
 * Returns: 0; MLP_E_MALFORMED; MLP_E_MEMORY. Clear in any case.
 */
int mlp_ethereum_evidence_decode(struct mlp_ethereum_evidence *evidence, const void *json,
                                 size_t json_len, struct mlp_error *error);

/* Whether a log is the event of an anchor.
 * Returns: 0 or MLP_E_MISMATCH (says what differs).
 */
int mlp_ethereum_check_log(const struct mlp_ethereum_log *log,
                           const struct mlp_ethereum_anchor *anchor, struct mlp_error *error);

#endif

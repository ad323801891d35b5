/* ethereum_signature.h - a signature of somebody else's, made into what Ethereum takes.
 *
 * Key services and PKCS#11 modules give r and s alone: whether s is the low one of two that hold
 * (EIP-2), and which of two keys signed (yParity), is found here, by the account that it has to be.
 *
 * Threads: functions touch only what they are given.
 */
#ifndef MLP_ANCHOR_ETHEREUM_SIGNATURE_H
#define MLP_ANCHOR_ETHEREUM_SIGNATURE_H

#include "anchor/ethereum_transaction.h"

/* Appends the intent as sender signed it.
 * In:      rs64: r and s, big-endian, 32 bytes each; s low or high.
 * Returns: 0; MLP_E_MISMATCH (sender's key did not make it over this intent); MLP_E_MEMORY;
 *          MLP_E_CRYPTO.
 */
int mlp_ethereum_signature_apply(struct mlp_buffer *raw, const uint8_t rs64[64],
                                 const struct mlp_ethereum_intent *intent,
                                 const uint8_t sender20[20], struct mlp_error *error);

#endif

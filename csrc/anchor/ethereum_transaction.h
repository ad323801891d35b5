/* ethereum_transaction.h - transactions of EIP-1559: encode, sign, decode, compare with an intent.
 *
 * Sources: EIP-1559 and EIP-2718. The signing hash is keccak(0x02 || rlp([chainId, nonce,
 * maxPriorityFeePerGas, maxFeePerGas, gas, to, value, data, accessList])); a signed transaction
 * appends yParity, r, s to the list. Signatures are deterministic (RFC 6979): what is signed again is
 * the same transaction, with the same hash.
 *
 * Whatever signed (our key, a node, a key service): decode, then compare with the intent, before
 * anything is sent.
 *
 * Threads: functions touch only what they are given.
 */
#ifndef MLP_ANCHOR_ETHEREUM_TRANSACTION_H
#define MLP_ANCHOR_ETHEREUM_TRANSACTION_H

#include "base/bytes.h"
#include "base/status.h"
#include "sign/ethereum_key.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is to be signed, with an empty access list. Owns nothing. Fees are wei for a unit of gas: what
 * does not fit 64 bits costs more than 18 ether for each. */
struct mlp_ethereum_intent {
    uint64_t chain_id;
    uint64_t nonce;
    uint64_t max_priority_fee;
    uint64_t max_fee;
    uint64_t gas;
    bool creates_contract; /* to20 is not used */
    uint8_t to20[20];
    uint8_t value32[32]; /* wei, big-endian */
    const uint8_t *data; /* may be NULL where data_len is 0 */
    size_t data_len;
};

/* What a signed transaction says, and who signed it. data points into the bytes that were read. */
struct mlp_ethereum_transaction {
    struct mlp_ethereum_intent fields;
    bool has_access_list;
    uint8_t sender20[20];
    uint8_t hash32[32];
};

/* What a key signs.
 * Returns: 0 or MLP_E_MEMORY.
 */
int mlp_ethereum_signing_hash(uint8_t hash32[32], const struct mlp_ethereum_intent *intent,
                              struct mlp_error *error);

/* Appends the transaction as it is sent, and gives its hash.
 * Returns: 0; MLP_E_MEMORY; MLP_E_CRYPTO (secp256k1.h).
 */
int mlp_ethereum_transaction_sign(struct mlp_buffer *raw, uint8_t hash32[32],
                                  const struct mlp_ethereum_intent *intent,
                                  const struct mlp_ethereum_key *key, struct mlp_error *error);

/* The same with a signature that somebody made; it is not checked.
 * Returns: 0; MLP_E_MEMORY.
 */
int mlp_ethereum_transaction_write(struct mlp_buffer *raw, uint8_t hash32[32],
                                   const struct mlp_ethereum_intent *intent,
                                   const struct mlp_secp256k1_signature *signature,
                                   struct mlp_error *error);

/* Reads a signed transaction and recovers its sender.
 * Returns: 0; MLP_E_MALFORMED (another type, not strict RLP, a number too large); MLP_E_MISMATCH (no
 *          key makes its signature); MLP_E_MEMORY; MLP_E_CRYPTO.
 */
int mlp_ethereum_transaction_decode(struct mlp_ethereum_transaction *transaction, const void *raw,
                                    size_t raw_len, struct mlp_error *error);

/* Whether a transaction is the intent, signed by sender: every field.
 * Returns: 0 or MLP_E_MISMATCH (names the first field that differs, what it is and should be).
 */
int mlp_ethereum_transaction_compare(const struct mlp_ethereum_transaction *transaction,
                                     const struct mlp_ethereum_intent *intent,
                                     const uint8_t sender20[20], struct mlp_error *error);

#endif

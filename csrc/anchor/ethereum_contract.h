/* ethereum_contract.h - the contracts that anchors call, and what they answer (mlprov/contracts).
 *
 * Source: the Solidity contract ABI specification: the first four bytes of a signature's Keccak-256,
 * then arguments of 32 bytes each.
 *
 * Threads, returns: as ethereum_rpc.h.
 */
#ifndef MLP_ANCHOR_ETHEREUM_CONTRACT_H
#define MLP_ANCHOR_ETHEREUM_CONTRACT_H

#include "anchor/ethereum_rpc.h"

/* Appends the call that anchors the digest. */
void mlp_ethereum_contract_call(struct mlp_buffer *data, const struct mlp_ethereum_place *place);

/* Whether there is a contract at the address: MLP_E_REMOTE where there is no code. */
int mlp_ethereum_contract_check(struct mlp_anchor_work *work,
                                const struct mlp_ethereum_place *place, struct mlp_error *error);

/* Whether the contract has the digest already: by this account where it keeps accounts apart. */
int mlp_ethereum_contract_has(struct mlp_anchor_work *work, bool *has,
                              const struct mlp_ethereum_place *place, struct mlp_error *error);

/* Searches the chain for the event of the digest.
 * Out:     found: false: the node has none. transaction32: that emitted it. */
int mlp_ethereum_contract_find(struct mlp_anchor_work *work, bool *found, uint8_t transaction32[32],
                               const struct mlp_ethereum_place *place, struct mlp_error *error);

/* Whether a receipt, as the node answered it, is of the account and its logs have the event. */
bool mlp_ethereum_contract_emitted(const struct mlp_json_value *receipt,
                                   const struct mlp_ethereum_place *place);

/* How much gas the call takes at most, with a fifth more; MLP_E_REMOTE where it would fail. */
int mlp_ethereum_contract_gas(struct mlp_anchor_work *work, uint64_t *gas,
                              const struct mlp_ethereum_place *place, struct mlp_error *error);

#endif

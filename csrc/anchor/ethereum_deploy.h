/* ethereum_deploy.h - the transaction that puts a contract on a chain: priced and signed, not sent.
 *
 * The account's next transaction must not be another's: where one of it waits at the node already,
 * nothing is signed, so that a deployment never takes the place of an anchor.
 *
 * Source: the address is the last 20 bytes of keccak(rlp([sender, nonce])) (Yellow Paper, section 7).
 *
 * Threads, returns: as ethereum_rpc.h.
 */
#ifndef MLP_ANCHOR_ETHEREUM_DEPLOY_H
#define MLP_ANCHOR_ETHEREUM_DEPLOY_H

#include "anchor/anchor.h"

/* Zero-initialise; clear raw in any case. */
struct mlp_ethereum_deployment {
    struct mlp_buffer raw; /* the transaction as it is sent */
    uint8_t hash32[32];
    uint8_t contract20[20]; /* where the contract will be */
    uint64_t gas;           /* at most; each unit at most max_fee wei */
    uint64_t max_fee;
};

/* In:      endpoint: chain, account, signer and limits; its target is not used.
 *          bytecode: what creates the contract.
 * Returns: as ethereum_rpc.h, and of the signer (mlp_ethereum_signer_sign).
 */
int mlp_ethereum_deploy_sign(struct mlp_ethereum_deployment *deployment,
                             const struct mlp_anchor_endpoint *endpoint,
                             struct mlp_http_client *client, const void *bytecode,
                             size_t bytecode_len, struct mlp_error *error);

#endif

/* ethereum_signer.h - who signs an account's transactions: a key of ours, a service, or the program.
 *
 * Whoever signed: the transaction is decoded, its sender recovered and every field compared with what
 * was asked for, before the caller sees it.
 *
 * Threads: a signer may be used from several at once. Ownership: reference-counted; the last release
 * frees it, on whatever thread that is.
 */
#ifndef MLP_ANCHOR_ETHEREUM_SIGNER_H
#define MLP_ANCHOR_ETHEREUM_SIGNER_H

#include "anchor/ethereum_transaction.h"
#include "net/http.h"

struct mlp_ethereum_signer; /* opaque, heap */

/* Signs in the program's own way: appends the transaction as it is sent.
 * Returns: 0; MLP_E_NETWORK (later may do); MLP_E_REMOTE (somebody has to look).
 */
typedef int mlp_ethereum_sign_function(void *context, struct mlp_buffer *raw,
                                       const struct mlp_ethereum_intent *intent,
                                       const uint8_t sender20[20], struct mlp_error *error);
typedef void mlp_ethereum_free_function(void *context);

/* In:      key: taken, also on failure.
 * Returns: 0 (mlp_ethereum_signer_release) or MLP_E_MEMORY.
 */
int mlp_ethereum_signer_of_key(struct mlp_ethereum_signer **signer, struct mlp_ethereum_key *key,
                               struct mlp_error *error);

/* A JSON-RPC service with eth_signTransaction, such as web3signer and clef.
 * In:      service: url, headers, ca_file and timeout_ms; copied.
 * Returns: as mlp_ethereum_signer_of_key.
 */
int mlp_ethereum_signer_of_service(struct mlp_ethereum_signer **signer,
                                   const struct mlp_http_request *service, struct mlp_error *error);

/* In:      sign: called on threads of ours. release: NULL, or called with context by the last release.
 * Returns: as mlp_ethereum_signer_of_key; context is not released on failure.
 */
int mlp_ethereum_signer_of_function(struct mlp_ethereum_signer **signer,
                                    mlp_ethereum_sign_function *sign,
                                    mlp_ethereum_free_function *release, void *context,
                                    struct mlp_error *error);

/* NULL is allowed. Returns: signer. */
struct mlp_ethereum_signer *mlp_ethereum_signer_hold(struct mlp_ethereum_signer *signer);
void mlp_ethereum_signer_release(struct mlp_ethereum_signer *signer);

/* Signs, and holds what came back against the intent.
 * Out:     raw: the transaction as it is sent, appended. hash32: its hash.
 * In:      client: for a service.
 * Returns: 0; MLP_E_MISMATCH (something else was signed, or by another account: names it);
 *          MLP_E_NETWORK, MLP_E_REMOTE (of a service or function); MLP_E_CRYPTO; MLP_E_MEMORY.
 */
int mlp_ethereum_signer_sign(struct mlp_ethereum_signer *signer, struct mlp_buffer *raw,
                             uint8_t hash32[32], const struct mlp_ethereum_intent *intent,
                             const uint8_t sender20[20], struct mlp_http_client *client,
                             struct mlp_error *error);

#endif

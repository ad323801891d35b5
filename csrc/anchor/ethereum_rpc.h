/* ethereum_rpc.h - what an Ethereum node is asked for an anchor, and what an intent is about there.
 *
 * Threads: as struct mlp_anchor_work.
 * Returns (where nothing else is said): 0; MLP_E_NETWORK (later may do; also the node's own errors and
 * answers that are no JSON-RPC, the first few times: load balancers have bad moments); MLP_E_REMOTE
 * (somebody has to look); MLP_E_MEMORY.
 */
#ifndef MLP_ANCHOR_ETHEREUM_RPC_H
#define MLP_ANCHOR_ETHEREUM_RPC_H

#include "anchor/anchor.h"
#include "anchor/ethereum_evidence.h"
#include "net/json_rpc.h"

/* An intent and its endpoint as bytes. */
struct mlp_ethereum_place {
    uint64_t chain_id;
    uint8_t contract20[20];
    uint8_t account20[20];
    uint8_t digest32[32]; /* the anchor digest: docs/format.md section 14 */
    enum mlp_ethereum_event event;
};

/* Chain id and account alone.
 * Returns: 0; MLP_E_REMOTE (the configuration names none). */
int mlp_ethereum_payer_of(struct mlp_ethereum_place *place,
                          const struct mlp_anchor_endpoint *endpoint, struct mlp_error *error);

/* Returns: 0; MLP_E_REMOTE (the configuration names no chain id, contract or account). */
int mlp_ethereum_place_of(struct mlp_ethereum_place *place, const struct mlp_anchor_work *work,
                          struct mlp_error *error);

/* The digest of a checkpoint's text.
 * In:      note: the signed note.
 * Returns: 0; MLP_E_MALFORMED (no note); MLP_E_CRYPTO. */
int mlp_ethereum_digest(uint8_t digest32[32], const void *note, size_t note_len,
                        struct mlp_error *error);

/* Calls a method. Out: answer: its result, or the node's error with result NULL; clear in any case. */
int mlp_ethereum_call(struct mlp_anchor_work *work, struct mlp_json_rpc_answer *answer,
                      const char *method, const char *parameters, struct mlp_error *error);

/* Calls a method whose errors are not expected: they end in MLP_E_NETWORK, a method that the node does
 * not have in MLP_E_REMOTE. */
int mlp_ethereum_ask(struct mlp_anchor_work *work, struct mlp_json_rpc_answer *answer,
                     const char *method, const char *parameters, struct mlp_error *error);

/* The same for a method whose result is a quantity. */
int mlp_ethereum_ask_quantity(struct mlp_anchor_work *work, uint64_t *number, const char *method,
                              const char *parameters, struct mlp_error *error);

/* Whether the node is at the chain that the endpoint names: MLP_E_REMOTE where it is another. */
int mlp_ethereum_check_chain(struct mlp_anchor_work *work, const struct mlp_ethereum_place *place,
                             struct mlp_error *error);

/* How many transactions of the account are in the chain: the next nonce. */
int mlp_ethereum_count(struct mlp_anchor_work *work, uint64_t *count,
                       const struct mlp_ethereum_place *place, struct mlp_error *error);

struct mlp_ethereum_block_name {
    uint64_t number;
    uint8_t hash32[32];
};

/* The block that a tag names ("latest", "finalized"), or that is at a height.
 * Out:     found: false: there is none, or the node does not know the tag. */
int mlp_ethereum_block_named(struct mlp_anchor_work *work, bool *found,
                             struct mlp_ethereum_block_name *block, const char *tag,
                             struct mlp_error *error);
int mlp_ethereum_block_at(struct mlp_anchor_work *work, bool *found,
                          struct mlp_ethereum_block_name *block, uint64_t number,
                          struct mlp_error *error);

/* Appends ["0x...": parameters that begin with a hash or an address. */
void mlp_ethereum_open_parameters(struct mlp_buffer *text, const uint8_t *bytes, size_t bytes_len);

/* Ends a text that was appended.
 * Returns: it, or NULL where there was no memory. */
const char *mlp_ethereum_close_text(struct mlp_buffer *text, const char *end);

#endif

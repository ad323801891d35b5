/* trie.h - Ethereum's Merkle-Patricia tries: roots and proofs of what is at hand, strict verification.
 *
 * Source: the Yellow Paper, appendix D. A node is RLP: a branch of 17 items (16 children and a value),
 * or two items, a path in hex-prefix form and a value (leaf) or a child (extension). A child stands in
 * its parent itself where its RLP is shorter than 32 bytes, else as its Keccak-256. A block's
 * transactions and receipts are tries from rlp(index) to the bytes of each.
 *
 * A proof is the nodes on the way from the root to a value, outermost first, without those that stand
 * in their parent. It is kept as one RLP string for each node, one after another.
 *
 * Threads: functions touch only what they are given.
 */
#ifndef MLP_ANCHOR_TRIE_H
#define MLP_ANCHOR_TRIE_H

#include "base/bytes.h"
#include "base/status.h"
#include "codec/rlp.h"

#include <stddef.h>
#include <stdint.h>

#define MLP_TRIE_KEY_MAX 64 /* bytes; Ethereum's own have at most 32 */

struct mlp_trie_bytes {
    const uint8_t *data;
    size_t len;
};

struct mlp_trie_entry {
    struct mlp_trie_bytes key;
    struct mlp_trie_bytes value;
};

/* The root over entries, and the proof of one of them.
 * Out:     proof: appended to; NULL where only the root is wanted.
 * In:      entries: sorted by key (memcmp, a prefix first), no key twice, no value empty.
 *          target: which of them proof proves.
 * Returns: 0; MLP_E_ARGUMENT (order, a key above MLP_TRIE_KEY_MAX, an empty value, no such target);
 *          MLP_E_MEMORY.
 */
int mlp_trie_build(uint8_t root32[32], struct mlp_buffer *proof,
                   const struct mlp_trie_entry *entries, size_t entries_count, size_t target,
                   struct mlp_error *error);

/* The same for a list: value i under the key rlp(i).
 * Returns: as mlp_trie_build.
 */
int mlp_trie_build_list(uint8_t root32[32], struct mlp_buffer *proof,
                        const struct mlp_trie_bytes *values, size_t values_count, size_t index,
                        struct mlp_error *error);

/* Finds the value of key by a proof. Strict: each node is the one that its parent or the root names,
 * a node that fits its parent stands in it, and none is left over.
 * Out:     value: points into the proof.
 * Returns: 0; MLP_E_MISMATCH (a node is not the one named, or the proof leads to no value of key);
 *          MLP_E_MALFORMED (a node is no node, or the proof ends early or late).
 */
int mlp_trie_verify(struct mlp_trie_bytes *value, const uint8_t root32[32], const uint8_t *key,
                    size_t key_len, struct mlp_rlp_rest proof, struct mlp_error *error);

/* The same for the list entry index. */
int mlp_trie_verify_index(struct mlp_trie_bytes *value, const uint8_t root32[32], uint64_t index,
                          struct mlp_rlp_rest proof, struct mlp_error *error);

#endif

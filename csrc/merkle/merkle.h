/* merkle.h - RFC 6962 Merkle trees over SHA-256 (docs/format.md section 3).
 *
 * leaf hash = SHA-256(0x00 || leaf), node = SHA-256(0x01 || left || right), split at the largest
 * power of two below the size, empty tree = SHA-256(""): RFC 6962 section 2.1. A last leaf is never
 * duplicated. A root proves something only together with its size.
 *
 * Hash lists are flat: count rows of 32 bytes. Paths run from the leaf towards the root, as in RFC
 * 6962 sections 2.1.1 and 2.1.2.
 *
 * Threads: functions touch only what they are given; a struct mlp_merkle_frontier belongs to one
 * thread at a time.
 * Errors: every function that hashes may, beside what it names, return MLP_E_CRYPTO (OpenSSL
 * failed). Outputs are untouched on failure.
 */
#ifndef MLP_MERKLE_MERKLE_H
#define MLP_MERKLE_MERKLE_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

#define MLP_MERKLE_HASH_LEN 32
/* Inclusion in 2^64 - 1 leaves takes 64 hashes, consistency one more. */
#define MLP_MERKLE_PATH_MAX 65

/* ---- hashes ---- */

/* SHA-256(0x00 || leaf).
 * Returns: 0.
 */
int mlp_merkle_leaf_hash(uint8_t hash32[32], const void *leaf, size_t leaf_len,
                         struct mlp_error *error);

/* SHA-256(0x01 || left || right).
 * Returns: 0.
 */
int mlp_merkle_node_hash(uint8_t hash32[32], const uint8_t left32[32], const uint8_t right32[32],
                         struct mlp_error *error);

/* SHA-256(""), the root of no leaves.
 * Returns: 0.
 */
int mlp_merkle_empty_root(uint8_t root32[32], struct mlp_error *error);

/* ---- streaming: a tree that only grows, in O(log n) memory ---- */

/* The roots of the complete subtrees that the leaves so far form, one for each bit set in size.
 * A plain value: copying it copies the tree's state; there is nothing to free. */
struct mlp_merkle_frontier {
    uint64_t size;         /* leaves so far */
    uint8_t peaks[64][32]; /* peaks[level] is valid where bit `level` of size is set */
};

void mlp_merkle_frontier_init(struct mlp_merkle_frontier *frontier);

/* Adds a leaf by its hash.
 * Returns: 0 or MLP_E_RANGE (2^64 - 1 leaves already).
 */
int mlp_merkle_frontier_append(struct mlp_merkle_frontier *frontier, const uint8_t leaf_hash32[32],
                               struct mlp_error *error);

/* The root over all leaves so far; of an empty frontier, that of the empty tree.
 * Returns: 0.
 */
int mlp_merkle_frontier_root(uint8_t root32[32], const struct mlp_merkle_frontier *frontier,
                             struct mlp_error *error);

/* ---- root and proofs over an array of leaf hashes ---- */

/* The root over leaf_count hashes; of none, that of the empty tree.
 * Returns: 0.
 */
int mlp_merkle_root(uint8_t root32[32], const uint8_t *leaf_hashes, size_t leaf_count,
                    struct mlp_error *error);

/* How many hashes a proof has; also the exact number that verification demands.
 * inclusion: 0 where index >= size (no proof exists). consistency: 0 where old_size is 0 or equals
 * new_size, or exceeds it (no proof exists). */
size_t mlp_merkle_inclusion_count(uint64_t index, uint64_t size);
size_t mlp_merkle_consistency_count(uint64_t old_size, uint64_t new_size);

/* PATH(index, D[leaf_count]) of RFC 6962 section 2.1.1. Hashes every leaf hash once at most:
 * O(leaf_count).
 * Out:     path: room for MLP_MERKLE_PATH_MAX hashes, or exactly mlp_merkle_inclusion_count.
 * Returns: 0 or MLP_E_RANGE (index >= leaf_count).
 */
int mlp_merkle_inclusion(uint8_t *path, size_t *path_count, uint64_t index,
                         const uint8_t *leaf_hashes, size_t leaf_count, struct mlp_error *error);

/* PROOF(old_size, D[leaf_count]) of RFC 6962 section 2.1.2; empty for old_size 0 and old_size =
 * leaf_count.
 * Out:     path: room for MLP_MERKLE_PATH_MAX hashes, or exactly mlp_merkle_consistency_count.
 * Returns: 0 or MLP_E_RANGE (old_size > leaf_count).
 */
int mlp_merkle_consistency(uint8_t *path, size_t *path_count, uint64_t old_size,
                           const uint8_t *leaf_hashes, size_t leaf_count, struct mlp_error *error);

/* ---- the same over stored subtree hashes (tiles, a database) ---- */

struct mlp_merkle_source {
    /* Writes the root of the complete subtree of the leaves [index << level, (index + 1) << level).
     * Level 0 is a leaf hash. Asked only for subtrees that lie wholly within the size that was
     * named.
     * Returns: 0, or a status, which ends the work and is returned.
     */
    int (*subtree)(void *context, uint8_t hash32[32], unsigned level, uint64_t index,
                   struct mlp_error *error);
    void *context;
};

/* Returns: 0, or what subtree returned. */
int mlp_merkle_source_root(uint8_t root32[32], uint64_t size,
                           const struct mlp_merkle_source *source, struct mlp_error *error);

/* Out:     path: room for MLP_MERKLE_PATH_MAX hashes, or exactly mlp_merkle_inclusion_count.
 * Returns: 0; MLP_E_RANGE (index >= size); or what subtree returned.
 */
int mlp_merkle_source_inclusion(uint8_t *path, size_t *path_count, uint64_t index, uint64_t size,
                                const struct mlp_merkle_source *source, struct mlp_error *error);

/* Out:     path: room for MLP_MERKLE_PATH_MAX hashes, or exactly mlp_merkle_consistency_count.
 * Returns: 0; MLP_E_RANGE (old_size > new_size); or what subtree returned.
 */
int mlp_merkle_source_consistency(uint8_t *path, size_t *path_count, uint64_t old_size,
                                  uint64_t new_size, const struct mlp_merkle_source *source,
                                  struct mlp_error *error);

/* ---- verification: bounds before any hash, and the exact path length ---- */

/* The root that a path leads to (RFC 9162 section 2.1.3.2).
 * Returns: 0, or MLP_E_MALFORMED (size 0, index >= size, a path of another length).
 */
int mlp_merkle_root_from_inclusion(uint8_t root32[32], const uint8_t leaf_hash32[32],
                                   uint64_t index, uint64_t size, const uint8_t *path,
                                   size_t path_count, struct mlp_error *error);

/* That a leaf is at index of a tree of that size and root.
 * Returns: 0; MLP_E_MISMATCH (well-formed, leads to another root); MLP_E_MALFORMED (size 0, index
 *          >= size, a path of another length).
 */
int mlp_merkle_verify_inclusion(const uint8_t root32[32], const uint8_t leaf_hash32[32],
                                uint64_t index, uint64_t size, const uint8_t *path,
                                size_t path_count, struct mlp_error *error);

/* That the tree of new_size begins with the leaves of the tree of old_size (RFC 9162 section
 * 2.1.4.2). RFC 9162 leaves old_size 0 open; here, as transparency-log clients do, the empty tree
 * is consistent with every tree, by an empty path; old_root32 must then be the empty tree's root.
 * Equal sizes need an empty path and equal roots.
 * Returns: 0; MLP_E_MISMATCH (well-formed, does not hold); MLP_E_MALFORMED (old_size > new_size, a
 *          path of another length).
 */
int mlp_merkle_verify_consistency(const uint8_t old_root32[32], uint64_t old_size,
                                  const uint8_t new_root32[32], uint64_t new_size,
                                  const uint8_t *path, size_t path_count, struct mlp_error *error);

#endif

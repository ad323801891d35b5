/* blake3_tree.h - the BLAKE3 tree over any length: state, subtrees, roots.
 *
 * Internal to the hash room.
 *
 * Source: BLAKE3 (2021): section 2.1 (tree structure), 2.4 (chaining values), 2.5 (parents), 2.6
 * (root and extendable output), 5.1.2 (the stack of an incremental implementation).
 *
 * Threads: a state belongs to one thread at a time. Nothing here allocates or fails. A state holds
 * the key and input bytes: its owner wipes it.
 * Stack: 18 KiB for an update: 8 KiB of chaining values, and the AVX-512 kernels' run of chunks. A state
 * is 3 KiB.
 */
#ifndef MLP_HASH_BLAKE3_TREE_H
#define MLP_HASH_BLAKE3_TREE_H

#include "hash/blake3_kernel.h"

/* One entry for each level of a tree over 2^64 - 1 bytes (2^54 chunks), and one because the last
 * two subtrees stay unmerged until it is known that they are not the root. */
#define MLP_BLAKE3_STACK_MAX 55

struct mlp_blake3_state {
    uint32_t key[8];
    uint32_t flags; /* of the mode, in every compression */

    /* The chunk being filled, kept whole: it is compressed beside those that follow, if any do. */
    uint8_t chunk[MLP_BLAKE3_CHUNK_LEN];
    size_t chunk_len;

    /* Chaining values of complete subtrees on the left. */
    uint64_t first_chunk; /* the counter where this tree begins; 0 for a whole input */
    uint64_t chunks_done;
    size_t stack_count;
    uint8_t stack[MLP_BLAKE3_STACK_MAX * MLP_BLAKE3_OUT_LEN];
};

/* Loads a key of 32 bytes; key32 NULL: the plain hash's. Returns: the flags of the mode. */
uint32_t mlp_blake3_load_key(uint32_t key[8], const uint8_t *key32);

/* key: eight words (mlp_blake3_iv for the plain hash). flags: of the mode, 0 for the plain hash. */
void mlp_blake3_init(struct mlp_blake3_state *state, const uint32_t key[8], uint32_t flags,
                     uint64_t first_chunk);
/* The state whose key is derived from context (section 2.3, derive_key). */
void mlp_blake3_init_derive_key(struct mlp_blake3_state *state, const void *context,
                                size_t context_len);
void mlp_blake3_update(struct mlp_blake3_state *state, const void *data, size_t data_len);
/* out_len bytes of the extendable output from byte offset on; the state is not changed. */
void mlp_blake3_output(const struct mlp_blake3_state *state, uint64_t offset, uint8_t *out,
                       size_t out_len);

/* The chaining value of what was added, as a subtree that is not the root; nothing else may be
 * added. */
void mlp_blake3_chaining_value(const struct mlp_blake3_state *state, uint8_t cv32[32]);

/* The chaining value of a subtree that is not the root, in one go; aligned as mlp_blake3_subtree
 * says. */
void mlp_blake3_subtree_value(uint8_t cv32[32], const void *data, size_t data_len,
                              uint64_t first_chunk, const uint32_t key[8], uint32_t flags);

/* ---- an update in steps, for subtrees that are computed elsewhere ---- */

/* Adds to the chunk being filled, if there is one, and puts it on the stack where more of data
 * follows.
 * Returns: bytes taken.
 */
size_t mlp_blake3_finish_chunk(struct mlp_blake3_state *state, const uint8_t *data,
                               size_t data_len);

/* Puts the chunk being filled on the stack, if there is one: subtrees follow that are computed
 * elsewhere. */
void mlp_blake3_end_chunk(struct mlp_blake3_state *state);

/* Adds whole chunks at the front of data, at least one, as many as are computed together (some 256 KiB);
 * more input follows, and no chunk is being filled.
 * Returns: bytes taken.
 */
size_t mlp_blake3_add_chunks(struct mlp_blake3_state *state, const uint8_t *data, size_t data_len);

/* Returns: the chunks of the largest whole subtree that begins after chunks_done chunks and has at
 *          most count > 0. */
size_t mlp_blake3_aligned_subtree(uint64_t chunks_done, size_t count);

/* Adds the chaining value of a subtree of chunks_count chunks that begins after chunks_done: a power
 * of two that divides chunks_done, or half of such a subtree, or what ends the input. More input
 * follows, or the stack was not empty; no chunk is being filled. */
void mlp_blake3_push_subtree(struct mlp_blake3_state *state, const uint8_t cv32[32],
                             uint64_t chunks_count);

/* The same for count neighbouring subtrees of chunks_each chunks, a power of two that divides
 * chunks_done; the last may be shorter where it ends the input. */
void mlp_blake3_add_subtrees(struct mlp_blake3_state *state, const uint8_t *cvs, size_t count,
                             uint64_t chunks_each);

/* ---- single nodes ---- */

/* The chaining value of one parent. flags: of the mode, and ROOT where it is the root. */
void mlp_blake3_join(uint8_t out32[32], const uint8_t left32[32], const uint8_t right32[32],
                     const uint32_t key[8], uint32_t flags);

/* One input of at most a chunk that is a whole tree: its root, 32 bytes. */
void mlp_blake3_one_chunk_root(uint8_t digest32[32], const void *data, size_t data_len);

#endif

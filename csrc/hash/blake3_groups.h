/* blake3_groups.h - the BLAKE3 tree above groups of 16 KiB: chaining values kept of one pass over an
 * input, and the root from part of the input and the chaining values around it.
 *
 * For the rooms that prove parts of an input (merkle/slice.h), which is docs/format.md section 13.
 *
 * Source: BLAKE3 (2021): section 2.1 (tree structure), 2.5 (parents), 2.6 (the root's flag).
 *
 * A group is 16 chunks, the last of an input what is left. The only group of an input of at most 16 KiB
 * is its root, which has no chaining value: such an input has no groups.
 *
 * Threads: any thread; nothing here allocates or fails. Large inputs are hashed by several threads of
 * the process's pool (pool.h). Stack: 20 KiB.
 */
#ifndef MLP_HASH_BLAKE3_GROUPS_H
#define MLP_HASH_BLAKE3_GROUPS_H

#include "hash/hash.h"

#define MLP_BLAKE3_GROUP_LEN    16384
#define MLP_BLAKE3_GROUP_CHUNKS (MLP_BLAKE3_GROUP_LEN / MLP_BLAKE3_CHUNK_LEN)

/* Returns: how many groups an input has whose chaining values are kept. */
uint64_t mlp_blake3_groups_count(uint64_t data_len);

/* The digest, and the chaining value of every group, in one pass.
 * Out:     group_cvs: mlp_blake3_groups_count rows of 32 bytes, overlapping no data.
 * In:      threads: as mlp_pool_run.
 */
void mlp_blake3_with_groups(uint8_t digest32[32], uint8_t *group_cvs, const void *data,
                            size_t data_len, size_t threads);

/* The chaining value of the subtree over count > 0 neighbouring groups, which begins at a multiple of
 * count groups rounded up to a power of two and is not the root. */
void mlp_blake3_subtree_of_groups(uint8_t cv32[32], const uint8_t *group_cvs, size_t count);

/* ---- the root from a part ---- */

/* Neighbouring chunks that are one subtree. */
struct mlp_blake3_span {
    uint64_t first;
    uint64_t count;
};

#define MLP_BLAKE3_SPANS_MAX 108 /* 54 levels on either side */

/* The largest subtrees of an input of chunks_count chunks that hold none of the chunks from first to
 * before end, in the order in which they lie. first < end <= chunks_count <= 2^54.
 * Out:     spans: room for MLP_BLAKE3_SPANS_MAX.
 * Returns: how many there are.
 */
size_t mlp_blake3_spans_around(struct mlp_blake3_span *spans, uint64_t first, uint64_t end,
                               uint64_t chunks_count);

/* The root of an input of chunks_count chunks, of which the chunks from first to before end are given as
 * parts_count pieces of their bytes, and the rest by the chaining values of
 * mlp_blake3_spans_around(first, end, chunks_count). The pieces lie in memory (no source) and are as long together as these
 * chunks; only the input's last chunk may be short. */
void mlp_blake3_root_around(uint8_t digest32[32], const uint8_t *span_cvs, uint64_t first,
                            uint64_t end, uint64_t chunks_count, const struct mlp_hash_input *parts,
                            size_t parts_count);

#endif

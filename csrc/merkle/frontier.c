#include "merkle/merkle.h"

#include <string.h>

void mlp_merkle_frontier_init(struct mlp_merkle_frontier *frontier)
{
    memset(frontier, 0, sizeof *frontier);
}

/* A new leaf completes one subtree for every low bit set in size, as a carry runs through a binary
 * number. peaks changes only at the end, so a failure leaves the frontier as it was. */
int mlp_merkle_frontier_append(struct mlp_merkle_frontier *frontier, const uint8_t leaf_hash32[32],
                               struct mlp_error *error)
{
    if (frontier->size == UINT64_MAX)
        return mlp_fail(error, MLP_E_RANGE, "cannot append: the tree has 2^64 - 1 leaves");
    uint8_t hash[MLP_MERKLE_HASH_LEN];
    memcpy(hash, leaf_hash32, sizeof hash);
    unsigned level = 0;
    for (; (frontier->size >> level) & 1; level++) {
        int status = mlp_merkle_node_hash(hash, frontier->peaks[level], hash, error);
        if (status != 0)
            return status;
    }
    memcpy(frontier->peaks[level], hash, sizeof hash);
    frontier->size++;
    return 0;
}

int mlp_merkle_frontier_root(uint8_t root32[32], const struct mlp_merkle_frontier *frontier,
                             struct mlp_error *error)
{
    if (frontier->size == 0)
        return mlp_merkle_empty_root(root32, error);
    unsigned level = 0;
    while (((frontier->size >> level) & 1) == 0)
        level++;
    uint8_t hash[MLP_MERKLE_HASH_LEN];
    memcpy(hash, frontier->peaks[level], sizeof hash);
    for (level++; level < 64; level++) {
        if (((frontier->size >> level) & 1) == 0)
            continue;
        int status = mlp_merkle_node_hash(hash, frontier->peaks[level], hash, error);
        if (status != 0)
            return status;
    }
    memcpy(root32, hash, sizeof hash);
    return 0;
}

int mlp_merkle_frontier_encode(struct mlp_buffer *bytes, const struct mlp_merkle_frontier *frontier,
                               struct mlp_error *error)
{
    uint8_t size[8];
    mlp_store_be32(size, (uint32_t)(frontier->size >> 32));
    mlp_store_be32(size + 4, (uint32_t)frontier->size);
    mlp_buffer_append(bytes, size, sizeof size);
    for (unsigned level = 64; level-- > 0;) {
        if ((frontier->size >> level) & 1)
            mlp_buffer_append(bytes, frontier->peaks[level], MLP_MERKLE_HASH_LEN);
    }
    if (mlp_buffer_status(bytes) != 0)
        return mlp_fail(error, MLP_E_MEMORY, "cannot encode a Merkle frontier: out of memory");
    return 0;
}

int mlp_merkle_frontier_decode(struct mlp_merkle_frontier *frontier, const void *bytes,
                               size_t bytes_len, struct mlp_error *error)
{
    const uint8_t *next = bytes;
    if (bytes_len < 8)
        return mlp_fail(error, MLP_E_MALFORMED, "a Merkle frontier has at least 8 bytes, not %zu",
                        bytes_len);
    uint64_t size = (uint64_t)mlp_load_be32(next) << 32 | mlp_load_be32(next + 4);
    size_t expected = 8 + MLP_MERKLE_HASH_LEN * (size_t)__builtin_popcountll(size);
    if (bytes_len != expected)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "a Merkle frontier of %llu leaves has %zu bytes, not %zu",
                        (unsigned long long)size, expected, bytes_len);
    mlp_merkle_frontier_init(frontier);
    frontier->size = size;
    next += 8;
    for (unsigned level = 64; level-- > 0;) {
        if (((size >> level) & 1) == 0)
            continue;
        memcpy(frontier->peaks[level], next, MLP_MERKLE_HASH_LEN);
        next += MLP_MERKLE_HASH_LEN;
    }
    return 0;
}

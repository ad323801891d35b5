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

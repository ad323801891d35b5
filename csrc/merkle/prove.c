#include "merkle/merkle.h"

#include <string.h>

/* Position of the highest set bit; number is not 0. */
static unsigned high_bit(uint64_t number)
{
    return 63u - (unsigned)__builtin_clzll(number);
}

/* k of RFC 6962 section 2.1: the largest power of two below size; size > 1. */
static uint64_t split_point(uint64_t size)
{
    return UINT64_C(1) << high_bit(size - 1);
}

size_t mlp_merkle_inclusion_count(uint64_t index, uint64_t size)
{
    if (index >= size)
        return 0;
    size_t count = 0;
    while (size > 1) {
        uint64_t left = split_point(size);
        if (index < left) {
            size = left;
        } else {
            index -= left;
            size -= left;
        }
        count++;
    }
    return count;
}

size_t mlp_merkle_consistency_count(uint64_t old_size, uint64_t new_size)
{
    if (old_size == 0 || old_size >= new_size)
        return 0;
    size_t count = 0;
    bool whole = true; /* b of RFC 6962 section 2.1.2 */
    while (old_size != new_size) {
        uint64_t left = split_point(new_size);
        if (old_size <= left) {
            new_size = left;
        } else {
            old_size -= left;
            new_size -= left;
            whole = false;
        }
        count++;
    }
    return count + (whole ? 0 : 1);
}

/* MTH(D[start:start + count]). In every range that RFC 6962 splits off, start is a multiple of the
 * smallest power of two that is not below count, so each subtree asked for here is aligned. */
static int range_root(uint8_t root32[32], const struct mlp_merkle_source *source, uint64_t start,
                      uint64_t count, struct mlp_error *error)
{
    uint8_t hash[MLP_MERKLE_HASH_LEN];
    bool first = true;
    for (unsigned level = 0; level < 64; level++) {
        if (((count >> level) & 1) == 0)
            continue;
        /* Everything above this bit lies to the left of this subtree. */
        uint64_t before = level == 63 ? 0 : count >> (level + 1) << (level + 1);
        uint8_t subtree[MLP_MERKLE_HASH_LEN];
        int status =
            source->subtree(source->context, subtree, level, (start + before) >> level, error);
        if (status == 0 && !first)
            status = mlp_merkle_node_hash(subtree, subtree, hash, error);
        if (status != 0)
            return status;
        memcpy(hash, subtree, sizeof hash);
        first = false;
    }
    memcpy(root32, hash, sizeof hash);
    return 0;
}

int mlp_merkle_source_root(uint8_t root32[32], uint64_t size,
                           const struct mlp_merkle_source *source, struct mlp_error *error)
{
    if (size == 0)
        return mlp_merkle_empty_root(root32, error);
    return range_root(root32, source, 0, size, error);
}

/* RFC 6962 section 2.1.1, from the root downwards, so the path is filled from its end. */
static int fill_inclusion(uint8_t *path, size_t path_count, uint64_t index, uint64_t size,
                          const struct mlp_merkle_source *source, struct mlp_error *error)
{
    uint64_t start = 0;
    while (size > 1) {
        uint64_t left = split_point(size);
        uint8_t *out = path + --path_count * MLP_MERKLE_HASH_LEN;
        int status;
        if (index < left) {
            status = range_root(out, source, start + left, size - left, error);
            size = left;
        } else {
            status = range_root(out, source, start, left, error);
            start += left;
            index -= left;
            size -= left;
        }
        if (status != 0)
            return status;
    }
    return 0;
}

/* RFC 6962 section 2.1.2, from the root downwards. */
static int fill_consistency(uint8_t *path, size_t path_count, uint64_t old_size, uint64_t new_size,
                            const struct mlp_merkle_source *source, struct mlp_error *error)
{
    uint64_t start = 0;
    int status = 0;
    while (old_size != new_size && status == 0) {
        uint64_t left = split_point(new_size);
        uint8_t *out = path + --path_count * MLP_MERKLE_HASH_LEN;
        if (old_size <= left) {
            status = range_root(out, source, start + left, new_size - left, error);
            new_size = left;
        } else {
            status = range_root(out, source, start, left, error);
            start += left;
            old_size -= left;
            new_size -= left;
        }
    }
    if (status == 0 && start > 0) /* b is false: the old tree's own right edge is told too */
        status = range_root(path, source, start, old_size, error);
    return status;
}

int mlp_merkle_source_inclusion(uint8_t *path, size_t *path_count, uint64_t index, uint64_t size,
                                const struct mlp_merkle_source *source, struct mlp_error *error)
{
    if (index >= size)
        return mlp_fail(error, MLP_E_RANGE, "cannot prove leaf %llu of a tree of %llu leaves",
                        (unsigned long long)index, (unsigned long long)size);
    uint8_t filled[MLP_MERKLE_PATH_MAX * MLP_MERKLE_HASH_LEN];
    size_t count = mlp_merkle_inclusion_count(index, size);
    int status = fill_inclusion(filled, count, index, size, source, error);
    if (status != 0)
        return status;
    memcpy(path, filled, count * MLP_MERKLE_HASH_LEN);
    *path_count = count;
    return 0;
}

int mlp_merkle_source_consistency(uint8_t *path, size_t *path_count, uint64_t old_size,
                                  uint64_t new_size, const struct mlp_merkle_source *source,
                                  struct mlp_error *error)
{
    if (old_size > new_size)
        return mlp_fail(error, MLP_E_RANGE,
                        "cannot prove that %llu leaves are the beginning of %llu",
                        (unsigned long long)old_size, (unsigned long long)new_size);
    uint8_t filled[MLP_MERKLE_PATH_MAX * MLP_MERKLE_HASH_LEN];
    size_t count = mlp_merkle_consistency_count(old_size, new_size);
    if (count > 0) {
        int status = fill_consistency(filled, count, old_size, new_size, source, error);
        if (status != 0)
            return status;
        memcpy(path, filled, count * MLP_MERKLE_HASH_LEN);
    }
    *path_count = count;
    return 0;
}

/* ---- an array of leaf hashes as a source ---- */

static int array_subtree(void *context, uint8_t hash32[32], unsigned level, uint64_t index,
                         struct mlp_error *error)
{
    const uint8_t *const *leaf_hashes = context;
    const uint8_t *first = *leaf_hashes + (size_t)(index << level) * MLP_MERKLE_HASH_LEN;
    struct mlp_merkle_frontier frontier;
    mlp_merkle_frontier_init(&frontier);
    for (size_t i = 0; i < (size_t)1 << level; i++) {
        int status = mlp_merkle_frontier_append(&frontier, first + i * MLP_MERKLE_HASH_LEN, error);
        if (status != 0)
            return status;
    }
    memcpy(hash32, frontier.peaks[level], MLP_MERKLE_HASH_LEN);
    return 0;
}

int mlp_merkle_root(uint8_t root32[32], const uint8_t *leaf_hashes, size_t leaf_count,
                    struct mlp_error *error)
{
    struct mlp_merkle_source source = {array_subtree, &leaf_hashes};
    return mlp_merkle_source_root(root32, leaf_count, &source, error);
}

int mlp_merkle_inclusion(uint8_t *path, size_t *path_count, uint64_t index,
                         const uint8_t *leaf_hashes, size_t leaf_count, struct mlp_error *error)
{
    struct mlp_merkle_source source = {array_subtree, &leaf_hashes};
    return mlp_merkle_source_inclusion(path, path_count, index, leaf_count, &source, error);
}

int mlp_merkle_consistency(uint8_t *path, size_t *path_count, uint64_t old_size,
                           const uint8_t *leaf_hashes, size_t leaf_count, struct mlp_error *error)
{
    struct mlp_merkle_source source = {array_subtree, &leaf_hashes};
    return mlp_merkle_source_consistency(path, path_count, old_size, leaf_count, &source, error);
}

#include "merkle/merkle.h"

#include "base/bytes.h"

#include <string.h>

/* How many bits number takes; 0 for 0. */
static unsigned bit_length(uint64_t number)
{
    return number == 0 ? 0 : 64u - (unsigned)__builtin_clzll(number);
}

/* A path's shape. Its first `inner` hashes stand left or right as the bits of the leaf's index say;
 * from there on the leaf lies on the tree's right edge, where every one of the `border` hashes
 * stands left. (The same steps as RFC 9162 section 2.1.3.2, with the loop's end known before it
 * begins.) */
struct path_shape {
    unsigned inner;
    unsigned border;
};

static struct path_shape shape_of(uint64_t index, uint64_t size)
{
    struct path_shape shape;
    shape.inner = bit_length(index ^ (size - 1));
    shape.border = shape.inner == 64 ? 0 : (unsigned)__builtin_popcountll(index >> shape.inner);
    return shape;
}

static int join_left(uint8_t hash[32], const uint8_t *path, unsigned count, struct mlp_error *error)
{
    int status = 0;
    for (unsigned i = 0; i < count && status == 0; i++)
        status = mlp_merkle_node_hash(hash, path + (size_t)i * MLP_MERKLE_HASH_LEN, hash, error);
    return status;
}

/* Joins hash with inner path hashes; with only_left those that stand right are passed over. */
static int join_inner(uint8_t hash[32], const uint8_t *path, unsigned count, uint64_t index,
                      bool only_left, struct mlp_error *error)
{
    int status = 0;
    for (unsigned i = 0; i < count && status == 0; i++) {
        const uint8_t *sibling = path + (size_t)i * MLP_MERKLE_HASH_LEN;
        if ((index >> i) & 1)
            status = mlp_merkle_node_hash(hash, sibling, hash, error);
        else if (!only_left)
            status = mlp_merkle_node_hash(hash, hash, sibling, error);
    }
    return status;
}

int mlp_merkle_root_from_inclusion(uint8_t root32[32], const uint8_t leaf_hash32[32],
                                   uint64_t index, uint64_t size, const uint8_t *path,
                                   size_t path_count, struct mlp_error *error)
{
    if (index >= size)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "malformed inclusion proof: leaf %llu of a tree of %llu leaves",
                        (unsigned long long)index, (unsigned long long)size);
    struct path_shape shape = shape_of(index, size);
    if (path_count != (size_t)shape.inner + shape.border)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "malformed inclusion proof: %zu hashes, but leaf %llu of %llu takes %u",
                        path_count, (unsigned long long)index, (unsigned long long)size,
                        shape.inner + shape.border);
    uint8_t hash[MLP_MERKLE_HASH_LEN];
    memcpy(hash, leaf_hash32, sizeof hash);
    int status = join_inner(hash, path, shape.inner, index, false, error);
    if (status == 0 && shape.border > 0)
        status =
            join_left(hash, path + (size_t)shape.inner * MLP_MERKLE_HASH_LEN, shape.border, error);
    if (status == 0)
        memcpy(root32, hash, sizeof hash);
    return status;
}

int mlp_merkle_verify_inclusion(const uint8_t root32[32], const uint8_t leaf_hash32[32],
                                uint64_t index, uint64_t size, const uint8_t *path,
                                size_t path_count, struct mlp_error *error)
{
    uint8_t computed[MLP_MERKLE_HASH_LEN];
    int status =
        mlp_merkle_root_from_inclusion(computed, leaf_hash32, index, size, path, path_count, error);
    if (status != 0)
        return status;
    if (!mlp_bytes_equal(computed, root32, sizeof computed))
        return mlp_fail(error, MLP_E_MISMATCH,
                        "the inclusion proof of leaf %llu of %llu does not lead to the root",
                        (unsigned long long)index, (unsigned long long)size);
    return 0;
}

/* Sizes that are equal, or an old size of 0: nothing to hash along a path. */
static int verify_without_path(const uint8_t old_root32[32], uint64_t old_size,
                               const uint8_t new_root32[32], uint64_t new_size, size_t path_count,
                               struct mlp_error *error)
{
    if (path_count != 0)
        return mlp_fail(
            error, MLP_E_MALFORMED,
            "malformed consistency proof: %zu hashes between %llu and %llu leaves, which "
            "take none",
            path_count, (unsigned long long)old_size, (unsigned long long)new_size);
    if (old_size == new_size && !mlp_bytes_equal(old_root32, new_root32, MLP_MERKLE_HASH_LEN))
        return mlp_fail(error, MLP_E_MISMATCH,
                        "two trees of the same %llu leaves have different roots",
                        (unsigned long long)old_size);
    if (old_size != 0)
        return 0;
    uint8_t empty[MLP_MERKLE_HASH_LEN];
    int status = mlp_merkle_empty_root(empty, error);
    if (status == 0 && !mlp_bytes_equal(old_root32, empty, sizeof empty))
        status = mlp_fail(error, MLP_E_MISMATCH,
                          "a tree of no leaves is stated with another root than SHA-256(\"\")");
    return status;
}

/* RFC 9162 section 2.1.4.2: one walk along the old tree's right edge yields both roots. shift: how
 * many levels of that edge the largest complete subtree that ends the old tree takes; from there
 * the path starts. */
static int consistency_roots(uint8_t old_root[32], uint8_t new_root[32], const uint8_t seed[32],
                             struct path_shape shape, uint64_t edge_index, const uint8_t *path,
                             struct mlp_error *error)
{
    const uint8_t *border = path + (size_t)shape.inner * MLP_MERKLE_HASH_LEN;
    memcpy(old_root, seed, MLP_MERKLE_HASH_LEN);
    memcpy(new_root, seed, MLP_MERKLE_HASH_LEN);
    int status = join_inner(old_root, path, shape.inner, edge_index, true, error);
    if (status == 0)
        status = join_left(old_root, border, shape.border, error);
    if (status == 0)
        status = join_inner(new_root, path, shape.inner, edge_index, false, error);
    if (status == 0)
        status = join_left(new_root, border, shape.border, error);
    return status;
}

int mlp_merkle_verify_consistency(const uint8_t old_root32[32], uint64_t old_size,
                                  const uint8_t new_root32[32], uint64_t new_size,
                                  const uint8_t *path, size_t path_count, struct mlp_error *error)
{
    if (old_size > new_size)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "malformed consistency proof: from %llu leaves back to %llu",
                        (unsigned long long)old_size, (unsigned long long)new_size);
    if (old_size == 0 || old_size == new_size)
        return verify_without_path(old_root32, old_size, new_root32, new_size, path_count, error);
    struct path_shape shape = shape_of(old_size - 1, new_size);
    unsigned shift = (unsigned)__builtin_ctzll(old_size);
    shape.inner -=
        shift; /* old_size - 1 ends in `shift` ones, and new_size - 1 is not below old_size */
    bool seeded = (old_size & (old_size - 1)) != 0; /* else the old root itself is the seed */
    size_t expected = (size_t)shape.inner + shape.border + (seeded ? 1 : 0);
    if (path_count != expected)
        return mlp_fail(error, MLP_E_MALFORMED,
                        "malformed consistency proof: %zu hashes, but from %llu to %llu leaves it "
                        "takes %zu",
                        path_count, (unsigned long long)old_size, (unsigned long long)new_size,
                        expected);
    uint8_t old_root[MLP_MERKLE_HASH_LEN], new_root[MLP_MERKLE_HASH_LEN];
    const uint8_t *seed = seeded ? path : old_root32;
    int status = consistency_roots(old_root, new_root, seed, shape, (old_size - 1) >> shift,
                                   path + (seeded ? MLP_MERKLE_HASH_LEN : 0), error);
    if (status != 0)
        return status;
    if (!mlp_bytes_equal(old_root, old_root32, sizeof old_root) ||
        !mlp_bytes_equal(new_root, new_root32, sizeof new_root))
        return mlp_fail(error, MLP_E_MISMATCH,
                        "the tree of %llu leaves is not the beginning of the tree of %llu leaves",
                        (unsigned long long)old_size, (unsigned long long)new_size);
    return 0;
}

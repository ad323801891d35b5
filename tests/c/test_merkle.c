/* The RFC 6962 trees against the recursive definition, written again here, and against broken
 * proofs. */
#include "check.h"
#include "hash/hash.h"
#include "merkle/merkle.h"

#include <stdlib.h>
#include <string.h>

#define LEAVES_MAX 70

static uint8_t leaf_hashes[LEAVES_MAX * 32];

static const uint8_t *leaf_at(size_t index)
{
    return leaf_hashes + index * 32;
}

static void make_leaves(void)
{
    for (size_t i = 0; i < LEAVES_MAX; i++) {
        uint8_t leaf[3] = {'l', (uint8_t)i, (uint8_t)(i >> 8)};
        CHECK(mlp_merkle_leaf_hash(leaf_hashes + i * 32, leaf, sizeof leaf, NULL) == 0);
    }
}

/* ---- RFC 6962 sections 2.1 to 2.1.2, as they are written ---- */

static size_t split(size_t count)
{
    size_t k = 1;
    while (k * 2 < count)
        k *= 2;
    return k;
}

static void reference_root(uint8_t root[32], size_t start, size_t count)
{
    if (count == 0) {
        (void)mlp_hash(MLP_SHA256, root, "", 0, NULL);
    } else if (count == 1) {
        memcpy(root, leaf_at(start), 32);
    } else {
        uint8_t input[65] = {1};
        size_t k = split(count);
        reference_root(input + 1, start, k);
        reference_root(input + 33, start + k, count - k);
        (void)mlp_hash(MLP_SHA256, root, input, sizeof input, NULL);
    }
}

static size_t reference_path(uint8_t *path, size_t index, size_t start, size_t count)
{
    if (count == 1)
        return 0;
    size_t k = split(count), done;
    if (index < k) {
        done = reference_path(path, index, start, k);
        reference_root(path + done * 32, start + k, count - k);
    } else {
        done = reference_path(path, index - k, start + k, count - k);
        reference_root(path + done * 32, start, k);
    }
    return done + 1;
}

static size_t reference_subproof(uint8_t *path, size_t old, size_t start, size_t count, bool whole)
{
    if (old == count) {
        if (!whole)
            reference_root(path, start, count);
        return whole ? 0 : 1;
    }
    size_t k = split(count), done;
    if (old <= k) {
        done = reference_subproof(path, old, start, k, whole);
        reference_root(path + done * 32, start + k, count - k);
    } else {
        done = reference_subproof(path, old - k, start + k, count - k, false);
        reference_root(path + done * 32, start, k);
    }
    return done + 1;
}

/* ---- hashes ---- */

static void the_empty_tree_has_the_hash_of_nothing(void)
{
    /* RFC 6962 section 2.1; SHA-256("") of FIPS 180-4's examples. */
    static const uint8_t expected[32] = {0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14,
                                         0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
                                         0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c,
                                         0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55};
    uint8_t root[32];
    struct mlp_merkle_frontier frontier;
    CHECK(mlp_merkle_empty_root(root, NULL) == 0 && memcmp(root, expected, 32) == 0);
    CHECK(mlp_merkle_root(root, NULL, 0, NULL) == 0 && memcmp(root, expected, 32) == 0);
    mlp_merkle_frontier_init(&frontier);
    CHECK(mlp_merkle_frontier_root(root, &frontier, NULL) == 0 && memcmp(root, expected, 32) == 0);
}

static void leaves_of_every_length_are_prefixed_with_zero(void)
{
    static const size_t lengths[] = {0, 1, 55, 64, 1022, 1023, 1024, 5000};
    uint8_t *input = calloc(1, 5001);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint8_t expected[32], seen[32];
        memset(input + 1, 0x5A, lengths[i]);
        CHECK(mlp_hash(MLP_SHA256, expected, input, 1 + lengths[i], NULL) == 0);
        CHECK(mlp_merkle_leaf_hash(seen, input + 1, lengths[i], NULL) == 0);
        CHECK(memcmp(seen, expected, 32) == 0);
    }
    free(input);
}

static void a_64_byte_leaf_is_not_the_node_of_its_halves(void)
{
    uint8_t leaf[32], node[32];
    CHECK(mlp_merkle_leaf_hash(leaf, leaf_hashes, 64, NULL) == 0);
    CHECK(mlp_merkle_node_hash(node, leaf_at(0), leaf_at(1), NULL) == 0);
    CHECK(memcmp(leaf, node, 32) != 0);
}

/* ---- roots ---- */

static void roots_equal_the_recursive_definition_at_every_size(void)
{
    struct mlp_merkle_frontier frontier;
    mlp_merkle_frontier_init(&frontier);
    for (size_t count = 0; count <= LEAVES_MAX; count++) {
        uint8_t expected[32], root[32];
        reference_root(expected, 0, count);
        CHECK(mlp_merkle_root(root, leaf_hashes, count, NULL) == 0);
        CHECK(memcmp(root, expected, 32) == 0);
        CHECK(mlp_merkle_frontier_root(root, &frontier, NULL) == 0);
        CHECK(memcmp(root, expected, 32) == 0);
        if (count < LEAVES_MAX)
            CHECK(mlp_merkle_frontier_append(&frontier, leaf_at(count), NULL) == 0);
    }
}

static void a_full_frontier_refuses_another_leaf(void)
{
    struct mlp_merkle_frontier frontier;
    memset(&frontier, 0, sizeof frontier);
    frontier.size = UINT64_MAX;
    CHECK(mlp_merkle_frontier_append(&frontier, leaf_at(0), NULL) == MLP_E_RANGE);
    CHECK(frontier.size == UINT64_MAX);
}

static void a_doubled_last_leaf_changes_the_root(void)
{
    uint8_t doubled[(LEAVES_MAX + 1) * 32];
    for (size_t count = 1; count <= LEAVES_MAX; count++) {
        uint8_t root[32], other[32];
        memcpy(doubled, leaf_hashes, count * 32);
        memcpy(doubled + count * 32, leaf_at(count - 1), 32);
        CHECK(mlp_merkle_root(root, doubled, count, NULL) == 0);
        CHECK(mlp_merkle_root(other, doubled, count + 1, NULL) == 0);
        CHECK(memcmp(root, other, 32) != 0);
    }
}

/* ---- inclusion ---- */

static void check_one_inclusion(size_t index, size_t size, const uint8_t root[32])
{
    uint8_t path[MLP_MERKLE_PATH_MAX * 32], expected[MLP_MERKLE_PATH_MAX * 32];
    size_t count = 99;
    CHECK(mlp_merkle_inclusion(path, &count, index, leaf_hashes, size, NULL) == 0);
    CHECK(count == reference_path(expected, index, 0, size));
    CHECK(count == mlp_merkle_inclusion_count(index, size));
    CHECK(memcmp(path, expected, count * 32) == 0);
    CHECK(mlp_merkle_verify_inclusion(root, leaf_at(index), index, size, path, count, NULL) == 0);
    for (size_t other = 0; other < size + 2; other++) {
        int status =
            mlp_merkle_verify_inclusion(root, leaf_at(index), other, size, path, count, NULL);
        CHECK(other == index ? status == 0 : status == MLP_E_MISMATCH || status == MLP_E_MALFORMED);
    }
    for (size_t i = 0; i < count; i++) {
        path[i * 32 + 7] ^= 0x10;
        CHECK(mlp_merkle_verify_inclusion(root, leaf_at(index), index, size, path, count, NULL) ==
              MLP_E_MISMATCH);
        path[i * 32 + 7] ^= 0x10;
    }
    CHECK(mlp_merkle_verify_inclusion(root, leaf_at(index), index, size, path, count + 1, NULL) ==
          MLP_E_MALFORMED);
    if (count > 0)
        CHECK(mlp_merkle_verify_inclusion(root, leaf_at(index), index, size, path, count - 1,
                                          NULL) == MLP_E_MALFORMED);
}

static void inclusion_proofs_hold_and_their_neighbours_do_not(void)
{
    for (size_t size = 1; size <= LEAVES_MAX; size++) {
        uint8_t root[32];
        reference_root(root, 0, size);
        for (size_t index = 0; index < size; index++)
            check_one_inclusion(index, size, root);
    }
}

static void an_inner_node_is_not_accepted_as_a_leaf(void)
{
    /* The node above leaves 0 and 1 of four, presented as leaf 0 of two. */
    uint8_t root[32], node[32], right[32];
    reference_root(root, 0, 4);
    reference_root(node, 0, 2);
    reference_root(right, 2, 2);
    CHECK(mlp_merkle_verify_inclusion(root, node, 0, 4, right, 1, NULL) == MLP_E_MALFORMED);
    /* Under the size it pretends, the sum is right: only the signed size can tell. */
    CHECK(mlp_merkle_verify_inclusion(root, node, 0, 2, right, 1, NULL) == 0);
}

static void proofs_outside_the_tree_are_malformed_or_refused(void)
{
    uint8_t root[32] = {0}, path[MLP_MERKLE_PATH_MAX * 32] = {0};
    size_t count = 0;
    CHECK(mlp_merkle_verify_inclusion(root, leaf_at(0), 0, 0, NULL, 0, NULL) == MLP_E_MALFORMED);
    CHECK(mlp_merkle_verify_inclusion(root, leaf_at(0), 5, 5, path, 3, NULL) == MLP_E_MALFORMED);
    CHECK(mlp_merkle_inclusion(path, &count, 0, leaf_hashes, 0, NULL) == MLP_E_RANGE);
    CHECK(mlp_merkle_inclusion(path, &count, 3, leaf_hashes, 3, NULL) == MLP_E_RANGE);
    CHECK(mlp_merkle_consistency(path, &count, 4, leaf_hashes, 3, NULL) == MLP_E_RANGE);
}

static void the_largest_trees_are_checked_without_overflow(void)
{
    uint8_t root[32] = {1}, path[MLP_MERKLE_PATH_MAX * 32] = {0};
    static const uint64_t sizes[] = {UINT64_MAX, UINT64_C(1) << 63, (UINT64_C(1) << 63) + 1,
                                     UINT64_C(1) << 62};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t size = sizes[i];
        const uint64_t indices[] = {0, size - 1, size / 2, size / 2 + 1};
        for (size_t j = 0; j < 4; j++) {
            size_t count = mlp_merkle_inclusion_count(indices[j], size);
            CHECK(count <= 64);
            CHECK(mlp_merkle_verify_inclusion(root, leaf_at(0), indices[j], size, path, count,
                                              NULL) == MLP_E_MISMATCH);
            CHECK(mlp_merkle_verify_inclusion(root, leaf_at(0), indices[j], size, path, count + 1,
                                              NULL) == MLP_E_MALFORMED);
            if (indices[j] == 0)
                continue;
            count = mlp_merkle_consistency_count(indices[j], size);
            CHECK(count <= MLP_MERKLE_PATH_MAX);
            CHECK(mlp_merkle_verify_consistency(root, indices[j], root, size, path, count, NULL) ==
                  MLP_E_MISMATCH);
        }
    }
}

/* ---- consistency ---- */

static void check_one_consistency(size_t old, size_t size)
{
    uint8_t path[MLP_MERKLE_PATH_MAX * 32], expected[MLP_MERKLE_PATH_MAX * 32];
    uint8_t old_root[32], root[32];
    size_t count = 99;
    reference_root(old_root, 0, old);
    reference_root(root, 0, size);
    CHECK(mlp_merkle_consistency(path, &count, old, leaf_hashes, size, NULL) == 0);
    size_t expected_count = old == 0 ? 0 : reference_subproof(expected, old, 0, size, true);
    CHECK(count == expected_count && count == mlp_merkle_consistency_count(old, size));
    CHECK(memcmp(path, expected, count * 32) == 0);
    CHECK(mlp_merkle_verify_consistency(old_root, old, root, size, path, count, NULL) == 0);

    CHECK(mlp_merkle_verify_consistency(old_root, old, root, size, path, count + 1, NULL) ==
          MLP_E_MALFORMED);
    if (count > 0)
        CHECK(mlp_merkle_verify_consistency(old_root, old, root, size, path, count - 1, NULL) ==
              MLP_E_MALFORMED);
    for (size_t i = 0; i < count; i++) {
        path[i * 32 + 31] ^= 1;
        CHECK(mlp_merkle_verify_consistency(old_root, old, root, size, path, count, NULL) ==
              MLP_E_MISMATCH);
        path[i * 32 + 31] ^= 1;
    }
    old_root[0] ^= 1;
    CHECK(mlp_merkle_verify_consistency(old_root, old, root, size, path, count, NULL) ==
          MLP_E_MISMATCH);
    old_root[0] ^= 1;
    root[0] ^= 1;
    CHECK(mlp_merkle_verify_consistency(old_root, old, root, size, path, count, NULL) ==
          (old == 0 && size > 0 ? 0 : MLP_E_MISMATCH));
}

static void consistency_proofs_hold_and_broken_ones_do_not(void)
{
    for (size_t size = 0; size <= LEAVES_MAX; size++) {
        for (size_t old = 0; old <= size; old++)
            check_one_consistency(old, size);
    }
}

static void a_shrinking_tree_is_malformed(void)
{
    uint8_t root[32];
    reference_root(root, 0, 3);
    CHECK(mlp_merkle_verify_consistency(root, 4, root, 3, NULL, 0, NULL) == MLP_E_MALFORMED);
}

static void two_roots_of_one_size_must_be_equal(void)
{
    uint8_t root[32], other[32];
    reference_root(root, 0, 3);
    reference_root(other, 1, 3);
    CHECK(mlp_merkle_verify_consistency(root, 3, root, 3, NULL, 0, NULL) == 0);
    CHECK(mlp_merkle_verify_consistency(root, 3, other, 3, NULL, 0, NULL) == MLP_E_MISMATCH);
}

/* ---- a source that fails ---- */

static int failing_subtree(void *context, uint8_t hash32[32], unsigned level, uint64_t index,
                           struct mlp_error *error)
{
    int *calls_left = context;
    memset(hash32, (int)(level + index), 32);
    if ((*calls_left)-- > 0)
        return 0;
    return mlp_fail(error, MLP_E_CORRUPT, "a tile is missing");
}

static void the_failure_of_a_source_is_returned_and_outputs_stay(void)
{
    for (int calls = 0;; calls++) {
        int calls_left = calls;
        struct mlp_merkle_source source = {failing_subtree, &calls_left};
        uint8_t path[MLP_MERKLE_PATH_MAX * 32] = {0xEE};
        size_t count = 1234;
        struct mlp_error error;
        int status = mlp_merkle_source_inclusion(path, &count, 6, 13, &source, &error);
        if (status == 0)
            break;
        CHECK(status == MLP_E_CORRUPT && count == 1234 && path[0] == 0xEE);
    }
}

int main(void)
{
    make_leaves();
    RUN(the_empty_tree_has_the_hash_of_nothing);
    RUN(leaves_of_every_length_are_prefixed_with_zero);
    RUN(a_64_byte_leaf_is_not_the_node_of_its_halves);
    RUN(roots_equal_the_recursive_definition_at_every_size);
    RUN(a_full_frontier_refuses_another_leaf);
    RUN(a_doubled_last_leaf_changes_the_root);
    RUN(inclusion_proofs_hold_and_their_neighbours_do_not);
    RUN(an_inner_node_is_not_accepted_as_a_leaf);
    RUN(proofs_outside_the_tree_are_malformed_or_refused);
    RUN(the_largest_trees_are_checked_without_overflow);
    RUN(consistency_proofs_hold_and_broken_ones_do_not);
    RUN(a_shrinking_tree_is_malformed);
    RUN(two_roots_of_one_size_must_be_equal);
    RUN(the_failure_of_a_source_is_returned_and_outputs_stay);
    return check_finish();
}

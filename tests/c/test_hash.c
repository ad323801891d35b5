/* The hash room's face for BLAKE3: splits, subtrees, many inputs, and what is refused. Lengths and
 * alignments: test_hash_boundaries.c; official vectors: test_hash_vectors.c; SHA-2: test_sha2.c.
 */
#include "check.h"
#include "hash/hash.h"
#include "hash_fixture.h"

#include <stdlib.h>

#define INPUT_LEN ((1U << 20) + 1)

static uint8_t *input; /* INPUT_LEN bytes that end where an unmapped page begins */
static const uint8_t key32[32] = "thirty-two bytes of a test's key";

static bool map_input(void)
{
    struct guarded guarded;
    if (!map_guarded(&guarded, INPUT_LEN))
        return false;
    input = guarded.end - INPUT_LEN;
    return true;
}

/* The last len bytes of the input: reading one byte more faults. */
static const uint8_t *ending_at_the_page(size_t len)
{
    return input + INPUT_LEN - len;
}

static const char *names[MLP_KERNELS_MAX];
static bool usable[MLP_KERNELS_MAX];
static size_t kernels_count;

/* ---- BLAKE3 ---- */

static void known_digests_are_reproduced(void)
{
    uint8_t digest[MLP_HASH_MAX_LEN];
    mlp_blake3(digest, NULL, 0);
    CHECK(
        equals_hex(digest, 32, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"));
    mlp_blake3(digest, "abc", 3);
    CHECK(
        equals_hex(digest, 32, "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"));
}

enum mode { PLAIN, KEYED, DERIVED, MODES_COUNT };

static struct mlp_hasher *make_hasher(enum mode mode)
{
    struct mlp_hasher *hasher = NULL;
    int status = mode == DERIVED
                     ? mlp_hasher_new_derive_key(&hasher, "mlprov test context", 19, NULL)
                     : mlp_hasher_new(&hasher, MLP_BLAKE3, mode == KEYED ? key32 : NULL, NULL);
    CHECK(status == 0);
    return hasher;
}

static void whole_xof(enum mode mode, const uint8_t *data, size_t len, uint8_t out[200])
{
    struct mlp_hasher *hasher = make_hasher(mode);
    CHECK(mlp_hasher_update(hasher, data, len, NULL) == 0);
    CHECK(mlp_hasher_xof(hasher, 0, out, 200, NULL) == 0);
    mlp_hasher_free(hasher);
}

/* Splits the input in pieces of a length that changes, and asks for digests in between. */
static void check_split(enum mode mode, const uint8_t *data, size_t len, size_t piece)
{
    uint8_t expected[200], seen[200];
    whole_xof(mode, data, len, expected);
    struct mlp_hasher *hasher = make_hasher(mode);
    for (size_t done = 0; done < len;) {
        size_t taken = piece < len - done ? piece : len - done;
        CHECK(mlp_hasher_update(hasher, data + done, taken, NULL) == 0);
        CHECK(mlp_hasher_update(hasher, NULL, 0, NULL) == 0);
        CHECK(mlp_hasher_digest(hasher, seen, NULL) == 0);
        done += taken;
        piece = piece * 3 / 2 + 1;
    }
    CHECK(mlp_hasher_xof(hasher, 0, seen, 200, NULL) == 0);
    CHECK(memcmp(seen, expected, 200) == 0);
    CHECK(mlp_hasher_xof(hasher, 77, seen, 100, NULL) == 0);
    CHECK(memcmp(seen, expected + 77, 100) == 0);
    mlp_hasher_free(hasher);
}

static void any_split_of_the_input_gives_the_same_digest(void)
{
    static const size_t lengths[] = {0, 1, 64, 65, 1024, 1025, 2048, 3072, 5000, 65536, 300000};
    static const size_t pieces[] = {1, 63, 64, 1000, 1023, 1024, 1025, 4096, 262145};
    for (size_t k = 0; k < kernels_count; k++) {
        if (!usable[k])
            continue;
        CHECK(mlp_hash_kernel_force(names[k], NULL) == 0);
        for (int mode = PLAIN; mode < MODES_COUNT; mode++)
            for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
                for (size_t j = 0; j < sizeof pieces / sizeof pieces[0]; j++)
                    check_split((enum mode)mode, ending_at_the_page(lengths[i]), lengths[i],
                                pieces[j]);
    }
}

static void the_modes_give_different_digests(void)
{
    uint8_t outs[MODES_COUNT][200];
    for (int mode = PLAIN; mode < MODES_COUNT; mode++)
        whole_xof((enum mode)mode, input, 5000, outs[mode]);
    CHECK(memcmp(outs[PLAIN], outs[KEYED], 32) != 0);
    CHECK(memcmp(outs[PLAIN], outs[DERIVED], 32) != 0);
    CHECK(memcmp(outs[KEYED], outs[DERIVED], 32) != 0);
}

static void a_copy_of_a_hasher_goes_its_own_way(void)
{
    struct mlp_hasher *hasher, *copy;
    uint8_t first[32], second[32], expected[32];
    CHECK(mlp_hasher_new(&hasher, MLP_BLAKE3, NULL, NULL) == 0);
    CHECK(mlp_hasher_update(hasher, input, 3000, NULL) == 0);
    CHECK(mlp_hasher_copy(&copy, hasher, NULL) == 0);
    CHECK(mlp_hasher_update(copy, input + 3000, 1000, NULL) == 0);
    CHECK(mlp_hasher_digest(hasher, first, NULL) == 0);
    CHECK(mlp_hasher_digest(copy, second, NULL) == 0);
    mlp_blake3(expected, input, 3000);
    CHECK(memcmp(first, expected, 32) == 0);
    mlp_blake3(expected, input, 4000);
    CHECK(memcmp(second, expected, 32) == 0);
    mlp_hasher_free(hasher);
    mlp_hasher_free(copy);
    mlp_hasher_free(NULL);
}

/* ---- many inputs ---- */

#define MANY 300

static void check_many(const size_t lengths[MANY], size_t count)
{
    static struct mlp_hash_input inputs[MANY];
    static uint8_t digests[MANY * MLP_BLAKE3_OUT_LEN];
    for (size_t i = 0; i < count; i++) {
        inputs[i].len = lengths[i];
        inputs[i].data = lengths[i] > 0 ? ending_at_the_page(lengths[i]) : NULL;
    }
    CHECK(mlp_hash_many(MLP_BLAKE3, digests, inputs, count, NULL) == 0);
    for (size_t i = 0; i < count; i++) {
        uint8_t expected[32];
        mlp_blake3(expected, inputs[i].data, lengths[i]);
        if (!CHECK(memcmp(digests + i * 32, expected, 32) == 0))
            printf("  input %zu of %zu, %zu bytes\n", i, count, lengths[i]);
    }
}

static void many_inputs_give_the_digests_of_each(void)
{
    size_t lengths[MANY] = {0};
    for (size_t k = 0; k < kernels_count; k++) {
        if (!usable[k])
            continue;
        CHECK(mlp_hash_kernel_force(names[k], NULL) == 0);
        for (size_t i = 0; i < MANY; i++)
            lengths[i] = i * 23 % 1500; /* all block counts, some of two chunks */
        check_many(lengths, MANY);
        for (size_t i = 0; i < MANY; i++)
            lengths[i] = i % 7 == 0 ? 70000 + i : i * i * 5 % 68000;
        check_many(lengths, MANY);
        for (size_t i = 0; i < MANY; i++)
            lengths[i] = 256;
        for (size_t count = 0; count <= 40; count++)
            check_many(lengths, count);
        for (size_t i = 0; i < MANY; i++)
            lengths[i] = 1024 * (i % 9) + i % 3;
        check_many(lengths, MANY);
    }
}

/* ---- subtrees ---- */

/* Section 2.1: the left subtree is the largest power of two of chunks that leaves one byte. */
static void join_by_definition(uint8_t out32[32], const uint8_t *data, size_t len, uint64_t chunk,
                               const uint8_t *key, bool root)
{
    uint8_t left[32], right[32];
    size_t left_len = 1024;
    while (left_len * 2 < len)
        left_len *= 2;
    if (left_len > 4096)
        join_by_definition(left, data, left_len, chunk, key, false);
    else
        CHECK(mlp_blake3_subtree(left, data, left_len, chunk, key, NULL) == 0);
    if (len - left_len > 4096)
        join_by_definition(right, data + left_len, len - left_len, chunk + left_len / 1024, key,
                           false);
    else
        CHECK(mlp_blake3_subtree(right, data + left_len, len - left_len, chunk + left_len / 1024,
                                 key, NULL) == 0);
    if (root)
        mlp_blake3_root_of_parents(out32, left, right, key);
    else
        mlp_blake3_parent(out32, left, right, key);
}

static void joined_subtrees_give_the_digest_of_the_whole(void)
{
    static const size_t lengths[] = {1025, 2048, 2049, 5000, 8192, 100000, 262144, 1048577};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint8_t joined[32], digest[200];
        const uint8_t *data = ending_at_the_page(lengths[i]);
        join_by_definition(joined, data, lengths[i], 0, NULL, true);
        whole_xof(PLAIN, data, lengths[i], digest);
        CHECK(memcmp(joined, digest, 32) == 0);
        join_by_definition(joined, data, lengths[i], 0, key32, true);
        whole_xof(KEYED, data, lengths[i], digest);
        CHECK(memcmp(joined, digest, 32) == 0);
    }
}

/* A whole subtree against one that is joined from pieces, far into an input nobody can hold. */
static void a_subtree_far_out_counts_its_chunks_beyond_32_bits(void)
{
    static const uint64_t offsets[] = {UINT64_C(1) << 32, (UINT64_C(1) << 32) - 1024,
                                       UINT64_C(1) << 54, ~UINT64_C(0) - 1023};
    for (size_t k = 0; k < kernels_count; k++) {
        if (!usable[k])
            continue;
        CHECK(mlp_hash_kernel_force(names[k], NULL) == 0);
        for (size_t i = 0; i < 4; i++) {
            uint8_t whole[32], joined[32];
            CHECK(mlp_blake3_subtree(whole, input, 65536, offsets[i], NULL, NULL) == 0);
            join_by_definition(joined, input, 65536, offsets[i], NULL, false);
            CHECK(memcmp(whole, joined, 32) == 0);
            CHECK(mlp_blake3_subtree(joined, input, 65536, 0, NULL, NULL) == 0);
            CHECK(memcmp(whole, joined, 32) != 0);
        }
    }
}

static void a_subtree_that_is_empty_or_not_aligned_is_refused(void)
{
    struct mlp_error error;
    uint8_t cv[32];
    CHECK(mlp_blake3_subtree(cv, input, 0, 0, NULL, &error) == MLP_E_ARGUMENT);
    CHECK(mlp_blake3_subtree(cv, input, 1, 3, NULL, &error) == 0);
    CHECK(mlp_blake3_subtree(cv, input, 1025, 3, NULL, &error) == MLP_E_ARGUMENT);
    CHECK(strstr(error.message, "multiple of 2 chunks") != NULL);
    CHECK(mlp_blake3_subtree(cv, input, 5 * 1024, 4, NULL, &error) == MLP_E_ARGUMENT);
    CHECK(mlp_blake3_subtree(cv, input, 5 * 1024, 8, NULL, &error) == 0);
    CHECK(mlp_blake3_subtree(cv, input, 2048, ~UINT64_C(0), NULL, &error) == MLP_E_ARGUMENT);
}

/* ---- names and refusals ---- */

static void algorithms_have_their_names_and_sizes(void)
{
    static const size_t digest_lens[] = {0, 32, 32, 48, 64}, block_lens[] = {0, 64, 64, 128, 128};
    for (int algorithm = MLP_BLAKE3; algorithm <= MLP_SHA512; algorithm++) {
        const char *name = mlp_algorithm_name(algorithm);
        CHECK(name != NULL && mlp_algorithm_from_name(name, strlen(name)) == algorithm);
        CHECK(mlp_algorithm_digest_len(algorithm) == digest_lens[algorithm]);
        CHECK(mlp_algorithm_block_len(algorithm) == block_lens[algorithm]);
    }
    CHECK(mlp_algorithm_from_name("sha25", 5) == 0);
    CHECK(mlp_algorithm_from_name("sha256x", 7) == 0);
    CHECK(mlp_algorithm_from_name("SHA256", 6) == 0);
    CHECK(mlp_algorithm_from_name("", 0) == 0);
    CHECK(mlp_algorithm_name(0) == NULL && mlp_algorithm_name(5) == NULL);
    CHECK(mlp_algorithm_digest_len(-1) == 0 && mlp_algorithm_block_len(99) == 0);
}

static void wrong_arguments_are_refused(void)
{
    struct mlp_hasher *hasher = NULL;
    struct mlp_error error;
    uint8_t digest[MLP_HASH_MAX_LEN];
    CHECK(mlp_hasher_new(&hasher, 0, NULL, &error) == MLP_E_ARGUMENT);
    CHECK(mlp_hasher_new(&hasher, 5, NULL, &error) == MLP_E_ARGUMENT);
    CHECK(mlp_hasher_new(&hasher, MLP_SHA256, key32, &error) == MLP_E_ARGUMENT);
    CHECK(hasher == NULL);
    CHECK(mlp_hash(7, digest, "", 0, &error) == MLP_E_ARGUMENT);
}

static void a_kernel_that_does_not_exist_is_refused_with_the_list(void)
{
    struct mlp_error error;
    const char *before = mlp_hash_kernel_name();
    CHECK(mlp_hash_kernel_force("avx1024", &error) == MLP_E_CONFIG);
    CHECK(strstr(error.message, "portable") != NULL && strstr(error.message, "avx1024") != NULL);
    for (size_t k = 0; k < kernels_count; k++)
        CHECK(usable[k] || mlp_hash_kernel_force(names[k], &error) == MLP_E_CONFIG);
    CHECK(mlp_hash_kernel_name() == before);
    CHECK(setenv("MLPROV_HASH_IMPL", "avx1024", 1) == 0);
    CHECK(mlp_hash_kernel_check_environment(&error) == MLP_E_CONFIG);
    CHECK(strstr(error.message, "MLPROV_HASH_IMPL") != NULL);
    CHECK(setenv("MLPROV_HASH_IMPL", "portable", 1) == 0);
    CHECK(mlp_hash_kernel_check_environment(&error) == 0);
    CHECK(unsetenv("MLPROV_HASH_IMPL") == 0);
    CHECK(mlp_hash_kernel_check_environment(&error) == 0);
}

int main(void)
{
    kernels_count = mlp_hash_kernels(names, usable);
    if (!CHECK(map_input()) || !CHECK(strcmp(names[kernels_count - 1], "portable") == 0))
        return 1;
    for (size_t k = 0; k < kernels_count; k++)
        printf("  kernel %s: %s\n", names[k], usable[k] ? "tested" : "not usable on this machine");
    RUN(known_digests_are_reproduced);
    RUN(any_split_of_the_input_gives_the_same_digest);
    RUN(the_modes_give_different_digests);
    RUN(a_copy_of_a_hasher_goes_its_own_way);
    RUN(many_inputs_give_the_digests_of_each);
    RUN(joined_subtrees_give_the_digest_of_the_whole);
    RUN(a_subtree_far_out_counts_its_chunks_beyond_32_bits);
    RUN(a_subtree_that_is_empty_or_not_aligned_is_refused);
    RUN(algorithms_have_their_names_and_sizes);
    RUN(wrong_arguments_are_refused);
    RUN(a_kernel_that_does_not_exist_is_refused_with_the_list);
    return check_finish();
}

/* The hash room's face: every usable kernel at every boundary length against the portable one,
 * splits, subtrees, many inputs, SHA-2, and what is refused. Official vectors are tested from
 * Python.
 */
#include "check.h"
#include "hash/hash.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define INPUT_LEN ((1U << 20) + 1)

static uint8_t *input; /* INPUT_LEN bytes that end where an unmapped page begins */
static const uint8_t key32[32] = "thirty-two bytes of a test's key";

static bool map_input(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t len = (INPUT_LEN + page - 1) / page * page;
    uint8_t *pages =
        mmap(NULL, len + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + len, page, PROT_NONE) != 0)
        return false;
    input = pages + len - INPUT_LEN;
    uint32_t word = 1;
    for (size_t i = 0; i < INPUT_LEN; i++) {
        word = word * 1664525U + 1013904223U;
        input[i] = (uint8_t)(word >> 24);
    }
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

static size_t boundary_lengths(size_t lengths[128])
{
    static const size_t small[] = {0, 1, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 2047, 2048};
    size_t count = 0;
    for (size_t i = 0; i < sizeof small / sizeof small[0]; i++)
        lengths[count++] = small[i];
    for (size_t power = 2048; power < INPUT_LEN; power *= 2) {
        lengths[count++] = power - 1;
        lengths[count++] = power;
        lengths[count++] = power + 1;
        lengths[count++] = power + 1024 <= INPUT_LEN ? power + 1024 : power - 1024;
        lengths[count++] = power / 4 * 3 + 7 * 1024;
    }
    return count;
}

/* ---- BLAKE3 ---- */

static bool equals_hex(const uint8_t *bytes, size_t len, const char *hex)
{
    char seen[2 * MLP_HASH_MAX_LEN + 1] = "";
    for (size_t i = 0; i < len; i++)
        (void)snprintf(seen + 2 * i, 3, "%02x", bytes[i]);
    return strcmp(seen, hex) == 0;
}

static void known_digests_are_reproduced(void)
{
    uint8_t digest[MLP_HASH_MAX_LEN];
    mlp_blake3(digest, NULL, 0);
    CHECK(
        equals_hex(digest, 32, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"));
    mlp_blake3(digest, "abc", 3);
    CHECK(
        equals_hex(digest, 32, "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"));
    /* FIPS 180-4's message "abc", from NIST's example values. */
    CHECK(mlp_hash(MLP_SHA256, digest, "abc", 3, NULL) == 0);
    CHECK(
        equals_hex(digest, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    CHECK(mlp_hash(MLP_SHA384, digest, "abc", 3, NULL) == 0);
    CHECK(equals_hex(digest, 48,
                     "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
                     "8086072ba1e7cc2358baeca134c825a7"));
    CHECK(mlp_hash(MLP_SHA512, digest, "abc", 3, NULL) == 0);
    CHECK(equals_hex(digest, 64,
                     "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                     "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"));
}

static void every_kernel_agrees_with_the_portable_one_at_every_boundary(void)
{
    size_t lengths[128];
    size_t lengths_count = boundary_lengths(lengths);
    for (size_t i = 0; i < lengths_count; i++) {
        const uint8_t *data = ending_at_the_page(lengths[i]);
        uint8_t expected[32], seen[32];
        CHECK(mlp_hash_kernel_force("portable", NULL) == 0);
        mlp_blake3(expected, data, lengths[i]);
        for (size_t k = 0; k < kernels_count; k++) {
            if (!usable[k])
                continue;
            CHECK(mlp_hash_kernel_force(names[k], NULL) == 0);
            mlp_blake3(seen, data, lengths[i]);
            if (!CHECK(memcmp(seen, expected, 32) == 0))
                printf("  kernel %s, %zu bytes\n", names[k], lengths[i]);
        }
    }
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
    for (int algorithm = MLP_BLAKE3; algorithm <= MLP_SHA512; algorithm++) {
        struct mlp_hasher *hasher, *copy;
        uint8_t first[MLP_HASH_MAX_LEN], second[MLP_HASH_MAX_LEN], expected[MLP_HASH_MAX_LEN];
        size_t digest_len = mlp_algorithm_digest_len(algorithm);
        CHECK(mlp_hasher_new(&hasher, algorithm, NULL, NULL) == 0);
        CHECK(mlp_hasher_update(hasher, input, 3000, NULL) == 0);
        CHECK(mlp_hasher_copy(&copy, hasher, NULL) == 0);
        CHECK(mlp_hasher_update(copy, input + 3000, 1000, NULL) == 0);
        CHECK(mlp_hasher_digest(hasher, first, NULL) == 0);
        CHECK(mlp_hasher_digest(copy, second, NULL) == 0);
        CHECK(mlp_hash(algorithm, expected, input, 3000, NULL) == 0);
        CHECK(memcmp(first, expected, digest_len) == 0);
        CHECK(mlp_hash(algorithm, expected, input, 4000, NULL) == 0);
        CHECK(memcmp(second, expected, digest_len) == 0);
        mlp_hasher_free(hasher);
        mlp_hasher_free(copy);
    }
    mlp_hasher_free(NULL);
}

/* ---- many inputs ---- */

#define MANY 300

static void check_many(int algorithm, const size_t lengths[MANY], size_t count)
{
    static struct mlp_hash_input inputs[MANY];
    static uint8_t digests[MANY * MLP_HASH_MAX_LEN];
    size_t digest_len = mlp_algorithm_digest_len(algorithm);
    for (size_t i = 0; i < count; i++) {
        inputs[i].len = lengths[i];
        inputs[i].data = lengths[i] > 0 ? ending_at_the_page(lengths[i]) : NULL;
    }
    CHECK(mlp_hash_many(algorithm, digests, inputs, count, NULL) == 0);
    for (size_t i = 0; i < count; i++) {
        uint8_t expected[MLP_HASH_MAX_LEN];
        if (algorithm == MLP_BLAKE3)
            mlp_blake3(expected, inputs[i].data, lengths[i]);
        else
            CHECK(mlp_hash(algorithm, expected, inputs[i].data, lengths[i], NULL) == 0);
        if (!CHECK(memcmp(digests + i * digest_len, expected, digest_len) == 0))
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
        check_many(MLP_BLAKE3, lengths, MANY);
        for (size_t i = 0; i < MANY; i++)
            lengths[i] = i % 7 == 0 ? 70000 + i : i * i * 5 % 68000;
        check_many(MLP_BLAKE3, lengths, MANY);
        for (size_t i = 0; i < MANY; i++)
            lengths[i] = 256;
        for (size_t count = 0; count <= 40; count++)
            check_many(MLP_BLAKE3, lengths, count);
        for (size_t i = 0; i < MANY; i++)
            lengths[i] = 1024 * (i % 9) + i % 3;
        check_many(MLP_BLAKE3, lengths, MANY);
    }
    check_many(MLP_SHA256, lengths, 50);
    check_many(MLP_SHA384, lengths, 50);
    check_many(MLP_SHA512, lengths, 50);
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
    CHECK(mlp_hasher_new(&hasher, MLP_SHA512, NULL, NULL) == 0);
    CHECK(mlp_hasher_xof(hasher, 0, digest, 1, &error) == MLP_E_ARGUMENT);
    mlp_hasher_free(hasher);
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
    RUN(every_kernel_agrees_with_the_portable_one_at_every_boundary);
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

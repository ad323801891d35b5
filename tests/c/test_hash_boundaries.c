/* Every kernel against the specification's wording (blake3_reference.h): every length and every
 * alignment, between unmapped pages, in every mode; around powers of two up to 64 MiB; subtrees far
 * into an input.
 *
 * MLPROV_TEST_LARGEST: the largest power of two in bytes, for machines that are emulated.
 */
#include "blake3_reference.h"
#include "check.h"
#include "hash/hash.h"
#include "hash_fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#define EXHAUSTIVE_LEN  4100
#define REFERENCE_LEN   ((1U << 20) + 1024) /* beyond, the portable kernel is the measure */
#define DEFAULT_LARGEST (64U << 20)
#define CONTEXT         "mlprov 2025 test of boundaries"

static struct guarded input;
static size_t largest = DEFAULT_LARGEST;

static const char *names[MLP_KERNELS_MAX];
static bool usable[MLP_KERNELS_MAX];
static size_t kernels_count;

/* Steps over the usable kernels, each forced in turn: for (k = 0; next_kernel(&k); k++). */
static bool next_kernel(size_t *k)
{
    while (*k < kernels_count && !usable[*k])
        ++*k;
    return *k < kernels_count && CHECK(mlp_hash_kernel_force(names[*k], NULL) == 0);
}

/* ---- the three modes ---- */

enum mode { PLAIN, KEYED, DERIVED, MODES_COUNT };

static const uint8_t key32[32] = "another key of thirty-two bytes.";
static struct reference_mode modes[MODES_COUNT];

static void digest_of(uint8_t digest32[32], enum mode mode, const uint8_t *data, size_t len)
{
    struct mlp_hasher *hasher = NULL;
    if (mode == PLAIN) {
        mlp_blake3(digest32, data, len);
        return;
    }
    if (mode == KEYED)
        CHECK(mlp_hasher_new(&hasher, MLP_BLAKE3, key32, NULL) == 0);
    else
        CHECK(mlp_hasher_new_derive_key(&hasher, CONTEXT, strlen(CONTEXT), NULL) == 0);
    CHECK(mlp_hasher_update(hasher, data, len, NULL) == 0);
    CHECK(mlp_hasher_digest(hasher, digest32, NULL) == 0);
    mlp_hasher_free(hasher);
}

static void expected_digest(uint8_t digest32[32], enum mode mode, const uint8_t *data, size_t len)
{
    if (len <= REFERENCE_LEN) {
        reference_hash(digest32, 32, data, len, &modes[mode]);
        return;
    }
    CHECK(mlp_hash_kernel_force("portable", NULL) == 0);
    digest_of(digest32, mode, data, len);
}

static void check_every_kernel(enum mode mode, const uint8_t *data, size_t len)
{
    uint8_t expected[32], seen[32];
    expected_digest(expected, mode, data, len);
    for (size_t k = 0; next_kernel(&k); k++) {
        digest_of(seen, mode, data, len);
        if (!CHECK(memcmp(seen, expected, 32) == 0))
            printf("  kernel %s, mode %d, %zu bytes at %p\n", names[k], (int)mode, len,
                   (const void *)data);
    }
}

/* ---- tests ---- */

static bool reading_faults(const volatile uint8_t *at)
{
    pid_t child = fork();
    if (child == 0) {
        (void)signal(SIGSEGV, SIG_DFL);
        (void)signal(SIGBUS, SIG_DFL);
        _exit(*at == 0 ? 0 : 1);
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status);
}

static void the_byte_beside_the_input_faults_when_read(void)
{
    CHECK(reading_faults(input.end));
    CHECK(reading_faults(input.begin - 1));
    CHECK(!reading_faults(input.begin));
    CHECK(!reading_faults(input.end - 1));
}

static void every_length_to_4100_that_ends_at_an_unmapped_page_agrees(void)
{
    for (size_t len = 0; len <= EXHAUSTIVE_LEN; len++)
        for (int mode = PLAIN; mode < MODES_COUNT; mode++)
            check_every_kernel((enum mode)mode, input.end - len, len);
}

static void every_alignment_after_an_unmapped_page_agrees(void)
{
    static const size_t lengths[] = {
        1, 63, 64, 65, 1023, 1025, 2049, 4 * 1024, 9 * 1024 + 1, 16 * 1024 - 1, 33 * 1024 + 65};
    for (size_t alignment = 0; alignment < 64; alignment++)
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
            check_every_kernel((enum mode)(alignment % MODES_COUNT), input.begin + alignment,
                               lengths[i]);
}

static void lengths_around_powers_of_two_agree(void)
{
    for (size_t power = 4096; power <= largest; power *= 2) {
        const size_t lengths[] = {power - 1024, power - 1, power, power + 1, power + 1024};
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            check_every_kernel(PLAIN, input.end - lengths[i], lengths[i]);
            if (lengths[i] <= REFERENCE_LEN) {
                check_every_kernel(KEYED, input.end - lengths[i], lengths[i]);
                check_every_kernel(DERIVED, input.end - lengths[i], lengths[i]);
            }
        }
    }
}

/* In two updates, of which the second ends at the unmapped page. */
static void check_updates(enum mode mode, size_t first_len, size_t len)
{
    uint8_t expected[32], seen[32];
    const uint8_t *data = input.end - len;
    reference_hash(expected, 32, data, len, &modes[mode]);
    for (size_t k = 0; next_kernel(&k); k++) {
        struct mlp_hasher *hasher = NULL;
        CHECK(mlp_hasher_new(&hasher, MLP_BLAKE3, mode == KEYED ? key32 : NULL, NULL) == 0);
        CHECK(mlp_hasher_update(hasher, data, first_len, NULL) == 0);
        CHECK(mlp_hasher_update(hasher, data + first_len, len - first_len, NULL) == 0);
        CHECK(mlp_hasher_digest(hasher, seen, NULL) == 0);
        mlp_hasher_free(hasher);
        if (!CHECK(memcmp(seen, expected, 32) == 0))
            printf("  kernel %s, mode %d, %zu bytes and %zu\n", names[k], (int)mode, first_len,
                   len - first_len);
    }
}

static void a_chunk_that_one_update_begins_is_ended_by_the_next_beside_others(void)
{
    static const size_t first_lens[] = {
        1,         64,           1023, 1024, 1025, 2048, 3000, 15 * 1024 + 1, 31 * 1024 + 7,
        32 * 1024, 33 * 1024 - 1};
    static const size_t second_lens[] = {
        0, 1, 1023, 1024, 1025, 2047, 2048, 3072, 16 * 1024, 31 * 1024 + 1, 65 * 1024, 300 * 1024};
    for (size_t i = 0; i < sizeof first_lens / sizeof first_lens[0]; i++)
        for (size_t j = 0; j < sizeof second_lens / sizeof second_lens[0]; j++)
            for (int mode = PLAIN; mode <= KEYED && first_lens[i] + second_lens[j] <= largest;
                 mode++)
                check_updates((enum mode)mode, first_lens[i], first_lens[i] + second_lens[j]);
}

static void check_subtree(const uint8_t *data, size_t len, uint64_t chunk, const uint8_t *key)
{
    uint8_t expected[32], seen[32];
    struct reference_node node =
        reference_tree(data, len, chunk, &modes[key != NULL ? KEYED : PLAIN]);
    reference_chaining_value(expected, &node);
    for (size_t k = 0; next_kernel(&k); k++) {
        CHECK(mlp_blake3_subtree(seen, data, len, chunk, key, NULL) == 0);
        if (!CHECK(memcmp(seen, expected, 32) == 0))
            printf("  kernel %s, %zu bytes at chunk %llu\n", names[k], len,
                   (unsigned long long)chunk);
    }
}

/* 2^54 chunks are all that the length of an input, less than 2^64 bytes, can name. */
static void subtrees_up_to_chunk_2_to_the_54_agree(void)
{
    static const size_t chunks[] = {1, 2, 4, 8, 16, 32};
    for (unsigned exponent = 5; exponent <= 54; exponent++)
        for (size_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++) {
            uint64_t offset = UINT64_C(1) << exponent;
            size_t whole = chunks[i] * 1024, part = whole - 1024 / 3;
            check_subtree(input.end - whole, whole, offset - chunks[i], NULL);
            check_subtree(input.end - whole, whole, offset, key32);
            check_subtree(input.end - part, part, offset - chunks[i], key32);
            check_subtree(input.end - part, part, offset, NULL);
        }
}

static bool read_largest(void)
{
    const char *text = getenv("MLPROV_TEST_LARGEST");
    if (text == NULL)
        return true;
    char *end;
    largest = strtoull(text, &end, 10);
    printf("  powers of two up to %zu bytes only, as MLPROV_TEST_LARGEST asks\n", largest);
    return *end == '\0' && largest >= 65536 && largest <= DEFAULT_LARGEST;
}

int main(void)
{
    kernels_count = mlp_hash_kernels(names, usable);
    if (!CHECK(read_largest()) || !CHECK(map_guarded(&input, largest + 1024)))
        return 1;
    for (size_t k = 0; k < kernels_count; k++)
        printf("  kernel %s: %s\n", names[k], usable[k] ? "tested" : "not usable on this machine");
    modes[PLAIN] = reference_plain();
    modes[KEYED] = reference_with_key(key32, REFERENCE_KEYED_HASH);
    modes[DERIVED] = reference_derived(CONTEXT);
    RUN(the_byte_beside_the_input_faults_when_read);
    RUN(every_length_to_4100_that_ends_at_an_unmapped_page_agrees);
    RUN(every_alignment_after_an_unmapped_page_agrees);
    RUN(lengths_around_powers_of_two_agree);
    RUN(a_chunk_that_one_update_begins_is_ended_by_the_next_beside_others);
    RUN(subtrees_up_to_chunk_2_to_the_54_agree);
    return check_finish();
}

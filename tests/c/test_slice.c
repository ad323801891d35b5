/* Groups kept in one pass, and proofs of slices from them, against the specification's wording
 * (blake3_reference.h): every slice of a short input, boundaries of long ones, and what must be refused.
 */
#include "blake3_reference.h"
#include "check.h"
#include "hash/pool.h"
#include "merkle/slice.h"

#include <stdlib.h>

#define CHUNK     ((size_t)MLP_BLAKE3_CHUNK_LEN)
#define GROUP     ((size_t)MLP_BLAKE3_GROUP_LEN)
#define INPUT_MAX ((size_t)4 << 20)

static uint8_t *input;
static uint8_t groups[INPUT_MAX / MLP_BLAKE3_GROUP_LEN * 32 + 32];
static size_t groups_len; /* of the input that begin() took */
static uint8_t digest32[32];

static int read_input(void *context, uint8_t *out, size_t out_len, uint64_t offset,
                      struct mlp_error *error)
{
    (void)context;
    if (out_len > 8 * CHUNK)
        return mlp_fail(error, MLP_E_IO, "more than 8 KiB are read at once");
    memcpy(out, input + offset, out_len);
    return 0;
}

static const struct mlp_slice_source source = {read_input, NULL};

static void begin(size_t len, size_t threads)
{
    struct reference_mode mode = reference_plain();
    uint8_t expected[32];
    groups_len = (size_t)mlp_blake3_groups_count(len) * 32;
    mlp_blake3_with_groups(digest32, groups, input, len, threads);
    if (len <= (1 << 20))
        reference_hash(expected, 32, input, len, &mode);
    else
        mlp_blake3(expected, input, len);
    if (!CHECK(memcmp(digest32, expected, 32) == 0))
        printf("  %zu bytes, %zu threads\n", len, threads);
}

static int prove(struct mlp_slice_proof *proof, size_t len, uint64_t start, uint64_t slice_len)
{
    return mlp_slice_prove(proof, len, start, slice_len, groups, groups_len, &source, NULL);
}

static int verify(const struct mlp_slice_proof *proof, size_t len, size_t start, size_t slice_len)
{
    return mlp_slice_verify(digest32, len, start, input + start, slice_len, proof, NULL);
}

static void check_slice(size_t len, size_t start, size_t slice_len)
{
    struct mlp_slice_proof proof;
    if (!CHECK(prove(&proof, len, start, slice_len) == 0) ||
        !CHECK(verify(&proof, len, start, slice_len) == 0))
        printf("  %zu bytes from %zu on, of %zu\n", slice_len, start, len);
}

/* ---- groups ---- */

static void every_group_has_the_chaining_value_of_its_subtree(void)
{
    static const size_t lengths[] = {GROUP + 1, 2 * GROUP, 31 * GROUP + 5, (1 << 20) + 1};
    struct reference_mode mode = reference_plain();
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        for (size_t threads = 1; threads <= 3; threads += 2) {
            memset(groups, 0, sizeof groups);
            begin(lengths[i], threads);
            for (size_t g = 0; g < groups_len / 32; g++) {
                size_t left = lengths[i] - g * GROUP, len = left < GROUP ? left : GROUP;
                uint8_t cv32[32];
                struct reference_node node =
                    reference_tree(input + g * GROUP, len, g * GROUP / CHUNK, &mode);
                reference_chaining_value(cv32, &node);
                CHECK(memcmp(groups + g * 32, cv32, 32) == 0);
            }
        }
    }
}

static void an_input_of_one_group_keeps_none(void)
{
    CHECK(mlp_blake3_groups_count(0) == 0);
    CHECK(mlp_blake3_groups_count(GROUP) == 0);
    CHECK(mlp_blake3_groups_count(GROUP + 1) == 2);
    CHECK(mlp_blake3_groups_count(2 * GROUP) == 2);
    CHECK(mlp_blake3_groups_count(UINT64_MAX) == UINT64_C(1) << 50);
    groups[0] = 0xA5;
    begin(GROUP, 1);
    CHECK(groups[0] == 0xA5);
}

static void digests_do_not_depend_on_threads(void)
{
    static const size_t lengths[] = {INPUT_MAX, INPUT_MAX - 1, 3 * (INPUT_MAX / 4) + 17};
    static uint8_t alone[sizeof groups];
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        begin(lengths[i], 1);
        memcpy(alone, groups, groups_len);
        for (size_t threads = 2; threads <= 4; threads++) {
            memset(groups, 0, groups_len);
            begin(lengths[i], threads);
            CHECK(memcmp(alone, groups, groups_len) == 0);
        }
    }
}

/* ---- proofs ---- */

static void every_slice_of_a_short_input_is_proved(void)
{
    static const size_t lengths[] = {0, 1, 64, 65, 130};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        begin(lengths[i], 1);
        for (size_t start = 0; start <= lengths[i]; start++)
            for (size_t len = 0; len <= lengths[i] - start; len++)
                check_slice(lengths[i], start, len);
    }
}

/* Positions around every multiple of a step, from 0 to len. */
static size_t positions_near(size_t *positions, size_t len, size_t step)
{
    size_t count = 0;
    for (size_t at = 0; at <= len + 1; at += step)
        for (size_t near = at == 0 ? 0 : at - 1; near <= at + 1 && near <= len; near++)
            positions[count++] = near;
    if (count == 0 || positions[count - 1] != len)
        positions[count++] = len;
    return count;
}

static void check_between(size_t len, size_t step)
{
    static size_t positions[4096];
    size_t count = positions_near(positions, len, step);
    begin(len, 1);
    for (size_t i = 0; i < count; i++)
        for (size_t k = i; k < count; k++)
            if (positions[k] >= positions[i])
                check_slice(len, positions[i], positions[k] - positions[i]);
}

static void every_slice_between_chunks_is_proved(void)
{
    for (size_t chunks = 1; chunks <= 19; chunks++) {
        check_between(chunks * CHUNK - 1, CHUNK);
        check_between(chunks * CHUNK, CHUNK);
        check_between(chunks * CHUNK + 1, CHUNK);
    }
}

static void every_slice_between_groups_is_proved(void)
{
    static const size_t counts[] = {1, 2, 3, 4, 5, 7, 8, 9};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        check_between(counts[i] * GROUP - 1, GROUP);
        check_between(counts[i] * GROUP, GROUP);
        check_between(counts[i] * GROUP + 1, GROUP);
    }
}

static void a_slice_of_many_tasks_is_proved(void)
{
    begin(INPUT_MAX - 5, 2);
    check_slice(INPUT_MAX - 5, 0, INPUT_MAX - 5);
    check_slice(INPUT_MAX - 5, 12345, INPUT_MAX - 5 - 12345);
    check_slice(INPUT_MAX - 5, GROUP, INPUT_MAX / 2);
    check_slice(INPUT_MAX - 5, 1, 3 * (INPUT_MAX / 4));
}

static void a_proof_is_as_short_as_the_tree_allows(void)
{
    struct mlp_blake3_span spans[MLP_BLAKE3_SPANS_MAX];
    /* 16 KiB of 1 GiB: 2^16 groups, a sibling on each level. */
    CHECK(mlp_blake3_spans_around(spans, 16 * 12345, 16 * 12346, 1 << 20) == 16);
    CHECK(mlp_blake3_spans_around(spans, 0, 1 << 20, 1 << 20) == 0);
    /* The most: from the second chunk to the last but one. */
    CHECK(mlp_blake3_spans_around(spans, (UINT64_C(1) << 53) - 1, (UINT64_C(1) << 53) + 1,
                                  UINT64_C(1) << 54) == 106);
}

/* ---- what is refused ---- */

static void every_changed_bit_is_refused(void)
{
    static const size_t cases[][3] = {{0, 0, 0},
                                      {1, 0, 1},
                                      {CHUNK, 1000, 24},
                                      {3 * CHUNK, 1, 1},
                                      {9 * CHUNK + 7, 3 * CHUNK + 9, 40},
                                      {3 * GROUP + 1, GROUP + 5, 20}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t len = cases[i][0], start = cases[i][1], slice_len = cases[i][2];
        struct mlp_slice_proof proof;
        begin(len, 1);
        CHECK(prove(&proof, len, start, slice_len) == 0);
        uint8_t *const places[] = {proof.head, proof.tail, proof.path, input + start, digest32};
        const size_t lens[] = {proof.head_len, proof.tail_len, proof.path_count * 32, slice_len,
                               32};
        for (size_t place = 0; place < 5; place++) {
            for (size_t bit = 0; bit < lens[place] * 8; bit++) {
                places[place][bit / 8] ^= (uint8_t)(1U << bit % 8);
                CHECK(verify(&proof, len, start, slice_len) == MLP_E_MISMATCH);
                places[place][bit / 8] ^= (uint8_t)(1U << bit % 8);
            }
        }
        CHECK(verify(&proof, len, start, slice_len) == 0);
    }
}

static void a_slice_at_another_place_is_refused(void)
{
    size_t len = 9 * CHUNK + 7;
    struct mlp_slice_proof proof;
    memset(input, 7, len); /* all chunks are the same bytes */
    begin(len, 1);
    CHECK(prove(&proof, len, 3 * CHUNK, CHUNK) == 0);
    CHECK(verify(&proof, len, 3 * CHUNK, CHUNK) == 0);
    for (size_t start = 0; start + CHUNK <= len; start++)
        if (start != 3 * CHUNK)
            CHECK(verify(&proof, len, start, CHUNK) < 0);
    for (size_t slice_len = 0; slice_len < 4 * CHUNK; slice_len++)
        if (slice_len != CHUNK)
            CHECK(verify(&proof, len, 3 * CHUNK, slice_len) < 0);
}

/* At the end no other length is accepted; elsewhere, one whose tree has the same shape on the way. */
static void a_slice_that_reaches_the_end_proves_the_length(void)
{
    static const size_t lengths[] = {0, 1, 1023, CHUNK, CHUNK + 1, 5 * CHUNK + 100, 2 * GROUP};
    static const size_t slices[] = {0, 1, 700, 2000};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        begin(lengths[i], 1);
        for (size_t k = 0; k < sizeof slices / sizeof slices[0] && slices[k] <= lengths[i]; k++) {
            struct mlp_slice_proof proof;
            size_t start = lengths[i] - slices[k];
            CHECK(prove(&proof, lengths[i], start, slices[k]) == 0);
            for (size_t other = 0; other < lengths[i] + 3 * CHUNK; other++)
                if (other != lengths[i])
                    CHECK(verify(&proof, other, start, slices[k]) < 0);
        }
    }
}

static void a_slice_beyond_the_end_is_refused(void)
{
    struct mlp_slice_proof proof;
    begin(100, 1);
    CHECK(prove(&proof, 100, 101, 0) == MLP_E_RANGE);
    CHECK(prove(&proof, 100, 100, 1) == MLP_E_RANGE);
    CHECK(prove(&proof, 100, 0, 101) == MLP_E_RANGE);
    CHECK(prove(&proof, 100, UINT64_MAX, 2) == MLP_E_RANGE);
    CHECK(prove(&proof, 100, 2, UINT64_MAX) == MLP_E_RANGE);
    CHECK(prove(&proof, 100, 100, 0) == 0);
    CHECK(verify(&proof, 100, 101, 0) == MLP_E_MALFORMED);
    CHECK(verify(&proof, 99, 100, 0) == MLP_E_MALFORMED);
    CHECK(mlp_slice_verify(digest32, 100, UINT64_MAX, input, 2, &proof, NULL) == MLP_E_MALFORMED);
}

static void a_proof_of_another_shape_is_malformed(void)
{
    struct mlp_slice_proof proof;
    size_t len = 9 * CHUNK;
    begin(len, 1);
    CHECK(prove(&proof, len, 2 * CHUNK + 5, 30) == 0);
    size_t *const numbers[] = {&proof.head_len, &proof.tail_len, &proof.path_count};
    for (size_t i = 0; i < 3; i++) {
        for (int step = -1; step <= 1; step += 2) {
            *numbers[i] += (size_t)step;
            CHECK(verify(&proof, len, 2 * CHUNK + 5, 30) == MLP_E_MALFORMED);
            *numbers[i] -= (size_t)step;
        }
    }
    CHECK(verify(&proof, len, 2 * CHUNK + 5, 30) == 0);
}

static void groups_of_another_length_are_refused(void)
{
    struct mlp_slice_proof proof;
    begin(3 * GROUP, 1);
    for (size_t wrong = 0; wrong < 130; wrong++)
        CHECK((mlp_slice_prove(&proof, 3 * GROUP, 5, 5, groups, wrong, &source, NULL) == 0) ==
              (wrong == 96));
    CHECK(mlp_slice_prove(&proof, GROUP, 5, 5, groups, 32, &source, NULL) == MLP_E_ARGUMENT);
}

static int fail_to_read(void *context, uint8_t *out, size_t out_len, uint64_t offset,
                        struct mlp_error *error)
{
    size_t *reads_left = context;
    if ((*reads_left)-- == 0)
        return mlp_fail(error, MLP_E_CHANGED, "the file changed");
    return read_input(NULL, out, out_len, offset, error);
}

static void a_read_that_fails_ends_the_proof(void)
{
    struct mlp_slice_proof proof;
    begin(3 * GROUP, 1);
    for (size_t reads = 0; reads < 9; reads++) { /* two ends, and 8, 4, 2 and 1 chunks beside */
        size_t reads_left = reads;
        const struct mlp_slice_source failing = {fail_to_read, &reads_left};
        int status =
            mlp_slice_prove(&proof, 3 * GROUP, GROUP + 5, 5, groups, groups_len, &failing, NULL);
        CHECK(status == (reads < 6 ? MLP_E_CHANGED : 0));
    }
}

int main(void)
{
    input = malloc(INPUT_MAX);
    if (input == NULL)
        return 1;
    uint32_t word = 1;
    for (size_t i = 0; i < INPUT_MAX; i++) {
        word = word * 1664525U + 1013904223U;
        input[i] = (uint8_t)(word >> 24);
    }
    RUN(every_group_has_the_chaining_value_of_its_subtree);
    RUN(an_input_of_one_group_keeps_none);
    RUN(digests_do_not_depend_on_threads);
    RUN(every_slice_of_a_short_input_is_proved);
    RUN(every_slice_between_chunks_is_proved);
    RUN(every_slice_between_groups_is_proved);
    RUN(a_slice_of_many_tasks_is_proved);
    RUN(a_proof_is_as_short_as_the_tree_allows);
    RUN(every_changed_bit_is_refused);
    RUN(a_slice_that_reaches_the_end_proves_the_length);
    RUN(a_slice_beyond_the_end_is_refused);
    RUN(a_proof_of_another_shape_is_malformed);
    RUN(groups_of_another_length_are_refused);
    RUN(a_read_that_fails_ends_the_proof);
    RUN(a_slice_at_another_place_is_refused);
    free(input);
    return check_finish();
}

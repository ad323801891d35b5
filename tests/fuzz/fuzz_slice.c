/* libFuzzer target: a slice of an input is proved and its proof changed. What the prover made must hold,
 * against the digest as the specification words it (blake3_reference.h); what the case changed of it must
 * be refused, unless it is what the prover makes of the changed slice.
 *
 * A case is seven bytes, then steps of three: what is changed, where, and how. Of the seven, two are the
 * bits of the input's length and one says how many of them count, so that every magnitude is as likely;
 * two are where the slice begins in the input, two how much of the rest it takes, as fractions of 65,535.
 * Input and slice have allocations of their own: AddressSanitizer sees a read past either.
 */
#include "blake3_reference.h"
#include "merkle/slice.h"

#include <stdio.h>
#include <stdlib.h>

#define HEAD_LEN 7

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct claim {
    uint8_t digest32[32];
    uint64_t total_len;
    uint64_t start;
    uint8_t *slice; /* an allocation of slice_len bytes, at least one */
    size_t slice_len;
    struct mlp_slice_proof proof;
};

struct input {
    uint8_t *bytes;
    size_t len;
    uint8_t *groups;
    size_t groups_len;
    uint8_t digest32[32];
};

static void fail(const struct claim *claim, const char *what)
{
    (void)fprintf(stderr, "%s: %zu bytes from %llu on, of %llu\n", what, claim->slice_len,
                  (unsigned long long)claim->start, (unsigned long long)claim->total_len);
    abort();
}

static void *allocate(size_t len)
{
    void *bytes = malloc(len > 0 ? len : 1);
    if (bytes == NULL)
        abort();
    return bytes;
}

static int read_input(void *context, uint8_t *out, size_t out_len, uint64_t offset,
                      struct mlp_error *error)
{
    const struct input *input = context;
    (void)error;
    if (offset > input->len || out_len > input->len - offset)
        abort();
    memcpy(out, input->bytes + offset, out_len);
    return 0;
}

static void make_input(struct input *input, const uint8_t *data)
{
    struct reference_mode mode = reference_plain();
    uint8_t seen32[32];
    uint32_t bits = (uint32_t)data[0] | (uint32_t)data[1] << 8, word = bits;
    input->len = bits & ((1U << data[2] % 17) - 1);
    input->bytes = allocate(input->len);
    for (size_t i = 0; i < input->len; i++) {
        word = word * 1664525U + 1013904223U;
        input->bytes[i] = (uint8_t)(word >> 24);
    }
    input->groups_len = (size_t)mlp_blake3_groups_count(input->len) * 32;
    input->groups = allocate(input->groups_len);
    mlp_blake3_with_groups(seen32, input->groups, input->bytes, input->len, 1);
    reference_hash(input->digest32, 32, input->bytes, input->len, &mode);
    if (memcmp(seen32, input->digest32, 32) != 0) {
        (void)fprintf(stderr, "mlp_blake3_with_groups differs at %zu bytes\n", input->len);
        abort();
    }
}

static int prove(struct mlp_slice_proof *proof, struct input *input, uint64_t start, size_t len)
{
    const struct mlp_slice_source source = {read_input, input};
    return mlp_slice_prove(proof, input->len, start, len, input->groups, input->groups_len, &source,
                           NULL);
}

/* Proves the slice that the case names. */
static void make_claim(struct claim *claim, struct input *input, const uint8_t *data)
{
    claim->total_len = input->len;
    claim->start = ((uint32_t)data[3] | (uint32_t)data[4] << 8) * (uint64_t)input->len / 65535;
    size_t left = input->len - (size_t)claim->start;
    claim->slice_len =
        (size_t)(((uint32_t)data[5] | (uint32_t)data[6] << 8) * (uint64_t)left / 65535);
    claim->slice = allocate(claim->slice_len);
    memcpy(claim->slice, input->bytes + claim->start, claim->slice_len);
    memcpy(claim->digest32, input->digest32, 32);
    if (prove(&claim->proof, input, claim->start, claim->slice_len) != 0)
        fail(claim, "not proved");
}

static int verify(const struct claim *claim)
{
    return mlp_slice_verify(claim->digest32, claim->total_len, claim->start, claim->slice,
                            claim->slice_len, &claim->proof, NULL);
}

static void flip(uint8_t *bytes, size_t len, const uint8_t *step)
{
    if (len > 0)
        bytes[(size_t)step[1] * len / 256] ^= step[2];
}

/* One change, that may undo an earlier one. */
static void change(struct claim *claim, const uint8_t *step)
{
    struct mlp_slice_proof *proof = &claim->proof;
    size_t by = (size_t)(int8_t)step[2];
    size_t path_len = proof->path_count * 32;
    switch (step[0] % 9) {
    case 0:
        flip(proof->head, sizeof proof->head, step);
        break;
    case 1:
        flip(proof->tail, sizeof proof->tail, step);
        break;
    case 2:
        flip(proof->path, path_len < sizeof proof->path ? path_len : sizeof proof->path, step);
        break;
    case 3:
        flip(claim->slice, claim->slice_len, step);
        break;
    case 4:
        flip(claim->digest32, 32, step);
        break;
    case 5:
        claim->start += by;
        break;
    case 6:
        proof->head_len += by;
        break;
    case 7:
        proof->path_count += by;
        break;
    default:
        proof->tail_len += by;
        break;
    }
}

static bool same_bytes(const uint8_t *left, const uint8_t *right, size_t len)
{
    return len == 0 || memcmp(left, right, len) == 0;
}

/* Whether the claim is the one that the prover makes of its slice, which may have been moved. */
static bool is_true(const struct claim *claim, struct input *input)
{
    struct mlp_slice_proof expected;
    const struct mlp_slice_proof *seen = &claim->proof;
    return prove(&expected, input, claim->start, claim->slice_len) == 0 &&
           seen->head_len == expected.head_len && seen->tail_len == expected.tail_len &&
           seen->path_count == expected.path_count &&
           same_bytes(claim->slice, input->bytes + claim->start, claim->slice_len) &&
           same_bytes(claim->digest32, input->digest32, 32) &&
           same_bytes(seen->head, expected.head, expected.head_len) &&
           same_bytes(seen->tail, expected.tail, expected.tail_len) &&
           same_bytes(seen->path, expected.path, expected.path_count * 32);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD_LEN)
        return 0;
    static struct claim claim; /* what the prover leaves unwritten is the same in every case */
    struct input input;
    memset(&claim, 0, sizeof claim);
    make_input(&input, data);
    make_claim(&claim, &input, data);
    if (verify(&claim) != 0)
        fail(&claim, "does not hold");
    for (size_t at = HEAD_LEN; at + 3 <= size; at += 3)
        change(&claim, data + at);
    int status = verify(&claim);
    if ((status == 0) != is_true(&claim, &input))
        fail(&claim, status == 0 ? "a false proof holds" : "a true proof does not hold");
    free(claim.slice);
    free(input.groups);
    free(input.bytes);
    return 0;
}

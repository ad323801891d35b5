/* Many inputs in one call, each against the slow reference (blake3_reference.h): lengths of every kind
 * beside one another, in memory and from sources, with every kernel.
 *
 * MLPROV_PROPERTY_CASES: how many random sets are tried instead of 2,000 (make property: 100,000). Set
 * number n is the same in every run.
 */
#include "blake3_reference.h"
#include "check.h"
#include "hash/hash.h"
#include "hash_fixture.h"

#include <stdlib.h>

#define INPUTS_MAX 64
#define TOTAL_MAX  ((size_t)400 << 10) /* below what several threads are worth */

static struct guarded arena;

static const char *kernels[MLP_KERNELS_MAX];
static bool usable[MLP_KERNELS_MAX];
static size_t kernels_count;

/* ---- random numbers ---- */

static uint64_t state;

/* xorshift64 (Marsaglia, 2003). */
static size_t below(size_t bound)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (size_t)((state >> 16) % bound);
}

static size_t random_len(size_t kind)
{
    if (kind == 0) /* one chunk, every number of blocks */
        return below(1026);
    if (kind == 1) /* every magnitude */
        return below((size_t)2 << below(17));
    if (kind == 2) /* about a boundary of chunks */
        return 1024 * below(40) + below(3);
    return 70000 + below(60000); /* too long for the queue */
}

/* ---- sources ---- */

struct sourced {
    struct mlp_hash_source source;
    const uint8_t *bytes;
    size_t len;
    size_t seed;
};

/* Some pieces are where they lie, others are gathered. */
static const uint8_t *read_sourced(const void *context, uint64_t offset, size_t len,
                                   uint8_t *buffer)
{
    const struct sourced *sourced = context;
    CHECK(offset % MLP_BLAKE3_CHUNK_LEN == 0 && len > 0 && offset + len <= sourced->len);
    if ((sourced->seed + offset / MLP_BLAKE3_CHUNK_LEN) % 3 == 0)
        return sourced->bytes + offset;
    memcpy(buffer, sourced->bytes + offset, len);
    return buffer;
}

static void init_sourced(struct sourced *sourced, const uint8_t *bytes, size_t len)
{
    sourced->source.read = read_sourced;
    sourced->source.context = sourced;
    sourced->source.piece_len = (size_t)1024 << below(8);
    sourced->bytes = bytes;
    sourced->len = len;
    sourced->seed = below(3);
}

/* ---- sets ---- */

struct set {
    size_t count;
    struct mlp_hash_input inputs[INPUTS_MAX];
    struct sourced sourced[INPUTS_MAX];
    const uint8_t *bytes[INPUTS_MAX];
};

/* In one of two: lengths of one kind, all equal in one of eight; otherwise of all kinds. */
static void random_set(struct set *set)
{
    size_t wanted = 1 + below(INPUTS_MAX), one_kind = below(2), kind = below(3), total = 0;
    size_t equal = below(8) == 0 ? 1 + random_len(kind) : 0, sources_in_ten = below(2) * below(11);
    set->count = 0;
    for (size_t i = 0; i < wanted; i++) {
        size_t len = equal != 0 ? equal : random_len(one_kind != 0 ? kind : below(16) * 2 / 10);
        if (total + len > TOTAL_MAX)
            break;
        total += len;
        const uint8_t *bytes = arena.end - len; /* at the unmapped page, or anywhere */
        if (below(4) != 0)
            bytes -= below((size_t)(bytes - arena.begin) + 1);
        set->bytes[i] = bytes;
        set->inputs[i] = (struct mlp_hash_input){.data = len > 0 ? bytes : NULL, .len = len};
        init_sourced(&set->sourced[i], bytes, len);
        if (below(10) < sources_in_ten)
            set->inputs[i].source = &set->sourced[i].source;
        set->count++;
    }
}

static bool agrees(const struct set *set)
{
    const struct reference_mode mode = reference_plain();
    uint8_t digests[INPUTS_MAX + 1][32], expected[32];
    memset(digests, 0xA5, sizeof digests);
    bool holds = mlp_hash_many(MLP_BLAKE3, digests[0], set->inputs, set->count, NULL) == 0;
    for (size_t i = 0; i < set->count && holds; i++) {
        reference_hash(expected, sizeof expected, set->bytes[i], set->inputs[i].len, &mode);
        holds = memcmp(digests[i], expected, sizeof expected) == 0;
        if (!holds)
            printf("  input %zu of %zu, %zu bytes%s\n", i, set->count, set->inputs[i].len,
                   set->inputs[i].source != NULL ? " from a source" : "");
    }
    memset(expected, 0xA5, sizeof expected);
    return holds && memcmp(digests[set->count], expected, sizeof expected) == 0;
}

static void any_set_of_inputs_has_the_digests_of_the_reference(void)
{
    static struct set set;
    const char *wanted = getenv("MLPROV_PROPERTY_CASES");
    size_t cases = wanted != NULL ? strtoul(wanted, NULL, 10) : 2000;
    for (size_t i = 0; i < cases; i++) {
        size_t kernel = i % kernels_count;
        if (!usable[kernel])
            continue;
        CHECK(mlp_hash_kernel_force(kernels[kernel], NULL) == 0);
        state = i * UINT64_C(0x9E3779B97F4A7C15) + 1;
        random_set(&set);
        if (!CHECK(agrees(&set))) {
            printf("  set %zu, kernel %s\n", i, kernels[kernel]);
            return;
        }
    }
    printf("  %zu sets\n", cases);
}

/* Every number of equal inputs up to some more than the lanes, of every number of blocks. */
static void any_number_of_equal_inputs_has_the_digests_of_the_reference(void)
{
    static struct set set;
    for (size_t kernel = 0; kernel < kernels_count; kernel++) {
        if (!usable[kernel])
            continue;
        CHECK(mlp_hash_kernel_force(kernels[kernel], NULL) == 0);
        for (size_t blocks = 0; blocks <= 17; blocks++)
            for (set.count = 0; set.count <= 34; set.count++) {
                for (size_t i = 0; i < set.count; i++) {
                    set.bytes[i] = arena.begin + 5000 * i;
                    set.inputs[i] =
                        (struct mlp_hash_input){.data = set.bytes[i], .len = blocks * 64};
                }
                if (!CHECK(agrees(&set)))
                    return;
            }
    }
}

/* More chunks than a group has, more bytes than are gathered at a time. */
static void groups_follow_one_another(void)
{
    enum { COUNT = 150 };
    static struct mlp_hash_input inputs[COUNT];
    static struct sourced sourced[COUNT];
    static uint8_t digests[COUNT][32];
    const struct reference_mode mode = reference_plain();
    state = 5;
    for (size_t sources = 0; sources < 2; sources++) {
        for (size_t i = 0; i < COUNT; i++) {
            size_t len = 1 + below(i % 2 == 0 ? 65536 : 3000);
            inputs[i] = (struct mlp_hash_input){.data = arena.end - len, .len = len};
            init_sourced(&sourced[i], arena.end - len, len);
            if (sources != 0)
                inputs[i].source = &sourced[i].source;
        }
        CHECK(mlp_hash_many(MLP_BLAKE3, digests[0], inputs, COUNT, NULL) == 0);
        for (size_t i = 0; i < COUNT; i++) {
            uint8_t expected[32];
            reference_hash(expected, 32, inputs[i].data, inputs[i].len, &mode);
            CHECK(memcmp(digests[i], expected, 32) == 0);
        }
    }
}

int main(void)
{
    kernels_count = mlp_hash_kernels(kernels, usable);
    if (!CHECK(map_guarded(&arena, (size_t)1 << 19)))
        return 1;
    RUN(any_set_of_inputs_has_the_digests_of_the_reference);
    RUN(any_number_of_equal_inputs_has_the_digests_of_the_reference);
    RUN(groups_follow_one_another);
    unmap_guarded(&arena);
    return check_finish();
}

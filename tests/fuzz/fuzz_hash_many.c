/* libFuzzer target: one sequence of lengths, read twice. As the lengths of many inputs it goes through
 * the scheduler (mlp_hash_many), as the pieces of one input through the incremental hasher; both are
 * held to the specification's wording (blake3_reference.h), in a kernel that the case names.
 *
 * A case is a byte for the kernel, then three bytes for each length: the low two its bits, the third
 * how many of them count, so that every magnitude is as likely, and in its highest bit whether the
 * input comes from a source. Each input has an allocation of its own: AddressSanitizer sees a read past
 * any of them.
 */
#include "blake3_reference.h"
#include "hash/hash.h"

#include <stdio.h>
#include <stdlib.h>

#define INPUTS_MAX 200
#define TOTAL_MAX  (256U * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct scene {
    const char *kernel;
    size_t count;
    struct mlp_hash_input inputs[INPUTS_MAX];
    struct mlp_hash_source sources[INPUTS_MAX];
    uint8_t *bytes[INPUTS_MAX];
};

static void fail(const struct scene *scene, const char *what, size_t i)
{
    (void)fprintf(stderr, "kernel %s: %s differs at length %zu of %zu (%zu bytes)\n", scene->kernel,
                  what, i, scene->count, scene->inputs[i].len);
    abort();
}

static const char *force_kernel(uint8_t choice)
{
    const char *names[MLP_KERNELS_MAX];
    bool usable[MLP_KERNELS_MAX];
    size_t count = mlp_hash_kernels(names, usable), chosen = choice % count;
    while (!usable[chosen])
        chosen++; /* the last, portable, is always usable */
    if (mlp_hash_kernel_force(names[chosen], NULL) != 0)
        abort();
    return names[chosen];
}

/* 17 magnitudes: 0, then 1 to 16 bits. */
static size_t read_len(const uint8_t *record)
{
    size_t bits = (size_t)record[0] | (size_t)record[1] << 8;
    return bits & ((1U << (record[2] & 0x7F) % 17) - 1);
}

/* Every other chunk is where it lies. context: the input. */
static const uint8_t *read_source(const void *context, uint64_t offset, size_t len, uint8_t *buffer)
{
    const struct mlp_hash_input *input = context;
    if (offset % MLP_BLAKE3_CHUNK_LEN != 0 || len == 0 || offset + len > input->len)
        abort();
    if (offset / MLP_BLAKE3_CHUNK_LEN % 2 == 1)
        return (const uint8_t *)input->data + offset;
    memcpy(buffer, (const uint8_t *)input->data + offset, len);
    return buffer;
}

/* Bytes that tell chunks, lanes and inputs apart. */
static void fill(uint8_t *bytes, size_t len, uint32_t seed)
{
    uint32_t word = seed * 2654435761U + 1;
    for (size_t i = 0; i < len; i++) {
        word = word * 1664525U + 1013904223U;
        bytes[i] = (uint8_t)(word >> 24);
    }
}

/* how: the record's third byte. */
static void add_input(struct scene *scene, size_t len, uint8_t how)
{
    size_t i = scene->count++;
    scene->bytes[i] = malloc(len > 0 ? len : 1);
    if (scene->bytes[i] == NULL)
        abort();
    fill(scene->bytes[i], len, (uint32_t)i);
    scene->inputs[i] =
        (struct mlp_hash_input){.data = len > 0 ? scene->bytes[i] : NULL, .len = len};
    scene->sources[i] = (struct mlp_hash_source){
        .read = read_source, .context = &scene->inputs[i], .piece_len = (size_t)1024 << how % 6};
    if ((how & 0x80) != 0)
        scene->inputs[i].source = &scene->sources[i];
}

static void set_scene(struct scene *scene, const uint8_t *data, size_t size)
{
    size_t total = 0;
    scene->kernel = force_kernel(data[0]);
    scene->count = 0;
    for (size_t at = 1; at + 3 <= size && scene->count < INPUTS_MAX; at += 3) {
        size_t len = read_len(data + at);
        if (total + len > TOTAL_MAX)
            break;
        add_input(scene, len, data[at + 2]);
        total += len;
    }
}

static void check_many(const struct scene *scene, const struct reference_mode *mode)
{
    uint8_t *digests = malloc(scene->count * 32 + 1);
    if (digests == NULL ||
        mlp_hash_many(MLP_BLAKE3, digests, scene->inputs, scene->count, NULL) != 0)
        abort();
    for (size_t i = 0; i < scene->count; i++) {
        uint8_t expected[32];
        reference_hash(expected, 32, scene->bytes[i], scene->inputs[i].len, mode);
        if (memcmp(digests + i * 32, expected, 32) != 0)
            fail(scene, "mlp_hash_many", i);
    }
    free(digests);
}

/* The pieces one after another, each a new state to hold a digest to: every fourth, and the last. */
static void check_splits(const struct scene *scene, const struct reference_mode *mode)
{
    struct mlp_hasher *hasher;
    uint8_t *whole = malloc(TOTAL_MAX);
    size_t len = 0;
    if (whole == NULL || mlp_hasher_new(&hasher, MLP_BLAKE3, NULL, NULL) != 0)
        abort();
    for (size_t i = 0; i < scene->count; i++) {
        memcpy(whole + len, scene->bytes[i], scene->inputs[i].len);
        len += scene->inputs[i].len;
        if (mlp_hasher_update(hasher, scene->inputs[i].data, scene->inputs[i].len, NULL) != 0)
            abort();
        if (i + 1 < scene->count && (i % 4 != 3 || len > TOTAL_MAX / 16))
            continue;
        uint8_t seen[100], expected[100];
        reference_hash(expected, sizeof expected, whole, len, mode);
        if (mlp_hasher_xof(hasher, 0, seen, sizeof seen, NULL) != 0 ||
            memcmp(seen, expected, sizeof seen) != 0)
            fail(scene, "the hasher", i);
    }
    mlp_hasher_free(hasher);
    free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct scene scene;
    struct reference_mode mode = reference_plain();
    set_scene(&scene, data, size);
    check_many(&scene, &mode);
    check_splits(&scene, &mode);
    for (size_t i = 0; i < scene.count; i++)
        free(scene.bytes[i]);
    return 0;
}
